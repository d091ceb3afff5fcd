/*
 * Windows: what was begun since a request was handed on, and what is under way.
 *
 * Locking: one lock over all of the rules, held over single writes to the store.  A LOOKUP takes it
 * when it has found nothing, and otherwise never; a request whose kind is NOTHING does not
 * come here at all.
 */
#include "absence_parts.h"

#include <stdlib.h>

struct absence *relay_absence_new(const struct absence_store *ops, void *store, const struct absence_trust *trust,
				  bool inherited)
{
	struct absence *absence = calloc(1, sizeof(*absence));

	if (!absence)
		return NULL;
	absence->ops = ops;
	absence->store = store;
	absence->trust = *trust;
	absence->inherited = inherited;
	absence->litter = inherited;
	pthread_mutex_init(&absence->lock, NULL);
	return absence;
}

void relay_absence_free(struct absence *absence)
{
	if (!absence)
		return;
	pthread_mutex_destroy(&absence->lock);
	free(absence);
}

/* ---- windows --------------------------------------------------------------- */

static uint32_t bucket_of(uint64_t nodeid)
{
	return (uint32_t)((nodeid * 0x9e3779b97f4a7c15ull) >> 32) & (ABSENCE_BUCKETS - 1);
}

static uint64_t sequence_next(struct absence *absence)
{
	return atomic_fetch_add(&absence->sequence, 1) + 1;
}

static uint32_t own_count(const struct absence_window *own, uint32_t bucket)
{
	uint32_t count = 0;

	for (uint32_t i = 0; own && i < own->changes; i++)
		count += own->bucket[i] == bucket;
	return count;
}

static bool bucket_unchanged(const struct absence *absence, uint32_t index, uint64_t since,
			     const struct absence_window *own)
{
	const struct absence_bucket *bucket = &absence->buckets[index];

	return bucket->stamp <= since && bucket->open == own_count(own, index);
}

bool absence_unchanged(const struct absence *absence, uint64_t nodeid, uint64_t since, const struct absence_window *own)
{
	return !absence->broken && since >= absence->floor &&
	       bucket_unchanged(absence, bucket_of(nodeid), since, own) &&
	       bucket_unchanged(absence, ABSENCE_ALL, since, own);
}

static void bucket_change(struct absence *absence, struct absence_window *window, uint32_t bucket)
{
	window->bucket[window->changes++] = bucket;
	absence->buckets[bucket].open++;
}

void absence_window_change(struct absence *absence, struct absence_window *window, uint64_t nodeid)
{
	bucket_change(absence, window, bucket_of(nodeid));
}

void absence_window_change_all(struct absence *absence, struct absence_window *window)
{
	bucket_change(absence, window, ABSENCE_ALL);
}

void absence_stamp(struct absence *absence, uint64_t nodeid)
{
	absence->buckets[bucket_of(nodeid)].stamp = sequence_next(absence);
}

void absence_window_close(struct absence *absence, struct absence_window *window)
{
	while (window->changes > 0) {
		struct absence_bucket *bucket = &absence->buckets[window->bucket[--window->changes]];

		bucket->stamp = sequence_next(absence);
		bucket->open--;
	}
}

void relay_absence_close(struct absence *absence, struct absence_window *window)
{
	if (window->changes == 0)
		return;
	pthread_mutex_lock(&absence->lock);
	absence_window_close(absence, window);
	pthread_mutex_unlock(&absence->lock);
}

int absence_broken(struct absence *absence, int err)
{
	absence->broken = true;
	return err;
}

void relay_absence_incarnation(struct absence *absence)
{
	pthread_mutex_lock(&absence->lock);
	absence->floor = sequence_next(absence);
	absence_list_clear(absence);
	pthread_mutex_unlock(&absence->lock);
}

int relay_absence_clear(struct absence *absence)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	absence->floor = sequence_next(absence);
	absence_list_clear(absence);
	err = absence->ops->clear(absence->store);
	if (err)
		absence_broken(absence, err);
	else
		absence_nodes_clear(absence);
	pthread_mutex_unlock(&absence->lock);
	return err;
}
