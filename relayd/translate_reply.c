/*
 * Replies: what the backend has done is noted in the tables, and its ids become the
 * kernel's.
 */
#include "translate_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Of a struct fuse_statx's mask: all that struct fuse_attr has. */
#define STATX_BASIC 0x7ffu
#define STATX_INODE 0x100u

/* ---- names ----------------------------------------------------------------- */

static int reply_unlink(const struct translate_reply *r)
{
	struct node *parent = translate_node(r);
	struct relay_args args;

	if (parent && !relay_args_parse(r->request, r->size, 0, &args))
		nodes_unlink(&r->translate->nodes, parent, args.name);
	return 0;
}

static bool is_dir(const struct node *node)
{
	return node && (node->nodeid == FUSE_ROOT_ID || S_ISDIR(node->identity.mode));
}

static int reply_rename(const struct translate_reply *r)
{
	const struct fuse_rename2_in *in = r->in; /* fuse_rename_in is how it begins */
	struct node *parent = translate_node(r), *new_parent = nodes_get(&r->translate->nodes, in->newdir);
	uint32_t flags = r->request->opcode == FUSE_RENAME2 ? in->flags : 0;
	struct relay_args args;

	/* With memory short the names are forgotten: they are found again when they are looked up. */
	if (is_dir(parent) && is_dir(new_parent) && !relay_args_parse(r->request, r->size, 0, &args))
		nodes_rename(&r->translate->nodes, parent, args.name, new_parent, args.name2, flags);
	return 0;
}

/* ---- attributes ------------------------------------------------------------ */

static void attr_remember(const struct translate_reply *r, const struct node *node, const struct fuse_attr_out *out)
{
	if (translate_attr_valid(&out->attr))
		answers_attr(&r->translate->answers, node, &out->attr, out->attr_valid, out->attr_valid_nsec,
			     &r->note->window);
}

static int reply_getattr(const struct translate_reply *r)
{
	struct fuse_attr_out *out = r->payload;
	struct node *node = translate_node(r);

	if (!node)
		return 0;
	nodes_attr(&r->translate->nodes, node, &out->attr, r->note->changes);
	attr_remember(r, node, out);
	return 0;
}

/* Its attributes are those after the change: known, unless something else has changed them too. */
static int reply_setattr(const struct translate_reply *r)
{
	struct fuse_attr_out *out = r->payload;
	struct node *node = translate_node(r);
	uint32_t changes;
	bool undisturbed;

	if (!node)
		return 0;
	translate_settle(r);
	undisturbed = node->changes == r->note->changes;
	nodes_disturb(node); /* what was asked for in between may be from before */
	changes = undisturbed ? node->changes : r->note->changes;
	nodes_attr(&r->translate->nodes, node, &out->attr, changes);
	attr_remember(r, node, out);
	return 0;
}

static int reply_statx(const struct translate_reply *r)
{
	struct fuse_statx *stat = &((struct fuse_statx_out *)r->payload)->stat;
	struct node *node = translate_node(r);
	struct fuse_attr attr = {
		.ino = stat->ino,
		.size = stat->size,
		.blocks = stat->blocks,
		.atime = (uint64_t)stat->atime.tv_sec,
		.mtime = (uint64_t)stat->mtime.tv_sec,
		.ctime = (uint64_t)stat->ctime.tv_sec,
		.atimensec = stat->atime.tv_nsec,
		.mtimensec = stat->mtime.tv_nsec,
		.ctimensec = stat->ctime.tv_nsec,
		.mode = stat->mode,
		.nlink = stat->nlink,
		.uid = stat->uid,
		.gid = stat->gid,
		/* As the kernel packs it: new_encode_dev(). */
		.rdev = (stat->rdev_minor & 0xff) | stat->rdev_major << 8 | (stat->rdev_minor & ~0xffu) << 12,
		.blksize = stat->blksize,
	};

	if (!node)
		return 0;
	if ((stat->mask & STATX_BASIC) == STATX_BASIC) {
		nodes_attr(&r->translate->nodes, node, &attr, r->note->changes);
		stat->ino = attr.ino;
	} else if (stat->mask & STATX_INODE && node->shown_ino) {
		stat->ino = node->shown_ino;
	}
	return 0;
}

