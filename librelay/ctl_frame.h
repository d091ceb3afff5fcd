/*
 * Making and reading frames of the control protocol (relay/ctl_wire.h), for both
 * sides of it.
 */
#ifndef RELAY_CTL_FRAME_H
#define RELAY_CTL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "relay/ctl_wire.h"

/* A frame being made, or one that was received. */
struct relay_ctl_frame {
	uint32_t size;
	int error; /* -E2BIG: something did not fit; sticks */
	_Alignas(8) uint8_t bytes[RELAY_CTL_FRAME_MAX];
};

/* The header's numbers, in the byte order of the machine. */
struct relay_ctl_head {
	uint16_t version;
	uint16_t type;
	uint32_t size;
	uint32_t sequence;
	int32_t status;
	uint32_t flags;
};

/*
 * Begins a frame with a zeroed fixed part of so many bytes, which is returned and
 * stays in place; the caller fills it in, little-endian.
 */
void *relay_internal_ctl_begin(struct relay_ctl_frame *frame, const struct relay_ctl_head *head, size_t fixed);

/* Appends a string that the fixed part's `where` is to point to; NULL: none. */
void relay_internal_ctl_put(struct relay_ctl_frame *frame, struct relay_ctl_string *where, const char *text);

/* Appends zeroed room, aligned to 8.  Returns it, or NULL if it does not fit. */
void *relay_internal_ctl_room(struct relay_ctl_frame *frame, size_t size);

/* Completes the header.  Returns 0, or -E2BIG. */
int relay_internal_ctl_end(struct relay_ctl_frame *frame);

/*
 * Checks a packet's header.  *head is filled in as far as the magic is right, so
 * that a frame of another version can be answered.
 *
 * Returns 0; -EPROTO for what is no frame or -EPROTONOSUPPORT for one of another
 * version, with the cause in *why.
 */
int relay_internal_ctl_check(const void *packet, size_t size, struct relay_ctl_head *head, const char **why);

/* The fixed part of a checked frame, or NULL if it is shorter than `fixed`. */
const void *relay_internal_ctl_fixed(const void *packet, size_t size, size_t fixed);

/*
 * The string of a checked frame that `where` (a copy, or within the frame) points
 * to: *text becomes it, or NULL for none.  Returns 0 or -EPROTO.
 */
int relay_internal_ctl_get(const void *packet, size_t size, const struct relay_ctl_string *where, const char **text);

#endif
