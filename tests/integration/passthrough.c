/*
 * Files that the kernel reads and writes by itself: the data are right however they are got at;
 * none of it is asked of the backend; it goes on while the backend is dead; opens of all
 * kinds get along over kills; what is registered is given back; and where it cannot be, that
 * is said and everything works without.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"

#define PAGE 4096u
#define PROMPT_MS 5000

static struct relayd r;
/* A tmpfs, where what is freed is free at once; and the directory in it that is served. */
static char scratch[] = "/tmp/relayd-passthrough.XXXXXX";
static char source[64];

static const char *in(const char *dir, const char *name)
{
	static char paths[4][192];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static const char *mnt(const char *name)
{
	return in(r.mnt, name);
}

static const char *store(const char *name)
{
	return in(source, name);
}

/* How many requests of an opcode were answered. */
static unsigned answered(const char *opcode)
{
	static char table[65536];
	char *at = table, *line;

	if (relayd_ctl_output(&r, (const char *[]){"stats", r.mnt, NULL}, table, sizeof(table)) != 0)
		check_abort("relayctl stats: %s", table);
	while ((line = strsep(&at, "\n")) != NULL) {
		char name[32];
		unsigned count;

		if (sscanf(line, "%31s %u", name, &count) == 2 && strcmp(name, opcode) == 0)
			return count;
	}
	return 0;
}

static int file_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		check_abort("%s: %s", path, strerror(errno));
	return fd;
}

/* Whether the file's content is this, read in the place of its own. */
static bool holds(const char *path, const void *content, size_t size)
{
	char *found = malloc(size + 1);
	int fd = file_open(path, O_RDONLY);
	bool same = pread(fd, found, size + 1, 0) == (ssize_t)size && memcmp(found, content, size) == 0;

	close(fd);
	free(found);
	return same;
}

static bool both_hold(const char *name, const void *content, size_t size)
{
	return holds(mnt(name), content, size) && holds(store(name), content, size);
}

/* ---- data --------------------------------------------------------------- */

static void *page_of(char letter)
{
	void *page;

	if (posix_memalign(&page, PAGE, PAGE) != 0)
		check_abort("no memory");
	memset(page, letter, PAGE);
	return page;
}

static void data_written(void)
{
	char *wanted = calloc(1, 4 * PAGE), *page = page_of('d');
	int fd = file_open(mnt("data"), O_RDWR | O_CREAT), direct, append, plain;
	char *map;

	memset(wanted, 'w', 4 * PAGE);
	check(write(fd, wanted, 4 * PAGE) == 4 * PAGE && both_hold("data", wanted, 4 * PAGE), "write");

	map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		check_abort("mmap: %s", strerror(errno));
	memset(map + PAGE, 'm', PAGE);
	memset(wanted + PAGE, 'm', PAGE);
	check(both_hold("data", wanted, 4 * PAGE), "a shared mapping is seen by readers at once");
	check(msync(map, 4 * PAGE, MS_SYNC) == 0, "msync");

	direct = file_open(mnt("data"), O_RDWR | O_DIRECT);
	memset(wanted + 2 * PAGE, 'd', PAGE);
	check(pwrite(direct, page, PAGE, 2 * PAGE) == PAGE && both_hold("data", wanted, 4 * PAGE), "O_DIRECT write");
	check(pread(direct, page, PAGE, PAGE) == PAGE && memcmp(page, wanted + PAGE, PAGE) == 0, "O_DIRECT read");
	check(memcmp(map, wanted, 4 * PAGE) == 0, "a mapping sees what others write");
	close(direct);

	plain = file_open(store("data"), O_RDWR);
	check(pwrite(plain, "store", 5, 3 * PAGE) == 5 && memcmp(map + 3 * PAGE, "store", 5) == 0,
	      "a write in the store is seen at once");
	memcpy(wanted + 3 * PAGE, "store", 5);
	close(plain);

	append = file_open(mnt("data"), O_WRONLY | O_APPEND);
	check(pwrite(append, "end", 3, 0) == 3 && lseek(fd, 0, SEEK_END) == 4 * PAGE + 3, "O_APPEND writes at the end");
	check(ftruncate(append, 2 * PAGE) == 0 && both_hold("data", wanted, 2 * PAGE), "ftruncate");
	check(write(append, "+", 1) == 1 && lseek(fd, 0, SEEK_END) == 2 * PAGE + 1, "O_APPEND after it");
	close(append);
	check(truncate(mnt("data"), PAGE) == 0 && both_hold("data", wanted, PAGE), "truncate");
	close(file_open(mnt("data"), O_WRONLY | O_TRUNC));
	check(both_hold("data", "", 0), "O_TRUNC, while it is open otherwise");
	munmap(map, 4 * PAGE);
	check(pwrite(fd, "x", 1, 0) == 1 && fsync(fd) == 0 && both_hold("data", "x", 1), "fsync");
	close(fd);
	free(page);
	free(wanted);
}

