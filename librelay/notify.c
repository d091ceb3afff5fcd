/*
 * Notifications: they need no answer, and so no slot.  One that is lost with the
 * process is the backend's to send again: it knows what changed behind the
 * kernel's back, nobody else does.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* The kernel's FUSE_NAME_MAX. */
#define NAME_LIMIT 1024u

int relay_notify_inval_inode(struct relay_session *session, uint64_t nodeid, int64_t offset, int64_t length)
{
	const struct fuse_notify_inval_inode_out out = {.ino = nodeid, .off = offset, .len = length};
	int err = session->absence ? relay_absence_changed(session->absence, nodeid) : 0;

	if (err)
		return err;
	return relay_internal_channel_notify(session, FUSE_NOTIFY_INVAL_INODE, &out, sizeof(out), NULL, 0, NULL, 0);
}

/* 0 for a name that the kernel would refuse. */
static uint32_t name_length(const char *name)
{
	size_t length = strlen(name);

	return length > NAME_LIMIT ? 0 : (uint32_t)length;
}

int relay_notify_inval_entry(struct relay_session *session, uint64_t parent, const char *name, uint32_t flags)
{
	const struct fuse_notify_inval_entry_out out = {
		.parent = parent,
		.namelen = name_length(name),
		.flags = flags,
	};

	int err;

	if (out.namelen == 0)
		return *name ? -ENAMETOOLONG : -EINVAL;
	err = relay_known_stale(session, parent, name);
	if (err)
		return err;
	return relay_internal_channel_notify(session, FUSE_NOTIFY_INVAL_ENTRY, &out, sizeof(out), name, out.namelen + 1,
					     NULL, 0);
}

int relay_notify_delete(struct relay_session *session, uint64_t parent, uint64_t child, const char *name)
{
	const struct fuse_notify_delete_out out = {
		.parent = parent,
		.child = child,
		.namelen = name_length(name),
	};

	int err;

	if (out.namelen == 0)
		return *name ? -ENAMETOOLONG : -EINVAL;
	err = relay_known_stale(session, parent, name);
	if (err)
		return err;
	return relay_internal_channel_notify(session, FUSE_NOTIFY_DELETE, &out, sizeof(out), name, out.namelen + 1,
					     NULL, 0);
}

/* As many packets as the data needs: the channel's are short. */
int relay_notify_store(struct relay_session *session, uint64_t nodeid, uint64_t offset, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		uint32_t piece = size < RELAY_MAX_DATA ? (uint32_t)size : RELAY_MAX_DATA;
		const struct fuse_notify_store_out out = {.nodeid = nodeid, .offset = offset, .size = piece};
		int err;

		err = relay_internal_channel_notify(session, FUSE_NOTIFY_STORE, &out, sizeof(out), at, piece, NULL, 0);
		if (err)
			return err;
		at += piece;
		offset += piece;
		size -= piece;
	}
	return 0;
}

int relay_notify_retrieve(struct relay_session *session, uint64_t unique, uint64_t nodeid, uint64_t offset,
			  uint32_t size)
{
	const struct fuse_notify_retrieve_out out = {
		.notify_unique = unique,
		.nodeid = nodeid,
		.offset = offset,
		.size = size,
	};

	return relay_internal_channel_notify(session, FUSE_NOTIFY_RETRIEVE, &out, sizeof(out), NULL, 0, NULL, 0);
}

int relay_notify_poll(struct relay_session *session, uint64_t kh)
{
	const struct fuse_notify_poll_wakeup_out out = {.kh = kh};

	return relay_internal_channel_notify(session, FUSE_NOTIFY_POLL, &out, sizeof(out), NULL, 0, NULL, 0);
}
