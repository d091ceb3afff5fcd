/*
 * What a backend has left in the rings and the journal, which may be anything, in the lane
 * `uring`: relayd neither fails nor waits, and writes nothing to /dev/fuse.  And what
 * it could put there for the next backend: a copy is a request, or refused.
 *
 * An input is entries, each with four bytes in front: its number, its state, whether it is in
 * the journal too (bit 0) and its request is made to fit (bit 1), and its size in units of 8.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/direct_play.h"
#include "lib/rings_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dispatch_rig rig;
static struct rings rings;

static void need(bool what)
{
	if (!what)
		abort();
}

static void rig_once(void)
{
	static bool done;

	if (done)
		return;
	done = true;
	need(rig_init(&rig) == 0 && rings_play_init(&rig, &rings) == 0 && rings_play_serve(&rig));
}

/* The header is the input's first bytes, the payload the rest. */
static void entry_fill(uint32_t entry, uint8_t state, uint8_t fit, const uint8_t *bytes, size_t size)
{
	struct relay_ring_header *ring = relay_ring_header(&rings.map, entry);
	size_t head = size < sizeof(*ring) ? size : sizeof(*ring);
	struct fuse_in_header header;

	memcpy(ring, bytes, head);
	memcpy(relay_ring_payload(&rings.map, entry), bytes + head, size - head);
	if (fit & 2) {
		memcpy(&header, ring->in_out, sizeof(header));
		header.opcode %= RELAY_OPCODE_MAX;
		header.pid = 0;
		header.unique = ring->commit_id = ring->commit_id % 16 * 2 + 2;
		header.len = sizeof(header) + (uint32_t)(size % sizeof(ring->op_in));
		ring->payload_size = header.len % 32;
		memcpy(ring->in_out, &header, sizeof(header));
	}
	atomic_store(relay_ring_state(&rings.map, entry), state & 0x80 ? state : state % 4);
}

/* As librelay does, whatever comes of it. */
static void entry_copy(uint32_t entry, uint32_t slot)
{
	struct relay_slot *s = relay_slot_at(&rig.journal.map, slot);
	struct fuse_in_header *header = journal_request(&rig.journal, slot);
	uint32_t capacity = journal_request_capacity(&rig.journal, slot);
	uint64_t unique;
	ssize_t n;

	if (!relay_ring_claim(&rings.map, entry))
		return;
	n = relay_ring_copy(&rings.map, entry, header, capacity, &unique);
	need(n < 0 || (n >= (ssize_t)sizeof(*header) && n <= (ssize_t)capacity && header->len == (uint32_t)n &&
		       header->unique == 0));
	if (n < 0)
		return;
	header->unique = unique;
	s->channel_unique = 0;
	atomic_store(&s->state, RELAY_SLOT_READING);
}

/* Of two entries that claim to have one request, the other was answered. */
static bool is_double(uint32_t entry)
{
	uint64_t unique = relay_ring_header(&rings.map, entry)->commit_id;

	for (uint32_t other = 0; other < RINGS_ENTRIES; other++)
		if (other != entry && relay_ring_header(&rings.map, other)->commit_id == unique)
			return true;
	return false;
}

/* For each entry with a request there is somebody: it is anybody's, or it was answered. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	rig_once();
	for (uint32_t slot = 0; size >= 4; slot = (slot + 1) % RIG_LARGE) {
		uint32_t entry = data[0] % RINGS_ENTRIES;
		uint8_t state = data[1], fit = data[2];
		size_t length = (size_t)data[3] * 8;

		data += 4;
		size -= 4;
		if (length > size)
			length = size;
		entry_fill(entry, state, fit, data, length);
		if (fit & 1)
			entry_copy(entry, slot);
		data += length;
		size -= length;
	}
	need(rig_backend_die(&rig, false));
	dispatch_sweep(&rig.dispatch);
	dispatch_rings_pending(&rig.dispatch);
	need(direct_begin_next(&rig));
	/* With no lives left whatever was given is answered. */
	need(dispatch_redo(&rig.dispatch, 0, false) == 0);
	need(dispatch_inflight(&rig.dispatch) == 0);
	need(fake_kernel_quiet(&rig.kernel));
	for (uint32_t entry = 0; entry < RINGS_ENTRIES; entry++)
		need(rings_play_state(&rings, entry) != RELAY_RING_TAKEN || is_double(entry));
	return 0;
}
