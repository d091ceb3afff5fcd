/*
 * Nodes of earlier incarnations, found again by the names under which they were seen.
 *
 * A node is looked up in its directory, which is looked up in its own before, up to one
 * that the present incarnation has given an id for (the root always is one).  What is
 * found must be the same file (identity.h); if it is not, another name of the node is
 * tried.  What the tables know is changed with each node that is found, so a death in
 * the midst of a path leaves directories that are found again already or have to be
 * found again by the next incarnation: nothing else.
 *
 * The lookups are relayd's own, not those of whoever's request it is: that may be made
 * through a file that was opened before a directory on its path was closed to its user,
 * and no permission that the kernel has once seen granted is to be asked for again.
 */
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "restore_parts.h"

/* A path has no more directories, and a search takes no more steps: else the tables lead in a circle. */
#define WALK_DEPTH 16384u
#define WALK_STEPS (1u << 20)

/* A node on the path: above it in the list is what has to be found before it. */
struct step {
	uint64_t nodeid;
	uint32_t tried; /* names of it that lead to something else */
};

struct walk {
	struct step *steps;
	uint32_t depth;
	uint32_t room;
	/* What is to be looked up now. */
	uint64_t parent;    /* nodeids */
	uint64_t parent_id; /* the backend's */
	uint32_t length;
	char name[PATH_MAX]; /* the longest that the kernel takes, and its end */
};

enum choice {
	CHOICE_LOOKUP, /* walk->name */
	CHOICE_PARENT, /* it has to be found first: walk->parent */
	CHOICE_FOUND,
	CHOICE_NONE, /* there is no name left, or no node */
};

void restore_init(struct restore *restore, struct translate *translate)
{
	memset(restore, 0, sizeof(*restore));
	restore->translate = translate;
	namegate_init(&restore->names);
	pthread_cond_init(&restore->done, NULL);
}

void restore_deinit(struct restore *restore)
{
	restore_doubts_clear(restore);
	pthread_cond_destroy(&restore->done);
	namegate_deinit(&restore->names);
}

void restore_caller(struct fuse_in_header *self)
{
	memset(self, 0, sizeof(*self));
	self->uid = geteuid();
	self->gid = getegid();
	self->pid = (uint32_t)getpid();
}

int restore_lock(struct restore *restore, const struct ask *ask)
{
	pthread_mutex_lock(&restore->translate->lock);
	if (restore->translate->nodes.incarnation == ask->incarnation)
		return 0;
	pthread_mutex_unlock(&restore->translate->lock);
	return -EPIPE;
}

void restore_unlock(struct restore *restore)
{
	pthread_mutex_unlock(&restore->translate->lock);
}

static bool claimed(const struct restore *restore, uint64_t nodeid)
{
	for (unsigned i = 0; i < ASK_MAX; i++)
		if (restore->busy[i] == nodeid)
			return true;
	return false;
}

int restore_claim(struct restore *restore, struct ask *ask, uint64_t nodeid)
{
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	while (claimed(restore, nodeid))
		pthread_cond_wait(&restore->done, &restore->translate->lock);
	restore->busy[ask->number] = nodeid;
	restore_unlock(restore);
	return 0;
}

void restore_unclaim(struct restore *restore, struct ask *ask)
{
	pthread_mutex_lock(&restore->translate->lock);
	restore->busy[ask->number] = 0;
	pthread_cond_broadcast(&restore->done);
	pthread_mutex_unlock(&restore->translate->lock);
}

int restore_lookup(struct ask *ask, uint64_t parent, const char *name, struct fuse_entry_out *entry)
{
	struct fuse_in_header self;
	int err;

	restore_caller(&self);
	err = ask_lookup(ask, parent, name, &self, entry);
	/* "Not there", with a time for which that may be believed. */
	return !err && entry->nodeid == 0 ? ENOENT : err;
}

/* ---- the walk ------------------------------------------------------------ */

