/*
 * Redos of RENAME.
 *
 * A plain one is sent again.  If it was applied before, its old name is not there any
 * more, and the new one leads to what the old one led to: that is compared with what the
 * tables know of the old name's node, which nobody has changed since (restore_doubt()).
 *
 * One that exchanges names, or leaves a whiteout behind, would be undone by a second
 * execution, or would move the whiteout over the data: there the names are looked at
 * before it is sent.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "redo_parts.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#define RENAME_WHITEOUT (1 << 2)
#endif

struct side {
	uint64_t parent; /* nodeid */
	const char *name;
	struct redo_known known; /* what it led to before the request */
	bool there;
	struct fuse_attr attr;
	/* What is there now is what was there at the old name; at the new one. */
	bool is[2];
	bool is_strictly[2];
};

struct rename {
	uint32_t flags;
	struct side old;
	struct side new;
};

/* Looks at what is under the name now.  Returns 0, a positive errno, or a negative one. */
static int side_look(struct redo *redo, struct side *side, const struct rename *rename)
{
	uint64_t parent = redo_id(redo, side->parent);
	struct fuse_entry_out entry;
	int err;

	side->there = false;
	if (!parent)
		return -EPIPE;
	err = restore_lookup(redo->ask, parent, side->name, &entry);
	if (err)
		return err == ENOENT ? 0 : err;
	side->there = true;
	side->attr = entry.attr;
	side->is[0] = redo_same(redo, &rename->old.known, &entry, false);
	side->is[1] = redo_same(redo, &rename->new.known, &entry, false);
	side->is_strictly[0] = redo_same(redo, &rename->old.known, &entry, true);
	side->is_strictly[1] = redo_same(redo, &rename->new.known, &entry, true);
	return redo_forget(redo, &entry, 0);
}

static int rename_look(struct redo *redo, struct rename *rename)
{
	int err = side_look(redo, &rename->old, rename);

	return err ? err : side_look(redo, &rename->new, rename);
}

static int rename_parse(struct redo *redo, const struct relay_args *args, struct rename *rename)
{
	struct fuse_rename2_in in = {0};
	bool plain = redo_header(redo)->opcode == FUSE_RENAME;
	int err;

	memset(rename, 0, sizeof(*rename));
	memcpy(&in, args->in, plain ? sizeof(struct fuse_rename_in) : sizeof(in));
	rename->flags = in.flags;
	rename->old.parent = redo_header(redo)->nodeid;
	rename->old.name = args->name;
	rename->new.parent = in.newdir;
	rename->new.name = args->name2;
	err = redo_know(redo, rename->old.parent, rename->old.name, &rename->old.known);
	return err ? err : redo_know(redo, rename->new.parent, rename->new.name, &rename->new.known);
}

/* Neither as it was nor as it is to be, or both: what is done then may be the wrong thing. */
static int rename_unclear(struct redo *redo, const struct rename *rename)
{
	log_error("%s: it cannot be told whether '%s' and '%s' were renamed: they are left as they are", redo->mount,
		  rename->old.name, rename->new.name);
	return redo_answer(redo, EIO);
}

static int rename_send(struct redo *redo)
{
	int err = redo_send(redo);

	return err < 0 ? err : REDO_ANSWERED;
}

/* A death after each of the two LOOKUPs has changed nothing. */
static int rename_exchange(struct redo *redo, struct rename *rename)
{
	const struct side *old = &rename->old, *new = &rename->new;
	bool before, after;
	int err = rename_look(redo, rename);

	if (err)
		return err < 0 ? err : redo_answer(redo, err);
	if (!old->there || !new->there)
		return rename_unclear(redo, rename);
	before = old->is_strictly[0] && new->is_strictly[1];
	after = old->is_strictly[1] && new->is_strictly[0];
	/* Their numbers don't tell. */
	if (before == after) {
		before = old->is[0] && new->is[1];
		after = old->is[1] && new->is[0];
	}
	if (before == after)
		return rename_unclear(redo, rename);
	return after ? redo_answer(redo, 0) : rename_send(redo);
}

static bool is_whiteout(const struct fuse_attr *attr)
{
	return S_ISCHR(attr->mode) && attr->rdev == 0;
}

static int rename_whiteout(struct redo *redo, struct rename *rename)
{
	const struct side *old = &rename->old, *new = &rename->new;
	int err = rename_look(redo, rename);

	if (err)
		return err < 0 ? err : redo_answer(redo, err);
	if (old->there && old->is[0] && !is_whiteout(&old->attr))
		return rename_send(redo);
	if (old->there && is_whiteout(&old->attr) && new->there &&new->is[0])
		return redo_answer(redo, 0);
	return rename_unclear(redo, rename);
}

/*
 * ENOENT: the old name is not there.  EEXIST of RENAME_NOREPLACE: the new one is, which the
 * kernel knew not to be; some backends look at that first.
 */
static int rename_plain(struct redo *redo, struct rename *rename)
{
	int said = redo_send(redo);
	int err;

	if (said < 0)
		return said;
	if (said != ENOENT && !(said == EEXIST && rename->flags & RENAME_NOREPLACE))
		return REDO_ANSWERED;
	err = rename_look(redo, rename);
	if (err < 0)
		return err;
	if (!err && !rename->old.there && rename->new.there && rename->new.is[0])
		return redo_answer(redo, 0);
	return redo_answer(redo, said);
}

int redo_rename(struct redo *redo, const struct relay_args *args)
{
	struct rename rename;
	int err = rename_parse(redo, args, &rename);

	if (err)
		return err;
	if (rename.flags & RENAME_EXCHANGE)
		return rename_exchange(redo, &rename);
	if (rename.flags & RENAME_WHITEOUT)
		return rename_whiteout(redo, &rename);
	return redo->shared_store ? REDO_SEND : rename_plain(redo, &rename);
}
