/* See nodes_play.h. */
#include "lib/nodes_play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES 24u
#define IDS 40u

struct fuse_entry_out nodes_play_entry(uint64_t id, uint32_t mode, uint64_t ino)
{
	return (struct fuse_entry_out){
		.nodeid = id,
		.attr = {.ino = ino, .mode = mode, .nlink = 1, .size = 100, .mtime = 1000, .mtimensec = 5},
	};
}

void nodes_play_sizes(uint32_t record_size[STATE_TABLES])
{
	nodes_record_sizes(record_size);
	record_size[STATE_HANDLES] = 96;
	record_size[STATE_DIRLOGS] = 512;
	record_size[STATE_LOCKS] = 80;
}

static void must(int holds, const char *what)
{
	if (!holds) {
		fprintf(stderr, "nodes_play: %s\n", what);
		abort();
	}
}

static void dump_links(FILE *out, const struct nodes *nodes, const struct node *node)
{
	/* The order of a list is nobody's business: each adds to a sum. */
	const struct link *link = nodes_first_link(nodes, node);
	uint64_t sum = 0, count = 0;

	for (; link; link = nodes_next_link(nodes, link), count++) {
		uint64_t hash = link->parent;

		must(nodes_find(nodes, nodes_at(nodes, link->parent), link->name, link->length) == link, "no name");
		for (uint32_t i = 0; i < link->length; i++)
			hash = (hash ^ (unsigned char)link->name[i]) * 0x100000001b3ULL;
		sum += hash;
	}
	fprintf(out, " links %llu %llx\n", (unsigned long long)count, (unsigned long long)sum);
}

char *nodes_play_dump(const struct nodes *nodes)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	must(out != NULL, "no memory");
	for (uint32_t i = 1; i < state_end(nodes->state, STATE_NODES); i++) {
		const struct node *node = nodes_at(nodes, i);
		bool current = node && nodes_current(nodes, node);

		if (!node)
			continue;
		must(nodes_get(nodes, node->nodeid) == node, "no node");
		must(!current || nodes_by_backend(nodes, node->backend_id) == node, "no id");
		fprintf(out, "%llx n%llu ino %llx id %llx c%llu i%u t%u %u g%u children %u",
			(unsigned long long)node->nodeid, (unsigned long long)node->nlookup,
			(unsigned long long)node->shown_ino, (unsigned long long)(current ? node->backend_id : 0),
			(unsigned long long)(current ? node->backend_nlookup : 0), current, node->identity.times,
			node->identity.ino_true, node->identity.gone, node->children);
		dump_links(out, nodes, node);
	}
	fclose(out);
	return text;
}

uint32_t nodes_play_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

/* Some of them are of the size that takes another table. */
static void random_name(uint64_t *seed, char name[301])
{
	uint32_t n = nodes_play_random(seed) % NAMES;
	int length = snprintf(name, 301, "name-%u-", n), whole = n % 6 == 0 ? 300 : n % 3 == 0 ? 200 : length;

	memset(name + length, 'a', (size_t)(whole - length));
	name[whole] = 0;
}

static struct node *random_node(struct nodes *nodes, uint64_t *seed, bool dir)
{
	for (unsigned tries = 0; tries < 16; tries++) {
		struct node *node = nodes_at(nodes, 1 + nodes_play_random(seed) % state_end(nodes->state, STATE_NODES));

		if (node && (!dir || S_ISDIR(node->identity.mode)))
			return node;
	}
	return nodes_at(nodes, nodes->root);
}

static void step_entry(struct nodes *nodes, uint64_t *seed)
{
	static const uint32_t types[] = {S_IFDIR, S_IFREG, S_IFREG, S_IFLNK};
	uint64_t id = 2 + nodes_play_random(seed) % IDS;
	struct fuse_entry_out entry = nodes_play_entry(id, types[id % 4], 1000 + id);
	struct node *parent = random_node(nodes, seed, true), *out;
	char name[301];

	random_name(seed, name);
	entry.generation = nodes_play_random(seed) % 50 == 0;
	if (nodes_entry(nodes, parent, name, &entry, NULL, &out) == 0 && nodes_play_random(seed) % 4)
		nodes_count(out);
}

static void step_name(struct nodes *nodes, uint64_t *seed)
{
	struct node *parent = random_node(nodes, seed, true), *other = random_node(nodes, seed, true);
	char name[301], name2[301];

	random_name(seed, name);
	random_name(seed, name2);
	switch (nodes_play_random(seed) % 4) {
	case 0:
		nodes_link(nodes, parent, name, random_node(nodes, seed, false));
		break;
	case 1:
		nodes_unlink(nodes, parent, name);
		break;
	case 2:
		nodes_rename(nodes, parent, name, other, name2, RENAME_EXCHANGE);
		break;
	default:
		nodes_rename(nodes, parent, name, other, name2, 0);
	}
}

void nodes_play_step(struct nodes *nodes, uint64_t *seed)
{
	uint32_t what = nodes_play_random(seed) % 100;
	struct fuse_attr attr = {.mtime = what, .nlink = 1};
	struct node *node = random_node(nodes, seed, false);

	if (what < 40)
		step_entry(nodes, seed);
	else if (what < 65)
		nodes_forget(nodes, node->nodeid, 1 + nodes_play_random(seed) % 2);
	else if (what < 85)
		step_name(nodes, seed);
	else if (what < 90)
		nodes_disturb(node);
	else if (what < 94)
		nodes_settle(nodes, node);
	else if (what < 99) {
		attr.mode = node->identity.mode;
		attr.ino = 1000 + node->backend_id;
		nodes_attr(nodes, node, &attr, node->changes);
	} else {
		nodes_incarnation(nodes, nodes->incarnation + 1);
	}
}