static int walk_push(struct walk *walk, uint64_t nodeid)
{
	struct step *steps = walk->steps;

	if (walk->depth == walk->room) {
		uint32_t room = walk->room ? walk->room * 2 : 16;

		steps = reallocarray(walk->steps, room, sizeof(*steps));
		if (!steps)
			return -ENOMEM;
		walk->steps = steps;
		walk->room = room;
	}
	steps[walk->depth++] = (struct step){.nodeid = nodeid};
	return 0;
}

static struct step *walk_top(struct walk *walk)
{
	return &walk->steps[walk->depth - 1];
}

static bool walk_has(const struct walk *walk, uint64_t nodeid)
{
	for (uint32_t i = 0; i < walk->depth; i++)
		if (walk->steps[i].nodeid == nodeid)
			return true;
	return false;
}

/* The top of the walk is found, or is not to be found: then what waits for it tries another name. */
static void walk_pop(struct walk *walk, bool found)
{
	walk->depth--;
	if (walk->depth > 0 && !found)
		walk_top(walk)->tried++;
}

/* What comes next for the top of the walk.  Returns an enum choice, or -EAGAIN.  With the lock held. */
static int walk_choose(const struct restore *restore, struct walk *walk)
{
	const struct nodes *nodes = &restore->translate->nodes;
	struct step *step = walk_top(walk);
	const struct node *node = nodes_get(nodes, step->nodeid);
	const struct link *link;
	const struct node *parent;

	if (!node)
		return CHOICE_NONE;
	if (nodes_current(nodes, node))
		return CHOICE_FOUND;
	for (;; step->tried++) {
		link = nodes_first_link(nodes, node);
		for (uint32_t i = 0; i < step->tried && link; i++)
			link = nodes_next_link(nodes, link);
		if (!link)
			return CHOICE_NONE;
		parent = nodes_at(nodes, link->parent);
		if (link->length < sizeof(walk->name) && walk->depth < WALK_DEPTH && !walk_has(walk, parent->nodeid))
			break;
	}
	walk->parent = parent->nodeid;
	if (!nodes_current(nodes, parent))
		return CHOICE_PARENT;
	memcpy(walk->name, link->name, link->length);
	walk->name[link->length] = '\0';
	walk->length = link->length;
	walk->parent_id = parent->backend_id;
	if (!restore_numbers_tell(nodes, node) && restore_doubtful(restore, walk->parent, walk->name, walk->length))
		return -EAGAIN;
	return CHOICE_LOOKUP;
}

/*
 * Notes what was found under the name; ENOENT or 0 in found.  Returns 0 (the walk knows what
 * comes next), a positive errno or a negative one; *back: the count is to be given back.
 */
static int walk_note(struct restore *restore, struct walk *walk, int found, struct fuse_entry_out *entry, bool *back)
{
	struct nodes *nodes = &restore->translate->nodes;
	struct node *node = nodes_get(nodes, walk_top(walk)->nodeid);
	struct node *parent = nodes_get(nodes, walk->parent);
	bool doubtful = restore_doubtful(restore, walk->parent, walk->name, walk->length);
	const struct link *link = parent ? nodes_find(nodes, parent, walk->name, walk->length) : NULL;
	struct node *out;
	int err;

	*back = found == 0;
	/* Forgotten, or renamed, by a reply that came meanwhile: look again. */
	if (!node || !link || nodes_at(nodes, link->node) != node || nodes_current(nodes, node) ||
	    !nodes_current(nodes, parent))
		return 0;
	if (found == ENOENT) {
		if (doubtful)
			return -EAGAIN;
		nodes_unlink(nodes, parent, walk->name);
		return 0;
	}
	/* It gives the count back itself where it does not take it. */
	*back = false;
	err = nodes_entry(nodes, parent, walk->name, entry, node, &out);
	if (err != -ESTALE)
		return err == -EPROTO ? EIO : err;
	if (doubtful)
		return -EAGAIN;
	/* The name stays: whether it is the same file may be seen otherwise when more is known of the backend. */
	walk_top(walk)->tried++;
	return 0;
}

