/*
 * Commands that wait for their mount.  Each is a watcher of the mount, and looks
 * at it anew whenever it changes; one table says what each kind waits for, and
 * what the end of the mount or of the time means to it.
 *
 * A client that goes away takes its waiting commands along, nothing else: what
 * they began goes on.
 */
#include "ctl_pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl_cmds.h"
#include "mount.h"

/* A backend that was killed is gone, and relayd knows of it, within milliseconds. */
#define ATTACH_PATIENCE_MS 1000u

struct ctl_pending {
	struct ctl_pending *next;
	struct ctl_conn *conn;
	const struct kind *kind;
	struct relay_ctl_head head;
	struct mount *mount;
	struct mount_watcher watcher;
	struct loop_timer timer;
	uint32_t states; /* WAIT: mask, and the least incarnation */
	uint32_t incarnation;
	bool force;  /* UNMOUNT */
	unsigned upgrades; /* UPGRADE: those that were over before */
	int channel; /* ATTACH: owned until attached; -1 */
	enum way_via via;
};

struct kind {
	/* Looks whether it is time; answers then and returns true. */
	bool (*look)(struct ctl_pending *pending);
	int gone; /* the answer when the mount ends: 0 is success */
	int late; /* and when the time is over, where there is one */
	const char *late_reason;
};

static void pending_end(struct ctl_pending *pending)
{
	struct ctl_pending **at;

	for (at = &pending->conn->ctl->pending; *at != pending; at = &(*at)->next)
		;
	*at = pending->next;
	pending->conn->pending--;
	if (pending->mount)
		mount_unwatch(pending->mount, &pending->watcher);
	loop_timer_stop(&pending->timer);
	if (pending->channel >= 0)
		close(pending->channel);
	free(pending);
}

static void answer_status(struct ctl_pending *pending)
{
	ctl_reply_status(pending->conn, &pending->head, 0, pending->mount);
}

static void answer_error(struct ctl_pending *pending, int err, unsigned exit_status, const char *reason)
{
	ctl_reply_error(pending->conn, &pending->head, err, exit_status, *reason ? reason : strerror(-err));
}

static void answer_done(struct ctl_pending *pending)
{
	ctl_reply_begin(pending->conn, &pending->head, 0, 0);
	ctl_reply_send(pending->conn);
}

static bool look_wait(struct ctl_pending *pending)
{
	struct mount_status status;

	mount_status(pending->mount, &status);
	if (!(pending->states & (1u << status.state)) || status.incarnation < pending->incarnation)
		return false;
	answer_status(pending);
	return true;
}

/* The end of the mount is told otherwise.  What is detached by force may live for long. */
static bool look_unmount(struct ctl_pending *pending)
{
	struct mount_status status;

	mount_status(pending->mount, &status);
	if (status.unmount_error)
		answer_error(pending, status.unmount_error, 0, "");
	else if (status.detached && pending->force)
		answer_done(pending);
	else
		return false;
	return true;
}

static bool look_attach(struct ctl_pending *pending)
{
	int err = mount_attach(pending->mount, pending->channel, pending->conn->pid, pending->via);

	if (err == -EBUSY)
		return false;
	if (err) {
		answer_error(pending, err, 0, "");
	} else {
		pending->channel = -1;
		answer_status(pending);
	}
	return true;
}

static bool look_upgrade(struct ctl_pending *pending)
{
	struct mount_status status;

	mount_status(pending->mount, &status);
	if (status.upgrades == pending->upgrades)
		return false;
	if (status.upgrade_error)
		answer_error(pending, status.upgrade_error, 0, status.upgrade_why);
	else
		answer_status(pending);
	return true;
}

static const struct kind kind_wait = {
	.look = look_wait, .gone = -ENODEV, .late = -ETIMEDOUT, .late_reason = "not in that state in time"};
static const struct kind kind_mount = {.look = look_wait, .gone = -ENODEV};
static const struct kind kind_unmount = {.look = look_unmount, .gone = 0};
static const struct kind kind_upgrade = {.look = look_upgrade, .gone = -ENODEV};
static const struct kind kind_attach = {
	.look = look_attach, .gone = -ENODEV, .late = -EBUSY, .late_reason = "the mount has a living backend"};

static void on_late(struct loop_timer *timer)
{
	struct ctl_pending *pending = (struct ctl_pending *)((char *)timer - offsetof(struct ctl_pending, timer));

	answer_error(pending, pending->kind->late, 0, pending->kind->late_reason);
	pending_end(pending);
}

