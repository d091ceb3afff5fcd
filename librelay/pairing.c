/*
 * Direct lane: one client and one thread that serves it, on one processor.
 *
 * What a request costs is decided by who is woken where.  A wake-up on another processor that
 * sleeps takes 2 to 50 us, on the same one 1 or 2, and the handler of a LOOKUP less than
 * that.  With many threads in read() the kernel wakes each in its turn (the queue is first
 * in, first out), so caches are cold, and often one in vain: the thread that has just
 * replied takes the request before the woken one gets there.
 *
 * So as soon as requests come from one client thread, one at a time, only one of our threads
 * reads (readers->turn), and the others wait.  Where that thread finds that its client runs on
 * another processor it has itself replaced by one that is pinned to the client's.  Then the
 * client is woken on the processor on which it runs already, and takes it over from the
 * server; the server goes on when the client sleeps, and finds the next request there.
 *
 * Why the turn is passed as it is.  When the kernel wakes the client it puts it on the
 * processor that it used last before this one, if that is idle: the one which the server has
 * just left.  It is remembered only until the client is woken once while that processor
 * is busy.  So the thread that passes its turn stays on its processor, spinning, until its heir
 * has replied once: for some 50 us, and at most PASS_LIMIT.
 *
 * All of this is a guess, and what a wrong one costs is bounded:
 * - whether a trial was worth it is measured; if it was not, all threads read again, and the
 *   next trial is put off, for up to a second.  Where processors are plenty the kernel
 *   finds the client another idle one, so trials fail, and nothing is lost;
 * - a handler that takes long while only its thread reads would hold up others: the thread
 *   of relay_serve() looks after HANDLER_LIMIT, by a timer that runs only while requests
 *   come, and lets all threads read;
 * - more than one client, or more than one request at a time, and all threads read, unless
 *   one is faster then too (crowd.c).
 * An idle mount wakes nobody.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define US 1000u
#define MS (1000u * US)

#define WINDOW 32u	       /* requests of one thread that are judged together */
#define WINDOW_TIME (32u * MS) /* slower than that: it does not matter */
#define ALONE 24u	       /* requests of a window that came from the client of the one before */
#define PROBE 8u	       /* each so many a look whether another is waiting */
#define QUEUED 1u	       /* as often it may: a RELEASE is waited for by nobody */
#define STREAK 2u	       /* windows of one client before it is believed */
#define SOON (200u * US)       /* a client that is back by then is in a hurry */
#define HURRIED 24u	       /* of a window */
#define NEAR (10u * US)	       /* no client on another processor is back by then, on the average */
#define HANDLER_LIMIT (1u * MS)
#define PASS_LIMIT (200u * US)
#define BACKOFF_MIN (1u * MS)
#define BACKOFF_SHORT (16u * MS) /* at most, where nothing was tried */
#define BACKOFF_MAX (1024u * MS)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int relay_internal_pairing_init(struct relay_pairing *pairing)
{
	pairing->backoff = BACKOFF_MIN;
	pairing->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return pairing->timer < 0 ? -errno : 0;
}

void relay_internal_pairing_deinit(struct relay_pairing *pairing)
{
	if (pairing->timer >= 0)
		close(pairing->timer);
}

/* ---- where threads run --------------------------------------------------- */

/* The processor on which a thread has run last, or a negative errno. */
static int processor_of(uint32_t tid)
{
	char path[32], text[1024], *at;
	int fd, field, cpu;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	/* The second field is the name, in parentheses, and may have any character in it. */
	at = strrchr(text, ')');
	for (field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%d", &cpu) != 1 || cpu < 0 || cpu >= CPU_SETSIZE)
		return -EINVAL;
	return cpu;
}

void relay_internal_pairing_stay(struct relay_thread *thread)
{
	struct relay_pace *pace = &thread->pace;
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0 || pace->pinned || pthread_getaffinity_np(thread->id, sizeof(pace->cpus), &pace->cpus))
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	pace->pinned = pthread_setaffinity_np(thread->id, sizeof(set), &set) == 0;
}

void relay_internal_pairing_release(struct relay_thread *thread)
{
	struct relay_pace *pace = &thread->pace;

	/* It fails if none of them is left, and then the kernel has lifted it already. */
	if (pace->pinned)
		pthread_setaffinity_np(thread->id, sizeof(pace->cpus), &pace->cpus);
	pace->pinned = false;
}

/* ---- windows --------------------------------------------------------------- */

static void backoff(struct relay_pairing *pairing, uint64_t now, uint64_t most)
{
	uint64_t time = atomic_load_explicit(&pairing->backoff, memory_order_relaxed);

	time = time < most ? time : most;
	atomic_store_explicit(&pairing->not_before, now + time, memory_order_relaxed);
	atomic_store_explicit(&pairing->backoff, 2 * time, memory_order_relaxed);
}

