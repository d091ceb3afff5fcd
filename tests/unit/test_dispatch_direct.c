/*
 * The direct lane from relayd's side: who reads, and what becomes of what a dead backend
 * has left in the journal.  --resend=off: everything waits in the journal.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/direct_play.h"
#include "lib/stuck.h"
#include "slots.h"

static struct dispatch_rig rig;

static void setup(void)
{
	cr_assert_eq(rig_init(&rig), 0);
	rig.dispatch.direct.no_resend = true;
}

static void teardown(void)
{
	stuck_end();
	rig_deinit(&rig);
}

TestSuite(dispatch_direct, .init = setup, .fini = teardown, .timeout = 60);

/* A LOOKUP that the backend has read into the slot. */
static struct direct_request lookup_read(uint32_t slot, const char *name)
{
	struct direct_request request;

	cr_assert_neq(fake_kernel_lookup(&rig.kernel, name), 0);
	cr_assert(direct_read(&rig, slot, &request));
	return request;
}

static void die_and_begin(void)
{
	cr_assert(rig_backend_die(&rig, false));
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
}

static struct relay_slot *slot_at(uint32_t slot)
{
	return relay_slot_at(&rig.journal.map, slot);
}

static void all_free(void)
{
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0);
	for (uint32_t slot = 0; slot < journal_slots(&rig.journal); slot++) {
		cr_expect_eq(atomic_load(&slot_at(slot)->state), RELAY_SLOT_FREE, "slot %u", slot);
		cr_expect_eq(relay_slot_request(&rig.journal.map, slot)->unique, 0, "slot %u", slot);
	}
}

/* ---- who reads -------------------------------------------------------------- */

Test(dispatch_direct, a_native_backend_is_told_to_read_and_relayd_does_not)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	cr_expect(direct_is(&rig.dispatch.direct));
	request = lookup_read(0, "a");
	cr_expect_eq(request.unique, rig.kernel.unique);
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 0, "what is being read is none yet");
	direct_state(&rig, &request, RELAY_SLOT_TAKEN);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	cr_expect_eq(dispatch_outstanding(&rig.dispatch), 1);
	cr_expect_eq(dispatch_given(&rig.dispatch), 0);
}

Test(dispatch_direct, welcome_has_the_device)
{
	const struct relay_hello hello = {.version = RELAY_WIRE_VERSION};
	struct relay_welcome welcome;
	struct fake_packet packet;

	rig.dispatch.direct.wanted = true;
	cr_assert(rig_kernel_init(&rig));
	cr_assert(rig_backend_begin(&rig));
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_HELLO, &hello, sizeof(hello), -1));
	cr_assert(fake_backend_receive(&rig.backend, &packet));
	memcpy(&welcome, fake_packet_in(&packet), sizeof(welcome));
	cr_expect(welcome.flags & RELAY_WELCOME_DIRECT);
	close(packet.fd);
}

Test(dispatch_direct, a_foreign_backend_has_the_socket_lane)
{
	uint64_t unique;

	rig.dispatch.direct.wanted = true;
	rig.translated = true;
	cr_assert(rig_serve(&rig, false));
	cr_expect_not(direct_is(&rig.dispatch.direct));
	cr_assert_neq(unique = fake_kernel_lookup(&rig.kernel, "a"), 0);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0, "relayd reads, and gives it");
}

Test(dispatch_direct, a_mount_without_it_has_the_socket_lane)
{
	cr_assert(rig_serve(&rig, true));
	cr_expect_not(direct_is(&rig.dispatch.direct));
	cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
	cr_expect_neq(fake_backend_gets(&rig.backend, FUSE_LOOKUP), 0);
}

Test(dispatch_direct, pause_is_over_when_it_is_said)
{
	cr_assert(direct_serve(&rig));
	cr_expect_not(dispatch_paused(&rig.dispatch));
	dispatch_gate_shut(&rig.dispatch);
	dispatch_pause(&rig.dispatch);
	cr_expect(direct_gets_message(&rig, RELAY_PAUSE));
	cr_expect_not(dispatch_paused(&rig.dispatch));
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_PAUSED, NULL, 0, -1));
	cr_assert(rig_wait(&rig, DISPATCH_PROGRESS));
	cr_expect(dispatch_paused(&rig.dispatch));
}

