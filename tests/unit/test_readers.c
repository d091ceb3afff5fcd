/*
 * Who reads /dev/fuse: one thread for one client that asks one thing at a time, all
 * threads otherwise, and nobody for nothing.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "lib/fake_relayd.h"

#define THREADS 4u
#define LARGE 8u
#define SMALL 2u

#define MS 1000000u

/* What the backend and the test tell each other. */
struct seen {
	_Atomic uint32_t waiting; /* FSYNCs in their handler */
	_Atomic bool go_on;
};

static struct seen *seen;
static struct fake_relayd fake;

static void on_lookup(struct relay_req *req, const char *name)
{
	(void)name;
	relay_reply_error(req, ENOENT);
}

static void on_fsync(struct relay_req *req, const struct fuse_fsync_in *in)
{
	(void)in;
	atomic_fetch_add(&seen->waiting, 1);
	while (!atomic_load(&seen->go_on) && !relay_req_interrupted(req))
		sched_yield();
	relay_reply_error(req, 0);
}

static const struct relay_ops ops = {.lookup = on_lookup, .fsync = on_fsync};

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
	cr_assert(fake_begin(&fake, backend, NULL));
	fake_send_go(&fake);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(readers, .init = setup, .fini = teardown, .timeout = 120);

static void expect_end(void)
{
	int status = fake_end(&fake);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
	for (uint32_t i = 0; i < LARGE + SMALL; i++)
		cr_expect_eq(fake_slot_state(&fake, i), RELAY_SLOT_FREE, "slot %u", i);
}

static uint64_t request_of(pid_t client, uint32_t opcode, const void *body, uint32_t size)
{
	struct {
		struct fuse_in_header header;
		uint8_t body[64];
	} packet = {
		.header = {.len = (uint32_t)sizeof(packet.header) + size,
			   .opcode = opcode,
			   .nodeid = 1,
			   .unique = 2 * ++fake.kernel_sequence,
			   .pid = (uint32_t)client},
	};

	memcpy(packet.body, body, size);
	fake_device_raw(&fake, &packet, packet.header.len);
	return packet.header.unique;
}

static void lookup_of(pid_t client)
{
	uint64_t unique = request_of(client, FUSE_LOOKUP, "name", 5);

	cr_assert_eq(fake_device_receive(&fake), unique);
}

/* Threads that read or are about to. */
static unsigned readers(void)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < LARGE; i++)
		count += fake_slot_state(&fake, i) == RELAY_SLOT_READING;
	return count;
}

static void await_all(void)
{
	while (readers() < THREADS)
		sched_yield();
}

/*
 * One client asks until one thread is enough for it.  A window that a busy machine delays
 * counts for nothing; threads that are on their way back from a reply are not seen.
 */
static void pair(void)
{
	for (unsigned times = 0; times < 16; times = readers() == 1 ? times + 1 : 0)
		lookup_of(getpid());
}

static uint64_t fsync_of(pid_t client)
{
	const struct fuse_fsync_in in = {0};
	uint64_t unique = request_of(client, FUSE_FSYNC, &in, sizeof(in));

	while (!atomic_load(&seen->waiting))
		sched_yield();
	return unique;
}

/* ---- the backend's threads --------------------------------------------- */

Test(readers, all_threads_read_at_first)
{
	await_all();
	expect_end();
}

Test(readers, one_thread_reads_for_one_client)
{
	await_all();
	pair();
	for (int i = 0; i < 1000; i++)
		lookup_of(getpid());
	expect_end();
}

/* One has a thread's number only where that is of our namespace. */
Test(readers, clients_without_a_number_are_nobody)
{
	await_all();
	for (int i = 0; i < 1000; i++)
		lookup_of(0);
	await_all();
	expect_end();
}

Test(readers, all_threads_read_for_two_clients)
{
	pair();
	do {
		lookup_of(getpid());
		lookup_of(getppid());
	} while (readers() < THREADS);
	expect_end();
}

