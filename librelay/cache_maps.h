/*
 * Writes what is known of a mount into its maps (bpf/known.h), which an LSM program reads
 * to answer in the kernel.  Plain bpf(2) on descriptors: relayd makes the maps and passes
 * them to a backend (SCM_RIGHTS, in the order of enum known_map), and either writes with
 * these functions.  From Linux 6.0 on that takes no privilege.
 *
 * Each function is one or two system calls, never waits, and may be called by any thread.
 * What must not happen at once, and in what order with a reply, is the caller's to keep:
 *
 *	a name is found absent       absent_put() before the reply of the LOOKUP
 *	a name comes to be           present_put() if the directory is complete, and
 *	                             absent_drop(), before the reply; before the operation is
 *	                             applied if others can see the store
 *	a name goes                  present_drop() after it was applied
 *	a listing has been seen      present_put() for each name, then dir_complete()
 *
 * All return 0 or a negative errno.  Where a failure leaves the maps saying what may become
 * untrue, the function says what the caller must do before it goes on.  A process dying
 * between two calls leaves what the first said; that was true when it was written, so who
 * takes over clears the maps before the next change of the filesystem.
 */
#ifndef RELAY_CACHE_MAPS_H
#define RELAY_CACHE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bpf/known.h"

struct cache_maps {
	int fd[KNOWN_MAPS]; /* owned, close-on-exec; -1 if there are none */
};

/* Most elements of each kind for one mount; names in each of the three sizes of keys. */
struct cache_sizes {
	uint32_t dirs;
	uint32_t present[3]; /* of up to 16, 47 and 255 bytes; memory is taken as they come */
	uint32_t names[3]; /* memory is taken at once */
	uint32_t xattrs; /* the same */
};

extern const struct cache_sizes relay_internal_cache_sizes;

/*
 * Makes the maps of a mount.  Returns 0, or a negative errno with all of *maps -1: -EPERM
 * where this process has not CAP_BPF (or CAP_SYS_ADMIN).
 */
int relay_internal_cache_maps_new(struct cache_maps *maps, const struct cache_sizes *sizes);

/* Closes them; *maps is all -1 then. */
void relay_internal_cache_maps_close(struct cache_maps *maps);

/*
 * The name is absent until then (CLOCK_BOOTTIME, ns; KNOWN_FOREVER).  Replaces what was
 * known of it.  On failure it is not known: nothing to do.  -EINVAL for what is no name (empty,
 * ".", "..", longer than 255, with a slash or a zero in it).
 */
int relay_internal_cache_absent_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len,
				    uint64_t until);

/*
 * Nothing is known of the name any more: neither that it is absent nor that it is stale.
 * On failure, other than -EINVAL, it may still be answered: the caller has the mount's trust
 * taken away before the reply.
 */
int relay_internal_cache_absent_drop(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len);

/*
 * The name exists, or is about to.  One that is in there already stays untouched: a name that
 * is replaced would be missed by who reads at that moment.  On failure (-E2BIG: full;
 * -ENOMEM) and if the directory is complete: the caller calls dir_drop() before the reply.
 */
int relay_internal_cache_present_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len);

/* The name is gone.  On failure it is looked up in vain: nothing to do. */
int relay_internal_cache_present_drop(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len);

/*
 * Each name that exists in the directory is in the maps (present_put()), until then: all
 * others are absent.  On failure it is not complete: nothing to do.
 */
int relay_internal_cache_dir_complete(const struct cache_maps *maps, uint64_t dir, uint64_t until);

/*
 * The directory is not complete any more, and nothing that is known of its names is used
 * until the next absent_put() or dir_complete().  Names that were put present stay, which
 * costs room (sweep()) but is never wrong.  Needs no memory.  On failure the caller has
 * the mount's trust taken away before the reply.
 */
int relay_internal_cache_dir_drop(const struct cache_maps *maps, uint64_t dir);

/*
 * Takes present names out whose directory is not complete and not kept: keep() says so of those
 * that are being entered, and must not change its mind meanwhile.  Reads whole maps.
 * Returns how many were taken out, or a negative errno.
 */
int64_t relay_internal_cache_sweep(const struct cache_maps *maps, bool (*keep)(uint64_t dir, void *arg), void *arg);

/*
 * The kernel's dentry of the name may be out of date: it is looked up again, until
 * absent_put() or absent_drop().  It may be forgotten when the map is full: never the only
 * way in which the kernel learns it.
 */
int relay_internal_cache_stale_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len);

/* The number of an extended attribute whose absence can be known, or -1. */
int relay_internal_cache_xattr(const char *name);

/* The attribute is absent.  On failure it is not known: nothing to do. */
int relay_internal_cache_xattr_put(const struct cache_maps *maps, uint64_t nodeid, enum known_xattr xattr,
				   uint64_t until);

/* It may exist.  On failure as absent_drop(). */
int relay_internal_cache_xattr_drop(const struct cache_maps *maps, uint64_t nodeid, enum known_xattr xattr);

/*
 * Nothing is known of the node's attributes, nor of its names if it is a directory.  For a
 * nodeid that begins a new life: a file that takes over an inode number may have inherited
 * an ACL.  On failure as absent_drop().
 */
int relay_internal_cache_node_drop(const struct cache_maps *maps, uint64_t nodeid);

/*
 * Nothing is known.  Reads whole maps; the caller has the mount's trust taken away for that
 * time if it must be at once.  On failure as absent_drop().
 */
int relay_internal_cache_clear(const struct cache_maps *maps);

/* Elements in one of the maps.  Reads all of it.  Returns them, or a negative errno. */
int64_t relay_internal_cache_fill(const struct cache_maps *maps, enum known_map map);

/* Now, on the clock that `until` is of. */
uint64_t relay_internal_cache_now(void);

#endif
