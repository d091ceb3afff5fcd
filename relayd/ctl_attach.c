/*
 * relay_mount() comes in here: a program brings the other end of its channel, and
 * wants a new mount for it, or its old one back; or it was started by relayd, says so
 * with the token that it was given, and is awaited.
 *
 * Anybody may: for another user root's relayd goes by fusermount3's rules
 * (ctl_access.h), with nosuid and nodev.  A mount belongs to who made it, and
 * nobody but he and root gets in as its next incarnation.
 */
#include "ctl_attach.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_access.h"
#include "ctl_cmds.h"
#include "ctl_pending.h"
#include "daemon.h"
#include "log.h"
#include "place.h"

#define FUSE_CONF "/etc/fuse.conf"

/* Mounts of another user: each has a journal in memory that is locked, and threads. */
#define USER_MOUNTS_MAX 32u

static_assert((int)RELAY_CTL_VIA_LIBRARY == (int)WAY_VIA_LIBRARY, "via");
static_assert((int)RELAY_CTL_VIA_FD == (int)WAY_VIA_FD, "via");
static_assert((int)RELAY_CTL_VIA_FUSERMOUNT == (int)WAY_VIA_FUSERMOUNT, "via");
static_assert((int)RELAY_CTL_VIA_PRELOAD == (int)WAY_VIA_PRELOAD, "via");

/* Flags of mount(2) that have a word; suid and dev are the absence of one. */
static const struct flag_word {
	unsigned long flag;
	const char *word;
} flag_words[] = {
	{MS_RDONLY, "ro"},
	{MS_NOSUID, "nosuid"},
	{MS_NODEV, "nodev"},
	{MS_NOEXEC, "noexec"},
	{MS_SYNCHRONOUS, "sync"},
	{MS_DIRSYNC, "dirsync"},
	{MS_NOATIME, "noatime"},
	{MS_NODIRATIME, "nodiratime"},
	{MS_RELATIME, "relatime"},
	{MS_STRICTATIME, "strictatime"},
	{MS_NOSYMFOLLOW, "nosymfollow"},
	{MS_SILENT, NULL},
};

/* Which of the kernel's options data had. */
enum seen {
	SEEN_FD = 1 << 0,
	SEEN_ROOTMODE = 1 << 1,
	SEEN_USER_ID = 1 << 2,
	SEEN_GROUP_ID = 1 << 3,
	SEEN_ALL = (1 << 4) - 1,
};

/* If the option is `name` and a number of this base: takes it, and returns true. */
static bool take_number(const char *option, const char *name, int base, unsigned long *value)
{
	size_t n = strlen(name);
	char *end;

	if (strncmp(option, name, n) != 0 || option[n] < '0' || option[n] > '9')
		return false;
	errno = 0;
	*value = strtoul(option + n, &end, base);
	return !errno && *end == '\0' && *value <= 0xffffffffUL;
}

/* Returns 1 for an option that goes on to mount_new(), 0 for one that was dealt with, or a negative errno. */
static int data_option(const struct ctl_attach_args *args, const char *option, unsigned *seen, gid_t *gid, char *why,
		       size_t why_size)
{
	unsigned long value;

	if (strcmp(option, "default_permissions") == 0 || strcmp(option, "allow_other") == 0 ||
	    take_number(option, "max_read=", 10, &value))
		return 1;
	if (take_number(option, "fd=", 10, &value)) {
		*seen |= SEEN_FD;
		return 0;
	}
	if (take_number(option, "rootmode=", 8, &value) && S_ISDIR(value)) {
		*seen |= SEEN_ROOTMODE;
		return 0;
	}
	/* Whose mount it is follows from who asks: nobody gets a mount made in another's name. */
	if (take_number(option, "user_id=", 10, &value)) {
		*seen |= SEEN_USER_ID;
		if (value == args->uid)
			return 0;
	} else if (take_number(option, "group_id=", 10, &value)) {
		*seen |= SEEN_GROUP_ID;
		*gid = (gid_t)value;
		if (value == args->gid || args->uid == 0)
			return 0;
	} else {
		snprintf(why, why_size, "relay_mount: option '%s' is not known", option);
		return -EINVAL;
	}
	snprintf(why, why_size, "relay_mount: %s is not the caller's", option);
	return -EPERM;
}

