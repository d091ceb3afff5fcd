/*
 * What relayd and the keeper of a mount's rings say to each other, on a SOCK_SEQPACKET
 * socket that is descriptor KEEPER_SOCKET of the keeper:
 *
 *   relayd                                        keeper
 *   keeper_begin, /dev/fuse, the rings     ->
 *   a byte, the queue's eventfd; per queue ->
 *                                          <-     int32_t: the rings are made; or a negative errno
 *   a byte, when INIT is answered          ->
 *                                          <-     int32_t: the entries are registered; or a negative errno
 *
 *   a byte, at any time                    ->     it looks at the answers in all queues
 *
 * The last is how relayd kicks: an eventfd, which backends have too, could be made to keep
 * it waiting.  The keeper lives for as long as somebody, whoever it is, has the other end.
 */
#ifndef URING_KEEPER_H
#define URING_KEEPER_H

#include <stdint.h>

#define KEEPER_SOCKET 3
/* In $RELAY_WAYS_DIR, or in pkglibexecdir. */
#define KEEPER_PROGRAM "relayd-uring"

struct keeper_begin {
	uint32_t queues;
};

#endif
