/*
 * What relayd answers by itself: the windows and stamps that say what is true, the records of
 * what was told, and the list of the nodes that are kept, oldest first.
 *
 * A record is its node's by number: numbers are dense, so with fewer nodes than records each
 * has its own.  A record of another node's may be taken, but not that of a node that is kept.
 */
#include "answers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUCKETS 4096u /* of each part */
#define BUCKET_ALL (2 * BUCKETS)

/* 30 years are for ever. */
#define VALID_MAX 1000000000ull
#define SECOND 1000000000ull

struct bucket {
	_Atomic uint64_t stamp; /* of the sequence: when the last window was closed */
	_Atomic uint32_t open;	/* windows */
};

struct absent {
	uint64_t parent;
	uint64_t since;
	uint64_t until;
	uint8_t length;
	char name[ANSWERS_NAME_MAX];
};

struct record {
	uint64_t nodeid; /* 0: nobody's */
	struct fuse_attr attr;
	uint64_t attr_until; /* CLOCK_MONOTONIC, ns */
	uint64_t attr_since; /* of the sequence */
	uint64_t entry_until;
	uint64_t entry_since;
	uint32_t ref; /* the link that entry_* are of; 0: none */
	uint32_t before;
	uint32_t after; /* in the list of those kept, a ring through LIST */
	bool kept;
};

/* The head of the list. */
#define LIST ANSWERS_NODES

struct answers_memory {
	struct bucket buckets[BUCKET_ALL + 1];
	struct absent absent[ANSWERS_ABSENT];
	struct record records[ANSWERS_NODES + 1];
};

void answers_init(struct answers *answers)
{
	*answers = (struct answers){.memory = calloc(1, sizeof(*answers->memory))};
	if (answers->memory)
		answers->memory->records[LIST].before = answers->memory->records[LIST].after = LIST;
}

void answers_deinit(struct answers *answers)
{
	free(answers->memory);
	answers->memory = NULL;
}

/* ---- windows and stamps ---------------------------------------------------- */

static uint32_t bucket_of(enum answers_part part, uint64_t nodeid)
{
	/* The number of a node; its birth is above. */
	return (part == ANSWERS_NAMES ? BUCKETS : 0) + ((uint32_t)nodeid & (BUCKETS - 1));
}

static uint64_t sequence_next(struct answers *answers)
{
	return atomic_fetch_add(&answers->sequence, 1) + 1;
}

static void bucket_stamp(struct answers *answers, uint32_t bucket, uint64_t number)
{
	_Atomic uint64_t *stamp = &answers->memory->buckets[bucket].stamp;
	uint64_t was = atomic_load(stamp);

	while (was < number && !atomic_compare_exchange_weak(stamp, &was, number))
		;
}

void answers_window_open(struct answers *answers, struct answers_window *window)
{
	answers_window_close(answers, window);
	window->since = atomic_load(&answers->sequence);
}

static void window_add(struct answers *answers, struct answers_window *window, uint32_t bucket)
{
	if (!answers->memory)
		return;
	assert(window->changes < ANSWERS_CHANGES_MAX);
	window->bucket[window->changes++] = bucket;
	atomic_fetch_add(&answers->memory->buckets[bucket].open, 1);
}

void answers_window_change(struct answers *answers, struct answers_window *window, enum answers_part part,
			   uint64_t nodeid)
{
	window_add(answers, window, bucket_of(part, nodeid));
}

void answers_window_change_all(struct answers *answers, struct answers_window *window)
{
	window_add(answers, window, BUCKET_ALL);
}

void answers_window_replied(struct answers *answers, struct answers_window *window)
{
	if (window->changes > 0)
		window->stamp = sequence_next(answers);
}

void answers_window_close(struct answers *answers, struct answers_window *window)
{
	if (window->changes > 0 && !window->stamp)
		window->stamp = sequence_next(answers);
	while (window->changes > 0) {
		uint32_t bucket = window->bucket[--window->changes];

		/* In this order: whoever finds it closed finds the stamp. */
		bucket_stamp(answers, bucket, window->stamp);
		atomic_fetch_sub(&answers->memory->buckets[bucket].open, 1);
	}
	window->stamp = 0;
}

