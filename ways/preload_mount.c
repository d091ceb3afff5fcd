/*
 * mount(2) of a channel is relayd's business, and umount(2) of it too: a program that
 * relayd has started does not take its mount along when it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "attach.h"
#include "ctl_client.h"
#include "opened.h"
#include "preload.h"
#include "relay/fuse_abi.h"

/* glibc 2.36 is the first to have it. */
int fsopen(const char *type, unsigned flags);

/*
 * Where this process, or one that it was forked from, has mounted with a token: no
 * program mounts at more places than these.  Each is as it was named and as it is.
 */
#define PLACES_MAX 4u
static struct place {
	char named[PATH_MAX];
	char path[PATH_MAX];
} places[PLACES_MAX];
static atomic_uint places_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_fuse(const char *type)
{
	return strcmp(type, "fuse") == 0 || strncmp(type, "fuse.", 5) == 0;
}

static bool is_fuseblk(const char *type)
{
	return strcmp(type, "fuseblk") == 0 || strncmp(type, "fuseblk.", 8) == 0;
}

/* What relayd says goes to the program's own standard error: an errno would be all that it could tell. */
static void complain(const char *target, const char *why)
{
	char line[PATH_MAX + 512];
	int saved = errno;
	int n = snprintf(line, sizeof(line), "librelay-preload: cannot mount on %s: %s\n", target, why);

	if (n > 0 && write(STDERR_FILENO, line, strnlen(line, sizeof(line))) < 0)
		errno = saved;
	errno = saved;
}

/* The path that a directory has, without symbolic links.  Does not look into what is mounted there. */
static bool path_of(const char *directory, char *path)
{
	int fd;

	if (relay_internal_ctl_target(directory, path, PATH_MAX, &fd) < 0)
		return false;
	close(fd);
	return true;
}

static void place_add(const char *target)
{
	struct place place;

	if (strlen(target) >= sizeof(place.named) || !path_of(target, place.path))
		return;
	strcpy(place.named, target);
	pthread_mutex_lock(&lock);
	/* A program that mounts again and again: the oldest is forgotten. */
	places[places_count++ % PLACES_MAX] = place;
	pthread_mutex_unlock(&lock);
}

static bool is_place(const char *target)
{
	char path[PATH_MAX];
	bool found = false;
	unsigned i;

	if (!target || !places_count)
		return false;
	if (!path_of(target, path))
		path[0] = '\0';
	pthread_mutex_lock(&lock);
	for (i = 0; i < PLACES_MAX && !found; i++)
		found = places[i].path[0] &&
			(strcmp(places[i].path, path) == 0 || (!*path && strcmp(places[i].named, target) == 0));
	pthread_mutex_unlock(&lock);
	return found;
}

static int channel_mount(const struct relay_attach_args *args)
{
	char why[512] = "";
	int err = relay_internal_attach(args, why, sizeof(why));

	if (err) {
		errno = -err;
		complain(args->target, why);
		return -1;
	}
	if (relay_internal_token())
		place_add(args->target);
	return 0;
}

PRELOAD_EXPORT int mount(const char *source, const char *target, const char *type, unsigned long flags,
			 const void *data)
{
	const struct relay_attach_args args = {
		.source = source,
		.target = target,
		.type = type,
		.flags = flags,
		.data = data,
		.via = RELAY_CTL_VIA_PRELOAD,
	};

	if (!type || !target || !data || (!is_fuse(type) && !is_fuseblk(type)) ||
	    !relay_internal_is_channel(relay_internal_data_fd(data)))
		return PRELOAD_REAL(mount)(source, target, type, flags, data);
	if (!is_fuse(type)) {
		errno = ENODEV;
		complain(target, "relayd has no mounts of block devices (fuseblk)");
		return -1;
	}
	return channel_mount(&args);
}

PRELOAD_EXPORT int umount(const char *target)
{
	return is_place(target) ? 0 : PRELOAD_REAL(umount)(target);
}

PRELOAD_EXPORT int umount2(const char *target, int flags)
{
	return is_place(target) ? 0 : PRELOAD_REAL(umount2)(target, flags);
}

/* The other interface for mounting: programs that have tried it go on with mount(2). */
PRELOAD_EXPORT int fsopen(const char *type, unsigned flags)
{
	int (*real)(const char *, unsigned) = PRELOAD_REAL(fsopen);

	if (!real || (type && (is_fuse(type) || is_fuseblk(type)))) {
		errno = ENOSYS;
		return -1;
	}
	return real(type, flags);
}

/* A copy of a device is one of the channel: whoever reads first has the request. */
static int channel_clone(int fd, int master)
{
	struct relay_opened *opened;
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || !relay_internal_is_channel(master)) {
		errno = EINVAL;
		return -1;
	}
	opened = relay_internal_opened_take(fd);
	if (!opened) {
		errno = EINVAL;
		return -1;
	}
	if (dup3(master, fd, (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) < 0) {
		relay_internal_opened_put(opened);
		return -1;
	}
	relay_internal_opened_discard(opened);
	return 0;
}

PRELOAD_EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *argument;

	va_start(args, request);
	argument = va_arg(args, void *);
	va_end(args);
	if (request == FUSE_DEV_IOC_CLONE && argument && relay_internal_is_channel(fd))
		return channel_clone(fd, (int)*(const uint32_t *)argument);
	return PRELOAD_REAL(ioctl)(fd, request, argument);
}
