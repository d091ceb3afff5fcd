/*
 * relayctl: what its files share.
 */
#ifndef RELAYD_RELAYCTL_H
#define RELAYD_RELAYCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl_client.h"
#include "supervisor.h"

/* Exit statuses of relayctl(8). */
enum relayctl_exit {
	RELAYCTL_OK = 0,
	RELAYCTL_FAILED = 1,
	RELAYCTL_USAGE = 2,
	RELAYCTL_NO_RELAYD = 3,
	RELAYCTL_NO_MOUNT = 4,
	RELAYCTL_TIMEOUT = 5,
	RELAYCTL_KEPT = 6,	  /* an upgrade: the backend there was goes on */
	RELAYCTL_FELL_BACK = 7, /* an upgrade: the old command was started again */
};

/* ---- relayctl_mounts.c: what relayd says ------------------------------- */

struct ctl_mount {
	char *name;
	char *mountpoint;
	const char *selector; /* one of the two: what relayd is to find it by */
	bool elsewhere;	      /* in another mount namespace than this process */
	char *lane;
	char *via; /* "": no backend has come in */
	char *problem;
	char *known; /* what the kernel answers by itself */
	enum supervisor_state state;
	uint32_t incarnation;
	uint32_t backend_pid; /* 0: none */
	uint32_t inflight;
	uint64_t restarts;
	uint64_t redone;
	uint64_t longest_pause_us;
};

struct ctl_mounts {
	struct ctl_mount *all;
	size_t count;
};

/*
 * Each returns an enum relayctl_exit, and has told the reason if it is not 0.
 */
enum relayctl_exit mounts_fetch(struct relay_ctl_client *client, struct ctl_mounts *mounts);
void mounts_deinit(struct ctl_mounts *mounts);

/* By name or mountpoint, however that is written; NULL: the only one there is. */
enum relayctl_exit mounts_find(const struct ctl_mounts *mounts, const char *name, const struct ctl_mount **found);

/* Sends the command in client->frame, and tells of an error as one of `what`. */
enum relayctl_exit command_call(struct relay_ctl_client *client, const char *what, uint32_t *flags);

/* STATS of a mount; the answer stays in the client's frame. */
enum relayctl_exit stats_fetch(struct relay_ctl_client *client, const struct ctl_mount *mount,
			       const struct relay_ctl_stats **stats);
/* A record of it, or NULL after the last; *row is where it is copied. */
const struct relay_ctl_stats_row *stats_row(const struct relay_ctl_client *client, uint32_t index,
					    struct relay_ctl_stats_row *row);

/* Requests that were not sent, since the kernel has answered by itself. */
uint64_t known_saved(const struct relay_ctl_stats *stats);

/* ---- relayctl_table.c: for people --------------------------------------- */

void table_list(const struct ctl_mounts *mounts);
void table_status(const struct ctl_mounts *mounts);
void table_stats(const struct relay_ctl_client *client, const struct relay_ctl_stats *stats);

/* ---- relayctl_json.c: for programs -------------------------------------- */

/* Each returns 0, or a negative errno if there is no memory or standard output takes no more. */
int json_list(const struct relay_ctl_client *client, const struct ctl_mounts *mounts);
int json_status(const struct relay_ctl_client *client, const struct ctl_mounts *mounts);
int json_stats(const struct relay_ctl_client *client, const struct relay_ctl_stats *stats);

/* ---- relayctl_text.c ---------------------------------------------------- */

/*
 * A name that may be any bytes, as valid UTF-8: bytes that are none, and for
 * people control characters too, become \xHH; a backslash is doubled where that
 * is done.  Returns it, to be freed, or NULL without memory.
 */
char *text_escape(const char *text, bool for_people);
/* Characters, which is columns for most scripts. */
size_t text_width(const char *text);

#endif