/* What a window says where all read.  Threads read in turn: the client's pauses cannot be seen. */
static enum relay_pairing_advice judge_all(struct relay_pairing *pairing, struct relay_pace *pace, bool alone,
					   uint64_t now)
{
	if (!alone || now - pace->began > WINDOW_TIME) {
		pace->streak = 0;
		return RELAY_PAIRING_KEEP;
	}
	if (++pace->streak < STREAK || now < atomic_load_explicit(&pairing->not_before, memory_order_relaxed))
		return RELAY_PAIRING_KEEP;
	pace->streak = 0;
	return RELAY_PAIRING_JOIN;
}

static enum relay_pairing_advice judge_paired(struct relay_pairing *pairing, struct relay_pace *pace, bool alone,
					      uint64_t now)
{
	uint64_t waited = pace->soon ? pace->waited / pace->soon : 0;
	bool trial = atomic_exchange(&pairing->trial, false);

	if (!alone || pace->soon < HURRIED) {
		backoff(pairing, now, BACKOFF_SHORT);
		return RELAY_PAIRING_LEAVE;
	}
	if (waited < NEAR || (trial && waited + NEAR <= pace->waited_before)) {
		atomic_store_explicit(&pairing->backoff, BACKOFF_MIN, memory_order_relaxed);
		return RELAY_PAIRING_KEEP;
	}
	if (trial) {
		backoff(pairing, now, BACKOFF_MAX);
		return RELAY_PAIRING_LEAVE;
	}
	if (now < atomic_load_explicit(&pairing->not_before, memory_order_relaxed))
		return RELAY_PAIRING_KEEP;
	pace->waited_before = waited;
	return RELAY_PAIRING_FOLLOW;
}

static void window_begin(struct relay_pace *pace, uint64_t now)
{
	pace->began = now;
	pace->waited = 0;
	pace->requests = pace->same = pace->queued = pace->soon = 0;
}

static bool is_alone(const struct relay_pace *pace)
{
	return pace->same >= ALONE && pace->queued <= QUEUED;
}

enum relay_pairing_advice relay_internal_pairing_judge(struct relay_pairing *pairing, struct relay_pace *pace,
						       bool paired, uint64_t now)
{
	bool alone = is_alone(pace);
	enum relay_pairing_advice advice =
		paired ? judge_paired(pairing, pace, alone, now) : judge_all(pairing, pace, alone, now);

	window_begin(pace, now);
	return advice;
}

/* Another request is there already. */
static bool is_queued(const struct relay_session *session)
{
	struct pollfd poller = {.fd = session->device, .events = POLLIN};

	return poll(&poller, 1, 0) > 0;
}

static void window_add(struct relay_thread *thread, const struct fuse_in_header *header)
{
	struct relay_pairing *pairing = &thread->session->pairing;
	struct relay_pace *pace = &thread->pace;
	uint64_t waited = pace->read_at - pace->replied_at;

	/* pid is a thread's.  What the kernel asks by itself, as FORGET, has none, nor has another namespace's. */
	if (!header->pid)
		return;
	/* The last client of any thread's: each of two threads may have one of two clients for a long time. */
	if (atomic_load_explicit(&pairing->client, memory_order_relaxed) == header->pid)
		pace->same++;
	else
		atomic_store_explicit(&pairing->client, header->pid, memory_order_relaxed);
	pace->client = header->pid;
	if (waited < SOON) {
		pace->soon++;
		pace->waited += waited;
	}
	if (++pace->requests % PROBE == 0 && is_queued(thread->session))
		pace->queued++;
}

/* ---- the paired thread ------------------------------------------------------ */

/*
 * In execve(2) what is closed is flushed while the kernel keeps readers of /proc/TID/stat waiting:
 * asked for the client's processor then, this thread would wait for the request that it has read.
 */
static bool may_be_executing(const struct fuse_in_header *header)
{
	return header->opcode == FUSE_FLUSH;
}

/* Has a thread on the client's processor ready to be passed the turn. */
static void heir_find(struct relay_thread *thread)
{
	struct relay_pairing *pairing = &thread->session->pairing;
	struct relay_pace *pace = &thread->pace;
	int cpu = processor_of(pace->client);

	if (cpu == sched_getcpu()) {
		/* It takes its time, but not because of us. */
		backoff(pairing, pace->read_at, BACKOFF_SHORT);
		return;
	}
	if (cpu >= 0)
		pace->heir = relay_internal_readers_heir(thread, (unsigned)cpu);
	/* One thread on another processor is worse than all. */
	if (!pace->heir) {
		backoff(pairing, pace->read_at, BACKOFF_MAX);
		relay_internal_readers_leave(thread);
	}
}