static void data_moved(void)
{
	int from = file_open(mnt("from"), O_RDWR | O_CREAT), to = file_open(mnt("to"), O_RDWR | O_CREAT | O_TRUNC);
	off_t at = 0, offset_in = 0, offset_out = 0;
	int pipes[2];

	check(write(from, "0123456789", 10) == 10, "a file to copy");
	check(sendfile(to, from, &at, 4) == 4 && both_hold("to", "0123", 4), "sendfile");
	check(copy_file_range(from, &offset_in, to, &offset_out, 10, 0) == 10 && both_hold("to", "0123456789", 10),
	      "copy_file_range");
	if (pipe2(pipes, O_CLOEXEC) < 0)
		check_abort("pipe: %s", strerror(errno));
	offset_in = 5, offset_out = 0;
	check(splice(from, &offset_in, pipes[1], NULL, 5, 0) == 5 && splice(pipes[0], NULL, to, &offset_out, 5, 0) == 5 &&
		      both_hold("to", "5678956789", 10),
	      "splice");
	check(fallocate(to, 0, 0, 12) == 0 && both_hold("to", "5678956789\0\0", 12), "fallocate");
	check(fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5) == 0 &&
		      both_hold("to", "\0\0\0\0\0" "56789\0\0", 12),
	      "fallocate PUNCH_HOLE");
	close(pipes[0]);
	close(pipes[1]);
	close(from);
	close(to);
}

/* ---- while the backend is dead ------------------------------------------- */

/*
 * How many lives have served.  Told by the log: relayctl cannot be run while no backend is there, as
 * a new process closes its copies of what is open on the mount, and that waits for one.
 */
static unsigned lives_served(void)
{
	FILE *log = fopen(r.log, "re");
	unsigned count = 0;
	char line[512];

	while (log && fgets(line, sizeof(line), log))
		count += strstr(line, ", is serving") != NULL;
	if (log)
		fclose(log);
	return count;
}

/* The next lives wait at the gate, which is a pipe, until hold_end(). */
static void hold_begin(void)
{
	if (mkfifo(in(r.dir, "gate"), 0600) < 0)
		check_abort("%s/gate: %s", r.dir, strerror(errno));
}

static void hold_end(void)
{
	int gate = open(in(r.dir, "gate"), O_RDWR | O_CLOEXEC);

	/* Who waits gets its end of file; who comes later finds no gate. */
	unlink(in(r.dir, "gate"));
	close(gate);
}

static void on_alarm(int signal)
{
	(void)signal;
	write(STDOUT_FILENO, "FAIL something waits for a backend that is dead\n", 48);
	_exit(1);
}

