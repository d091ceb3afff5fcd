/*
 * What a keeper holds, what it is told, and what a relayd is told of it.  The table lies in a memfd, which the relayd that
 * is started next maps: descriptors have the same numbers there, and names.
 *
 * What it is told are the messages of sd_notify(3), so that a service manager can be the
 * keeper as well.
 */
#ifndef RELAYD_KEEPER_TABLE_H
#define RELAYD_KEEPER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a service manager's FDNAME are 255 characters; ours are shorter. */
#define KEEPER_NAME_SIZE 48u
#define KEEPER_FDS_MAX 16384u
#define KEEPER_MESSAGE_MAX 256u

#define KEEPER_MAGIC 0x315045454b4c4552ULL /* "RELKEEP1" */
#define KEEPER_VERSION 1u

struct keeper_table {
	uint64_t magic;
	uint32_t version;
	uint32_t count;
	struct keeper_entry {
		int32_t fd;
		char name[KEEPER_NAME_SIZE];
	} entry[KEEPER_FDS_MAX];
};

void keeper_table_init(struct keeper_table *table);
/* Whether what was mapped from a descriptor of this size is one, of this version. */
bool keeper_table_good(const struct keeper_table *table, uint64_t size);
/* Enters fd.  *old is the one that had the name, -1: none.  Returns 0 or -ENOSPC. */
int keeper_table_put(struct keeper_table *table, const char *name, int fd, int *old);
/* Returns the descriptor that had the name, or -1. */
int keeper_table_drop(struct keeper_table *table, const char *name);

struct keeper_message {
	bool store;   /* FDSTORE=1: the message's descriptor, under the name */
	bool remove;  /* FDSTOREREMOVE=1 */
	bool ready;   /* READY=1: whoever is told, is told; the mounts serve */
	bool restart; /* X_RELAYD_RESTART=1: another relayd is wanted */
	char name[KEEPER_NAME_SIZE];
};

/* Assignments that it does not know are passed over.  Returns 0, or -EPROTO. */
int keeper_message_parse(const char *text, size_t size, struct keeper_message *out);

/* In the environment of a relayd that has a keeper: see struct keeper_worker. */
#define KEEPER_ENVIRONMENT "RELAYD_KEEPER"

struct keeper_worker {
	int socket; /* to the keeper */
	int table;  /* struct keeper_table */
	int teller; /* where the process that was started waits for the outcome; -1: nowhere */
	bool check; /* only to tell whether what is there can be taken over */
	const char *path; /* of the control socket; within the text */
};

/* "SOCKET:TABLE:TELLER:CHECK:PATH".  Returns 0, or -EINVAL for NULL and for what is none. */
int keeper_worker_of(const char *text, struct keeper_worker *out);

/* In the environment of a keeper that a relayd has started after the death of the one before. */
#define KEEPER_HEIR_ENVIRONMENT "RELAYD_KEEPER_OF"

struct keeper_heir {
	int socket;	  /* to the relayd */
	pid_t of;	  /* which is this one */
	const char *path; /* of the control socket; within the text */
};

/* "SOCKET:PID:PATH".  Returns as keeper_worker_of(). */
int keeper_heir_of(const char *text, struct keeper_heir *out);

#endif
