/*
 * relayd's tables between a kernel that a test plays and a backend in memory that dies:
 * requests are built as the kernel builds them, and go the way of the repair pool.
 */
#ifndef TESTS_RESTORE_RIG_H
#define TESTS_RESTORE_RIG_H

#include "lib/fake_ask.h"
#include "redo.h"
#include "restore.h"
#include "translate.h"

struct rig_request {
	uint32_t size;
	_Alignas(8) uint8_t bytes[2048];
};

struct restore_rig {
	struct store store;
	struct translate translate;
	struct restore restore;
	struct ask ask;
	struct redo redo;
	bool shared_store;
	uint32_t uid;	/* whose requests they are */
	unsigned lives; /* deaths during rig_redo() */
	_Alignas(8) uint8_t reply[RELAY_MAX_REPLY];
	uint32_t reply_size;
};

void rig_init(struct restore_rig *rig);
void rig_deinit(struct restore_rig *rig);
/* The backend has died, and the next incarnation is there. */
void rig_restart(struct restore_rig *rig);

/* A request: fixed part (may be NULL) and up to two names, or one and data. */
void rig_build(const struct restore_rig *rig, struct rig_request *request, uint32_t opcode, uint64_t nodeid,
	       const void *in, size_t in_size, const char *name, const char *name2);
void rig_data(struct rig_request *request, const void *data, size_t size);

/* What restore_request() says, with -EAGAIN and all. */
int rig_restore(struct restore_rig *rig, const struct rig_request *request);
/* Restores what it needs, sends it, notes the reply, which is in rig->reply in the kernel's form.  0 or a positive
 * errno. */
int rig_serve(struct restore_rig *rig, const struct rig_request *request);
/* Sends it only: it was applied, and nobody was told. */
void rig_apply(struct restore_rig *rig, const struct rig_request *request);
/* The redo, in as many lives as it takes. */
int rig_redo(struct restore_rig *rig, const struct rig_request *request, uint64_t before);

/* The kernel's nodeid of a path, which it looks up; 0 if that fails. */
uint64_t rig_path(struct restore_rig *rig, const char *path);
/* The kernel's fh of an open file; 0 if that fails.  `dir`: OPENDIR. */
uint64_t rig_open(struct restore_rig *rig, uint64_t nodeid, uint32_t flags, bool dir);
int rig_close(struct restore_rig *rig, uint64_t nodeid, uint64_t fh, bool dir);
/* READ of nothing through it: whether it can be used, and is of that node. */
int rig_read(struct restore_rig *rig, uint64_t nodeid, uint64_t fh);

/* What is to be forgotten and closed is. */
void rig_settle(struct restore_rig *rig);
/* The backend's counts of lookups are those that the tables know of.  Asserts. */
void rig_check_counts(struct restore_rig *rig);

#endif
