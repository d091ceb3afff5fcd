/*
 * The kill matrix: scenarios of open files and directories, and what is in them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../lib/check.h"
#include "matrix.h"

#define LETTERS 16

/* "f": 16 blocks of 4096 bytes, each of its own letter. */
static void lettered_file(void)
{
	char block[4096];
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	for (int i = 0; i < LETTERS; i++) {
		memset(block, 'a' + i, sizeof(block));
		if (write(fd, block, sizeof(block)) != sizeof(block))
			abort();
	}
	close(fd);
}

static void sparse_file(void)
{
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (ftruncate(fd, 1 << 20) < 0 || pwrite(fd, "data", 4, 1 << 18) != 4)
		abort();
	close(fd);
}

static void many_names(void)
{
	char name[64];

	mkdir("d", 0755);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "d/an-entry-of-many-%04d", i);
		place_put(name, "");
	}
}

static void setuid_file(void)
{
	place_put("f", "program");
	if (chown("f", 1000, 1000) < 0 || chmod("f", 06755) < 0)
		abort();
}

static void open_file(struct place *place)
{
	int fd;

	place_arm(place);
	fd = open("f", O_RDWR | O_CLOEXEC);
	place_show_content(place, fd);
	TRY(place, pwrite(fd, "X", 1, 3));
	TRY(place, close(fd));
}

static void open_truncating(struct place *place)
{
	int fd;

	place_arm(place);
	fd = open("f", O_WRONLY | O_TRUNC | O_CLOEXEC);
	TRY(place, write(fd, "short", 5));
	TRY(place, close(fd));
}

static void read_file(struct place *place)
{
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	place_arm(place);
	place_show_content(place, fd);
	TRY(place, close(fd));
}

static void read_direct(struct place *place)
{
	static char block[65536 * 2] __attribute__((aligned(4096)));
	int fd = open("f", O_RDONLY | O_DIRECT | O_CLOEXEC);

	place_arm(place);
	TRY(place, pread(fd, block, sizeof(block), 4096));
	text_add(&place->log, "%c%c\n", block[0], block[14 * 4096]);
	TRY(place, pread(fd, block, 4096, 1 << 20));
	TRY(place, close(fd));
}

static void write_file(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, pwrite(fd, "written once", 12, 4090));
	place_show_content(place, fd);
	TRY(place, close(fd));
	place_show(place, "f");
}

static void write_much(struct place *place)
{
	static char block[300000];
	int fd = open("f", O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i * 7 + i / 251);
	place_arm(place);
	TRY(place, pwrite(fd, block, sizeof(block), 1000));
	place_show_content(place, fd);
	TRY(place, close(fd));
}

static void write_direct(struct place *place)
{
	static char block[65536 * 2] __attribute__((aligned(4096)));
	int fd = open("f", O_RDWR | O_DIRECT | O_CLOEXEC);

	memset(block, 'D', sizeof(block));
	place_arm(place);
	TRY(place, pwrite(fd, block, sizeof(block), 8192));
	TRY(place, close(fd));
}

static void append(struct place *place)
{
	int a = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
	int b = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);

	place_arm(place);
	TRY(place, write(a, "first", 5));
	TRY(place, write(b, "second", 6));
	TRY(place, write(a, "third", 5));
	TRY(place, lseek(a, 0, SEEK_CUR));
	TRY(place, close(a));
	TRY(place, close(b));
	place_show(place, "f");
}

static void write_synced(struct place *place)
{
	int fd = open("f", O_WRONLY | O_APPEND | O_SYNC | O_CLOEXEC);

	place_arm(place);
	TRY(place, write(fd, "durable", 7));
	TRY(place, close(fd));
}

static void write_unlinked(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, unlink("f"));
	place_arm(place);
	TRY(place, pwrite(fd, "nameless", 8, 100));
	place_show_content(place, fd);
	place_show_fd(place, "unlinked", fd);
	TRY(place, close(fd));
}

static void read_unlinked(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, unlink("f"));
	place_arm(place);
	place_show_content(place, fd);
	TRY(place, ftruncate(fd, 10));
	place_show_fd(place, "unlinked", fd);
	TRY(place, close(fd));
}

static void write_setuid(struct place *place)
{
	int fd;

	if (setgid(1000) < 0 || setuid(1000) < 0)
		abort();
	fd = open("f", O_WRONLY | O_CLOEXEC);
	place_arm(place);
	TRY(place, write(fd, "x", 1));
	TRY(place, close(fd));
	place_show(place, "f");
}

