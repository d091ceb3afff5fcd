/*
 * Space: holes, allocation, copies within the filesystem, and what statfs says.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A file of 16 blocks of 4096 bytes, each filled with its own letter. */
static int lettered(const char *name)
{
	char block[4096];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (int i = 0; i < 16; i++) {
		memset(block, 'a' + i, sizeof(block));
		if (pwrite(fd, block, sizeof(block), i * 4096) != sizeof(block))
			return -1;
	}
	return fd;
}

static void show_blocks(struct text *out, int fd)
{
	struct stat st = {0};
	char letters[32] = "";
	char byte;

	fstat(fd, &st);
	for (int i = 0; i < 20; i++)
		letters[i] = pread(fd, &byte, 1, i * 4096) != 1 ? '-' : byte ? byte : '0';
	text_add(out, "size %lld blocks %s %s\n", (long long)st.st_size, st.st_blocks ? "some" : "none", letters);
}

static void sparse_files(struct text *out)
{
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;

	TRY(out, pwrite(fd, "data", 4, 1 << 20));
	TRY(out, ftruncate(fd, 4 << 20));
	TRY(out, fsync(fd));
	fstat(fd, &st);
	text_add(out, "sparse: %d\n", st.st_blocks * 512 < st.st_size);
	TRY(out, lseek(fd, 0, SEEK_DATA));
	TRY(out, lseek(fd, 0, SEEK_HOLE));
	TRY(out, lseek(fd, 1 << 20, SEEK_HOLE));
	TRY(out, lseek(fd, (1 << 20) + 4096, SEEK_DATA));
	TRY(out, lseek(fd, 4 << 20, SEEK_DATA));
	TRY(out, lseek(fd, 5 << 20, SEEK_HOLE));
	TRY(out, lseek(fd, -1, SEEK_DATA));
	TRY(out, lseek(fd, 0, 17));
	semantics_show_content(out, "f");
	close(fd);
	fd = open("empty", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	TRY(out, lseek(fd, 0, SEEK_DATA));
	TRY(out, lseek(fd, 0, SEEK_HOLE));
	close(fd);
}

/* The kernel's FUSE takes no collapsing and no inserting; matrix_raw.c has them. */
static void allocation(struct text *out)
{
	int fd = lettered("f");

	TRY(out, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
	show_blocks(out, fd);
	TRY(out, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20000, 100));
	semantics_show_content(out, "f");
	TRY(out, fallocate(fd, FALLOC_FL_ZERO_RANGE, 16384, 4096));
	show_blocks(out, fd);
	TRY(out, fallocate(fd, FALLOC_FL_ZERO_RANGE, 15 * 4096, 8192));
	show_blocks(out, fd);
	TRY(out, fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 16 * 4096, 8192));
	show_blocks(out, fd);
	TRY(out, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
	show_blocks(out, fd);
	TRY(out, fallocate(fd, 0, 0, 19 * 4096));
	show_blocks(out, fd);
	show_blocks(out, fd);
	show_blocks(out, fd);
	semantics_show_content(out, "f");
	TRY(out, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
	TRY(out, fallocate(fd, 0, -1, 4096));
	TRY(out, fallocate(fd, 0, 0, 0));
	TRY(out, fallocate(fd, 0, 0, -1));
	TRY(out, fallocate(fd, 0, INT64_MAX - 10, 100));
	TRY(out, posix_fallocate(fd, 0, 21 * 4096));
	show_blocks(out, fd);
	close(fd);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	TRY(out, fallocate(fd, 0, 0, 4096));
	close(fd);
	fd = open(".", O_RDONLY | O_CLOEXEC);
	TRY(out, fallocate(fd, 0, 0, 4096));
	close(fd);
}

static void copies(struct text *out)
{
	int from = lettered("from");
	int to = open("to", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int append = open("append", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	int readonly = open("from", O_RDONLY | O_CLOEXEC);
	off64_t in = 4096;
	off64_t at = 100;

	TRY(out, copy_file_range(from, &in, to, &at, 10000, 0));
	text_add(out, "offsets %lld %lld\n", (long long)in, (long long)at);
	semantics_show_content(out, "to");
	TRY(out, lseek(from, 0, SEEK_SET));
	TRY(out, lseek(to, 0, SEEK_SET));
	TRY(out, copy_file_range(from, NULL, to, NULL, 1 << 20, 0));
	TRY(out, lseek(from, 0, SEEK_CUR));
	TRY(out, copy_file_range(from, NULL, to, NULL, 1 << 20, 0));
	semantics_show_content(out, "to");
	in = 0;
	at = 2048;
	TRY(out, copy_file_range(from, &in, from, &at, 4096, 0));
	at = 40960;
	TRY(out, copy_file_range(from, &in, from, &at, 4096, 0));
	semantics_show_content(out, "from");
	TRY(out, copy_file_range(from, &in, append, NULL, 4096, 0));
	TRY(out, copy_file_range(from, &in, readonly, &at, 4096, 0));
	TRY(out, copy_file_range(from, &in, to, &at, 4096, 1));
	in = 1 << 20;
	TRY(out, copy_file_range(from, &in, to, &at, 4096, 0));
	in = 0;
	TRY(out, copy_file_range(from, &in, to, &at, 0, 0));
	semantics_show_content(out, "to");
	close(from);
	close(to);
	close(append);
	close(readonly);
}

static void filesystem_facts(struct text *out)
{
	struct statvfs here = {0};
	int fd;

	TRY(out, statvfs(".", &here));
	text_add(out, "block %lu fragment %lu name %lu\n", here.f_bsize, here.f_frsize, here.f_namemax);
	text_add(out, "blocks %llu files %llu\n", (unsigned long long)here.f_blocks, (unsigned long long)here.f_files);
	fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	TRY(out, fstatvfs(fd, &here));
	text_add(out, "block %lu\n", here.f_bsize);
	TRY(out, syncfs(fd));
	close(fd);
	TRY(out, pathconf(".", _PC_NAME_MAX));
	TRY(out, pathconf(".", _PC_PATH_MAX));
	TRY(out, pathconf(".", _PC_2_SYMLINKS));
}

static void inode_flags(struct text *out)
{
	int flags = 0;
	int fd;

	TRY(out, semantics_put("f", "x"));
	fd = open("f", O_RDWR | O_CLOEXEC);
	TRY(out, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	text_add(out, "flags %#x\n", flags & (FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL));
	flags |= FS_NODUMP_FL | FS_NOATIME_FL;
	TRY(out, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	TRY(out, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	text_add(out, "flags %#x\n", flags & (FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL));
	flags |= FS_APPEND_FL;
	TRY(out, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	flags &= ~FS_APPEND_FL;
	TRY(out, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	TRY(out, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	text_add(out, "flags %#x\n", flags & (FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NODUMP_FL | FS_NOATIME_FL));
	TRY(out, unlink("f"));
	close(fd);
}

const struct semantics_check semantics_space[] = {
	{"sparse files", NULL, sparse_files},
	{"fallocate", NULL, allocation},
	{"copy_file_range", NULL, copies},
	{"statfs and pathconf", NULL, filesystem_facts},
	{"inode flags", NULL, inode_flags},
	{NULL, NULL, NULL},
};