static int data_options(const struct ctl_attach_args *args, FILE *out, gid_t *gid, char *why, size_t why_size)
{
	char *copy = strdup(args->data);
	char *rest = copy, *option;
	unsigned seen = 0;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	while (err >= 0 && (option = strsep(&rest, ",")) != NULL) {
		err = *option ? data_option(args, option, &seen, gid, why, why_size) : 0;
		if (err > 0)
			fprintf(out, "%s,", option);
	}
	free(copy);
	if (err >= 0 && seen != SEEN_ALL) {
		snprintf(why, why_size, "relay_mount: data needs fd=, rootmode=, user_id= and group_id=");
		err = -EINVAL;
	}
	return err < 0 ? err : 0;
}

static int flag_options(const struct ctl_attach_args *args, FILE *out, char *why, size_t why_size)
{
	unsigned long left = args->flags;
	size_t i;

	if ((left & MS_MGC_MSK) == MS_MGC_VAL)
		left &= ~(unsigned long)MS_MGC_MSK;
	for (i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++) {
		if ((left & flag_words[i].flag) && flag_words[i].word)
			fprintf(out, "%s,", flag_words[i].word);
		left &= ~flag_words[i].flag;
	}
	if (left) {
		snprintf(why, why_size, "relay_mount: flags 0x%lx are not for a new mount", left);
		return -EINVAL;
	}
	/* As mount(2): what is not forbidden is allowed.  For others than root -o forbids both by itself. */
	if (args->uid == 0)
		fprintf(out, "%s%s", args->flags & MS_NOSUID ? "" : "suid,", args->flags & MS_NODEV ? "" : "dev,");
	return 0;
}

/* Names may have any characters: a backslash keeps what would end the option (mountopts.h). */
static void option_print(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=", name);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
	fputc(',', out);
}

int ctl_attach_options(const struct ctl_attach_args *args, char **options, gid_t *gid, char *why, size_t why_size)
{
	size_t size;
	FILE *out;
	int err;

	*gid = args->gid;
	if (strcmp(args->type, "fuse") != 0 && (strncmp(args->type, "fuse.", 5) != 0 || !args->type[5])) {
		snprintf(why, why_size, "relay_mount: type '%s' is not fuse", args->type);
		return -ENODEV;
	}
	out = open_memstream(options, &size);
	if (!out)
		return -ENOMEM;
	err = flag_options(args, out, why, why_size);
	if (!err)
		err = data_options(args, out, gid, why, why_size);
	if (*args->source)
		option_print(out, "fsname", args->source);
	if (args->type[4])
		option_print(out, "subtype", args->type + 5);
	if (fclose(out) != 0 && !err)
		err = -ENOMEM;
	/* The last comma is harmless: an empty option is none. */
	if (err) {
		free(*options);
		*options = NULL;
	}
	return err;
}

/* The options as a list that has the word `word`. */
static bool list_has(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		if (strncmp(list, word, n) == 0 && (list[n] == ',' || !list[n]))
			return true;
		while (*list && *list != ',')
			list += list[0] == '\\' && list[1] ? 2 : 1;
		list += *list == ',';
	}
	return false;
}

/* What fusermount3 would ask of another user, but for the place. */
static int user_check(struct ctl_request *request, const char *options)
{
	const struct ctl_conn *conn = request->conn;
	struct mount *mount = NULL;
	struct ctl_access_conf conf;
	unsigned count = 0;

	ctl_access_conf_read(&conf, FUSE_CONF);
	if (list_has(options, "allow_other") && !conf.user_allow_other) {
		snprintf(request->reason, sizeof(request->reason),
			 "allow_other is for users only where user_allow_other is set in " FUSE_CONF);
		return -EPERM;
	}
	while ((mount = daemon_mount_next(conn->ctl->daemon, mount)) != NULL) {
		struct mount_status status;

		mount_status(mount, &status);
		count += status.uid == conn->uid;
	}
	if (count >= conf.mount_max || count >= USER_MOUNTS_MAX) {
		snprintf(request->reason, sizeof(request->reason), "uid %u has %u mounts: %s", conn->uid, count,
			 count >= conf.mount_max ? "mount_max in " FUSE_CONF
						 : "the most that relayd makes for a user; run one of your own");
		return -EPERM;
	}
	return 0;
}

/* Whether the place is in relayd's own mount namespace. */
static bool is_ours(int directory)
{
	FILE *mountinfo = place_proc_open("mountinfo");
	char type[64];
	int parent;
	bool is = mountinfo && place_mount_lookup(mountinfo, place_mount_of(directory), &parent, type, sizeof(type));

	if (mountinfo)
		fclose(mountinfo);
	return is;
}

