/*
 * Names: which name in which directory leads to which node.  A link is counted by its
 * directory (node->children), and is in a list of its node's; there are three tables of
 * them, as most names are short and a few are not.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "nodes_parts.h"

static const uint32_t link_size[NODES_LINK_TABLES] = {
	64,			    /* names of up to 32 bytes */
	sizeof(struct link) + 256,  /* all that most filesystems allow */
	sizeof(struct link) + 4096, /* and all that the kernel does */
};

void nodes_record_sizes(uint32_t record_size[STATE_TABLES])
{
	record_size[STATE_NODES] = sizeof(struct node);
	for (uint32_t i = 0; i < NODES_LINK_TABLES; i++)
		record_size[STATE_LINKS_SHORT + i] = link_size[i];
}

uint32_t nodes_link_room(uint32_t table)
{
	return link_size[table - STATE_LINKS_SHORT] - (uint32_t)offsetof(struct link, name);
}

/* Of a ref that is not 0. */
static enum state_table ref_table(uint32_t ref)
{
	return (enum state_table)(STATE_LINKS_SHORT + (ref & 3) - 1);
}

static uint32_t ref_index(uint32_t ref)
{
	return ref >> 2;
}

struct link *nodes_link_at(const struct nodes *nodes, uint32_t ref)
{
	return (ref & 3) ? state_get(nodes->state, ref_table(ref), ref_index(ref)) : NULL;
}

struct link *nodes_find(const struct nodes *nodes, const struct node *parent, const char *name, uint32_t length)
{
	return nodes_link_at(nodes, nodes_names_find(nodes, nodes_number(parent), name, length));
}

uint32_t nodes_find_ref(const struct nodes *nodes, const struct node *parent, const char *name, uint32_t length,
			struct link **link)
{
	uint32_t ref = nodes_names_find(nodes, nodes_number(parent), name, length);

	*link = nodes_link_at(nodes, ref);
	return ref;
}

struct node *nodes_child(const struct nodes *nodes, const struct node *parent, const char *name)
{
	const struct link *link = nodes_find(nodes, parent, name, (uint32_t)strlen(name));

	return link ? nodes_at(nodes, link->node) : NULL;
}

struct link *nodes_first_link(const struct nodes *nodes, const struct node *node)
{
	return nodes_link_at(nodes, node->links);
}

struct link *nodes_next_link(const struct nodes *nodes, const struct link *link)
{
	return nodes_link_at(nodes, link->next_of_node);
}

/* ---- in a transaction, second part --------------------------------------- */

static struct link *link_edit(struct nodes *nodes, uint32_t ref)
{
	struct link *link = state_edit(nodes->state, ref_table(ref), ref_index(ref));

	assert(link);
	return link;
}

static void list_add(struct nodes *nodes, uint32_t ref, struct node *node)
{
	struct link *link = link_edit(nodes, ref);

	nodes_edit(nodes, node);
	link->node = nodes_number(node);
	link->next_of_node = node->links;
	node->links = ref;
}

static void list_remove(struct nodes *nodes, uint32_t ref)
{
	const struct link *link = nodes_link_at(nodes, ref);
	struct node *node = nodes_at(nodes, link->node);
	uint32_t before = node->links;

	if (nodes->on_unnamed)
		nodes->on_unnamed(node, ref, nodes->arg);
	if (before == ref) {
		nodes_edit(nodes, node);
		node->links = link->next_of_node;
		return;
	}
	while (nodes_link_at(nodes, before)->next_of_node != ref)
		before = nodes_link_at(nodes, before)->next_of_node;
	link_edit(nodes, before)->next_of_node = link->next_of_node;
}

void nodes_link_remove(struct nodes *nodes, uint32_t ref)
{
	struct node *parent = nodes_at(nodes, nodes_link_at(nodes, ref)->parent);
	int err;

	list_remove(nodes, ref);
	nodes_names_remove(nodes, ref);
	nodes_edit(nodes, parent);
	parent->children--;
	err = state_free(nodes->state, ref_table(ref), ref_index(ref));
	assert(err == 0);
	(void)err;
}

