/*
 * Nodes for tests of what survives: a dump that tells whether two tables say the same, and
 * random changes.
 */
#ifndef TESTS_LIB_NODES_PLAY_H
#define TESTS_LIB_NODES_PLAY_H

#include <stdint.h>

#include "nodes.h"

/* An entry of a type and number for nodes_entry(). */
struct fuse_entry_out nodes_play_entry(uint64_t id, uint32_t mode, uint64_t ino);

/*
 * All nodes and links as text, in an order that depends on them only.  To be freed.  Ends
 * the process if an index does not find what is in the tables.
 */
char *nodes_play_dump(const struct nodes *nodes);

/* Sizes for state_init() of nodes, and of some kind for the tables of others. */
void nodes_play_sizes(uint32_t record_size[STATE_TABLES]);

/* A number of a sequence that *seed stands for. */
uint32_t nodes_play_random(uint64_t *seed);
/* One random change. */
void nodes_play_step(struct nodes *nodes, uint64_t *seed);

#endif
