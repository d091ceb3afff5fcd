/*
 * The keeper's queue, with a ring that the test has the kernel's end of: a backend can say that
 * an entry is answered, and nothing else.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/fake_ring.h"
#include "uring/commands.h"
#include "uring/pump.h"

static struct relay_rings_map map;
static struct fake_ring fake;
static struct pump pump;
static int fd;

static void setup(void)
{
	fd = relay_rings_make(2);
	cr_assert_geq(fd, 0);
	cr_assert_eq(relay_rings_map(&map, fd), 0);
	pump_init(&pump, &map, 1);
	fake_ring_init(&fake, &pump.ring);
}

static void teardown(void)
{
	relay_rings_unmap(&map);
	close(fd);
}

TestSuite(uring_pump, .init = setup, .fini = teardown, .timeout = 60);

static _Atomic uint32_t *state(uint32_t i)
{
	return relay_ring_state(&map, RELAY_RING_DEPTH + i);
}

/* The kernel has filled entry i. */
static void request(uint32_t i, uint64_t unique)
{
	relay_ring_header(&map, RELAY_RING_DEPTH + i)->commit_id = unique;
	fake_ring_complete(&fake, i, 0);
}

Test(uring_pump, all_entries_are_registered_with_their_buffers)
{
	struct fake_command command;

	pump_register(&pump);
	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++) {
		const struct iovec *iov;

		cr_assert(fake_ring_submitted(&fake, &command));
		iov = (const void *)(uintptr_t)command.addr;
		cr_expect_eq(command.op, COMMAND_REGISTER);
		cr_expect_eq(command.queue, 1);
		cr_expect_eq(command.user_data, i);
		cr_expect_eq(command.len, 2);
		cr_expect_eq(iov[0].iov_base, (void *)relay_ring_header(&map, RELAY_RING_DEPTH + i));
		cr_expect_eq(iov[1].iov_base, (void *)relay_ring_payload(&map, RELAY_RING_DEPTH + i));
		cr_expect_eq(iov[1].iov_len, RELAY_RING_PAYLOAD);
	}
	cr_expect_not(fake_ring_submitted(&fake, &command));
}

Test(uring_pump, a_request_is_published_and_its_answer_committed)
{
	struct fake_command command;

	request(3, 42);
	cr_expect(pump_requests(&pump));
	cr_expect_eq(atomic_load(state(3)), RELAY_RING_REQUEST);
	pump_answers(&pump);
	cr_expect_not(fake_ring_submitted(&fake, &command), "nobody has answered");

	atomic_store(state(3), RELAY_RING_ANSWERED);
	pump_answers(&pump);
	cr_assert(fake_ring_submitted(&fake, &command));
	cr_expect_eq(command.op, COMMAND_COMMIT_AND_FETCH);
	cr_expect_eq(command.commit_id, 42);
	cr_expect_eq(command.queue, 1);
	cr_expect_eq(command.user_data, 3);
	cr_expect_eq(atomic_load(state(3)), RELAY_RING_KERNEL);
	cr_expect_not(fake_ring_submitted(&fake, &command), "once");
}

Test(uring_pump, an_answer_to_nothing_is_none)
{
	struct fake_command command;

	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++)
		atomic_store(state(i), RELAY_RING_ANSWERED);
	pump_answers(&pump);
	cr_expect_not(fake_ring_submitted(&fake, &command));

	/* Nor is a second one. */
	request(0, 44);
	pump_requests(&pump);
	atomic_store(state(0), RELAY_RING_ANSWERED);
	pump_answers(&pump);
	cr_assert(fake_ring_submitted(&fake, &command));
	atomic_store(state(0), RELAY_RING_ANSWERED);
	pump_answers(&pump);
	cr_expect_not(fake_ring_submitted(&fake, &command));
}

Test(uring_pump, the_number_of_a_request_is_not_the_backends_to_change)
{
	struct fake_command command;

	request(5, 46);
	pump_requests(&pump);
	relay_ring_header(&map, RELAY_RING_DEPTH + 5)->commit_id = 99;
	atomic_store(state(5), RELAY_RING_ANSWERED);
	pump_answers(&pump);
	cr_assert(fake_ring_submitted(&fake, &command));
	cr_expect_eq(command.commit_id, 46);
}

Test(uring_pump, a_commit_that_is_refused_registers_anew_but_not_for_ever)
{
	struct fake_command command;
	unsigned registered = 0;

	for (unsigned n = 0; n < 3 * RELAY_RING_DEPTH; n++) {
		fake_ring_complete(&fake, 0, -ENOENT);
		cr_expect_not(pump_requests(&pump));
		while (fake_ring_submitted(&fake, &command)) {
			cr_expect_eq(command.op, COMMAND_REGISTER);
			registered++;
		}
	}
	cr_expect_eq(registered, RELAY_RING_DEPTH);
	cr_expect_eq(pump.err, -ENOENT);
}

Test(uring_pump, the_end_of_the_connection_is_no_request)
{
	struct fake_command command;

	fake_ring_complete(&fake, 0, -ENOTCONN);
	cr_expect_not(pump_requests(&pump));
	cr_expect_eq(pump.err, -ENOTCONN);
	cr_expect_eq(atomic_load(state(0)), RELAY_RING_KERNEL);
	cr_expect_not(fake_ring_submitted(&fake, &command));
}
