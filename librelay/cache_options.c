/* What may be known of a mount: words, and the bytes of the control socket. */
#include "cache_options.h"

#include <endian.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 1000000.0

static const char *const bpf_words[] = {
	[RELAY_CTL_BPF_AUTO] = "auto",
	[RELAY_CTL_BPF_ON] = "on",
	[RELAY_CTL_BPF_OFF] = "off",
};

static const char *const trust_words[] = {
	[RELAY_CTL_TRUST_NONE] = "none",
	[RELAY_CTL_TRUST_NEGATIVE] = "negative",
	[RELAY_CTL_TRUST_COMPLETE] = "complete",
	[RELAY_CTL_TRUST_GATE] = "gate",
};

#define COUNT(words) ((uint32_t)(sizeof(words) / sizeof((words)[0])))

static bool word_find(const char *const *words, uint32_t count, const char *word, uint32_t *value)
{
	for (uint32_t i = 0; i < count; i++) {
		if (strcmp(words[i], word) != 0)
			continue;
		*value = i;
		return true;
	}
	return false;
}

const char *relay_internal_cache_bpf_take(struct relay_cache_options *options, const char *word)
{
	return word_find(bpf_words, COUNT(bpf_words), word, &options->bpf) ? NULL : "--bpf takes auto, on or off";
}

const char *relay_internal_cache_trust_take(struct relay_cache_options *options, const char *word)
{
	return word_find(trust_words, COUNT(trust_words), word, &options->trust)
		       ? NULL
		       : "--trust takes none, negative, complete or gate";
}

const char *relay_internal_cache_timeout_take(struct relay_cache_options *options, const char *word)
{
	char *end;
	double seconds = strtod(word, &end);

	if (end == word || *end || !(seconds >= 0 && seconds <= SECONDS_MAX))
		return "--negative-timeout takes seconds, up to 1000000";
	options->negative_ms = (uint32_t)(seconds * 1000 + 0.5);
	return NULL;
}

const char *relay_internal_cache_options_check(const struct relay_cache_options *options, bool shared_store, bool uring)
{
	if (options->bpf >= COUNT(bpf_words) || options->trust >= COUNT(trust_words))
		return "what may be known is said in a way that this relayd does not know";
	if (options->trust == RELAY_CTL_TRUST_NONE && (options->bpf == RELAY_CTL_BPF_ON || options->negative_ms))
		return "--bpf=on and --negative-timeout need --trust";
	if (options->trust != RELAY_CTL_TRUST_NONE && uring)
		return "--trust does not go with --lane=uring";
	if (shared_store && options->trust > RELAY_CTL_TRUST_NEGATIVE)
		return "--trust=complete and gate say that nobody else writes to the store, --shared-store that "
		       "somebody does";
	return NULL;
}

const char *relay_internal_cache_trust_name(uint32_t trust)
{
	return trust < COUNT(trust_words) ? trust_words[trust] : "none";
}

struct absence_trust relay_internal_cache_trust(const struct relay_cache_options *options, bool same_for_all)
{
	bool sole = same_for_all && options->trust >= RELAY_CTL_TRUST_COMPLETE;

	return (struct absence_trust){
		.sole = sole,
		.complete = sole,
		.gate = sole && options->trust == RELAY_CTL_TRUST_GATE,
		.lease = same_for_all ? options->negative_ms * 1000000ull : 0,
	};
}

struct relay_ctl_cache relay_internal_cache_options_pack(const struct relay_cache_options *options)
{
	return (struct relay_ctl_cache){
		.bpf = htole32(options->bpf),
		.trust = htole32(options->trust),
		.negative_ms = htole32(options->negative_ms),
	};
}

struct relay_cache_options relay_internal_cache_options_unpack(const struct relay_ctl_cache *packed)
{
	return (struct relay_cache_options){
		.bpf = le32toh(packed->bpf),
		.trust = le32toh(packed->trust),
		.negative_ms = le32toh(packed->negative_ms),
	};
}