/* ---- data ------------------------------------------------------------------ */

static int reply_write(const struct translate_reply *r)
{
	const struct fuse_write_out *out = r->payload;
	struct handle *handle = translate_handle(r);

	if (handle)
		handle->written += out->size;
	return 0;
}

/* COPY_FILE_RANGE and its 64-bit form, whose first field is as long as the first one's and its padding. */
static int reply_copy(const struct translate_reply *r)
{
	const struct fuse_copy_file_range_in *in = r->in;
	struct handle *handle = handles_get(&r->translate->handles, in->fh_out);
	uint64_t size;

	if (r->request->opcode == FUSE_COPY_FILE_RANGE)
		size = ((const struct fuse_write_out *)r->payload)->size;
	else
		memcpy(&size, r->payload, sizeof(size));
	if (handle)
		handle->written += size;
	return 0;
}

/* What was written until it was sent is made good. */
static int reply_synced(const struct translate_reply *r)
{
	struct handle *handle = translate_handle(r);

	if (handle)
		handle->written -= r->note->written < handle->written ? r->note->written : handle->written;
	return 0;
}

static int reply_poll(const struct translate_reply *r)
{
	const struct fuse_poll_in *in = r->in;
	struct handle *handle = translate_handle(r);

	if (handle && in->flags & FUSE_POLL_SCHEDULE_NOTIFY) {
		handle->poll_kh = in->kh;
		handle->flags |= HANDLE_POLLED;
	}
	return 0;
}

/* A lock that could not be set again would be lost unseen: better none. */
static int reply_lock(const struct translate_reply *r)
{
	struct node *node = translate_node(r);

	if (!node)
		return 0;
	return locks_set(&r->translate->locks, node, r->request, r->in) ? -ENOLCK : 0;
}

/* ---- all ------------------------------------------------------------------- */

/* For replies without an error.  Those of other opcodes hold nothing to be noted. */
static int (*const replies[RELAY_OPCODE_MAX])(const struct translate_reply *r) = {
	[FUSE_LOOKUP] = translate_entry,
	[FUSE_SYMLINK] = translate_entry,
	[FUSE_MKNOD] = translate_entry,
	[FUSE_MKDIR] = translate_entry,
	[FUSE_LINK] = translate_entry,
	[FUSE_CREATE] = translate_entry,
	[FUSE_TMPFILE] = translate_entry,
	[FUSE_UNLINK] = reply_unlink,
	[FUSE_RMDIR] = reply_unlink,
	[FUSE_RENAME] = reply_rename,
	[FUSE_RENAME2] = reply_rename,
	[FUSE_OPEN] = translate_open,
	[FUSE_OPENDIR] = translate_open,
	[FUSE_READDIR] = translate_dirents,
	[FUSE_READDIRPLUS] = translate_direntplus,
	[FUSE_GETATTR] = reply_getattr,
	[FUSE_SETATTR] = reply_setattr,
	[FUSE_STATX] = reply_statx,
	[FUSE_WRITE] = reply_write,
	[FUSE_COPY_FILE_RANGE] = reply_copy,
	[FUSE_COPY_FILE_RANGE_64] = reply_copy,
	[FUSE_FLUSH] = reply_synced,
	[FUSE_FSYNC] = reply_synced,
	[FUSE_POLL] = reply_poll,
	[FUSE_SETLK] = reply_lock,
	[FUSE_SETLKW] = reply_lock,
};

/*
 * The kernel holds the inode's lock over what changes it so, and there is one at a time.  If
 * something else has changed it meanwhile, its attributes are believed after the last close.
 */
void translate_settle(const struct translate_reply *r)
{
	struct node *node = translate_node(r);

	if (node && node->changes == r->note->changes)
		node->unsettled = 0;
}

