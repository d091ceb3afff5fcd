/*
 * What a filesystem says of its own accord.
 */
#include "absence_parts.h"

#include <errno.h>
#include <string.h>

int relay_absence_put(struct absence *absence, uint64_t dir, const char *name, uint64_t lease)
{
	uint64_t since = atomic_load(&absence->sequence);
	int err = -EAGAIN;

	pthread_mutex_lock(&absence->lock);
	if (absence_unchanged(absence, dir, since, NULL)) {
		absence_name_missing(absence, dir, name, absence_lease_until(absence, lease), since);
		err = 0;
	}
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_put_xattr(struct absence *absence, uint64_t nodeid, const char *name, uint64_t lease)
{
	uint64_t since = atomic_load(&absence->sequence);
	int xattr = absence->ops->xattr(name), err = 0;

	if (xattr < 0 || xattr >= (int)ABSENCE_XATTRS)
		return -EINVAL;
	pthread_mutex_lock(&absence->lock);
	if (absence_unchanged(absence, nodeid, since, NULL))
		absence_xattr_missing(absence, nodeid, (unsigned)xattr, absence_lease_until(absence, lease));
	else
		err = -EAGAIN;
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_drop(struct absence *absence, uint64_t dir, const char *name)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	err = absence_name_comes(absence, dir, name);
	absence_stamp(absence, dir);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_drop_xattrs(struct absence *absence, uint64_t nodeid)
{
	int err;

	pthread_mutex_lock(&absence->lock);
	err = absence_node_drop_xattrs(absence, nodeid);
	absence_stamp(absence, nodeid);
	pthread_mutex_unlock(&absence->lock);
	return err;
}

int relay_absence_stale(struct absence *absence, uint64_t dir, const char *name)
{
	int err = relay_absence_drop(absence, dir, name);

	if (err || !absence->trust.gate)
		return err;
	return absence->ops->stale_put(absence->store, dir, name, (uint32_t)strlen(name));
}
