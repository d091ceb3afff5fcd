/*
 * Backing files.
 *
 * An id is entered after the kernel has given it and before anybody is told of it.  A backend
 * that dies before it has written the id down leaves it here; the next one is told of
 * all, and gives back those that it does not know.
 */
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdpass.h"
#include "relay/wire.h"

/* The inode of the first user namespace (include/linux/proc_ns.h). */
#define INITIAL_USER_NS "user:[4026531837]"

struct backed {
	int32_t id;
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

void backing_init(struct backing *backing)
{
	*backing = (struct backing){0};
}

void backing_deinit(struct backing *backing)
{
	tdestroy(backing->root, free);
	backing_init(backing);
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
	fresh->id = id;
	found = tsearch(fresh, &backing->root, backed_compare);
	if (found && *found == fresh) {
		backing->count++;
		return id;
	}
	free(fresh);
	if (found) /* it was closed behind our back, and given again */
		return id;
	kernel_close(device, id);
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
	tdelete(backed, &backing->root, backed_compare);
	free(backed);
	backing->count--;
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