/* Looks the chosen name up and notes what came of it, while no name is changing. */
static int walk_lookup(struct restore *restore, struct ask *ask, struct walk *walk)
{
	struct fuse_entry_out entry;
	bool back = false;
	int choice, found, err;

	if (!namegate_walk_begin(&restore->names))
		return -EPIPE;
	err = restore_lock(restore, ask);
	if (err)
		goto out;
	/* Again: the name may have been another until the gate was passed. */
	choice = walk_choose(restore, walk);
	restore_unlock(restore);
	if (choice != CHOICE_LOOKUP) {
		err = choice < 0 ? choice : 0;
		goto out;
	}
	/* A death here leaves a count with the backend, which dies with it. */
	found = restore_lookup(ask, walk->parent_id, walk->name, &entry);
	if (found && found != ENOENT) {
		err = found;
		goto out;
	}
	err = restore_lock(restore, ask);
	if (err)
		goto out;
	err = walk_note(restore, walk, found, &entry, &back);
	restore_unlock(restore);
	if (back && err != -EPIPE) {
		int sent = ask_forget(ask, entry.nodeid, 1);

		err = err ? err : sent;
	}
out:
	namegate_walk_end(&restore->names);
	return err;
}

/* One step.  Returns 0, or what restore_node() is to return. */
static int walk_step(struct restore *restore, struct ask *ask, struct walk *walk)
{
	int err = restore_lock(restore, ask);
	int choice;

	if (err)
		return err;
	choice = walk_choose(restore, walk);
	restore_unlock(restore);
	switch (choice) {
	case CHOICE_FOUND:
		walk_pop(walk, true);
		return 0;
	case CHOICE_NONE:
		walk_pop(walk, false);
		return walk->depth ? 0 : ESTALE;
	case CHOICE_PARENT:
		return walk_push(walk, walk->parent);
	case CHOICE_LOOKUP:
		err = restore_claim(restore, ask, walk_top(walk)->nodeid);
		if (err)
			return err;
		err = walk_lookup(restore, ask, walk);
		restore_unclaim(restore, ask);
		return err;
	default:
		return choice;
	}
}

int restore_node(struct restore *restore, struct ask *ask, uint64_t nodeid)
{
	struct nodes *nodes = &restore->translate->nodes;
	const struct node *node;
	struct walk *walk;
	bool current, look;
	int err;

	err = restore_lock(restore, ask);
	if (err)
		return err;
	node = nodes_get(nodes, nodeid);
	current = node && nodes_current(nodes, node);
	look = restore_root_tells(restore, ask);
	restore_unlock(restore);
	if (!node)
		return ESTALE;
	if (current)
		return 0;
	err = look ? restore_root_look(restore, ask) : 0;
	if (err)
		return err;
	walk = calloc(1, sizeof(*walk));
	if (!walk)
		return -ENOMEM;
	err = walk_push(walk, nodeid);
	for (uint32_t steps = 0; !err && walk->depth; steps++)
		err = steps < WALK_STEPS ? walk_step(restore, ask, walk) : ESTALE;
	free(walk->steps);
	free(walk);
	return err;
}

uint64_t restore_backend_id(struct restore *restore, uint64_t nodeid)
{
	const struct node *node;
	uint64_t id = 0;

	pthread_mutex_lock(&restore->translate->lock);
	node = nodes_get(&restore->translate->nodes, nodeid);
	if (node && nodes_current(&restore->translate->nodes, node))
		id = node->backend_id;
	pthread_mutex_unlock(&restore->translate->lock);
	return id;
}

/* ---- what a request needs ------------------------------------------------ */

