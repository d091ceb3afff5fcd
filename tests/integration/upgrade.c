/*
 * Upgrades under load: to and fro between two builds and two sets of options, with others in
 * between that fail to start, or start and say nothing.
 *
 *	upgrade [--upgrades N]
 *
 * Under make check there are 20 of each kind of backend; `make upgrades` makes 100.  Of ten one
 * fails to start and one hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/peers.h"
#include "../lib/relayd.h"

#define WORKERS 2

/* relayctl(8) */
enum {
	UPGRADED = 0,
	KEPT = 6,
	FELL_BACK = 7,
};

static struct {
	const struct relayd *r;
	atomic_bool over;
	_Atomic uint64_t operations;
	_Atomic uint64_t errors;
	_Atomic uint64_t longest_ns; /* of the asker, since it was last set to 0 */
	_Atomic uint64_t answers;
} load;

/* A file is made, written, moved, read again and removed: what is not as it has to be is an error. */
static void round_run(long worker, uint64_t number)
{
	char name[160], other[170], back[160];
	int fd;

	snprintf(name, sizeof(name), "%s/w%ld-%llu", load.r->mnt, worker, (unsigned long long)number);
	snprintf(other, sizeof(other), "%s.moved", name);
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, name, sizeof(name)) != (ssize_t)sizeof(name) || fsync(fd) < 0 ||
	    rename(name, other) < 0 || pread(fd, back, sizeof(back), 0) != (ssize_t)sizeof(back) ||
	    memcmp(name, back, sizeof(back)) != 0 || close(fd) < 0 || unlink(other) < 0 || access(other, F_OK) == 0)
		load.errors++;
	load.operations++;
}

static void *work(void *arg)
{
	for (uint64_t number = 0; !load.over; number++)
		round_run((long)(intptr_t)arg, number);
	return NULL;
}

/* Asks all the time; names are believed for no time at all, so that each is a request. */
static void *ask(void *arg)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/asked", load.r->mnt);
	while (!load.over) {
		uint64_t start = check_now_ns(), took;
		struct stat st;

		if (stat(path, &st) < 0)
			load.errors++;
		took = check_now_ns() - start;
		if (took > load.longest_ns)
			load.longest_ns = took;
		load.answers++;
	}
	return arg;
}

static bool has_answered(void *arg)
{
	return load.answers >= *(const uint64_t *)arg;
}

static void await_answers(unsigned count)
{
	uint64_t goal = load.answers + count;

	if (!check_until(has_answered, &goal, 20000))
		check_abort("the mount does not answer");
}

static int upgrade(struct relayd *r, const char *command, const char *timeout, char *said, size_t size)
{
	char backend[PATH_MAX + 256];

	snprintf(backend, sizeof(backend), "--backend=%s", command);
	return relayd_ctl_output(r, (const char *const[]){"upgrade", backend, timeout, NULL}, said, size);
}

static void times_print(const char *kind, const char *what, uint64_t *ns, unsigned count)
{
	if (count == 0)
		return;
	check_sort_times(ns, count);
	printf("%s: %u upgrades %s: longest request p50: %.2f ms  p99: %.2f ms  max: %.2f ms\n", kind, count, what,
	       (double)ns[count / 2] / 1e6, (double)ns[(count * 99 - 1) / 100] / 1e6, (double)ns[count - 1] / 1e6);
}

static void mount_begin(struct relayd *r, const char *command, const char *const *extra)
{
	char path[160];
	int fd;

	relayd_spawn(r, command, extra);
	if (!relayd_wait(r, 1, 20000)) {
		relayd_log_show(r);
		check_abort("the mount does not serve");
	}
	snprintf(path, sizeof(path), "%s/asked", r->mnt);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		check_abort("%s: %s", path, strerror(errno));
	close(fd);
}

static pthread_t threads[WORKERS + 1];

static void load_begin(const struct relayd *r)
{
	load.r = r;
	load.over = false;
	load.operations = load.errors = load.answers = 0;
	for (long i = 0; i <= WORKERS; i++)
		if (pthread_create(&threads[i], NULL, i < WORKERS ? work : ask, (void *)i) != 0)
			check_abort("no thread");
}

