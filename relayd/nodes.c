/*
 * Nodes: what the kernel's nodeids and the present incarnation's ids have to do with each
 * other.  The names are in nodes_link.c, who is who after a restart in identity.c.
 *
 * Each change is one transaction, so a process dying at any point leaves nodes, links and
 * counts that agree.  The removal of a node and of the directories that it was the last
 * to keep is one transaction for each; a process dying between two leaves nodes that
 * nothing keeps, which nodes_init() removes.  What the backend is told of it is lost
 * then: it keeps some objects longer than it has to.
 */
#include "nodes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "log.h"
#include "nodes_parts.h"

struct node *nodes_at(const struct nodes *nodes, uint32_t number)
{
	return state_get(nodes->state, STATE_NODES, number);
}

uint32_t nodes_number(const struct node *node)
{
	return (uint32_t)node->nodeid;
}

struct node *nodes_get(const struct nodes *nodes, uint64_t nodeid)
{
	struct node *node = nodes_at(nodes, (uint32_t)nodeid);

	return node && node->nodeid == nodeid ? node : NULL;
}

void nodes_edit(struct nodes *nodes, struct node *node)
{
	struct node *edited = state_edit(nodes->state, STATE_NODES, nodes_number(node));

	assert(edited == node);
	(void)edited;
}

/* ---- beginning ----------------------------------------------------------- */

static int root_make(struct nodes *nodes)
{
	struct node *root;
	uint32_t number;

	state_begin(nodes->state);
	root = state_new(nodes->state, STATE_NODES, &number);
	if (!root || number != FUSE_ROOT_ID) {
		state_undo(nodes->state);
		return root ? -EPROTO : -ENOMEM;
	}
	root->nodeid = FUSE_ROOT_ID;
	root->backend_id = FUSE_ROOT_ID;
	state_commit(nodes->state);
	return 0;
}

/* What is kept by nothing was left by a process that died before it could remove it. */
static void nodes_sweep(struct nodes *nodes)
{
	for (uint32_t number = 1; number < state_end(nodes->state, STATE_NODES); number++)
		nodes_settle_number(nodes, number);
}

static int nodes_build(struct nodes *nodes)
{
	nodes->incarnation = nodes_at(nodes, nodes->root)->incarnation;
	for (uint32_t number = 1; number < state_end(nodes->state, STATE_NODES); number++) {
		struct node *node = nodes_at(nodes, number);

		if (node)
			node->kept = 0; /* who kept it has died */
		if (!node || !nodes_current(nodes, node))
			continue;
		if (nodes_by_backend(nodes, node->backend_id))
			return -EPROTO;
		nodes_ids_add(nodes, node);
	}
	for (uint32_t table = STATE_LINKS_SHORT; table < STATE_LINKS_SHORT + NODES_LINK_TABLES; table++) {
		for (uint32_t index = 1; index < state_end(nodes->state, (enum state_table)table); index++) {
			const struct link *link = nodes_link_at(nodes, nodes_ref(table, index));

			if (!link)
				continue;
			if (nodes_names_find(nodes, link->parent, link->name, link->length))
				return -EPROTO;
			nodes_names_add(nodes, nodes_ref(table, index));
		}
	}
	nodes_sweep(nodes);
	return 0;
}

int nodes_init(struct nodes *nodes, struct state *state, const char *mount)
{
	int err;

	*nodes = (struct nodes){.state = state, .mount = mount, .root = FUSE_ROOT_ID};
	err = nodes_index_init(nodes);
	if (!err && state_end(state, STATE_NODES) == 1)
		err = root_make(nodes);
	if (!err)
		err = nodes_check(nodes);
	if (!err)
		err = nodes_build(nodes);
	if (err)
		nodes_deinit(nodes);
	return err;
}

void nodes_deinit(struct nodes *nodes)
{
	nodes_index_deinit(nodes);
}

