/*
 * Question 2: what a SIGKILL of the backend does to requests, by the thousand.
 *
 *   storm [--way sqpoll|sqpoll-each|pump|sealed|own] [--victim backend|keeper] [--nudge] [--seconds N] [--threads N]
 *
 * Client threads stat, fstat and read, and check every byte; meanwhile the
 * backend is killed again and again, at moments that nothing chooses. Passes if
 * no operation failed, none read wrong data, and none hangs: after the last
 * kill each client must end its operation within five seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"

#define READ_MAX 65536
#define PATIENCE 5 /* seconds */
#define CLIENTS_MAX 64

static const struct {
	const char *name;
	enum lane_owner owner;
	bool sq_thread_each;
} ways[] = {
	{"sqpoll", LANE_SQPOLL, false}, {"sqpoll-each", LANE_SQPOLL, true}, {"pump", LANE_PUMP, false},
	{"sealed", LANE_SEALED, false}, {"own", LANE_BACKEND, false},
};

struct client {
	const char *dir;
	unsigned int number;
	pthread_t thread;
	uint64_t done, errors, wrong, longest_ns;
	int error; /* the first */
	bool ended;
};

/* What the clients' process and ours share. */
struct results {
	bool stopping, aborted;
	struct client client[CLIENTS_MAX];
};

static struct results *results;

/* The command line. */
struct plan {
	bool kill_keeper, nudges;
	unsigned int seconds, threads;
};

static bool is(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int read_checked(struct client *c, int fd, uint64_t *buf, size_t size, uint64_t offset)
{
	ssize_t n = pread(fd, buf, size, offset);

	if (n < 0)
		return -errno;
	for (size_t i = 0; i < size / 8; i++) {
		if (n == (ssize_t)size && buf[i] == offset + 8 * i)
			continue;
		c->wrong++;
		break;
	}
	return 0;
}

static int run_one(struct client *c, const char *path, int fd, uint64_t *buf, unsigned int *seed)
{
	uint64_t offset = (uint64_t)(rand_r(seed) % 4096) * READ_MAX;
	struct stat st;

	switch (c->done % 4) {
	case 0:
		return stat(path, &st) < 0 ? -errno : 0;
	case 1:
		return fstat(fd, &st) < 0 ? -errno : 0;
	case 2:
		return read_checked(c, fd, buf, 4096, offset);
	default:
		return read_checked(c, fd, buf, READ_MAX, offset);
	}
}

static void *client_main(void *arg)
{
	struct client *c = arg;
	unsigned int seed = c->number + 1;
	uint64_t *buf = aligned_alloc(4096, READ_MAX);
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/f%u", c->dir, c->number % 10);
	fd = open(path, O_RDONLY);
	if (fd < 0 || !buf) {
		c->errors++;
		c->error = fd < 0 ? -errno : -ENOMEM;
	}
	while (fd >= 0 && buf && !is(&results->stopping)) {
		uint64_t start = now_ns(), took;
		int err = run_one(c, path, fd, buf, &seed);

		took = now_ns() - start;
		if (is(&results->aborted))
			break; /* it hung: main() counts it */
		if (err && !c->errors++)
			c->error = err;
		if (took > c->longest_ns)
			c->longest_ns = took;
		c->done++;
	}
	set(&c->ended);
	if (fd >= 0)
		close(fd);
	free(buf);
	return NULL;
}

/*
 * The clients are a process of their own: a keeper that was forked with their
 * open files would close them when it dies, and a FLUSH that waits for the ring
 * of the very task that waits for it cannot even be aborted.
 */
static pid_t start_clients(const char *dir, unsigned int threads)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned int i = 0; i < threads; i++) {
		struct client *c = &results->client[i];

		c->dir = dir;
		c->number = i;
		if (pthread_create(&c->thread, NULL, client_main, c))
			_exit(1);
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(results->client[i].thread, NULL);
	_exit(0);
}

/*
 * Kills until the time is up, and leaves a live backend. Returns how often. Every
 * other time the backend dies by itself, in one crash window after the other; if
 * no request gets it there within a second it is killed like the others.
 */
static unsigned int kill_for(struct lane *l, unsigned int seconds)
{
	uint64_t end = now_ns() + seconds * 1000000000ull;
	unsigned int kills = 0, seed = 1;

	while (now_ns() < end) {
		int backend;

		usleep(1000 + rand_r(&seed) % 20000); /* the load runs: nothing to wait for but time */
		backend = __atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE);
		if (!backend)
			continue;
		if (kills % 2) {
			l->shared->crash = 1 + kills / 2 % (LANE_CRASH_END - 1);
			for (int i = 0; i < 1000 && l->shared->backend == backend; i++)
				usleep(1000);
			l->shared->crash = 0;
		}
		if (__atomic_load_n(&l->shared->backend, __ATOMIC_ACQUIRE) == backend)
			keeper_kill_backend(l);
		keeper_allow(l, 1);
		kills++;
	}
	return kills;
}

/*
 * A request that was queued while there was no entry is not fetched by an entry
 * that is registered later, but by the next commit on its queue: so one request
 * from each processor sets those free that hang for no other reason. It is made
 * by a process of its own, for it may hang itself.
 */
