#include "fake_absences.h"

#include <errno.h>
#include <string.h>

uint64_t fake_absences_now = 1000;

static const char *const xattrs[] = {"security.selinux", "security.capability", "system.posix_acl_access",
				     "system.posix_acl_default"};

/* Returns the errno that this call is to fail with, or 0. */
static int call(struct fake_absences *fake)
{
	void (*before)(struct fake_absences *, void *) = fake->before;

	/* Not while it works itself. */
	fake->before = NULL;
	if (before)
		before(fake, fake->before_arg);
	fake->before = before;
	return ++fake->calls == fake->fail_at ? fake->fail_with : 0;
}

static bool name_valid(const char *name, uint32_t length)
{
	return length > 0 && length <= 255 && !memchr(name, '/', length) && !memchr(name, '\0', length) &&
	       !(length <= 2 && memcmp(name, "..", length) == 0);
}

static struct fake_absence *find(const struct fake_absences *fake, enum fake_absence_kind kind, uint64_t nodeid,
				 const char *name, uint32_t length, uint32_t xattr)
{
	for (unsigned i = 0; length < sizeof(fake->one[0].name) && i < FAKE_ABSENCES_MAX; i++) {
		const struct fake_absence *one = &fake->one[i];

		if (one->kind == kind && one->nodeid == nodeid && one->xattr == xattr && one->name[length] == '\0' &&
		    memcmp(one->name, name, length) == 0)
			return (struct fake_absence *)one;
	}
	return NULL;
}

static int put(struct fake_absences *fake, enum fake_absence_kind kind, uint64_t nodeid, const char *name,
	       uint32_t length, uint32_t xattr, uint64_t until)
{
	struct fake_absence *one = find(fake, kind, nodeid, name, length, xattr);

	for (unsigned i = 0; !one && i < FAKE_ABSENCES_MAX; i++)
		if (fake->one[i].kind == 0)
			one = &fake->one[i];
	if (!one)
		return -E2BIG;
	*one = (struct fake_absence){.kind = kind, .nodeid = nodeid, .xattr = xattr, .until = until};
	memcpy(one->name, name, length);
	return 0;
}

static void drop(struct fake_absences *fake, enum fake_absence_kind kind, uint64_t nodeid, const char *name,
		 uint32_t length, uint32_t xattr)
{
	struct fake_absence *one = find(fake, kind, nodeid, name, length, xattr);

	if (one)
		one->kind = 0;
}

static int absent_put(void *store, uint64_t dir, const char *name, uint32_t length, uint64_t until)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (err || !name_valid(name, length))
		return err ? err : -EINVAL;
	drop(fake, FAKE_STALE, dir, name, length, 0);
	fake->awake[dir % 1024] = true;
	return put(fake, FAKE_ABSENT, dir, name, length, 0, until);
}

static int absent_drop(void *store, uint64_t dir, const char *name, uint32_t length)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (err || !name_valid(name, length))
		return err ? err : -EINVAL;
	drop(fake, FAKE_ABSENT, dir, name, length, 0);
	drop(fake, FAKE_STALE, dir, name, length, 0);
	return 0;
}

static int present_put(void *store, uint64_t dir, const char *name, uint32_t length)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (err || !name_valid(name, length))
		return err ? err : -EINVAL;
	if (fake->present_room && !find(fake, FAKE_PRESENT, dir, name, length, 0) &&
	    fake_absences_count(fake, FAKE_PRESENT) >= fake->present_room)
		return -E2BIG;
	return put(fake, FAKE_PRESENT, dir, name, length, 0, 0);
}

static int present_drop(void *store, uint64_t dir, const char *name, uint32_t length)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (!err)
		drop(fake, FAKE_PRESENT, dir, name, length, 0);
	return err;
}

static int dir_complete(void *store, uint64_t dir)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	fake->awake[dir % 1024] = fake->awake[dir % 1024] || !err;
	return err ? err : put(fake, FAKE_COMPLETE, dir, "", 0, 0, ABSENCE_FOREVER);
}

