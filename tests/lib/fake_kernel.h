/*
 * A stand-in for the kernel's end of /dev/fuse: one packet of a socket pair is one
 * request or one reply, as one read() or write() of the device is.
 *
 * Nothing here waits for ever: what does not come within FAKE_DEADLINE_MS is taken
 * for never.
 */
#ifndef TESTS_FAKE_KERNEL_H
#define TESTS_FAKE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/fake_packet.h"
#include "relay/opcodes.h"

struct fake_kernel {
	int fd;	    /* the kernel's end */
	int device; /* what relayd has in place of /dev/fuse; its to close if it closes it */
	uint64_t unique;
	uint32_t pid; /* the caller that requests name */
};

/* Returns 0 or a negative errno. */
int fake_kernel_init(struct fake_kernel *kernel);
void fake_kernel_deinit(struct fake_kernel *kernel);

/* Sends a request with this body, and returns its unique; 0 if it cannot be sent. */
uint64_t fake_kernel_request(struct fake_kernel *kernel, uint32_t opcode, const void *body, uint32_t size);
/* The same bytes as they are. */
bool fake_kernel_send(struct fake_kernel *kernel, const void *packet, uint32_t size);
/* The INIT of a kernel of 7.45 that offers these flags. */
uint64_t fake_kernel_init_request(struct fake_kernel *kernel, uint64_t flags);
/* The shortest request of this opcode that is well-formed; every other number in it is 1. */
uint64_t fake_kernel_minimal(struct fake_kernel *kernel, uint32_t opcode);
/* LOOKUP of a name: what tests ask when it does not matter what. */
uint64_t fake_kernel_lookup(struct fake_kernel *kernel, const char *name);

/* The next reply or notification.  Returns false at the end, or if none comes. */
bool fake_kernel_receive(struct fake_kernel *kernel, struct fake_packet *packet);
/* Whether the next thing that comes is an answer to this with that error and no payload. */
bool fake_kernel_gets_error(struct fake_kernel *kernel, uint64_t unique, int error);
/* Nothing has come. */
bool fake_kernel_quiet(struct fake_kernel *kernel);
/* No request will come any more. */
void fake_kernel_end(struct fake_kernel *kernel);

#endif