Test(dispatch_direct, the_end_of_the_mount_is_believed_of_the_kernel_only)
{
	cr_assert(direct_serve(&rig));
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_GONE, NULL, 0, -1));
	/* What comes behind it is taken after it. */
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_PAUSED, NULL, 0, -1));
	cr_assert(rig_wait(&rig, DISPATCH_PROGRESS));
	cr_expect_not(rig.events & DISPATCH_KERNEL_GONE);
	close(rig.kernel.fd);
	rig.kernel.fd = -1;
	cr_assert(fake_backend_notify(&rig.backend, RELAY_NOTIFY_GONE, NULL, 0, -1));
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

Test(dispatch_direct, the_end_of_the_mount_is_looked_for)
{
	cr_assert(direct_serve(&rig));
	cr_expect_not(dispatch_look(&rig.dispatch));
	cr_assert_neq(fake_kernel_lookup(&rig.kernel, "a"), 0);
	cr_expect(dispatch_look(&rig.dispatch), "something is pending");
	close(rig.kernel.fd);
	rig.kernel.fd = -1;
	dispatch_look(&rig.dispatch);
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

Test(dispatch_direct, a_mount_that_ends_before_its_first_backend_is_seen_to_end)
{
	rig.dispatch.direct.wanted = true;
	cr_assert(rig_kernel_init(&rig));
	close(rig.kernel.fd);
	rig.kernel.fd = -1;
	dispatch_sweep(&rig.dispatch);
	cr_expect(rig_wait(&rig, DISPATCH_KERNEL_GONE));
}

/* ---- what a death leaves ----------------------------------------------------- */

Test(dispatch_direct, what_was_not_read_is_nothing)
{
	cr_assert(direct_serve(&rig));
	for (uint32_t slot = 0; slot < RIG_LARGE; slot++)
		atomic_store(&slot_at(slot)->state, RELAY_SLOT_READING);
	die_and_begin();
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	all_free();
}

Test(dispatch_direct, what_was_read_is_given_to_the_next)
{
	static const uint32_t states[] = {RELAY_SLOT_READING, RELAY_SLOT_TAKEN, RELAY_SLOT_APPLYING};
	struct direct_request request;
	uint64_t channel;

	cr_assert(direct_serve(&rig));
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		request = lookup_read(1, "a");
		if (states[i] != RELAY_SLOT_READING)
			direct_state(&rig, &request, states[i]);
		die_and_begin();
		channel = direct_gets(&rig, FUSE_LOOKUP);
		cr_assert_neq(channel, 0, "state %u", states[i]);
		cr_expect_eq(relay_unique_slot(channel), 1);
		cr_expect_eq(slot_at(1)->unique, request.unique);
		cr_expect_eq(slot_at(1)->channel_unique, channel);
		cr_expect_eq(slot_at(1)->request_size, request.size);
		cr_expect_eq(atomic_load(&slot_at(1)->state),
			     states[i] == RELAY_SLOT_APPLYING ? RELAY_SLOT_APPLYING : RELAY_SLOT_TAKEN);
		cr_expect(direct_gets_message(&rig, RELAY_GO), "after it");
		fake_backend_reply(&rig.backend, channel, ENOENT, NULL, 0);
		cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, ENOENT));
		cr_assert(rig_inflight(&rig, 0));
		all_free();
	}
	cr_expect_eq(atomic_load(&rig.stats.redone), 3);
}

Test(dispatch_direct, a_stored_reply_is_delivered)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	request = lookup_read(2, "a");
	direct_store(&rig, &request, ENOTDIR);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, ENOTDIR));
	all_free();
}

Test(dispatch_direct, a_stored_reply_that_cannot_be_is_eio)
{
	struct direct_request request;
	struct fuse_out_header *out;

	cr_assert(direct_serve(&rig));
	request = lookup_read(2, "a");
	direct_store(&rig, &request, ENOTDIR);
	out = journal_reply(&rig.journal, 2);
	out->unique = request.unique + 2;
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, EIO));
	all_free();
}

Test(dispatch_direct, a_slot_that_was_being_freed_is_free)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	request = lookup_read(0, "a");
	direct_store(&rig, &request, ENOTDIR);
	relay_slot_request(&rig.journal.map, 0)->unique = 0;
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_quiet(&rig.kernel));
	cr_expect_eq(atomic_load(&rig.stats.bad_replies), 0);
	all_free();
}

