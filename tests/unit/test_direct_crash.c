/*
 * What a backend that reads /dev/fuse by itself leaves in its slot, wherever it dies, and
 * what the next one makes of it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/relay.h"

#define LARGE 4u
#define SMALL 2u

/* What survives the backends. */
struct seen {
	_Atomic uint32_t applied; /* MKDIRs that changed the store */
	_Atomic bool redo;
	_Atomic uint32_t forgets;
	_Atomic uint64_t word; /* of the state, as the incarnation found it */
};

static struct seen *seen;
static struct fake_relayd fake;
static uint64_t *state; /* in the backend */

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	(void)in;
	(void)out;
	state = relay_state(session, 4096);
	atomic_store(&seen->word, state ? *state : UINT64_MAX);
	return state ? 0 : -errno;
}

/* The store is whether seen->applied is 1: what the pre-state says it was, or not. */
static void on_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name)
{
	const struct fuse_entry_out entry = {.nodeid = 2};
	uint32_t *pre = relay_req_pre(req);

	(void)in;
	(void)name;
	atomic_store(&seen->redo, relay_req_redo(req));
	if (!relay_req_redo(req)) {
		*pre = atomic_load(&seen->applied);
		relay_req_applying(req, sizeof(*pre));
	}
	if (atomic_load(&seen->applied) == *pre)
		atomic_fetch_add(&seen->applied, 1);
	relay_state_begin(req);
	relay_state_set(req, state, *state + 1);
	relay_reply_entry(req, &entry);
}

static void on_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	(void)nodeid;
	relay_state_begin(req);
	relay_state_set(req, state, *state + nlookup);
	atomic_fetch_add(&seen->forgets, 1);
}

static void on_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	(void)in;
	relay_reply_error(req, EAGAIN);
}

static const struct relay_ops ops = {
	.init = on_init,
	.mkdir = on_mkdir,
	.forget = on_forget,
	.setlkw = on_setlkw,
};

static int backend(int channel, void *arg)
{
	(void)arg;
	return relay_serve(channel, &ops, 2, NULL);
}

static void setup(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(seen, MAP_FAILED);
	fake_relayd_init(&fake, LARGE, SMALL);
	fake_direct(&fake);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(direct_crash, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
}

/* One incarnation that dies at the point, with the request in the kernel's queue. */
static uint64_t die_at(const char *opcode, const char *point, uint32_t code, const void *body, uint32_t size)
{
	uint64_t unique;
	char plan[64];
	int status;

	snprintf(plan, sizeof(plan), "%s %s 1\n", opcode, point);
	fake_crash_plan(plan);
	begin();
	unique = fake_device_request(&fake, code, 1, body, size);
	fake_send_go(&fake);
	status = fake_wait(&fake);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: status %x", point, (unsigned)status);
	fake_crash_plan(NULL);
	return unique;
}

static void expect_end(void)
{
	cr_expect_eq(fake_end(&fake), 0);
}

static void expect_free(void)
{
	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		cr_expect_eq(fake_slot_state(&fake, i), RELAY_SLOT_FREE, "slot %u: %u", i, fake_slot_state(&fake, i));
		cr_expect_eq(fake_slot_header(&fake, i)->unique, 0, "slot %u", i);
	}
}

/* Every other slot is one that nothing was read into. */
static void free_others(uint32_t slot)
{
	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		if (i == slot || fake_slot_state(&fake, i) == RELAY_SLOT_FREE)
			continue;
		cr_expect_eq(fake_slot_state(&fake, i), RELAY_SLOT_READING);
		cr_expect_eq(fake_slot_header(&fake, i)->unique, 0);
		fake_slot_free(&fake, i);
	}
}

struct window {
	const char *point;
	uint32_t state;
	bool answered;
};

static const struct window windows[] = {
	{"read", RELAY_SLOT_READING, false},
	{"received", RELAY_SLOT_TAKEN, false},
	{"prerecorded", RELAY_SLOT_APPLYING, false},
	{"applied", RELAY_SLOT_APPLYING, false},
	{"stored", RELAY_SLOT_APPLIED, false},
	{"sent", RELAY_SLOT_APPLIED, true},
};
#define WINDOWS (sizeof(windows) / sizeof(windows[0]))

