/*
 * Filesystems whose ids lie: nodeids that collide between lives or are reused, inode
 * numbers that are 0 or change, hard links as nodes of their own, cookies that mean
 * another entry in the next life.  Whatever is said, the application gets the right
 * answer, or ESTALE where there is none; never another file.
 *
 *	foreign_ids [--only TEXT] [--lie TEXT | --all] [--plain]
 *
 * --all are all the lies; otherwise there are fewer, with more in each of them.
 * With --plain the liar mounts by itself and never dies: what the scenarios are worth.
 */
#include "foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"

static const char *const lies[] = {
	/* The few. */
	"--collide --ino=zero --cookies=index",
	"--collide --reuse --ino=nodeid --cookies=shuffle --threads=4",
	"--collide --reuse --ino=random --cookies=index --timeout=1000 --threads=4",
	"--collide --reuse --ino=changing --cookies=shuffle --hardlinks=distinct",
	"--collide --reuse --ino=true",
	/* One by one. */
	"--ino=true",
	"--ino=zero",
	"--ino=nodeid",
	"--ino=random",
	"--ino=changing",
	"--collide",
	"--hardlinks=distinct",
	"--cookies=index",
	"--cookies=shuffle",
};
#define LIES (sizeof(lies) / sizeof(lies[0]))
#define LIES_FEW 5u

static const struct {
	const char *name;
	foreign_scenario *run;
} scenarios[] = {
	{"hardlinks", foreign_hardlinks},
	{"renamed parents", foreign_renamed_parents},
	{"deleted parents", foreign_deleted_parents},
	{"replaced while dead", foreign_replaced},
	{"swapped while dead", foreign_swapped},
	{"odd names", foreign_odd_names},
	{"same numbers", foreign_same_numbers},
	{"inode numbers", foreign_inode_numbers},
	{"open files", foreign_open_files},
	{"appenders", foreign_appenders},
	{"listing", foreign_listing},
	{"listing changed", foreign_listing_changed},
	{"seekdir", foreign_seekdir},
	{"posix locks", foreign_posix_locks},
	{"flocks", foreign_flocks},
	{"waiting lock", foreign_waiting_lock},
};

bool foreign_expect(struct foreign *f, bool ok, const char *format, ...)
{
	va_list args;

	if (ok)
		return true;
	/* The first few say it. */
	if (f->bad++ < 5) {
		printf("     %s, %s: ", f->lie, f->scenario);
		va_start(args, format);
		vprintf(format, args);
		va_end(args);
		putchar('\n');
		fflush(stdout);
	}
	return false;
}

const char *foreign_path(const struct foreign *f, const char *name)
{
	static char paths[4][512];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", f->mnt, name);
	return path;
}

const char *foreign_store_path(const struct foreign *f, const char *name)
{
	static char paths[4][512];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", f->store, name);
	return path;
}

