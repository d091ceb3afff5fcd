/*
 * The fake backend as a filesystem that makes up its ids anew in each life: one directory
 * of a few files, which are the store's and outlive it.  A test lets it answer until the
 * kernel has a reply, or takes its part itself for as long as it likes.
 */
#ifndef TESTS_FOREIGN_H
#define TESTS_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/dispatch_rig.h"

#define FOREIGN_FILES 8u

struct foreign {
	struct dispatch_rig rig;
	struct foreign_file {
		char name[16]; /* empty: none */
		uint32_t mode;
		uint64_t ino;
	} files[FOREIGN_FILES];
	uint64_t opened;			    /* counts, over all lives */
	uint32_t asked[RELAY_OPCODE_MAX];	    /* requests that this life has answered */
	uint64_t forgotten[FOREIGN_FILES];	    /* lookups that this life was told to forget */
	bool knows_no_batch;			    /* BATCH_FORGET is answered with ENOSYS, as ntfs-3g does */
	uint64_t last_fh;			    /* of the last request that had one */
	uint64_t last_nodeid;
};

/* Serves with nothing in the directory.  Returns false if it does not. */
bool foreign_init(struct foreign *foreign);
void foreign_deinit(struct foreign *foreign);

/* A file of the store, by its number. */
void foreign_file(struct foreign *foreign, unsigned number, const char *name);

/* What this life calls it. */
uint64_t foreign_id(const struct foreign *foreign, unsigned number);

/* The life ends, and the next begins to serve. */
bool foreign_die(struct foreign *foreign, bool own_fault);
bool foreign_next(struct foreign *foreign);

/* A request of the kernel's for this node.  Returns its unique, or 0. */
uint64_t foreign_request(struct foreign *foreign, uint32_t opcode, uint64_t nodeid, const void *body, uint32_t size);

/* Answers one packet as the filesystem does. */
void foreign_answer(struct foreign *foreign, const struct fake_packet *packet);
/* Answers until the kernel has the reply to this, which goes to *reply.  Returns false if none comes. */
bool foreign_serve(struct foreign *foreign, uint64_t unique, struct fake_packet *reply);
/* Answers what comes until this counter of relayd's, or of the test's, has got there. */
bool foreign_serve_until(struct foreign *foreign, bool (*done)(struct foreign *foreign));
/* The next packet, which must be of this opcode, is taken and not answered.  Returns its unique, or 0. */
uint64_t foreign_holds(struct foreign *foreign, uint32_t opcode);

/* LOOKUP of a file, answered: the kernel's nodeid, 0 if it is not there. */
uint64_t foreign_lookup(struct foreign *foreign, const char *name);
/* OPEN of a node, answered: the kernel's fh. */
uint64_t foreign_open(struct foreign *foreign, uint64_t nodeid);
/* READ of an open file: its unique. */
uint64_t foreign_read(struct foreign *foreign, uint64_t nodeid, uint64_t fh);

#endif
