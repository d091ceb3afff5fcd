/*
 * The path of a request: kernel -> journal -> backend -> kernel.
 *
 * One thread, the carrier (dispatch_carry.c), moves them in both directions, and waits in
 * neither:
 *
 * - dispatch_read.c reads /dev/fuse into journal slots, and has them sent to the backend;
 * - dispatch_reply.c takes what the backend sends, checks it, and writes it to the kernel.
 *
 * The main thread opens and shuts the gate between journal and backend
 * (dispatch_redo.c).  While it is shut, what has been read waits in the journal,
 * and the rest with the kernel, where its callers can be killed.
 *
 * Where the backend makes up its own ids (`translated`), what goes to it and what
 * comes from it is translated on the way (translate.h), and requests that need
 * something of an earlier incarnation go by the repair pool (repair.h).
 *
 * Who may touch a slot's struct inflight: the carrier from IDLE until it is
 * WAITING, REPAIR or SENT, and while it is SENT and a channel is served; the repair thread
 * that has it while it is REPAIR, and whoever has the pool's lock while it is PARKED; the
 * main thread while no channel is served (after DISPATCH_DRAINED, before the gate opens) all
 * but the pool's and what the carrier is reading into.  `state` is the hand-over, and who has
 * one that is WAITING has `lock`.  In the direct lane the carrier has none of them after INIT, and
 * a slot that is IDLE here may be the backend's.
 *
 * Locks, in the order in which they are taken: lock, repair.lock, then either
 * ask.lock or translate.lock, notify.lock.
 */
#ifndef RELAYD_DISPATCH_H
#define RELAYD_DISPATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backing.h"
#include "cache.h"
#include "dispatch_direct.h"
#include "dispatch_table.h"
#include "journal.h"
#include "keep.h"
#include "log.h"
#include "loop.h"
#include "notify.h"
#include "relay/opcodes.h"
#include "repair.h"
#include "rings.h"
#include "session.h"
#include "stats.h"
#include "translate.h"
#include "watch.h"

/* What the carrier tells the main thread; bits of dispatch.events. */
enum dispatch_event {
	DISPATCH_KERNEL_INIT = 1 << 0, /* the kernel's INIT is in the session */
	DISPATCH_KERNEL_GONE = 1 << 1, /* unmounted, or aborted */
	DISPATCH_HELLO = 1 << 2,       /* the backend is linked with librelay */
	DISPATCH_ANSWERED = 1 << 3,    /* the backend's INIT reply is in init_reply */
	DISPATCH_DRAINED = 1 << 4,     /* the channel has ended and nothing is left in it */
	DISPATCH_PROGRESS = 1 << 5,    /* a request was answered (while `watched`) */
	DISPATCH_DISTRUST = 1 << 6,    /* what is known may be untrue: cache_distrust() */
};

/* Interrupts the main thread in a read() (dispatch_resend.c); has a handler that does nothing (daemon.c). */
#define DISPATCH_SIGNAL SIGUSR2

/* Slots are fewer: the number that marks INIT's unique on the channel. */
#define DISPATCH_INIT_SLOT ((1u << RELAY_UNIQUE_SLOT_BITS) - 1)

/* Longer than any packet of the protocol: what does not fit is malformed. */
#define DISPATCH_REPLY_SIZE (RELAY_MAX_REPLY + 4096u)

/* Deaths by SIGKILL, which says nothing about the request, that count as one life. */
#define DISPATCH_KILLS_PER_LIFE 10u

struct dispatch {
	const char *name; /* the mount's, for the log */
	struct journal *journal;
	struct session *session;
	struct stats *stats;
	struct keep keep; /* the carrier's */
	struct backing backing; /* likewise */
	struct notify notify;
	struct translate translate;
	struct repair repair;
	struct dispatch_table *table;
	int table_fd; /* of it, owned */
	struct inflight *inflight; /* one per slot, in the table */
	void *reply;		   /* the carrier's buffer */
	struct log_limit complaints; /* the carrier's: what a backend does wrong */

