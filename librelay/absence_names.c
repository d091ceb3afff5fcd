/*
 * One name, or one attribute: when it is written down that it is absent, and what is written down
 * when it comes and goes.  With the lock held.
 */
#include "absence_parts.h"

#include <errno.h>
#include <string.h>

uint64_t absence_lease_until(const struct absence *absence, uint64_t lease)
{
	uint64_t now;

	if (lease == ABSENCE_FOREVER)
		return lease;
	now = absence->ops->now();
	return lease > ABSENCE_FOREVER - 1 - now ? ABSENCE_FOREVER - 1 : now + lease;
}

uint64_t absence_until(const struct absence *absence, uint64_t said)
{
	uint64_t lease = absence->trust.lease;

	if (absence->trust.sole && !lease)
		return ABSENCE_FOREVER;
	if (said > lease)
		lease = said;
	return lease ? absence_lease_until(absence, lease) : 0;
}

int absence_name_absent_drop(struct absence *absence, uint64_t dir, const char *name)
{
	int err = absence->ops->absent_drop(absence->store, dir, name, (uint32_t)strlen(name));

	return err && err != -EINVAL ? absence_broken(absence, err) : 0;
}

int absence_name_comes(struct absence *absence, uint64_t dir, const char *name)
{
	struct absence_node *node;
	int err;

	err = absence_node_look(absence, dir, &node);
	/* One that had no room in the copy is longer than any that can be written down. */
	if (err || !name)
		return err;
	err = absence_name_absent_drop(absence, dir, name);
	if (err || !node || !(node->flags & ABSENCE_COMPLETE))
		return err;
	err = absence->ops->present_put(absence->store, dir, name, (uint32_t)strlen(name));
	return err && err != -EINVAL ? absence_node_incomplete(absence, dir) : 0;
}

void absence_name_gone(struct absence *absence, const struct absence_window *window, uint64_t dir, const char *name)
{
	const struct absence_node *node = absence_node_find(absence, dir);

	if (!name || !node || !(node->flags & ABSENCE_COMPLETE) ||
	    !absence_unchanged(absence, dir, window->since, window))
		return;
	absence->ops->present_drop(absence->store, dir, name, (uint32_t)strlen(name));
}

void absence_name_missing(struct absence *absence, uint64_t dir, const char *name, uint64_t until, uint64_t since)
{
	struct absence_node *node = absence_node_find(absence, dir);

	if (!absence_unchanged(absence, dir, since, NULL) || (node && node->flags & ABSENCE_COMPLETE))
		return;
	/* What is inherited stays: an absent name takes nothing from it. */
	if (!node && !absence->inherited)
		node = absence_node_take(absence, dir);
	if (node)
		node->flags |= ABSENCE_NAMES;
	if (node || absence->inherited)
		absence->ops->absent_put(absence->store, dir, name, (uint32_t)strlen(name), until);
}

void absence_xattr_missing(struct absence *absence, uint64_t nodeid, unsigned xattr, uint64_t until)
{
	struct absence_node *node = absence_node_take(absence, nodeid);

	/* First, so that what is written down is known as such. */
	if (!node)
		return;
	node->flags |= 1u << xattr;
	absence->ops->xattr_put(absence->store, nodeid, xattr, until);
}
