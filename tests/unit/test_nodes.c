/*
 * fsserver's node table: one nodeid per inode, never used again; and changes that
 * are made whole or not at all, wherever a process dies.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fsserver/nodes.h"
#include "lib/fs_tables.h"

static struct fs_tables rig;
static struct tables *tables = &rig.tables;

/* An inode that is found by file handle. */
static struct node_source by_handle(uint64_t ino)
{
	struct node_source source = {.ident = {.dev = 1, .ino = ino, .btime = 7}, .handle_type = 1, .handle_size = 8};

	memcpy(source.handle, &ino, sizeof(ino));
	return source;
}

static struct node_source by_name(uint64_t ino, uint64_t parent, const char *name)
{
	return (struct node_source){.ident = {.dev = 1, .ino = ino, .btime = 7}, .parent = parent, .name = name};
}

static void setup(void)
{
	struct node_source root = {.ident = {.dev = 1, .ino = 2}};

	fs_tables_init(&rig);
	node_init_root(tables, &root);
	tables_ready(tables);
}

TestSuite(nodes, .init = setup);

static uint64_t ref(struct node_source source)
{
	uint64_t nodeid;
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &source, true, &nodeid), 0);
	fs_tables_commit(&rig);
	return nodeid;
}

static bool unref(uint64_t nodeid, uint64_t count)
{
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_unref(&txn, tables, nodeid, count), 0);
	fs_tables_commit(&rig);
	return txn.freed_count > 0 && txn.freed[0] == nodeid;
}

Test(nodes, the_root_is_node_1_and_stays)
{
	cr_assert_not_null(node_get(tables, NODE_ROOT));
	cr_assert_eq(node_id(tables, node_get(tables, NODE_ROOT)), NODE_ROOT);
	cr_assert_not(unref(NODE_ROOT, 1000));
	cr_assert(node_exists(tables, NODE_ROOT));
}

Test(nodes, the_tables_are_the_next_incarnation_s)
{
	struct tables again;

	cr_assert_eq(tables_map(&again, tables->header), 0);
	cr_assert_not(tables_fresh(&again));
	tables->header->version++;
	cr_assert_eq(tables_map(&again, tables->header), -EPROTO);
}

Test(nodes, an_inode_has_one_nodeid_while_it_is_known)
{
	uint64_t nodeid = ref(by_handle(10));

	cr_assert_eq(ref(by_handle(10)), nodeid);
	cr_assert_neq(ref(by_handle(11)), nodeid);
	cr_assert_eq(node_get(tables, nodeid)->nlookup, 2);
	cr_assert_not(unref(nodeid, 1));
	cr_assert(unref(nodeid, 1));
	cr_assert_null(node_get(tables, nodeid));
}

Test(nodes, a_reused_inode_number_is_another_inode)
{
	struct node_source later = by_handle(10);
	uint64_t nodeid = ref(by_handle(10));

	later.ident.btime++;
	cr_assert_neq(ref(later), nodeid);
	later.ident.btime--;
	later.ident.dev++;
	cr_assert_neq(ref(later), nodeid);
}

Test(nodes, a_nodeid_is_never_used_again)
{
	uint64_t last = 0, nodeid;
	unsigned i;

	for (i = 0; i < 1000; i++) {
		nodeid = ref(by_handle(10));
		cr_assert_neq(nodeid, last);
		cr_assert_eq(node_index(nodeid), NODE_ROOT + 1, "the entry is");
		cr_assert_null(node_get(tables, last));
		cr_assert(unref(nodeid, 1));
		last = nodeid;
	}
}

Test(nodes, handles_hold_a_node_that_is_forgotten)
{
	uint64_t nodeid = ref(by_handle(10));
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_open(&txn, node_get(tables, nodeid)), 0);
	fs_tables_commit(&rig);
	cr_assert_not(unref(nodeid, 1));
	cr_assert(node_exists(tables, nodeid));
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_close(&txn, tables, nodeid), 0);
	fs_tables_commit(&rig);
	cr_assert_eq(txn.freed_count, 1);
	cr_assert_not(node_exists(tables, nodeid));
}

