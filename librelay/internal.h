/*
 * Inside librelay's server side: what its files share, file by file.
 *
 * Lanes.  In the socket lane each serving thread receives requests from the channel.  In
 * the direct lane the thread of relay_serve() receives it (given.c), and the serving threads
 * read /dev/fuse (direct.c) when they have nothing that was given to them (readers.c).  The lane
 * `uring` is the direct one, in which all threads but the first take requests from the rings
 * (rings_serve.c).
 *
 * Ownership.  relay_serve() makes the session, the serving threads and their
 * buffers, and takes all of it down before it returns.  A request belongs to the
 * thread that received it, in whose buffer its packet lies, until it is answered;
 * relay_req_detach() makes one that stands by itself, on the session's list.  In the
 * direct lane the request lies in its slot.
 *
 * Locks.  session->state_lock: the backend's state (state.c).  session->lock:
 * phase, error, started, the list of detached requests, and the moves of requests from
 * one slot to another; never held while anything of the backend's is called.
 * readers->lock: who reads, and what is given.  None is taken with another held.
 *
 * What survives a crash is in the journal and in the state only; nothing here is.
 */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "absence.h"
#include "cache_maps.h"
#include "relay/opcodes.h"
#include "relay/relay.h"
#include "relay/rings.h"
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

#define RELAY_NO_SLOT UINT32_MAX

struct relay_req {
	struct relay_session *session;
	const struct relay_op *op;
	const struct fuse_in_header *header;
	uint32_t size;	       /* of the request; header->len once it was checked */
	uint32_t index;	       /* the slot's */
	uint32_t entry;	       /* of a claimed one: of the rings, where it is answered; or RELAY_NO_ENTRY */
	uint64_t unique;       /* relay_req_unique(): the kernel's, without FUSE_UNIQUE_RESEND */
	uint64_t reply_unique; /* the reply's */
	uint64_t arrived_ns;   /* of a claimed one */
	struct relay_args args;
	struct absence_window window; /* session->absence */
	struct relay_slot *slot; /* NULL: the request takes no reply */
	uint8_t *reply;		 /* the slot's buffer, reply_capacity bytes */
	uint32_t reply_capacity;
	bool claimed; /* read from /dev/fuse: answered there, and its slot freed here */
	bool redo;
	bool transaction; /* holds state_lock */
	bool answered;	  /* nothing of it may be touched any more */
	bool parted;	  /* its slot is not its thread's any more: detached, or left to the next incarnation */

	/* Of a detached one: its place on session->detached. */
	bool detached;
	bool told; /* interrupt() was called for it at the channel's end */
	struct relay_req *next;
	struct relay_req **link;
};

/* What a thread sees of its clients, and what was done about it (pairing.c).  Its own, but for what says otherwise. */
struct relay_pace {
	uint64_t began;	  /* when the window did, ns */
	uint64_t read_at; /* the request in its handler */
	uint64_t replied_at;
	uint64_t waited;	/* in the window, ns: from replies to the next requests, where that was short */
	uint64_t waited_before; /* on the average, in the window before the trial */
	uint32_t client;	/* the thread that this one's last request came from */
	uint16_t requests, same, queued, soon; /* in the window: see pairing_judge() */
	uint16_t streak;
	bool follow;		   /* where the client runs is to be looked up */
	struct relay_thread *heir; /* gets the turn after this reply */
	_Atomic uint32_t replies;  /* the heir's are looked at by who has the turn before */
	bool pinned;		   /* with readers->lock held, or by the thread itself while it runs */
	cpu_set_t cpus;		   /* where it may run when it is not pinned */
};

/* One client and one thread that serves it (pairing.c). */
struct relay_pairing {
	int timer;		     /* a timerfd; -1: not had */
	_Atomic uint64_t busy_since; /* of the thread whose turn it is: 0 while it waits for a request */
	_Atomic bool guarded;	     /* the timer is running */
	_Atomic uint64_t not_before; /* no trial */
	_Atomic uint64_t backoff;    /* how long the next failure puts trials off, ns */
	_Atomic uint32_t client;     /* the last one of any thread's */
	_Atomic bool trial;	     /* the window is the first one after a turn was passed */
};

/* Several clients: whether one thread reads for them, or all do (crowd.c).  All of it is of who has set `judged`. */
struct relay_crowd {
	_Atomic bool judged;
	bool one;	   /* one thread reads, or has until somebody else ended its turn */
	bool trial;	   /* for the time being */
	bool one_won;	   /* the last answer */
	uint32_t replies;  /* of all threads, when the measurement began */
	uint64_t began;	   /* ns, as all times here */
	uint64_t cost_all; /* what a request took while all read */
	uint64_t cost_one; /* and in the trial */
	uint64_t again;	   /* when the question is asked again */
	uint64_t pause;	   /* from the last answer to that */
};

