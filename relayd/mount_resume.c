/*
 * A mount goes on after the death of the relayd that has made it.
 *
 * What that one has left is checked before anything is done with it.  Where it cannot be
 * true, or has not come to be a mount that anybody was told of, the mount is ended: what
 * is open there fails, which is what the end of any FUSE daemon means.
 *
 * A process dying in the midst of this leaves everything with the keeper, as it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fdstore.h"
#include "log.h"
#include "mount_parts.h"

struct left {
	struct record record;
	struct record_facts facts;
	struct record_texts texts;
	void *block;
};

static bool has(const struct left *left, enum record_flags flag)
{
	return left->facts.flags & flag;
}

/* What the record says, in the form in which mounts are asked for. */
static struct mount_config config_of(const struct left *left, const char *socket)
{
	return (struct mount_config){
		.name = left->texts.text[RECORD_NAME],
		.unnamed = has(left, RECORD_UNNAMED),
		.mountpoint = left->texts.text[RECORD_MOUNTPOINT],
		.options = left->texts.text[RECORD_OPTIONS],
		.argv = has(left, RECORD_EXIT_ENDS) ? left->texts.words : NULL,
		.environment = left->texts.variables,
		.via = (enum way_wanted)left->facts.wanted,
		.socket = socket,
		.directory = left->texts.text[RECORD_DIRECTORY],
		.uid = left->facts.uid,
		.gid = left->facts.gid,
		.choices = {
			.shared_store = has(left, RECORD_SHARED_STORE),
			.write_behind = has(left, RECORD_WRITE_BEHIND),
			.socket_lane = has(left, RECORD_SOCKET_LANE),
			.no_resend = has(left, RECORD_NO_RESEND),
			.fail_after_ms = left->facts.fail_after_ms,
			.request_timeout_ms = left->facts.request_timeout_ms,
			.lives = left->facts.lives,
			.known = {
				.trust = left->facts.trust,
				.negative_ms = left->facts.negative_ms,
				.bpf = left->facts.bpf,
			},
		},
	};
}

static int session_left(struct mount *mount, const struct left *left)
{
	const struct record_facts *facts = &left->facts;
	struct session *session = &mount->session;

	session->fd = fdstore_take(mount->id, "fuse");
	session->mountpoint = strdup(left->texts.text[RECORD_MOUNTPOINT]);
	session->by_helper = has(left, RECORD_BY_HELPER);
	session->mounted = !has(left, RECORD_DETACHED);
	session->mount_id = facts->mount_id;
	session->uid = facts->uid;
	session->ns = facts->ns;
	session->device = (dev_t)facts->device;
	memcpy(session->init, facts->init, sizeof(session->init));
	session->init_size = facts->init_size;
	session->answer = facts->answer;
	session->agreed = has(left, RECORD_AGREED);
	session->native = has(left, RECORD_NATIVE);
	session->may_back = has(left, RECORD_MAY_BACK);
	session->on_agreed = mount_on_agreed;
	if (session->fd < 0 || !session->mountpoint)
		return session->fd < 0 ? -EBADF : -ENOMEM;
	if (session->agreed)
		session_init_again(session);
	return 0;
}

/* Returns the descriptor, or -1 after setting *err. */
static int part_take(const struct mount *mount, const char *what, int *err)
{
	int fd = fdstore_take(mount->id, what);

	if (fd < 0)
		*err = -EBADF;
	return fd;
}

static int command_left(struct mount *mount, const struct left *left, const char *socket)
{
	int err;

	if (!has(left, RECORD_HAS_COMMAND))
		return 0;
	err = way_resume(&mount->way, (enum way_wanted)left->facts.wanted, has(left, RECORD_PLACED), socket,
			 left->texts.text[RECORD_PLACEHOLDER]);
	if (!err)
		err = launch_command_resume(&mount->command, left->texts.words, left->texts.text[RECORD_PROGRAM]);
	mount->has_command = !err;
	return err;
}

static int output_left(struct mount *mount)
{
	int err = 0, reading = part_take(mount, "output", &err), writing = part_take(mount, "print", &err);

	if (!err) {
		output_resume(&mount->output, mount->loop, mount->name, reading, writing);
		mount->has_output = true;
		return 0;
	}
	if (reading >= 0)
		close(reading);
	if (writing >= 0)
		close(writing);
	return err;
}

