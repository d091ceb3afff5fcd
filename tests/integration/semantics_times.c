/*
 * Times: what sets them by itself, and who may set them.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* Inodes get the time of the last tick: waits until it is another. */
static void next_tick(void)
{
	struct timespec start;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &start);
	do
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	while (!later(now, start));
}

static void show_times(struct text *out, const char *label, const char *name, const struct stat *before)
{
	struct stat after;

	if (lstat(name, &after) < 0) {
		text_add(out, "%s: %s %s\n", label, name, text_errno(errno));
		return;
	}
	text_add(out, "%s: %s %s%s%s\n", label, name, later(after.st_atim, before->st_atim) ? "a" : "-",
		 later(after.st_mtim, before->st_mtim) ? "m" : "-", later(after.st_ctim, before->st_ctim) ? "c" : "-");
}

/* Which times of the file and of its directory an operation moved. */
#define TIMES(name, call)                                                                                              \
	do {                                                                                                           \
		struct stat file_before = {0};                                                                         \
		struct stat dir_before = {0};                                                                          \
		lstat(name, &file_before);                                                                             \
		lstat("d", &dir_before);                                                                               \
		next_tick();                                                                                           \
		TRY(out, call);                                                                                        \
		show_times(out, "  times", name, &file_before);                                                        \
		show_times(out, "  times", "d", &dir_before);                                                          \
	} while (0)

static int write_to(const char *name, int flags, const char *bytes)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);
	int done = (int)write(fd, bytes, strlen(bytes));

	close(fd);
	return done;
}

static int read_from(const char *name)
{
	char buffer[64];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	int done = (int)read(fd, buffer, sizeof(buffer));

	close(fd);
	return done;
}

static int open_only(const char *name, int flags)
{
	return close(open(name, flags | O_CLOEXEC, 0644));
}

static int allocate(const char *name, int mode, off_t size)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);
	int result = fallocate(fd, mode, 0, size);

	close(fd);
	return result;
}

static void what_moves_times(struct text *out)
{
	TRY(out, mkdir("d", 0755));
	TRY(out, mkdir("e", 0755));
	TIMES("d/f", write_to("d/f", O_WRONLY | O_CREAT, "content"));
	TIMES("d/f", write_to("d/f", O_WRONLY, "changed"));
	TIMES("d/f", write_to("d/f", O_WRONLY | O_APPEND, "more"));
	TIMES("d/f", write_to("d/f", O_WRONLY, ""));
	TIMES("d/f", open_only("d/f", O_RDWR));
	TIMES("d/f", open_only("d/f", O_RDWR | O_CREAT));
	TIMES("d/f", truncate("d/f", 3));
	TIMES("d/f", truncate("d/f", 30));
	TIMES("d/f", open_only("d/f", O_RDWR | O_TRUNC));
	TIMES("d/f", open_only("d/f", O_RDWR | O_TRUNC)); /* it is empty already */
	TIMES("d/f", chmod("d/f", 0600));
	TIMES("d/f", chown("d/f", (uid_t)-1, (gid_t)-1));
	TIMES("d/f", chown("d/f", geteuid(), getegid()));
	TIMES("d/f", setxattr("d/f", "user.a", "b", 1, 0));
	TIMES("d/f", removexattr("d/f", "user.a"));
	TIMES("d/f", link("d/f", "e/g"));
	TIMES("d/f", link("d/f", "d/h"));
	TIMES("d/f", rename("d/f", "d/f2"));
	TIMES("d/f2", rename("d/f2", "d/f"));
	TIMES("d/f", unlink("d/h"));
	TIMES("e/g", rename("d/f", "e/f"));
	TIMES("d/f", rename("e/f", "d/f"));
	TIMES("d/f", allocate("d/f", 0, 10000));
	TIMES("d/f", allocate("d/f", FALLOC_FL_KEEP_SIZE, 100000));
	TIMES("d/f", allocate("d/f", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096));
	TIMES("d/s", symlink("x", "d/s"));
	TIMES("d/p", mkfifo("d/p", 0600));
	TIMES("d/sub", mkdir("d/sub", 0700));
	TIMES("d/sub", open_only("d/sub/f", O_WRONLY | O_CREAT));
	TIMES("d/sub", unlink("d/sub/f"));
	TIMES("d/sub", unlink("d/sub/f"));
	TIMES("d/sub", rmdir("d/sub"));
	TIMES("d/p", unlink("d/p"));
	TIMES("d/f", access("d/f", R_OK));
	TIMES("d/f", read_from("d/f"));
}

