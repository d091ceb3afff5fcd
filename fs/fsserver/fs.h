/*
 * fsserver: a directory served through relayd.
 *
 * Sections by file.  Lower ones may use higher ones: tables, nodes, handles and
 * fdcache know nothing of what is here; locks.h is a world of its own.
 *
 * Locks, in the order in which they are taken: a directory reader's, the lock
 * table's, librelay's state lock (relay_state_lock(), or within a transaction),
 * the descriptor cache's.
 */
#ifndef FSSERVER_FS_H
#define FSSERVER_FS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fdcache.h"
#include "handles.h"
#include "locks.h"
#include "nodes.h"
#include "relay/relay.h"
#include "tables.h"

/* Keys of descriptors left with relayd: a nodeid, or one of these with ... */
#define KEY_HANDLE (1ULL << 63) /* an fh */
#define KEY_MOUNT (1ULL << 62)	/* a mount id */

#define MOUNTS_MAX 256u

enum passthrough_wanted {
	PASSTHROUGH_AUTO,
	PASSTHROUGH_ON,
	PASSTHROUGH_OFF,
};

struct fs {
	struct relay_session *session;
	struct tables tables;
	struct fdcache cache;
	const char *source;
	int root;     /* O_PATH of the source */
	int root_dir; /* the same, O_RDONLY */
	uint64_t root_dev;
	bool by_handle;	   /* nodes are found by file handle: open_by_handle_at() is ours to use */
	bool privileged;   /* acts with its callers' ids */
	bool own_umask;	   /* threads can have umasks of their own */
	enum passthrough_wanted passthrough_wanted;
	bool passthrough;  /* agreed with the kernel */
	bool setxattr_ext; /* SETXATTR comes with setxattr_flags */
	uint64_t valid;	   /* how long the kernel may believe entries and attributes */
	uint32_t valid_nsec;
	struct locks locks;
	/* mounts.c: one descriptor per mount of the store, for open_by_handle_at() */
	pthread_mutex_t mounts_lock;
	unsigned mounts_count;
	struct {
		int id;
		int fd;
	} mounts[MOUNTS_MAX];
};

static inline struct fs *fs_of(struct relay_req *req)
{
	return relay_session_userdata(relay_req_session(req));
}

/*
 * Whether what a redo finds may be taken for its own doing: not where others write
 * to the store too (relayd --shared-store), and the redo's own error is the answer.
 */
static inline bool redo_is_ours(struct relay_req *req)
{
	return relay_req_redo(req) && !relay_session_shared_store(relay_req_session(req));
}

/* ---- serve.c ----------------------------------------------------------- */

/* Opens the source.  0, or a negative errno after a message on standard error. */
int fs_open(struct fs *fs, const char *source);

extern const struct relay_ops fs_ops;

void fs_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- attr.c ------------------------------------------------------------ */

#define ATTR_MASK (STATX_BASIC_STATS | STATX_BTIME)

/* statx(2) with what every answer needs.  name "": dirfd itself.  0 or -errno. */
int attr_get(int dirfd, const char *name, struct statx *stx);
struct node_ident attr_ident(const struct statx *stx);
bool ident_same(const struct node_ident *a, const struct node_ident *b);
void attr_fill(const struct fs *fs, const struct statx *stx, struct fuse_attr *attr);
void entry_fill(const struct fs *fs, const struct statx *stx, uint64_t nodeid, struct fuse_entry_out *entry);
/* The number that the kernel is shown: inodes of other devices do not collide with the source's. */
uint64_t attr_ino(const struct fs *fs, uint64_t dev, uint64_t ino);

/* ---- mounts.c ---------------------------------------------------------- */

/* The mount's descriptor, or -ESTALE. */
int mounts_get(struct fs *fs, int mount_id);
/* Enters fd, which becomes the table's.  0 or a negative errno. */
int mounts_add(struct fs *fs, int mount_id, int fd);
/* Makes sure that objects on the mount of dirfd/name can be found by handle.  0 or a negative errno. */
int mounts_learn(struct fs *fs, int mount_id, int dirfd, const char *name, uint32_t mode);
/* syncfs(2) of each. */
int mounts_sync(struct fs *fs);

/* ---- resolve.c --------------------------------------------------------- */

/* A node's O_PATH descriptor, good until node_fd_put(). */
struct node_fd {
	struct fs *fs;
	struct fd_entry *entry; /* NULL: the root's, or none */
	int fd;
};

#define NODE_FD __attribute__((cleanup(node_fd_put))) struct node_fd

/* 0 or a negative errno: -ESTALE when the inode is not to be found any more. */
int node_fd_get(struct fs *fs, uint64_t nodeid, struct node_fd *out);
void node_fd_put(struct node_fd *node);

/* Opens what an O_PATH descriptor stands for (O_NOFOLLOW and O_CREAT mean nothing).  A descriptor or -errno. */
int node_fd_open(const struct node_fd *node, int flags);

/* openat(2) that makes room when descriptors run out.  A descriptor or -errno. */
int fs_openat(struct fs *fs, int dirfd, const char *name, int flags, mode_t mode);

