/*
 * The rings' memory, and their keeper.
 *
 * The keeper is there before INIT is answered: a connection that was told of io_uring
 * cannot go back, so what can fail has to fail before.  The other end of its socket is what
 * keeps it alive, not relayd: whoever holds that holds the mount.
 */
#include "rings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "fdpass.h"
#include "uring/keeper.h"

#define ENABLE_URING "/sys/module/fuse/parameters/enable_uring"
/* It makes a ring per processor, and nothing that waits. */
#define KEEPER_DEADLINE_MS 5000

extern char **environ;

const char *rings_missing(void)
{
	char value = 'N';
	int fd = open(ENABLE_URING, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return "the kernel has no FUSE over io_uring (Linux 6.14 on, CONFIG_FUSE_IO_URING)";
	if (read(fd, &value, 1) != 1)
		value = 'N';
	close(fd);
	return value == 'Y' || value == '1' ? NULL : ENABLE_URING " is not Y";
}

void rings_init(struct rings *rings)
{
	*rings = (struct rings){.fd = -1, .device = -1, .keeper = -1, .pidfd = -1};
}

/* ---- the keeper's process -------------------------------------------------- */

static int attributes_make(posix_spawnattr_t *attributes)
{
	sigset_t none;
	int err = posix_spawnattr_init(attributes);

	if (err)
		return err;
	sigemptyset(&none);
	/* A group of its own: ^C at the terminal is not for it. */
	posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(attributes, &none);
	return 0;
}

static int keeper_spawn(int socket, pid_t *pid)
{
	const char *ways = getenv("RELAY_WAYS_DIR");
	char path[PATH_MAX];
	char *argv[] = {KEEPER_PROGRAM, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int err;

	snprintf(path, sizeof(path), "%s/%s", ways ? ways : PKGLIBEXECDIR, KEEPER_PROGRAM);
	err = attributes_make(&attributes);
	if (err)
		return -err;
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		err = posix_spawn_file_actions_adddup2(&actions, socket, KEEPER_SOCKET);
		/* A file of a mount that it had open could not be closed without that mount. */
		if (!err)
			err = posix_spawn_file_actions_addchdir_np(&actions, "/");
		if (!err)
			err = posix_spawn(pid, path, &actions, &attributes, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	posix_spawnattr_destroy(&attributes);
	return -err;
}

/* Reaped as any orphan is (children.h). */
static int keeper_launch(struct rings *rings)
{
	int pair[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	children_hold();
	err = keeper_spawn(pair[1], &pid);
	close(pair[1]);
	if (!err) {
		rings->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		err = rings->pidfd < 0 ? -errno : 0;
	}
	children_go_on();
	rings->keeper = pair[0];
	return err;
}

/* What the keeper answers, or a negative errno. */
static int answer_receive(const struct rings *rings)
{
	struct pollfd poller = {.fd = rings->keeper, .events = POLLIN};
	int32_t answer;
	ssize_t n;

	do {
		n = poll(&poller, 1, KEEPER_DEADLINE_MS);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ETIMEDOUT;
	n = recv(rings->keeper, &answer, sizeof(answer), 0);
	if (n != sizeof(answer))
		return n < 0 ? -errno : -ECHILD;
	return answer > 0 ? -EPROTO : answer;
}

static int packet_send(const struct rings *rings, const void *bytes, size_t size, const int *fds, unsigned nfds)
{
	const struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	ssize_t n = relay_internal_send_fds(rings->keeper, &iov, 1, fds, nfds);

	return n < 0 ? (int)n : 0;
}

static int keeper_begin(struct rings *rings)
{
	const struct keeper_begin begin = {.queues = rings->map.queues};
	const int fds[] = {rings->device, rings->fd};
	int err = packet_send(rings, &begin, sizeof(begin), fds, 2);

	for (uint32_t q = 0; !err && q < rings->map.queues; q++)
		err = packet_send(rings, "", 1, &rings->kicks[q], 1);
	return err ? err : answer_receive(rings);
}

/* ---- all of it --------------------------------------------------------------- */

static int memory_make(struct rings *rings)
{
	uint32_t queues = (uint32_t)get_nprocs_conf();

	rings->fd = relay_rings_make(queues);
	if (rings->fd < 0)
		return rings->fd;
	rings->kicks = malloc(queues * sizeof(*rings->kicks));
	if (!rings->kicks)
		return -ENOMEM;
	while (rings->kick_count < queues) {
		int kick = eventfd(0, EFD_CLOEXEC);

		if (kick < 0)
			return -errno;
		rings->kicks[rings->kick_count++] = kick;
	}
	return relay_rings_map(&rings->map, rings->fd);
}

int rings_start(struct rings *rings, int device, char *why, size_t why_size)
{
	int err = memory_make(rings);

	rings->device = device;
	if (err) {
		snprintf(why, why_size, "no memory for the rings: %s", strerror(-err));
	} else {
		err = keeper_launch(rings);
		if (!err)
			err = keeper_begin(rings);
		if (err == -ENOENT)
			snprintf(why, why_size, "the keeper of the rings, %s, is not installed", KEEPER_PROGRAM);
		else if (err)
			snprintf(why, why_size, "the keeper of the rings cannot make them: %s", strerror(-err));
	}
	if (err)
		rings_end(rings);
	return err;
}

int rings_register(struct rings *rings)
{
	int err = packet_send(rings, "", 1, NULL, 0);

	if (!err)
		err = answer_receive(rings);
	rings->registered = !err;
	return err;
}

void rings_watch(struct rings *rings, struct loop *loop, void (*on_end)(struct loop_io *io, unsigned events))
{
	loop_io_start(loop, &rings->on_end, rings->keeper, LOOP_READ, on_end);
}

void rings_kick(const struct rings *rings)
{
	/* Where there is no room it has not come to the last kick yet, and looks after that. */
	send(rings->keeper, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void rings_end(struct rings *rings)
{
	loop_io_stop(&rings->on_end);
	/* It would see the end of the socket; but what waits in the rings may hold up who closes that. */
	if (rings->pidfd >= 0) {
		struct pollfd poller = {.fd = rings->pidfd, .events = POLLIN};

		syscall(SYS_pidfd_send_signal, rings->pidfd, SIGKILL, NULL, 0);
		poll(&poller, 1, KEEPER_DEADLINE_MS);
		close(rings->pidfd);
	}
	if (rings->keeper >= 0)
		close(rings->keeper);
	for (uint32_t q = 0; q < rings->kick_count; q++)
		close(rings->kicks[q]);
	free(rings->kicks);
	relay_rings_unmap(&rings->map);
	if (rings->fd >= 0)
		close(rings->fd);
	rings_init(rings);
}