/* Where it is to be made: with a namespace that is not ours, place->ns is the caller's to close. */
static int place_of(struct ctl_request *request, struct place *place)
{
	const struct ctl_conn *conn = request->conn;

	*place = (struct place){.directory = request->fds[1], .ns = -1};
	if (is_ours(place->directory))
		return 0;
	if (geteuid() != 0) {
		snprintf(request->reason, sizeof(request->reason),
			 "%s: is in another mount namespace, and fusermount3 mounts in that of this relayd: "
			 "run one there, with a --socket of its own", request->strings[1]);
		return -EXDEV;
	}
	place->ns = place_ns_of_peer(conn->fd, conn->pid, &place->ns_number);
	if (place->ns < 0) {
		snprintf(request->reason, sizeof(request->reason), "the mount namespace of process %d cannot be had: %s",
			 (int)conn->pid, strerror(-place->ns));
		return -EXDEV;
	}
	if (place->ns_number != place_ns_own() && place_ns_is_ours(place->ns))
		return 0;
	close(place->ns);
	if (place->ns_number == place_ns_own()) {
		snprintf(request->reason, sizeof(request->reason), "%s: is in no mount namespace that is relayd's or the process's",
			 request->strings[1]);
		return -EXDEV;
	}
	snprintf(request->reason, sizeof(request->reason),
		 "%s: is in a mount namespace of another user namespace, whose root may mount FUSE without this relayd",
		 request->strings[1]);
	return -EPERM;
}

static int access_run(void *arg)
{
	struct ctl_request *request = arg;

	return ctl_access_check(request->fds[1], request->strings[1], request->conn->uid, request->reason,
				sizeof(request->reason));
}

