/*
 * The repair pool: what it asks before a request is sent, and what becomes of slots and
 * threads when the backend dies in the midst of that.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/foreign.h"

static struct foreign foreign;
static struct dispatch *dispatch;
static uint64_t nodeid, fh; /* of an open file, x */

static void setup(void)
{
	cr_assert(foreign_init(&foreign));
	dispatch = &foreign.rig.dispatch;
	foreign_file(&foreign, 1, "x");
	foreign_file(&foreign, 2, "y");
	nodeid = foreign_lookup(&foreign, "x");
	fh = foreign_open(&foreign, nodeid);
	cr_assert_neq(fh, 0);
}

static void teardown(void)
{
	foreign_deinit(&foreign);
}

TestSuite(repair, .init = setup, .fini = teardown, .timeout = 60);

static void die_and_restart(bool own_fault)
{
	cr_assert(foreign_die(&foreign, own_fault));
	cr_assert(foreign_next(&foreign));
}

static void answered(uint64_t unique, int error)
{
	struct fake_packet reply;

	cr_assert(foreign_serve(&foreign, unique, &reply));
	cr_expect_eq(reply.out.error, -error, "%d, not %d", reply.out.error, -error);
}

static uint64_t getattr(uint64_t node)
{
	return foreign_request(&foreign, FUSE_GETATTR, node, &(struct fuse_getattr_in){0},
			       sizeof(struct fuse_getattr_in));
}

static uint64_t named(uint32_t opcode, const char *name)
{
	return foreign_request(&foreign, opcode, FUSE_ROOT_ID, name, (uint32_t)strlen(name) + 1);
}

static uint64_t mkdir_request(const char *name)
{
	uint8_t body[sizeof(struct fuse_mkdir_in) + 16] = {0};

	((struct fuse_mkdir_in *)body)->mode = S_IFDIR | 0755;
	strcpy((char *)body + sizeof(struct fuse_mkdir_in), name);
	return foreign_request(&foreign, FUSE_MKDIR, FUSE_ROOT_ID, body,
			       (uint32_t)(sizeof(struct fuse_mkdir_in) + strlen(name) + 1));
}

static uint64_t rename_request(const char *from, const char *to)
{
	uint8_t body[sizeof(struct fuse_rename_in) + 32] = {0};
	char *names = (char *)body + sizeof(struct fuse_rename_in);

	((struct fuse_rename_in *)body)->newdir = FUSE_ROOT_ID;
	strcpy(names, from);
	strcpy(names + strlen(from) + 1, to);
	return foreign_request(&foreign, FUSE_RENAME, FUSE_ROOT_ID, body,
			       (uint32_t)(sizeof(struct fuse_rename_in) + strlen(from) + strlen(to) + 2));
}

/* ---- deaths -------------------------------------------------------------- */

Test(repair, a_death_in_the_midst_of_a_question_is_survived)
{
	uint64_t unique;

	die_and_restart(false);
	unique = foreign_read(&foreign, nodeid, fh);
	cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
	cr_expect_eq(dispatch_outstanding(dispatch), 1);
	die_and_restart(false);
	cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
	die_and_restart(false);
	answered(unique, 0);
	cr_expect(rig_inflight(&foreign.rig, 0));
}

Test(repair, questions_that_kill_count_and_what_waits_behind_them_does_not)
{
	uint64_t unique, other;

	for (unsigned i = 0; i < 4; i++) {
		die_and_restart(i > 0);
		if (i == 0) {
			unique = foreign_read(&foreign, nodeid, fh);
			cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
		} else if (i < 3) {
			cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0, "life %u", i);
		}
	}
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EIO));
	other = foreign_read(&foreign, nodeid, fh);
	answered(other, 0);
	cr_expect_eq(atomic_load(&foreign.rig.stats.poisoned), 1);
}