static void load_end(const char *kind)
{
	load.over = true;
	for (unsigned i = 0; i <= WORKERS; i++)
		pthread_join(threads[i], NULL);
	check(load.errors == 0 && load.operations > 0, "%s: no error in %llu rounds of operations and %llu questions",
	      kind, (unsigned long long)load.operations, (unsigned long long)load.answers);
}

/* Two of ten are to fail, and do; the others succeed. */
static void upgrades_run(struct relayd *r, const char *kind, const char *const commands[2], unsigned count)
{
	uint64_t *done = calloc(count, sizeof(*done)), *kept = calloc(count, sizeof(*kept));
	unsigned dones = 0, kepts = 0, wrong = 0;
	struct relayd_status before, after;

	if (!done || !kept)
		check_abort("no memory");
	relayd_status(r, &before);
	for (unsigned i = 0; i < count; i++) {
		bool fails = i % 10 == 4, hangs = i % 10 == 8;
		const char *command = fails ? "/bin/false" : hangs ? "/bin/sleep 1000" : commands[dones % 2];
		int expected = fails || hangs ? KEPT : UPGRADED, got;
		char said[1024];

		await_answers(2);
		load.longest_ns = 0;
		got = upgrade(r, command, hangs ? "--timeout=0.3" : "--timeout=20", said, sizeof(said));
		await_answers(2);
		if (got != expected) {
			printf("%s: upgrade to %s: status %d: %s\n", kind, command, got, said);
			wrong++;
		}
		if (got == UPGRADED)
			done[dones++] = load.longest_ns;
		else
			kept[kepts++] = load.longest_ns;
	}
	relayd_status(r, &after);
	check(wrong == 0, "%s: %u upgrades end as they have to", kind, count);
	check(after.incarnation == before.incarnation + dones, "%s: %u of them are another life", kind, dones);
	times_print(kind, "done", done, dones);
	times_print(kind, "that failed", kept, kepts);
	free(done);
	free(kept);
}

/* ---- linked with librelay ----------------------------------------------------- */

static void order(const char *file, const char *line)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		check_abort("%s: %s", file, strerror(errno));
	close(fd);
}

/* Candidates that die, each at another place. */
static void check_deaths(struct relayd *r, const char *crashing, const char *crashes)
{
	struct relayd_status before, after;
	char said[1024];

	relayd_status(r, &before);
	order(crashes, "INIT received 1\n");
	check(upgrade(r, crashing, "--timeout=20", said, sizeof(said)) == KEPT && strstr(said, "before it had come up"),
	      "native: one that dies before it has come up: the old one goes on");
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation && after.backend_pid == before.backend_pid,
	      "native: and is the same process");
	order(crashes, "INIT applied 1\n");
	check(upgrade(r, crashing, "--timeout=20", said, sizeof(said)) == FELL_BACK && strstr(said, "signal 9"),
	      "native: one that dies when it has the state: the old command is started again");
	check(relayd_wait(r, after.incarnation + 2, 20000), "native: and serves");
}

/* The old backend dies while the candidate starts. */
struct asked {
	struct relayd *r;
	const char *command;
	int status;
};

static void *asked_run(void *arg)
{
	struct asked *asked = arg;
	char said[1024];

	asked->status = upgrade(asked->r, asked->command, "--timeout=20", said, sizeof(said));
	return NULL;
}

static void check_old_dies(struct relayd *r, const char *slow, const char *go)
{
	struct asked good = {.r = r, .command = slow};
	struct relayd_status before, after;
	pthread_t thread;

	relayd_status(r, &before);
	if (pthread_create(&thread, NULL, asked_run, &good) != 0)
		check_abort("no thread");
	check(relayd_log_wait(r, "candidate is here", 20000), "native: the candidate is starting");
	relayd_kill_backend(r);
	/* A process that is made now would close files of the load, which waits for the mount: relayctl cannot be asked. */
	check(relayd_log_wait(r, "the next backend is the new one", 20000),
	      "native: the old one dies, and the next life waits for the new one");
	order(go, "");
	pthread_join(thread, NULL);
	relayd_status(r, &after);
	check(good.status == UPGRADED && after.incarnation == before.incarnation + 1,
	      "native: which takes over when it has come up");
}

