/*
 * librelay: what a filesystem links to live behind relayd.
 *
 * Two ways to use it.  A filesystem that speaks the FUSE kernel protocol itself
 * calls relay_open() and relay_mount() in place of open("/dev/fuse") and
 * mount(2), and goes on as before.  A new one fills in struct relay_ops and
 * calls relay_serve(): it is then handed what an earlier life of it had not
 * answered, together with what it had written down about it.
 *
 * librelay(3) has the text; docs/recovery.md what a crash at each point does.
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <relay/fuse_abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- mounting ---------------------------------------------------------- */

/*
 * As open(2) of /dev/fuse.  path is "/dev/fuse"; flags are O_RDWR, and O_CLOEXEC
 * or O_NONBLOCK.  The descriptor takes one request per read() and one reply per
 * write(), as /dev/fuse does, once relay_mount() has succeeded with it.
 *
 * Returns a descriptor that the caller closes, or -1 with errno: ENOENT for
 * another path, EINVAL for other flags, ENFILE/EMFILE, ENOMEM.
 */
int relay_open(const char *path, int flags);

/*
 * As mount(2) of a FUSE filesystem, done by relayd.  data is the kernel's option
 * string and names the descriptor of relay_open(): "fd=N,rootmode=40000,
 * user_id=U,group_id=G[,allow_other][,default_permissions][,max_read=N]".
 * type is "fuse" or "fuse.SUBTYPE"; flags are MS_* of mount(2).
 *
 * If this user already owns a relayd mount at target, and its backend is gone,
 * the descriptor becomes that mount's next incarnation: a backend that comes
 * back after a crash calls this again with the same arguments.
 *
 * relayd is found by $RELAYD_SOCKET, or at its usual places (relayd(8)).
 *
 * Returns 0, or -1 with errno: EBADF for a descriptor not of relay_open(),
 * ECONNREFUSED or ENOENT when no relayd runs, EBUSY when the mount has a living
 * backend or target is another's mount, EPERM, EINVAL, ENOMEM.
 */
int relay_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);

/* ---- serving ----------------------------------------------------------- */

struct relay_session; /* one channel being served */
struct relay_req;     /* one request: the handler's until it replies */

/*
 * One handler per opcode of the protocol.  A handler gets the request and the
 * parts of its body, which stay valid until the reply; the node it is about is
 * relay_req_nodeid().  Each must lead to exactly one relay_reply_*() before it
 * returns, or to relay_req_detach() and one afterwards, from any thread.  (One
 * that does neither has its request answered EIO.)  An opcode whose handler is
 * NULL is answered ENOSYS (forget, interrupt: ignored; destroy: success).
 */
struct relay_ops {
	/*
	 * Called once per incarnation, before anything else, on the thread of
	 * relay_serve().  `in` is the kernel's INIT.  The handler sets in *out
	 * what it wants of what `in` offers (flags, flags2, max_readahead,
	 * time_gran, max_background, congestion_threshold); the rest is
	 * librelay's.  It restores its state here (relay_state(),
	 * relay_kept_fds()).  Returns 0, or a negative errno, which ends
	 * relay_serve() with it.
	 */
	int (*init)(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out);

