/*
 * Some make names and take them away, others look them up: is a name ever absent that is there, or
 * there that is absent?
 *
 *	lookers DIR CHANGES CERTAIN SECONDS
 *
 * Runs until its standard input has ended and there were so many changes and so many looks that were
 * certain, or until the time is over.  DIR gets three directories: one that was listed once, one
 * that never was, and one that is listed again and again.  A name is its maker's, who says before a
 * change that there is one, and after it what there is.  A look between two readings of the same
 * is certain of its answer; any answer is right for others.  Some names are never made.
 *
 * Prints "CHANGES LOOKS CERTAIN WRONG"; leaves with 1 if any was wrong, or there were too few.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"

#define DIRS 3u
#define NAMES 24u
#define MAKERS 3u
#define LOOKERS 3u
/* Names from here on are never made. */
#define NEVER 16u

struct name {
	int at; /* its directory: by descriptor, since the way to it is not what is looked up */
	char text[128];
	atomic_uint changes; /* odd: there is one right now */
	atomic_bool there;
	bool dir; /* the maker's */
};

struct worker {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	atomic_ullong done;
	atomic_ullong certain;
	atomic_ullong wrong;
};

struct counts {
	unsigned long long changes, looks, certain, wrong;
};

static struct worker workers[MAKERS + LOOKERS + 1];
static struct name names[DIRS * NAMES];
static struct counts least;
static atomic_bool over;
static int base;

static uint32_t next_random(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return (uint32_t)(worker->random >> 32);
}

static void wrong(struct worker *worker, const char *what, const struct name *name, int result, int error)
{
	if (worker->wrong++ < 10)
		printf("wrong: %s of %s: %s\n", what, name->text, result < 0 ? strerror(error) : "it is there");
}

/* ---- makers ---- */

static int make_file(int at, const char *path)
{
	int fd = openat(at, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

static int make_dir(int at, const char *path)
{
	return mkdirat(at, path, 0700);
}

static int make_symlink(int at, const char *path)
{
	return symlinkat("nowhere", at, path);
}

static int make_fifo(int at, const char *path)
{
	return mknodat(at, path, S_IFIFO | 0600, 0);
}

static int make_link(int at, const char *path)
{
	return linkat(base, "source", at, path, 0);
}

static const struct {
	const char *name;
	int (*make)(int at, const char *path);
} makes[] = {
	{"open", make_file}, {"mkdir", make_dir}, {"symlink", make_symlink}, {"mknod", make_fifo}, {"link", make_link}};

static void change_end(struct name *name, bool there)
{
	name->there = there;
	name->changes++;
}

static struct name *own_name(struct worker *worker)
{
	unsigned i = next_random(worker) % (DIRS * NEVER / MAKERS) * MAKERS + worker->index;

	return &names[i / NEVER * NAMES + i % NEVER];
}

static void move(struct worker *worker, struct name *from, struct name *to)
{
	to->changes++;
	if (renameat(from->at, from->text, to->at, to->text) < 0)
		wrong(worker, "rename", from, -1, errno);
	to->dir = from->dir;
	change_end(to, true);
	change_end(from, false);
}

static void *make(void *arg)
{
	struct worker *worker = arg;

	while (!over && worker->wrong < 10) {
		struct name *name = own_name(worker), *other = own_name(worker);
		unsigned kind = next_random(worker) % (sizeof(makes) / sizeof(makes[0]));

		name->changes++;
		if (!name->there) {
			if (makes[kind].make(name->at, name->text) < 0)
				wrong(worker, makes[kind].name, name, -1, errno);
			name->dir = kind == 1;
			change_end(name, true);
		} else if (!other->there && next_random(worker) % 2) {
			move(worker, name, other);
		} else {
			if (unlinkat(name->at, name->text, name->dir ? AT_REMOVEDIR : 0) < 0)
				wrong(worker, "unlink", name, -1, errno);
			change_end(name, false);
		}
		worker->done++;
	}
	return NULL;
}

/* ---- lookers ---- */

static void *look(void *arg)
{
	struct worker *worker = arg;

	while (!over && worker->wrong < 10) {
		struct name *name = &names[next_random(worker) % (DIRS * NAMES)];
		unsigned before = name->changes;
		bool there = name->there;
		struct stat st;
		int result = fstatat(name->at, name->text, &st, AT_SYMLINK_NOFOLLOW), error = errno;

		worker->done++;
		if (result < 0 && error != ENOENT)
			wrong(worker, "stat", name, result, error);
		if (before % 2 || name->changes != before)
			continue;
		worker->certain++;
		if ((result == 0) != there)
			wrong(worker, "stat", name, result, error);
	}
	return NULL;
}

static void list(const char *path)
{
	int fd = openat(base, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		check_abort("%s: %s", path, strerror(errno));
	errno = 0;
	while (readdir(dir))
		;
	if (errno)
		check_abort("%s cannot be listed: %s", path, strerror(errno));
	closedir(dir);
}

static void *list_again(void *arg)
{
	struct worker *worker = arg;

	while (!over) {
		list("again");
		worker->done++;
	}
	return NULL;
}

/* Names of each kind of key: of up to 16, up to 48 and more bytes. */
static void names_begin(void)
{
	static const char *const dirs[DIRS] = {"once", "never", "again"};

	for (unsigned i = 0; i < DIRS; i++) {
		int at = mkdirat(base, dirs[i], 0700) < 0 ? -1
							  : openat(base, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (at < 0)
			check_abort("%s: %s", dirs[i], strerror(errno));
		for (unsigned j = 0; j < NAMES; j++) {
			struct name *name = &names[i * NAMES + j];

			name->at = at;
			snprintf(name->text, sizeof(name->text), "n%u%.*s", j, (int)(j % 3 * 30),
				 "------------------------------------------------------------");
		}
	}
	if (make_file(base, "source") < 0)
		check_abort("source: %s", strerror(errno));
	list("once");
}

static struct counts counts_sum(void)
{
	struct counts sum = {0};

	for (unsigned i = 0; i < MAKERS + LOOKERS; i++) {
		*(i < MAKERS ? &sum.changes : &sum.looks) += workers[i].done;
		sum.certain += workers[i].certain;
		sum.wrong += workers[i].wrong;
	}
	return sum;
}

static bool enough(void *arg)
{
	struct pollfd *input = arg;
	const struct counts sum = counts_sum();

	return sum.wrong || (poll(input, 1, 0) > 0 && sum.changes >= least.changes && sum.certain >= least.certain);
}

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct counts sum;
	bool had_enough;

	base = argc == 5 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (base < 0)
		check_abort("usage: lookers DIR CHANGES CERTAIN SECONDS");
	least.changes = strtoull(argv[2], NULL, 10);
	least.certain = strtoull(argv[3], NULL, 10);
	names_begin();
	for (unsigned i = 0; i < MAKERS + LOOKERS + 1; i++) {
		void *(*does)(void *) = i < MAKERS ? make : i < MAKERS + LOOKERS ? look : list_again;

		workers[i].index = i;
		workers[i].random = 88172645463325252u + i * 977;
		if (pthread_create(&workers[i].thread, NULL, does, &workers[i]) != 0)
			check_abort("no thread");
	}
	had_enough = check_until(enough, &input, (unsigned)strtoul(argv[4], NULL, 10) * 1000);
	over = true;
	for (unsigned i = 0; i < MAKERS + LOOKERS + 1; i++)
		pthread_join(workers[i].thread, NULL);
	sum = counts_sum();
	printf("%llu %llu %llu %llu\n", sum.changes, sum.looks, sum.certain, sum.wrong);
	return sum.wrong || !had_enough;
}