static int dispatch_left(struct mount *mount, const struct left *left, const struct mount_config *config)
{
	int err = 0, journal = part_take(mount, "journal", &err), table = part_take(mount, "requests", &err),
	    state = part_take(mount, "state", &err), backed = part_take(mount, "backed", &err);

	if (!err)
		err = journal_resume(&mount->journal, journal, MOUNT_SLOTS_LARGE, MOUNT_SLOTS_SMALL);
	if (!err)
		journal = -1;
	if (!err)
		err = mount_dispatch_build(mount, config);
	if (!err) {
		keep_resume(&mount->dispatch.keep);
		err = dispatch_resume(&mount->dispatch, &table, &state, left->facts.incarnation);
	}
	if (!err) {
		err = dispatch_backing_resume(&mount->dispatch, backed);
		backed = -1;
	}
	/* What was not taken over. */
	for (int i = 0; i < 4; i++) {
		int fd = (const int[]){journal, table, state, backed}[i];

		if (fd >= 0)
			close(fd);
	}
	return err;
}

/*
 * What maps say that a backend linked with librelay has written is true: it goes on writing while no
 * relayd is there, and so does the next one of it.  What relayd has written itself lacks what
 * it had not come to, as a notification that it was about to take in: there it begins anew.
 *
 * A process dying in between leaves fewer maps than there are, or new ones: the next one begins
 * anew too.  A backend that goes on with others writes where nobody reads.
 */
static int cache_left(struct mount *mount)
{
	const struct session *session = &mount->session;
	char *options = mount_options_merge(mount, mount->asked);
	struct cache_maps maps;
	unsigned count = mount_take_maps(mount->id, &maps);
	bool native = session->agreed && session->native, go_on = native && count == KNOWN_MAPS;
	char why[512];

	if (!options || !go_on)
		relay_internal_cache_maps_close(&maps);
	if (!options)
		return -ENOMEM;
	if (count && !go_on)
		mount_drop_maps(mount->id);
	/* What was insisted on was there once; that it is not any more ends nothing. */
	if (mount_cache_open(mount, options, go_on ? &maps : NULL, why, sizeof(why)) < 0)
		log_error("%s: %s", mount->name, why);
	free(options);
	/* The next backend is not told of maps that nobody answers from, nor may another relayd find them. */
	if (count && !mount->cache.mount)
		mount_drop_maps(mount->id);
	if (!go_on)
		mount_put_maps(mount);
	if (native)
		cache_agree(&mount->cache, session->answer.flags, false);
	return 0;
}

static int mount_fill(struct mount *mount, const struct left *left, const struct mount_config *config)
{
	int err;

	mount->mountpoint = strdup(left->texts.text[RECORD_MOUNTPOINT]);
	if (left->texts.text[RECORD_ASKED])
		mount->asked = strdup(left->texts.text[RECORD_ASKED]);
	mount->once = has(left, RECORD_ONCE);
	mount->ns = left->facts.ns;
	mount->detached = has(left, RECORD_DETACHED);
	mount->ending = has(left, RECORD_ENDING);
	err = mount_strings_copy(mount, config);
	if (!err)
		err = session_left(mount, left);
	if (!err)
		err = command_left(mount, left, config->socket);
	if (!err)
		err = output_left(mount);
	if (!err)
		err = dispatch_left(mount, left, config);
	if (!err)
		err = cache_left(mount);
	if (err)
		return err;
	mount_supervisor_build(mount, config);
	loop_wake_start(mount->loop, &mount->wake, mount_on_wake);
	mount->open = true;
	return dispatch_start(&mount->dispatch);
}

static void backend_left(struct mount *mount, const struct left *left)
{
	const struct supervisor_left facts = {
		.state = (enum supervisor_state)left->facts.state,
		.incarnation = left->facts.incarnation,
		.via = left->facts.via < WAY_VIA_COUNT ? (enum way_via)left->facts.via : WAY_VIA_FD,
		.child = has(left, RECORD_CHILD),
		.served = has(left, RECORD_SERVED),
		.channel = fdstore_take(mount->id, "chan"),
		.first = fdstore_take(mount->id, "first"),
		.server = fdstore_take(mount->id, "server"),
	};

	supervisor_resume(&mount->supervisor, &facts);
}

