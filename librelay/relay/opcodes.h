/*
 * THE opcode table: every opcode of the FUSE protocol up to 7.45, once.
 *
 * relayd checks requests and replies with it, librelay decodes requests and
 * finds the handler with it, and the statistics take their names from it.  A
 * new opcode is a new row here, and nothing else that lists opcodes.
 *
 * Internal to this project: not installed.
 */
#ifndef RELAY_OPCODES_H
#define RELAY_OPCODES_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/fuse_abi.h"

/* What follows the fuse_in_header: `in` is the fixed structure of the row. */
enum relay_shape {
	RELAY_SHAPE_NONE,	  /* nothing */
	RELAY_SHAPE_IN,		  /* in */
	RELAY_SHAPE_NAME,	  /* name\0 */
	RELAY_SHAPE_NAME_NAME,	  /* name\0 name\0 */
	RELAY_SHAPE_IN_NAME,	  /* in name\0 */
	RELAY_SHAPE_IN_NAME_NAME, /* in name\0 name\0 */
	RELAY_SHAPE_IN_DATA,	  /* in, then bytes to the end */
	RELAY_SHAPE_IN_NAME_DATA, /* in name\0, then bytes to the end */
};

/* What a reply without an error carries after the fuse_out_header. */
enum relay_reply_kind {
	RELAY_REPLY_NEVER, /* the kernel takes no reply */
	RELAY_REPLY_FIXED, /* exactly reply_size bytes */
	RELAY_REPLY_SIZED, /* up to the u32 at size_at of `in` */
	RELAY_REPLY_XATTR, /* that u32 is 0: fuse_getxattr_out; else up to it */
	RELAY_REPLY_IOCTL, /* fuse_ioctl_out, then up to that u32 */
	RELAY_REPLY_PATH,  /* up to PATH_MAX - 1 bytes */
	RELAY_REPLY_INIT,  /* fuse_init_out, of any version's length */
};

/* What a second execution of an applied request needs to be harmless. */
enum relay_redo {
	RELAY_REDO_REPEAT,   /* nothing: it may be applied again as it is */
	RELAY_REDO_PRESTATE, /* the state from before, recorded in the slot */
};

enum relay_op_flags {
	RELAY_OP_ENTRY = 1 << 0,    /* reply begins with a fuse_entry_out */
	RELAY_OP_ENTRIES = 1 << 1,  /* reply is fuse_direntplus records */
	RELAY_OP_OPENS = 1 << 2,    /* reply has a fuse_open_out (after entry) */
	RELAY_OP_OPENS_DIR = 1 << 3, /* the same, for a directory */
	RELAY_OP_WAITS = 1 << 4,    /* may wait for another request to come */
	RELAY_OP_FORCED = 1 << 5,   /* the kernel sends it for a dying task too, and waits */
	RELAY_OP_UNWAITED = 1 << 7, /* the kernel sends it for nobody who waits */
	RELAY_OP_OWN = 1 << 6,	    /* relayd answers it, no backend sees it */
	RELAY_OP_ATTR = 1 << 8,	    /* reply begins with a fuse_attr_out */
	RELAY_OP_STATX = 1 << 9,    /* reply begins with a fuse_statx_out */
	RELAY_OP_DIRENTS = 1 << 10, /* reply is fuse_dirent records */
	RELAY_OP_RENAMES = 1 << 11, /* takes a name from an inode */
	RELAY_OP_CLOSES = 1 << 12,  /* the end of the open file that it names */
	RELAY_OP_WRITES = 1 << 13,  /* changes the size or the times of its nodes */
	RELAY_OP_LOCKS = 1 << 14,   /* its answer depends on the locks that are set */
	RELAY_OP_SYNCS = 1 << 15,   /* its success says that what was written is stored */
	RELAY_OP_TOUCHES = 1 << 16, /* changes what no other flag says: times of access, counts of links, names made */
};

