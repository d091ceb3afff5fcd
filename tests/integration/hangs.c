/*
 * Backends that hold requests and don't end, and applications that are killed meanwhile; and
 * what applications get once no backend has served for too long.  In each lane.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/asker.h"
#include "../lib/check.h"
#include "../lib/relayd.h"

#define LIVES 3
/* The deadlines given below, what finding out takes, and a machine that has much else to do. */
#define PROMPT_MS 10000

static const char *lane;

static int lock_in(const struct relayd *r, const char *name)
{
	struct flock lock = {.l_type = F_RDLCK};
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->mnt, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fcntl(fd, F_SETLKW, &lock) < 0 ? errno : 0;
}

static bool dies_promptly(pid_t pid)
{
	return asker_dies(pid, PROMPT_MS);
}

/* Its exit status, or -1 if it does not end. */
static int outcome(pid_t pid)
{
	int status;

	if (!check_until(asker_has_ended, &pid, PROMPT_MS))
		return -1;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- a request that hangs ---------------------------------------------------- */

static void check_hang(struct relayd *r)
{
	struct relayd_status before, after;
	pid_t waiter = asker_start(r, "good", lock_in);
	struct bystander bystander;
	int error;

	/* Older than the request that hangs: it would be blamed first. */
	check(check_until(asker_has_inflight, r, PROMPT_MS), "%s: somebody waits for a lock", lane);
	bystander_begin(&bystander, r);
	relayd_status(r, &before);
	error = asker_stat(r, "hang");
	check(error == EIO, "%s: a request that hangs gets EIO (it got %s)", lane, strerrorname_np(error));
	check(relayd_wait(r, before.incarnation + LIVES, 20000), "%s: the mount serves again", lane);
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation + LIVES, "%s: it was with %u lives (of %u)", lane,
	      after.incarnation - before.incarnation, LIVES);
	bystander_end(&bystander);
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
	pid_t pid = asker_start(r, "hang", asker_stat);

	check(check_until(asker_has_inflight, r, PROMPT_MS), "%s: held: the request is in flight", lane);
	check(dies_promptly(pid), "%s: held: its caller can be killed", lane);
	check(asker_stat(r, "good") == 0, "%s: held: the mount serves", lane);
}

/* Each of its threads: a signal's sender does not wait until they are. */
static bool is_stopped(void *pid)
{
	char path[48], stat[512] = "";
	struct dirent *entry;
	bool stopped = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", *(const int *)pid);
	dir = opendir(path);
	while (dir && stopped && (entry = readdir(dir)) != NULL) {
		FILE *file;
		const char *state;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.10s/stat", *(const int *)pid, entry->d_name);
		file = fopen(path, "re");
		state = file && fgets(stat, sizeof(stat), file) ? strrchr(stat, ')') : NULL;
		stopped = state && state[1] == ' ' && state[2] == 'T';
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
	return dir && stopped;
}

/* It does not read, and so cannot say that it has anything. */
static void check_stopped(struct relayd *r)
{
	struct relayd_status status;
	pid_t victim, patient;

	asker_stat(r, "good");
	relayd_status(r, &status);
	kill(status.backend_pid, SIGSTOP);
	check(check_until(is_stopped, &status.backend_pid, PROMPT_MS), "%s: stopped: it is", lane);
	victim = asker_start(r, "good", asker_stat);
	patient = asker_start(r, "good", asker_stat);
	check(dies_promptly(victim), "%s: stopped: a caller can be killed", lane);
	check(outcome(patient) == 0, "%s: stopped: the backend is replaced, and who has waited is answered", lane);
	check(relayd_wait(r, status.incarnation + 1, PROMPT_MS), "%s: stopped: it is the next life", lane);
}

/* The second life is given again, and alone, what has killed the first, and hangs. */
static void check_redo(struct relayd *r)
{
	pid_t pid, victim;

	asker_order(r, "twice", false);
	pid = asker_start(r, "twice", asker_stat);
	check(relayd_wait_state(r, "REDOING", PROMPT_MS), "%s: redo: the state is visible", lane);
	victim = asker_start(r, "good", asker_stat);
	check(dies_promptly(victim), "%s: redo: whose request waits can be killed", lane);
	check(dies_promptly(pid), "%s: redo: whose request is redone can be killed", lane);
	check(relayd_wait_state(r, "SERVING", PROMPT_MS) && asker_stat(r, "good") == 0, "%s: redo: the mount serves",
	      lane);
}

/* ---- no backend for too long --------------------------------------------------- */

static bool fails(void *arg)
{
	return relayd_log_has(arg, "requests are answered with errors until one does");
}

static void check_down(struct relayd *r)
{
	pid_t had = asker_start(r, "hang", asker_stat), patient, victim;
	int error;

	check(check_until(asker_has_inflight, r, PROMPT_MS), "%s: down: a request is in flight", lane);
	asker_order(r, "die", true);
	relayd_kill_backend(r);
	check(relayd_wait_state(r, "BACKOFF", 20000), "%s: down: no backend comes up", lane);
	patient = asker_start(r, "good", asker_stat);
	victim = asker_start(r, "good", asker_stat);
	check(dies_promptly(victim), "%s: down: a caller can be killed", lane);
	error = outcome(had);
	check(error == EIO, "%s: down: what a backend had gets EIO (it got %d)", lane, error);
	error = outcome(patient);
	check(error == ENOTCONN, "%s: down: what none has seen gets ENOTCONN (it got %d)", lane, error);
	check(check_until(fails, r, PROMPT_MS), "%s: down: the log says so", lane);
	error = asker_stat(r, "good");
	check(error == ENOTCONN, "%s: down: so does what comes later (it got %d)", lane, error);
	check(dies_promptly(asker_start(r, "good", asker_stat)), "%s: down: a caller can be killed then, too", lane);
	asker_order(r, "die", false);
	check(relayd_wait_state(r, "SERVING", 40000), "%s: down: a backend comes up", lane);
	check(asker_stat(r, "good") == 0, "%s: down: all goes on", lane);
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