void answers_stale(struct answers *answers, enum answers_part part, uint64_t nodeid)
{
	if (answers->memory)
		bucket_stamp(answers, bucket_of(part, nodeid), sequence_next(answers));
}

void answers_stale_all(struct answers *answers)
{
	if (answers->memory)
		bucket_stamp(answers, BUCKET_ALL, sequence_next(answers));
}

/* How often the window is open for the bucket; NULL: there is none. */
static uint32_t window_count(const struct answers_window *window, uint32_t bucket)
{
	uint32_t count = 0;

	for (uint32_t i = 0; window && i < window->changes; i++)
		count += window->bucket[i] == bucket;
	return count;
}

static bool bucket_unchanged(const struct answers *answers, uint32_t bucket, uint64_t since,
			     const struct answers_window *own)
{
	const struct bucket *b = &answers->memory->buckets[bucket];

	return atomic_load(&b->open) == window_count(own, bucket) && atomic_load(&b->stamp) <= since;
}

/* Nothing but what the window is open for has changed it since, or may be doing so. */
static bool unchanged(const struct answers *answers, enum answers_part part, uint64_t nodeid, uint64_t since,
		      const struct answers_window *own)
{
	return bucket_unchanged(answers, BUCKET_ALL, since, own) &&
	       bucket_unchanged(answers, bucket_of(part, nodeid), since, own);
}

/* ---- what replies say ------------------------------------------------------ */

