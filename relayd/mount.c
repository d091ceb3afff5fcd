/*
 * A mount, and its end.
 *
 * It ends in this order: the kernel's side goes (umount, by us or by anybody),
 * the carrier finds that out, the supervisor ends the backend, and when the
 * process is gone the threads are joined and everything is released.  Unmounting
 * may need answers from the backend, so it has a thread of its own.
 */
#include "mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mount_parts.h"
#include "stats.h"

void mount_tell(struct mount *mount, bool gone)
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

/* No request will come any more. */
static void kernel_leave(struct mount *mount)
{
	mount->kernel_gone = true;
	supervisor_event(&mount->supervisor, SUPERVISOR_STOP);
}

static int unmount_begin(struct mount *mount, enum session_unmount how)
{
	int err;

	if (mount->unmounting || mount->kernel_gone)
		return 0;
	/* Its backend has not come to mount: there is nothing of ours at that place. */
	if (!mount->open) {
		kernel_leave(mount);
		return 0;
	}
	mount->how = how;
	atomic_store(&mount->unmounted, false);
	err = pthread_create(&mount->unmounter, NULL, unmount_run, mount);
	if (err)
		return -err;
	mount->unmounting = true;
	return 0;
}

static void unmount_finish(struct mount *mount)
{
	pthread_join(mount->unmounter, NULL);
	mount->unmounting = false;
	/* The carrier may not be told by the kernel: mount_free() tells it. */
	if (mount->how == SESSION_UNMOUNT_ABORT && !mount->kernel_gone)
		kernel_leave(mount);
	if (mount->kernel_gone)
		return;
	if (mount->unmount_result == 0) {
		mount->detached = true;
		mount_record(mount);
	} else if (mount->ending) {
		log_warning("%s: %s; what is open there fails from now on", mount->name,
			    mount->unmount_result == -EBUSY ? "in use" : strerror(-mount->unmount_result));
		unmount_begin(mount, SESSION_UNMOUNT_ABORT);
	} else {
		log_error("%s: cannot unmount %s: %s", mount->name, mount->mountpoint,
			  strerror(-mount->unmount_result));
	}
	mount_tell(mount, false);
}

/* Everything of it has ended. */
static void on_end(struct loop_timer *timer)
{
	struct mount *mount = (struct mount *)((char *)timer - offsetof(struct mount, end));

	if (mount->open)
		log_info("%s: unmounted from %s", mount->name, mount->mountpoint);
	else
		log_info("%s: ended before it was mounted", mount->name);
	mount_tell(mount, true);
	mount->on_gone(mount, mount->arg);
}

void mount_on_supervisor_change(struct supervisor *supervisor)
{
	struct mount *mount = (struct mount *)((char *)supervisor - offsetof(struct mount, supervisor));

	/* What cannot be started again is kept for as long as it is not up, so that its failure is one. */
	if (supervisor->state == SUPERVISOR_SERVING && mount->once)
		mount_forget_command(mount);
	mount_tell(mount, false);
	if (supervisor->left && !mount->ending) {
		log_info("%s: its program has ended in order", mount->name);
		mount_end(mount);
	}
	if (supervisor->state == SUPERVISOR_FAILED && mount->told) {
		mount->ending = true;
		unmount_begin(mount, SESSION_UNMOUNT_ABORT);
	}
	/* Not from here: the supervisor is in the midst of an event. */
	if (supervisor->state == SUPERVISOR_STOPPED && supervisor->stopping && mount->kernel_gone)
		loop_timer_start(mount->loop, &mount->end, 0, on_end);
}

void mount_on_wake(struct loop_wake *wake)
{
	struct mount *mount = (struct mount *)((char *)wake - offsetof(struct mount, wake));
	unsigned events = dispatch_events_take(&mount->dispatch);

	/* First: a backend that unmounts by itself has every reason to close its channel. */
	if (events & DISPATCH_KERNEL_INIT)
		mount_record(mount);
	if (events & DISPATCH_KERNEL_GONE) {
		/* A connection that was aborted (fusectl) leaves a mount that is good for nothing. */
		if (mount->session.aborted && !mount->unmounting && session_mounted(&mount->session))
			session_unmount(&mount->session, SESSION_UNMOUNT_LAZY);
		kernel_leave(mount);
	}
	if (events & DISPATCH_DISTRUST)
		cache_distrust(&mount->cache);
	supervisor_dispatched(&mount->supervisor, events);
	if (mount->unmounting && atomic_load(&mount->unmounted))
		unmount_finish(mount);
}

