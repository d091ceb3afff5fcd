/*
 * A mount, and its end.
 *
 * It ends in this order: the kernel's side goes (umount, by us or by anybody),
 * the reader finds that out, the supervisor ends the backend, and when the
 * process is gone the threads are joined and everything is released.  Unmounting
 * may need answers from the backend, so it has a thread of its own.
 */
#include "mount.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "dispatch.h"
#include "journal.h"
#include "launch.h"
#include "log.h"
#include "loop.h"
#include "session.h"
#include "stats.h"
#include "supervisor.h"

/* Slots of the journal: what the kernel has in flight at a time, and waiters for locks. */
#define SLOTS_LARGE 64u
#define SLOTS_SMALL 512u
/* How long a backend may take to answer INIT, and to end when it is asked to. */
#define INIT_DEADLINE_MS 10000u
#define END_DEADLINE_MS 2000u
/* Incarnations that a request may kill. */
#define LIVES_DEFAULT 3u

/* A walk over the watchers, which may go while it is told of a change, and begin another. */
struct walk {
	struct walk *outer;
	struct mount_watcher *next;
};

struct mount {
	struct loop *loop;
	char *name;
	char *mountpoint;
	char *directory;
	uid_t uid;
	struct launch_command command;
	bool has_command;

	struct journal journal;
	struct session session;
	struct dispatch dispatch;
	struct output output;
	struct supervisor supervisor;
	struct stats *stats;
	struct loop_wake wake;
	bool built; /* dispatch and what follows are there */
	bool told;  /* its maker knows of it, and is told of its end by on_gone() */
	bool kernel_gone;

	pthread_t unmounter;
	bool unmounting; /* the thread runs, or has run and is not joined */
	enum session_unmount how;
	_Atomic bool unmounted; /* the thread is done */
	int unmount_result;
	bool detached; /* its place is free: it ends when the last file there is closed */
	bool ending;   /* it is to end whatever it takes */
	bool leftover; /* when it has ended its place may have to be freed */

	struct loop_timer end;
	struct mount_watcher *watchers;
	struct walk *walks;
	void (*on_gone)(struct mount *mount, void *arg);
	void *arg;
};

static void tell_watchers(struct mount *mount, bool gone)
{
	struct walk walk = {.outer = mount->walks, .next = mount->watchers};
	struct mount_watcher *watcher;

	mount->walks = &walk;
	while ((watcher = walk.next) != NULL) {
		walk.next = watcher->next;
		if (gone)
			mount_unwatch(mount, watcher);
		watcher->on_change(watcher, mount, gone);
	}
	mount->walks = walk.outer;
}

static void *unmount_run(void *arg)
{
	struct mount *mount = arg;

	/* Once detached, what is mounted at that path is not ours any more. */
	mount->unmount_result = mount->detached ? 0 : session_unmount(&mount->session, mount->how);
	atomic_store(&mount->unmounted, true);
	loop_wake_send(&mount->wake);
	return NULL;
}

static int unmount_begin(struct mount *mount, enum session_unmount how)
{
	int err;

	if (mount->unmounting || mount->kernel_gone)
		return 0;
	mount->how = how;
	atomic_store(&mount->unmounted, false);
	err = pthread_create(&mount->unmounter, NULL, unmount_run, mount);
	if (err)
		return -err;
	mount->unmounting = true;
	return 0;
}

/* No request will come any more. */
static void kernel_leave(struct mount *mount)
{
	mount->kernel_gone = true;
	supervisor_event(&mount->supervisor, SUPERVISOR_STOP);
}

static void unmount_finish(struct mount *mount)
{
	pthread_join(mount->unmounter, NULL);
	mount->unmounting = false;
	/* The reader may not be told by the kernel: mount_free() tells it. */
	if (mount->how == SESSION_UNMOUNT_ABORT && !mount->kernel_gone)
		kernel_leave(mount);
	if (mount->kernel_gone)
		return;
	if (mount->unmount_result == 0) {
		mount->detached = true;
	} else if (mount->ending) {
		log_warning("%s: %s; what is open there fails from now on", mount->name,
			    mount->unmount_result == -EBUSY ? "in use" : strerror(-mount->unmount_result));
		unmount_begin(mount, SESSION_UNMOUNT_ABORT);
	} else {
		log_error("%s: cannot unmount %s: %s", mount->name, mount->mountpoint,
			  strerror(-mount->unmount_result));
	}
	tell_watchers(mount, false);
}

/* Everything of it has ended. */
static void on_end(struct loop_timer *timer)
{
	struct mount *mount = (struct mount *)((char *)timer - offsetof(struct mount, end));

	log_info("%s: unmounted from %s", mount->name, mount->mountpoint);
	tell_watchers(mount, true);
	mount->on_gone(mount, mount->arg);
}

