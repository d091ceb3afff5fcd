/*
 * Requests that a backend reads from /dev/fuse by itself: who reads when, replies,
 * interrupts, what is detached, what was given, the end.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/opcodes.h"
#include "relay/relay.h"

#define THREADS 3u
#define LARGE 4u
#define SMALL 2u

/* What the backend tells the test. */
struct seen {
	uint64_t unique, forgotten;
	_Atomic uint64_t interrupted;
	bool redo, reply_aligned;
	char name[32];
	_Atomic uint32_t waiting; /* FSYNCs in their handler, SETLKWs detached */
	_Atomic uint32_t served;
	_Atomic bool go_on;
};

static struct seen *seen;
static struct fake_relayd fake;
static struct relay_req *waiters[8]; /* in the backend */
static pthread_mutex_t waiters_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_lookup(struct relay_req *req, const char *name)
{
	seen->unique = relay_req_unique(req);
	seen->redo = relay_req_redo(req);
	strncpy(seen->name, name, sizeof(seen->name) - 1);
	atomic_fetch_add(&seen->served, 1);
	relay_reply_error(req, ENOENT);
}

static void on_read(struct relay_req *req, const struct fuse_read_in *in)
{
	size_t capacity;
	uint8_t *buffer = relay_reply_buffer(req, &capacity);

	seen->reply_aligned = (uintptr_t)buffer % 4096 == 0;
	memset(buffer, 'x', RELAY_MAX_DATA);
	/* What offset has in excess is too much. */
	relay_reply_filled(req, in->size + in->offset);
}

static void on_write(struct relay_req *req, const struct fuse_write_in *in, const void *data, size_t size)
{
	(void)in;
	relay_reply_write(req, (uintptr_t)data % 4096 == 0 ? (uint32_t)size : 0);
}

static void on_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	(void)req;
	seen->forgotten += nodeid * nlookup;
	atomic_fetch_add(&seen->served, 1);
}

/* Waits until the test lets it go on, or for an interrupt. */
static void on_fsync(struct relay_req *req, const struct fuse_fsync_in *in)
{
	(void)in;
	atomic_fetch_add(&seen->waiting, 1);
	while (!atomic_load(&seen->go_on) && !relay_req_interrupted(req))
		sched_yield();
	relay_reply_error(req, atomic_load(&seen->go_on) ? 0 : EINTR);
}

static void waiter_add(struct relay_req *req)
{
	pthread_mutex_lock(&waiters_lock);
	for (unsigned i = 0; i < 8; i++) {
		if (!waiters[i]) {
			waiters[i] = req;
			break;
		}
	}
	if (relay_req_interrupted(req))
		relay_reply_error(req, EDEADLK);
	pthread_mutex_unlock(&waiters_lock);
	atomic_fetch_add(&seen->waiting, 1);
}

static void on_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	(void)in;
	waiter_add(relay_req_detach(req));
}

static void on_access(struct relay_req *req, const struct fuse_access_in *in)
{
	(void)in;
	waiter_add(relay_req_detach(req));
}

static void on_interrupt(struct relay_session *session, uint64_t unique)
{
	(void)session;
	seen->interrupted = unique;
	pthread_mutex_lock(&waiters_lock);
	for (unsigned i = 0; i < 8; i++) {
		if (waiters[i] && relay_req_unique(waiters[i]) == unique) {
			relay_reply_error(waiters[i], EINTR);
			waiters[i] = NULL;
		}
	}
	pthread_mutex_unlock(&waiters_lock);
}

static void on_notify_reply(struct relay_req *req, const struct fuse_notify_retrieve_in *in, const void *data,
			    size_t size)
{
	(void)in;
	memcpy(seen->name, data, size);
	atomic_fetch_add(&seen->served, 1);
	relay_reply_error(req, 0);
}

static const struct relay_ops ops = {
	.lookup = on_lookup,
	.read = on_read,
	.write = on_write,
	.forget = on_forget,
	.fsync = on_fsync,
	.setlkw = on_setlkw,
	.access = on_access,
	.interrupt = on_interrupt,
	.notify_reply = on_notify_reply,
};

static int backend(int channel, void *arg)
{
	(void)arg;
	return relay_serve(channel, &ops, THREADS, NULL);
}

static void setup(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(seen, MAP_FAILED);
	fake_relayd_init(&fake, LARGE, SMALL);
	fake_direct(&fake);
	fake_crash_plan(NULL);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(direct, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
}

static void begin_reading(void)
{
	begin();
	fake_send_go(&fake);
}

static void expect_end(int result)
{
	int status = fake.channel >= 0 ? fake_end(&fake) : fake_wait(&fake);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == result, "status %x", (unsigned)status);
}