static pid_t start_nudge(const struct lane *l)
{
	pid_t pid;
	struct stat st;
	cpu_set_t cpus;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	for (unsigned int q = 0; q < l->queues; q++) {
		CPU_ZERO(&cpus);
		CPU_SET(q, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		stat(l->mount->dir, &st);
	}
	_exit(0);
}

/* The same for the keeper, whose successor adopts the slots. With or without a nudge for each of them. */
static unsigned int kill_keeper_for(struct lane *l, pid_t *keeper, bool nudges, unsigned int seconds)
{
	uint64_t end = now_ns() + seconds * 1000000000ull;
	unsigned int kills = 0, seed = 1;

	for (; now_ns() < end; kills++) {
		usleep(1000 + rand_r(&seed) % 20000); /* as above */
		keeper_stop(l, *keeper);
		*keeper = keeper_start(l);
		keeper_allow(l, 1);
		keeper_await_backend(l);
		if (nudges) {
			/* reaped at the end: it may hang with those that it is for */
			start_nudge(l);
		}
	}
	return kills;
}

static unsigned int count_hung(const struct client *c, unsigned int threads)
{
	unsigned int hung = 0;

	for (unsigned int tries = 0; tries < PATIENCE * 100; tries++) {
		hung = 0;
		for (unsigned int i = 0; i < threads; i++)
			hung += !is(&c[i].ended);
		if (!hung)
			break;
		usleep(10000);
	}
	return hung;
}

static int storm(struct lane *l, const char *way, const struct plan *plan, pid_t *keeper)
{
	uint64_t done = 0, errors = 0, wrong = 0, longest = 0;
	pid_t clients = start_clients(l->mount->dir, plan->threads);
	unsigned int kills, hung, threads = plan->threads;
	int error = 0;

	if (plan->kill_keeper)
		kills = kill_keeper_for(l, keeper, plan->nudges, plan->seconds);
	else
		kills = kill_for(l, plan->seconds);
	set(&results->stopping);
	hung = count_hung(results->client, threads);
	if (hung) {
		start_nudge(l);
		printf("%s: %u clients hang, %u after a request on each queue\n", way, hung,
		       count_hung(results->client, threads));
		set(&results->aborted);
		mount_close(l->mount);
	}
	waitpid(clients, NULL, 0);
	for (unsigned int i = 0; i < threads; i++) {
		const struct client *c = &results->client[i];

		done += c->done;
		errors += c->errors;
		wrong += c->wrong;
		error = error ? error : c->error;
		longest = c->longest_ns > longest ? c->longest_ns : longest;
	}
	printf("%s: %u kills of the %s, %llu operations, %llu errors (%s), %llu wrong, %u of %u clients hung, longest "
	       "%.1f ms\n",
	       way, kills, plan->kill_keeper ? "keeper" : "backend", (unsigned long long)done,
	       (unsigned long long)errors, strerror(-error), (unsigned long long)wrong, hung, threads, longest / 1e6);
	printf("%s: %llu taken, %llu of them answered by a later backend, %llu CQEs left unread, %llu commits refused, "
	       "%llu failed\n",
	       way, (unsigned long long)l->shared->taken, (unsigned long long)l->shared->recovered,
	       (unsigned long long)l->shared->unread, (unsigned long long)l->shared->refused,
	       (unsigned long long)l->shared->failed);
	return errors || wrong || hung;
}

static int run(unsigned int w, const struct plan *plan)
{
	struct mount_point m;
	struct lane l;
	pid_t keeper;
	int err = mount_open(&m, true), failed;

	if (!err)
		err = lane_init(&l, &m, ways[w].owner);
	if (err) {
		fprintf(stderr, "%s: %s\n", ways[w].name, strerror(-err));
		return 1;
	}
	l.sq_thread_each = ways[w].sq_thread_each;
	/* without a ring that survives, the next backend must have the slots where the kernel knows them */
	l.fresh_map = l.owner != LANE_BACKEND;
	keeper = keeper_start(&l);
	keeper_allow(&l, 1);
	failed = storm(&l, ways[w].name, plan, &keeper);
	if (!results->aborted)
		mount_close(&m);
	keeper_stop(&l, keeper);
	lane_fini(&l);
	return failed;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"way", required_argument, NULL, 'w'},	   {"victim", required_argument, NULL, 'v'},
		{"nudge", no_argument, NULL, 'n'},	   {"seconds", required_argument, NULL, 's'},
		{"threads", required_argument, NULL, 't'}, {0},
	};
	struct plan plan = {.seconds = 10, .threads = 8};
	const char *way = "sqpoll", *lacks = mount_lacks();
	unsigned int w = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'w')
			way = optarg;
		else if (c == 'v' && (!strcmp(optarg, "keeper") || !strcmp(optarg, "backend")))
			plan.kill_keeper = optarg[0] == 'k';
		else if (c == 'n')
			plan.nudges = true;
		else if (c == 's')
			plan.seconds = atoi(optarg);
		else if (c == 't')
			plan.threads = atoi(optarg);
		else
			return 2;
	}
	while (w < sizeof(ways) / sizeof(*ways) && strcmp(ways[w].name, way))
		w++;
	if (w == sizeof(ways) / sizeof(*ways) || !plan.threads || plan.threads > CLIENTS_MAX) {
		fprintf(stderr, "%s: no such way, or not 1 to %d threads\n", way, CLIENTS_MAX);
		return 2;
	}
	if (lacks) {
		fprintf(stderr, "skipped: no %s\n", lacks);
		return 77;
	}
	results = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED) {
		perror("storm");
		return 1;
	}
	return run(w, &plan);
}