static void on_supervisor_change(struct supervisor *supervisor)
{
	struct mount *mount = (struct mount *)((char *)supervisor - offsetof(struct mount, supervisor));

	tell_watchers(mount, false);
	if (supervisor->state == SUPERVISOR_FAILED && mount->told) {
		mount->ending = true;
		unmount_begin(mount, SESSION_UNMOUNT_ABORT);
	}
	/* Not from here: the supervisor is in the midst of an event. */
	if (supervisor->state == SUPERVISOR_STOPPED && supervisor->stopping && mount->kernel_gone)
		loop_timer_start(mount->loop, &mount->end, 0, on_end);
}

static void on_wake(struct loop_wake *wake)
{
	struct mount *mount = (struct mount *)((char *)wake - offsetof(struct mount, wake));
	unsigned events = dispatch_events_take(&mount->dispatch);

	/* First: a backend that unmounts by itself has every reason to close its channel. */
	if (events & DISPATCH_KERNEL_GONE) {
		/* A connection that was aborted (fusectl) leaves a mount that is good for nothing. */
		if (mount->session.aborted && !mount->unmounting && session_mounted(&mount->session))
			session_unmount(&mount->session, SESSION_UNMOUNT_LAZY);
		kernel_leave(mount);
	}
	supervisor_dispatched(&mount->supervisor, events);
	if (mount->unmounting && atomic_load(&mount->unmounted))
		unmount_finish(mount);
}

/* The program's name: what /proc/mounts shows as fuse.NAME. */
static const char *subtype_of(const struct launch_command *command)
{
	const char *slash = strrchr(command->argv[0], '/');

	return slash ? slash + 1 : command->argv[0];
}

static int strings_copy(struct mount *mount, const struct mount_config *config)
{
	mount->name = strdup(config->name ? config->name : config->mountpoint);
	mount->mountpoint = strdup(config->mountpoint);
	mount->directory = strdup(config->directory ? config->directory : "/");
	mount->stats = calloc(1, sizeof(*mount->stats));
	return mount->name && mount->mountpoint && mount->directory && mount->stats ? 0 : -ENOMEM;
}

static int kernel_side_build(struct mount *mount, const struct mount_config *config, char *why, size_t why_size)
{
	const struct session_config session = {
		.mountpoint = config->mountpoint,
		.options = config->options,
		.fsname = mount->name,
		.subtype = mount->has_command ? subtype_of(&mount->command) : "relayd",
		.uid = config->uid,
		.gid = config->gid,
	};
	int err;

	err = session_open(&mount->session, &session, why, why_size);
	if (err)
		return err;
	/* As /proc/mounts shows it. */
	free(mount->mountpoint);
	mount->mountpoint = strdup(mount->session.mountpoint);
	if (!mount->mountpoint)
		return -ENOMEM;
	err = journal_init(&mount->journal, SLOTS_LARGE, SLOTS_SMALL);
	if (err) {
		snprintf(why, why_size, "no memory for the journal (%llu KiB): %s",
			 (unsigned long long)relay_journal_size(SLOTS_LARGE, SLOTS_SMALL) / 1024, strerror(-err));
		return -ENOMEM;
	}
	err = dispatch_init(&mount->dispatch, mount->name, &mount->journal, &mount->session, mount->stats,
			    &mount->wake);
	mount->dispatch.shared_store = config->shared_store;
	return err;
}

static void supervisor_build(struct mount *mount, const struct mount_config *config)
{
	mount->supervisor = (struct supervisor){
		.name = mount->name,
		.loop = mount->loop,
		.dispatch = &mount->dispatch,
		.session = &mount->session,
		.stats = mount->stats,
		.command = mount->has_command ? &mount->command : NULL,
		.directory = mount->directory,
		.output = &mount->output,
		.lives = config->lives ? config->lives : LIVES_DEFAULT,
		.init_ms = INIT_DEADLINE_MS,
		.end_ms = END_DEADLINE_MS,
		.state = SUPERVISOR_STOPPED,
		.pidfd = -1,
		.channel = -1,
		.on_change = on_supervisor_change,
	};
}

int mount_new(struct mount **out, struct loop *loop, const struct mount_config *config,
	      void (*on_gone)(struct mount *mount, void *arg), void *arg, char *why, size_t why_size)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	int err;

	if (!mount) {
		snprintf(why, why_size, "no memory for the mount");
		return -ENOMEM;
	}
	mount->loop = loop;
	mount->uid = config->uid;
	mount->on_gone = on_gone;
	mount->arg = arg;
	mount->journal.fd = mount->session.fd = -1;
	snprintf(why, why_size, "no memory for the mount");
	err = strings_copy(mount, config);
	if (!err && config->backend) {
		err = launch_command_init(&mount->command, config->backend, why, why_size);
		mount->has_command = !err;
	}
	if (!err)
		err = kernel_side_build(mount, config, why, why_size);
	if (!err)
		err = output_init(&mount->output, loop, mount->name);
	if (err) {
		mount_free(mount);
		return err;
	}
	supervisor_build(mount, config);
	loop_wake_start(loop, &mount->wake, on_wake);
	mount->built = true;
	err = dispatch_start(&mount->dispatch);
	if (err)
		snprintf(why, why_size, "cannot start the threads of a mount: %s", strerror(-err));
	else if (mount->has_command) {
		err = supervisor_launch(&mount->supervisor);
		if (err)
			snprintf(why, why_size, "%s", mount->supervisor.problem);
	}
	mount->told = true;
	if (err) {
		mount_free(mount);
		return err;
	}
	*out = mount;
	return 0;
}

