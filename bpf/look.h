/* What is known of the next component of a walk. */
#ifndef RELAY_BPF_LOOK_H
#define RELAY_BPF_LOOK_H

#include "calls.h"

/* A walk in a directory of a mount that is served. */
struct place {
	__u64 dir; /* nodeid */
	__u32 slot;
	__u32 trust;
	__u64 complete; /* known_dir's, as it was first seen */
	__u64 until;
	__u64 since;
};

enum verdict {
	VERDICT_PASS,
	VERDICT_ABSENT,
	VERDICT_COMPLETE,
	VERDICT_STALE,
};

/* Whether the directory has been complete from when the place was looked at until now. */
static __always_inline bool place_complete(const struct place *place)
{
	struct known_dir *now;

	/*
	 * Between our two looks it may have been dropped, and its names swept out: then the
	 * name that we missed may well exist.
	 */
	if (!KEEPS(KNOWN_RULE_AGAIN))
		return 1;
	now = slot_look(&dirs, &place->slot, &place->dir);
	return now && now->complete == place->complete && now->since == place->since && now->until == place->until;
}

/* present and word are what was found of the name, or NULL. */
static __always_inline enum verdict place_judge(const struct place *place, const char *name, const void *present,
						const __u64 *word)
{
	__u64 now = bpf_ktime_get_boot_ns(), flags = 0, tag;

	if (!KEEPS(KNOWN_RULE_UNTIL))
		now = 0;
	/* Not there, when all that is there is known. */
	if (place->complete && !present && (place->until > now) && place_complete(place))
		return VERDICT_COMPLETE;
	if (word) {
		/* The element may be another name's by now, which the word says by its tag. */
		tag = known_tag(place->dir, ((const __u64 *)name)[0], ((const __u64 *)name)[1]);
		if (!KEEPS(KNOWN_RULE_TAG))
			tag = *word >> KNOWN_TAG_SHIFT & KNOWN_TAG;
		flags = known_flags(*word, tag, now);
	}
	if (flags & KNOWN_ABSENT && (!KEEPS(KNOWN_RULE_TRUST) || place->trust & KNOWN_TRUST_ABSENT))
		return VERDICT_ABSENT;
	if (flags & KNOWN_STALE && place->trust & KNOWN_TRUST_GATE)
		return VERDICT_STALE;
	return VERDICT_PASS;
}

/* Whether the name's word has to be looked at. */
static __always_inline bool place_asks_word(const struct place *place)
{
	return !place->complete || place->trust & KNOWN_TRUST_GATE;
}

/*
 * Names of 48 bytes and more; their key fits on a stack of its own only.  Returns the verdict,
 * and the length of the name above its 8 bits.
 */
static __noinline int look_long(struct place *place, __u64 at)
{
	struct known_name_256 key;
	void *present = 0, *word = 0;

	if (!place || bpf_probe_read_kernel(key.name, sizeof(key.name), (void *)at))
		return VERDICT_PASS;
	key.len = name_cut_256(key.name);
	/* That a name is too long is the filesystem's to say. */
	if (KEEPS(KNOWN_RULE_LENGTH) && key.len > KNOWN_NAME_MAX)
		return VERDICT_PASS;
	key.dir = place->dir;
	key.zero = 0;
	if (place->complete)
		present = slot_look(&present_256, &place->slot, &key);
	if (place_asks_word(place))
		word = slot_look(&names_256, &place->slot, &key);
	return place_judge(place, key.name, present, word) | key.len << 8;
}

#endif