/* Whether the directory is node, or below it.  What leads upwards from a directory is one path. */
static bool is_below(const struct nodes *nodes, const struct node *directory, const struct node *node)
{
	if (directory == node)
		return true;
	if (node->children == 0)
		return false;
	while (directory != node) {
		const struct link *link = nodes_first_link(nodes, directory);

		if (!link)
			return false;
		directory = nodes_at(nodes, link->parent);
	}
	return true;
}

int nodes_naming_make(struct nodes *nodes, struct nodes_naming *naming)
{
	uint32_t table = STATE_LINKS_SHORT, index;
	struct link *link;

	naming->made = naming->left = 0;
	naming->ref = nodes_names_find(nodes, nodes_number(naming->parent), naming->name, naming->length);
	if (naming->ref)
		return 0;
	while (naming->length > nodes_link_room(table))
		if (++table == STATE_LINKS_SHORT + NODES_LINK_TABLES)
			return -ENOMEM;
	link = state_new(nodes->state, (enum state_table)table, &index);
	if (!link)
		return -ENOMEM;
	link->parent = nodes_number(naming->parent);
	link->hash = nodes_name_hash(naming->name, naming->length);
	link->length = naming->length;
	memcpy(link->name, naming->name, naming->length);
	naming->made = nodes_ref(table, index);
	return 0;
}

/* The name that a directory had is not its name any more. */
static void naming_move(struct nodes *nodes, struct nodes_naming *naming, struct node *node)
{
	uint32_t other = node->links;

	if (!other || other == naming->ref)
		return;
	naming->left = nodes_link_at(nodes, other)->parent;
	nodes_link_remove(nodes, other);
}

void nodes_naming_set(struct nodes *nodes, struct nodes_naming *naming, struct node *node)
{
	bool dir = nodes_is_dir(node);

	if (naming->ref && nodes_link_at(nodes, naming->ref)->node == nodes_number(node))
		return;
	if (dir && is_below(nodes, naming->parent, node)) {
		if (naming->ref)
			nodes_link_remove(nodes, naming->ref);
		else
			state_free(nodes->state, ref_table(naming->made), ref_index(naming->made));
		return;
	}
	if (dir)
		naming_move(nodes, naming, node);
	if (naming->ref) {
		list_remove(nodes, naming->ref);
	} else {
		nodes_names_add(nodes, naming->made);
		nodes_edit(nodes, naming->parent);
		naming->parent->children++;
	}
	list_add(nodes, naming->ref ? naming->ref : naming->made, node);
}

void nodes_naming_root(struct nodes *nodes, const struct nodes_naming *naming)
{
	uint32_t ref = nodes_names_find(nodes, nodes_number(naming->parent), naming->name, naming->length);

	if (ref)
		nodes_link_remove(nodes, ref);
}

void nodes_naming_done(struct nodes *nodes, const struct nodes_naming *naming)
{
	if (naming->left != nodes_number(naming->parent))
		nodes_settle_number(nodes, naming->left);
}

/* ---- transactions -------------------------------------------------------- */

int nodes_link(struct nodes *nodes, struct node *parent, const char *name, struct node *node)
{
	struct nodes_naming naming = {.parent = parent, .name = name, .length = (uint32_t)strlen(name)};
	bool root = nodes_is_root(nodes, node);
	int err;

	if (nodes_name_is_dots(name, naming.length) || !nodes_is_dir(parent))
		return 0;
	state_begin(nodes->state);
	err = root ? 0 : nodes_naming_make(nodes, &naming);
	if (err) {
		state_undo(nodes->state); /* the name was not there before either */
		return err;
	}
	if (root)
		nodes_naming_root(nodes, &naming);
	else
		nodes_naming_set(nodes, &naming, node);
	state_commit(nodes->state);
	nodes_naming_done(nodes, &naming);
	return 0;
}

