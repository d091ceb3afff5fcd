/* Between the files of redo: not for others. */
#ifndef RELAYD_REDO_PARTS_H
#define RELAYD_REDO_PARTS_H

#include "redo.h"
#include "restore_parts.h"

/*
 * The request itself, in the present incarnation's ids, and its reply into redo.  Returns
 * what the backend said: 0 or a positive errno, which are in redo->error too; -EPIPE or
 * -ENOMEM.
 */
int redo_send(struct redo *redo);

/* What the application is to be told.  Return REDO_ANSWERED. */
int redo_answer(struct redo *redo, int error);
int redo_answer_with(struct redo *redo, const void *payload, uint32_t size);

/* Gives back the count of a LOOKUP that does not become the reply; passes err on unless that fails. */
int redo_forget(struct redo *redo, const struct fuse_entry_out *entry, int err);

/* The present incarnation's id of the kernel's node, which was restored; 0: it is not any more. */
uint64_t redo_id(struct redo *redo, uint64_t nodeid);

/* What the kernel's name led to before the request. */
struct redo_known {
	bool known;
	bool current;
	uint64_t id; /* of the present incarnation, if it is current */
	struct identity identity;
};
int redo_know(struct redo *redo, uint64_t parent, const char *name, struct redo_known *known);
/*
 * Whether the entry is that file, as far as that can be told.  strictly: its inode number
 * is believed unless the backend was seen to change them.
 */
bool redo_same(struct redo *redo, const struct redo_known *known, const struct fuse_entry_out *entry, bool strictly);

static inline const struct fuse_in_header *redo_header(const struct redo *redo)
{
	return redo->request;
}

/* One opcode each.  Return as redo_run(). */
int redo_make(struct redo *redo, const struct relay_args *args);
int redo_create(struct redo *redo, const struct relay_args *args);
int redo_symlink(struct redo *redo, const struct relay_args *args);
int redo_link(struct redo *redo, const struct relay_args *args);
int redo_rename(struct redo *redo, const struct relay_args *args);
int redo_fallocate(struct redo *redo, const struct relay_args *args);
int redo_setxattr(struct redo *redo, const struct relay_args *args);

/* FALLOCATE that moves data by its length: 1 down, -1 up; 0: none. */
int redo_moves(const void *request, uint32_t size);
/* SETXATTR: its fixed part is longer where FUSE_SETXATTR_EXT was agreed.  Returns 0 or -EPROTO. */
int redo_setxattr_parse(const void *request, uint32_t size, struct relay_args *args);

#endif
