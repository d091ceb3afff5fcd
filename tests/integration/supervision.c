/*
 * Supervision: requests that kill backends, backends that do not come up, and
 * applications meanwhile; restarts under load, unmounting what is in use, and a
 * backend whose program goes away.  tests/integration/attach.sh has the backends
 * that relayd does not start.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/asker.h"
#include "../lib/check.h"
#include "../lib/relayd.h"

#define LIVES 3
/* "Promptly", on a machine that has much else to do. */
#define PROMPT_MS 5000

/* A process that asks for the name; its exit status is the errno. */
static pid_t ask(const struct relayd *r, const char *name)
{
	return asker_start(r, name, asker_stat);
}

static bool dies_promptly(pid_t pid)
{
	return asker_dies(pid, PROMPT_MS);
}

/* ---- a request that kills -------------------------------------------------- */

static void check_poison(struct relayd *r)
{
	struct relayd_status before;
	struct relayd_status after;
	struct bystander bystander;
	int error;

	bystander_begin(&bystander, r);
	relayd_status(r, &before);
	error = asker_stat(r, "poison");
	check(error == EIO, "poison: the application gets EIO (it got %s)", strerrorname_np(error));
	check(relayd_wait(r, before.incarnation + LIVES, 20000), "poison: the mount serves again");
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation + LIVES, "poison: it has killed %u lives (of %u)",
	      after.incarnation - before.incarnation, LIVES);
	check(relayd_log_wait(r, "answered EIO", 5000) && relayd_log_has(r, "LOOKUP"), "poison: the log names it");
	bystander_end(&bystander);
	check(bystander.errors == 0 && bystander.answers > 0, "poison: %u other requests are not harmed",
	      bystander.answers);
}

/* ---- a backend that does not come up --------------------------------------- */

static void check_backoff(struct relayd *r)
{
	struct relayd_status status;
	pid_t before = ask(r, "hang");
	pid_t during;
	pid_t patient;
	int result;

	check(check_until(asker_has_inflight, r, 5000), "backoff: a request is in flight");
	asker_order(r, "die", true);
	relayd_kill_backend(r);
	check(relayd_wait_state(r, "BACKOFF", 20000), "backoff: the state is visible");
	during = ask(r, "good");
	patient = ask(r, "good");
	check(check_until(asker_has_inflight, r, 5000), "backoff: requests are taken meanwhile");
	check(dies_promptly(before), "backoff: whose request was in flight can be killed");
	check(dies_promptly(during), "backoff: whose request is new can be killed");
	relayd_status(r, &status);
	check(status.relayd_pid == r->pid, "backoff: relayd answers");
	asker_order(r, "die", false);
	check(relayd_wait_state(r, "SERVING", 40000), "backoff: it ends when the backend comes up");
	check(check_until(asker_has_ended, &patient, PROMPT_MS), "backoff: who has waited is answered");
	waitpid(patient, &result, 0);
	check(WIFEXITED(result) && WEXITSTATUS(result) == 0, "backoff: and gets the right answer");
	check(asker_stat(r, "good") == 0, "backoff: the mount serves");
}

/* In flight, with a backend that lives and never answers. */
static void check_hang(struct relayd *r)
{
	struct relayd_status before;
	pid_t pid = ask(r, "hang");

	relayd_status(r, &before);
	check(check_until(asker_has_inflight, r, 5000), "no answer: the request is in flight");
	kill(pid, SIGKILL);
	relayd_ctl(r, (const char *const[]){"restart", r->mnt, NULL});
	check(relayd_wait(r, before.incarnation + 1, 20000) && asker_stat(r, "good") == 0,
	      "no answer: the backend is replaced on request");
	check(dies_promptly(pid), "no answer: that lets go of a process that was killed");
}

/* ---- a backend that has a file of its own mount open ------------------------- */

struct own {
	pid_t pid;
	char file[160];
};

static bool has_opened(void *arg)
{
	const struct own *own = arg;
	char link[64];
	char target[256];

	for (unsigned fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/%d/fd/%u", (int)own->pid, fd);
		n = readlink(link, target, sizeof(target) - 1);
		if (n > 0 && (target[n] = '\0', strcmp(target, own->file) == 0))
			return true;
	}
	return false;
}

/* It cannot end before its FLUSH is answered, and until then there is nobody to answer. */
static void check_own(struct relayd *r)
{
	struct relayd_status status;
	struct own own;

	asker_stat(r, "own");
	relayd_status(r, &status);
	own.pid = status.backend_pid;
	snprintf(own.file, sizeof(own.file), "%s/good", r->mnt);
	check(check_until(has_opened, &own, 5000), "own file: the backend has it open");
	kill(own.pid, SIGKILL);
	check(relayd_wait(r, status.incarnation + 1, 20000), "own file: the next life begins");
	check(asker_stat(r, "good") == 0, "own file: the mount serves");
	check(relayd_log_has(r, "is dying; answered EINTR"), "own file: its own FLUSH was answered");
}

