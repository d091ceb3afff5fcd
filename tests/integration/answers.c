/*
 * relayd's own answers on a real mount: whatever is changed through it is seen at once, though
 * the backend has said that everything holds for a thousand seconds, the kernel's caches are
 * dropped again and again, and the backend is killed meanwhile.  What is seen is compared with
 * the directory that the backend serves.
 *
 * passthrough_ll holds a descriptor for each node that it was not told to forget, and ends when
 * it is told to forget more than it has counted: counts that are wrong either way are seen.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/peers.h"
#include "../lib/relayd.h"

#define WAIT_MS 20000
#define FILES 300u

static struct relayd relayd;
static int gate; /* a life of the backend begins when it can read a line from it */
static uint32_t lives;

/* ---- the mount --------------------------------------------------------------- */

static void life_allow(void)
{
	if (write(gate, "\n", 1) != 1)
		check_abort("the gate: %s", strerror(errno));
	lives++;
}

static void mount_begin(unsigned timeout)
{
	const char *const extra[] = {"--lane=socket", "-o", "allow_other,suid,dev,default_permissions", NULL};
	char command[PATH_MAX * 2], path[128];

	relayd_init(&relayd);
	lives = 0;
	snprintf(path, sizeof(path), "%s/gate", relayd.dir);
	if (mkfifo(path, 0600) < 0 || (gate = open(path, O_RDWR | O_CLOEXEC)) < 0)
		check_abort("%s: %s", path, strerror(errno));
	life_allow();
	snprintf(command, sizeof(command),
		 "sh -c 'read line <%s && exec %s -f -o source=%s,cache=auto,timeout=%u {mountfd}'", path,
		 peer_program("passthrough_ll"), relayd.store, timeout);
	relayd_spawn(&relayd, command, extra);
	if (!relayd_wait(&relayd, 1, WAIT_MS)) {
		relayd_log_show(&relayd);
		check_abort("the mount does not serve");
	}
}

static void mount_end(void)
{
	close(gate);
	check(relayd_stop(&relayd), "relayd ends, and leaves nothing");
}

static pid_t backend_pid(void)
{
	struct relayd_status status;

	return relayd_status(&relayd, &status) ? status.backend_pid : 0;
}

static bool is_gone(void *arg)
{
	return kill(*(const pid_t *)arg, 0) < 0 && errno == ESRCH;
}

static void backend_kill(void)
{
	pid_t pid = relayd_kill_backend(&relayd);

	if (!pid || !check_until(is_gone, &pid, WAIT_MS))
		check_abort("there is no backend to be killed");
}

static void backend_revive(void)
{
	life_allow();
	if (!relayd_wait(&relayd, lives, WAIT_MS)) {
		relayd_log_show(&relayd);
		check_abort("the mount does not serve again");
	}
}

static uint64_t answered(void)
{
	const char *const args[] = {"stats", "--json", NULL};
	char out[16384], *at;

	if (relayd_ctl_output(&relayd, args, out, sizeof(out)) != 0)
		check_abort("relayctl stats: %s", out);
	at = strstr(out, "\"answered\":");
	return at ? strtoull(at + strlen("\"answered\":"), NULL, 10) : 0;
}

static void caches_drop(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "2", 1) != 1) {
		printf("SKIP answers: /proc/sys/vm/drop_caches: %s\n", strerror(errno));
		exit(CHECK_SKIP);
	}
	close(fd);
}

/* ---- what is seen ------------------------------------------------------------- */

static const char *at_mount(const char *name)
{
	static char paths[4][512];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", relayd.mnt, name);
	return path;
}