void nodes_incarnation(struct nodes *nodes, uint32_t incarnation)
{
	struct node *root = nodes_at(nodes, nodes->root);

	if (incarnation == nodes->incarnation)
		return;
	nodes_ids_clear(nodes);
	/* Numbers that begin anew were others', long ago. */
	for (uint32_t i = 1; incarnation < nodes->incarnation && i < state_end(nodes->state, STATE_NODES); i++) {
		struct node *node = nodes_at(nodes, i);

		if (node)
			node->incarnation = 0;
	}
	nodes->incarnation = incarnation;
	/* Before any other node has it: nodes_init() takes the root's for the present one. */
	root->incarnation = incarnation;
	nodes_ids_add(nodes, root);
}

/* ---- the end of a node --------------------------------------------------- */

static void backend_forget(struct nodes *nodes, uint64_t backend_id, uint64_t nlookup)
{
	if (nlookup && nodes->on_forget)
		nodes->on_forget(backend_id, nlookup, nodes->arg);
}

static bool node_used(const struct nodes *nodes, const struct node *node)
{
	return node->nlookup || node->opens || node->locks || node->kept || nodes_is_root(nodes, node);
}

/* It has no id any more.  Returns the count that is to be given back. */
static uint64_t node_drop_id(struct nodes *nodes, struct node *node)
{
	uint64_t count = node->backend_nlookup;

	nodes_ids_remove(nodes, node);
	nodes_edit(nodes, node);
	node->backend_id = 0;
	node->backend_nlookup = 0;
	return count;
}

/* Of a node with one name at most.  Returns the number of the directory that had it, or 0. */
static uint32_t node_free(struct nodes *nodes, struct node *node)
{
	const struct link *link = nodes_first_link(nodes, node);
	uint32_t parent = link ? link->parent : 0;
	uint64_t id = node->backend_id, count = 0;
	int err;

	state_begin(nodes->state);
	if (link)
		nodes_link_remove(nodes, node->links);
	if (nodes_current(nodes, node))
		count = node_drop_id(nodes, node);
	err = state_free(nodes->state, STATE_NODES, nodes_number(node));
	assert(err == 0);
	(void)err;
	state_commit(nodes->state);
	backend_forget(nodes, id, count);
	return parent;
}

/* A directory, or a file with one name; then what that leaves without anything to keep it, upwards. */
void nodes_settle_number(struct nodes *nodes, uint32_t number)
{
	struct node *node = number ? nodes_at(nodes, number) : NULL;

	while (node && !node_used(nodes, node)) {
		if (node->children) {
			if (nodes_current(nodes, node)) {
				uint64_t id = node->backend_id, count;

				state_begin(nodes->state);
				count = node_drop_id(nodes, node);
				state_commit(nodes->state);
				backend_forget(nodes, id, count);
			}
			break;
		}
		/* Files may have any number of names: one transaction for each. */
		while (nodes_first_link(nodes, node) && nodes_first_link(nodes, node)->next_of_node) {
			uint32_t parent = nodes_first_link(nodes, node)->parent;

			state_begin(nodes->state);
			nodes_link_remove(nodes, node->links);
			state_commit(nodes->state);
			/* One level deep: directories have one name. */
			nodes_settle_number(nodes, parent);
		}
		number = node_free(nodes, node);
		node = number ? nodes_at(nodes, number) : NULL;
	}
}

void nodes_settle(struct nodes *nodes, struct node *node)
{
	nodes_settle_number(nodes, nodes_number(node));
}

void nodes_count(struct node *node)
{
	node->nlookup++;
}

void nodes_forget(struct nodes *nodes, uint64_t nodeid, uint64_t nlookup)
{
	struct node *node = nodes_get(nodes, nodeid);

	if (!node || nodes_is_root(nodes, node))
		return;
	node->nlookup -= nlookup < node->nlookup ? nlookup : node->nlookup;
	nodes_settle(nodes, node);
}

/* ---- attributes ---------------------------------------------------------- */

