/*
 * The state and its transactions: whatever point a backend dies at, the next one
 * finds each request's changes made once, or not at all.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/relay.h"

#define NODES 16u

/* The backend's state. */
struct state {
	uint64_t made;	      /* MKDIRs whose reply was stored */
	uint64_t twice;	      /* twice that */
	uint64_t node[NODES]; /* what FORGET takes down */
};

/* What stands for the filesystem: shared by the test and all backends, and not transactional. */
struct store {
	uint32_t dirs;
	uint32_t redos;
	uint32_t pre_wrong;
	struct state at_init;
	size_t state_size; /* 0: don't ask for a state */
	int results[8];
};

static struct store *store;
static struct state *state; /* in the backend */
static struct fake_relayd fake;

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	(void)in;
	(void)out;
	if (store->state_size == 0)
		return 0;
	state = relay_state(session, store->state_size);
	if (!state)
		return -errno;
	store->at_init = *state;
	return 0;
}

static void count_up(struct relay_req *req)
{
	relay_state_begin(req);
	relay_state_set(req, &state->made, state->made + 100);
	relay_state_set(req, &state->twice, state->twice + 2);
	relay_state_set(req, &state->made, state->made - 99);
}

/* Makes one directory, and counts it. */
static void on_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name)
{
	struct fuse_entry_out entry = {0};
	uint32_t *dirs_before = relay_req_pre(req);

	(void)in;
	(void)name;
	if (!relay_req_redo(req)) {
		*dirs_before = store->dirs;
		relay_req_applying(req, sizeof(*dirs_before));
	} else {
		store->redos++;
		store->pre_wrong += *dirs_before != 0;
	}
	if (store->dirs == *dirs_before)
		store->dirs++;
	count_up(req);
	entry.nodeid = store->dirs;
	relay_reply_entry(req, &entry);
}

/* Only counts. */
static void on_rmdir(struct relay_req *req, const char *name)
{
	(void)name;
	count_up(req);
	relay_reply_error(req, 0);
}

/* What relay_state_set() refuses, and what an abort takes back. */
static void on_unlink(struct relay_req *req, const char *name)
{
	uint64_t elsewhere = 0;
	unsigned n = 0;

	(void)name;
	store->results[0] = relay_state_set(req, &state->made, 1);
	relay_state_begin(req);
	relay_state_begin(req);
	store->results[1] = relay_state_set(req, &elsewhere, 1);
	store->results[2] = relay_state_set(req, (uint64_t *)((char *)state + store->state_size), 1);
	store->results[3] = relay_state_set(req, (uint64_t *)((char *)&state->made + 4), 1);
	while ((store->results[4] = relay_state_set(req, &state->node[n % NODES], 77)) == 0)
		n++;
	store->results[5] = (int)n;
	relay_state_abort(req);
	relay_state_abort(req);
	count_up(req);
	relay_reply_error(req, EPERM);
}

static void on_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	relay_state_begin(req);
	relay_state_set(req, &state->node[nodeid], state->node[nodeid] - nlookup);
	relay_state_set(req, &state->made, state->made + 1);
}

static const struct relay_ops ops = {
	.init = on_init,
	.mkdir = on_mkdir,
	.rmdir = on_rmdir,
	.unlink = on_unlink,
	.forget = on_forget,
};

static int backend(int channel, void *arg)
{
	(void)arg;
	return relay_serve(channel, &ops, 2, NULL);
}

static void setup(void)
{
	store = mmap(NULL, sizeof(*store), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(store, MAP_FAILED);
	store->state_size = sizeof(struct state);
	fake_relayd_init(&fake, 8, 2);
	fake_crash_plan(NULL);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(store, sizeof(*store));
}

TestSuite(state, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0, "INIT: %d", fake.reply.out.error);
}

static void expect_killed(int status)
{
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", (unsigned)status);
}

/* The state as it is now, by way of the descriptor that the backend left. */
static struct state state_now(void)
{
	struct state now;

	cr_assert_eq(pread(fake_kept_get(&fake, 0), &now, sizeof(now), 0), (ssize_t)sizeof(now));
	return now;
}

