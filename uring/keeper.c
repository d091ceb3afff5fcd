/*
 * The keeper: owns the rings of one mount in the lane `uring`, and does nothing else.
 *
 * The task that registers an entry with FUSE over io_uring takes the request in it along
 * when it dies.  So that is nobody who ever has to die: not the backend, and not relayd.
 * A thread per queue (a processor, as the kernel demands) sleeps in read(2) of an eventfd.
 * The kernel fills entries as work of that thread, which interrupts the read(2) and
 * restarts it, and each completion is counted in the eventfd, as each answer is that a
 * backend kicks for.  So read(2) returns for either, and then
 *
 *   a completion    becomes REQUEST in the memory that backends have (relay/rings.h)
 *   ANSWERED there  becomes a commit, which brings the entry's next request
 *
 * The rings are seen by nobody else: a backend that could write to one could have the
 * kernel read and write this process.  As it is, it can say that an entry is answered, and
 * write to the entry's buffers.  Which request an entry has is known here.
 *
 * The process has no file of the mount open: what closing it asks would be asked of itself.
 * It ends when nobody has the other end of its socket any more.  With it end the
 * requests in the rings, and so the mount.
 */
#include "uring/keeper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fdpass.h"
#include "relay/rings.h"
#include "rights.h"
#include "uring/pump.h"
#include "uring/ring.h"

struct worker {
	struct keeper *keeper;
	int kick; /* the queue's eventfd */
	struct io_uring_params params;
	struct pump pump;
};

struct keeper {
	int device;
	int rings_fd;
	struct relay_rings_map map;
	struct worker *workers; /* one per queue */
	sem_t registered; /* posted by each worker once */
};

/* ---- a queue --------------------------------------------------------------- */

static void submit(const struct ring *ring)
{
	while (ring_load(ring->sq_head) != *ring->sq_tail)
		if (ring_enter(ring, RELAY_RING_DEPTH, 0, 0) < 0)
			break;
}

/* Whoever has the eventfd can have read(2) not wait. */
static void kick_wait(int kick)
{
	struct pollfd poller = {.fd = kick, .events = POLLIN};
	uint64_t kicks;

	while (read(kick, &kicks, sizeof(kicks)) < 0)
		if (errno == EAGAIN)
			poll(&poller, 1, -1);
}

static void worker_serve(struct worker *w)
{
	for (;;) {
		bool any = pump_requests(&w->pump);

		pump_answers(&w->pump);
		submit(&w->pump.ring);
		if (any)
			relay_ring_wake(w->pump.map, w->pump.queue);
		kick_wait(w->kick);
	}
}

static void worker_pin(const struct worker *w)
{
	cpu_set_t set;

	if (w->pump.queue >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET(w->pump.queue, &set);
	/* A processor that is not there makes no requests. */
	sched_setaffinity(0, sizeof(set), &set);
}

/* The task that registers is the one whose the entries are. */
static void *worker_main(void *arg)
{
	struct worker *w = arg;

	worker_pin(w);
	pump_register(&w->pump);
	submit(&w->pump.ring);
	/* What failed has completed by now; requests may have come too. */
	if (pump_requests(&w->pump))
		relay_ring_wake(w->pump.map, w->pump.queue);
	sem_post(&w->keeper->registered);
	worker_serve(w);
	return NULL;
}

/* Commands for /dev/fuse, which is file 0, are all that the ring takes. */
static int ring_restrict(int fd)
{
	static const struct io_uring_restriction rules[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_URING_CMD},
		{.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE},
	};
	int err = ring_register(fd, IORING_REGISTER_RESTRICTIONS, rules, 2);

	return err ? err : ring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int worker_make(struct worker *w)
{
	int fd, err;

	w->params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED;
	w->params.cq_entries = 2 * RELAY_RING_DEPTH;
	fd = ring_create(RELAY_RING_DEPTH, &w->params);
	if (fd < 0)
		return fd;
	err = ring_register(fd, IORING_REGISTER_FILES, &w->keeper->device, 1);
	if (!err)
		err = ring_register(fd, IORING_REGISTER_EVENTFD, &w->kick, 1);
	if (!err)
		err = ring_restrict(fd);
	if (!err)
		err = ring_map(&w->pump.ring, fd, &w->params);
	if (!err)
		ring_identity(&w->pump.ring, &w->params);
	return err;
}

/* ---- the process ------------------------------------------------------------ */

static int begin_receive(struct keeper *k, uint32_t *queues)
{
	struct keeper_begin begin;
	int fds[2] = {-1, -1};
	unsigned nfds = 2;
	ssize_t n = relay_internal_recv_fds(KEEPER_SOCKET, &begin, sizeof(begin), fds, &nfds);

	if (n != sizeof(begin) || nfds != 2)
		return n < 0 ? (int)n : -EPROTO;
	k->device = fds[0];
	k->rings_fd = fds[1];
	*queues = begin.queues;
	return 0;
}

static int kick_receive(int *kick)
{
	unsigned nfds = 1;
	char byte;
	ssize_t n = relay_internal_recv_fds(KEEPER_SOCKET, &byte, 1, kick, &nfds);

	return n == 1 && nfds == 1 ? 0 : n < 0 ? (int)n : -EPROTO;
}

static int begin(struct keeper *k)
{
	uint32_t queues = 0;
	int err = begin_receive(k, &queues);

	if (!err)
		err = relay_rings_map(&k->map, k->rings_fd);
	if (!err && k->map.queues != queues)
		err = -EPROTO;
	if (err)
		return err;
	k->workers = calloc(queues, sizeof(*k->workers));
	if (!k->workers)
		return -ENOMEM;
	for (uint32_t q = 0; !err && q < queues; q++) {
		k->workers[q].keeper = k;
		pump_init(&k->workers[q].pump, &k->map, q);
		err = kick_receive(&k->workers[q].kick);
		if (!err)
			err = worker_make(&k->workers[q]);
	}
	return err;
}

static int register_all(struct keeper *k)
{
	int err = 0;

	for (uint32_t q = 0; q < k->map.queues; q++) {
		pthread_t thread;

		err = -pthread_create(&thread, NULL, worker_main, &k->workers[q]);
		if (err)
			return err;
	}
	for (uint32_t q = 0; q < k->map.queues; q++)
		while (sem_wait(&k->registered) < 0)
			;
	for (uint32_t q = 0; q < k->map.queues && !err; q++)
		err = k->workers[q].pump.err;
	return err;
}

static void answer(int32_t err)
{
	if (send(KEEPER_SOCKET, &err, sizeof(err), MSG_NOSIGNAL) < 0 || err)
		_exit(1);
}

static void wait_for_byte(void)
{
	char byte;
	ssize_t n;

	do {
		n = recv(KEEPER_SOCKET, &byte, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		_exit(0);
}

int main(void)
{
	static struct keeper keeper;

	/* Who stops a service signals all its processes: relayd unmounts first, and then lets go of this one. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sem_init(&keeper.registered, 0, 0);
	answer(begin(&keeper));
	/* The rings are made, and nothing is ever executed. */
	rights_keep(RIGHTS_NONE);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	wait_for_byte();
	answer(register_all(&keeper));
	for (;;) {
		wait_for_byte();
		for (uint32_t q = 0; q < keeper.map.queues; q++)
			relay_ring_kick(keeper.workers[q].kick);
	}
}
