/*
 * The programs, as clang has compiled them (bpf/), in relayd's own data.  Tests put an object of
 * theirs in place of one.
 */
#ifndef RELAYD_CACHE_BPF_OBJECT_H
#define RELAYD_CACHE_BPF_OBJECT_H

#include <stddef.h>

struct cache_bpf_object {
	const void *bytes;
	size_t size;
};

/* bpf/known.bpf.c and bpf/calibrate.bpf.c. */
struct cache_bpf_object *cache_bpf_known(void);
struct cache_bpf_object *cache_bpf_calibrate(void);

#endif
