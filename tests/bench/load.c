/*
 * The load of `make bench`: one work, in one directory, by some threads.
 *
 *	load --dir DIR --work NAME [--threads N] [--seconds S] [--pid PID]... [OPTION]...
 *
 * prints one line: operations, nanoseconds that went by, nanoseconds of processor time
 * of this process and its children, and those of the processes that --pid names, which
 * are the filesystem's.  Threads begin together; what they do in the first tenth of a
 * second, in which caches and processors warm up, does not count.  An operation that
 * fails ends the program with status 1: there is no figure for a mount that fails.
 *
 *	load --dir DIR --prepare
 *
 * makes the files that the works want.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define WARM_NS 100000000ull
#define SECOND_NS 1000000000ull

/* All clocks at one moment. */
struct clocks {
	uint64_t wall_ns;
	uint64_t client_ns;
	uint64_t server_ns;
	uint64_t ops;
};

static struct load load = {
	.threads = 1,
	.seconds_ns = SECOND_NS / 2,
	.file_size = 32 << 20,
	.small = 5000,
};

static struct worker workers[LOAD_THREADS_MAX];
static pid_t pids[LOAD_PIDS_MAX];
static unsigned int pid_count;
static const struct work *work;
static atomic_bool over;
static pthread_barrier_t ready, go, done;

int load_failed(const char *what, const char *name)
{
	int error = errno;

	fprintf(stderr, "load: %s: %s: %s\n", name, what, strerror(error));
	return -error;
}

char *load_path(const struct load *of, const char *format, ...)
{
	char name[256], *path;
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (asprintf(&path, "%s/%s", of->dir, name) >= 0)
		return path;
	errno = ENOMEM;
	load_failed("a path", of->dir);
	return NULL;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) < 0)
		return 0;
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

uint64_t load_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Processor time of all threads of a process, also of those that have ended. */
static uint64_t process_ns(pid_t pid)
{
	clockid_t clock;

	errno = clock_getcpuclockid(pid, &clock);
	if (errno) {
		load_failed("process", "the filesystem");
		exit(1);
	}
	return clock_ns(clock);
}

static uint64_t children_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND_NS +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

static struct clocks clocks_read(void)
{
	struct clocks clocks = {0};

	for (unsigned int i = 0; i < load.threads; i++)
		clocks.ops += atomic_load_explicit(&workers[i].ops, memory_order_relaxed);
	clocks.wall_ns = load_now_ns();
	clocks.client_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + children_ns();
	for (unsigned int i = 0; i < pid_count; i++)
		clocks.server_ns += process_ns(pids[i]);
	return clocks;
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;

	worker->error = work->begin ? work->begin(worker) : 0;
	pthread_barrier_wait(&ready);
	pthread_barrier_wait(&go);
	while (worker->error == 0 && !atomic_load_explicit(&over, memory_order_relaxed)) {
		int ops = work->step(worker);

		if (ops < 0)
			worker->error = ops;
		else
			atomic_fetch_add_explicit(&worker->ops, (uint64_t)ops, memory_order_relaxed);
		if (work->whole)
			break;
	}
	if (worker->error)
		atomic_store_explicit(&over, true, memory_order_relaxed);
	/* A work that is measured to its end must not have its tidying measured. */
	if (work->whole)
		pthread_barrier_wait(&done);
	if (work->end)
		work->end(worker);
	return NULL;
}