static void state_put(const struct state *now)
{
	cr_assert_eq(pwrite(fake_kept_get(&fake, 0), now, sizeof(*now), 0), (ssize_t)sizeof(*now));
}

static const struct {
	struct fuse_mkdir_in in;
	char name[8];
} mkdir_body = {.name = "dir"};

/* One MKDIR, with `crashes` deaths at the point; then it must have happened once. */
static void mkdir_with_crashes(const char *point, unsigned crashes)
{
	bool stored = strcmp(point, "stored") == 0 || strcmp(point, "sent") == 0;
	bool redo = strcmp(point, "received") != 0 && !stored;
	char plan[64], left[64];
	unsigned deaths = 0;

	begin();
	snprintf(plan, sizeof(plan), "MKDIR %s %u\n", point, crashes);
	fake_crash_plan(plan);
	fake_take(&fake, 1, FUSE_MKDIR, 1, &mkdir_body, sizeof(mkdir_body.in) + 4);
	while (fake_slot_state(&fake, 1) != RELAY_SLOT_APPLIED) {
		fake_send(&fake, 1);
		if (fake_receive(&fake) && fake_slot_state(&fake, 1) == RELAY_SLOT_APPLIED && !stored)
			break;
		expect_killed(fake_wait(&fake));
		deaths++;
		cr_expect_eq(fake_slot_state(&fake, 1),
			     stored ? RELAY_SLOT_APPLIED
			     : redo ? RELAY_SLOT_APPLYING
				    : RELAY_SLOT_TAKEN,
			     "%s", point);
		begin();
		cr_expect_eq(store->at_init.made, stored ? 1 : 0, "%s", point);
		cr_expect_eq(store->at_init.twice, stored ? 2 : 0, "%s", point);
	}
	cr_expect_eq(deaths, stored ? 1 : crashes, "%s", point);
	fake_crash_left(left, sizeof(left));
	cr_expect_eq(strtoul(left + strlen("MKDIR ") + strlen(point) + 1, NULL, 10), stored ? crashes - 1 : 0, "%s",
		     left);
	cr_expect_eq(store->dirs, 1, "%s", point);
	/* A redo comes to "prerecorded" before its handler is called. */
	cr_expect_eq(store->redos, strcmp(point, "prerecorded") == 0 ? 1 : redo ? crashes : 0, "%s", point);
	cr_expect_eq(store->pre_wrong, 0, "%s", point);
	cr_expect_eq(state_now().made, 1, "%s", point);
	cr_expect_eq(state_now().twice, 2, "%s", point);
	cr_expect_eq(fake_stored_reply(&fake, 1)->error, 0);
	cr_expect_eq(fake_stored_reply(&fake, 1)->unique, fake_slot(&fake, 1)->channel_unique);
	cr_expect_eq(fake_slot(&fake, 1)->reply_size, sizeof(struct fuse_out_header) + sizeof(struct fuse_entry_out));
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, a_request_is_applied_once_after_a_crash_when_received)
{
	mkdir_with_crashes("received", 2);
}

Test(state, a_request_is_applied_once_after_a_crash_with_its_pre_state_recorded)
{
	mkdir_with_crashes("prerecorded", 2);
}

Test(state, a_request_is_applied_once_after_a_crash_when_applied)
{
	mkdir_with_crashes("applied", 11);
}

Test(state, a_request_is_applied_once_after_a_crash_with_its_reply_stored)
{
	mkdir_with_crashes("stored", 1);
}

Test(state, a_request_is_applied_once_after_a_crash_with_its_reply_sent)
{
	mkdir_with_crashes("sent", 1);
}

