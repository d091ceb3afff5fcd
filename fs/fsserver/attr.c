/*
 * Attributes: from statx(2) to the FUSE protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs.h"

int attr_get(int dirfd, const char *name, struct statx *stx)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dirfd, name, flags, ATTR_MASK, stx) == 0 ? 0 : -errno;
}

struct node_ident attr_ident(const struct statx *stx)
{
	struct node_ident ident = {
		.dev = (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor,
		.ino = stx->stx_ino,
	};

	if (stx->stx_mask & STATX_BTIME)
		ident.btime = (uint64_t)stx->stx_btime.tv_sec * 1000000000u + stx->stx_btime.tv_nsec;
	return ident;
}

bool ident_same(const struct node_ident *a, const struct node_ident *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->btime == b->btime;
}

uint64_t attr_ino(const struct fs *fs, uint64_t dev, uint64_t ino)
{
	uint64_t hash;

	if (dev == fs->root_dev)
		return ino;
	/* The kernel shows one device for the whole mount, and pairs hard links by number. */
	hash = (dev ^ dev >> 17) * 0x9e3779b97f4a7c15ULL;
	return ino ^ (hash >> 48 | 1) << 47;
}

/* As the kernel's new_encode_dev(). */
static uint32_t dev_encode(uint32_t major_, uint32_t minor_)
{
	return (minor_ & 0xff) | major_ << 8 | (minor_ & ~0xffu) << 12;
}

void attr_fill(const struct fs *fs, const struct statx *stx, struct fuse_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = attr_ino(fs, (uint64_t)stx->stx_dev_major << 32 | stx->stx_dev_minor, stx->stx_ino);
	attr->size = stx->stx_size;
	attr->blocks = stx->stx_blocks;
	attr->atime = (uint64_t)stx->stx_atime.tv_sec;
	attr->mtime = (uint64_t)stx->stx_mtime.tv_sec;
	attr->ctime = (uint64_t)stx->stx_ctime.tv_sec;
	attr->atimensec = stx->stx_atime.tv_nsec;
	attr->mtimensec = stx->stx_mtime.tv_nsec;
	attr->ctimensec = stx->stx_ctime.tv_nsec;
	attr->mode = stx->stx_mode;
	attr->nlink = stx->stx_nlink;
	attr->uid = stx->stx_uid;
	attr->gid = stx->stx_gid;
	attr->rdev = dev_encode(stx->stx_rdev_major, stx->stx_rdev_minor);
	attr->blksize = stx->stx_blksize;
}

void entry_fill(const struct fs *fs, const struct statx *stx, uint64_t nodeid, struct fuse_entry_out *entry)
{
	memset(entry, 0, offsetof(struct fuse_entry_out, attr));
	entry->nodeid = nodeid;
	entry->entry_valid = entry->attr_valid = fs->valid;
	entry->entry_valid_nsec = entry->attr_valid_nsec = fs->valid_nsec;
	attr_fill(fs, stx, &entry->attr);
}
