/*
 * The stand-in's unmounting.  Three kinds of mounts are there: the one of the program
 * that calls, if relayd has started it, which is not its to end; others of relayd's;
 * and those that are none of ours, which go to the system's own fusermount3.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attach.h"
#include "ctl_client.h"
#include "fdpass.h"
#include "fusermount.h"

extern char **environ;

/* ---- the system's own ------------------------------------------------------- */

/* It is there, is a program, and is not this one. */
static bool is_another(const char *path)
{
	struct stat st, self;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0 &&
	       (stat("/proc/self/exe", &self) < 0 || st.st_dev != self.st_dev || st.st_ino != self.st_ino);
}

/* In $PATH, which may have this one first, and where it usually is. */
static bool system_find(char *path, size_t size)
{
	static const char *const usual[] = {"/usr/bin/fusermount3", "/bin/fusermount3", "/usr/bin/fusermount",
					    "/bin/fusermount"};
	const char *at = getenv("PATH");
	size_t i;

	while (at && *at) {
		size_t n = strcspn(at, ":");

		if (n && (size_t)snprintf(path, size, "%.*s/%s", (int)n, at, fusermount_name) < size &&
		    is_another(path))
			return true;
		at += n + (at[n] == ':');
	}
	for (i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		if ((size_t)snprintf(path, size, "%s", usual[i]) < size && is_another(path))
			return true;
	}
	return false;
}

/* Returns only if it cannot be. */
static int system_run(char **argv)
{
	char path[PATH_MAX];

	if (!system_find(path, sizeof(path))) {
		fprintf(stderr, "%s: not a mount of relayd's, and the system has no %s of its own\n", fusermount_name,
			fusermount_name);
		return 1;
	}
	/* With the preload library it would come back here, and so would this very call. */
	unsetenv("LD_PRELOAD");
	syscall(SYS_execve, path, argv, environ);
	fprintf(stderr, "%s: cannot execute %s: %s\n", fusermount_name, path, strerror(errno));
	return 1;
}

/* ---- what is mounted --------------------------------------------------------- */

/* Octal escapes of /proc/self/mountinfo, in place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* Something is mounted there.  True also if that is not to be known. */
static bool is_mountpoint(const char *path)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return true;
	while (!found && getline(&line, &size, file) > 0) {
		char *at = line, *field = NULL;
		int i;

		/* The fifth. */
		for (i = 0; i < 5 && at; i++)
			field = strsep(&at, " ");
		if (i == 5 && field) {
			unescape(field);
			found = strcmp(field, path) == 0;
		}
	}
	free(line);
	fclose(file);
	return found;
}

/* relayd has a mount of ours there. */
static bool relayd_has(struct relay_ctl_client *client, const char *path)
{
	uint32_t flags = 0;
	bool found = false;
	char why[256];
	int err;

	relay_internal_ctl_command(client, RELAY_CTL_STATUS, sizeof(struct relay_ctl_select));
	err = relay_internal_ctl_call(client, NULL, 0, &flags, why, sizeof(why), NULL);
	while (!err && (flags & RELAY_CTL_MORE)) {
		const struct relay_ctl_status *status = relay_internal_ctl_answer(client, sizeof(*status));

		found = found || (status && strcmp(relay_internal_ctl_string(client, &status->mountpoint), path) == 0);
		err = relay_internal_ctl_more(client, &flags, why, sizeof(why));
	}
	return !err && found;
}

/* ---- relayd's ----------------------------------------------------------------- */

/*
 * Waits for the answer, or for the mount to be gone: relayd answers when the program
 * has ended too, which may be the one that waits for us.  A mount that is not to be
 * seen from here has the answer only.  Returns the answer's status.
 */
static int gone_wait(struct relay_ctl_client *client, const char *path, char *why, size_t why_size)
{
	struct pollfd fds[2] = {
		{.fd = client->fd, .events = POLLIN},
		{.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), .events = POLLPRI},
	};
	/* What was not to be seen before is not seen to go, whatever else is mounted and unmounted. */
	bool seen = is_mountpoint(path), gone = false;

	while (!fds[0].revents && !gone) {
		if (poll(fds, seen ? 2 : 1, -1) < 0 && errno != EINTR)
			break;
		gone = seen && fds[1].revents && !is_mountpoint(path);
	}
	if (fds[1].fd >= 0)
		close(fds[1].fd);
	return gone && !fds[0].revents ? 0 : relay_internal_ctl_more(client, NULL, why, why_size);
}

static int relayd_unmount(struct relay_ctl_client *client, const char *path, const struct fusermount_unmount_args *args)
{
	struct relay_ctl_unmount *unmount;
	struct iovec iov;
	char why[512] = "";
	ssize_t n;
	int err;

	unmount = relay_internal_ctl_command(client, RELAY_CTL_UNMOUNT, sizeof(*unmount));
	unmount->flags = htole32(args->lazy ? RELAY_CTL_UNMOUNT_FORCE : 0);
	relay_internal_ctl_put(&client->frame, &unmount->mount, path);
	err = relay_internal_ctl_end(&client->frame);
	if (!err) {
		iov = (struct iovec){.iov_base = client->frame.bytes, .iov_len = client->frame.size};
		n = relay_internal_send_fds(client->fd, &iov, 1, NULL, 0);
		err = n < 0 ? (int)n : gone_wait(client, path, why, sizeof(why));
	}
	if (err && !args->quiet)
		fprintf(stderr, "%s: failed to unmount %s: %s\n", fusermount_name, args->directory,
			*why ? why : strerror(-err));
	return err ? 1 : 0;
}

/* Opens relayd if it has a mount of ours at path.  NULL: it has none, or there is no relayd. */
static struct relay_ctl_client *relayd_of(const char *path)
{
	struct relay_ctl_client *client;
	char why[256];

	if (relay_internal_ctl_open(&client, NULL, why, sizeof(why)) < 0)
		return NULL;
	if (relayd_has(client, path))
		return client;
	relay_internal_ctl_close(client);
	return NULL;
}

/* The path of the directory, without looking into what is mounted there. */
static bool path_of(const char *directory, char *path, size_t size)
{
	int fd;

	if (relay_internal_ctl_target(directory, path, size, &fd) < 0)
		return false;
	close(fd);
	return true;
}

int fusermount_unmount(const struct fusermount_unmount_args *args)
{
	bool started = relay_internal_token() != NULL;
	struct relay_ctl_client *client;
	char path[PATH_MAX];
	int status = 0;

	/*
	 * A program that relayd has started was told to mount where nothing is mounted:
	 * relayd's mount is elsewhere, and relayd says when it ends.
	 */
	if (!path_of(args->directory, path, sizeof(path)))
		return started ? 0 : system_run(args->argv);
	if (started && !is_mountpoint(path))
		return 0;
	client = relayd_of(path);
	if (!client)
		return system_run(args->argv);
	if (!started)
		status = relayd_unmount(client, path, args);
	relay_internal_ctl_close(client);
	return status;
}

int fusermount_auto_unmount(const char *directory, char **argv)
{
	struct relay_ctl_client *client;
	char path[PATH_MAX];

	if (relay_internal_token())
		return 0;
	client = path_of(directory, path, sizeof(path)) ? relayd_of(path) : NULL;
	if (!client)
		return system_run(argv);
	relay_internal_ctl_close(client);
	return 0;
}
