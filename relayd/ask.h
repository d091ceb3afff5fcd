/*
 * relayd's own requests to a backend, to find again what an earlier incarnation had.
 *
 * Each repair thread has one ask: it sends one request at a time and waits for the reply,
 * which the carrier hands over.  All ids are the present incarnation's.  The caller holds no
 * lock.
 *
 * What these return: 0; a positive errno that the backend has answered (EIO for a reply that
 * is malformed); -EPIPE if the channel has ended or is another's by now, after which the
 * caller gives up and the request waits for the next incarnation; -ENOMEM.
 */
#ifndef RELAYD_ASK_H
#define RELAYD_ASK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "relay/fuse_abi.h"
#include "relay/opcodes.h"
#include "relay/wire.h"

struct dispatch;

/* Threads that ask: their slot numbers on the channel are just below DISPATCH_INIT_SLOT. */
#define ASK_MAX 4u
#define ASK_SLOT(number) ((1u << RELAY_UNIQUE_SLOT_BITS) - 2u - (number))

struct ask {
	struct dispatch *dispatch;
	unsigned number;      /* below ASK_MAX */
	uint32_t incarnation; /* of the conversation: ask_begin() */
	void *request;	      /* RELAY_MAX_REQUEST bytes, owned */
	void *reply;	      /* RELAY_MAX_REPLY bytes, owned */
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	uint64_t unique; /* that is waited for; 0: none */
	uint64_t sequence;
	uint32_t reply_size; /* 0: not come */
	struct relay_bounds bounds;
	bool gone; /* the channel has ended */
};

int ask_init(struct ask *ask, struct dispatch *dispatch, unsigned number);
void ask_deinit(struct ask *ask);

/* A conversation with this incarnation begins. */
void ask_begin(struct ask *ask, uint32_t incarnation);

/* The carrier: a reply for this ask, which it copies; false if it waits for no such reply.  size holds a header. */
bool ask_take(struct ask *ask, const void *reply, uint32_t size);
/* The channel has ended. */
void ask_end(struct ask *ask);

/* Whose request it is: uid, gid and pid of this header. */
typedef const struct fuse_in_header ask_caller;

/* Whether nothing can be asked in this conversation any more: what -EPIPE was said for. */
bool ask_gone(struct ask *ask);

/*
 * Waits a while for room in this channel, which is the one of the conversation.  Returns
 * false if it has ended.
 */
bool ask_room(struct ask *ask, int channel);

/*
 * Any request: its body is the parts, one after another.  *payload and *size (may be NULL)
 * are what follows the header of the reply, until the next call.
 */
int ask_call(struct ask *ask, uint32_t opcode, uint64_t nodeid, ask_caller *caller, const struct iovec *parts,
	     unsigned count, void **payload, uint32_t *size);

/* Its count is the caller's: to be given to nodes_entry(), or back with ask_forget(). */
int ask_lookup(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller, struct fuse_entry_out *out);
int ask_forget(struct ask *ask, uint64_t nodeid, uint64_t nlookup);
int ask_getattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, struct fuse_attr_out *out);
/* in as the kernel would send it; handle in in->fh if its bit is set. */
int ask_setattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_setattr_in *in,
		struct fuse_attr_out *out);
/* OPEN, or OPENDIR. */
int ask_open(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint32_t flags, bool dir,
	     struct fuse_open_out *out);
/* RELEASE, or RELEASEDIR. */
int ask_release(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint32_t flags, bool dir);
/* The target is not terminated. */
int ask_readlink(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char **target, uint32_t *length);
int ask_unlink(struct ask *ask, uint64_t parent, const char *name, ask_caller *caller);
/* *size is 0 at the end of the directory. */
int ask_readdir(struct ask *ask, uint64_t nodeid, ask_caller *caller, uint64_t fh, uint64_t offset,
		const struct fuse_dirent **entries, uint32_t *size);
int ask_getxattr(struct ask *ask, uint64_t nodeid, ask_caller *caller, const char *name, const void **value,
		 uint32_t *size);
/* SETLK: does not wait; EAGAIN if somebody else has it. */
int ask_setlk(struct ask *ask, uint64_t nodeid, ask_caller *caller, const struct fuse_lk_in *in);

#endif
