/*
 * The socket's file.  Whoever holds the lock beside it may replace the file; a
 * relayd holds it from before the socket is there until after it is gone, so two
 * that start at once never take each other's socket for a stale one.
 *
 * A relayd dying here leaves a socket that nobody listens to and a lock file that
 * nobody has locked: the next one takes both over.  Where there is a keeper it has both, and
 * clients wait for the next one.
 */
#include "ctl_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fdstore.h"

#define DRAFT ".new"

/* How long a relayd that has the lock may take to serve the socket or to be gone. */
#define PATIENCE_TRIES 200
#define PATIENCE_NS 10000000L

static bool is_root(void)
{
	return geteuid() == 0;
}

static void lock_path(const struct ctl_socket *ctl, char *path, size_t size)
{
	snprintf(path, size, "%s.lock", ctl->address.sun_path);
}

/* One level: what is above it is the system's. */
static int directory_make(const char *path)
{
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];

	strcpy(copy, path);
	if (mkdir(dirname(copy), is_root() ? 0755 : 0700) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* Returns 0, -EAGAIN while another has it, or another negative errno. */
static int lock_take(struct ctl_socket *ctl)
{
	char path[sizeof(ctl->address.sun_path) + sizeof(".lock")];
	struct stat ours, there;
	int err = 0;

	lock_path(ctl, path, sizeof(path));
	ctl->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ctl->lock_fd < 0)
		return -errno;
	if (flock(ctl->lock_fd, LOCK_EX | LOCK_NB) < 0)
		err = errno == EWOULDBLOCK ? -EAGAIN : -errno;
	/* Its last holder may have removed the file that we have just locked. */
	else if (fstat(ctl->lock_fd, &ours) < 0 || stat(path, &there) < 0 || ours.st_ino != there.st_ino ||
		 ours.st_dev != there.st_dev)
		err = -EAGAIN;
	if (err) {
		close(ctl->lock_fd);
		ctl->lock_fd = -1;
	}
	return err;
}

/* Does anybody answer there?  Returns 1, 0 if not, or a negative errno. */
static int socket_probe(const struct ctl_socket *ctl)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)&ctl->address, sizeof(ctl->address)) < 0 ? errno : 0;
	close(fd);
	switch (err) {
	case 0:
	case EAGAIN:	 /* its queue is full */
	case EPROTOTYPE: /* it is somebody else's, of another kind */
		return 1;
	case ENOENT:
	case ECONNREFUSED:
		return 0;
	default:
		return -err;
	}
}

/* Waits for the lock or for a living relayd. */
static int lock_wait(struct ctl_socket *ctl)
{
	const struct timespec pause = {.tv_nsec = PATIENCE_NS};
	int err = -EAGAIN;
	int i;

	for (i = 0; i < PATIENCE_TRIES; i++) {
		err = lock_take(ctl);
		/* Another user's is not to be locked, and may well be served. */
		if (err != -EAGAIN)
			return err == -EACCES && socket_probe(ctl) > 0 ? -EADDRINUSE : err;
		err = socket_probe(ctl);
		if (err)
			return err > 0 ? -EADDRINUSE : err;
		nanosleep(&pause, NULL);
	}
	return -EADDRINUSE;
}

/* With the lock held: what is there may be replaced if it is a socket that nobody listens to. */
static int stale_check(const struct ctl_socket *ctl)
{
	struct stat st;
	int n;

	if (lstat(ctl->address.sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	n = socket_probe(ctl);
	return n > 0 ? -EADDRINUSE : n;
}

/*
 * Made under another name, and renamed when it listens: whoever sees the socket
 * can connect to it.
 */
static int socket_listen(struct ctl_socket *ctl)
{
	struct sockaddr_un draft = ctl->address;
	mode_t old;
	int err = 0;

	if (strlen(draft.sun_path) + strlen(DRAFT) >= sizeof(draft.sun_path))
		return -ENAMETOOLONG;
	strcat(draft.sun_path, DRAFT);
	ctl->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ctl->fd < 0)
		return -errno;
	/* A process dying in the midst of this leaves it. */
	unlink(draft.sun_path);
	/* Nobody else's at first: who may connect is decided by the file's mode. */
	old = umask(0177);
	if (bind(ctl->fd, (struct sockaddr *)&draft, sizeof(draft)) < 0)
		err = -errno;
	umask(old);
	if (err)
		return err;
	if (listen(ctl->fd, 128) < 0 || (is_root() && chmod(draft.sun_path, 0666) < 0) ||
	    rename(draft.sun_path, ctl->address.sun_path) < 0) {
		err = -errno;
		unlink(draft.sun_path);
	}
	return err;
}

/* Removes the lock's file while it is locked: see lock_take(). */
static void lock_drop(struct ctl_socket *ctl)
{
	char path[sizeof(ctl->address.sun_path) + sizeof(".lock")];

	if (ctl->lock_fd < 0)
		return;
	lock_path(ctl, path, sizeof(path));
	unlink(path);
	close(ctl->lock_fd);
	ctl->lock_fd = -1;
}

/* An earlier relayd's, where clients wait already; its lock is held with it.  Returns whether there is one. */
static bool socket_resume(struct ctl_socket *ctl)
{
	ctl->fd = fdstore_take(FDSTORE_DAEMON, "ctl");
	ctl->lock_fd = fdstore_take(FDSTORE_DAEMON, "lock");
	if (ctl->fd >= 0 && ctl->lock_fd >= 0)
		return true;
	/* It died between the two.  Others are let go of too: a lock that is kept nobody gets. */
	fdstore_drop(FDSTORE_DAEMON, "ctl");
	fdstore_drop(FDSTORE_DAEMON, "lock");
	if (ctl->fd >= 0)
		close(ctl->fd);
	if (ctl->lock_fd >= 0)
		close(ctl->lock_fd);
	ctl->fd = ctl->lock_fd = -1;
	return false;
}

void ctl_socket_put(const struct ctl_socket *ctl)
{
	fdstore_put(FDSTORE_DAEMON, "lock", ctl->lock_fd);
	fdstore_put(FDSTORE_DAEMON, "ctl", ctl->fd);
}

int ctl_socket_open(struct ctl_socket *ctl, const char *path)
{
	int err;

	*ctl = (struct ctl_socket){.fd = -1, .lock_fd = -1, .address = {.sun_family = AF_UNIX}};
	if (strlen(path) >= sizeof(ctl->address.sun_path))
		return -ENAMETOOLONG;
	strcpy(ctl->address.sun_path, path);
	if (socket_resume(ctl))
		return 0;
	err = directory_make(path);
	if (!err)
		err = lock_wait(ctl);
	if (!err)
		err = stale_check(ctl);
	if (!err)
		err = socket_listen(ctl);
	if (!err)
		ctl_socket_put(ctl);
	if (err) {
		if (ctl->fd >= 0)
			close(ctl->fd);
		ctl->fd = -1;
		lock_drop(ctl);
	}
	return err;
}

void ctl_socket_close(struct ctl_socket *ctl)
{
	if (ctl->fd < 0)
		return;
	unlink(ctl->address.sun_path);
	fdstore_drop(FDSTORE_DAEMON, "ctl");
	fdstore_drop(FDSTORE_DAEMON, "lock");
	close(ctl->fd);
	ctl->fd = -1;
	lock_drop(ctl);
}