Test(repair, what_was_only_asked_about_is_no_redo)
{
	uint64_t unique;

	die_and_restart(false);
	/* Its directory is current, so it is sent: and then it is a redo, which meets what it made. */
	unique = mkdir_request("d");
	cr_assert_neq(foreign_holds(&foreign, FUSE_MKDIR), 0);
	foreign_file(&foreign, 3, "d");
	foreign.files[3].mode = S_IFDIR | 0755;
	die_and_restart(false);
	answered(unique, 0);
	/* This one never got beyond the question for its file. */
	unique = foreign_read(&foreign, nodeid, fh);
	cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
	cr_assert(foreign_die(&foreign, false));
	for (uint32_t slot = 0; slot < RIG_LARGE; slot++)
		cr_expect_not(atomic_load(&dispatch->inflight[slot].state) != INFLIGHT_IDLE &&
			      dispatch->inflight[slot].opcode == FUSE_READ && dispatch->inflight[slot].delivered);
	cr_assert(foreign_next(&foreign));
	answered(unique, 0);
}

Test(repair, it_ends_while_it_asks)
{
	die_and_restart(false);
	foreign_read(&foreign, nodeid, fh);
	cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
	/* teardown() ends the threads. */
}

/* ---- redo ---------------------------------------------------------------- */

Test(repair, an_unlink_that_was_applied_is_done)
{
	uint64_t unique = named(FUSE_UNLINK, "y");

	cr_assert_neq(foreign_holds(&foreign, FUSE_UNLINK), 0);
	foreign.files[2].name[0] = '\0';
	die_and_restart(false);
	answered(unique, 0);
}

Test(repair, one_by_one_waits_for_the_pool)
{
	uint64_t first, second;
	struct fake_packet packet;

	first = foreign_read(&foreign, nodeid, fh);
	cr_assert_neq(foreign_holds(&foreign, FUSE_READ), 0);
	second = mkdir_request("d");
	cr_assert_neq(foreign_holds(&foreign, FUSE_MKDIR), 0);
	cr_assert(foreign_die(&foreign, true));
	cr_assert(rig_backend_begin(&foreign.rig));
	cr_assert(rig_backend_ready(&foreign.rig, false));
	atomic_store(&dispatch->watched, true);
	cr_expect_eq(dispatch_redo(dispatch, 3, true), 1);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_LOOKUP, "what the READ needs");
	cr_expect_eq(dispatch_redo(dispatch, 3, true), 1);
	cr_expect(fake_backend_quiet(&foreign.rig.backend));
	foreign_answer(&foreign, &packet);
	answered(first, 0);
	cr_assert(rig_wait(&foreign.rig, DISPATCH_PROGRESS));
	cr_expect_eq(dispatch_redo(dispatch, 3, true), 1);
	answered(second, 0);
	cr_assert(rig_wait(&foreign.rig, DISPATCH_PROGRESS));
	cr_expect_eq(dispatch_redo(dispatch, 3, true), 0);
}

Test(repair, a_drain_waits_for_the_pool)
{
	uint64_t unique;
	struct fake_packet packet;

	die_and_restart(false);
	unique = foreign_read(&foreign, nodeid, fh);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	dispatch_gate_shut(dispatch);
	atomic_store(&dispatch->watched, true);
	cr_expect_eq(dispatch_outstanding(dispatch), 1);
	foreign_answer(&foreign, &packet);
	answered(unique, 0);
	cr_assert(rig_wait(&foreign.rig, DISPATCH_PROGRESS));
	cr_expect(rig_inflight(&foreign.rig, 0));
}

Test(repair, an_interrupt_follows_the_request)
{
	struct fuse_interrupt_in in;
	struct fake_packet lookup, packet;
	uint64_t unique, channel;

	die_and_restart(false);
	unique = getattr(nodeid);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &lookup));
	cr_assert_eq(lookup.in.opcode, FUSE_LOOKUP);
	in.unique = unique;
	foreign_request(&foreign, FUSE_INTERRUPT, 0, &in, sizeof(in));
	/* Certainly read: what comes behind it has been sent. */
	named(FUSE_LOOKUP, "y");
	cr_assert_neq(foreign_holds(&foreign, FUSE_LOOKUP), 0);
	foreign_answer(&foreign, &lookup);
	channel = foreign_holds(&foreign, FUSE_GETATTR);
	cr_assert_neq(channel, 0);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_INTERRUPT);
	cr_expect_eq(packet.in.unique, channel | 1);
}

/* ---- names --------------------------------------------------------------- */

