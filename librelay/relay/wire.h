/*
 * What relayd and a backend linked with librelay share: the private messages
 * on the channel, and the layout of the journal.  Everything has a fixed width
 * and the byte order of the machine, as the FUSE protocol itself: both sides
 * run on one kernel.
 *
 * Internal to this project: not installed.  relay-protocol(7) is its text.
 */
#ifndef RELAY_WIRE_H
#define RELAY_WIRE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/fuse_abi.h"

#define RELAY_WIRE_VERSION 3u

/*
 * The channel is a SOCK_SEQPACKET socket: one FUSE request or reply a packet.
 * A packet of more than a few pages needs physically contiguous memory in the
 * kernel, so data is clamped to 64 KiB.
 */
#define RELAY_MAX_DATA 65536u
#define RELAY_MAX_PAGES 16u
/* A SETXATTR with a value of 64 KiB has its names besides. */
#define RELAY_MAX_REQUEST (RELAY_MAX_DATA + 4096u)
#define RELAY_MAX_REPLY (RELAY_MAX_DATA + 4096u)

/*
 * Private messages travel as FUSE messages with codes that the kernel does not
 * use, so a program that never sends HELLO sees nothing but FUSE.
 *
 * Backend to relayd: notifications (fuse_out_header with unique 0 and the code
 * in `error`).  relayd to backend: requests with these opcodes and unique 0.
 */
enum relay_notify {
	RELAY_NOTIFY_HELLO = 0x52000001, /* struct relay_hello: asks for WELCOME */
	RELAY_NOTIFY_KEEP = 0x52000002,	 /* struct relay_key, one descriptor */
	RELAY_NOTIFY_DROP = 0x52000003,	 /* struct relay_key */
	RELAY_NOTIFY_PAUSED = 0x52000004, /* no body: see RELAY_PAUSE */
	RELAY_NOTIFY_GONE = 0x52000005,	 /* no body: the kernel says that the mount has ended */
	/*
	 * No body, one descriptor: a SOCK_SEQPACKET socket, with one packet of one byte and a file's
	 * descriptor waiting in it.  The answer, a struct relay_backed, comes back on that socket: so
	 * that who asks depends on nobody who receives from the channel.
	 */
	RELAY_NOTIFY_BACK = 0x52000006,
	RELAY_NOTIFY_UNBACK = 0x52000007, /* struct relay_backed */
};

enum relay_private_opcode {
	RELAY_WELCOME = 0x52000001, /* struct relay_welcome, the journal's descriptor */
	RELAY_KEPT = 0x52000002,    /* struct relay_key, one descriptor */
	/*
	 * Direct lane, no body.  GO: the backend's threads may read /dev/fuse from now on.  All
	 * that earlier incarnations had not answered was sent before it.  PAUSE: they are
	 * to stop; PAUSED says that none reads any more and that all they had read is
	 * answered, but for detached requests.  Another GO may follow.
	 */
	RELAY_GO = 0x52000003,
	RELAY_PAUSE = 0x52000004,
	RELAY_BACKED = 0x52000005, /* struct relay_backed: one that an earlier incarnation has asked for */
	RELAY_RINGS = 0x52000006,  /* struct relay_rings_offer, the descriptor of what relay/rings.h has */
	RELAY_KICK = 0x52000007,   /* no body, one descriptor: the eventfd of the next queue */
	/* struct relay_absences, and the maps (bpf/known.h), a descriptor each */
	RELAY_ABSENCES = 0x52000008,
};

enum relay_hello_flags {
	RELAY_HELLO_RINGS = 1 << 0, /* it can serve the rings: several of its threads may be in handlers at a time */
};

struct relay_hello {
	uint32_t version;
	uint32_t flags; /* enum relay_hello_flags */
};

/* Names a descriptor left with relayd.  0 and the highest are librelay's own: the state, and what it has registered. */
struct relay_key {
	uint64_t key;
};

/*
 * A file that the kernel reads and writes by itself (FUSE passthrough).  id is the kernel's,
 * positive, and good until UNBACK or the mount's end; or a negative errno, in the answer to
 * BACK: nothing is registered.
 */
struct relay_backed {
	int32_t id;
	uint32_t reserved;
};