static bool time_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool name_same(const char *name, const char *step)
{
	struct stat seen, there;
	char path[512];
	int err_seen, err_there;

	snprintf(path, sizeof(path), "%s/%s", relayd.store, name);
	err_there = lstat(path, &there) < 0 ? errno : 0;
	err_seen = lstat(at_mount(name), &seen) < 0 ? errno : 0;
	if (err_seen != err_there) {
		printf("     %s: %s: \"%s\" instead of \"%s\"\n", step, name, strerror(err_seen), strerror(err_there));
		return false;
	}
	if (err_seen ||
	    (seen.st_ino == there.st_ino && seen.st_mode == there.st_mode && seen.st_nlink == there.st_nlink &&
	     seen.st_size == there.st_size && seen.st_uid == there.st_uid && time_same(&seen.st_mtim, &there.st_mtim) &&
	     time_same(&seen.st_ctim, &there.st_ctim)))
		return true;
	printf("     %s: %s: ino %lu, mode %o, links %lu, size %ld, mtime %ld.%09ld, ctime %ld.%09ld\n"
	       "     instead of ino %lu, mode %o, links %lu, size %ld, mtime %ld.%09ld, ctime %ld.%09ld\n",
	       step, name, seen.st_ino, seen.st_mode, seen.st_nlink, seen.st_size, seen.st_mtim.tv_sec,
	       seen.st_mtim.tv_nsec, seen.st_ctim.tv_sec, seen.st_ctim.tv_nsec, there.st_ino, there.st_mode,
	       there.st_nlink, there.st_size, there.st_mtim.tv_sec, there.st_mtim.tv_nsec, there.st_ctim.tv_sec,
	       there.st_ctim.tv_nsec);
	return false;
}

static const char *const names[] = {"", "d", "d/a", "d/b", "d/c", "e", "e/a", "e/b", "e/dir", "e/dir/x", "link"};

/* As it is, from what relayd knows, and once more. */
static bool all_same(const char *step)
{
	bool same = true;

	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			same &= name_same(names[i], step);
		caches_drop();
	}
	return same;
}

/* ---- steps --------------------------------------------------------------------- */

static bool file_put(const char *name, int flags, const char *content)
{
	int fd = open(at_mount(name), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
	bool ok = fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content);

	return fd >= 0 && close(fd) == 0 && ok;
}

static bool made(void)
{
	return mkdir(at_mount("d"), 0755) == 0 && mkdir(at_mount("e"), 0755) == 0 && file_put("d/a", O_EXCL, "first");
}

static bool appended(void)
{
	return file_put("d/a", O_APPEND, " and more");
}
static bool emptied(void)
{
	return file_put("d/a", O_TRUNC, "new");
}
static bool truncated(void)
{
	return truncate(at_mount("d/a"), 100000) == 0;
}
static bool mode_changed(void)
{
	return chmod(at_mount("d/a"), 0600) == 0 && chmod(at_mount("d"), 0711) == 0;
}
static bool linked(void)
{
	return link(at_mount("d/a"), at_mount("e/b")) == 0;
}
static bool written_by_other_name(void)
{
	return file_put("e/b", O_APPEND, "by the other name");
}
static bool unlinked(void)
{
	return unlink(at_mount("d/a")) == 0;
}
static bool made_again(void)
{
	return file_put("d/a", O_EXCL, "another inode");
}
static bool renamed(void)
{
	return rename(at_mount("d/a"), at_mount("e/a")) == 0;
}
static bool renamed_over(void)
{
	return file_put("d/c", 0, "c") && rename(at_mount("d/c"), at_mount("e/b")) == 0;
}
static bool renamed_back(void)
{
	return rename(at_mount("e/a"), at_mount("d/a")) == 0;
}
static bool directory_made(void)
{
	return mkdir(at_mount("e/dir"), 0700) == 0 && file_put("e/dir/x", 0, "x");
}
static bool directory_moved(void)
{
	return rename(at_mount("e/dir"), at_mount("d/b")) == 0;
}
static bool moved_back(void)
{
	return rename(at_mount("d/b"), at_mount("e/dir")) == 0;
}
static bool directory_gone(void)
{
	return unlink(at_mount("e/dir/x")) == 0 && rmdir(at_mount("e/dir")) == 0;
}
static bool symlink_made(void)
{
	return symlink("d/a", at_mount("link")) == 0;
}
static bool symlink_made_again(void)
{
	return unlink(at_mount("link")) == 0 && symlink("e/somewhere", at_mount("link")) == 0;
}

static bool exchanged(void)
{
	return file_put("d/b", 0, "the first") &&
	       (renameat2(AT_FDCWD, at_mount("d/b"), AT_FDCWD, at_mount("e/b"), RENAME_EXCHANGE) == 0 ||
		errno == EINVAL); /* passthrough_ll has no flags */
}

