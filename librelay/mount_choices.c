/* How a mount is to be served: options, and the flags of the control socket. */
#include "mount_choices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIVES_MAX 1000
#define SECONDS_MIN 0.1
#define SECONDS_MAX 4000000

static bool seconds_take(const char *word, uint32_t *ms)
{
	char *end;
	double seconds = strtod(word, &end);

	if (end == word || *end || !(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX))
		return false;
	*ms = (uint32_t)(seconds * 1000.0 + 0.5);
	return true;
}

static bool down_policy_take(const char *word, uint32_t *ms)
{
	static const char fail_after[] = "fail-after=";

	if (strncmp(word, fail_after, sizeof(fail_after) - 1) == 0)
		return seconds_take(word + sizeof(fail_after) - 1, ms);
	*ms = 0;
	return strcmp(word, "wait") == 0;
}

static bool lives_take(const char *word, uint32_t *lives)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(word, &end, 10);
	if (errno || *end || end == word || n < 1 || n > LIVES_MAX)
		return false;
	*lives = (uint32_t)n;
	return true;
}

static bool lane_take(struct relay_mount_choices *choices, const char *word)
{
	choices->socket_lane = strcmp(word, "socket") == 0;
	choices->uring_lane = strcmp(word, "uring") == 0;
	return choices->socket_lane || choices->uring_lane || strcmp(word, "direct") == 0;
}

static bool resend_take(struct relay_mount_choices *choices, const char *word)
{
	choices->no_resend = strcmp(word, "off") == 0;
	return choices->no_resend || strcmp(word, "auto") == 0;
}

const char *relay_internal_choice_take(struct relay_mount_choices *choices, int option, const char *word)
{
	switch (option) {
	case RELAY_CHOICE_SHARED_STORE:
		choices->shared_store = true;
		return NULL;
	case RELAY_CHOICE_WRITE_BEHIND:
		choices->write_behind = true;
		return NULL;
	case RELAY_CHOICE_LIVES:
		return lives_take(word, &choices->lives) ? NULL : "--lives takes a number from 1 to 1000";
	case RELAY_CHOICE_REQUEST_TIMEOUT:
		return seconds_take(word, &choices->request_timeout_ms)
			       ? NULL
			       : "--request-timeout takes seconds, from 0.1 to 4000000";
	case RELAY_CHOICE_DOWN_POLICY:
		return down_policy_take(word, &choices->fail_after_ms)
			       ? NULL
			       : "--down-policy takes wait or fail-after=SECONDS";
	case RELAY_CHOICE_LANE:
		return lane_take(choices, word) ? NULL : "--lane takes direct, socket or uring";
	case RELAY_CHOICE_RESEND:
		return resend_take(choices, word) ? NULL : "--resend takes auto or off";
	case RELAY_CHOICE_TRUST:
		return relay_internal_cache_trust_take(&choices->known, word);
	case RELAY_CHOICE_NEGATIVE_TIMEOUT:
		return relay_internal_cache_timeout_take(&choices->known, word);
	default:
		return relay_internal_cache_bpf_take(&choices->known, word);
	}
}

bool relay_internal_choices_made(const struct relay_mount_choices *choices)
{
	return relay_internal_choices_flags(choices) || choices->lives || choices->request_timeout_ms ||
	       choices->fail_after_ms || choices->known.trust || choices->known.negative_ms || choices->known.bpf;
}

const char *relay_internal_choices_check(const struct relay_mount_choices *choices)
{
	return relay_internal_cache_options_check(&choices->known, choices->shared_store, choices->uring_lane);
}

uint32_t relay_internal_choices_flags(const struct relay_mount_choices *choices)
{
	return (choices->shared_store ? RELAY_CTL_MOUNT_SHARED_STORE : 0) |
	       (choices->write_behind ? RELAY_CTL_MOUNT_WRITE_BEHIND : 0) |
	       (choices->socket_lane ? RELAY_CTL_MOUNT_SOCKET_LANE : 0) |
	       (choices->uring_lane ? RELAY_CTL_MOUNT_URING_LANE : 0) |
	       (choices->no_resend ? RELAY_CTL_MOUNT_NO_RESEND : 0);
}

void relay_internal_choices_flags_take(struct relay_mount_choices *choices, uint32_t flags)
{
	choices->shared_store = flags & RELAY_CTL_MOUNT_SHARED_STORE;
	choices->write_behind = flags & RELAY_CTL_MOUNT_WRITE_BEHIND;
	choices->socket_lane = flags & RELAY_CTL_MOUNT_SOCKET_LANE;
	choices->uring_lane = flags & RELAY_CTL_MOUNT_URING_LANE;
	choices->no_resend = flags & RELAY_CTL_MOUNT_NO_RESEND;
}
