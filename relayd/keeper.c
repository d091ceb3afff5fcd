/*
 * The keeper's loop: signals, messages, and the end of the relayd that it has.
 *
 * The keeper dying leaves a relayd that goes on: it starts an heir (keeper_inherit()), and
 * gives it everything once more.  Both dying at once, before that, is the mounts' end.
 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper_parts.h"
#include "log.h"
#include "rights.h"

extern char **environ;

/* The delay before the next relayd after one that has not served, doubled from the first to the last. */
#define DELAY_FIRST_MS 100
#define DELAY_MAX_MS 10000
/* How long one must have been there for the next to begin at once. */
#define HEALTHY_MS 100u

struct keeper keeper = {.table_fd = -1, .signals = -1, .pidfd = -1, .socket = -1, .directory = -1};

uint64_t keeper_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the loop ------------------------------------------------------------- */

static void signal_take(void)
{
	struct signalfd_siginfo info;

	while (read(keeper.signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			keeper_children_reap();
		} else if (info.ssi_signo == SIGHUP) {
			keeper_restart();
		} else {
			keeper.ending = (int)info.ssi_signo;
			if (keeper.worker)
				kill(keeper.worker, keeper.ending);
		}
	}
}

static void loop_once(int timeout)
{
	struct pollfd poller[] = {
		{.fd = keeper.signals, .events = POLLIN},
		{.fd = keeper.socket, .events = POLLIN},
		{.fd = keeper.pidfd, .events = POLLIN},
	};
	siginfo_t info = {0};

	if (poll(poller, 3, timeout) < 0)
		return;
	if (poller[1].revents && !keeper_messages_take()) {
		close(keeper.socket);
		keeper.socket = -1;
	}
	if (poller[0].revents)
		signal_take();
	/* One that is no child of ours: how it has ended is its parent's to know. */
	if (poller[2].revents && keeper.worker && waitid(P_PID, (id_t)keeper.worker, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		keeper_worker_ended(0, false);
}

/* Messages and children are taken meanwhile. */
static void wait_ms(int ms)
{
	const uint64_t end = keeper_now_ms() + (uint64_t)ms;
	uint64_t now;

	while ((now = keeper_now_ms()) < end)
		loop_once((int)(end - now));
}

/* As relayd has ended. */
static int status_pass_on(int status)
{
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signal(WTERMSIG(status), SIG_DFL);
	sigprocmask(SIG_SETMASK, &keeper.old, NULL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

/* Before the next: nothing after one that has served a while, else more and more. */
static int delay_next(int delay)
{
	if (keeper.served && keeper_now_ms() - keeper.started_ms >= HEALTHY_MS)
		return 0;
	if (!delay)
		return DELAY_FIRST_MS;
	return delay * 2 < DELAY_MAX_MS ? delay * 2 : DELAY_MAX_MS;
}

static int keeper_loop(void)
{
	int delay = 0;

	for (;;) {
		while (keeper.worker)
			loop_once(-1);
		if (keeper.table->count == 0)
			return status_pass_on(keeper.status);
		wait_ms(delay);
		keeper_worker_start();
		while (keeper.worker)
			loop_once(-1);
		delay = delay_next(delay);
	}
}

/* ---- the start: all that the keeper needs is had here -------------------------- */

static int table_build(void)
{
	keeper.table_fd = memfd_create("relayd-keeper", MFD_CLOEXEC);
	if (keeper.table_fd < 0 || ftruncate(keeper.table_fd, sizeof(*keeper.table)) < 0)
		return -errno;
	keeper.table = mmap(NULL, sizeof(*keeper.table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			    keeper.table_fd, 0);
	if (keeper.table == MAP_FAILED)
		return -errno;
	keeper_table_init(keeper.table);
	return 0;
}

/* The keeper's own, with one word that changes. */
static int environment_build(void)
{
	const size_t length = strlen(KEEPER_ENVIRONMENT "=");
	size_t count = 0, to = 0;

	while (environ[count])
		count++;
	keeper.environment = calloc(count + 2, sizeof(*keeper.environment));
	if (!keeper.environment)
		return -ENOMEM;
	keeper.environment[to++] = keeper.own;
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], KEEPER_ENVIRONMENT "=", length) != 0)
			keeper.environment[to++] = environ[i];
	return 0;
}

static int signals_build(void)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &wanted, &keeper.old) < 0)
		return -errno;
	keeper.signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (keeper.signals < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	/* Inherited as ignored it would take the children's statuses away. */
	signal(SIGCHLD, SIG_DFL);
	return 0;
}

/* As many as relayd may have. */
static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int keeper_build(const struct keeper_config *config)
{
	ssize_t length = readlink("/proc/self/exe", keeper.program, sizeof(keeper.program) - 1);
	int err;

	keeper.config = config;
	keeper.program[length > 0 ? length : 0] = '\0';
	err = table_build();
	if (!err)
		err = environment_build();
	if (!err)
		err = signals_build();
	if (err)
		return err;
	/* What a dead relayd leaves becomes the keeper's child: backends, whose ends the next one watches. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return -errno;
	descriptors_raise();
	rights_keep(RIGHTS_KEEPER);
	rights_lower();
	/* From here on nothing is allocated. */
	prctl(PR_SET_NAME, "relayd-keeper");
	return 0;
}

static int build_failed(int err)
{
	fprintf(stderr, "relayd: cannot become a keeper: %s\n", strerror(-err));
	return EXIT_FAILURE;
}

int keeper_run(const struct keeper_config *config)
{
	int err = keeper_build(config);

	if (err)
		return build_failed(err);
	keeper.directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (config->detached && chdir("/") < 0)
		log_warning("cannot leave the directory that it was started in: %s", strerror(errno));
	keeper_worker_start();
	return keeper_loop();
}

int keeper_inherit(const struct keeper_config *config, int socket, pid_t worker)
{
	int err = keeper_build(config);

	if (err)
		return build_failed(err);
	if (config->detached)
		log_to_syslog("relayd");
	fcntl(socket, F_SETFD, FD_CLOEXEC);
	fcntl(socket, F_SETFL, O_NONBLOCK);
	keeper.socket = socket;
	keeper.ready = keeper.served = true;
	keeper.started_ms = keeper_now_ms();
	keeper.worker = worker;
	keeper.pidfd = (int)syscall(SYS_pidfd_open, worker, 0);
	/* It has died meanwhile, and the number may be another's. */
	if (keeper.pidfd < 0 || getppid() != worker)
		keeper_worker_ended(0, false);
	return keeper_loop();
}