Test(dispatch_direct, a_waiter_is_given_from_a_small_slot)
{
	struct direct_request request;
	uint64_t channel;

	cr_assert(direct_serve(&rig));
	fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	cr_assert(direct_read(&rig, 0, &request));
	die_and_begin();
	channel = direct_gets(&rig, FUSE_SETLKW);
	cr_assert_neq(channel, 0);
	cr_expect_geq(relay_unique_slot(channel), RIG_LARGE);
	cr_expect_eq(dispatch_outstanding(&rig.dispatch), 0);
	cr_expect_eq(atomic_load(&slot_at(0)->state), RELAY_SLOT_FREE);
}

Test(dispatch_direct, a_waiter_that_was_being_moved_is_one)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	fake_kernel_minimal(&rig.kernel, FUSE_SETLKW);
	cr_assert(direct_read(&rig, 0, &request));
	direct_state(&rig, &request, RELAY_SLOT_TAKEN);
	memcpy(journal_request(&rig.journal, RIG_LARGE), request.bytes, request.size);
	request.slot = RIG_LARGE;
	direct_state(&rig, &request, RELAY_SLOT_TAKEN);
	die_and_begin();
	cr_expect_neq(direct_gets(&rig, FUSE_SETLKW), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect(fake_backend_quiet(&rig.backend));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
	cr_expect_eq(atomic_load(&rig.stats.bad_replies), 0);
}

Test(dispatch_direct, a_forget_is_given_again_and_one_that_was_done_is_not)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	struct direct_request todo, done;

	cr_assert(direct_serve(&rig));
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	cr_assert(direct_read(&rig, 0, &todo));
	direct_state(&rig, &todo, RELAY_SLOT_TAKEN);
	fake_kernel_request(&rig.kernel, FUSE_FORGET, &in, sizeof(in));
	cr_assert(direct_read(&rig, 1, &done));
	direct_state(&rig, &done, RELAY_SLOT_APPLIED);
	slot_at(1)->reply_size = sizeof(struct fuse_out_header);
	die_and_begin();
	cr_expect_eq(relay_unique_slot(direct_gets(&rig, FUSE_FORGET)), 0);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect(fake_kernel_quiet(&rig.kernel));
}

Test(dispatch_direct, an_interrupt_that_was_read_is_passed_on)
{
	struct direct_request request, interrupt;
	struct fuse_interrupt_in in;
	uint64_t channel;
	struct fuse_in_header header = {.len = sizeof(header) + sizeof(in), .opcode = FUSE_INTERRUPT};
	uint8_t packet[sizeof(header) + sizeof(in)];

	cr_assert(direct_serve(&rig));
	/* In the slot that is looked at before the other's. */
	request = lookup_read(0, "a");
	direct_state(&rig, &request, RELAY_SLOT_TAKEN);
	header.unique = request.unique | 1;
	in.unique = request.unique;
	memcpy(packet, &header, sizeof(header));
	memcpy(packet + sizeof(header), &in, sizeof(in));
	cr_assert(fake_kernel_send(&rig.kernel, packet, sizeof(packet)));
	cr_assert(direct_read(&rig, 3, &interrupt));
	die_and_begin();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_INTERRUPT), channel | 1);
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
}

Test(dispatch_direct, a_destroy_is_answered_and_an_answer_to_nobody_dropped)
{
	struct direct_request destroy, reply;
	struct fuse_notify_retrieve_in in = {.size = 0};

	cr_assert(direct_serve(&rig));
	fake_kernel_request(&rig.kernel, FUSE_DESTROY, NULL, 0);
	cr_assert(direct_read(&rig, 0, &destroy));
	fake_kernel_request(&rig.kernel, FUSE_NOTIFY_REPLY, &in, sizeof(in));
	cr_assert(direct_read(&rig, 1, &reply));
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, destroy.unique, 0));
	cr_expect(fake_kernel_quiet(&rig.kernel));
	all_free();
}

Test(dispatch_direct, an_opcode_that_nobody_knows_is_enosys)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	fake_kernel_request(&rig.kernel, 999, NULL, 0);
	cr_assert(direct_read(&rig, 0, &request));
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, ENOSYS));
	all_free();
}

