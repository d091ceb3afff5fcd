/*
 * Directories as lists: what reading, seeking and rewinding gives, also while
 * names come and go.
 */
#include "semantics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 700

static void make_many(struct text *out, const char *dir)
{
	char name[64];

	TRY(out, mkdir(dir, 0755));
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%s/entry-with-a-longer-name-%03d", dir, i);
		if (semantics_put(name, "") < 0)
			text_add(out, "%s: %s\n", name, text_errno(errno));
	}
}

/* How many entries there are, how many twice, and a sum over their names. */
static void count_entries(struct text *out, DIR *dir)
{
	unsigned char seen[MANY] = {0};
	unsigned entries = 0;
	unsigned twice = 0;
	unsigned dots = 0;
	struct dirent *entry;

	errno = 0;
	while ((entry = readdir(dir))) {
		const char *digits = strrchr(entry->d_name, '-');

		entries++;
		if (entry->d_name[0] == '.')
			dots++;
		else if (digits && atoi(digits + 1) < MANY && seen[atoi(digits + 1)]++)
			twice++;
	}
	text_add(out, "%u entries, %u twice, %u with dots, %s\n", entries, twice, dots, text_errno(errno));
}

static void listing(struct text *out)
{
	struct dirent *entry;
	unsigned types[16] = {0};
	DIR *dir;

	TRY(out, semantics_put("f", "x"));
	TRY(out, mkdir("d", 0755));
	TRY(out, symlink("x", "s"));
	TRY(out, mkfifo("p", 0600));
	dir = opendir(".");
	while ((entry = readdir(dir))) {
		struct stat st;

		types[entry->d_type & 15]++;
		if (lstat(entry->d_name, &st) < 0)
			text_add(out, "%s: %s\n", entry->d_name, text_errno(errno));
		else if (strcmp(entry->d_name, "..") != 0)
			text_add(out, "%s", st.st_ino == entry->d_ino ? "" : "another inode number\n");
	}
	text_add(out, "files %u directories %u symlinks %u fifos %u unknown %u\n", types[DT_REG], types[DT_DIR],
		 types[DT_LNK], types[DT_FIFO], types[DT_UNKNOWN]);
	closedir(dir);
	TRY(out, mkdir("d/a", 0755));
	TRY(out, mkdir("d/b", 0755));
	semantics_show(out, "d");
	TRY(out, rmdir("d/a"));
	semantics_show(out, "d");
	dir = opendir("f");
	text_add(out, "opendir of a file: %s\n", dir ? "ok" : text_errno(errno));
	dir = opendir("missing");
	text_add(out, "opendir of nothing: %s\n", dir ? "ok" : text_errno(errno));
}

static void many_entries(struct text *out)
{
	char name[512];
	long place;
	DIR *dir;

	make_many(out, "d");
	dir = opendir("d");
	count_entries(out, dir);
	rewinddir(dir);
	count_entries(out, dir);
	rewinddir(dir);
	for (int i = 0; i < 300; i++)
		readdir(dir);
	place = telldir(dir);
	snprintf(name, sizeof(name), "%s", readdir(dir)->d_name);
	for (int i = 0; i < 200; i++)
		readdir(dir);
	seekdir(dir, place);
	text_add(out, "the same entry after seekdir: %d\n", strcmp(name, readdir(dir)->d_name) == 0);
	count_entries(out, dir);
	seekdir(dir, 0);
	count_entries(out, dir);
	closedir(dir);
}

static void deleting_meanwhile(struct text *out)
{
	struct dirent *entry;
	unsigned removed = 0;
	DIR *dir;

	make_many(out, "d");
	dir = opendir("d");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			if (unlinkat(dirfd(dir), entry->d_name, 0) == 0)
				removed++;
			else
				text_add(out, "%s: %s\n", entry->d_name, text_errno(errno));
		}
	text_add(out, "removed %u\n", removed);
	rewinddir(dir);
	count_entries(out, dir);
	closedir(dir);
	TRY(out, rmdir("d"));
}

static void changing_meanwhile(struct text *out)
{
	char name[64];
	DIR *dir;

	make_many(out, "d");
	dir = opendir("d");
	for (int i = 0; i < 5; i++)
		readdir(dir);
	TRY(out, semantics_put("d/new", "x"));
	TRY(out, rename("d/entry-with-a-longer-name-000", "d/renamed"));
	rewinddir(dir);
	count_entries(out, dir);
	for (int i = 1; i < MANY; i++) {
		snprintf(name, sizeof(name), "d/entry-with-a-longer-name-%03d", i);
		unlink(name);
	}
	rewinddir(dir);
	count_entries(out, dir);
	TRY(out, unlink("d/new"));
	TRY(out, unlink("d/renamed"));
	TRY(out, rmdir("d"));
	rewinddir(dir);
	text_add(out, "of a removed directory: %s\n", readdir(dir) ? "an entry" : "nothing");
	closedir(dir);
}

static void working_directory(struct text *out)
{
	char path[4096];
	char *at;

	TRY(out, mkdir("d", 0755));
	TRY(out, mkdir("d/e", 0755));
	TRY(out, chdir("d/e"));
	TRY(out, rename("../../d", "../../moved"));
	at = getcwd(path, sizeof(path));
	text_add(out, "%s\n", at ? strstr(at, "/moved/e") : text_errno(errno));
	TRY(out, rmdir("../e"));
	text_add(out, "%s\n", getcwd(path, sizeof(path)) ? "a path" : text_errno(errno));
	TRY(out, access(".", F_OK));
	TRY(out, mkdir("x", 0755));
	TRY(out, access("..", F_OK));
	TRY(out, open("f", O_RDWR | O_CREAT, 0600));
	TRY(out, chdir(".."));
	TRY(out, access("e", F_OK));
	TRY(out, chdir("../moved"));
	TRY(out, access("../moved/..", F_OK));
}

const struct semantics_check semantics_dirs[] = {
	{"a listing and its types", NULL, listing},
	{"many entries, rewinding and seeking", NULL, many_entries},
	{"deleting while reading", NULL, deleting_meanwhile},
	{"changing while reading", NULL, changing_meanwhile},
	{"the working directory moves away", NULL, working_directory},
	{NULL, NULL, NULL},
};