Test(nodes, a_child_found_by_name_holds_its_parent)
{
	uint64_t dir = ref(by_name(10, NODE_ROOT, "dir"));
	uint64_t sub = ref(by_name(11, dir, "sub"));
	uint64_t file = ref(by_name(12, sub, "file"));
	struct txn txn;

	cr_assert_not(unref(dir, 1));
	cr_assert_not(unref(sub, 1));
	cr_assert(node_exists(tables, dir));
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_unref(&txn, tables, file, 1), 0);
	fs_tables_commit(&rig);
	cr_assert_eq(txn.freed_count, 3);
	cr_assert_eq(txn.freed[0], file);
	cr_assert_eq(txn.freed[1], sub);
	cr_assert_eq(txn.freed[2], dir);
	cr_assert_not(node_exists(tables, sub));
	cr_assert_not(node_exists(tables, dir));
	cr_assert(node_exists(tables, NODE_ROOT));
	cr_assert_eq(node_get(tables, NODE_ROOT)->children, 0);
}

Test(nodes, a_node_found_by_name_remembers_the_last_name)
{
	uint64_t dir = ref(by_name(10, NODE_ROOT, "dir"));
	uint64_t file = ref(by_name(11, NODE_ROOT, "file"));
	struct node *node = node_get(tables, file);

	cr_assert(node_is_named(tables, node, NODE_ROOT, "file"));
	cr_assert_eq(ref(by_name(11, dir, "moved")), file);
	cr_assert(node_is_named(tables, node, dir, "moved"));
	cr_assert_not(node_is_named(tables, node, NODE_ROOT, "file"));
	cr_assert_eq(node_get(tables, dir)->children, 1);
	cr_assert_eq(node_get(tables, NODE_ROOT)->children, 1);
}

Test(nodes, a_parent_goes_with_the_last_child_that_leaves_it)
{
	uint64_t dir = ref(by_name(10, NODE_ROOT, "dir"));
	struct node_source moved = by_name(11, NODE_ROOT, "moved");
	uint64_t nodeid = ref(by_name(11, dir, "file"));
	struct txn txn;

	unref(dir, 1);
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &moved, true, &nodeid), 0);
	fs_tables_undo(&rig);
	cr_assert(node_exists(tables, dir));
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &moved, true, &nodeid), 0);
	fs_tables_commit(&rig);
	cr_assert_eq(txn.freed_count, 1);
	cr_assert_eq(txn.freed[0], dir);
	cr_assert_not(node_exists(tables, dir));
	cr_assert(node_is_named(tables, node_get(tables, nodeid), NODE_ROOT, "moved"));
}

Test(nodes, a_long_line_of_ancestors_fits_in_a_transaction)
{
	uint64_t line[40] = {NODE_ROOT};
	char name[8];
	unsigned i;

	for (i = 1; i < 40; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		line[i] = ref(by_name(100 + i, line[i - 1], name));
	}
	for (i = 1; i < 39; i++)
		cr_assert_not(unref(line[i], 1));
	cr_assert(unref(line[39], 1));
	cr_assert_not(node_exists(tables, line[39 - FREED_MAX + 1]));
}

Test(nodes, names_are_swapped)
{
	uint64_t dir = ref(by_name(10, NODE_ROOT, "dir"));
	struct node *a = node_get(tables, ref(by_name(11, NODE_ROOT, "a")));
	struct node *b = node_get(tables, ref(by_name(12, dir, "b")));
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_swap_names(&txn, a, b), 0);
	fs_tables_undo(&rig);
	cr_assert(node_is_named(tables, a, NODE_ROOT, "a"));
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_swap_names(&txn, a, b), 0);
	fs_tables_commit(&rig);
	cr_assert(node_is_named(tables, a, dir, "b"));
	cr_assert(node_is_named(tables, b, NODE_ROOT, "a"));
}

Test(nodes, the_longest_name_fits_and_a_longer_one_is_refused)
{
	char name[NAME_LENGTH_MAX + 2];
	struct node_source source;
	uint64_t nodeid;
	struct txn txn;

	memset(name, 'x', sizeof(name));
	name[NAME_LENGTH_MAX + 1] = '\0';
	source = by_name(10, NODE_ROOT, name);
	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &source, true, &nodeid), -ENAMETOOLONG);
	fs_tables_undo(&rig);
	name[NAME_LENGTH_MAX] = '\0';
	nodeid = ref(by_name(10, NODE_ROOT, name));
	cr_assert(node_is_named(tables, node_get(tables, nodeid), NODE_ROOT, name));
}

Test(nodes, an_undone_lookup_was_never_made)
{
	struct node_source source = by_name(10, NODE_ROOT, "file");
	uint64_t undone, nodeid;
	struct txn txn;

	fs_tables_begin(&rig, &txn);
	cr_assert_eq(node_ref(&txn, tables, &source, true, &undone), 0);
	fs_tables_undo(&rig);
	cr_assert_not(node_exists(tables, undone));
	cr_assert_null(node_find(tables, &source.ident));
	cr_assert_eq(node_get(tables, NODE_ROOT)->children, 0);
	nodeid = ref(source);
	cr_assert_neq(nodeid, undone, "what was tried is not given out again");
	cr_assert_eq(node_get(tables, nodeid)->nlookup, 1);
}

