/*
 * The tables of a translated mount, between a kernel and a backend that are the test: requests
 * go in by the kernel's ids, replies come by the backend's.  No Criterion, so that fuzz targets
 * use it too.
 */
#ifndef TESTS_TRANSLATE_RIG_H
#define TESTS_TRANSLATE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "translate.h"

#define RIG_PAYLOAD 65536u

struct translate_rig {
	struct translate translate;
	uint32_t incarnation;

	/* The request in flight. */
	_Alignas(8) uint8_t request[8192];
	uint32_t size;
	struct translate_head head;
	struct translate_note note;

	/* Its reply. */
	struct {
		struct fuse_out_header header;
		_Alignas(8) uint8_t payload[RIG_PAYLOAD];
	} reply;
};

/* Begins with incarnation 1.  Returns 0 or a negative errno. */
int translate_rig_init(struct translate_rig *rig);
void translate_rig_deinit(struct translate_rig *rig);
/* The next incarnation. */
void translate_rig_restart(struct translate_rig *rig);

/* Makes a request of a fixed part and names (which may be NULL). */
void translate_rig_request(struct translate_rig *rig, uint32_t opcode, uint64_t nodeid, const void *in,
			   uint32_t in_size, const char *name, const char *name2);
/* Translates it, and notes it if it is ready. */
int translate_rig_send(struct translate_rig *rig);
/* The translated header and fixed part. */
const struct fuse_in_header *translate_rig_head(const struct translate_rig *rig);
const void *translate_rig_in(const struct translate_rig *rig);
/* Its reply; what becomes of the payload is in rig->reply. */
int translate_rig_reply(struct translate_rig *rig, int error, const void *payload, uint32_t size);
/* The kernel refuses that reply. */
void translate_rig_refuse(struct translate_rig *rig);

/* Attributes of an object as a backend gives them. */
struct fuse_entry_out translate_rig_entry(uint64_t backend_id, uint64_t ino, uint32_t mode);

/* Whole conversations; 0 if they fail. */
uint64_t translate_rig_lookup(struct translate_rig *rig, uint64_t parent, const char *name, uint64_t backend_id,
			      uint32_t mode);
uint64_t translate_rig_open(struct translate_rig *rig, uint64_t nodeid, uint32_t flags, bool dir, uint64_t backend_fh);
bool translate_rig_close(struct translate_rig *rig, uint64_t nodeid, uint64_t fh, bool dir);
void translate_rig_forget(struct translate_rig *rig, uint64_t nodeid, uint64_t nlookup);

/* What the backend is to forget of this id, all packets together; they are taken. */
uint64_t translate_rig_forgotten(struct translate_rig *rig, uint64_t backend_id);

#endif
