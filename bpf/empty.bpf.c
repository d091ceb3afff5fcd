/* Says nothing, and is called for it: what a program costs that does nothing.  For tests/bpf/costs. */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char programs_license[] SEC("license") = "GPL";

SEC("?lsm/inode_permission")
int BPF_PROG(lsm_permission, struct inode *inode, int mask, int ret)
{
	return ret;
}

SEC("?fmod_ret/security_inode_permission")
int BPF_PROG(fmod_permission, struct inode *inode, int mask, int ret)
{
	return ret;
}
