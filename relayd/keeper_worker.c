/*
 * The relayd that the keeper has: how it is started, what it says, and how it ends.
 *
 * It is started with every descriptor that is held, under the same number, and the table of
 * their names.  Whether its end was one in order is told by its status, or by what it has
 * left: one that has unmounted everything has dropped every descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fdpass.h"
#include "keeper_parts.h"
#include "log.h"
#include "rights.h"

/* How long one may take that only looks, and one that is to go on until it is ready. */
#define CHECK_SECONDS 5u
#define RESUME_SECONDS 30u

/* ---- how it is started ------------------------------------------------------ */

/* In the child.  What is allocated here would be the child's, but nothing is. */
static void worker_become(int socket, bool check)
{
	rights_raise();
	for (uint32_t i = 0; i < keeper.table->count; i++)
		fcntl(keeper.table->entry[i].fd, F_SETFD, 0);
	fcntl(socket, F_SETFD, 0);
	fcntl(keeper.table_fd, F_SETFD, 0);
	if (keeper.config->teller >= 0)
		fcntl(keeper.config->teller, F_SETFD, 0);
	if (keeper.directory >= 0 && fchdir(keeper.directory) < 0)
		log_warning("keeper: cannot go back to where it was started: %s", strerror(errno));
	snprintf(keeper.own, sizeof(keeper.own), KEEPER_ENVIRONMENT "=%d:%d:%d:%d:%s", socket, keeper.table_fd,
		 keeper.ready ? -1 : keeper.config->teller, check, keeper.config->path);
	/* A group of its own: what is typed at the terminal is the keeper's to pass on, once. */
	setpgid(0, 0);
	sigprocmask(SIG_SETMASK, &keeper.old, NULL);
	/* One that hangs ends by it; one that is ready stops it. */
	signal(SIGALRM, SIG_DFL);
	alarm(check ? CHECK_SECONDS : keeper.ready ? RESUME_SECONDS : 0);
	if (check || !keeper.stay)
		execve(keeper.program, keeper.config->argv, keeper.environment);
	execve("/proc/self/exe", keeper.config->argv, keeper.environment);
	_exit(127);
}

/* Returns the child's pid, or a negative errno; *ours is the keeper's end of its socket. */
static pid_t worker_fork(bool check, int *ours)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid == 0)
		worker_become(pair[1], check);
	if (pid < 0)
		pid = -errno;
	close(pair[1]);
	*ours = pair[0];
	if (pid < 0)
		close(pair[0]);
	return pid;
}

void keeper_worker_start(void)
{
	pid_t pid = worker_fork(false, &keeper.socket);

	keeper.served = false;
	keeper.started_ms = keeper_now_ms();
	if (pid < 0) {
		log_error("keeper: cannot start relayd: %s", strerror((int)-pid));
		keeper.socket = -1;
		return;
	}
	keeper.worker = pid;
	keeper.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
}

/* A relayd is only ended for one that has said that it can go on. */
void keeper_restart(void)
{
	int ours;

	if (keeper.checker || !keeper.worker)
		return;
	keeper.checker = worker_fork(true, &ours);
	if (keeper.checker < 0) {
		log_error("keeper: cannot check another relayd: %s", strerror((int)-keeper.checker));
		keeper.checker = 0;
		return;
	}
	close(ours);
}

/* ---- what it says ------------------------------------------------------------ */

/* Whoever waits for the outcome has been told: from here on there is no terminal, and no directory. */
static void ready_first(void)
{
	int null;

	keeper.ready = true;
	if (keeper.directory >= 0)
		close(keeper.directory);
	keeper.directory = -1;
	if (!keeper.config->detached)
		return;
	log_to_syslog("relayd");
	if (keeper.config->teller >= 0)
		close(keeper.config->teller);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int stream = 0; null >= 0 && stream <= STDERR_FILENO; stream++)
		dup2(null, stream);
	if (null >= 0)
		close(null);
}

static void message_take(const char *text, size_t size, int fd)
{
	struct keeper_message message;
	int old = -1, err;

	err = keeper_message_parse(text, size, &message);
	if (!err && message.store != (fd >= 0))
		err = -EPROTO;
	if (!err && message.store)
		err = keeper_table_put(keeper.table, message.name, fd, &old);
	else if (!err && message.remove)
		old = keeper_table_drop(keeper.table, message.name);
	if (err) {
		log_warning("keeper: a message of %zu bytes: %s", size, strerror(-err));
		old = fd;
	}
	if (old >= 0)
		close(old);
	if (!err && message.restart)
		raise(SIGHUP);
	if (err || !message.ready)
		return;
	keeper.served = true;
	/* Not before: one that has no handlers yet would die of it. */
	if (keeper.ending && keeper.ready)
		kill(keeper.worker, keeper.ending);
	if (!keeper.ready)
		ready_first();
}

bool keeper_messages_take(void)
{
	char text[KEEPER_MESSAGE_MAX];

	for (;;) {
		unsigned fds = 1;
		int fd = -1;
		ssize_t n = relay_internal_recv_fds(keeper.socket, text, sizeof(text), &fd, &fds);

		if (n == -EAGAIN)
			return true;
		if (n == 0 || (n < 0 && n != -EMSGSIZE))
			return false;
		if (n > 0)
			message_take(text, (size_t)n, fds ? fd : -1);
	}
}

/* ---- how it ends ------------------------------------------------------------- */

void keeper_worker_ended(int status, bool told)
{
	/* What it had sent comes first: the next one may find nothing missing. */
	if (keeper.socket >= 0) {
		keeper_messages_take();
		close(keeper.socket);
	}
	if (keeper.pidfd >= 0)
		close(keeper.pidfd);
	keeper.socket = keeper.pidfd = -1;
	keeper.worker = 0;
	keeper.status = status;
	/* In order: what it may have forgotten is nothing that another should go on with. */
	if (told && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		while (keeper.table->count > 0)
			close(keeper_table_drop(keeper.table, keeper.table->entry[0].name));
	if (keeper.table->count == 0)
		return;
	/* What is installed by now may be the reason: of another version, half of a file, or broken.  Or our own is. */
	if (!keeper.served)
		keeper.stay = !keeper.stay;
	log_error("keeper: relayd has died (wait status %#x); another one goes on with %u descriptors", (unsigned)status,
		  keeper.table->count);
}

static void checker_ended(int status)
{
	keeper.checker = 0;
	if (status == 0 && keeper.worker) {
		keeper.stay = false;
		kill(keeper.worker, SIGKILL);
		return;
	}
	log_error("keeper: another relayd could not take over (wait status %#x); this one goes on", (unsigned)status);
}

/* What backends have left behind is among them. */
void keeper_children_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == keeper.worker)
			keeper_worker_ended(status, true);
		else if (pid == keeper.checker)
			checker_ended(status);
	}
}
