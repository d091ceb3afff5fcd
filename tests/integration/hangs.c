/*
 * Backends that hold requests and don't end, and applications that are killed meanwhile; and
 * what applications get once no backend has served for too long.  In each lane.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"

#define LIVES 3
/* The deadlines given below, what finding out takes, and a machine that has much else to do. */
#define PROMPT_MS 10000

static const char *lane;

static int stat_in(const struct relayd *r, const char *name)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", r->mnt, name);
	return stat(path, &st) < 0 ? errno : 0;
}

static int lock_in(const struct relayd *r, const char *name)
{
	struct flock lock = {.l_type = F_RDLCK};
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->mnt, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fcntl(fd, F_SETLKW, &lock) < 0 ? errno : 0;
}

/* A process that asks for the name; its exit status is the errno. */
static pid_t ask(const struct relayd *r, const char *name, int (*how)(const struct relayd *r, const char *name))
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	_exit(how(r, name));
}

static bool has_ended(void *arg)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/* Its exit status, or -1 if it does not end. */
static int outcome(pid_t pid)
{
	int status;

	if (!check_until(has_ended, &pid, PROMPT_MS))
		return -1;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool dies_promptly(pid_t pid)
{
	kill(pid, SIGKILL);
	if (!check_until(has_ended, &pid, PROMPT_MS))
		return false;
	waitpid(pid, NULL, 0);
	return true;
}

static bool has_inflight(void *arg)
{
	struct relayd_status status;

	return relayd_status(arg, &status) && status.inflight > 0;
}

static void order(const struct relayd *r, const char *name, bool on)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->store, name);
	if (!on) {
		unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		check_abort("%s: %s", path, strerror(errno));
	close(fd);
}

/* ---- a request that hangs ---------------------------------------------------- */

static struct {
	const struct relayd *r;
	atomic_bool over;
	_Atomic unsigned answers;
	_Atomic unsigned errors;
} bystander;

static void *stand_by(void *arg)
{
	while (!bystander.over) {
		if (stat_in(bystander.r, "good") != 0)
			bystander.errors++;
		bystander.answers++;
	}
	return arg;
}

static void check_hang(struct relayd *r)
{
	struct relayd_status before, after;
	pid_t waiter = ask(r, "good", lock_in);
	pthread_t thread;
	int error;

	/* Older than the request that hangs: it would be blamed first. */
	check(check_until(has_inflight, r, PROMPT_MS), "%s: somebody waits for a lock", lane);
	bystander.r = r;
	bystander.over = false;
	bystander.answers = bystander.errors = 0;
	if (pthread_create(&thread, NULL, stand_by, NULL) != 0)
		check_abort("no thread");
	relayd_status(r, &before);
	error = stat_in(r, "hang");
	check(error == EIO, "%s: a request that hangs gets EIO (it got %s)", lane, strerrorname_np(error));
	check(relayd_wait(r, before.incarnation + LIVES, 20000), "%s: the mount serves again", lane);
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation + LIVES, "%s: it was with %u lives (of %u)", lane,
	      after.incarnation - before.incarnation, LIVES);
	bystander.over = true;
	pthread_join(thread, NULL);
	check(bystander.errors == 0 && bystander.answers > 0, "%s: %u other requests are not harmed", lane,
	      bystander.answers);
	check(relayd_log_has(r, "the backend hangs: LOOKUP") && relayd_log_has(r, "poisoned request: LOOKUP"),
	      "%s: the log names the request", lane);
	check(relayd_log_has(r, "state S, waits in ") && relayd_log_has(r, "kernel stack: "),
	      "%s: the log has what the threads did", lane);
	check(!relayd_log_has(r, "SETLKW, unique"), "%s: who waits for a lock has no deadline", lane);
	kill(waiter, SIGKILL);
	relayd_ctl(r, (const char *const[]){"restart", r->mnt, NULL});
	check(dies_promptly(waiter), "%s: who waits for a lock can be killed when the backend is replaced", lane);
}

/* The backend holds the request of a process that is killed. */
static void check_held(struct relayd *r)
{
	pid_t pid = ask(r, "hang", stat_in);

	check(check_until(has_inflight, r, PROMPT_MS), "%s: held: the request is in flight", lane);
	check(dies_promptly(pid), "%s: held: its caller can be killed", lane);
	check(stat_in(r, "good") == 0, "%s: held: the mount serves", lane);
}

