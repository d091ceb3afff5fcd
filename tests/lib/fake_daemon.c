/*
 * The fake daemon.  All of its state belongs to its thread; the test's thread has
 * things done there, one at a time, and waits for them.
 */
#include "lib/fake_daemon.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"
#include "ctl.h"
#include "daemon.h"
#include "loop.h"
#include "stats.h"

struct mount {
	struct mount *next;
	char name[128];
	char mountpoint[4096];
	uid_t uid;
	struct fake_mount is;
	struct stats stats;
	struct mount_watcher *watchers;
};

struct daemon {
	struct mount *first;
	struct fake_asked asked;
	struct fake_mount next;
	int refuse;
	char why[256];
};

struct fake_daemon {
	struct daemon daemon;
	struct loop *loop;
	struct ctl *ctl;
	struct loop_wake wake;
	pthread_t thread;
	char dir[64];
	char path[80];
	pthread_mutex_t lock;
	pthread_cond_t done;
	void (*job)(struct fake_daemon *fake, void *arg); /* NULL: done */
	void *arg;
};

/* The one that the stubs belong to. */
static struct fake_daemon *current;

/* ---- what ctl_*.c call ---------------------------------------------------- */

static void tell(struct mount *mount, bool gone)
{
	struct mount_watcher *watcher, *next;

	for (watcher = mount->watchers; watcher; watcher = next) {
		next = watcher->next;
		if (gone)
			mount_unwatch(mount, watcher);
		watcher->on_change(watcher, mount, gone);
	}
}

static void mount_remove(struct daemon *daemon, struct mount *mount)
{
	struct mount **at;

	for (at = &daemon->first; *at != mount; at = &(*at)->next)
		;
	*at = mount->next;
	tell(mount, true);
	free(mount);
}

static struct mount *mount_append(struct daemon *daemon, const char *name, const char *mountpoint, uid_t uid,
				  const struct fake_mount *is)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	struct mount **last;

	if (!mount)
		abort();
	snprintf(mount->name, sizeof(mount->name), "%s", name);
	snprintf(mount->mountpoint, sizeof(mount->mountpoint), "%s", mountpoint);
	mount->uid = uid;
	mount->is = *is;
	for (last = &daemon->first; *last; last = &(*last)->next)
		;
	*last = mount;
	return mount;
}

enum relayd_exit daemon_exit_status(int err)
{
	return err == -ENOTDIR ? EXIT_MOUNTPOINT : EXIT_FAILED;
}

int daemon_mount_add(struct daemon *daemon, const struct mount_config *config, struct mount **out, char *why,
		     size_t why_size)
{
	struct fake_asked *asked = &daemon->asked;

	asked->adds++;
	snprintf(asked->name, sizeof(asked->name), "%s", config->name ? config->name : "");
	snprintf(asked->mountpoint, sizeof(asked->mountpoint), "%s", config->mountpoint ? config->mountpoint : "");
	snprintf(asked->options, sizeof(asked->options), "%s", config->options ? config->options : "");
	snprintf(asked->backend, sizeof(asked->backend), "%s", config->backend ? config->backend : "");
	snprintf(asked->directory, sizeof(asked->directory), "%s", config->directory ? config->directory : "");
	asked->uid = config->uid;
	asked->gid = config->gid;
	asked->shared_store = config->choices.shared_store;
	asked->socket_lane = config->choices.socket_lane;
	asked->no_resend = config->choices.no_resend;
	asked->lives = config->choices.lives;
	asked->request_timeout_ms = config->choices.request_timeout_ms;
	asked->fail_after_ms = config->choices.fail_after_ms;
	asked->wanted = config->via;
	asked->unnamed = config->unnamed;
	asked->words = asked->variables = 0;
	for (char *const *word = config->argv; word && *word; word++)
		asked->words++;
	for (char *const *variable = config->environment; variable && *variable; variable++)
		asked->variables++;
	if (daemon->refuse) {
		snprintf(why, why_size, "%s", daemon->why);
		return daemon->refuse;
	}
	*out = mount_append(daemon, config->name ? config->name : config->mountpoint,
			    config->mountpoint ? config->mountpoint : "", config->uid, &daemon->next);
	return 0;
}

struct mount *daemon_mount_next(struct daemon *daemon, struct mount *after)
{
	return after ? after->next : daemon->first;
}

struct mount *daemon_mount_find(struct daemon *daemon, const char *name, uint64_t ns)
{
	struct mount *mount;

	(void)ns;
	for (mount = daemon->first; mount; mount = mount->next) {
		if (strcmp(mount->name, name) == 0 || strcmp(mount->mountpoint, name) == 0)
			return mount;
	}
	return NULL;
}

struct mount *daemon_mount_awaiting(struct daemon *daemon, const char *token)
{
	struct mount *mount;

	for (mount = daemon->first; mount; mount = mount->next) {
		if (mount->is.token && strcmp(mount->is.token, token) == 0)
			return mount;
	}
	return NULL;
}