static void write_mapped(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);
	char *map = mmap(NULL, LETTERS * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	place_arm(place);
	if (map != MAP_FAILED) {
		memcpy(map + 4090, "across pages", 12);
		map[LETTERS * 4096 - 1] = 'Z';
		TRY(place, msync(map, LETTERS * 4096, MS_SYNC));
		munmap(map, LETTERS * 4096);
	}
	place_show_content(place, fd);
	TRY(place, close(fd));
}

/* FALLOCATE, with the file's size and content afterwards. */
static void allocate(struct place *place, int mode, off_t offset, off_t length)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, fallocate(fd, mode, offset, length));
	place_show_fd(place, "f", fd);
	place_show_content(place, fd);
	TRY(place, close(fd));
}

static void allocate_plain(struct place *place)
{
	allocate(place, 0, 60000, 40000);
}

static void allocate_keeping(struct place *place)
{
	allocate(place, FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
}

static void punch(struct place *place)
{
	allocate(place, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20000);
}

static void zero_range(struct place *place)
{
	allocate(place, FALLOC_FL_ZERO_RANGE, 60000, 40000);
}


static void copy_range(struct place *place)
{
	off64_t in = 4096;
	off64_t out = 100;
	int from = open("f", O_RDONLY | O_CLOEXEC);
	int to = open("g", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	place_arm(place);
	TRY(place, copy_file_range(from, &in, to, &out, 30000, 0));
	place_show_content(place, to);
	TRY(place, close(from));
	TRY(place, close(to));
}

static void copy_within(struct place *place)
{
	off64_t in = 0;
	off64_t out = 40960;
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, copy_file_range(fd, &in, fd, &out, 8192, 0));
	place_show_content(place, fd);
	TRY(place, close(fd));
}

static void seek_data(struct place *place)
{
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	place_arm(place);
	TRY(place, lseek(fd, 0, SEEK_DATA));
	TRY(place, lseek(fd, 0, SEEK_HOLE));
	TRY(place, lseek(fd, 1 << 18, SEEK_HOLE));
	TRY(place, lseek(fd, 1 << 20, SEEK_DATA));
	TRY(place, close(fd));
}

static void flush(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);
	int twin = dup(fd);

	TRY(place, write(fd, "flushed", 7));
	place_arm(place);
	TRY(place, close(twin));
	TRY(place, pwrite(fd, "later", 5, 100));
	TRY(place, close(fd));
}

static void sync_file(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, write(fd, "synced", 6));
	place_arm(place);
	TRY(place, fsync(fd));
	TRY(place, fdatasync(fd));
	TRY(place, close(fd));
}

static void release(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, write(fd, "released", 8));
	place_arm(place);
	TRY(place, close(fd));
	place_show(place, "f");
}

static bool is_stale(void *arg)
{
	int fd = open_by_handle_at(AT_FDCWD, arg, O_PATH | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == ESTALE;
}

/* Once it is released, nobody may hold an unlinked file: its space is given back. */
static void release_unlinked(struct place *place)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} file = {.handle.handle_bytes = MAX_HANDLE_SZ};
	char path[256];
	int id;
	int fd = open("f", O_RDWR | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/f", place->direct);
	TRY(place, name_to_handle_at(AT_FDCWD, path, &file.handle, &id, 0));
	TRY(place, unlink("f"));
	/* The handle is looked up on the store's filesystem, which is not the mount. */
	if (chdir(place->direct) < 0)
		abort();
	text_add(&place->log, "gone while open: %d\n", is_stale(&file.handle));
	place_arm(place);
	TRY(place, close(fd));
	text_add(&place->log, "gone when closed: %d\n", check_until(is_stale, &file.handle, 10000));
}

/* How many entries there are, how many twice, and whether each name is right. */
static void list(struct place *place, DIR *dir)
{
	unsigned char seen[1000] = {0};
	unsigned twice = 0;
	unsigned entries = 0;
	struct dirent *entry;

	errno = 0;
	while ((entry = readdir(dir))) {
		int number;

		entries++;
		if (sscanf(entry->d_name, "an-entry-of-many-%d", &number) == 1 && number >= 0 && number < 1000)
			twice += seen[number]++;
	}
	text_add(&place->log, "%u entries, %u twice, %s\n", entries, twice, text_errno(errno));
}

