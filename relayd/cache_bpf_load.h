/* Loading and attaching the programs of bpf/, and why that is not possible. */
#ifndef RELAYD_CACHE_BPF_LOAD_H
#define RELAYD_CACHE_BPF_LOAD_H

#include "../bpf/known.h"

struct bpf_object;

/* Programs that are attached: four hooks at most. */
#define CACHE_BPF_LINKS 4u

struct cache_bpf_programs {
	struct bpf_object *object; /* owned; NULL if nothing is loaded */
	struct bpf_link *links[CACHE_BPF_LINKS];
	const char *how; /* "lsm" or "fmod_ret" */
	/* Descriptors of the object's maps, borrowed from it. */
	int devs, switches, counters;
	int known[KNOWN_MAPS]; /* of the maps of mounts */
};

/* Room for a sentence. */
#define CACHE_BPF_WHY 256u

/*
 * Calibrates, loads, attaches.  Returns 0, or a negative errno with nothing loaded and a
 * sentence in why.
 */
int cache_bpf_load(struct cache_bpf_programs *programs, char why[CACHE_BPF_WHY]);

/* Detaches, and the maps stay.  Unloads, too.  Of programs that are not loaded as well. */
void cache_bpf_detach(struct cache_bpf_programs *programs);
void cache_bpf_unload(struct cache_bpf_programs *programs);

#endif
