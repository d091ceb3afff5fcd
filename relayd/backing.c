/*
 * Backing files.
 *
 * An id is entered after the kernel has given it and before anybody is told of it.  A backend
 * that dies before it has written the id down leaves it here; the next one is told of
 * all, and gives back those that it does not know.
 *
 * The next relayd has them from a memfd: the highest id that was given, and the ids.  A process
 * dying after the kernel has given an id, before it is written, leaves one that is higher
 * than the highest and in no entry.
 */
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdpass.h"
#include "relay/wire.h"

/* The inode of the first user namespace (include/linux/proc_ns.h). */
#define INITIAL_USER_NS "user:[4026531837]"

#define TABLE_SIZE ((1 + BACKING_MAX) * sizeof(int32_t))

struct backed {
	int32_t id;
	uint32_t index; /* of the entry that has it */
};

static bool in_initial_user_ns(void)
{
	char name[64];
	ssize_t n = readlink("/proc/self/ns/user", name, sizeof(name) - 1);

	if (n < 0)
		return false;
	name[n] = '\0';
	return strcmp(name, INITIAL_USER_NS) == 0;
}

bool backing_allowed(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}, {0}};

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return data[0].effective & 1u << CAP_SYS_ADMIN && in_initial_user_ns();
}

static int backed_compare(const void *a, const void *b)
{
	const struct backed *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

int backing_init(struct backing *backing)
{
	int err;

	*backing = (struct backing){.fd = memfd_create("relayd-backed", MFD_CLOEXEC)};
	if (backing->fd < 0 || ftruncate(backing->fd, TABLE_SIZE) == 0)
		return backing->fd < 0 ? -errno : 0;
	err = -errno;
	close(backing->fd);
	backing->fd = -1;
	return err;
}

void backing_deinit(struct backing *backing)
{
	tdestroy(backing->root, free);
	if (backing->fd >= 0)
		close(backing->fd);
	*backing = (struct backing){.fd = -1};
}

/* ---- what the next relayd finds -------------------------------------------- */

/* Not a mapping: for want of memory this fails, and does not kill. */
static bool table_write(const struct backing *backing, uint32_t at, int32_t id)
{
	return pwrite(backing->fd, &id, sizeof(id), (off_t)(at * sizeof(id))) == sizeof(id);
}

static bool entry_write(const struct backing *backing, const struct backed *backed, int32_t id)
{
	return table_write(backing, 1 + backed->index, id);
}

/* One that is free; there is one. */
static uint32_t entry_find(const struct backing *backing)
{
	uint32_t word = 0;

	while (!~backing->used[word])
		word++;
	return 64 * word + (uint32_t)__builtin_ctzll(~backing->used[word]);
}

static void entry_use(struct backing *backing, const struct backed *backed, bool used)
{
	uint64_t bit = 1ULL << backed->index % 64;

	if (used)
		backing->used[backed->index / 64] |= bit;
	else
		backing->used[backed->index / 64] &= ~bit;
	backing->count += used ? 1 : -1u;
}

static void kernel_close(int device, int32_t id)
{
	uint32_t arg = (uint32_t)id;

	/* ENOENT: nobody has it.  Nothing else can be done about it, whatever it is. */
	ioctl(device, FUSE_DEV_IOC_BACKING_CLOSE, &arg);
}

static int kernel_open(int device, int fd)
{
	struct fuse_backing_map map = {.fd = fd};
	struct stat st;
	int id;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	id = ioctl(device, FUSE_DEV_IOC_BACKING_OPEN, &map);
	return id < 0 ? -errno : id;
}

int backing_add(struct backing *backing, int device, int fd)
{
	struct backed *fresh, **found;
	int id;

	if (backing->count >= BACKING_MAX)
		return -ENOSPC;
	fresh = malloc(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	id = kernel_open(device, fd);
	if (id <= 0) {
		free(fresh);
		return id < 0 ? id : -EPROTO;
	}
	*fresh = (struct backed){.id = id, .index = entry_find(backing)};
	found = tsearch(fresh, &backing->root, backed_compare);
	if (found && *found != fresh) { /* it was closed behind our back, and given again */
		free(fresh);
		return id;
	}
	if (found && entry_write(backing, fresh, id) && table_write(backing, 0, id)) {
		entry_use(backing, fresh, true);
		return id;
	}
	kernel_close(device, id);
	if (found) {
		entry_write(backing, fresh, 0);
		tdelete(fresh, &backing->root, backed_compare);
	}
	free(fresh);
	return -ENOMEM;
}

void backing_drop(struct backing *backing, int device, int32_t id)
{
	struct backed wanted = {.id = id}, **found, *backed;

	if (id <= 0)
		return;
	kernel_close(device, id);
	found = tfind(&wanted, &backing->root, backed_compare);
	if (!found)
		return;
	backed = *found;
	/* A process dying before this leaves an id that the kernel has not: to close it again does nothing. */
	entry_write(backing, backed, 0);
	entry_use(backing, backed, false);
	tdelete(backed, &backing->root, backed_compare);
	free(backed);
}

/* Returns 0 or -ENOMEM. */
static int entry_resume(struct backing *backing, uint32_t index, int32_t id)
{
	struct backed *backed = malloc(sizeof(*backed)), **found;

	if (!backed)
		return -ENOMEM;
	*backed = (struct backed){.id = id, .index = index};
	found = tsearch(backed, &backing->root, backed_compare);
	if (found && *found == backed) {
		entry_use(backing, backed, true);
		return 0;
	}
	if (found)
		entry_write(backing, backed, 0);
	free(backed);
	return found ? 0 : -ENOMEM;
}

/* Closes what the kernel has given since `highest` and is in no entry: it gives them in turn. */
static void lost_close(struct backing *backing, int device, int32_t highest)
{
	int next = kernel_open(device, backing->fd);

	if (next < 0)
		return;
	for (struct backed lost = {.id = highest + 1}; lost.id < next; lost.id++)
		if (!tfind(&lost, &backing->root, backed_compare))
			kernel_close(device, lost.id);
	kernel_close(device, next);
	table_write(backing, 0, next);
}

int backing_resume(struct backing *backing, int device, int fd)
{
	int32_t *table = malloc(TABLE_SIZE);
	int err = table ? 0 : -ENOMEM;

	close(backing->fd);
	backing->fd = fd;
	if (table && pread(fd, table, TABLE_SIZE, 0) != (ssize_t)TABLE_SIZE)
		err = -EPROTO;
	for (uint32_t i = 0; !err && i < BACKING_MAX; i++)
		if (table[1 + i] > 0)
			err = entry_resume(backing, i, table[1 + i]);
	if (!err && device >= 0)
		lost_close(backing, device, table[0]);
	free(table);
	return err;
}

int backing_serve(struct backing *backing, int device, int socket)
{
	struct relay_backed answer = {.id = -EPROTO};
	unsigned fds = 1;
	char byte;
	int fd;

	/* It is the backend's to have put it there before: there is nothing to wait for. */
	if (fcntl(socket, F_SETFL, O_NONBLOCK) < 0 || relay_internal_recv_fds(socket, &byte, 1, &fd, &fds) != 1)
		return -EPROTO;
	if (fds == 1) {
		answer.id = device < 0 ? -EPERM : backing_add(backing, device, fd);
		close(fd);
	}
	/* Who asked may be dead by now: the id is the next one's to give back. */
	send(socket, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	return fds == 1 ? 0 : -EPROTO;
}

struct walk {
	int (*each)(int32_t id, void *arg);
	void *arg;
	int result;
};

static void walk_visit(const void *node, VISIT visit, void *closure)
{
	const struct backed *backed = *(struct backed *const *)node;
	struct walk *walk = closure;

	if ((visit == postorder || visit == leaf) && walk->result == 0)
		walk->result = walk->each(backed->id, walk->arg);
}

int backing_each(const struct backing *backing, int (*each)(int32_t id, void *arg), void *arg)
{
	struct walk walk = {.each = each, .arg = arg};

	twalk_r(backing->root, walk_visit, &walk);
	return walk.result;
}