static bool times_set(void)
{
	const struct timespec times[] = {{1000, 5}, {2000, 7}};

	return utimensat(AT_FDCWD, at_mount("d/a"), times, 0) == 0;
}

static bool attribute_set(void)
{
	return setxattr(at_mount("d/a"), "trusted.test", "value", 5, 0) == 0 || errno == ENOTSUP;
}

static bool allocated(void)
{
	int fd = open(at_mount("d/a"), O_RDWR | O_CLOEXEC);
	bool ok = fd >= 0 && (fallocate(fd, 0, 0, 200000) == 0 || errno == EOPNOTSUPP);

	return fd >= 0 && close(fd) == 0 && ok;
}

static bool copied(void)
{
	int from = open(at_mount("d/a"), O_RDONLY | O_CLOEXEC), to = open(at_mount("e/b"), O_WRONLY | O_CLOEXEC);
	bool ok = from >= 0 && to >= 0 && copy_file_range(from, NULL, to, NULL, 5000, 0) > 0;

	close(from);
	return close(to) == 0 && ok;
}

/* A file that is open while the caches are dropped and its name goes. */
static bool written_while_open(void)
{
	int fd = open(at_mount("d/a"), O_RDWR | O_CLOEXEC);
	bool ok = fd >= 0 && all_same("open");

	ok = ok && pwrite(fd, "x", 1, 300000) == 1 && all_same("open and written");
	ok = ok && ftruncate(fd, 10) == 0 && all_same("open and truncated");
	ok = ok && fchmod(fd, 0640) == 0 && all_same("open and its mode changed");
	ok = ok && rename(at_mount("d/a"), at_mount("d/c")) == 0 && all_same("open and renamed");
	ok = ok && pwrite(fd, "y", 1, 400000) == 1 && all_same("open, renamed and written");
	return fd >= 0 && close(fd) == 0 && ok && rename(at_mount("d/c"), at_mount("d/a")) == 0;
}

static const struct {
	const char *name;
	bool (*run)(void);
} steps[] = {
	{"made", made},
	{"appended", appended},
	{"emptied", emptied},
	{"truncated", truncated},
	{"mode changed", mode_changed},
	{"linked", linked},
	{"written by another name", written_by_other_name},
	{"unlinked", unlinked},
	{"made again", made_again},
	{"renamed", renamed},
	{"renamed over", renamed_over},
	{"renamed back", renamed_back},
	{"directory made", directory_made},
	{"directory moved", directory_moved},
	{"directory moved back", moved_back},
	{"directory gone", directory_gone},
	{"directory made again", directory_made},
	{"symlink made", symlink_made},
	{"symlink made again", symlink_made_again},
	{"exchanged", exchanged},
	{"times set", times_set},
	{"attribute set", attribute_set},
	{"allocated", allocated},
	{"copied", copied},
	{"written while open", written_while_open},
};

static void steps_run(bool killed)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		bool same, done;

		errno = 0;
		done = steps[i].run();
		if (!done)
			printf("     %s: %s\n", steps[i].name, strerror(errno));
		same = all_same(steps[i].name);
		if (killed) {
			backend_kill();
			backend_revive();
			same = all_same("after a death") && same;
		}
		check(done && same, "%s%s", steps[i].name, killed ? ", backends killed" : "");
	}
}

/* ---- without a backend ----------------------------------------------------------- */

