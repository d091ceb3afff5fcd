/*
 * Ids that lie: links, parents, and files replaced while nobody looks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "foreign.h"

static int open_path(struct foreign *f, const char *name, int flags)
{
	int fd = open(foreign_path(f, name), flags | O_CLOEXEC);

	foreign_expect(f, fd >= 0, "open of %s: %s", name, strerror(errno));
	return fd;
}

static void expect_gone(struct foreign *f, const char *name)
{
	struct stat st;

	foreign_expect(f, lstat(foreign_path(f, name), &st) < 0 && errno == ENOENT, "%s is there", name);
}

static void expect_file(struct foreign *f, const char *name, const char *content)
{
	int fd = open_path(f, name, O_RDONLY);

	if (fd < 0)
		return;
	foreign_content(f, fd, content, false, name);
	close(fd);
}

#define EXPECT_OK(f, call) foreign_expect(f, (call) == 0, "%s: %s", #call, strerror(errno))

void foreign_hardlinks(struct foreign *f)
{
	struct stat a, b;
	int fd;

	foreign_put(f, foreign_path(f, "a"), "one file");
	foreign_put(f, foreign_path(f, "other"), "another file");
	EXPECT_OK(f, link(foreign_path(f, "a"), foreign_path(f, "b")));
	fd = open_path(f, "a", O_RDWR);
	foreign_restart(f);
	EXPECT_OK(f, stat(foreign_path(f, "b"), &b));
	EXPECT_OK(f, stat(foreign_path(f, "a"), &a));
	foreign_expect(f, a.st_nlink == 2 && b.st_nlink == 2, "%u and %u links", (unsigned)a.st_nlink,
		       (unsigned)b.st_nlink);
	foreign_put(f, foreign_path(f, "b"), "by b");
	expect_file(f, "a", "by b");
	/* The name that it was opened by goes, and comes to be another file's. */
	EXPECT_OK(f, unlink(foreign_path(f, "a")));
	EXPECT_OK(f, rename(foreign_path(f, "other"), foreign_path(f, "a")));
	foreign_restart(f);
	foreign_content(f, fd, "by b", true, "the open file that has lost a name of two");
	expect_file(f, "b", "by b");
	expect_file(f, "a", "another file");
	EXPECT_OK(f, link(foreign_path(f, "b"), foreign_path(f, "c")));
	foreign_restart(f);
	EXPECT_OK(f, unlink(foreign_path(f, "b")));
	expect_file(f, "c", "by b");
	EXPECT_OK(f, stat(foreign_path(f, "c"), &b));
	foreign_expect(f, b.st_nlink == 1, "%u links", (unsigned)b.st_nlink);
	close(fd);
}

