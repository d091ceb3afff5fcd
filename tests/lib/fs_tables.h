/*
 * fsserver's tables on plain memory, with transactions that a test commits or
 * undoes: what librelay's state does, without a relayd.
 */
#ifndef TESTS_FS_TABLES_H
#define TESTS_FS_TABLES_H

#include "fs/fsserver/tables.h"

struct fs_tables_undo {
	uint64_t *word;
	uint64_t value;
};

struct fs_tables {
	struct tables tables;
	struct fs_tables_undo undo[RELAY_STATE_MAX];
	unsigned undo_count;
	unsigned room; /* words that a transaction may change */
};

/* Fresh tables, as of the first incarnation; for the life of the process. */
void fs_tables_init(struct fs_tables *rig);

void fs_tables_begin(struct fs_tables *rig, struct txn *txn);
/* As a reply does. */
void fs_tables_commit(struct fs_tables *rig);
/* As the next incarnation does with a request whose reply was not stored. */
void fs_tables_undo(struct fs_tables *rig);

#endif