void mount_free(struct mount *mount)
{
	if (mount->session.mounted && !mount->kernel_gone && !mount->unmounting)
		session_unmount(&mount->session, SESSION_UNMOUNT_ABORT);
	if (mount->built) {
		loop_timer_stop(&mount->end);
		loop_timer_stop(&mount->supervisor.timer);
		loop_timer_stop(&mount->supervisor.sweep);
		dispatch_deinit(&mount->dispatch);
	}
	/* An unmount that waits for the backend's answers ends with this. */
	session_device_close(&mount->session);
	if (mount->unmounting)
		pthread_join(mount->unmounter, NULL);
	if (mount->leftover && session_mounted(&mount->session))
		session_unmount(&mount->session, SESSION_UNMOUNT_LAZY);
	loop_wake_stop(&mount->wake);
	session_close(&mount->session);
	journal_deinit(&mount->journal);
	launch_command_deinit(&mount->command);
	free(mount->stats);
	free(mount->directory);
	free(mount->mountpoint);
	free(mount->name);
	free(mount);
}

int mount_attach(struct mount *mount, int channel, pid_t pid)
{
	return supervisor_attach(&mount->supervisor, channel, pid);
}

int mount_restart(struct mount *mount)
{
	if (!mount->has_command && mount->supervisor.channel < 0)
		return -EINVAL;
	supervisor_event(&mount->supervisor, SUPERVISOR_RESTART);
	return 0;
}

int mount_unmount(struct mount *mount, bool force)
{
	if (mount->detached)
		return force ? 0 : -EBUSY;
	if (mount->unmounting || mount->kernel_gone)
		return 0;
	return unmount_begin(mount, force ? SESSION_UNMOUNT_LAZY : SESSION_UNMOUNT);
}

/* What is open fails, and so does what an unmount that has begun waits for. */
static int mount_abort(struct mount *mount)
{
	if (!mount->unmounting)
		return unmount_begin(mount, SESSION_UNMOUNT_ABORT);
	/* It waits for answers that may never come.  mount_free() closes /dev/fuse under it. */
	mount->leftover = true;
	if (!mount->kernel_gone)
		kernel_leave(mount);
	return 0;
}

int mount_end(struct mount *mount)
{
	int err = 0;

	if (mount->ending || mount->detached)
		return mount_abort(mount);
	mount->ending = true;
	if (!mount->unmounting)
		err = unmount_begin(mount, SESSION_UNMOUNT);
	return err;
}

void mount_status(const struct mount *mount, struct mount_status *out)
{
	const struct supervisor *s = &mount->supervisor;

	*out = (struct mount_status){
		.name = mount->name,
		.mountpoint = mount->mountpoint,
		.state = s->state,
		.lane = "socket",
		.incarnation = s->incarnation,
		.backend_pid = s->pid,
		.inflight = dispatch_inflight(&mount->dispatch),
		.uid = mount->uid,
		.restarts = atomic_load_explicit(&mount->stats->restarts, memory_order_relaxed),
		.redone = atomic_load_explicit(&mount->stats->redone, memory_order_relaxed),
		.longest_pause_us = atomic_load_explicit(&mount->stats->longest_pause_us, memory_order_relaxed),
		.problem = s->problem,
		.exit_status = s->exit_status,
		.detached = mount->detached,
		.unmount_error = mount->unmounting || mount->kernel_gone ? 0 : mount->unmount_result,
	};
}

const struct stats *mount_stats(const struct mount *mount)
{
	return mount->stats;
}

void mount_watch(struct mount *mount, struct mount_watcher *watcher)
{
	watcher->next = mount->watchers;
	mount->watchers = watcher;
}

void mount_unwatch(struct mount *mount, struct mount_watcher *watcher)
{
	struct mount_watcher **at;

	for (struct walk *walk = mount->walks; walk; walk = walk->outer)
		if (walk->next == watcher)
			walk->next = watcher->next;
	for (at = &mount->watchers; *at; at = &(*at)->next) {
		if (*at == watcher) {
			*at = watcher->next;
			return;
		}
	}
}
