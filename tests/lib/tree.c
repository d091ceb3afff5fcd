/*
 * What is in a tree, as text.  Entries come sorted by name; times and inode numbers
 * are left out, since they differ between two trees that are the same otherwise.
 */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static uint64_t hash_add(uint64_t hash, const void *bytes, size_t size)
{
	const unsigned char *at = bytes;

	while (size--)
		hash = (hash ^ *at++) * 1099511628211u;
	return hash;
}

void tree_add_content(struct text *log, int fd)
{
	unsigned char buffer[65536];
	uint64_t hash = 14695981039346656037u;
	uint64_t size = 0;
	ssize_t got;

	while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
		hash = hash_add(hash, buffer, (size_t)got);
		size += (uint64_t)got;
	}
	text_add(log, " %" PRIu64 " bytes %016" PRIx64 "%s", size, hash, got < 0 ? text_errno(errno) : "");
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a NUL-separated list, sorted; the pointers go into the list. */
static size_t split_sorted(char *list, size_t size, char **names, size_t room)
{
	size_t count = 0;

	for (char *at = list; at < list + size && count < room; at += strlen(at) + 1)
		names[count++] = at;
	qsort(names, count, sizeof(names[0]), compare_strings);
	return count;
}

static void xattr_digest(struct text *log, const char *path)
{
	char list[4096];
	char value[4096];
	char *names[64];
	ssize_t size = llistxattr(path, list, sizeof(list));
	size_t count = size > 0 ? split_sorted(list, (size_t)size, names, 64) : 0;

	for (size_t i = 0; i < count; i++) {
		ssize_t length = lgetxattr(path, names[i], value, sizeof(value));

		text_add(log, " %s=%zd:%016" PRIx64, names[i], length,
			 length > 0 ? hash_add(0, value, (size_t)length) : 0);
	}
}

static void entry_digest(struct text *log, const char *path, const char *shown)
{
	char target[4096];
	struct stat st;
	ssize_t size;
	int fd;

	if (lstat(path, &st) < 0) {
		text_add(log, "%s: %s\n", shown, text_errno(errno));
		return;
	}
	text_add(log, "%s: %06o %u:%u links %u rdev %u:%u", shown, st.st_mode, st.st_uid, st.st_gid,
		 (unsigned)st.st_nlink, major(st.st_rdev), minor(st.st_rdev));
	if (S_ISREG(st.st_mode)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		tree_add_content(log, fd);
		close(fd);
	} else if (S_ISLNK(st.st_mode)) {
		size = readlink(path, target, sizeof(target));
		text_add(log, " -> %.*s", (int)size, target);
	}
	xattr_digest(log, path);
	text_add(log, "\n");
}

static void add_children(struct text *log, const char *path, const char *shown)
{
	char *names[2048];
	size_t count = 0;
	struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir)
		return;
	while ((entry = readdir(dir)) && count < 2048)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			names[count++] = strdup(entry->d_name);
	closedir(dir);
	qsort(names, count, sizeof(names[0]), compare_strings);
	for (size_t i = 0; i < count; i++) {
		char child[512];
		char label[512];

		snprintf(child, sizeof(child), "%s/%s", path, names[i]);
		snprintf(label, sizeof(label), "%s/%s", shown, names[i]);
		entry_digest(log, child, label);
		add_children(log, child, label);
		free(names[i]);
	}
}

void tree_add(struct text *log, const char *path)
{
	add_children(log, path, ".");
}
