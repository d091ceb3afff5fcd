/* Nodes: who is who, who lives for how long, and what the backend is told of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/nodes_rig.h"

TestSuite(relayd_nodes, .init = nodes_rig_setup, .fini = nodes_rig_teardown);

Test(relayd_nodes, root_is_1_on_both_sides_always)
{
	struct fuse_entry_out entry = nodes_play_entry(FUSE_ROOT_ID, S_IFDIR, 77);
	struct node *out, *a = dir(root, "a", 10);

	cr_assert_eq(root->backend_id, FUSE_ROOT_ID);
	cr_assert(nodes_current(&nodes, root));
	nodes_forget(&nodes, FUSE_ROOT_ID, 100);
	cr_assert_eq(nodes_get(&nodes, FUSE_ROOT_ID), root);
	nodes_incarnation(&nodes, 2);
	cr_assert(nodes_current(&nodes, root));
	cr_assert_eq(nodes_by_backend(&nodes, FUSE_ROOT_ID), root);
	/* A name of the root makes no link, and takes the one that was there. */
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), 0);
	cr_assert_eq(out, root);
	cr_assert_eq(entry.nodeid, FUSE_ROOT_ID);
	cr_assert_eq(root->backend_nlookup, 0);
	cr_assert_eq(names_of(a), 0);
	entry = nodes_play_entry(FUSE_ROOT_ID, S_IFREG, 77);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), -EPROTO);
	FORGOTTEN("");
	consistent();
}

Test(relayd_nodes, one_id_is_one_node_with_all_its_names)
{
	struct node *a = file(root, "a", 10), *d = dir(root, "d", 11);

	cr_assert_eq(file(d, "b", 10), a);
	cr_assert_eq(file(root, "a", 10), a);
	cr_assert_eq(names_of(a), 2);
	cr_assert_eq(a->backend_nlookup, 3);
	cr_assert_eq(a->nlookup, 3);
	cr_assert_eq(nodes_child(&nodes, d, "b"), a);
	cr_assert_null(nodes_child(&nodes, d, "a"));
	cr_assert_eq(d->children, 1);
	consistent();
}

Test(relayd_nodes, ids_of_earlier_incarnations_mean_nothing)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11);
	struct fuse_entry_out other = nodes_play_entry(10, S_IFREG, 1011);

	nodes_incarnation(&nodes, 2);
	cr_assert_not(nodes_current(&nodes, a));
	cr_assert_null(nodes_by_backend(&nodes, 10));
	/* The number that was a's is b's now. */
	cr_assert_eq(nodes_entry(&nodes, root, "b", &other, NULL, &b), 0);
	cr_assert_eq(other.nodeid, b->nodeid);
	cr_assert_eq(nodes_by_backend(&nodes, 10), b);
	cr_assert_eq(b->backend_nlookup, 1);
	cr_assert_not(nodes_current(&nodes, a));
	consistent();
}

Test(relayd_nodes, found_again_by_name_if_it_is_the_same_file)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11), *out;
	struct fuse_entry_out entry;

	nodes_incarnation(&nodes, 2);
	entry = nodes_play_entry(50, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), 0);
	cr_assert_eq(out, a);
	cr_assert_eq(a->backend_id, 50);
	entry = nodes_play_entry(51, S_IFREG, 1099);
	cr_assert_eq(nodes_entry(&nodes, root, "b", &entry, NULL, &out), 0);
	cr_assert_neq(out, b);
	cr_assert_eq(nodes_child(&nodes, root, "b"), out);
	cr_assert_eq(names_of(b), 0);
	nodes_count(out);
	/* The kernel has it still. */
	cr_assert_eq(nodes_get(&nodes, b->nodeid), b);
	consistent();
}

Test(relayd_nodes, expected_node_is_found_or_stale)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11), *out;
	struct fuse_entry_out entry;

	nodes_incarnation(&nodes, 2);
	entry = nodes_play_entry(50, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, a, &out), 0);
	cr_assert_eq(out, a);
	FORGOTTEN("");
	/* Another file, and one that is another node. */
	entry = nodes_play_entry(51, S_IFREG, 1077);
	cr_assert_eq(nodes_entry(&nodes, root, "b", &entry, b, &out), -ESTALE);
	FORGOTTEN("51:1 ");
	entry = nodes_play_entry(50, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "b", &entry, b, &out), -ESTALE);
	FORGOTTEN("50:1 ");
	cr_assert_eq(nodes_child(&nodes, root, "b"), b);
	/* One that was found meanwhile, under this id and under another. */
	entry = nodes_play_entry(50, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, a, &out), 0);
	entry = nodes_play_entry(52, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, a, &out), -ESTALE);
	FORGOTTEN("52:1 ");
	consistent();
}

