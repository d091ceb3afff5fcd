/*
 * The layout of the tables, and transactions on them.
 */
#include "tables.h"

#include <errno.h>
#include <stdatomic.h>

#define PAGE 4096u

static size_t page_up(size_t size)
{
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Each array begins on a page; the arrays in the order of struct tables.  A number: there may be no memory yet. */
static size_t tables_place(struct tables *tables, uintptr_t base)
{
	size_t at = page_up(sizeof(struct tables_header));

	tables->header = (struct tables_header *)base;
	tables->buckets = (uint64_t *)(base + at);
	at += page_up(sizeof(uint64_t) * NODE_BUCKETS);
	tables->nodes = (struct node *)(base + at);
	at += page_up(sizeof(struct node) * NODES_MAX);
	tables->names = (struct name *)(base + at);
	at += page_up(sizeof(struct name) * NAMES_MAX);
	tables->handles = (struct handle *)(base + at);
	at += page_up(sizeof(struct handle) * HANDLES_MAX);
	tables->locks = (struct lock *)(base + at);
	at += page_up(sizeof(struct lock) * LOCKS_MAX);
	return at;
}

size_t tables_size(void)
{
	struct tables unused;

	return tables_place(&unused, 0);
}

int tables_map(struct tables *tables, void *memory)
{
	struct tables_header *header = memory;

	tables_place(tables, (uintptr_t)memory);
	if (header->magic == 0) {
		/* Index 0 means none; node 1 is the root. */
		header->version = TABLES_VERSION;
		header->node_bump = NODE_ROOT + 1;
		header->name_bump = 1;
		header->handle_bump = 1;
		return 0;
	}
	return header->magic == TABLES_MAGIC && header->version == TABLES_VERSION ? 0 : -EPROTO;
}

bool tables_fresh(const struct tables *tables)
{
	return tables->header->magic == 0;
}

void tables_ready(struct tables *tables)
{
	/* A process dying before this leaves tables that the next one sets up again. */
	atomic_thread_fence(memory_order_release);
	tables->header->magic = TABLES_MAGIC;
}

static int txn_set_state(struct txn *txn, uint64_t *word, uint64_t value)
{
	return relay_state_set(txn->req, word, value);
}

void txn_begin(struct txn *txn, struct relay_req *req)
{
	txn->set = txn_set_state;
	txn->req = req;
	txn->count = 0;
	txn->freed_count = 0;
	relay_state_begin(req);
}

int txn_set(struct txn *txn, uint64_t *word, uint64_t value)
{
	unsigned i;
	int err;

	if (*word == value)
		return 0;
	for (i = 0; i < txn->count; i++) {
		if (txn->words[i] == word) {
			*word = value; /* what it was is logged already */
			return 0;
		}
	}
	if (txn->count == RELAY_STATE_MAX)
		return -ENOSPC;
	err = txn->set(txn, word, value);
	if (err == 0)
		txn->words[txn->count++] = word;
	return err;
}
