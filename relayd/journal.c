/*
 * The journal's memory and the moves that relayd makes with its slots.
 *
 * What survives: the memfd outlives every backend that maps it.  Each slot's
 * state is published last, so whoever finds a state finds what it promises:
 *
 * - a process dying before journal_slot_publish() leaves READING: a request that
 *   nobody has seen whole;
 * - one dying after it leaves TAKEN: the request is whole and not applied;
 * - the backend moves the slot on from there (librelay/reply.c);
 * - dying before journal_slot_free() leaves a reply that may have been delivered,
 *   and that the kernel refuses (ENOENT) if it had it.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "slots.h"

static int journal_make(int fd, uint32_t large, uint32_t small)
{
	const struct relay_journal header = {
		.magic = RELAY_JOURNAL_MAGIC,
		.version = RELAY_JOURNAL_VERSION,
		.header_size = sizeof(struct relay_journal),
		.slot_size = sizeof(struct relay_slot),
		.large = large,
		.small = small,
		.size = relay_journal_size(large, small),
	};
	int err;

	/* A page that were to be found only when a request needs it could fail the request. */
	err = posix_fallocate(fd, 0, (off_t)header.size);
	if (err)
		return err == ENOSPC ? -ENOMEM : -err;
	if (pwrite(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
		return -EIO;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

static void journal_lock(struct journal *journal)
{
	journal->locked = mlock(journal->map.journal, journal->map.size) == 0;
	if (!journal->locked)
		log_warning("the journal is not locked in memory: %s (raise the limit of locked memory to %llu KiB)",
			    strerror(errno), (unsigned long long)journal->map.size / 1024);
}

int journal_init(struct journal *journal, uint32_t large, uint32_t small)
{
	int err;

	*journal = (struct journal){.fd = -1};
	journal->fd = memfd_create("relayd-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (journal->fd < 0)
		return -errno;
	err = journal_make(journal->fd, large, small);
	if (!err)
		err = relay_journal_map(&journal->map, journal->fd);
	if (err) {
		journal_deinit(journal);
		return err;
	}
	journal_lock(journal);
	return 0;
}

int journal_resume(struct journal *journal, int fd, uint32_t large, uint32_t small)
{
	int err;

	*journal = (struct journal){.fd = -1};
	err = relay_journal_map(&journal->map, fd);
	if (err)
		return err;
	if (journal->map.large != large || journal->map.small != small) {
		relay_journal_unmap(&journal->map);
		return -EPROTO;
	}
	journal->fd = fd;
	journal_lock(journal);
	return 0;
}

void journal_deinit(struct journal *journal)
{
	relay_journal_unmap(&journal->map);
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = -1;
}

static struct relay_slot_place place(const struct journal *journal, uint32_t slot)
{
	return relay_slot_place(journal->map.large, journal->map.small, slot);
}

void *journal_request(const struct journal *journal, uint32_t slot)
{
	return (char *)journal->map.journal + place(journal, slot).request;
}

uint32_t journal_request_capacity(const struct journal *journal, uint32_t slot)
{
	return place(journal, slot).request_capacity;
}

void *journal_reply(const struct journal *journal, uint32_t slot)
{
	return (char *)journal->map.journal + place(journal, slot).reply;
}

uint32_t journal_reply_capacity(const struct journal *journal, uint32_t slot)
{
	return place(journal, slot).reply_capacity;
}

void journal_slot_claim(struct journal *journal, uint32_t slot)
{
	struct relay_slot *s = relay_slot_at(&journal->map, slot);

	s->unique = 0;
	s->reply_size = 0;
	s->pre_size = 0;
	atomic_store_explicit(&s->undo_count, 0, memory_order_relaxed);
	atomic_store_explicit(&s->interrupted, 0, memory_order_relaxed);
	atomic_store_explicit(&s->state, RELAY_SLOT_READING, memory_order_release);
}

static void slot_describe(struct relay_slot *s, uint64_t unique, uint64_t channel_unique, uint32_t opcode,
			  uint32_t size)
{
	s->opcode = opcode;
	s->unique = unique;
	s->channel_unique = channel_unique;
	s->request_size = size;
}

void journal_slot_publish(struct journal *journal, uint32_t slot, uint64_t unique, uint64_t channel_unique,
			  uint32_t opcode, uint32_t size)
{
	struct relay_slot *s = relay_slot_at(&journal->map, slot);

	slot_describe(s, unique, channel_unique, opcode, size);
	atomic_store_explicit(&s->state, RELAY_SLOT_TAKEN, memory_order_release);
}

void journal_slot_adopt(struct journal *journal, uint32_t slot, uint64_t unique, uint64_t channel_unique,
			uint32_t opcode, uint32_t size)
{
	struct relay_slot *s = relay_slot_at(&journal->map, slot);
	uint32_t reading = RELAY_SLOT_READING;

	slot_describe(s, unique, channel_unique, opcode, size);
	/* Any further state stays: it says what has been done. */
	atomic_compare_exchange_strong(&s->state, &reading, RELAY_SLOT_TAKEN);
}

uint32_t journal_slot_state(const struct journal *journal, uint32_t slot)
{
	return atomic_load_explicit(&relay_slot_at(&journal->map, slot)->state, memory_order_acquire);
}

bool journal_slot_claimed(const struct journal *journal, uint32_t slot)
{
	const struct relay_slot *s = relay_slot_at(&journal->map, slot);
	uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);

	return state >= RELAY_SLOT_TAKEN && state <= RELAY_SLOT_APPLIED &&
	       *(const volatile uint64_t *)&s->channel_unique == 0;
}

bool journal_slot_begun(const struct journal *journal, uint32_t slot)
{
	const struct relay_slot *s = relay_slot_at(&journal->map, slot);

	return atomic_load_explicit(&s->state, memory_order_acquire) != RELAY_SLOT_FREE &&
	       *(const volatile uint64_t *)&s->channel_unique == 0;
}

uint64_t journal_slot_interrupted(const struct journal *journal, uint32_t slot)
{
	return atomic_load_explicit(&relay_slot_at(&journal->map, slot)->interrupted, memory_order_relaxed);
}

void journal_slot_free(struct journal *journal, uint32_t slot)
{
	relay_slot_free(&journal->map, slot);
}

uint32_t journal_slot_stored(const struct journal *journal, uint32_t slot)
{
	const struct relay_slot *s = relay_slot_at(&journal->map, slot);
	uint32_t size;

	if (atomic_load_explicit(&s->state, memory_order_acquire) != RELAY_SLOT_APPLIED)
		return 0;
	/* Once: a backend can still change it. */
	size = *(const volatile uint32_t *)&s->reply_size;
	if (size < sizeof(struct fuse_out_header) || size > journal_reply_capacity(journal, slot))
		return 0;
	return size;
}