	pthread_t carrier;
	bool running;
	_Atomic bool stop;
	_Atomic bool unplugged; /* the kernel's end of the session is gone */
	_Atomic bool starving;	/* the carrier has no slot to read into */
	int kick;		/* eventfd: dispatch_kick() */

	/* The carrier's own. */
	uint32_t next; /* the slot to read into next, if it is claimed */
	bool claimed;
	bool holds;	 /* a request could not be sent: `held` waits for it */
	bool wants_room; /* ... for room in the channel, else for the gate */
	bool forgets_singly; /* the present incarnation does not know BATCH_FORGET */
	uint32_t held;

	/* Open: requests go to the channel.  Opened under `lock`, shut without it. */
	_Atomic bool gate;

	/* `lock` guards these, and is held while anybody sends: nobody waits with it. */
	pthread_mutex_t lock;
	int channel;	   /* -1: none.  The main thread's to set and close. */
	uint32_t serial;   /* counts channels, so that the carrier knows a new one */
	uint32_t incarnation;

	struct cache *cache; /* the mount's; NULL: it has none */
	bool shared_store; /* told to backends: others write to the store too */

	struct loop_wake *wake; /* the mount's: has it look at events */
	_Atomic unsigned events;
	_Atomic bool watched;
	_Atomic bool failing; /* what would wait for a backend is answered with an error */
	_Atomic bool librelay; /* the present incarnation has said HELLO */
	bool shared;	       /* the carrier's: some incarnation was given the journal */
	_Atomic bool translated; /* backends make up their own ids: from the first dispatch_redo() on */
	_Atomic bool forgetting; /* translate.forgets may hold some */
	struct direct direct;
	struct watch watch; /* the main thread's */
	struct rings *rings; /* the mount's, if the lane may be `uring`; NULL: it may not */
	pid_t gone; /* the main thread's: whose channel has ended, and who has not; 0: none */
	_Atomic uint64_t died_ns; /* when the last incarnation died, until the pause is noted */

	uint64_t full_ns;  /* the carrier's: when it last told of a full journal */
	uint8_t init_reply[sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out)];
	uint32_t init_reply_size;
	pid_t peer_pid; /* who sent it; 0: unknown */
};

/*
 * The journal, the session and the stats stay the caller's and outlive this.
 * Threads start with dispatch_start(), which needs the session's mount; what is here
 * before needs none.  Returns 0 or a negative errno.
 */
int dispatch_init(struct dispatch *dispatch, const char *name, struct journal *journal, struct session *session,
		  struct stats *stats, struct loop_wake *wake);
int dispatch_start(struct dispatch *dispatch);

/*
 * Between the two, instead of beginning anew: goes on with the table that an earlier relayd
 * has left, and with the journal and the state that go with it.  `session` says what was agreed.  Every slot is in one of the states
 * in which an incarnation leaves it.  Descriptors that are taken over are set to -1.
 * Returns 0, -EPROTO if it cannot be true, or another negative errno.
 */
int dispatch_resume(struct dispatch *dispatch, int *table_fd, int *state_fd, uint32_t incarnation);

/* After dispatch_start(): goes on with a channel on which a backend was served, `open` or only to its end. */
void dispatch_channel_resume(struct dispatch *dispatch, int channel, bool open);

/* Whether no request is relayd's: backends that read by themselves have all there are. */
bool dispatch_idle(const struct dispatch *dispatch);

/* Ends the threads.  The channel must have ended (DISPATCH_DRAINED), if there was one. */
void dispatch_deinit(struct dispatch *dispatch);

/* Takes the events that have come since the last call. */
unsigned dispatch_events_take(struct dispatch *dispatch);

/*
 * Serves a new channel (which stays the caller's until DISPATCH_DRAINED has come
 * and dispatch_channel_end() was called) as this incarnation, and sends INIT on it.
 * Returns 0 or a negative errno.
 */
