/*
 * A relayd of the test's own.  relayd is a child in the foreground, and the test
 * a subreaper: whatever relayd leaves behind becomes the test's child, and is
 * found by relayd_stop().
 */
#include "relayd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "uring_enable.h"

static struct relayd *all;
static pid_t owner; /* atexit() runs in forked children too */

const char *relayd_program(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned turn;
	char *path = paths[turn++ % 8];
	const char *build = getenv("RELAY_BUILD");
	char joined[PATH_MAX];

	snprintf(joined, sizeof(joined), "%s/%s", build ? build : ".", name);
	if (!realpath(joined, path))
		check_abort("%s: %s", joined, strerror(errno));
	return path;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	if (remove(path) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return 0;
}

void relayd_remove_tree(const char *path)
{
	nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void stop_all(void)
{
	if (getpid() != owner)
		return;
	while (all)
		relayd_stop(all);
}

/*
 * exit() from a handler may hang.  But what is left otherwise is a directory for
 * sure, and tests/run-test sends SIGKILL to one that hangs.
 */
static void on_signal(int number)
{
	if (getpid() == owner)
		exit(128 + number);
	_exit(128 + number);
}

void relayd_init(struct relayd *r)
{
	*r = (struct relayd){0};
	strcpy(r->dir, "/tmp/relayd-test.XXXXXX");
	if (!mkdtemp(r->dir))
		check_abort("mkdtemp: %s", strerror(errno));
	/* mkdtemp() makes it 0700, but other users are to come through. */
	chmod(r->dir, 0755);
	snprintf(r->store, sizeof(r->store), "%s/store", r->dir);
	snprintf(r->mnt, sizeof(r->mnt), "%s/mnt", r->dir);
	snprintf(r->socket, sizeof(r->socket), "%s/sock", r->dir);
	snprintf(r->log, sizeof(r->log), "%s/log", r->dir);
	if (mkdir(r->store, 0755) < 0 || mkdir(r->mnt, 0755) < 0)
		check_abort("%s: %s", r->dir, strerror(errno));
	if (!owner) {
		owner = getpid();
		atexit(stop_all);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		signal(SIGPIPE, SIG_IGN);
		signal(SIGTERM, on_signal);
		signal(SIGINT, on_signal);
		signal(SIGHUP, on_signal);
	}
	r->next = all;
	all = r;
}

static void uring_need(void)
{
	int err = uring_enable();

	if (err == -ENOENT) {
		puts("SKIP: the kernel has no FUSE over io_uring (Linux 6.14 on)");
		exit(CHECK_SKIP);
	}
	if (err)
		check_abort("FUSE over io_uring cannot be turned on: %s", strerror(-err));
}

/* What $RELAY_TEST_LANE says: another lane than relayd takes by itself. */
static unsigned lane_add(const char **argv)
{
	const char *lane = getenv("RELAY_TEST_LANE");

	if (!lane || !*lane || strcmp(lane, "direct") == 0)
		return 0;
	if (strcmp(lane, "uring") == 0) {
		uring_need();
		argv[0] = "--lane=uring";
		return 1;
	}
	if (strcmp(lane, "socket") != 0 && strcmp(lane, "no-resend") != 0)
		check_abort("RELAY_TEST_LANE: direct, socket, no-resend or uring, not %s", lane);
	argv[0] = strcmp(lane, "socket") == 0 ? "--lane=socket" : "--resend=off";
	return 1;
}

void relayd_spawn(struct relayd *r, const char *backend, const char *const *extra)
{
	const char *argv[32];
	unsigned argc = 0;
	pid_t parent = getpid();
	int log;

	argv[argc++] = relayd_program("relayd/relayd");
	argv[argc++] = "--foreground";
	argv[argc++] = "--socket";
	argv[argc++] = r->socket;
	if (backend) {
		argv[argc++] = "--mount";
		argv[argc++] = r->mnt;
		argv[argc++] = "--backend";
		argv[argc++] = backend;
		argc += lane_add(argv + argc);
	}
	while (extra && *extra)
		argv[argc++] = *extra++;
	argv[argc] = NULL;

	log = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log < 0)
		check_abort("%s: %s", r->log, strerror(errno));
	r->pid = fork();
	if (r->pid < 0)
		check_abort("fork: %s", strerror(errno));
	if (r->pid == 0) {
		/* A test that is killed takes its relayd with it, which unmounts. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(127);
		dup2(log, STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(log);
}

static bool relayd_ended(struct relayd *r)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0;
}

static bool wait_with(struct relayd *r, const char *state, uint32_t incarnation, unsigned ms)
{
	char state_arg[64];
	char incarnation_arg[64];
	char timeout_arg[64];
	const char *args[] = {"wait", state_arg, incarnation_arg, timeout_arg, r->mnt, NULL};
	uint64_t end = check_now_ms() + ms;
	char out[256];

	snprintf(state_arg, sizeof(state_arg), "--state=%s", state);
	snprintf(incarnation_arg, sizeof(incarnation_arg), "--incarnation=%u", incarnation);
	for (;;) {
		uint64_t now = check_now_ms();

		if (now >= end || relayd_ended(r))
			return false;
		snprintf(timeout_arg, sizeof(timeout_arg), "--timeout=%u", (unsigned)((end - now + 999) / 1000));
		/* Until relayd has its socket, relayctl fails at once. */
		if (relayd_ctl_output(r, args, out, sizeof(out)) == 0)
			return true;
	}
}

bool relayd_wait(struct relayd *r, uint32_t incarnation, unsigned ms)
{
	return wait_with(r, "SERVING", incarnation, ms);
}

bool relayd_wait_state(struct relayd *r, const char *state, unsigned ms)
{
	return wait_with(r, state, 0, ms);
}

void relayd_start(struct relayd *r, const char *backend, const char *const *extra)
{
	relayd_init(r);
	relayd_spawn(r, backend, extra);
	if (!relayd_wait(r, 1, 20000)) {
		relayd_log_show(r);
		check_abort("the mount does not serve");
	}
}

int relayd_ctl_output(const struct relayd *r, const char *const *args, char *out, size_t out_size)
{
	const char *argv[24] = {relayd_program("relayd/relayctl"), "--socket", r->socket};
	unsigned argc = 3;
	size_t size = 0;
	ssize_t got;
	int fds[2];
	int status;
	pid_t pid;

	while (*args)
		argv[argc++] = *args++;
	if (pipe2(fds, O_CLOEXEC) < 0)
		check_abort("pipe2: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		check_abort("fork: %s", strerror(errno));
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	while (size + 1 < out_size && (got = read(fds[0], out + size, out_size - 1 - size)) > 0)
		size += (size_t)got;
	out[size] = '\0';
	close(fds[0]);
	if (waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int relayd_ctl(const struct relayd *r, const char *const *args)
{
	char out[4096];

	return relayd_ctl_output(r, args, out, sizeof(out));
}

/* The value behind "key": in JSON whose keys are unique, or NULL. */
static const char *json_value(const char *json, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\"", key);
	at = strstr(json, quoted);
	if (!at)
		return NULL;
	at += strlen(quoted);
	return at + strspn(at, ": \t\n");
}

static double json_number(const char *json, const char *key)
{
	const char *value = json_value(json, key);

	return value ? strtod(value, NULL) : 0;
}

bool relayd_status(const struct relayd *r, struct relayd_status *status)
{
	const char *const args[] = {"status", "--json", NULL};
	const char *state;
	char out[8192];

	*status = (struct relayd_status){0};
	if (relayd_ctl_output(r, args, out, sizeof(out)) != 0)
		return false;
	status->relayd_pid = (pid_t)json_number(out, "relayd_pid");
	state = json_value(out, "state");
	if (!state || *state != '"')
		return false;
	snprintf(status->state, sizeof(status->state), "%.*s", (int)strcspn(state + 1, "\""), state + 1);
	status->backend_pid = (pid_t)json_number(out, "backend_pid");
	status->incarnation = (uint32_t)json_number(out, "incarnation");
	status->inflight = (uint32_t)json_number(out, "inflight");
	status->restarts = (uint64_t)json_number(out, "restarts");
	status->redone = (uint64_t)json_number(out, "redone");
	status->longest_pause_ms = json_number(out, "longest_pause_ms");
	return true;
}

pid_t relayd_kill_backend(const struct relayd *r)
{
	struct relayd_status status;

	if (!relayd_status(r, &status) || status.backend_pid <= 0)
		return 0;
	return kill(status.backend_pid, SIGKILL) == 0 ? status.backend_pid : 0;
}

static bool is_called(pid_t pid, const char *name)
{
	char path[64], line[32] = "";
	FILE *comm;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	comm = fopen(path, "re");
	if (!comm || fscanf(comm, "%31s", line) != 1)
		line[0] = '\0';
	if (comm)
		fclose(comm);
	return strcmp(line, name) == 0;
}

static pid_t parent_of(pid_t pid)
{
	char path[64];
	int parent = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	if (stat && fscanf(stat, "%*d (%*[^)]) %*c %d", &parent) != 1)
		parent = 0;
	if (stat)
		fclose(stat);
	return parent;
}

/*
 * The child of its keeper's that is called relayd: backends of dead ones are that one's children
 * too.  One that has started its keeper is its parent.
 */
static pid_t worker_of(pid_t keeper)
{
	char path[64];
	FILE *children;
	pid_t found = 0;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
	children = fopen(path, "re");
	while (children && !found && fscanf(children, "%d", &pid) == 1)
		if (is_called(pid, "relayd"))
			found = pid;
	if (children)
		fclose(children);
	if (!found && is_called(parent_of(keeper), "relayd"))
		found = parent_of(keeper);
	return found;
}

struct heir_wait {
	const struct relayd *r;
	pid_t dead;
};

/* relayd does not answer before it has given it everything. */
static bool heir_is_there(void *arg)
{
	const struct heir_wait *wait = arg;
	struct relayd_status status;

	return relayd_status(wait->r, &status) && status.relayd_pid != wait->dead;
}

pid_t relayd_kill_keeper(const struct relayd *r)
{
	struct relayd_status status;
	struct heir_wait wait = {.r = r};

	if (!relayd_status(r, &status) || !is_called(status.relayd_pid, "relayd-keeper") ||
	    kill(status.relayd_pid, SIGKILL) < 0)
		return 0;
	wait.dead = status.relayd_pid;
	return check_until(heir_is_there, &wait, 20000) ? wait.dead : -1;
}

pid_t relayd_kill(const struct relayd *r, bool backend)
{
	struct relayd_status status;
	pid_t worker;

	if (!relayd_status(r, &status))
		return 0;
	worker = worker_of(status.relayd_pid);
	if (!worker || kill(worker, SIGKILL) < 0)
		return 0;
	if (backend && status.backend_pid > 0)
		kill(status.backend_pid, SIGKILL);
	return worker;
}

bool relayd_log_has(const struct relayd *r, const char *text)
{
	char line[4096];
	bool found = false;
	FILE *file = fopen(r->log, "re");

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, text) != NULL;
	fclose(file);
	return found;
}

struct log_text {
	const struct relayd *r;
	const char *text;
};

static bool log_text_there(void *arg)
{
	const struct log_text *wanted = arg;

	return relayd_log_has(wanted->r, wanted->text);
}

bool relayd_log_wait(const struct relayd *r, const char *text, unsigned ms)
{
	struct log_text wanted = {r, text};

	return check_until(log_text_there, &wanted, ms);
}

void relayd_log_show(const struct relayd *r)
{
	char line[4096];
	unsigned lines = 0;
	unsigned skip;
	FILE *file = fopen(r->log, "re");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		lines++;
	skip = lines > 40 ? lines - 40 : 0;
	rewind(file);
	printf("--- log of relayd, from line %u on\n", skip + 1);
	while (fgets(line, sizeof(line), file))
		if (skip)
			skip--;
		else
			fputs(line, stdout);
	puts("---");
	fclose(file);
}

static bool is_mounted(const struct relayd *r)
{
	char line[4096];
	bool found = false;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, r->dir) != NULL;
	if (file)
		fclose(file);
	return found;
}

static bool has_ended(void *arg)
{
	return relayd_ended(arg);
}

/* What relayd left running has become a child of ours by now; kills it. */
static unsigned reap_orphans(void)
{
	unsigned orphans = 0;
	char path[64];
	char line[4096];
	FILE *file;
	int status;

	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "re");
	if (file && fgets(line, sizeof(line), file)) {
		char *save;

		for (char *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
			kill((pid_t)strtol(word, NULL, 10), SIGKILL);
			waitpid((pid_t)strtol(word, NULL, 10), &status, 0);
			orphans++;
		}
	}
	if (file)
		fclose(file);
	return orphans;
}

