/*
 * Ids that lie: listings that go on in another life, where the cookies of the last
 * one mean another entry or none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "foreign.h"

#define ENTRIES 10000

static unsigned char seen[ENTRIES * 2];

/* Made in the store: what is listed is what counts. */
static void entries_make(struct foreign *f, int first, int count)
{
	char name[32];
	int fd;

	for (int i = first; i < first + count; i++) {
		snprintf(name, sizeof(name), "d/entry-%05d", i);
		fd = open(foreign_store_path(f, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		foreign_expect(f, fd >= 0, "%s: %s", name, strerror(errno));
		close(fd);
	}
}

static DIR *directory_open(struct foreign *f, int count)
{
	DIR *dir;

	memset(seen, 0, sizeof(seen));
	foreign_expect(f, mkdir(foreign_path(f, "d"), 0755) == 0, "mkdir: %s", strerror(errno));
	entries_make(f, 0, count);
	dir = opendir(foreign_path(f, "d"));
	foreign_expect(f, dir != NULL, "opendir: %s", strerror(errno));
	return dir;
}

/* Reads so many entries, or to the end, and notes them; returns how many there were. */
static int entries_read(struct foreign *f, DIR *dir, int most)
{
	struct dirent *entry;
	int count = 0;
	int number;

	errno = 0;
	while (count < most && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (sscanf(entry->d_name, "entry-%d", &number) == 1 && number >= 0 && number < ENTRIES * 2)
			seen[number]++;
		else
			foreign_expect(f, false, "an entry \"%s\"", entry->d_name);
		count++;
		errno = 0;
	}
	foreign_expect(f, errno == 0, "readdir: %s", strerror(errno));
	return count;
}

/* Each of a range was seen so often. */
static void expect_seen(struct foreign *f, int first, int end, int least, int most)
{
	for (int i = first; i < end; i++)
		foreign_expect(f, seen[i] >= least && seen[i] <= most, "entry %d was listed %d times", i, seen[i]);
}

void foreign_listing(struct foreign *f)
{
	DIR *dir = directory_open(f, ENTRIES);

	if (!dir)
		return;
	/* In the midst, and in what the kernel or libc have read ahead. */
	entries_read(f, dir, ENTRIES / 3);
	foreign_restart(f);
	entries_read(f, dir, ENTRIES / 3);
	foreign_restart(f);
	entries_read(f, dir, ENTRIES * 2);
	expect_seen(f, 0, ENTRIES, 1, 1);
	/* Again from the beginning, by the same descriptor. */
	foreign_restart(f);
	memset(seen, 0, sizeof(seen));
	rewinddir(dir);
	entries_read(f, dir, ENTRIES * 2);
	expect_seen(f, 0, ENTRIES, 1, 1);
	closedir(dir);
}

#define SOME 2000

/* Every tenth goes, and others come, while half of the listing was read. */
void foreign_listing_changed(struct foreign *f)
{
	DIR *dir = directory_open(f, SOME);
	char name[32];

	if (!dir)
		return;
	entries_read(f, dir, SOME / 2);
	for (int i = 0; i < SOME; i += 10) {
		snprintf(name, sizeof(name), "d/entry-%05d", i);
		foreign_expect(f, unlink(foreign_path(f, name)) == 0, "unlink: %s", strerror(errno));
	}
	foreign_restart(f);
	for (int i = SOME; i < SOME + 100; i++) {
		snprintf(name, sizeof(name), "d/entry-%05d", i);
		foreign_put(f, foreign_path(f, name), "");
	}
	foreign_restart(f);
	entries_read(f, dir, SOME * 2);
	for (int i = 0; i < SOME; i++)
		expect_seen(f, i, i + 1, i % 10 ? 1 : 0, 1);
	expect_seen(f, SOME, SOME + 100, 0, 1);
	memset(seen, 0, sizeof(seen));
	rewinddir(dir);
	entries_read(f, dir, SOME * 2);
	for (int i = 0; i < SOME; i++)
		expect_seen(f, i, i + 1, i % 10 ? 1 : 0, i % 10 ? 1 : 0);
	closedir(dir);
}

/*
 * Back to a place of an earlier life: what comes after it is what came after it.  In
 * which order is the filesystem's business, which may have another one now.
 */
void foreign_seekdir(struct foreign *f)
{
	DIR *dir = directory_open(f, SOME);
	unsigned char before[SOME];
	long place;

	if (!dir)
		return;
	entries_read(f, dir, SOME / 4);
	memcpy(before, seen, sizeof(before));
	place = telldir(dir);
	entries_read(f, dir, SOME / 2);
	foreign_restart(f);
	seekdir(dir, place);
	memset(seen, 0, sizeof(seen));
	entries_read(f, dir, SOME * 2);
	for (int i = 0; i < SOME; i++)
		expect_seen(f, i, i + 1, !before[i], !before[i]);
	closedir(dir);
}
