/*
 * What the load generator's parts share: a work is a row of a table, a worker is one
 * thread that does it.  load.c starts the workers and reads the clocks.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_THREADS_MAX 64
#define LOAD_PIDS_MAX 16

/* What is in a directory that --prepare made, and what is asked of it. */
#define LOAD_MANY 10000
#define LOAD_BLOCK 4096
#define LOAD_CHUNK (1 << 20)

struct load {
	const char *dir;      /* where it is done */
	const char *archives; /* where untar's are: see load_untar.c */
	unsigned int threads;
	uint64_t seconds_ns; /* how long is measured */
	uint64_t file_size;  /* of each data file */
	unsigned int small;  /* files of untar */
	bool drop;	     /* what was read leaves the page cache before it is read again */
};

struct worker {
	const struct load *load;
	unsigned int number;
	int fd;
	int dirfd;
	void *buffer;
	uint64_t offset;
	uint64_t random;
	uint64_t turns;
	char *path;
	_Atomic uint64_t ops; /* read by the main thread while the worker goes on */
	int error;	      /* a negative errno that ended it; it has been reported */
};

struct work {
	const char *name;
	/* Before the clock is started, and after it was read. NULL: nothing to do. */
	int (*begin)(struct worker *worker);
	void (*end)(struct worker *worker);
	/* Some operations: how many, or a negative errno. */
	int (*step)(struct worker *worker);
	/* One step is all there is of it: measured from beginning to end. */
	bool whole;
};

extern const struct work load_works_meta[], load_works_data[], load_works_untar[];

/* Says on standard error what failed with errno, and returns it negative. */
int load_failed(const char *what, const char *name);

/* A name in the load's directory, to be freed by the caller; NULL, which was reported, without memory. */
char *load_path(const struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes in load->dir what the works want: a negative errno, which was reported, if it can't. */
int load_prepare(const struct load *load);

/* The pause of a mount whose backend is killed: commands come from standard input, see load_pause.c. */
int load_pause(const struct load *load);

uint64_t load_now_ns(void);

#endif
