/*
 * Lane `uring`: what relayd does in the rings.
 *
 * It is the direct lane without RESEND, in which the kernel's end is an entry of the rings
 * instead of /dev/fuse.  The journal decides what a dead incarnation had and how far it had
 * come (dispatch_direct.c); here it is only found out who has an entry, and a reply is
 * put where its request was.  All of it is memory that a backend can write to, so nothing
 * that is found there is used but to name an entry of this mount, or its caller.
 *
 * While no backend is there requests wait in the entries, and behind those with the
 * kernel, where their callers can be killed.  In an entry they cannot: the sweep answers.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "dispatch.h"
#include "fdpass.h"
#include "log.h"
#include "rings.h"

/* The kernel's unique of the request in an entry. */
static uint64_t entry_unique(const struct rings *rings, uint32_t entry)
{
	return *(const volatile uint64_t *)&relay_ring_header(&rings->map, entry)->commit_id;
}

static void entry_answer(const struct rings *rings, uint32_t entry, const struct fuse_out_header *out,
			 const void *payload)
{
	relay_ring_answer(&rings->map, entry, out, payload);
	rings_kick(rings);
}

int dispatch_rings_reply(struct dispatch *dispatch, const struct fuse_out_header *out, const void *payload)
{
	const struct rings *rings = dispatch->rings;

	for (uint32_t entry = 0; entry < relay_rings_entries(&rings->map); entry++) {
		if (atomic_load(relay_ring_state(&rings->map, entry)) != RELAY_RING_TAKEN ||
		    entry_unique(rings, entry) != out->unique)
			continue;
		entry_answer(rings, entry, out, payload);
		return 0;
	}
	return -ENOENT;
}

/* ---- the end of an incarnation ------------------------------------------------ */

static struct inflight *inflight_find(const struct dispatch *dispatch, uint64_t unique)
{
	for (uint32_t slot = 0; slot < journal_slots(dispatch->journal); slot++) {
		struct inflight *r = &dispatch->inflight[slot];

		if (atomic_load(&r->state) != INFLIGHT_IDLE && r->unique == unique)
			return r;
	}
	return NULL;
}

static void entry_import(struct dispatch *dispatch, uint32_t entry)
{
	const struct relay_rings_map *map = &dispatch->rings->map;
	uint64_t unique = entry_unique(dispatch->rings, entry);
	const struct fuse_out_header error = {.len = sizeof(error), .error = -EIO, .unique = unique};
	uint32_t taken = RELAY_RING_TAKEN;
	struct inflight *r;

	if (atomic_load(relay_ring_state(map, entry)) != RELAY_RING_TAKEN)
		return;
	r = inflight_find(dispatch, unique);
	/* Claimed, and not copied: nobody has seen it. */
	if (!r)
		atomic_compare_exchange_strong(relay_ring_state(map, entry), &taken, RELAY_RING_REQUEST);
	/* The kernel puts none there that has no reply: whatever it was, nobody else would answer it. */
	else if (r->no_reply)
		entry_answer(dispatch->rings, entry, &error, NULL);
	else if (atomic_load(relay_ring_interrupted(map, entry)) == unique)
		atomic_store(&r->interrupted, true);
}

void dispatch_rings_import(struct dispatch *dispatch)
{
	const struct rings *rings = dispatch->rings;

	for (uint32_t q = 0; q < rings->map.queues; q++)
		atomic_store(&relay_ring_queue(&rings->map, q)->waiters, 0);
	for (uint32_t entry = 0; entry < relay_rings_entries(&rings->map); entry++)
		entry_import(dispatch, entry);
	/* One that died between its answer and the kick. */
	rings_kick(rings);
}

/* ---- while no backend is there ------------------------------------------------ */

/* Answers with an error, if nobody has claimed the entry meanwhile. */
static bool entry_give_up(struct dispatch *dispatch, uint32_t entry, int error)
{
	const struct rings *rings = dispatch->rings;
	const struct fuse_out_header out = {
		.len = sizeof(out),
		.error = -error,
		.unique = entry_unique(rings, entry),
	};

	if (!relay_ring_claim(&rings->map, entry))
		return false;
	entry_answer(rings, entry, &out, NULL);
	return true;
}

