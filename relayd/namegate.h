/*
 * Names are looked up again only while no request that takes names from inodes (RENAME,
 * UNLINK, RMDIR) is with the backend: otherwise a path could lead to another file on the
 * way.  Any number of walks at a time, or any number of such requests, never both; neither
 * side can keep the other out for ever.
 */
#ifndef RELAYD_NAMEGATE_H
#define RELAYD_NAMEGATE_H

#include <pthread.h>
#include <stdbool.h>

struct namegate_side {
	unsigned inside;
	unsigned waiting;
	unsigned admitted; /* of those that wait: they go before anybody new of the other side */
};

struct namegate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct namegate_side walks;
	struct namegate_side changes;
	bool is_shut;  /* the channel has ended: nobody waits any more */
	unsigned life; /* counts channels that have ended, for who waited at the time */
};

void namegate_init(struct namegate *gate);
void namegate_deinit(struct namegate *gate);

/* May wait.  Returns false if the gate is shut. */
bool namegate_walk_begin(struct namegate *gate);
void namegate_walk_end(struct namegate *gate);

/* A request that takes names is about to be sent: without waiting (false: it would have to). */
bool namegate_change_try(struct namegate *gate);
/* The same, waiting.  Returns false if the gate is shut. */
bool namegate_change_begin(struct namegate *gate);
/* It was answered. */
void namegate_change_end(struct namegate *gate);

/*
 * The channel has ended: wakes all who wait, and takes all changes for over, for which
 * namegate_change_end() is not called any more.  Open: the next one serves.
 */
void namegate_shut(struct namegate *gate);
void namegate_open(struct namegate *gate);

#endif
