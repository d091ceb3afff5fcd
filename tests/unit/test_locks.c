/*
 * fsserver's lock table: ranges are split and joined as POSIX has it, and what a
 * process that dies in the midst of a change leaves is put right by doing it again.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fsserver/locks.h"
#include "lib/fs_tables.h"

#define NODE 77u
#define END ((uint64_t)INT64_MAX)

static struct fs_tables rig;
static struct locks locks;
static struct lock_inode *inode;

static void load(void)
{
	memset(&locks, 0, sizeof(locks));
	locks_init(&locks, &rig.tables);
	cr_assert_eq(locks_load(&locks), 0);
	inode = locks_inode(&locks, NODE, true);
	cr_assert_not_null(inode);
}

static void setup(void)
{
	fs_tables_init(&rig);
	load();
}

TestSuite(locks, .init = setup);

static struct lock_range range(uint64_t owner, int type, uint64_t start, uint64_t end)
{
	return (struct lock_range){
		.nodeid = NODE, .owner = owner, .fh = owner, .pid = owner, .start = start, .end = end, .type = type};
}

static int set(uint64_t owner, int type, uint64_t start, uint64_t end)
{
	struct lock_range r = range(owner, type, start, end);

	return locks_set(&locks, inode, &r);
}

/* What an owner has at a place: by asking whether everybody else would be refused. */
static int type_of(uint64_t owner, uint64_t at)
{
	const struct lock *lock = NULL;
	struct lock_range r = range(owner + 1000000, F_WRLCK, at, at);

	while ((lock = locks_conflict(&locks, inode, &r, lock))) {
		if (lock->owner == owner)
			return (int)lock->type;
	}
	return F_UNLCK;
}

static unsigned pieces(void)
{
	struct lock_range r = range(UINT64_MAX, F_WRLCK, 0, END);
	const struct lock *lock = NULL;
	unsigned n = 0;

	while ((lock = locks_conflict(&locks, inode, &r, lock)))
		n++;
	return n;
}

Test(locks, who_stands_in_the_way)
{
	struct lock_range r;

	set(1, F_RDLCK, 0, 9);
	set(2, F_RDLCK, 5, 14);
	r = range(3, F_RDLCK, 0, END);
	cr_assert_null(locks_conflict(&locks, inode, &r, NULL));
	r = range(3, F_WRLCK, 15, END);
	cr_assert_null(locks_conflict(&locks, inode, &r, NULL));
	r = range(1, F_WRLCK, 0, 4);
	cr_assert_null(locks_conflict(&locks, inode, &r, NULL), "one's own");
	r = range(1, F_WRLCK, 0, 5);
	cr_assert_eq(locks_conflict(&locks, inode, &r, NULL)->owner, 2);
	r = range(3, F_WRLCK, 0, END);
	cr_assert_eq(locks_conflict_first(&locks, inode, &r)->owner, 1);
	r.flock = true;
	cr_assert_null(locks_conflict(&locks, inode, &r, NULL), "flock() is another matter");
}

Test(locks, taking_out_the_middle_leaves_two_pieces)
{
	set(1, F_WRLCK, 0, 99);
	cr_assert_eq(set(1, F_UNLCK, 10, 19), 0);
	cr_assert_eq(pieces(), 2);
	cr_assert_eq(type_of(1, 9), F_WRLCK);
	cr_assert_eq(type_of(1, 10), F_UNLCK);
	cr_assert_eq(type_of(1, 19), F_UNLCK);
	cr_assert_eq(type_of(1, 20), F_WRLCK);
	cr_assert_eq(type_of(1, 99), F_WRLCK);
	cr_assert_eq(type_of(1, 100), F_UNLCK);
}

Test(locks, another_type_in_the_middle_leaves_three)
{
	set(1, F_WRLCK, 0, END);
	set(1, F_RDLCK, 10, 19);
	cr_assert_eq(pieces(), 3);
	cr_assert_eq(type_of(1, 15), F_RDLCK);
	cr_assert_eq(type_of(1, 20), F_WRLCK);
	set(1, F_WRLCK, 10, 19);
	cr_assert_eq(pieces(), 1, "and it joins them again");
}

Test(locks, neighbours_of_one_type_are_joined)
{
	set(1, F_RDLCK, 0, 9);
	set(1, F_RDLCK, 20, 29);
	cr_assert_eq(pieces(), 2);
	set(1, F_RDLCK, 10, 19);
	cr_assert_eq(pieces(), 1);
	set(2, F_RDLCK, 30, 39);
	cr_assert_eq(pieces(), 2, "another owner's is not");
}

Test(locks, everything_goes_at_once)
{
	uint64_t i;

	for (i = 0; i < 100; i++)
		set(1, i % 2 ? F_RDLCK : F_WRLCK, i * 10, i * 10 + 5);
	set(2, F_RDLCK, 5000, END);
	cr_assert_eq(pieces(), 101);
	set(1, F_UNLCK, 0, END);
	cr_assert_eq(pieces(), 1);
	cr_assert_not(locks_owner_has(&locks, inode, 1, false));
	cr_assert(locks_owner_has(&locks, inode, 2, false));
}