static void while_dead(void)
{
	char *map, buffer[8] = "", *page = page_of('p');
	int fd = file_open(mnt("dead"), O_RDWR | O_CREAT), direct, append;
	struct relayd_status status;
	char killed[64];
	unsigned lives;

	/* The first write looks for file capabilities, which is a question to the backend. */
	if (write(fd, page, PAGE) != PAGE)
		check_abort("write: %s", strerror(errno));
	direct = file_open(mnt("dead"), O_RDWR | O_DIRECT);
	append = file_open(mnt("dead"), O_WRONLY | O_APPEND);
	relayd_status(&r, &status);
	hold_begin();
	lives = lives_served();
	snprintf(killed, sizeof(killed), "pid %d, was killed", (int)relayd_kill_backend(&r));
	check(relayd_log_wait(&r, killed, PROMPT_MS), "the backend is dead");
	signal(SIGALRM, on_alarm);
	alarm(PROMPT_MS / 1000);
	check(pread(fd, buffer, 4, 8) == 4 && memcmp(buffer, "pppp", 4) == 0, "read without a backend");
	check(pwrite(fd, "dead", 4, 0) == 4, "write without a backend");
	check(pread(direct, page, PAGE, 0) == PAGE && memcmp(page, "dead", 4) == 0, "O_DIRECT read without a backend");
	memset(page, 'D', 4);
	check(pwrite(direct, page, PAGE, 0) == PAGE, "O_DIRECT write without a backend");
	check(write(append, "more", 4) == 4, "O_APPEND write without a backend");
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(map != MAP_FAILED && memcmp(map, "DDDDpp", 6) == 0, "mmap without a backend");
	if (map != MAP_FAILED) {
		memcpy(map + 4, "mm", 2);
		check(msync(map, PAGE, MS_SYNC) == 0, "msync without a backend");
		munmap(map, PAGE);
	}
	check(pread(fd, buffer, 8, 0) == 8 && memcmp(buffer, "DDDDmmpp", 8) == 0, "what was mapped is read");
	alarm(0);
	check(lives_served() == lives, "and no other was there all the time");
	hold_end();
	check(relayd_wait(&r, status.incarnation + 1, 20000), "the next one comes");
	memcpy(page, "DDDDmm", 6);
	check(lseek(fd, 0, SEEK_END) == PAGE + 4, "its size is what was written");
	check(ftruncate(fd, PAGE) == 0 && both_hold("dead", page, PAGE), "it is there, in the store too");
	close(append);
	close(direct);
	close(fd);
	free(page);
}

/* ---- all kinds of opens, and kills ---------------------------------------- */

#define OPENERS 4
#define KILLS 40

static _Atomic bool over;
static _Atomic unsigned open_errors, open_count;

static const int kinds[] = {
	O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_TRUNC, O_RDWR | O_CREAT, O_RDONLY | O_DIRECT, O_WRONLY,
};

static void open_failed(const char *what)
{
	if (atomic_fetch_add(&open_errors, 1) < 5)
		printf("%s: %s\n", what, strerror(errno));
}

static void open_once(unsigned *seed)
{
	const char *const names[] = {"a", "b", "c"};
	char path[192];
	int kind = kinds[(unsigned)rand_r(seed) % (sizeof(kinds) / sizeof(kinds[0]))], fd;
	char byte = 'k';

	snprintf(path, sizeof(path), "%s/kinds-%s", r.mnt, names[rand_r(seed) % 3]);
	if (rand_r(seed) % 16 == 0 && unlink(path) < 0 && errno != ENOENT)
		open_failed("unlink");
	fd = open(path, kind | O_CLOEXEC, 0644);
	if (fd < 0) {
		if (errno != ENOENT)
			open_failed("open");
		return;
	}
	atomic_fetch_add(&open_count, 1);
	if ((kind & O_ACCMODE) != O_RDONLY && pwrite(fd, &byte, 1, rand_r(seed) % 8192) != 1)
		open_failed("write");
	if ((kind & O_ACCMODE) != O_WRONLY && !(kind & O_DIRECT) && pread(fd, &byte, 1, 0) < 0)
		open_failed("read");
	if (close(fd) < 0)
		open_failed("close");
}

static void *opener(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!atomic_load(&over))
		open_once(&seed);
	return NULL;
}

static void kinds_mixed(void)
{
	pthread_t threads[OPENERS];
	struct relayd_status status;
	unsigned kills = 0;

	for (uintptr_t i = 0; i < OPENERS; i++)
		if (pthread_create(&threads[i], NULL, opener, (void *)(i + 1)) != 0)
			check_abort("no thread");
	for (unsigned i = 0; i < KILLS; i++) {
		relayd_status(&r, &status);
		kills += relayd_kill_backend(&r) != 0;
		if (!relayd_wait(&r, status.incarnation + 1, 20000))
			check_abort("the mount does not serve again");
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < OPENERS; i++)
		pthread_join(threads[i], NULL);
	check_why(open_errors == 0, "opens of all kinds over kills", "%u errors in %u opens", open_errors, open_count);
	check(kills == KILLS && open_count > KILLS, "%u opens over %u kills", open_count, kills);
}

