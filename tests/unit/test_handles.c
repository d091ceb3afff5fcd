/*
 * fsserver's handle table: a handle is there exactly from its answer to its end, and
 * its fh is no other's, ever.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>

#include "fs/fsserver/handles.h"
#include "fs/fsserver/nodes.h"
#include "lib/fs_tables.h"

static struct fs_tables rig;
static struct tables *tables = &rig.tables;
static uint64_t nodeid;

static void setup(void)
{
	struct node_source root = {.ident = {.dev = 1, .ino = 2}};
	struct node_source file = {.ident = {.dev = 1, .ino = 3}, .handle_size = 8};
	struct txn txn;

	fs_tables_init(&rig);
	node_init_root(tables, &root);
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &file, true, &nodeid), 0);
	fs_tables_commit(&rig);
}

TestSuite(handles, .init = setup);

static uint64_t open_handle(uint32_t flags)
{
	struct txn txn;
	uint64_t fh;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(handle_new(&txn, tables, nodeid, flags, &fh), 0);
	fs_tables_commit(&rig);
	return fh;
}

static bool close_handle(uint64_t fh)
{
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(handle_free(&txn, tables, fh), 0);
	fs_tables_commit(&rig);
	return txn.freed_count > 0;
}

Test(handles, a_handle_knows_its_node_and_flags)
{
	uint64_t fh = open_handle(O_RDWR | O_SYNC);

	cr_assert_neq(fh, 0);
	cr_assert_eq(handle_get(tables, fh)->nodeid, nodeid);
	cr_assert_eq(handle_get(tables, fh)->flags, O_RDWR | O_SYNC);
	cr_assert_eq(node_get(tables, nodeid)->opens, 1);
	cr_assert_null(handle_get(tables, 0));
	cr_assert_null(handle_get(tables, fh + 1));
	cr_assert_null(handle_get(tables, UINT64_MAX));
}

Test(handles, an_fh_is_never_used_again)
{
	uint64_t last = 0, fh;
	unsigned i;

	for (i = 0; i < 1000; i++) {
		fh = open_handle(O_RDONLY);
		cr_assert_neq(fh, last);
		cr_assert_null(handle_get(tables, last));
		close_handle(fh);
		last = fh;
	}
	cr_assert_eq(tables->header->handle_bump, 2, "the entry is");
}

Test(handles, the_last_one_frees_a_forgotten_node)
{
	uint64_t a = open_handle(O_RDONLY), b = open_handle(O_RDONLY);
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_unref(&txn, tables, nodeid, 1), 0);
	fs_tables_commit(&rig);
	cr_assert_eq(txn.freed_count, 0);
	cr_assert_not(close_handle(a));
	cr_assert(close_handle(b));
	cr_assert_null(node_get(tables, nodeid));
}

Test(handles, ending_one_twice_ends_it_once)
{
	uint64_t a = open_handle(O_RDONLY), b = open_handle(O_RDONLY);

	close_handle(a);
	cr_assert_not(close_handle(a));
	cr_assert_eq(node_get(tables, nodeid)->opens, 1);
	cr_assert_not_null(handle_get(tables, b));
}

Test(handles, an_undone_one_was_never_there)
{
	uint64_t fh, again;
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(handle_new(&txn, tables, nodeid, O_RDWR, &fh), 0);
	fs_tables_undo(&rig);
	cr_assert_null(handle_get(tables, fh));
	cr_assert_eq(node_get(tables, nodeid)->opens, 0);
	again = open_handle(O_RDWR);
	cr_assert_neq(again, fh);
}

Test(handles, an_undone_end_leaves_it_open)
{
	uint64_t fh = open_handle(O_RDWR), other;
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(handle_free(&txn, tables, fh), 0);
	fs_tables_undo(&rig);
	cr_assert_not_null(handle_get(tables, fh));
	cr_assert_eq(node_get(tables, nodeid)->opens, 1);
	other = open_handle(O_RDONLY);
	cr_assert_neq(handle_index(other), handle_index(fh));
}

Test(handles, one_on_a_node_that_is_gone_is_refused)
{
	struct txn txn;
	uint64_t fh;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(handle_new(&txn, tables, nodeid + (1ULL << NODE_INDEX_BITS), O_RDONLY, &fh), -ESTALE);
	fs_tables_undo(&rig);
}

Test(handles, whether_a_node_is_open_for_writing)
{
	uint64_t reader = open_handle(O_RDONLY), writer;

	cr_assert_not(handles_write(tables, nodeid));
	writer = open_handle(O_WRONLY);
	cr_assert(handles_write(tables, nodeid));
	close_handle(reader);
	cr_assert(handles_write(tables, nodeid));
	close_handle(writer);
	cr_assert_not(handles_write(tables, nodeid));
}