Test(readers, all_threads_read_for_a_client_that_asks_for_much_at_once)
{
	pair();
	do {
		for (int i = 0; i < 8; i++)
			request_of(getpid(), FUSE_LOOKUP, "name", 5);
		for (int i = 0; i < 8; i++)
			fake_device_receive(&fake);
	} while (readers() < THREADS);
	expect_end();
}

Test(readers, a_blocked_handler_holds_up_nobody)
{
	uint64_t unique;

	pair();
	unique = fsync_of(getpid());
	/* The only one who has been reading is in it, as a rule. */
	for (int i = 0; i < 1000; i++)
		lookup_of(getpid());
	atomic_store(&seen->go_on, true);
	cr_expect_eq(fake_device_receive(&fake), unique);
	/* And again. */
	pair();
	expect_end();
}

/* Until one thread reads for two clients, which is tried at least. */
static void crowd(void)
{
	for (unsigned times = 0; times < 4; times = readers() == 1 ? times + 1 : 0) {
		lookup_of(getpid());
		lookup_of(getppid());
	}
}

Test(readers, one_thread_is_tried_for_two_clients)
{
	await_all();
	crowd();
	expect_end();
}

Test(readers, a_blocked_handler_does_not_hold_up_other_clients)
{
	uint64_t unique;

	for (int times = 0; times < 3; times++) {
		crowd();
		atomic_store(&seen->waiting, 0);
		atomic_store(&seen->go_on, false);
		unique = fsync_of(getpid());
		for (int i = 0; i < 500; i++) {
			lookup_of(getpid());
			lookup_of(getppid());
		}
		atomic_store(&seen->go_on, true);
		cr_expect_eq(fake_device_receive(&fake), unique);
	}
	expect_end();
}

Test(readers, a_given_request_goes_to_any_thread)
{
	uint64_t unique;

	pair();
	unique = fsync_of(getpid());
	cr_expect_eq(fake_call(&fake, LARGE - 1, FUSE_LOOKUP, 1, "given", 6), -ENOENT);
	fake_slot_free(&fake, LARGE - 1);
	atomic_store(&seen->go_on, true);
	cr_expect_eq(fake_device_receive(&fake), unique);
	expect_end();
}

Test(readers, pause_while_one_thread_reads)
{
	for (int i = 0; i < 20; i++) {
		pair();
		fake_send_pause(&fake);
		fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
		fake.notify_count = 0;
		cr_assert_eq(readers(), 0);
		fake_send_go(&fake);
		await_all();
	}
	expect_end();
}

Test(readers, the_end_while_one_thread_reads)
{
	for (int i = 0; i < 20; i++) {
		pair();
		expect_end();
		cr_assert(fake_begin(&fake, backend, NULL));
		fake_send_go(&fake);
	}
	expect_end();
}

Test(readers, pause_while_one_thread_reads_for_two_clients)
{
	for (int i = 0; i < 3; i++) {
		crowd();
		fake_send_pause(&fake);
		fake_expect_notice(&fake, RELAY_NOTIFY_PAUSED);
		fake.notify_count = 0;
		cr_assert_eq(readers(), 0);
		fake_send_go(&fake);
		await_all();
	}
	expect_end();
}

/* The thread whose turn it is has a request in its handler: the journal has that one, and the others' slots nothing. */
Test(readers, a_death_while_one_thread_reads_for_two_clients)
{
	uint64_t unique, channel;
	uint32_t slot;

	crowd();
	unique = fsync_of(getpid());
	fake_kill(&fake);
	slot = fake_find(&fake, unique);
	cr_assert_neq(slot, UINT32_MAX);
	cr_expect_eq(fake_slot_state(&fake, slot), RELAY_SLOT_APPLYING);
	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		cr_expect(i == slot || fake_slot_header(&fake, i)->unique == 0, "slot %u", i);
		if (i != slot)
			fake_slot_free(&fake, i);
	}
	cr_expect(fake_device_quiet(&fake));
	atomic_store(&seen->go_on, true);
	channel = fake_import(&fake, slot);
	cr_assert(fake_begin(&fake, backend, NULL));
	fake_send(&fake, slot);
	cr_expect_eq(fake_receive(&fake), channel);
	fake_slot_free(&fake, slot);
	fake_send_go(&fake);
	await_all();
	crowd();
	expect_end();
}

