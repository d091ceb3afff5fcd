/*
 * Notifications: what a backend tells the kernel has changed behind its back.  Before the
 * kernel is told, nothing is written down any more that it denies.
 */
#include "absence_parts.h"

#include <stddef.h>
#include <string.h>

/* No longer one is ever written down. */
#define NAME_LONGEST 255u

enum effect {
	EFFECT_ALL, /* of a code that is not known */
	EFFECT_NONE,
	EFFECT_NODE, /* attributes and names of the node are others */
	EFFECT_NAME, /* the name is there, or not */
};

/* By code.  What follows the header, and where in it the node and the length of the name are. */
static const struct row {
	enum effect effect;
	uint32_t size;
	uint32_t node_at;
	uint32_t length_at;
} rows[] = {
	[FUSE_NOTIFY_POLL] = {.effect = EFFECT_NONE},
	[FUSE_NOTIFY_INVAL_INODE] = {EFFECT_NODE, sizeof(struct fuse_notify_inval_inode_out),
				     offsetof(struct fuse_notify_inval_inode_out, ino), 0},
	[FUSE_NOTIFY_INVAL_ENTRY] = {EFFECT_NAME, sizeof(struct fuse_notify_inval_entry_out),
				     offsetof(struct fuse_notify_inval_entry_out, parent),
				     offsetof(struct fuse_notify_inval_entry_out, namelen)},
	[FUSE_NOTIFY_STORE] = {.effect = EFFECT_NONE},
	[FUSE_NOTIFY_RETRIEVE] = {.effect = EFFECT_NONE},
	[FUSE_NOTIFY_DELETE] = {EFFECT_NAME, sizeof(struct fuse_notify_delete_out),
				offsetof(struct fuse_notify_delete_out, parent),
				offsetof(struct fuse_notify_delete_out, namelen)},
	[FUSE_NOTIFY_RESEND] = {.effect = EFFECT_NONE},
};

int relay_absence_changed(struct absence *absence, uint64_t nodeid)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	err = absence_node_drop(absence, nodeid);
	absence_stamp(absence, nodeid);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

/* A name that is not whole is none to the kernel either. */
static int name_changed(struct absence *absence, uint64_t dir, const char *name, uint32_t length, uint32_t left)
{
	char copy[NAME_LONGEST + 1];

	if (length == 0 || length > left || length > NAME_LONGEST)
		return 0;
	memcpy(copy, name, length);
	copy[length] = '\0';
	return relay_absence_stale(absence, dir, copy);
}

int relay_absence_notify(struct absence *absence, const void *packet, uint32_t size)
{
	const struct fuse_out_header *header = packet;
	const uint8_t *payload = (const uint8_t *)packet + sizeof(*header);
	const struct row *row = &rows[0];
	uint32_t length, left;
	uint64_t nodeid;

	if (size < sizeof(*header))
		return 0;
	if (header->error > 0 && (size_t)header->error < sizeof(rows) / sizeof(rows[0]))
		row = &rows[header->error];
	left = size - (uint32_t)sizeof(*header);
	if (row->effect == EFFECT_ALL)
		return relay_absence_clear(absence);
	if (row->effect == EFFECT_NONE || left < row->size)
		return 0;
	memcpy(&nodeid, payload + row->node_at, sizeof(nodeid));
	if (row->effect == EFFECT_NODE)
		return relay_absence_changed(absence, nodeid);
	memcpy(&length, payload + row->length_at, sizeof(length));
	return name_changed(absence, nodeid, (const char *)payload + row->size, length, left - row->size);
}