/* The slot that is found, with its request whole. */
static uint32_t expect_window(const struct window *window, uint64_t unique)
{
	uint32_t slot = fake_find(&fake, unique);

	cr_assert_neq(slot, UINT32_MAX, "%s", window->point);
	cr_expect_eq(fake_slot_state(&fake, slot), window->state, "%s: %u", window->point,
		     fake_slot_state(&fake, slot));
	cr_expect_eq(fake_slot(&fake, slot)->channel_unique, 0);
	if (window->state != RELAY_SLOT_READING)
		cr_expect_eq(fake_slot(&fake, slot)->unique, unique);
	if (window->answered)
		cr_expect_eq(fake_device_receive(&fake), unique);
	cr_expect(fake_device_quiet(&fake));
	free_others(slot);
	return slot;
}

static void give(uint32_t slot)
{
	uint64_t unique = fake_import(&fake, slot);

	begin();
	fake_send(&fake, slot);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_APPLIED);
	fake_slot_free(&fake, slot);
}

Test(direct_crash, an_operation_is_done_once_wherever_its_backend_dies)
{
	const struct {
		struct fuse_mkdir_in in;
		char name[8];
	} mkdir = {.name = "new"};

	for (unsigned i = 0; i < WINDOWS; i++) {
		uint64_t unique = die_at("MKDIR", windows[i].point, FUSE_MKDIR, &mkdir, sizeof(mkdir.in) + 4);
		uint32_t slot = expect_window(&windows[i], unique);
		const struct fuse_out_header *out = fake_stored_reply(&fake, slot);

		if (windows[i].state == RELAY_SLOT_APPLIED) {
			cr_expect_eq(out->unique, unique);
			cr_expect_eq(out->len, sizeof(*out) + sizeof(struct fuse_entry_out));
			cr_expect_eq(fake_slot(&fake, slot)->reply_size, out->len);
			fake_slot_free(&fake, slot);
			begin();
		} else {
			give(slot);
			cr_expect_eq(fake.reply.out.error, 0);
			cr_expect_eq(seen->redo, windows[i].state == RELAY_SLOT_APPLYING, "%s", windows[i].point);
			cr_expect_eq(seen->word, i, "%s: the state was rolled back", windows[i].point);
		}
		expect_end();
		cr_expect_eq(seen->applied, i + 1, "%s: applied %u times", windows[i].point, seen->applied - i);
	}
	begin();
	cr_expect_eq(seen->word, WINDOWS);
	expect_end();
	expect_free();
}

Test(direct_crash, a_count_is_taken_down_once_wherever_the_backend_dies)
{
	const struct fuse_forget_in in = {.nlookup = 10};

	for (unsigned i = 0; i < WINDOWS; i++) {
		struct window window = windows[i];
		uint32_t slot;

		window.answered = false;
		slot = expect_window(&window, die_at("FORGET", window.point, FUSE_FORGET, &in, sizeof(in)));
		if (window.state == RELAY_SLOT_APPLIED)
			fake_slot_free(&fake, slot);
		else
			give(slot);
		if (fake.channel < 0)
			begin();
		expect_end();
	}
	begin();
	cr_expect_eq(seen->word, 10 * WINDOWS);
	expect_end();
	expect_free();
}

Test(direct_crash, the_items_of_a_batch_that_are_done_stay_done)
{
	const struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one items[3];
	} batch = {.in = {.count = 3}, .items = {{.nlookup = 1}, {.nlookup = 20}, {.nlookup = 300}}};
	const struct window window = {"stored", RELAY_SLOT_APPLYING, false};
	uint32_t slot;

	slot = expect_window(&window, die_at("BATCH_FORGET", "stored", FUSE_BATCH_FORGET, &batch, sizeof(batch)));
	cr_expect_eq(RELAY_UNDO_DONE(fake_slot(&fake, slot)->undo_count), 1);
	give(slot);
	expect_end();
	cr_expect_eq(seen->forgets, 3);
	begin();
	cr_expect_eq(seen->word, 321);
	expect_end();
	expect_free();
}

