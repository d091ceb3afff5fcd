/*
 * The daemon and whoever keeps what outlives it: a keeper, or a service manager.
 *
 * The keeper dying leaves nothing with anybody but this process; another one is started, and
 * given everything.  A process dying before it has everything is the end of the mounts
 * of which something is missing there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon_parts.h"
#include "fdstore.h"
#include "keeper.h"
#include "keeper_table.h"
#include "log.h"

extern char **environ;

/* Between two starts of a keeper. */
#define HEIR_MS 1000u

/* A descriptor of nothing in particular: that it is there tells that somebody was told. */
void daemon_ready_put(void)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0)
		return;
	fdstore_put(FDSTORE_DAEMON, "ready", null);
	close(null);
}

/* ---- another keeper -------------------------------------------------------- */

/* Starts a keeper that inherits this process.  Returns its socket, or a negative errno. */
static int heir_start(const struct daemon *daemon, pid_t *pid)
{
	char own[PATH_MAX + 64], **environment;
	int pair[2], err;
	size_t count = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	while (environ[count])
		count++;
	environment = calloc(count + 2, sizeof(*environment));
	err = environment ? 0 : -ENOMEM;
	if (!err) {
		snprintf(own, sizeof(own), KEEPER_HEIR_ENVIRONMENT "=%d:%d:%s", pair[1], (int)getpid(),
			 daemon->config->socket);
		memcpy(environment, environ, count * sizeof(*environment));
		environment[count] = own;
		/* It alone is to have the other end. */
		fcntl(pair[1], F_SETFD, 0);
		err = -posix_spawn(pid, "/proc/self/exe", NULL, NULL, daemon->config->argv, environment);
	}
	free(environment);
	close(pair[1]);
	if (!err)
		return pair[0];
	close(pair[0]);
	return err;
}

static void on_keeper_end(struct loop_io *io, unsigned events);
static void on_heir_timer(struct loop_timer *timer);

/* Nobody else has what the dead keeper had: another one is given everything. */
static void heir_begin(struct daemon *daemon)
{
	pid_t pid;
	int socket = heir_start(daemon, &pid);

	/* Sooner would be at once, if each one ends as it starts. */
	loop_timer_start(daemon->loop, &daemon->heir, HEIR_MS, on_heir_timer);
	if (socket < 0) {
		log_error("the keeper has died, and there can be no other yet: %s; the death of this process would end its mounts",
			  strerror(-socket));
		return;
	}
	log_warning("the keeper has died; another one, pid %d, takes its place", (int)pid);
	fdstore_keeper_set(socket, pid);
	ctl_put(daemon->ctl);
	if (daemon->told)
		daemon_ready_put();
	for (struct mount *m = daemon_mount_next(daemon, NULL); m; m = daemon_mount_next(daemon, m))
		mount_put_all(m);
	if (daemon->told)
		fdstore_tell("READY=1");
	loop_io_start(daemon->loop, &daemon->keeper, fdstore_keeper(), LOOP_READ, on_keeper_end);
}

static void on_heir_timer(struct loop_timer *timer)
{
	struct daemon *daemon = (struct daemon *)((char *)timer - offsetof(struct daemon, heir));

	if (!daemon->keeper.loop)
		heir_begin(daemon);
}

static void on_keeper_end(struct loop_io *io, unsigned events)
{
	struct daemon *daemon = (struct daemon *)((char *)io - offsetof(struct daemon, keeper));
	char byte;

	(void)events;
	/* Nothing is ever sent to us. */
	if (recv(fdstore_keeper(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return;
	loop_io_stop(io);
	if (!loop_timer_active(&daemon->heir))
		heir_begin(daemon);
}

/* ---- a service manager's watchdog -------------------------------------------- */

static void on_watchdog(struct loop_timer *timer)
{
	struct daemon *daemon = (struct daemon *)((char *)timer - offsetof(struct daemon, watchdog));

	fdstore_tell("WATCHDOG=1");
	loop_timer_start(daemon->loop, timer, daemon->watchdog_ms, on_watchdog);
}

/* sd_watchdog_enabled(3): twice as often as has to be. */
static void watchdog_start(struct daemon *daemon)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (usec && (!pid || strtol(pid, NULL, 10) == getpid()))
		daemon->watchdog_ms = strtoull(usec, NULL, 10) / 2000;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	if (daemon->watchdog_ms)
		loop_timer_start(daemon->loop, &daemon->watchdog, daemon->watchdog_ms, on_watchdog);
}

/* ---- what an earlier relayd has left ------------------------------------------ */

int daemon_check(bool beside)
{
	int err = 0;

	for (unsigned id = fdstore_mount_next(0); id && !err; id = fdstore_mount_next(id)) {
		err = mount_resume_check(id);
		/* What no version could go on with keeps none from what it can. */
		if (err != -EPROTONOSUPPORT && !beside)
			err = 0;
	}
	if (!err)
		return EXIT_OK;
	log_error("what the relayd before this one has of its mounts cannot be gone on with: %s", strerror(-err));
	return KEEPER_EXIT_OTHER_VERSION;
}

static void mount_left(struct daemon *daemon, unsigned id)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry || mount_resume(&entry->mount, daemon->loop, id, daemon->config->socket, daemon->bpf,
				   daemon_on_mount_gone, daemon) < 0)
		free(entry);
	else
		daemon_entry_add(daemon, entry);
}

/* What an earlier relayd has left. */
static void mounts_resume(struct daemon *daemon)
{
	int fd = fdstore_take(FDSTORE_DAEMON, "ready");

	daemon->resumed = fd >= 0;
	if (fd >= 0)
		close(fd);
	for (unsigned id = fdstore_mount_next(0); id; id = fdstore_mount_next(id)) {
		daemon->mounts = id;
		mount_left(daemon, id);
	}
	fdstore_discard(FDSTORE_DAEMON);
}

void daemon_kept_start(struct daemon *daemon)
{
	if (fdstore_keeper() >= 0)
		loop_io_start(daemon->loop, &daemon->keeper, fdstore_keeper(), LOOP_READ, on_keeper_end);
	watchdog_start(daemon);
	mounts_resume(daemon);
}

void daemon_kept_stop(struct daemon *daemon)
{
	loop_io_stop(&daemon->keeper);
	loop_timer_stop(&daemon->heir);
	loop_timer_stop(&daemon->watchdog);
	fdstore_drop(FDSTORE_DAEMON, "ready");
}
