/*
 * From the kernel into the journal and on to the backend: what each request leads to.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/dispatch_rig.h"

static struct dispatch_rig rig;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(dispatch_read, .init = setup, .fini = teardown, .timeout = 60);

static void serve(bool hello)
{
	cr_assert(rig_serve(&rig, hello));
}

Test(dispatch_read, a_request_is_in_the_journal_when_the_backend_gets_it)
{
	struct fake_packet packet;
	struct relay_slot_place place;
	struct relay_slot *slot;
	uint64_t unique;

	serve(true);
	unique = fake_kernel_lookup(&rig.kernel, "name");
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	slot = fake_backend_slot(&rig.backend, packet.in.unique);
	cr_expect_eq(atomic_load(&slot->state), RELAY_SLOT_TAKEN);
	cr_expect_eq(slot->opcode, FUSE_LOOKUP);
	cr_expect_eq(slot->unique, unique);
	cr_expect_eq(slot->channel_unique, packet.in.unique);
	cr_expect_eq(slot->request_size, packet.size);
	place = relay_slot_place(RIG_LARGE, RIG_SMALL, relay_unique_slot(packet.in.unique));
	cr_expect_arr_eq((char *)rig.backend.journal.journal + place.request, packet.bytes, packet.size);
}

Test(dispatch_read, the_unique_is_rewritten_and_restored)
{
	/* As the kernel marks a request that it sends again. */
	const uint64_t unique = FUSE_UNIQUE_RESEND | 42;
	const struct {
		struct fuse_in_header header;
		char name[4];
	} lookup = {
		.header = {.len = sizeof(lookup), .opcode = FUSE_LOOKUP, .unique = unique, .nodeid = 7, .pid = 9},
		.name = "abc",
	};
	struct fake_packet packet;
	uint64_t first;

	serve(false);
	cr_assert(fake_kernel_send(&rig.kernel, &lookup, sizeof(lookup)));
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	first = packet.in.unique;
	cr_expect_neq(first, unique);
	cr_expect_eq(first & 1, 0);
	packet.in.unique = unique;
	cr_expect_eq(packet.size, sizeof(lookup));
	cr_expect_arr_eq(packet.bytes, &lookup, sizeof(lookup));
	cr_assert(fake_backend_reply(&rig.backend, first, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
	cr_assert(fake_kernel_send(&rig.kernel, &lookup, sizeof(lookup)));
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	cr_expect_neq(packet.in.unique, first, "a slot's next request has another unique");
	cr_assert(fake_backend_reply(&rig.backend, packet.in.unique, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
}

/* What a row says is what happens to a request of it. */
static void row_check(uint32_t opcode, const struct relay_op *op)
{
	uint64_t unique = fake_kernel_minimal(&rig.kernel, opcode), channel;

	if (opcode == FUSE_INIT) { /* only once in a mount's life */
		cr_expect(fake_kernel_gets_error(&rig.kernel, unique, EIO), "%s", op->name);
		return;
	}
	if (op->flags & RELAY_OP_OWN) {
		cr_expect(fake_kernel_gets_error(&rig.kernel, unique, 0), "%s", op->name);
		return;
	}
	if (opcode == FUSE_INTERRUPT)
		return; /* of a request that is not there */
	channel = fake_backend_gets(&rig.backend, opcode);
	cr_assert_neq(channel, 0, "%s", op->name);
	if (op->reply == RELAY_REPLY_NEVER)
		return;
	cr_assert(fake_backend_reply(&rig.backend, channel, EACCES, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, EACCES), "%s", op->name);
}

Test(dispatch_read, every_opcode_goes_where_its_row_says)
{
	serve(false);
	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++)
		if (relay_op_get(opcode))
			row_check(opcode, relay_op_get(opcode));
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_expect(fake_kernel_quiet(&rig.kernel));
	cr_expect(rig_inflight(&rig, 0));
}

Test(dispatch_read, what_cannot_be_relayed_is_answered)
{
	struct fuse_in_header lying = {.len = sizeof(lying) + 1, .opcode = FUSE_STATFS, .unique = 1000};
	uint64_t unique;

	serve(false);
	unique = fake_kernel_request(&rig.kernel, 3000, NULL, 0);
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOSYS), "an unknown opcode");
	unique = fake_kernel_request(&rig.kernel, FUSE_OPEN, "x", 1);
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, EIO), "a short body");
	unique = fake_kernel_request(&rig.kernel, FUSE_LOOKUP, "abc", 3);
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, EIO), "a name without an end");
	cr_assert(fake_kernel_send(&rig.kernel, &lying, sizeof(lying)));
	cr_expect(fake_kernel_gets_error(&rig.kernel, 1000, EIO), "a length that is not its own");
	cr_assert(fake_kernel_send(&rig.kernel, &lying, 10));
	unique = fake_kernel_lookup(&rig.kernel, "after");
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0, "it goes on after less than a header");
	cr_expect(fake_backend_quiet(&rig.backend));
}