void nodes_unlink(struct nodes *nodes, struct node *parent, const char *name)
{
	uint32_t ref = nodes_names_find(nodes, nodes_number(parent), name, (uint32_t)strlen(name));

	if (!ref)
		return;
	state_begin(nodes->state);
	nodes_link_remove(nodes, ref);
	state_commit(nodes->state);
	nodes_settle(nodes, parent);
}

/* Both names, or the one that is known, are forgotten. */
static void rename_forget(struct nodes *nodes, uint32_t from, uint32_t to)
{
	state_begin(nodes->state);
	if (from)
		nodes_link_remove(nodes, from);
	if (to)
		nodes_link_remove(nodes, to);
	state_commit(nodes->state);
}

/* The name `from` is replaced by another name for its node; what `to` was is forgotten. */
static int rename_move(struct nodes *nodes, uint32_t from, uint32_t to, struct node *parent, const char *name)
{
	struct nodes_naming naming = {.parent = parent, .name = name, .length = (uint32_t)strlen(name)};
	struct node *node = nodes_at(nodes, nodes_link_at(nodes, from)->node);
	int err;

	state_begin(nodes->state);
	err = nodes_naming_make(nodes, &naming);
	if (err) {
		state_undo(nodes->state);
		rename_forget(nodes, from, to);
		return err;
	}
	nodes_link_remove(nodes, from);
	nodes_naming_set(nodes, &naming, node);
	state_commit(nodes->state);
	nodes_naming_done(nodes, &naming);
	return 0;
}

/* Makes two names that are there lead to each other's nodes. */
static void rename_exchange(struct nodes *nodes, uint32_t a, uint32_t b)
{
	struct link *link_a = nodes_link_at(nodes, a), *link_b = nodes_link_at(nodes, b);
	struct node *node_a = nodes_at(nodes, link_a->node), *node_b = nodes_at(nodes, link_b->node);
	bool loop_a = nodes_is_dir(node_a) && is_below(nodes, nodes_at(nodes, link_b->parent), node_a);
	bool loop_b = nodes_is_dir(node_b) && is_below(nodes, nodes_at(nodes, link_a->parent), node_b);

	state_begin(nodes->state);
	if (loop_a || loop_b) { /* the kernel allows neither: what we know of the names is not so */
		nodes_link_remove(nodes, a);
		nodes_link_remove(nodes, b);
	} else {
		list_remove(nodes, a);
		list_remove(nodes, b);
		list_add(nodes, a, node_b);
		list_add(nodes, b, node_a);
	}
	state_commit(nodes->state);
}

int nodes_rename(struct nodes *nodes, struct node *parent, const char *name, struct node *new_parent,
		 const char *new_name, uint32_t flags)
{
	uint32_t from = nodes_names_find(nodes, nodes_number(parent), name, (uint32_t)strlen(name));
	uint32_t to = nodes_names_find(nodes, nodes_number(new_parent), new_name, (uint32_t)strlen(new_name));
	uint64_t new_nodeid = new_parent->nodeid;
	int err = 0;

	/* POSIX: two names of one file stay two names. */
	if (from && to && nodes_link_at(nodes, from)->node == nodes_link_at(nodes, to)->node)
		return 0;
	if (from && to && (flags & RENAME_EXCHANGE))
		rename_exchange(nodes, from, to);
	else if (from)
		err = rename_move(nodes, from, to, new_parent, new_name);
	else if (to && (flags & RENAME_EXCHANGE))
		err = rename_move(nodes, to, 0, parent, name);
	else if (to)
		rename_forget(nodes, to, 0);
	/* A directory may have lost the last name in it. */
	nodes_settle(nodes, parent);
	new_parent = nodes_get(nodes, new_nodeid);
	if (new_parent)
		nodes_settle(nodes, new_parent);
	return err;
}
