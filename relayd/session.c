/*
 * /dev/fuse and the mount.
 *
 * As root relayd mounts by itself; another user's relayd asks fusermount3, which
 * is set-uid and decides by its own rules.  Either way relayd holds the one
 * descriptor, and the mount lives as long as that does.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backing.h"
#include "children.h"
#include "fdpass.h"
#include "mountopts.h"
#include "place.h"

extern char **environ;

bool session_place_used(const char *path)
{
	struct place_mount there;

	return place_find(path, &there) == 0;
}

int session_place_check(const char *mountpoint, char **canonical, char *why, size_t why_size)
{
	struct stat st;
	int err = 0;

	*canonical = NULL;
	if (session_place_used(mountpoint))
		err = -EBUSY;
	if (!err)
		*canonical = realpath(mountpoint, NULL);
	if (!err && *canonical && session_place_used(*canonical))
		err = -EBUSY;
	if (err) {
		snprintf(why, why_size, "%s: a FUSE filesystem is mounted there already", mountpoint);
	} else if (!*canonical || stat(*canonical, &st) < 0) {
		err = -errno;
		snprintf(why, why_size, "%s: %s", mountpoint, strerror(-err));
	} else if (!S_ISDIR(st.st_mode)) {
		err = -ENOTDIR;
		snprintf(why, why_size, "%s: not a directory", mountpoint);
	}
	if (!err)
		return 0;
	free(*canonical);
	*canonical = NULL;
	return err;
}

static int device_open(struct session *session, char *why, size_t why_size)
{
	session->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (session->fd >= 0)
		return 0;
	snprintf(why, why_size, "/dev/fuse: %s%s", strerror(errno),
		 errno == ENOENT || errno == ENODEV || errno == ENXIO ? " (is the fuse module loaded?)" : "");
	return -ENXIO;
}

/* What mount(2) takes. */
struct mounting {
	struct session *session;
	const struct place *place;
	const char *source, *type, *data;
	unsigned long flags;
};

/* Where the thread's working directory is: see place_run(). */
static int mount_here(void *arg)
{
	struct mounting *mounting = arg;
	const char *mountpoint = mounting->session->mountpoint;
	struct place_mount there;
	char path[PATH_MAX];
	int err = place_path_of(mounting->place->directory, path, sizeof(path));

	/* A directory that has been removed, or moved since it was looked at. */
	if (!err && strcmp(path, mountpoint) != 0)
		err = -ENOENT;
	if (!err && place_find(path, &there) == 0)
		err = -EBUSY;
	if (!err && fchdir(mounting->place->directory) < 0)
		err = -errno;
	if (!err && mount(mounting->source, ".", mounting->type, mounting->flags, mounting->data) < 0)
		err = -errno;
	return err;
}

static int mount_there(struct mounting *mounting)
{
	if (mounting->place)
		return place_run(mounting->place->ns, mount_here, mounting);
	if (mount(mounting->source, mounting->session->mountpoint, mounting->type, mounting->flags, mounting->data) < 0)
		return -errno;
	return 0;
}

static int mount_directly(struct session *session, const struct session_config *config, const struct mountopts *opts,
			  char *why, size_t why_size)
{
	const char *subtype = opts->subtype ? opts->subtype : config->subtype;
	struct mounting mounting = {
		.session = session,
		.place = config->place,
		.source = opts->fsname ? opts->fsname : config->fsname,
		.flags = opts->flags,
	};
	char *type = NULL, *data = NULL;
	int err = 0;

	err = device_open(session, why, why_size);
	if (err)
		return err;
	if (config->on_device)
		config->on_device(session->fd, config->arg);
	if (asprintf(&type, "fuse%s%s", subtype ? "." : "", subtype ? subtype : "") < 0 ||
	    asprintf(&data, "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s", session->fd, S_IFDIR, config->uid,
		     config->gid, opts->kernel) < 0)
		err = -ENOMEM;
	mounting.type = type;
	mounting.data = data;
	if (!err)
		err = mount_there(&mounting);
	if (err)
		snprintf(why, why_size, "cannot mount on %s: %s", session->mountpoint, strerror(-err));
	free(type);
	free(data);
	return err;
}

