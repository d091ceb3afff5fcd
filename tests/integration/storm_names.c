/*
 * Random operations on names, each done twice: below the mount and in a plain
 * directory.  The plain one is the model: every result and errno has to be the
 * same, and every so often the two trees.
 *
 *	storm_names MOUNT-DIR PLAIN-DIR SEED THREADS [KIND,...]
 *
 * Runs until its standard input ends.  Each thread has a directory of its own in
 * both.  The kinds of operations named last (by their numbers in run()) are left
 * out, for filesystems that cannot do them.  Prints the operations and the differences; leaves with 1 if there are any.
 */
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
#include <sys/xattr.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/text.h"
#include "../lib/tree.h"

#define THREADS_MAX 16
#define NAMES 12
#define COMPARE_EVERY 200

struct worker {
	pthread_t thread;
	char mount[256];
	char plain[256];
	uint64_t random;
	uint64_t operations;
	uint64_t errors;
};

static atomic_bool over;
static unsigned without; /* a bit for each kind of operation that is left out */

static uint32_t next_random(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return (uint32_t)(worker->random >> 32);
}

/* One operation: what it does to which names, drawn once and done in both places. */
struct operation {
	unsigned kind;
	char a[32];
	char b[32];
	uint32_t number;
};

static void draw_name(struct worker *worker, char *name, size_t size)
{
	uint32_t number = next_random(worker);
	const char *dir = number & 0x10000 ? "" : number & 0x20000 ? "d0/" : "d1/";

	snprintf(name, size, "%sn%u", dir, number % NAMES);
}

/* O_NONBLOCK, here and below: the name may be a fifo. */
static int create_file(int dir, const struct operation *op, int flags)
{
	int fd = openat(dir, op->a, flags | O_NONBLOCK | O_CLOEXEC, 0600 + (op->number & 077));
	ssize_t done;

	if (fd < 0)
		return -1;
	done = write(fd, op->b, strlen(op->b));
	close(fd);
	return (int)done;
}

/* Unlinks an open file, and uses it afterwards. */
static int unlink_open(int dir, const struct operation *op)
{
	char buffer[64] = "";
	int fd = openat(dir, op->a, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	if (unlinkat(dir, op->a, 0) < 0 || pwrite(fd, op->b, strlen(op->b), op->number % 100) < 0) {
		close(fd);
		return -2;
	}
	got = pread(fd, buffer, sizeof(buffer), op->number % 100);
	close(fd);
	return got == (ssize_t)strlen(op->b) && memcmp(buffer, op->b, (size_t)got) == 0 ? (int)got : -3;
}

/* Through /proc, because there is no setxattrat(). */
static int change_xattr(int dir, const struct operation *op)
{
	char path[96];
	char value[16];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, op->a);
	snprintf(value, sizeof(value), "%u", op->number);
	switch (op->number % 4) {
	case 0:
		return setxattr(path, "user.storm", value, strlen(value), XATTR_CREATE);
	case 1:
		return setxattr(path, "user.storm", value, strlen(value), XATTR_REPLACE);
	case 2:
		return removexattr(path, "user.storm");
	default:
		return (int)getxattr(path, "user.storm", value, sizeof(value));
	}
}

static int read_link(int dir, const struct operation *op)
{
	char body[64];

	return (int)readlinkat(dir, op->a, body, sizeof(body));
}

