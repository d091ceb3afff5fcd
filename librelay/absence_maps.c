/* The rules' store, and cache_maps' functions: the same, but for who says what. */
#include "absence_maps.h"

#include <assert.h>

static_assert(KNOWN_XATTRS_COUNT <= ABSENCE_XATTRS, "each attribute has a bit");
static_assert(ABSENCE_FOREVER == KNOWN_FOREVER, "for ever");

static int absent_put(void *store, uint64_t dir, const char *name, uint32_t length, uint64_t until)
{
	return relay_internal_cache_absent_put(store, dir, name, length, until);
}

static int absent_drop(void *store, uint64_t dir, const char *name, uint32_t length)
{
	return relay_internal_cache_absent_drop(store, dir, name, length);
}

static int present_put(void *store, uint64_t dir, const char *name, uint32_t length)
{
	return relay_internal_cache_present_put(store, dir, name, length);
}

static int present_drop(void *store, uint64_t dir, const char *name, uint32_t length)
{
	return relay_internal_cache_present_drop(store, dir, name, length);
}

static int dir_complete(void *store, uint64_t dir)
{
	return relay_internal_cache_dir_complete(store, dir, KNOWN_FOREVER);
}

static int dir_drop(void *store, uint64_t dir)
{
	return relay_internal_cache_dir_drop(store, dir);
}

static int stale_put(void *store, uint64_t dir, const char *name, uint32_t length)
{
	return relay_internal_cache_stale_put(store, dir, name, length);
}

static int xattr_put(void *store, uint64_t nodeid, unsigned xattr, uint64_t until)
{
	return relay_internal_cache_xattr_put(store, nodeid, (enum known_xattr)xattr, until);
}

static int xattr_drop(void *store, uint64_t nodeid, unsigned xattr)
{
	/* Bits beyond those that there are were never set but by who inherits. */
	return xattr < KNOWN_XATTRS_COUNT ? relay_internal_cache_xattr_drop(store, nodeid, (enum known_xattr)xattr) : 0;
}

static int node_drop(void *store, uint64_t nodeid)
{
	return relay_internal_cache_node_drop(store, nodeid);
}

static int clear(void *store)
{
	return relay_internal_cache_clear(store);
}

/* What stays costs room. */
static void sweep(void *store, bool (*keep)(uint64_t dir, void *arg), void *arg)
{
	relay_internal_cache_sweep(store, keep, arg);
}

const struct absence_store relay_absence_maps = {
	.absent_put = absent_put,
	.absent_drop = absent_drop,
	.present_put = present_put,
	.present_drop = present_drop,
	.dir_complete = dir_complete,
	.dir_drop = dir_drop,
	.stale_put = stale_put,
	.xattr = relay_internal_cache_xattr,
	.xattr_put = xattr_put,
	.xattr_drop = xattr_drop,
	.node_drop = node_drop,
	.clear = clear,
	.sweep = sweep,
	.now = relay_internal_cache_now,
};