static void read_directory(struct place *place)
{
	DIR *dir = opendir("d");

	place_arm(place);
	list(place, dir);
	rewinddir(dir);
	list(place, dir);
	TRY(place, closedir(dir));
}

static void open_directory(struct place *place)
{
	DIR *dir;

	place_arm(place);
	dir = opendir("d");
	list(place, dir);
	TRY(place, closedir(dir));
}

static void sync_directory(struct place *place)
{
	int fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	place_arm(place);
	TRY(place, fsync(fd));
	TRY(place, fdatasync(fd));
	TRY(place, close(fd));
}

static void close_directory(struct place *place)
{
	DIR *dir = opendir("d");

	place_arm(place);
	TRY(place, closedir(dir));
	place_show(place, "d");
}

static void ask_filesystem(struct place *place)
{
	struct statvfs fs = {0};

	place_arm(place);
	TRY(place, statvfs(".", &fs));
	text_add(&place->log, "name %lu block %lu\n", fs.f_namemax, fs.f_bsize);
}

const struct matrix_scenario matrix_data[] = {
	{.opcode = "OPEN", .what = "", .setup = lettered_file, .run = open_file},
	{.opcode = "OPEN", .what = "O_TRUNC", .setup = lettered_file, .run = open_truncating},
	{.opcode = "READ", .what = "", .setup = lettered_file, .run = read_file},
	{.opcode = "READ", .what = "O_DIRECT", .setup = lettered_file, .run = read_direct},
	{.opcode = "READ", .what = "unlinked", .setup = lettered_file, .run = read_unlinked},
	{.opcode = "WRITE", .what = "", .setup = lettered_file, .run = write_file},
	{.opcode = "WRITE", .what = "300,000 bytes", .setup = lettered_file, .run = write_much},
	{.opcode = "WRITE", .what = "O_DIRECT", .setup = lettered_file, .run = write_direct},
	{.opcode = "WRITE", .what = "O_APPEND", .setup = lettered_file, .run = append},
	{.opcode = "WRITE", .what = "O_APPEND O_SYNC", .setup = lettered_file, .run = write_synced},
	{.opcode = "WRITE", .what = "unlinked", .setup = lettered_file, .run = write_unlinked},
	{.opcode = "WRITE", .what = "clears setuid", .setup = setuid_file, .run = write_setuid},
	{.opcode = "WRITE", .what = "mapped", .setup = lettered_file, .run = write_mapped},
	{.opcode = "FALLOCATE", .what = "", .setup = lettered_file, .run = allocate_plain},
	{.opcode = "FALLOCATE", .what = "KEEP_SIZE", .setup = lettered_file, .run = allocate_keeping},
	{.opcode = "FALLOCATE", .what = "PUNCH_HOLE", .setup = lettered_file, .run = punch},
	{.opcode = "FALLOCATE", .what = "ZERO_RANGE", .setup = lettered_file, .run = zero_range},
	{.opcode = "COPY_FILE_RANGE_64", .what = "", .setup = lettered_file, .run = copy_range, .first = 45},
	{.opcode = "COPY_FILE_RANGE_64", .what = "one file", .setup = lettered_file, .run = copy_within, .first = 45},
	{.opcode = "COPY_FILE_RANGE", .what = "of the kernel", .setup = lettered_file, .run = copy_range, .end = 45},
	{.opcode = "COPY_FILE_RANGE", .what = "one file", .setup = lettered_file, .run = copy_within, .end = 45},
	{.opcode = "LSEEK", .what = "", .setup = sparse_file, .run = seek_data},
	{.opcode = "FLUSH", .what = "", .setup = lettered_file, .run = flush},
	{.opcode = "FSYNC", .what = "", .setup = lettered_file, .run = sync_file},
	{.opcode = "RELEASE", .what = "", .setup = lettered_file, .run = release},
	{.opcode = "RELEASE", .what = "unlinked", .setup = lettered_file, .run = release_unlinked},
	{.opcode = "OPENDIR", .what = "", .setup = many_names, .run = open_directory},
	{.opcode = "READDIRPLUS", .what = "", .setup = many_names, .run = read_directory},
	{.opcode = "READDIR", .what = "", .setup = many_names, .run = read_directory},
	{.opcode = "FSYNCDIR", .what = "", .setup = many_names, .run = sync_directory},
	{.opcode = "RELEASEDIR", .what = "", .setup = many_names, .run = close_directory},
	{.opcode = "STATFS", .what = "", .run = ask_filesystem},
	{.opcode = NULL},
};