/*
 * Takes away what is mounted there: once it is known what that was, nothing else.
 */
static void place_clear(const struct left *left)
{
	struct session session = {
		.mountpoint = (char *)left->texts.text[RECORD_MOUNTPOINT],
		.by_helper = has(left, RECORD_BY_HELPER) || geteuid() != 0,
		.mounted = true,
		.uid = left->facts.uid,
		.ns = left->facts.ns,
		.mount_id = left->facts.mount_id,
	};
	struct place_mount there;

	if (!session.mountpoint || has(left, RECORD_DETACHED))
		return;
	if (!has(left, RECORD_MOUNTED) && place_find_in(session.ns, session.mountpoint, &there) == 0)
		session.mount_id = there.id;
	if (session_mounted(&session))
		session_unmount(&session, SESSION_UNMOUNT_LAZY);
}

/* Nobody was told of it, or nobody can go on with it.  A process dying in the midst leaves the record, which comes last. */
static void left_discard(const struct left *left, unsigned id)
{
	place_clear(left);
	fdstore_discard(id);
	mount_drop(id);
}

/* fd is taken over. */
static int left_open(struct left *left, int fd)
{
	int err;

	*left = (struct left){.record = {.fd = -1}};
	if (fd < 0)
		return -ENOENT;
	err = record_open(&left->record, fd, mount_part_versions);
	if (err) {
		close(fd);
		return err;
	}
	return record_read(&left->record, &left->facts, &left->texts, &left->block);
}

int mount_resume_check(unsigned id)
{
	struct left left;
	int err = left_open(&left, dup(fdstore_look(id, "record")));

	/* What is in rings dies with the relayd that has made them. */
	if (!err && has(&left, RECORD_RINGS)) {
		log_error("%s: no other relayd can go on with a mount in the lane uring", left.texts.text[RECORD_NAME]);
		err = -EOPNOTSUPP;
	}
	free(left.block);
	record_deinit(&left.record);
	return err == -ENOENT ? 0 : err;
}

int mount_resume(struct mount **out, struct loop *loop, unsigned id, const char *socket, struct cache_bpf *bpf,
		 void (*on_gone)(struct mount *mount, void *arg), void *arg)
{
	struct mount_config config;
	struct mount *mount;
	struct left left;
	int err;

	err = left_open(&left, fdstore_take(id, "record"));
	if (!err && (!has(&left, RECORD_MOUNTED) || !left.facts.init_size || !left.texts.text[RECORD_MOUNTPOINT]))
		err = -ENOENT;
	/* mount_resume_check() has said so. */
	if (!err && has(&left, RECORD_RINGS))
		err = -EOPNOTSUPP;
	mount = err ? NULL : calloc(1, sizeof(*mount));
	if (!mount) {
		if (err != -ENOENT && err != -EOPNOTSUPP)
			log_error("mount %u of an earlier relayd ends: its record cannot be read: %s", id, strerror(err ? -err : ENOMEM));
		left_discard(&left, id);
		record_deinit(&left.record);
		free(left.block);
		return err ? err : -ENOMEM;
	}
	config = config_of(&left, socket);
	config.bpf = bpf;
	mount_begin(mount, loop, &config, id, on_gone, arg);
	mount->record = left.record;
	mount->stats = record_stats(&mount->record);
	err = mount_fill(mount, &left, &config);
	if (err) {
		log_error("%s: ends: what an earlier relayd has left of it cannot be gone on with: %s",
			  left.texts.text[RECORD_NAME], strerror(-err));
		/* Before the record goes, which has its texts. */
		left_discard(&left, id);
		mount_free(mount);
		free(left.block);
		return err;
	}
	mount->told = true;
	log_info("%s: resumed on %s", mount->name, mount->mountpoint);
	backend_left(mount, &left);
	free(left.block);
	fdstore_discard(id);
	mount_record(mount);
	*out = mount;
	return 0;
}