int dispatch_channel_begin(struct dispatch *dispatch, int channel, uint32_t incarnation);

/* The two halves of it.  With a channel whose INIT is answered already, what was said there is unread still. */
int dispatch_init_send(struct dispatch *dispatch, int channel, uint32_t incarnation);
void dispatch_channel_adopt(struct dispatch *dispatch, int channel, uint32_t incarnation);

/*
 * Shuts the gate: nothing more is sent but what is being sent.  Waits for nothing.
 */
void dispatch_gate_shut(struct dispatch *dispatch);

/*
 * After DISPATCH_DRAINED: sends the replies that the dead incarnation had stored
 * to the kernel, and makes the rest wait for the next one.  `own_fault`: it died
 * by its own doing, which counts against the requests that it had.  If it was ended
 * for a request that it held (watch_look()), that counts against that one alone.
 */
void dispatch_channel_end(struct dispatch *dispatch, bool own_fault);

/* Tells whether the next redo has to go one by one, since one of them may kill. */
bool dispatch_redo_suspects(const struct dispatch *dispatch);

/*
 * Gives the present incarnation what earlier ones had not answered, oldest first,
 * after answering EIO to those that have killed `lives` incarnations.  Never waits.
 *
 * Returns 0 when the gate may open; 1 if `single`, which gives them one by one, or if
 * the journal is full: to be called again on DISPATCH_PROGRESS; -EAGAIN if the channel
 * is full: to be called again in a while.
 */
int dispatch_redo(struct dispatch *dispatch, unsigned lives, bool single);

/*
 * Opens the gate, after sending what came since the redo; in the direct lane the backend
 * is told to read.  Tells whether any request has waited that does not wait for others by
 * itself.  Returns 0, or -EAGAIN as dispatch_redo(): it is shut still.
 */
int dispatch_gate_open(struct dispatch *dispatch, bool *waited);

/*
 * Answers EINTR for callers that are dying, so that they end though no backend is
 * there; and for the backend's own, which has to end before there can be another.  Only while the gate is shut.
 * And finds out whether the mount has ended, which the carrier does not while it holds a request.
 */
void dispatch_sweep(struct dispatch *dispatch);

/*
 * While a backend serves: has the end of the mount found out where no thread reads.  Returns
 * whether there are requests that a backend which is dying would have to answer.
 */
bool dispatch_look(struct dispatch *dispatch);

/*
 * While the gate is shut: what waits for a backend, and what comes, is answered with an error
 * (dispatch_fail.c), until dispatch_fail_end().  What comes in the direct lane, and what was given
 * back, waits for the next dispatch_fail_waiting().
 */
void dispatch_fail_begin(struct dispatch *dispatch);
void dispatch_fail_waiting(struct dispatch *dispatch);
void dispatch_fail_end(struct dispatch *dispatch);

/*
 * Requests in flight; those that the present incarnation has and that don't wait for others.
 * What backends have read by themselves counts as far as the journal can be believed.
 */
uint32_t dispatch_inflight(const struct dispatch *dispatch);
uint32_t dispatch_outstanding(const struct dispatch *dispatch);
/* The latter without what backends have read by themselves: relayd's own word. */
uint32_t dispatch_given(const struct dispatch *dispatch);

/* ---- between the files of dispatch ------------------------------------- */

/*
 * Sends the slot's request, which is WAITING, to the channel; `lock` is held.  It is
 * SENT or in REPAIR afterwards, or done with.  Returns 0, or with MSG_DONTWAIT in flags
 * -EAGAIN if the channel is full: it is WAITING still.
 */
int dispatch_send(struct dispatch *dispatch, uint32_t slot, int flags);

enum dispatch_pass {
	DISPATCH_PASSED, /* it is SENT, or was answered: the slot may be another request's */
	DISPATCH_BEHIND, /* something that it needs has to be restored, or it must wait for the namespace gate */
};

