/*
 * Redos of what makes names: MKDIR, MKNOD, SYMLINK, LINK, CREATE.
 *
 * EEXIST means that the name is there, and it was not when the kernel sent the request:
 * what is there is compared with what was to be made.  The entry that is found becomes the
 * reply, with the count of its LOOKUP; of any other the count is given back.  EPERM may mean
 * the same: it is what sshfs makes of SSH_FX_FAILURE, as version 3 of its protocol has no other
 * word for a name that is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "redo_parts.h"

#define CREATING (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_APPEND)
#define PERMISSIONS 01777u /* what is observed of new objects (translate_reply.c) */

static int make_lookup(struct redo *redo, const char *name, struct fuse_entry_out *entry)
{
	uint64_t parent = redo_id(redo, redo_header(redo)->nodeid);

	return parent ? restore_lookup(redo->ask, parent, name, entry) : -EPIPE;
}

/* ---- a backend that was cut in the midst of making it -------------------- */

/* Whether new objects have what their creator asked for on this mount, as far as was seen. */
static bool make_exact(struct redo *redo)
{
	struct translate *translate = redo->restore->translate;
	bool exact;

	pthread_mutex_lock(&translate->lock);
	exact = translate->makes_exact > 0 && translate->makes_other == 0;
	pthread_mutex_unlock(&translate->lock);
	return exact;
}

/*
 * Backends make an object first and then give it to its creator.  One that is still
 * the backend's own, where that never is so on this mount, was cut in between: the rest is
 * done here.  What it has inherited (a directory's group, S_ISGID) it keeps.
 *
 * A death in between, or after the SETATTR, leaves what the next redo finds and completes.
 */
static int make_complete(struct redo *redo, struct fuse_entry_out *entry, uint32_t mode, uint32_t umask)
{
	const struct fuse_in_header *creator = redo_header(redo);
	struct fuse_attr *attr = &entry->attr;
	struct fuse_setattr_in in = {0};
	struct fuse_in_header self;
	struct fuse_attr_out out;
	uint32_t wanted = mode & ~umask & PERMISSIONS;
	int err;

	if (!make_exact(redo))
		return 0;
	restore_caller(&self);
	if (attr->uid != creator->uid && attr->uid == self.uid) {
		in.valid |= FATTR_UID;
		in.uid = creator->uid;
		if (attr->gid != creator->gid && attr->gid == self.gid) {
			in.valid |= FATTR_GID;
			in.gid = creator->gid;
		}
	}
	/* The kernel has applied the umask itself, or left that to the backend (FUSE_DONT_MASK). */
	if (!S_ISLNK(attr->mode) && (attr->mode & PERMISSIONS) != wanted &&
	    (attr->mode & PERMISSIONS) != (mode & PERMISSIONS)) {
		in.valid |= FATTR_MODE;
		in.mode = (attr->mode & ~PERMISSIONS) | wanted;
	}
	if (!in.valid)
		return 0;
	err = ask_setattr(redo->ask, entry->nodeid, &self, &in, &out);
	if (err > 0)
		log_warning("%s: what was made half could not be given to uid %u: %s", redo->mount, creator->uid,
			    strerror(err));
	if (err)
		return err;
	entry->attr = out.attr;
	entry->attr_valid = out.attr_valid;
	entry->attr_valid_nsec = out.attr_valid_nsec;
	return 0;
}

/* What was found is what was asked for: completes it and answers with it. */
static int make_adopt(struct redo *redo, struct fuse_entry_out *entry, uint32_t mode, uint32_t umask)
{
	int err = make_complete(redo, entry, mode, umask);

	if (err < 0)
		return err;
	if (err)
		return redo_forget(redo, entry, redo_answer(redo, err));
	return redo_answer_with(redo, entry, sizeof(*entry));
}

/* What was found is something else: it was there before, whatever the kernel believed. */
static int make_refuse(struct redo *redo, const struct fuse_entry_out *entry)
{
	return redo_forget(redo, entry, redo_answer(redo, EEXIST));
}

enum make_outcome {
	MAKE_FOUND = 0, /* the name is there: entry, whose count is the caller's */
	MAKE_ANSWERED,
};

/* The request, and if the name is there what that is.  Returns an enum make_outcome or a negative errno. */
static int make_send(struct redo *redo, const char *name, struct fuse_entry_out *entry)
{
	int said = redo_send(redo);
	int err;

	if (said != EEXIST && said != EPERM)
		return said < 0 ? said : MAKE_ANSWERED;
	err = make_lookup(redo, name, entry);
	if (err <= 0)
		return err;
	/* Denied; or there and not there: a name that is reserved, or one that differs in case. */
	redo_answer(redo, err == ENOENT ? said : err);
	return MAKE_ANSWERED;
}

/* ---- directories and special files --------------------------------------- */

int redo_make(struct redo *redo, const struct relay_args *args)
{
	bool dir = redo_header(redo)->opcode == FUSE_MKDIR;
	struct fuse_mknod_in in = {0};
	struct fuse_entry_out entry;
	uint32_t type, mode, umask;
	int err = make_send(redo, args->name, &entry);

	if (err)
		return err < 0 ? err : REDO_ANSWERED;
	if (dir) {
		const struct fuse_mkdir_in *mkdir = args->in;

		type = S_IFDIR;
		mode = mkdir->mode;
		umask = mkdir->umask;
	} else {
		memcpy(&in, args->in, sizeof(in));
		type = in.mode & S_IFMT ? in.mode & S_IFMT : S_IFREG;
		mode = in.mode;
		umask = in.umask;
	}
	if ((entry.attr.mode & S_IFMT) != type)
		return make_refuse(redo, &entry);
	if ((type == S_IFCHR || type == S_IFBLK) && entry.attr.rdev != in.rdev)
		return make_refuse(redo, &entry);
	/* A new file is empty. */
	if (type == S_IFREG && entry.attr.size != 0)
		return make_refuse(redo, &entry);
	return make_adopt(redo, &entry, mode, umask);
}