static void expect_free(void)
{
	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		cr_expect_eq(fake_slot_state(&fake, i), RELAY_SLOT_FREE, "slot %u: %u", i, fake_slot_state(&fake, i));
		cr_expect_eq(fake_slot_header(&fake, i)->unique, 0, "slot %u", i);
	}
}

static void await(_Atomic uint32_t *count, uint32_t least)
{
	while (atomic_load(count) < least)
		sched_yield();
}

/* ---- requests ---------------------------------------------------------- */

Test(direct, requests_are_answered_on_the_device)
{
	const struct fuse_read_in read = {.size = RELAY_MAX_DATA};
	static struct {
		struct fuse_write_in in;
		uint8_t data[RELAY_MAX_DATA];
	} write;

	begin_reading();
	for (int i = 0; i < 20; i++)
		cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	cr_expect_str_eq(seen->name, "name");
	cr_expect_eq(seen->unique, fake.answer.out.unique);
	cr_expect_not(seen->redo);
	cr_expect_eq(fake_device_call(&fake, FUSE_READ, 1, &read, sizeof(read)), 0);
	cr_expect_eq(fake.answer.size, sizeof(fake.answer.out) + RELAY_MAX_DATA);
	cr_expect(seen->reply_aligned);
	cr_expect_eq(fake_device_call(&fake, FUSE_WRITE, 1, &write, sizeof(write)), 0);
	cr_expect_eq(((const struct fuse_write_out *)(&fake.answer.out + 1))->size, RELAY_MAX_DATA, "on a page");
	expect_end(0);
	expect_free();
	cr_expect_eq(atomic_load(&fake.map.journal->counts[FUSE_LOOKUP].count), 20);
	cr_expect_eq(atomic_load(&fake.map.journal->counts[FUSE_LOOKUP].errors), 20);
	cr_expect_eq(atomic_load(&fake.map.journal->counts[FUSE_READ].errors), 0);
}

Test(direct, the_mark_of_a_resent_request_is_the_kernels_own)
{
	const uint64_t unique = 77777776;
	struct {
		struct fuse_in_header header;
		char name[8];
	} packet = {
		.header = {.len = sizeof(packet), .opcode = FUSE_LOOKUP, .unique = unique | FUSE_UNIQUE_RESEND},
		.name = "resents",
	};

	begin_reading();
	fake_device_raw(&fake, &packet, sizeof(packet));
	cr_expect_eq(fake_device_receive(&fake), packet.header.unique);
	cr_expect_eq(seen->unique, unique);
	expect_end(0);
}

Test(direct, forgets_take_no_answer)
{
	const struct fuse_forget_in one = {.nlookup = 5};
	const struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one items[2];
	} batch = {.in = {.count = 2}, .items = {{.nodeid = 100, .nlookup = 1}, {.nodeid = 1000, .nlookup = 2}}};

	begin_reading();
	fake_device_request(&fake, FUSE_FORGET, 2, &one, sizeof(one));
	await(&seen->served, 1);
	fake_device_request(&fake, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
	await(&seen->served, 3);
	cr_expect_eq(seen->forgotten, 2110);
	cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT, "the only answer");
	expect_end(0);
	expect_free();
}

Test(direct, what_does_not_fit_is_answered)
{
	const struct fuse_read_in too_much = {.size = 10, .offset = 1};
	struct fuse_in_header header = {.len = 999, .opcode = FUSE_LOOKUP, .unique = 4444};

	begin_reading();
	cr_expect_eq(fake_device_call(&fake, 1000, 1, NULL, 0), -ENOSYS);
	cr_expect_eq(fake_device_call(&fake, FUSE_STATFS, 1, NULL, 0), -ENOSYS, "no handler");
	cr_expect_eq(fake_device_call(&fake, FUSE_DESTROY, 1, NULL, 0), 0);
	cr_expect_eq(fake_device_call(&fake, FUSE_INIT, 1, fake.reply.bytes, sizeof(struct fuse_init_in)), -EIO);
	cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 4), -EIO, "a name without its end");
	cr_expect_eq(fake_device_call(&fake, FUSE_READ, 1, &too_much, sizeof(too_much)), -EIO, "longer than asked for");
	fake_device_raw(&fake, &header, sizeof(header));
	cr_expect_eq(fake_device_receive(&fake), 4444);
	cr_expect_eq(fake.answer.out.error, -EIO, "another length than it says");
	cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	expect_end(0);
	expect_free();
}