enum relay_welcome_flags {
	RELAY_WELCOME_SHARED_STORE = 1 << 0, /* others write to the store too */
	RELAY_WELCOME_DIRECT = 1 << 1,	     /* a second descriptor follows the journal's: /dev/fuse */
	RELAY_WELCOME_PASSTHROUGH = 1 << 2,  /* the answer to INIT may take FUSE_PASSTHROUGH, which INIT never offers */
	/*
	 * With DIRECT: requests come by the rings, and /dev/fuse has only what takes no reply.  RELAY_RINGS
	 * follows, with as many RELAY_KICKs as there are queues, before all else.
	 */
	RELAY_WELCOME_RINGS = 1 << 3,
	RELAY_WELCOME_ABSENCES = 1 << 4, /* a RELAY_ABSENCES follows, last of all */
};

/*
 * A program in the kernel answers from those maps what the backend says does not exist.  They have
 * what earlier incarnations have written there.
 */
struct relay_absences {
	uint32_t trust;	       /* enum relay_ctl_trust: how far the backend's replies go */
	uint32_t negative_ms;  /* how long a name is absent of which a reply says no time */
	uint32_t same_for_all; /* 1: the backend is not to tell callers apart */
	uint32_t reserved;
};

/* `kept` RELAY_KEPT messages follow it, then `backed` RELAY_BACKED ones. */
struct relay_welcome {
	uint32_t version;
	uint32_t incarnation;
	uint32_t kept;
	uint32_t flags; /* enum relay_welcome_flags */
	uint64_t journal_size;
	uint32_t backed;
	uint32_t reserved;
};

struct relay_rings_offer {
	uint32_t queues;
	uint32_t reserved;
};

/*
 * unique on the channel: relayd's own, so that a reply finds its slot and a
 * reply to an earlier use of the slot is known as such.  Even, as the kernel's:
 * an INTERRUPT of the request has bit 0 set.
 */
#define RELAY_UNIQUE_SLOT_BITS 16u

static inline uint64_t relay_unique_make(uint64_t sequence, uint32_t slot)
{
	return (sequence << (RELAY_UNIQUE_SLOT_BITS + 1)) | ((uint64_t)slot << 1);
}

static inline uint32_t relay_unique_slot(uint64_t unique)
{
	return (uint32_t)(unique >> 1) & ((1u << RELAY_UNIQUE_SLOT_BITS) - 1);
}

/*
 * The journal: a sealed memfd.
 *
 *   relay_journal | relay_slot[large + small] | buffers of each slot
 *
 * In the socket lane relayd reads requests into it.  In the direct lane the backend does,
 * once it was told to GO: it claims a slot by moving its state from FREE to READING, and
 * frees it when the kernel has the reply.  What relayd sends on the channel is in slots
 * of relayd's, in either lane.
 *
 * A large slot takes any request.  A small one takes what may wait for another
 * request (SETLKW), so that waiters never use up the slots that would let them
 * go on.  Large slots come first.
 */
#define RELAY_JOURNAL_MAGIC 0x314a444c594c4552ULL /* "RELYLDJ1" */
#define RELAY_JOURNAL_VERSION 2u

/* Buckets of a quarter of a power of two each, from 1 us: percentiles to 19 %. */
#define RELAY_COUNT_BUCKETS 128u

/* What was answered, of one opcode: latencies are from the request's arrival to its reply. */
struct relay_count {
	_Atomic uint64_t count;
	_Atomic uint64_t errors; /* replies with an error */
	_Atomic uint64_t buckets[RELAY_COUNT_BUCKETS];
};

struct relay_journal {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size; /* sizeof(struct relay_journal) */
	uint32_t slot_size;   /* sizeof(struct relay_slot) */
	uint32_t large;
	uint32_t small;
	uint32_t incarnation; /* the life being served */
	uint64_t size;	      /* of the whole */
	_Atomic uint32_t starving; /* threads that wait for a free slot */
	_Atomic uint32_t freed;	   /* the futex they wait on, counted up when a slot is freed (slots.h) */
	uint64_t reserved[10];
	struct relay_count counts[RELAY_OPCODE_MAX]; /* by backends that read by themselves; shown, not relied on */
};
static_assert(sizeof(struct relay_journal) == 128 + RELAY_OPCODE_MAX * sizeof(struct relay_count), "journal header");

enum relay_slot_state {
	RELAY_SLOT_FREE = 0,	 /* nobody's; the unique in the header of its request buffer is 0 */
	RELAY_SLOT_READING = 1,	 /* a request is being read into it; `unique` is 0 */
	RELAY_SLOT_TAKEN = 2,	 /* the request is whole */
	RELAY_SLOT_APPLYING = 3, /* the pre-state is recorded, the store may have changed */
	RELAY_SLOT_APPLIED = 4,	 /* the reply is whole: only its delivery is left */
};

