/*
 * A fake backend of the direct lane on the dispatch rig: it claims slots and reads from the
 * fake kernel as librelay does, up to the step that a test chooses.  What it has read is
 * remembered, so that the fake kernel can send it again.
 */
#ifndef TESTS_DIRECT_PLAY_H
#define TESTS_DIRECT_PLAY_H

#include "lib/dispatch_rig.h"

struct direct_request {
	uint64_t unique; /* the kernel's */
	uint32_t size;
	uint32_t slot;
	uint8_t bytes[512]; /* its beginning, as the kernel sent it */
};

/* Serves the first backend in the direct lane, up to its GO. */
bool direct_serve(struct dispatch_rig *rig);
/* The next backend, up to its answer to INIT. */
bool direct_begin_next(struct dispatch_rig *rig);
/* Gives it everything, and opens the gate: dispatch_redo() and dispatch_gate_open(). */
bool direct_go(struct dispatch_rig *rig);
/* The next packet on the channel is this private message, without a body. */
bool direct_gets_message(struct dispatch_rig *rig, uint32_t opcode);
/* The next packet is the header of a given request of this opcode; returns its unique, or 0. */
uint64_t direct_gets(struct dispatch_rig *rig, uint32_t opcode);

/* Claims a slot and reads the next request into it: the slot is READING. */
bool direct_read(struct dispatch_rig *rig, uint32_t slot, struct direct_request *request);
/* Moves such a slot on to the state. */
void direct_state(struct dispatch_rig *rig, const struct direct_request *request, uint32_t state);
/* Stores a reply without payload in it: APPLIED. */
void direct_store(struct dispatch_rig *rig, const struct direct_request *request, int error);

/* The kernel is asked to send again. */
bool direct_kernel_gets_resend(struct dispatch_rig *rig);
/* It does, with the mark. */
bool direct_kernel_resends(struct dispatch_rig *rig, const struct direct_request *request);

#endif