Test(locks, the_strongest_type_and_how_far_it_goes)
{
	uint64_t until;

	set(1, F_RDLCK, 0, 19);
	set(2, F_RDLCK, 10, 29);
	set(3, F_WRLCK, 40, END);
	cr_assert_eq(locks_type_at(&locks, inode, false, 0, &until), F_RDLCK);
	cr_assert_eq(until, 9);
	cr_assert_eq(locks_type_at(&locks, inode, false, 20, &until), F_RDLCK);
	cr_assert_eq(until, 29);
	cr_assert_eq(locks_type_at(&locks, inode, false, 30, &until), F_UNLCK);
	cr_assert_eq(until, 39);
	cr_assert_eq(locks_type_at(&locks, inode, false, 40, &until), F_WRLCK);
	cr_assert_eq(until, END);
	cr_assert_eq(locks_type_at(&locks, inode, true, 0, &until), F_UNLCK);
	cr_assert_eq(until, UINT64_MAX);
}

Test(locks, a_handle_s_locks)
{
	struct lock_range r = range(1, F_RDLCK, 0, 9);

	r.fh = 5;
	locks_set(&locks, inode, &r);
	set(2, F_RDLCK, 0, 9);
	cr_assert_eq(locks_of_handle(&locks, inode, 5)->owner, 1);
	cr_assert_null(locks_of_handle(&locks, inode, 6));
}

Test(locks, a_full_table_refuses_and_changes_nothing)
{
	uint64_t i;
	int err = 0;

	for (i = 0; err == 0 && i <= LOCKS_MAX; i++)
		err = set(i + 1, F_RDLCK, 0, 99);
	cr_assert_eq(err, -ENOLCK);
	cr_assert_eq(i, LOCKS_MAX);
	cr_assert_eq(set(1, F_UNLCK, 10, 19), -ENOLCK, "it would need another piece");
	cr_assert_eq(type_of(1, 15), F_RDLCK);
	cr_assert_eq(set(1, F_UNLCK, 0, 49), -ENOLCK, "a new piece comes before the old one goes");
	cr_assert_eq(set(2, F_UNLCK, 0, 99), 0);
	cr_assert_eq(set(1, F_UNLCK, 0, 49), 0);
}

Test(locks, the_next_incarnation_finds_them)
{
	set(1, F_WRLCK, 0, 99);
	set(1, F_UNLCK, 10, 19);
	set(2, F_RDLCK, 200, 299);
	load();
	cr_assert_eq(pieces(), 3);
	cr_assert_eq(type_of(1, 5), F_WRLCK);
	cr_assert_eq(type_of(1, 15), F_UNLCK);
	cr_assert_eq(type_of(2, 250), F_RDLCK);
	cr_assert_eq(set(3, F_RDLCK, 400, 499), 0);
	cr_assert_leq(rig.tables.header->lock_bump, 5, "free entries are used");
}

Test(locks, an_inode_without_locks_and_waiters_is_forgotten)
{
	set(1, F_RDLCK, 0, 9);
	locks_inode_release(&locks, inode);
	cr_assert_eq(locks_inode(&locks, NODE, false), inode);
	set(1, F_UNLCK, 0, 9);
	locks_inode_release(&locks, inode);
	cr_assert_null(locks_inode(&locks, NODE, false));
}

/* ---- a change that a process died in ------------------------------------ */

#define PLACES 40u
#define OWNERS 3u

/* A model: what each owner has at each place. */
static int model[OWNERS][PLACES];

static void model_check(void)
{
	unsigned owner, at;

	for (owner = 0; owner < OWNERS; owner++) {
		for (at = 0; at < PLACES; at++)
			cr_assert_eq(type_of(owner + 1, at), model[owner][at], "owner %u at %u", owner, at);
	}
}

/* Any number of the entries that a change withdrew, alive again: the new pieces come first. */
static void resurrect(const uint64_t *live, uint64_t bump)
{
	uint64_t i;

	for (i = 1; i < bump; i++) {
		if (live[i] && random() % 2)
			atomic_store(&rig.tables.locks[i].live, 1);
	}
}

Test(locks, random_changes_and_deaths_within_them)
{
	static uint64_t live[LOCKS_MAX];
	unsigned n, at;

	srandom(2);
	for (n = 0; n < OWNERS; n++) {
		for (at = 0; at < PLACES; at++)
			model[n][at] = F_UNLCK;
	}
	for (n = 0; n < 5000; n++) {
		static const int types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
		unsigned owner = (unsigned)random() % OWNERS, start = (unsigned)random() % PLACES;
		unsigned end = start + (unsigned)random() % (PLACES - start);
		int type = types[random() % 3];
		uint64_t bump = rig.tables.header->lock_bump, i;

		for (i = 1; i < bump; i++)
			live[i] = atomic_load(&rig.tables.locks[i].live);
		cr_assert_eq(set(owner + 1, type, start, end), 0);
		if (random() % 4 == 0) {
			/* A process died before it had withdrawn the old pieces; the next does it again. */
			for (i = 1; i < bump; i++)
				live[i] = live[i] && !atomic_load(&rig.tables.locks[i].live);
			resurrect(live, bump);
			load();
			cr_assert_eq(set(owner + 1, type, start, end), 0);
		}
		for (at = start; at <= end; at++)
			model[owner][at] = type;
		if (n % 50 == 0)
			model_check();
	}
	model_check();
}
