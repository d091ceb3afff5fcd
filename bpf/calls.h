/*
 * Whether the walk's last component may be answered.  "It is not there" is the end of a system
 * call that looks, and the beginning of one that creates; only the former are listed, by
 * which argument is their path.
 */
#ifndef RELAY_BPF_CALLS_H
#define RELAY_BPF_CALLS_H

#include "walk.h"

#ifdef __TARGET_ARCH_x86

enum call_kind {
	CALL_OTHER,
	CALL_PATH_1 = 1, /* the path is the first argument */
	CALL_PATH_2 = 2, /* the second */
	CALL_PATH = 3,
	CALL_FLAGS_NEXT = 4, /* the argument behind it has open()'s flags */
	CALL_HOW_NEXT = 8, /* it points to struct open_how, which begins with them */
};

#define CALLS 512

static const volatile __u8 calls[CALLS] SEC(".rodata.calls") = {
	[2] = CALL_PATH_1 | CALL_FLAGS_NEXT, /* open */
	[4] = CALL_PATH_1, /* stat */
	[6] = CALL_PATH_1, /* lstat */
	[21] = CALL_PATH_1, /* access */
	[59] = CALL_PATH_1, /* execve */
	[76] = CALL_PATH_1, /* truncate */
	[80] = CALL_PATH_1, /* chdir */
	[89] = CALL_PATH_1, /* readlink */
	[90] = CALL_PATH_1, /* chmod */
	[92] = CALL_PATH_1, /* chown */
	[94] = CALL_PATH_1, /* lchown */
	[132] = CALL_PATH_1, /* utime */
	[137] = CALL_PATH_1, /* statfs */
	[161] = CALL_PATH_1, /* chroot */
	[188] = CALL_PATH_1, /* setxattr */
	[189] = CALL_PATH_1, /* lsetxattr */
	[191] = CALL_PATH_1, /* getxattr */
	[192] = CALL_PATH_1, /* lgetxattr */
	[194] = CALL_PATH_1, /* listxattr */
	[195] = CALL_PATH_1, /* llistxattr */
	[197] = CALL_PATH_1, /* removexattr */
	[198] = CALL_PATH_1, /* lremovexattr */
	[235] = CALL_PATH_1, /* utimes */
	[254] = CALL_PATH_2, /* inotify_add_watch */
	[257] = CALL_PATH_2 | CALL_FLAGS_NEXT, /* openat */
	[260] = CALL_PATH_2, /* fchownat */
	[261] = CALL_PATH_2, /* futimesat */
	[262] = CALL_PATH_2, /* newfstatat */
	[267] = CALL_PATH_2, /* readlinkat */
	[268] = CALL_PATH_2, /* fchmodat */
	[269] = CALL_PATH_2, /* faccessat */
	[280] = CALL_PATH_2, /* utimensat */
	[303] = CALL_PATH_2, /* name_to_handle_at */
	[322] = CALL_PATH_2, /* execveat */
	[332] = CALL_PATH_2, /* statx */
	[428] = CALL_PATH_2, /* open_tree */
	[437] = CALL_PATH_2 | CALL_HOW_NEXT, /* openat2 */
	[439] = CALL_PATH_2, /* faccessat2 */
	[452] = CALL_PATH_2, /* fchmodat2 */
};

#define TS_COMPAT 2

/* If the walk is that of the path at this address in user space. */
static __always_inline bool call_walks(struct nameidata *nd, __u64 path)
{
	struct filename___uptr *with_uptr = (void *)nd->name;
	__u64 walked[8] = {}, asked[8] = {};

	if (!with_uptr || !path)
		return 0;
	if (bpf_core_field_exists(with_uptr->uptr))
		return (__u64)with_uptr->uptr == path;
	/* Of later kernels the text tells.  Another path that begins alike is one of this call's own. */
	if (bpf_probe_read_kernel_str(walked, sizeof(walked), nd->name->name) <= 0 ||
	    bpf_probe_read_user_str(asked, sizeof(asked), (void *)path) <= 0)
		return 0;
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (walked[i] != asked[i])
			return 0;
	return 1;
}

static __noinline int call_only_looks(__u64 unused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct nameidata *nd = task->nameidata;
	struct pt_regs *regs;
	__u64 number, path, flags;
	__u8 kind;

	/*
	 * Workers of io_uring do others' calls, and have the registers of the call that made
	 * them.
	 */
	if (!nd || (KEEPS(KNOWN_RULE_WORKER) && task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER)))
		return 0;
	/* One that dumps core creates the file while its registers are of its last call. */
	if (KEEPS(KNOWN_RULE_EXIT) && task->flags & (PF_EXITING | PF_DUMPCORE | PF_SIGNALED))
		return 0;
	/* The numbers of 32-bit calls are others: linkat is 64-bit name_to_handle_at. */
	if (KEEPS(KNOWN_RULE_COMPAT) && task->thread_info.status & TS_COMPAT)
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	number = regs->orig_ax;
	if (!KEEPS(KNOWN_RULE_CALL))
		return 1;
	/* What is not listed may create: mkdir, rename, bind of a socket, and what kernels to come bring. */
	if (number >= CALLS)
		return 0;
	kind = calls[number];
	if (!(kind & CALL_PATH))
		return 0;
	path = kind & CALL_PATH_1 ? regs->di : regs->si;
	flags = kind & CALL_PATH_1 ? regs->si : regs->dx;
	/* Read as the call did; a thread that changes it meanwhile fools only itself. */
	if (kind & CALL_HOW_NEXT && bpf_probe_read_user(&flags, sizeof(flags), (void *)flags))
		return 0;
	/* open() with O_CREAT begins by looking the name up. */
	if (KEEPS(KNOWN_RULE_CREAT) && kind & (CALL_FLAGS_NEXT | CALL_HOW_NEXT) && flags & O_CREAT)
		return 0;
	/* A call may walk other paths than its argument: that of a script's interpreter, of a core. */
	return !KEEPS(KNOWN_RULE_ARGUMENT) || call_walks(nd, path);
}

#else

/* Another architecture's calls are not listed. */
static __always_inline int call_only_looks(__u64 unused)
{
	return 0;
}

#endif

#endif
