/*
 * The life of a session: relay_serve() and its threads.
 *
 * The calling thread does the handshake, starts the serving threads, answers INIT
 * and waits for the channel's end.  Each serving thread receives a packet into its
 * own buffer, serves it, and receives the next: they share nothing but the
 * descriptor, so a request costs no lock and no allocation.  In the direct lane the calling
 * thread receives the channel itself, and the serving threads read /dev/fuse.
 *
 * At the end, which any thread may see first, every request that is still being
 * served is interrupted and its reply dropped.  relay_serve() returns when the last
 * is gone, so nothing of the backend's can touch the journal or the state after it.
 * A process that dies instead leaves the same to the next incarnation.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE (RELAY_PACKET_AT + RELAY_PACKET_MAX)

void relay_internal_session_end(struct relay_session *session, int error)
{
	pthread_mutex_lock(&session->lock);
	if (session->phase != RELAY_PHASE_ENDED) {
		session->error = error;
		session->phase = RELAY_PHASE_ENDED;
		pthread_cond_broadcast(&session->changed);
	}
	pthread_mutex_unlock(&session->lock);
	if (session->device >= 0)
		relay_internal_readers_end(session);
	/* The other threads are still waiting for packets if it was not relayd that ended it. */
	if (error)
		shutdown(session->fd, SHUT_RDWR);
}

static void thread_receive(struct relay_thread *thread)
{
	struct relay_session *session = thread->session;
	uint8_t *packet = thread->buffer + RELAY_PACKET_AT;

	while (!relay_internal_session_ended(session)) {
		ssize_t n = relay_internal_channel_receive(session, packet, RELAY_PACKET_MAX, NULL, NULL);

		if (n > 0) {
			relay_internal_serve_packet(thread, packet, (size_t)n, false);
		} else if (n == -EMSGSIZE) {
			/* Its beginning is there, which says whom to answer. */
			relay_internal_serve_packet(thread, packet, RELAY_PACKET_MAX, true);
		} else {
			relay_internal_session_end(session, (int)n);
			break;
		}
	}
}

/* Direct lane. */
static void thread_serve(struct relay_thread *thread)
{
	uint64_t given;

	relay_internal_device_thread(thread);
	if (relay_internal_rings_has(thread))
		relay_internal_rings_settle(thread);
	for (;;) {
		switch (relay_internal_readers_next(thread, &given)) {
		case RELAY_NEXT_READ:
			relay_internal_direct_serve(thread);
			break;
		case RELAY_NEXT_GIVEN:
			relay_internal_serve_given(thread, given);
			break;
		case RELAY_NEXT_END:
			return;
		}
	}
}

/* Tells that the thread is ready, or failed, and waits until all are. */
static void thread_ready(struct relay_session *session, int error)
{
	pthread_mutex_lock(&session->lock);
	session->started++;
	if (error && !session->error)
		session->error = error;
	pthread_cond_broadcast(&session->changed);
	while (session->phase == RELAY_PHASE_STARTING)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
}

static void *thread_main(void *arg)
{
	struct relay_thread *thread = arg;
	struct relay_session *session = thread->session;
	int err = 0;

	if (session->ops->thread_start)
		err = session->ops->thread_start(session);
	thread_ready(session, err);
	if (session->device >= 0)
		thread_serve(thread);
	else
		thread_receive(thread);
	return NULL;
}

static void buffer_unmap(struct relay_thread *thread)
{
	if (thread->buffer)
		munmap(thread->buffer, BUFFER_SIZE);
	thread->buffer = NULL;
}

static int thread_new(struct relay_session *session, struct relay_thread *thread)
{
	int err;

	thread->session = session;
	thread->slot = RELAY_NO_SLOT;
	thread->entry = RELAY_NO_ENTRY;
	if (session->device < 0) {
		void *buffer =
			mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (buffer == MAP_FAILED)
			return -errno;
		thread->buffer = buffer;
	}
	err = pthread_create(&thread->id, NULL, thread_main, thread);
	if (err)
		buffer_unmap(thread);
	return -err;
}

/* Starts the threads and waits until each is ready.  They receive nothing yet. */
static int threads_start(struct relay_session *session, unsigned count)
{
	int err = 0;

	session->threads = aligned_alloc(_Alignof(struct relay_thread), (size_t)count * sizeof(*session->threads));
	if (!session->threads)
		return -ENOMEM;
	memset(session->threads, 0, (size_t)count * sizeof(*session->threads));
	while (!err && session->thread_count < count) {
		err = thread_new(session, &session->threads[session->thread_count]);
		if (!err)
			session->thread_count++;
	}
	pthread_mutex_lock(&session->lock);
	while (session->started < session->thread_count)
		pthread_cond_wait(&session->changed, &session->lock);
	if (!err)
		err = session->error;
	pthread_mutex_unlock(&session->lock);
	return err;
}

