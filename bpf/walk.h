/*
 * Where a path walk is.  inode_permission is asked with exactly MAY_EXEC before each component
 * is looked up; the component itself is a local variable of link_path_walk().  But the
 * last one is in nameidata, and the next one begins behind it.
 */
#ifndef RELAY_BPF_WALK_H
#define RELAY_BPF_WALK_H

#include "last_type.h"
#include "name.h"

/* The path that the walk began with. */
static __always_inline __u64 walk_path(struct nameidata *nd)
{
	struct nameidata___pathname *with_path = (void *)nd;

	if (bpf_core_field_exists(with_path->pathname))
		return (__u64)with_path->pathname;
	return (__u64)nd->name->name;
}

/*
 * The walk that this task is in, if it is one that is about to look a name up in inode: else NULL.
 */
static __always_inline struct nameidata *walk_of(struct inode *inode, int mask)
{
	struct nameidata *nd;

	/*
	 * Any other bit is of a check of an object itself, as open() does at the end of a
	 * walk: what is behind the last component then is not a name in inode.
	 */
	if (KEEPS(KNOWN_RULE_MASK) && (mask & ~MAY_NOT_BLOCK) != MAY_EXEC)
		return 0;
	nd = bpf_get_current_task_btf()->nameidata;
	/*
	 * overlayfs and others look names up in inode while the task's own walk is elsewhere:
	 * the name that they look up is not in its path.
	 */
	if (!nd || (KEEPS(KNOWN_RULE_WALK) && nd->inode != inode))
		return 0;
	/*
	 * In a symlink's body: before its first component nd->last is still the symlink's own
	 * name, and what is behind that is not what comes next.
	 */
	if (KEEPS(KNOWN_RULE_DEPTH) && nd->depth)
		return 0;
	return nd;
}

/*
 * Reads the first 48 bytes of the next component into name, and what is behind it.  The byte
 * before name must be the caller's too, and is written.  Returns its address, 0 if it is
 * not known.
 */
static __always_inline __u64 walk_next(struct nameidata *nd, char *name)
{
	char *before = name - 1;
	__u64 at;

	if (walk_last_type(nd) == LAST_ROOT) {
		/* The body of a symlink that was the path's last component also begins so. */
		if (nd->total_link_count)
			return 0;
		at = walk_path(nd);
		if (bpf_probe_read_kernel(name, KNOWN_48, (void *)at))
			return 0;
	} else {
		at = (__u64)nd->last.name + nd->last.len;
		if (bpf_probe_read_kernel(before, KNOWN_48 + 1, (void *)at))
			return 0;
		if (*before && *before != '/')
			return 0;
		/* Of nothing behind it, the next read is of the same. */
		at += *before == '/';
		if (!*before)
			*name = 0;
	}
	for (int i = 0; i < SLASHES_MAX && *name == '/'; i++) {
		at++;
		if (bpf_probe_read_kernel(name, KNOWN_48, (void *)at))
			return 0;
	}
	if (!*name) {
		/* That was the end of a symlink's body: the walk goes on where it was met. */
		struct saved *stack = nd->stack;

		if (!nd->total_link_count || !stack)
			return 0;
		at = (__u64)stack->name;
		if (!at || bpf_probe_read_kernel(name, KNOWN_48, (void *)at))
			return 0;
	}
	return *name && *name != '/' ? at : 0;
}

#endif
