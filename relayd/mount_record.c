/*
 * What outlives relayd of a mount: its descriptors with the keeper, and its record.
 *
 * The order in which they come there, and what a process dying between two of them leaves:
 *
 *   record            a mount that is not made: its names are dropped
 *   journal, requests, state, output
 *   /dev/fuse         the same, and nothing is mounted yet (fusermount3: it is, and the
 *                     descriptor is gone with the process: what is there is unmounted)
 *   mounted           until the kernel's INIT is in the record the mount is one that
 *                     nobody was told of: it is unmounted
 *   maps of what does not exist
 *   INIT              from here on the mount is resumed
 *
 * At the end the record goes first: what it leaves behind is nobody's.
 */
#include <stdio.h>
#include <string.h>

#include "dispatch_table.h"
#include "fdstore.h"
#include "log.h"
#include "mount_parts.h"
#include "relay/wire.h"
#include "state_format.h"

const uint32_t mount_part_versions[RECORD_PARTS] = {
	RELAY_WIRE_VERSION,
	STATE_VERSION,
	DISPATCH_TABLE_VERSION,
	sizeof(struct inflight),
	KNOWN_VERSION,
};

static uint32_t flag(bool is, enum record_flags flag)
{
	return is ? flag : 0;
}

static void facts_fill(const struct mount *mount, struct record_facts *facts)
{
	const struct supervisor *s = &mount->supervisor;
	const struct session *session = &mount->session;

	*facts = (struct record_facts){
		.flags = flag(mount->unnamed, RECORD_UNNAMED) |
			 flag(mount->dispatch.shared_store, RECORD_SHARED_STORE) |
			 flag(mount->dispatch.translate.write_behind, RECORD_WRITE_BEHIND) |
			 flag(!mount->dispatch.direct.wanted, RECORD_SOCKET_LANE) |
			 flag(mount->dispatch.direct.no_resend, RECORD_NO_RESEND) | flag(mount->once, RECORD_ONCE) |
			 flag(s->exit_ends, RECORD_EXIT_ENDS) | flag(mount->way.placed, RECORD_PLACED) |
			 flag(mount->has_command, RECORD_HAS_COMMAND) | flag(mount->detached, RECORD_DETACHED) |
			 flag(mount->ending, RECORD_ENDING) | flag(session->by_helper, RECORD_BY_HELPER) |
			 flag(mount->open, RECORD_MOUNTED) | flag(session->may_back, RECORD_MAY_BACK) |
			 flag(session->agreed, RECORD_AGREED) | flag(session->native, RECORD_NATIVE) |
			 flag(s->backend.child, RECORD_CHILD) | flag(s->served, RECORD_SERVED) |
			 flag(rings_are(&mount->rings), RECORD_RINGS),
		.uid = mount->uid,
		.gid = mount->gid,
		.lives = s->lives,
		.wanted = mount->way.wanted,
		.via = s->via,
		/* The state is the last life's while the next begins. */
		.state = s->serving_ns ? s->state : SUPERVISOR_STARTING,
		.incarnation = s->incarnation,
		.fail_after_ms = s->fail_after_ms,
		.request_timeout_ms = (uint32_t)(mount->dispatch.watch.limit_ns / 1000000u),
		.ns = mount->ns,
		.trust = mount->cache.options.trust,
		.negative_ms = mount->cache.options.negative_ms,
		.bpf = mount->cache.options.bpf,
		.device = session->device,
		.mount_id = session->mount_id,
		.init_size = session->init_size,
		.answer = session->answer,
	};
	memcpy(facts->init, session->init, sizeof(facts->init));
}

void mount_record(struct mount *mount)
{
	const struct record_texts texts = {
		.text = {
			[RECORD_NAME] = mount->name,
			[RECORD_MOUNTPOINT] = mount->mountpoint,
			[RECORD_DIRECTORY] = mount->directory,
			[RECORD_OPTIONS] = mount->options,
			[RECORD_ASKED] = mount->asked,
			[RECORD_PROGRAM] = mount->command.program,
			[RECORD_PLACEHOLDER] = mount->way.placeholder,
		},
		.words = mount->command.argv,
		.variables = mount->environment,
	};
	struct record_facts facts;

	facts_fill(mount, &facts);
	if (record_write(&mount->record, &facts, &texts) < 0)
		log_error("%s: its record has no room: another relayd could not go on with it as it is now", mount->name);
}

static size_t words_size(char *const *words)
{
	size_t size = 0;

	for (; words && *words; words++)
		size += strlen(*words) + 1;
	return size;
}

size_t mount_record_room(const struct mount *mount)
{
	/* Words may become the placeholder, and the place, the name and the program's options are to come. */
	return (RECORD_TEXTS + 2) * PATH_MAX + words_size(mount->command.argv) + words_size(mount->environment) +
	       strlen(mount->options);
}

void mount_put(struct mount *mount)
{
	mount_record(mount);
	fdstore_put(mount->id, "record", mount->record.fd);
	fdstore_put(mount->id, "journal", mount->journal.fd);
	fdstore_put(mount->id, "requests", mount->dispatch.table_fd);
	fdstore_put(mount->id, "state", mount->dispatch.translate.state.fd);
	fdstore_put(mount->id, "backed", mount->dispatch.backing.fd);
	fdstore_put(mount->id, "output", mount->output.read_fd);
	fdstore_put(mount->id, "print", mount->output.write_fd);
}

void mount_put_all(struct mount *mount)
{
	mount_put(mount);
	if (mount->session.fd >= 0)
		fdstore_put(mount->id, "fuse", mount->session.fd);
	mount_put_maps(mount);
	supervisor_put_all(&mount->supervisor);
	keep_put_all(&mount->dispatch.keep);
}

void mount_drop(unsigned id)
{
	static const char *const names[] = {"record", "journal", "requests", "state", "backed", "output", "print", "fuse"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fdstore_drop(id, names[i]);
}

/* ---- maps ------------------------------------------------------------------ */

/* What the map is called with the keeper. */
struct map_name {
	char text[16];
};

static struct map_name map_name(unsigned map)
{
	struct map_name name;

	snprintf(name.text, sizeof(name.text), "map.%u", map);
	return name;
}

void mount_put_maps(const struct mount *mount)
{
	const struct cache_maps *maps = cache_maps(&mount->cache);

	for (unsigned map = 0; maps && map < KNOWN_MAPS; map++)
		fdstore_put(mount->id, map_name(map).text, maps->fd[map]);
}

void mount_drop_maps(unsigned id)
{
	for (unsigned map = 0; map < KNOWN_MAPS; map++)
		fdstore_drop(id, map_name(map).text);
}

unsigned mount_take_maps(unsigned id, struct cache_maps *maps)
{
	unsigned count = 0;

	for (unsigned map = 0; map < KNOWN_MAPS; map++) {
		maps->fd[map] = fdstore_take(id, map_name(map).text);
		count += maps->fd[map] >= 0;
	}
	return count;
}

/* ---- told by others --------------------------------------------------------- */

void mount_on_device(int fd, void *arg)
{
	struct mount *mount = arg;

	fdstore_put(mount->id, "fuse", fd);
}

void mount_on_agreed(struct session *session)
{
	mount_record((struct mount *)((char *)session - offsetof(struct mount, session)));
}

void mount_on_record(struct supervisor *supervisor)
{
	mount_record((struct mount *)((char *)supervisor - offsetof(struct mount, supervisor)));
}