Test(dispatch_direct, scribbled_slots_are_answered_eio_or_dropped)
{
	static const struct {
		struct fuse_in_header header;
		uint32_t state;
		bool answered;
	} cases[] = {
		{{.len = 0, .unique = 2, .opcode = FUSE_LOOKUP}, RELAY_SLOT_TAKEN, true},
		{{.len = UINT32_MAX, .unique = 2, .opcode = FUSE_LOOKUP}, RELAY_SLOT_TAKEN, true},
		{{.len = sizeof(struct fuse_in_header), .unique = 2, .opcode = FUSE_LOOKUP}, RELAY_SLOT_TAKEN, true},
		{{.len = sizeof(struct fuse_in_header), .unique = 3, .opcode = FUSE_LOOKUP}, RELAY_SLOT_TAKEN, false},
		{{.len = sizeof(struct fuse_in_header), .unique = 2, .opcode = FUSE_READLINK}, 77, true},
		{{.len = sizeof(struct fuse_in_header), .unique = 2, .opcode = FUSE_INIT}, RELAY_SLOT_TAKEN, true},
	};

	cr_assert(direct_serve(&rig));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(journal_request(&rig.journal, 1), &cases[i].header, sizeof(cases[i].header));
		atomic_store(&slot_at(1)->state, cases[i].state);
		cr_assert(rig_backend_die(&rig, false));
		cr_expect_eq(atomic_load(&rig.stats.bad_replies), i + 1, "case %zu", i);
		if (cases[i].answered)
			cr_expect(fake_kernel_gets_error(&rig.kernel, 2, EIO), "case %zu", i);
		cr_expect(fake_kernel_quiet(&rig.kernel));
		all_free();
		cr_assert(direct_begin_next(&rig));
		cr_assert(direct_go(&rig));
	}
}

Test(dispatch_direct, a_unique_that_relayd_has_already_is_not_taken_twice)
{
	struct direct_request first, second;
	uint64_t channel;

	cr_assert(direct_serve(&rig));
	first = lookup_read(0, "a");
	die_and_begin();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert(direct_gets_message(&rig, RELAY_GO));
	second = first;
	second.slot = 2;
	memcpy(journal_request(&rig.journal, 2), first.bytes, first.size);
	direct_store(&rig, &second, EPERM);
	die_and_begin();
	cr_expect(fake_kernel_quiet(&rig.kernel), "its reply is none");
	cr_expect_eq(direct_gets(&rig, FUSE_LOOKUP), channel);
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	cr_expect_eq(dispatch_inflight(&rig.dispatch), 1);
}

Test(dispatch_direct, a_second_death_at_each_step_loses_nothing)
{
	struct direct_request request;
	uint64_t channel = 0;

	cr_assert(direct_serve(&rig));
	request = lookup_read(0, "a");
	direct_state(&rig, &request, RELAY_SLOT_APPLYING);
	cr_assert(rig_backend_die(&rig, false));
	/* Before INIT is answered. */
	cr_assert(rig_backend_begin(&rig));
	cr_assert(rig_backend_die(&rig, false));
	/* After that. */
	cr_assert(direct_begin_next(&rig));
	cr_assert(rig_backend_die(&rig, false));
	/* With the request. */
	cr_assert(direct_begin_next(&rig));
	cr_assert_eq(dispatch_redo(&rig.dispatch, 3, false), 0);
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	cr_assert(rig_backend_die(&rig, false));
	/* With the whole reply. */
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect_eq(direct_gets(&rig, FUSE_LOOKUP), channel);
	fake_backend_store(&rig.backend, channel, EPERM);
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, EPERM));
	all_free();
}

Test(dispatch_direct, what_kills_is_given_up)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	request = lookup_read(0, "a");
	cr_assert(rig_backend_die(&rig, true));
	for (unsigned life = 1; life < 3; life++) {
		cr_expect(dispatch_redo_suspects(&rig.dispatch));
		cr_assert(direct_begin_next(&rig));
		cr_assert(direct_go(&rig));
		cr_assert_neq(direct_gets(&rig, FUSE_LOOKUP), 0);
		cr_assert(rig_backend_die(&rig, true));
	}
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, EIO));
	cr_expect(direct_gets_message(&rig, RELAY_GO));
}

Test(dispatch_direct, a_caller_that_dies_is_let_go)
{
	struct direct_request request;

	cr_assert(direct_serve(&rig));
	stuck_begin();
	rig.kernel.pid = (uint32_t)stuck.pid;
	request = lookup_read(0, "a");
	cr_assert(rig_backend_die(&rig, false));
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel));
	kill(stuck.pid, SIGKILL);
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_gets_error(&rig.kernel, request.unique, EINTR));
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	all_free();
}

