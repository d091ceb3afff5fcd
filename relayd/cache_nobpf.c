/* Stands in for cache_bpf.c where relayd is built without eBPF: no mount is served. */
#include "cache_bpf.h"

#include <errno.h>
#include <stddef.h>

struct cache_bpf {
	char unused;
};

struct cache_bpf *cache_bpf_new(void)
{
	static struct cache_bpf none;

	return &none;
}

void cache_bpf_free(struct cache_bpf *bpf)
{
	(void)bpf;
}

int cache_bpf_join(struct cache_bpf *bpf, dev_t dev, unsigned trust, struct cache_maps *left,
		   struct cache_bpf_mount **mount)
{
	(void)bpf;
	(void)dev;
	(void)trust;
	if (left)
		relay_internal_cache_maps_close(left);
	*mount = NULL;
	return -EOPNOTSUPP;
}

void cache_bpf_leave(struct cache_bpf_mount *mount)
{
	(void)mount;
}

const struct cache_maps *cache_bpf_maps(const struct cache_bpf_mount *mount)
{
	(void)mount;
	return NULL;
}

int cache_bpf_set_trust(struct cache_bpf_mount *mount, unsigned trust)
{
	(void)mount;
	(void)trust;
	return -EOPNOTSUPP;
}

void cache_bpf_stop(struct cache_bpf *bpf)
{
	(void)bpf;
}

int cache_bpf_renew(struct cache_bpf_mount *mount)
{
	(void)mount;
	return -EOPNOTSUPP;
}

int cache_bpf_counters(const struct cache_bpf_mount *mount, uint64_t counters[KNOWN_COUNTERS])
{
	(void)mount;
	(void)counters;
	return -EOPNOTSUPP;
}

const char *cache_bpf_how(const struct cache_bpf *bpf)
{
	(void)bpf;
	return "none";
}

const char *cache_bpf_why(const struct cache_bpf *bpf)
{
	(void)bpf;
	return "relayd was built without eBPF";
}