Test(nodes, a_word_that_a_transaction_changes_twice_is_undone_once)
{
	struct node_source source = by_handle(10);
	uint64_t nodeid = ref(source);
	struct txn txn;
	unsigned i;

	fs_tables_begin(&rig, &txn);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(node_ref(&txn, tables, &source, true, &nodeid), 0);
	cr_assert_eq(rig.undo_count, 1);
	fs_tables_undo(&rig);
	cr_assert_eq(node_get(tables, nodeid)->nlookup, 1);
}

Test(nodes, sixty_new_nodes_are_one_transaction)
{
	struct node_source source;
	uint64_t nodeid;
	struct txn txn;
	unsigned i;

	fs_tables_begin(&rig, &txn);
	for (i = 0; i < 60; i++) {
		source = by_handle(100 + i);
		cr_assert_eq(node_ref(&txn, tables, &source, false, &nodeid), 0);
	}
	fs_tables_commit(&rig);
	for (i = 0; i < 60; i++) {
		source = by_handle(100 + i);
		cr_assert_not_null(node_find(tables, &source.ident));
	}
}

/* ---- the same against a model, with transactions that come to nothing ---- */

#define INODES 40u

struct model {
	uint64_t nodeid; /* 0: not known */
	uint64_t nlookup;
	char name[16];
};

static void model_check(const struct model *model)
{
	struct node_source source;
	struct node *node;
	uint64_t children = 0;
	unsigned i;

	for (i = 0; i < INODES; i++) {
		source = by_name(100 + i, NODE_ROOT, "");
		node = node_find(tables, &source.ident);
		if (model[i].nodeid == 0) {
			cr_assert_null(node);
			continue;
		}
		children++;
		cr_assert_not_null(node);
		cr_assert_eq(node_id(tables, node), model[i].nodeid);
		cr_assert_eq(node->nlookup, model[i].nlookup);
		cr_assert(node_is_named(tables, node, NODE_ROOT, model[i].name));
		cr_assert(node_exists(tables, model[i].nodeid));
	}
	cr_assert_eq(node_get(tables, NODE_ROOT)->children, children);
}

static void model_step(struct model *m, unsigned inode, struct txn *txn)
{
	struct node_source source;

	if (m->nodeid != 0 && random() % 2) {
		cr_assert_eq(node_unref(txn, tables, m->nodeid, 1), 0);
		cr_assert_eq(txn->freed_count, m->nlookup == 1);
		if (--m->nlookup == 0)
			m->nodeid = 0;
		return;
	}
	snprintf(m->name, sizeof(m->name), "n%ld", random() % 100);
	source = by_name(100 + inode, NODE_ROOT, m->name);
	cr_assert_eq(node_ref(txn, tables, &source, true, &m->nodeid), 0);
	m->nlookup++;
}

Test(nodes, random_changes_are_made_whole_or_not_at_all)
{
	static struct model model[INODES], before;
	struct txn txn;
	unsigned i, inode;

	srandom(1);
	for (i = 0; i < 20000; i++) {
		inode = (unsigned)random() % INODES;
		before = model[inode];
		fs_tables_begin(&rig, &txn);
		model_step(&model[inode], inode, &txn);
		if (random() % 3) {
			fs_tables_commit(&rig);
		} else {
			fs_tables_undo(&rig);
			model[inode] = before;
		}
		if (i % 100 == 0)
			model_check(model);
	}
	model_check(model);
	cr_assert_leq(tables->header->node_bump, INODES + 2, "entries are used again");
	cr_assert_leq(tables->header->name_bump, INODES + 2, "names are used again");
}

Test(nodes, a_transaction_that_is_too_large_changes_nothing)
{
	struct node_source source = by_name(10, NODE_ROOT, "file");
	uint64_t nodeid;
	struct txn txn;

	for (rig.room = 0; rig.room < 5; rig.room++) {
		fs_tables_begin(&rig, &txn);
		if (node_ref(&txn, tables, &source, true, &nodeid) == 0)
			break;
		fs_tables_undo(&rig);
		cr_assert_null(node_find(tables, &source.ident));
	}
	cr_assert_gt(rig.room, 2);
}