	void (*lookup)(struct relay_req *req, const char *name);
	/* One call per node also for BATCH_FORGET.  No reply, no detaching: librelay's. */
	void (*forget)(struct relay_req *req, uint64_t nodeid, uint64_t nlookup);
	void (*getattr)(struct relay_req *req, const struct fuse_getattr_in *in);
	void (*setattr)(struct relay_req *req, const struct fuse_setattr_in *in);
	void (*readlink)(struct relay_req *req);
	void (*symlink)(struct relay_req *req, const char *name, const char *target);
	void (*mknod)(struct relay_req *req, const struct fuse_mknod_in *in, const char *name);
	void (*mkdir)(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name);
	void (*unlink)(struct relay_req *req, const char *name);
	void (*rmdir)(struct relay_req *req, const char *name);
	void (*rename)(struct relay_req *req, const struct fuse_rename_in *in, const char *name, const char *newname);
	void (*link)(struct relay_req *req, const struct fuse_link_in *in, const char *name);
	void (*open)(struct relay_req *req, const struct fuse_open_in *in);
	void (*read)(struct relay_req *req, const struct fuse_read_in *in);
	void (*write)(struct relay_req *req, const struct fuse_write_in *in, const void *data, size_t size);
	void (*statfs)(struct relay_req *req);
	void (*release)(struct relay_req *req, const struct fuse_release_in *in);
	void (*fsync)(struct relay_req *req, const struct fuse_fsync_in *in);
	void (*setxattr)(struct relay_req *req, const struct fuse_setxattr_in *in, const char *name, const void *value,
			 size_t size);
	void (*getxattr)(struct relay_req *req, const struct fuse_getxattr_in *in, const char *name);
	void (*listxattr)(struct relay_req *req, const struct fuse_getxattr_in *in);
	void (*removexattr)(struct relay_req *req, const char *name);
	void (*flush)(struct relay_req *req, const struct fuse_flush_in *in);
	void (*opendir)(struct relay_req *req, const struct fuse_open_in *in);
	void (*readdir)(struct relay_req *req, const struct fuse_read_in *in);
	void (*releasedir)(struct relay_req *req, const struct fuse_release_in *in);
	void (*fsyncdir)(struct relay_req *req, const struct fuse_fsync_in *in);
	void (*getlk)(struct relay_req *req, const struct fuse_lk_in *in);
	void (*setlk)(struct relay_req *req, const struct fuse_lk_in *in);
	/* May wait: relay_req_detach() it, and reply from elsewhere. */
	void (*setlkw)(struct relay_req *req, const struct fuse_lk_in *in);
	void (*access)(struct relay_req *req, const struct fuse_access_in *in);
	void (*create)(struct relay_req *req, const struct fuse_create_in *in, const char *name);
	/*
	 * `unique` is relay_req_unique() of a request not yet answered, or of none.
	 * It may come before the request's handler has run: see
	 * relay_req_interrupted().  No reply.
	 */
	void (*interrupt)(struct relay_session *session, uint64_t unique);
	void (*bmap)(struct relay_req *req, const struct fuse_bmap_in *in);
	void (*destroy)(struct relay_req *req);
	void (*ioctl)(struct relay_req *req, const struct fuse_ioctl_in *in, const void *data, size_t size);
	void (*poll)(struct relay_req *req, const struct fuse_poll_in *in);
	/* The answer to relay_notify_retrieve().  No reply. */
	void (*notify_reply)(struct relay_req *req, const struct fuse_notify_retrieve_in *in, const void *data,
			     size_t size);
	void (*fallocate)(struct relay_req *req, const struct fuse_fallocate_in *in);
	void (*readdirplus)(struct relay_req *req, const struct fuse_read_in *in);
	void (*rename2)(struct relay_req *req, const struct fuse_rename2_in *in, const char *name, const char *newname);
	void (*lseek)(struct relay_req *req, const struct fuse_lseek_in *in);
	void (*copy_file_range)(struct relay_req *req, const struct fuse_copy_file_range_in *in);
	void (*setupmapping)(struct relay_req *req, const struct fuse_setupmapping_in *in);
	void (*removemapping)(struct relay_req *req, const struct fuse_removemapping_in *in, const void *data,
			      size_t size);
	void (*syncfs)(struct relay_req *req, const struct fuse_syncfs_in *in);
	void (*tmpfile)(struct relay_req *req, const struct fuse_create_in *in, const char *name);
	void (*statx)(struct relay_req *req, const struct fuse_statx_in *in);
	void (*copy_file_range_64)(struct relay_req *req, const struct fuse_copy_file_range_in *in);

	/*
	 * Called on each serving thread before its first request, for what is a
	 * thread's own (credentials, umask).  Returns 0 or a negative errno, which
	 * ends relay_serve() with it.  May be NULL.
	 */
	int (*thread_start)(struct relay_session *session);
};

/*
 * Serves a channel until relayd closes it: the descriptor in $RELAY_FD, in the
 * command line's {fd}, or of relay_open() after relay_mount().  Reads requests
 * on `threads` threads (0: two per online processor, at least four).  ops and
 * userdata must outlive the call.  fd stays the caller's.
 *
 * When the channel has ended, interrupt() is called for every request that is not
 * yet answered, and relay_serve() waits until each of them has been: so a backend
 * that detaches requests has an interrupt(), or answers them in a bounded time.
 * These replies go nowhere and their changes of the state are undone: the requests
 * are the next incarnation's.
 *
 * On a mount of the direct lane the threads read /dev/fuse.  To get them out of read() one
 * signal that has its default action is taken until the call returns: SIGURG, or else a
 * real-time one.  interrupt() and notify_reply() may then be called on the calling thread.
 *
 * Returns 0 when the channel was closed, or a negative errno: -ENOTSOCK or
 * -EPROTO for a descriptor that is no channel of this version, -EBUSY if there is no such
 * signal, the error of read() from /dev/fuse, or that of init() or thread_start().
 */