void mount_free(struct mount *mount)
{
	if (mount->session.mounted && !mount->kernel_gone && !mount->unmounting)
		session_unmount(&mount->session, SESSION_UNMOUNT_ABORT);
	loop_timer_stop(&mount->end);
	loop_timer_stop(&mount->supervisor.timer);
	loop_timer_stop(&mount->supervisor.sweep);
	loop_timer_stop(&mount->supervisor.down);
	if (mount->has_dispatch)
		dispatch_deinit(&mount->dispatch);
	/* The keeper of its rings has /dev/fuse open too. */
	rings_end(&mount->rings);
	if (mount->cache.options.trust != RELAY_CTL_TRUST_NONE)
		mount_drop_maps(mount->id);
	cache_close(&mount->cache);
	/* An unmount that waits for the backend's answers ends with this, when relayd's keeper has let go too. */
	mount_drop(mount->id);
	session_device_close(&mount->session);
	if (mount->unmounting)
		pthread_join(mount->unmounter, NULL);
	if (mount->leftover && session_mounted(&mount->session))
		session_unmount(&mount->session, SESSION_UNMOUNT_LAZY);
	loop_wake_stop(&mount->wake);
	session_close(&mount->session);
	journal_deinit(&mount->journal);
	if (mount->has_output)
		output_deinit(&mount->output);
	launch_command_deinit(&mount->command);
	way_deinit(&mount->way);
	free(mount->environment);
	free(mount->options);
	free(mount->asked);
	record_deinit(&mount->record);
	free(mount->directory);
	free(mount->mountpoint);
	free(mount->named_first);
	free(mount->name);
	free(mount);
}

int mount_attach(struct mount *mount, int channel, pid_t pid, enum way_via via)
{
	return supervisor_attach(&mount->supervisor, channel, pid, via);
}

void mount_orphaned(struct mount *mount)
{
	supervisor_orphaned(&mount->supervisor);
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

/* What is tried, as long as no backend has agreed on INIT. */
static const char *lane_name(const struct mount *mount)
{
	const struct session *session = &mount->session;

	if (!mount->dispatch.direct.wanted || (session->agreed && !session->native))
		return "socket";
	return (session->agreed ? session->rings : rings_are(&mount->rings)) ? "uring" : "direct";
}

void mount_status(const struct mount *mount, struct mount_status *out)
{
	const struct supervisor *s = &mount->supervisor;

	*out = (struct mount_status){
		.name = mount->name,
		.mountpoint = mount->mountpoint ? mount->mountpoint : "",
		.state = s->state,
		.lane = lane_name(mount),
		.incarnation = s->incarnation,
		.backend_pid = s->backend.pid,
		.via = s->backend.answered ? way_via_name(s->via) : "",
		.known = mount->cache.text,
		.inflight = dispatch_inflight(&mount->dispatch),
		.uid = mount->uid,
		.ns = mount->ns,
		.restarts = atomic_load_explicit(&mount->stats->restarts, memory_order_relaxed),
		.redone = atomic_load_explicit(&mount->stats->redone, memory_order_relaxed),
		.longest_pause_us = atomic_load_explicit(&mount->stats->longest_pause_us, memory_order_relaxed),
		.problem = s->problem,
		.exit_status = s->exit_status,
		.detached = mount->detached,
		.unmount_error = mount->unmounting || mount->kernel_gone ? 0 : mount->unmount_result,
		.upgrades = mount->upgrades,
		.upgrade_error = mount->upgrade_error,
		.upgrade_why = mount->upgrade_why,
	};
}

const struct stats *mount_stats(const struct mount *mount)
{
	return mount->stats;
}

void mount_count(const struct mount *mount, uint32_t opcode, struct relay_count *out)
{
	stats_sum(out, &mount->stats->opcodes[opcode], &mount->journal.map.journal->counts[opcode]);
}

void mount_known(const struct mount *mount, struct cache_counts *counts)
{
	cache_counts(&mount->cache, counts);
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
