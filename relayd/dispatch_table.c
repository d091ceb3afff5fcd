/* The memory of the table, and whether what another process has left is one. */
#include "dispatch_table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_MAGIC 0x314c4254594c4552ULL /* "RELYTBL1" */

static uint64_t table_size(uint32_t slots)
{
	return sizeof(struct dispatch_table) + (uint64_t)slots * sizeof(struct inflight);
}

static int table_map(struct dispatch_table **table, int fd, uint32_t slots)
{
	/* Every page is there from the start: a request must not fail for want of one. */
	void *mapping = mmap(NULL, table_size(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (mapping == MAP_FAILED)
		return -errno;
	*table = mapping;
	return 0;
}

int dispatch_table_make(struct dispatch_table **table, int *fd, uint32_t slots)
{
	int err;

	*fd = memfd_create("relayd-requests", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return -errno;
	err = -posix_fallocate(*fd, 0, (off_t)table_size(slots));
	if (!err && fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		err = -errno;
	if (!err)
		err = table_map(table, *fd, slots);
	if (err) {
		close(*fd);
		*fd = -1;
		return err == -ENOSPC ? -ENOMEM : err;
	}
	(*table)->version = DISPATCH_TABLE_VERSION;
	(*table)->inflight_size = sizeof(struct inflight);
	(*table)->slots = slots;
	(*table)->magic = TABLE_MAGIC;
	return 0;
}

int dispatch_table_map(struct dispatch_table **table, int fd, uint32_t slots)
{
	struct stat st;
	int seals, err;

	if (fstat(fd, &st) < 0)
		return -errno;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size != (off_t)table_size(slots))
		return -EPROTO;
	err = table_map(table, fd, slots);
	if (err)
		return err;
	if ((*table)->magic == TABLE_MAGIC && (*table)->version == DISPATCH_TABLE_VERSION &&
	    (*table)->inflight_size == sizeof(struct inflight) && (*table)->slots == slots)
		return 0;
	dispatch_table_unmap(*table);
	*table = NULL;
	return -EPROTO;
}

void dispatch_table_unmap(struct dispatch_table *table)
{
	munmap(table, table_size(table->slots));
}