/* What numbers say of all numbers, before they are learnt. */
static void evidence_take(struct nodes *nodes, const struct node *node, const struct fuse_attr *attr, bool made_up)
{
	const struct node *root = nodes_at(nodes, nodes->root);

	if (node != root) {
		if (nodes_current(nodes, node))
			identity_witness(&node->identity, attr, made_up, &nodes->evidence);
		return;
	}
	if (!S_ISDIR(attr->mode))
		return;
	if (nodes->root_seen && (nodes->root_seen != nodes->incarnation || attr->ino != root->identity.ino))
		identity_root(&root->identity, attr, made_up, &nodes->evidence);
	nodes->root_seen = nodes->incarnation;
}

/* For ever what it was at first. */
static void show_ino(const struct nodes *nodes, struct node *node, const struct fuse_attr *attr, bool made_up)
{
	if (node->shown_ino)
		return;
	node->shown_ino = attr->ino && (!made_up || nodes_is_root(nodes, node)) ? attr->ino : node->nodeid;
}

void nodes_attr(struct nodes *nodes, struct node *node, struct fuse_attr *attr, uint32_t changes)
{
	bool made_up = attr->ino == node->backend_id, root = nodes_is_root(nodes, node);
	struct identity identity = node->identity;

	evidence_take(nodes, node, attr, made_up);
	if (!root || S_ISDIR(attr->mode))
		identity_learn(&identity, attr, made_up, node->writers == 0);
	if (changes != node->changes || node->unsettled)
		identity_disturb(&identity); /* they may be from before that */
	if (!node->shown_ino || memcmp(&identity, &node->identity, sizeof(identity)) != 0) {
		state_begin(nodes->state);
		nodes_edit(nodes, node);
		node->identity = identity;
		show_ino(nodes, node, attr, made_up);
		state_commit(nodes->state);
	}
	attr->ino = node->shown_ino;
}

void nodes_disturb(struct node *node)
{
	identity_disturb(&node->identity);
	node->changes++;
}

/* ---- entries ------------------------------------------------------------- */

/* Its id is another file's now.  There is nothing to give back: the backend has forgotten it. */
static void node_gone(struct nodes *nodes, struct node *node)
{
	log_debug("%s: the backend's id %llu of node %llu is another file's", nodes->mount,
		  (unsigned long long)node->backend_id, (unsigned long long)node->nodeid);
	state_begin(nodes->state);
	node_drop_id(nodes, node);
	node->identity.gone = 1;
	state_commit(nodes->state);
}

/* The node that has the entry's id. */
static struct node *entry_known(struct nodes *nodes, const struct fuse_entry_out *entry)
{
	struct node *node = nodes_by_backend(nodes, entry->nodeid);

	if (!node || nodes_is_root(nodes, node))
		return node;
	if (node->backend_generation == entry->generation && node->identity.mode == (entry->attr.mode & S_IFMT))
		return node;
	node_gone(nodes, node);
	return NULL;
}

/* Whether a node that has no id is the entry's file. */
static bool entry_is(struct nodes *nodes, const struct node *node, const struct fuse_entry_out *entry)
{
	struct identity_evidence *evidence = &nodes->evidence;
	uint32_t kept = evidence->kept;
	bool same;

	if (nodes_current(nodes, node))
		return false;
	same = identity_found(&node->identity, &entry->attr, entry->attr.ino == entry->nodeid, evidence) ==
	       IDENTITY_SAME;
	/* Given back and found again within one life: that the number is the same says nothing of the next. */
	if (node->incarnation == nodes->incarnation)
		evidence->kept = kept;
	return same;
}

/* Which node it is: *out, NULL if it is a new one.  Returns 0, or -ESTALE if it is not `expect`. */
static int entry_find(struct nodes *nodes, const struct nodes_naming *naming, const struct fuse_entry_out *entry,
		      struct node *expect, struct node **out)
{
	struct node *known = entry_known(nodes, entry);
	const struct link *link;

