/*
 * Links: hard ones and their counts, symbolic ones and their loops, and files
 * that have lost their name or never had one.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void hard_links(struct text *out)
{
	struct stat a;
	struct stat b;

	TRY(out, semantics_put("a", "one"));
	TRY(out, link("a", "b"));
	TRY(out, link("a", "b"));
	TRY(out, link("missing", "c"));
	TRY(out, mkdir("d", 0755));
	TRY(out, link("d", "e"));
	TRY(out, link("a", "d/c"));
	TRY(out, link("a", "d"));
	TRY(out, link("a", "missing/c"));
	semantics_show(out, "a");
	stat("a", &a);
	stat("d/c", &b);
	text_add(out, "the same inode: %d\n", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	TRY(out, semantics_put("b", "changed"));
	semantics_show_content(out, "d/c");
	TRY(out, unlink("a"));
	semantics_show(out, "b");
	TRY(out, chmod("b", 0604));
	semantics_show(out, "d/c");
	TRY(out, truncate("d/c", 3));
	semantics_show_content(out, "b");
	TRY(out, symlink("b", "s"));
	TRY(out, linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
	semantics_show(out, "s2");
	TRY(out, linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	semantics_show(out, "s3");
	TRY(out, rename("d/c", "d/z"));
	semantics_show(out, "d/z");
	TRY(out, unlink("b"));
	TRY(out, unlink("d/z"));
	semantics_show(out, "s3");
}

static void many_links(struct text *out)
{
	char name[32];

	TRY(out, semantics_put("a", "one"));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		if (link("a", name) < 0)
			text_add(out, "link %d: %s\n", i, text_errno(errno));
	}
	semantics_show(out, "l150");
	for (int i = 0; i < 199; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		unlink(name);
	}
	semantics_show(out, "l199");
}

static void symbolic_links(struct text *out)
{
	char body[64] = "";

	TRY(out, symlink("", "empty"));
	TRY(out, symlink("f", "s"));
	TRY(out, symlink("x", "s"));
	TRY(out, readlink("s", body, sizeof(body)));
	text_add(out, "%s\n", body);
	TRY(out, readlink("missing", body, sizeof(body)));
	TRY(out, access("s", F_OK));
	TRY(out, semantics_put("f", "through"));
	semantics_show_content(out, "s");
	TRY(out, readlink("f", body, sizeof(body)));
	semantics_show(out, "s");
	TRY(out, chmod("s", 0600));
	semantics_show(out, "f");
	TRY(out, lchown("s", (uid_t)-1, (gid_t)-1));
	TRY(out, truncate("s", 4));
	semantics_show_content(out, "f");
	TRY(out, mkdir("d", 0755));
	TRY(out, symlink("../f", "d/up"));
	semantics_show_content(out, "d/up");
	TRY(out, symlink("d/", "slash"));
	semantics_show_content(out, "slash/up");
	TRY(out, rmdir("slash"));
	TRY(out, unlink("slash"));
	TRY(out, unlink("s"));
	semantics_show(out, "f");
	TRY(out, symlink("\xff\x01 odd", "o"));
	memset(body, 0, sizeof(body));
	TRY(out, readlink("o", body, sizeof(body)));
	text_add(out, "%s\n", body);
}

static void symlink_loops(struct text *out)
{
	char name[32];
	char target[32];

	TRY(out, symlink("loop", "loop"));
	TRY(out, access("loop", F_OK));
	TRY(out, open("loop", O_RDONLY));
	TRY(out, symlink("y", "x"));
	TRY(out, symlink("x", "y"));
	TRY(out, access("x/z", F_OK));
	TRY(out, mkdir("x/z", 0755));
	TRY(out, semantics_put("c0", "end"));
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		snprintf(target, sizeof(target), "c%d", i - 1);
		symlink(target, name);
	}
	TRY(out, access("c40", R_OK));
	TRY(out, access("c41", R_OK));
}

static void unlinked_files(struct text *out)
{
	char buffer[32] = "";
	int other;
	int fd;

	TRY(out, semantics_put("f", "still here"));
	fd = open("f", O_RDWR | O_CLOEXEC);
	TRY(out, unlink("f"));
	semantics_show(out, "f");
	semantics_show_fd(out, "unlinked", fd);
	TRY(out, pread(fd, buffer, sizeof(buffer), 0));
	text_add(out, "%s\n", buffer);
	TRY(out, pwrite(fd, "more than that", 14, 6));
	semantics_show_fd(out, "unlinked", fd);
	TRY(out, ftruncate(fd, 5));
	TRY(out, fchmod(fd, 0600));
	TRY(out, fchown(fd, (uid_t)-1, (gid_t)-1));
	TRY(out, futimens(fd, (struct timespec[]){{1, 0}, {2, 0}}));
	TRY(out, fsync(fd));
	semantics_show_fd(out, "unlinked", fd);
	TRY(out, semantics_put("f", "another"));
	semantics_show_content(out, "f");
	semantics_show_fd(out, "unlinked", fd);
	snprintf(buffer, sizeof(buffer), "/proc/self/fd/%d", fd);
	other = open(buffer, O_RDONLY | O_CLOEXEC);
	text_add(out, "opened again: %s\n", other < 0 ? text_errno(errno) : "ok");
	memset(buffer, 0, sizeof(buffer));
	TRY(out, read(other, buffer, sizeof(buffer)));
	text_add(out, "%s\n", buffer);
	close(other);
	TRY(out, linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
	snprintf(buffer, sizeof(buffer), "/proc/self/fd/%d", fd);
	TRY(out, linkat(AT_FDCWD, buffer, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	TRY(out, close(fd));
	TRY(out, semantics_put("over", "old"));
	TRY(out, semantics_put("new", "newer"));
	fd = open("over", O_RDWR | O_CLOEXEC);
	TRY(out, rename("new", "over"));
	semantics_show_fd(out, "replaced", fd);
	TRY(out, close(fd));
	semantics_show_content(out, "over");
}

static void unnamed_files(struct text *out)
{
	char path[64];
	int fd = open(".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0640);

	text_add(out, "O_TMPFILE: %s\n", fd < 0 ? text_errno(errno) : "ok");
	semantics_show_fd(out, "tmpfile", fd);
	TRY(out, write(fd, "unnamed", 7));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(out, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	semantics_show_fd(out, "tmpfile", fd);
	semantics_show_content(out, "named");
	TRY(out, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	TRY(out, linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	semantics_show(out, "again");
	TRY(out, close(fd));
	fd = open(".", O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
	text_add(out, "O_TMPFILE with O_EXCL: %s\n", fd < 0 ? text_errno(errno) : "ok");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(out, linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	TRY(out, close(fd));
	TRY(out, open(".", O_RDONLY | O_TMPFILE, 0600));
	TRY(out, open("named", O_RDWR | O_TMPFILE, 0600));
	TRY(out, open("missing", O_RDWR | O_TMPFILE, 0600));
}

static void path_descriptors(struct text *out)
{
	char path[64];
	int dir;
	int fd;

	TRY(out, mkdir("d", 0755));
	TRY(out, semantics_put("d/f", "by descriptor"));
	dir = open("d", O_PATH | O_CLOEXEC);
	fd = openat(dir, "f", O_PATH | O_CLOEXEC);
	TRY(out, read(fd, path, 1));
	TRY(out, rename("d", "moved"));
	TRY(out, faccessat(dir, "f", R_OK, 0));
	semantics_show_fd(out, "path", fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	semantics_show_content(out, "moved/f");
	TRY(out, truncate(path, 2));
	semantics_show_content(out, "moved/f");
	TRY(out, unlinkat(dir, "f", 0));
	TRY(out, rmdir("moved"));
	TRY(out, mkdirat(dir, "late", 0755));
	TRY(out, openat(dir, "late", O_RDWR | O_CREAT, 0600));
	close(fd);
	close(dir);
}

const struct semantics_check semantics_links[] = {
	{"hard links and their counts", NULL, hard_links},
	{"two hundred links", NULL, many_links},
	{"symbolic links", NULL, symbolic_links},
	{"loops of symbolic links", NULL, symlink_loops},
	{"unlinked files that are open", NULL, unlinked_files},
	{"O_TMPFILE", NULL, unnamed_files},
	{"O_PATH descriptors and removed directories", NULL, path_descriptors},
	{NULL, NULL, NULL},
};
