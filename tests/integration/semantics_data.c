/*
 * Reading and writing: offsets, appending, truncating, mapping.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void reading_and_writing(struct text *out)
{
	char buffer[64] = "";
	struct iovec parts[3] = {{buffer, 3}, {buffer + 10, 4}, {buffer + 20, 30}};
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	TRY(out, write(fd, "0123456789", 10));
	TRY(out, lseek(fd, 0, SEEK_CUR));
	TRY(out, read(fd, buffer, 10));
	TRY(out, lseek(fd, -4, SEEK_END));
	TRY(out, read(fd, buffer, 10));
	TRY(out, lseek(fd, -1, SEEK_SET));
	TRY(out, lseek(fd, 100, SEEK_SET));
	TRY(out, read(fd, buffer, 10));
	TRY(out, write(fd, "far", 3));
	semantics_show(out, "f");
	TRY(out, pread(fd, buffer, 10, -1));
	TRY(out, pwrite(fd, "x", 1, -1));
	TRY(out, pread(fd, buffer, 10, 1000));
	TRY(out, pread(fd, buffer, 0, 0));
	TRY(out, write(fd, "", 0));
	TRY(out, preadv(fd, parts, 3, 0));
	text_add(out, "%.3s|%.4s|%.3s\n", buffer, buffer + 10, buffer + 20);
	TRY(out, pwritev(fd, parts, 2, 50));
	TRY(out, preadv2(fd, parts, 3, 0, RWF_HIPRI));
	TRY(out, pwritev2(fd, parts, 2, 200, RWF_DSYNC));
	TRY(out, pwritev2(fd, parts, 2, 0, RWF_APPEND));
	semantics_show_content(out, "f");
	close(fd);
	fd = open("f", O_WRONLY | O_CLOEXEC);
	TRY(out, read(fd, buffer, 1));
	close(fd);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	TRY(out, write(fd, "x", 1));
	close(fd);
	fd = open(".", O_RDONLY | O_CLOEXEC);
	TRY(out, read(fd, buffer, 1));
	TRY(out, write(fd, buffer, 1));
	TRY(out, ftruncate(fd, 1));
	TRY(out, fsync(fd));
	TRY(out, fdatasync(fd));
	close(fd);
}

static void appending(struct text *out)
{
	int a = open("f", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	int b = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
	int c = open("f", O_RDWR | O_CLOEXEC);
	char byte;

	for (int i = 0; i < 20; i++) {
		if (write(a, "aaa", 3) != 3 || write(b, "bb", 2) != 2)
			text_add(out, "write %d: %s\n", i, text_errno(errno));
	}
	semantics_show_content(out, "f");
	TRY(out, lseek(a, 0, SEEK_CUR));
	TRY(out, lseek(b, 0, SEEK_CUR));
	TRY(out, lseek(a, 0, SEEK_SET));
	TRY(out, write(a, "end", 3));
	TRY(out, pwrite(b, "also", 4, 0)); /* appends on Linux */
	TRY(out, pwrite(c, "start", 5, 0));
	semantics_show_content(out, "f");
	TRY(out, ftruncate(c, 2));
	TRY(out, write(a, "A", 1));
	semantics_show_content(out, "f");
	TRY(out, fcntl(c, F_SETFL, O_APPEND));
	TRY(out, write(c, "C", 1));
	TRY(out, fcntl(c, F_SETFL, 0));
	TRY(out, lseek(c, 0, SEEK_SET));
	TRY(out, write(c, "c", 1));
	semantics_show_content(out, "f");
	TRY(out, read(a, &byte, 1));
	close(a);
	close(b);
	close(c);
}

static void truncating(struct text *out)
{
	char buffer[16];
	int fd;

	TRY(out, semantics_put("f", "0123456789"));
	TRY(out, truncate("f", 4));
	semantics_show_content(out, "f");
	TRY(out, truncate("f", 8));
	semantics_show_content(out, "f");
	TRY(out, truncate("f", 100000));
	semantics_show_content(out, "f");
	TRY(out, truncate("f", -1));
	TRY(out, truncate("f", INT64_MAX));
	TRY(out, truncate("missing", 1));
	TRY(out, truncate(".", 1));
	TRY(out, truncate("f/x", 1));
	fd = open("f", O_RDWR | O_CLOEXEC);
	TRY(out, pwrite(fd, "tail", 4, 99996));
	TRY(out, ftruncate(fd, 99998));
	TRY(out, pread(fd, buffer, 10, 99990));
	TRY(out, ftruncate(fd, 5000));
	TRY(out, pwrite(fd, "x", 1, 9000));
	semantics_show_content(out, "f");
	close(fd);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	TRY(out, ftruncate(fd, 1));
	close(fd);
}

