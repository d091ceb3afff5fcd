/*
 * Of which nodes something is written down.  A directory that is complete must be known as
 * such when a name is made in it; so who is put out of the table is taken back first.
 *
 * A process dying with its table leaves what is written down, which the next finds by
 * `inherited`: of a node that it does not have it takes back all there may be, once, when it
 * is first changed.
 */
#include "absence_parts.h"

#include <string.h>

static struct absence_node *node_set(struct absence *absence, uint64_t nodeid)
{
	return absence->nodes[(nodeid * 0x9e3779b97f4a7c15ull) >> 52 & (ABSENCE_SETS - 1)];
}

struct absence_node *absence_node_find(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *set = node_set(absence, nodeid);

	for (unsigned i = 0; i < ABSENCE_PLACES; i++)
		if (set[i].nodeid == nodeid)
			return &set[i];
	return NULL;
}

static int written_drop(struct absence *absence, uint64_t nodeid, uint32_t flags)
{
	int err = 0;

	if (flags & ABSENCE_ATTRIBUTES)
		err = absence->ops->node_drop(absence->store, nodeid);
	else if (flags & ABSENCE_WRITTEN)
		err = absence->ops->dir_drop(absence->store, nodeid);
	absence->litter = absence->litter || flags & ABSENCE_COMPLETE;
	return err ? absence_broken(absence, err) : 0;
}

/* A place for it: an empty one, or that of one that has nothing written down, or somebody's. */
static int place_take(struct absence *absence, uint64_t nodeid, struct absence_node **node)
{
	struct absence_node *set = node_set(absence, nodeid), *place = NULL;
	int err;

	for (unsigned i = 0; i < ABSENCE_PLACES && !place; i++)
		if (set[i].nodeid == 0)
			place = &set[i];
	/* With `inherited` one that is here has been taken back, which is worth keeping. */
	for (unsigned i = 0; i < ABSENCE_PLACES && !place && !absence->inherited; i++)
		if (!(set[i].flags & ABSENCE_WRITTEN))
			place = &set[i];
	if (!place)
		place = &set[absence->victim++ % ABSENCE_PLACES];
	err = place->nodeid ? written_drop(absence, place->nodeid, place->flags) : 0;
	if (!err)
		*place = (struct absence_node){.nodeid = nodeid};
	*node = place;
	return err;
}

static int node_adopt(struct absence *absence, uint64_t nodeid, struct absence_node **node)
{
	int err = written_drop(absence, nodeid, ABSENCE_WRITTEN);

	return err ? err : place_take(absence, nodeid, node);
}

int absence_node_look(struct absence *absence, uint64_t nodeid, struct absence_node **node)
{
	*node = absence_node_find(absence, nodeid);
	return *node || !absence->inherited ? 0 : node_adopt(absence, nodeid, node);
}

struct absence_node *absence_node_take(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *node;

	if (nodeid == 0 || absence->broken || absence_node_look(absence, nodeid, &node))
		return NULL;
	if (!node && place_take(absence, nodeid, &node))
		return NULL;
	return node;
}

int absence_node_drop(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *node = absence_node_find(absence, nodeid);
	uint32_t flags = node ? node->flags : absence->inherited ? ABSENCE_WRITTEN : 0;
	int err = written_drop(absence, nodeid, flags);

	if (node && !err)
		*node = (struct absence_node){.nodeid = absence->inherited ? nodeid : 0};
	return err;
}

void absence_node_forget(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *node = absence_node_find(absence, nodeid);

	if (node && !written_drop(absence, nodeid, node->flags))
		node->flags = 0;
	else if (absence->inherited)
		absence->ops->dir_drop(absence->store, nodeid);
	if (node && !absence->inherited && !node->flags)
		node->nodeid = 0;
}

int absence_node_drop_xattrs(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *node;
	int err = absence_node_look(absence, nodeid, &node);

	for (unsigned i = 0; node && !err && i < ABSENCE_XATTRS; i++) {
		if (!(node->flags & 1u << i))
			continue;
		err = absence->ops->xattr_drop(absence->store, nodeid, i);
		if (!err)
			node->flags &= ~(1u << i);
	}
	return err ? absence_broken(absence, err) : 0;
}

int absence_node_incomplete(struct absence *absence, uint64_t nodeid)
{
	struct absence_node *node;
	int err = absence_node_look(absence, nodeid, &node);

	if (err || !node || !(node->flags & ABSENCE_COMPLETE))
		return err;
	err = absence->ops->dir_drop(absence->store, nodeid);
	if (err)
		return absence_broken(absence, err);
	node->flags &= ~ABSENCE_COMPLETE;
	absence->litter = true;
	return 0;
}

void absence_nodes_clear(struct absence *absence)
{
	memset(absence->nodes, 0, sizeof(absence->nodes));
}