/* Attributes of the nodes that it names may be others after it. */
#define RELAY_OP_CHANGES                                                                                               \
	(RELAY_OP_WRITES | RELAY_OP_RENAMES | RELAY_OP_CLOSES | RELAY_OP_SYNCS | RELAY_OP_DIRENTS | RELAY_OP_ENTRIES |  \
	 RELAY_OP_TOUCHES)

/* What an opcode says about what does not exist, or makes untrue of it: librelay/absence.h. */
enum relay_absence {
	RELAY_ABSENCE_NOTHING,
	RELAY_ABSENCE_LOOKS,	   /* tells whether a name of the directory exists */
	RELAY_ABSENCE_OPENS,	   /* a listing may begin */
	RELAY_ABSENCE_LISTS,	   /* tells which names exist */
	RELAY_ABSENCE_CLOSES,	   /* a listing is over */
	RELAY_ABSENCE_NAMES,	   /* a name comes to be in the directory */
	RELAY_ABSENCE_BEARS,	   /* the same, and it is an empty directory's */
	RELAY_ABSENCE_UNNAMES,	   /* a name goes */
	RELAY_ABSENCE_MOVES,	   /* one comes, in `newdir` at the begin of `in`, and one goes */
	RELAY_ABSENCE_READS_XATTR, /* tells whether an attribute of the node exists */
	RELAY_ABSENCE_SETS_XATTR,  /* attributes of the node may come to be */
	RELAY_ABSENCE_ALTERS,	   /* whatever is known of the node may be untrue afterwards */
	RELAY_ABSENCE_FORGETS,	   /* the kernel asks for the nodes no more */
	RELAY_ABSENCE_KINDS,
};

/*
 * What the fixed part holds, besides the header's nodeid, that relayd translates for a
 * backend that isn't linked with librelay.
 */
enum relay_id_kind {
	RELAY_ID_NONE,
	RELAY_ID_NODE,	 /* a u64: a nodeid */
	RELAY_ID_FH,	 /* a u64: an open file, of the header's node or of the NODE before it */
	RELAY_ID_OFLAGS, /* a u32: flags of open(2) */
};

struct relay_id {
	uint8_t kind; /* enum relay_id_kind */
	uint8_t at;   /* offset within `in` */
	uint8_t bit;  /* there only if the u32 at offset 0 has one of these bits; 0: always */
};
#define RELAY_IDS_MAX 3

struct relay_op {
	const char *name; /* "MKDIR"; NULL: the protocol has no such opcode */
	enum relay_shape shape;
	uint32_t in_size; /* least bytes of `in` */
	enum relay_reply_kind reply;
	uint32_t reply_size;
	uint32_t size_at; /* offset within `in` of the reply's size limit */
	enum relay_redo redo;
	unsigned flags;
	enum relay_absence absence;
	struct relay_id ids[RELAY_IDS_MAX]; /* RELAY_ID_NONE ends them */
};

/* What a row's ids are made of. */
#define RELAY_NO_IDS {RELAY_ID_NONE, 0, 0}
#define RELAY_FH(type) {RELAY_ID_FH, offsetof(struct type, fh), 0}
#define RELAY_FH_IF(type, bits) {RELAY_ID_FH, offsetof(struct type, fh), bits}
#define RELAY_AT(kind, type, member) {RELAY_ID_##kind, offsetof(struct type, member), 0}

/*
 * X(NAME, handler, shape, in_size, reply, reply_size, size_at, redo, flags, absence, ids...)
 *
 * handler is the member of struct relay_ops (relay/relay.h), which is given the
 * parts of the request that the shape names.
 */
