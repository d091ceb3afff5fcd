/*
 * Inside librelay's server side: what its files share, file by file.
 *
 * Ownership.  relay_serve() makes the session, the serving threads and their
 * buffers, and takes all of it down before it returns.  A request belongs to the
 * thread that received it, in whose buffer its packet lies, until it is answered;
 * relay_req_detach() makes one that stands by itself, on the session's list.
 *
 * Locks.  session->state_lock: the backend's state (state.c).  session->lock:
 * phase, error, started, and the list of detached requests; never held while
 * anything of the backend's is called.  Neither is taken with the other held.
 *
 * What survives a crash is in the journal and in the state only; nothing here is.
 */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "relay/opcodes.h"
#include "relay/relay.h"
#include "relay/wire.h"

#define RELAY_INTERNAL_PAGE 4096u

/* Where a packet is received, so that the data of a WRITE begins on a page. */
#define RELAY_PACKET_AT (RELAY_INTERNAL_PAGE - (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in)))
/* What a large slot holds (relay_slot_place()): no request is longer. */
#define RELAY_PACKET_MAX (RELAY_MAX_REQUEST + sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

enum relay_phase {
	RELAY_PHASE_STARTING, /* threads are being made; none receives yet */
	RELAY_PHASE_SERVING,
	RELAY_PHASE_ENDED, /* no reply is stored any more */
};

struct relay_req {
	struct relay_session *session;
	const struct relay_op *op;
	const struct fuse_in_header *header;
	struct relay_args args;
	struct relay_slot *slot; /* NULL: the request takes no reply */
	uint8_t *reply;		 /* the slot's buffer, reply_capacity bytes */
	uint32_t reply_capacity;
	bool redo;
	bool transaction; /* holds state_lock */
	bool answered;	  /* nothing of it may be touched any more */

	/* Of a detached one: its place on session->detached. */
	bool detached;
	bool told; /* interrupt() was called for it at the channel's end */
	struct relay_req *next;
	struct relay_req **link;
};

struct relay_thread {
	struct relay_session *session;
	pthread_t id;
	uint8_t *buffer;	  /* RELAY_PACKET_AT + RELAY_PACKET_MAX bytes, page-aligned */
	_Atomic uint64_t serving; /* the unique of the request in its handler, or 0 */
	struct relay_req req;
};

struct relay_kept {
	uint64_t key;
	int fd; /* owned; -1: handed over */
};

struct relay_session {
	int fd; /* the caller's */
	const struct relay_ops *ops;
	void *userdata;

	/* From the handshake, constant afterwards. */
	uint64_t init_unique;
	struct fuse_init_in init;
	uint32_t incarnation;
	bool shared_store;
	struct relay_journal_map journal;
	struct relay_kept *kept;
	uint32_t kept_count;
	bool passthrough; /* files can be registered */
	int32_t *backed;  /* the ids of files that earlier incarnations have registered */
	uint32_t backed_count;
	_Atomic uint64_t *interrupted; /* by slot: the unique of its last INTERRUPT */

	pthread_mutex_t state_lock;
	uint8_t *state; /* NULL: the backend has none */
	size_t state_size;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic uint32_t phase; /* written with `lock` held */
	int error;		/* what relay_serve() is to return */
	unsigned started;	/* threads whose thread_start() has returned */
	struct relay_req *detached;
	struct relay_thread *threads;
	unsigned thread_count;
};

/* ---- serve.c ----------------------------------------------------------- */

/* The channel has ended, with 0 or a negative errno: no reply is stored from now on. */
void relay_internal_session_end(struct relay_session *session, int error);

static inline bool relay_internal_session_ended(const struct relay_session *session)
{
	return atomic_load(&session->phase) == RELAY_PHASE_ENDED;
}

/* ---- channel.c --------------------------------------------------------- */

/*
 * Sends one packet, waiting for room if the descriptor is non-blocking.
 * Returns 0 or a negative errno.
 */
int relay_internal_channel_send(struct relay_session *session, const struct iovec *iov, int iovcnt, const int *fds,
				unsigned nfds);

/*
 * Receives one packet, waiting for it; as relay_internal_recv_fds().  A reset
 * connection is an end as any other: 0.
 */
ssize_t relay_internal_channel_receive(struct relay_session *session, void *buffer, size_t size, int *fds,
				       unsigned *nfds);

/* Sends a notification: code, its structure, and what follows that (which may be NULL). */
int relay_internal_channel_notify(struct relay_session *session, int32_t code, const void *body, size_t body_size,
				  const void *tail, size_t tail_size, const int *fds, unsigned nfds);

/* ---- handshake.c ------------------------------------------------------- */

/*
 * From INIT to the rolled back state, without answering INIT.
 * Returns 0, 1 if the channel was closed, or a negative errno.
 */
int relay_internal_handshake(struct relay_session *session);

/*
 * Has the backend's init() say what it wants, and makes the answer of it.
 * Returns 0 or a negative errno.
 */
int relay_internal_negotiate(struct relay_session *session, struct fuse_init_out *out);

/* Answers INIT: with `out`, or with an error (negative) and `out` NULL. */
int relay_internal_init_reply(struct relay_session *session, int error, const struct fuse_init_out *out);

/* ---- serve_request.c --------------------------------------------------- */

/*
 * Serves one packet of `size` bytes, which is as long as `cut` says or longer.
 * All that it needs is in `thread`, and free again when it returns.
 */
void relay_internal_serve_packet(struct relay_thread *thread, void *packet, size_t size, bool cut);

/* ---- serve_forget.c ---------------------------------------------------- */

void relay_internal_serve_forget(struct relay_req *req);

/* ---- request.c --------------------------------------------------------- */

/* Publishes APPLYING with `size` bytes of pre-state. */
void relay_internal_req_applying(struct relay_req *req, size_t size);
/* Nothing of the request may be touched afterwards. */
void relay_internal_req_end(struct relay_req *req);

/* ---- state.c ----------------------------------------------------------- */

/* Maps the state that is among the kept descriptors, if one is, and rolls it back. */
int relay_internal_state_restore(struct relay_session *session);
void relay_internal_state_unmap(struct relay_session *session);
/* Ends the transaction, if there is one, after what made it true was published. */
void relay_internal_state_commit(struct relay_req *req);

/* ---- keep.c ------------------------------------------------------------ */

/* As relay_keep_fd(), for any key. */
int relay_internal_keep(struct relay_session *session, uint64_t key, int fd);
/* Takes fd over in any case.  Returns 0 or -ENOMEM. */
int relay_internal_kept_add(struct relay_session *session, uint64_t key, int fd);
/* The descriptor under the key, which stays the session's, or -1. */
int relay_internal_kept_get(const struct relay_session *session, uint64_t key);
void relay_internal_kept_close(struct relay_session *session);

/* ---- backing.c --------------------------------------------------------- */

/* Returns 0 or -ENOMEM. */
int relay_internal_backed_add(struct relay_session *session, int32_t id);
void relay_internal_backed_free(struct relay_session *session);

#endif