Test(relayd_nodes, other_id_under_a_name_is_another_node)
{
	struct node *a = file(root, "a", 10), *b = file(root, "a", 11);

	cr_assert_neq(a, b);
	cr_assert_eq(nodes_child(&nodes, root, "a"), b);
	cr_assert(nodes_current(&nodes, a));
	cr_assert_eq(root->children, 1);
	consistent();
}

Test(relayd_nodes, id_of_another_generation_or_type_is_another_file)
{
	struct node *a = file(root, "a", 10), *out;
	struct fuse_entry_out entry = nodes_play_entry(10, S_IFREG, 1010);
	uint64_t nodeid = a->nodeid;

	entry.generation = 1;
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), 0);
	nodes_count(out);
	cr_assert_neq(out->nodeid, nodeid);
	cr_assert_not(nodes_current(&nodes, a));
	cr_assert_eq(nodes_by_backend(&nodes, 10), out);
	FORGOTTEN("");
	/* It is not found again by any name, now or later. */
	nodes_link(&nodes, root, "other", a);
	nodes_incarnation(&nodes, 2);
	entry = nodes_play_entry(10, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "other", &entry, a, &out), -ESTALE);
	entry = nodes_play_entry(10, S_IFLNK, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "l", &entry, NULL, &out), 0);
	nodes_count(out);
	entry = nodes_play_entry(10, S_IFREG, 1010);
	cr_assert_eq(nodes_entry(&nodes, root, "m", &entry, NULL, &a), 0);
	nodes_count(a);
	cr_assert_neq(a, out);
	cr_assert_not(nodes_current(&nodes, out));
	consistent();
}

Test(relayd_nodes, entry_that_is_none)
{
	struct node *f = file(root, "f", 9), *out;
	struct fuse_entry_out entry = nodes_play_entry(0, S_IFREG, 5);

	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), -EPROTO);
	FORGOTTEN("");
	entry = nodes_play_entry(10, 0644, 5);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &out), -EPROTO);
	FORGOTTEN("10:1 ");
	entry = nodes_play_entry(10, S_IFREG, 5);
	cr_assert_eq(nodes_entry(&nodes, f, "a", &entry, NULL, &out), -EPROTO);
	FORGOTTEN("10:1 ");
	consistent();
}

Test(relayd_nodes, dots_have_no_links_and_are_not_counted)
{
	struct fuse_entry_out entry = nodes_play_entry(20, S_IFDIR, 1020);
	struct node *d = dir(root, "d", 10), *out;

	cr_assert_eq(nodes_entry(&nodes, d, "..", &entry, NULL, &out), 0);
	cr_assert_eq(out->backend_nlookup, 0);
	cr_assert_eq(names_of(out), 0);
	cr_assert_eq(d->children, 0);
	nodes_settle(&nodes, out);
	cr_assert_null(nodes_by_backend(&nodes, 20));
	FORGOTTEN("");
	cr_assert_eq(nodes_link(&nodes, d, ".", d), 0);
	cr_assert_eq(d->children, 0);
}

Test(relayd_nodes, nodeids_are_never_given_twice)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < 100; i++) {
		struct node *a = file(root, "a", 10);
		uint64_t nodeid = a->nodeid;

		cr_assert_neq(nodeid, last);
		nodes_forget(&nodes, nodeid, 1);
		cr_assert_null(nodes_get(&nodes, nodeid));
		nodes_forget(&nodes, nodeid, 1);
		last = nodeid;
	}
	cr_assert_eq(state_end(&state, STATE_NODES), 3);
}

Test(relayd_nodes, inode_number_shown_is_the_first)
{
	struct node *a = file(root, "a", 10), *b;
	struct fuse_entry_out entry = nodes_play_entry(11, S_IFREG, 11);
	struct fuse_attr attr = {.ino = 5, .mode = S_IFREG};

	cr_assert_eq(a->shown_ino, 1010);
	nodes_attr(&nodes, a, &attr, a->changes);
	cr_assert_eq(attr.ino, 1010);
	/* Made up, or none: ours is as good. */
	cr_assert_eq(nodes_entry(&nodes, root, "b", &entry, NULL, &b), 0);
	cr_assert_eq(entry.attr.ino, b->nodeid);
	attr.ino = 11;
	nodes_attr(&nodes, b, &attr, b->changes);
	cr_assert_eq(attr.ino, b->nodeid);
	cr_assert_not(b->identity.ino_true);
	entry = nodes_play_entry(12, S_IFREG, 0);
	cr_assert_eq(nodes_entry(&nodes, root, "c", &entry, NULL, &b), 0);
	cr_assert_eq(b->shown_ino, b->nodeid);
	/* The root's is what it says. */
	attr = (struct fuse_attr){.ino = FUSE_ROOT_ID, .mode = S_IFDIR};
	nodes_attr(&nodes, root, &attr, 0);
	cr_assert_eq(attr.ino, FUSE_ROOT_ID);
}

