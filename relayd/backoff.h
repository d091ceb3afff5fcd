/*
 * How long to wait before the next backend: not at all after one that has
 * answered requests, ever longer after ones that die before they do.
 */
#ifndef RELAYD_BACKOFF_H
#define RELAYD_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#define BACKOFF_FIRST_MS 1u
#define BACKOFF_LAST_MS 5000u

struct backoff {
	uint32_t next_ms; /* 0: the last life was a healthy one */
};

/* The delay in milliseconds after a life that was healthy or not. */
static inline uint32_t backoff_delay(struct backoff *backoff, bool healthy)
{
	uint32_t delay = healthy ? 0 : backoff->next_ms;

	if (healthy)
		backoff->next_ms = 0;
	else if (backoff->next_ms == 0)
		backoff->next_ms = BACKOFF_FIRST_MS;
	else if (backoff->next_ms < BACKOFF_LAST_MS / 2)
		backoff->next_ms *= 2;
	else
		backoff->next_ms = BACKOFF_LAST_MS;
	return delay;
}

#endif