static void size_limits(struct text *out)
{
	struct rlimit limit = {1000, 1000};
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	signal(SIGXFSZ, SIG_IGN);
	TRY(out, setrlimit(RLIMIT_FSIZE, &limit));
	TRY(out, pwrite(fd, "0123456789", 10, 995));
	TRY(out, pwrite(fd, "0123456789", 10, 1000));
	TRY(out, ftruncate(fd, 1001));
	TRY(out, ftruncate(fd, 1000));
	TRY(out, fallocate(fd, 0, 0, 2000));
	semantics_show(out, "f");
	TRY(out, pwrite(fd, "x", 1, INT64_MAX));
	TRY(out, pread(fd, &limit, 1, INT64_MAX));
	close(fd);
}

static void big_files(struct text *out)
{
	static char block[300000];
	uint64_t state = 88172645463325252u;
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int to = open("g", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	for (size_t i = 0; i < sizeof(block); i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		block[i] = (char)state;
	}
	for (int i = 0; i < 5; i++)
		TRY(out, write(fd, block, sizeof(block)));
	semantics_show_content(out, "f");
	TRY(out, pwrite(fd, block, 200001, 77777));
	TRY(out, pwrite(fd, block + 5, 131072, 1310720));
	semantics_show_content(out, "f");
	TRY(out, lseek(fd, 1, SEEK_SET));
	TRY(out, sendfile(to, fd, NULL, 1000000));
	semantics_show_content(out, "g");
	TRY(out, lseek(fd, 0, SEEK_CUR));
	TRY(out, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	TRY(out, readahead(fd, 0, 100000));
	TRY(out, pwrite(fd, "at 4 GiB", 8, 1LL << 32));
	semantics_show(out, "f");
	TRY(out, pread(fd, block, 10, (1LL << 32) - 2));
	text_add(out, "%.8s\n", block + 2);
	close(fd);
	close(to);
}

static void direct_io(struct text *out)
{
	static char block[65536 * 3] __attribute__((aligned(4096)));
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

	text_add(out, "O_DIRECT: %s\n", fd < 0 ? text_errno(errno) : "ok");
	memset(block, 'd', sizeof(block));
	TRY(out, pwrite(fd, block, sizeof(block), 0));
	memset(block, 'e', sizeof(block));
	TRY(out, pwrite(fd, block, 4096, 8192));
	TRY(out, pread(fd, block, sizeof(block), 4096));
	text_add(out, "%c%c%c\n", block[0], block[4096], block[8192]);
	TRY(out, pread(fd, block, 4096, sizeof(block)));
	close(fd);
	semantics_show_content(out, "f");
}

static void shared_maps(struct text *out)
{
	char buffer[16] = "";
	char *map;
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	TRY(out, ftruncate(fd, 10000));
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	text_add(out, "mmap: %s\n", map == MAP_FAILED ? text_errno(errno) : "ok");
	if (map == MAP_FAILED)
		return;
	memcpy(map + 4090, "across pages", 12);
	TRY(out, msync(map, 10000, MS_SYNC));
	TRY(out, pread(fd, buffer, 12, 4090));
	text_add(out, "%s\n", buffer);
	TRY(out, pwrite(fd, "written", 7, 100));
	text_add(out, "%.7s\n", map + 100);
	map[9999] = 'z';
	TRY(out, munmap(map, 10000));
	close(fd);
	semantics_show_content(out, "f");
	fd = open("f", O_RDONLY | O_CLOEXEC);
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	text_add(out, "writable map of a read-only descriptor: %s\n", map == MAP_FAILED ? text_errno(errno) : "ok");
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	text_add(out, "private map: %s\n", map == MAP_FAILED ? text_errno(errno) : "ok");
	if (map != MAP_FAILED) {
		memcpy(map, "private", 7);
		munmap(map, 10000);
	}
	close(fd);
	semantics_show_content(out, "f");
	map = MAP_FAILED;
	fd = open("f", O_RDWR | O_CLOEXEC);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRY(out, unlink("f"));
	close(fd);
	memcpy(map, "nameless", 8);
	TRY(out, msync(map, 4096, MS_SYNC));
	TRY(out, munmap(map, 4096));
}

const struct semantics_check semantics_data[] = {
	{"reading and writing", NULL, reading_and_writing},
	{"appending from two descriptors", NULL, appending},
	{"truncating", NULL, truncating},
	{"limits of size", NULL, size_limits},
	{"big files and sendfile", NULL, big_files},
	{"O_DIRECT", NULL, direct_io},
	{"shared and private maps", NULL, shared_maps},
	{NULL, NULL, NULL},
};
