/*
 * What a dead relayd has left of the requests in flight: its own table, the slots of the
 * journal, which a backend may have written to, and stored replies.  The next one neither fails
 * nor waits; it gives the kernel nothing but replies; and every slot is in a state in which the
 * end of an incarnation leaves it.
 *
 * An input is a first byte (enum mode) and slots, each with four bytes in front: its number,
 * the states in the table (low half) and the journal, what is made to fit (enum fit), and the
 * size of its request in units of 8 bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/dispatch_rig.h"
#include "slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum mode {
	MODE_NATIVE = 1 << 0,
	MODE_DIRECT = 1 << 1, /* with NATIVE: the direct lane */
	MODE_AGREED = 1 << 2,
};

enum fit {
	FIT_LEN = 1 << 0,    /* header.len is the size */
	FIT_UNIQUE = 1 << 1, /* header.unique is a small even number */
	FIT_OPCODE = 1 << 2, /* header.opcode is one that there may be */
	FIT_NAMED = 1 << 3,  /* the request in the slot has the channel's unique already */
	FIT_STORED = 1 << 4, /* a reply that may be true is stored */
	FIT_DELIVERED = 1 << 5,
};

static struct dispatch_rig rig;

static void need(bool what)
{
	if (!what)
		abort();
}

static void slot_fill(uint32_t slot, uint8_t states, uint8_t fit, const uint8_t *bytes, uint32_t size)
{
	struct relay_slot *s = relay_slot_at(&rig.journal.map, slot);
	struct inflight *r = &rig.dispatch.inflight[slot];
	uint8_t *request = journal_request(&rig.journal, slot);
	struct fuse_in_header header = {0};
	struct fuse_out_header reply = {.len = sizeof(reply), .error = -EPERM};
	int err;

	/* Shorter than a header the kernel sends none, so there is none that relayd has noted. */
	if (size < sizeof(header))
		return;
	memcpy(&header, bytes, sizeof(header));
	if (fit & FIT_LEN)
		header.len = size;
	if (fit & FIT_UNIQUE)
		header.unique = (header.unique & 0xf) * 2;
	if (fit & FIT_OPCODE)
		header.opcode %= RELAY_OPCODE_MAX;
	/* What relayd has noted, or named, has one; in a buffer none says that nothing was read. */
	if (((states & 0xf) % (INFLIGHT_ABANDONED + 1) != INFLIGHT_READING || fit & FIT_NAMED) && !header.unique)
		header.unique = 2;
	/* Nobody's: what /proc says of processes is not the input's. */
	header.pid = 0;
	if (size > journal_request_capacity(&rig.journal, slot))
		size = journal_request_capacity(&rig.journal, slot);
	memcpy(request, bytes, size);
	memcpy(request, &header, sizeof(header));
	/* What it has noted itself is true of what it had read. */
	dispatch_note(&rig.dispatch, slot, request, size, &err);
	if (fit & FIT_NAMED)
		dispatch_name_unique(&rig.dispatch, slot);
	reply.unique = r->channel_unique;
	memcpy(journal_reply(&rig.journal, slot), fit & FIT_STORED ? (const void *)&reply : bytes,
	       size < sizeof(reply) ? size : sizeof(reply));
	s->reply_size = fit & FIT_STORED ? (uint32_t)sizeof(reply) : header.len;
	r->delivered = r->sent = fit & FIT_DELIVERED;
	atomic_store(&s->state, states >> 4);
	atomic_store(&r->state, (states & 0xf) % (INFLIGHT_ABANDONED + 1));
}

static void slots_fill(const uint8_t *data, size_t size)
{
	while (size >= 4) {
		uint32_t slot = data[0] % (RIG_LARGE + 4);
		uint8_t states = data[1], fit = data[2];
		size_t length = (size_t)data[3] * 8;

		data += 4;
		size -= 4;
		if (length > size)
			length = size;
		slot_fill(slot, states, fit, data, (uint32_t)length);
		data += length;
		size -= length;
	}
}

static void states_check(bool ended)
{
	for (uint32_t slot = 0; slot < journal_slots(&rig.journal); slot++) {
		uint32_t state = atomic_load(&rig.dispatch.inflight[slot].state);

		need(state == INFLIGHT_IDLE || state == INFLIGHT_WAITING || state == INFLIGHT_RESENT ||
		     state == INFLIGHT_ABANDONED || (state == INFLIGHT_SENT && !ended));
	}
}

/* It is told nothing but the ends of requests, and to send again. */
static void kernel_check(void)
{
	static struct fake_packet packet;

	while (!fake_kernel_quiet(&rig.kernel)) {
		need(fake_kernel_receive(&rig.kernel, &packet));
		need(packet.size >= sizeof(packet.out) && packet.out.len == packet.size);
		if (packet.out.unique == 0)
			need(packet.out.error == FUSE_NOTIFY_RESEND);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int table, state;

	if (size < 1)
		return 0;
	need(rig_init(&rig) == 0);
	rig.session.agreed = data[0] & MODE_AGREED;
	rig.session.native = data[0] & MODE_NATIVE;
	rig.dispatch.direct.wanted = data[0] & MODE_DIRECT;
	slots_fill(data + 1, size - 1);
	table = dup(rig.dispatch.table_fd);
	state = dup(rig.dispatch.translate.state.fd);
	need(dispatch_resume(&rig.dispatch, &table, &state, 1) == 0 && table == -1 && state == -1);
	states_check(false);
	kernel_check();
	dispatch_channel_end(&rig.dispatch, false);
	states_check(true);
	kernel_check();
	rig_deinit(&rig);
	return 0;
}
