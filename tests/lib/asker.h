/*
 * Applications that ask something of the mount of tests/integration/supervision_backend,
 * while a test has its backends die and hang; and the orders that those are given.
 */
#ifndef TESTS_ASKER_H
#define TESTS_ASKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "relayd.h"

/* stat(2) of the name on the mount; returns 0 or the errno. */
int asker_stat(const struct relayd *r, const char *name);

/* A process that asks for the name, and dies with the test; its exit status is what `how` returns. */
pid_t asker_start(const struct relayd *r, const char *name, int (*how)(const struct relayd *r, const char *name));
/* For check_until(): the process that the pid_t is of has ended, and is to be waited for. */
bool asker_has_ended(void *pid);
/* Kills the process, and says whether it has gone within so many milliseconds. */
bool asker_dies(pid_t pid, unsigned within_ms);

/* For check_until(): the relayd has a request in flight. */
bool asker_has_inflight(void *r);

/* The backend finds the file of that name in its store, or does not any more. */
void asker_order(const struct relayd *r, const char *name, bool on);

/* A thread that asks for "good" all the time, whom what else happens is not to harm. */
struct bystander {
	const struct relayd *r;
	pthread_t thread;
	atomic_bool over;
	_Atomic unsigned answers;
	_Atomic unsigned errors;
};

void bystander_begin(struct bystander *bystander, const struct relayd *r);
void bystander_end(struct bystander *bystander);

#endif
