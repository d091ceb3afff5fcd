/*
 * Notifications: the backend's ids in what it tells the kernel of its own accord.
 */
#include "translate_parts.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Where the nodeids are, from the end of the header on. */
struct ids {
	uint32_t size; /* of the fixed part; 0: there are none */
	uint8_t count;
	uint8_t at[2];
	bool changes;	/* what the first of them has was changed behind the kernel's back */
	uint8_t length; /* where the length of a name is that the first of them has, or had; 0: there is none */
};

#define AT(type, member) offsetof(struct type, member)

static const struct ids codes[] = {
	[FUSE_NOTIFY_INVAL_INODE] =
		{sizeof(struct fuse_notify_inval_inode_out), 1, {AT(fuse_notify_inval_inode_out, ino)}, true, 0},
	[FUSE_NOTIFY_INVAL_ENTRY] = {sizeof(struct fuse_notify_inval_entry_out),
				     1,
				     {AT(fuse_notify_inval_entry_out, parent)},
				     false,
				     AT(fuse_notify_inval_entry_out, namelen)},
	[FUSE_NOTIFY_STORE] = {sizeof(struct fuse_notify_store_out), 1, {AT(fuse_notify_store_out, nodeid)}, true, 0},
	[FUSE_NOTIFY_RETRIEVE] =
		{sizeof(struct fuse_notify_retrieve_out), 1, {AT(fuse_notify_retrieve_out, nodeid)}, false, 0},
	[FUSE_NOTIFY_DELETE] = {sizeof(struct fuse_notify_delete_out),
				2,
				{AT(fuse_notify_delete_out, parent), AT(fuse_notify_delete_out, child)},
				false,
				AT(fuse_notify_delete_out, namelen)},
};

/* Of what is said to have changed nothing is answered that is from before. */
static void answers_drop(struct translate *translate, const struct ids *ids, const uint8_t *payload, uint32_t size)
{
	const struct node *node[2] = {NULL};
	uint32_t length, ref;
	struct link *link;

	for (unsigned i = 0; i < ids->count && (ids->changes || ids->length); i++) {
		uint64_t nodeid;

		memcpy(&nodeid, payload + ids->at[i], sizeof(nodeid));
		node[i] = nodes_by_backend(&translate->nodes, nodeid);
		if (node[i])
			answers_stale(&translate->answers, ANSWERS_ATTR, node[i]->nodeid);
	}
	if (!ids->length || !node[0])
		return;
	answers_stale(&translate->answers, ANSWERS_NAMES, node[0]->nodeid);
	memcpy(&length, payload + ids->length, sizeof(length));
	/* A name that is not all there is none, to the kernel too. */
	if (length > size - ids->size)
		return;
	ref = nodes_find_ref(&translate->nodes, node[0], (const char *)payload + ids->size, length, &link);
	if (!ref)
		return;
	node[1] = nodes_at(&translate->nodes, link->node);
	answers_stale(&translate->answers, ANSWERS_ATTR, node[1]->nodeid);
	answers_unnamed(&translate->answers, node[1], ref);
}

/* The name that a DELETE takes away; the kernel refuses one that is not just so. */
static const char *name_deleted(const void *payload, uint32_t size)
{
	const struct fuse_notify_delete_out *out = payload;
	const char *name = (const char *)(out + 1);

	if ((uint64_t)size != sizeof(*out) + (uint64_t)out->namelen + 1 || out->namelen == 0 ||
	    name[out->namelen] != '\0' || memchr(name, '\0', out->namelen) || memchr(name, '/', out->namelen))
		return NULL;
	return name;
}

static void delete_take(struct translate *translate, const void *payload, uint32_t size)
{
	const struct fuse_notify_delete_out *out = payload;
	struct node *parent = nodes_by_backend(&translate->nodes, out->parent);
	const struct node *child = nodes_by_backend(&translate->nodes, out->child);
	const char *name = name_deleted(payload, size);

	if (parent && child && name && nodes_child(&translate->nodes, parent, name) == child)
		nodes_unlink(&translate->nodes, parent, name);
}

static int ids_translate(struct translate *translate, const struct ids *ids, uint8_t *payload)
{
	uint64_t nodeid[2] = {0};

	for (unsigned i = 0; i < ids->count; i++) {
		struct node *node;

		memcpy(&nodeid[i], payload + ids->at[i], sizeof(nodeid[i]));
		node = nodes_by_backend(&translate->nodes, nodeid[i]);
		if (!node)
			return -ENOENT;
		if (ids->changes)
			nodes_disturb(node);
		nodeid[i] = node->nodeid;
	}
	for (unsigned i = 0; i < ids->count; i++)
		memcpy(payload + ids->at[i], &nodeid[i], sizeof(nodeid[i]));
	return 0;
}

int translate_notification(struct translate *translate, void *packet, uint32_t size)
{
	const struct fuse_out_header *header = packet;
	uint8_t *payload = (uint8_t *)packet + sizeof(*header);
	const struct ids *ids;
	int ret;

	if (size < sizeof(*header) || header->error < 0 || (size_t)header->error >= sizeof(codes) / sizeof(codes[0]))
		return 0;
	ids = &codes[header->error];
	size -= (uint32_t)sizeof(*header);
	if (ids->count == 0 || size < ids->size)
		return 0;
	pthread_mutex_lock(&translate->lock);
	answers_drop(translate, ids, payload, size);
	if (header->error == FUSE_NOTIFY_DELETE)
		delete_take(translate, payload, size);
	ret = ids_translate(translate, ids, payload);
	pthread_mutex_unlock(&translate->lock);
	return ret;
}