static int helper_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/*
 * The system's fusermount3.  A relayd that was started by a program which came in
 * through another one may find the stand-in first, which would ask relayd itself.
 */
static int helper_find(char *path, size_t size)
{
	const char *list = getenv("PATH"), *ways = getenv("RELAY_WAYS_DIR");
	char *copy, *rest, *directory;
	int err = -ENOENT;

	rest = copy = strdup(list && *list ? list : "/usr/local/bin:/usr/bin:/bin");
	if (!copy)
		return -ENOMEM;
	while (err && (directory = strsep(&rest, ":")) != NULL) {
		if (strcmp(directory, PKGLIBEXECDIR) == 0 || (ways && strcmp(directory, ways) == 0))
			continue;
		if ((size_t)snprintf(path, size, "%s/fusermount3", directory) < size && access(path, X_OK) == 0)
			err = 0;
	}
	free(copy);
	return err;
}

/* environ with _FUSE_COMMFD set.  The array is the caller's, the strings are not. */
static char **helper_environment(char *comm)
{
	size_t n = 0, count = 0;
	char **envp;

	while (environ[count])
		count++;
	envp = calloc(count + 2, sizeof(char *));
	if (!envp)
		return NULL;
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "_FUSE_COMMFD=", 13) != 0)
			envp[n++] = *e;
	envp[n] = comm;
	return envp;
}

static int helper_spawn(char *const argv[], int comm_fd, pid_t *pid)
{
	char comm[32], path[PATH_MAX], **envp;
	posix_spawn_file_actions_t actions;
	int err = helper_find(path, sizeof(path));

	if (err)
		return err;
	snprintf(comm, sizeof(comm), "_FUSE_COMMFD=%d", comm_fd);
	envp = helper_environment(comm);
	if (!envp)
		return -ENOMEM;
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		if (comm_fd >= 0) /* the same number twice: takes FD_CLOEXEC off */
			err = posix_spawn_file_actions_adddup2(&actions, comm_fd, comm_fd);
		if (!err)
			err = posix_spawn(pid, path, &actions, NULL, argv, envp);
		posix_spawn_file_actions_destroy(&actions);
	}
	free(envp);
	return -err;
}

/* Runs fusermount3 and waits for it.  Returns 0, or a negative errno. */
static int helper_run(char *const argv[], int comm_fd)
{
	pid_t pid;
	int err;

	children_hold();
	err = helper_spawn(argv, comm_fd, &pid);
	if (!err)
		err = helper_wait(pid);
	children_go_on();
	return err;
}

void session_place_free(const char *path)
{
	if (geteuid() == 0)
		umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH);
	else
		helper_run((char *[]){"fusermount3", "-uqz", "--", (char *)path, NULL}, -1);
}

/* ",KEY=VALUE", with what separates options in the value escaped. */
static void option_print(FILE *list, const char *key, const char *value)
{
	fprintf(list, ",%s=", key);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', list);
		fputc(*value, list);
	}
}

/* fusermount3 takes a list, not flags; and nothing that relayd does itself (it would wait, with auto_unmount). */
static int helper_options(const struct session_config *config, const struct mountopts *opts, char **out)
{
	const char *subtype = opts->subtype ? opts->subtype : config->subtype;
	size_t size;
	FILE *list = open_memstream(out, &size);

	if (!list)
		return -ENOMEM;
	fputs("rw", list);
	fputs(opts->helper, list);
	option_print(list, "fsname", opts->fsname ? opts->fsname : config->fsname);
	if (subtype)
		option_print(list, "subtype", subtype);
	if (fclose(list) == 0)
		return 0;
	free(*out);
	return -ENOMEM;
}