int redo_symlink(struct redo *redo, const struct relay_args *args)
{
	struct fuse_entry_out entry;
	struct fuse_in_header self;
	const char *target;
	uint32_t length;
	bool same;
	int err = make_send(redo, args->name, &entry);

	if (err)
		return err < 0 ? err : REDO_ANSWERED;
	if (!S_ISLNK(entry.attr.mode))
		return make_refuse(redo, &entry);
	restore_caller(&self);
	err = ask_readlink(redo->ask, entry.nodeid, &self, &target, &length);
	if (err < 0)
		return err;
	same = !err && length == strlen(args->name2) && !memcmp(target, args->name2, length);
	return same ? make_adopt(redo, &entry, 0, 0) : make_refuse(redo, &entry);
}

/* ---- another name -------------------------------------------------------- */

int redo_link(struct redo *redo, const struct relay_args *args)
{
	const struct fuse_link_in *in = args->in;
	struct fuse_entry_out entry;
	struct fuse_in_header self;
	struct fuse_attr_out old;
	uint64_t id;
	int err = make_send(redo, args->name, &entry);

	if (err)
		return err < 0 ? err : REDO_ANSWERED;
	id = redo_id(redo, in->oldnodeid);
	if (!id)
		return -EPIPE;
	if (entry.nodeid == id)
		return redo_answer_with(redo, &entry, sizeof(entry));
	/* A backend whose nodes are paths has one for each name. */
	restore_caller(&self);
	err = ask_getattr(redo->ask, id, &self, &old);
	if (err < 0)
		return err;
	if (err)
		return redo_forget(redo, &entry, redo_answer(redo, err));
	if (!identity_alike(&old.attr, &entry.attr, entry.attr.ino == entry.nodeid || old.attr.ino == id))
		return make_refuse(redo, &entry);
	return redo_answer_with(redo, &entry, sizeof(entry));
}

/* ---- files that are created and opened ----------------------------------- */

/* Made by the first delivery: nobody has had the time to write to it, or to give it another name. */
static bool create_ours(const struct fuse_entry_out *entry)
{
	return S_ISREG(entry->attr.mode) && entry->attr.size == 0;
}

/*
 * The file is there, and its mode denies what its creator has asked for, which only the
 * creation itself is let pass: so it is made once more.
 *
 * A death between the two leaves no file, which is what there was before the request.
 * The kernel knows no inode of that name, so no node loses it by this UNLINK.
 */
static int create_anew(struct redo *redo, const char *name, const struct fuse_entry_out *entry, int denied)
{
	uint64_t parent = redo_id(redo, redo_header(redo)->nodeid);
	struct fuse_in_header self;
	int err = redo_forget(redo, entry, 0);

	if (err)
		return err;
	/* Some backends count no links. */
	if (!create_ours(entry) || entry->attr.nlink > 1)
		return redo_answer(redo, denied);
	if (!parent)
		return -EPIPE;
	restore_caller(&self);
	err = ask_unlink(redo->ask, parent, name, &self);
	if (err < 0)
		return err;
	if (err && err != ENOENT)
		return redo_answer(redo, denied);
	err = redo_send(redo);
	return err < 0 ? err : REDO_ANSWERED;
}

/* Opens what the first delivery has made, as its creator. */
static int create_open(struct redo *redo, const struct relay_args *args, struct fuse_entry_out *entry)
{
	const struct fuse_create_in *in = args->in;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} reply = {0};
	int err = make_complete(redo, entry, in->mode, in->umask);

	if (err < 0)
		return err;
	if (err)
		return redo_forget(redo, entry, redo_answer(redo, err));
	err = ask_open(redo->ask, entry->nodeid, redo_header(redo), in->flags & ~(uint32_t)CREATING, false,
		       &reply.open);
	if (err < 0)
		return err;
	if (err == EACCES || err == EPERM)
		return create_anew(redo, args->name, entry, err);
	/* ENOSYS: it has no OPEN, and no handles that mean anything. */
	if (err && err != ENOSYS)
		return redo_forget(redo, entry, redo_answer(redo, err));
	if (err)
		memset(&reply.open, 0, sizeof(reply.open));
	reply.entry = *entry;
	/* A death before this is delivered leaves an open file and a count with the backend, which die with it. */
	return redo_answer_with(redo, &reply, sizeof(reply));
}

/* It is open, and that is the answer; what else it should be is done as far as it can be. */
static int create_complete(struct redo *redo, const struct fuse_create_in *in)
{
	struct fuse_entry_out *entry = redo->reply;
	int err;

	if (redo->reply_size < sizeof(*entry) || !create_ours(entry))
		return REDO_ANSWERED;
	err = make_complete(redo, entry, in->mode, in->umask);
	return err < 0 ? err : REDO_ANSWERED;
}

int redo_create(struct redo *redo, const struct relay_args *args)
{
	struct fuse_entry_out entry;
	int said = redo_send(redo);
	int err;

	if (said < 0)
		return said;
	/* Without O_EXCL the file that was made before is opened. */
	if (!said)
		return create_complete(redo, args->in);
	if (said != EEXIST && said != EACCES && said != EPERM)
		return REDO_ANSWERED;
	err = make_lookup(redo, args->name, &entry);
	if (err < 0)
		return err;
	/* Not there: it is the directory that denies it. */
	if (err)
		return redo_answer(redo, said);
	if (said != EEXIST)
		return create_anew(redo, args->name, &entry, said);
	return create_ours(&entry) ? create_open(redo, args, &entry) : make_refuse(redo, &entry);
}