static void wait_ns(uint64_t ns)
{
	struct timespec time = {.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
		;
}

static int run(void)
{
	struct clocks before, after;
	pthread_t threads[LOAD_THREADS_MAX];
	int error = 0;

	pthread_barrier_init(&ready, NULL, load.threads + 1);
	pthread_barrier_init(&go, NULL, load.threads + 1);
	pthread_barrier_init(&done, NULL, load.threads + 1);
	for (unsigned int i = 0; i < load.threads; i++) {
		workers[i] = (struct worker){.load = &load, .number = i, .fd = -1, .dirfd = -1, .random = i + 1};
		error = pthread_create(&threads[i], NULL, worker_run, &workers[i]);
		if (error) {
			errno = error;
			load_failed("a thread", work->name);
			exit(1);
		}
	}
	pthread_barrier_wait(&ready);
	before = clocks_read();
	pthread_barrier_wait(&go);
	if (work->whole) {
		pthread_barrier_wait(&done);
	} else {
		wait_ns(WARM_NS);
		before = clocks_read();
	}
	/* Without an operation there is no figure. */
	do {
		if (!work->whole)
			wait_ns(load.seconds_ns);
		after = clocks_read();
	} while (after.ops == before.ops && !work->whole && !over);
	over = true;
	for (unsigned int i = 0; i < load.threads; i++) {
		pthread_join(threads[i], NULL);
		if (workers[i].error)
			error = workers[i].error;
	}
	if (error)
		return error;
	printf("%llu,%llu,%llu,%llu\n", (unsigned long long)(after.ops - before.ops),
	       (unsigned long long)(after.wall_ns - before.wall_ns),
	       (unsigned long long)(after.client_ns - before.client_ns),
	       (unsigned long long)(after.server_ns - before.server_ns));
	return 0;
}

/* Nothing is done: what the filesystem's processes do meanwhile is what is wanted. */
static int idle_step(struct worker *worker)
{
	(void)worker;
	wait_ns(SECOND_NS / 100);
	return 1;
}

static const struct work works_own[] = {{.name = "idle", .step = idle_step}, {0}};

static const struct work *work_find(const char *name)
{
	const struct work *const tables[] = {works_own, load_works_meta, load_works_data, load_works_untar};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct work *row = tables[i]; row->name; row++) {
			if (strcmp(row->name, name) == 0)
				return row;
		}
	}
	return NULL;
}

static void usage(FILE *to)
{
	fputs("usage: load --dir DIR --work NAME [--threads N] [--seconds S] [--pid PID]...\n"
	      "            [--size BYTES] [--drop] [--archives DIR] [--files N]\n"
	      "       load --dir DIR --work pause\n"
	      "       load --dir DIR --prepare [--size BYTES] [--files N]\n",
	      to);
}

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "load: %s: %s\n", what, value ? value : "is missing");
	usage(stderr);
	return 2;
}

static double number(const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= least && value <= most))
		exit(wrong("no such number here", text));
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"archives", required_argument, NULL, 'a'}, {"dir", required_argument, NULL, 'd'},
		{"drop", no_argument, NULL, 'D'},	    {"files", required_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},	    {"pid", required_argument, NULL, 'p'},
		{"prepare", no_argument, NULL, 'P'},	    {"seconds", required_argument, NULL, 's'},
		{"size", required_argument, NULL, 'S'},	    {"threads", required_argument, NULL, 't'},
		{"work", required_argument, NULL, 'w'},	    {0},
	};
	const char *name = NULL;
	bool prepare = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'a':
			load.archives = optarg;
			break;
		case 'd':
			load.dir = optarg;
			break;
		case 'D':
			load.drop = true;
			break;
		case 'f':
			load.small = (unsigned int)number(optarg, 1, 1000000);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'p':
			if (pid_count == LOAD_PIDS_MAX)
				return wrong("too many --pid", optarg);
			pids[pid_count++] = (pid_t)number(optarg, 1, 1 << 22);
			break;
		case 'P':
			prepare = true;
			break;
		case 's':
			load.seconds_ns = (uint64_t)(number(optarg, 0.01, 3600) * (double)SECOND_NS);
			break;
		case 'S':
			load.file_size = (uint64_t)number(optarg, LOAD_CHUNK, 1ull << 40) & ~(uint64_t)(LOAD_CHUNK - 1);
			break;
		case 't':
			load.threads = (unsigned int)number(optarg, 1, LOAD_THREADS_MAX);
			break;
		case 'w':
			name = optarg;
			break;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc)
		return wrong("what is this", argv[optind]);
	if (!load.dir)
		return wrong("--dir", NULL);
	if (prepare)
		return load_prepare(&load) < 0;
	if (!name)
		return wrong("--work", NULL);
	if (strcmp(name, "pause") == 0)
		return load_pause(&load) < 0;
	work = work_find(name);
	if (!work)
		return wrong("no such work", name);
	return run() < 0;
}
