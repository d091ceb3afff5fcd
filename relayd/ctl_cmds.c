/*
 * The commands.  One table has everything that tells one from another: what its
 * frame must have, who may give it, and what it does.  Handlers get a request
 * that fits its row, and for a command about one mount the mount, with the right
 * to it checked.
 */
#include "cache.h"
#include "ctl_cmds.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl_attach.h"
#include "ctl_client.h"
#include "ctl_pending.h"
#include "ctl_run.h"
#include "daemon.h"
#include "fdstore.h"
#include "relay/opcodes.h"
#include "stats.h"

static_assert((int)RELAY_CTL_STOPPED == (int)SUPERVISOR_STOPPED, "state");
static_assert((int)RELAY_CTL_STARTING == (int)SUPERVISOR_STARTING, "state");
static_assert((int)RELAY_CTL_RESTORING == (int)SUPERVISOR_RESTORING, "state");
static_assert((int)RELAY_CTL_REDOING == (int)SUPERVISOR_REDOING, "state");
static_assert((int)RELAY_CTL_SERVING == (int)SUPERVISOR_SERVING, "state");
static_assert((int)RELAY_CTL_DRAINING == (int)SUPERVISOR_DRAINING, "state");
static_assert((int)RELAY_CTL_BACKOFF == (int)SUPERVISOR_BACKOFF, "state");
static_assert((int)RELAY_CTL_FAILED == (int)SUPERVISOR_FAILED, "state");
static_assert((int)RELAY_CTL_STATES == (int)SUPERVISOR_STATES, "states");
static_assert((int)RELAY_CTL_VIA_WANTED_AUTO == (int)WAY_WANTED_AUTO, "wanted");
static_assert((int)RELAY_CTL_VIA_WANTED_FD == (int)WAY_WANTED_FD, "wanted");
static_assert((int)RELAY_CTL_VIA_WANTED_FUSERMOUNT == (int)WAY_WANTED_FUSERMOUNT, "wanted");
static_assert((int)RELAY_CTL_VIA_WANTED_PRELOAD == (int)WAY_WANTED_PRELOAD, "wanted");
static_assert((int)RELAY_CTL_EXIT_SOCKET == (int)EXIT_SOCKET, "exit status");
static_assert(sizeof(struct relay_ctl_attach) <= CTL_WIDENED_MAX && sizeof(struct relay_ctl_run) <= CTL_WIDENED_MAX,
	      "widened");

/* Whose mount it is, or root: the others don't even see it. */
static bool may_see(const struct ctl_conn *conn, const struct mount *mount)
{
	struct mount_status status;

	mount_status(mount, &status);
	return conn->uid == 0 || conn->uid == status.uid;
}

void ctl_reply_status(struct ctl_conn *conn, const struct relay_ctl_head *head, uint32_t flags,
		      const struct mount *mount)
{
	struct relay_ctl_frame *frame = &conn->ctl->out;
	struct relay_ctl_status *out = ctl_reply_begin(conn, head, flags, sizeof(*out));
	struct mount_status status;

	mount_status(mount, &status);
	out->state = htole32(status.state);
	out->incarnation = htole32(status.incarnation);
	out->backend_pid = htole32((uint32_t)status.backend_pid);
	out->inflight = htole32(status.inflight);
	out->uid = htole32(status.uid);
	out->flags = htole32(status.ns == ctl_conn_ns(conn) ? 0 : RELAY_CTL_STATUS_ELSEWHERE);
	out->restarts = htole64(status.restarts);
	out->redone = htole64(status.redone);
	out->longest_pause_us = htole64(status.longest_pause_us);
	relay_internal_ctl_put(frame, &out->name, status.name);
	relay_internal_ctl_put(frame, &out->mountpoint, status.mountpoint);
	relay_internal_ctl_put(frame, &out->lane, status.lane);
	relay_internal_ctl_put(frame, &out->problem, status.problem);
	relay_internal_ctl_put(frame, &out->via, status.via);
	relay_internal_ctl_put(frame, &out->known, status.known);
	ctl_reply_send(conn);
}

static void reply_done(struct ctl_request *request)
{
	ctl_reply_begin(request->conn, &request->head, 0, 0);
	ctl_reply_send(request->conn);
}