static void answer_gone(struct ctl_pending *pending, const struct mount *mount)
{
	struct mount_status status;

	if (!pending->kind->gone) {
		answer_done(pending);
		return;
	}
	mount_status(mount, &status);
	answer_error(pending, pending->kind->gone, status.exit_status,
		     *status.problem ? status.problem : "the mount has ended");
}

static void on_mount_change(struct mount_watcher *watcher, struct mount *mount, bool gone)
{
	struct ctl_pending *pending = (struct ctl_pending *)((char *)watcher - offsetof(struct ctl_pending, watcher));

	if (gone) {
		answer_gone(pending, mount);
		pending->mount = NULL;
		pending_end(pending);
	} else if (pending->kind->look(pending)) {
		pending_end(pending);
	}
}

/* Returns NULL with *err. */
static struct ctl_pending *pending_new(struct ctl_request *request, const struct kind *kind, struct mount *mount,
				       int *err)
{
	struct ctl_conn *conn = request->conn;
	struct ctl_pending *pending;

	*err = -ENOBUFS;
	if (conn->pending >= CTL_PENDING_PER_CONN)
		return NULL;
	*err = -ENOMEM;
	pending = calloc(1, sizeof(*pending));
	if (!pending)
		return NULL;
	pending->conn = conn;
	pending->kind = kind;
	pending->head = request->head;
	pending->mount = mount;
	pending->watcher.on_change = on_mount_change;
	pending->channel = -1;
	pending->next = conn->ctl->pending;
	conn->ctl->pending = pending;
	conn->pending++;
	mount_watch(mount, &pending->watcher);
	return pending;
}

int ctl_pending_wait(struct ctl_request *request, struct mount *mount, uint32_t states, uint32_t incarnation,
		     uint32_t timeout_ms)
{
	struct ctl_pending *pending;
	int err;

	pending = pending_new(request, &kind_wait, mount, &err);
	if (!pending)
		return err;
	pending->states = states;
	pending->incarnation = incarnation;
	if (look_wait(pending))
		pending_end(pending);
	else if (timeout_ms != RELAY_CTL_FOREVER)
		loop_timer_start(request->conn->ctl->loop, &pending->timer, timeout_ms, on_late);
	return 0;
}

int ctl_pending_mount(struct ctl_request *request, struct mount *mount)
{
	struct ctl_pending *pending;
	int err;

	pending = pending_new(request, &kind_mount, mount, &err);
	if (!pending)
		return err;
	pending->states = 1u << RELAY_CTL_SERVING;
	if (look_wait(pending))
		pending_end(pending);
	return 0;
}

int ctl_pending_unmount(struct ctl_request *request, struct mount *mount, bool force)
{
	struct ctl_pending *pending;
	int err;

	pending = pending_new(request, &kind_unmount, mount, &err);
	if (!pending)
		return err;
	pending->force = force;
	err = mount_unmount(mount, force);
	/* One that refuses, or that was detached before, tells nobody. */
	if (err || look_unmount(pending))
		pending_end(pending);
	return err;
}

int ctl_pending_upgrade(struct ctl_request *request, struct mount *mount, const char *backend, uint32_t timeout_ms)
{
	struct ctl_pending *pending;
	struct mount_status status;
	int err;

	pending = pending_new(request, &kind_upgrade, mount, &err);
	if (!pending)
		return err;
	mount_status(mount, &status);
	pending->upgrades = status.upgrades;
	err = mount_upgrade(mount, backend, timeout_ms, request->reason, sizeof(request->reason));
	if (err)
		pending_end(pending);
	return err;
}

int ctl_pending_attach(struct ctl_request *request, struct mount *mount, int channel, enum way_via via)
{
	struct ctl_pending *pending;
	int err;

	pending = pending_new(request, &kind_attach, mount, &err);
	if (!pending)
		return err;
	pending->channel = channel;
	pending->via = via;
	loop_timer_start(request->conn->ctl->loop, &pending->timer, ATTACH_PATIENCE_MS, on_late);
	return 0;
}

void ctl_pending_forget(struct ctl_conn *conn)
{
	struct ctl_pending *pending, *next;

	for (pending = conn->ctl->pending; pending; pending = next) {
		next = pending->next;
		if (pending->conn == conn)
			pending_end(pending);
	}
}

void ctl_pending_clear(struct ctl *ctl)
{
	while (ctl->pending)
		pending_end(ctl->pending);
}
