/*
 * Question 4: what each way of owning the ring costs against /dev/fuse.
 *
 *   bench [--rounds N] [--ms N] [--threads 1,4,16]
 *
 * All mounts are there at once, and each round measures every cell of way x work
 * x threads once, so that a slow moment of the machine hits all ways alike. One
 * line for each goes to the standard output:
 *
 *   way work threads operations/s microseconds-per-operation server-CPU-us-per-operation
 *
 * and last a line "idle" per way: the share of one processor that its keeper and
 * backend use while nothing happens any more. summary.awk makes the table.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"

struct way {
	const char *name;
	enum lane_owner owner;
	unsigned int idle_ms;
	bool sq_thread_each;
	bool unpinned;
	struct mount_point mount;
	struct lane lane;
	pid_t keeper;
};

static struct way ways[] = {
	{.name = "dev", .owner = LANE_DEV, .unpinned = true},
	{.name = "dev-pinned", .owner = LANE_DEV},
	{.name = "own", .owner = LANE_BACKEND},
	{.name = "sqpoll-one", .owner = LANE_SQPOLL, .idle_ms = 1},
	{.name = "sqpoll-each", .owner = LANE_SQPOLL, .idle_ms = 1, .sq_thread_each = true},
	{.name = "pump", .owner = LANE_PUMP},
	{.name = "sealed", .owner = LANE_SEALED},
};

#define WAYS (sizeof(ways) / sizeof(*ways))

/* One client thread. */
struct client {
	const struct way *way;
	const struct work *work;
	unsigned int number;
	pthread_t thread;
	uint64_t done;
	int error;
};

struct work {
	const char *name;
	size_t size; /* of a read, 0 for the others */
	int (*run)(struct client *c, const char *path, int fd, char *buf);
};

static volatile bool stopping;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* LOOKUP and GETATTR */
static int run_stat(struct client *c, const char *path, int fd, char *buf)
{
	struct stat st;

	(void)c;
	(void)fd;
	(void)buf;
	return stat(path, &st);
}

/* GETATTR */
static int run_fstat(struct client *c, const char *path, int fd, char *buf)
{
	struct stat st;

	(void)c;
	(void)path;
	(void)buf;
	return fstat(fd, &st);
}

static int run_read(struct client *c, const char *path, int fd, char *buf)
{
	size_t size = c->work->size;
	uint64_t offset = (c->done * 7919 % 512) * size;

	(void)path;
	return pread(fd, buf, size, offset) == (ssize_t)size && *(uint64_t *)buf == offset ? 0 : -1;
}

static const struct work works[] = {
	{"stat", 0, run_stat},
	{"fstat", 0, run_fstat},
	{"read-4k", 4096, run_read},
	{"read-1m", 1 << 20, run_read},
};

#define WORKS (sizeof(works) / sizeof(*works))

static void *client_main(void *arg)
{
	struct client *c = arg;
	char path[96];
	char *buf;
	int fd;

	snprintf(path, sizeof(path), "%s/f%u", c->way->mount.dir, c->number % 10);
	buf = aligned_alloc(4096, 1 << 20);
	fd = open(path, O_RDONLY);
	if (fd < 0 || !buf) {
		c->error = fd < 0 ? errno : ENOMEM;
		free(buf);
		return NULL;
	}
	while (!stopping) {
		if (c->work->run(c, path, fd, buf) < 0) {
			c->error = errno ? errno : EIO;
			break;
		}
		c->done++;
	}
	close(fd);
	free(buf);
	return NULL;
}

static uint64_t server_ns(const struct way *w)
{
	return keeper_cpu_ns(w->keeper) + keeper_cpu_ns(w->lane.shared->backend);
}

static int measure(const struct way *w, const struct work *work, unsigned int threads, unsigned int ms)
{
	struct client c[threads];
	uint64_t start, cpu, done = 0, took;

	memset(c, 0, sizeof(c));
	stopping = false;
	cpu = server_ns(w);
	start = now_ns();
	for (unsigned int i = 0; i < threads; i++) {
		c[i].way = w;
		c[i].work = work;
		c[i].number = i;
		if (pthread_create(&c[i].thread, NULL, client_main, &c[i])) {
			fprintf(stderr, "no thread\n");
			exit(1);
		}
	}
	usleep(ms * 1000);
	stopping = true;
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(c[i].thread, NULL);
		done += c[i].done;
		if (c[i].error) {
			fprintf(stderr, "%s %s: %s\n", w->name, work->name, strerror(c[i].error));
			return -1;
		}
	}
	took = now_ns() - start;
	cpu = server_ns(w) - cpu;
	printf("%s %s %u %.0f %.2f %.2f\n", w->name, work->name, threads, done * 1e9 / took,
	       took / 1e3 * threads / done, cpu / 1e3 / done);
	return 0;
}

static int start(struct way *w)
{
	int err = mount_open(&w->mount, w->owner != LANE_DEV);

	if (err)
		return err;
	err = lane_init(&w->lane, &w->mount, w->owner);
	if (err)
		return err;
	w->lane.idle_ms = w->idle_ms;
	w->lane.sq_thread_each = w->sq_thread_each;
	w->lane.pinned = !w->unpinned;
	w->lane.fresh_map = w->owner != LANE_DEV && w->owner != LANE_BACKEND;
	w->keeper = keeper_start(&w->lane);
	keeper_allow(&w->lane, 1);
	return 0;
}

static void measure_idle(void)
{
	uint64_t cpu[WAYS];

	usleep(300000); /* the last round is over */
	for (unsigned int i = 0; i < WAYS; i++)
		cpu[i] = server_ns(&ways[i]);
	sleep(2);
	for (unsigned int i = 0; i < WAYS; i++)
		printf("%s idle 0 %.4f 0 0\n", ways[i].name, (server_ns(&ways[i]) - cpu[i]) / 2e9);
}

static int measure_round(const char *list, unsigned int ms)
{
	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		for (unsigned int k = 0; k < WORKS; k++)
			for (unsigned int i = 0; i < WAYS; i++)
				if (measure(&ways[i], &works[k], atoi(p), ms) < 0)
					return 1;
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"ms", required_argument, NULL, 'm'},
		{"threads", required_argument, NULL, 't'},
		{0},
	};
	unsigned int rounds = 7, ms = 300;
	const char *threads = "1,4,16", *lacks = mount_lacks();
	int c, err = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			rounds = atoi(optarg);
		else if (c == 'm')
			ms = atoi(optarg);
		else if (c == 't')
			threads = optarg;
		else
			return 2;
	}
	if (lacks) {
		fprintf(stderr, "skipped: no %s\n", lacks);
		return 77;
	}
	for (unsigned int i = 0; i < WAYS && !err; i++) {
		err = start(&ways[i]);
		if (err)
			fprintf(stderr, "%s: %s\n", ways[i].name, strerror(-err));
	}
	for (unsigned int i = 0; i < rounds && !err; i++)
		err = measure_round(threads, ms);
	if (!err)
		measure_idle();
	for (unsigned int i = 0; i < WAYS; i++) {
		if (!ways[i].keeper)
			continue;
		mount_close(&ways[i].mount);
		keeper_stop(&ways[i].lane, ways[i].keeper);
	}
	return err ? 1 : 0;
}
