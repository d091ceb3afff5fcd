/*
 * The LSM programs that answer from the maps of mounts (bpf/known.h): loading them, and who
 * is served.  cache_bpf.c does it, cache_nobpf.c stands in for it in a build without eBPF.
 *
 * Programs are loaded and attached while at least one mount has joined, and not else: they
 * cost every path walk on the machine a little.  Nothing is pinned: the kernel drops
 * programs, links and maps with the last descriptor, so a relayd dying at any point leaves
 * none attached.  Used by one thread at a time.
 */
#ifndef RELAYD_CACHE_BPF_H
#define RELAYD_CACHE_BPF_H

#include <stdint.h>
#include <sys/types.h>

#include "cache_maps.h"

struct cache_bpf;
struct cache_bpf_mount;

/* One for the process, freed after its mounts have left.  Loads nothing.  NULL: no memory. */
struct cache_bpf *cache_bpf_new(void);
void cache_bpf_free(struct cache_bpf *bpf);

/*
 * Serves the FUSE mount whose root has this st_dev, to the extent of trust (KNOWN_TRUST_*;
 * 0 for none yet).  The caller sees to it that st_dev is not another's by now.
 * Loads and attaches the programs if this is the first, which takes some 100 ms.
 *
 * left: maps that an earlier process had for it, taken over whatever is returned; NULL: new ones.
 * Returns 0 and *mount, or a negative errno, and then cache_bpf_why() says why.
 */
int cache_bpf_join(struct cache_bpf *bpf, dev_t dev, unsigned trust, struct cache_maps *left,
		   struct cache_bpf_mount **mount);

/*
 * Nothing is answered for it any more, once this returns.  Closes its maps here.  The last
 * one detaches and unloads the programs.  mount may be NULL.
 */
void cache_bpf_leave(struct cache_bpf_mount *mount);

/*
 * Its maps; new ones are empty.  They stay the mount's.  A backend that is given duplicates of
 * these descriptors can have names of this mount answered as absent, and of no other, and may
 * make them read-only (BPF_MAP_FREEZE): when writing fails take the mount's trust away.
 */
const struct cache_maps *cache_bpf_maps(const struct cache_bpf_mount *mount);

/*
 * From now on answers are given to the extent of trust.  Of a path walk that has begun before the
 * call returns, an answer may still be by what was trusted when it began.
 * Returns 0, or a negative errno: -ENOENT if the filesystem is gone (its s_dev may be
 * another's, so it is not served again).
 */
int cache_bpf_set_trust(struct cache_bpf_mount *mount, unsigned trust);

/*
 * Detaches the programs: nothing is answered for any mount any more once this returns, and none
 * can join until all have left.
 */
void cache_bpf_stop(struct cache_bpf *bpf);

/*
 * New, empty maps in place of the mount's: for a backend that may not write into what was known
 * any more.  Nothing is answered meanwhile; trust is as before then.  Descriptors that
 * were passed are of the old maps, which nothing reads any more.
 * Returns 0, or a negative errno with trust 0.
 */
int cache_bpf_renew(struct cache_bpf_mount *mount);

/* Answers since it joined, by kind. */
int cache_bpf_counters(const struct cache_bpf_mount *mount, uint64_t counters[KNOWN_COUNTERS]);

/* How the programs are attached: "lsm", "fmod_ret", or "none". */
const char *cache_bpf_how(const struct cache_bpf *bpf);

/*
 * Why the last cache_bpf_join() failed, as a sentence for status and log without a full stop
 * ("the kernel's list of LSMs is not known: …"); "" if it did not.  Valid until the next.
 */
const char *cache_bpf_why(const struct cache_bpf *bpf);

#endif