static void check_native(unsigned count)
{
	char first[PATH_MAX + 160], second[PATH_MAX + 160], other[PATH_MAX + 160], slow[2 * PATH_MAX + 400];
	char crashes[128], go[128], said[1024];
	struct relayd r;

	relayd_init(&r);
	snprintf(crashes, sizeof(crashes), "%s/crashes", r.dir);
	snprintf(go, sizeof(go), "%s/go", r.dir);
	order(crashes, "");
	setenv("RELAY_CRASH_FILE", crashes, 1);
	snprintf(first, sizeof(first), "%s --source %s --timeout 0 --passthrough=off --threads 10",
		 relayd_program("fs/fsserver/fsserver"), r.store);
	snprintf(second, sizeof(second), "%s --source %s --timeout 0 --passthrough=off --threads 4",
		 relayd_program("fs/fsserver/fsserver-crash"), r.store);
	snprintf(other, sizeof(other), "%s --source %s --timeout 0 --passthrough=on",
		 relayd_program("fs/fsserver/fsserver"), r.store);
	/* Says nothing before it is told to go on. */
	snprintf(slow, sizeof(slow), "sh -c \"echo candidate is here; until [ -e %s ]; do sleep 0.02; done; exec %s\"", go,
		 first);
	mount_begin(&r, first, NULL);
	load_begin(&r);
	upgrades_run(&r, "native", (const char *const[]){second, first}, count);
	check(upgrade(&r, "/nonexistent/fs", "--timeout=20", said, sizeof(said)) == KEPT &&
		      strstr(said, "cannot be executed"),
	      "native: a program that is not there");
	if (check_fuse_has(40, "native: what was agreed with the kernel")) {
		struct relayd_status status;

		relayd_status(&r, &status);
		check(upgrade(&r, other, "--timeout=20", said, sizeof(said)) == FELL_BACK && strstr(said, "agreed"),
		      "native: an option that cannot change is named: %s", said);
		check(relayd_wait(&r, status.incarnation + 2, 20000), "native: and the old command serves again");
	}
	check_deaths(&r, second, crashes);
	check_old_dies(&r, slow, go);
	load_end("native");
	if (check_failures())
		relayd_log_show(&r);
	check(relayd_stop(&r), "native: relayd ends in order and leaves nothing behind");
	unsetenv("RELAY_CRASH_FILE");
}

/* ---- others --------------------------------------------------------------------- */

static void check_foreign(unsigned count)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev,default_permissions", NULL};
	const char *program = peer_program("passthrough_ll");
	char first[PATH_MAX + 160], second[PATH_MAX + 160], other[PATH_MAX + 160], said[1024];
	struct relayd_status before, after;
	struct relayd r;

	relayd_init(&r);
	/* The second becomes a daemon, and mounts by itself. */
	snprintf(first, sizeof(first), "%s -f -o source=%s,cache=never {mountfd}", program, r.store);
	snprintf(second, sizeof(second), "%s -o source=%s,cache=never {mountpoint}", program, r.store);
	snprintf(other, sizeof(other), "%s -f -o source=%s,cache=always,writeback {mountfd}", program, r.store);
	mount_begin(&r, first, extra);
	load_begin(&r);
	upgrades_run(&r, "foreign", (const char *const[]){second, first}, count);
	relayd_status(&r, &before);
	check(upgrade(&r, other, "--timeout=20", said, sizeof(said)) == KEPT && strstr(said, "agreed"),
	      "foreign: an option that cannot change is named: %s", said);
	relayd_status(&r, &after);
	check(after.incarnation == before.incarnation && after.backend_pid == before.backend_pid,
	      "foreign: and the old one goes on");
	load_end("foreign");
	if (check_failures())
		relayd_log_show(&r);
	check(relayd_stop(&r), "foreign: relayd ends in order and leaves nothing behind");
}

int main(int argc, char **argv)
{
	unsigned count = argc == 3 && strcmp(argv[1], "--upgrades") == 0 ? (unsigned)strtoul(argv[2], NULL, 10) : 20;

	if (count == 0)
		return 2;
	check_requires_fuse();
	check_native(count);
	check_foreign(count);
	return check_end();
}