/* A word of the backend's state as it was before this request changed it. */
struct relay_undo {
	uint64_t offset; /* in the state, a multiple of 8 */
	uint64_t value;
};

#define RELAY_PRE_SIZE 512u
#define RELAY_UNDO_MAX 64u
/*
 * undo_count: the low bits count the valid entries of undo[], the rest the items
 * of a BATCH_FORGET that are done.  One word, so that an item is committed and
 * its undo entries forgotten by one store.
 */
#define RELAY_UNDO_ENTRIES(count) ((count) & 0xffu)
#define RELAY_UNDO_DONE(count) ((count) >> 8)
#define RELAY_UNDO_WORD(done, entries) (((uint32_t)(done) << 8) | (entries))

/*
 * One in-flight request.  `state` is published last (release) by whoever moves
 * the slot on, and read first (acquire).  relayd owns FREE, READING and TAKEN of
 * what it sends, the backend owns the rest until it has sent the reply; and all of
 * what it has claimed by itself, which has no channel_unique.
 *
 * The request buffer of a FREE slot begins with a header whose unique is 0: who frees
 * it sees to that first.  The kernel copies a request whole or not at all, so one that is
 * found in READING with another unique there is whole.
 *
 * FORGET and BATCH_FORGET take no reply of the kernel's, but their slot has to be
 * freed exactly when they are done: a backend that has said HELLO acknowledges
 * them with an empty reply.
 *
 * relayd keeps its own copy of what it relies on (dispatch.h): a backend that
 * scribbles here harms its own mount's requests, not relayd.
 */
struct relay_slot {
	_Atomic uint32_t state;
	uint32_t opcode;
	uint64_t unique;	 /* the kernel's; 0 while READING */
	uint64_t channel_unique; /* relay_unique_make(); 0: the backend has read it by itself */
	uint32_t request_size;
	uint32_t reply_size;	     /* valid in APPLIED */
	_Atomic uint32_t undo_count; /* RELAY_UNDO_*: entries of undo[], items done */
	uint32_t pre_size;	     /* valid bytes of pre[] from APPLYING on */
	_Atomic uint64_t interrupted; /* the kernel's unique, once the backend that has read it heard an INTERRUPT of it */
	uint64_t reserved[2];
	uint8_t pre[RELAY_PRE_SIZE];
	struct relay_undo undo[RELAY_UNDO_MAX];
};
static_assert(sizeof(struct relay_slot) == 64 + RELAY_PRE_SIZE + 16 * RELAY_UNDO_MAX, "slot");

/* Where a slot's buffers lie, from the start of the journal. */
struct relay_slot_place {
	uint64_t request;
	uint64_t reply;
	uint32_t request_capacity;
	uint32_t reply_capacity;
};

/*
 * The geometry of a journal with so many slots: its size, and the place of each
 * slot's buffers.  In a large slot the data of a WRITE and of a READ begin on a
 * page: the headers lie in the bytes before (O_DIRECT stores need that).
 */
uint64_t relay_journal_size(uint32_t large, uint32_t small);
struct relay_slot_place relay_slot_place(uint32_t large, uint32_t small, uint32_t index);

/* A journal that is mapped and whose header has been checked. */
struct relay_journal_map {
	struct relay_journal *journal; /* the mapping */
	uint64_t size;
	uint32_t large; /* copies: the header may be scribbled on later */
	uint32_t small;
};

/*
 * Maps the journal behind fd, shared, after checking its magic, version, sizes and
 * seals (F_SEAL_SHRINK | F_SEAL_GROW: a mapping that could be cut short would end us
 * with SIGBUS).  Pages are mapped when they are touched: on the way from one
 * incarnation to the next there is no time for all of them.  fd stays the caller's.
 *
 * Returns 0, or a negative errno: -EPROTO for a header that does not fit.
 */
int relay_journal_map(struct relay_journal_map *map, int fd);
void relay_journal_unmap(struct relay_journal_map *map);

/* index < large + small, which the caller has checked. */
static inline struct relay_slot *relay_slot_at(const struct relay_journal_map *map, uint32_t index)
{
	return (struct relay_slot *)(map->journal + 1) + index;
}

#endif
