/*
 * Ids between the kernel and a backend that makes up its own in each life.
 *
 * Requests: the journal holds the kernel's form, so that a request can be given to any
 * incarnation; what is sent is a copy of its head with the present incarnation's ids, and
 * the rest as it is.  Replies are rewritten where they lie, and what they say is noted in
 * the tables: nodes, names, open files, locks.  Which fields hold ids is in the opcode
 * table (relay/opcodes.h).
 *
 * One lock over all tables.  It is never held over a system call on /dev/fuse or a
 * channel, and taken after dispatch.lock where both are.
 */
#ifndef RELAYD_TRANSLATE_H
#define RELAYD_TRANSLATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "answers.h"
#include "handles.h"
#include "locks.h"
#include "log.h"
#include "nodes.h"
#include "relay/opcodes.h"
#include "state.h"

/* What the present incarnation is to be told to forget. */
struct translate_forgets {
	struct fuse_forget_one *one; /* the backend's ids */
	uint32_t count;
	uint32_t room;
};

/*
 * An open file of the present incarnation that the kernel knows nothing of: it was not
 * told, or would not be (its caller was killed).  Ids are the backend's.
 */
struct translate_release {
	uint64_t nodeid;
	uint64_t fh;
	uint32_t flags; /* of open(2) */
	uint32_t incarnation;
	bool dir;
	struct fuse_in_header caller; /* who opened it: uid, gid and pid */
};

#define TRANSLATE_RELEASES 256u

struct translate_releases {
	struct translate_release *one; /* TRANSLATE_RELEASES, owned */
	uint32_t first;
	uint32_t count;
	uint32_t asked; /* taken, and not done yet */
};

struct translate {
	const char *mount; /* for the log */
	pthread_mutex_t lock;
	struct state state;
	struct nodes nodes;
	struct handles handles;
	struct locks locks;
	struct answers answers;
	struct translate_forgets forgets;
	_Atomic bool forgets_due; /* there are some that no FORGET of the kernel's has brought */
	struct translate_releases releases;
	struct log_limit complaints;
	uint32_t uid; /* relayd's own */
	bool write_behind; /* the backend acknowledges writes that it does later */
	/* New objects have had just the owner and mode that their creator asked for, as often as not. */
	uint32_t makes_exact;
	uint32_t makes_other;
};

/* Returns 0 or a negative errno. */
int translate_init(struct translate *translate, const char *mount);
/* Instead of beginning anew: with the state that an earlier relayd has left.  Takes fd over on success, and only then. */
int translate_resume(struct translate *translate, int fd);
void translate_deinit(struct translate *translate);

/* From here on ids are this incarnation's.  Takes the lock. */
void translate_incarnation(struct translate *translate, uint32_t incarnation);

/* ---- requests: translate_request.c --------------------------------------- */

/* The begin of what is sent: it stands for as many bytes of the request. */
struct translate_head {
	_Alignas(8) uint8_t bytes[sizeof(struct fuse_in_header) + 128];
	uint32_t size;
};

enum translate_outcome {
	TRANSLATE_READY,    /* head is filled */
	TRANSLATE_RESTORE,  /* something that it needs is of an earlier incarnation: restore.h */
	TRANSLATE_ANSWERED, /* there is nothing for a backend to do: success */
};

/*
 * Translates a whole request that relay_args_parse() has passed, in the kernel's form but
 * for its unique.  Nothing is taken for current that the present incarnation was not told.
 * Takes the lock.  Returns an enum translate_outcome, or a negative errno to answer it with:
 * -ESTALE for a nodeid, -EBADF for a handle that relayd does not have, -ESTALE for a
 * handle that was lost.
 */
int translate_request(struct translate *translate, const void *request, uint32_t size, struct translate_head *head);

/*
 * What is remembered of a request from when it was sent until its reply: taken when it is
 * sent, each time.
 */
struct translate_note {
	uint64_t written; /* FLUSH and FSYNC: the handle's, which they make good */
	uint32_t changes; /* node->changes of the header's node */
	struct answers_window window; /* open from the first sending on */
};
void translate_note(struct translate *translate, const void *request, struct translate_note *note);
/* There will be no reply, or it was taken in by translate_reply(): what it was noted for is over. */
static inline void translate_note_end(struct translate *translate, struct translate_note *note)
{
	answers_window_close(&translate->answers, &note->window);
}

/*
 * FORGET and BATCH_FORGET: taken in by the tables.  What the backend is to be told of it is
 * in translate->forgets.  Takes the lock.
 */
void translate_forget(struct translate *translate, const void *request, uint32_t size);

/*
 * Moves what is to be forgotten into packet (size bytes, 8-aligned): one BATCH_FORGET, or one
 * FORGET where `minor` is before 7.16.  To be called until it returns 0, which is when
 * nothing is left, or nothing may be sent before a RELEASE is answered (translate_release_done());
 * otherwise the packet's length.  Its unique is 0.  Takes the lock.
 */
uint32_t translate_forgets_take(struct translate *translate, uint32_t minor, void *packet, uint32_t size);

/*
 * The next open file that the backend is to be told to release; false if there is none.
 * Whoever takes it asks (ask_release()) and then calls translate_release_done(), however that
 * went; until all are done no FORGET is taken, which could be of their nodes.  There may be
 * some after translate_reply() has failed and after translate_refused().  They take the lock.
 */
bool translate_release_take(struct translate *translate, struct translate_release *release);
void translate_release_done(struct translate *translate, const struct translate_release *release);

/* ---- replies: translate_reply.c ------------------------------------------ */

/*
 * A reply to the request, which relay_reply_check() has passed, in the present (or just dead)
 * incarnation's form, with or without an error; or one that relayd itself makes.  Notes what
 * it says and rewrites it for the kernel; afterwards the kernel counts as told.  Takes the
 * lock.  Returns 0, or a negative errno that the kernel is to be answered instead (and then
 * what the backend has opened or counted for it has been given up).  The note has ended.
 */
int translate_reply(struct translate *translate, const void *request, uint32_t size, struct translate_note *note,
		    struct fuse_out_header *header, void *payload);

/* The kernel has refused that reply, in the kernel's form: it knows nothing of what was in it. */
void translate_refused(struct translate *translate, const void *request, const struct fuse_out_header *header,
		       const void *payload);

/* ---- relayd's own answers: translate_answer.c ----------------------------- */

struct translate_answer {
	struct fuse_out_header header; /* but for its unique */
	union {
		struct fuse_entry_out entry;
		struct fuse_attr_out attr;
	} payload;
};

/*
 * Answers a LOOKUP or a GETATTR that relay_args_parse() has passed, if that can be done
 * without the backend (answers.h); any: whatever the kernel knows itself, since there is none
 * that could be asked.  What it says is counted.  Takes the lock, if there may be something.
 */
bool translate_answer(struct translate *translate, const void *request, uint32_t size, bool any, uint64_t now_ns,
		      struct translate_answer *answer);

/*
 * A notification of the backend's (INVAL_INODE, INVAL_ENTRY, DELETE, STORE, RETRIEVE; others
 * have no ids), of at least its fixed size: rewritten for the kernel.  Returns 0, or -ENOENT
 * if the kernel does not know its node.
 */
int translate_notification(struct translate *translate, void *packet, uint32_t size);

#endif
