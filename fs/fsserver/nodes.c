/*
 * The node table.  All of it works on committed state plus the words of the
 * transaction at hand; tables.h has the rules that let a process die anywhere.
 */
#include "nodes.h"

#include <errno.h>
#include <string.h>

static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

static uint64_t *bucket_of(const struct tables *tables, const struct node_ident *ident)
{
	uint64_t h = mix(ident->ino ^ mix(ident->dev ^ mix(ident->btime)));

	return &tables->buckets[h & (NODE_BUCKETS - 1)];
}

static bool ident_equal(const struct node_ident *a, const struct node_ident *b)
{
	return a->ino == b->ino && a->dev == b->dev && a->btime == b->btime;
}

uint64_t node_id(const struct tables *tables, const struct node *node)
{
	return node->serial << NODE_INDEX_BITS | (uint64_t)(node - tables->nodes);
}

struct node *node_get(const struct tables *tables, uint64_t nodeid)
{
	uint32_t index = node_index(nodeid);
	struct node *node;

	if (index == 0 || index >= tables->header->node_bump || index >= NODES_MAX)
		return NULL;
	node = &tables->nodes[index];
	if (node->serial != nodeid >> NODE_INDEX_BITS || (node->nlookup | node->opens | node->children) == 0)
		return NULL;
	return node;
}

struct node *node_find(const struct tables *tables, const struct node_ident *ident)
{
	uint64_t index;

	for (index = *bucket_of(tables, ident); index != 0; index = tables->nodes[index].hash_next) {
		if (ident_equal(&tables->nodes[index].ident, ident))
			return &tables->nodes[index];
	}
	return NULL;
}

bool node_exists(const struct tables *tables, uint64_t nodeid)
{
	struct node *node = node_get(tables, nodeid);

	/* An allocation that was undone leaves a body that looks alive but is in no bucket. */
	return node && node_find(tables, &node->ident) == node;
}

/* ---- names ------------------------------------------------------------- */

static int name_new(struct txn *txn, struct tables *tables, const char *text, uint64_t *out)
{
	struct tables_header *header = tables->header;
	uint64_t index = header->name_free;
	int err;

	if (strlen(text) > NAME_LENGTH_MAX)
		return -ENAMETOOLONG;
	if (index != 0) {
		err = txn_set(txn, &header->name_free, tables->names[index].free_next);
	} else {
		index = header->name_bump;
		if (index >= NAMES_MAX)
			return -ENOMEM;
		err = txn_set(txn, &header->name_bump, index + 1);
	}
	if (err)
		return err;
	strcpy(tables->names[index].text, text);
	*out = index;
	return 0;
}

static int name_free(struct txn *txn, struct tables *tables, uint64_t index)
{
	tables->names[index].free_next = tables->header->name_free;
	return txn_set(txn, &tables->header->name_free, index);
}

bool node_is_named(const struct tables *tables, const struct node *node, uint64_t parent, const char *name)
{
	return node->name != 0 && node->parent == parent && strcmp(tables->names[node->name].text, name) == 0;
}

static int child_new(struct txn *txn, struct tables *tables, uint64_t parent)
{
	struct node *node = node_get(tables, parent);

	return node ? txn_set(txn, &node->children, node->children + 1) : 0;
}

static int node_reap(struct txn *txn, struct tables *tables, struct node *node);

static int child_gone(struct txn *txn, struct tables *tables, uint64_t parent)
{
	struct node *node = node_get(tables, parent);
	int err = node ? txn_set(txn, &node->children, node->children - 1) : 0;

	return err || !node ? err : node_reap(txn, tables, node);
}

int node_rename(struct txn *txn, struct tables *tables, struct node *node, uint64_t parent, const char *name)
{
	uint64_t old_parent = node->parent, old_name = node->name, new_name;
	int err;

	/* What is freed comes last: see tables.h. */
	err = name_new(txn, tables, name, &new_name);
	if (err == 0)
		err = txn_set(txn, &node->name, new_name);
	if (err == 0 && parent != old_parent) {
		err = child_new(txn, tables, parent);
		if (err == 0)
			err = txn_set(txn, &node->parent, parent);
	}
	if (err == 0)
		err = name_free(txn, tables, old_name);
	if (err == 0 && parent != old_parent)
		err = child_gone(txn, tables, old_parent);
	return err;
}

int node_swap_names(struct txn *txn, struct node *a, struct node *b)
{
	uint64_t parent = a->parent, name = a->name;
	int err;

	err = txn_set(txn, &a->parent, b->parent);
	if (err == 0)
		err = txn_set(txn, &a->name, b->name);
	if (err == 0)
		err = txn_set(txn, &b->parent, parent);
	if (err == 0)
		err = txn_set(txn, &b->name, name);
	return err;
}

/* ---- making and freeing ------------------------------------------------ */

