/* See tinyfs.h. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "tinyfs.h"

#define FILE_SIZE (1ull << 30)

static void fill_attr(struct fuse_attr *attr, uint64_t nodeid)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = nodeid;
	attr->mode = nodeid == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
	attr->nlink = 1;
	attr->size = nodeid == FUSE_ROOT_ID ? 0 : FILE_SIZE;
	attr->blksize = 4096;
}

static int answer_lookup(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	static unsigned int flips;
	const char *name = arg;
	struct fuse_entry_out *entry = out;
	uint64_t nodeid;

	(void)in;
	(void)op;
	if (!strcmp(name, "flip"))
		nodeid = 1000 + __atomic_add_fetch(&flips, 1, __ATOMIC_RELAXED);
	else if (name[0] == 'f' && name[1] >= '0' && name[1] <= '9')
		nodeid = 2 + (uint64_t)(name[1] - '0');
	else
		return -ENOENT;
	memset(entry, 0, sizeof(*entry));
	entry->nodeid = nodeid;
	fill_attr(&entry->attr, nodeid);
	return sizeof(*entry);
}

static int answer_getattr(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	struct fuse_attr_out *attr = out;

	(void)op;
	(void)arg;
	memset(attr, 0, sizeof(*attr));
	fill_attr(&attr->attr, in->nodeid);
	return sizeof(*attr);
}

static int answer_open(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	struct fuse_open_out *open = out;

	(void)in;
	(void)op;
	(void)arg;
	memset(open, 0, sizeof(*open));
	open->open_flags = FOPEN_DIRECT_IO;
	return sizeof(*open);
}

static int answer_read(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	const struct fuse_read_in *read = op;
	uint64_t offset = read->offset;
	uint32_t size = read->size;
	uint64_t *word = out;

	(void)in;
	(void)arg;
	if (size > TINYFS_MAX_IO)
		return -EINVAL;
	if (offset >= FILE_SIZE)
		return 0;
	if (size > FILE_SIZE - offset)
		size = FILE_SIZE - offset;
	for (uint32_t i = 0; i < size / 8; i++)
		word[i] = offset + 8ull * i;
	return size;
}

static int answer_nothing(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	(void)in;
	(void)op;
	(void)arg;
	(void)out;
	return 0;
}

static int answer_none(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	(void)in;
	(void)op;
	(void)arg;
	(void)out;
	return -EALREADY;
}

static const struct {
	int (*answer)(const struct fuse_in_header *in, const void *op, const void *arg, void *out);
	size_t op_size;
} ops[] = {
	[FUSE_LOOKUP] = {answer_lookup, 0},
	[FUSE_FORGET] = {answer_none, sizeof(struct fuse_forget_in)},
	[FUSE_GETATTR] = {answer_getattr, sizeof(struct fuse_getattr_in)},
	[FUSE_OPEN] = {answer_open, sizeof(struct fuse_open_in)},
	[FUSE_READ] = {answer_read, sizeof(struct fuse_read_in)},
	[FUSE_RELEASE] = {answer_nothing, sizeof(struct fuse_release_in)},
	[FUSE_FLUSH] = {answer_nothing, sizeof(struct fuse_flush_in)},
	[FUSE_INTERRUPT] = {answer_none, sizeof(struct fuse_interrupt_in)},
	[FUSE_BATCH_FORGET] = {answer_none, sizeof(struct fuse_batch_forget_in)},
};

static bool known(unsigned int opcode)
{
	return opcode < sizeof(ops) / sizeof(*ops) && ops[opcode].answer;
}

int tinyfs_answer(const struct fuse_in_header *in, const void *op, const void *arg, void *out)
{
	return known(in->opcode) ? ops[in->opcode].answer(in, op, arg, out) : -ENOSYS;
}

size_t tinyfs_op_size(unsigned int opcode)
{
	return known(opcode) ? ops[opcode].op_size : 0;
}