void foreign_renamed_parents(struct foreign *f)
{
	int fd;
	int dir;
	int below;

	EXPECT_OK(f, mkdir(foreign_path(f, "d"), 0755));
	EXPECT_OK(f, mkdir(foreign_path(f, "d/e"), 0755));
	foreign_put(f, foreign_path(f, "d/e/file"), "deep");
	fd = open_path(f, "d/e/file", O_RDWR);
	dir = open_path(f, "d/e", O_RDONLY | O_DIRECTORY);
	EXPECT_OK(f, rename(foreign_path(f, "d"), foreign_path(f, "moved")));
	/* The old name is another directory's, with another file of the same name. */
	EXPECT_OK(f, mkdir(foreign_path(f, "d"), 0755));
	EXPECT_OK(f, mkdir(foreign_path(f, "d/e"), 0755));
	foreign_put(f, foreign_path(f, "d/e/file"), "not this one");
	foreign_restart(f);
	foreign_content(f, fd, "deep", false, "a file whose parent was renamed");
	foreign_expect(f, pwrite(fd, "DEEP", 4, 0) == 4, "write: %s", strerror(errno));
	expect_file(f, "moved/e/file", "DEEP");
	expect_file(f, "d/e/file", "not this one");
	below = openat(dir, "new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	foreign_expect(f, below >= 0, "openat: %s", strerror(errno));
	close(below);
	foreign_restart(f);
	EXPECT_OK(f, access(foreign_path(f, "moved/e/new"), F_OK));
	expect_gone(f, "d/e/new");
	/* Twice more, and the file itself too. */
	EXPECT_OK(f, rename(foreign_path(f, "moved/e/file"), foreign_path(f, "d/f")));
	EXPECT_OK(f, rename(foreign_path(f, "moved"), foreign_path(f, "d/moved")));
	foreign_restart(f);
	foreign_content(f, fd, "DEEP", false, "a file that was renamed");
	EXPECT_OK(f, renameat(dir, "new", dir, "newer"));
	EXPECT_OK(f, access(foreign_path(f, "d/moved/e/newer"), F_OK));
	close(fd);
	close(dir);
}

void foreign_deleted_parents(struct foreign *f)
{
	struct stat st;
	int fd;
	int dir;
	int below;

	EXPECT_OK(f, mkdir(foreign_path(f, "d"), 0755));
	foreign_put(f, foreign_path(f, "d/file"), "the old one");
	fd = open_path(f, "d/file", O_RDONLY);
	dir = open_path(f, "d", O_RDONLY | O_DIRECTORY);
	EXPECT_OK(f, unlink(foreign_path(f, "d/file")));
	EXPECT_OK(f, rmdir(foreign_path(f, "d")));
	foreign_restart(f);
	/* Both names come again, and are others. */
	EXPECT_OK(f, mkdir(foreign_path(f, "d"), 0700));
	foreign_put(f, foreign_path(f, "d/file"), "one of another");
	foreign_content(f, fd, "the old one", true, "a file that was removed with its directory");
	foreign_restart(f);
	foreign_content(f, fd, "the old one", true, "a file that was removed with its directory");
	below = openat(dir, "file", O_RDONLY | O_CLOEXEC);
	foreign_expect(f, below < 0 && (errno == ENOENT || errno == ESTALE), "the removed directory has a file: %s",
		       below < 0 ? strerror(errno) : "opened");
	if (fstat(dir, &st) < 0)
		foreign_expect(f, errno == ESTALE || errno == ENOENT, "fstat: %s", strerror(errno));
	else
		foreign_expect(f, (st.st_mode & 07777) == 0755, "the removed directory has mode %o",
			       st.st_mode & 07777);
	expect_file(f, "d/file", "one of another");
	close(fd);
	close(dir);
}

/* Done beside the mount, while there is no backend. */
void foreign_replaced(struct foreign *f)
{
	const struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
	int fd;
	int kept;
	int gone;

	foreign_put(f, foreign_path(f, "file"), "the first");
	foreign_put(f, foreign_path(f, "kept"), "never touched");
	foreign_put(f, foreign_path(f, "gone"), "will be gone");
	foreign_put(f, foreign_path(f, "other"), "the second one, and longer");
	EXPECT_OK(f, utimensat(AT_FDCWD, foreign_path(f, "file"), old, 0));
	fd = open_path(f, "file", O_RDONLY);
	kept = open_path(f, "kept", O_RDONLY);
	gone = open_path(f, "gone", O_RDONLY);
	foreign_content(f, fd, "the first", false, "before");
	foreign_kill(f);
	EXPECT_OK(f, rename(foreign_store_path(f, "other"), foreign_store_path(f, "file")));
	EXPECT_OK(f, unlink(foreign_store_path(f, "gone")));
	EXPECT_OK(f, mkdir(foreign_store_path(f, "gone"), 0755));
	foreign_revive(f);
	foreign_content(f, fd, "the first", true, "a file that was replaced");
	foreign_content(f, gone, "will be gone", true, "a file whose name is a directory's now");
	foreign_content(f, kept, "never touched", false, "a file beside it");
	/* Whoever asks by name gets what has the name. */
	if (!f->plain)
		expect_file(f, "file", "the second one, and longer");
	foreign_restart(f);
	foreign_content(f, fd, "the first", true, "a file that was replaced, a life later");
	close(fd);
	close(kept);
	close(gone);
}

void foreign_swapped(struct foreign *f)
{
	int a;
	int b;

	foreign_put(f, foreign_path(f, "a"), "content of a");
	foreign_put(f, foreign_path(f, "b"), "b's is of another size");
	a = open_path(f, "a", O_RDONLY);
	b = open_path(f, "b", O_RDONLY);
	foreign_kill(f);
	EXPECT_OK(f, renameat2(AT_FDCWD, foreign_store_path(f, "a"), AT_FDCWD, foreign_store_path(f, "b"),
			       RENAME_EXCHANGE));
	foreign_revive(f);
	foreign_content(f, a, "content of a", true, "a");
	foreign_content(f, b, "b's is of another size", true, "b");
	if (!f->plain) {
		expect_file(f, "a", "b's is of another size");
		expect_file(f, "b", "content of a");
	}
	close(a);
	close(b);
}

static bool listed(struct foreign *f, const char *name)
{
	DIR *dir = opendir(f->mnt);
	struct dirent *entry;
	bool found = false;

	while (dir && (entry = readdir(dir)))
		found |= strcmp(entry->d_name, name) == 0;
	if (dir)
		closedir(dir);
	return found;
}

void foreign_odd_names(struct foreign *f)
{
	static const char *const odd[] = {
		"\x01\x02\xff\xfe", "caf\xe9", "\xed\xa0\x80",	  " ", "new\nline", "-rf", "%s%n",
		"back\\slash",	    "...",     "\xf0\x9f\x90\x9f"};
	char names[12][256];
	unsigned count = 0;

	for (; count < sizeof(odd) / sizeof(odd[0]); count++)
		snprintf(names[count], sizeof(names[0]), "%s", odd[count]);
	memset(names[count], 'n', 255);
	names[count++][255] = '\0';
	memset(names[count], 0xff, 255);
	names[count++][255] = '\0';
	for (unsigned i = 0; i < count; i++)
		foreign_put(f, foreign_path(f, names[i]), names[i]);
	foreign_restart(f);
	for (unsigned i = 0; i < count; i++) {
		int fd = open_path(f, names[i], O_RDONLY);

		foreign_restart(f);
		foreign_content(f, fd, names[i], false, "an odd name");
		foreign_expect(f, listed(f, names[i]), "name %u is not listed", i);
		close(fd);
		EXPECT_OK(f, rename(foreign_path(f, names[i]), foreign_path(f, "plain")));
		expect_gone(f, names[i]);
		EXPECT_OK(f, rename(foreign_path(f, "plain"), foreign_path(f, names[i])));
		EXPECT_OK(f, unlink(foreign_path(f, names[i])));
	}
}

#define MANY 100

/* Looked up in one order in a life, and in another in the next: the same numbers, other files. */
void foreign_same_numbers(struct foreign *f)
{
	char name[16];
	char content[16];
	int fds[MANY];
	struct stat st;

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		foreign_put(f, foreign_path(f, name), name);
		fds[i] = open_path(f, name, O_RDONLY);
	}
	for (int life = 0; life < 3; life++) {
		foreign_restart(f);
		for (int k = 0; k < MANY; k++) {
			int i = (k * 37 + life * 11) % MANY;

			snprintf(name, sizeof(name), "f%d", i);
			snprintf(content, sizeof(content), "f%d", i);
			if (k % 3 == 0)
				EXPECT_OK(f, stat(foreign_path(f, name), &st));
			foreign_content(f, fds[i], content, false, name);
			if (k % 5 == life) {
				/* Its number is free for the next that is looked up. */
				close(fds[i]);
				EXPECT_OK(f, unlink(foreign_path(f, name)));
				foreign_put(f, foreign_path(f, name), name);
				fds[i] = open_path(f, name, O_RDONLY);
			}
		}
	}
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
}

/* What applications see of inode numbers lasts, and tells files apart. */
void foreign_inode_numbers(struct foreign *f)
{
	struct stat before, after, other, open_file;
	int fd;

	foreign_put(f, foreign_path(f, "file"), "x");
	foreign_put(f, foreign_path(f, "other"), "x");
	fd = open_path(f, "file", O_RDONLY);
	EXPECT_OK(f, stat(foreign_path(f, "file"), &before));
	EXPECT_OK(f, stat(foreign_path(f, "other"), &other));
	if (!strstr(f->lie, "zero"))
		foreign_expect(f, before.st_ino != other.st_ino, "two files have one number");
	foreign_restart(f);
	EXPECT_OK(f, stat(foreign_path(f, "file"), &after));
	EXPECT_OK(f, fstat(fd, &open_file));
	/* By itself this one changes its mind within a life. */
	if (!strstr(f->lie, "changing") || f->deaths) {
		foreign_expect(f, after.st_ino == before.st_ino, "the number was %llu and is %llu",
			       (unsigned long long)before.st_ino, (unsigned long long)after.st_ino);
		foreign_expect(f, open_file.st_ino == before.st_ino, "the open file's number has changed");
	}
	close(fd);
}