/* The version is in the header too, where a version that changes this body would say it. */
static int do_hello(struct ctl_request *request)
{
	const struct relay_ctl_hello *hello = request->body;
	struct relay_ctl_hello_reply *out;

	if (le32toh(hello->version) != RELAY_CTL_VERSION) {
		snprintf(request->reason, sizeof(request->reason),
			 "a HELLO for version %u of the protocol; this relayd speaks version %u",
			 le32toh(hello->version), RELAY_CTL_VERSION);
		return -EPROTONOSUPPORT;
	}
	request->conn->hello = true;
	out = ctl_reply_begin(request->conn, &request->head, 0, sizeof(*out));
	out->version = htole32(RELAY_CTL_VERSION);
	out->pid = htole32((uint32_t)fdstore_main_pid());
	out->capabilities = htole64(RELAY_CTL_CAP_SOCKET_LANE);
	relay_internal_ctl_put(&request->conn->ctl->out, &out->software, PACKAGE_VERSION);
	ctl_reply_send(request->conn);
	return 0;
}

bool ctl_choices_check(struct ctl_request *request, const struct mount_config *config)
{
	const char *why = relay_internal_choices_check(&config->choices);

	if (!why)
		return true;
	snprintf(request->reason, sizeof(request->reason), "%s", why);
	request->exit_status = EXIT_USAGE;
	return false;
}

bool ctl_ns_check(struct ctl_request *request)
{
	if (!ctl_conn_ns(request->conn))
		return true;
	snprintf(request->reason, sizeof(request->reason),
		 "asked for from another mount namespace: this relayd starts backends in its own; "
		 "run one there, with a --socket of its own, or a filesystem that mounts by relay_mount()");
	request->exit_status = EXIT_MOUNTPOINT;
	return false;
}

static int do_mount(struct ctl_request *request)
{
	const struct relay_ctl_mount *body = request->body;
	const struct ctl_conn *conn = request->conn;
	struct mount_config config = {
		.name = request->strings[0],
		.mountpoint = request->strings[1],
		.options = request->strings[2],
		.backend = request->strings[3],
		.directory = request->strings[4],
		.uid = conn->uid,
		.gid = conn->gid,
		.via = (enum way_wanted)le32toh(body->via_wanted),
	};
	struct mount *mount;
	int err;

	RELAY_MOUNT_CHOICES_UNPACK(&config.choices, body);
	if (config.mountpoint[0] != '/') {
		snprintf(request->reason, sizeof(request->reason), "%s: not an absolute path", config.mountpoint);
		request->exit_status = EXIT_USAGE;
		return -EINVAL;
	}
	if (config.via >= WAY_WANTED_COUNT) {
		snprintf(request->reason, sizeof(request->reason), "a way in that this relayd does not know");
		request->exit_status = EXIT_USAGE;
		return -EINVAL;
	}
	if (!ctl_choices_check(request, &config))
		return -EINVAL;
	if (!ctl_ns_check(request))
		return -EXDEV;
	/* What it waits in is had before there is anything to wait for. */
	if (conn->pending >= CTL_PENDING_PER_CONN)
		return -ENOBUFS;
	err = daemon_mount_add(conn->ctl->daemon, &config, &mount, request->reason, sizeof(request->reason));
	if (err) {
		request->exit_status = daemon_exit_status(err);
		return err;
	}
	err = ctl_pending_mount(request, mount);
	if (err)
		mount_unmount(mount, true);
	return err;
}

static int do_status(struct ctl_request *request)
{
	struct ctl_conn *conn = request->conn;
	struct mount *mount = NULL;

	while ((mount = daemon_mount_next(conn->ctl->daemon, mount)) != NULL) {
		if (may_see(conn, mount))
			ctl_reply_status(conn, &request->head, RELAY_CTL_MORE, mount);
	}
	reply_done(request);
	return 0;
}

static void fill_row(struct relay_ctl_stats_row *row, uint32_t opcode, const struct relay_count *counted)
{
	const struct relay_op *op = relay_op_get(opcode);

	snprintf(row->name, sizeof(row->name), "%s", op ? op->name : "?");
	row->opcode = htole32(opcode);
	row->count = htole64(counted->count);
	row->errors = htole64(counted->errors);
	row->p50_us = htole64(stats_percentile(counted, 50));
	row->p90_us = htole64(stats_percentile(counted, 90));
	row->p99_us = htole64(stats_percentile(counted, 99));
	row->max_us = htole64(stats_percentile(counted, 100));
}

static void fill_known(struct relay_ctl_stats *out, const struct mount *mount)
{
	struct cache_counts counts;

	mount_known(mount, &counts);
	out->known_absent = htole64(counts.hits[KNOWN_COUNT_ABSENT]);
	out->known_complete = htole64(counts.hits[KNOWN_COUNT_COMPLETE]);
	out->known_xattr = htole64(counts.hits[KNOWN_COUNT_XATTR]);
	out->known_stale = htole64(counts.hits[KNOWN_COUNT_STALE]);
	out->known_passed = htole64(counts.hits[KNOWN_COUNT_FINAL]);
	out->known_directories = htole64(counts.directories);
	out->known_names_present = htole64(counts.present);
	out->known_names_absent = htole64(counts.absent);
	out->known_xattrs = htole64(counts.xattrs);
}