/* Answers EINTR if the caller of an entry's request waits for nothing but that answer. */
static void entry_sweep(struct dispatch *dispatch, uint32_t entry)
{
	const struct rings *rings = dispatch->rings;
	const struct relay_ring_header *ring = relay_ring_header(&rings->map, entry);
	struct fuse_in_header header;
	const struct relay_op *op;
	uint32_t write_flags = 0;

	memcpy(&header, ring->in_out, sizeof(header));
	op = relay_op_get(header.opcode);
	if (header.opcode == FUSE_WRITE)
		memcpy(&write_flags, ring->op_in + offsetof(struct fuse_write_in, write_flags), sizeof(write_flags));
	/* As dispatch_note() and dispatch_abandon(). */
	if (!op || op->flags & RELAY_OP_UNWAITED || write_flags & FUSE_WRITE_CACHE ||
	    !dispatch_caller_waits_in_vain(dispatch, header.pid, op->flags & RELAY_OP_FORCED) ||
	    !entry_give_up(dispatch, entry, EINTR))
		return;
	log_info("%s: %s, unique %llu: its caller %u is dying; answered EINTR", dispatch->name, op->name,
		 (unsigned long long)header.unique, header.pid);
	atomic_fetch_add_explicit(&dispatch->stats->abandoned, 1, memory_order_relaxed);
}

void dispatch_rings_sweep(struct dispatch *dispatch)
{
	const struct rings *rings = dispatch->rings;

	for (uint32_t entry = 0; entry < relay_rings_entries(&rings->map); entry++)
		if (atomic_load(relay_ring_state(&rings->map, entry)) == RELAY_RING_REQUEST)
			entry_sweep(dispatch, entry);
}

void dispatch_rings_fail(struct dispatch *dispatch)
{
	const struct rings *rings = dispatch->rings;

	for (uint32_t entry = 0; entry < relay_rings_entries(&rings->map); entry++) {
		struct fuse_in_header header;
		const struct relay_op *op;

		if (atomic_load(relay_ring_state(&rings->map, entry)) != RELAY_RING_REQUEST)
			continue;
		memcpy(&header, relay_ring_header(&rings->map, entry)->in_out, sizeof(header));
		op = relay_op_get(header.opcode);
		if (op && dispatch_fails(op) && entry_give_up(dispatch, entry, ENOTCONN))
			atomic_fetch_add_explicit(&dispatch->stats->failed, 1, memory_order_relaxed);
	}
}

bool dispatch_rings_pending(const struct dispatch *dispatch)
{
	const struct rings *rings = dispatch->rings;

	for (uint32_t entry = 0; entry < relay_rings_entries(&rings->map); entry++)
		if (atomic_load(relay_ring_state(&rings->map, entry)) == RELAY_RING_REQUEST)
			return true;
	return false;
}

/* ---- a new incarnation ---------------------------------------------------------- */

static int offer_send(struct dispatch *dispatch, const void *packet, size_t size, int fd)
{
	struct iovec iov = {.iov_base = (void *)packet, .iov_len = size};
	ssize_t n = relay_internal_send_fds(dispatch->channel, &iov, 1, &fd, 1);

	return n < 0 ? (int)n : 0;
}

int dispatch_rings_offer(struct dispatch *dispatch)
{
	const struct rings *rings = dispatch->rings;
	const struct {
		struct fuse_in_header header;
		struct relay_rings_offer offer;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = RELAY_RINGS},
		.offer = {.queues = rings->map.queues},
	};
	const struct fuse_in_header kick = {.len = sizeof(kick), .opcode = RELAY_KICK};
	int err = offer_send(dispatch, &packet, sizeof(packet), rings->fd);

	for (uint32_t q = 0; !err && q < rings->map.queues; q++)
		err = offer_send(dispatch, &kick, sizeof(kick), rings->kicks[q]);
	return err;
}