/* It does not read, and so cannot say that it has anything. */
static void check_stopped(struct relayd *r)
{
	struct relayd_status status;
	pid_t victim, patient;

	stat_in(r, "good");
	relayd_status(r, &status);
	kill(status.backend_pid, SIGSTOP);
	victim = ask(r, "good", stat_in);
	patient = ask(r, "good", stat_in);
	check(dies_promptly(victim), "%s: stopped: a caller can be killed", lane);
	check(outcome(patient) == 0, "%s: stopped: the backend is replaced, and who has waited is answered", lane);
	check(relayd_wait(r, status.incarnation + 1, PROMPT_MS), "%s: stopped: it is the next life", lane);
}

/* The second life is given again, and alone, what has killed the first, and hangs. */
static void check_redo(struct relayd *r)
{
	pid_t pid, victim;

	order(r, "twice", false);
	pid = ask(r, "twice", stat_in);
	check(relayd_wait_state(r, "REDOING", PROMPT_MS), "%s: redo: the state is visible", lane);
	victim = ask(r, "good", stat_in);
	check(dies_promptly(victim), "%s: redo: whose request waits can be killed", lane);
	check(dies_promptly(pid), "%s: redo: whose request is redone can be killed", lane);
	check(relayd_wait_state(r, "SERVING", PROMPT_MS) && stat_in(r, "good") == 0, "%s: redo: the mount serves", lane);
}

/* ---- no backend for too long --------------------------------------------------- */

static bool fails(void *arg)
{
	return relayd_log_has(arg, "requests are answered with errors until one does");
}

static void check_down(struct relayd *r)
{
	pid_t had = ask(r, "hang", stat_in), patient, victim;
	int error;

	check(check_until(has_inflight, r, PROMPT_MS), "%s: down: a request is in flight", lane);
	order(r, "die", true);
	relayd_kill_backend(r);
	check(relayd_wait_state(r, "BACKOFF", 20000), "%s: down: no backend comes up", lane);
	patient = ask(r, "good", stat_in);
	victim = ask(r, "good", stat_in);
	check(dies_promptly(victim), "%s: down: a caller can be killed", lane);
	error = outcome(had);
	check(error == EIO, "%s: down: what a backend had gets EIO (it got %d)", lane, error);
	error = outcome(patient);
	check(error == ENOTCONN, "%s: down: what none has seen gets ENOTCONN (it got %d)", lane, error);
	check(check_until(fails, r, PROMPT_MS), "%s: down: the log says so", lane);
	error = stat_in(r, "good");
	check(error == ENOTCONN, "%s: down: so does what comes later (it got %d)", lane, error);
	check(dies_promptly(ask(r, "good", stat_in)), "%s: down: a caller can be killed then, too", lane);
	order(r, "die", false);
	check(relayd_wait_state(r, "SERVING", 40000), "%s: down: a backend comes up", lane);
	check(stat_in(r, "good") == 0, "%s: down: all goes on", lane);
	check(relayd_log_has(r, "a backend serves again"), "%s: down: the log says that, too", lane);
}

static void check_lane(const char *name, const char *option)
{
	const char *const hang[] = {"--request-timeout=1", option, NULL};
	const char *const down[] = {"--down-policy=fail-after=1", option, NULL};
	char backend[PATH_MAX + 128];
	struct relayd r;

	lane = name;
	relayd_init(&r);
	snprintf(backend, sizeof(backend), "%s %s", relayd_program("tests/integration/supervision_backend"), r.store);
	relayd_spawn(&r, backend, hang);
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	check_hang(&r);
	check_held(&r);
	check_stopped(&r);
	check_redo(&r);
	if (check_failures())
		relayd_log_show(&r);
	check(relayd_stop(&r), "%s: relayd ends in order and leaves nothing behind", lane);

	relayd_init(&r);
	snprintf(backend, sizeof(backend), "%s %s", relayd_program("tests/integration/supervision_backend"), r.store);
	relayd_spawn(&r, backend, down);
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	check_down(&r);
	if (check_failures())
		relayd_log_show(&r);
	check(relayd_stop(&r), "%s: and so it does where it has answered with errors", lane);
}

int main(void)
{
	check_requires_fuse();
	check_lane("direct", "--lane=direct");
	check_lane("socket", "--lane=socket");
	check_lane("no RESEND", "--resend=off");
	return check_end();
}