/* relayd is going to read from it and to wait for it: nothing that a user could have made of anything else. */
static bool is_channel(int fd)
{
	int domain = 0, type = 0;
	socklen_t size = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static enum way_via via_of(const struct ctl_request *request)
{
	const struct relay_ctl_attach *attach = request->body;

	return (enum way_via)le32toh(attach->via);
}

static int attach_old(struct ctl_request *request, struct mount *mount)
{
	const struct ctl_conn *conn = request->conn;
	struct mount_status status;
	int err;

	mount_status(mount, &status);
	if (strcmp(status.mountpoint, request->strings[1]) != 0 || (conn->uid && status.uid != conn->uid)) {
		snprintf(request->reason, sizeof(request->reason), "%s: is another's mount", request->strings[1]);
		return -EBUSY;
	}
	err = mount_attach(mount, request->fds[0], conn->pid, via_of(request));
	if (err == -EBUSY) {
		/* A backend that comes back at once may be here before the news of its death. */
		err = ctl_pending_attach(request, mount, request->fds[0], via_of(request));
		if (!err)
			request->fds[0] = -1;
		return err;
	}
	if (err)
		return err;
	request->fds[0] = -1;
	ctl_reply_status(request->conn, &request->head, 0, mount);
	return 0;
}

/* What the program gave to mount(2), as -o; to be freed. */
static int options_of(struct ctl_request *request, char **options, gid_t *gid)
{
	const struct relay_ctl_attach *attach = request->body;
	const struct ctl_attach_args args = {
		.flags = (unsigned long)le64toh(attach->flags),
		.source = request->strings[0] ? request->strings[0] : "",
		.type = request->strings[2],
		.data = request->strings[3],
		.uid = request->conn->uid,
		.gid = request->conn->gid,
	};

	return ctl_attach_options(&args, options, gid, request->reason, sizeof(request->reason));
}

static int attach_there(struct ctl_request *request, const char *options, gid_t gid, const struct place *place)
{
	const struct ctl_conn *conn = request->conn;
	char name[PATH_MAX + 32];
	const struct mount_config config = {
		.name = place->ns_number ? name : NULL,
		.mountpoint = request->strings[1],
		/* fusermount3 has its own way to be sure of the place. */
		.place = geteuid() == 0 ? place : NULL,
		.options = options,
		.uid = conn->uid,
		.gid = gid,
	};
	struct mount *mount;
	int err;

	if (conn->uid != geteuid()) {
		err = user_check(request, options);
		if (!err)
			err = place_run(place->ns, access_run, request);
		if (err)
			return err;
	}
	snprintf(name, sizeof(name), "%s@%llu", config.mountpoint, (unsigned long long)place->ns_number);
	err = daemon_mount_add(conn->ctl->daemon, &config, &mount, request->reason, sizeof(request->reason));
	if (err)
		return err;
	err = mount_attach(mount, request->fds[0], conn->pid, via_of(request));
	if (err) {
		mount_unmount(mount, true);
		return err;
	}
	request->fds[0] = -1;
	log_info("%s: mounted for process %d (uid %u)", config.name ? name : config.mountpoint, (int)conn->pid, conn->uid);
	ctl_reply_status(request->conn, &request->head, 0, mount);
	return 0;
}

static int attach_new(struct ctl_request *request, const char *options, gid_t gid)
{
	struct place place;
	int err = place_of(request, &place);

	if (err)
		return err;
	err = attach_there(request, options, gid, &place);
	if (place.ns >= 0)
		close(place.ns);
	return err;
}

/* Whether something else is at the place that a mount is to learn now. */
static bool place_taken(struct ctl_request *request, const struct mount *mount, const char *target)
{
	struct mount *other = daemon_mount_find(request->conn->ctl->daemon, target, 0);
	struct mount_status status;

	if (!other || other == mount)
		return false;
	mount_status(other, &status);
	if (status.detached)
		return false;
	snprintf(request->reason, sizeof(request->reason), "%s: a mount of that name or place is there already",
		 target);
	return true;
}

/* A program that relayd has started, and waits for. */
static int attach_awaited(struct ctl_request *request, const char *token)
{
	const struct ctl_conn *conn = request->conn;
	struct mount *mount = daemon_mount_awaiting(conn->ctl->daemon, token);
	struct mount_visitor visitor = {.target = request->strings[1], .via = via_of(request), .token = token};
	struct mount_status status;
	char *options;
	int err;

	if (mount)
		mount_status(mount, &status);
	if (!mount || (conn->uid && conn->uid != status.uid)) {
		snprintf(request->reason, sizeof(request->reason),
			 "$RELAY_TOKEN is not that of a program which relayd waits for");
		return -EPERM;
	}
	if (!*status.mountpoint && place_taken(request, mount, visitor.target))
		return -EBUSY;
	err = options_of(request, &options, &visitor.gid);
	if (err) {
		request->exit_status = EXIT_USAGE;
		mount_refuse(mount, token, request->reason, EXIT_USAGE);
		return err;
	}
	visitor.options = options;
	err = mount_come_in(mount, request->fds[0], &visitor, request->reason, sizeof(request->reason));
	free(options);
	if (err) {
		request->exit_status = daemon_exit_status(err);
		return err;
	}
	request->fds[0] = -1;
	ctl_reply_status(request->conn, &request->head, 0, mount);
	return 0;
}

/* A program that comes by itself. */
static int attach_unasked(struct ctl_request *request)
{
	const uint64_t ns = ctl_conn_ns(request->conn);
	struct mount *mount = daemon_mount_find(request->conn->ctl->daemon, request->strings[1], ns);
	struct mount_status status;
	char *options;
	gid_t gid;
	int err;

	if (mount)
		mount_status(mount, &status);
	/* One elsewhere may be called as this place is. */
	if (mount && !status.detached && status.ns == ns)
		return attach_old(request, mount);
	err = options_of(request, &options, &gid);
	if (err)
		return err;
	err = attach_new(request, options, gid);
	free(options);
	return err;
}

int ctl_attach(struct ctl_request *request)
{
	const struct ctl_conn *conn = request->conn;
	const char *token = request->strings[4];

	/* A user's relayd mounts through fusermount3, which makes mounts for this user only. */
	if (geteuid() != 0 && conn->uid != geteuid()) {
		snprintf(request->reason, sizeof(request->reason), "this relayd mounts for uid %u alone", geteuid());
		return -EPERM;
	}
	if (request->nfds != RELAY_CTL_ATTACH_FDS || !is_channel(request->fds[0]) || request->strings[1][0] != '/') {
		snprintf(request->reason, sizeof(request->reason),
			 "relay_mount: needs a channel, a directory and its absolute path");
		return -EINVAL;
	}
	if (via_of(request) >= WAY_VIA_COUNT || via_of(request) == WAY_VIA_FD) {
		snprintf(request->reason, sizeof(request->reason), "relay_mount: a way in that nobody comes by");
		return -EINVAL;
	}
	return token && *token ? attach_awaited(request, token) : attach_unasked(request);
}