/* ---- what is registered is given back -------------------------------------- */

#define BIG (8u << 20)

static uint64_t free_bytes(void)
{
	struct statfs st;

	if (statfs(scratch, &st) < 0)
		check_abort("%s: %s", scratch, strerror(errno));
	return (uint64_t)st.f_bfree * (uint64_t)st.f_bsize;
}

static bool is_free(void *arg)
{
	return free_bytes() >= *(uint64_t *)arg;
}

/*
 * A file that nobody has open, and that has no name, takes no room: unless it is registered still.
 * plan: where the backend dies meanwhile; "": it is killed; NULL: it does not.
 */
static void given_back(const char *how, const char *plan)
{
	bool killed = plan && !*plan, dies = plan && strncmp(plan, "RELEASE", 7) != 0;
	uint64_t before = free_bytes() - PAGE * 16;
	char *content = calloc(1, BIG);
	struct relayd_status status;
	int fd = file_open(store("big"), O_RDWR | O_CREAT), plan_fd;

	memset(content, 'b', BIG);
	if (write(fd, content, BIG) != BIG)
		check_abort("big: %s", strerror(errno));
	close(fd);
	free(content);
	relayd_status(&r, &status);
	if (plan && *plan) {
		plan_fd = file_open(in(r.dir, "plan"), O_WRONLY | O_TRUNC);
		if (write(plan_fd, plan, strlen(plan)) < 0)
			check_abort("plan: %s", strerror(errno));
		close(plan_fd);
	}
	fd = file_open(mnt("big"), O_RDWR);
	if (unlink(mnt("big")) < 0)
		check_abort("unlink: %s", strerror(errno));
	if (killed)
		relayd_kill_backend(&r);
	if (dies && !relayd_wait(&r, status.incarnation + 1, 20000))
		check_abort("the mount does not serve again");
	if (pwrite(fd, "b", 1, 0) != 1 || is_free(&before))
		check_abort("big is not there: %s", strerror(errno));
	close(fd);
	check(check_until(is_free, &before, PROMPT_MS), "it is given back %s", how);
}

/* ---- the mounts ------------------------------------------------------------- */

/* A backend whose lives wait while there is a gate. */
static void mount_start(const char *program, const char *lane, const char *options)
{
	const char *const extra[] = {"-o", "allow_other", lane, NULL};
	char script[192];
	FILE *file;

	snprintf(script, sizeof(script), "%s/backend", r.dir);
	file = fopen(script, "we");
	if (!file)
		check_abort("%s: %s", script, strerror(errno));
	fprintf(file, "#!/bin/sh\n[ ! -p '%s/gate' ] || true <'%s/gate'\nexec '%s' --source '%s' %s\n", r.dir, r.dir,
		relayd_program(program), source, options);
	if (fclose(file) != 0 || chmod(script, 0755) < 0)
		check_abort("%s: %s", script, strerror(errno));
	relayd_spawn(&r, script, extra);
}

static bool mount_serves(void)
{
	if (relayd_wait(&r, 1, 20000))
		return true;
	relayd_log_show(&r);
	return false;
}

/* Registered by the backend, or by relayd. */
static void mount_with(bool direct)
{
	const char *registering = direct ? "BACK registered 1\n" : "BACK backed 1\n";

	printf("--lane=%s\n", direct ? "direct" : "socket");
	over = false;
	open_count = 0;
	relayd_init(&r);
	close(file_open(in(r.dir, "plan"), O_RDWR | O_CREAT));
	setenv("RELAY_CRASH_FILE", in(r.dir, "plan"), 1);
	mount_start("fs/fsserver/fsserver-crash", direct ? "--lane=direct" : "--lane=socket", "--passthrough=on");
	if (!mount_serves())
		check_abort("the mount does not serve");
	data_written();
	data_moved();
	while_dead();
	kinds_mixed();
	given_back("at the last close", NULL);
	given_back("though another life releases it", "");
	given_back("though who asked for it died before the answer", "BACK asked 1\n");
	given_back("though who got it died before anybody knew", registering);
	given_back("though who knew it died before the answer", "BACK backed 1\n");
	given_back("though its opener died before the answer", "OPEN applied 1\n");
	given_back("though who released it died first", "RELEASE stored 1\n");
	if (!check_why(answered("READ") == 0 && answered("WRITE") == 0, "nothing was read or written by a backend",
		       "%u READs, %u WRITEs", answered("READ"), answered("WRITE")))
		relayd_log_show(&r);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");
}

