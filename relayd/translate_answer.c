/*
 * What the translation knows of a mount's tables put to use for answers (answers.h): which
 * nodes and names a request changes, when the kernel forgets and counts, and the answers.
 */
#include "translate_parts.h"

#include <string.h>

/* ---- what a request changes -------------------------------------------------- */

static uint64_t get_u64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A name that is made or taken: returns false if it is not known what it leads to. */
static bool name_changes(struct translate *translate, struct answers_window *window, uint64_t parent, const char *name)
{
	struct answers *answers = &translate->answers;
	const struct node *dir = nodes_get(&translate->nodes, parent), *node;
	struct link *link;
	uint32_t ref;

	answers_window_change(answers, window, ANSWERS_NAMES, parent);
	ref = dir ? nodes_find_ref(&translate->nodes, dir, name, (uint32_t)strlen(name), &link) : 0;
	if (!ref)
		return false;
	node = nodes_at(&translate->nodes, link->node);
	answers_window_change(answers, window, ANSWERS_ATTR, node->nodeid);
	answers_unnamed(answers, node, ref);
	return true;
}

/* Makes or takes names in directories. */
static bool changes_names(const struct relay_op *op)
{
	return op->flags & RELAY_OP_RENAMES || (op->flags & RELAY_OP_ENTRY && op->flags & RELAY_OP_TOUCHES);
}

static void names_change(struct translate *translate, const void *request, const struct relay_op *op,
			 struct answers_window *window)
{
	const struct fuse_in_header *header = request;
	struct relay_args args;
	bool known = false;

	if (!relay_args_parse(request, header->len, 0, &args)) {
		known = name_changes(translate, window, header->nodeid, args.name);
		/* The other name of a RENAME; a SYMLINK's is no name. */
		if (op->shape == RELAY_SHAPE_IN_NAME_NAME)
			name_changes(translate, window, get_u64(args.in), args.name2);
	}
	/* A name that is taken, of an inode that may have others: any. */
	if (op->flags & RELAY_OP_RENAMES && !known)
		answers_window_change_all(&translate->answers, window);
}

void translate_window_open(struct translate *translate, const void *request, struct answers_window *window)
{
	const struct fuse_in_header *header = request;
	const struct relay_op *op = relay_op_get(header->opcode);

	answers_window_open(&translate->answers, window);
	if (!op || !(op->flags & RELAY_OP_CHANGES || translate_truncates(request)))
		return;
	answers_window_change(&translate->answers, window, ANSWERS_ATTR, header->nodeid);
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++)
		if (op->ids[i].kind == RELAY_ID_NODE)
			answers_window_change(&translate->answers, window, ANSWERS_ATTR,
					      get_u64((const uint8_t *)(header + 1) + op->ids[i].at));
	if (!changes_names(op))
		return;
	pthread_mutex_lock(&translate->lock);
	names_change(translate, request, op, window);
	pthread_mutex_unlock(&translate->lock);
}

void translate_missing(const struct translate_reply *r)
{
	const struct node *node = translate_node(r);

	if (!node)
		return;
	answers_stale(&r->translate->answers, ANSWERS_ATTR, node->nodeid);
	answers_unnamed(&r->translate->answers, node, 0);
}

/* ---- what the kernel counts --------------------------------------------------- */

void translate_count(struct translate *translate, struct node *node)
{
	answers_unkeep(&translate->answers, node);
	nodes_count(node);
}

void translate_uncount(struct translate *translate, uint64_t nodeid, uint64_t nlookup)
{
	struct node *node = nodes_get(&translate->nodes, nodeid);

	if (node && node->nlookup <= nlookup)
		answers_keep(&translate->answers, &translate->nodes, node);
	nodes_forget(&translate->nodes, nodeid, nlookup);
}

void translate_sweep(struct translate *translate)
{
	if (answers_sweep(&translate->answers, &translate->nodes, state_live(&translate->state, STATE_HANDLES)))
		atomic_store_explicit(&translate->forgets_due, true, memory_order_relaxed);
}

/* ---- answers ------------------------------------------------------------------ */

static bool lookup_answer(struct translate *translate, const struct fuse_in_header *header, uint32_t size, bool any,
			  uint64_t now_ns, struct translate_answer *answer)
{
	const struct node *parent = nodes_get(&translate->nodes, header->nodeid);
	struct relay_args args;
	struct node *node;

	if (!parent || parent->identity.gone || relay_args_parse(header, size, 0, &args) ||
	    !answers_lookup(&translate->answers, &translate->nodes, parent, args.name, any, now_ns,
			    &answer->payload.entry, &node))
		return false;
	if (node)
		translate_count(translate, node);
	answer->header.len = sizeof(answer->header) + sizeof(answer->payload.entry);
	return true;
}

static bool getattr_answer(struct translate *translate, const struct fuse_in_header *header, uint64_t now_ns,
			   struct translate_answer *answer)
{
	const struct fuse_getattr_in *in = (const void *)(header + 1);
	const struct node *node = nodes_get(&translate->nodes, header->nodeid);
	const struct handle *handle;

	if (!node)
		return false;
	if (in->getattr_flags & FUSE_GETATTR_FH) {
		handle = handles_get(&translate->handles, in->fh);
		if (!handle || handle->flags & HANDLE_LOST)
			return false;
	}
	answer->header.len = sizeof(answer->header) + sizeof(answer->payload.attr);
	return answers_getattr(&translate->answers, node, now_ns, &answer->payload.attr);
}

bool translate_answer(struct translate *translate, const void *request, uint32_t size, bool any, uint64_t now_ns,
		      struct translate_answer *answer)
{
	const struct fuse_in_header *header = request;
	bool answered;

	if (!atomic_load_explicit(&translate->answers.any, memory_order_relaxed) ||
	    !(header->opcode == FUSE_LOOKUP || (header->opcode == FUSE_GETATTR && any)))
		return false;
	answer->header = (struct fuse_out_header){0};
	pthread_mutex_lock(&translate->lock);
	translate_sweep(translate);
	answered = header->opcode == FUSE_LOOKUP ? lookup_answer(translate, header, size, any, now_ns, answer)
						 : getattr_answer(translate, header, now_ns, answer);
	pthread_mutex_unlock(&translate->lock);
	return answered;
}