/* How often the backend's threads have slept. */
static unsigned long sleeps(void)
{
	unsigned long sum = 0, count;
	char path[300], line[100];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)fake.backend);
	tasks = opendir(path);
	cr_assert(tasks);
	while ((entry = readdir(tasks))) {
		FILE *status;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)fake.backend, entry->d_name);
		status = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
		while (status && fgets(line, sizeof(line), status))
			sum += sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1 ? count : 0;
		if (status)
			fclose(status);
	}
	closedir(tasks);
	return sum;
}

Test(readers, an_idle_mount_wakes_nobody)
{
	unsigned long before;

	pair();
	/* The guard looks once more, and finds nothing to do: it comes to rest, or the test never ends. */
	do {
		before = sleeps();
		usleep(20 * 1000);
	} while (sleeps() != before);
	expect_end();
}

/* ---- what a window says --------------------------------------------------- */

static struct relay_pairing pairing;

/* A window that is well: one client, back after `waited` ns. */
static struct relay_pace window(uint64_t waited)
{
	return (struct relay_pace){.requests = 32, .same = 32, .soon = 32, .waited = 32 * waited};
}

static enum relay_pairing_advice judge(struct relay_pace pace, bool paired, uint64_t now)
{
	return relay_internal_pairing_judge(&pairing, &pace, paired, now);
}

Test(judge, one_client_is_believed_at_the_second_window)
{
	struct relay_pace pace = window(0);

	cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, false, MS), RELAY_PAIRING_KEEP);
	cr_expect_eq(pace.began, MS);
	cr_expect_eq(pace.requests, 0);
	pace.same = 32;
	cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, false, 2 * MS), RELAY_PAIRING_JOIN);
}

Test(judge, who_is_slow_is_not_joined)
{
	struct relay_pace pace = window(0);

	pace.streak = 1;
	cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, false, 33 * MS), RELAY_PAIRING_KEEP);
	cr_expect_eq(pace.streak, 0);
}

Test(judge, more_at_once_or_more_clients_part)
{
	struct relay_pace pace = window(MS / 1000);

	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_KEEP);
	pace.queued = 2;
	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_LEAVE);
	pace = window(MS / 1000);
	pace.same = 20;
	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_LEAVE);
	pace = window(MS / 1000);
	pace.soon = 20;
	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_LEAVE, "it is slow by now");
}

Test(judge, a_trial_that_gains_nothing_is_put_off_longer_and_longer)
{
	struct relay_pace pace = window(MS / 20);
	uint64_t now = 1000 * MS, last = 0;

	atomic_store(&pairing.not_before, 0);
	atomic_store(&pairing.backoff, MS);
	for (int i = 0; i < 20; i++) {
		uint64_t until;

		pace = window(MS / 20);
		cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, true, now), RELAY_PAIRING_FOLLOW);
		cr_expect_eq(pace.waited_before, MS / 20);
		atomic_store(&pairing.trial, true);
		pace = window(MS / 20);
		pace.waited_before = MS / 20;
		cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, true, now), RELAY_PAIRING_LEAVE);
		until = atomic_load(&pairing.not_before);
		cr_expect(until - now >= last && until - now <= 1100ull * MS);
		last = until - now;
		pace = window(0);
		pace.streak = 2;
		pace.began = now;
		cr_expect_eq(relay_internal_pairing_judge(&pairing, &pace, false, now), RELAY_PAIRING_KEEP);
		now = until;
	}
	cr_expect_gt(last, 1000 * MS, "about a second");
	/* One that does makes up for it. */
	atomic_store(&pairing.trial, true);
	cr_expect_eq(judge(window(MS / 1000), true, now), RELAY_PAIRING_KEEP);
	cr_expect_eq(atomic_load(&pairing.backoff), MS);
}

