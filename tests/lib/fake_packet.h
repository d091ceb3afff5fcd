/*
 * Packets of the FUSE protocol over a socket pair, for the fakes on both sides of
 * relayd.  What does not come within FAKE_DEADLINE_MS is taken for never.
 */
#ifndef TESTS_FAKE_PACKET_H
#define TESTS_FAKE_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/fuse_abi.h"
#include "relay/wire.h"

#define FAKE_DEADLINE_MS 10000

/* A request, a reply or a private message, as it came. */
struct fake_packet {
	uint32_t size;
	int fd; /* that came with it, the receiver's to close; -1: none */
	union {
		struct fuse_in_header in;
		struct fuse_out_header out;
		uint8_t bytes[RELAY_MAX_REQUEST + 8192];
	};
};

/* A SOCK_SEQPACKET pair with room for many of the longest packets.  Returns 0 or a negative errno. */
int fake_packet_pair(int pair[2]);

/* Returns false at the end, or if none comes. */
bool fake_packet_receive(int fd, struct fake_packet *packet);

/* What follows the header of a request, or of a reply. */
const void *fake_packet_in(const struct fake_packet *packet);
const void *fake_packet_out(const struct fake_packet *packet);

#endif