Test(repair, names_are_not_looked_up_while_one_is_taken)
{
	struct fake_packet unlink, packet;
	uint64_t gone;

	die_and_restart(false);
	gone = named(FUSE_UNLINK, "y");
	cr_assert(fake_backend_receive(&foreign.rig.backend, &unlink));
	cr_assert_eq(unlink.in.opcode, FUSE_UNLINK);
	foreign_read(&foreign, nodeid, fh);
	while (atomic_load(&foreign.rig.stats.repaired) < 1)
		sched_yield();
	cr_expect(fake_backend_quiet(&foreign.rig.backend));
	foreign_answer(&foreign, &unlink);
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, gone, 0));
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_expect_eq(packet.in.opcode, FUSE_LOOKUP);
	cr_expect(fake_backend_quiet(&foreign.rig.backend));
}

Test(repair, what_is_open_is_opened_again_before_it_loses_its_name)
{
	struct fake_packet packet;
	uint64_t unique;

	die_and_restart(false);
	unique = named(FUSE_UNLINK, "x");
	do {
		cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
		if (packet.in.opcode != FUSE_UNLINK)
			foreign_answer(&foreign, &packet);
	} while (packet.in.opcode != FUSE_UNLINK);
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 1);
	cr_expect_eq(foreign.asked[FUSE_OPEN], 1);
	foreign_answer(&foreign, &packet);
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, 0));
	answered(foreign_read(&foreign, nodeid, fh), 0);
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 1);
}

/* A RENAME of x and a GETATTR of it in flight when the backend dies. */
static void rename_in_doubt(uint64_t *rename, uint64_t *attr, bool applied)
{
	*rename = rename_request("x", "z");
	cr_assert_neq(foreign_holds(&foreign, FUSE_RENAME), 0);
	*attr = getattr(nodeid);
	cr_assert_neq(foreign_holds(&foreign, FUSE_GETATTR), 0);
	if (applied)
		strcpy(foreign.files[1].name, "z");
	cr_assert(foreign_die(&foreign, false));
	cr_assert(rig_backend_begin(&foreign.rig));
	cr_assert(rig_backend_ready(&foreign.rig, false));
}

/* Answers until both are answered, in whatever order. */
static void both_answered(uint64_t one, uint64_t two)
{
	struct fake_packet reply;
	bool first = foreign_serve(&foreign, one, &reply);

	cr_expect_eq(reply.out.error, 0);
	if (first) {
		answered(two, 0);
		return;
	}
	cr_assert_eq(reply.out.unique, two);
	answered(one, 0);
}

