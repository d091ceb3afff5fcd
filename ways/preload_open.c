/*
 * open("/dev/fuse"): the program gets its end of a new channel.  Which flags come
 * along is as with relay_open(); an open that is not for reading and writing is
 * no filesystem's, and is left to the device.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "preload.h"
#include "relay/relay.h"

#define DEVICE "/dev/fuse"

static bool is_device(const char *path, int flags)
{
	/* libc's open() leaves a path that is nowhere to the kernel. */
	return path && (flags & O_ACCMODE) == O_RDWR && !(flags & O_PATH) && strcmp(path, DEVICE) == 0;
}

static int channel_open(int flags)
{
	return relay_open(DEVICE, O_RDWR | (flags & (O_CLOEXEC | O_NONBLOCK)));
}

/* The third argument of open(), where the flags say that there is one. */
#define MODE_OF(flags, last)                                                                                           \
	({                                                                                                             \
		mode_t mode_ = 0;                                                                                      \
		if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) {                                           \
			va_list args_;                                                                                 \
			va_start(args_, last);                                                                         \
			mode_ = va_arg(args_, mode_t);                                                                 \
			va_end(args_);                                                                                 \
		}                                                                                                      \
		mode_;                                                                                                 \
	})

PRELOAD_EXPORT int open(const char *path, int flags, ...)
{
	if (is_device(path, flags))
		return channel_open(flags);
	return PRELOAD_REAL(open)(path, flags, MODE_OF(flags, flags));
}

PRELOAD_EXPORT int open64(const char *path, int flags, ...)
{
	if (is_device(path, flags))
		return channel_open(flags);
	return PRELOAD_REAL(open64)(path, flags, MODE_OF(flags, flags));
}

PRELOAD_EXPORT int openat(int directory, const char *path, int flags, ...)
{
	if (is_device(path, flags))
		return channel_open(flags);
	return PRELOAD_REAL(openat)(directory, path, flags, MODE_OF(flags, flags));
}

PRELOAD_EXPORT int openat64(int directory, const char *path, int flags, ...)
{
	if (is_device(path, flags))
		return channel_open(flags);
	return PRELOAD_REAL(openat64)(directory, path, flags, MODE_OF(flags, flags));
}

/* What open() becomes in programs that are compiled with _FORTIFY_SOURCE. */

PRELOAD_EXPORT int __open_2(const char *path, int flags)
{
	return is_device(path, flags) ? channel_open(flags) : PRELOAD_REAL(__open_2)(path, flags);
}

PRELOAD_EXPORT int __open64_2(const char *path, int flags)
{
	return is_device(path, flags) ? channel_open(flags) : PRELOAD_REAL(__open64_2)(path, flags);
}

PRELOAD_EXPORT int __openat_2(int directory, const char *path, int flags)
{
	return is_device(path, flags) ? channel_open(flags) : PRELOAD_REAL(__openat_2)(directory, path, flags);
}

PRELOAD_EXPORT int __openat64_2(int directory, const char *path, int flags)
{
	return is_device(path, flags) ? channel_open(flags) : PRELOAD_REAL(__openat64_2)(directory, path, flags);
}
