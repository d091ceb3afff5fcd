/*
 * The processes of an experiment: the keeper, which owns what must survive, and
 * the backends that it starts one after the other.
 */
#ifndef RESEARCH_KEEPER_H
#define RESEARCH_KEEPER_H

#include <sys/types.h>

#include "lane.h"

/* Starts the keeper, which starts a backend for each token (keeper_allow()). Returns its pid. */
pid_t keeper_start(struct lane *l);

/* Lets `n` more backends be started, each when the one before it is dead. */
void keeper_allow(struct lane *l, unsigned int n);

/* Kills the keeper and with it the backend. Returns when both are dead. */
void keeper_stop(struct lane *l, pid_t keeper);

/* Waits until there is a backend. */
void keeper_await_backend(const struct lane *l);

/* SIGKILL to the backend; returns when it is no longer running. */
void keeper_kill_backend(struct lane *l);

/* Nanoseconds that all threads of process `pid` have been on a processor. */
uint64_t keeper_cpu_ns(pid_t pid);

/* Waits until *counter >= value, for at most `seconds`. Returns whether it is. */
bool keeper_await(const uint64_t *counter, uint64_t value, unsigned int seconds);

#endif
