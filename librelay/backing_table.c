/*
 * The direct lane: a backend that has /dev/fuse registers files by itself, which takes one
 * system call where asking relayd takes two processes' wake-ups.  What it has registered stands
 * in a memfd that relayd keeps, so that the next incarnation knows of it.
 *
 * An entry is 0, or an id, or PENDING with the highest id that was known before the kernel was
 * asked for one.  A process dying while it is PENDING leaves an id that nobody has written
 * down.  But the kernel counts ids up: the lost one lies between that number and the next id
 * that it gives, and is the one there that no entry has.  Closing those is the next
 * incarnation's first use of the table.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

#define TABLE_MAGIC 0x314b434142594c52ULL /* "RLYBACK1" */
#define TABLE_ENTRIES 65536u
#define PENDING (1ULL << 63)
/* More ids than can have been given while a thread was about to ask for one. */
#define LOST_MAX (1u << 24)

struct table {
	uint64_t magic;
	_Atomic uint64_t seen; /* the highest id that was given, as far as it is written down */
	_Atomic uint64_t bump; /* entries from here on were never used */
	uint64_t reserved[5];
	_Atomic uint64_t entries[TABLE_ENTRIES];
};

struct relay_backing_table {
	struct table *table;
	int fd; /* owned; a regular file, which is asked an id for */
	pthread_mutex_t lock;
	uint32_t free_count;
	uint32_t free[TABLE_ENTRIES];
};

static int kernel_open(const struct relay_session *session, int fd)
{
	struct fuse_backing_map map = {.fd = fd};
	int id = ioctl(session->device, FUSE_DEV_IOC_BACKING_OPEN, &map);

	if (id < 0)
		return -errno;
	return id ? id : -EPROTO;
}

static int kernel_close(const struct relay_session *session, uint64_t id)
{
	uint32_t arg = (uint32_t)id;

	return ioctl(session->device, FUSE_DEV_IOC_BACKING_CLOSE, &arg) < 0 ? -errno : 0;
}

/* ---- making and finding it ---------------------------------------------- */

/* Takes fd over in any case.  Returns 0 or a negative errno. */
static int table_map(struct relay_session *session, int fd)
{
	struct relay_backing_table *backings = calloc(1, sizeof(*backings));
	struct stat st;
	void *base = MAP_FAILED;
	int err = -EPROTO, seals = fcntl(fd, F_GET_SEALS);

	if (seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &st) == 0 && st.st_size == sizeof(struct table)) {
		base = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
		err = base == MAP_FAILED ? -errno : 0;
	}
	if (!backings)
		err = -ENOMEM;
	if (err) {
		if (base != MAP_FAILED)
			munmap(base, sizeof(struct table));
		free(backings);
		close(fd);
		return err;
	}
	backings->table = base;
	backings->fd = fd;
	pthread_mutex_init(&backings->lock, NULL);
	session->backings = backings;
	return 0;
}