static int show_mode(int dir, const struct operation *op)
{
	struct stat st;

	return fstatat(dir, op->a, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -1 : (int)(st.st_mode + 100000 * st.st_nlink);
}

static int resize(int dir, const struct operation *op)
{
	int fd = openat(dir, op->a, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int result;

	if (fd < 0)
		return -1;
	result = ftruncate(fd, op->number % 10000);
	close(fd);
	return result;
}

static int run(int dir, const struct operation *op)
{
	switch (op->kind) {
	case 0:
	case 1:
		return create_file(dir, op, O_WRONLY | O_CREAT | O_EXCL);
	case 2:
		return create_file(dir, op, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
	case 3:
		return mkdirat(dir, op->a, 0700 + (op->number & 077));
	case 4:
		return unlinkat(dir, op->a, AT_REMOVEDIR);
	case 5:
		return unlinkat(dir, op->a, 0);
	case 6:
	case 7:
		return renameat(dir, op->a, dir, op->b);
	case 8:
		return renameat2(dir, op->a, dir, op->b, RENAME_NOREPLACE);
	case 9:
		return renameat2(dir, op->a, dir, op->b, RENAME_EXCHANGE);
	case 10:
		return linkat(dir, op->a, dir, op->b, 0);
	case 11:
		return symlinkat(op->b, dir, op->a);
	case 12:
		return fchmodat(dir, op->a, 0600 + (op->number & 077), 0);
	case 13:
		return mknodat(dir, op->a, S_IFIFO | 0600, 0);
	case 14:
		return unlink_open(dir, op);
	case 15:
		return change_xattr(dir, op);
	case 16:
		return read_link(dir, op);
	case 17:
		return resize(dir, op);
	case 18:
		return renameat2(dir, op->a, dir, op->b, RENAME_WHITEOUT);
	default:
		return show_mode(dir, op);
	}
}
#define KINDS 20

static void compare_trees(struct worker *worker)
{
	struct text mount = {0};
	struct text plain = {0};
	char where[512];

	/* The mount's tree as it is to applications. */
	tree_add(&mount, worker->mount);
	tree_add(&plain, worker->plain);
	if (!text_same(&plain, &mount, where, sizeof(where))) {
		printf("the trees differ after %llu operations: %s\n", (unsigned long long)worker->operations, where);
		worker->errors++;
	}
	text_free(&mount);
	text_free(&plain);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	int mount = open(worker->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int plain = open(worker->plain, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	while (!over && worker->errors < 10) {
		struct operation op = {.kind = next_random(worker) % KINDS, .number = next_random(worker)};
		int wanted_errno;
		int got_errno;
		int wanted;
		int got;

		draw_name(worker, op.a, sizeof(op.a));
		draw_name(worker, op.b, sizeof(op.b));
		if (without & 1u << op.kind)
			continue;
		errno = 0;
		got = run(mount, &op);
		got_errno = got < 0 ? errno : 0;
		errno = 0;
		wanted = run(plain, &op);
		wanted_errno = wanted < 0 ? errno : 0;
		if (got != wanted || got_errno != wanted_errno) {
			printf("operation %llu (kind %u, %s, %s): wanted %d %s, got %d %s\n",
			       (unsigned long long)worker->operations, op.kind, op.a, op.b, wanted,
			       text_errno(wanted_errno), got, text_errno(got_errno));
			worker->errors++;
		}
		if (++worker->operations % COMPARE_EVERY == 0)
			compare_trees(worker);
	}
	compare_trees(worker);
	close(mount);
	close(plain);
	return NULL;
}

static void worker_init(struct worker *worker, char **argv, unsigned index)
{
	char path[300];

	snprintf(worker->mount, sizeof(worker->mount), "%s/names%u", argv[1], index);
	snprintf(worker->plain, sizeof(worker->plain), "%s/names%u", argv[2], index);
	worker->random = strtoull(argv[3], NULL, 10) * 2654435761u + index * 977 + 88172645463325252u;
	for (int place = 0; place < 2; place++) {
		const char *base = place ? worker->plain : worker->mount;

		if (mkdir(base, 0755) < 0)
			check_abort("%s: %s", base, strerror(errno));
		for (int dir = 0; dir < 2; dir++) {
			snprintf(path, sizeof(path), "%s/d%d", base, dir);
			if (mkdir(path, 0755) < 0)
				check_abort("%s: %s", path, strerror(errno));
		}
	}
}

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct worker workers[THREADS_MAX] = {0};
	unsigned long long operations = 0;
	unsigned long long errors = 0;
	unsigned threads;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: storm_names MOUNT-DIR PLAIN-DIR SEED THREADS [KIND,...]\n");
		return 2;
	}
	for (const char *kind = argc == 6 ? argv[5] : NULL; kind; kind = strchr(kind, ',')) {
		kind += *kind == ',';
		without |= 1u << strtoul(kind, NULL, 10) % KINDS;
	}
	threads = (unsigned)strtoul(argv[4], NULL, 10);
	if (threads < 1 || threads > THREADS_MAX)
		return 2;
	umask(022);
	for (unsigned i = 0; i < threads; i++) {
		worker_init(&workers[i], argv, i);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			check_abort("no thread");
	}
	poll(&input, 1, -1);
	over = true;
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		operations += workers[i].operations;
		errors += workers[i].errors;
	}
	printf("%llu operations, %llu errors\n", operations, errors);
	return errors != 0;
}