Test(judge, a_client_with_work_of_its_own_is_followed_for_what_it_gains)
{
	struct relay_pace pace = window(MS / 20);

	pace.waited_before = MS / 10;
	atomic_store(&pairing.trial, true);
	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_KEEP);
	/* Later such a window asks where the client is. */
	cr_expect_eq(judge(pace, true, MS), RELAY_PAIRING_FOLLOW);
}

/* ---- what several clients say ----------------------------------------------- */

static struct relay_crowd crowded;
static uint32_t replied;
static uint64_t clock_now;

/* What is said after 20 ms in which each request took so long. */
static enum relay_pairing_advice crowd_judge(bool one, uint64_t cost)
{
	clock_now += 20ull * MS;
	replied += (uint32_t)(20ull * MS / cost);
	return relay_internal_crowd_judge(&crowded, one, replied, clock_now);
}

static void crowd_setup(void)
{
	clock_now = 1000ull * MS;
	cr_assert_eq(crowd_judge(false, 1000), RELAY_PAIRING_KEEP, "nothing is known");
}

TestSuite(crowd, .init = crowd_setup);

Test(crowd, what_is_faster_stays)
{
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_JOIN);
	cr_expect_eq(crowd_judge(true, 15000), RELAY_PAIRING_KEEP);
	cr_expect_eq(crowd_judge(true, 15000), RELAY_PAIRING_KEEP);
	cr_expect(crowded.one);
}

Test(crowd, what_is_not_does_not)
{
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_JOIN);
	cr_expect_eq(crowd_judge(true, 19500), RELAY_PAIRING_LEAVE, "as fast is not faster");
	cr_expect_not(crowded.one);
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_KEEP);
}

Test(crowd, a_measurement_takes_its_time)
{
	cr_expect_eq(relay_internal_crowd_judge(&crowded, false, replied + 1000, clock_now + MS), RELAY_PAIRING_KEEP);
	/* But for those who are slow it begins anew. */
	cr_expect_eq(relay_internal_crowd_judge(&crowded, false, replied + 1000, clock_now + 500ull * MS),
		     RELAY_PAIRING_KEEP);
	cr_expect_not(crowded.one);
}

/* Of the time, in the long run; `cost_one` with one reader, 20 us with all. */
static unsigned share_of_trials(uint64_t cost_one, bool won)
{
	unsigned trials = 0, rounds = 1000;
	bool one = false;

	for (unsigned i = 0; i < rounds; i++) {
		switch (crowd_judge(one, one ? cost_one : 20000)) {
		case RELAY_PAIRING_JOIN:
			one = true;
			trials += !won;
			break;
		case RELAY_PAIRING_LEAVE:
			one = false;
			trials += won;
			break;
		default:
			break;
		}
	}
	return 1000 * trials / rounds;
}

Test(crowd, trials_take_little_of_the_time)
{
	cr_expect_leq(share_of_trials(60000, false), 30, "20 ms of a second, and some at first");
}

Test(crowd, the_question_is_asked_again_of_who_has_won)
{
	unsigned share = share_of_trials(10000, true);

	cr_expect(share > 10 && share <= 30, "%u", share);
}

Test(crowd, an_answer_of_another_load_is_not_believed)
{
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_JOIN);
	cr_expect_eq(crowd_judge(true, 10000), RELAY_PAIRING_KEEP);
	cr_expect_eq(crowd_judge(true, 16000), RELAY_PAIRING_LEAVE);
	cr_expect_eq(crowd_judge(false, 12000), RELAY_PAIRING_JOIN, "and is looked for at once");
	cr_expect_eq(crowd_judge(true, 16000), RELAY_PAIRING_LEAVE);
}

Test(crowd, a_turn_that_a_long_handler_has_ended_is_lost)
{
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_JOIN);
	cr_expect_eq(crowd_judge(true, 10000), RELAY_PAIRING_KEEP);
	cr_expect_eq(crowd_judge(false, 10000), RELAY_PAIRING_KEEP);
	cr_expect_not(crowded.one);
	cr_expect_eq(crowd_judge(false, 20000), RELAY_PAIRING_KEEP, "for a while");
}