void foreign_put(struct foreign *f, const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t done = fd < 0 ? -1 : write(fd, content, strlen(content));

	foreign_expect(f, done == (ssize_t)strlen(content), "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void foreign_content(struct foreign *f, int fd, const char *wanted, bool stale, const char *label)
{
	char content[8192] = "";
	ssize_t got = pread(fd, content, sizeof(content) - 1, 0);

	if (got < 0)
		foreign_expect(f, stale && errno == ESTALE, "%s: read: %s", label, strerror(errno));
	else
		foreign_expect(f, strcmp(content, wanted) == 0, "%s: \"%.40s\" instead of \"%.40s\"", label, content,
			       wanted);
}

/* ---- lives ------------------------------------------------------------------ */

static bool is_gone(void *arg)
{
	return kill(*(const pid_t *)arg, 0) < 0 && errno == ESRCH;
}

static uint32_t incarnation_of(struct foreign *f)
{
	struct relayd_status status;

	if (!relayd_status(&f->relayd, &status))
		check_abort("%s, %s: relayd does not answer", f->lie, f->scenario);
	return status.incarnation;
}

void foreign_kill(struct foreign *f)
{
	pid_t pid;

	if (f->plain)
		return;
	pid = relayd_kill_backend(&f->relayd);
	if (!pid || !check_until(is_gone, &pid, 10000))
		check_abort("%s, %s: there is no backend to be killed", f->lie, f->scenario);
	f->deaths++;
}

void foreign_revive(struct foreign *f)
{
	if (f->plain)
		return;
	if (write(f->gate, "\n", 1) != 1)
		check_abort("the gate: %s", strerror(errno));
	if (!relayd_wait(&f->relayd, f->deaths + 1, 20000)) {
		relayd_log_show(&f->relayd);
		check_abort("%s, %s: the mount does not serve again: incarnation %u, %u deaths", f->lie, f->scenario,
			    incarnation_of(f), f->deaths);
	}
}

void foreign_restart(struct foreign *f)
{
	foreign_kill(f);
	foreign_revive(f);
}

/* A life reads a line from the gate before it becomes the liar. */
static void gate_make(struct foreign *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/gate", f->relayd.dir);
	if (mkfifo(path, 0600) < 0)
		check_abort("%s: %s", path, strerror(errno));
	f->gate = open(path, O_RDWR | O_CLOEXEC);
	if (f->gate < 0 || write(f->gate, "\n", 1) != 1)
		check_abort("%s: %s", path, strerror(errno));
}

static void mount_relayed(struct foreign *f)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev,default_permissions", NULL};
	char command[PATH_MAX * 2];

	snprintf(command, sizeof(command), "sh -c 'read line <%s/gate && exec %s %s %s {mountfd}'", f->relayd.dir,
		 relayd_program("tests/backends/liar"), f->lie, f->relayd.store);
	relayd_spawn(&f->relayd, command, extra);
	if (!relayd_wait(&f->relayd, 1, 20000)) {
		relayd_log_show(&f->relayd);
		check_abort("%s: the mount does not serve", f->lie);
	}
}

static pid_t mount_plain(struct foreign *f)
{
	char command[PATH_MAX * 2];
	struct stat below, mounted;
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(command, sizeof(command), "exec %s %s %s %s", relayd_program("tests/backends/liar"), f->lie,
			 f->relayd.store, f->relayd.mnt);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || stat(f->relayd.dir, &below) < 0)
		check_abort("fork: %s", strerror(errno));
	for (uint64_t end = check_now_ms() + 10000; check_now_ms() < end;)
		if (stat(f->relayd.mnt, &mounted) == 0 && mounted.st_dev != below.st_dev)
			return pid;
	check_abort("%s: the liar does not mount", f->lie);
}

/* ---- the verdict -------------------------------------------------------------- */

static void scenario_run(struct foreign *f, unsigned number)
{
	f->scenario = scenarios[number].name;
	f->bad = 0;
	snprintf(f->mnt, sizeof(f->mnt), "%s/%u", f->relayd.mnt, number);
	snprintf(f->store, sizeof(f->store), "%s/%u", f->relayd.store, number);
	if (mkdir(f->mnt, 0755) < 0)
		check_abort("%s: %s", f->mnt, strerror(errno));
	scenarios[number].run(f);
	check(f->bad == 0, "%s: %s", f->lie, f->scenario);
}

static void lie_run(const char *lie, const char *only, bool plain)
{
	struct foreign f = {.lie = lie, .plain = plain, .gate = -1};
	pid_t pid = 0;
	int status;

	relayd_init(&f.relayd);
	gate_make(&f);
	if (plain)
		pid = mount_plain(&f);
	else
		mount_relayed(&f);
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (!only || strstr(scenarios[i].name, only))
			scenario_run(&f, i);
	if (plain) {
		umount2(f.relayd.mnt, MNT_DETACH);
		waitpid(pid, &status, 0);
	}
	/* The liar ends itself when it is told to forget what it never gave. */
	if (!plain)
		check(incarnation_of(&f) == f.deaths + 1, "%s: no life has ended but by our hand", lie);
	check(relayd_stop(&f.relayd), "%s: relayd ends in order and leaves nothing behind", lie);
	close(f.gate);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	const char *lie = NULL;
	bool plain = false;
	bool all = false;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--plain") == 0)
			plain = true;
		else if (strcmp(argv[i], "--all") == 0)
			all = true;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			only = argv[++i];
		else if (strcmp(argv[i], "--lie") == 0 && i + 1 < argc)
			lie = argv[++i];
	check_requires_fuse();
	umask(022);
	for (unsigned i = 0; i < (all || lie ? LIES : LIES_FEW); i++)
		if (!lie || strcmp(lies[i], lie) == 0)
			lie_run(lies[i], only, plain);
	return check_end();
}