Test(relayd_nodes, attributes_from_before_a_write_say_nothing)
{
	struct node *a = file(root, "a", 10);
	struct fuse_attr attr = nodes_play_entry(10, S_IFREG, 1010).attr;
	uint32_t changes = a->changes;

	cr_assert_eq(a->identity.times, IDENTITY_TIMES_REST);
	nodes_disturb(a);
	cr_assert_eq(a->identity.times, IDENTITY_TIMES_VOID);
	nodes_attr(&nodes, a, &attr, changes);
	cr_assert_eq(a->identity.times, IDENTITY_TIMES_VOID);
	attr.ino = 1010;
	nodes_attr(&nodes, a, &attr, a->changes);
	cr_assert_eq(a->identity.times, IDENTITY_TIMES_REST);
	a->writers = 1;
	nodes_attr(&nodes, a, &attr, a->changes);
	cr_assert_eq(a->identity.times, IDENTITY_TIMES_LEAST);
	a->writers = 0;
}

Test(relayd_nodes, what_was_counted_in_another_order_is_found_by_its_name)
{
	struct fuse_entry_out entry = nodes_play_entry(10, S_IFREG, 1010), again = nodes_play_entry(11, S_IFREG, 1011);
	struct node *a, *b;

	entry.attr.ctime = again.attr.ctime = entry.attr.mtime = again.attr.mtime = 1000;
	entry.attr.mtimensec = again.attr.mtimensec = 0;
	cr_assert_eq(nodes_entry(&nodes, root, "a", &entry, NULL, &a), 0);
	nodes.evidence.kept = 3;
	nodes_incarnation(&nodes, 2);
	cr_assert_eq(nodes_entry(&nodes, root, "a", &again, a, &b), 0);
	cr_assert_eq(b, a);
	cr_assert_eq(nodes.evidence.changed, 1);
}

Test(relayd_nodes, root_is_evidence_for_numbers)
{
	struct fuse_attr attr = {.ino = 500, .mode = S_IFDIR};

	nodes_attr(&nodes, root, &attr, 0);
	attr.ino = 500;
	nodes_attr(&nodes, root, &attr, 0);
	cr_assert_eq(nodes.evidence.kept, 0, "it is the same life");
	nodes_incarnation(&nodes, 2);
	attr.ino = 500;
	nodes_attr(&nodes, root, &attr, 0);
	cr_assert_eq(nodes.evidence.kept, 1);
	nodes_incarnation(&nodes, 3);
	attr.ino = 501;
	nodes_attr(&nodes, root, &attr, 0);
	cr_assert_eq(nodes.evidence.changed, 1);
	cr_assert_eq(attr.ino, 500);
	attr = (struct fuse_attr){.ino = 3, .mode = S_IFREG};
	nodes_attr(&nodes, root, &attr, 0);
	cr_assert_eq(root->identity.mode, S_IFDIR);
}

Test(relayd_nodes, number_seen_again_in_the_same_life_is_no_evidence)
{
	struct node *a = dir(root, "a", 10), *b;

	file(a, "f", 20);
	nodes_forget(&nodes, a->nodeid, 1);
	FORGOTTEN("10:1 ");
	cr_assert(!nodes_current(&nodes, a));
	cr_assert_eq(dir(root, "a", 10), a);
	cr_assert_eq(nodes.evidence.kept, 0);
	/* But that a number has changed says that they do. */
	nodes_forget(&nodes, a->nodeid, 1);
	cr_assert_eq(dir(root, "a", 11), a);
	cr_assert_eq(nodes.evidence.changed, 1);
	nodes.evidence.changed = 0;

	/* None is kept from life to life, and all are found again. */
	nodes_incarnation(&nodes, 2);
	b = dir(root, "a", 12);
	cr_assert_eq(b, a);
	consistent();
}

