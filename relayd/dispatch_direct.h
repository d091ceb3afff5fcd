/*
 * The direct lane: backends that read /dev/fuse and answer by themselves.
 *
 * relayd is not on the path of their requests.  It hands over the descriptors, says when
 * to read (GO) and when to stop (PAUSE), and steps in when a backend has died.  What that
 * one had not answered is then given to the next on the channel, as in the socket lane
 * (dispatch_redo.c), before it may read.
 *
 * Nobody reads /dev/fuse between two lives but the main thread, without waiting:
 *
 *   import  the slots that the dead one had claimed become relayd's (dispatch_direct.c)
 *   RESEND  the kernel takes back what was read and not answered, so that its callers
 *           can be killed again; the slots are RESENT (dispatch_resend.c)
 *   drain   when the next one has answered INIT: what the kernel sends again is found to
 *           its slot, which waits from then on as any other
 *
 * Without RESEND (kernels before 6.9, --resend=off) they wait in the journal at once.
 *
 * All of it is the main thread's, and needs no lock: the carrier does not read, and
 * has no channel, or none on which anything was sent that is in question.
 *
 * What a backend leaves in the journal is not trusted: each slot is copied, then checked.
 */
#ifndef RELAYD_DISPATCH_DIRECT_H
#define RELAYD_DISPATCH_DIRECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct dispatch;
struct inflight;

enum direct_lane {
	DIRECT_LANE_OPEN,   /* the first backend decides */
	DIRECT_LANE_SOCKET, /* relayd's carrier reads */
	DIRECT_LANE_DIRECT, /* backends do */
};

struct direct {
	bool wanted;	       /* --lane=direct: what is linked with librelay is to read by itself */
	bool no_resend;	       /* --resend=off, or the kernel has refused it */
	_Atomic uint32_t lane; /* enum direct_lane: from the first dispatch_redo() on it stays */
	_Atomic bool paused;   /* the carrier's: no thread of the backend reads any more */
	uint8_t *buffer;       /* what the main thread reads */
	uint32_t held;	       /* the size of what is in it, for which there was no slot; 0: nothing */
	uint8_t *copy;	       /* of the slot that is being looked at */
	timer_t alarm;	       /* interrupts the main thread in read(): see dispatch_resend.c */
};

/* On the main thread.  Returns 0 or a negative errno. */
int direct_init(struct direct *direct);
void direct_deinit(struct direct *direct);

/* Whether backends read: never true before the first one has agreed on INIT. */
static inline bool direct_is(const struct direct *direct)
{
	return atomic_load_explicit(&direct->lane, memory_order_acquire) == DIRECT_LANE_DIRECT;
}

/* Before anything is read: the lane that was taken by an earlier relayd, or what the first backend may decide. */
void dispatch_lane_begin(struct dispatch *dispatch);
/* The first backend's answer to INIT is agreed: the carrier reads on, or never again. */
void dispatch_lane_decide(struct dispatch *dispatch);

/* Tells the backend to read; `lock` is held.  Returns 0 or -EAGAIN if the channel is full. */
int dispatch_go(struct dispatch *dispatch);
/* Tells it to stop, if it reads. */
void dispatch_pause(struct dispatch *dispatch);
/* Whether it has: true in the socket lane. */
bool dispatch_paused(const struct dispatch *dispatch);

/*
 * What a dead incarnation had claimed becomes relayd's: SENT, so that the end of its
 * channel means for it what it means for what was given.  No thread of it runs any more.
 */
void dispatch_import(struct dispatch *dispatch);

/*
 * Of a backend that has to be answered by its own mount before it can end: imports what it
 * had, and reads what is pending, so that dispatch_sweep() can answer what its own threads
 * wait for.
 */
void dispatch_salvage(struct dispatch *dispatch);

/* ---- dispatch_resend.c ---------------------------------------------------- */

/* At the end of an incarnation: has the kernel take back what waits. */
void dispatch_resend(struct dispatch *dispatch);
/* Answers callers that were killed before the kernel had their requests back. */
void dispatch_retake(struct dispatch *dispatch);
/*
 * The present incarnation has rolled back, and reads nothing yet: finds what the kernel sends
 * again to its slots.  Returns whether that is done; else it is to be called again when
 * slots are free.
 */
bool dispatch_drain(struct dispatch *dispatch);
/* Reads everything that is pending, as far as there are slots. */
void dispatch_drain_all(struct dispatch *dispatch);

#endif