Test(direct, the_answer_to_retrieve_comes_from_the_device)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_notify_retrieve_in in;
		char data[8];
	} packet = {.header = {.len = sizeof(packet), .opcode = FUSE_NOTIFY_REPLY, .unique = 9}, .data = "content"};

	begin_reading();
	fake_device_raw(&fake, &packet, sizeof(packet));
	await(&seen->served, 1);
	cr_expect_str_eq(seen->name, "content");
	expect_end(0);
	expect_free();
}

/* ---- who reads when ---------------------------------------------------- */

Test(direct, nothing_is_read_before_go)
{
	uint64_t unique;

	begin();
	unique = fake_device_request(&fake, FUSE_LOOKUP, 1, "name", 5);
	/* Another request, given, is served meanwhile. */
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	cr_expect_eq(seen->unique, fake_slot(&fake, 0)->unique);
	cr_expect_eq(atomic_load(&seen->served), 1);
	cr_expect(fake_device_quiet(&fake));
	fake_slot_free(&fake, 0);
	fake_send_go(&fake);
	cr_expect_eq(fake_device_receive(&fake), unique);
	expect_end(0);
	expect_free();
}

/* All threads are in read() by then, or on the way to it. */
Test(direct, pause_and_go)
{
	begin_reading();
	for (int i = 0; i < 200; i++) {
		uint64_t unique;

		if (i % 2)
			cr_assert_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
		fake_send_pause(&fake);
		fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
		fake.notify_count = 0;
		expect_free();
		unique = fake_device_request(&fake, FUSE_LOOKUP, 1, "name", 5);
		cr_assert_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
		fake_slot_free(&fake, 0);
		cr_assert(fake_device_quiet(&fake));
		fake_send_go(&fake);
		cr_assert_eq(fake_device_receive(&fake), unique);
	}
	expect_end(0);
	expect_free();
}

