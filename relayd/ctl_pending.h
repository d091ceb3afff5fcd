/*
 * Commands that are answered later, when their mount has come to a state.
 */
#ifndef RELAYD_CTL_PENDING_H
#define RELAYD_CTL_PENDING_H

#include <stdint.h>

#include "ctl_conn.h"
#include "way.h"

/*
 * Each answers the request by itself, at once or later, and returns 0; or returns
 * -ENOMEM, or -ENOBUFS where the connection has too many waiting commands.
 */

/* When the mount is in one of the states and in that incarnation, or after timeout_ms. */
int ctl_pending_wait(struct ctl_request *request, struct mount *mount, uint32_t states, uint32_t incarnation,
		     uint32_t timeout_ms);

/* When the new mount serves, or has ended before it did. */
int ctl_pending_mount(struct ctl_request *request, struct mount *mount);

/* When the mount has ended; begins with mount_unmount(), whose error is returned too. */
int ctl_pending_unmount(struct ctl_request *request, struct mount *mount, bool force);

/*
 * When the mount's change to another command is over; begins with mount_upgrade(), whose error is
 * returned too.
 */
int ctl_pending_upgrade(struct ctl_request *request, struct mount *mount, const char *backend, uint32_t timeout_ms);

/*
 * When the mount is ready for another backend, the old one having just died: the
 * channel, which is taken over unless an error is returned, is attached to it.
 */
int ctl_pending_attach(struct ctl_request *request, struct mount *mount, int channel, enum way_via via);

/* The connection ends: nobody waits on it any more.  Mounts that it asked for stay. */
void ctl_pending_forget(struct ctl_conn *conn);
/* The daemon ends. */
void ctl_pending_clear(struct ctl *ctl);

#endif
