/*
 * From a packet to a command: everything that a client may have got wrong is
 * found here.
 */
#ifndef RELAYD_CTL_DECODE_H
#define RELAYD_CTL_DECODE_H

#include <stddef.h>

struct ctl_request;

/*
 * Checks the packet against the row of its type, and fills in request->head, and
 * then ->command, ->body and ->strings, which point into the packet.
 *
 * Returns 0, -ENOSYS for a type that has no row, -EPROTONOSUPPORT for another
 * version or -EPROTO for everything else, with the cause in *why.
 */
int ctl_decode(struct ctl_request *request, const void *packet, size_t size, const char **why);

#endif