/* Interrupts what the threads have in their handlers, and ends them. */
static void threads_join(struct relay_session *session)
{
	for (unsigned i = 0; i < session->thread_count; i++) {
		uint64_t unique = atomic_load(&session->threads[i].serving);

		if (unique && session->ops->interrupt)
			session->ops->interrupt(session, unique);
	}
	for (unsigned i = 0; i < session->thread_count; i++) {
		pthread_join(session->threads[i].id, NULL);
		buffer_unmap(&session->threads[i]);
	}
	free(session->threads);
}

static struct relay_req *detached_untold(const struct relay_session *session)
{
	struct relay_req *req = session->detached;

	while (req && req->told)
		req = req->next;
	return req;
}

/* Interrupts each detached request, and waits until they are answered. */
static void detached_wait(struct relay_session *session)
{
	struct relay_req *req;

	pthread_mutex_lock(&session->lock);
	while (session->detached) {
		req = session->ops->interrupt ? detached_untold(session) : NULL;
		if (req) {
			uint64_t unique = req->unique;

			/* It may be answered, and gone, as soon as the lock is free. */
			req->told = true;
			pthread_mutex_unlock(&session->lock);
			session->ops->interrupt(session, unique);
			pthread_mutex_lock(&session->lock);
		} else {
			pthread_cond_wait(&session->changed, &session->lock);
		}
	}
	pthread_mutex_unlock(&session->lock);
}

/* Few processors do not make for few requests that wait for a disk. */
#define THREADS_LEAST 10u

static unsigned threads_default(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	return 2 * processors > (long)THREADS_LEAST ? 2 * (unsigned)processors : THREADS_LEAST;
}

/* From the answered INIT to the channel's end. */
static void session_run(struct relay_session *session)
{
	pthread_mutex_lock(&session->lock);
	if (session->phase == RELAY_PHASE_STARTING)
		session->phase = RELAY_PHASE_SERVING;
	pthread_cond_broadcast(&session->changed);
	while (session->device < 0 && session->phase != RELAY_PHASE_ENDED)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
	if (session->device >= 0)
		relay_internal_given_receive(session);
}

static int session_serve(struct relay_session *session, unsigned threads)
{
	struct fuse_init_out out;
	int err;

	/* Who serves with one thread relies on it that no two handlers run at a time. */
	session->rings_able = threads != 1;
	err = relay_internal_handshake(session);
	if (err)
		return err > 0 ? 0 : err;
	err = relay_internal_negotiate(session, &out);
	relay_internal_kept_close(session);
	relay_internal_backed_free(session);
	threads = threads ? threads : threads_default();
	/* One reads /dev/fuse, and has seldom anything to do. */
	if (!err)
		err = threads_start(session, threads + (session->rings.map.rings ? 1 : 0));
	/* The reason goes to relayd, whose log it is that people read. */
	if (err)
		relay_internal_init_reply(session, err < 0 ? err : -EIO, NULL);
	else
		err = relay_internal_init_reply(session, 0, &out);
	if (err)
		relay_internal_session_end(session, err < 0 ? err : -EIO);
	else
		session_run(session);
	threads_join(session);
	detached_wait(session);
	err = session->error;
	/* relayd is gone, while we were telling it that we are here. */
	return err == -EPIPE || err == -ECONNRESET ? 0 : err;
}

int relay_serve(int fd, const struct relay_ops *ops, unsigned threads, void *userdata)
{
	struct relay_session *session;
	int err;

	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	session->fd = fd;
	session->device = -1;
	session->ops = ops;
	session->userdata = userdata;
	pthread_mutex_init(&session->state_lock, NULL);
	pthread_mutex_init(&session->lock, NULL);
	pthread_cond_init(&session->changed, NULL);

	err = session_serve(session, threads);

	relay_internal_kept_close(session);
	relay_internal_backed_free(session);
	relay_internal_backing_table_free(session);
	relay_internal_absences_end(session);
	relay_internal_state_unmap(session);
	relay_journal_unmap(&session->journal);
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	pthread_mutex_destroy(&session->state_lock);
	if (session->device >= 0)
		relay_internal_direct_deinit(session);
	free(session->interrupted);
	free(session);
	return err;
}
