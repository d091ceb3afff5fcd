/*
 * The rules by which a file is known again.  To take another file for it would give
 * somebody's data to somebody else; not to know it again is an error (ESTALE) in a program
 * that had it open, and costs nothing where it is found by its name.
 */
#include "identity.h"

#include <sys/stat.h>
#include <time.h>

/* What libfuse shows where the number is not known. */
#define INO_UNKNOWN 0xffffffffu

/* Numbers below may have been counted up, one for each file that was looked up. */
#define INO_COUNTED (1u << 20)

/* Seconds.  Clocks and stores of whole seconds may be off by less. */
#define OLD_AFTER 60

static bool ino_given(const struct fuse_attr *attr, bool made_up)
{
	return !made_up && attr->ino != 0 && attr->ino != INO_UNKNOWN;
}

static bool type_is(const struct fuse_attr *attr, uint32_t type)
{
	return (attr->mode & S_IFMT) == type;
}

/* Some stores keep whole seconds, and a cache before them may know better for a while. */
static bool nsec_equal(uint32_t a, uint32_t b)
{
	return a == b || a == 0 || b == 0;
}

static bool times_equal(const struct identity *identity, const struct fuse_attr *attr)
{
	return identity->size == attr->size && identity->mtime == attr->mtime &&
	       nsec_equal(identity->mtimensec, attr->mtimensec);
}

static bool times_back(const struct identity *identity, const struct fuse_attr *attr)
{
	if (identity->mtime != attr->mtime)
		return (int64_t)attr->mtime < (int64_t)identity->mtime;
	return attr->mtimensec < identity->mtimensec && !nsec_equal(identity->mtimensec, attr->mtimensec);
}

static bool is_old(const struct fuse_attr *attr)
{
	int64_t now = time(NULL);

	return attr->ctime != 0 && attr->ctime < (uint64_t)now && now - (int64_t)attr->ctime > OLD_AFTER;
}

void identity_learn(struct identity *identity, const struct fuse_attr *attr, bool made_up, bool at_rest)
{
	bool first = identity->mode == 0;

	if (!first && !type_is(attr, identity->mode))
		return;
	identity->mode = attr->mode & S_IFMT;
	identity->rdev = attr->rdev;
	/*
	 * A number that changes once will change again.  A backend that finds files by their paths
	 * shows that too when somebody else has replaced one: then it is the other one from here on,
	 * as for the kernel.
	 */
	identity->ino_true = ino_given(attr, made_up) && (first || (identity->ino_true && identity->ino == attr->ino));
	identity->ino = attr->ino;
	identity->linked = attr->nlink > 1;
	identity->uid = attr->uid;
	identity->gid = attr->gid;
	identity->permissions = attr->mode & 07777;
	identity->ctime = attr->ctime;
	identity->ctimensec = attr->ctimensec;
	identity->old = is_old(attr);
	identity->times = IDENTITY_TIMES_VOID;
	identity->size = attr->size;
	identity->mtime = attr->mtime;
	identity->mtimensec = attr->mtimensec;
	identity->times = at_rest ? IDENTITY_TIMES_REST : IDENTITY_TIMES_LEAST;
}

void identity_learn_late(struct identity *identity, const struct fuse_attr *attr, bool made_up, bool at_rest)
{
	/* Written to since, and yet as it was before: it was asked before. */
	bool late = identity->times == IDENTITY_TIMES_VOID ? identity->mode != 0 && times_equal(identity, attr)
							   : times_back(identity, attr);

	identity_learn(identity, attr, made_up, at_rest);
	if (late)
		identity_disturb(identity);
}

void identity_disturb(struct identity *identity)
{
	identity->times = IDENTITY_TIMES_VOID;
}

/* What size and mtime say about a regular file whose number does not tell. */
static enum identity_verdict times_verdict(const struct identity *identity, const struct fuse_attr *attr)
{
	switch (identity->times) {
	case IDENTITY_TIMES_REST:
		/* Under another name it may have been written to, but that does not turn back the clock. */
		if (identity->linked || attr->nlink > 1)
			return times_back(identity, attr) ? IDENTITY_OTHER : IDENTITY_SAME;
		return times_equal(identity, attr) ? IDENTITY_SAME : IDENTITY_OTHER;
	case IDENTITY_TIMES_LEAST:
		return times_back(identity, attr) ? IDENTITY_OTHER : IDENTITY_SAME;
	default:
		return IDENTITY_SAME;
	}
}

/* Everything but the number is as it was, which for a regular file is certain only at rest. */
static bool all_else_equal(const struct identity *identity, const struct fuse_attr *attr)
{
	return identity->mode != S_IFREG || (identity->times == IDENTITY_TIMES_REST && times_equal(identity, attr));
}

/*
 * The numbers are believed, and they are equal.  Stores use numbers of removed files again
 * at once, so a file at rest has to have its size and mtime too: one that was replaced
 * while no backend was there is told from itself by nothing else.  One that somebody else
 * has written to meanwhile is not known again either, which only those notice who have it
 * open.
 */
