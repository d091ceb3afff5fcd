/*
 * The reaper.  A zombie is looked at before it is taken: one that has an owner is the
 * owner's, and as the kernel shows it again and again until it was taken, those behind
 * it are looked for when its owner has let it go.
 */
#include "children.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "log.h"
#include "loop.h"

static struct {
	pthread_mutex_t lock;
	struct child *kept;
	unsigned holds;
	bool looked_away; /* there may be some that were not looked at */

	bool started;
	struct loop_signal signal;
	struct loop_wake wake;
	void (*on_orphan)(void *arg);
	void *arg;
} children = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_kept(pid_t pid)
{
	for (const struct child *child = children.kept; child; child = child->next)
		if (child->pid == pid)
			return true;
	return false;
}

/* Returns how many there were. */
static unsigned reap(void)
{
	unsigned count = 0;

	pthread_mutex_lock(&children.lock);
	children.looked_away = false;
	for (;;) {
		siginfo_t info = {0};

		if (children.holds) {
			children.looked_away = true;
			break;
		}
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			break;
		if (is_kept(info.si_pid)) {
			children.looked_away = true;
			break;
		}
		if (waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG) == 0)
			log_debug("process %d, which a backend has left behind, has ended", (int)info.si_pid);
		count++;
	}
	pthread_mutex_unlock(&children.lock);
	return count;
}

static void reap_all(void)
{
	if (reap() > 0 && children.on_orphan)
		children.on_orphan(children.arg);
}

static void on_signal(struct loop_signal *signal, int number)
{
	(void)signal;
	(void)number;
	reap_all();
}

static void on_wake(struct loop_wake *wake)
{
	(void)wake;
	reap_all();
}

int children_start(struct loop *loop, void (*on_orphan)(void *arg), void *arg)
{
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	children.on_orphan = on_orphan;
	children.arg = arg;
	loop_wake_start(loop, &children.wake, on_wake);
	loop_signal_start(loop, &children.signal, SIGCHLD, on_signal);
	children.started = true;
	return 0;
}

void children_stop(void)
{
	if (!children.started)
		return;
	children.started = false;
	loop_signal_stop(&children.signal);
	loop_wake_stop(&children.wake);
}

void children_keep(struct child *child, pid_t pid)
{
	pthread_mutex_lock(&children.lock);
	child->pid = pid;
	child->next = children.kept;
	children.kept = child;
	pthread_mutex_unlock(&children.lock);
}

/* With the lock held, after one reason to look away has gone. */
static void look_again(void)
{
	if (children.looked_away && !children.holds && children.started)
		loop_wake_send(&children.wake);
}

void children_release(struct child *child)
{
	pthread_mutex_lock(&children.lock);
	for (struct child **at = &children.kept; *at; at = &(*at)->next) {
		if (*at == child) {
			*at = child->next;
			child->pid = 0;
			look_again();
			break;
		}
	}
	pthread_mutex_unlock(&children.lock);
}

void children_hold(void)
{
	pthread_mutex_lock(&children.lock);
	children.holds++;
	pthread_mutex_unlock(&children.lock);
}

void children_go_on(void)
{
	pthread_mutex_lock(&children.lock);
	children.holds--;
	look_again();
	pthread_mutex_unlock(&children.lock);
}
