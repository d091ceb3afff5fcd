/*
 * The decoder of the control socket.  It knows the commands by their rows in
 * ctl_cmds.c only, and touches nothing but the packet and the request, so the
 * fuzz target runs just this.
 */
#include "ctl_decode.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "ctl_cmds.h"
#include "ctl_conn.h"

/*
 * The fixed part, or NULL if it is shorter than it ever was.  One of an earlier
 * version has its strings where the later one has fields: it ends at the first of
 * them, and what is missing is 0.
 */
static const void *decode_fixed(struct ctl_request *request, const void *packet, size_t size)
{
	const struct ctl_command *command = request->command;
	size_t least = command->fixed_min ? command->fixed_min : command->fixed;
	const void *fixed = relay_internal_ctl_fixed(packet, size, least);
	size_t end = sizeof(struct relay_ctl_header) + command->fixed;
	unsigned i;

	if (!fixed || least == command->fixed)
		return fixed;
	if (end > size)
		end = size;
	for (i = 0; i < CTL_STRINGS_MAX && command->strings[i].at; i++) {
		struct relay_ctl_string where;

		if (command->strings[i].at + sizeof(where) > sizeof(struct relay_ctl_header) + least)
			continue;
		memcpy(&where, (const char *)packet + command->strings[i].at, sizeof(where));
		if (le32toh(where.offset) && le32toh(where.offset) < end)
			end = le32toh(where.offset);
	}
	if (end == sizeof(struct relay_ctl_header) + command->fixed)
		return fixed;
	if (end < sizeof(struct relay_ctl_header) + least)
		return NULL;
	memset(request->widened, 0, sizeof(request->widened));
	memcpy(request->widened, fixed, end - sizeof(struct relay_ctl_header));
	return request->widened;
}

static int decode_strings(struct ctl_request *request, const void *packet, size_t size, const char **why)
{
	const struct ctl_command *command = request->command;
	unsigned i;

	for (i = 0; i < CTL_STRINGS_MAX && command->strings[i].at; i++) {
		/* The row says where it is, counted from the frame's beginning. */
		const char *at = (const char *)request->body + command->strings[i].at - sizeof(struct relay_ctl_header);
		struct relay_ctl_string where;

		memcpy(&where, at, sizeof(where));
		if (relay_internal_ctl_get(packet, size, &where, &request->strings[i]) < 0) {
			*why = "a string that is not within its frame";
			return -EPROTO;
		}
		if (command->strings[i].required && (!request->strings[i] || !*request->strings[i])) {
			*why = "a command without a string that it needs";
			return -EPROTO;
		}
	}
	return 0;
}

int ctl_decode(struct ctl_request *request, const void *packet, size_t size, const char **why)
{
	int err;

	err = relay_internal_ctl_check(packet, size, &request->head, why);
	if (err)
		return err;
	if (request->head.flags || request->head.status) {
		*why = "a command with the marks of an answer";
		return -EPROTO;
	}
	request->command = ctl_command_get(request->head.type);
	if (!request->command) {
		*why = "a command that this relayd does not know";
		return -ENOSYS;
	}
	request->body = decode_fixed(request, packet, size);
	if (!request->body) {
		*why = "a command shorter than its fixed part";
		return -EPROTO;
	}
	return decode_strings(request, packet, size, why);
}
