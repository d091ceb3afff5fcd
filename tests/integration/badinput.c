/*
 * Bad input: what comes from a backend, and what comes over the control socket.
 * Whatever it is, relayd goes on serving, the log names the cause, and the
 * application gets EIO at worst.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"
#include "badinput.h"

struct badness {
	const char *name;
	int error;	   /* what the application gets */
	const char *log;   /* what the log says; NULL: nothing is wrong about it */
	unsigned lives;	   /* how many incarnations it costs */
};

static const struct badness badnesses[] = {
	{"garbage", ENOENT, "a reply to nothing", 0},
	{"shorter-than-header", ENOENT, "a packet shorter than a header", 0},
	{"empty", ENOENT, "a packet shorter than a header", 0},
	{"short-reply", EIO, "malformed reply to LOOKUP", 0},
	{"no-payload", EIO, "malformed reply to LOOKUP", 0},
	{"long-reply", EIO, "malformed reply to LOOKUP", 0},
	{"huge-reply", EIO, "longer than any reply", 0},
	{"lying-length", EIO, "malformed reply to LOOKUP", 0},
	{"error-with-payload", EIO, "malformed reply to LOOKUP", 0},
	{"error-positive", EIO, "malformed reply to LOOKUP", 0},
	{"error-huge", EIO, "malformed reply to LOOKUP", 0},
	{"wrong-unique", ENOENT, "a reply to nothing", 0},
	{"duplicate", ENOENT, "a reply to nothing", 0},
	{"second-init", ENOENT, "second reply to INIT", 0},
	{"interrupt-reply", ENOENT, NULL, 0},
	{"unknown-notification", ENOENT, "notification", 0},
	{"short-notification", ENOENT, "notification", 0},
	{"lying-notification", ENOENT, "notification", 0},
	{"huge-notification", ENOENT, "a notification longer than any", 0},
	{"keep-nothing", ENOENT, "a malformed KEEP", 0},
	{"drop-short", ENOENT, "a malformed DROP", 0},
	{"no-type", EIO, NULL, 0},
	{"root-again", EIO, NULL, 0},
	{"other-version", ENOENT, "a HELLO of another version", 1},
	{"leave", ENOENT, "exited with status 0", 1},
	{"close-channel", ENOENT, "was killed by signal 9", 1},
	/* The log names the first of them only; so nothing else is to be found in it after this. */
	{"many-replies", ENOENT, "a reply to nothing", 0},
};

/* The log is looked at from here on, so that each cause is named anew. */
static void log_forget(const struct relayd *r)
{
	if (truncate(r->log, 0) < 0)
		check_abort("%s: %s", r->log, strerror(errno));
}

static bool serves(const struct relayd *r)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/good", r->mnt);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * Has the kernel go on knowing the file, whatever else drops its caches meanwhile: bad input
 * about a node that it does not know is nothing bad, and a name that it does not know is
 * looked up behind a request for another one in that directory that is never answered.
 */
static int good_hold(const struct relayd *r)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/good", r->mnt);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		check_abort("%s: %s", path, strerror(errno));
	return fd;
}

static void check_badness(struct relayd *r, const struct badness *badness)
{
	struct relayd_status before;
	struct relayd_status after;
	char path[160];
	struct stat st;
	int error;

	log_forget(r);
	relayd_status(r, &before);
	snprintf(path, sizeof(path), "%s/%s", r->mnt, badness->name);
	error = stat(path, &st) < 0 ? errno : 0;
	check(error == badness->error, "%s: the application gets %s", badness->name, strerrorname_np(badness->error));
	if (error != badness->error)
		printf("     it got %s\n", strerror(error));
	if (badness->log)
		check(relayd_log_wait(r, badness->log, 5000), "%s: the log says \"%s\"", badness->name, badness->log);
	relayd_wait(r, before.incarnation + badness->lives, 20000);
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation + badness->lives && after.relayd_pid == before.relayd_pid,
	      "%s: it costs %u lives", badness->name, badness->lives);
	check(serves(r), "%s: relayd goes on serving", badness->name);
}

/* A process that asks for the name, and waits for the answer. */
static pid_t ask(const struct relayd *r, const char *name)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	char path[160];
	struct stat st;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	snprintf(path, sizeof(path), "%s/%s", r->mnt, name);
	_exit(stat(path, &st) < 0 ? errno : 0);
}

static bool has_inflight(void *arg)
{
	struct relayd_status status;

	return relayd_status(arg, &status) && status.inflight > 0;
}

static bool has_ended(void *arg)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/* It says nothing: whoever waits for it can be killed, and others are served. */
static void check_silence(struct relayd *r)
{
	pid_t pid = ask(r, "silent");
	int status = 0;

	check(check_until(has_inflight, r, 5000), "silent: the request is in flight");
	check(serves(r), "silent: others are served meanwhile");
	kill(pid, SIGKILL);
	/* A backend that does not answer an INTERRUPT either holds on to the request; the restart frees it. */
	relayd_ctl(r, (const char *const[]){"restart", r->mnt, NULL});
	check(check_until(has_ended, &pid, 15000), "silent: the application can be killed");
	waitpid(pid, &status, 0);
	check(WIFSIGNALED(status) || WEXITSTATUS(status) == ENOENT, "silent: it ends by the kill, or with an answer");
	check(relayd_wait(r, 0, 15000) && serves(r), "silent: the backend is replaced on request");
}

static void check_stopped(struct relayd *r)
{
	struct relayd_status before;
	pid_t pid;
	int status = 0;

	relayd_status(r, &before);
	pid = ask(r, "stop");
	check(check_until(has_inflight, r, 5000), "stopped: the request is in flight");
	relayd_ctl(r, (const char *const[]){"restart", r->mnt, NULL});
	check(relayd_wait(r, before.incarnation + 1, 20000), "stopped: the backend is replaced");
	waitpid(pid, &status, 0);
	check(WIFEXITED(status) && WEXITSTATUS(status) == ENOENT, "stopped: the next life answers");
	check(serves(r), "stopped: relayd goes on serving");
}

/* Lives that do not get past INIT: the next one does. */
static void check_init(struct relayd *r)
{
	static const char *const words[] = {"leave", "abort", "error", "short", "huge", "garbage", "close"};
	struct relayd_status before;
	char path[160];
	FILE *file;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		snprintf(path, sizeof(path), "%s/init", r->store);
		file = fopen(path, "we");
		if (!file || fprintf(file, "%s\n", words[i]) < 0 || fclose(file) != 0)
			check_abort("%s: %s", path, strerror(errno));
		relayd_status(r, &before);
		relayd_kill_backend(r);
		check(relayd_wait(r, before.incarnation + 2, 40000), "INIT %s: the life after it serves", words[i]);
		check(serves(r), "INIT %s: relayd goes on serving", words[i]);
	}
}

int main(void)
{
	char backend[PATH_MAX + 128];
	struct relayd r;
	int held;

	check_requires_fuse();
	relayd_init(&r);
	snprintf(backend, sizeof(backend), "%s %s", relayd_program("tests/integration/badinput_backend"), r.store);
	relayd_spawn(&r, backend, (const char *const[]){"-o", "allow_other", NULL});
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	check(serves(&r), "the backend can behave");
	held = good_hold(&r);
	for (size_t i = 0; i < sizeof(badnesses) / sizeof(badnesses[0]); i++)
		check_badness(&r, &badnesses[i]);
	check_silence(&r);
	check_stopped(&r);
	check_init(&r);
	badinput_control(&r);
	check(serves(&r), "after all of it the mount answers");
	close(held);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");
	return check_end();
}