/* clang-format off */
#define RELAY_OPCODES_HANDLED(X)										\
	X(LOOKUP, lookup, NAME, 0, FIXED, sizeof(struct fuse_entry_out), 0, REPEAT, RELAY_OP_ENTRY,		\
	  LOOKS, RELAY_NO_IDS)											\
	X(GETATTR, getattr, IN, sizeof(struct fuse_getattr_in), FIXED, sizeof(struct fuse_attr_out), 0,		\
	  REPEAT, RELAY_OP_ATTR, NOTHING, RELAY_FH_IF(fuse_getattr_in, FUSE_GETATTR_FH))			\
	X(SETATTR, setattr, IN, sizeof(struct fuse_setattr_in), FIXED, sizeof(struct fuse_attr_out), 0,		\
	  REPEAT, RELAY_OP_ATTR | RELAY_OP_WRITES, SETS_XATTR, RELAY_FH_IF(fuse_setattr_in, FATTR_FH))		\
	X(READLINK, readlink, NONE, 0, PATH, 0, 0, REPEAT, RELAY_OP_TOUCHES, NOTHING, RELAY_NO_IDS)		\
	X(SYMLINK, symlink, NAME_NAME, 0, FIXED, sizeof(struct fuse_entry_out), 0, PRESTATE,			\
	  RELAY_OP_ENTRY | RELAY_OP_TOUCHES, NAMES, RELAY_NO_IDS)						\
	X(MKNOD, mknod, IN_NAME, sizeof(struct fuse_mknod_in), FIXED, sizeof(struct fuse_entry_out), 0,		\
	  PRESTATE, RELAY_OP_ENTRY | RELAY_OP_TOUCHES, NAMES, RELAY_NO_IDS)					\
	X(MKDIR, mkdir, IN_NAME, sizeof(struct fuse_mkdir_in), FIXED, sizeof(struct fuse_entry_out), 0,		\
	  PRESTATE, RELAY_OP_ENTRY | RELAY_OP_TOUCHES, BEARS, RELAY_NO_IDS)					\
	X(UNLINK, unlink, NAME, 0, FIXED, 0, 0, PRESTATE, RELAY_OP_RENAMES, UNNAMES, RELAY_NO_IDS)		\
	X(RMDIR, rmdir, NAME, 0, FIXED, 0, 0, PRESTATE, RELAY_OP_RENAMES, UNNAMES, RELAY_NO_IDS)		\
	X(RENAME, rename, IN_NAME_NAME, sizeof(struct fuse_rename_in), FIXED, 0, 0, PRESTATE,			\
	  RELAY_OP_RENAMES, MOVES, RELAY_AT(NODE, fuse_rename_in, newdir))					\
	X(LINK, link, IN_NAME, sizeof(struct fuse_link_in), FIXED, sizeof(struct fuse_entry_out), 0,		\
	  PRESTATE, RELAY_OP_ENTRY | RELAY_OP_TOUCHES, NAMES, RELAY_AT(NODE, fuse_link_in, oldnodeid))		\
	X(OPEN, open, IN, sizeof(struct fuse_open_in), FIXED, sizeof(struct fuse_open_out), 0, REPEAT,		\
	  RELAY_OP_OPENS, NOTHING, RELAY_AT(OFLAGS, fuse_open_in, flags))					\
	X(READ, read, IN, sizeof(struct fuse_read_in), SIZED, 0, offsetof(struct fuse_read_in, size),		\
	  REPEAT, RELAY_OP_TOUCHES, NOTHING, RELAY_FH(fuse_read_in))						\
	X(WRITE, write, IN_DATA, sizeof(struct fuse_write_in), FIXED, sizeof(struct fuse_write_out), 0,		\
	  REPEAT, RELAY_OP_WRITES, NOTHING, RELAY_FH(fuse_write_in), RELAY_AT(OFLAGS, fuse_write_in, flags))	\
	X(STATFS, statfs, NONE, 0, FIXED, sizeof(struct fuse_statfs_out), 0, REPEAT, 0, NOTHING, RELAY_NO_IDS)	\
	X(RELEASE, release, IN, sizeof(struct fuse_release_in), FIXED, 0, 0, REPEAT,				\
	  RELAY_OP_UNWAITED | RELAY_OP_CLOSES, NOTHING, RELAY_FH(fuse_release_in))				\
	X(FSYNC, fsync, IN, sizeof(struct fuse_fsync_in), FIXED, 0, 0, REPEAT, RELAY_OP_SYNCS,			\
	  NOTHING, RELAY_FH(fuse_fsync_in))									\
	X(SETXATTR, setxattr, IN_NAME_DATA, FUSE_COMPAT_SETXATTR_IN_SIZE, FIXED, 0, 0, PRESTATE,		\
	  RELAY_OP_TOUCHES, SETS_XATTR, RELAY_NO_IDS)								\
	X(GETXATTR, getxattr, IN_NAME, sizeof(struct fuse_getxattr_in), XATTR, 0,				\
	  offsetof(struct fuse_getxattr_in, size), REPEAT, 0, READS_XATTR, RELAY_NO_IDS)			\
	X(LISTXATTR, listxattr, IN, sizeof(struct fuse_getxattr_in), XATTR, 0,					\
	  offsetof(struct fuse_getxattr_in, size), REPEAT, 0, NOTHING, RELAY_NO_IDS)				\
	X(REMOVEXATTR, removexattr, NAME, 0, FIXED, 0, 0, PRESTATE, RELAY_OP_TOUCHES, SETS_XATTR, RELAY_NO_IDS)	\
	X(FLUSH, flush, IN, sizeof(struct fuse_flush_in), FIXED, 0, 0, REPEAT,					\
	  RELAY_OP_FORCED | RELAY_OP_SYNCS, NOTHING, RELAY_FH(fuse_flush_in))					\
	X(OPENDIR, opendir, IN, sizeof(struct fuse_open_in), FIXED, sizeof(struct fuse_open_out), 0, REPEAT,	\
	  RELAY_OP_OPENS | RELAY_OP_OPENS_DIR, OPENS, RELAY_NO_IDS)						\
	X(READDIR, readdir, IN, sizeof(struct fuse_read_in), SIZED, 0, offsetof(struct fuse_read_in, size),	\
	  REPEAT, RELAY_OP_DIRENTS, LISTS, RELAY_FH(fuse_read_in))						\
	X(RELEASEDIR, releasedir, IN, sizeof(struct fuse_release_in), FIXED, 0, 0, REPEAT,			\
	  RELAY_OP_UNWAITED | RELAY_OP_CLOSES, CLOSES, RELAY_FH(fuse_release_in))				\
	X(FSYNCDIR, fsyncdir, IN, sizeof(struct fuse_fsync_in), FIXED, 0, 0, REPEAT, 0,				\
	  NOTHING, RELAY_FH(fuse_fsync_in))									\
	X(GETLK, getlk, IN, sizeof(struct fuse_lk_in), FIXED, sizeof(struct fuse_lk_out), 0, REPEAT,		\
	  RELAY_OP_LOCKS, NOTHING, RELAY_FH(fuse_lk_in))							\
	X(SETLK, setlk, IN, sizeof(struct fuse_lk_in), FIXED, 0, 0, REPEAT, RELAY_OP_LOCKS,			\
	  NOTHING, RELAY_FH(fuse_lk_in))									\
	X(SETLKW, setlkw, IN, sizeof(struct fuse_lk_in), FIXED, 0, 0, REPEAT,					\
	  RELAY_OP_WAITS | RELAY_OP_LOCKS, NOTHING, RELAY_FH(fuse_lk_in))					\
	X(ACCESS, access, IN, sizeof(struct fuse_access_in), FIXED, 0, 0, REPEAT, 0, NOTHING, RELAY_NO_IDS)	\
	X(CREATE, create, IN_NAME, sizeof(struct fuse_create_in), FIXED,					\
	  sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), 0, PRESTATE,				\
	  RELAY_OP_ENTRY | RELAY_OP_OPENS | RELAY_OP_TOUCHES, NAMES, RELAY_AT(OFLAGS, fuse_create_in, flags))	\
	X(BMAP, bmap, IN, sizeof(struct fuse_bmap_in), FIXED, sizeof(struct fuse_bmap_out), 0, REPEAT, 0,	\
	  NOTHING, RELAY_NO_IDS)										\
	X(DESTROY, destroy, NONE, 0, FIXED, 0, 0, REPEAT, RELAY_OP_OWN | RELAY_OP_FORCED, NOTHING, RELAY_NO_IDS)	\
	X(IOCTL, ioctl, IN_DATA, sizeof(struct fuse_ioctl_in), IOCTL, 0,					\
	  offsetof(struct fuse_ioctl_in, out_size), REPEAT, RELAY_OP_WRITES, ALTERS, RELAY_FH(fuse_ioctl_in))	\
	X(POLL, poll, IN, sizeof(struct fuse_poll_in), FIXED, sizeof(struct fuse_poll_out), 0, REPEAT, 0,	\
	  NOTHING, RELAY_FH(fuse_poll_in))									\
	X(NOTIFY_REPLY, notify_reply, IN_DATA, sizeof(struct fuse_notify_retrieve_in), NEVER, 0, 0, REPEAT,	\
	  0, NOTHING, RELAY_NO_IDS)										\
	X(FALLOCATE, fallocate, IN, sizeof(struct fuse_fallocate_in), FIXED, 0, 0, PRESTATE,			\
	  RELAY_OP_WRITES, NOTHING, RELAY_FH(fuse_fallocate_in))						\
	X(READDIRPLUS, readdirplus, IN, sizeof(struct fuse_read_in), SIZED, 0,					\
	  offsetof(struct fuse_read_in, size), REPEAT, RELAY_OP_ENTRIES, LISTS, RELAY_FH(fuse_read_in))		\
	X(RENAME2, rename2, IN_NAME_NAME, sizeof(struct fuse_rename2_in), FIXED, 0, 0, PRESTATE,		\
	  RELAY_OP_RENAMES, MOVES, RELAY_AT(NODE, fuse_rename2_in, newdir))					\
	X(LSEEK, lseek, IN, sizeof(struct fuse_lseek_in), FIXED, sizeof(struct fuse_lseek_out), 0, REPEAT,	\
	  0, NOTHING, RELAY_FH(fuse_lseek_in))									\
	X(COPY_FILE_RANGE, copy_file_range, IN, sizeof(struct fuse_copy_file_range_in), FIXED,			\
	  sizeof(struct fuse_write_out), 0, REPEAT, RELAY_OP_WRITES,						\
	  NOTHING, RELAY_AT(FH, fuse_copy_file_range_in, fh_in), RELAY_AT(NODE, fuse_copy_file_range_in, nodeid_out),	\
	  RELAY_AT(FH, fuse_copy_file_range_in, fh_out))							\
	X(SETUPMAPPING, setupmapping, IN, sizeof(struct fuse_setupmapping_in), FIXED, 0, 0, REPEAT, 0,		\
	  NOTHING, RELAY_FH(fuse_setupmapping_in))								\
	X(REMOVEMAPPING, removemapping, IN_DATA, sizeof(struct fuse_removemapping_in), FIXED, 0, 0, REPEAT,	\
	  0, NOTHING, RELAY_NO_IDS)										\
	X(SYNCFS, syncfs, IN, sizeof(struct fuse_syncfs_in), FIXED, 0, 0, REPEAT, 0, NOTHING, RELAY_NO_IDS)	\
	X(TMPFILE, tmpfile, IN_NAME, sizeof(struct fuse_create_in), FIXED,					\
	  sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), 0, REPEAT,				\
	  RELAY_OP_ENTRY | RELAY_OP_OPENS | RELAY_OP_TOUCHES, NOTHING, RELAY_AT(OFLAGS, fuse_create_in, flags))	\
	X(STATX, statx, IN, sizeof(struct fuse_statx_in), FIXED, sizeof(struct fuse_statx_out), 0, REPEAT,	\
	  RELAY_OP_STATX, NOTHING, RELAY_FH_IF(fuse_statx_in, FUSE_GETATTR_FH))					\
	X(COPY_FILE_RANGE_64, copy_file_range_64, IN, sizeof(struct fuse_copy_file_range_in), FIXED,		\
	  sizeof(struct fuse_copy_file_range_out), 0, REPEAT, RELAY_OP_WRITES,					\
	  NOTHING, RELAY_AT(FH, fuse_copy_file_range_in, fh_in), RELAY_AT(NODE, fuse_copy_file_range_in, nodeid_out),	\
	  RELAY_AT(FH, fuse_copy_file_range_in, fh_out))