Test(direct, paused_is_said_when_what_was_read_is_answered)
{
	const struct fuse_fsync_in in = {0};
	uint64_t unique;

	begin_reading();
	unique = fake_device_request(&fake, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, 1);
	fake_send_pause(&fake);
	/* Nothing but the answer to this comes on the channel. */
	cr_expect_eq(fake_call(&fake, 3, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	cr_expect_eq(fake.notify_count, 0);
	fake_slot_free(&fake, 3);
	atomic_store(&seen->go_on, true);
	fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
	cr_expect_not(fake_device_quiet(&fake), "it was answered before that");
	cr_expect_eq(fake_device_receive(&fake), unique);
	expect_free();
	expect_end(0);
}

Test(direct, a_given_request_waits_for_no_other)
{
	const struct fuse_fsync_in in = {0};
	uint64_t first, second;

	begin();
	first = fake_request(&fake, 0, FUSE_FSYNC, 1, &in, sizeof(in));
	second = fake_request(&fake, 1, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, 2);
	cr_expect_eq(fake_call(&fake, 3, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	fake_slot_free(&fake, 3);
	fake_send_go(&fake);
	cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	/* While the only other thread is in read(), with slot 2. */
	cr_expect_eq(fake_call(&fake, 3, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	atomic_store(&seen->go_on, true);
	cr_expect_eq(fake_receive(&fake) + fake_receive(&fake), first + second);
	expect_end(0);
}

Test(direct, more_given_requests_than_threads)
{
	const struct fuse_fsync_in in = {0};
	uint64_t sum = 0;

	begin();
	for (uint32_t slot = 0; slot < LARGE; slot++)
		sum -= fake_request(&fake, slot, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, THREADS);
	atomic_store(&seen->go_on, true);
	for (uint32_t slot = 0; slot < LARGE; slot++)
		sum += fake_receive(&fake);
	cr_expect_eq(sum, 0);
	expect_end(0);
}

Test(direct, a_given_request_is_checked_in_its_slot)
{
	uint64_t unique;

	begin();
	unique = fake_take(&fake, 0, FUSE_LOOKUP, 1, "name", 5);
	fake_slot(&fake, 0)->request_size = UINT32_MAX;
	fake_send(&fake, 0);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EIO);
	unique = fake_take(&fake, 0, FUSE_LOOKUP, 1, "name", 5);
	fake_slot_header(&fake, 0)->len = 10;
	fake_send(&fake, 0);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EIO);
	unique = fake_take(&fake, 0, FUSE_LOOKUP, 1, "name", 5);
	fake_slot(&fake, 0)->channel_unique = 8;
	fake_send(&fake, 0);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EIO, "of no slot");
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_TAKEN);
	expect_end(0);
}

Test(direct, the_end_of_the_mount_is_told_once)
{
	begin_reading();
	cr_assert_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	fake_device_gone(&fake);
	fake_expect_notice(&fake, RELAY_NOTIFY_GONE);
	for (uint32_t i = 0; i < LARGE; i++)
		while (fake_slot_state(&fake, i) != RELAY_SLOT_FREE)
			sched_yield();
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	cr_expect_eq(fake.notify_count, 1);
	fake_send_pause(&fake);
	fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
	expect_end(0);
}

/* ---- interrupts, and what is detached ---------------------------------- */

Test(direct, an_interrupt_finds_its_request_in_its_handler)
{
	const struct fuse_fsync_in in = {0};
	uint64_t unique;

	begin_reading();
	unique = fake_device_request(&fake, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, 1);
	fake_device_interrupt(&fake, unique | FUSE_UNIQUE_RESEND);
	cr_expect_eq(fake_device_receive(&fake), unique);
	cr_expect_eq(fake.answer.out.error, -EINTR);
	/* The thread that tells of it may be behind the one that looks. */
	while (!atomic_load(&seen->interrupted))
		sched_yield();
	cr_expect_eq(seen->interrupted, unique);
	while (fake_find(&fake, unique) != UINT32_MAX)
		sched_yield();
	seen->interrupted = 0;
	fake_device_interrupt(&fake, unique);
	fake_device_interrupt(&fake, 123456);
	for (unsigned i = 0; i < 2 * THREADS; i++)
		cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	expect_end(0);
	cr_expect_neq(seen->interrupted, unique, "it was answered");
	cr_expect_neq(seen->interrupted, 123456, "it was never there");
	expect_free();
}

Test(direct, an_interrupt_from_the_device_finds_a_given_request)
{
	const struct fuse_fsync_in in = {0};
	uint64_t unique;

	begin();
	unique = fake_request(&fake, 0, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, 1);
	fake_send_go(&fake);
	fake_device_interrupt(&fake, fake_slot(&fake, 0)->unique);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EINTR);
	expect_end(0);
}

Test(direct, an_interrupt_on_the_channel_has_the_kernels_unique)
{
	const struct fuse_fsync_in in = {0};
	uint64_t unique;

	begin();
	unique = fake_request(&fake, 0, FUSE_FSYNC, 1, &in, sizeof(in));
	await(&seen->waiting, 1);
	fake_send_interrupt(&fake, unique);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EINTR);
	while (!atomic_load(&seen->interrupted))
		sched_yield();
	cr_expect_eq(seen->interrupted, fake_slot(&fake, 0)->unique);
	expect_end(0);
}

static uint64_t request_setlkw(void)
{
	return fake_device_request(&fake, FUSE_SETLKW, 1, &(struct fuse_lk_in){0}, sizeof(struct fuse_lk_in));
}

Test(direct, waiters_move_to_small_slots)
{
	uint64_t uniques[SMALL], refused;

	begin_reading();
	for (unsigned i = 0; i < SMALL; i++) {
		uint32_t slot;

		uniques[i] = request_setlkw();
		await(&seen->waiting, i + 1);
		slot = fake_find(&fake, uniques[i]);
		cr_assert(slot >= LARGE && slot < LARGE + SMALL, "slot %u", slot);
		cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_APPLYING);
		cr_expect_eq(fake_slot(&fake, slot)->unique, uniques[i]);
	}
	refused = request_setlkw();
	cr_expect_eq(fake_device_receive(&fake), refused);
	cr_expect_eq(fake.answer.out.error, -ENOLCK);
	for (unsigned i = 0; i < SMALL; i++) {
		fake_device_interrupt(&fake, uniques[i]);
		cr_expect_eq(fake_device_receive(&fake), uniques[i]);
		cr_expect_eq(fake.answer.out.error, -EINTR);
	}
	expect_end(0);
	expect_free();
}

