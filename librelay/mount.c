/*
 * relay_open() and relay_mount(): the way in for a filesystem that speaks the
 * kernel's protocol by itself.
 *
 * relay_open() makes the channel.  The caller has one end; the other is kept here
 * until relay_mount() hands it to relayd.  An end is found by the socket's inode,
 * not by its number: the caller may have duplicated it, or closed it and had the
 * number again for something else.
 *
 * A process dying here leaves nothing: a channel of which relayd has no end is
 * gone with the process.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_client.h"
#include "relay/relay.h"

struct opened {
	struct opened *next;
	dev_t dev; /* of the caller's end */
	ino_t ino;
	int peer; /* relayd's end, owned */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct opened *opened_list;

/* The caller has closed every copy of his end. */
static bool is_abandoned(const struct opened *opened)
{
	struct pollfd poll_fd = {.fd = opened->peer};

	return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLHUP);
}

/* With the lock held. */
static void opened_sweep(void)
{
	struct opened **at = &opened_list;

	while (*at) {
		struct opened *opened = *at;

		if (!is_abandoned(opened)) {
			at = &opened->next;
			continue;
		}
		*at = opened->next;
		close(opened->peer);
		free(opened);
	}
}

static void opened_add(struct opened *opened)
{
	pthread_mutex_lock(&lock);
	opened_sweep();
	opened->next = opened_list;
	opened_list = opened;
	pthread_mutex_unlock(&lock);
}

/* Takes the other end of fd out of the table.  Returns NULL if fd is not of relay_open(). */
static struct opened *opened_take(int fd)
{
	struct opened **at, *found = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	pthread_mutex_lock(&lock);
	opened_sweep();
	for (at = &opened_list; *at && !found;) {
		if ((*at)->dev == st.st_dev && (*at)->ino == st.st_ino) {
			found = *at;
			*at = found->next;
		} else {
			at = &(*at)->next;
		}
	}
	pthread_mutex_unlock(&lock);
	return found;
}

/* The caller's end gets what open(2) would have done with the flags; relayd's is close-on-exec. */
static int channel_prepare(const int pair[2], int flags, struct opened *opened)
{
	struct stat st;

	if ((flags & O_NONBLOCK) && fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (!(flags & O_CLOEXEC) && fcntl(pair[0], F_SETFD, 0) < 0)
		return -errno;
	if (fstat(pair[0], &st) < 0)
		return -errno;
	opened->dev = st.st_dev;
	opened->ino = st.st_ino;
	opened->peer = pair[1];
	return 0;
}

int relay_open(const char *path, int flags)
{
	struct opened *opened;
	int pair[2];
	int err;

	if (strcmp(path, "/dev/fuse") != 0) {
		errno = ENOENT;
		return -1;
	}
	if ((flags & O_ACCMODE) != O_RDWR || (flags & ~(O_ACCMODE | O_CLOEXEC | O_NONBLOCK | O_LARGEFILE))) {
		errno = EINVAL;
		return -1;
	}
	opened = calloc(1, sizeof(*opened));
	if (!opened)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(opened);
		return -1;
	}
	err = channel_prepare(pair, flags, opened);
	if (err) {
		close(pair[0]);
		close(pair[1]);
		free(opened);
		errno = -err;
		return -1;
	}
	opened_add(opened);
	return pair[0];
}

/* fd=N in the kernel's option string, or -1. */
static int data_fd(const char *data)
{
	const char *at = data;

	while (at) {
		if (strncmp(at, "fd=", 3) == 0 && at[3] >= '0' && at[3] <= '9') {
			char *end;
			unsigned long fd = strtoul(at + 3, &end, 10);

			return (*end == '\0' || *end == ',') && fd <= INT_MAX ? (int)fd : -1;
		}
		at = strchr(at, ',');
		if (at)
			at++;
	}
	return -1;
}

/* Returns 0 or a negative errno. */
static int attach(const char *source, const char *target, int target_fd, const char *type, unsigned long flags,
		  const char *data, int channel)
{
	const int fds[RELAY_CTL_ATTACH_FDS] = {channel, target_fd};
	struct relay_ctl_client *client;
	struct relay_ctl_attach *body;
	char why[256];
	int err;

	err = relay_internal_ctl_open(&client, NULL, why, sizeof(why));
	if (err)
		return err;
	body = relay_internal_ctl_command(client, RELAY_CTL_ATTACH, sizeof(*body));
	body->flags = htole64(flags);
	relay_internal_ctl_put(&client->frame, &body->source, source);
	relay_internal_ctl_put(&client->frame, &body->target, target);
	relay_internal_ctl_put(&client->frame, &body->type, type);
	relay_internal_ctl_put(&client->frame, &body->data, data);
	err = relay_internal_ctl_call(client, fds, RELAY_CTL_ATTACH_FDS, NULL, why, sizeof(why), NULL);
	relay_internal_ctl_close(client);
	return err;
}

int relay_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	char path[PATH_MAX];
	struct opened *opened;
	int target_fd, err;

	if (!target || !type || !data) {
		errno = EINVAL;
		return -1;
	}
	opened = opened_take(data_fd(data));
	if (!opened) {
		errno = EBADF;
		return -1;
	}
	err = relay_internal_ctl_target(target, path, sizeof(path), &target_fd);
	if (!err) {
		err = attach(source, path, target_fd, type, flags, data, opened->peer);
		close(target_fd);
	}
	if (err) {
		/* As after mount(2), the caller may try again with the same descriptor. */
		opened_add(opened);
		errno = -err;
		return -1;
	}
	close(opened->peer);
	free(opened);
	return 0;
}