static int mount_by_helper(struct session *session, const struct session_config *config, const struct mountopts *opts,
			   char *why, size_t why_size)
{
	char *options, byte;
	int pair[2], err;
	unsigned got = 1;

	err = helper_options(config, opts, &options);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		free(options);
		return -errno;
	}
	err = helper_run((char *[]){"fusermount3", "-o", options, "--", session->mountpoint, NULL}, pair[1]);
	close(pair[1]);
	free(options);
	if (!err && (relay_internal_recv_fds(pair[0], &byte, 1, &session->fd, &got) < 0 || got != 1))
		err = -EPROTO;
	close(pair[0]);
	if (err == -ENOENT)
		snprintf(why, why_size, "cannot mount on %s: fusermount3 is not installed (package fuse3)",
			 session->mountpoint);
	else if (err)
		snprintf(why, why_size, "cannot mount on %s: fusermount3 refused (its reason is above)",
			 session->mountpoint);
	session->by_helper = !err;
	if (!err && config->on_device)
		config->on_device(session->fd, config->arg);
	return err;
}

int session_open(struct session *session, const struct session_config *config, char *why, size_t why_size)
{
	struct place_mount made = {.id = -1};
	struct mountopts opts;
	int err;

	*session = (struct session){
		.fd = -1,
		.uid = config->uid,
		.ns = config->place ? config->place->ns_number : 0,
		.on_agreed = session->on_agreed,
	};
	err = mountopts_parse(&opts, config->options, config->uid == 0, why, why_size);
	if (err)
		return err;
	if (config->place) {
		session->mountpoint = strdup(config->mountpoint);
		err = session->mountpoint ? 0 : -ENOMEM;
	} else {
		err = session_place_check(config->mountpoint, &session->mountpoint, why, why_size);
	}
	if (!err)
		err = geteuid() == 0 ? mount_directly(session, config, &opts, why, why_size)
				     : mount_by_helper(session, config, &opts, why, why_size);
	mountopts_deinit(&opts);
	if (err) {
		session_close(session);
		return err;
	}
	session->mounted = true;
	/* What is registered is opened as root, whoever has opened it before. */
	session->may_back = config->uid == 0 && backing_allowed();
	place_find_in(session->ns, session->mountpoint, &made);
	session->mount_id = made.id;
	session->device = made.device;
	return 0;
}

bool session_connected(const struct session *session)
{
	struct pollfd poller = {.fd = session->fd};

	return poll(&poller, 1, 0) <= 0 || !(poller.revents & (POLLERR | POLLHUP));
}

bool session_mounted(const struct session *session)
{
	struct place_mount there;

	return session->mounted && session->mount_id >= 0 &&
	       place_find_in(session->ns, session->mountpoint, &there) == 0 && there.id == session->mount_id;
}

int session_unmount(struct session *session, enum session_unmount how)
{
	static const int flags[] = {
		[SESSION_UNMOUNT] = 0,
		[SESSION_UNMOUNT_LAZY] = MNT_DETACH,
		[SESSION_UNMOUNT_ABORT] = MNT_DETACH | MNT_FORCE,
	};

	int err = 0;

	if (session->by_helper)
		err = helper_run((char *[]){"fusermount3", how == SESSION_UNMOUNT ? "-uq" : "-uqz", "--",
					    session->mountpoint, NULL},
				 -1);
	else if (session->uid != geteuid() || session->ns)
		err = place_unmount(session->ns, session->mountpoint, session->mount_id, session->uid == geteuid(),
				    flags[how]);
	else if (umount2(session->mountpoint, UMOUNT_NOFOLLOW | flags[how]) < 0)
		err = -errno;
	/* What is mounted there from now on is not ours. */
	if (!err)
		session->mounted = false;
	return err;
}

void session_nonblocking(const struct session *session, bool on)
{
	int flags = fcntl(session->fd, F_GETFL);

	if (flags >= 0)
		fcntl(session->fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void session_device_close(struct session *session)
{
	if (session->fd >= 0)
		close(session->fd);
	session->fd = -1;
}

void session_close(struct session *session)
{
	session_device_close(session);
	free(session->mountpoint);
	session->mountpoint = NULL;
}