/* A few milliseconds behind, and cheap: what is remembered ends that much too soon. */
static uint64_t clock_coarse(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* 0: it is not to be believed at all. */
static uint64_t valid_until(uint64_t valid, uint32_t nsec)
{
	if (valid == 0 && nsec == 0)
		return 0;
	if (valid > VALID_MAX)
		valid = VALID_MAX;
	return clock_coarse() + valid * SECOND + (nsec < SECOND ? nsec : SECOND - 1);
}

static struct record *record_of(const struct answers *answers, const struct node *node)
{
	struct record *record;

	if (!answers->memory)
		return NULL;
	record = &answers->memory->records[nodes_number(node) & (ANSWERS_NODES - 1)];
	return record->nodeid == node->nodeid ? record : NULL;
}

/* The node's record; NULL if somebody else's stands there who needs it. */
static struct record *record_take(struct answers *answers, const struct node *node)
{
	struct record *record = &answers->memory->records[nodes_number(node) & (ANSWERS_NODES - 1)];

	if (record->nodeid != node->nodeid) {
		if (record->kept)
			return NULL;
		*record = (struct record){.nodeid = node->nodeid};
	}
	return record;
}

/*
 * Each reads the sequence before it looks whether anything was changed: a window that is
 * opened after that look closes at a higher number.
 */
void answers_attr(struct answers *answers, const struct node *node, const struct fuse_attr *attr, uint64_t valid,
		  uint32_t valid_nsec, const struct answers_window *window)
{
	uint64_t since = atomic_load(&answers->sequence), until = valid_until(valid, valid_nsec);
	struct record *record;

	record = until ? NULL : record_of(answers, node);
	/* What was said to hold before holds no more. */
	if (record)
		record->attr_until = 0;
	if (!answers->memory || !until || !unchanged(answers, ANSWERS_ATTR, node->nodeid, window->since, window))
		return;
	record = record_take(answers, node);
	if (!record)
		return;
	record->attr = *attr;
	record->attr_until = until;
	record->attr_since = since;
	atomic_store_explicit(&answers->any, true, memory_order_relaxed);
}

void answers_entry(struct answers *answers, const struct nodes *nodes, const struct node *parent, const char *name,
		   const struct node *node, const struct fuse_entry_out *entry, const struct answers_window *window)
{
	uint64_t since = atomic_load(&answers->sequence);
	uint64_t until = valid_until(entry->entry_valid, entry->entry_valid_nsec);
	struct record *record;
	struct link *link;
	uint32_t ref;

	answers_attr(answers, node, &entry->attr, entry->attr_valid, entry->attr_valid_nsec, window);
	if (!answers->memory)
		return;
	ref = nodes_find_ref(nodes, parent, name, (uint32_t)strlen(name), &link);
	if (ref && !until)
		answers_unnamed(answers, node, ref);
	if (!until || !unchanged(answers, ANSWERS_NAMES, parent->nodeid, window->since, window))
		return;
	record = ref && link->node == nodes_number(node) ? record_take(answers, node) : NULL;
	if (!record)
		return;
	record->ref = ref;
	record->entry_until = until;
	record->entry_since = since;
}

/* Names are spread over them, since there are but so many and each has one place. */
static struct absent *absent_of(const struct answers *answers, const struct node *parent, const char *name,
				uint32_t length)
{
	uint64_t hash = parent->nodeid * 0x9e3779b97f4a7c15ull;

	for (uint32_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3ull;
	return &answers->memory->absent[(hash ^ hash >> 32) & (ANSWERS_ABSENT - 1)];
}

void answers_absent(struct answers *answers, const struct node *parent, const char *name,
		    const struct fuse_entry_out *entry, const struct answers_window *window)
{
	uint64_t until = valid_until(entry->entry_valid, entry->entry_valid_nsec);
	uint64_t since = atomic_load(&answers->sequence);
	size_t length = strlen(name);
	struct absent *absent;

	if (!answers->memory || !until || length > ANSWERS_NAME_MAX ||
	    !unchanged(answers, ANSWERS_NAMES, parent->nodeid, window->since, window))
		return;
	absent = absent_of(answers, parent, name, (uint32_t)length);
	*absent = (struct absent){
		.parent = parent->nodeid,
		.since = since,
		.until = until,
		.length = (uint8_t)length,
	};
	memcpy(absent->name, name, length);
	atomic_store_explicit(&answers->any, true, memory_order_relaxed);
}

static void list_remove(struct record *records, struct record *record)
{
	records[record->before].after = record->after;
	records[record->after].before = record->before;
}

/* Behind `before`. */
static void list_add(struct record *records, struct record *record, uint32_t before)
{
	uint32_t at = (uint32_t)(record - records);

	record->before = before;
	record->after = records[before].after;
	records[record->after].before = at;
	records[before].after = at;
}

void answers_unnamed(struct answers *answers, const struct node *node, uint32_t ref)
{
	struct record *record = record_of(answers, node), *records;

	if (!record || !record->ref || (ref && record->ref != ref))
		return;
	record->ref = 0;
	/* It is let go of as soon as it can be: not here, where somebody works on the node. */
	if (record->kept) {
		records = answers->memory->records;
		list_remove(records, record);
		list_add(records, record, LIST);
	}
}

void answers_incarnation(struct answers *answers, const struct nodes *nodes)
{
	uint32_t end = state_end(nodes->state, STATE_NODES);

	for (uint32_t number = 1; answers->memory && number < end; number++) {
		const struct node *node = nodes_at(nodes, number);
		struct record *record = node && node->writers ? record_of(answers, node) : NULL;

		if (record)
			record->attr_until = 0;
	}
}

/* ---- answers --------------------------------------------------------------- */

static bool attr_good(const struct answers *answers, const struct record *record, uint64_t now)
{
	return record->attr_until > now && unchanged(answers, ANSWERS_ATTR, record->nodeid, record->attr_since, NULL);
}

static bool entry_good(const struct answers *answers, const struct record *record, uint64_t now)
{
	return record->ref && record->entry_until > now &&
	       bucket_unchanged(answers, BUCKET_ALL, record->entry_since, NULL) && attr_good(answers, record, now);
}

static bool absent_good(const struct answers *answers, const struct node *parent, const char *name, uint32_t length,
			uint64_t now, uint64_t *until)
{
	const struct absent *absent;

	if (length > ANSWERS_NAME_MAX)
		return false;
	absent = absent_of(answers, parent, name, length);
	*until = absent->until;
	return absent->until > now && absent->parent == parent->nodeid && absent->length == length &&
	       memcmp(absent->name, name, length) == 0 &&
	       unchanged(answers, ANSWERS_NAMES, parent->nodeid, absent->since, NULL);
}

bool answers_lookup(const struct answers *answers, const struct nodes *nodes, const struct node *parent,
		    const char *name, bool any, uint64_t now_ns, struct fuse_entry_out *entry, struct node **node)
{
	uint32_t length = (uint32_t)strlen(name), ref;
	const struct record *record;
	uint64_t until;
	struct link *link;

	*node = NULL;
	if (!answers->memory)
		return false;
	ref = nodes_find_ref(nodes, parent, name, length, &link);
	if (!ref) {
		if (!absent_good(answers, parent, name, length, now_ns, &until))
			return false;
		*entry = (struct fuse_entry_out){
			.entry_valid = (until - now_ns) / SECOND,
			.entry_valid_nsec = (uint32_t)((until - now_ns) % SECOND),
		};
		return true;
	}
	*node = nodes_at(nodes, link->node);
	record = record_of(answers, *node);
	if (!record || record->ref != ref || (!any && (*node)->nlookup) || (*node)->identity.gone ||
	    !entry_good(answers, record, now_ns))
		return false;
	*entry = (struct fuse_entry_out){
		.nodeid = record->nodeid,
		.entry_valid = (record->entry_until - now_ns) / SECOND,
		.entry_valid_nsec = (uint32_t)((record->entry_until - now_ns) % SECOND),
		.attr_valid = (record->attr_until - now_ns) / SECOND,
		.attr_valid_nsec = (uint32_t)((record->attr_until - now_ns) % SECOND),
		.attr = record->attr,
	};
	return true;
}

bool answers_getattr(const struct answers *answers, const struct node *node, uint64_t now_ns, struct fuse_attr_out *out)
{
	const struct record *record = record_of(answers, node);

	if (!record || node->identity.gone || !attr_good(answers, record, now_ns))
		return false;
	*out = (struct fuse_attr_out){
		.attr_valid = (record->attr_until - now_ns) / SECOND,
		.attr_valid_nsec = (uint32_t)((record->attr_until - now_ns) % SECOND),
		.attr = record->attr,
	};
	return true;
}

/* ---- keeping --------------------------------------------------------------- */

void answers_keep(struct answers *answers, const struct nodes *nodes, struct node *node)
{
	struct record *record = record_of(answers, node), *records;

	if (!record || record->kept || !nodes_current(nodes, node) || !entry_good(answers, record, clock_coarse()))
		return;
	records = answers->memory->records;
	list_add(records, record, records[LIST].before);
	record->kept = true;
	node->kept = 1;
	answers->kept++;
}

void answers_unkeep(struct answers *answers, struct node *node)
{
	struct record *record = record_of(answers, node);

	if (!record || !record->kept)
		return;
	list_remove(answers->memory->records, record);
	record->kept = false;
	node->kept = 0;
	answers->kept--;
}

bool answers_sweep(struct answers *answers, struct nodes *nodes, uint32_t opens)
{
	bool any = false;

	while (answers->kept > 0) {
		const struct record *records = answers->memory->records, *record = &records[records[LIST].after];
		struct node *node = nodes_get(nodes, record->nodeid);

		if (nodes->ids_count + opens <= answers->most && entry_good(answers, record, clock_coarse()))
			return any;
		answers_unkeep(answers, node);
		nodes_settle(nodes, node);
		any = true;
	}
	if (nodes->ids_count + opens > answers->most)
		answers->most = nodes->ids_count + opens;
	return any;
}
