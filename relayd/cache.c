/*
 * A mount's cache of what does not exist: who keeps the rules, how far they believe, and what
 * is told of it.
 */
#include "cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "absence_maps.h"
#include "log.h"

static void text_set(struct cache *cache, const char *what, const char *why)
{
	snprintf(cache->text, sizeof(cache->text), "%s%s%s", what, *why ? ": " : "", why);
}

void cache_init(struct cache *cache, const char *name, struct cache_bpf *bpf, const struct relay_cache_options *options)
{
	*cache = (struct cache){.name = name, .bpf = bpf, .options = *options};
	text_set(cache, "off", "");
}

int cache_open(struct cache *cache, dev_t dev, const char *mounted, struct cache_maps *left, char *why, size_t why_size)
{
	const struct relay_cache_options *options = &cache->options;
	const bool asked = options->trust != RELAY_CTL_TRUST_NONE && options->bpf != RELAY_CTL_BPF_OFF && cache->bpf;
	int err = -ENOENT;

	cache->same_for_all = strstr(mounted, ",default_permissions") || !strstr(mounted, ",allow_other");
	if (asked && dev)
		err = cache_bpf_join(cache->bpf, dev, 0, left, &cache->mount);
	else if (left)
		relay_internal_cache_maps_close(left);
	if (!asked || !err)
		return 0;
	cache->mount = NULL;
	text_set(cache, "off", dev ? cache_bpf_why(cache->bpf) : "the mount is not in /proc/self/mountinfo");
	if (options->bpf == RELAY_CTL_BPF_ON) {
		snprintf(why, why_size, "--bpf=on: %s", cache->text);
		return -EOPNOTSUPP;
	}
	log_warning("%s: the kernel answers nothing by itself: %s", cache->name, cache->text + strlen("off: "));
	return 0;
}

void cache_close(struct cache *cache)
{
	struct absence *absence = atomic_exchange(&cache->absence, NULL);

	/* First: the rules write into its maps. */
	relay_absence_free(absence);
	cache_bpf_leave(cache->mount);
	cache->mount = NULL;
}

static void trust_decide(struct cache *cache, uint64_t flags)
{
	bool same = cache->same_for_all || flags & FUSE_POSIX_ACL, sole;

	cache->trust = relay_internal_cache_trust(&cache->options, same);
	sole = cache->trust.sole;
	cache->bits = KNOWN_TRUST_ABSENT | (sole ? KNOWN_TRUST_COMPLETE : 0) |
		      (sole || cache->trust.lease ? KNOWN_TRUST_XATTR : 0) | (cache->trust.gate ? KNOWN_TRUST_GATE : 0);
	text_set(cache, relay_internal_cache_trust_name(cache->options.trust),
		 same ? cache_bpf_how(cache->bpf)
		      : "only what has a timeout of the filesystem's own: without default_permissions its answers "
			"may depend on who asks");
}

void cache_agree(struct cache *cache, uint64_t flags, bool translated)
{
	struct absence *absence = NULL;
	int err;

	if (!cache->mount || cache->agreed)
		return;
	cache->agreed = true;
	trust_decide(cache, flags);
	if (translated) {
		absence = relay_absence_new(&relay_absence_maps, (void *)cache_bpf_maps(cache->mount), &cache->trust,
					    false);
		if (!absence) {
			text_set(cache, "off", "no memory");
			return;
		}
	}
	err = cache_bpf_set_trust(cache->mount, cache->bits);
	if (err) {
		text_set(cache, "off", strerror(-err));
		log_error("%s: the kernel answers nothing by itself: %s", cache->name, strerror(-err));
		relay_absence_free(absence);
		return;
	}
	log_info("%s: the kernel answers by itself: %s", cache->name, cache->text);
	atomic_store(&cache->absence, absence);
}

void cache_distrust(struct cache *cache)
{
	static const char why[] = "something that was known could not be taken back";
	int err;

	if (!cache->mount || !cache->bits)
		return;
	cache->bits = 0;
	err = cache_bpf_set_trust(cache->mount, 0);
	text_set(cache, "off", why);
	log_error("%s: the kernel answers nothing by itself any more: %s", cache->name, why);
	/* -ENOENT: its filesystem is gone. */
	if (err && err != -ENOENT) {
		cache_bpf_stop(cache->bpf);
		log_error("%s: nor for any other mount: %s", cache->name, strerror(-err));
	}
}

struct relay_absences cache_absences(const struct cache *cache)
{
	return (struct relay_absences){
		.trust = cache->options.trust,
		.negative_ms = cache->options.negative_ms,
		.same_for_all = cache->same_for_all,
	};
}

static uint64_t fill(const struct cache_maps *maps, enum known_map first, enum known_map last)
{
	uint64_t sum = 0;

	for (unsigned map = first; map <= last; map++) {
		int64_t n = relay_internal_cache_fill(maps, (enum known_map)map);

		sum += n > 0 ? (uint64_t)n : 0;
	}
	return sum;
}

void cache_counts(const struct cache *cache, struct cache_counts *counts)
{
	const struct cache_maps *maps = cache_maps(cache);

	*counts = (struct cache_counts){0};
	if (!maps || cache_bpf_counters(cache->mount, counts->hits) < 0)
		return;
	counts->directories = fill(maps, KNOWN_DIRS, KNOWN_DIRS);
	counts->present = fill(maps, KNOWN_PRESENT_16, KNOWN_PRESENT_256);
	counts->absent = fill(maps, KNOWN_NAMES_16, KNOWN_NAMES_256);
	counts->xattrs = fill(maps, KNOWN_XATTRS, KNOWN_XATTRS);
}

/* ---- requests ---------------------------------------------------------------- */

/* The journal is relayd's alone where ids are translated: what was parsed once is so again. */
static bool request_take(struct absence_request *out, const void *request, uint32_t size, bool redo)
{
	const struct fuse_in_header *header = request;

	*out = (struct absence_request){
		.op = relay_op_get(header->opcode),
		.nodeid = header->nodeid,
		.redo = redo,
	};
	return out->op && relay_absence_concerns(out->op) && relay_args_parse(request, size, 0, &out->args) == 0;
}

int cache_request_begin(struct absence *absence, struct cache_note *note, const void *request, uint32_t size, bool redo)
{
	struct absence_request taken;
	int err;

	if (!request_take(&taken, request, size, redo))
		return 0;
	err = relay_absence_begin(absence, &taken, &note->window);
	note->begun = !err;
	note->redo = redo;
	return err;
}

void cache_request_end(struct absence *absence, struct cache_note *note, const void *request, uint32_t size,
		       const struct fuse_out_header *header, const void *payload)
{
	const struct absence_reply reply = {
		.error = -header->error,
		.payload = payload,
		.size = header->len - (uint32_t)sizeof(*header),
	};
	struct absence_request taken;

	/* One that was on its way before anything was known tells nothing. */
	if (!note->begun || !request_take(&taken, request, size, note->redo))
		return;
	note->begun = false;
	relay_absence_end(absence, &taken, &note->window, &reply);
}

void cache_request_close(struct absence *absence, struct cache_note *note)
{
	note->begun = false;
	relay_absence_close(absence, &note->window);
}