/* The nodes and open files that the fixed part names. */
static int restore_ids(struct restore *restore, struct ask *ask, const struct relay_op *op, const uint8_t *in)
{
	const struct relay_id *id;
	uint32_t bits;
	uint64_t value;
	int err = 0;

	for (unsigned i = 0; i < RELAY_IDS_MAX && !err; i++) {
		id = &op->ids[i];
		if (id->kind == RELAY_ID_NONE)
			break;
		memcpy(&bits, in, sizeof(bits));
		if (id->kind == RELAY_ID_OFLAGS || (id->bit && !(bits & id->bit)))
			continue;
		memcpy(&value, in + id->at, sizeof(value));
		if (id->kind == RELAY_ID_NODE)
			err = restore_node(restore, ask, value);
		else if (value != 0) /* 0: the backend's OPEN is ENOSYS, and no file has a handle */
			err = restore_handle(restore, ask, value);
	}
	return err;
}

/*
 * The node that loses a name by the request (UNLINK, RMDIR, RENAME), if it has open
 * files: once it has lost its last name they could not be opened again.  With the lock held.
 */
static const struct node *loser_of(const struct restore *restore, const void *request, uint32_t size)
{
	const struct nodes *nodes = &restore->translate->nodes;
	const struct fuse_in_header *header = request;
	uint64_t parent = header->nodeid;
	struct relay_args args;
	const struct node *node;

	if (relay_args_parse(request, size, 0, &args) < 0)
		return NULL;
	/* The new directory is what the fixed part of both kinds of RENAME begins with. */
	if (args.name2)
		memcpy(&parent, args.in, sizeof(parent));
	node = nodes_get(nodes, parent);
	node = node ? nodes_child(nodes, node, args.name2 ? args.name2 : args.name) : NULL;
	return node && node->opens ? node : NULL;
}

static int restore_loser(struct restore *restore, struct ask *ask, const void *request, uint32_t size)
{
	const struct node *loser;
	uint64_t nodeid;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	loser = loser_of(restore, request, size);
	nodeid = loser ? loser->nodeid : 0;
	restore_unlock(restore);
	return nodeid ? restore_opens(restore, ask, nodeid) : 0;
}

static bool loses(const struct restore *restore, const void *request, uint32_t size)
{
	const struct node *node = loser_of(restore, request, size);

	return node && restore_open_stale(restore, node, NULL, 0) > 0;
}

bool restore_first(struct restore *restore, const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);
	bool first;

	if (!op || !(op->flags & (RELAY_OP_RENAMES | RELAY_OP_OPENS)))
		return false;
	pthread_mutex_lock(&restore->translate->lock);
	first = op->flags & RELAY_OP_RENAMES ? loses(restore, request, size)
					     : restore_blind(restore, request);
	pthread_mutex_unlock(&restore->translate->lock);
	return first;
}

/* What is done to an open file when it is given up: of one that is lost there is nothing to give up. */
static bool gives_up(const struct fuse_in_header *header)
{
	const struct fuse_lk_in *lock = (const void *)(header + 1);

	if (header->opcode == FUSE_SETLK || header->opcode == FUSE_SETLKW)
		return lock->lk.type == F_UNLCK;
	return header->opcode == FUSE_FLUSH;
}

int restore_request(struct restore *restore, struct ask *ask, const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);
	int err;

	if (!op || size < sizeof(*header) + op->in_size)
		return EIO;
	/* A file that an earlier incarnation had open needs nobody to close it. */
	if (op->flags & RELAY_OP_CLOSES)
		return 0;
	if (gives_up(header)) {
		/* It is known to be lost then, and relayd answers it (translate_request()). */
		err = restore_ids(restore, ask, op, (const uint8_t *)(header + 1));
		if (err == ESTALE)
			return 0;
		if (err)
			return err;
	}
	err = header->nodeid ? restore_node(restore, ask, header->nodeid) : 0;
	if (!err)
		err = restore_ids(restore, ask, op, (const uint8_t *)(header + 1));
	if (!err && op->flags & RELAY_OP_LOCKS)
		err = restore_locks(restore, ask, header->nodeid);
	if (!err && op->flags & RELAY_OP_RENAMES)
		err = restore_loser(restore, ask, request, size);
	if (!err && op->flags & RELAY_OP_OPENS)
		err = restore_look(restore, ask, request);
	return err;
}
