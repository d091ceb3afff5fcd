/*
 * The steps of librelay's direct lane (relay/wire.h), one by one.
 */
#include "lib/direct_play.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "slots.h"

bool direct_gets_message(struct dispatch_rig *rig, uint32_t opcode)
{
	struct fake_packet packet;

	return fake_backend_receive(&rig->backend, &packet) && packet.in.opcode == opcode &&
	       packet.in.len == sizeof(packet.in) && packet.size == sizeof(packet.in);
}

uint64_t direct_gets(struct dispatch_rig *rig, uint32_t opcode)
{
	struct fake_packet packet;

	if (!fake_backend_receive(&rig->backend, &packet) || packet.in.opcode != opcode ||
	    packet.size != sizeof(packet.in))
		return 0;
	return packet.in.unique;
}

bool direct_go(struct dispatch_rig *rig)
{
	bool waited;

	return dispatch_redo(&rig->dispatch, 3, false) == 0 && dispatch_gate_open(&rig->dispatch, &waited) == 0;
}

bool direct_begin_next(struct dispatch_rig *rig)
{
	return rig_backend_begin(rig) && rig_backend_ready(rig, true);
}

bool direct_serve(struct dispatch_rig *rig)
{
	rig->dispatch.direct.wanted = true;
	return rig_kernel_init(rig) && direct_begin_next(rig) && direct_go(rig) && direct_gets_message(rig, RELAY_GO);
}

bool direct_read(struct dispatch_rig *rig, uint32_t slot, struct direct_request *request)
{
	struct relay_slot *s = relay_slot_at(&rig->backend.journal, slot);
	struct fuse_in_header *header = relay_slot_request(&rig->backend.journal, slot);
	uint32_t free = RELAY_SLOT_FREE;
	ssize_t n;

	if (!atomic_compare_exchange_strong(&s->state, &free, RELAY_SLOT_READING))
		return false;
	s->pre_size = s->reply_size = 0;
	atomic_store(&s->undo_count, 0);
	s->channel_unique = s->unique = 0;
	n = read(rig->kernel.device, header, journal_request_capacity(&rig->journal, 0));
	if (n < (ssize_t)sizeof(*header))
		return false;
	*request = (struct direct_request){.unique = header->unique, .size = (uint32_t)n, .slot = slot};
	memcpy(request->bytes, header, request->size < sizeof(request->bytes) ? request->size : sizeof(request->bytes));
	return true;
}

void direct_state(struct dispatch_rig *rig, const struct direct_request *request, uint32_t state)
{
	struct relay_slot *s = relay_slot_at(&rig->backend.journal, request->slot);
	struct fuse_in_header header;

	memcpy(&header, request->bytes, sizeof(header));
	s->opcode = header.opcode;
	s->unique = request->unique;
	s->request_size = request->size;
	atomic_store(&s->state, state);
}

void direct_store(struct dispatch_rig *rig, const struct direct_request *request, int error)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = request->unique};

	memcpy(journal_reply(&rig->journal, request->slot), &out, sizeof(out));
	relay_slot_at(&rig->backend.journal, request->slot)->reply_size = sizeof(out);
	direct_state(rig, request, RELAY_SLOT_APPLIED);
}

bool direct_kernel_gets_resend(struct dispatch_rig *rig)
{
	struct fake_packet packet;

	return fake_kernel_receive(&rig->kernel, &packet) && packet.size == sizeof(packet.out) &&
	       packet.out.len == packet.size && packet.out.unique == 0 && packet.out.error == FUSE_NOTIFY_RESEND;
}

bool direct_kernel_resends(struct dispatch_rig *rig, const struct direct_request *request)
{
	struct direct_request again = *request;
	struct fuse_in_header header;

	memcpy(&header, again.bytes, sizeof(header));
	header.unique |= FUSE_UNIQUE_RESEND;
	memcpy(again.bytes, &header, sizeof(header));
	return request->size <= sizeof(again.bytes) && fake_kernel_send(&rig->kernel, again.bytes, request->size);
}