Test(state, a_rollback_that_dies_is_done_again)
{
	begin();
	fake_crash_plan("MKDIR applied 1\nINIT rollback 2\n");
	fake_request(&fake, 0, FUSE_MKDIR, 1, &mkdir_body, sizeof(mkdir_body.in) + 4);
	expect_killed(fake_wait(&fake));
	cr_expect_eq(state_now().made, 1, "not rolled back yet");
	for (int i = 0; i < 2; i++) {
		cr_expect_not(fake_begin(&fake, backend, NULL));
		expect_killed(fake_wait(&fake));
	}
	begin();
	cr_expect_eq(store->at_init.made, 0);
	cr_expect_eq(store->at_init.twice, 0);
	fake_send(&fake, 0);
	cr_expect_neq(fake_receive(&fake), 0);
	cr_expect_eq(state_now().made, 1);
	cr_expect_eq(store->dirs, 1);
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, is_rolled_back_for_a_backend_that_does_not_ask_for_it)
{
	begin();
	fake_crash_plan("MKDIR applied 1\n");
	fake_request(&fake, 0, FUSE_MKDIR, 1, &mkdir_body, sizeof(mkdir_body.in) + 4);
	expect_killed(fake_wait(&fake));
	cr_expect_eq(state_now().twice, 2);
	store->state_size = 0;
	begin();
	cr_expect_eq(state_now().twice, 0);
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, sets_are_checked_and_aborts_take_them_back)
{
	begin();
	cr_expect_eq(fake_call(&fake, 0, FUSE_UNLINK, 1, "name", 5), -EPERM);
	cr_expect_eq(store->results[0], -EINVAL, "outside of a transaction");
	cr_expect_eq(store->results[1], -EINVAL, "a word elsewhere");
	cr_expect_eq(store->results[2], -EINVAL, "the word behind the state");
	cr_expect_eq(store->results[3], -EINVAL, "not a word");
	cr_expect_eq(store->results[4], -ENOSPC);
	cr_expect_eq(store->results[5], RELAY_STATE_MAX);
	cr_expect_eq(state_now().node[3], 0, "aborted");
	cr_expect_eq(state_now().made, 1, "an error's changes are as true as a success's");
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, of_another_size_is_refused)
{
	begin();
	cr_expect_eq(fake_end(&fake), 0);
	store->state_size = sizeof(struct state) + 8;
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_expect_eq(fake.reply.out.error, -EINVAL, "relayd is told why");
	cr_expect_eq(WEXITSTATUS(fake_wait(&fake)), EINVAL);
	store->state_size = 12;
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_expect_eq(fake.reply.out.error, -EINVAL, "no whole words");
	cr_expect_eq(WEXITSTATUS(fake_wait(&fake)), EINVAL);
}

Test(state, undo_entries_of_no_word_are_refused)
{
	static const uint64_t offsets[] = {sizeof(struct state), UINT64_MAX - 7, 4, UINT64_MAX};

	begin();
	cr_expect_eq(fake_end(&fake), 0);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		fake_take(&fake, 0, FUSE_MKDIR, 1, &mkdir_body, sizeof(mkdir_body.in) + 4);
		fake_slot(&fake, 0)->undo[0].offset = offsets[i];
		atomic_store(&fake_slot(&fake, 0)->undo_count, 1);
		cr_expect_not(fake_begin(&fake, backend, NULL));
		cr_expect_eq(WEXITSTATUS(fake_wait(&fake)), EPROTO);
	}
	atomic_store(&fake_slot(&fake, 0)->undo_count, RELAY_UNDO_MAX + 1);
	cr_expect_not(fake_begin(&fake, backend, NULL));
	cr_expect_eq(WEXITSTATUS(fake_wait(&fake)), EPROTO);
	/* In other states they mean nothing. */
	fake_slot_free(&fake, 0);
	begin();
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, forget_takes_down_once)
{
	static const char *const points[] = {"received", "prerecorded", "applied", "stored", "sent"};
	const struct fuse_forget_in in = {.nlookup = 3};
	struct state now = {.node = {100}};

	begin();
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		char plan[64];

		state_put(&now);
		snprintf(plan, sizeof(plan), "FORGET %s 1\n", points[i]);
		fake_crash_plan(plan);
		fake_request(&fake, 2, FUSE_FORGET, 0, &in, sizeof(in));
		expect_killed(fake_wait(&fake));
		begin();
		if (fake_slot_state(&fake, 2) != RELAY_SLOT_APPLIED) {
			fake_send(&fake, 2);
			cr_expect_neq(fake_receive(&fake), 0);
			cr_expect_eq(fake.reply.out.error, 0);
			cr_expect_eq(fake.reply.out.len, sizeof(struct fuse_out_header), "an empty reply");
		}
		cr_expect_eq(state_now().node[0], 97, "%s", points[i]);
	}
	cr_expect_eq(fake_end(&fake), 0);
}

