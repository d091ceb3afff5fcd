/* See rings_play.h. */
#include "lib/rings_play.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/direct_play.h"

/* The keeper's end of its socket. */
static int keeper = -1;

int rings_play_init(struct dispatch_rig *rig, struct rings *rings)
{
	int pair[2];

	rings_init(rings);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	rings->keeper = pair[0];
	keeper = pair[1];
	rings->fd = relay_rings_make(RINGS_QUEUES);
	rings->kicks = calloc(RINGS_QUEUES, sizeof(*rings->kicks));
	if (rings->fd < 0 || !rings->kicks)
		return -ENOMEM;
	while (rings->kick_count < RINGS_QUEUES)
		rings->kicks[rings->kick_count++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig->dispatch.rings = rings;
	return relay_rings_map(&rings->map, rings->fd);
}

void rings_play_deinit(struct rings *rings)
{
	rings_end(rings);
	close(keeper);
}

bool rings_play_serve(struct dispatch_rig *rig)
{
	rig->dispatch.direct.wanted = true;
	return dispatch_start(&rig->dispatch) == 0 &&
	       fake_kernel_init_request(&rig->kernel, FUSE_HAS_RESEND | FUSE_OVER_IO_URING) != 0 &&
	       rig_wait(rig, DISPATCH_KERNEL_INIT) && direct_begin_next(rig) && direct_go(rig) &&
	       direct_gets_message(rig, RELAY_GO);
}

void rings_play_lookup(const struct rings *rings, uint32_t entry, uint64_t unique, uint32_t pid)
{
	struct relay_ring_header *ring = relay_ring_header(&rings->map, entry);
	const struct fuse_in_header header = {
		.len = sizeof(header) + 2,
		.opcode = FUSE_LOOKUP,
		.unique = unique,
		.nodeid = FUSE_ROOT_ID,
		.pid = pid,
	};

	memcpy(ring->in_out, &header, sizeof(header));
	memcpy(relay_ring_payload(&rings->map, entry), "a", 2);
	ring->payload_size = 2;
	ring->commit_id = unique;
	atomic_store(relay_ring_state(&rings->map, entry), RELAY_RING_REQUEST);
}

void rings_play_take(struct dispatch_rig *rig, uint32_t entry, uint32_t slot, uint32_t state)
{
	const struct relay_rings_map *map = &rig->dispatch.rings->map;
	struct relay_slot *s = relay_slot_at(&rig->journal.map, slot);
	struct fuse_in_header *header = journal_request(&rig->journal, slot);
	uint64_t unique;

	if (!relay_ring_claim(map, entry))
		abort();
	atomic_store(&s->state, RELAY_SLOT_READING);
	s->channel_unique = 0;
	s->request_size = (uint32_t)relay_ring_copy(map, entry, header, journal_request_capacity(&rig->journal, slot),
						    &unique);
	header->unique = s->unique = unique;
	s->opcode = header->opcode;
	atomic_store(&s->state, state);
}

uint32_t rings_play_state(const struct rings *rings, uint32_t entry)
{
	return atomic_load(relay_ring_state(&rings->map, entry));
}

unsigned rings_play_kicks(void)
{
	unsigned count = 0;
	char byte;

	while (recv(keeper, &byte, 1, MSG_DONTWAIT) == 1)
		count++;
	return count;
}

int rings_play_error(const struct rings *rings, uint32_t entry)
{
	struct fuse_out_header out;

	memcpy(&out, relay_ring_header(&rings->map, entry)->in_out, sizeof(out));
	return -out.error;
}