int relay_internal_backing_table_new(struct relay_session *session)
{
	int fd, err;

	if (session->backings || session->device < 0)
		return 0;
	fd = memfd_create("relay-backings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct table)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	err = table_map(session, fd);
	if (err)
		return err;
	session->backings->table->magic = TABLE_MAGIC;
	return relay_internal_keep(session, RELAY_KEY_BACKINGS, fd);
}

void relay_internal_backing_table_free(struct relay_session *session)
{
	struct relay_backing_table *backings = session->backings;

	if (!backings)
		return;
	munmap(backings->table, sizeof(struct table));
	close(backings->fd);
	pthread_mutex_destroy(&backings->lock);
	free(backings);
	session->backings = NULL;
}

/* ---- what an earlier incarnation left ------------------------------------ */

static void lost_tell(void)
{
	fprintf(stderr, "librelay: a file that an earlier incarnation has registered may stay registered until "
			"the mount ends\n");
}

/* Marks an id that somebody knows in a map of those from `first` on. */
static void id_mark(uint8_t *map, uint64_t first, uint64_t count, uint64_t id)
{
	if (id >= first && id - first < count)
		map[id - first] = 1;
}

/* Closes those of `count` ids that nobody has written down. */
static int range_close(const struct relay_session *session, uint32_t used, uint64_t first, uint64_t count)
{
	uint8_t *known = count > LOST_MAX ? NULL : calloc(count + 1, 1);

	if (!known)
		return -ENOMEM;
	for (uint32_t i = 0; i < used; i++)
		id_mark(known, first, count, atomic_load(&session->backings->table->entries[i]));
	for (uint32_t i = 0; i < session->backed_count; i++)
		id_mark(known, first, count, (uint64_t)session->backed[i]);
	for (uint64_t i = 0; i < count; i++)
		if (!known[i])
			kernel_close(session, first + i);
	free(known);
	return 0;
}

/* Closes what the kernel has given since `seen` and nobody has written down. */
static void lost_close(const struct relay_session *session, uint32_t used, uint64_t seen)
{
	int next = kernel_open(session, session->backings->fd);

	if (next < 0) {
		lost_tell();
		return;
	}
	/* Ids that have wrapped, which takes 2^31 of them, don't tell. */
	if ((uint64_t)next <= seen || range_close(session, used, seen + 1, (uint64_t)next - seen - 1) < 0)
		lost_tell();
	kernel_close(session, (uint64_t)next);
}

int relay_internal_backing_table_restore(struct relay_session *session)
{
	int kept = relay_internal_kept_get(session, RELAY_KEY_BACKINGS), fd, err;
	uint64_t seen = UINT64_MAX, entry;
	struct table *table;
	uint32_t used;

	if (kept < 0 || session->device < 0)
		return 0;
	fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = table_map(session, fd);
	if (err)
		return err;
	table = session->backings->table;
	if (table->magic != TABLE_MAGIC || atomic_load(&table->bump) > TABLE_ENTRIES)
		return -EPROTO;
	used = (uint32_t)atomic_load(&table->bump);
	for (uint32_t i = 0; i < used; i++) {
		entry = atomic_load(&table->entries[i]);
		if (entry & PENDING && (entry & ~PENDING) < seen)
			seen = entry & ~PENDING;
	}
	if (seen != UINT64_MAX)
		lost_close(session, used, seen);
	/* A process dying here leaves them PENDING: what was closed is closed, and is looked for again. */
	for (uint32_t i = 0; i < used; i++) {
		if (atomic_load(&table->entries[i]) & PENDING)
			atomic_store(&table->entries[i], 0);
		if (atomic_load(&table->entries[i]) == 0)
			session->backings->free[session->backings->free_count++] = i;
	}
	return 0;
}

void relay_internal_backing_table_each(struct relay_session *session, void (*each)(uint64_t backing, void *arg),
				       void *arg)
{
	struct table *table = session->backings ? session->backings->table : NULL;
	uint64_t used = table ? atomic_load(&table->bump) : 0, id;

	for (uint64_t i = 0; i < used; i++) {
		id = atomic_load(&table->entries[i]);
		if (id)
			each((i + 1) << 32 | id, arg);
	}
}

/* ---- registering ---------------------------------------------------------- */

/* An entry that nobody has, or -1. */
static int64_t entry_take(struct relay_backing_table *backings)
{
	int64_t index = -1;
	uint64_t bump;

	pthread_mutex_lock(&backings->lock);
	bump = atomic_load(&backings->table->bump);
	if (backings->free_count > 0) {
		index = backings->free[--backings->free_count];
	} else if (bump < TABLE_ENTRIES) {
		index = (int64_t)bump;
		atomic_store(&backings->table->bump, bump + 1);
	}
	pthread_mutex_unlock(&backings->lock);
	return index;
}

static void entry_give(struct relay_backing_table *backings, uint32_t index)
{
	atomic_store(&backings->table->entries[index], 0);
	pthread_mutex_lock(&backings->lock);
	backings->free[backings->free_count++] = index;
	pthread_mutex_unlock(&backings->lock);
}

int relay_internal_backing_table_add(struct relay_session *session, int fd, uint64_t *backing)
{
	struct relay_backing_table *backings = session->backings;
	int64_t index = entry_take(backings);
	uint64_t seen;
	int id;

	if (index < 0)
		return -ENOSPC;
	seen = atomic_load(&backings->table->seen);
	atomic_store(&backings->table->entries[index], PENDING | seen);
	RELAY_CRASH_POINT("BACK", "asked");
	id = kernel_open(session, fd);
	RELAY_CRASH_POINT("BACK", "registered");
	if (id < 0) {
		entry_give(backings, (uint32_t)index);
		return id;
	}
	atomic_store(&backings->table->entries[index], (uint64_t)id);
	while (seen < (uint64_t)id && !atomic_compare_exchange_weak(&backings->table->seen, &seen, (uint64_t)id))
		;
	RELAY_CRASH_POINT("BACK", "backed");
	*backing = ((uint64_t)index + 1) << 32 | (uint64_t)id;
	return 0;
}

int relay_internal_backing_table_drop(struct relay_session *session, uint64_t backing)
{
	struct relay_backing_table *backings = session->backings;
	uint64_t index = (backing >> 32) - 1, id = backing & INT32_MAX;
	int err;

	if (!backings || index >= TABLE_ENTRIES || id == 0 || atomic_load(&backings->table->entries[index]) != id)
		return -EINVAL;
	err = kernel_close(session, id);
	/* A process dying here leaves an id that the kernel has not: closing it again does nothing. */
	if (err == 0 || err == -ENOENT)
		entry_give(backings, (uint32_t)index);
	return err == -ENOENT ? 0 : err;
}
