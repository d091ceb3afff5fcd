/*
 * What the files of the translation share.  All with the lock held.
 */
#ifndef RELAYD_TRANSLATE_PARTS_H
#define RELAYD_TRANSLATE_PARTS_H

#include <string.h>

#include "translate.h"

/* A reply while it is translated. */
struct translate_reply {
	struct translate *translate;
	const struct relay_op *op;
	const struct fuse_in_header *request;
	const void *in; /* the request's fixed part */
	uint32_t size;	/* of the request */
	struct translate_note *note;
	void *payload;
	uint32_t payload_size;
};

/* The node of the request's header, or NULL. */
static inline struct node *translate_node(const struct translate_reply *reply)
{
	return nodes_get(&reply->translate->nodes, reply->request->nodeid);
}

/* The handle of an fh at the start of the fixed part, or NULL. */
static inline struct handle *translate_handle(const struct translate_reply *reply)
{
	uint64_t fh;

	memcpy(&fh, reply->in, sizeof(fh));
	return handles_get(&reply->translate->handles, fh);
}

/* The backend is to be told of it. */
void translate_release_put(struct translate *translate, const struct translate_release *release);
void translate_forget_put(struct translate *translate, uint64_t backend_id, uint64_t nlookup);

/* The request, which has a row, opens a file and empties it. */
bool translate_truncates(const void *request);
/* It changes the times or the size of its nodes. */
void translate_disturb(struct translate *translate, const void *request);

/* ---- translate_answer.c ---- */

/* The request is about to be sent: from here on until its note ends nothing of what it changes is answered. */
void translate_window_open(struct translate *translate, const void *request, struct answers_window *window);
/* The backend says of the request's node that there is none. */
void translate_missing(const struct translate_reply *reply);
/* The kernel is told of the node: counts it. */
void translate_count(struct translate *translate, struct node *node);
/* The kernel forgets. */
void translate_uncount(struct translate *translate, uint64_t nodeid, uint64_t nlookup);
/* Lets go of nodes that were kept for an answer.  No pointer to a node is held. */
void translate_sweep(struct translate *translate);

/* The request, which changes its node, was answered; before what that says is noted. */
void translate_settle(const struct translate_reply *reply);

/* Whether the kernel takes such attributes (fs/fuse/dir.c, fuse_invalid_attr()). */
bool translate_attr_valid(const struct fuse_attr *attr);

/*
 * translate_entry.c: what begins with an entry, may open its file too, or opens a file.  Return 0,
 * or a negative errno with all that the backend has counted and opened given up.
 */
int translate_entry(const struct translate_reply *reply);
int translate_open(const struct translate_reply *reply);
/* The kernel has closed the file that the request names. */
void translate_close(const struct translate_reply *reply);
/* It was told of an open file, in its own form, and does not know it. */
void translate_open_refused(const struct translate_reply *reply, const struct fuse_open_out *open);

/* translate_dir.c: the listing of a READDIR, or of a READDIRPLUS.  Returns 0 or -EIO. */
int translate_dirents(const struct translate_reply *reply);
int translate_direntplus(const struct translate_reply *reply);
/* The kernel has refused a listing of READDIRPLUS: it counts none of its entries. */
void translate_direntplus_refused(struct translate *translate, const void *payload, uint32_t size);

#endif