Test(relayd_nodes, forgotten_node_takes_its_names_and_gives_back_its_count)
{
	struct node *a = file(root, "a", 10), *d = dir(root, "d", 11);
	uint64_t nodeid = a->nodeid;

	file(d, "b", 10);
	file(d, "b2", 10);
	nodes_forget(&nodes, nodeid, 2);
	cr_assert_eq(nodes_get(&nodes, nodeid), a);
	FORGOTTEN("");
	nodes_forget(&nodes, nodeid, 7);
	cr_assert_null(nodes_get(&nodes, nodeid));
	FORGOTTEN("10:3 ");
	cr_assert_null(nodes_child(&nodes, root, "a"));
	cr_assert_null(nodes_child(&nodes, d, "b"));
	cr_assert_eq(d->children, 0);
	cr_assert_eq(root->children, 1);
	consistent();
}

Test(relayd_nodes, stale_node_gives_nothing_back)
{
	struct node *a = file(root, "a", 10);

	nodes_incarnation(&nodes, 2);
	nodes_forget(&nodes, a->nodeid, 1);
	FORGOTTEN("");
	cr_assert_eq(state_live(&state, STATE_NODES), 1);
	cr_assert_eq(state_live(&state, STATE_LINKS_SHORT), 0);
}

Test(relayd_nodes, directory_lives_on_as_a_path_and_goes_with_the_last_below)
{
	struct node *d = dir(root, "d", 10), *e = dir(d, "e", 11), *f = file(e, "f", 12);

	nodes_forget(&nodes, d->nodeid, 1);
	FORGOTTEN("10:1 ");
	nodes_forget(&nodes, e->nodeid, 1);
	FORGOTTEN("11:1 ");
	cr_assert_not(nodes_current(&nodes, d));
	cr_assert_null(nodes_by_backend(&nodes, 10));
	cr_assert_eq(nodes_child(&nodes, d, "e"), e);
	consistent();
	/* The kernel may look it up again. */
	cr_assert_eq(dir(root, "d", 10), d);
	nodes_forget(&nodes, d->nodeid, 1);
	FORGOTTEN("10:1 ");
	nodes_forget(&nodes, f->nodeid, 1);
	FORGOTTEN("12:1 ");
	cr_assert_eq(state_live(&state, STATE_NODES), 1);
	cr_assert_eq(root->children, 0);
	consistent();
}

Test(relayd_nodes, deep_path_goes_at_once)
{
	struct node *at = root;

	for (unsigned i = 0; i < 5000; i++) {
		struct node *d = dir(at, "d", 10 + i);

		if (at != root)
			nodes_forget(&nodes, at->nodeid, 1);
		at = d;
	}
	cr_assert_eq(state_live(&state, STATE_NODES), 5001);
	consistent();
	nodes_forget(&nodes, at->nodeid, 1);
	cr_assert_eq(state_live(&state, STATE_NODES), 1);
	consistent();
}

Test(relayd_nodes, open_files_and_locks_keep_a_node)
{
	struct node *a = file(root, "a", 10), *b = file(root, "b", 11);

	a->opens = 1;
	b->locks = 1;
	nodes_forget(&nodes, a->nodeid, 1);
	nodes_forget(&nodes, b->nodeid, 1);
	cr_assert(nodes_current(&nodes, a));
	a->opens = 0;
	b->locks = 0;
	nodes_settle(&nodes, a);
	nodes_settle(&nodes, b);
	FORGOTTEN("10:1 11:1 ");
}

/* Everything that can fail for want of memory changes nothing. */
Test(relayd_nodes, short_memory_is_an_error_and_no_more)
{
	struct node *a = file(root, "a", 10), *out;
	struct fuse_entry_out entry;
	struct rlimit limit;
	char name[400], *before, *after;
	int err = 0;

	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = state_bytes(&state);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	before = nodes_play_dump(&nodes);
	/* No link of this length was made yet. */
	memset(name, 'x', 300);
	name[300] = 0;
	entry = nodes_play_entry(20, S_IFREG, 20);
	cr_assert_eq(nodes_entry(&nodes, root, name, &entry, NULL, &out), -ENOMEM);
	FORGOTTEN("20:1 ");
	cr_assert_eq(nodes_link(&nodes, root, name, a), -ENOMEM);
	after = nodes_play_dump(&nodes);
	cr_assert_str_eq(after, before);
	cr_assert_eq(nodes_rename(&nodes, root, "a", root, name, 0), -ENOMEM);
	cr_assert_eq(names_of(a), 0);
	for (unsigned i = 0; err == 0; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		entry = nodes_play_entry(100 + i, S_IFREG, 100 + i);
		err = nodes_entry(&nodes, root, name, &entry, NULL, &out);
		if (!err)
			nodes_count(out);
	}
	cr_assert_eq(err, -ENOMEM);
	consistent();
	free(before);
	free(after);
}