int mount_come_in(struct mount *mount, int channel, const struct mount_visitor *visitor, char *why, size_t why_size)
{
	struct fake_asked *asked = &current->daemon.asked;

	asked->visits++;
	asked->via = visitor->via;
	asked->gid = visitor->gid;
	snprintf(asked->options, sizeof(asked->options), "%s", visitor->options);
	snprintf(asked->mountpoint, sizeof(asked->mountpoint), "%s", visitor->target);
	if (mount->is.attach_result) {
		snprintf(why, why_size, "refused");
		return mount->is.attach_result;
	}
	asked->channel = channel;
	return 0;
}

void mount_refuse(struct mount *mount, const char *token, const char *why, unsigned exit_status)
{
	(void)mount;
	(void)token;
	(void)why;
	current->daemon.asked.refused = exit_status;
}

int mount_upgrade(struct mount *mount, const char *backend, uint32_t timeout_ms, char *why, size_t why_size)
{
	struct fake_asked *asked = &current->daemon.asked;

	snprintf(asked->backend, sizeof(asked->backend), "%s", backend);
	asked->timeout_ms = timeout_ms;
	if (mount->is.upgrade_result)
		snprintf(why, why_size, "no upgrade");
	return mount->is.upgrade_result;
}

int mount_attach(struct mount *mount, int channel, pid_t pid, enum way_via via)
{
	struct fake_asked *asked = &current->daemon.asked;

	asked->attaches++;
	asked->via = via;
	if (mount->is.attach_result)
		return mount->is.attach_result;
	asked->channel = channel;
	asked->pid = pid;
	mount->is.incarnation++;
	return 0;
}

int mount_restart(struct mount *mount)
{
	current->daemon.asked.restarts++;
	if (!mount->is.restart_result) {
		mount->is.state = SUPERVISOR_DRAINING;
		tell(mount, false);
	}
	return mount->is.restart_result;
}

int mount_unmount(struct mount *mount, bool force)
{
	current->daemon.asked.unmounts++;
	current->daemon.asked.force = force;
	return mount->is.unmount_result;
}

void mount_status(const struct mount *mount, struct mount_status *out)
{
	*out = (struct mount_status){
		.name = mount->name,
		.mountpoint = mount->mountpoint,
		.state = mount->is.state,
		.lane = "socket",
		.incarnation = mount->is.incarnation,
		.backend_pid = mount->is.backend_pid,
		.via = "preload",
		.inflight = 3,
		.uid = mount->uid,
		.restarts = mount->stats.restarts,
		.redone = mount->stats.redone,
		.longest_pause_us = mount->stats.longest_pause_us,
		.problem = mount->is.problem ? mount->is.problem : "",
		.exit_status = mount->is.exit_status,
		.detached = mount->is.detached,
		.unmount_error = mount->is.unmount_error,
		.upgrades = mount->is.upgrades,
		.upgrade_error = mount->is.upgrade_error,
		.upgrade_why = mount->is.upgrade_why ? mount->is.upgrade_why : "",
	};
}

const struct stats *mount_stats(const struct mount *mount)
{
	return &mount->stats;
}

void mount_known(const struct mount *mount, struct cache_counts *counts)
{
	(void)mount;
	*counts = (struct cache_counts){
		.hits = {1, 2, 3, 4, 5}, .directories = 6, .present = 7, .absent = 8, .xattrs = 9};
}

void mount_count(const struct mount *mount, uint32_t opcode, struct relay_count *out)
{
	memcpy(out, &mount->stats.opcodes[opcode], sizeof(*out));
}

void mount_watch(struct mount *mount, struct mount_watcher *watcher)
{
	watcher->next = mount->watchers;
	mount->watchers = watcher;
}

void mount_unwatch(struct mount *mount, struct mount_watcher *watcher)
{
	struct mount_watcher **at;

	for (at = &mount->watchers; *at; at = &(*at)->next) {
		if (*at == watcher) {
			*at = watcher->next;
			return;
		}
	}
	abort(); /* not on the list */
}

/* ---- its thread ----------------------------------------------------------- */

static void on_wake(struct loop_wake *wake)
{
	struct fake_daemon *fake = (struct fake_daemon *)((char *)wake - offsetof(struct fake_daemon, wake));

	pthread_mutex_lock(&fake->lock);
	if (fake->job)
		fake->job(fake, fake->arg);
	fake->job = NULL;
	pthread_cond_broadcast(&fake->done);
	pthread_mutex_unlock(&fake->lock);
}

static void *serve(void *arg)
{
	struct fake_daemon *fake = arg;

	loop_run(fake->loop);
	return NULL;
}

static void fake_do(struct fake_daemon *fake, void (*job)(struct fake_daemon *fake, void *arg), void *arg)
{
	pthread_mutex_lock(&fake->lock);
	fake->job = job;
	fake->arg = arg;
	loop_wake_send(&fake->wake);
	while (fake->job)
		pthread_cond_wait(&fake->done, &fake->lock);
	pthread_mutex_unlock(&fake->lock);
}

struct fake_daemon *fake_daemon_start(void)
{
	struct fake_daemon *fake = calloc(1, sizeof(*fake));

