/*
 * fsserver's tables on plain memory.
 */
#include "lib/fs_tables.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/mman.h>

static struct fs_tables *current;

void fs_tables_init(struct fs_tables *rig)
{
	void *memory =
		mmap(NULL, tables_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	cr_assert(memory != MAP_FAILED);
	cr_assert_eq(tables_map(&rig->tables, memory), 0);
	rig->undo_count = 0;
	rig->room = RELAY_STATE_MAX;
}

static int set(struct txn *txn, uint64_t *word, uint64_t value)
{
	struct fs_tables *rig = current;

	(void)txn;
	if (rig->undo_count == rig->room)
		return -ENOSPC;
	rig->undo[rig->undo_count++] = (struct fs_tables_undo){word, *word};
	*word = value;
	return 0;
}

void fs_tables_begin(struct fs_tables *rig, struct txn *txn)
{
	cr_assert_eq(rig->undo_count, 0);
	current = rig;
	txn->set = set;
	txn->req = NULL;
	txn->count = 0;
	txn->freed_count = 0;
}

void fs_tables_commit(struct fs_tables *rig)
{
	rig->undo_count = 0;
}

void fs_tables_undo(struct fs_tables *rig)
{
	while (rig->undo_count > 0) {
		rig->undo_count--;
		*rig->undo[rig->undo_count].word = rig->undo[rig->undo_count].value;
	}
}