Test(repair, what_hangs_on_a_rename_in_doubt_waits_for_it)
{
	uint64_t rename, attr;
	bool waited;

	rename_in_doubt(&rename, &attr, true);
	cr_assert_eq(dispatch_redo(dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(dispatch, &waited), 0);
	both_answered(rename, attr);
	cr_expect_eq(foreign_lookup(&foreign, "z"), nodeid);
	cr_expect_eq(dispatch->repair.doubts, 0);
}

Test(repair, a_rename_in_doubt_that_was_not_applied_is)
{
	uint64_t rename, attr;
	bool waited;

	rename_in_doubt(&rename, &attr, false);
	cr_assert_eq(dispatch_redo(dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(dispatch, &waited), 0);
	both_answered(rename, attr);
	cr_expect_str_eq(foreign.files[1].name, "z");
	cr_expect_eq(foreign_lookup(&foreign, "z"), nodeid);
}

static bool nothing_outstanding(struct foreign *f)
{
	return dispatch_outstanding(&f->rig.dispatch) == 0;
}

Test(repair, parked_requests_do_not_hold_up_one_by_one)
{
	uint64_t rename, attr;
	bool waited;

	/* The GETATTR is older than the RENAME that it hangs on. */
	attr = getattr(nodeid);
	cr_assert_neq(foreign_holds(&foreign, FUSE_GETATTR), 0);
	rename = rename_request("x", "z");
	cr_assert_neq(foreign_holds(&foreign, FUSE_RENAME), 0);
	strcpy(foreign.files[1].name, "z");
	cr_assert(foreign_die(&foreign, true));
	cr_assert(rig_backend_begin(&foreign.rig));
	cr_assert(rig_backend_ready(&foreign.rig, false));
	atomic_store(&dispatch->watched, true);
	cr_assert_eq(dispatch_redo(dispatch, 3, true), 1);
	cr_assert(foreign_serve_until(&foreign, nothing_outstanding));
	cr_assert(rig_wait(&foreign.rig, DISPATCH_PROGRESS));
	cr_expect_eq(dispatch_inflight(dispatch), 2);
	cr_assert_eq(dispatch_redo(dispatch, 3, true), 1);
	both_answered(rename, attr);
	while (dispatch_redo(dispatch, 3, true))
		cr_assert(rig_wait(&foreign.rig, DISPATCH_PROGRESS));
	cr_assert_eq(dispatch_gate_open(dispatch, &waited), 0);
}

Test(repair, a_death_leaves_no_doubt_and_nothing_parked)
{
	uint64_t rename, attr;
	struct fake_packet packet;
	bool waited;

	rename_in_doubt(&rename, &attr, true);
	cr_assert_eq(dispatch_redo(dispatch, 3, false), 0);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	cr_assert(foreign_die(&foreign, false));
	cr_expect_eq(dispatch->repair.doubts, 0);
	for (uint32_t slot = 0; slot < RIG_LARGE; slot++) {
		uint32_t state = atomic_load(&dispatch->inflight[slot].state);

		cr_expect(state <= INFLIGHT_WAITING, "slot %u: %u", slot, state);
	}
	cr_assert(rig_backend_begin(&foreign.rig));
	cr_assert(rig_backend_ready(&foreign.rig, false));
	cr_assert_eq(dispatch_redo(dispatch, 3, false), 0);
	cr_assert_eq(dispatch_gate_open(dispatch, &waited), 0);
	both_answered(rename, attr);
}

/* ---- a thread that is late ----------------------------------------------- */

/* The thread that sends a repaired request, stopped after that for as long as the test likes. */
static struct late {
	_Atomic bool armed;
	sem_t sent, goes, stopped, ends;
} late;

static bool is_worker(pthread_t thread)
{
	for (unsigned i = 0; i < ASK_MAX; i++)
		if (dispatch->repair.workers[i].started && pthread_equal(dispatch->repair.workers[i].thread, thread))
			return true;
	return false;
}

/* In the place of the C library's. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t n = syscall(SYS_sendmsg, fd, message, flags);

	if (atomic_load(&late.armed) && is_worker(pthread_self())) {
		atomic_store(&late.armed, false);
		sem_post(&late.sent);
		sem_wait(&late.goes);
	}
	return n;
}

static void on_stop(int number)
{
	(void)number;
	sem_post(&late.stopped);
	sem_wait(&late.ends);
}

static void late_arm(void)
{
	sem_init(&late.sent, 0, 0);
	sem_init(&late.goes, 0, 0);
	sem_init(&late.stopped, 0, 0);
	sem_init(&late.ends, 0, 0);
	signal(SIGUSR1, on_stop);
	atomic_store(&late.armed, true);
}

/* After it has sent its request, and before it has noted that it is done with it.  Returns the request's slot. */
static uint32_t late_stop(void)
{
	struct repair *repair = &dispatch->repair;
	uint32_t slot = UINT32_MAX;

	sem_wait(&late.sent);
	pthread_mutex_lock(&repair->lock);
	sem_post(&late.goes);
	/* It has this until it is past the send. */
	pthread_mutex_lock(&dispatch->lock);
	pthread_mutex_unlock(&dispatch->lock);
	for (unsigned i = 0; i < ASK_MAX; i++) {
		if (!repair->workers[i].has_slot)
			continue;
		slot = repair->workers[i].slot;
		pthread_kill(repair->workers[i].thread, SIGUSR1);
		sem_wait(&late.stopped);
	}
	pthread_mutex_unlock(&repair->lock);
	return slot;
}

/* It has claimed the slot for what comes next. */
static void reader_ready(void)
{
	for (;;) {
		for (uint32_t slot = 0; slot < RIG_LARGE; slot++)
			if (atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_READING)
				return;
		sched_yield();
	}
}

Test(repair, a_slot_that_is_another_requests_already_is_not_lost_at_the_end)
{
	uint64_t y = foreign_lookup(&foreign, "y"), first, second, third;
	struct fake_packet lookup, packet;
	_Atomic uint32_t *state;

	die_and_restart(false);
	/* The reader has the first slot, whatever was still in use when it claimed its last one. */
	while (atomic_load(&dispatch->inflight[0].state) != INFLIGHT_READING) {
		answered(named(FUSE_LOOKUP, "absent"), ENOENT);
		cr_assert(rig_inflight(&foreign.rig, 0));
		reader_ready();
	}
	late_arm();
	first = getattr(nodeid);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &lookup));
	cr_assert_eq(lookup.in.opcode, FUSE_LOOKUP);
	reader_ready();
	foreign_answer(&foreign, &lookup);
	state = &dispatch->inflight[late_stop()].state;
	answered(first, 0);
	while (atomic_load(state) != INFLIGHT_IDLE)
		sched_yield();
	/* The reader has the next slot in its hands; the one after that is the first one's. */
	third = named(FUSE_LOOKUP, "x");
	cr_assert(fake_backend_receive(&foreign.rig.backend, &packet));
	second = getattr(y);
	while (atomic_load(&foreign.rig.stats.repaired) < 2)
		sched_yield();
	cr_assert_eq(atomic_load(state), INFLIGHT_REPAIR);
	fake_backend_end(&foreign.rig.backend);
	cr_assert(rig_wait(&foreign.rig, DISPATCH_DRAINED));
	foreign.rig.events |= DISPATCH_DRAINED;
	sem_post(&late.ends);
	cr_assert(foreign_die(&foreign, false));
	cr_expect_eq(atomic_load(state), INFLIGHT_WAITING);
	cr_assert(foreign_next(&foreign));
	both_answered(third, second);
}

