/*
 * The maps: who is served, what is known of each (arrays, by the mount's slot, of the maps in
 * known.h), and what was answered.
 */
#ifndef RELAY_BPF_MAPS_H
#define RELAY_BPF_MAPS_H

#include "known.h"
#include "rules.h"

/* The slot of a mount, by s_dev.  A filesystem that goes takes itself out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, KNOWN_MOUNTS);
	__type(key, __u32);
	__type(value, __u32);
} devs SEC(".maps");

/* known_switch() of each slot: one word, so that it is never seen half changed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KNOWN_MOUNTS);
	__type(key, __u32);
	__type(value, __u64);
} switches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KNOWN_MOUNTS * KNOWN_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* max_entries of what is inside is each mount's own.  Sizes, since clang does not describe types that are this deep. */
#define MAPS_OF(name, map_type, flags, key_type, value_type)                                                          \
	struct name##_of_mount {                                                                                      \
		__uint(type, map_type);                                                                               \
		__uint(map_flags, flags);                                                                             \
		__uint(max_entries, 1);                                                                               \
		__uint(key_size, sizeof(key_type));                                                                   \
		__uint(value_size, sizeof(value_type));                                                               \
	};                                                                                                            \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                             \
		__uint(max_entries, KNOWN_MOUNTS);                                                                    \
		__type(key, __u32);                                                                                   \
		__array(values, struct name##_of_mount);                                                              \
	} name SEC(".maps")

MAPS_OF(dirs, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, __u64, struct known_dir);
MAPS_OF(present_16, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, struct known_name_16, __u8);
MAPS_OF(present_48, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, struct known_name_48, __u8);
MAPS_OF(present_256, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC, struct known_name_256, __u8);
MAPS_OF(names_16, BPF_MAP_TYPE_LRU_HASH, 0, struct known_name_16, __u64);
MAPS_OF(names_48, BPF_MAP_TYPE_LRU_HASH, 0, struct known_name_48, __u64);
MAPS_OF(names_256, BPF_MAP_TYPE_LRU_HASH, 0, struct known_name_256, __u64);
MAPS_OF(xattrs, BPF_MAP_TYPE_LRU_HASH, 0, struct known_xattr_key, __u64);

/* Looks a key up in the map of a slot.  By its address: no copy takes room on the stack. */
static __always_inline void *slot_look(void *maps, const __u32 *slot, const void *key)
{
	void *map = bpf_map_lookup_elem(maps, slot);

	return map ? bpf_map_lookup_elem(map, key) : 0;
}

/* Not atomic: a program that another one interrupts may lose the other's count. */
static __always_inline void count(__u32 slot, enum known_counter what)
{
	__u32 index = slot * KNOWN_COUNTERS + what;
	__u64 *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter)
		*counter += 1;
}

/* What the mount with this superblock is trusted with; 0 if it is not served. */
static __always_inline __u32 mount_trust(struct super_block *sb, __u32 *slot)
{
	__u32 dev = sb->s_dev, *found;
	__u64 *state;

	found = bpf_map_lookup_elem(&devs, &dev);
	if (!found)
		return 0;
	*slot = *found;
	state = bpf_map_lookup_elem(&switches, slot);
	/* The element that was found may be another mount's by now. */
	return state && *state >> 32 == dev ? (__u32)*state : 0;
}

#endif
