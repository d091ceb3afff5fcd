/*
 * The indexes: chains through the records, whose heads are in the heap.  They are built
 * anew by the process that opens a state.  An array of heads that cannot grow makes
 * chains longer, and that is all.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nodes_parts.h"

#define HEADS_MIN 256u
#define HEADS_MAX (1u << 26)

/* Ids are pointers, or count from 1, or are inode numbers: each bit has to count. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

int nodes_index_init(struct nodes *nodes)
{
	nodes->by_id = calloc(HEADS_MIN, sizeof(*nodes->by_id));
	nodes->by_name = calloc(HEADS_MIN, sizeof(*nodes->by_name));
	nodes->ids_size = nodes->names_size = HEADS_MIN;
	return nodes->by_id && nodes->by_name ? 0 : -ENOMEM;
}

void nodes_index_deinit(struct nodes *nodes)
{
	free(nodes->by_id);
	free(nodes->by_name);
	nodes->by_id = nodes->by_name = NULL;
}

/* ---- nodes by the backend's id ------------------------------------------- */

static uint32_t id_head(const struct nodes *nodes, uint64_t id)
{
	return (uint32_t)mix(id) & (nodes->ids_size - 1);
}

void nodes_ids_clear(struct nodes *nodes)
{
	memset(nodes->by_id, 0, nodes->ids_size * sizeof(*nodes->by_id));
	nodes->ids_count = 0;
}

static void ids_grow(struct nodes *nodes)
{
	uint32_t *old = nodes->by_id, old_size = nodes->ids_size;
	uint32_t *heads = old_size < HEADS_MAX ? calloc(2 * (size_t)old_size, sizeof(*heads)) : NULL;

	if (!heads)
		return;
	nodes->by_id = heads;
	nodes->ids_size = 2 * old_size;
	for (uint32_t i = 0; i < old_size; i++) {
		for (uint32_t number = old[i]; number;) {
			struct node *node = nodes_at(nodes, number);
			uint32_t next = node->next, *head = &heads[id_head(nodes, node->backend_id)];

			node->next = *head;
			*head = number;
			number = next;
		}
	}
	free(old);
}

void nodes_ids_add(struct nodes *nodes, struct node *node)
{
	uint32_t *head;

	if (nodes->ids_count >= nodes->ids_size)
		ids_grow(nodes);
	head = &nodes->by_id[id_head(nodes, node->backend_id)];
	node->next = *head;
	*head = nodes_number(node);
	nodes->ids_count++;
}

void nodes_ids_remove(struct nodes *nodes, struct node *node)
{
	uint32_t number = nodes_number(node), *at = &nodes->by_id[id_head(nodes, node->backend_id)];

	while (*at != number) {
		assert(*at);
		at = &nodes_at(nodes, *at)->next;
	}
	*at = node->next;
	node->next = 0;
	nodes->ids_count--;
}

struct node *nodes_by_backend(const struct nodes *nodes, uint64_t backend_id)
{
	uint32_t number = nodes->by_id[id_head(nodes, backend_id)];

	while (number) {
		struct node *node = nodes_at(nodes, number);

		if (node->backend_id == backend_id)
			return node;
		number = node->next;
	}
	return NULL;
}

/* ---- links by name ------------------------------------------------------- */

/* FNV-1a, folded. */
uint32_t nodes_name_hash(const char *name, uint32_t length)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (uint32_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3ULL;
	return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t name_head(const struct nodes *nodes, uint32_t parent, uint32_t hash)
{
	return (uint32_t)mix((uint64_t)parent << 32 | hash) & (nodes->names_size - 1);
}

static void names_grow(struct nodes *nodes)
{
	uint32_t *old = nodes->by_name, old_size = nodes->names_size;
	uint32_t *heads = old_size < HEADS_MAX ? calloc(2 * (size_t)old_size, sizeof(*heads)) : NULL;

	if (!heads)
		return;
	nodes->by_name = heads;
	nodes->names_size = 2 * old_size;
	for (uint32_t i = 0; i < old_size; i++) {
		for (uint32_t ref = old[i]; ref;) {
			struct link *link = nodes_link_at(nodes, ref);
			uint32_t next = link->next, *head = &heads[name_head(nodes, link->parent, link->hash)];

			link->next = *head;
			*head = ref;
			ref = next;
		}
	}
	free(old);
}

void nodes_names_add(struct nodes *nodes, uint32_t ref)
{
	struct link *link = nodes_link_at(nodes, ref);
	uint32_t *head;

	if (nodes->names_count >= nodes->names_size)
		names_grow(nodes);
	head = &nodes->by_name[name_head(nodes, link->parent, link->hash)];
	link->next = *head;
	*head = ref;
	nodes->names_count++;
}

void nodes_names_remove(struct nodes *nodes, uint32_t ref)
{
	struct link *link = nodes_link_at(nodes, ref);
	uint32_t *at = &nodes->by_name[name_head(nodes, link->parent, link->hash)];

	while (*at != ref) {
		assert(*at);
		at = &nodes_link_at(nodes, *at)->next;
	}
	*at = link->next;
	link->next = 0;
	nodes->names_count--;
}

uint32_t nodes_names_find(const struct nodes *nodes, uint32_t parent, const char *name, uint32_t length)
{
	uint32_t hash = nodes_name_hash(name, length);
	uint32_t ref = nodes->by_name[name_head(nodes, parent, hash)];

	while (ref) {
		const struct link *link = nodes_link_at(nodes, ref);

		if (link->parent == parent && link->hash == hash && link->length == length &&
		    memcmp(link->name, name, length) == 0)
			break;
		ref = link->next;
	}
	return ref;
}