static int do_stats(struct ctl_request *request)
{
	const struct stats *stats = mount_stats(request->mount);
	struct relay_ctl_frame *frame = &request->conn->ctl->out;
	struct relay_ctl_stats *out = ctl_reply_begin(request->conn, &request->head, 0, sizeof(*out));
	struct relay_ctl_stats_row *row;
	struct relay_count counted;
	struct mount_status status;
	uint32_t opcode, rows = 0;

	out->restarts = htole64(stats->restarts);
	out->redone = htole64(stats->redone);
	out->resent = htole64(stats->resent);
	out->poisoned = htole64(stats->poisoned);
	out->abandoned = htole64(stats->abandoned);
	out->bad_replies = htole64(stats->bad_replies);
	out->longest_pause_us = htole64(stats->longest_pause_us);
	out->last_pause_us = htole64(stats->last_pause_us);
	out->answered = htole64(stats->answered);
	out->failed = htole64(stats->failed);
	fill_known(out, request->mount);
	out->row_size = htole32(sizeof(*row));
	out->rows_offset = htole32(frame->size);
	for (opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		mount_count(request->mount, opcode, &counted);
		if (!counted.count)
			continue;
		row = relay_internal_ctl_room(frame, sizeof(*row));
		if (!row)
			break;
		fill_row(row, opcode, &counted);
		rows++;
	}
	out->rows = htole32(rows);
	mount_status(request->mount, &status);
	relay_internal_ctl_put(frame, &out->name, status.name);
	relay_internal_ctl_put(frame, &out->mountpoint, status.mountpoint);
	ctl_reply_send(request->conn);
	return 0;
}

static int do_wait(struct ctl_request *request)
{
	const struct relay_ctl_wait *wait = request->body;

	return ctl_pending_wait(request, request->mount, le32toh(wait->states), le32toh(wait->incarnation),
				le32toh(wait->timeout_ms));
}

static int do_restart(struct ctl_request *request)
{
	int err = mount_restart(request->mount);

	if (err == -EINVAL)
		snprintf(request->reason, sizeof(request->reason),
			 "relayd has no command for this mount's backend, which comes by itself");
	if (err)
		return err;
	ctl_reply_status(request->conn, &request->head, 0, request->mount);
	return 0;
}

static int do_unmount(struct ctl_request *request)
{
	const struct relay_ctl_unmount *unmount = request->body;
	int err;

	err = ctl_pending_unmount(request, request->mount, le32toh(unmount->flags) & RELAY_CTL_UNMOUNT_FORCE);
	if (err == -EBUSY)
		snprintf(request->reason, sizeof(request->reason),
			 "files are open there (--force unmounts nevertheless)");
	return err;
}

static int do_upgrade(struct ctl_request *request)
{
	const struct relay_ctl_upgrade *upgrade = request->body;

	/* What it names is run as relayd's user. */
	if (request->conn->uid != geteuid()) {
		snprintf(request->reason, sizeof(request->reason), "this relayd starts backends for uid %u alone",
			 geteuid());
		return -EPERM;
	}
	return ctl_pending_upgrade(request, request->mount, request->strings[1], le32toh(upgrade->timeout_ms));
}

/* ---- the table ---------------------------------------------------------- */

/* clang-format off */
/* Where a string's place is told, in the frame. */
#define STRING(body, member, required_)                                                                                \
	{.at = sizeof(struct relay_ctl_header) + offsetof(struct body, member), .required = (required_)}

