/*
 * The daemon wires the rest together: loop, control socket, mounts, signals.
 */
#include "cache_bpf.h"
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "children.h"
#include "daemon_parts.h"
#include "dispatch.h"
#include "fdstore.h"
#include "log.h"
#include "place.h"

static void tell_ready(struct daemon *daemon, enum relayd_exit status, const char *why)
{
	if (daemon->told)
		return;
	daemon->told = true;
	/* The keeper has set it: one that hangs before it gets here ends by it. */
	alarm(0);
	daemon->status = status;
	if (status == EXIT_OK) {
		/* From here on no other relayd has to make the mount anew. */
		if (!daemon->resumed)
			daemon_ready_put();
		fdstore_tell("READY=1");
	}
	daemon->config->on_ready(status, why, daemon->config->arg);
}

static void on_first_change(struct mount_watcher *watcher, struct mount *mount, bool gone)
{
	struct daemon *daemon = (struct daemon *)((char *)watcher - offsetof(struct daemon, watcher));
	struct mount_status status;

	mount_status(mount, &status);
	if (gone)
		tell_ready(daemon, status.exit_status ? (enum relayd_exit)status.exit_status : EXIT_FAILED,
			   *status.problem ? status.problem : "the mount ended before it answered");
	else if (status.state == SUPERVISOR_SERVING)
		tell_ready(daemon, EXIT_OK, "");
}

void daemon_on_mount_gone(struct mount *mount, void *arg)
{
	struct daemon *daemon = arg;
	struct entry **at, *entry;

	for (at = &daemon->first; (entry = *at) != NULL; at = &entry->next) {
		if (entry->mount == mount) {
			*at = entry->next;
			free(entry);
			break;
		}
	}
	mount_free(mount);
	if (!daemon->first && (daemon->with_mount || daemon->ending))
		loop_break(daemon->loop);
}

enum relayd_exit daemon_exit_status(int err)
{
	switch (err) {
	case 0:
		return EXIT_OK;
	case -ENXIO:
		return EXIT_NO_FUSE;
	case -EBUSY:
	case -EEXIST:
		return EXIT_BUSY;
	case -ENOEXEC:
		return EXIT_NO_BACKEND;
	case -ENOMEM:
		return EXIT_NO_MEMORY;
	case -EINVAL:
		return EXIT_USAGE;
	case -EOPNOTSUPP:
		return EXIT_NO_BPF;
	default:
		return EXIT_MOUNTPOINT;
	}
}

/* A backend that is awaited may have been the one. */
static void on_orphan(void *arg)
{
	struct daemon *daemon = arg;

	/* What ends by it is freed later, from the loop. */
	for (struct mount *m = daemon_mount_next(daemon, NULL); m; m = daemon_mount_next(daemon, m))
		mount_orphaned(m);
}

struct mount *daemon_mount_next(struct daemon *daemon, struct mount *after)
{
	struct entry *entry = daemon->first;

	while (after && entry && entry->mount != after)
		entry = entry->next;
	if (after && entry)
		entry = entry->next;
	return entry ? entry->mount : NULL;
}

/* The same path is another place in another mount namespace; a name is one for all. */
static struct mount *mount_named(struct daemon *daemon, const char *name, uint64_t ns, bool detached)
{
	struct mount_status status;
	struct mount *named = NULL;

	for (struct mount *m = daemon_mount_next(daemon, NULL); m; m = daemon_mount_next(daemon, m)) {
		mount_status(m, &status);
		if (status.detached != detached)
			continue;
		if (status.ns == ns && strcmp(status.mountpoint, name) == 0)
			return m;
		if (!named && strcmp(status.name, name) == 0)
			named = m;
	}
	return named;
}

/* One that is detached has left its place and its name to the next. */
struct mount *daemon_mount_find(struct daemon *daemon, const char *name, uint64_t ns)
{
	struct mount *mount = mount_named(daemon, name, ns, false);

	return mount ? mount : mount_named(daemon, name, ns, true);
}

struct mount *daemon_mount_awaiting(struct daemon *daemon, const char *token)
{
	struct mount *mount = NULL;

	while ((mount = daemon_mount_next(daemon, mount)) != NULL)
		if (mount_awaits(mount, token))
			return mount;
	return NULL;
}

void daemon_entry_add(struct daemon *daemon, struct entry *entry)
{
	struct entry **last;

	for (last = &daemon->first; *last; last = &(*last)->next)
		;
	*last = entry;
}

int daemon_mount_add(struct daemon *daemon, const struct mount_config *config, struct mount **out, char *why,
		     size_t why_size)
{
	const char *name = config->name ? config->name : config->mountpoint;
	struct mount_config whole = *config;
	struct entry *entry;
	uint64_t ns;
	int err;

	if (daemon->ending) {
		snprintf(why, why_size, "relayd is about to end");
		return -EBUSY;
	}
	whole.socket = daemon->config->socket;
	whole.bpf = daemon->bpf;
	ns = config->place ? config->place->ns_number : 0;
	if ((config->mountpoint && !ns && mount_named(daemon, config->mountpoint, ns, false)) ||
	    mount_named(daemon, name, ns, false)) {
		snprintf(why, why_size, "%s: a mount of that name or place is there already", name);
		return -EEXIST;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry) {
		snprintf(why, why_size, "no memory for the mount");
		return -ENOMEM;
	}
	err = mount_new(&entry->mount, daemon->loop, &whole, ++daemon->mounts, daemon_on_mount_gone, daemon, why, why_size);
	if (err) {
		free(entry);
		return err;
	}
	daemon_entry_add(daemon, entry);
	*out = entry->mount;
	return 0;
}