static enum identity_verdict equal_verdict(const struct identity *identity, const struct fuse_attr *attr)
{
	if (identity->mode != S_IFREG || identity->times != IDENTITY_TIMES_REST)
		return IDENTITY_SAME;
	return times_verdict(identity, attr);
}

/*
 * The numbers were believed, and they differ.  While none was ever found again it may be
 * that none ever is, if all else is as it was.  Where some were, it is another file; but
 * a file with content that is alike to the nanosecond makes the numbers less credible.
 */
static enum identity_verdict differ_verdict(const struct identity *identity, const struct fuse_attr *attr,
					    struct identity_evidence *evidence)
{
	if (!all_else_equal(identity, attr))
		return IDENTITY_OTHER;
	if (evidence->kept == 0) {
		evidence->changed++;
		return IDENTITY_SAME;
	}
	if (identity->mode == S_IFREG && attr->size && attr->mtimensec && identity->mtimensec)
		evidence->changed++;
	return IDENTITY_OTHER;
}

enum identity_verdict identity_compare(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
				       struct identity_evidence *evidence)
{
	bool numbers = identity->ino_true && ino_given(attr, made_up);
	bool equal = numbers && identity->ino == attr->ino;
	bool believed = numbers && evidence->changed <= evidence->kept;
	enum identity_verdict verdict;

	if (identity->gone)
		return IDENTITY_OTHER;
	if (identity->mode == 0)
		return IDENTITY_SAME;
	/* No file changes its type, and no device becomes another. */
	if (!type_is(attr, identity->mode))
		return IDENTITY_OTHER;
	if ((S_ISCHR(identity->mode) || S_ISBLK(identity->mode)) && identity->rdev != attr->rdev)
		return IDENTITY_OTHER;
	if (believed && !equal)
		return differ_verdict(identity, attr, evidence);
	if (believed)
		verdict = equal_verdict(identity, attr);
	else /* of directories, symlinks, devices: the path, and the type that agrees */
		verdict = identity->mode == S_IFREG ? times_verdict(identity, attr) : IDENTITY_SAME;
	if (equal && verdict == IDENTITY_SAME)
		evidence->kept++;
	return verdict;
}

/* Nothing has been done to it, or to its place, since long before it was last seen. */
static bool untouched(const struct identity *identity, const struct fuse_attr *attr)
{
	if (!identity->old || identity->times != IDENTITY_TIMES_REST || !type_is(attr, identity->mode))
		return false;
	/*
	 * A ctime before mtime is not kept, but some constant.  One that is a copy of mtime, as
	 * images have it, could be given to another file; so it is enough only where the number
	 * may not be true either.
	 */
	if (attr->ctime < attr->mtime || (attr->ctime == attr->mtime && attr->ctimensec < attr->mtimensec))
		return false;
	return identity->ctime == attr->ctime && identity->ctimensec == attr->ctimensec &&
	       identity->mtime == attr->mtime && identity->mtimensec == attr->mtimensec &&
	       identity->size == attr->size && identity->rdev == attr->rdev && identity->uid == attr->uid &&
	       identity->gid == attr->gid && identity->permissions == (attr->mode & 07777) &&
	       identity->linked == (attr->nlink > 1);
}

enum identity_verdict identity_found(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
				     struct identity_evidence *evidence)
{
	bool recounted = identity->ino_true && ino_given(attr, made_up) && identity->ino != attr->ino &&
			 identity->ino < INO_COUNTED && attr->ino < INO_COUNTED;

	if (!recounted || identity->gone || !untouched(identity, attr))
		return identity_compare(identity, attr, made_up, evidence);
	evidence->changed++;
	return IDENTITY_SAME;
}

void identity_witness(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
		      struct identity_evidence *evidence)
{
	if (identity->ino_true && ino_given(attr, made_up) && identity->ino != attr->ino &&
	    type_is(attr, identity->mode) && identity->times == IDENTITY_TIMES_REST && times_equal(identity, attr))
		evidence->changed++;
}

void identity_root(const struct identity *identity, const struct fuse_attr *attr, bool made_up,
		   struct identity_evidence *evidence)
{
	/* A root is number 1 or 2 in stores of any kind: that it has it again says nothing. */
	if (!identity->ino_true || !ino_given(attr, made_up) || attr->ino <= 2)
		return;
	if (identity->ino == attr->ino)
		evidence->kept++;
	else
		evidence->changed++;
}

bool identity_alike(const struct fuse_attr *a, const struct fuse_attr *b, bool made_up)
{
	if (!type_is(a, b->mode & S_IFMT) || a->rdev != b->rdev)
		return false;
	if (ino_given(a, made_up) && ino_given(b, made_up))
		return a->ino == b->ino;
	/* Not size and times of what can be written to: that goes on between the one answer and the other. */
	if (!S_ISREG(a->mode) && !S_ISDIR(a->mode) && a->size != b->size)
		return false;
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->nlink == b->nlink;
}