int relay_serve(int fd, const struct relay_ops *ops, unsigned threads, void *userdata);

/* userdata of relay_serve(); and the session that a request came on. */
void *relay_session_userdata(const struct relay_session *session);
struct relay_session *relay_req_session(const struct relay_req *req);

/* Which life this is on its mount, from 1. */
uint32_t relay_session_incarnation(const struct relay_session *session);

/*
 * True if the mount's owner says that others write to the store too (relayd
 * --shared-store).  A redo then cannot take a name that it finds for its own
 * doing: it returns the error that it gets.
 */
bool relay_session_shared_store(const struct relay_session *session);

/* The request's header (struct fuse_in_header), valid until the reply. */
const struct fuse_in_header *relay_req_header(const struct relay_req *req);
uint64_t relay_req_nodeid(const struct relay_req *req);

/*
 * The request's identity, which is the kernel's number of it: the same in each incarnation
 * that it is given to, and no other request's on this mount, ever.
 */
uint64_t relay_req_unique(const struct relay_req *req);

/*
 * True once an INTERRUPT of the request has come, or the channel has ended.  A
 * handler that lets a request wait first makes it known to its interrupt(), then
 * asks this: an interrupt() that found nothing yet is then not lost.
 */
bool relay_req_interrupted(const struct relay_req *req);

/*
 * Lets the request outlive its handler's thread slot: copies it out of the
 * thread's buffer, so that it can be answered later.  In-pointers that the
 * handler was given die; the returned request has the same header, and its `in`
 * can be read through relay_req_in().  `req` must not be used any more.
 *
 * To be called outside of a state transaction.
 *
 * Returns the request to answer, or NULL if there is no memory: then `req` has
 * been answered ENOMEM.
 */
struct relay_req *relay_req_detach(struct relay_req *req);

/* The fixed part of the body (what a handler gets as `in`). */
const void *relay_req_in(const struct relay_req *req);

/* ---- redo -------------------------------------------------------------- */

/*
 * An operation that must not be applied twice is done in this order:
 *
 *     if (!relay_req_redo(req)) {
 *         fill in relay_req_pre(req): what the store looks like before
 *         relay_req_applying(req, size);
 *     }
 *     look at the store and at the pre-state; apply, or find it applied
 *     relay_reply_...(req, ...);
 *
 * A process dying before relay_req_applying() leaves a request that is fresh to
 * the next incarnation; one dying after it leaves a redo with its pre-state; one
 * dying after the reply was stored leaves nothing to do.
 */

/* True if an earlier incarnation came to relay_req_applying() with this request. */
bool relay_req_redo(const struct relay_req *req);

/*
 * The request's pre-state record, RELAY_PRE_MAX bytes, aligned to 8.  Fresh: to
 * be filled in (it has what another request left).  Redo: what was recorded, then
 * zeros.
 */
#define RELAY_PRE_MAX 512
void *relay_req_pre(struct relay_req *req);

/*
 * Publishes the first `size` (at most RELAY_PRE_MAX) bytes of the pre-state.  To
 * be called once, when fresh; a handler of an operation that may be repeated as
 * it is (relay-protocol(7)) need not call it.
 */
void relay_req_applying(struct relay_req *req, size_t size);

/* ---- replies ----------------------------------------------------------- */

/*
 * Each stores the whole reply in the journal, publishes it, ends the request's
 * state transaction, and sends it.  The request is gone afterwards.  error is a
 * positive errno, or 0.  A reply that is longer than the journal has room for
 * becomes EIO.
 */
void relay_reply_error(struct relay_req *req, int error);
void relay_reply(struct relay_req *req, const void *payload, size_t size);

/*
 * The place in the journal where the reply's payload goes, page-aligned, and its
 * capacity in *capacity: fill it in and call relay_reply_filled().  Saves a copy.
 */
void *relay_reply_buffer(struct relay_req *req, size_t *capacity);
void relay_reply_filled(struct relay_req *req, size_t size);

