/*
 * What an earlier process has left of nodes and links: every reference leads to what it
 * says, every count is right, no list and no path runs in a circle.  The records
 * themselves were checked by state_open(); here node->next, which is built anew
 * afterwards, serves as a mark.
 */
#include <errno.h>
#include <string.h>

#include "nodes_parts.h"

static bool node_right(const struct nodes *nodes, const struct node *node, uint32_t number)
{
	bool root = number == nodes->root;

	if (root ? node->nodeid != FUSE_ROOT_ID : node->nodeid != ((uint64_t)node->reuse << 32 | number))
		return false;
	if (root &&
	    (node->backend_id != FUSE_ROOT_ID || node->links || (node->identity.mode && !S_ISDIR(node->identity.mode))))
		return false;
	if (!root && (node->identity.mode == 0 || node->nodeid == FUSE_ROOT_ID))
		return false;
	if (node->identity.mode & ~(uint32_t)S_IFMT)
		return false;
	if (node->backend_nlookup && node->backend_id == 0)
		return false;
	return node->incarnation <= nodes_at(nodes, nodes->root)->incarnation;
}

static int nodes_right(struct nodes *nodes)
{
	if (!nodes_at(nodes, nodes->root))
		return -EPROTO;
	for (uint32_t number = 1; number < state_end(nodes->state, STATE_NODES); number++) {
		struct node *node = nodes_at(nodes, number);

		if (!node)
			continue;
		if (!node_right(nodes, node, number))
			return -EPROTO;
		node->next = 0;
	}
	return 0;
}

/* By itself.  Counts it in its directory's mark. */
static bool link_right(struct nodes *nodes, const struct link *link, uint32_t table)
{
	struct node *parent = nodes_at(nodes, link->parent), *node = nodes_at(nodes, link->node);

	if (!parent || !node || !nodes_is_dir(parent) || nodes_is_root(nodes, node))
		return false;
	if (link->length == 0 || link->length > nodes_link_room(table) ||
	    nodes_name_is_dots(link->name, link->length) || memchr(link->name, '/', link->length) ||
	    memchr(link->name, 0, link->length) || link->hash != nodes_name_hash(link->name, link->length))
		return false;
	parent->next++;
	return true;
}

static int links_right(struct nodes *nodes)
{
	for (uint32_t table = STATE_LINKS_SHORT; table < STATE_LINKS_SHORT + NODES_LINK_TABLES; table++) {
		for (uint32_t index = 1; index < state_end(nodes->state, (enum state_table)table); index++) {
			const struct link *link = nodes_link_at(nodes, nodes_ref(table, index));

			if (link && !link_right(nodes, link, table))
				return -EPROTO;
		}
	}
	return 0;
}

/* The lists of all nodes hold all links, each in its own node's. */
static int lists_right(struct nodes *nodes)
{
	uint64_t links = 0, seen = 0;

	for (uint32_t table = STATE_LINKS_SHORT; table < STATE_LINKS_SHORT + NODES_LINK_TABLES; table++)
		links += state_live(nodes->state, (enum state_table)table);
	for (uint32_t number = 1; number < state_end(nodes->state, STATE_NODES); number++) {
		struct node *node = nodes_at(nodes, number);

		if (!node)
			continue;
		if (node->next != node->children)
			return -EPROTO;
		node->next = 0;
		for (uint32_t ref = node->links; ref;) {
			const struct link *link = nodes_link_at(nodes, ref);

			/* More than there are: it runs in a circle. */
			if (!link || link->node != number || ++seen > links)
				return -EPROTO;
			ref = link->next_of_node;
			if (ref && nodes_is_dir(node)) /* a second name */
				return -EPROTO;
		}
	}
	return seen == links ? 0 : -EPROTO;
}

/* No directory is below itself: each path upwards is followed to where one was before. */
static int paths_right(struct nodes *nodes)
{
	for (uint32_t number = 1; number < state_end(nodes->state, STATE_NODES); number++) {
		struct node *node = nodes_at(nodes, number);

		while (node && nodes_is_dir(node) && !node->next) {
			const struct link *link = nodes_first_link(nodes, node);

			node->next = number;
			node = link ? nodes_at(nodes, link->parent) : NULL;
			if (node && node->next == number)
				return -EPROTO;
		}
	}
	return 0;
}

int nodes_check(struct nodes *nodes)
{
	int err = nodes_right(nodes);

	if (!err)
		err = links_right(nodes);
	if (!err)
		err = lists_right(nodes);
	if (!err)
		err = paths_right(nodes);
	return err;
}
