/*
 * The FUSE kernel protocol up to 7.45.
 *
 * Distributions ship a <linux/fuse.h> as old as their kernel; the running
 * kernel may speak a newer minor version.  What the installed header lacks is
 * declared here from the protocol's facts (include/uapi/linux/fuse.h), so that
 * one build serves every kernel.
 */
#ifndef RELAY_FUSE_ABI_H
#define RELAY_FUSE_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

#include <linux/fuse.h>

/* The newest minor version that this code knows. */
#define RELAY_FUSE_MINOR 45

/* 7.38, absent from some headers that say 7.38 */
#ifndef FUSE_CREATE_SUPP_GROUP
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#endif

#if FUSE_KERNEL_MINOR_VERSION < 39
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define FUSE_STATX 52

struct fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t __reserved;
};

struct fuse_statx {
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t __spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fuse_sx_time atime;
	struct fuse_sx_time btime;
	struct fuse_sx_time ctime;
	struct fuse_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t __spare2[14];
};

struct fuse_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct fuse_statx stat;
};
#endif

#if FUSE_KERNEL_MINOR_VERSION < 40
#define FUSE_PASSTHROUGH (1ULL << 37)
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#define FUSE_HAS_RESEND (1ULL << 39)
#define FUSE_UNIQUE_RESEND (1ULL << 63)
#define FUSE_NOTIFY_RESEND 7
#define FOPEN_PASSTHROUGH (1 << 7)

struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define FUSE_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

/* Members that had another name before: of fuse_open_out, and of fuse_init_out. */
#define RELAY_BACKING_ID padding
#define RELAY_STACK_DEPTH unused[0]
#else
#define RELAY_BACKING_ID backing_id
#define RELAY_STACK_DEPTH max_stack_depth
#endif

#if FUSE_KERNEL_MINOR_VERSION < 41
#define FUSE_ALLOW_IDMAP (1ULL << 40)
#endif

#if FUSE_KERNEL_MINOR_VERSION < 42
#define FUSE_OVER_IO_URING (1ULL << 41)
#endif

#if FUSE_KERNEL_MINOR_VERSION < 43
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif

#if FUSE_KERNEL_MINOR_VERSION < 44
#define FUSE_NOTIFY_INC_EPOCH 8
#endif

#if FUSE_KERNEL_MINOR_VERSION < 45
#define FUSE_COPY_FILE_RANGE_64 53

struct fuse_copy_file_range_out {
	uint64_t bytes_copied;
};
#endif

/* One more than the highest opcode above: the size of a table over them. */
#define RELAY_OPCODE_MAX 54

/* fuse_setxattr_in without FUSE_SETXATTR_EXT ends before setxattr_flags. */
#ifndef FUSE_COMPAT_SETXATTR_IN_SIZE
#define FUSE_COMPAT_SETXATTR_IN_SIZE 8
#endif

#endif
