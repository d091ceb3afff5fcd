/*
 * The options that say what may be known of a mount, as relayd and relay-run take them and
 * the control socket carries them.
 */
#ifndef RELAY_CACHE_OPTIONS_H
#define RELAY_CACHE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "absence.h"
#include "relay/ctl_wire.h"

struct relay_cache_options {
	uint32_t bpf;	      /* enum relay_ctl_bpf */
	uint32_t trust;	      /* enum relay_ctl_trust */
	uint32_t negative_ms; /* 0: none */
};

/* Each takes the word of an option.  Returns NULL, or what is wrong with it. */
const char *relay_internal_cache_bpf_take(struct relay_cache_options *options, const char *word);
const char *relay_internal_cache_trust_take(struct relay_cache_options *options, const char *word);
const char *relay_internal_cache_timeout_take(struct relay_cache_options *options, const char *word);

/* What does not go together, or is none of the values there are; or NULL. */
const char *relay_internal_cache_options_check(const struct relay_cache_options *options, bool shared_store,
					       bool uring);

/* "none", "negative", "complete", "gate". */
const char *relay_internal_cache_trust_name(uint32_t trust);

/*
 * What that means for the rules.  same_for_all: the filesystem's answers do not depend on who asks,
 * since the kernel checks permissions, or one user alone can come.  Without it a filesystem may
 * answer each caller differently, and nobody asks it before a name is known to be absent: so
 * nothing is believed but what it has said to hold for all, by a timeout.
 */
struct absence_trust relay_internal_cache_trust(const struct relay_cache_options *options, bool same_for_all);

/* To and from the control socket. */
struct relay_ctl_cache relay_internal_cache_options_pack(const struct relay_cache_options *options);
struct relay_cache_options relay_internal_cache_options_unpack(const struct relay_ctl_cache *packed);

#endif