/* Each ACCESS is detached and keeps its large slot, until there is none. */
Test(direct, threads_without_a_slot_wait_for_one)
{
	uint64_t uniques[LARGE];

	begin_reading();
	for (unsigned i = 0; i < LARGE; i++)
		uniques[i] = fake_device_request(&fake, FUSE_ACCESS, 1, &(struct fuse_access_in){0},
						 sizeof(struct fuse_access_in));
	await(&seen->waiting, LARGE);
	while (atomic_load(&fake.map.journal->starving) < THREADS)
		sched_yield();
	fake_send_pause(&fake);
	fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
	cr_expect_eq(atomic_load(&fake.map.journal->starving), 0);
	fake_send_go(&fake);
	while (atomic_load(&fake.map.journal->starving) < THREADS)
		sched_yield();
	/* As relayd frees what it had given. */
	fake_slot_free(&fake, fake_find(&fake, uniques[0]));
	cr_expect_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	for (unsigned i = 1; i < LARGE; i++) {
		fake_device_interrupt(&fake, uniques[i]);
		fake_device_receive(&fake);
		cr_expect_eq(fake.answer.out.error, -EINTR);
	}
	expect_end(0);
}

/* ---- the end ----------------------------------------------------------- */

Test(direct, the_end_leaves_what_is_not_answered_to_the_next_incarnation)
{
	const struct fuse_fsync_in in = {0};
	uint64_t fsync, lock;
	uint32_t slot;

	begin_reading();
	fsync = fake_device_request(&fake, FUSE_FSYNC, 1, &in, sizeof(in));
	lock = request_setlkw();
	await(&seen->waiting, 2);
	expect_end(0);
	cr_expect(fake_device_quiet(&fake));
	slot = fake_find(&fake, fsync);
	cr_assert_lt(slot, LARGE);
	cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_APPLYING);
	fake_import(&fake, slot);
	slot = fake_find(&fake, lock);
	cr_assert(slot >= LARGE && slot < LARGE + SMALL);
	cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_APPLYING);
	fake_slot_free(&fake, slot);
	for (slot = 0; fake_slot_state(&fake, slot) == RELAY_SLOT_FREE; slot++)
		;
	begin();
	atomic_store(&seen->go_on, true);
	fake_send(&fake, slot);
	cr_expect_eq(fake_receive(&fake), fake_slot(&fake, slot)->channel_unique);
	cr_expect_eq(fake.reply.out.error, 0);
	fake_slot_free(&fake, slot);
	expect_end(0);
	expect_free();
}

/* However far a thread is on its way to or from read(), no request is lost. */
Test(direct, a_request_that_comes_with_the_end_is_in_a_slot_or_in_the_queue)
{
	for (int i = 0; i < 300; i++) {
		uint64_t unique;
		uint32_t slot;

		begin_reading();
		unique = fake_device_request(&fake, FUSE_LOOKUP, 1, "name", 5);
		expect_end(0);
		slot = fake_find(&fake, unique);
		if (!fake_device_quiet(&fake)) {
			cr_assert_eq(fake_device_receive(&fake), unique);
			cr_assert_eq(slot, UINT32_MAX);
		} else if (slot != UINT32_MAX) {
			cr_assert_neq(fake_slot_state(&fake, slot), RELAY_SLOT_FREE);
			fake_slot_free(&fake, slot);
		} else {
			begin_reading();
			cr_assert_eq(fake_device_receive(&fake), unique);
			expect_end(0);
		}
		expect_free();
	}
}

struct in_process {
	int channel;
	int result;
};

static void *serve_in_process(void *arg)
{
	struct in_process *p = arg;

	p->result = backend(p->channel, NULL);
	close(p->channel);
	return NULL;
}

/* In this process, whose end is looked at for leaks and for memory used after it was freed. */
Test(direct, a_session_leaves_nothing_behind)
{
	struct sigaction before, after;
	struct in_process p;
	pthread_t thread;
	int pair[2];

	cr_assert_eq(sigaction(SIGURG, NULL, &before), 0);
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		p.channel = pair[1];
		fake.channel = pair[0];
		cr_assert_eq(pthread_create(&thread, NULL, serve_in_process, &p), 0);
		fake_send_init(&fake, 45, FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES);
		cr_assert(fake_expect_hello(&fake));
		fake_send_welcome(&fake, RELAY_WIRE_VERSION);
		cr_assert_neq(fake_receive(&fake), 0);
		fake_send_go(&fake);
		cr_assert_eq(fake_device_call(&fake, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
		close(fake.channel);
		fake.channel = -1;
		cr_assert_eq(pthread_join(thread, NULL), 0);
		cr_expect_eq(p.result, 0);
	}
	cr_assert_eq(sigaction(SIGURG, NULL, &after), 0);
	cr_expect_eq(before.sa_handler, after.sa_handler);
	expect_free();
}