Test(relayd_nodes, next_process_goes_on_with_the_incarnation_or_another)
{
	struct node *a = file(root, "a", 10);
	uint64_t nodeid = a->nodeid;

	file(root, "b", 11);
	nodes_deinit(&nodes);
	cr_assert_eq(nodes_init(&nodes, &state, "test"), 0);
	cr_assert_eq(nodes.incarnation, 1);
	nodes_incarnation(&nodes, 1);
	cr_assert_eq(nodes_by_backend(&nodes, 10), a);
	nodes_incarnation(&nodes, 5);
	cr_assert_not(nodes_current(&nodes, a));
	/* One that counts from 1 again. */
	nodes_incarnation(&nodes, 1);
	cr_assert_eq(nodes_get(&nodes, nodeid), a);
	cr_assert_not(nodes_current(&nodes, a));
	consistent();
}

Test(relayd_nodes, what_nothing_keeps_is_removed_by_the_next_process)
{
	struct node *d = dir(root, "d", 10), *f = file(d, "f", 11);

	d->nlookup = f->nlookup = 0; /* a process died before it could settle them */
	nodes_deinit(&nodes);
	cr_assert_eq(nodes_init(&nodes, &state, "test"), 0);
	cr_assert_eq(state_live(&state, STATE_NODES), 1);
	cr_assert_eq(state_live(&state, STATE_LINKS_SHORT), 0);
	consistent();
}

/* Each is one that must be seen. */
Test(relayd_nodes, corrupted_records_are_refused)
{
	struct node *d = dir(root, "d", 10), *e = dir(d, "e", 11), *f = file(e, "f", 12), save;
	struct link *link = nodes_find(&nodes, e, "f", 1), link_save = *link;
	char letter = link->name[0];
	struct nodes other;

#define REFUSED(record, copy, change)                                                                                  \
	do {                                                                                                           \
		(copy) = *(record);                                                                                    \
		change;                                                                                                \
		cr_expect_eq(nodes_init(&other, &state, "other"), -EPROTO, "%s", #change);                             \
		*(record) = (copy);                                                                                    \
	} while (0)
	REFUSED(d, save, d->nodeid++);
	REFUSED(d, save, d->children = 2);
	REFUSED(d, save, d->children = 0);
	REFUSED(d, save, d->links = 0);
	REFUSED(d, save, d->links = f->links);
	REFUSED(d, save, d->links = UINT32_MAX);
	REFUSED(d, save, d->identity.mode = S_IFREG);
	REFUSED(d, save, d->identity.mode = 0);
	REFUSED(d, save, d->incarnation = 2);
	REFUSED(d, save, d->backend_id = 0);
	REFUSED(d, save, d->backend_id = 11);
	REFUSED(root, save, root->record.live = 0);
	REFUSED(root, save, root->identity.mode = S_IFREG);
	REFUSED(root, save, root->links = d->links);
	REFUSED(link, link_save, link->parent = 99);
	REFUSED(link, link_save, link->parent = nodes_number(f));
	REFUSED(link, link_save, link->node = 1);
	REFUSED(link, link_save, link->node = nodes_number(d));
	REFUSED(link, link_save, link->next_of_node = f->links);
	REFUSED(link, link_save, link->length = 0);
	REFUSED(link, link_save, link->length = 33);
	REFUSED(link, link_save, link->hash++);
	link->name[0] = '/';
	cr_expect_eq(nodes_init(&other, &state, "other"), -EPROTO);
	link->name[0] = letter;
	/* d below e below d. */
	nodes_find(&nodes, root, "d", 1)->parent = nodes_number(e);
	root->children--;
	e->children++;
	cr_expect_eq(nodes_init(&other, &state, "other"), -EPROTO);
}

Test(relayd_nodes, random_changes_leave_no_contradiction)
{
	uint64_t seed = 4711;

	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 200; i++)
			nodes_play_step(&nodes, &seed);
		nodes_forget(&nodes, FUSE_ROOT_ID, 1);
		for (uint32_t i = 1; i < state_end(&state, STATE_NODES); i++) /* what a refused reply leaves */
			if (nodes_at(&nodes, i))
				nodes_settle(&nodes, nodes_at(&nodes, i));
		consistent();
	}
}
