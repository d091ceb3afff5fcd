/* See keeper.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"

/* One thread of a keeper or of a backend. */
struct worker {
	struct lane *lane;
	unsigned int queue;
};

static void fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-err));
	_exit(1);
}

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static pthread_t start_worker(void *(*run)(void *), struct lane *l, unsigned int q)
{
	struct worker *w = malloc(sizeof(*w));
	pthread_t thread;
	int err;

	if (!w)
		fail("worker", -ENOMEM);
	w->lane = l;
	w->queue = q;
	err = pthread_create(&thread, NULL, run, w);
	if (err)
		fail("worker", -err);
	return thread;
}

/* ---- the backend ----------------------------------------------------------- */

static void *run_queue(void *arg)
{
	const struct worker *w = arg;
	struct lane *l = w->lane;
	struct ring r;
	int err = 0;

	if (l->pinned)
		pin(w->queue);
	if (l->owner == LANE_BACKEND)
		err = lane_own(l, w->queue, &r);
	if (err)
		fail("owning a ring", err);
	err = lane_serve(l, w->queue);
	if (err && err != -EOWNERDEAD) /* the keeper's SQPOLL thread is gone, and so are we, soon */
		fail("serving a ring", err);
	return NULL;
}

/* The lane without a ring: as many readers as there are queues. */
static void *run_dev(void *arg)
{
	const struct worker *w = arg;
	struct lane *l = w->lane;
	size_t size = TINYFS_MAX_IO + 4096;
	char *buf = aligned_alloc(4096, size), *out = aligned_alloc(4096, size);
	const struct fuse_in_header *in = (const void *)buf;

	if (!buf || !out)
		fail("buffer", -ENOMEM);
	if (l->pinned)
		pin(w->queue);
	for (;;) {
		ssize_t n = read(l->mount->fd, buf, size);
		struct fuse_out_header *head = (void *)out;
		const char *op = buf + sizeof(*in);
		int len;

		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(*in))
			return NULL;
		len = tinyfs_answer(in, op, op + tinyfs_op_size(in->opcode), out + sizeof(*head));
		if (len == -EALREADY)
			continue;
		*head = (struct fuse_out_header){
			.len = sizeof(*head) + (len < 0 ? 0 : len), .error = len < 0 ? len : 0, .unique = in->unique};
		/* ENOENT: the request was interrupted */
		if (write(l->mount->fd, out, head->len) < 0 && errno != ENOENT)
			return NULL;
	}
}

static void backend_main(struct lane *l)
{
	pthread_t threads[LANE_QUEUES];
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = l->fresh_map ? lane_map_again(l) : 0;
	if (err)
		fail("mapping the memory", err);
	for (unsigned int q = 0; q < l->queues; q++)
		threads[q] = start_worker(l->owner == LANE_DEV ? run_dev : run_queue, l, q);
	for (unsigned int q = 0; q < l->queues; q++)
		pthread_join(threads[q], NULL);
	_exit(0);
}

/* ---- the keeper ------------------------------------------------------------ */

/* Held while a backend lives. Who has it may act in the place of the backend that is not there. */
static pthread_mutex_t backend_lives = PTHREAD_MUTEX_INITIALIZER;

/* An application must not wait for a backend that may never come. */
static void on_interrupt(struct lane *l, uint64_t unique)
{
	if (pthread_mutex_trylock(&backend_lives) == 0) {
		if (lane_give_up(l, unique, -EINTR) == 1)
			lane_count(&l->shared->given_up);
		pthread_mutex_unlock(&backend_lives);
	}
	l->shared->interrupted = unique;
	lane_count(&l->shared->interrupts);
}

/* FORGET and INTERRUPT come by /dev/fuse even where everything else comes by the rings. */
static void *run_reader(void *arg)
{
	const struct worker *w = arg;
	struct lane_shared *shared = w->lane->shared;
	static char buf[TINYFS_MAX_IO + 4096];
	const struct fuse_in_header *in = (const void *)buf;
	const struct fuse_interrupt_in *interrupt = (const void *)(buf + sizeof(*in));

	for (;;) {
		ssize_t n = read(w->lane->mount->fd, buf, sizeof(buf));

		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
			continue;
		if (n < 0)
			return NULL;
		if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET) {
			lane_count(&shared->forgets);
		} else if (in->opcode == FUSE_INTERRUPT) {
			on_interrupt(w->lane, interrupt->unique);
		} else {
			lane_count(&shared->others);
		}
	}
}

