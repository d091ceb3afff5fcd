/*
 * The decoder of the control socket.  It knows the commands by their rows in
 * ctl_cmds.c only, and touches nothing but the packet and the request, so the
 * fuzz target runs just this.
 */
#include "ctl_decode.h"

#include <errno.h>
#include <string.h>

#include "ctl_cmds.h"
#include "ctl_conn.h"

static int decode_strings(struct ctl_request *request, const void *packet, size_t size, const char **why)
{
	const struct ctl_command *command = request->command;
	unsigned i;

	for (i = 0; i < CTL_STRINGS_MAX && command->strings[i].at; i++) {
		/* The row says where it is, counted from the frame's beginning. */
		const char *at = (const char *)packet + command->strings[i].at;
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
	request->body = relay_internal_ctl_fixed(packet, size, request->command->fixed);
	if (!request->body) {
		*why = "a command shorter than its fixed part";
		return -EPROTO;
	}
	return decode_strings(request, packet, size, why);
}
