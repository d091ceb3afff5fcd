/*
 * Learns from one lstat() of the loader's own what no kernel says about itself: the value of
 * LOOKUP_REVAL, whether last_type is where we read it, and whether programs that are
 * attached so are called at all.  The walk is told ESTALE once: the VFS does it again, and what
 * it sets then is LOOKUP_REVAL.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "config.h"
#include "last_type.h"

char programs_license[] SEC("license") = "GPL";

struct known_calibration calibration SEC(".data.calibration") = {};

static __always_inline int permission(int mask)
{
	struct nameidata *nd = bpf_get_current_task_btf()->nameidata;
	__u32 call = calibration.calls;

	if ((__u32)bpf_get_current_pid_tgid() != calibration.tid || !nd || (mask & ~MAY_NOT_BLOCK) != MAY_EXEC)
		return 0;
	if (call >= KNOWN_CALIBRATION_CALLS)
		return 0;
	calibration.flags[call] = nd->flags;
	calibration.last_type[call] = walk_last_type(nd);
	calibration.calls = call + 1;
	return call ? 0 : -ESTALE;
}

SEC("?lsm/inode_permission")
int BPF_PROG(lsm_permission, struct inode *inode, int mask, int ret)
{
	return ret ? ret : permission(mask);
}

SEC("?fmod_ret/security_inode_permission")
int BPF_PROG(fmod_permission, struct inode *inode, int mask, int ret)
{
	return ret ? ret : permission(mask);
}