	if (!fake)
		abort();
	strcpy(fake->dir, "/tmp/relayd-ctl-XXXXXX");
	/* For other users too: the socket's own directory is what relayd makes it. */
	if (!mkdtemp(fake->dir) || chmod(fake->dir, 0755) < 0)
		abort();
	snprintf(fake->path, sizeof(fake->path), "%s/s/sock", fake->dir);
	fake->daemon.asked.channel = -1;
	fake->daemon.next.state = SUPERVISOR_STARTING;
	pthread_mutex_init(&fake->lock, NULL);
	pthread_cond_init(&fake->done, NULL);
	current = fake;
	if (loop_new(&fake->loop) < 0 || ctl_new(&fake->ctl, fake->loop, &fake->daemon, fake->path) < 0)
		abort();
	loop_wake_start(fake->loop, &fake->wake, on_wake);
	if (pthread_create(&fake->thread, NULL, serve, fake) != 0)
		abort();
	return fake;
}

static void job_stop(struct fake_daemon *fake, void *arg)
{
	(void)arg;
	ctl_free(fake->ctl);
	while (fake->daemon.first)
		mount_remove(&fake->daemon, fake->daemon.first);
	loop_wake_stop(&fake->wake);
	loop_break(fake->loop);
}

void fake_daemon_stop(struct fake_daemon *fake)
{
	char sub[80];

	fake_do(fake, job_stop, NULL);
	pthread_join(fake->thread, NULL);
	loop_free(fake->loop);
	if (fake->daemon.asked.channel >= 0)
		close(fake->daemon.asked.channel);
	snprintf(sub, sizeof(sub), "%s/s", fake->dir);
	/* Fails, and so does the test, if ctl_free() has left something there. */
	if (rmdir(sub) < 0 || rmdir(fake->dir) < 0)
		abort();
	free(fake);
}

const char *fake_daemon_path(const struct fake_daemon *fake)
{
	return fake->path;
}

/* ---- what the test has done ----------------------------------------------- */

struct order {
	const char *name;
	const char *mountpoint;
	uid_t uid;
	const struct fake_mount *mount;
	int err;
	uint32_t opcode;
	uint64_t latency_ns;
	struct fake_asked asked;
	unsigned count;
};

static struct mount *named(struct fake_daemon *fake, const char *name)
{
	struct mount *mount = daemon_mount_find(&fake->daemon, name, 0);

	if (!mount)
		abort();
	return mount;
}

static void job_add(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;

	mount_append(&fake->daemon, order->name, order->mountpoint, order->uid, order->mount);
}

void fake_mount_add(struct fake_daemon *fake, const char *name, const char *mountpoint, uid_t uid,
		    const struct fake_mount *mount)
{
	fake_do(fake, job_add, &(struct order){.name = name, .mountpoint = mountpoint, .uid = uid, .mount = mount});
}

static void job_set(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;
	struct mount *mount = named(fake, order->name);

	mount->is = *order->mount;
	tell(mount, false);
}

void fake_mount_set(struct fake_daemon *fake, const char *name, const struct fake_mount *mount)
{
	fake_do(fake, job_set, &(struct order){.name = name, .mount = mount});
}

static void job_end(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;

	mount_remove(&fake->daemon, named(fake, order->name));
}

void fake_mount_end(struct fake_daemon *fake, const char *name)
{
	fake_do(fake, job_end, &(struct order){.name = name});
}

static void job_refuse(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;

	fake->daemon.refuse = order->err;
	snprintf(fake->daemon.why, sizeof(fake->daemon.why), "%s", order->name);
}

void fake_daemon_refuse(struct fake_daemon *fake, int err, const char *why)
{
	fake_do(fake, job_refuse, &(struct order){.err = err, .name = why});
}

static void job_next(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;

	fake->daemon.next = *order->mount;
}

void fake_daemon_next(struct fake_daemon *fake, const struct fake_mount *mount)
{
	fake_do(fake, job_next, &(struct order){.mount = mount});
}

static void job_count(struct fake_daemon *fake, void *arg)
{
	const struct order *order = arg;

	stats_count(&named(fake, order->name)->stats, order->opcode, order->err, order->latency_ns);
}

void fake_mount_count(struct fake_daemon *fake, const char *name, uint32_t opcode, int error, uint64_t latency_ns)
{
	fake_do(fake, job_count,
		&(struct order){.name = name, .opcode = opcode, .err = error, .latency_ns = latency_ns});
}

static void job_asked(struct fake_daemon *fake, void *arg)
{
	((struct order *)arg)->asked = fake->daemon.asked;
}

struct fake_asked fake_daemon_asked(struct fake_daemon *fake)
{
	struct order order = {0};

	fake_do(fake, job_asked, &order);
	return order.asked;
}

static void job_watchers(struct fake_daemon *fake, void *arg)
{
	struct order *order = arg;
	const struct mount_watcher *watcher;
	const struct mount *mount;

	for (mount = fake->daemon.first; mount; mount = mount->next) {
		for (watcher = mount->watchers; watcher; watcher = watcher->next)
			order->count++;
	}
}

unsigned fake_daemon_watchers(struct fake_daemon *fake)
{
	struct order order = {0};

	fake_do(fake, job_watchers, &order);
	return order.count;
}
