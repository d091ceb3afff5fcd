/*
 * O_PATH descriptors of nodes.
 */
#include "fdcache.h"

#include <stdlib.h>
#include <unistd.h>

void fdcache_init(struct fdcache *cache, unsigned idle_max)
{
	pthread_mutex_init(&cache->lock, NULL);
	cache->list.newer = cache->list.older = &cache->list;
	cache->idle_max = idle_max;
}

static struct fd_entry **bucket_of(struct fdcache *cache, uint64_t nodeid)
{
	return &cache->buckets[(nodeid ^ nodeid >> 28) % FDCACHE_BUCKETS];
}

static struct fd_entry *entry_find(struct fdcache *cache, uint64_t nodeid)
{
	struct fd_entry *entry = *bucket_of(cache, nodeid);

	while (entry && entry->nodeid != nodeid)
		entry = entry->hash_next;
	return entry;
}

static void list_remove(struct fdcache *cache, struct fd_entry *entry)
{
	entry->newer->older = entry->older;
	entry->older->newer = entry->newer;
	cache->idle--;
}

static void list_append(struct fdcache *cache, struct fd_entry *entry)
{
	entry->newer = &cache->list;
	entry->older = cache->list.older;
	entry->older->newer = entry;
	cache->list.older = entry;
	cache->idle++;
}

static bool entry_idle(const struct fd_entry *entry)
{
	return entry->refs == 0 && entry->pins == 0;
}

static void table_remove(struct fdcache *cache, struct fd_entry *entry)
{
	struct fd_entry **link = bucket_of(cache, entry->nodeid);

	while (*link != entry)
		link = &(*link)->hash_next;
	*link = entry->hash_next;
}

static struct fd_entry *entry_use(struct fdcache *cache, struct fd_entry *entry)
{
	if (entry_idle(entry))
		list_remove(cache, entry);
	entry->refs++;
	return entry;
}

static void entry_free(struct fd_entry *entry)
{
	close(entry->fd);
	free(entry);
}

/* Takes the oldest idle entry out of everything, or returns NULL. */
static struct fd_entry *idle_take(struct fdcache *cache)
{
	struct fd_entry *entry = cache->list.newer;

	if (entry == &cache->list)
		return NULL;
	list_remove(cache, entry);
	table_remove(cache, entry);
	return entry;
}

struct fd_entry *fdcache_get(struct fdcache *cache, uint64_t nodeid)
{
	struct fd_entry *entry;

	pthread_mutex_lock(&cache->lock);
	entry = entry_find(cache, nodeid);
	if (entry)
		entry_use(cache, entry);
	pthread_mutex_unlock(&cache->lock);
	return entry;
}

struct fd_entry *fdcache_add(struct fdcache *cache, uint64_t nodeid, int fd)
{
	struct fd_entry *fresh = calloc(1, sizeof(*fresh));
	struct fd_entry **bucket = bucket_of(cache, nodeid);
	struct fd_entry *entry;

	pthread_mutex_lock(&cache->lock);
	entry = entry_find(cache, nodeid);
	if (entry) {
		entry_use(cache, entry);
	} else if (fresh) {
		entry = fresh;
		entry->nodeid = nodeid;
		entry->fd = fd;
		entry->refs = 1;
		entry->hash_next = *bucket;
		*bucket = entry;
	}
	pthread_mutex_unlock(&cache->lock);
	if (entry != fresh || !fresh) {
		close(fd);
		free(fresh);
	}
	return entry;
}

void fdcache_put(struct fdcache *cache, struct fd_entry *entry)
{
	struct fd_entry *victim = NULL;

	if (!entry)
		return;
	pthread_mutex_lock(&cache->lock);
	if (--entry->refs == 0) {
		if (entry->orphan) {
			victim = entry;
		} else if (entry->pins == 0) {
			list_append(cache, entry);
			if (cache->idle > cache->idle_max)
				victim = idle_take(cache);
		}
	}
	pthread_mutex_unlock(&cache->lock);
	if (victim)
		entry_free(victim);
}

void fdcache_pin(struct fdcache *cache, struct fd_entry *entry)
{
	pthread_mutex_lock(&cache->lock);
	entry->pins++;
	pthread_mutex_unlock(&cache->lock);
}

bool fdcache_unpin(struct fdcache *cache, struct fd_entry *entry)
{
	bool last;

	/* The caller's reference keeps it off the list until it is put. */
	pthread_mutex_lock(&cache->lock);
	last = --entry->pins == 0;
	pthread_mutex_unlock(&cache->lock);
	return last;
}

bool fdcache_forget(struct fdcache *cache, uint64_t nodeid)
{
	struct fd_entry *entry;
	bool kept = false;

	pthread_mutex_lock(&cache->lock);
	entry = entry_find(cache, nodeid);
	if (entry) {
		kept = entry->kept;
		if (entry_idle(entry))
			list_remove(cache, entry);
		table_remove(cache, entry);
		if (entry->refs > 0) {
			entry->orphan = true;
			entry = NULL;
		}
	}
	pthread_mutex_unlock(&cache->lock);
	if (entry)
		entry_free(entry);
	return kept;
}

unsigned fdcache_shrink(struct fdcache *cache)
{
	struct fd_entry *entry;
	unsigned count = 0;

	do {
		pthread_mutex_lock(&cache->lock);
		entry = idle_take(cache);
		pthread_mutex_unlock(&cache->lock);
		if (entry) {
			entry_free(entry);
			count++;
		}
	} while (entry);
	return count;
}
