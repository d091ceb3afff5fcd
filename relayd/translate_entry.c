/*
 * What the kernel counts and opens: entries, open files, and their ends.
 *
 * What the kernel would refuse after it was counted here is refused before: the kernel
 * answers its caller EIO then, and forgets and closes nothing of it (fs/fuse/dir.c,
 * create_new_entry(), fuse_create_open(), fuse_lookup_name()).
 */
#include "translate_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

bool translate_attr_valid(const struct fuse_attr *attr)
{
	switch (attr->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return attr->size <= INT64_MAX;
	default:
		return false;
	}
}

/* ---- open files ------------------------------------------------------------ */

static uint32_t flags_asked(const struct translate_reply *r)
{
	uint32_t flags; /* the first field of all that open */

	memcpy(&flags, r->in, sizeof(flags));
	return flags;
}

static void open_give_up(const struct translate_reply *r, uint64_t backend_id, const struct fuse_open_out *open)
{
	const struct translate_release release = {
		.nodeid = backend_id,
		.fh = open->fh,
		.flags = flags_asked(r) & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_APPEND),
		.dir = r->op->flags & RELAY_OP_OPENS_DIR,
		.caller = *r->request,
	};

	translate_release_put(r->translate, &release);
}

/* Makes the handle; on failure the backend's is given up. */
static int open_take(const struct translate_reply *r, struct node *node, uint64_t backend_id,
		     struct fuse_open_out *open)
{
	bool dir = r->op->flags & RELAY_OP_OPENS_DIR;
	struct handle *handle;
	int err;

	err = handles_new(&r->translate->handles, node, r->request, flags_asked(r), dir, open->fh, &handle);
	if (err) {
		open_give_up(r, backend_id, open);
		return err;
	}
	open->fh = handle->fh;
	/* What the kernel keeps of a listing would come back through other handles, with this one's cookies. */
	if (dir)
		open->open_flags &= ~(uint32_t)FOPEN_CACHE_DIR;
	return 0;
}

int translate_open(const struct translate_reply *r)
{
	struct node *node = translate_node(r);

	if (!node)
		return -ESTALE;
	if (translate_truncates(r->request)) {
		translate_settle(r);
		nodes_disturb(node);
	}
	return open_take(r, node, node->backend_id, r->payload);
}