/* What holds whatever the answer is. */
static void reply_ended(const struct translate_reply *r, int error)
{
	struct node *node;

	if (error && (r->request->opcode == FUSE_SETATTR || translate_truncates(r->request)))
		translate_settle(r);
	if (r->op->flags & RELAY_OP_WRITES && !(r->request->opcode == FUSE_SETATTR && !error))
		translate_disturb(r->translate, r->request);
	if (r->op->flags & RELAY_OP_CLOSES)
		translate_close(r);
	if (r->request->opcode == FUSE_FLUSH) {
		node = translate_node(r);
		if (node)
			locks_flush(&r->translate->locks, node, ((const struct fuse_flush_in *)r->in)->lock_owner);
	}
}

static void lookup_failed(const struct translate_reply *r, int error)
{
	if (error == -ENOENT && r->request->opcode == FUSE_LOOKUP)
		reply_unlink(r);
}

/* Nothing of it is in the tables. */
static bool is_nothing(const struct relay_op *op, uint32_t opcode)
{
	return !replies[opcode] && !(op->flags & (RELAY_OP_WRITES | RELAY_OP_CLOSES));
}

static struct translate_reply reply_parts(struct translate *translate, const void *request, uint32_t size,
					  const struct fuse_out_header *header, void *payload)
{
	struct translate_reply r = {
		.translate = translate,
		.request = request,
		.size = size,
		.payload = payload,
	};

	r.op = relay_op_get(r.request->opcode);
	r.in = r.request + 1;
	if (!header->error && header->len > sizeof(*header))
		r.payload_size = header->len - (uint32_t)sizeof(*header);
	return r;
}

/* A node that is not there, or was: the kernel looks names up again after ESTALE, to hear it from the backend. */
static void is_missing(const struct translate_reply *r, int error)
{
	if (error == -ESTALE) {
		answers_stale_all(&r->translate->answers);
	} else if (error == -ENOENT && r->request->opcode != FUSE_LOOKUP) {
		pthread_mutex_lock(&r->translate->lock);
		translate_missing(r);
		pthread_mutex_unlock(&r->translate->lock);
	}
}

static int reply_take(struct translate_reply *r, const struct fuse_out_header *header)
{
	int ret = 0;

	if (header->error)
		lookup_failed(r, header->error);
	else if (r->op->reply == RELAY_REPLY_FIXED && r->payload_size < r->op->reply_size)
		ret = -EIO;
	else if (replies[r->request->opcode])
		ret = replies[r->request->opcode](r);
	reply_ended(r, header->error);
	return ret;
}

int translate_reply(struct translate *translate, const void *request, uint32_t size, struct translate_note *note,
		    struct fuse_out_header *header, void *payload)
{
	struct translate_reply r = reply_parts(translate, request, size, header, payload);
	int ret = 0;

	r.note = note;
	if (header->error)
		is_missing(&r, header->error);
	if (r.op && !is_nothing(r.op, r.request->opcode)) {
		answers_window_replied(&translate->answers, &note->window);
		pthread_mutex_lock(&translate->lock);
		ret = reply_take(&r, header);
		pthread_mutex_unlock(&translate->lock);
	}
	translate_note_end(translate, note);
	return ret;
}

void translate_refused(struct translate *translate, const void *request, const struct fuse_out_header *header,
		       const void *payload)
{
	struct translate_reply r = reply_parts(translate, request, 0, header, (void *)payload);
	const struct fuse_entry_out *entry = payload;

	if (!r.op || header->error || r.payload_size < (r.op->reply == RELAY_REPLY_FIXED ? r.op->reply_size : 1))
		return;
	if (!(r.op->flags & (RELAY_OP_ENTRY | RELAY_OP_ENTRIES | RELAY_OP_OPENS)))
		return;
	pthread_mutex_lock(&translate->lock);
	/* The open file first: a node without it might be forgotten. */
	if (r.op->flags & RELAY_OP_OPENS)
		translate_open_refused(&r, r.op->flags & RELAY_OP_ENTRY ? (const void *)(entry + 1) : payload);
	if (r.op->flags & RELAY_OP_ENTRY && entry->nodeid)
		translate_uncount(translate, entry->nodeid, 1);
	if (r.op->flags & RELAY_OP_ENTRIES)
		translate_direntplus_refused(translate, payload, r.payload_size);
	pthread_mutex_unlock(&translate->lock);
}
