/* The state: records that do not move, transactions, and what is refused when it is opened. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/nodes_play.h"
#include "state_format.h"

struct thing {
	struct state_record record;
	uint64_t a;
	uint64_t rest[8];
};

static const uint32_t sizes[STATE_TABLES] = {sizeof(struct thing), 64, 512, 8192, 96, 512, 80};
static struct state state;

static void setup(void)
{
	cr_assert_eq(state_init(&state, sizes), 0);
}

static void teardown(void)
{
	state_deinit(&state);
}

TestSuite(relayd_state, .init = setup, .fini = teardown);

static uint32_t thing_new(uint64_t a)
{
	struct thing *thing;
	uint32_t index;

	state_begin(&state);
	thing = state_new(&state, STATE_NODES, &index);
	cr_assert(thing);
	thing->a = a;
	state_commit(&state);
	return index;
}

static struct thing *thing_at(uint32_t index)
{
	return state_get(&state, STATE_NODES, index);
}

/* Opens a second view, as the next process would. */
static int again(struct state *other)
{
	int fd = dup(state.fd), err;

	err = state_open(other, fd, sizes);
	if (err)
		close(fd);
	return err;
}

Test(relayd_state, numbers_begin_at_1_and_are_used_again)
{
	uint32_t a = thing_new(1), b = thing_new(2);

	cr_assert_eq(a, 1);
	cr_assert_eq(b, 2);
	cr_assert_eq(state_end(&state, STATE_NODES), 3);
	state_begin(&state);
	cr_assert_eq(state_free(&state, STATE_NODES, a), 0);
	state_commit(&state);
	cr_assert_null(thing_at(a));
	cr_assert_eq(state_live(&state, STATE_NODES), 1);
	cr_assert_eq(thing_new(3), a);
	cr_assert_eq(thing_at(a)->a, 3);
	cr_assert_eq(thing_at(a)->rest[7], 0);
	cr_assert_eq(state_births(&state, STATE_NODES), 3);
	cr_assert_null(thing_at(0));
	cr_assert_null(thing_at(3));
	cr_assert_null(thing_at(UINT32_MAX));
}

Test(relayd_state, records_do_not_move_when_it_grows)
{
	uint32_t first = thing_new(7);
	struct thing *thing = thing_at(first);

	for (uint32_t i = 0; i < 30000; i++)
		cr_assert_eq(thing_new(i), i + 2);
	cr_assert_eq(thing_at(first), thing);
	for (uint32_t i = 0; i < 30000; i++)
		cr_assert_eq(thing_at(i + 2)->a, i);
	cr_assert_eq(state_bytes(&state), STATE_WINDOW + 3 * STATE_CHUNK);
}

Test(relayd_state, undo_is_as_if_it_had_not_begun)
{
	uint32_t a = thing_new(1), b = thing_new(2), c;

	state_begin(&state);
	((struct thing *)state_edit(&state, STATE_NODES, a))->a = 10;
	((struct thing *)state_edit(&state, STATE_NODES, a))->a = 11;
	cr_assert_eq(state_free(&state, STATE_NODES, b), 0);
	cr_assert(state_new(&state, STATE_NODES, &c));
	cr_assert_eq(c, b);
	cr_assert(state_new(&state, STATE_NODES, &c));
	state_undo(&state);
	cr_assert_eq(thing_at(a)->a, 1);
	cr_assert_eq(thing_at(b)->a, 2);
	cr_assert_null(thing_at(c));
	cr_assert_eq(state_end(&state, STATE_NODES), 3);
	cr_assert_eq(state_births(&state, STATE_NODES), 2);
}

Test(relayd_state, next_process_finds_what_was_done_and_not_what_was_begun)
{
	uint32_t a = thing_new(1), b = thing_new(2), c;
	struct state other;

	state_begin(&state);
	((struct thing *)state_edit(&state, STATE_NODES, a))->a = 10;
	cr_assert_eq(state_free(&state, STATE_NODES, b), 0);
	cr_assert(state_new(&state, STATE_LOCKS, &c));
	cr_assert_eq(again(&other), 0);
	cr_assert_eq(((struct thing *)state_get(&other, STATE_NODES, a))->a, 1);
	cr_assert_eq(((struct thing *)state_get(&other, STATE_NODES, b))->a, 2);
	cr_assert_null(state_get(&other, STATE_LOCKS, c));
	cr_assert_eq(state_live(&other, STATE_LOCKS), 0);
	cr_assert_eq(state_bytes(&other), STATE_WINDOW + 2 * STATE_CHUNK);
	state_deinit(&other);
}

