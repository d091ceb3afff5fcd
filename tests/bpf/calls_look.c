/* Calls that look a path up. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

#include "calls.h"

static int done(long result)
{
	return result < 0 ? -errno : 0;
}

/* Closes what was opened. */
static int opened(long fd)
{
	int err = done(fd);

	if (!err)
		close((int)fd);
	return err;
}

#define LOOK(name, expression)                                                                                        \
	static int look_##name(const char *path)                                                                      \
	{                                                                                                             \
		char buffer[512] __attribute__((unused));                                                             \
		return done(expression);                                                                              \
	}
#define LOOK_OPEN(name, expression)                                                                                   \
	static int look_##name(const char *path)                                                                      \
	{                                                                                                             \
		return opened(expression);                                                                            \
	}

static struct open_how how_read = {.flags = O_RDONLY};

LOOK(stat, syscall(SYS_stat, path, buffer))
LOOK(lstat, syscall(SYS_lstat, path, buffer))
LOOK(newfstatat, syscall(SYS_newfstatat, AT_FDCWD, path, buffer, 0))
LOOK(statx, syscall(SYS_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, buffer))
LOOK(access, syscall(SYS_access, path, R_OK))
LOOK(faccessat, syscall(SYS_faccessat, AT_FDCWD, path, R_OK))
LOOK(faccessat2, syscall(SYS_faccessat2, AT_FDCWD, path, R_OK, 0))
LOOK_OPEN(open, syscall(SYS_open, path, O_RDONLY))
LOOK_OPEN(open_write, syscall(SYS_open, path, O_WRONLY | O_TRUNC))
LOOK_OPEN(open_path, syscall(SYS_open, path, O_PATH))
LOOK_OPEN(openat, syscall(SYS_openat, AT_FDCWD, path, O_RDONLY))
LOOK_OPEN(openat2, syscall(SYS_openat2, AT_FDCWD, path, &how_read, sizeof(how_read)))
LOOK(readlink, syscall(SYS_readlink, path, buffer, sizeof(buffer)))
LOOK(readlinkat, syscall(SYS_readlinkat, AT_FDCWD, path, buffer, sizeof(buffer)))
LOOK(chdir, syscall(SYS_chdir, path))
LOOK(chroot, syscall(SYS_chroot, path))
LOOK(execve, syscall(SYS_execve, path, NULL, NULL))
LOOK(execveat, syscall(SYS_execveat, AT_FDCWD, path, NULL, NULL, 0))
LOOK(statfs, syscall(SYS_statfs, path, buffer))
LOOK(truncate, syscall(SYS_truncate, path, 0))
LOOK(chmod, syscall(SYS_chmod, path, 0600))
LOOK(fchmodat, syscall(SYS_fchmodat, AT_FDCWD, path, 0600))
LOOK(chown, syscall(SYS_chown, path, 0, 0))
LOOK(lchown, syscall(SYS_lchown, path, 0, 0))
LOOK(fchownat, syscall(SYS_fchownat, AT_FDCWD, path, 0, 0, 0))
LOOK(utime, syscall(SYS_utime, path, NULL))
LOOK(utimes, syscall(SYS_utimes, path, NULL))
LOOK(futimesat, syscall(SYS_futimesat, AT_FDCWD, path, NULL))
LOOK(utimensat, syscall(SYS_utimensat, AT_FDCWD, path, NULL, 0))
LOOK(getxattr, syscall(SYS_getxattr, path, "user.x", buffer, sizeof(buffer)))
LOOK(lgetxattr, syscall(SYS_lgetxattr, path, "user.x", buffer, sizeof(buffer)))
LOOK(listxattr, syscall(SYS_listxattr, path, buffer, sizeof(buffer)))
LOOK(llistxattr, syscall(SYS_llistxattr, path, buffer, sizeof(buffer)))
LOOK(setxattr, syscall(SYS_setxattr, path, "user.x", "", 0, 0))
LOOK(lsetxattr, syscall(SYS_lsetxattr, path, "user.x", "", 0, 0))
LOOK(removexattr, syscall(SYS_removexattr, path, "user.x"))
LOOK(lremovexattr, syscall(SYS_lremovexattr, path, "user.x"))
LOOK_OPEN(open_tree, syscall(SYS_open_tree, AT_FDCWD, path, 0))

static int look_name_to_handle_at(const char *path)
{
	struct {
		struct file_handle handle;
		char room[128];
	} handle = {.handle.handle_bytes = 128};
	int mount;

	return done(syscall(SYS_name_to_handle_at, AT_FDCWD, path, &handle, &mount, 0));
}

static int look_inotify_add_watch(const char *path)
{
	int fd = inotify_init1(IN_CLOEXEC);
	int err = done(syscall(SYS_inotify_add_watch, fd, path, IN_CREATE));

	close(fd);
	return err;
}

#define ROW(name) {#name, look_##name}
const struct bpf_call bpf_looks[] = {
	ROW(stat), ROW(lstat), ROW(newfstatat), ROW(statx), ROW(access), ROW(faccessat), ROW(faccessat2), ROW(open),
	ROW(open_write), ROW(open_path), ROW(openat), ROW(openat2), ROW(readlink), ROW(readlinkat), ROW(chdir),
	ROW(chroot), ROW(execve), ROW(execveat), ROW(statfs), ROW(truncate), ROW(chmod), ROW(fchmodat), ROW(chown),
	ROW(lchown), ROW(fchownat), ROW(utime), ROW(utimes), ROW(futimesat), ROW(utimensat), ROW(getxattr),
	ROW(lgetxattr), ROW(listxattr), ROW(llistxattr), ROW(setxattr), ROW(lsetxattr), ROW(removexattr),
	ROW(lremovexattr), ROW(open_tree), ROW(name_to_handle_at), ROW(inotify_add_watch),
};
const size_t bpf_looks_count = sizeof(bpf_looks) / sizeof(bpf_looks[0]);
