/*
 * The few types of the kernel that the programs look into, with the few fields that they read.
 * Offsets are the running kernel's: libbpf moves each access there when it loads (CO-RE), so
 * nothing here depends on the kernel of the machine that builds.  A name with ___ in it is
 * another form of the type before that, of which at most one is found.
 */
#ifndef RELAY_BPF_KERNEL_H
#define RELAY_BPF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
};

enum {
	BPF_F_NO_PREALLOC = 1,
};

#define FUSE_SUPER_MAGIC 0x65735546
#define MAY_EXEC 0x1
#define MAY_NOT_BLOCK 0x80
#define ENOENT 2
#define ENODATA 61
#define ESTALE 116
#define O_CREAT 0100 /* of the architectures in calls.h */

/* task_struct.flags */
#define PF_EXITING 0x4
#define PF_IO_WORKER 0x10
#define PF_DUMPCORE 0x200
#define PF_SIGNALED 0x400
#define PF_USER_WORKER 0x4000
#define PF_KTHREAD 0x200000

/* nameidata.last_type, as it is before the first component of a path. */
#define LAST_ROOT 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct dentry {
	struct inode *d_inode;
};

struct fuse_inode {
	struct inode inode;
	__u64 nodeid;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct filename {
	const char *name;
};

/* Until 6.19. */
struct filename___uptr {
	const char *uptr;
};

/* A symlink in whose body the walk is, or has been. */
struct saved {
	const char *name; /* where the path goes on behind it */
};

struct nameidata {
	struct qstr last; /* the last component that was looked up; name points into the path */
	struct inode *inode; /* the directory that the walk is in */
	unsigned int flags;
	unsigned int depth; /* symlinks in whose bodies the walk is */
	int total_link_count;
	struct saved *stack;
	struct filename *name;
};

struct nameidata___int {
	int last_type;
};

enum last_type___any {
	LAST_ANY___any,
};

struct nameidata___enum {
	enum last_type___any last_type;
};

/* The path that is walked, which since 6.10 need not be a filename's. */
struct nameidata___pathname {
	const char *pathname;
};

struct thread_info {
	__u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	struct nameidata *nameidata;
};

#ifdef __TARGET_ARCH_x86
struct pt_regs {
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};
#endif

#pragma clang attribute pop

#endif
