/*
 * What relayd notes of nodes and names is whole after a death at any instruction.  A
 * child makes a change in the state that it shares with its parent, and ends at the k-th
 * of the points that state.c has in a test build, for every k; the parent opens what is
 * left, as the next relayd would.  Then the same with SIGKILL from outside, at any time.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STATE_CRASH_POINTS /* as libstate_crash.la is built */
#include "lib/nodes_play.h"
#include "state_format.h"

static unsigned points_left; /* until the process ends; 0: it does not */
static unsigned points_passed;

void state_crash_point(void)
{
	points_passed++;
	if (points_left && --points_left == 0)
		_exit(42);
}

struct world {
	struct state state;
	struct nodes nodes;
};

static void world_open(struct world *world, int fd)
{
	uint32_t sizes[STATE_TABLES];

	nodes_play_sizes(sizes);
	if (fd < 0)
		cr_assert_eq(state_init(&world->state, sizes), 0);
	else
		cr_assert_eq(state_open(&world->state, fd, sizes), 0);
	cr_assert_eq(nodes_init(&world->nodes, &world->state, "crash"), 0);
}

static void world_close(struct world *world)
{
	nodes_deinit(&world->nodes);
	state_deinit(&world->state);
}

static struct node *look(struct nodes *nodes, struct node *parent, const char *name, uint64_t id, uint32_t type)
{
	struct fuse_entry_out entry = nodes_play_entry(id, type, 1000 + id);
	struct node *node = NULL;

	if (nodes_entry(nodes, parent, name, &entry, NULL, &node) < 0)
		abort();
	nodes_count(node);
	return node;
}

#define LONG_NAME "a name that is longer than what the table of short names has room for"

/* /d/e/f = /g (10), /d/h (11), /p/q/r of which the kernel knows r only (22), /LONG (30). */
static void build(struct nodes *nodes)
{
	struct node *root = nodes_get(nodes, FUSE_ROOT_ID), *d, *e, *p, *q;

	nodes_incarnation(nodes, 1);
	d = look(nodes, root, "d", 5, S_IFDIR);
	e = look(nodes, d, "e", 6, S_IFDIR);
	look(nodes, e, "f", 10, S_IFREG);
	look(nodes, root, "g", 10, S_IFREG);
	look(nodes, d, "h", 11, S_IFREG);
	p = look(nodes, root, "p", 20, S_IFDIR);
	q = look(nodes, p, "q", 21, S_IFDIR);
	look(nodes, q, "r", 22, S_IFREG);
	nodes_forget(nodes, p->nodeid, 1);
	nodes_forget(nodes, q->nodeid, 1);
	look(nodes, root, LONG_NAME, 30, S_IFREG);
}

static struct node *at(struct nodes *nodes, uint64_t id)
{
	return nodes_by_backend(nodes, id);
}

static void op_lookup_new(struct nodes *nodes)
{
	look(nodes, at(nodes, 5), "new", 40, S_IFREG);
}

