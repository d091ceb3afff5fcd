/*
 * What a mount's users are answered by the kernel alone: names and attributes that are known
 * not to exist (librelay/absence.h).
 *
 * For a backend that knows nothing of relayd, relayd keeps the rules, with the ids that the
 * kernel sees; one that is linked with librelay is given the maps, and keeps them itself, in
 * either lane.  How far what backends say is believed is the mount's to say, and less is
 * believed where the answer might depend on who asks (cache_agree()).
 *
 * It belongs to the mount, and to the main thread but for cache_request_*().
 * Programs and links end with relayd's descriptors, and with them all answers.  Of the maps
 * the keeper has copies: what is in them outlives relayd with whoever writes it.
 */
#ifndef RELAYD_CACHE_H
#define RELAYD_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "absence.h"
#include "cache_bpf.h"
#include "cache_options.h"
#include "relay/wire.h"

struct cache {
	const char *name; /* the mount's, for the log */
	struct cache_bpf *bpf;
	struct relay_cache_options options;
	bool same_for_all;	       /* the kernel checks permissions, or nobody but the mount's user can come */
	struct cache_bpf_mount *mount; /* NULL: nothing is answered */
	struct absence_trust trust;    /* from the first answer to INIT on */
	unsigned bits;		       /* KNOWN_TRUST_* */
	bool agreed;
	_Atomic(struct absence *) absence; /* relayd's rules; NULL: somebody else's, or none */
	char text[320];			   /* for status: what is answered, or why nothing is */
};

/* What the kernel has answered, and what the maps hold. */
struct cache_counts {
	uint64_t hits[KNOWN_COUNTERS];
	uint64_t directories;
	uint64_t present;
	uint64_t absent;
	uint64_t xattrs;
};

/* Nothing is known yet.  bpf and the name stay the caller's; bpf NULL: there are no programs. */
void cache_init(struct cache *cache, const char *name, struct cache_bpf *bpf,
		const struct relay_cache_options *options);

/*
 * The mount is there, with this s_dev (0: it cannot be told) and these options in the kernel's form,
 * and no request was read yet: has the programs serve it, if that is asked for.  What an earlier
 * relayd's maps say is left to be answered, and they are taken over; NULL: new ones.
 * Returns 0, or -EOPNOTSUPP with a sentence in why if it is insisted on and cannot be.
 */
int cache_open(struct cache *cache, dev_t dev, const char *options, struct cache_maps *left, char *why,
	       size_t why_size);
void cache_close(struct cache *cache);

/*
 * A backend has agreed on INIT (its flags), and is given its first requests next.  `translated`:
 * its ids are, and relayd keeps the rules.  Only the first call does anything.
 */
void cache_agree(struct cache *cache, uint64_t flags, bool translated);

/*
 * What could not be taken back may be answered wrongly: nothing is answered any more, and if
 * that cannot be brought about for this mount, for none.
 */
void cache_distrust(struct cache *cache);

void cache_counts(const struct cache *cache, struct cache_counts *counts);

/* The maps that a backend is given that is linked with librelay; NULL: none.  Any thread. */
static inline const struct cache_maps *cache_maps(const struct cache *cache)
{
	return cache->mount ? cache_bpf_maps(cache->mount) : NULL;
}

/* What they come with. */
struct relay_absences cache_absences(const struct cache *cache);

/* ---- requests whose ids are translated, in the kernel's form ----------------- */

/* Of a request in flight. */
struct cache_note {
	struct absence_window window;
	bool begun;
	bool redo;
};

/* relayd's rules, or NULL.  Any thread. */
static inline struct absence *cache_absence(const struct cache *cache)
{
	return cache ? atomic_load_explicit(&cache->absence, memory_order_acquire) : NULL;
}

/* Before it is sent.  Returns 0, or a negative errno: it must not be. */
int cache_request_begin(struct absence *absence, struct cache_note *note, const void *request, uint32_t size,
			bool redo);
/* Before its reply is written. */
void cache_request_end(struct absence *absence, struct cache_note *note, const void *request, uint32_t size,
		       const struct fuse_out_header *header, const void *payload);
/* There was none, or it was taken in. */
void cache_request_close(struct absence *absence, struct cache_note *note);

#endif
