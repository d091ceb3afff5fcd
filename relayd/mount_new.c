/*
 * How a mount comes to be.
 *
 * A backend that inherits its channel is started on a mount that is there already.  One
 * that mounts by itself is started first, and what it asks for decides what is mounted:
 * until then everything is there but the kernel's side.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "mount_parts.h"
#include "stats.h"
#include "upgrade.h"

/* How long a backend may take to end when it is asked to. */
#define END_DEADLINE_MS 2000u
/* Incarnations that a request may kill. */
#define LIVES_DEFAULT 3u

/* The program's name: what /proc/mounts shows as fuse.NAME. */
static const char *subtype_of(const struct launch_command *command)
{
	const char *slash = strrchr(command->argv[0], '/');

	return slash ? slash + 1 : command->argv[0];
}

/* One allocation with all of it, as way_environment() makes. */
static char **environment_copy(char *const *environment)
{
	size_t count = 0, size = 0;
	char **copy, *at;

	for (; environment[count]; count++)
		size += strlen(environment[count]) + 1;
	copy = malloc((count + 1) * sizeof(*copy) + size);
	if (!copy)
		return NULL;
	at = (char *)(copy + count + 1);
	for (size_t i = 0; i < count; i++) {
		copy[i] = at;
		at = stpcpy(at, environment[i]) + 1;
	}
	copy[count] = NULL;
	return copy;
}

int mount_strings_copy(struct mount *mount, const struct mount_config *config)
{
	mount->name = strdup(config->name ? config->name : config->mountpoint);
	mount->directory = strdup(config->directory ? config->directory : "/");
	mount->options = strdup(config->options ? config->options : "");
	if (config->environment)
		mount->environment = environment_copy(config->environment);
	return mount->name && mount->directory && mount->options && (mount->environment || !config->environment)
		       ? 0
		       : -ENOMEM;
}