/* Unmounts everything; a second signal does not wait for backends any more. */
static void end_begin(struct daemon *daemon)
{
	struct mount_status status;
	int err;

	daemon->ending = true;
	if (!daemon->first)
		loop_break(daemon->loop);
	for (struct mount *m = daemon_mount_next(daemon, NULL); m; m = daemon_mount_next(daemon, m)) {
		err = mount_end(m);
		if (!err)
			continue;
		mount_status(m, &status);
		log_error("%s: cannot be unmounted: %s", status.name, strerror(-err));
	}
}

static void on_terminate(struct loop_signal *watcher, int number)
{
	struct daemon *daemon = (struct daemon *)((char *)watcher - offsetof(struct daemon, terminate));

	/* A service manager that keeps our descriptors starts the next one with them. */
	if (fdstore_kept() && fdstore_keeper() < 0) {
		log_info("signal %d: mounts are left to the next relayd", number);
		fdstore_tell("STOPPING=1");
		/* Nothing of what they are made of may be taken down. */
		_exit(EXIT_OK);
	}
	log_info("signal %d: unmounting", number);
	end_begin(daemon);
}

static void on_hangup(struct loop_signal *watcher, int number)
{
	(void)watcher;
	(void)number;
	/* To a service manager it is nothing. */
	fdstore_tell("X_RELAYD_RESTART=1");
}

static void on_interrupt(struct loop_signal *watcher, int number)
{
	struct daemon *daemon = (struct daemon *)((char *)watcher - offsetof(struct daemon, interrupt));

	log_info("signal %d: unmounting", number);
	end_begin(daemon);
}

static void signal_ignore(int number)
{
	(void)number;
}

/* Every backend's channel, and what it leaves with us, is a descriptor of ours. */
static void limits_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int daemon_build(struct daemon *daemon)
{
	const struct daemon_config *config = daemon->config;
	struct sigaction nothing = {.sa_handler = signal_ignore};
	int err;

	signal(SIGPIPE, SIG_IGN);
	/* Inherited as ignored it would take the backends' exit statuses away. */
	signal(SIGCHLD, SIG_DFL);
	sigaction(DISPATCH_SIGNAL, &nothing, NULL);
	limits_raise();
	/* Loads nothing.  Without memory no mount is served by it. */
	daemon->bpf = cache_bpf_new();
	err = loop_new(&daemon->loop);
	if (err)
		return err;
	err = children_start(daemon->loop, on_orphan, daemon);
	if (err)
		return err;
	err = ctl_new(&daemon->ctl, daemon->loop, daemon, config->socket);
	if (err)
		return err;
	loop_signal_start(daemon->loop, &daemon->terminate, SIGTERM, on_terminate);
	loop_signal_start(daemon->loop, &daemon->interrupt, SIGINT, on_interrupt);
	loop_signal_start(daemon->loop, &daemon->hangup, SIGHUP, on_hangup);
	daemon_kept_start(daemon);
	return 0;
}

/* Begins with the mount of the configuration, or with none.  Returns false if that fails. */
static bool daemon_begin(struct daemon *daemon)
{
	char why[512] = "";
	struct mount *mount;
	int err;

	daemon->with_mount = daemon->config->mount != NULL;
	if (!daemon->with_mount || daemon->first || daemon->resumed) {
		tell_ready(daemon, EXIT_OK, "");
		/* Its mount has ended, and the one before died before it could. */
		return daemon->first || !daemon->with_mount;
	}
	err = daemon_mount_add(daemon, daemon->config->mount, &mount, why, sizeof(why));
	if (err) {
		tell_ready(daemon, daemon_exit_status(err), why);
		return false;
	}
	daemon->watcher.on_change = on_first_change;
	mount_watch(mount, &daemon->watcher);
	return true;
}

int daemon_run(const struct daemon_config *config)
{
	struct daemon daemon = {.config = config};
	char why[512];
	int err;

	err = daemon_build(&daemon);
	if (!err) {
		if (daemon_begin(&daemon))
			loop_run(daemon.loop);
		err = (int)daemon.status;
	} else if (err != -EADDRINUSE) {
		snprintf(why, sizeof(why), "%s: %s", config->socket, strerror(-err));
		tell_ready(&daemon, EXIT_SOCKET, why);
		err = EXIT_SOCKET;
	}
	if (daemon.ctl)
		ctl_free(daemon.ctl);
	cache_bpf_free(daemon.bpf);
	children_stop();
	loop_signal_stop(&daemon.terminate);
	loop_signal_stop(&daemon.interrupt);
	loop_signal_stop(&daemon.hangup);
	daemon_kept_stop(&daemon);
	if (daemon.loop)
		loop_free(daemon.loop);
	return err;
}