static void *run_pump(void *arg)
{
	const struct worker *w = arg;

	pin(w->queue);
	fail("owning a ring", lane_pump(w->lane, w->queue));
	return NULL;
}

static void own_all(struct lane *l)
{
	for (unsigned int q = 0; q < l->queues; q++) {
		struct ring r;
		int err = 0;

		if (l->owner == LANE_SQPOLL)
			err = lane_own(l, q, &r);
		else if (l->owner == LANE_PUMP || l->owner == LANE_SEALED)
			start_worker(run_pump, l, q);
		if (err)
			fail("owning a ring", err);
		while (l->owner != LANE_BACKEND && !__atomic_load_n(&l->shared->queue[q].owned, __ATOMIC_ACQUIRE))
			sched_yield();
	}
}

static void keeper_main(struct lane *l)
{
	uint64_t token;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (l->owner != LANE_DEV) {
		own_all(l);
		start_worker(run_reader, l, 0);
	}
	if (l->blind_owner && lane_blind(l) < 0)
		fail("protecting the slots", -errno);
	while (read(l->go_fd, &token, sizeof(token)) == sizeof(token) || errno == EINTR) {
		pid_t pid;

		pthread_mutex_lock(&backend_lives);
		pid = fork();
		if (pid < 0)
			fail("fork", -errno);
		if (pid == 0)
			backend_main(l);
		__atomic_store_n(&l->shared->backend, pid, __ATOMIC_RELEASE);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		pthread_mutex_unlock(&backend_lives);
		__atomic_store_n(&l->shared->backend, 0, __ATOMIC_RELEASE);
	}
	_exit(0);
}

pid_t keeper_start(struct lane *l)
{
	pid_t pid;

	for (unsigned int q = 0; q < l->queues; q++)
		l->shared->queue[q].owned = false;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		keeper_main(l);
	return pid;
}

void keeper_allow(struct lane *l, unsigned int n)
{
	uint64_t tokens = n;

	if (write(l->go_fd, &tokens, sizeof(tokens)) < 0)
		fail("starting a backend", -errno);
}

/* A descriptor of the running backend, or -1 if there is none. */
static int open_backend(const struct lane *l)
{
	pid_t pid = __atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE);

	return pid ? syscall(SYS_pidfd_open, pid, 0) : -1;
}

void keeper_stop(struct lane *l, pid_t keeper)
{
	struct pollfd backend = {.fd = open_backend(l), .events = POLLIN};

	kill(keeper, SIGKILL);
	waitpid(keeper, NULL, 0);
	/* The backend dies with it (PR_SET_PDEATHSIG). No other may touch the slots before it is dead. */
	while (backend.fd >= 0 && poll(&backend, 1, -1) < 0 && errno == EINTR)
		;
	if (backend.fd >= 0)
		close(backend.fd);
	l->shared->backend = 0;
}

void keeper_await_backend(const struct lane *l)
{
	while (!__atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE))
		usleep(100);
}

void keeper_kill_backend(struct lane *l)
{
	pid_t pid = __atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE);

	if (!pid)
		return;
	kill(pid, SIGKILL);
	while (__atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE) == pid)
		usleep(100);
}

uint64_t keeper_cpu_ns(pid_t pid)
{
	uint64_t sum = 0;
	char path[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		unsigned long long ns;
		char file[400];
		FILE *f;

		snprintf(file, sizeof(file), "%s/%s/schedstat", path, d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(file, "re");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

bool keeper_await(const uint64_t *counter, uint64_t value, unsigned int seconds)
{
	for (unsigned int tries = 0; tries < seconds * 1000; tries++) {
		if (__atomic_load_n(counter, __ATOMIC_ACQUIRE) >= value)
			return true;
		usleep(1000);
	}
	return false;
}