/* Whether path is the directory, or below it. */
static bool is_within(const char *path, const char *directory)
{
	size_t n = strlen(directory);

	return strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* A backend that is started in its own mount would wait for itself before it begins. */
static int directory_leave(struct mount *mount)
{
	char *root;

	if (!is_within(mount->directory, mount->mountpoint))
		return 0;
	root = strdup("/");
	if (!root)
		return -ENOMEM;
	log_warning("%s: backends are started in /, not in %s, which is in their own mount", mount->name,
		    mount->directory);
	free(mount->directory);
	mount->directory = root;
	mount->supervisor.directory = root;
	return 0;
}

/* What the program asks for, and then what was given: of two that contradict each other the last counts. */
char *mount_options_merge(const struct mount *mount, const char *asked)
{
	char *merged;

	return asprintf(&merged, "%s,%s", asked ? asked : "", mount->options) < 0 ? NULL : merged;
}

/* The requests in its rings have ended with it, or hang: nothing but the mount's end helps their callers. */
static void on_keeper_end(struct loop_io *io, unsigned events)
{
	struct rings *rings = (struct rings *)((char *)io - offsetof(struct rings, on_end));
	struct mount *mount = (struct mount *)((char *)rings - offsetof(struct mount, rings));

	(void)events;
	loop_io_stop(io);
	log_error("%s: the keeper of its rings has died, and the mount with it", mount->name);
	mount->ending = true;
	mount_end(mount);
}

/* The lane `uring`, as far as it is there before a backend is: without it the direct one is taken. */
static void rings_open(struct mount *mount)
{
	const char *missing = rings_missing();
	char why[256];

	if (missing)
		snprintf(why, sizeof(why), "%s", missing);
	else if (rings_start(&mount->rings, mount->session.fd, why, sizeof(why)) == 0)
		rings_watch(&mount->rings, mount->loop, on_keeper_end);
	if (!rings_are(&mount->rings))
		log_warning("%s: the direct lane in place of uring: %s", mount->name, why);
}

/* What it was mounted with was good, so it is so again. */
int mount_cache_open(struct mount *mount, const char *options, struct cache_maps *left, char *why, size_t why_size)
{
	struct mountopts opts;
	int err = mountopts_parse(&opts, options, mount->uid == 0, why, why_size);

	if (err) {
		if (left)
			relay_internal_cache_maps_close(left);
		return err;
	}
	err = cache_open(&mount->cache, mount->session.device, opts.kernel, left, why, why_size);
	mountopts_deinit(&opts);
	/* If it ends from here on, the programs see that. */
	if (!session_connected(&mount->session))
		cache_close(&mount->cache);
	return err;
}

int mount_open(struct mount *mount, const char *asked, gid_t gid, char *why, size_t why_size)
{
	char *options = mount_options_merge(mount, asked);
	const struct session_config session = {
		.mountpoint = mount->mountpoint,
		.place = mount->place,
		.options = options,
		.fsname = mount->name,
		.subtype = mount->has_command ? subtype_of(&mount->command) : "relayd",
		.uid = mount->uid,
		.gid = gid,
		.on_device = mount_on_device,
		.arg = mount,
	};
	char *mountpoint;
	int err;

	if (!options) {
		snprintf(why, why_size, "no memory for the mount");
		return -ENOMEM;
	}
	/* Where it is to be is known before anything is there: see mount_record.c. */
	mount_record(mount);
	err = session_open(&mount->session, &session, why, why_size);
	if (!err)
		err = mount_cache_open(mount, options, NULL, why, why_size);
	free(options);
	if (err)
		return err;
	mount_put_maps(mount);
	/* As /proc/mounts shows it. */
	mountpoint = strdup(mount->session.mountpoint);
	if (mountpoint) {
		free(mount->mountpoint);
		mount->mountpoint = mountpoint;
	}
	err = mountpoint ? directory_leave(mount) : -ENOMEM;
	if (!err && mount->uring)
		rings_open(mount);
	if (!err)
		err = dispatch_start(&mount->dispatch);
	if (err)
		snprintf(why, why_size, "cannot start the threads of a mount: %s", strerror(-err));
	mount->open = !err;
	mount_record(mount);
	return err;
}

/* ---- building ------------------------------------------------------------- */

static int command_build(struct mount *mount, const struct mount_config *config, char *why, size_t why_size)
{
	bool placed = config->argv || launch_marks_of(config->backend).mountpoint;
	int err;

	err = config->argv ? 0 : way_check(config->backend, config->via, why, why_size);
	if (!err)
		err = way_init(&mount->way, config->via, placed, config->socket, why, why_size);
	if (err)
		return err;
	if (config->argv)
		err = launch_command_copy(&mount->command, config->argv, config->environment);
	else
		err = launch_command_init(&mount->command, config->backend, mount->way.placeholder, why, why_size);
	mount->has_command = !err;
	return err;
}

/* What can be known to be wrong before the backend has come. */
static int place_build(struct mount *mount, const struct mount_config *config, char *why, size_t why_size)
{
	struct mountopts opts;
	int err;

	err = mountopts_parse(&opts, config->options, config->uid == 0, why, why_size);
	if (err)
		return err;
	mountopts_deinit(&opts);
	if (!config->mountpoint)
		return 0;
	if (config->place) {
		mount->mountpoint = strdup(config->mountpoint);
		return mount->mountpoint ? 0 : -ENOMEM;
	}
	return session_place_check(config->mountpoint, &mount->mountpoint, why, why_size);
}

int mount_dispatch_build(struct mount *mount, const struct mount_config *config)
{
	int err;

	err = dispatch_init(&mount->dispatch, mount->name, &mount->journal, &mount->session, mount->stats,
			    &mount->wake);
	mount->has_dispatch = !err;
	if (err)
		return err;
	mount->dispatch.keep.mount = mount->id;
	mount->dispatch.keep.uid = mount->uid;
	if (mount->uid != geteuid())
		mount->dispatch.notify.limit = NOTIFY_USER_BYTES;
	mount->dispatch.shared_store = config->choices.shared_store;
	cache_init(&mount->cache, mount->name, config->bpf, &config->choices.known);
	mount->dispatch.cache = &mount->cache;
	mount->dispatch.direct.wanted = !config->choices.socket_lane;
	mount->dispatch.direct.no_resend = config->choices.no_resend;
	mount->dispatch.watch.limit_ns = (uint64_t)config->choices.request_timeout_ms * 1000000u;
	mount->dispatch.rings = &mount->rings;
	mount->dispatch.translate.write_behind = config->choices.write_behind;
	return 0;
}

/* The memory that a mount has. */
static int memory_build(struct mount *mount, const struct mount_config *config, char *why, size_t why_size)
{
	int err;

	err = record_init(&mount->record, mount_record_room(mount), mount_part_versions);
	if (err)
		return err;
	mount->stats = record_stats(&mount->record);
	err = journal_init(&mount->journal, MOUNT_SLOTS_LARGE, MOUNT_SLOTS_SMALL);
	if (err) {
		snprintf(why, why_size, "no memory for the journal (%llu KiB): %s",
			 (unsigned long long)relay_journal_size(MOUNT_SLOTS_LARGE, MOUNT_SLOTS_SMALL) / 1024,
			 strerror(-err));
		return -ENOMEM;
	}
	err = mount_dispatch_build(mount, config);
	if (err)
		return err;
	err = output_init(&mount->output, mount->loop, mount->name);
	mount->has_output = !err;
	return err;
}

void mount_supervisor_build(struct mount *mount, const struct mount_config *config)
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
		.way = mount->has_command ? &mount->way : NULL,
		.environment = mount->environment,
		.exit_ends = config->argv != NULL,
		.lives = config->choices.lives ? config->choices.lives : LIVES_DEFAULT,
		.init_ms = MOUNT_INIT_DEADLINE_MS,
		.end_ms = END_DEADLINE_MS,
		.fail_after_ms = config->choices.fail_after_ms,
		.state = SUPERVISOR_STOPPED,
		.channel = -1,
		.mount = mount->id,
		.on_record = mount_on_record,
		.on_change = mount_on_supervisor_change,
	};
}