Test(dispatch_read, a_full_journal_makes_requests_wait)
{
	uint64_t kernel[RIG_LARGE + 1], channel[RIG_LARGE];

	serve(false);
	for (unsigned i = 0; i <= RIG_LARGE; i++)
		kernel[i] = fake_kernel_lookup(&rig.kernel, "x");
	for (unsigned i = 0; i < RIG_LARGE; i++)
		cr_assert_neq(channel[i] = fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), RIG_LARGE);
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_assert(fake_backend_reply(&rig.backend, channel[2], ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel[2], ENOENT));
	channel[2] = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert_neq(channel[2], 0, "the one that waited comes when a slot is free");
	cr_assert(fake_backend_reply(&rig.backend, channel[2], ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, kernel[RIG_LARGE], ENOENT));
}

Test(dispatch_read, waiters_for_locks_do_not_keep_others_waiting)
{
	uint64_t unique, channel;

	serve(false);
	for (unsigned i = 0; i < 200; i++) {
		cr_assert_neq(fake_kernel_minimal(&rig.kernel, FUSE_SETLKW), 0);
		channel = fake_backend_gets(&rig.backend, FUSE_SETLKW);
		cr_assert_neq(channel, 0);
		cr_expect_geq(relay_unique_slot(channel), RIG_LARGE, "in a small slot");
	}
	unique = fake_kernel_lookup(&rig.kernel, "x");
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
	cr_expect(rig_inflight(&rig, 200));
	cr_expect_eq(dispatch_outstanding(&rig.dispatch), 0, "nobody waits for waiters");
}

Test(dispatch_read, too_many_waiters_are_refused)
{
	uint64_t unique = 0;

	serve(false);
	for (unsigned i = 0; i < RIG_SMALL; i++) {
		cr_assert_neq(fake_kernel_minimal(&rig.kernel, FUSE_SETLKW), 0);
		cr_assert_neq(fake_backend_gets(&rig.backend, FUSE_SETLKW), 0);
	}
	unique = fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOLCK));
}

static uint64_t interrupt(uint64_t unique)
{
	const struct fuse_interrupt_in in = {.unique = unique};

	return fake_kernel_request(&rig.kernel, FUSE_INTERRUPT, &in, sizeof(in));
}

static void interrupt_expect(uint64_t channel)
{
	const struct fuse_interrupt_in *in;
	struct fake_packet packet;

	cr_assert(fake_backend_receive(&rig.backend, &packet));
	in = fake_packet_in(&packet);
	cr_expect_eq(packet.in.opcode, FUSE_INTERRUPT);
	cr_expect_eq(packet.size, sizeof(packet.in) + sizeof(*in));
	cr_expect_eq(packet.in.unique, channel | 1);
	cr_expect_eq(in->unique, channel);
}

Test(dispatch_read, an_interrupt_names_the_request_as_the_backend_knows_it)
{
	uint64_t unique, channel;

	serve(false);
	unique = fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	channel = fake_backend_gets(&rig.backend, FUSE_SETLKW);
	interrupt(unique);
	interrupt_expect(channel);
	interrupt(unique | FUSE_UNIQUE_RESEND);
	interrupt_expect(channel);
	interrupt(unique + 100);
	cr_assert(fake_backend_reply(&rig.backend, channel, EINTR, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, EINTR));
	cr_expect(fake_backend_quiet(&rig.backend), "of a request that is not there nothing is told");
}

Test(dispatch_read, an_interrupt_is_told_to_the_next_backend_too)
{
	uint64_t unique, channel;

	serve(true);
	unique = fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	channel = fake_backend_gets(&rig.backend, FUSE_SETLKW);
	interrupt(unique);
	interrupt_expect(channel);
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_serve_next(&rig, true));
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_SETLKW), channel);
	interrupt_expect(channel);
}