/* Those whose handler is called in another way, or that have none (librelay/serve_*.c). */
#define RELAY_OPCODES_LIBRARY(X)										\
	X(FORGET, forget, IN, sizeof(struct fuse_forget_in), NEVER, 0, 0, REPEAT, 0, FORGETS, RELAY_NO_IDS)	\
	X(INIT, init, IN, 16, INIT, 0, 0, REPEAT, RELAY_OP_OWN, NOTHING, RELAY_NO_IDS)				\
	X(INTERRUPT, interrupt, IN, sizeof(struct fuse_interrupt_in), NEVER, 0, 0, REPEAT, 0, NOTHING, RELAY_NO_IDS)	\
	X(BATCH_FORGET, batch_forget, IN_DATA, sizeof(struct fuse_batch_forget_in), NEVER, 0, 0, REPEAT, 0,	\
	  FORGETS, RELAY_NO_IDS)
/* clang-format on */

#define RELAY_OPCODES(X) RELAY_OPCODES_HANDLED(X) RELAY_OPCODES_LIBRARY(X)

/*
 * The row of an opcode, or NULL if the protocol has none.  Any value may be
 * asked for.  The table is constant and needs no lock.
 */
const struct relay_op *relay_op_get(uint32_t opcode);

/*
 * The size of an opcode's fixed part under the agreed INIT flags (the low 32
 * bits): SETXATTR's is longer with FUSE_SETXATTR_EXT.  0: the row's.
 */
