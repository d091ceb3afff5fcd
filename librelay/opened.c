/*
 * Channels that relay_open() has made.  The caller has one end; the other is kept
 * here until relay_mount() hands it to relayd.  An end is found by the socket's
 * inode, not by its number: the caller may have duplicated it, or closed it and had
 * the number again for something else.
 *
 * A process dying here leaves nothing: a channel of which relayd has no end is
 * gone with the process.
 */
#include "opened.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * What the caller's replies may fill before relayd takes them.  /dev/fuse never
 * lets a writer wait, and a filesystem with O_NONBLOCK would lose a reply by
 * EAGAIN; this is more than relayd lets be in flight.
 */
#define SEND_ROOM (16 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct relay_opened *list;

/*
 * Inodes of the callers' ends, 0 in free places: read without the lock.  One whose
 * other end was given away stays, since nobody tells when it is closed, and is
 * overwritten when all places are taken.
 */
#define KNOWN_MAX 64u
static _Atomic ino_t known[KNOWN_MAX];
static atomic_uint known_next;
static atomic_bool known_any;

static void known_add(ino_t ino)
{
	unsigned i;

	atomic_store(&known_any, true);
	for (i = 0; i < KNOWN_MAX; i++) {
		ino_t none = 0;

		if (atomic_compare_exchange_strong(&known[i], &none, ino))
			return;
	}
	atomic_store(&known[atomic_fetch_add(&known_next, 1) % KNOWN_MAX], ino);
}

static void known_remove(ino_t ino)
{
	unsigned i;

	for (i = 0; i < KNOWN_MAX; i++) {
		ino_t same = ino;

		if (atomic_compare_exchange_strong(&known[i], &same, 0))
			return;
	}
}

/* The caller has closed every copy of his end. */
static bool is_abandoned(const struct relay_opened *opened)
{
	struct pollfd poll_fd = {.fd = opened->peer};

	return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLHUP);
}

void relay_internal_opened_free(struct relay_opened *opened)
{
	close(opened->peer);
	free(opened);
}

void relay_internal_opened_discard(struct relay_opened *opened)
{
	known_remove(opened->ino);
	relay_internal_opened_free(opened);
}

/* With the lock held. */
static void opened_sweep(void)
{
	struct relay_opened **at = &list;

	while (*at) {
		struct relay_opened *opened = *at;

		if (!is_abandoned(opened)) {
			at = &opened->next;
			continue;
		}
		*at = opened->next;
		relay_internal_opened_discard(opened);
	}
}

void relay_internal_opened_put(struct relay_opened *opened)
{
	pthread_mutex_lock(&lock);
	opened_sweep();
	opened->next = list;
	list = opened;
	pthread_mutex_unlock(&lock);
}

struct relay_opened *relay_internal_opened_take(int fd)
{
	struct relay_opened **at, *found = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	pthread_mutex_lock(&lock);
	opened_sweep();
	for (at = &list; *at && !found;) {
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
static int channel_prepare(const int pair[2], int flags, struct relay_opened *opened)
{
	const int room = SEND_ROOM;
	struct stat st;

	/* Without the privilege to have it all: as much as the system gives. */
	if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if ((flags & O_NONBLOCK) && fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	if (!(flags & O_CLOEXEC) && fcntl(pair[0], F_SETFD, 0) < 0)
		return -errno;
	if (fstat(pair[0], &st) < 0)
		return -errno;
	opened->dev = st.st_dev;
	opened->ino = st.st_ino;
	opened->peer = pair[1];
	known_add(st.st_ino);
	return 0;
}

int relay_internal_opened_new(int flags)
{
	struct relay_opened *opened;
	int pair[2];
	int err;

	opened = calloc(1, sizeof(*opened));
	if (!opened)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err = -errno;
		free(opened);
		return err;
	}
	err = channel_prepare(pair, flags, opened);
	if (err) {
		close(pair[0]);
		close(pair[1]);
		free(opened);
		return err;
	}
	relay_internal_opened_put(opened);
	return pair[0];
}

bool relay_internal_has_channels(void)
{
	return atomic_load_explicit(&known_any, memory_order_relaxed);
}

bool relay_internal_is_channel(int fd)
{
	int saved = errno;
	bool found = false;
	struct stat st;
	unsigned i;

	if (relay_internal_has_channels() && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) {
		for (i = 0; i < KNOWN_MAX && !found; i++)
			found = atomic_load(&known[i]) == st.st_ino;
	}
	errno = saved;
	return found;
}