Test(dispatch_read, an_interrupt_that_comes_during_the_redo_is_not_lost)
{
	uint64_t unique, channel;

	serve(true);
	unique = fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	channel = fake_backend_gets(&rig.backend, FUSE_SETLKW);
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, true));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_SETLKW), channel);
	/* The gate is shut still. */
	interrupt(unique);
	interrupt_expect(channel);
}

/* Up to where the carrier has certainly seen the gate open. */
static void serve_once(void)
{
	struct fake_packet packet;
	uint64_t channel;

	serve(false);
	fake_kernel_lookup(&rig.kernel, "x");
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_assert(fake_kernel_receive(&rig.kernel, &packet));
	cr_assert(rig_inflight(&rig, 0));
}

Test(dispatch_read, what_nobody_waits_for_does_not_hold_up_the_rest)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	uint64_t unique, channel;
	bool waited;

	serve_once();
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, true));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	/* After the redo, before the gate: none of them is left behind. */
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	fake_kernel_minimal(&rig.kernel, FUSE_RELEASE);
	unique = fake_kernel_lookup(&rig.kernel, "x");
	cr_assert(rig_inflight(&rig, 3));
	cr_assert_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_FORGET), 0);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_RELEASE), 0);
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
}

Test(dispatch_read, one_request_at_most_is_taken_from_the_kernel_while_no_backend_is_there)
{
	uint64_t first, second, channel;
	bool waited;

	serve_once();
	cr_assert(rig_backend_die(&rig, false));
	first = fake_kernel_lookup(&rig.kernel, "first");
	cr_assert(rig_inflight(&rig, 1));
	second = fake_kernel_lookup(&rig.kernel, "second");
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, false));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	cr_expect(waited);
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, first, ENOENT));
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, second, ENOENT));
}

Test(dispatch_read, what_waits_when_the_gate_opens_is_sent)
{
	uint64_t unique, channel;
	bool waited;

	serve_once();
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_ready(&rig, false));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	/* After the redo, before the gate. */
	unique = fake_kernel_lookup(&rig.kernel, "x");
	cr_assert(rig_inflight(&rig, 1));
	cr_assert_eq(dispatch_gate_open(&rig.dispatch, &waited), 0);
	cr_expect(waited);
	channel = fake_backend_gets(&rig.backend, FUSE_LOOKUP);
	cr_assert(fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0));
	cr_expect(fake_kernel_gets_error(&rig.kernel, unique, ENOENT));
}

Test(dispatch_read, the_kernels_end_is_told)
{
	serve(false);
	fake_kernel_end(&rig.kernel);
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

Test(dispatch_read, it_ends_with_a_full_journal_and_with_a_request_that_waits)
{
	serve(false);
	for (unsigned i = 0; i <= RIG_LARGE; i++)
		fake_kernel_lookup(&rig.kernel, "x");
	cr_assert(rig_inflight(&rig, RIG_LARGE));
	cr_assert(rig_backend_die(&rig, false));
	/* teardown() ends the threads. */
}

Test(dispatch_read, the_kernels_end_is_told_before_init_is_answered)
{
	cr_assert(rig_kernel_init(&rig));
	fake_kernel_end(&rig.kernel);
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

static void kernel_goes_while_nothing_is_read(void)
{
	shutdown(rig.kernel.fd, SHUT_RDWR);
	dispatch_sweep(&rig.dispatch);
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

Test(dispatch_read, the_kernels_end_is_told_while_a_request_waits)
{
	serve(false);
	cr_assert(rig_backend_die(&rig, false));
	fake_kernel_lookup(&rig.kernel, "x");
	cr_assert(rig_inflight(&rig, 1));
	dispatch_sweep(&rig.dispatch);
	cr_expect_not(atomic_load(&rig.dispatch.unplugged));
	kernel_goes_while_nothing_is_read();
}

Test(dispatch_read, the_kernels_end_is_told_while_the_journal_is_full)
{
	serve(false);
	for (unsigned i = 0; i < RIG_LARGE; i++)
		fake_kernel_lookup(&rig.kernel, "x");
	cr_assert(rig_inflight(&rig, RIG_LARGE));
	cr_assert(rig_backend_die(&rig, false));
	kernel_goes_while_nothing_is_read();
}