/* ---- chores -------------------------------------------------------------- */

static bool lock_set_again(struct foreign *f)
{
	return f->asked[FUSE_SETLK] == 1;
}

Test(repair, locks_are_set_again_though_nobody_asks)
{
	const struct fuse_lk_in in = {.fh = fh, .owner = 5, .lk = {.start = 0, .end = 9, .type = F_WRLCK, .pid = 1}};

	answered(foreign_request(&foreign, FUSE_SETLK, nodeid, &in, sizeof(in)), 0);
	die_and_restart(false);
	cr_assert(foreign_serve_until(&foreign, lock_set_again));
	cr_expect_eq(foreign.asked[FUSE_LOOKUP], 1);
	cr_expect_eq(foreign.asked[FUSE_OPEN], 1);
	die_and_restart(false);
	cr_assert(foreign_serve_until(&foreign, lock_set_again));
}

static bool mode_put_back(struct foreign *f)
{
	return f->asked[FUSE_SETATTR] == 1;
}

Test(repair, a_mode_that_hangs_on_a_rename_in_doubt_is_put_back_after_it)
{
	uint64_t y = foreign_lookup(&foreign, "y"), rename = rename_request("y", "z");

	cr_assert_neq(foreign_holds(&foreign, FUSE_RENAME), 0);
	strcpy(foreign.files[2].name, "z");
	pthread_mutex_lock(&dispatch->translate.lock);
	nodes_get(&dispatch->translate.nodes, y)->mode_owed = 0x80000000u | 0444;
	pthread_mutex_unlock(&dispatch->translate.lock);
	die_and_restart(false);
	answered(rename, 0);
	cr_expect(foreign_serve_until(&foreign, mode_put_back));
}

static bool getattr_answered(struct foreign *f)
{
	return f->asked[FUSE_GETATTR] > 0;
}

Test(repair, what_the_kernel_did_not_take_is_released)
{
	uint64_t y = foreign_lookup(&foreign, "y");
	const struct fuse_forget_in forget = {.nlookup = 1};
	const struct fuse_open_in in = {.flags = O_RDONLY};
	struct fake_packet open;

	/* The kernel refuses the reply to OPEN: its caller was killed. */
	foreign_request(&foreign, FUSE_OPEN, y, &in, sizeof(in));
	cr_assert(fake_backend_receive(&foreign.rig.backend, &open));
	shutdown(foreign.rig.kernel.device, SHUT_WR);
	foreign_answer(&foreign, &open);
	cr_assert(rig_inflight(&foreign.rig, 0));
	foreign_request(&foreign, FUSE_FORGET, y, &forget, sizeof(forget));
	/* The reader tells what may be forgotten when it has something to do. */
	while (foreign.asked[FUSE_RELEASE] == 0 || foreign.forgotten[2] == 0) {
		foreign.asked[FUSE_GETATTR] = 0;
		cr_assert_neq(getattr(FUSE_ROOT_ID), 0);
		cr_assert(foreign_serve_until(&foreign, getattr_answered));
		cr_assert(foreign.asked[FUSE_RELEASE] == 1 || foreign.forgotten[2] == 0, "in this order");
	}
	cr_expect_eq(foreign.forgotten[2], 1);
}

