/* See nodes_rig.h. */
#include "lib/nodes_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct state state;
struct nodes nodes;
struct node *root;
char forgotten[4096];

static void on_forget(uint64_t backend_id, uint64_t nlookup, void *arg)
{
	size_t length = strlen(forgotten);

	(void)arg;
	snprintf(forgotten + length, sizeof(forgotten) - length, "%llu:%llu ", (unsigned long long)backend_id,
		 (unsigned long long)nlookup);
}

void nodes_rig_setup(void)
{
	uint32_t sizes[STATE_TABLES];

	nodes_play_sizes(sizes);
	cr_assert_eq(state_init(&state, sizes), 0);
	cr_assert_eq(nodes_init(&nodes, &state, "test"), 0);
	nodes.on_forget = on_forget;
	nodes_incarnation(&nodes, 1);
	root = nodes_get(&nodes, FUSE_ROOT_ID);
	forgotten[0] = 0;
}

void nodes_rig_teardown(void)
{
	nodes_deinit(&nodes);
	state_deinit(&state);
}

void consistent(void)
{
	char *now = nodes_play_dump(&nodes), *later;
	uint32_t sizes[STATE_TABLES];
	struct state state2;
	struct nodes nodes2;

	nodes_play_sizes(sizes);
	cr_assert_eq(state_open(&state2, dup(state.fd), sizes), 0);
	cr_assert_eq(nodes_init(&nodes2, &state2, "again"), 0);
	later = nodes_play_dump(&nodes2);
	cr_assert_str_eq(later, now);
	nodes_deinit(&nodes2);
	state_deinit(&state2);
	free(now);
	free(later);
	/* The chains of its indexes went through the same records. */
	nodes2 = nodes;
	nodes_deinit(&nodes);
	cr_assert_eq(nodes_init(&nodes, &state, "test"), 0);
	nodes.on_forget = on_forget;
	nodes.evidence = nodes2.evidence;
	nodes.root_seen = nodes2.root_seen;
}

struct node *look(struct node *parent, const char *name, uint64_t id, uint32_t type)
{
	struct fuse_entry_out entry = nodes_play_entry(id, type, 1000 + id);
	struct node *node = NULL;

	cr_assert_eq(nodes_entry(&nodes, parent, name, &entry, NULL, &node), 0);
	cr_assert_eq(entry.nodeid, node->nodeid);
	cr_assert_eq(entry.generation, 0);
	cr_assert_eq(entry.attr.ino, node->shown_ino);
	nodes_count(node);
	return node;
}

struct node *dir(struct node *parent, const char *name, uint64_t id)
{
	return look(parent, name, id, S_IFDIR);
}

struct node *file(struct node *parent, const char *name, uint64_t id)
{
	return look(parent, name, id, S_IFREG);
}

unsigned names_of(const struct node *node)
{
	unsigned count = 0;

	for (const struct link *link = nodes_first_link(&nodes, node); link; link = nodes_next_link(&nodes, link))
		count++;
	return count;
}