uint32_t relay_op_in_size(uint32_t opcode, uint32_t init_flags);

/*
 * Where a request's arguments lie.  Pointers go into the request; a part that
 * the shape lacks is NULL or 0.
 */
struct relay_args {
	const void *in;
	const char *name;
	const char *name2;
	const void *data;
	uint32_t data_size;
};

/*
 * Checks the length, the fixed part and the names of a whole request of `size`
 * bytes against its row, and finds its parts.  in_size replaces the row's least
 * size where the negotiated version has a longer one (0: the row's).
 *
 * Returns 0, or -EPROTO for a request that does not fit its row, -ENOSYS for an
 * opcode that has no row.
 */
int relay_args_parse(const void *request, uint32_t size, uint32_t in_size, struct relay_args *args);

/* The payload bytes that a reply without an error may carry. */
struct relay_bounds {
	uint32_t least;
	uint32_t most;
};

/* Of a request that relay_args_parse() has passed, with its row. */
struct relay_bounds relay_reply_bounds(const struct relay_op *op, const void *request);

/*
 * Checks a whole reply of `size` bytes (fuse_out_header first).  The kernel
 * refuses a reply that does not fit and fails the request with EIO, so nothing
 * unchecked may reach it (fs/fuse/dev.c, fuse_dev_do_write()).
 *
 * Returns NULL, or the reason why it does not fit.
 */
const char *relay_reply_check(const struct relay_bounds *bounds, const void *reply, uint32_t size);

#endif
