/*
 * Open files, listings and locks are whole after a death at any instruction: as
 * test_relayd_crash.c, which has the nodes, does it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STATE_CRASH_POINTS /* as libstate_crash.la is built */
#include "locks.h"
#include "state_format.h"

static unsigned points_left; /* until the process ends; 0: it does not */

void state_crash_point(void)
{
	if (points_left && --points_left == 0)
		_exit(42);
}

struct world {
	struct state state;
	struct nodes nodes;
	struct handles handles;
	struct locks locks;
	uint64_t file, dir; /* handles */
};

static const struct fuse_in_header caller = {.uid = 1, .gid = 2, .pid = 3};

static void world_open(struct world *world, int fd)
{
	uint32_t sizes[STATE_TABLES];

	nodes_record_sizes(sizes);
	handles_record_sizes(sizes);
	dirlog_record_sizes(sizes);
	locks_record_sizes(sizes);
	if (fd < 0)
		cr_assert_eq(state_init(&world->state, sizes), 0);
	else
		cr_assert_eq(state_open(&world->state, fd, sizes), 0);
	cr_assert_eq(nodes_init(&world->nodes, &world->state, "crash"), 0);
	cr_assert_eq(handles_init(&world->handles, &world->state, &world->nodes), 0);
	cr_assert_eq(locks_init(&world->locks, &world->state, &world->nodes), 0);
}

static void world_close(struct world *world)
{
	nodes_deinit(&world->nodes);
	state_deinit(&world->state);
}

/* The node of the file, which the kernel may have forgotten. */
static struct node *file_node(struct world *world)
{
	return nodes_at(&world->nodes, handles_get(&world->handles, world->file)->node);
}

static void lock(struct world *world, uint64_t owner, uint64_t start, uint64_t end, uint32_t type)
{
	const struct fuse_lk_in in = {.owner = owner, .fh = world->file, .lk = {start, end, type, 3}};

	locks_set(&world->locks, file_node(world), &caller, &in);
}

static void list(struct world *world, uint32_t from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		dirlog_add(&world->handles, handles_get(&world->handles, world->dir), from + i, from + i);
}

/* A file that is open and that the kernel has forgotten, with locks; a directory read to entry 510, two parts. */
static void build(struct world *world)
{
	struct fuse_entry_out entry = {.nodeid = 10, .attr = {.mode = S_IFREG | 0644, .ino = 99}};
	struct node *root = nodes_get(&world->nodes, FUSE_ROOT_ID), *node;
	struct handle *handle;

	nodes_incarnation(&world->nodes, 1);
	cr_assert_eq(nodes_entry(&world->nodes, root, "file", &entry, NULL, &node), 0);
	nodes_count(node);
	cr_assert_eq(handles_new(&world->handles, node, &caller, O_RDWR, false, 1, &handle), 0);
	world->file = handle->fh;
	nodes_forget(&world->nodes, node->nodeid, 1);
	cr_assert_eq(handles_new(&world->handles, root, &caller, O_RDONLY, true, 2, &handle), 0);
	world->dir = handle->fh;
	list(world, 1, 510);
	lock(world, 1, 0, 9, F_RDLCK);
	lock(world, 1, 20, 29, F_WRLCK);
	lock(world, 2, 5, 9, F_RDLCK);
}

/* All that the tables say, as text; to be freed. */
static char *world_dump(struct world *world)
{
	struct dirlog_entry entries[1024];
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (uint32_t i = 1; i < state_end(&world->state, STATE_NODES); i++) {
		const struct node *node = nodes_at(&world->nodes, i);

		if (node)
			fprintf(out, "node %u: %u open, %u for writing\n", i, node->opens, node->writers);
	}
	for (struct handle *h = NULL; (h = handles_next(&world->handles, h)) != NULL;) {
		uint32_t count = dirlog_read(&world->handles, h, 0, entries, 1024);

		fprintf(out, "handle %llx: node %u, flags %u, at %u:", (unsigned long long)h->fh, h->node, h->flags,
			h->log_position);
		for (uint32_t i = 0; i < count; i++)
			fprintf(out, " %llu/%llu", (unsigned long long)entries[i].cookie,
				(unsigned long long)entries[i].hash);
		fprintf(out, "\n");
	}
	for (uint32_t i = 1; i < state_end(&world->state, STATE_LOCKS); i++) {
		const struct lock *l = state_get(&world->state, STATE_LOCKS, i);

		if (l)
			fprintf(out, "lock of %llu: %llu-%llu, type %u\n", (unsigned long long)l->owner,
				(unsigned long long)l->start, (unsigned long long)l->end, l->type);
	}
	fclose(out);
	return text;
}

static void op_open(struct world *world)
{
	struct handle *handle;

	handles_new(&world->handles, file_node(world), &caller, O_WRONLY, false, 7, &handle);
}

static void op_close(struct world *world)
{
	locks_closed(&world->locks, file_node(world), world->file);
	handles_close(&world->handles, handles_get(&world->handles, world->file));
}

static void op_close_dir(struct world *world)
{
	handles_close(&world->handles, handles_get(&world->handles, world->dir));
}

static void op_list_on(struct world *world)
{
	list(world, 511, 1);
}