Test(direct_crash, a_waiter_is_in_one_slot_wherever_its_backend_dies)
{
	const struct fuse_lk_in in = {0};

	for (unsigned i = 0; i < WINDOWS; i++) {
		uint64_t unique = die_at("SETLKW", windows[i].point, FUSE_SETLKW, &in, sizeof(in));
		uint32_t slot = expect_window(&windows[i], unique);

		/* It is moved when it was read. */
		cr_expect_eq(slot >= LARGE, i > 0, "%s: slot %u", windows[i].point, slot);
		if (windows[i].state == RELAY_SLOT_APPLIED) {
			fake_slot_free(&fake, slot);
			continue;
		}
		give(slot);
		cr_expect_eq(fake.reply.out.error, -EAGAIN);
		expect_end();
	}
	expect_free();
}

/* What is read beside a request leaves nothing that could be taken for one. */
Test(direct_crash, an_interrupt_is_told_from_a_request)
{
	const struct fuse_interrupt_in in = {.unique = 4};
	uint32_t slot;

	slot = fake_find(&fake, die_at("INTERRUPT", "read", FUSE_INTERRUPT, &in, sizeof(in)));
	cr_assert_neq(slot, UINT32_MAX);
	cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_READING);
	cr_expect_eq(fake_slot_header(&fake, slot)->opcode, FUSE_INTERRUPT);
}

#define REQUESTS 40u

static unsigned times[REQUESTS]; /* how often each request was answered, or is in a slot without an answer */
static uint64_t first;

static void answer_take(void)
{
	uint64_t unique = fake_device_receive(&fake);

	cr_assert_lt((unique - first) / 2, REQUESTS);
	times[(unique - first) / 2]++;
}

/* Takes note of what is in the slots of a dead backend, and frees them. */
static void slots_take(void)
{
	for (uint32_t i = 0; i < LARGE; i++) {
		uint64_t unique = fake_slot_header(&fake, i)->unique;
		uint32_t found = fake_slot_state(&fake, i);

		if (found == RELAY_SLOT_FREE)
			cr_assert_eq(unique, 0);
		/* One that is answered says so, unless it is void. */
		else if (unique && times[(unique - first) / 2])
			cr_assert_eq(found, RELAY_SLOT_APPLIED);
		else if (unique)
			times[(unique - first) / 2]++;
		fake_slot_free(&fake, i);
	}
}

/* Killed from outside, at any moment of many requests on several threads. */
Test(direct_crash, no_request_is_lost_or_read_twice)
{
	const struct {
		struct fuse_mkdir_in in;
		char name[8];
	} mkdir = {.name = "new"};

	fake_crash_plan(NULL);
	for (unsigned round = 0; round < 150; round++) {
		unsigned left = 0;

		memset(times, 0, sizeof(times));
		begin();
		for (unsigned i = 0; i < REQUESTS; i++) {
			uint64_t unique = fake_device_request(&fake, FUSE_MKDIR, 1, &mkdir, sizeof(mkdir.in) + 4);

			first = i ? first : unique;
		}
		fake_send_go(&fake);
		for (unsigned i = 0; i < round % REQUESTS; i++)
			answer_take();
		fake_kill(&fake);
		while (!fake_device_quiet(&fake))
			answer_take();
		slots_take();
		for (unsigned i = 0; i < REQUESTS; i++)
			left += times[i] == 0;
		/* The others are in the queue still. */
		begin();
		fake_send_go(&fake);
		while (left-- > 0)
			answer_take();
		expect_end();
		cr_assert(fake_device_quiet(&fake));
		for (unsigned i = 0; i < REQUESTS; i++)
			cr_assert_eq(times[i], 1, "round %u, request %u: %u times", round, i, times[i]);
		expect_free();
	}
}