static void op_lookup_long(struct nodes *nodes)
{
	char name[1000];

	memset(name, 'l', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	look(nodes, at(nodes, 5), name, 40, S_IFREG);
}

static void op_lookup_other(struct nodes *nodes)
{
	look(nodes, at(nodes, 5), "h", 41, S_IFREG);
}

static void op_lookup_again(struct nodes *nodes)
{
	nodes_incarnation(nodes, 2);
	look(nodes, nodes_get(nodes, FUSE_ROOT_ID), "g", 77, S_IFREG);
}

static void op_lookup_moved(struct nodes *nodes)
{
	look(nodes, nodes_get(nodes, FUSE_ROOT_ID), "moved", 6, S_IFDIR);
}

static void op_generation(struct nodes *nodes)
{
	struct fuse_entry_out entry = nodes_play_entry(11, S_IFREG, 1011);
	struct node *out;

	entry.generation = 9;
	if (nodes_entry(nodes, at(nodes, 5), "h", &entry, NULL, &out) == 0)
		nodes_count(out);
}

static void op_link(struct nodes *nodes)
{
	nodes_link(nodes, at(nodes, 5), LONG_NAME, at(nodes, 10));
}

static void op_unlink(struct nodes *nodes)
{
	nodes_unlink(nodes, at(nodes, 6), "f");
}

static void op_rename(struct nodes *nodes)
{
	nodes_rename(nodes, at(nodes, 5), "h", nodes_get(nodes, FUSE_ROOT_ID), LONG_NAME, 0);
}

static void op_rename_dir(struct nodes *nodes)
{
	nodes_rename(nodes, at(nodes, 5), "e", nodes_get(nodes, FUSE_ROOT_ID), "e2", 0);
}

static void op_exchange(struct nodes *nodes)
{
	nodes_rename(nodes, at(nodes, 5), "e", nodes_get(nodes, FUSE_ROOT_ID), "g", RENAME_EXCHANGE);
}

static void op_forget(struct nodes *nodes)
{
	nodes_forget(nodes, at(nodes, 11)->nodeid, 1);
}

/* Two names, and two directories of which the kernel knows nothing any more. */
static void op_forget_hardlink(struct nodes *nodes)
{
	nodes_forget(nodes, at(nodes, 10)->nodeid, 2);
}

static void op_forget_chain(struct nodes *nodes)
{
	nodes_forget(nodes, at(nodes, 22)->nodeid, 1);
}

static void op_forget_dir(struct nodes *nodes)
{
	nodes_forget(nodes, at(nodes, 5)->nodeid, 1);
}

static void op_attr(struct nodes *nodes)
{
	struct fuse_attr attr = {.ino = 5, .mode = S_IFREG, .size = 7};

	nodes_attr(nodes, at(nodes, 11), &attr, 0);
}

static const struct op {
	const char *name;
	void (*run)(struct nodes *nodes);
	unsigned states; /* that may be seen: before, after, and between two transactions */
} ops[] = {
	/* Found, and then counted; what nobody counts is removed by the successor. */
	{"lookup of a new name", op_lookup_new, 2},
	{"lookup of a long name", op_lookup_long, 2},
	{"lookup of another node", op_lookup_other, 3}, /* the name leads nowhere */
	{"lookup of a moved directory", op_lookup_moved, 3},
	{"lookup in the next incarnation", op_lookup_again, 4}, /* the ids are stale */
	{"id of another generation", op_generation, 4},		/* the old node has lost its id, and then its name */
	{"link", op_link, 2},
	{"unlink", op_unlink, 2},
	{"rename", op_rename, 2},
	{"rename of a directory", op_rename_dir, 2},
	{"exchange", op_exchange, 2},
	{"forget", op_forget, 2},
	{"forget of two names", op_forget_hardlink, 2},
	{"forget of a path", op_forget_chain, 2},
	{"forget of a directory in use", op_forget_dir, 2},
	{"attributes", op_attr, 2},
};

static pid_t run_and_end(const struct op *op, struct world *world, unsigned k)
{
	pid_t pid = fork();

	if (pid == 0) {
		points_left = k;
		op->run(&world->nodes);
		_exit(0);
	}
	cr_assert(pid > 0);
	return pid;
}

/* What a successor finds when the operation ended at its k-th point.  *ended: it got that far. */
static char *found_after(const struct op *op, unsigned k, bool *ended)
{
	struct world world, next;
	int status, fd;
	pid_t pid;
	char *dump;

	world_open(&world, -1);
	build(&world.nodes);
	pid = run_and_end(op, &world, k);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0), "%s", op->name);
	*ended = WEXITSTATUS(status) == 42;
	fd = dup(world.state.fd);
	world_close(&world);
	world_open(&next, fd);
	dump = nodes_play_dump(&next.nodes);
	world_close(&next);
	return dump;
}

/* Ended as soon as it has begun. */
static void op_nothing(struct nodes *nodes)
{
	(void)nodes;
	state_crash_point();
}

static void each_point(const struct op *op)
{
	static const struct op nothing = {"nothing", op_nothing, 1};
	char *seen[4], *dump;
	unsigned states = 1, k;
	bool ended = true;

	seen[0] = found_after(&nothing, 1, &ended);
	for (k = 1; ended; k++) {
		dump = found_after(op, k, &ended);
		if (strcmp(dump, seen[states - 1]) == 0) {
			free(dump);
			continue;
		}
		/* It never goes back, and never shows anything between. */
		cr_assert_lt(states, op->states, "%s: point %u shows what may not be:\n%s", op->name, k, dump);
		seen[states++] = dump;
	}
	cr_assert_gt(k, 4, "%s has no points", op->name);
	cr_assert_eq(states, op->states, "%s: %u states were seen", op->name, states);
	while (states)
		free(seen[--states]);
}

