/* What the files of nodes.h share: its indexes, and its links inside a transaction. */
#ifndef RELAYD_NODES_PARTS_H
#define RELAYD_NODES_PARTS_H

#include <sys/stat.h>

#include "nodes.h"

/*
 * A transaction has two parts.  In the first, which may fail and be undone, records are
 * made.  In the second nothing can fail: what it changes is far less than the undo log
 * takes.  The indexes, which an undo does not know, are changed in the second.
 */

/* A node or link, to be changed, in the second part. */
void nodes_edit(struct nodes *nodes, struct node *node);

static inline bool nodes_is_root(const struct nodes *nodes, const struct node *node)
{
	return node->nodeid == FUSE_ROOT_ID && nodes_number(node) == nodes->root;
}

static inline bool nodes_is_dir(const struct node *node)
{
	return S_ISDIR(node->identity.mode) || node->nodeid == FUSE_ROOT_ID;
}

static inline bool nodes_name_is_dots(const char *name, uint32_t length)
{
	return (length == 1 || length == 2) && name[0] == '.' && name[length - 1] == '.';
}

/* ---- nodes_index.c ------------------------------------------------------- */

int nodes_index_init(struct nodes *nodes);
void nodes_index_deinit(struct nodes *nodes);

/* No node is of the present incarnation any more. */
void nodes_ids_clear(struct nodes *nodes);
void nodes_ids_add(struct nodes *nodes, struct node *node);
void nodes_ids_remove(struct nodes *nodes, struct node *node);

uint32_t nodes_name_hash(const char *name, uint32_t length);
/* ref: of a link (nodes_link.c); 0: none. */
uint32_t nodes_names_find(const struct nodes *nodes, uint32_t parent, const char *name, uint32_t length);
void nodes_names_add(struct nodes *nodes, uint32_t ref);
void nodes_names_remove(struct nodes *nodes, uint32_t ref);

/* ---- nodes_link.c -------------------------------------------------------- */

/* A link's ref says which of the tables of links it is in, and its number there. */
#define NODES_LINK_TABLES 3u

static inline uint32_t nodes_ref(uint32_t table, uint32_t index)
{
	return index << 2 | (table - STATE_LINKS_SHORT + 1);
}

/* NULL for a ref of no live link. */
struct link *nodes_link_at(const struct nodes *nodes, uint32_t ref);
/* The longest name that the table has room for. */
uint32_t nodes_link_room(uint32_t table);

/* A name that is to be given to a node. */
struct nodes_naming {
	struct node *parent;
	const char *name;
	uint32_t length;
	uint32_t ref;  /* the link of that name that there is; 0: none */
	uint32_t made; /* the new one */
	uint32_t left; /* the directory in which another name was taken away; 0: none */
};

/* First part: finds the name, or makes room for it.  Returns 0 or -ENOMEM. */
int nodes_naming_make(struct nodes *nodes, struct nodes_naming *naming);
/* Second part: the name leads to the node; or nowhere, if it is a directory that parent is below. */
void nodes_naming_set(struct nodes *nodes, struct nodes_naming *naming, struct node *node);
/* Second part: the name leads to the root, which has none. */
void nodes_naming_root(struct nodes *nodes, const struct nodes_naming *naming);
/* After the transaction. */
void nodes_naming_done(struct nodes *nodes, const struct nodes_naming *naming);

/* Second part: takes a link away. */
void nodes_link_remove(struct nodes *nodes, uint32_t ref);

/* ---- nodes.c ------------------------------------------------------------- */

/* As nodes_settle(), by number; 0 is none. */
void nodes_settle_number(struct nodes *nodes, uint32_t number);

/* ---- nodes_check.c ------------------------------------------------------- */

/* Whether what an earlier process has left can be true.  Returns 0 or -EPROTO.  Spoils node->next. */
int nodes_check(struct nodes *nodes);

#endif
