/* System calls with a path, as raw as they come: those that look, and those that create. */
#ifndef TESTS_BPF_CALLS_H
#define TESTS_BPF_CALLS_H

#include <stdbool.h>
#include <stddef.h>

struct bpf_call {
	const char *name;
	/* Returns 0 or a negative errno; -ENOSYS if the kernel has it not. */
	int (*call)(const char *path);
};

/* Each ends with ENOENT where the path's last component is not there, and creates nothing. */
extern const struct bpf_call bpf_looks[];
extern const size_t bpf_looks_count;

/* Each makes the path's last component. */
extern const struct bpf_call bpf_creates[];
extern const size_t bpf_creates_count;

/* The same by io_uring, with these flags of its set-up: 0 for ENOSYS, else a negative errno. */
int bpf_uring_mkdir(const char *path, bool polled);
int bpf_uring_open(const char *path, bool polled);
/* linkat() of a file beside it, called as a 32-bit program does. */
int bpf_compat_link(const char *path);
/* A child dumps core with that name, which has the rights to. */
int bpf_core_dump(const char *path);

#endif