static int dir_drop(void *store, uint64_t dir)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (err)
		return err;
	fake->awake[dir % 1024] = false;
	drop(fake, FAKE_COMPLETE, dir, "", 0, 0);
	return 0;
}

static int stale_put(void *store, uint64_t dir, const char *name, uint32_t length)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	return err ? err : put(fake, FAKE_STALE, dir, name, length, 0, ABSENCE_FOREVER);
}

static int xattr_number(const char *name)
{
	for (int i = 0; i < (int)(sizeof(xattrs) / sizeof(xattrs[0])); i++)
		if (strcmp(xattrs[i], name) == 0)
			return i;
	return -1;
}

static int xattr_put(void *store, uint64_t nodeid, unsigned xattr, uint64_t until)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	return err ? err : put(fake, FAKE_XATTR, nodeid, "", 0, xattr, until);
}

static int xattr_drop(void *store, uint64_t nodeid, unsigned xattr)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (!err)
		drop(fake, FAKE_XATTR, nodeid, "", 0, xattr);
	return err;
}

static int node_drop(void *store, uint64_t nodeid)
{
	struct fake_absences *fake = store;
	int err = dir_drop(store, nodeid);

	for (unsigned i = 0; !err && i < sizeof(xattrs) / sizeof(xattrs[0]); i++)
		drop(fake, FAKE_XATTR, nodeid, "", 0, i);
	return err;
}

static int clear(void *store)
{
	struct fake_absences *fake = store;
	int err = call(fake);

	if (!err)
		memset(fake->one, 0, sizeof(fake->one));
	return err;
}

static void sweep(void *store, bool (*keep)(uint64_t dir, void *arg), void *arg)
{
	struct fake_absences *fake = store;

	fake->sweeps++;
	for (unsigned i = 0; i < FAKE_ABSENCES_MAX; i++) {
		struct fake_absence *one = &fake->one[i];

		if (one->kind == FAKE_PRESENT && !find(fake, FAKE_COMPLETE, one->nodeid, "", 0, 0) &&
		    !keep(one->nodeid, arg))
			one->kind = 0;
	}
}

static uint64_t now(void)
{
	return fake_absences_now;
}

const struct absence_store fake_absences_ops = {
	.absent_put = absent_put,
	.absent_drop = absent_drop,
	.present_put = present_put,
	.present_drop = present_drop,
	.dir_complete = dir_complete,
	.dir_drop = dir_drop,
	.stale_put = stale_put,
	.xattr = xattr_number,
	.xattr_put = xattr_put,
	.xattr_drop = xattr_drop,
	.node_drop = node_drop,
	.clear = clear,
	.sweep = sweep,
	.now = now,
};

static bool holds(const struct fake_absence *one)
{
	return one && (one->until == ABSENCE_FOREVER || one->until > fake_absences_now);
}

int fake_absences_lookup(const struct fake_absences *fake, uint64_t dir, const char *name)
{
	uint32_t length = (uint32_t)strlen(name);

	/* As the program: it does not go by names that are longer. */
	if (!fake->awake[dir % 1024] || length > 255)
		return 0;
	if (holds(find(fake, FAKE_ABSENT, dir, name, length, 0)))
		return ENOENT;
	return find(fake, FAKE_COMPLETE, dir, "", 0, 0) && !find(fake, FAKE_PRESENT, dir, name, length, 0) ? ENOENT : 0;
}

int fake_absences_getxattr(const struct fake_absences *fake, uint64_t nodeid, const char *name)
{
	int xattr = xattr_number(name);

	return xattr >= 0 && holds(find(fake, FAKE_XATTR, nodeid, "", 0, (uint32_t)xattr)) ? ENODATA : 0;
}

bool fake_absences_has(const struct fake_absences *fake, enum fake_absence_kind kind, uint64_t nodeid,
		       const char *name)
{
	return find(fake, kind, nodeid, name, (uint32_t)strlen(name), 0);
}

uint32_t fake_absences_count(const struct fake_absences *fake, enum fake_absence_kind kind)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < FAKE_ABSENCES_MAX; i++)
		count += fake->one[i].kind == kind;
	return count;
}