Test(repair, nothing_is_forgotten_while_a_path_is_walked)
{
	const struct fuse_forget_in forget = {.nlookup = 1};
	struct fake_packet lookup, next;
	uint64_t y, held, look;

	die_and_restart(false);
	y = foreign_lookup(&foreign, "y");
	cr_assert_neq(y, 0);
	held = foreign_read(&foreign, nodeid, fh);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &lookup));
	cr_assert_eq(lookup.in.opcode, FUSE_LOOKUP);
	/* Its directory could be among those that the walk has the ids of. */
	foreign_request(&foreign, FUSE_FORGET, y, &forget, sizeof(forget));
	look = getattr(FUSE_ROOT_ID);
	cr_assert(fake_backend_receive(&foreign.rig.backend, &next));
	cr_expect_eq(next.in.opcode, FUSE_GETATTR, "%u", next.in.opcode);
	foreign_answer(&foreign, &next);
	answered(look, 0);
	cr_expect_eq(foreign.forgotten[2], 0);
	foreign_answer(&foreign, &lookup);
	answered(held, 0);
	while (foreign.forgotten[2] == 0)
		answered(getattr(FUSE_ROOT_ID), 0);
	cr_expect_eq(foreign.forgotten[2], 1);
}

/* ---- a backend that answers wrongly -------------------------------------- */

Test(repair, garbage_for_an_answer_is_eio)
{
	const struct fuse_entry_out entry = {.nodeid = 77};
	uint64_t unique, ask;

	die_and_restart(false);
	unique = foreign_read(&foreign, nodeid, fh);
	ask = foreign_holds(&foreign, FUSE_LOOKUP);
	fake_backend_reply(&foreign.rig.backend, ask + 2 * ((uint64_t)1 << RELAY_UNIQUE_SLOT_BITS), ENOENT, NULL, 0);
	fake_backend_reply(&foreign.rig.backend, relay_unique_make(9, ASK_SLOT(ASK_MAX - 1)), ENOENT, NULL, 0);
	fake_backend_reply(&foreign.rig.backend, ask, 0, &entry, sizeof(entry) - 1);
	cr_expect(fake_kernel_gets_error(&foreign.rig.kernel, unique, EIO));
	fake_backend_reply(&foreign.rig.backend, ask, 0, &entry, sizeof(entry));
	answered(foreign_read(&foreign, nodeid, fh), 0);
	cr_expect_eq(atomic_load(&foreign.rig.stats.bad_replies), 4);
}

Test(repair, asks_that_were_never_made_are_not_answered)
{
	for (unsigned number = 0; number < ASK_MAX; number++)
		fake_backend_reply(&foreign.rig.backend, relay_unique_make(1, ASK_SLOT(number)), ENOENT, NULL, 0);
	answered(getattr(nodeid), 0);
	cr_expect_eq(atomic_load(&foreign.rig.stats.bad_replies), ASK_MAX);
	cr_expect_not(dispatch->repair.workers[0].started, "and no thread is there yet");
}

Test(repair, nothing_is_taken_while_no_incarnation_serves)
{
	cr_assert(foreign_die(&foreign, false));
	cr_expect_eq(repair_put(&dispatch->repair, RIG_LARGE), -EPIPE);
	cr_expect_eq(atomic_load(&dispatch->inflight[RIG_LARGE].state), INFLIGHT_IDLE);
	repair_shut(&dispatch->repair);
	repair_end(&dispatch->repair, 7);
	repair_open(&dispatch->repair, 7);
	cr_expect_eq(repair_put(&dispatch->repair, RIG_LARGE), -EPIPE, "one that has ended is not served");
}