void relay_reply_entry(struct relay_req *req, const struct fuse_entry_out *entry);
void relay_reply_create(struct relay_req *req, const struct fuse_entry_out *entry, const struct fuse_open_out *open);
void relay_reply_attr(struct relay_req *req, const struct fuse_attr_out *attr);
void relay_reply_open(struct relay_req *req, const struct fuse_open_out *open);
void relay_reply_write(struct relay_req *req, uint32_t size);

/* ---- state that survives ----------------------------------------------- */

/*
 * The backend's state: shared memory that relayd keeps from one incarnation to
 * the next, zeroed for the first.  To be called from init().  Pages are had when
 * first touched, so a generous size costs nothing.  Before it returns, what
 * requests that had not stored their reply had changed is rolled back.
 *
 * Returns the memory (librelay's, until relay_serve() ends), or NULL with errno:
 * EINVAL if an earlier incarnation had another size.
 */
void *relay_state(struct relay_session *session, size_t size);

/*
 * Changes of the state are transactions of the request that makes them: they
 * become true together with its reply, an error or not.  relay_state_begin() takes
 * the session's one state lock, the reply (for a forget: the return from it)
 * releases it, on the same thread; between them words are changed with
 * relay_state_set() only.  A second begin within one goes on with the first.  Keep
 * system calls out of it.
 *
 * A process dying before the reply is stored leaves, after relay_state() in the
 * next incarnation, every word as it was at relay_state_begin(); one dying after
 * it leaves all the changes.  At most RELAY_STATE_MAX words per request.
 *
 * relay_state_set() returns 0, -ENOSPC past that limit, or -EINVAL for a word that
 * is not in the state or outside of a transaction (nothing is changed).
 * notify_reply() and interrupt() have no reply, and so no transactions.
 * relay_state_abort() undoes the changes and releases the lock without a reply.
 */
#define RELAY_STATE_MAX 64
void relay_state_begin(struct relay_req *req);
int relay_state_set(struct relay_req *req, uint64_t *word, uint64_t value);
void relay_state_abort(struct relay_req *req);

/*
 * Reads of the state outside of a transaction take the same lock.
 */
void relay_state_lock(struct relay_session *session);
void relay_state_unlock(struct relay_session *session);

/*
 * Leaves a duplicate of fd with relayd under key (neither 0 nor UINT64_MAX), where it survives this
 * process, until relay_drop_fd() or the mount's end.  A second one under the same
 * key replaces the first.  Once relay_keep_fd() has returned 0 the descriptor is
 * safe, whatever happens to this process.
 *
 * Returns 0 or a negative errno.
 */
int relay_keep_fd(struct relay_session *session, uint64_t key, int fd);
int relay_drop_fd(struct relay_session *session, uint64_t key);

/*
 * The descriptors that earlier incarnations left: calls each() for every one, to
 * be used from init().  each() owns fd and closes it.
 */
void relay_kept_fds(struct relay_session *session, void (*each)(uint64_t key, int fd, void *arg), void *arg);

/* ---- files that the kernel reads and writes by itself ------------------- */

/*
 * FUSE passthrough (kernel 6.9 on): the answer to an OPEN or CREATE may name a file that
 * the kernel then reads, writes and maps by itself.  It goes on doing so while no
 * backend is there.
 *
 * It is there if init() finds FUSE_PASSTHROUGH in in->flags2 and sets it in out->flags2,
 * without FUSE_WRITEBACK_CACHE.  (It may set max_stack_depth too; 1 is what it gets
 * otherwise: files of filesystems that are not stacked upon others.)
 *
 * relay_back() registers a regular file; fd may be O_PATH where the kernel takes that, and
 * stays the caller's.  What is opened through it is opened anew, with the registering
 * process's credentials and the flags of the application's open(2).  The registration,
 * in *backing, is good in each incarnation until relay_unback() or the mount's end; the
 * answer says it so:
 *
 *     out.open_flags |= FOPEN_PASSTHROUGH;
 *     out.backing_id = relay_backing_id(backing);   (`padding` in headers before 7.40)
 *
 * As long as an inode is open, each OPEN of it must be answered with the same registration,
 * or each without: the kernel answers EIO to others.  So which it is belongs into
 * the state, in the transaction of the answer.  A process dying between relay_back()
 * and that answer leaves a registration that the state does not know: relay_backings(), to be
 * used from init(), tells of all that earlier incarnations have left.
 *
 * relay_back() may have to wait for relayd: not within a transaction.  It returns 0, or a
 * negative errno: -EOPNOTSUPP without FUSE_PASSTHROUGH, -EPERM, -EINVAL or -EISDIR for what is no
 * regular file, -ELOOP for one on a stacked filesystem, -ENOSPC if too many are registered,
 * -ECONNRESET if the channel has ended.  Whatever it is, the answer can do without.
 *
 * relay_unback() does nothing once the channel has ended (-ECONNRESET): the reply that comes
 * before it may have been dropped then, and what the state does not have after all is the next
 * incarnation's to give back.
 *
 * relay_back_asks() tells whether it has to ask relayd, in which case it takes about as long
 * as two requests, and gains nothing for a small file; otherwise it takes a system call.
 */
