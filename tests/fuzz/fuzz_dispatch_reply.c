/*
 * A whole life of a backend that sends anything at all, over a real channel, with a
 * fake kernel behind: every request is answered exactly once, with a reply that the
 * kernel would take, and no descriptor is left over.
 *
 * An input is a first byte (bit 0: as librelay) and packets, each with two bytes in
 * front: what to do with it, and its size in units of 16 bytes less one.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fdpass.h"
#include "lib/dispatch_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS 4u

static struct dispatch_rig rig;
static int null = -1;

static struct {
	uint32_t opcode;
	uint64_t kernel, channel;
	struct relay_bounds bounds;
	bool answered;
} requests[REQUESTS] = {
	{.opcode = FUSE_GETATTR, .bounds = {sizeof(struct fuse_attr_out), sizeof(struct fuse_attr_out)}},
	{.opcode = FUSE_READ, .bounds = {0, 1}}, /* of one byte, as all numbers of a minimal request */
	{.opcode = FUSE_FORGET},
	{.opcode = FUSE_SETLKW},
};

static void need(bool what)
{
	if (!what)
		abort();
}

static unsigned descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 512; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void rig_once(void)
{
	if (null >= 0)
		return;
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	need(rig_init(&rig) == 0 && rig_kernel_init(&rig));
	need(rig_serve_next(&rig, false) && rig_backend_die(&rig, false));
}

static void requests_send(void)
{
	for (unsigned i = 0; i < REQUESTS; i++) {
		requests[i].kernel = fake_kernel_minimal(&rig.kernel, requests[i].opcode);
		requests[i].channel = fake_backend_gets(&rig.backend, requests[i].opcode);
		requests[i].answered = requests[i].opcode == FUSE_FORGET;
		need(requests[i].channel != 0);
	}
}

/* One packet of the input, made to fit better as `how` says. */
static void packet_send(uint8_t how, const uint8_t *bytes, size_t size)
{
	static uint8_t packet[DISPATCH_REPLY_SIZE + 64];
	struct fuse_out_header header = {0};
	struct iovec iov = {.iov_base = packet, .iov_len = size};
	bool with_fd = how & 0x10;

	memcpy(packet, bytes, size);
	memcpy(&header, bytes, size < sizeof(header) ? size : sizeof(header));
	if (how & 0x80) /* far too long */
		iov.iov_len = sizeof(packet);
	if (how & 4) /* of one of the requests */
		header.unique = requests[how & 3].channel;
	if (how & 8)
		header.len = (uint32_t)iov.iov_len;
	if (how & 0x20)
		header.unique = 0;
	if (how & 0x40)
		header.error &= 0xf;
	if (iov.iov_len >= sizeof(header))
		memcpy(packet, &header, sizeof(header));
	/* It may have been shut out already. */
	relay_internal_send_fds(rig.backend.fd, &iov, 1, &null, with_fd);
}

static void reply_check(const struct fake_packet *packet)
{
	uint32_t payload = packet->size - (uint32_t)sizeof(packet->out);

	need(packet->size >= sizeof(packet->out) && packet->out.len == packet->size);
	if (packet->out.unique == 0) {
		need(packet->out.error > 0 && packet->out.error <= FUSE_NOTIFY_DELETE);
		return;
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		if (packet->out.unique != requests[i].kernel)
			continue;
		need(!requests[i].answered);
		requests[i].answered = true;
		need(packet->out.error <= 0 && packet->out.error > -512);
		if (packet->out.error)
			need(payload == 0);
		else
			need(payload >= requests[i].bounds.least && payload <= requests[i].bounds.most);
		return;
	}
	abort();
}

static bool all_answered(void)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		if (!requests[i].answered)
			return false;
	return true;
}

static void replies_check(void)
{
	static struct fake_packet packet;

	while (!all_answered()) {
		need(fake_kernel_receive(&rig.kernel, &packet));
		reply_check(&packet);
	}
	while (!fake_kernel_quiet(&rig.kernel)) {
		need(fake_kernel_receive(&rig.kernel, &packet));
		reply_check(&packet);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned before;

	if (size < 1)
		return 0;
	rig_once();
	before = descriptors();
	need(rig_serve_next(&rig, data[0] & 1));
	requests_send();
	for (data++, size--; size >= 2;) {
		size_t length = ((size_t)data[1] + 1) * 16;
		uint8_t how = data[0];

		data += 2;
		size -= 2;
		if (length > size)
			length = size;
		packet_send(how, data, length);
		data += length;
		size -= length;
	}
	need(rig_backend_die(&rig, false));
	/* Nobody gets what it has not answered: with no lives left it is answered EIO. */
	need(dispatch_redo(&rig.dispatch, 0, false) == 0);
	need(dispatch_inflight(&rig.dispatch) == 0);
	replies_check();
	keep_deinit(&rig.dispatch.keep);
	need(descriptors() == before);
	return 0;
}