Test(dispatch_direct, a_backend_that_waits_for_itself_is_answered)
{
	struct direct_request had;
	uint64_t pending;

	cr_assert(direct_serve(&rig));
	/* It is we who are dying. */
	rig.kernel.pid = (uint32_t)getpid();
	had = lookup_read(0, "a");
	direct_state(&rig, &had, RELAY_SLOT_TAKEN);
	pending = fake_kernel_minimal(&rig.kernel, FUSE_FLUSH);
	fake_backend_end(&rig.backend);
	cr_assert(rig_wait(&rig, DISPATCH_DRAINED));
	rig.dispatch.gone = getpid();
	dispatch_gate_shut(&rig.dispatch);
	dispatch_salvage(&rig.dispatch);
	dispatch_sweep(&rig.dispatch);
	cr_expect(fake_kernel_gets_error(&rig.kernel, had.unique, EINTR));
	cr_expect(fake_kernel_gets_error(&rig.kernel, pending, EINTR));
	cr_expect_not(fcntl(rig.kernel.device, F_GETFL) & O_NONBLOCK);
	dispatch_channel_end(&rig.dispatch, false);
	close(rig.backend.channel);
	rig.backend.channel = -1;
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect(direct_gets_message(&rig, RELAY_GO));
	all_free();
}

/* ---- what a backend has spoilt ------------------------------------------------ */

Test(dispatch_direct, a_request_of_an_impossible_length_is_answered_eio)
{
	struct direct_request had;

	cr_assert(direct_serve(&rig));
	had = lookup_read(0, "a");
	direct_state(&rig, &had, RELAY_SLOT_APPLYING);
	relay_slot_request(&rig.journal.map, 0)->len = 1u << 30;
	cr_assert(rig_backend_die(&rig, false));
	cr_expect(fake_kernel_gets_error(&rig.kernel, had.unique, EIO));
	cr_expect_eq(atomic_load(&rig.stats.bad_replies), 1);
	all_free();
}

/* ---- what a backend has heard ------------------------------------------------- */

Test(dispatch_direct, an_interrupt_that_the_dead_one_took_is_heard_again)
{
	struct direct_request had;
	uint64_t channel;

	cr_assert(direct_serve(&rig));
	had = lookup_read(0, "a");
	direct_state(&rig, &had, RELAY_SLOT_TAKEN);
	atomic_store(&slot_at(0)->interrupted, had.unique);
	die_and_begin();
	channel = direct_gets(&rig, FUSE_LOOKUP);
	cr_assert_neq(channel, 0);
	cr_expect_eq(fake_backend_gets(&rig.backend, FUSE_INTERRUPT), channel | 1);
}

/* ---- no backend for too long ---------------------------------------------------- */

Test(dispatch_direct, what_waits_and_what_comes_is_answered_with_errors)
{
	struct direct_request had;
	uint64_t came, late;

	cr_assert(direct_serve(&rig));
	had = lookup_read(0, "a");
	direct_state(&rig, &had, RELAY_SLOT_APPLYING);
	cr_assert(rig_backend_die(&rig, false));
	came = fake_kernel_lookup(&rig.kernel, "b");
	dispatch_fail_begin(&rig.dispatch);
	/* What is read is told before what has a slot. */
	cr_expect(fake_kernel_gets_error(&rig.kernel, came, ENOTCONN));
	cr_expect(fake_kernel_gets_error(&rig.kernel, had.unique, EIO));
	cr_expect_eq(slot_at(0)->state, RELAY_SLOT_APPLYING, "the next one has to roll back");
	late = fake_kernel_lookup(&rig.kernel, "c");
	dispatch_fail_waiting(&rig.dispatch);
	cr_expect(fake_kernel_gets_error(&rig.kernel, late, ENOTCONN));
	cr_assert_neq(fake_kernel_minimal(&rig.kernel, FUSE_RELEASE), 0);
	dispatch_fail_waiting(&rig.dispatch);
	cr_expect(fake_kernel_quiet(&rig.kernel));
	dispatch_fail_end(&rig.dispatch);
	cr_assert(direct_begin_next(&rig));
	cr_assert(direct_go(&rig));
	cr_expect_neq(direct_gets(&rig, FUSE_RELEASE), 0);
	cr_expect_eq(atomic_load(&rig.stats.failed), 3);
}