static int mount_build(struct mount *mount, const struct mount_config *config, char *why, size_t why_size)
{
	int err;

	err = mount_strings_copy(mount, config);
	if (!err && (config->backend || config->argv))
		err = command_build(mount, config, why, why_size);
	if (!err)
		err = place_build(mount, config, why, why_size);
	if (!err)
		err = memory_build(mount, config, why, why_size);
	if (err)
		return err;
	mount_supervisor_build(mount, config);
	mount_put(mount);
	loop_wake_start(mount->loop, &mount->wake, mount_on_wake);
	if (!mount->way.placed)
		err = mount_open(mount, NULL, mount->gid, why, why_size);
	if (err || !mount->has_command)
		return err;
	mount->supervisor.first_streams = config->streams;
	err = supervisor_launch(&mount->supervisor);
	mount->supervisor.first_streams = NULL;
	if (err)
		snprintf(why, why_size, "%s", mount->supervisor.problem);
	return err;
}

void mount_begin(struct mount *mount, struct loop *loop, const struct mount_config *config, unsigned id,
		 void (*on_gone)(struct mount *mount, void *arg), void *arg)
{
	mount->id = id;
	mount->loop = loop;
	mount->uid = config->uid;
	mount->gid = config->gid;
	mount->place = config->place;
	mount->ns = config->place ? config->place->ns_number : 0;
	mount->unnamed = config->unnamed;
	mount->uring = config->choices.uring_lane;
	rings_init(&mount->rings);
	mount->on_gone = on_gone;
	mount->arg = arg;
	mount->journal.fd = mount->session.fd = mount->record.fd = -1;
	mount->session.on_agreed = mount_on_agreed;
}

int mount_new(struct mount **out, struct loop *loop, const struct mount_config *config, unsigned id,
	      void (*on_gone)(struct mount *mount, void *arg), void *arg, char *why, size_t why_size)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	int err;

	snprintf(why, why_size, "no memory for the mount");
	if (!mount)
		return -ENOMEM;
	mount_begin(mount, loop, config, id, on_gone, arg);
	err = mount_build(mount, config, why, why_size);
	mount->place = NULL;
	mount->told = true;
	if (err) {
		mount_free(mount);
		return err;
	}
	*out = mount;
	return 0;
}

/* ---- a backend that comes in by itself ------------------------------------ */

void mount_forget_command(struct mount *mount)
{
	mount->once = mount->has_command = false;
	mount->supervisor.command = NULL;
	mount->supervisor.way = NULL;
}

