/*
 * relayd's processes: which one this is, and how who asked is told of the outcome.
 *
 * As a daemon the process that was started waits for the one that goes on, and
 * exits with the status and the reason that that one gives.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl_client.h"
#include "daemon.h"
#include "fdstore.h"
#include "hand_over.h"
#include "keeper.h"
#include "keeper_table.h"
#include "log.h"
#include "options.h"
#include "rights.h"

/* Where the outcome goes: a pipe to the process that was started, or standard error. */
struct teller {
	int pipe; /* -1: none */
	bool detached;
};

/* As the daemon sees it, whose directory is another. */
static char *path_absolute(const char *path)
{
	char *real = realpath(path, NULL);
	char *joined, *cwd;

	/* What realpath(3) cannot pass, such as a dead mount, is named as it was given. */
	if (real || *path == '/')
		return real ? real : strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&joined, "%s/%s", cwd, path) < 0)
		joined = NULL;
	free(cwd);
	return joined;
}

static void tell(const struct teller *teller, enum relayd_exit status, const char *why)
{
	unsigned char byte = (unsigned char)status;

	if (status != EXIT_OK)
		fprintf(stderr, "relayd: %s\n", why);
	if (teller->pipe >= 0 && write(teller->pipe, &byte, 1) != 1)
		log_debug("nobody waits for this relayd any more");
}