static void op_list_other(struct world *world)
{
	dirlog_seek(&world->handles, handles_get(&world->handles, world->dir), 100);
	list(world, 4711, 1);
}

static void op_lock(struct world *world)
{
	lock(world, 3, 0, 100, F_RDLCK);
}

static void op_lock_split(struct world *world)
{
	lock(world, 1, 3, 4, F_WRLCK);
}

static void op_lock_join(struct world *world)
{
	lock(world, 1, 10, 30, F_RDLCK);
}

static void op_unlock(struct world *world)
{
	lock(world, 1, 5, 25, F_UNLCK);
}

static void op_flush(struct world *world)
{
	locks_flush(&world->locks, file_node(world), 1);
}

static const struct op {
	const char *name;
	void (*run)(struct world *world);
	unsigned states; /* that may be seen */
} ops[] = {
	{"open", op_open, 2},
	{"close", op_close, 5},				   /* its three locks go before, one by one; the node with it */
	{"close of a directory", op_close_dir, 4},	   /* its log goes before: position, and each part */
	{"list on, in a new part", op_list_on, 3},	   /* the entry, and then the position */
	{"list on with something else", op_list_other, 4}, /* the position, a part, the rest with what is new */
	{"lock", op_lock, 2},
	{"lock that splits one", op_lock_split, 2},
	{"lock that joins two", op_lock_join, 2},
	{"unlock", op_unlock, 2},
	{"flush", op_flush, 3},
};

/* What a successor finds when the operation ended at its k-th point.  *ended: it got that far. */
static char *found_after(const struct op *op, unsigned k, bool *ended)
{
	struct world world, next;
	int status, fd;
	pid_t pid;
	char *dump;

	world_open(&world, -1);
	build(&world);
	pid = fork();
	if (pid == 0) {
		points_left = k;
		op->run(&world);
		_exit(0);
	}
	cr_assert(pid > 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0), "%s", op->name);
	*ended = WEXITSTATUS(status) == 42;
	fd = dup(world.state.fd);
	world_close(&world);
	world_open(&next, fd);
	dump = world_dump(&next);
	world_close(&next);
	return dump;
}

Test(translate_crash, each_operation_has_happened_or_not_wherever_it_ends)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		char *seen[8] = {NULL}, *dump = NULL;
		unsigned states = 0, k;
		bool ended = true;

		for (k = 1; ended; k++) {
			dump = found_after(&ops[i], k, &ended);
			if (states == 0 || strcmp(dump, seen[states - 1]) != 0) {
				cr_assert_lt(states, ops[i].states, "%s: point %u shows what may not be:\n%s",
					     ops[i].name, k, dump);
				seen[states++] = dump;
			} else {
				free(dump);
			}
		}
		cr_assert_gt(k, 4, "%s has no points", ops[i].name);
		cr_assert_geq(states, 2, "%s changes nothing", ops[i].name);
		while (states)
			free(seen[--states]);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Opens, reads, locks and closes without end. */
static void work_for_ever(struct world *world, unsigned seed)
{
	for (;;) {
		struct handle *handle = handles_get(&world->handles, world->dir);
		struct handle *other;

		dirlog_seek(&world->handles, handle, (unsigned)rand_r(&seed) % 600);
		list(world, handle->log_position + 1, (unsigned)rand_r(&seed) % 100);
		if (rand_r(&seed) % 20 == 0)
			list(world, 10000, 1);
		lock(world, 1 + (unsigned)rand_r(&seed) % 3, (unsigned)rand_r(&seed) % 50,
		     50 + (unsigned)rand_r(&seed) % 50, (unsigned)rand_r(&seed) % 3);
		if (rand_r(&seed) % 10 == 0)
			locks_flush(&world->locks, file_node(world), 1);
		if (handles_new(&world->handles, file_node(world), &caller, O_RDWR, false, 9, &other) == 0 &&
		    rand_r(&seed) % 10)
			handles_close(&world->handles, other);
	}
}

Test(translate_crash, killed_at_any_time)
{
	double end = now() + 3;
	unsigned seed = 99, kills = 0, undone = 0;
	struct world world;

	world_open(&world, -1);
	build(&world);
	while (kills < 50 || (kills < 1000 && now() < end)) {
		struct timespec while_it_works = {.tv_nsec = 50000 + rand_r(&seed) % 1000000};
		uint64_t file = world.file, dir = world.dir;
		pid_t pid = fork();
		int fd;

		if (pid == 0)
			work_for_ever(&world, seed);
		cr_assert(pid > 0);
		nanosleep(&while_it_works, NULL); /* when it dies is what is random here */
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		kills++;
		undone += world.state.header->undo_used != 0;
		fd = dup(world.state.fd);
		world_close(&world);
		world_open(&world, fd); /* checks all of them */
		world.file = file;
		world.dir = dir;
		cr_assert(handles_get(&world.handles, file) && handles_get(&world.handles, dir));
		for (struct handle *h = NULL, *next = handles_next(&world.handles, NULL); (h = next) != NULL;) {
			next = handles_next(&world.handles, h);
			if (h->fh != file && h->fh != dir)
				handles_close(&world.handles, h);
		}
		cr_assert_eq(file_node(&world)->opens, 1);
	}
	cr_log_info("%u kills, %u in a transaction", kills, undone);
	world_close(&world);
}