/*
 * Sends the slot's request, translated; `lock` is held.  Returns an enum dispatch_pass, or
 * -EAGAIN if the channel is full, or -EPIPE if it has ended: the slot's state is as it was then,
 * and it is not in the namespace gate, and neither is it with DISPATCH_BEHIND.
 */
int dispatch_pass(struct dispatch *dispatch, uint32_t slot, int flags);
/* Whether there may be something that the backend may forget. */
bool dispatch_forgets(const struct dispatch *dispatch);
/* The carrier: tells it, if the gate is open.  Returns whether all is told. */
bool dispatch_forgets_send(struct dispatch *dispatch);
/* Tells the backend that this request of its is interrupted.  A hint: a full or ended channel takes none. */
void dispatch_interrupt(struct dispatch *dispatch, uint64_t channel_unique);
/* The carrier: answers the request from what relayd knows by itself, and frees the slot; or returns false. */
bool dispatch_known(struct dispatch *dispatch, uint32_t slot);
/* Answers the request with an error (0: success without payload) and frees the slot. */
void dispatch_answer(struct dispatch *dispatch, uint32_t slot, int error);
/* The same for what only the carrier has seen, and perhaps not found well-formed: no table is told. */
void dispatch_refuse(struct dispatch *dispatch, uint32_t slot, int error);
/*
 * Writes a reply that was checked to the kernel, and frees the slot.  The header is
 * relayd's own copy, but for the unique, which is set here.  The payload, in the form of
 * the backend, is translated where it lies.
 */
void dispatch_deliver(struct dispatch *dispatch, uint32_t slot, const struct fuse_out_header *header, void *payload);
/* A short reply in the kernel's form, before it is written: for a relayd that has to write it again. */
void dispatch_store(struct dispatch *dispatch, uint32_t slot, const struct fuse_out_header *out, const void *payload);
/* The request is through the namespace gate no longer, if it was. */
void dispatch_namegate_leave(struct dispatch *dispatch, struct inflight *r);
void dispatch_free(struct dispatch *dispatch, uint32_t slot);
/* A slot that nobody has, of those from `from` to before `to`. */
bool dispatch_find_idle(struct dispatch *dispatch, uint32_t from, uint32_t to, uint32_t *slot);
/*
 * Fills in relayd's own copy of what the reply will be held against.  `request` is a copy
 * too where a backend can write to the slot.  Returns its row, or NULL; *err gets 0, -ENOSYS
 * or -EPROTO.
 */
const struct relay_op *dispatch_note(struct dispatch *dispatch, uint32_t slot, const void *request, uint32_t size,
				     int *err);
/*
 * Moves a request that may wait for others into a small slot, so that waiters
 * never fill the large ones.  Returns false if there is none (it was answered).
 */
bool dispatch_shrink(struct dispatch *dispatch, uint32_t *slot);
/* Gives the request a unique of the channel. */
void dispatch_name_unique(struct dispatch *dispatch, uint32_t slot);
/* Passes an INTERRUPT on, if its request is with the backend, and remembers it for a redo. */
void dispatch_interrupt_take(struct dispatch *dispatch, const struct fuse_interrupt_in *in);
/* The kernel's own number of a request: without the mark of one that it sent again. */
static inline uint64_t dispatch_kernel_number(uint64_t unique)
{
	return unique & ~FUSE_UNIQUE_RESEND;
}
/* The kernel's end is gone: nothing is read any more, and the main thread is told.  Once. */
void dispatch_device_gone(struct dispatch *dispatch);
/* Polls the kernel's end, for that. */
void dispatch_device_look(struct dispatch *dispatch);
/*
 * Answers a request that waits, if its caller waits for nothing but that answer to die.  `lock` is
 * held, or there is no channel.
 */
void dispatch_abandon(struct dispatch *dispatch, uint32_t slot);
/*
 * Gives the kernel an error for a request in that state, and keeps its slot for the rollback.
 * Returns false if it is in another one by now.
 */