static void show_set_times(struct text *out, const char *name)
{
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now);
	if (lstat(name, &st) < 0) {
		text_add(out, "%s: %s\n", name, text_errno(errno));
		return;
	}
	/* Now is not the same in two runs. */
	if (llabs((long long)(st.st_atim.tv_sec - now.tv_sec)) < 60)
		text_add(out, "%s: atime now", name);
	else
		text_add(out, "%s: atime %lld.%09ld", name, (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
	if (llabs((long long)(st.st_mtim.tv_sec - now.tv_sec)) < 60)
		text_add(out, " mtime now\n");
	else
		text_add(out, " mtime %lld.%09ld\n", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

#define SET(name, a, an, m, mn)                                                                                        \
	do {                                                                                                           \
		struct timespec set_times[2] = {{a, an}, {m, mn}};                                                     \
		TRY(out, utimensat(AT_FDCWD, name, set_times, AT_SYMLINK_NOFOLLOW));                                   \
		show_set_times(out, name);                                                                             \
	} while (0)

static void setting_times(struct text *out)
{
	int fd;

	TRY(out, semantics_put("f", "x"));
	TRY(out, mkdir("d", 0755));
	TRY(out, symlink("f", "s"));
	SET("f", 1000000000, 123456789, 1100000000, 987654321);
	SET("f", 0, UTIME_OMIT, 5, 5);
	SET("f", 7, 7, 0, UTIME_OMIT);
	SET("f", 0, UTIME_NOW, 9, 9);
	SET("f", 9, 9, 0, UTIME_NOW);
	SET("f", 0, UTIME_OMIT, 0, UTIME_OMIT);
	SET("f", -1, 999999999, -86400, 0);
	SET("f", 0, 0, 0, 0);
	SET("f", 2147483648, 1, 4294967296, 1);
	SET("f", 5, 1000000000, 5, 0);
	SET("f", 5, -1, 5, 0);
	SET("d", 11, 1, 12, 2);
	SET("s", 13, 3, 14, 4);
	SET("missing", 1, 1, 1, 1);
	show_set_times(out, "f");
	TRY(out, utimensat(AT_FDCWD, "f", NULL, 0));
	show_set_times(out, "f");
	fd = open("f", O_WRONLY | O_CLOEXEC);
	TRY(out, futimens(fd, (struct timespec[]){{100, 0}, {200, 0}}));
	show_set_times(out, "f");
	TRY(out, write(fd, "y", 1));
	show_set_times(out, "f");
	TRY(out, futimens(fd, (struct timespec[]){{300, 0}, {400, 0}}));
	close(fd);
	show_set_times(out, "f");
}

static void prepare_others(void)
{
	static const mode_t modes[] = {0644, 0666, 0600};
	static const char *const names[] = {"readable", "writable", "secret"};

	for (int i = 0; i < 3; i++) {
		semantics_put(names[i], "x");
		if (chown(names[i], SEMANTICS_OTHER, SEMANTICS_OTHER) < 0 || chmod(names[i], modes[i]) < 0)
			exit(119);
	}
}

static void others_times(struct text *out)
{
	static const char *const names[] = {"readable", "writable", "secret"};

	for (int i = 0; i < 3; i++) {
		SET(names[i], 5, 5, 6, 6);
		SET(names[i], 0, UTIME_NOW, 0, UTIME_NOW);
		SET(names[i], 0, UTIME_NOW, 0, UTIME_OMIT);
		SET(names[i], 0, UTIME_OMIT, 0, UTIME_OMIT);
		TRY(out, utimensat(AT_FDCWD, names[i], NULL, 0));
	}
}

static void extended_stat(struct text *out)
{
	struct statx stx = {0};

	TRY(out, semantics_put("f", "12345"));
	TRY(out, statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &stx));
	text_add(out, "mask %#x mode %o size %llu links %u\n", stx.stx_mask & STATX_BASIC_STATS, stx.stx_mode,
		 (unsigned long long)stx.stx_size, stx.stx_nlink);
	TRY(out, statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &stx));
	TRY(out, statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_ALL, &stx));
	TRY(out, statx(AT_FDCWD, "missing", 0, STATX_ALL, &stx));
	TRY(out, symlink("missing", "s"));
	TRY(out, statx(AT_FDCWD, "s", 0, STATX_ALL, &stx));
	TRY(out, statx(AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, STATX_ALL, &stx));
	text_add(out, "mode %o size %llu\n", stx.stx_mode, (unsigned long long)stx.stx_size);
}

static void birth_time(struct text *out)
{
	struct statx stx = {0};
	struct timespec now;

	TRY(out, semantics_put("f", "12345"));
	TRY(out, statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &stx));
	clock_gettime(CLOCK_REALTIME, &now);
	text_add(out, "mask %#x mode %o size %llu links %u\n", stx.stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
		 stx.stx_mode, (unsigned long long)stx.stx_size, stx.stx_nlink);
	text_add(out, "born now: %d\n", llabs(stx.stx_btime.tv_sec - (long long)now.tv_sec) < 60);
}

const struct semantics_check semantics_times[] = {
	{"what moves times", NULL, what_moves_times},
	{"setting times", NULL, setting_times},
	{"setting times of others", prepare_others, others_times},
	{"statx", NULL, extended_stat},
	{NULL, NULL, NULL},
};

const struct semantics_check semantics_births[] = {
	{"time of birth", NULL, birth_time},
	{NULL, NULL, NULL},
};