bool relayd_stop(struct relayd *r)
{
	const char *const gently[] = {"unmount", r->mnt, NULL};
	const char *const force[] = {"unmount", "--force", r->mnt, NULL};
	bool good = true;
	int status = 0;

	if (r->pid > 0) {
		if (!relayd_ended(r) && is_mounted(r) && relayd_ctl(r, gently) != 0) {
			good = false;
			relayd_ctl(r, force);
		}
		/* One that serves the socket only, or holds on, is asked to end. */
		if (!check_until(has_ended, r, is_mounted(r) ? 5000 : 1000)) {
			kill(r->pid, SIGTERM);
			if (!check_until(has_ended, r, 5000)) {
				good = false;
				kill(r->pid, SIGKILL);
			}
		}
		waitpid(r->pid, &status, 0);
		good &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
		if (!good)
			printf("relayd: wait status %#x\n", (unsigned)status);
	}
	r->pid = 0;
	if (is_mounted(r)) {
		printf("relayd: left %s mounted\n", r->mnt);
		good = false;
		umount2(r->mnt, MNT_DETACH);
	}
	if (access(r->socket, F_OK) == 0) {
		printf("relayd: left %s behind\n", r->socket);
		good = false;
	}
	/* A backend that a sanitizer has ended is replaced as any other. */
	if (relayd_log_has(r, "Sanitizer") || relayd_log_has(r, "runtime error:")) {
		printf("relayd: a sanitizer has found something\n");
		good = false;
	}
	for (struct relayd **at = &all; *at; at = &(*at)->next)
		if (*at == r) {
			*at = r->next;
			break;
		}
	if (!all && reap_orphans()) {
		printf("relayd: left processes behind\n");
		good = false;
	}
	if (!good)
		relayd_log_show(r);
	relayd_remove_tree(r->dir);
	return good;
}
