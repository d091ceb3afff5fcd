/*
 * What systemd is to a service of Type=notify with a descriptor store and a watchdog, as
 * sd_notify(3), sd_listen_fds(3) and systemd.service(5) have it:
 *
 *	service_manager DIRECTORY COMMAND…
 *
 * The command is started again when it dies, with what it has stored.  SIGHUP is `systemctl
 * restart`: SIGTERM to it, and it is started again when it has ended.  It ends, and so does
 * this, when it exits with 0 otherwise.  Prints a line for each start, and when it is ready.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "fdpass.h"
#include "keeper_table.h"

#define WATCHDOG_MS 4000u

static struct keeper_table table;
static char **command;
static char path[100];
static int notify;
static pid_t child;
static bool restarting;
static uint64_t alive_ms;

static void names_set(void)
{
	static char names[KEEPER_FDS_MAX * KEEPER_NAME_SIZE];
	char number[16], *end = names;

	for (uint32_t i = 0; i < table.count; i++)
		end += sprintf(end, "%s%s", i ? ":" : "", table.entry[i].name);
	snprintf(number, sizeof(number), "%u", table.count);
	if (table.count) {
		setenv("LISTEN_FDS", number, 1);
		setenv("LISTEN_FDNAMES", names, 1);
		snprintf(number, sizeof(number), "%d", getpid());
		setenv("LISTEN_PID", number, 1);
	}
	snprintf(number, sizeof(number), "%u", WATCHDOG_MS * 1000);
	setenv("WATCHDOG_USEC", number, 1);
	setenv("NOTIFY_SOCKET", path, 1);
}

static void child_become(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGINT);
	/* First out of the way: the number of one may be the place of another. */
	for (uint32_t i = 0; i < table.count; i++)
		table.entry[i].fd = fcntl(table.entry[i].fd, F_DUPFD_CLOEXEC, 4096);
	for (uint32_t i = 0; i < table.count; i++)
		if (dup2(table.entry[i].fd, 3 + (int)i) < 0)
			_exit(126);
	names_set();
	execv(command[0], command);
	_exit(127);
}

static void child_start(void)
{
	printf("started with %u descriptors\n", table.count);
	fflush(stdout);
	alive_ms = check_now_ms();
	child = fork();
	if (child == 0)
		child_become();
}

static void message_take(void)
{
	char text[4096];
	struct keeper_message message;
	unsigned fds = 1;
	int fd = -1, old = -1;
	ssize_t n = relay_internal_recv_fds(notify, text, sizeof(text) - 1, &fd, &fds);

	if (n < 0)
		return;
	if (!fds)
		fd = -1;
	text[n] = '\0';
	if (keeper_message_parse(text, (size_t)n, &message) < 0)
		check_abort("malformed: %s", text);
	if (message.store && (fd < 0 || keeper_table_put(&table, message.name, fd, &old) < 0))
		check_abort("%s: not stored", message.name);
	/* systemd keeps both then, and that is not what was meant. */
	if (message.store && old >= 0)
		check_abort("%s: stored twice", message.name);
	if (message.remove)
		old = keeper_table_drop(&table, message.name);
	if (old >= 0)
		close(old);
	if (strstr(text, "WATCHDOG=1") || message.ready)
		alive_ms = check_now_ms();
	if (message.ready)
		puts("ready");
	fflush(stdout);
}

static void messages_take(void)
{
	struct pollfd poller = {.fd = notify, .events = POLLIN};

	while (poll(&poller, 1, 0) > 0)
		message_take();
}

/* Returns the exit status when all is over, or -1. */
static int child_reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != child)
			continue;
		messages_take();
		if (!restarting && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return 0;
		printf("ended with wait status %#x\n", (unsigned)status);
		restarting = false;
		child_start();
	}
	return -1;
}

static int signal_take(int signals)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return -1;
	if (info.ssi_signo == SIGCHLD)
		return child_reap();
	restarting = info.ssi_signo == SIGHUP;
	kill(child, restarting ? SIGTERM : SIGINT);
	return -1;
}

static void notify_open(const char *directory)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(path, sizeof(path), "%s/notify", directory);
	strcpy(address.sun_path, path);
	notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify < 0 || bind(notify, (struct sockaddr *)&address, sizeof(address)) < 0)
		check_abort("%s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
	struct pollfd poller[2] = {{.events = POLLIN}, {.events = POLLIN}};
	int status = -1;
	sigset_t wanted;

	if (argc < 3) {
		fprintf(stderr, "usage: service_manager DIRECTORY COMMAND…\n");
		return 2;
	}
	command = argv + 2;
	keeper_table_init(&table);
	notify_open(argv[1]);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	poller[0].fd = signalfd(-1, &wanted, SFD_CLOEXEC);
	poller[1].fd = notify;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child_start();
	while (status < 0) {
		poll(poller, 2, 500);
		if (poller[1].revents)
			message_take();
		if (poller[0].revents)
			status = signal_take(poller[0].fd);
		if (check_now_ms() - alive_ms > WATCHDOG_MS)
			kill(child, SIGKILL);
	}
	unlink(path);
	return status;
}