/* Whether lstat() of each comes back at once. */
static bool known_without_backend(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		check_abort("fork: %s", strerror(errno));
	if (pid == 0) {
		struct stat st;

		alarm(10);
		for (unsigned i = 0; i < 3; i++)
			if (lstat(at_mount("d/a"), &st) < 0 || lstat(at_mount("e"), &st) < 0)
				_exit(1);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void outage(void)
{
	uint64_t before;

	all_same("before an outage");
	before = answered();
	backend_kill();
	caches_drop();
	check(known_without_backend(), "what is known is answered while there is no backend");
	check(answered() > before, "by relayd");
	backend_revive();
	check(all_same("after an outage"), "all is the same after it");
}

/* ---- at once ---------------------------------------------------------------------- */

static atomic_bool over;

/* Changes of a file of the thread's own, in a directory of all. */
static void *changes_run(void *arg)
{
	unsigned which = (unsigned)(uintptr_t)arg;
	char a[32], b[32], p[512], q[512];

	snprintf(a, sizeof(a), "t/%u", which);
	snprintf(b, sizeof(b), "t/%u.b", which);
	snprintf(p, sizeof(p), "%s/%s", relayd.mnt, a);
	snprintf(q, sizeof(q), "%s/%s", relayd.mnt, b);
	for (unsigned i = 0; !over; i++) {
		struct stat st;
		int fd = open(p, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		bool ok = fd >= 0 && pwrite(fd, "data", 4, i % 100) == 4 && ftruncate(fd, i % 1000) == 0 &&
			  close(fd) == 0;

		/* Each step is seen by the next. */
		ok = ok && lstat(p, &st) == 0 && st.st_size == i % 1000 && st.st_nlink == 1;
		ok = ok && link(p, q) == 0 && lstat(p, &st) == 0 && st.st_nlink == 2;
		ok = ok && unlink(p) == 0 && lstat(p, &st) < 0 && lstat(q, &st) == 0 && st.st_nlink == 1;
		ok = ok && (i % 2 ? rename(q, p) : unlink(q)) == 0 && lstat(q, &st) < 0 &&
		     lstat(p, &st) == (i % 2 ? 0 : -1);
		if (!ok) {
			printf("     thread %u, round %u: %s\n", which, i, strerror(errno));
			return arg;
		}
	}
	return NULL;
}

static void *drops_run(void *arg)
{
	while (!over)
		caches_drop();
	return arg;
}

static void at_once(bool killed)
{
	pthread_t threads[5];
	bool ok = true;
	void *failed;

	mkdir(at_mount("t"), 0755);
	over = false;
	for (uintptr_t i = 0; i < 5; i++)
		if (pthread_create(&threads[i], NULL, i < 4 ? changes_run : drops_run, (void *)i))
			check_abort("no threads");
	for (uint64_t end = check_now_ms() + 3000; check_now_ms() < end;) {
		if (killed) {
			backend_kill();
			backend_revive();
		} else {
			usleep(10000);
		}
	}
	over = true;
	for (unsigned i = 0; i < 5; i++) {
		pthread_join(threads[i], &failed);
		ok = ok && (i == 4 || !failed);
	}
	check(ok, "threads that change and look see what they have done%s", killed ? ", backends killed" : "");
}

/* ---- counts ------------------------------------------------------------------------ */

static unsigned descriptors(void)
{
	char path[64];
	unsigned count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", backend_pid());
	dir = opendir(path);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* With a request: what is to be forgotten is told when there is one. */
static bool given_back(void *arg)
{
	struct stat st;

	caches_drop();
	return lstat(at_mount("none"), &st) < 0 && descriptors() <= *(const unsigned *)arg;
}

static void files_look(unsigned *missing)
{
	char name[32];
	struct stat st;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		*missing += lstat(at_mount(name), &st) < 0;
	}
}

static void counts(void)
{
	unsigned before, missing = 0;
	uint64_t answers;
	bool given;

	for (unsigned i = 0; i < FILES; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/f%u", relayd.store, i);
		close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	}
	/* A thread more of the backend's has a few of its own. */
	before = descriptors() + FILES / 10;
	answers = answered();
	for (unsigned round = 0; round < 5; round++) {
		files_look(&missing);
		caches_drop();
	}
	check(missing == 0, "files are there");
	check(answered() >= answers + FILES, "relayd has answered for some");
	given = check_until(given_back, &before, WAIT_MS);
	check_why(given, "the backend is told to forget them all", "%u descriptors instead of %u", descriptors(),
		  before);
	files_look(&missing);
	check(missing == 0, "and lives");
}

int main(void)
{
	uint64_t answers;

	setvbuf(stdout, NULL, _IOLBF, 0);
	check_requires_fuse();
	mount_begin(1000);
	caches_drop();

	steps_run(false);
	answers = answered();
	check(answers > 100, "relayd has answered many");
	outage();
	at_once(false);
	mount_end();

	mount_begin(1000);
	steps_run(true);
	at_once(true);
	mount_end();

	mount_begin(1);
	counts();
	mount_end();
	return check_end();
}