/* Each in cache lines of its own: what a thread writes for each request is here. */
struct relay_thread {
	_Alignas(64) struct relay_session *session;
	pthread_t id;
	uint8_t *buffer;	  /* of the channel's: RELAY_PACKET_AT + RELAY_PACKET_MAX bytes, page-aligned */
	_Atomic uint64_t serving; /* relay_req_unique() of the request in its handler, or 0 */
	struct relay_req req;

	/* Direct lane. */
	uint32_t slot; /* its own, in READING between requests; or RELAY_NO_SLOT */
	bool reader;   /* has or wants a slot to read into; changed with readers->lock held */
	struct relay_pace pace;
	_Atomic bool in_device; /* within device_read(): to be got out by a signal (device.c) */
	sigjmp_buf out_of_device;

	/* Lane `uring`. */
	uint32_t home;	 /* its queue */
	uint32_t entry;	 /* of the request that it has taken last; RELAY_NO_ENTRY: read from /dev/fuse */
	uint32_t strays; /* of the rings, when it last looked at the others' queues */
};

/* Whose turn it is to read, other than one thread's (its place in session->threads). */
#define RELAY_TURN_ALL UINT32_MAX
#define RELAY_TURN_NONE (UINT32_MAX - 1)

/* Who reads, and what is given (readers.c). */
struct relay_readers {
	pthread_mutex_t lock;
	struct relay_waiter *waiters; /* threads that have nothing to do, the last one first */
	_Atomic uint32_t turn;	      /* who else is in read() is to leave it; changed with `lock` held */
	bool go;		      /* relayd has said so */
	bool pausing;		      /* PAUSED is owed */
	bool gone;		      /* the mount has ended: nothing is to be read any more */
	bool ended;		      /* the session */
	unsigned count;		      /* threads whose `reader` is set */
	uint64_t *given;	      /* a ring of as many as there are slots: uniques on the channel */
	uint32_t given_first, given_count;
};

/* Lane `uring` (rings_serve.c). */
struct relay_session_rings {
	struct relay_rings_map map; /* .rings NULL: another lane */
	int *kicks;		    /* by queue: the keeper's eventfd, owned */
	uint32_t kick_count;
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
	struct relay_backing_table *backings; /* what is registered without relayd; NULL: nothing ever is */
	_Atomic bool back_denied;	      /* this process may not */
	_Atomic uint64_t *interrupted; /* by slot: relay_req_unique() of its last INTERRUPT */

	/* Direct lane. */
	int device; /* /dev/fuse, owned; -1: the socket lane */
	int kick;   /* the signal that gets threads out of reading it; 0: not had */
	struct relay_readers readers;
	struct relay_pairing pairing;
	struct relay_crowd crowd;
	struct relay_session_rings rings;
	bool rings_able; /* handlers may run at the same time */
	_Atomic bool *touched; /* by slot: the pages of its request buffer are mapped */

