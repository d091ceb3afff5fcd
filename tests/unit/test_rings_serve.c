/*
 * The lane `uring` in a backend: what is in the rings comes to its handlers, the answer goes where
 * the request was, and an INTERRUPT finds its request wherever it is by then.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/fake_relayd.h"
#include "relay/relay.h"

#define THREADS 2u
#define LARGE 4u
#define SMALL 2u

/* What the backend tells the test, and is told. */
struct seen {
	char name[32];
	uint64_t unique;
	_Atomic uint32_t waiting; /* FSYNCs in their handler */
	_Atomic uint32_t forgotten;
	_Atomic bool go_on;
};

static struct seen *seen;
static struct fake_relayd fake;

static void on_lookup(struct relay_req *req, const char *name)
{
	seen->unique = relay_req_unique(req);
	strncpy(seen->name, name, sizeof(seen->name) - 1);
	relay_reply_error(req, ENOENT);
}

static void on_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	(void)req;
	(void)nodeid;
	atomic_fetch_add(&seen->forgotten, (uint32_t)nlookup);
}

/* Waits until the test lets it go on, or for an interrupt. */
static void on_fsync(struct relay_req *req, const struct fuse_fsync_in *in)
{
	(void)in;
	atomic_fetch_add(&seen->waiting, 1);
	while (!atomic_load(&seen->go_on) && !relay_req_interrupted(req))
		sched_yield();
	relay_reply_error(req, relay_req_interrupted(req) ? EINTR : 0);
}

static const struct relay_ops ops = {
	.lookup = on_lookup,
	.forget = on_forget,
	.fsync = on_fsync,
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
	fake_rings(&fake);
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
	fake_send_go(&fake);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(rings_serve, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t fsync_fill(uint32_t entry)
{
	static const struct fuse_fsync_in in = {.fh = 1};

	return fake_ring_fill(&fake, entry, FUSE_FSYNC, 1, &in, sizeof(in));
}

static void await(_Atomic uint32_t *count, uint32_t least)
{
	while (atomic_load(count) < least)
		sched_yield();
}

static void await_mark(uint32_t entry, uint64_t unique)
{
	while (atomic_load(relay_ring_interrupted(&fake.rings, entry)) != unique)
		sched_yield();
}

static void expect_end(void)
{
	int status = fake_end(&fake);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
	for (uint32_t i = 0; i < LARGE + SMALL; i++)
		cr_expect_eq(fake_slot_state(&fake, i), RELAY_SLOT_FREE, "slot %u", i);
}

Test(rings_serve, requests_are_answered_in_their_entries)
{
	for (uint32_t entry = 0; entry < FAKE_QUEUES * RELAY_RING_DEPTH; entry++) {
		uint64_t unique = fake_ring_fill(&fake, entry, FUSE_LOOKUP, 1, "name", 5);

		fake_ring_publish(&fake, entry);
		cr_expect_eq(fake_ring_answer(&fake, entry), -ENOENT);
		cr_expect_eq(seen->unique, unique);
	}
	cr_expect_str_eq(seen->name, "name");
	cr_expect(fake_device_quiet(&fake));
	expect_end();
}

Test(rings_serve, one_that_waits_holds_up_no_other)
{
	fsync_fill(0);
	fake_ring_publish(&fake, 0);
	await(&seen->waiting, 1);
	for (uint32_t entry = 1; entry < FAKE_QUEUES * RELAY_RING_DEPTH; entry++) {
		fake_ring_fill(&fake, entry, FUSE_LOOKUP, 1, "name", 5);
		fake_ring_publish(&fake, entry);
		cr_expect_eq(fake_ring_answer(&fake, entry), -ENOENT);
	}
	atomic_store(&seen->go_on, true);
	cr_expect_eq(fake_ring_answer(&fake, 0), 0);
	expect_end();
}

Test(rings_serve, what_takes_no_answer_comes_by_the_device)
{
	const struct fuse_forget_in in = {.nlookup = 3};

	/* While all that serve the rings wait. */
	for (uint32_t i = 0; i < THREADS; i++) {
		fsync_fill(i);
		fake_ring_publish(&fake, i);
	}
	await(&seen->waiting, THREADS);
	fake_device_request(&fake, FUSE_FORGET, 5, &in, sizeof(in));
	await(&seen->forgotten, 3);
	atomic_store(&seen->go_on, true);
	for (uint32_t i = 0; i < THREADS; i++)
		cr_expect_eq(fake_ring_answer(&fake, i), 0);
	cr_expect(fake_device_quiet(&fake));
	expect_end();
}

/* ---- interrupts --------------------------------------------------------------- */

Test(rings_serve, an_interrupt_finds_its_request_in_its_handler)
{
	uint64_t unique = fsync_fill(3);

	fake_ring_publish(&fake, 3);
	await(&seen->waiting, 1);
	fake_device_interrupt(&fake, unique);
	cr_expect_eq(fake_ring_answer(&fake, 3), -EINTR);
	expect_end();
}

Test(rings_serve, an_interrupt_may_come_before_its_request_is_published)
{
	uint64_t unique = fsync_fill(3);

	fake_device_interrupt(&fake, unique);
	await_mark(3, unique);
	fake_ring_publish(&fake, 3);
	cr_expect_eq(fake_ring_answer(&fake, 3), -EINTR);
	expect_end();
}

Test(rings_serve, an_interrupt_may_come_before_its_request_is_copied)
{
	uint64_t first = 0, unique;

	/* Nobody is free to claim it. */
	for (uint32_t i = 0; i < THREADS; i++) {
		first = fsync_fill(i);
		fake_ring_publish(&fake, i);
	}
	await(&seen->waiting, THREADS);
	unique = fsync_fill(THREADS);
	fake_ring_publish(&fake, THREADS);
	fake_device_interrupt(&fake, unique);
	await_mark(THREADS, unique);
	cr_expect_eq(atomic_load(relay_ring_state(&fake.rings, THREADS)), RELAY_RING_REQUEST);
	fake_device_interrupt(&fake, first);
	cr_expect_eq(fake_ring_answer(&fake, THREADS - 1), -EINTR);
	cr_expect_eq(fake_ring_answer(&fake, THREADS), -EINTR);
	atomic_store(&seen->go_on, true);
	for (uint32_t i = 0; i < THREADS - 1; i++)
		cr_expect_eq(fake_ring_answer(&fake, i), 0);
	expect_end();
}

Test(rings_serve, an_interrupt_is_of_one_request_and_not_of_the_next_in_its_entry)
{
	uint64_t unique = fsync_fill(3);

	fake_device_interrupt(&fake, unique);
	await_mark(3, unique);
	fake_ring_publish(&fake, 3);
	cr_expect_eq(fake_ring_answer(&fake, 3), -EINTR);
	fsync_fill(3);
	fake_ring_publish(&fake, 3);
	await(&seen->waiting, 2);
	atomic_store(&seen->go_on, true);
	cr_expect_eq(fake_ring_answer(&fake, 3), 0);
	expect_end();
}
