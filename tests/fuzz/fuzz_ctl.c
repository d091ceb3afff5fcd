/*
 * What a client of the control socket may send: a frame that ctl_decode() lets
 * through must have everything that its handler relies on.
 *
 * An input is a packet.  Since the size and the magic stand in the way of anything
 * interesting, they are also tried set right.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_cmds.h"
#include "ctl_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever is told of is within the packet, and strings end there. */
static void must_be_within(const struct ctl_request *request, const uint8_t *packet, size_t size)
{
	const struct ctl_command *command = request->command;
	unsigned i;

	if (request->body == request->widened
		    ? !command->fixed_min || command->fixed > sizeof(request->widened)
		    : (const uint8_t *)request->body != packet + sizeof(struct relay_ctl_header) ||
			      size < sizeof(struct relay_ctl_header) + command->fixed)
		abort();
	for (i = 0; i < CTL_STRINGS_MAX; i++) {
		const uint8_t *string = (const uint8_t *)request->strings[i];

		if (!string && !(command->strings[i].at && command->strings[i].required))
			continue;
		if (!string || !command->strings[i].at || string < packet || string >= packet + size ||
		    !memchr(string, '\0', (size_t)(packet + size - string)))
			abort();
		if (command->strings[i].required && !*string)
			abort();
	}
}

static void decode(const uint8_t *packet, size_t size)
{
	struct ctl_request request = {0};
	const char *why = NULL;
	int err;

	err = ctl_decode(&request, packet, size, &why);
	if (err > 0 || (err && !why))
		abort();
	if (!err)
		must_be_within(&request, packet, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_ctl_header header;
	uint8_t *packet;

	/* A copy of exactly this size: reading past it is found. */
	packet = calloc(1, size ? size : 1);
	if (!packet)
		return 0;
	if (size)
		memcpy(packet, data, size);
	decode(packet, size);
	if (size >= sizeof(header) && size <= RELAY_CTL_FRAME_MAX) {
		memcpy(&header, packet, sizeof(header));
		header.magic = htole32(RELAY_CTL_MAGIC);
		header.version = htole16(RELAY_CTL_VERSION);
		header.size = htole32((uint32_t)size);
		header.flags = 0;
		header.status = 0;
		memcpy(packet, &header, sizeof(header));
		decode(packet, size);
	}
	free(packet);
	return 0;
}