bool dispatch_give_up(struct dispatch *dispatch, uint32_t slot, uint32_t state, int error);
/* A request for which no backend has served in time; `lock` is held. */
void dispatch_fail(struct dispatch *dispatch, uint32_t slot);
/* Whether such a request is answered with an error: not what the backend has to hear of some day. */
static inline bool dispatch_fails(const struct relay_op *op)
{
	return op->reply != RELAY_REPLY_NEVER && !(op->flags & RELAY_OP_UNWAITED);
}
/* Whether its caller, who can be given up, is dying. */
bool dispatch_caller_dying(const struct inflight *r);
/* Whether the caller, who waits for an answer, needs it to die; one of the backend's that is gone, if `forced`. */
bool dispatch_caller_waits_in_vain(const struct dispatch *dispatch, uint32_t pid, bool forced);
/*
 * Gives the kernel a reply whose unique is the kernel's own, where its request has come
 * from.  Returns 0 or a negative errno: -ENOENT if the kernel does not wait for it.
 */
int dispatch_kernel_reply(struct dispatch *dispatch, const struct fuse_out_header *out, const void *payload);

/* ---- dispatch_rings.c: all but for the lane `uring` only ------------------ */

/* Whether requests come by the rings, from the agreed INIT on. */
static inline bool dispatch_is_uring(const struct dispatch *dispatch)
{
	return dispatch->session->agreed && dispatch->session->rings;
}

/* dispatch_kernel_reply() for what has come by the rings. */
int dispatch_rings_reply(struct dispatch *dispatch, const struct fuse_out_header *out, const void *payload);
/* After dispatch_import(): what the dead one had claimed and not yet copied is anybody's again. */
void dispatch_rings_import(struct dispatch *dispatch);
/* Answers dying callers whose requests nobody has claimed. */
void dispatch_rings_sweep(struct dispatch *dispatch);
/* Answers ENOTCONN for all that nobody has claimed, but for what dispatch_fails() leaves out. */
void dispatch_rings_fail(struct dispatch *dispatch);
/* Whether some request in the rings is nobody's yet. */
bool dispatch_rings_pending(const struct dispatch *dispatch);
/* After WELCOME: gives a new incarnation the rings.  0 or a negative errno. */
int dispatch_rings_offer(struct dispatch *dispatch);

void dispatch_event(struct dispatch *dispatch, unsigned events);
uint64_t dispatch_now_ns(void);
const char *dispatch_opcode_name(uint32_t opcode);
/*
 * The carrier: a BACK or UNBACK of the backend's, with its descriptor (-1: none), which stays the caller's.
 * Returns 0, or -EPROTO if it is malformed.
 */
int dispatch_backing_take(struct dispatch *dispatch, const void *packet, uint32_t size, int fd);
/* What an earlier relayd had registered, in fd, which is taken over.  0 or a negative errno. */
int dispatch_backing_resume(struct dispatch *dispatch, int fd);
/* Tells a new incarnation what earlier ones have registered.  0 or a negative errno. */
int dispatch_backing_tell(struct dispatch *dispatch);

/* Has the carrier look at what was changed.  From any thread. */
void dispatch_kick(struct dispatch *dispatch);
int dispatch_kick_init(struct dispatch *dispatch);
void *dispatch_carrier(void *arg);

/* The carrier: whether it may read the kernel's next request. */
bool dispatch_device_ready(struct dispatch *dispatch);
/* Takes it, after that.  Returns false if there is none. */
bool dispatch_device_take(struct dispatch *dispatch);
/* Sends the request that is held, if it can be by now. */
void dispatch_held_send(struct dispatch *dispatch);
/* Takes the backend's next packet.  Returns 0, -EAGAIN if there is none, or what the channel ended with. */
int dispatch_channel_take(struct dispatch *dispatch, int channel);

#endif
