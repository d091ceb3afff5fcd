/*
 * Who is served by the programs, and with which maps.  A mount has a slot; the programs find
 * it by s_dev, its switch and its maps by the slot.
 *
 * The order of what is written keeps a program that runs meanwhile from mixing mounts or
 * times: a mount is joined by its s_dev last and leaves by it first, and each change of the
 * maps in a slot waits in the kernel until the programs that may have found the one before have
 * ended (RCU).
 */
#include "cache_bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cache_bpf_load.h"

struct cache_bpf_mount {
	struct cache_bpf *bpf;
	__u32 slot;
	__u32 dev; /* as the kernel has it */
	unsigned trust;
	struct cache_maps maps;
	uint64_t before[KNOWN_COUNTERS]; /* of the slot, when it joined */
};

struct cache_bpf {
	struct cache_bpf_programs programs;
	struct cache_bpf_mount *mounts[KNOWN_MOUNTS]; /* owned, by slot */
	unsigned count;
	bool stopped; /* the programs of those that have joined are detached */
	char why[CACHE_BPF_WHY];
};

struct cache_bpf *cache_bpf_new(void)
{
	return calloc(1, sizeof(struct cache_bpf));
}

void cache_bpf_free(struct cache_bpf *bpf)
{
	free(bpf);
}

/* stat(2) has another form of it than the kernel. */
static __u32 kernel_dev(dev_t dev)
{
	return major(dev) << 20 | minor(dev);
}

static int update(int map, const void *key, const void *value, __u64 flags)
{
	return bpf_map_update_elem(map, key, value, flags) ? -errno : 0;
}

static int switch_set(const struct cache_bpf_mount *mount, unsigned trust)
{
	const __u64 state = known_switch(mount->dev, trust);

	return update(mount->bpf->programs.switches, &mount->slot, &state, BPF_ANY);
}

/* Directories first: a program that still has old ones must not look for their names in new maps. */
static int slot_fill(const struct cache_bpf_mount *mount)
{
	for (unsigned map = 0; map < KNOWN_MAPS; map++) {
		int err = update(mount->bpf->programs.known[map], &mount->slot, &mount->maps.fd[map], BPF_ANY);

		if (err)
			return err;
	}
	return 0;
}

static int counters_read(const struct cache_bpf_mount *mount, uint64_t counters[KNOWN_COUNTERS])
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	__u64 *values;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 what = 0; what < KNOWN_COUNTERS && !err; what++) {
		__u32 index = mount->slot * KNOWN_COUNTERS + what;

		counters[what] = 0;
		err = bpf_map_lookup_elem(mount->bpf->programs.counters, &index, values) ? -errno : 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			counters[what] += values[cpu];
	}
	free(values);
	return err;
}

/* The last one out turns them off: they cost all path walks of the machine. */
static void programs_release(struct cache_bpf *bpf)
{
	if (bpf->count)
		return;
	cache_bpf_unload(&bpf->programs);
	bpf->stopped = false;
}

static int mount_enter(struct cache_bpf_mount *mount)
{
	struct cache_bpf *bpf = mount->bpf;
	int err = 0;

	if (mount->maps.fd[0] < 0)
		err = relay_internal_cache_maps_new(&mount->maps, &relay_internal_cache_sizes);
	if (!err)
		err = slot_fill(mount);
	if (!err)
		err = counters_read(mount, mount->before);
	if (!err)
		err = switch_set(mount, mount->trust);
	/* From here on it is served. */
	if (!err)
		err = update(bpf->programs.devs, &mount->dev, &mount->slot, BPF_NOEXIST);
	if (err)
		snprintf(bpf->why, sizeof(bpf->why), "the mount's maps cannot be made: %s", strerror(-err));
	return err;
}

/* maps is all -1 when they are the mount's. */
static int join(struct cache_bpf *bpf, dev_t dev, unsigned trust, struct cache_maps *maps,
		struct cache_bpf_mount **mount)
{
	struct cache_bpf_mount *new;
	__u32 slot = 0;
	int err = 0;