/* Its first thread waits for an answer of its own mount: the process is not seen to be exiting. */
static void check_own_leader(struct relayd *r)
{
	struct relayd_status status;

	asker_stat(r, "leader");
	check(check_until(asker_has_inflight, r, 5000), "own request: its first thread waits for the mount");
	relayd_status(r, &status);
	kill(status.backend_pid, SIGKILL);
	check(relayd_wait(r, status.incarnation + 1, 20000), "own request: the next life begins");
	check(asker_stat(r, "good") == 0, "own request: the mount serves");
}

/* ---- restarts under load ---------------------------------------------------- */

#define WORKERS 3
#define RESTARTS 20

static struct {
	const struct relayd *r;
	atomic_bool over;
	_Atomic unsigned operations;
	_Atomic unsigned errors;
} load;

static void *work(void *arg)
{
	unsigned number = 0;
	char name[160];
	char other[170];

	while (!load.over) {
		int fd;

		snprintf(name, sizeof(name), "%s/w%ld-%u", load.r->mnt, (long)(intptr_t)arg, number++);
		snprintf(other, sizeof(other), "%s.moved", name);
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, name, strlen(name)) != (ssize_t)strlen(name) || fsync(fd) < 0 || close(fd) < 0)
			load.errors++;
		if (rename(name, other) < 0 || unlink(other) < 0 || access(other, F_OK) == 0)
			load.errors++;
		load.operations++;
	}
	return NULL;
}

static void check_restarts(struct relayd *r)
{
	struct relayd_status before;
	struct relayd_status after;
	pthread_t threads[WORKERS];
	unsigned failed = 0;

	load.r = r;
	relayd_status(r, &before);
	for (long i = 0; i < WORKERS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			check_abort("no thread");
	for (unsigned i = 1; i <= RESTARTS; i++) {
		if (relayd_ctl(r, (const char *const[]){"restart", r->mnt, NULL}) != 0)
			failed++;
		if (!relayd_wait(r, before.incarnation + i, 20000))
			failed++;
	}
	load.over = true;
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	relayd_status(r, &after);
	check(failed == 0 && after.incarnation == before.incarnation + RESTARTS, "%u restarts under load", RESTARTS);
	check(load.errors == 0 && load.operations > 0, "restarts: %u rounds of operations without an error",
	      load.operations);
}

/* ---- unmounting, and a program that goes away -------------------------------- */

static void copy_program(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		check_abort("%s: %s", to, strerror(errno));
	while (st.st_size > 0) {
		ssize_t done = sendfile(out, in, NULL, (size_t)st.st_size);

		if (done <= 0)
			check_abort("%s: %s", to, strerror(errno));
		st.st_size -= done;
	}
	close(in);
	close(out);
}

static void check_vanished(struct relayd *r, const char *program)
{
	char away[200];

	snprintf(away, sizeof(away), "%s.away", program);
	if (rename(program, away) < 0)
		check_abort("%s: %s", program, strerror(errno));
	relayd_kill_backend(r);
	check(relayd_log_wait(r, "cannot be executed", 20000), "no program: the log says so");
	check(relayd_wait_state(r, "BACKOFF", 20000), "no program: it is tried again");
	if (rename(away, program) < 0)
		check_abort("%s: %s", program, strerror(errno));
	check(relayd_wait_state(r, "SERVING", 60000), "no program: once it is back, the mount serves");
	check(asker_stat(r, "missing") == ENOENT, "no program: the mount answers");
}

static bool is_gone(void *arg)
{
	const struct relayd *r = arg;

	return waitpid(r->pid, NULL, WNOHANG) == r->pid;
}

static void check_unmount(struct relayd *r)
{
	char path[160];
	char byte;
	int fd;

	snprintf(path, sizeof(path), "%s/open", r->mnt);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(fd >= 0 && write(fd, "x", 1) == 1, "unmount: a file is open");
	check(relayd_ctl(r, (const char *const[]){"unmount", r->mnt, NULL}) != 0, "unmount: refused while it is in use");
	check(pread(fd, &byte, 1, 0) == 1 && byte == 'x', "unmount: what was refused has harmed nothing");
	check(relayd_ctl(r, (const char *const[]){"unmount", "--force", r->mnt, NULL}) == 0, "unmount: by force it goes");
	close(fd);
	check(check_until(is_gone, r, 20000), "unmount: relayd ends with its last mount");
	r->pid = 0;
	check(relayd_stop(r), "unmount: nothing is left behind");
}

int main(void)
{
	char backend[PATH_MAX + 128];
	char program[128];
	struct relayd r;

	check_requires_fuse();
	relayd_init(&r);
	snprintf(backend, sizeof(backend), "%s %s", relayd_program("tests/integration/supervision_backend"), r.store);
	relayd_spawn(&r, backend, NULL);
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	check_poison(&r);
	check_backoff(&r);
	check_hang(&r);
	check_own(&r);
	check_own_leader(&r);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");

	relayd_init(&r);
	snprintf(program, sizeof(program), "%s/program", r.dir);
	copy_program(relayd_program("fs/fsserver/fsserver"), program);
	snprintf(backend, sizeof(backend), "%s --source %s", program, r.store);
	relayd_spawn(&r, backend, NULL);
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	check_restarts(&r);
	check_vanished(&r, program);
	check_unmount(&r);
	return check_end();
}
