/*
 * What is looked at before it is needed: attributes by which files are known again, where
 * nobody else has asked for them.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "relay/opcodes.h"
#include "restore_parts.h"

bool restore_numbers_tell(const struct nodes *nodes, const struct node *node)
{
	return node->identity.ino_true && nodes->evidence.kept > nodes->evidence.changed;
}

bool restore_root_tells(const struct restore *restore, const struct ask *ask)
{
	const struct nodes *nodes = &restore->translate->nodes;
	const struct identity *root = &nodes_get(nodes, FUSE_ROOT_ID)->identity;

	return restore->root_seen != ask->incarnation && root->mode && root->ino_true &&
	       nodes->evidence.kept <= nodes->evidence.changed;
}

/* Asks for attributes and notes them.  A backend that does not tell is none the worse for it. */
static int look(struct restore *restore, struct ask *ask, uint64_t nodeid, uint64_t backend_id, uint32_t changes)
{
	struct nodes *nodes = &restore->translate->nodes;
	struct fuse_in_header self;
	struct fuse_attr_out out;
	struct node *node;
	int err, answer;

	restore_caller(&self);
	answer = ask_getattr(ask, backend_id, &self, &out);
	err = answer < 0 ? answer : restore_lock(restore, ask);
	if (err)
		return err;
	node = nodes_get(nodes, nodeid);
	if (!answer && node && nodes_current(nodes, node) && (out.attr.mode & S_IFMT) == node->identity.mode)
		nodes_attr(nodes, node, &out.attr, changes);
	restore_unlock(restore);
	return 0;
}

int restore_root_look(struct restore *restore, struct ask *ask)
{
	struct nodes *nodes = &restore->translate->nodes;
	uint32_t changes;
	bool tells;
	int err = restore_claim(restore, ask, FUSE_ROOT_ID);

	if (err)
		return err;
	err = restore_lock(restore, ask);
	if (err)
		goto out;
	tells = restore_root_tells(restore, ask);
	changes = nodes_get(nodes, FUSE_ROOT_ID)->changes;
	restore_unlock(restore);
	if (!tells)
		goto out;
	err = look(restore, ask, FUSE_ROOT_ID, FUSE_ROOT_ID, changes);
	if (!err && !(err = restore_lock(restore, ask))) {
		restore->root_seen = ask->incarnation;
		restore_unlock(restore);
	}
out:
	restore_unclaim(restore, ask);
	return err;
}

/*
 * A file that was written to since its attributes were last seen, and that nobody has open
 * for writing any more.  Its reader may ask for nothing but data from now on, and then its
 * type would be all that is known of it, where numbers don't tell.  One open for writing
 * goes on to change: nothing that is seen of it now would say more.
 */
bool restore_blind(const struct restore *restore, const void *request)
{
	const struct fuse_in_header *header = request;
	const struct fuse_open_in *in = (const void *)(header + 1);
	const struct nodes *nodes = &restore->translate->nodes;
	const struct node *node;

	if (header->opcode != FUSE_OPEN || in->flags & (O_ACCMODE | O_TRUNC))
		return false;
	node = nodes_get(nodes, header->nodeid);
	return node && nodes_current(nodes, node) && node->identity.mode == S_IFREG &&
	       node->identity.times == IDENTITY_TIMES_VOID && node->writers == 0 && !restore_numbers_tell(nodes, node);
}

int restore_look(struct restore *restore, struct ask *ask, const void *request)
{
	const struct fuse_in_header *header = request;
	const struct nodes *nodes = &restore->translate->nodes;
	const struct node *node;
	uint64_t backend_id = 0;
	uint32_t changes = 0;
	bool blind;
	int err = restore_lock(restore, ask);

	if (err)
		return err;
	blind = restore_blind(restore, request);
	node = blind ? nodes_get(nodes, header->nodeid) : NULL;
	if (node) {
		backend_id = node->backend_id;
		changes = node->changes;
	}
	restore_unlock(restore);
	return blind ? look(restore, ask, header->nodeid, backend_id, changes) : 0;
}
