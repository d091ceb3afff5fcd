/*
 * What a mount counts: per opcode the requests, the errors and a histogram of
 * latencies (from the request's arrival to its reply), and the crashes and redos.
 *
 * The counters are written by the mount's two pump threads and read by the main
 * thread, relaxed: each value is right, a set of them is a moment's blur.
 */
#ifndef RELAYD_STATS_H
#define RELAYD_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "relay/wire.h"

struct stats {
	struct relay_count opcodes[RELAY_OPCODE_MAX];
	_Atomic uint64_t restarts;	   /* incarnations after the first */
	_Atomic uint64_t redone;	   /* requests given to a further incarnation */
	_Atomic uint64_t resent;	   /* stored replies sent by relayd itself */
	_Atomic uint64_t poisoned;	   /* answered EIO because they kill backends */
	_Atomic uint64_t abandoned;	   /* answered EINTR because their caller is dying */
	_Atomic uint64_t failed;	   /* answered with an error because no backend served for too long */
	_Atomic uint64_t bad_replies;	   /* malformed, refused */
	_Atomic uint64_t longest_pause_us; /* from a death to the next answered request */
	_Atomic uint64_t last_pause_us;
	_Atomic uint64_t repaired; /* requests that went through the repair pool */
	_Atomic uint64_t asks;	   /* requests of relayd's own to backends */
	_Atomic uint64_t answered; /* by relayd itself, from what a backend had said before */
};

/* Counts one answered request; error is the reply's errno or 0. */
void stats_count(struct stats *stats, uint32_t opcode, int error, uint64_t latency_ns);

/* The sum of two rows that others may be counting in. */
void stats_sum(struct relay_count *out, const struct relay_count *a, const struct relay_count *b);

/* Notes a pause, in microseconds. */
void stats_pause(struct stats *stats, uint64_t us);

/* The latency in microseconds below which `percent` (0 to 100) of the requests lie; 0 without any. */
uint64_t stats_percentile(const struct relay_count *opcode, double percent);

#endif
