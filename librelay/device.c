/*
 * Reading /dev/fuse, and getting a thread out of it again.
 *
 * A thread may sleep in read() for ever, and has to come out when the session ends, when
 * relayd says PAUSE, or when it is to serve something else.  A signal gets it out, whose
 * handler leaves read() by siglongjmp(): so it does not matter whether it comes before the
 * system call, in it, or after it.  pthread_cancel() has the last of these windows too, and
 * ends the thread; a flag and EINTR have the first one.
 *
 * What the jump loses is read()'s result, but not the request: the kernel copies one whole
 * or not at all, and a slot in READING whose header has a unique holds one (relay/wire.h).
 * The caller looks there.  It is the same look that relayd takes when the process has died
 * at this point.
 *
 * The signal is SIGURG, or a real-time one, whichever the program has left alone; it is
 * given back when the last session has ended.  SA_RESTART: a handler of the backend's that
 * it meets, because the thread has just left read(), goes on with its system call.
 */
#include "internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One signal for all sessions of the process. */
static pthread_mutex_t kick_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned kick_users;
static int kick_signal;

/* Static memory of the thread's own: a handler must not be the first to touch another kind. */
static _Thread_local struct relay_thread *self __attribute__((tls_model("initial-exec")));

static void on_kick(int signal)
{
	(void)signal;
	if (!self || !atomic_load_explicit(&self->in_device, memory_order_relaxed))
		return;
	/* First: a second signal would begin another jump within this one (AddressSanitizer's takes a lock). */
	atomic_store_explicit(&self->in_device, false, memory_order_relaxed);
	siglongjmp(self->out_of_device, 1);
}

static bool signal_take(int signal)
{
	/* SA_NODEFER: who jumps out of a handler takes its mask along. */
	struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART | SA_NODEFER | SA_ONSTACK};
	struct sigaction old;

	sigemptyset(&action.sa_mask);
	return sigaction(signal, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL &&
	       sigaction(signal, &action, NULL) == 0;
}

static int signal_find(void)
{
	if (signal_take(SIGURG))
		return SIGURG;
	for (int signal = SIGRTMAX; signal >= SIGRTMIN; signal--) {
		if (signal_take(signal))
			return signal;
	}
	return 0;
}

int relay_internal_device_init(struct relay_session *session)
{
	pthread_mutex_lock(&kick_lock);
	if (!kick_users)
		kick_signal = signal_find();
	if (kick_signal)
		kick_users++;
	session->kick = kick_signal;
	pthread_mutex_unlock(&kick_lock);
	return session->kick ? 0 : -EBUSY;
}

void relay_internal_device_deinit(struct relay_session *session)
{
	struct sigaction now;

	if (!session->kick)
		return;
	pthread_mutex_lock(&kick_lock);
	/* No thread is kicked any more.  Unless the program has taken the signal meanwhile. */
	if (--kick_users == 0 && sigaction(kick_signal, NULL, &now) == 0 && now.sa_handler == on_kick)
		signal(kick_signal, SIG_DFL);
	session->kick = 0;
	pthread_mutex_unlock(&kick_lock);
}

void relay_internal_device_thread(struct relay_thread *thread)
{
	sigset_t set;

	self = thread;
	sigemptyset(&set);
	sigaddset(&set, thread->session->kick);
	/* A program that takes its signals on one thread has blocked them all on the others. */
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * syscall(), since read() of libc's is a point of cancellation, which would be left
 * half-way by a jump.  The device blocks; but it is relayd's too, which has it otherwise
 * at times.
 */
static ssize_t read_or_wait(int fd, void *buffer, size_t size)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	ssize_t n = syscall(SYS_read, fd, buffer, size);

	if (n < 0 && errno == EAGAIN) {
		syscall(SYS_ppoll, &poller, 1, NULL, NULL, 0);
		return -EAGAIN;
	}
	return n < 0 ? -errno : n;
}

ssize_t relay_internal_device_read(struct relay_thread *thread, void *buffer, size_t size)
{
	ssize_t n = -ECANCELED;

	/* on_kick() has said that it is out. */
	if (sigsetjmp(thread->out_of_device, 0))
		return -ECANCELED;
	/* Sequentially consistent, as the look at `turn` is: see relay_internal_device_kick(). */
	atomic_store(&thread->in_device, true);
	if (!relay_internal_readers_called(thread))
		n = read_or_wait(thread->session->device, buffer, size);
	atomic_store_explicit(&thread->in_device, false, memory_order_release);
	return n;
}

void relay_internal_device_wait(struct relay_thread *thread, _Atomic uint32_t *word, uint32_t value)
{
	if (sigsetjmp(thread->out_of_device, 0))
		return;
	atomic_store(&thread->in_device, true);
	if (!relay_internal_readers_called(thread))
		syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
	atomic_store_explicit(&thread->in_device, false, memory_order_release);
}

void relay_internal_device_kick(struct relay_thread *thread)
{
	if (!atomic_load(&thread->in_device))
		return;
	/* EAGAIN: the user's queue of signals is full.  It is emptied by those whose they are. */
	while (pthread_kill(thread->id, thread->session->kick) == EAGAIN)
		sched_yield();
}