static const struct ctl_command commands[RELAY_CTL_TYPES] = {
	[RELAY_CTL_HELLO] = {
		.name = "HELLO",
		.fixed = sizeof(struct relay_ctl_hello),
		.rule = CTL_RULE_ANYONE,
		.handle = do_hello,
	},
	[RELAY_CTL_MOUNT] = {
		.name = "MOUNT",
		.fixed = sizeof(struct relay_ctl_mount),
		.fixed_min = RELAY_CTL_MOUNT_FIXED_MIN,
		.rule = CTL_RULE_DAEMON,
		.strings = {
			STRING(relay_ctl_mount, name, false),
			STRING(relay_ctl_mount, mountpoint, true),
			STRING(relay_ctl_mount, options, false),
			STRING(relay_ctl_mount, backend, true),
			STRING(relay_ctl_mount, directory, false),
		},
		.handle = do_mount,
	},
	[RELAY_CTL_ATTACH] = {
		.name = "ATTACH",
		.fixed = sizeof(struct relay_ctl_attach),
		.fixed_min = RELAY_CTL_ATTACH_FIXED_MIN,
		.rule = CTL_RULE_ANYONE,
		.strings = {
			STRING(relay_ctl_attach, source, false),
			STRING(relay_ctl_attach, target, true),
			STRING(relay_ctl_attach, type, true),
			STRING(relay_ctl_attach, data, true),
			STRING(relay_ctl_attach, token, false),
		},
		.handle = ctl_attach,
	},
	[RELAY_CTL_STATUS] = {
		.name = "STATUS",
		.fixed = 0,
		.rule = CTL_RULE_ANYONE,
		.handle = do_status,
	},
	[RELAY_CTL_STATS] = {
		.name = "STATS",
		.fixed = sizeof(struct relay_ctl_select),
		.rule = CTL_RULE_OWNER,
		.strings = {STRING(relay_ctl_select, mount, true)},
		.handle = do_stats,
	},
	[RELAY_CTL_WAIT] = {
		.name = "WAIT",
		.fixed = sizeof(struct relay_ctl_wait),
		.rule = CTL_RULE_OWNER,
		.strings = {STRING(relay_ctl_wait, mount, true)},
		.handle = do_wait,
	},
	[RELAY_CTL_RESTART] = {
		.name = "RESTART",
		.fixed = sizeof(struct relay_ctl_select),
		.rule = CTL_RULE_OWNER,
		.strings = {STRING(relay_ctl_select, mount, true)},
		.handle = do_restart,
	},
	[RELAY_CTL_UNMOUNT] = {
		.name = "UNMOUNT",
		.fixed = sizeof(struct relay_ctl_unmount),
		.rule = CTL_RULE_OWNER,
		.strings = {STRING(relay_ctl_unmount, mount, true)},
		.handle = do_unmount,
	},
	[RELAY_CTL_UPGRADE] = {
		.name = "UPGRADE",
		.fixed = sizeof(struct relay_ctl_upgrade),
		.rule = CTL_RULE_OWNER,
		.strings = {
			STRING(relay_ctl_upgrade, mount, true),
			STRING(relay_ctl_upgrade, backend, true),
		},
		.handle = do_upgrade,
	},
	[RELAY_CTL_RUN] = {
		.name = "RUN",
		.fixed = sizeof(struct relay_ctl_run),
		.fixed_min = RELAY_CTL_RUN_FIXED_MIN,
		.rule = CTL_RULE_DAEMON,
		.strings = {
			STRING(relay_ctl_run, name, false),
			STRING(relay_ctl_run, options, false),
		},
		.handle = ctl_run,
	},
};
/* clang-format on */

const struct ctl_command *ctl_command_get(uint16_t type)
{
	if (type >= RELAY_CTL_TYPES || !commands[type].name)
		return NULL;
	return &commands[type];
}

/* Returns 0 with request->mount where the command is about one, or a negative errno. */
static int check_rule(struct ctl_request *request)
{
	struct ctl_conn *conn = request->conn;

	switch (request->command->rule) {
	case CTL_RULE_ANYONE:
		return 0;
	case CTL_RULE_DAEMON:
		if (conn->uid == geteuid())
			return 0;
		snprintf(request->reason, sizeof(request->reason),
			 "this relayd starts backends for uid %u alone: run one of your own", geteuid());
		return -EPERM;
	case CTL_RULE_OWNER:
		request->mount = daemon_mount_find(conn->ctl->daemon, request->strings[0], ctl_conn_ns(conn));
		if (!request->mount) {
			snprintf(request->reason, sizeof(request->reason), "%s: no such mount", request->strings[0]);
			return -ENOENT;
		}
		if (may_see(conn, request->mount))
			return 0;
		snprintf(request->reason, sizeof(request->reason), "%s: not a mount of yours", request->strings[0]);
		return -EPERM;
	}
	return -EPERM;
}

int ctl_command_run(struct ctl_request *request, const char **why)
{
	struct ctl_conn *conn = request->conn;
	int err;

	err = check_rule(request);
	if (!err)
		err = request->command->handle(request);
	if (err == -ENOBUFS && !*request->reason)
		snprintf(request->reason, sizeof(request->reason),
			 "%u commands of this connection wait already, the most of one", conn->pending);
	if (err && !*request->reason)
		snprintf(request->reason, sizeof(request->reason), "%s", strerror(-err));
	if (err == -EPERM)
		ctl_complain(conn, "was refused %s: %s", request->command->name, request->reason);
	/* A client of another version cannot be talked to any further. */
	if (err == -EPROTONOSUPPORT && !conn->hello) {
		*why = request->reason;
		return err;
	}
	if (err)
		ctl_reply_error(conn, &request->head, err, request->exit_status, request->reason);
	return 0;
}
