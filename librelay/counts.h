/*
 * Counting answered requests: relayd counts those that it relays, librelay those that a
 * backend has read by itself, both in rows of the same shape (relay/wire.h).
 */
#ifndef RELAY_COUNTS_H
#define RELAY_COUNTS_H

#include <stdint.h>

#include "relay/wire.h"

/*
 * Counts one answered request in its opcode's row; error is the reply's errno or 0.  A few
 * relaxed additions and no division by anything but a constant: any thread may, at any time.
 */
void relay_count_add(struct relay_count *row, int error, uint64_t latency_ns);

#endif