/* "/proc/self/fd/N", for calls that take a path only. */
struct fd_path {
	char text[32];
};
struct fd_path fd_path(int fd);

/* Fills in how the inode at dirfd/name is found again. */
int source_fill(struct fs *fs, struct node_source *source, const struct statx *stx, uint64_t parent, int dirfd,
		const char *name);

/* ---- pin.c ------------------------------------------------------------- */

/* A node whose inode will not be found by handle or name, held by a descriptor. */
struct pin {
	struct fs *fs;
	uint64_t nodeid;	/* 0: nothing to hold */
	struct fd_entry *entry; /* with a reference */
};

/*
 * The inode behind fd (O_PATH; taken over) is about to lose its name in parent:
 * if it has a node that will not be found any more, its descriptor is pinned, and
 * left with relayd if somebody has it open.  0 or a negative errno.
 */
int pin_victim(struct fs *fs, struct pin *pin, int fd, const struct statx *stx, uint64_t parent, const char *name);
/* The inode is about to be renamed: pins it if it is found by name.  0 or a negative errno. */
int pin_moved(struct fs *fs, struct pin *pin, int fd, const struct statx *stx);
/* Undoes it: nothing happened to the inode, or it has its new name. */
void pin_drop(struct pin *pin);
/* Lets the pin be until the node is forgotten. */
void pin_leave(struct pin *pin);
/* Within a transaction that opens the node: a pinned inode is from now on kept by relayd. */
int pin_keep(struct fs *fs, const struct node_fd *node);
/* Within a transaction: a fresh node that has no name at all. fd is O_PATH, taken over. */
int pin_unnamed(struct fs *fs, uint64_t nodeid, int fd);
/* Before the end of a transaction: the nodes that it frees have no descriptors any more. */
void pin_forget(struct fs *fs, const struct txn *txn);
/* From init(): what earlier incarnations left with relayd. */
void pin_restore(struct fs *fs);

/* ---- files.c ----------------------------------------------------------- */

/* The handle's descriptor, opened again if this incarnation has not got it yet, or -errno. */
int file_get(struct fs *fs, uint64_t fh);
/* If this incarnation has it. */
int file_peek(uint64_t fh);
/* Gives a fresh handle its descriptor. */
void file_set(uint64_t fh, int fd);
/* Takes it back; the caller closes it.  -1: there is none. */
int file_take(struct fs *fs, uint64_t fh);
/* Leaves it with relayd: it could not be opened again.  0 or -errno. */
int file_keep(struct fs *fs, uint64_t fh);
/* The same for every handle of a node. */
void file_keep_all(struct fs *fs, uint64_t nodeid);
/* From init(): relayd had it.  Takes fd over. */
void file_restore(struct fs *fs, uint64_t fh, int fd);
/* What open flags a handle is opened again with. */
uint32_t file_flags(uint32_t flags);
/* True if we may well not open a file of this mode again with these flags. */
bool file_needs_keeping(const struct fs *fs, const struct statx *stx, uint32_t flags);

struct dir_reader;
/* The directory reader of a handle, or NULL without memory. */
struct dir_reader *file_reader(uint64_t fh);

/* ---- passthrough.c ----------------------------------------------------- */

/* From init(): whether it is to be had.  0, or a negative errno after a message if it has to be. */
int passthrough_init(struct fs *fs, const struct fuse_init_in *in);
/* From init(), when the tables are there: gives back what no open node has.  0 or a negative errno. */
int passthrough_restore(struct fs *fs);

/* What is to become of one OPEN or CREATE. */
struct passthrough {
	struct fs *fs;
	uint64_t backing; /* registered for it; 0: none */
	bool tried;	  /* that is as good as it gets */
	bool taken;	  /* the node has it */
};

/*
 * Before the transaction: registers the file if its node (0: it has none yet) is not open.
 * path_fd is an O_PATH descriptor of it, or -1; fd one that is open.
 */
void passthrough_prepare(struct fs *fs, struct passthrough *choice, uint64_t nodeid, int path_fd, int fd);
/*
 * Within it, before handle_new(): fills in out.  0 or a negative errno: -EAGAIN if the node was open
 * and is not any more, which asks for passthrough_prepare() without a nodeid.
 */
int passthrough_open(struct passthrough *choice, struct txn *txn, uint64_t nodeid, struct fuse_open_out *out);
/* After it: gives back what was registered in vain.  answered: it was not aborted. */
void passthrough_end(struct passthrough *choice, bool answered);
/*
 * Within a transaction, before handle_free(): *backing is what to relay_unback() after it, or 0.
 * 0 or a negative errno.
 */
int passthrough_release(struct fs *fs, struct txn *txn, uint64_t fh, uint64_t *backing);

/* ---- dir_reader.c ------------------------------------------------------ */

struct dir_entry {
	uint64_t ino;
	uint64_t offset; /* of the next one */
	uint8_t type;
	uint16_t name_length;
	const char *name; /* terminated; good until the next peek */
};

