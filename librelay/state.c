/*
 * The backend's state: a memfd that relayd keeps from one incarnation to the
 * next, changed by transactions of which each is one request's.
 *
 * How a change survives.  The undo log is in the request's slot.  Before a word is
 * changed its old value is there, so at any instruction:
 *
 * - a process dying before the reply is published leaves a slot in TAKEN or
 *   APPLYING whose undo entries give back every word that was changed;
 * - one dying after it leaves APPLIED: the words are as the reply says, and the
 *   entries mean nothing.
 *
 * The rollback goes by that alone.  It may be cut short anywhere and done again:
 * it stores old values, and forgets the entries last.
 *
 * Why there is one lock.  It is held from relay_state_begin() until the reply is
 * published, so at most one slot has entries that count: no two transactions in
 * flight ever touch the same word, and the order in which slots are rolled back
 * cannot matter.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static_assert(RELAY_STATE_MAX == RELAY_UNDO_MAX, "the journal's undo log is what the interface promises");

/* The word at an offset out of the journal, or NULL: nobody vouches for those. */
static _Atomic uint64_t *word_at(const struct relay_session *session, uint64_t offset)
{
	if (offset % sizeof(uint64_t) || session->state_size < sizeof(uint64_t) ||
	    offset > session->state_size - sizeof(uint64_t))
		return NULL;
	return (_Atomic uint64_t *)(session->state + offset);
}

/*
 * Gives back what the slot's transaction had changed, last change first.  The items
 * of a BATCH_FORGET that were committed stay done.
 * `opcode` is the crash point's.  Returns 0, or -EPROTO for entries that cannot be of
 * this state.
 */
static int slot_undo(struct relay_session *session, struct relay_slot *slot, const char *opcode)
{
	uint32_t count = atomic_load_explicit(&slot->undo_count, memory_order_acquire);
	uint32_t entries = RELAY_UNDO_ENTRIES(count);

	if (entries > RELAY_UNDO_MAX)
		return -EPROTO;
	while (entries > 0) {
		const struct relay_undo undo = slot->undo[--entries];
		_Atomic uint64_t *word = word_at(session, undo.offset);

		if (!word)
			return -EPROTO;
		atomic_store_explicit(word, undo.value, memory_order_release);
		/* A process dying here leaves all the entries: the next one begins again. */
		RELAY_CRASH_POINT(opcode, "rollback");
	}
	atomic_store_explicit(&slot->undo_count, RELAY_UNDO_WORD(RELAY_UNDO_DONE(count), 0), memory_order_release);
	return 0;
}

static int state_rollback(struct relay_session *session)
{
	uint32_t slots = session->journal.large + session->journal.small;

	for (uint32_t i = 0; i < slots; i++) {
		struct relay_slot *slot = relay_slot_at(&session->journal, i);
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
		int err;

		if (state != RELAY_SLOT_TAKEN && state != RELAY_SLOT_APPLYING)
			continue;
		err = slot_undo(session, slot, "INIT");
		if (err)
			return err;
	}
	return 0;
}

/* A mapping that could be cut short would end us with SIGBUS: sealed, or not ours. */
static int state_map(struct relay_session *session, int fd)
{
	struct stat st;
	int seals;
	void *base;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0)
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	session->state = base;
	session->state_size = (size_t)st.st_size;
	return 0;
}

int relay_internal_state_restore(struct relay_session *session)
{
	int fd = relay_internal_kept_get(session, 0);
	int err;

	if (fd >= 0) {
		err = state_map(session, fd);
		if (err)
			return err;
	}
	/* Entries without a state are refused here too: word_at() finds nothing. */
	return state_rollback(session);
}

void relay_internal_state_unmap(struct relay_session *session)
{
	if (session->state)
		munmap(session->state, session->state_size);
	session->state = NULL;
}

static int state_make(struct relay_session *session, size_t size)
{
	int fd, err;

	fd = memfd_create("relay-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
		err = -errno;
	else
		/* A process dying after this leaves an empty state to the next one. */
		err = relay_internal_keep(session, 0, fd);
	if (!err)
		err = state_map(session, fd);
	close(fd);
	return err;
}

void *relay_state(struct relay_session *session, size_t size)
{
	int err = 0;

	if (size == 0 || size % sizeof(uint64_t) || size > INT64_MAX)
		err = -EINVAL;
	else if (!session->state)
		err = state_make(session, size);
	else if (session->state_size != size)
		err = -EINVAL;
	if (err) {
		errno = -err;
		return NULL;
	}
	return session->state;
}

void relay_state_lock(struct relay_session *session)
{
	pthread_mutex_lock(&session->state_lock);
}

void relay_state_unlock(struct relay_session *session)
{
	pthread_mutex_unlock(&session->state_lock);
}

void relay_state_begin(struct relay_req *req)
{
	if (req->transaction)
		return;
	relay_state_lock(req->session);
	req->transaction = true;
}

int relay_state_set(struct relay_req *req, uint64_t *word, uint64_t value)
{
	uint64_t offset = (uint64_t)((uintptr_t)word - (uintptr_t)req->session->state);
	_Atomic uint64_t *target = word_at(req->session, offset);
	struct relay_slot *slot = req->slot;
	uint32_t count, entries;

	if (!req->transaction || !slot || !req->session->state || !target)
		return -EINVAL;
	count = atomic_load_explicit(&slot->undo_count, memory_order_relaxed);
	entries = RELAY_UNDO_ENTRIES(count);
	if (entries >= RELAY_UNDO_MAX)
		return -ENOSPC;
	slot->undo[entries] = (struct relay_undo){
		.offset = offset,
		.value = atomic_load_explicit(target, memory_order_relaxed),
	};
	/* A process dying here leaves an entry that does not count yet, and the word as it was. */
	atomic_store_explicit(&slot->undo_count, count + 1, memory_order_release);
	/*
	 * A process dying here leaves an entry that gives back the word as it is.  The
	 * release keeps the compiler from having the word changed before that.
	 */
	atomic_store_explicit(target, value, memory_order_release);
	return 0;
}

void relay_state_abort(struct relay_req *req)
{
	if (!req->transaction)
		return;
	/* The entries are ours and were checked when they were made. */
	if (req->slot)
		slot_undo(req->session, req->slot, req->op->name);
	req->transaction = false;
	relay_state_unlock(req->session);
}

void relay_internal_state_commit(struct relay_req *req)
{
	if (!req->transaction)
		return;
	req->transaction = false;
	relay_state_unlock(req->session);
}
