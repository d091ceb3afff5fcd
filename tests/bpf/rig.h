/*
 * A FUSE filesystem in memory that notes what it is asked, mounted and served by the LSM programs.
 * What is known of it is put into its maps by hand, so a test can also put what is not so: of
 * a name that exists and is "known absent", ENOENT says that the kernel answered, and the
 * filesystem has not heard of it.
 */
#ifndef TESTS_BPF_RIG_H
#define TESTS_BPF_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache_bpf.h"
#include "../bpf/config.h"

struct rig {
	char place[64]; /* the mountpoint */
	dev_t dev;
	struct rig_fs *fs;
	struct cache_bpf *bpf;
	struct cache_bpf_mount *mount; /* NULL if not served */
	const struct cache_maps *maps;
};

/* All that can be asked for. */
#define RIG_TRUST (KNOWN_TRUST_ABSENT | KNOWN_TRUST_COMPLETE | KNOWN_TRUST_XATTR | KNOWN_TRUST_GATE)

/* Mounts; the test ends if that fails. */
void rig_mount(struct rig *rig);
void rig_unmount(struct rig *rig);

/*
 * The programs serve it, without those rules (KNOWN_RULE_*): with any, they are those of the
 * build for tests.  The test ends if that fails.
 */
void rig_join(struct rig *rig, uint64_t rules_off);
void rig_leave(struct rig *rig);

/* ---- what is in the filesystem, without asking the kernel ---- */

/* Makes a file, directory or symlink (target, else NULL) in the directory; returns its nodeid. */
uint64_t rig_make(struct rig *rig, uint64_t dir, const char *name, mode_t mode, const char *target);

/* The nodeid of the name, 0 if there is none. */
uint64_t rig_find(struct rig *rig, uint64_t dir, const char *name);

/* A name that it has in each directory, however often it is asked: any that begins so. */
#define RIG_ANY "lie-"

/* ---- what it was asked ---- */

/* Forgets it. */
void rig_reset(struct rig *rig);

/* Requests since then that name it (as the first name or the second, or as an attribute). */
unsigned rig_asked(struct rig *rig, const char *name);

/* The filesystem itself: rig_fs.c. */
struct rig_fs *rig_fs_new(int device);
/* After the mount is gone. */
void rig_fs_free(struct rig_fs *fs);
uint64_t rig_fs_make(struct rig_fs *fs, uint64_t dir, const char *name, mode_t mode, const char *target);
uint64_t rig_fs_find(struct rig_fs *fs, uint64_t dir, const char *name);
void rig_fs_reset(struct rig_fs *fs);
unsigned rig_fs_asked(struct rig_fs *fs, const char *name);

#endif