struct dir_reader *dir_reader_new(void);
void dir_reader_free(struct dir_reader *reader);
/* Takes the reader for one listing from `offset` on. */
void dir_reader_lock(struct dir_reader *reader, int fd, uint64_t offset);
void dir_reader_unlock(struct dir_reader *reader);
/* 1 with the next entry, 0 at the end, or -errno.  One that is not consumed comes again. */
int dir_reader_peek(struct dir_reader *reader, struct dir_entry *entry);
void dir_reader_consume(struct dir_reader *reader);

/* ---- creds.c ----------------------------------------------------------- */

/* Finds out what this process may do. */
void creds_init(struct fs *fs);
int creds_thread_start(struct relay_session *session);
/* Makes new objects the caller's, with that umask. */
void creds_take(struct fs *fs, const struct relay_req *req, uint32_t mask);
/* This process's own ids and privileges, as the kernel is to open registered files with. */
void creds_own(struct fs *fs);
/* What had to be given up for that is had again. */
void creds_drop(struct fs *fs);
/* With or without the privilege that saves set-id bits from writes. */
void creds_fsetid(struct fs *fs, bool on);

/* ---- entry.c ----------------------------------------------------------- */

/*
 * Starts the transaction that counts a lookup of the inode at dirfd/name, making
 * its node if need be, and fills in *entry.  0, with the transaction going on, or
 * a negative errno without one.
 */
int entry_begin(struct fs *fs, struct txn *txn, struct relay_req *req, const struct statx *stx, uint64_t parent,
		int dirfd, const char *name, struct fuse_entry_out *entry);
/* The same, and the reply to the request. */
void entry_reply(struct fs *fs, struct relay_req *req, const struct statx *stx, uint64_t parent, int dirfd,
		 const char *name);

/* ---- ops_*.c ----------------------------------------------------------- */

void op_lookup(struct relay_req *req, const char *name);
void op_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup);
void op_getattr(struct relay_req *req, const struct fuse_getattr_in *in);
void op_setattr(struct relay_req *req, const struct fuse_setattr_in *in);
void op_statx(struct relay_req *req, const struct fuse_statx_in *in);
void op_access(struct relay_req *req, const struct fuse_access_in *in);
void op_statfs(struct relay_req *req);
void op_syncfs(struct relay_req *req, const struct fuse_syncfs_in *in);
void op_readlink(struct relay_req *req);
void op_symlink(struct relay_req *req, const char *name, const char *target);
void op_mknod(struct relay_req *req, const struct fuse_mknod_in *in, const char *name);
void op_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name);
void op_link(struct relay_req *req, const struct fuse_link_in *in, const char *name);
void op_create(struct relay_req *req, const struct fuse_create_in *in, const char *name);
void op_tmpfile(struct relay_req *req, const struct fuse_create_in *in, const char *name);
void op_unlink(struct relay_req *req, const char *name);
void op_rmdir(struct relay_req *req, const char *name);
void op_rename(struct relay_req *req, const struct fuse_rename_in *in, const char *name, const char *newname);
void op_rename2(struct relay_req *req, const struct fuse_rename2_in *in, const char *name, const char *newname);
void op_open(struct relay_req *req, const struct fuse_open_in *in);
void op_read(struct relay_req *req, const struct fuse_read_in *in);
void op_write(struct relay_req *req, const struct fuse_write_in *in, const void *data, size_t size);
void op_flush(struct relay_req *req, const struct fuse_flush_in *in);
void op_release(struct relay_req *req, const struct fuse_release_in *in);
void op_fsync(struct relay_req *req, const struct fuse_fsync_in *in);
void op_lseek(struct relay_req *req, const struct fuse_lseek_in *in);
void op_fallocate(struct relay_req *req, const struct fuse_fallocate_in *in);
void op_copy_file_range(struct relay_req *req, const struct fuse_copy_file_range_in *in);
void op_copy_file_range_64(struct relay_req *req, const struct fuse_copy_file_range_in *in);
void op_opendir(struct relay_req *req, const struct fuse_open_in *in);
void op_readdir(struct relay_req *req, const struct fuse_read_in *in);
void op_readdirplus(struct relay_req *req, const struct fuse_read_in *in);
void op_releasedir(struct relay_req *req, const struct fuse_release_in *in);
void op_setxattr(struct relay_req *req, const struct fuse_setxattr_in *in, const char *name, const void *value,
		 size_t size);
void op_getxattr(struct relay_req *req, const struct fuse_getxattr_in *in, const char *name);
void op_listxattr(struct relay_req *req, const struct fuse_getxattr_in *in);
void op_removexattr(struct relay_req *req, const char *name);
void op_ioctl(struct relay_req *req, const struct fuse_ioctl_in *in, const void *data, size_t size);
void op_getlk(struct relay_req *req, const struct fuse_lk_in *in);
void op_setlk(struct relay_req *req, const struct fuse_lk_in *in);
void op_setlkw(struct relay_req *req, const struct fuse_lk_in *in);
void op_interrupt(struct relay_session *session, uint64_t unique);

/* A reply of 0 or a negative errno. */
static inline void reply_result(struct relay_req *req, int err)
{
	relay_reply_error(req, -err);
}

#endif
