/*
 * The table of locks: against an array with an owner's lock for each byte.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/translate_rig.h"

#define LAST ((uint64_t)INT64_MAX) /* of a lock to the end of the file */

static struct translate_rig rig;
static struct locks *const locks = &rig.translate.locks;
static struct nodes *const nodes = &rig.translate.nodes;
static uint64_t file;

static void setup(void)
{
	cr_assert_eq(translate_rig_init(&rig), 0);
	file = translate_rig_lookup(&rig, FUSE_ROOT_ID, "file", 50, S_IFREG | 0644);
	cr_assert(file);
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(relayd_locks, .init = setup, .fini = teardown, .timeout = 60);

static int set(uint64_t owner, uint64_t start, uint64_t end, uint32_t type)
{
	const struct fuse_in_header caller = {.uid = 1, .gid = 2};
	const struct fuse_lk_in in = {.owner = owner, .fh = owner * 10, .lk = {start, end, type, 3}};

	return locks_set(locks, nodes_get(nodes, file), &caller, &in);
}

static int set_flock(uint64_t owner, uint32_t type)
{
	const struct fuse_in_header caller = {.uid = 1, .gid = 2};
	const struct fuse_lk_in in = {
		.owner = owner, .fh = owner * 10, .lk = {0, LAST, type, 3}, .lk_flags = FUSE_LK_FLOCK};

	return locks_set(locks, nodes_get(nodes, file), &caller, &in);
}

/* How many locks the owner has. */
static unsigned count(uint64_t owner)
{
	unsigned n = 0;

	for (uint32_t i = 1; i < state_end(&rig.translate.state, STATE_LOCKS); i++) {
		const struct lock *lock = state_get(&rig.translate.state, STATE_LOCKS, i);

		n += lock && lock->owner == owner;
	}
	return n;
}

static const struct lock *find(uint64_t owner, uint64_t at)
{
	const struct lock *found = NULL;

	for (uint32_t i = 1; i < state_end(&rig.translate.state, STATE_LOCKS); i++) {
		const struct lock *lock = state_get(&rig.translate.state, STATE_LOCKS, i);

		if (!lock || lock->owner != owner || lock->flock || at < lock->start || at > lock->end)
			continue;
		cr_expect_null(found, "two locks of one owner on one byte");
		found = lock;
	}
	return found;
}

static void expect_lock(uint64_t owner, uint64_t start, uint64_t end, uint32_t type)
{
	const struct lock *lock = find(owner, start);

	cr_assert(lock, "no lock at %llu", (unsigned long long)start);
	cr_expect_eq(lock->start, start);
	cr_expect_eq(lock->end, end, "%llu", (unsigned long long)lock->end);
	cr_expect_eq(lock->type, type);
}

static void expect_sound(void)
{
	struct locks again;

	cr_expect_eq(locks_init(&again, &rig.translate.state, nodes), 0);
}

Test(relayd_locks, neighbours_that_are_alike_are_one)
{
	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	cr_assert_eq(set(1, 20, 29, F_RDLCK), 0);
	cr_assert_eq(set(1, 10, 19, F_RDLCK), 0);
	cr_expect_eq(count(1), 1);
	expect_lock(1, 0, 29, F_RDLCK);
	cr_assert_eq(set(1, 30, 39, F_WRLCK), 0);
	cr_expect_eq(count(1), 2);
	cr_assert_eq(set(2, 40, 49, F_WRLCK), 0);
	cr_expect_eq(count(1), 2);
	expect_sound();
}

Test(relayd_locks, a_lock_within_another_splits_it)
{
	cr_assert_eq(set(1, 0, LAST, F_RDLCK), 0);
	cr_assert_eq(set(1, 100, 199, F_WRLCK), 0);
	cr_expect_eq(count(1), 3);
	expect_lock(1, 0, 99, F_RDLCK);
	expect_lock(1, 100, 199, F_WRLCK);
	expect_lock(1, 200, LAST, F_RDLCK);
	cr_assert_eq(set(1, 150, 150, F_UNLCK), 0);
	cr_expect_null(find(1, 150));
	expect_lock(1, 151, 199, F_WRLCK);
	cr_assert_eq(set(1, 0, LAST, F_UNLCK), 0);
	cr_expect_eq(count(1), 0);
	cr_expect_not(locks_any(nodes_get(nodes, file)));
	expect_sound();
}

Test(relayd_locks, the_highest_range_there_is)
{
	cr_assert_eq(set(1, UINT64_MAX - 1, UINT64_MAX, F_RDLCK), 0);
	cr_assert_eq(set(1, 0, 0, F_RDLCK), 0);
	cr_expect_eq(count(1), 2);
	cr_assert_eq(set(1, 0, UINT64_MAX, F_RDLCK), 0);
	cr_expect_eq(count(1), 1);
	cr_assert_eq(set(1, 9, 8, F_WRLCK), 0);
	cr_expect_eq(count(1), 1);
}

Test(relayd_locks, flock_is_another_kind)
{
	cr_assert_eq(set(1, 0, LAST, F_RDLCK), 0);
	cr_assert_eq(set_flock(1, F_RDLCK), 0);
	cr_assert_eq(set_flock(2, F_RDLCK), 0);
	cr_assert_eq(set_flock(1, F_WRLCK), 0);
	cr_expect_eq(count(1), 2);
	cr_expect_eq(count(2), 1);
	locks_flush(locks, nodes_get(nodes, file), 1);
	cr_expect_eq(count(1), 1);
	locks_unflock(locks, nodes_get(nodes, file), 1);
	cr_expect_eq(count(1), 0);
	cr_assert_eq(set_flock(2, F_UNLCK), 0);
	cr_expect_eq(count(2), 0);
}

Test(relayd_locks, closing_ends_what_was_set_through_it)
{
	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	cr_assert_eq(set_flock(1, F_WRLCK), 0);
	cr_assert_eq(set(2, 0, 9, F_RDLCK), 0);
	locks_closed(locks, nodes_get(nodes, file), 10);
	cr_expect_eq(count(1), 0);
	cr_expect_eq(count(2), 1);
	locks_clear(locks, nodes_get(nodes, file));
	cr_expect_eq(count(2), 0);
}

Test(relayd_locks, another_incarnation_has_them_to_set)
{
	struct lock *lock;
	unsigned n = 0;

	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	cr_assert_eq(set(2, 5, 9, F_RDLCK), 0);
	cr_expect_null(locks_unset(locks, nodes_get(nodes, file)));
	translate_rig_restart(&rig);
	for (; (lock = locks_unset(locks, nodes_get(nodes, file))) != NULL; n++)
		lock->incarnation = rig.incarnation;
	cr_expect_eq(n, 2);
}

Test(relayd_locks, what_is_not_set_again_yet_stays_apart)
{
	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	translate_rig_restart(&rig);
	cr_assert_eq(set(1, 10, 19, F_RDLCK), 0);
	cr_expect_eq(count(1), 2);
	cr_assert_eq(set(1, 5, 9, F_RDLCK), 0);
	expect_lock(1, 0, 4, F_RDLCK);
	expect_lock(1, 5, 19, F_RDLCK);
	cr_expect_eq(locks_unset(locks, nodes_get(nodes, file)), find(1, 0));
}

Test(relayd_locks, a_node_with_locks_lives)
{
	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	translate_rig_forget(&rig, file, 1);
	cr_assert(nodes_get(nodes, file));
	locks_flush(locks, nodes_get(nodes, file), 1);
	cr_expect_null(nodes_get(nodes, file));
}

Test(relayd_locks, more_than_one_transaction_takes)
{
	enum { MANY = 3000 };

	for (uint64_t i = 0; i < MANY; i++)
		cr_assert_eq(set(1, i * 2, i * 2, F_RDLCK), 0);
	cr_assert_eq(set(2, 0, 10, F_RDLCK), 0);
	cr_expect_eq(count(1), MANY);
	cr_assert_eq(set(1, 1, (MANY - 1) * 2, F_WRLCK), 0);
	cr_expect_eq(count(1), 2);
	expect_lock(1, 1, (MANY - 1) * 2, F_WRLCK);
	cr_expect_eq(count(2), 1);
	for (uint64_t i = 0; i < MANY; i++)
		cr_assert_eq(set(1, i * 2, i * 2, F_RDLCK), 0);
	cr_assert_eq(set(1, 0, LAST, F_UNLCK), 0);
	cr_expect_eq(count(1), 0);
	cr_expect_eq(count(2), 1);
	expect_sound();
}

Test(relayd_locks, any_order_of_things)
{
	enum { BYTES = 64, OWNERS = 3 };
	static uint8_t model[OWNERS][BYTES]; /* 0: none, else the type and 1 */
	unsigned seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		unsigned owner = (unsigned)rand_r(&seed) % OWNERS, a = (unsigned)rand_r(&seed) % BYTES,
			 b = (unsigned)rand_r(&seed) % BYTES, type = (unsigned)rand_r(&seed) % 3, runs = 0;

		if (a > b) {
			unsigned c = a;

			a = b;
			b = c;
		}
		cr_assert_eq(set(owner + 1, a, b, type), 0);
		memset(&model[owner][a], type == F_UNLCK ? 0 : (int)type + 1, b - a + 1);
		for (unsigned i = 0; i < BYTES; i++) {
			const struct lock *lock = find(owner + 1, i);

			cr_assert_eq(lock ? lock->type + 1 : 0, model[owner][i], "round %u, byte %u", round, i);
			runs += model[owner][i] && (i == 0 || model[owner][i] != model[owner][i - 1]);
		}
		cr_assert_eq(count(owner + 1), runs, "neighbours are joined");
	}
	expect_sound();
}

Test(relayd_locks, what_cannot_be_true_is_refused)
{
	struct locks again;
	struct lock *lock;

	cr_assert_eq(set(1, 0, 9, F_RDLCK), 0);
	lock = locks_unset(locks, nodes_get(nodes, file));
	cr_expect_null(lock);
	lock = state_get(&rig.translate.state, STATE_LOCKS, nodes_get(nodes, file)->locks);
	lock->next = nodes_get(nodes, file)->locks;
	cr_expect_eq(locks_init(&again, &rig.translate.state, nodes), -EPROTO, "a list that goes round");
	lock->next = 0;
	lock->node = 1;
	cr_expect_eq(locks_init(&again, &rig.translate.state, nodes), -EPROTO);
	lock->node = (uint32_t)file;
	nodes_get(nodes, file)->locks = 0;
	cr_expect_eq(locks_init(&again, &rig.translate.state, nodes), -EPROTO);
}