	/* What does not exist (absences.c). */
	struct cache_maps *maps; /* owned; NULL: the mount has none */
	struct relay_absences absences;
	bool absences_kept;	 /* the backend has asked for it */
	struct absence *absence; /* NULL: nothing is known */

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

/* Direct lane: what was given, by its unique on the channel.  The request is in its slot. */
void relay_internal_serve_given(struct relay_thread *thread, uint64_t unique);

/* What has neither a slot nor a reply: NOTIFY_REPLY, and INTERRUPT on the channel. */
void relay_internal_serve_unanswered(struct relay_thread *thread, const struct fuse_in_header *header, uint32_t size,
				     bool cut);

/* Fills in what a request has of its slot. */
void relay_internal_req_slot(struct relay_req *req, uint32_t index, uint32_t state);

/* Serves thread->req, which has its slot and is whole but for what is parsed here. */
void relay_internal_serve_request(struct relay_thread *thread, bool cut);

/* An answer on the channel to what has no slot of ours. */
void relay_internal_answer_outside(struct relay_session *session, uint64_t unique, int error);

/* ---- given.c ----------------------------------------------------------- */

/* Direct lane: receives the channel until it ends, on the thread of relay_serve(). */
void relay_internal_given_receive(struct relay_session *session);

/* ---- readers.c --------------------------------------------------------- */

enum relay_next {
	RELAY_NEXT_READ,  /* one request from /dev/fuse */
	RELAY_NEXT_GIVEN, /* what was given */
	RELAY_NEXT_END,
};

/* Returns 0 or a negative errno; deinit may follow in either case. */
int relay_internal_readers_init(struct relay_session *session);
void relay_internal_readers_deinit(struct relay_session *session);

/*
 * What a serving thread is to do next: waits until there is something.  Takes neither a
 * lock nor a system call while the thread is to read on.
 */
enum relay_next relay_internal_readers_next(struct relay_thread *thread, uint64_t *given);

static inline bool relay_internal_readers_paired(const struct relay_thread *thread)
{
	const struct relay_session *session = thread->session;

	return atomic_load(&session->readers.turn) == (uint32_t)(thread - session->threads);
}

/* The thread is to return to relay_internal_readers_next(), whatever it waits for. */
static inline bool relay_internal_readers_called(const struct relay_thread *thread)
{
	return atomic_load(&thread->session->readers.turn) != RELAY_TURN_ALL && !relay_internal_readers_paired(thread);
}

/* All may read: from now on only `thread` does.  Returns false if not all may. */
bool relay_internal_readers_join(struct relay_thread *thread);
/* `from` is the one who reads: from now on all do. */
void relay_internal_readers_leave(struct relay_thread *from);
/* The same, whoever it is, if it has been in a handler since `since`. */
void relay_internal_readers_part(struct relay_session *session, uint64_t since);
/* `thread` is the one who reads: pins another one to the processor, who may get its turn.  NULL: there is none. */
struct relay_thread *relay_internal_readers_heir(struct relay_thread *thread, unsigned cpu);
/* Gives it its turn, if `thread` still has that.  Returns whether it had. */
bool relay_internal_readers_pass(struct relay_thread *thread, struct relay_thread *heir);

/* Hands a request to the serving threads.  False: there are more than slots. */
bool relay_internal_readers_give(struct relay_session *session, uint64_t unique);
void relay_internal_readers_go(struct relay_session *session);
void relay_internal_readers_pause(struct relay_session *session);
/* The mount has ended: nothing is read any more; relayd is told once. */
void relay_internal_readers_gone(struct relay_session *session);
/* The session has: each thread is sent home from relay_internal_readers_next(). */
void relay_internal_readers_end(struct relay_session *session);

/* ---- pairing.c --------------------------------------------------------- */

/* Returns 0 or a negative errno; deinit may follow in either case. */
int relay_internal_pairing_init(struct relay_pairing *pairing);
void relay_internal_pairing_deinit(struct relay_pairing *pairing);

/* A thread has read a request; it has replied, or left it to others to reply. */
void relay_internal_pairing_read(struct relay_thread *thread, const struct fuse_in_header *header);
void relay_internal_pairing_replied(struct relay_thread *thread);

/* What is known of the client goes with the turn; readers->lock is held, and heir waits. */
void relay_internal_pairing_inherit(struct relay_thread *heir, const struct relay_thread *from);

/* Pins the calling thread to the processor on which it is. */
void relay_internal_pairing_stay(struct relay_thread *thread);
/* The thread may run where it could before it was pinned, if it was. */
void relay_internal_pairing_release(struct relay_thread *thread);

/* Waits until the channel has something, and looks meanwhile whether a paired thread is long in a handler. */
void relay_internal_pairing_watch(struct relay_session *session);

/* What a window of requests says. */
enum relay_pairing_advice {
	RELAY_PAIRING_KEEP,   /* nothing is to be changed */
	RELAY_PAIRING_JOIN,   /* one client, one request at a time: one thread is enough */
	RELAY_PAIRING_FOLLOW, /* the client seems to run on another processor */
	RELAY_PAIRING_LEAVE,  /* not one client any more, or nothing was gained */
};

enum relay_pairing_advice relay_internal_pairing_judge(struct relay_pairing *pairing, struct relay_pace *pace,
						       bool paired, uint64_t now);

/* ---- crowd.c ------------------------------------------------------------ */

/*
 * At the end of a thread's window, before pairing_judge(): `alone` says that it was one
 * client's.  Returns false if the window is for pairing_judge().
 */
bool relay_internal_crowd_window(struct relay_thread *thread, bool paired, bool alone);

/*
 * What several clients' requests say: `one` thread reads or all do, and they have replied
 * `replies` times in all.
 */
enum relay_pairing_advice relay_internal_crowd_judge(struct relay_crowd *crowd, bool one, uint32_t replies,
						     uint64_t now);

/* ---- device.c ---------------------------------------------------------- */

/* Takes the signal that gets threads out of device_read().  Returns 0 or -EBUSY: none is unused. */
int relay_internal_device_init(struct relay_session *session);
/* Gives the signal back; no thread is left. */
void relay_internal_device_deinit(struct relay_session *session);
/* To be called on a thread before it reads. */
void relay_internal_device_thread(struct relay_thread *thread);

/*
 * Reads one request into `buffer`, waiting for it.
 * Returns its size, -ECANCELED if the thread is to leave (it may have one nevertheless:
 * see device.c), or a negative errno.
 */
ssize_t relay_internal_device_read(struct relay_thread *thread, void *buffer, size_t size);

/* The same for a futex in memory that is shared: sleeps while *word is `value`, until woken or called. */
void relay_internal_device_wait(struct relay_thread *thread, _Atomic uint32_t *word, uint32_t value);

/*
 * Gets a thread out of device_read() and device_wait(), now or as soon as it comes there, if it is called by
 * readers->turn before.  The thread must not end meanwhile: readers->lock is held.
 */
void relay_internal_device_kick(struct relay_thread *thread);

/* ---- direct.c ---------------------------------------------------------- */

/*
 * Makes the session one of the direct lane.  Takes the device over, which
 * relay_internal_direct_deinit() closes, in any case.  Returns 0 or a negative errno.
 */
int relay_internal_direct_init(struct relay_session *session, int device);
void relay_internal_direct_deinit(struct relay_session *session);

/* Reads and serves one request, or returns because the thread is to do something else. */
void relay_internal_direct_serve(struct relay_thread *thread);
/* Frees the slot of a thread that reads no more. */
void relay_internal_direct_stop(struct relay_thread *thread);
/* Checks a reply that goes to the kernel unseen by relayd, and says on stderr what is wrong. */
bool relay_internal_direct_malformed(const struct relay_req *req, const struct fuse_out_header *out, uint32_t size);
/* Writes the stored reply of a claimed request, and has its slot void or free. */
void relay_internal_direct_reply(struct relay_req *req, const struct fuse_out_header *out, uint32_t size);

/* ---- rings_serve.c ------------------------------------------------------ */

/* Maps the rings, of which fd stays the caller's.  0 or a negative errno; deinit may follow in either case. */
int relay_internal_rings_init(struct relay_session *session, int fd, uint32_t queues);
/* The eventfd of the next queue, which is taken over if this returns 0; else -EPROTO: there is no such queue. */
int relay_internal_rings_kick_add(struct relay_session *session, int fd);
void relay_internal_rings_deinit(struct relay_session *session);
/* Whether the thread takes its requests from the rings. */
bool relay_internal_rings_has(const struct relay_thread *thread);
/* Gives the thread, which calls this, its queue and that queue's processor. */
void relay_internal_rings_settle(struct relay_thread *thread);
/*
 * Takes one request into `buffer`, and says in thread->entry whose it is; its unique is
 * published last.  Returns its size, -EAGAIN if there was none, after waiting for one, or
 * -ECANCELED if the thread is to do something else.
 */
ssize_t relay_internal_rings_read(struct relay_thread *thread, void *buffer, uint32_t capacity);
/*
 * An INTERRUPT may come before its request is copied.  Who hears it says so in the request's
 * entry, then looks for its slot; who has copied a request, and published its unique, then
 * looks here: so one of the two finds the other.
 */
void relay_internal_rings_interrupt(struct relay_session *session, uint64_t unique);
bool relay_internal_rings_interrupted(const struct relay_thread *thread, uint64_t unique);
/* Answers the request of a claimed entry. */
void relay_internal_rings_reply(struct relay_session *session, uint32_t entry, const char *opcode,
				const struct fuse_out_header *out);

/* ---- absences.c --------------------------------------------------------- */

/* Takes the maps over in any case.  Returns 0 or -ENOMEM. */
int relay_internal_absences_take(struct relay_session *session, const struct relay_absences *absences, const int *fds);
/* The backend's init() is done, with these flags agreed.  Returns 0 or -ENOMEM. */
int relay_internal_absences_begin(struct relay_session *session, uint64_t flags);
void relay_internal_absences_end(struct relay_session *session);

/* Before the handler.  Returns 0, or a negative errno: it must not be called. */
int relay_internal_absence_begin(struct relay_req *req);
/* The reply (payload behind its header) is stored, and nobody has it yet. */
void relay_internal_absence_end(struct relay_req *req, const struct fuse_out_header *out);

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

/* ---- backing_table.c ---------------------------------------------------- */

/* What the table is kept under. */
#define RELAY_KEY_BACKINGS UINT64_MAX

/* Direct lane, when passthrough is agreed: makes the table if there is none.  0 or a negative errno. */
int relay_internal_backing_table_new(struct relay_session *session);
/* Finds it among the kept descriptors, if it is there, and closes what is lost.  0 or a negative errno. */
int relay_internal_backing_table_restore(struct relay_session *session);
void relay_internal_backing_table_free(struct relay_session *session);
/* There is a table: as relay_back() and relay_unback(). */
int relay_internal_backing_table_add(struct relay_session *session, int fd, uint64_t *backing);
int relay_internal_backing_table_drop(struct relay_session *session, uint64_t backing);
void relay_internal_backing_table_each(struct relay_session *session, void (*each)(uint64_t backing, void *arg),
				       void *arg);

#endif