/* The kernel has closed it, whatever the backend says to that. */
void translate_close(const struct translate_reply *r)
{
	const struct fuse_release_in *in = r->in;
	struct handle *handle = handles_get(&r->translate->handles, in->fh);
	struct node *node;

	if (!handle)
		return;
	/* The handle holds the node while its locks go. */
	node = nodes_at(&r->translate->nodes, handle->node);
	if (in->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
		locks_unflock(&r->translate->locks, node, in->lock_owner);
	locks_closed(&r->translate->locks, node, in->fh);
	handles_close(&r->translate->handles, handle);
}

/* ---- entries --------------------------------------------------------------- */

/* The type that the kernel expects of what is made; 0: any. */
static uint32_t type_expected(const struct translate_reply *r)
{
	const struct node *node;

	switch (r->request->opcode) {
	case FUSE_MKDIR:
		return S_IFDIR;
	case FUSE_SYMLINK:
		return S_IFLNK;
	case FUSE_MKNOD:
		return ((const struct fuse_mknod_in *)r->in)->mode & S_IFMT;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		return S_IFREG;
	case FUSE_LINK:
		node = nodes_get(&r->translate->nodes, ((const struct fuse_link_in *)r->in)->oldnodeid);
		return node ? node->identity.mode & S_IFMT : 0;
	default:
		return 0;
	}
}

/* Whether new objects get just the owner and mode that was asked for: by what others than relayd's own user make. */
static void make_observe(const struct translate_reply *r, const struct fuse_attr *attr)
{
	uint32_t mode, umask, permissions = attr->mode & 01777;

	if (r->request->uid == r->translate->uid)
		return;
	switch (r->request->opcode) {
	case FUSE_MKDIR:
		mode = ((const struct fuse_mkdir_in *)r->in)->mode;
		umask = ((const struct fuse_mkdir_in *)r->in)->umask;
		break;
	case FUSE_MKNOD:
		mode = ((const struct fuse_mknod_in *)r->in)->mode;
		umask = ((const struct fuse_mknod_in *)r->in)->umask;
		break;
	case FUSE_CREATE:
		mode = ((const struct fuse_create_in *)r->in)->mode;
		umask = ((const struct fuse_create_in *)r->in)->umask;
		break;
	default:
		return;
	}
	mode &= 01777;
	/* Who has applied the umask depends on FUSE_DONT_MASK. */
	if (attr->uid == r->request->uid && (permissions == mode || permissions == (mode & ~umask)))
		r->translate->makes_exact++;
	else
		r->translate->makes_other++;
}

/* What the backend has counted and opened for a reply that the kernel is not given. */
static int entry_give_up(const struct translate_reply *r, uint64_t backend_id, int err)
{
	const struct fuse_entry_out *entry = r->payload;

	if (r->op->flags & RELAY_OP_OPENS)
		open_give_up(r, backend_id, (const struct fuse_open_out *)(entry + 1));
	if (backend_id != FUSE_ROOT_ID)
		translate_forget_put(r->translate, backend_id, 1);
	return err;
}

/* The node is counted and its file opened. */
static int entry_take(const struct translate_reply *r, struct node *parent, const char *name)
{
	struct fuse_entry_out *entry = r->payload;
	uint64_t backend_id = entry->nodeid;
	struct node *node;
	int err;

	err = nodes_entry(&r->translate->nodes, parent, name, entry, NULL, &node);
	if (err) { /* its count was given back */
		if (r->op->flags & RELAY_OP_OPENS)
			open_give_up(r, backend_id, (const struct fuse_open_out *)(entry + 1));
		return err;
	}
	if (r->op->flags & RELAY_OP_OPENS) {
		err = open_take(r, node, backend_id, (struct fuse_open_out *)(entry + 1));
		if (err) {
			nodes_settle(&r->translate->nodes, node);
			return err;
		}
	}
	translate_count(r->translate, node);
	if (name)
		answers_entry(&r->translate->answers, &r->translate->nodes, parent, name, node, entry,
			      &r->note->window);
	else
		answers_attr(&r->translate->answers, node, &entry->attr, entry->attr_valid, entry->attr_valid_nsec,
			     &r->note->window);
	make_observe(r, &entry->attr);
	return 0;
}

int translate_entry(const struct translate_reply *r)
{
	struct fuse_entry_out *entry = r->payload;
	struct node *parent = translate_node(r);
	struct relay_args args;
	const char *name;
	uint32_t type;

	if (relay_args_parse(r->request, r->size, 0, &args))
		return -EIO;
	name = r->request->opcode == FUSE_TMPFILE ? NULL : args.name;
	if (entry->nodeid == 0) {
		if (r->request->opcode != FUSE_LOOKUP)
			return -EIO;
		if (parent) {
			answers_absent(&r->translate->answers, parent, name, entry, &r->note->window);
			nodes_unlink(&r->translate->nodes, parent, name);
		}
		return 0;
	}
	if (!parent)
		return entry_give_up(r, entry->nodeid, -ESTALE);
	type = type_expected(r);
	if (!translate_attr_valid(&entry->attr) || (type && type != (entry->attr.mode & S_IFMT)))
		return entry_give_up(r, entry->nodeid, -EIO);
	return entry_take(r, parent, name);
}

/* ---- what was refused -------------------------------------------------------- */

/* The kernel's fh is nobody's: nor is the backend's. */
void translate_open_refused(const struct translate_reply *r, const struct fuse_open_out *open)
{
	struct handle *handle = handles_get(&r->translate->handles, open->fh);
	struct fuse_open_out backend = {0};

	if (!handle)
		return;
	if (handles_current(&r->translate->handles, handle)) {
		backend.fh = handle->backend_fh;
		open_give_up(r, nodes_at(&r->translate->nodes, handle->node)->backend_id, &backend);
	}
	handles_close(&r->translate->handles, handle);
}