	while (slot < KNOWN_MOUNTS && bpf->mounts[slot])
		slot++;
	if (slot == KNOWN_MOUNTS) {
		snprintf(bpf->why, sizeof(bpf->why), "%u mounts are served already", KNOWN_MOUNTS);
		return -ENOSPC;
	}
	if (bpf->stopped) {
		snprintf(bpf->why, sizeof(bpf->why), "the programs had to be detached");
		return -ESHUTDOWN;
	}
	if (!bpf->count)
		err = cache_bpf_load(&bpf->programs, bpf->why);
	if (err)
		return err;
	new = calloc(1, sizeof(*new));
	if (!new) {
		programs_release(bpf);
		snprintf(bpf->why, sizeof(bpf->why), "there is no memory");
		return -ENOMEM;
	}
	*new = (struct cache_bpf_mount){
		.bpf = bpf, .slot = slot, .dev = kernel_dev(dev), .trust = trust, .maps = *maps};
	memset(maps->fd, -1, sizeof(maps->fd));
	bpf->mounts[slot] = new;
	bpf->count++;
	err = mount_enter(new);
	if (err) {
		char why[CACHE_BPF_WHY];

		memcpy(why, bpf->why, sizeof(why));
		cache_bpf_leave(new);
		memcpy(bpf->why, why, sizeof(why));
		return err;
	}
	*mount = new;
	return 0;
}

int cache_bpf_join(struct cache_bpf *bpf, dev_t dev, unsigned trust, struct cache_maps *left,
		   struct cache_bpf_mount **mount)
{
	struct cache_maps maps;
	int err;

	if (left)
		maps = *left;
	else
		memset(maps.fd, -1, sizeof(maps.fd));
	*mount = NULL;
	bpf->why[0] = 0;
	err = join(bpf, dev, trust, &maps, mount);
	relay_internal_cache_maps_close(&maps);
	return err;
}

void cache_bpf_leave(struct cache_bpf_mount *mount)
{
	struct cache_bpf *bpf;
	__u32 slot;

	if (!mount)
		return;
	bpf = mount->bpf;
	switch_set(mount, 0);
	/* If another mount has the s_dev by now, it is that one's. */
	if (!bpf_map_lookup_elem(bpf->programs.devs, &mount->dev, &slot) && slot == mount->slot)
		bpf_map_delete_elem(bpf->programs.devs, &mount->dev);
	/* Waits for who still has them, so that nobody takes the next mount's for these. */
	for (unsigned map = 0; bpf->count > 1 && map < KNOWN_MAPS; map++)
		bpf_map_delete_elem(bpf->programs.known[map], &mount->slot);
	relay_internal_cache_maps_close(&mount->maps);
	bpf->mounts[mount->slot] = NULL;
	bpf->count--;
	free(mount);
	programs_release(bpf);
}

const struct cache_maps *cache_bpf_maps(const struct cache_bpf_mount *mount)
{
	return mount ? &mount->maps : NULL;
}

int cache_bpf_set_trust(struct cache_bpf_mount *mount, unsigned trust)
{
	__u32 slot;
	int err = switch_set(mount, trust);

	if (err)
		return err;
	mount->trust = trust;
	/* The filesystem takes itself out when it goes. */
	if (bpf_map_lookup_elem(mount->bpf->programs.devs, &mount->dev, &slot) || slot != mount->slot)
		return -ENOENT;
	return 0;
}

void cache_bpf_stop(struct cache_bpf *bpf)
{
	cache_bpf_detach(&bpf->programs);
	bpf->stopped = bpf->count > 0;
}

int cache_bpf_renew(struct cache_bpf_mount *mount)
{
	const struct cache_maps before = mount->maps;
	const unsigned trust = mount->trust;
	struct cache_maps old = before;
	int err = cache_bpf_set_trust(mount, 0);

	if (err)
		return err;
	err = relay_internal_cache_maps_new(&mount->maps, &relay_internal_cache_sizes);
	if (err) {
		mount->maps = before;
		return err;
	}
	err = slot_fill(mount);
	relay_internal_cache_maps_close(&old);
	return err ? err : cache_bpf_set_trust(mount, trust);
}

int cache_bpf_counters(const struct cache_bpf_mount *mount, uint64_t counters[KNOWN_COUNTERS])
{
	int err = counters_read(mount, counters);

	for (unsigned what = 0; what < KNOWN_COUNTERS && !err; what++)
		counters[what] -= mount->before[what];
	return err;
}

const char *cache_bpf_how(const struct cache_bpf *bpf)
{
	return bpf->programs.how ? bpf->programs.how : "none";
}

const char *cache_bpf_why(const struct cache_bpf *bpf)
{
	return bpf->why;
}