void relay_internal_pairing_inherit(struct relay_thread *heir, const struct relay_thread *from)
{
	struct relay_pace *pace = &heir->pace;

	pace->client = from->pace.client;
	pace->waited_before = from->pace.waited_before;
	pace->replied_at = from->pace.replied_at;
	window_begin(pace, pace->replied_at);
	pace->follow = false;
	atomic_store(&from->session->pairing.trial, true);
}

static void turn_pass(struct relay_thread *thread)
{
	struct relay_thread *heir = thread->pace.heir;
	uint32_t replies = atomic_load(&heir->pace.replies);
	uint64_t until = now_ns() + PASS_LIMIT;

	if (!relay_internal_readers_pass(thread, heir))
		return;
	while (atomic_load_explicit(&heir->pace.replies, memory_order_relaxed) == replies && now_ns() < until)
		;
}

/* The timer is started if it is not running: once in HANDLER_LIMIT at most. */
static void guard_set(struct relay_session *session, uint64_t now)
{
	const struct itimerspec in = {.it_value.tv_nsec = HANDLER_LIMIT};
	struct relay_pairing *pairing = &session->pairing;

	/* Sequentially consistent, as in guard_look(): either it is seen there, or `guarded` is false here. */
	atomic_store(&pairing->busy_since, now);
	if (!atomic_load(&pairing->guarded)) {
		atomic_store(&pairing->guarded, true);
		timerfd_settime(pairing->timer, 0, &in, NULL);
	}
}

/* The timer has expired. */
static void guard_look(struct relay_session *session)
{
	struct relay_pairing *pairing = &session->pairing;
	uint64_t since, expired, now = now_ns();

	if (read(pairing->timer, &expired, sizeof(expired)) < 0)
		return;
	atomic_store(&pairing->guarded, false);
	since = atomic_load(&pairing->busy_since);
	if (!since)
		return;
	if (now >= since + HANDLER_LIMIT) {
		relay_internal_readers_part(session, since);
	} else if (!atomic_exchange(&pairing->guarded, true)) {
		const struct itimerspec in = {.it_value.tv_nsec = (long)(since + HANDLER_LIMIT - now)};

		timerfd_settime(pairing->timer, 0, &in, NULL);
	}
}

void relay_internal_pairing_watch(struct relay_session *session)
{
	struct pollfd pollers[] = {
		{.fd = session->fd, .events = POLLIN},
		{.fd = session->pairing.timer, .events = POLLIN},
	};

	do {
		if (poll(pollers, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			/* The channel says by itself what is wrong with it. */
			return;
		}
		if (pollers[1].revents)
			guard_look(session);
	} while (!pollers[0].revents);
}

/* ---- each request ---------------------------------------------------------- */

void relay_internal_pairing_read(struct relay_thread *thread, const struct fuse_in_header *header)
{
	struct relay_pace *pace = &thread->pace;

	pace->read_at = now_ns();
	window_add(thread, header);
	/* Then with the next request. */
	if (!may_be_executing(header)) {
		if (pace->follow && relay_internal_readers_paired(thread))
			heir_find(thread);
		pace->follow = false;
	}
	if (relay_internal_readers_paired(thread))
		guard_set(thread->session, pace->read_at);
}

static void window_end(struct relay_thread *thread, bool paired)
{
	struct relay_pairing *pairing = &thread->session->pairing;
	struct relay_pace *pace = &thread->pace;

	if (relay_internal_crowd_window(thread, paired, is_alone(pace))) {
		pace->streak = 0;
		window_begin(pace, pace->replied_at);
		return;
	}
	switch (relay_internal_pairing_judge(pairing, pace, paired, pace->replied_at)) {
	case RELAY_PAIRING_JOIN:
		relay_internal_readers_join(thread);
		break;
	case RELAY_PAIRING_FOLLOW:
		pace->follow = true;
		break;
	case RELAY_PAIRING_LEAVE:
		relay_internal_readers_leave(thread);
		break;
	case RELAY_PAIRING_KEEP:
		break;
	}
}

void relay_internal_pairing_replied(struct relay_thread *thread)
{
	struct relay_pace *pace = &thread->pace;
	bool paired = relay_internal_readers_paired(thread);
	uint64_t since = pace->read_at;

	pace->replied_at = now_ns();
	atomic_fetch_add_explicit(&pace->replies, 1, memory_order_relaxed);
	/* Unless another thread is paired by now. */
	atomic_compare_exchange_strong(&thread->session->pairing.busy_since, &since, 0);
	if (paired && pace->heir)
		turn_pass(thread);
	else if (pace->requests >= WINDOW)
		window_end(thread, paired);
	pace->heir = NULL;
	if (pace->pinned && !relay_internal_readers_paired(thread))
		relay_internal_pairing_release(thread);
}