/* The daemon serves: from here on it has no terminal. */
static void terminal_leave(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog("relayd");
	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

static void on_ready(enum relayd_exit status, const char *why, void *arg)
{
	struct teller *teller = arg;

	tell(teller, status, why);
	if (status == EXIT_OK && teller->detached)
		terminal_leave();
	if (teller->pipe >= 0)
		close(teller->pipe);
	teller->pipe = -1;
}

/* To the relayd that serves the socket already.  -EAGAIN: it has ended meanwhile. */
static int mount_elsewhere(const struct options *options, const char *socket, const struct teller *teller)
{
	unsigned status = EXIT_OK;
	char why[512] = "";
	int err = hand_over(socket, &options->mount, why, sizeof(why), &status);

	if (err == -EAGAIN)
		return err;
	tell(teller, err ? (enum relayd_exit)status : EXIT_OK, why);
	return err ? (int)status : EXIT_OK;
}

static int serve(const struct options *options, const char *socket, struct teller *teller)
{
	const struct daemon_config config = {
		.socket = socket,
		.mount = options->mount.mountpoint ? &options->mount : NULL,
		.argv = options->argv,
		.on_ready = on_ready,
		.arg = teller,
	};
	char why[PATH_MAX + 128];
	int result;

	do {
		result = daemon_run(&config);
		if (result == -EADDRINUSE && config.mount && !options->foreground)
			result = mount_elsewhere(options, socket, teller);
	} while (result == -EAGAIN);
	if (result != -EADDRINUSE)
		return result;
	snprintf(why, sizeof(why), "%s: a relayd serves this socket already; give --socket for one of its own", socket);
	tell(teller, EXIT_SOCKET, why);
	return EXIT_SOCKET;
}

/* Returns the exit status that the process which serves has told. */
static int wait_for(pid_t child, int pipe)
{
	unsigned char status;
	ssize_t n;
	int ended;

	do {
		n = read(pipe, &status, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return status;
	/* It has ended without a word. */
	if (waitpid(child, &ended, 0) == child && WIFSIGNALED(ended))
		fprintf(stderr, "relayd: killed by signal %d before it was ready\n", WTERMSIG(ended));
	return EXIT_FAILED;
}

/* The process that was started waits; the other one keeps a relayd. */
static int keep_detached(struct keeper_config *config)
{
	int pipes[2];
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		fprintf(stderr, "relayd: cannot become a daemon: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	if (child > 0) {
		close(pipes[1]);
		return wait_for(child, pipes[0]);
	}
	close(pipes[0]);
	config->teller = pipes[1];
	setsid();
	return keeper_run(config);
}

/* The process that is started becomes the keeper of one that serves, unless a service manager is that. */
static int keep(const struct options *options, const char *socket, const struct keeper_heir *heir)
{
	struct keeper_config config = {
		.argv = options->argv,
		.path = socket,
		.teller = -1,
		.detached = !options->foreground,
	};

	if (heir)
		return keeper_inherit(&config, heir->socket, heir->of);
	return config.detached ? keep_detached(&config) : keeper_run(&config);
}

/* As keeper_run() has started it. */
static int work(struct options *options, const struct keeper_worker *worker, const char *socket)
{
	struct teller teller = {.pipe = -1, .detached = !options->foreground};
	char *directory, *mountpoint = NULL;
	int status;

	if (worker && worker->teller >= 0) {
		teller.pipe = worker->teller;
		fcntl(teller.pipe, F_SETFD, FD_CLOEXEC);
	}
	options->mount.uid = getuid();
	options->mount.gid = getgid();
	options->mount.directory = directory = getcwd(NULL, 0);
	if (options->mount.mountpoint)
		options->mount.mountpoint = mountpoint = path_absolute(options->mount.mountpoint);
	if (teller.detached && chdir("/") < 0)
		log_warning("cannot leave the directory that it was started in: %s", strerror(errno));
	/* Nobody waits: an earlier one has been ready. */
	if (teller.detached && teller.pipe < 0)
		terminal_leave();
	status = serve(options, socket, &teller);
	free(directory);
	free(mountpoint);
	return status;
}

/* Backends are told of it, wherever they are started. */
static int socket_absolute(char *socket, size_t size)
{
	char cwd[PATH_MAX], relative[PATH_MAX];

	if (*socket == '/')
		return 0;
	snprintf(relative, sizeof(relative), "%s", socket);
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	if ((size_t)snprintf(socket, size, "%s/%s", cwd, relative) < size)
		return 0;
	errno = ENAMETOOLONG;
	return -errno;
}

/* What is opened later must not become a standard stream: backends' are set from others (launch.c). */
static void streams_open(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* Returns 0 or an exit status. */
static int socket_find(const struct options *options, char *socket, size_t size)
{
	int err = relay_internal_ctl_path(options->socket, socket, size);

	if (err) {
		fprintf(stderr, "relayd: no place for the control socket: %s\n",
			err == -ENOENT ? "XDG_RUNTIME_DIR is not set; give --socket" : strerror(-err));
		return EXIT_SOCKET;
	}
	if (socket_absolute(socket, size) == 0)
		return 0;
	fprintf(stderr, "relayd: %s: no place for the control socket: %s\n", socket, strerror(errno));
	return EXIT_SOCKET;
}

/* A copy, which is not freed, of what is not to be in the environment of others. */
static char *variable_take(const char *name)
{
	char *text = getenv(name);

	text = text ? strdup(text) : NULL;
	unsetenv(name);
	return text;
}

int main(int argc, char **argv)
{
	struct options options = {.level = LOG_LEVEL_INFO, .argv = argv};
	struct keeper_worker worker;
	struct keeper_heir heir;
	char socket[PATH_MAX];
	bool kept, inherits;
	int status;

	streams_open();
	options_parse(&options, argc, argv);
	log_set_level(options.level);
	kept = keeper_worker_of(variable_take(KEEPER_ENVIRONMENT), &worker) == 0;
	inherits = keeper_heir_of(variable_take(KEEPER_HEIR_ENVIRONMENT), &heir) == 0;
	if (kept || inherits) {
		snprintf(socket, sizeof(socket), "%s", kept ? worker.path : heir.path);
	} else {
		status = socket_find(&options, socket, sizeof(socket));
		if (status)
			return status;
	}
	if (!kept && !(options.foreground && getenv("NOTIFY_SOCKET")))
		return keep(&options, socket, inherits ? &heir : NULL);
	rights_keep(RIGHTS_RELAYD);
	prctl(PR_SET_NAME, "relayd");
	if (fdstore_begin(kept ? &worker : NULL) < 0)
		return KEEPER_EXIT_OTHER_VERSION;
	status = daemon_check(kept && worker.check);
	if (status || (kept && worker.check))
		return status;
	return work(&options, kept ? &worker : NULL, socket);
}
