/*
 * The present life of a mount's backend.  Between the files of the supervisor.
 */
#ifndef RELAYD_SUPERVISOR_LIFE_H
#define RELAYD_SUPERVISOR_LIFE_H

#include "supervisor.h"

/* Begins the next life with the command.  Returns 0 or a negative errno. */
int life_launch(struct supervisor *s);
/* The kernel's INIT is there, and so is a channel: has the backend served. */
void life_channel_begin(struct supervisor *s);

/*
 * Runs a command, of which backend becomes the life, with its way (NULL: it inherits its channel).
 * *channel is our end of its channel, prepared, or -1 if it comes in by itself.
 */
int life_run(struct supervisor *s, struct backend *backend, const struct launch_command *command, struct way *way,
	     int *channel);
/* Before anything is sent on a channel: room, and the answer to INIT says which process serves. */
void life_channel_prepare(int channel);
/* The next life is that of a backend that has come up already, on its channel. */
void life_take(struct supervisor *s, struct backend *backend, int channel, enum way_via via);

/* Before the life has a process: its end is the supervisor's to hear. */
void life_backend_own(struct supervisor *s);

/* From here on applications wait. */
void life_pause_begin(struct supervisor *s);
/* Stops the flow of requests to a backend that is gone or going. */
void life_cut(struct supervisor *s);
/* The channel has ended. */
void life_drained(struct supervisor *s);

/* Whether nothing is left of it: its processes have ended, and what they had sent was taken. */
bool life_over(const struct supervisor *s);
/* What it leaves behind when it is over. */
void life_end(struct supervisor *s);

/* Has dying callers, or a dying backend, looked for from now on. */
void life_sweep_begin(struct supervisor *s);
/*
 * No backend serves from now on: after fail_after_ms applications get errors, if there is such a
 * limit; until one serves again.
 */
void life_fail_later(struct supervisor *s);
void life_fail_end(struct supervisor *s);
/* Sends TIMEOUT. */
void life_on_timer(struct loop_timer *timer);

#endif
