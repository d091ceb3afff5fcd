/*
 * Packets with descriptors over a SOCK_SEQPACKET socket: the channel and the
 * control socket both use them.
 */
#ifndef RELAY_FDPASS_H
#define RELAY_FDPASS_H

#include <sys/types.h>
#include <sys/uio.h>

/* The most descriptors that one packet carries here. */
#define RELAY_FDPASS_MAX 16u

/*
 * Sends one packet, with duplicates of nfds descriptors.  Never raises SIGPIPE.
 *
 * Returns the bytes sent, or a negative errno: -EAGAIN only of a non-blocking
 * socket, -EPIPE when the other end is gone.
 */
ssize_t relay_internal_send_fds(int sock, const struct iovec *iov, int iovcnt, const int *fds, unsigned nfds);

/*
 * Receives one packet.  *nfds is the room in fds[] and becomes the number of
 * descriptors stored there, close-on-exec and the caller's to close; those that
 * find no room are closed.  fds and nfds may both be NULL.
 *
 * Returns the bytes received, 0 at the end (nobody here sends empty packets), or
 * a negative errno with *nfds 0: -EMSGSIZE for a packet longer than size, which
 * is lost together with its descriptors.
 */
ssize_t relay_internal_recv_fds(int sock, void *buf, size_t size, int *fds, unsigned *nfds);

/*
 * The same of a socket with SO_PASSCRED; *pid is the process that sent it, 0 if that is not
 * known.  With MSG_DONTWAIT in flags -EAGAIN if nothing is there.
 */
ssize_t relay_internal_recv_fds_from(int sock, int flags, void *buf, size_t size, int *fds, unsigned *nfds, pid_t *pid);

#endif