int relay_back(struct relay_session *session, int fd, uint64_t *backing);
bool relay_back_asks(const struct relay_session *session);
int relay_unback(struct relay_session *session, uint64_t backing);
void relay_backings(struct relay_session *session, void (*each)(uint64_t backing, void *arg), void *arg);
/* The kernel's number of a registration. */
int32_t relay_backing_id(uint64_t backing);

/* ---- what does not exist ------------------------------------------------ */

/*
 * A mount that trusts its filesystem (relayd --trust) has a program in the kernel that answers for
 * names and extended attributes that do not exist, without asking.  It is told of them by
 * the library, from requests and replies, if init() calls relay_known_keep().  A filesystem
 * may do so if
 *
 * - it never gives a nodeid that was another file's, in whatever incarnation;
 * - names are different if their bytes are, and a listing has all the names there are;
 * - it sends a notification of each name that comes to be, of each attribute that does, and of each
 *   directory that changes, in any other way than by the mount's own requests.
 *
 * How much is believed, and whether replies hold until something changes or for the time
 * that they say, is the mount's to say.
 *
 * Returns 0, or -EOPNOTSUPP if the mount has no such program; then nothing of all this does
 * anything.
 */
int relay_known_keep(struct relay_session *session);

/*
 * What a filesystem knows beyond what it was asked: the name in that directory, or the attribute of
 * that node, does not exist for `lease` nanoseconds, or until something is done about it;
 * these are all the names in that directory, until the same.  An attribute is one of
 * security.selinux, security.capability, system.posix_acl_access, system.posix_acl_default.
 *
 * Return 0, whether there was room for it or not; -EAGAIN if a request that changes that directory or
 * node is under way; -EINVAL for another attribute; -EOPNOTSUPP; or another negative errno.
 */
#define RELAY_KNOWN_FOREVER UINT64_MAX
int relay_known_absent(struct relay_session *session, uint64_t dir, const char *name, uint64_t lease);
int relay_known_no_xattr(struct relay_session *session, uint64_t nodeid, const char *name, uint64_t lease);
int relay_known_complete(struct relay_session *session, uint64_t dir, const char *const *names, uint32_t count);

/*
 * Before it comes to be in another way than by a request: it may exist from here on.  Stale: the
 * kernel is to look the name up again, too, where --trust=gate is given; it comes before
 * relay_notify_inval_entry(), which does it as well, and may have to wait for a request.
 *
 * Return 0, or a negative errno: it may still be answered as absent.
 */
int relay_known_drop(struct relay_session *session, uint64_t dir, const char *name);
int relay_known_drop_xattrs(struct relay_session *session, uint64_t nodeid);
int relay_known_stale(struct relay_session *session, uint64_t dir, const char *name);

/* ---- notifications ----------------------------------------------------- */

/*
 * Tell the kernel that something changed behind its back (the structures and
 * their meaning are those of fuse.h).  Not from within a handler of a request
 * on the same inode or directory: the kernel holds its lock.
 *
 * Return 0 or a negative errno.  ENOENT (the kernel doesn't know the node) is not
 * reported.
 */
int relay_notify_inval_inode(struct relay_session *session, uint64_t nodeid, int64_t offset, int64_t length);
int relay_notify_inval_entry(struct relay_session *session, uint64_t parent, const char *name, uint32_t flags);
int relay_notify_delete(struct relay_session *session, uint64_t parent, uint64_t child, const char *name);
int relay_notify_store(struct relay_session *session, uint64_t nodeid, uint64_t offset, const void *data, size_t size);
int relay_notify_retrieve(struct relay_session *session, uint64_t unique, uint64_t nodeid, uint64_t offset,
			  uint32_t size);
int relay_notify_poll(struct relay_session *session, uint64_t kh);

#ifdef __cplusplus
}
#endif

#endif
