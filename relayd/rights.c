/*
 * capset(2), by itself: this is all that is wanted of it, and it is called between fork(2) and
 * execve(2) too.  It can fail for nothing that is asked of it here, as nothing is added.
 */
#include "rights.h"

#include <linux/capability.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Older than their headers are some systems that this is built on. */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF 39
#endif

#define BIT(capability) (1ULL << (capability))

static const uint64_t wanted[] = {
	[RIGHTS_RELAYD] = BIT(CAP_SYS_ADMIN)	      /* mount, unmount, register files, enter mount namespaces */
			  | BIT(CAP_SYS_CHROOT)	      /* the last of these */
			  | BIT(CAP_DAC_READ_SEARCH)  /* the way to mountpoints, and to where backends are started */
			  | BIT(CAP_DAC_OVERRIDE)     /* a control socket in a directory of somebody else's */
			  | BIT(CAP_KILL)	      /* a user's backend that hangs */
			  | BIT(CAP_SYS_PTRACE)	      /* what it is doing, and in which namespace a process is */
			  | BIT(CAP_BPF) | BIT(CAP_PERFMON) /* programs that answer in the kernel */
			  | BIT(CAP_NET_ADMIN)	      /* channels' buffers */
			  | BIT(CAP_FSETID)	      /* the kernel writes to registered files with what we have */
			  | BIT(CAP_IPC_LOCK)	      /* journals */
			  | BIT(CAP_SYS_RESOURCE),    /* limits */
	/* The way back to where it was started, for the relayd that it starts. */
	[RIGHTS_KEEPER] = BIT(CAP_DAC_READ_SEARCH),
	[RIGHTS_NONE] = 0,
};

/* What is used all the same: until Linux 5.19 each change of a map of the programs takes it. */
#define LOWERED BIT(CAP_BPF)

struct sets {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
};

static bool sets_get(struct sets *sets)
{
	sets->header = (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
	return syscall(SYS_capget, &sets->header, sets->data) == 0;
}

static void sets_set(struct sets *sets)
{
	syscall(SYS_capset, &sets->header, sets->data);
}

void rights_keep(enum rights rights)
{
	struct sets sets;

	if ((geteuid() != 0 && rights != RIGHTS_NONE) || !sets_get(&sets))
		return;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets.data[i].permitted &= (uint32_t)(wanted[rights] >> 32 * i);
		sets.data[i].effective &= sets.data[i].permitted;
	}
	sets_set(&sets);
}

static void effective_set(uint64_t mask)
{
	struct sets sets;

	if (!sets_get(&sets))
		return;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		sets.data[i].effective = sets.data[i].permitted & (uint32_t)(mask >> 32 * i);
	sets_set(&sets);
}

void rights_lower(void)
{
	effective_set(LOWERED);
}

void rights_raise(void)
{
	effective_set(UINT64_MAX);
}

bool rights_lowered(void)
{
	struct sets sets;

	return sets_get(&sets) &&
	       !(((uint64_t)sets.data[1].effective << 32 | sets.data[0].effective) & ~LOWERED);
}