Test(relayd_crash, each_operation_has_happened_or_not_wherever_it_ends)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		each_point(&ops[i]);
}

/* Recovery that is itself ended, and recovered from. */
Test(relayd_crash, opening_may_end_anywhere_and_be_repeated)
{
	const struct op renaming = {"rename", op_rename, 2};
	char *before, *dump;
	uint32_t sizes[STATE_TABLES];
	bool done = false;

	nodes_play_sizes(sizes);
	for (unsigned k = 1; !done; k++) {
		struct world world, next;
		int status, fd;
		pid_t pid;

		world_open(&world, -1);
		build(&world.nodes);
		before = nodes_play_dump(&world.nodes);
		pid = run_and_end(&renaming, &world, 15); /* with most of it done */
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert_eq(WEXITSTATUS(status), 42);
		cr_assert_neq(world.state.header->undo_used, 0);
		pid = fork();
		if (pid == 0) {
			points_left = k;
			_exit(state_open(&next.state, dup(world.state.fd), sizes) == 0 ? 0 : 1);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) != 1);
		done = WEXITSTATUS(status) == 0;
		fd = dup(world.state.fd);
		world_close(&world);
		world_open(&next, fd);
		dump = nodes_play_dump(&next.nodes);
		cr_assert_str_eq(dump, before);
		world_close(&next);
		free(dump);
		free(before);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct account {
	struct state_record record;
	uint64_t money;
	uint64_t rest[10];
};

#define ACCOUNTS 50u
#define MONEY 1000u

/* Moves money about, through accounts that are made and closed in the same transaction. */
static void accounts_step(struct state *state, uint64_t *seed)
{
	uint32_t from = 1 + nodes_play_random(seed) % state_end(state, STATE_HANDLES), index;
	uint32_t to = 1 + nodes_play_random(seed) % state_end(state, STATE_HANDLES);
	struct account *source = state_get(state, STATE_HANDLES, from), *target = state_get(state, STATE_HANDLES, to);

	if (!source || from == to)
		return;
	state_begin(state);
	source = state_edit(state, STATE_HANDLES, from);
	if (!target)
		target = state_new(state, STATE_HANDLES, &index);
	else
		target = state_edit(state, STATE_HANDLES, to);
	if (nodes_play_random(seed) % 3) {
		target->money += source->money / 2;
		source->money -= source->money / 2;
	} else {
		target->money += source->money;
		source->money = 0;
		if (state_live(state, STATE_HANDLES) > ACCOUNTS)
			state_free(state, STATE_HANDLES, from);
	}
	if (nodes_play_random(seed) % 10 == 0)
		state_undo(state);
	else
		state_commit(state);
}

static void accounts_check(const struct state *state)
{
	uint64_t sum = 0;

	for (uint32_t i = 1; i < state_end(state, STATE_HANDLES); i++) {
		const struct account *account = state_get(state, STATE_HANDLES, i);

		sum += account ? account->money : 0;
	}
	cr_assert_eq(sum, MONEY);
}

static void accounts_make(struct state *state)
{
	for (uint32_t i = 0; i < ACCOUNTS; i++) {
		struct account *account;
		uint32_t index;

		state_begin(state);
		account = state_new(state, STATE_HANDLES, &index);
		cr_assert(account);
		account->money = i == 0 ? MONEY : 0;
		state_commit(state);
	}
}

static void work_for_ever(struct world *world, uint64_t seed)
{
	for (;;) {
		nodes_play_step(&world->nodes, &seed);
		accounts_step(&world->state, &seed);
	}
}

Test(relayd_crash, killed_at_any_time)
{
	double end = now() + 3;
	uint64_t seed = 99;
	unsigned kills = 0, undone = 0;
	struct world world;

	world_open(&world, -1);
	build(&world.nodes);
	accounts_make(&world.state);
	while (kills < 50 || (kills < 1000 && now() < end)) {
		struct timespec while_it_works = {.tv_nsec = 50000 + nodes_play_random(&seed) % 1000000};
		pid_t pid = fork();
		char *dump;
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
		world_open(&world, fd); /* checks all of nodes and names */
		accounts_check(&world.state);
		dump = nodes_play_dump(&world.nodes);
		free(dump);
	}
	cr_log_info("%u kills, %u in a transaction", kills, undone);
	world_close(&world);
}
