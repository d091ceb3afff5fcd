/*
 * The control socket: relayctl, relay_mount() and a second `relayd --mount` come
 * in here.  relay-protocol(7) has the protocol.  Belongs to the main thread.
 */
#ifndef RELAYD_CTL_H
#define RELAYD_CTL_H

struct ctl;
struct daemon;
struct loop;

/*
 * Serves the socket at path (relay_internal_ctl_path()), whose directory is made
 * where it is missing.  Waits a moment for a relayd that is just beginning or
 * ending there.
 *
 * Returns 0, -EADDRINUSE if a relayd serves it already, -ENAMETOOLONG, or another
 * negative errno.
 */
int ctl_new(struct ctl **out, struct loop *loop, struct daemon *daemon, const char *path);

/* Another keeper is there, and has nothing yet. */
void ctl_put(const struct ctl *ctl);

/* Closes all connections and removes the socket.  To be called while the mounts are still there. */
void ctl_free(struct ctl *ctl);

#endif