/* A body that is in use by nobody; its serial is the new node's. */
static int node_alloc(struct txn *txn, struct tables *tables, struct node **out)
{
	struct tables_header *header = tables->header;
	uint64_t index = header->node_free;
	struct node *node;
	int err;

	if (index != 0) {
		err = txn_set(txn, &header->node_free, tables->nodes[index].free_next);
	} else {
		index = header->node_bump;
		if (index >= NODES_MAX)
			return -ENOMEM;
		err = txn_set(txn, &header->node_bump, index + 1);
	}
	if (err)
		return err;
	node = &tables->nodes[index];
	if (node->serial >= NODE_SERIAL_MAX)
		return -ENOMEM;
	/* Not undone, ever: a serial that was tried is not tried again. */
	node->serial++;
	*out = node;
	return 0;
}

/* The body, all but what leads to it. */
static void node_fill(struct node *node, const struct node_source *source)
{
	node->ident = source->ident;
	node->nlookup = 1;
	node->opens = 0;
	node->children = 0;
	node->parent = 0;
	node->name = 0;
	node->backing = 0;
	node->mount_id = source->mount_id;
	node->handle_type = source->handle_type;
	node->handle_size = source->handle_size;
	memcpy(node->handle, source->handle, source->handle_size);
}

static int node_new(struct txn *txn, struct tables *tables, const struct node_source *source, struct node **out)
{
	uint64_t *bucket = bucket_of(tables, &source->ident);
	struct node *node;
	int err;

	err = node_alloc(txn, tables, &node);
	if (err)
		return err;
	node_fill(node, source);
	if (source->handle_size == 0) {
		err = name_new(txn, tables, source->name, &node->name);
		if (err == 0)
			err = child_new(txn, tables, source->parent);
		if (err)
			return err;
		node->parent = source->parent;
	}
	node->hash_next = *bucket;
	*out = node;
	return txn_set(txn, bucket, (uint64_t)(node - tables->nodes));
}

void node_init_root(struct tables *tables, const struct node_source *source)
{
	struct node *node = &tables->nodes[NODE_ROOT];
	uint64_t *bucket = bucket_of(tables, &source->ident);

	node_fill(node, source);
	node->serial = 0;
	node->hash_next = 0;
	*bucket = NODE_ROOT;
}

int node_ref(struct txn *txn, struct tables *tables, const struct node_source *source, bool renew, uint64_t *nodeid)
{
	struct node *node = node_find(tables, &source->ident);
	int err;

	if (!node) {
		err = node_new(txn, tables, source, &node);
	} else {
		err = txn_set(txn, &node->nlookup, node->nlookup + 1);
		if (err == 0 && renew && node->name != 0 && !node_is_named(tables, node, source->parent, source->name))
			err = node_rename(txn, tables, node, source->parent, source->name);
	}
	if (err == 0)
		*nodeid = node_id(tables, node);
	return err;
}

/* Takes it out of its bucket and puts it on the free list. */
static int node_free(struct txn *txn, struct tables *tables, struct node *node)
{
	uint64_t index = (uint64_t)(node - tables->nodes);
	uint64_t *link = bucket_of(tables, &node->ident);
	int err;

	while (*link != 0 && *link != index)
		link = &tables->nodes[*link].hash_next;
	err = *link == index ? txn_set(txn, link, node->hash_next) : 0;
	if (err == 0 && node->name != 0)
		err = name_free(txn, tables, node->name);
	if (err)
		return err;
	node->free_next = tables->header->node_free;
	return txn_set(txn, &tables->header->node_free, index);
}

/*
 * Frees the node if nothing refers to it, and then its parent likewise.  Five words
 * each: FREED_MAX of them fit beside what led here.  An ancestor further up stays in
 * the table until its inode is looked up again.
 */
static int node_reap(struct txn *txn, struct tables *tables, struct node *node)
{
	uint64_t parent;
	int err;

	if (node == &tables->nodes[NODE_ROOT] || (node->nlookup | node->opens | node->children) != 0 ||
	    txn->freed_count == FREED_MAX)
		return 0;
	parent = node->name != 0 ? node->parent : 0;
	err = node_free(txn, tables, node);
	if (err)
		return err;
	txn->freed[txn->freed_count++] = node_id(tables, node);
	return parent ? child_gone(txn, tables, parent) : 0;
}

int node_unref(struct txn *txn, struct tables *tables, uint64_t nodeid, uint64_t count)
{
	struct node *node = node_get(tables, nodeid);
	int err;

	if (!node || nodeid == NODE_ROOT)
		return 0;
	err = txn_set(txn, &node->nlookup, node->nlookup > count ? node->nlookup - count : 0);
	return err ? err : node_reap(txn, tables, node);
}

int node_open(struct txn *txn, struct node *node)
{
	return txn_set(txn, &node->opens, node->opens + 1);
}

int node_close(struct txn *txn, struct tables *tables, uint64_t nodeid)
{
	struct node *node = node_get(tables, nodeid);
	int err;

	if (!node || node->opens == 0)
		return 0;
	err = txn_set(txn, &node->opens, node->opens - 1);
	return err ? err : node_reap(txn, tables, node);
}