/* Threads that have the old name are not there yet; others may have kept it. */
static int name_take(struct mount *mount, const char *name)
{
	char *copy = mount->named_first ? NULL : strdup(name);

	if (!copy)
		return mount->named_first ? 0 : -ENOMEM;
	mount->named_first = mount->name;
	mount->name = copy;
	mount->supervisor.name = mount->dispatch.name = mount->dispatch.notify.name = copy;
	mount->output.name = mount->cache.name = copy;
	return 0;
}

/* Whether the word, which the program took for a path where it was started, leads to `place`. */
static bool word_leads_to(const struct mount *mount, const char *word, const char *place)
{
	char *path, *real;
	bool leads;

	if (!*word || *word == '-' || asprintf(&path, "%s/%s", *word == '/' ? "" : mount->directory, word) < 0)
		return false;
	real = realpath(path, NULL);
	leads = real && strcmp(real, place) == 0;
	free(real);
	free(path);
	return leads;
}

/*
 * The first life was told the place itself; the later ones are told the placeholder,
 * as a look at the place would wait for the very program that looks.
 */
static int words_place(struct mount *mount, const char *place)
{
	unsigned placed = 0;

	for (char **word = mount->command.argv + 1; *mount->command.argv && *word; word++) {
		char *copy;

		if (!word_leads_to(mount, *word, place))
			continue;
		copy = strdup(mount->way.placeholder);
		if (!copy)
			return -ENOMEM;
		free(*word);
		*word = copy;
		placed++;
	}
	mount->once = placed == 0;
	if (mount->once)
		log_warning("%s: cannot be started again by relayd: its mountpoint is not among its words; "
			    "it will have to come back by itself",
			    mount->name);
	return 0;
}

/* A place that is known only now. */
static int place_take(struct mount *mount, const char *target, char *why, size_t why_size)
{
	char *place;
	int err;

	err = session_place_check(target, &place, why, why_size);
	if (err)
		return err;
	err = mount->unnamed ? name_take(mount, place) : 0;
	if (!err)
		err = words_place(mount, place);
	if (err)
		free(place);
	else
		mount->mountpoint = place;
	return err;
}

static int first_open(struct mount *mount, const struct mount_visitor *visitor, char *why, size_t why_size)
{
	int err = 0;

	snprintf(why, why_size, "no memory for the mount");
	free(mount->asked);
	mount->asked = strdup(visitor->options);
	if (!mount->asked)
		err = -ENOMEM;
	/* A mount that could not be begun with is ended by its program's end. */
	if (!err && mount->session.fd >= 0)
		err = -EBUSY;
	if (!err && !mount->mountpoint)
		err = place_take(mount, visitor->target, why, why_size);
	if (!err)
		err = mount_open(mount, visitor->options, visitor->gid, why, why_size);
	if (err)
		supervisor_refuse(&mount->supervisor, why, daemon_exit_status(err));
	return err;
}

void mount_refuse(struct mount *mount, const char *token, const char *why, unsigned exit_status)
{
	/* A candidate that cannot come in ends, or its time does. */
	if (supervisor_awaits(&mount->supervisor, token))
		supervisor_refuse(&mount->supervisor, why, exit_status);
}

bool mount_awaits(const struct mount *mount, const char *token)
{
	return !mount->kernel_gone && (supervisor_awaits(&mount->supervisor, token) ||
				       upgrade_awaits(mount->supervisor.upgrade, token));
}

int mount_come_in(struct mount *mount, int channel, const struct mount_visitor *visitor, char *why, size_t why_size)
{
	int err = 0;

	/* Programs try again, in another way, when they were refused. */
	if (!mount->open)
		err = first_open(mount, visitor, why, why_size);
	/* Nothing was asked for where the first backend inherited its channel. */
	else if (mount->asked && strcmp(mount->asked, visitor->options) != 0)
		log_warning("%s: incarnation %u asks for the mount options %s; it was mounted with %s", mount->name,
			    mount->supervisor.incarnation, visitor->options, mount->asked);
	if (err)
		return err;
	if (upgrade_awaits(mount->supervisor.upgrade, visitor->token))
		upgrade_come_in(mount->supervisor.upgrade, channel, visitor->via);
	else
		supervisor_come_in(&mount->supervisor, channel, visitor->via);
	return 0;
}
