/* Names: which of them lead where, and what a RENAME makes of them. */
#include <stdio.h>
#include <string.h>

#include "lib/nodes_rig.h"

TestSuite(relayd_names, .init = nodes_rig_setup, .fini = nodes_rig_teardown);

Test(relayd_names, directory_has_one_name_and_is_not_below_itself)
{
	struct node *d = dir(root, "d", 10), *e = dir(root, "e", 11), *f = dir(d, "f", 12);

	cr_assert_eq(dir(e, "g", 12), f);
	cr_assert_eq(names_of(f), 1);
	cr_assert_null(nodes_child(&nodes, d, "f"));
	cr_assert_eq(nodes_child(&nodes, e, "g"), f);
	/* Into itself, and into what is below it. */
	cr_assert_eq(dir(e, "self", 11), e);
	cr_assert_eq(dir(f, "up", 11), e);
	cr_assert_eq(nodes_child(&nodes, root, "e"), e);
	cr_assert_null(nodes_child(&nodes, f, "up"));
	cr_assert_eq(nodes_link(&nodes, f, "x", f), 0);
	cr_assert_null(nodes_child(&nodes, f, "x"));
	cr_assert_eq(nodes_rename(&nodes, root, "e", f, "e", 0), 0);
	cr_assert_eq(names_of(e), 0);
	consistent();
}

Test(relayd_names, directory_that_moves_leaves_nothing_behind)
{
	struct node *d = dir(root, "d", 10), *f = dir(d, "f", 12);

	nodes_forget(&nodes, d->nodeid, 1);
	cr_assert_eq(state_live(&state, STATE_NODES), 3);
	cr_assert_eq(dir(root, "f", 12), f);
	cr_assert_eq(state_live(&state, STATE_NODES), 2);
	consistent();
}

Test(relayd_names, link_and_unlink)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11), *d = dir(root, "d", 12);

	cr_assert_eq(nodes_link(&nodes, d, "x", a), 0);
	cr_assert_eq(nodes_child(&nodes, d, "x"), a);
	cr_assert_eq(nodes_link(&nodes, d, "x", b), 0);
	cr_assert_eq(nodes_child(&nodes, d, "x"), b);
	cr_assert_eq(names_of(a), 1);
	nodes_unlink(&nodes, d, "x");
	nodes_unlink(&nodes, d, "x");
	cr_assert_null(nodes_child(&nodes, d, "x"));
	cr_assert_eq(d->children, 0);
	cr_assert_eq(names_of(b), 1);
	cr_assert_eq(nodes_link(&nodes, d, "r", a), 0);
	cr_assert_eq(nodes_link(&nodes, d, "r", root), 0);
	cr_assert_null(nodes_child(&nodes, d, "r"));
	consistent();
}

Test(relayd_names, rename_replaces)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11), *d = dir(root, "d", 12), *f = file(d, "f", 13);

	cr_assert_eq(nodes_rename(&nodes, root, "a", root, "b", 0), 0);
	cr_assert_eq(nodes_child(&nodes, root, "b"), a);
	cr_assert_null(nodes_child(&nodes, root, "a"));
	cr_assert_eq(names_of(b), 0);
	/* A directory, with what is in it. */
	cr_assert_eq(nodes_rename(&nodes, root, "d", root, "a longer name, of another table of links", 0), 0);
	cr_assert_eq(nodes_child(&nodes, root, "a longer name, of another table of links"), d);
	cr_assert_eq(nodes_child(&nodes, d, "f"), f);
	/* What is not known replaces too. */
	cr_assert_eq(nodes_rename(&nodes, root, "unknown", root, "b", 0), 0);
	cr_assert_null(nodes_child(&nodes, root, "b"));
	cr_assert_eq(names_of(a), 0);
	cr_assert_eq(nodes_rename(&nodes, root, "unknown", root, "unknown2", 0), 0);
	cr_assert_eq(root->children, 1);
	consistent();
}

Test(relayd_names, rename_of_two_names_of_one_file_does_nothing)
{
	struct node *a = file(root, "a", 10);

	file(root, "b", 10);
	cr_assert_eq(nodes_rename(&nodes, root, "a", root, "b", 0), 0);
	cr_assert_eq(nodes_rename(&nodes, root, "a", root, "a", 0), 0);
	cr_assert_eq(nodes_child(&nodes, root, "a"), a);
	cr_assert_eq(nodes_child(&nodes, root, "b"), a);
}

Test(relayd_names, rename_exchanges)
{
	struct node *a = file(root, "a", 10), *d = dir(root, "d", 12), *b = dir(d, "b", 11);

	cr_assert_eq(nodes_rename(&nodes, root, "a", d, "b", RENAME_EXCHANGE), 0);
	cr_assert_eq(nodes_child(&nodes, root, "a"), b);
	cr_assert_eq(nodes_child(&nodes, d, "b"), a);
	cr_assert_eq(nodes_rename(&nodes, root, "unknown", d, "b", RENAME_EXCHANGE), 0);
	cr_assert_eq(nodes_child(&nodes, root, "unknown"), a);
	cr_assert_null(nodes_child(&nodes, d, "b"));
	cr_assert_eq(nodes_rename(&nodes, root, "unknown", d, "b", RENAME_EXCHANGE), 0);
	cr_assert_eq(nodes_child(&nodes, d, "b"), a);
	consistent();
	/* What would be below itself is not known by these names. */
	cr_assert_eq(nodes_rename(&nodes, root, "d", d, "b", RENAME_EXCHANGE), 0);
	cr_assert_null(nodes_child(&nodes, root, "d"));
	consistent();
}

Test(relayd_names, names_of_any_bytes_and_lengths)
{
	char name[4097];

	for (unsigned length = 1; length <= 4096; length = length < 300 ? length + 1 : length + 97) {
		struct node *node;

		memset(name, 0xff - (int)(length % 3), length);
		name[length] = 0;
		node = file(root, name, 10 + length);
		cr_assert_eq(nodes_child(&nodes, root, name), node);
		cr_assert_eq(nodes_first_link(&nodes, node)->length, length);
	}
	consistent();
}