/* Each open was closed, and the backend knows. */
static bool is_released(void *arg)
{
	(void)arg;
	return answered("RELEASE") == answered("OPEN") + answered("CREATE");
}

/* By itself fsserver asks relayd for large files only. */
static void mount_frugal(void)
{
	char byte = 'x';
	int fd;

	relayd_init(&r);
	mount_start("fs/fsserver/fsserver", "--lane=socket", "--passthrough=auto");
	if (!mount_serves())
		check_abort("the mount does not serve");
	fd = file_open(mnt("large"), O_RDWR | O_CREAT | O_TRUNC);
	check(pwrite(fd, &byte, 1, 1 << 20) == 1 && answered("WRITE") == 1, "a file that is made goes through the backend");
	close(file_open(mnt("large"), O_RDONLY));
	check(pwrite(fd, &byte, 1, 0) == 1 && answered("WRITE") == 2, "as long as it is open");
	close(fd);
	check(check_until(is_released, NULL, PROMPT_MS), "it is closed");
	fd = file_open(mnt("large"), O_RDWR);
	check(pwrite(fd, &byte, 1, 0) == 1 && answered("WRITE") == 2, "a large one does not, from the next open on");
	close(fd);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");
}

/* Where it cannot be had. */
static void mount_without(const char *options, const char *reason, bool serves)
{
	mount_start("fs/fsserver/fsserver", "--lane=direct", options);
	if (serves && mount_serves()) {
		int fd = file_open(mnt("without"), O_RDWR | O_CREAT | O_TRUNC);

		check(write(fd, "x", 1) == 1 && both_hold("without", "x", 1), "%s: files are read and written", options);
		check(answered("WRITE") == 1, "%s: by the backend", options);
		close(fd);
	}
	check(relayd_log_wait(&r, reason, PROMPT_MS), "%s: the log says \"%s\"", options, reason);
	relayd_stop(&r);
}

static void mounts_without(void)
{
	char options[512];

	snprintf(options, sizeof(options), "upperdir=%s/upper,lowerdir=%s/lower,workdir=%s/work", scratch, scratch,
		 scratch);
	if (mkdir(in(scratch, "upper"), 0755) < 0 || mkdir(in(scratch, "lower"), 0755) < 0 ||
	    mkdir(in(scratch, "work"), 0755) < 0 || mount("passthrough", source, "overlay", 0, options) < 0)
		check_abort("overlay: %s", strerror(errno));
	relayd_init(&r);
	mount_without("--passthrough=auto", "no passthrough: the source is on a filesystem that is stacked", true);
	relayd_init(&r);
	mount_without("--passthrough=on", "--passthrough=on: the source is on a filesystem that is stacked", false);
}

static void scratch_end(void)
{
	umount2(source, MNT_DETACH);
	umount2(scratch, MNT_DETACH);
	rmdir(scratch);
}

static void scratch_begin(void)
{
	if (!mkdtemp(scratch) || mount("passthrough", scratch, "tmpfs", 0, "size=64m") < 0)
		check_abort("%s: %s", scratch, strerror(errno));
	atexit(scratch_end);
	snprintf(source, sizeof(source), "%s/store", scratch);
	if (mkdir(source, 0755) < 0)
		check_abort("%s: %s", source, strerror(errno));
}

static bool kernel_has_it(void)
{
	return geteuid() == 0 && check_fuse_has(40, "passthrough");
}

int main(void)
{
	check_requires_fuse();
	umask(022);
	/* It has both lanes of its own. */
	unsetenv("RELAY_TEST_LANE");
	if (!kernel_has_it())
		return CHECK_SKIP;
	scratch_begin();
	mount_with(true);
	mount_with(false);
	mount_frugal();
	mounts_without();
	return check_end();
}
