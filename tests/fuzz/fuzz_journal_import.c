/*
 * What a dead backend of the direct lane has left in the journal, which may be anything; and
 * what a kernel then sends again, which is not trusted to fit either.  relayd neither fails
 * nor waits; nothing but replies to requests goes to the kernel; and in the end every slot is
 * free and has no unique.
 *
 * An input is a first byte (bit 0: without RESEND) and slots, each with four bytes in front:
 * its number, its state, what is made to fit (enum fit), and the size of its request in units
 * of 8 bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/direct_play.h"
#include "slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum fit {
	FIT_LEN = 1 << 0,     /* header.len is the size */
	FIT_UNIQUE = 1 << 1,  /* header.unique is a small even number */
	FIT_OPCODE = 1 << 2,  /* header.opcode is one that there may be */
	FIT_PID = 1 << 3,     /* header.pid is nobody's */
	FIT_RESENT = 1 << 4,  /* the kernel sends the same again */
	FIT_STORED = 1 << 5,  /* a reply that may be true is stored */
	FIT_STATE = 1 << 6,   /* the state is one that there is */
};

static struct dispatch_rig rig;

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
	need(rig_init(&rig) == 0 && direct_serve(&rig));
}

/* The kernel is told nothing but the ends of requests, and to send again. */
static void kernel_check(void)
{
	static struct fake_packet packet;

	while (!fake_kernel_quiet(&rig.kernel)) {
		need(fake_kernel_receive(&rig.kernel, &packet));
		need(packet.size >= sizeof(packet.out) && packet.out.len == packet.size);
		if (packet.out.unique == 0)
			need(packet.out.error == FUSE_NOTIFY_RESEND);
		else
			need(!(packet.out.unique & 1) && packet.out.error <= 0 && packet.out.error > -512);
	}
}

/* One slot of the input, as a backend could have left it. */
static void slot_fill(uint32_t slot, uint8_t state, uint8_t fit, const uint8_t *bytes, uint32_t size)
{
	struct relay_slot *s = relay_slot_at(&rig.journal.map, slot);
	uint8_t *request = journal_request(&rig.journal, slot);
	struct fuse_in_header header = {0};
	struct fuse_out_header reply = {.len = sizeof(reply), .error = -EPERM};

	memcpy(&header, bytes, size < sizeof(header) ? size : sizeof(header));
	if (fit & FIT_LEN)
		header.len = size;
	if (fit & FIT_UNIQUE)
		header.unique = (header.unique & 0xf) * 2;
	if (fit & FIT_OPCODE)
		header.opcode %= RELAY_OPCODE_MAX;
	if (fit & FIT_PID)
		header.pid = 0;
	if (size > journal_request_capacity(&rig.journal, slot))
		size = journal_request_capacity(&rig.journal, slot);
	memcpy(request, bytes, size);
	memcpy(request, &header, size < sizeof(header) ? size : sizeof(header));
	reply.unique = header.unique;
	memcpy(journal_reply(&rig.journal, slot), fit & FIT_STORED ? (const void *)&reply : bytes,
	       size < sizeof(reply) ? size : sizeof(reply));
	s->reply_size = fit & FIT_STORED ? (uint32_t)sizeof(reply) : header.len;
	s->channel_unique = 0;
	atomic_store(&s->state, fit & FIT_STATE ? state % (RELAY_SLOT_APPLIED + 1) : state);
	/* Whatever else a kernel may send: its numbers are even. */
	if (fit & FIT_RESENT && size >= sizeof(header) && header.unique && !(header.unique & 1)) {
		uint8_t again[256 * 8];

		memcpy(again, request, size);
		header.unique |= FUSE_UNIQUE_RESEND;
		memcpy(again, &header, sizeof(header));
		fake_kernel_send(&rig.kernel, again, size);
	}
}

static void slots_fill(const uint8_t *data, size_t size)
{
	while (size >= 4) {
		uint32_t slot = data[0] % journal_slots(&rig.journal);
		size_t length = (size_t)data[3] * 8;
		uint8_t state = data[1], fit = data[2];

		data += 4;
		size -= 4;
		if (length > size)
			length = size;
		slot_fill(slot, state, fit, data, (uint32_t)length);
		data += length;
		size -= length;
	}
}

/* Until all that comes again is read.  Nobody answers what it is given but with no lives left. */
static void redo(void)
{
	unsigned rounds = 0;

	while (dispatch_redo(&rig.dispatch, 0, false) == 1) {
		need(++rounds < 1000);
		need(rig_backend_die(&rig, false));
		kernel_check();
		need(direct_begin_next(&rig));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t rest[512];

	if (size < 1)
		return 0;
	rig_once();
	rig.dispatch.direct.no_resend = data[0] & 1;
	slots_fill(data + 1, size - 1);
	need(rig_backend_die(&rig, false));
	dispatch_sweep(&rig.dispatch);
	kernel_check();
	need(direct_begin_next(&rig));
	redo();
	kernel_check();
	/* What is new has gone to the backend, and dies with it. */
	need(rig_backend_die(&rig, false));
	while (recv(rig.kernel.device, rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
	need(direct_begin_next(&rig));
	redo();
	kernel_check();
	need(dispatch_inflight(&rig.dispatch) == 0);
	for (uint32_t slot = 0; slot < journal_slots(&rig.journal); slot++) {
		need(journal_slot_state(&rig.journal, slot) == RELAY_SLOT_FREE);
		need(relay_slot_request(&rig.journal.map, slot)->unique == 0);
	}
	return 0;
}