Test(relayd_state, log_takes_32_records_of_512_bytes_and_then_says_so)
{
	uint32_t index[200], n;

	for (n = 0; n < 200; n++) {
		state_begin(&state);
		cr_assert(state_new(&state, STATE_LINKS_MEDIUM, &index[n]));
		state_commit(&state);
	}
	state_begin(&state);
	for (n = 0; n < 200 && state_edit(&state, STATE_LINKS_MEDIUM, index[n]); n++)
		((struct thing *)state_get(&state, STATE_LINKS_MEDIUM, index[n]))->a = 1;
	cr_assert(n >= 32 && n < 200);
	cr_assert_eq(state_free(&state, STATE_LINKS_MEDIUM, index[n]), -ENOSPC);
	state_undo(&state);
	for (n = 0; n < 200; n++)
		cr_assert_eq(((struct thing *)state_get(&state, STATE_LINKS_MEDIUM, index[n]))->a, 0);
}

Test(relayd_state, memory_that_may_not_be_had_is_an_error_not_a_signal)
{
	struct rlimit limit;
	uint32_t index;
	struct state other;

	thing_new(1);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = state_bytes(&state);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	state_begin(&state);
	cr_assert_null(state_new(&state, STATE_LOCKS, &index));
	cr_assert(state_new(&state, STATE_NODES, &index));
	state_commit(&state);
	limit.rlim_cur = 4096;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(state_init(&other, sizes), -ENOMEM);
}

Test(relayd_state, other_geometry_is_refused)
{
	uint32_t wrong[STATE_TABLES];
	struct state other;
	int fd = dup(state.fd);

	memcpy(wrong, sizes, sizeof(wrong));
	wrong[STATE_LOCKS] += 8;
	cr_assert_eq(state_open(&other, fd, wrong), -EPROTO);
	cr_assert(fcntl(fd, F_GETFD) >= 0, "the descriptor is the caller's still");
	state.header->version++;
	cr_assert_eq(state_open(&other, fd, sizes), -EPROTO);
	close(fd);
}

Test(relayd_state, other_files_are_refused)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING), null = open("/dev/null", O_RDWR);
	struct state other;

	cr_assert_eq(state_open(&other, null, sizes), -EPROTO);
	cr_assert_eq(state_open(&other, -1, sizes), -EBADF);
	/* A true one that could be cut short under us. */
	cr_assert_eq(ftruncate(fd, STATE_WINDOW), 0);
	cr_assert_eq(pwrite(fd, state.header, sizeof(*state.header), 0), (ssize_t)sizeof(*state.header));
	cr_assert_eq(state_open(&other, fd, sizes), -EPROTO);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	cr_assert_eq(state_open(&other, fd, sizes), 0);
	cr_assert_eq(state_live(&other, STATE_NODES), 0);
	state_deinit(&other);
	close(null);
}

/* Each is one that must be seen. */
Test(relayd_state, corrupted_bytes_are_refused)
{
	struct state_header *header = state.header, good;
	struct state_undo_entry entry = {.table = STATE_NODES, .index = 1, .size = 8};
	uint32_t a = thing_new(1), b = thing_new(2);
	struct state other;

	state_begin(&state);
	cr_assert_eq(state_free(&state, STATE_NODES, a), 0);
	state_commit(&state);
	good = *header;
#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		change;                                                                                                \
		cr_expect_eq(again(&other), -EPROTO, "%s", #change);                                                   \
		*header = good;                                                                                        \
	} while (0)
	REFUSED(header->magic ^= 1);
	REFUSED(header->chunks = 2);
	REFUSED(header->chunks = UINT32_MAX);
	REFUSED(header->owner[0] = STATE_TABLES);
	REFUSED(header->owner[0] = STATE_LOCKS);
	REFUSED(header->table[STATE_NODES].end = 0);
	REFUSED(header->table[STATE_NODES].end = UINT32_MAX);
	REFUSED(header->table[STATE_NODES].live = 2);
	REFUSED(header->table[STATE_NODES].free = 0);
	REFUSED(header->table[STATE_NODES].free = b);
	REFUSED(header->table[STATE_NODES].free = 77);
	REFUSED(header->undo_used = 4);
	REFUSED(header->undo_used = STATE_UNDO + 8);
	REFUSED(header->undo_used = 16);
	REFUSED(header->undo_used = 24; entry.table = 99; memcpy(header->undo, &entry, sizeof(entry)));
	entry.table = STATE_NODES;
	REFUSED(header->undo_used = 24; entry.index = 1 << 30; memcpy(header->undo, &entry, sizeof(entry)));
	REFUSED(header->undo_used = 24; entry.index = 0; memcpy(header->undo, &entry, sizeof(entry)));
	entry.index = 1;
	REFUSED(header->undo_used = 24; entry.size = 0xfffffff8; memcpy(header->undo, &entry, sizeof(entry)));
	state_record_at(&state, STATE_NODES, a)->next_free = a;
	cr_expect_eq(again(&other), -EPROTO, "a circle");
	state_record_at(&state, STATE_NODES, a)->next_free = 0;
	thing_at(b)->record.live = 2;
	cr_expect_eq(again(&other), -EPROTO, "half alive");
	thing_at(b)->record.live = 1;
	cr_assert_eq(again(&other), 0);
	state_deinit(&other);
}