	if (expect) {
		*out = expect;
		return known == expect || (!known && entry_is(nodes, expect, entry)) ? 0 : -ESTALE;
	}
	*out = known;
	if (known)
		return 0;
	link = naming->name ? nodes_find(nodes, naming->parent, naming->name, naming->length) : NULL;
	if (link && entry_is(nodes, nodes_at(nodes, link->node), entry))
		*out = nodes_at(nodes, link->node);
	return 0;
}

/* The rest cannot fail. */
static void entry_note(struct nodes *nodes, struct node *node, const struct fuse_entry_out *entry, bool counted)
{
	bool made_up = entry->attr.ino == entry->nodeid, at_rest = node->writers == 0;

	nodes_edit(nodes, node);
	evidence_take(nodes, node, &entry->attr, made_up);
	if (nodes_current(nodes, node)) {
		identity_learn_late(&node->identity, &entry->attr, made_up, at_rest);
	} else {
		node->backend_id = entry->nodeid;
		node->backend_generation = entry->generation;
		node->backend_nlookup = 0;
		node->incarnation = nodes->incarnation;
		nodes_ids_add(nodes, node);
		identity_learn(&node->identity, &entry->attr, made_up, at_rest);
	}
	node->backend_nlookup += counted;
	show_ino(nodes, node, &entry->attr, made_up);
}

/* Makes the node, if there is none, and its name; or nothing at all. */
static int entry_take(struct nodes *nodes, struct nodes_naming *naming, const struct fuse_entry_out *entry,
		      bool counted, struct node **inout)
{
	bool named = naming->name && !nodes_name_is_dots(naming->name, naming->length) && entry->nodeid != FUSE_ROOT_ID;
	struct node *node = *inout;
	uint32_t number;

	state_begin(nodes->state);
	if (!node) {
		node = state_new(nodes->state, STATE_NODES, &number);
		if (!node)
			goto undo;
		node->reuse = (uint32_t)state_births(nodes->state, STATE_NODES);
		node->nodeid = (uint64_t)node->reuse << 32 | number;
	}
	if (named && nodes_naming_make(nodes, naming) < 0)
		goto undo;
	entry_note(nodes, node, entry, counted);
	if (named)
		nodes_naming_set(nodes, naming, node);
	else if (nodes_is_root(nodes, node))
		nodes_naming_root(nodes, naming);
	state_commit(nodes->state);
	nodes_naming_done(nodes, naming);
	*inout = node;
	return 0;
undo:
	state_undo(nodes->state);
	return -ENOMEM;
}

static bool entry_typed(const struct fuse_entry_out *entry)
{
	uint32_t type = entry->attr.mode & S_IFMT;

	return S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type) || S_ISCHR(type) || S_ISBLK(type) || S_ISFIFO(type) ||
	       S_ISSOCK(type);
}

int nodes_entry(struct nodes *nodes, struct node *parent, const char *name, struct fuse_entry_out *entry,
		struct node *expect, struct node **out)
{
	struct nodes_naming naming = {.parent = parent, .name = name, .length = name ? (uint32_t)strlen(name) : 0};
	uint64_t id = entry->nodeid;
	bool counted = id != FUSE_ROOT_ID && !nodes_name_is_dots(name, naming.length);
	struct node *node = NULL;
	int err = 0;

	if (id == 0)
		return -EPROTO;
	if (!entry_typed(entry) || !nodes_is_dir(parent) || (id == FUSE_ROOT_ID && !S_ISDIR(entry->attr.mode)))
		err = -EPROTO;
	if (!err)
		err = entry_find(nodes, &naming, entry, expect, &node);
	if (!err)
		err = entry_take(nodes, &naming, entry, counted, &node);
	if (err) {
		backend_forget(nodes, id, counted);
		return err;
	}
	entry->nodeid = node->nodeid;
	entry->generation = 0;
	entry->attr.ino = node->shown_ino;
	*out = node;
	return 0;
}
