/*
 * How a mount is to be served, whatever it is a mount of: what relayd and relay-run take as
 * options, and a MOUNT or a RUN carries to the relayd that does it.
 */
#ifndef RELAY_MOUNT_CHOICES_H
#define RELAY_MOUNT_CHOICES_H

#include <endian.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache_options.h"

struct relay_mount_choices {
	bool shared_store;	     /* others write to the store too */
	bool write_behind;	     /* the backend acknowledges writes that it does later */
	bool socket_lane;	     /* the direct one is not to be taken */
	bool uring_lane;	     /* requests are to come by io_uring, where that can be */
	bool no_resend;		     /* the kernel is not asked to send requests again */
	uint32_t lives;		     /* incarnations that a request may kill; 0: relayd's default */
	uint32_t request_timeout_ms; /* for how long a backend may hold a request; 0: for ever */
	uint32_t fail_after_ms;	     /* without a backend for so long, applications get errors; 0: they wait */
	struct relay_cache_options known; /* what the kernel may answer by itself */
};

/* Beyond the numbers that a program has for options of its own. */
enum relay_mount_choice {
	RELAY_CHOICE_FIRST = 1000,
	RELAY_CHOICE_SHARED_STORE = RELAY_CHOICE_FIRST,
	RELAY_CHOICE_WRITE_BEHIND,
	RELAY_CHOICE_LIVES,
	RELAY_CHOICE_REQUEST_TIMEOUT,
	RELAY_CHOICE_DOWN_POLICY,
	RELAY_CHOICE_LANE,
	RELAY_CHOICE_RESEND,
	RELAY_CHOICE_TRUST,
	RELAY_CHOICE_NEGATIVE_TIMEOUT,
	RELAY_CHOICE_BPF,
	RELAY_CHOICE_END,
};

/* Their lines in a table for getopt_long(). */
#define RELAY_MOUNT_CHOICE_OPTIONS                                                                                     \
	{"shared-store", no_argument, NULL, RELAY_CHOICE_SHARED_STORE},                                                \
	{"write-behind", no_argument, NULL, RELAY_CHOICE_WRITE_BEHIND},                                                \
	{"lives", required_argument, NULL, RELAY_CHOICE_LIVES},                                                        \
	{"request-timeout", required_argument, NULL, RELAY_CHOICE_REQUEST_TIMEOUT},                                    \
	{"down-policy", required_argument, NULL, RELAY_CHOICE_DOWN_POLICY},                                            \
	{"lane", required_argument, NULL, RELAY_CHOICE_LANE},                                                          \
	{"resend", required_argument, NULL, RELAY_CHOICE_RESEND},                                                      \
	{"trust", required_argument, NULL, RELAY_CHOICE_TRUST},                                                        \
	{"negative-timeout", required_argument, NULL, RELAY_CHOICE_NEGATIVE_TIMEOUT},                                  \
	{"bpf", required_argument, NULL, RELAY_CHOICE_BPF}

/*
 * Takes an option from RELAY_CHOICE_FIRST to before RELAY_CHOICE_END, with its word.
 * Returns NULL, or what is wrong with it.
 */
const char *relay_internal_choice_take(struct relay_mount_choices *choices, int option, const char *word);

/* Whether anything is chosen other than what holds without a word. */
bool relay_internal_choices_made(const struct relay_mount_choices *choices);

/* What does not go together, or is none of the values there are; or NULL. */
const char *relay_internal_choices_check(const struct relay_mount_choices *choices);

/* The enum relay_ctl_mount_flags among them; and back. */
uint32_t relay_internal_choices_flags(const struct relay_mount_choices *choices);
void relay_internal_choices_flags_take(struct relay_mount_choices *choices, uint32_t flags);

/* To and from a struct relay_ctl_mount or relay_ctl_run, which have the same fields at other places. */
#define RELAY_MOUNT_CHOICES_PACK(body, choices)                                                                        \
	do {                                                                                                           \
		(body)->flags = htole32(relay_internal_choices_flags(choices));                                        \
		(body)->lives = htole32((choices)->lives);                                                             \
		(body)->request_timeout_ms = htole32((choices)->request_timeout_ms);                                   \
		(body)->fail_after_ms = htole32((choices)->fail_after_ms);                                             \
		(body)->cache = relay_internal_cache_options_pack(&(choices)->known);                                  \
	} while (0)
#define RELAY_MOUNT_CHOICES_UNPACK(choices, body)                                                                      \
	do {                                                                                                           \
		relay_internal_choices_flags_take(choices, le32toh((body)->flags));                                    \
		(choices)->lives = le32toh((body)->lives);                                                             \
		(choices)->request_timeout_ms = le32toh((body)->request_timeout_ms);                                   \
		(choices)->fail_after_ms = le32toh((body)->fail_after_ms);                                             \
		(choices)->known = relay_internal_cache_options_unpack(&(body)->cache);                                \
	} while (0)

#endif