/* Each item of a batch is a point of its own: so the backend dies at each of them in turn. */
Test(state, batch_forget_goes_on_where_it_was)
{
	static const char *const points[] = {"received", "prerecorded", "applied", "stored", "sent"};
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one items[NODES];
	} body = {.in = {.count = NODES}};
	struct state before = {0};

	for (uint32_t i = 0; i < NODES; i++) {
		body.items[i] = (struct fuse_forget_one){.nodeid = i, .nlookup = i + 1};
		before.node[i] = 1000;
	}
	begin();
	for (size_t p = 0; p < sizeof(points) / sizeof(points[0]); p++) {
		char plan[64];
		unsigned deaths = 0;

		state_put(&before);
		snprintf(plan, sizeof(plan), "BATCH_FORGET %s %u\n", points[p], NODES + 1);
		fake_crash_plan(plan);
		fake_take(&fake, 2, FUSE_BATCH_FORGET, 0, &body, sizeof(body));
		while (fake_slot_state(&fake, 2) != RELAY_SLOT_APPLIED) {
			fake_send(&fake, 2);
			if (fake_receive(&fake) && strcmp(points[p], "sent") != 0)
				break;
			expect_killed(fake_wait(&fake));
			deaths++;
			begin();
		}
		if (strcmp(points[p], "stored") == 0)
			cr_expect_eq(deaths, NODES, "a death for each item");
		else if (strcmp(points[p], "sent") != 0)
			cr_expect_eq(deaths, NODES + 1, "%s", points[p]);
		cr_expect_eq(state_now().made, NODES, "%s", points[p]);
		for (uint32_t i = 0; i < NODES; i++)
			cr_expect_eq(state_now().node[i], 1000 - (i + 1), "%s: node %u", points[p], i);
	}
	cr_expect_eq(fake_end(&fake), 0);
}

Test(state, batch_forget_that_is_longer_than_its_packet_is_refused)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one items[2];
	} body = {.in = {.count = 3}};

	begin();
	cr_expect_eq(fake_call(&fake, 0, FUSE_BATCH_FORGET, 0, &body, sizeof(body)), -EIO);
	body.in.count = UINT32_MAX;
	cr_expect_eq(fake_call(&fake, 0, FUSE_BATCH_FORGET, 0, &body, sizeof(body)), -EIO);
	body.in.count = 0;
	cr_expect_eq(fake_call(&fake, 0, FUSE_BATCH_FORGET, 0, &body, sizeof(body)), 0);
	cr_expect_eq(state_now().made, 0);
	cr_expect_eq(fake_end(&fake), 0);
}

/* Many at once on several threads, killed wherever they happen to be. */
Test(state, counts_are_exact_over_many_kills)
{
	const uint32_t slots = fake.map.large;
	uint64_t sent = 0;

	begin();
	for (unsigned round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < slots; i++) {
			uint32_t is = fake_slot_state(&fake, i);

			if (is == RELAY_SLOT_FREE || is == RELAY_SLOT_APPLIED) {
				fake_take(&fake, i, FUSE_RMDIR, 1, "name", 5);
				sent++;
			}
			fake_send(&fake, i);
		}
		for (unsigned i = 0; i < round % slots; i++)
			cr_assert_neq(fake_receive(&fake), 0);
		expect_killed(fake_kill(&fake));
		begin();
		cr_assert_eq(store->at_init.twice, 2 * store->at_init.made);
	}
	for (uint32_t i = 0; i < slots; i++) {
		if (fake_slot_state(&fake, i) == RELAY_SLOT_APPLIED)
			continue;
		fake_send(&fake, i);
		cr_assert_neq(fake_receive(&fake), 0);
	}
	cr_expect_eq(state_now().made, sent);
	cr_expect_eq(state_now().twice, 2 * sent);
	cr_expect_eq(fake_end(&fake), 0);
}
