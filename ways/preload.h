/*
 * librelay-preload.so: any program's open("/dev/fuse") and mount(2) go to relayd.
 *
 * The library stands before libc in a program that knows nothing of relayd, and in
 * everything that the program starts.  So it does nothing but in the calls that it
 * interposes, and there only with what is the channel's; between fork() and exec()
 * what was safe to be called is still so.
 *
 * Channels are known by their sockets' inodes (librelay/opened.h): descriptors may be
 * duplicated, closed and numbered anew as the program likes, and nothing of that has
 * to be followed here.
 */
#ifndef WAYS_PRELOAD_H
#define WAYS_PRELOAD_H

#include <sys/types.h>

/* The functions that are interposed: libc's own is had by PRELOAD_REAL(name). */
#define PRELOAD_FUNCTIONS(X)                                                                                           \
	X(open)                                                                                                        \
	X(open64)                                                                                                      \
	X(openat)                                                                                                      \
	X(openat64)                                                                                                    \
	X(__open_2)                                                                                                    \
	X(__open64_2)                                                                                                  \
	X(__openat_2)                                                                                                  \
	X(__openat64_2)                                                                                                \
	X(mount)                                                                                                       \
	X(umount)                                                                                                      \
	X(umount2)                                                                                                     \
	X(fsopen)                                                                                                      \
	X(ioctl)                                                                                                       \
	X(read)                                                                                                        \
	X(__read_chk)                                                                                                  \
	X(readv)                                                                                                       \
	X(write)                                                                                                       \
	X(writev)                                                                                                      \
	X(splice)                                                                                                      \
	X(vmsplice)                                                                                                    \
	X(execve)                                                                                                      \
	X(execv)                                                                                                       \
	X(execvp)                                                                                                      \
	X(execvpe)                                                                                                     \
	X(posix_spawn)                                                                                                 \
	X(posix_spawnp)

enum preload_function {
#define PRELOAD_ENUM(name) PRELOAD_##name,
	PRELOAD_FUNCTIONS(PRELOAD_ENUM)
#undef PRELOAD_ENUM
		PRELOAD_COUNT,
};

/* The address of libc's function, or NULL if it has none of that name. */
void *preload_real(enum preload_function function);
#define PRELOAD_REAL(name) ((__typeof__(&(name)))preload_real(PRELOAD_##name))

/* What the linker is told to let out; everything else is hidden. */
#define PRELOAD_EXPORT __attribute__((visibility("default")))

/* libc declares them only for what is compiled with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);

#endif
