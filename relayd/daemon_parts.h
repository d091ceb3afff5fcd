/*
 * What the daemon has.  Between its two files.
 */
#ifndef RELAYD_DAEMON_PARTS_H
#define RELAYD_DAEMON_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl.h"
#include "daemon.h"
#include "loop.h"

struct entry {
	struct entry *next;
	struct mount *mount;
};

struct daemon {
	struct loop *loop;
	struct ctl *ctl;
	struct cache_bpf *bpf;
	struct entry *first;
	const struct daemon_config *config;
	bool told;	/* on_ready was called */
	bool with_mount; /* ends with its last mount */
	bool ending;
	enum relayd_exit status;
	struct mount_watcher watcher; /* of the mount it began with */
	struct loop_signal terminate;
	struct loop_signal interrupt;
	struct loop_signal hangup;
	unsigned mounts; /* the highest number of a mount so far */
	bool resumed;	 /* an earlier relayd was ready */
	struct loop_io keeper;	/* of its end */
	struct loop_timer heir; /* until another try to start one */
	struct loop_timer watchdog;
	uint64_t watchdog_ms;
};

void daemon_entry_add(struct daemon *daemon, struct entry *entry);
void daemon_on_mount_gone(struct mount *mount, void *arg);

/* ---- whoever keeps what outlives us: daemon_kept.c ---------------------------- */

/* Takes over what an earlier relayd has left, and watches the keeper. */
void daemon_kept_start(struct daemon *daemon);
void daemon_kept_stop(struct daemon *daemon);
/* From here on no other relayd has to make the first mount anew. */
void daemon_ready_put(void);

#endif
