/* Calls that create what a path names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

static int done(long result)
{
	return result < 0 ? -errno : 0;
}

static int opened(long fd)
{
	int err = done(fd);

	if (!err)
		close((int)fd);
	return err;
}

/* A file in the same directory that link and rename begin with. */
static void beside(char *other, size_t size, const char *path)
{
	snprintf(other, size, "%.*s/beside", (int)(strrchr(path, '/') - path), path);
	opened(syscall(SYS_openat, AT_FDCWD, other, O_CREAT | O_WRONLY, 0666));
}

#define CREATE(name, expression)                                                                                      \
	static int create_##name(const char *path)                                                                    \
	{                                                                                                             \
		return done(expression);                                                                              \
	}
#define CREATE_OPEN(name, expression)                                                                                 \
	static int create_##name(const char *path)                                                                    \
	{                                                                                                             \
		return opened(expression);                                                                            \
	}
#define CREATE_FROM(name, expression)                                                                                 \
	static int create_##name(const char *path)                                                                    \
	{                                                                                                             \
		char other[512];                                                                                      \
                                                                                                                      \
		beside(other, sizeof(other), path);                                                                   \
		return done(expression);                                                                              \
	}

static struct open_how how_create = {.flags = O_CREAT | O_WRONLY, .mode = 0666};

CREATE_OPEN(open, syscall(SYS_open, path, O_CREAT | O_WRONLY, 0666))
CREATE_OPEN(open_excl, syscall(SYS_open, path, O_CREAT | O_EXCL | O_RDWR, 0666))
CREATE_OPEN(creat, syscall(SYS_creat, path, 0666))
CREATE_OPEN(openat, syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 0666))
CREATE_OPEN(openat2, syscall(SYS_openat2, AT_FDCWD, path, &how_create, sizeof(how_create)))
CREATE(mkdir, syscall(SYS_mkdir, path, 0777))
CREATE(mkdirat, syscall(SYS_mkdirat, AT_FDCWD, path, 0777))
CREATE(mknod, syscall(SYS_mknod, path, S_IFIFO | 0666, 0))
CREATE(mknodat, syscall(SYS_mknodat, AT_FDCWD, path, S_IFREG | 0666, 0))
CREATE(symlink, syscall(SYS_symlink, "target", path))
CREATE(symlinkat, syscall(SYS_symlinkat, "target", AT_FDCWD, path))
CREATE_FROM(link, syscall(SYS_link, other, path))
CREATE_FROM(linkat, syscall(SYS_linkat, AT_FDCWD, other, AT_FDCWD, path, 0))
CREATE_FROM(rename, syscall(SYS_rename, other, path))
CREATE_FROM(renameat, syscall(SYS_renameat, AT_FDCWD, other, AT_FDCWD, path))
CREATE_FROM(renameat2, syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, path, 0))
CREATE_FROM(rename_whiteout, syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, path, RENAME_WHITEOUT))
CREATE_FROM(rename_noreplace, syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, path, RENAME_NOREPLACE))

static int create_mkdir_slash(const char *path)
{
	char slashed[512];

	snprintf(slashed, sizeof(slashed), "%s//", path);
	return done(syscall(SYS_mkdir, slashed, 0777));
}

static int create_bind(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	err = done(bind(sock, (struct sockaddr *)&address, sizeof(address)));
	close(sock);
	return err;
}

/* A file without a name is given one. */
static int create_tmpfile(const char *path)
{
	char dir[512], fd_path[64];
	int fd, err;

	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	fd = open(dir, O_TMPFILE | O_RDWR, 0666);
	if (fd < 0)
		return errno == EOPNOTSUPP ? -ENOSYS : -errno;
	snprintf(fd_path, sizeof(fd_path), "/proc/self/fd/%d", fd);
	err = done(syscall(SYS_linkat, AT_FDCWD, fd_path, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
	close(fd);
	return err;
}

/* One request through a ring; the result of it, or of what failed before. */
static int uring(const struct io_uring_sqe *request, bool polled)
{
	struct io_uring_params params = {.flags = polled ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 100};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params), result = -EIO;
	size_t sq_size, cq_size, sqe_size = 4 * sizeof(struct io_uring_sqe);
	char *sq, *cq;
	struct io_uring_sqe *sqe;

	if (ring < 0)
		return -errno;
	sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqe = mmap(NULL, sqe_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq != MAP_FAILED && cq != MAP_FAILED && sqe != MAP_FAILED) {
		unsigned *tail = (unsigned *)(sq + params.sq_off.tail);

		sqe[0] = *request;
		((unsigned *)(sq + params.sq_off.array))[0] = 0;
		__atomic_store_n(tail, *tail + 1, __ATOMIC_SEQ_CST);
		if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS | (polled ? IORING_ENTER_SQ_WAKEUP : 0),
			    NULL, 0) < 0)
			result = -errno;
		else
			result = ((struct io_uring_cqe *)(cq + params.cq_off.cqes))[0].res;
	}
	munmap(sq, sq_size);
	munmap(cq, cq_size);
	munmap(sqe, sqe_size);
	close(ring);
	return result;
}

int bpf_uring_mkdir(const char *path, bool polled)
{
	return uring(&(struct io_uring_sqe){.opcode = IORING_OP_MKDIRAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 0777},
		     polled);
}

int bpf_uring_open(const char *path, bool polled)
{
	int fd = uring(&(struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path,
					      .len = 0666, .open_flags = O_CREAT | O_WRONLY},
		       polled);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int create_uring_mkdirat(const char *path)
{
	return bpf_uring_mkdir(path, false);
}

static int create_uring_mkdirat_sqpoll(const char *path)
{
	return bpf_uring_mkdir(path, true);
}

static int create_uring_openat(const char *path)
{
	return bpf_uring_open(path, false);
}

static int create_uring_openat_sqpoll(const char *path)
{
	return bpf_uring_open(path, true);
}

static int create_uring_openat_async(const char *path)
{
	int fd = uring(&(struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path,
					      .flags = IOSQE_ASYNC, .len = 0666, .open_flags = O_CREAT | O_WRONLY},
		       false);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int create_uring_symlinkat(const char *path)
{
	return uring(&(struct io_uring_sqe){.opcode = IORING_OP_SYMLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)"target",
					    .addr2 = (uintptr_t)path},
		     false);
}

static int create_uring_renameat(const char *path)
{
	char other[512];

	beside(other, sizeof(other), path);
	return uring(&(struct io_uring_sqe){.opcode = IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = (uintptr_t)other,
					    .len = (uint32_t)AT_FDCWD, .addr2 = (uintptr_t)path},
		     false);
}

static int create_uring_linkat(const char *path)
{
	char other[512];

	beside(other, sizeof(other), path);
	return uring(&(struct io_uring_sqe){.opcode = IORING_OP_LINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)other,
					    .len = (uint32_t)AT_FDCWD, .addr2 = (uintptr_t)path},
		     false);
}

/* A system call as 32-bit programs do it; pointers are below 4 GiB. */
static int compat(long number, long a, long b, long c, long d, long e)
{
	long result = number;

	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

/* The paths of a 32-bit call. */
static char *compat_paths(void)
{
	static char *page;

	if (!page)
		page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return page == MAP_FAILED ? NULL : page;
}

int bpf_compat_link(const char *path)
{
	char *low = compat_paths();

	if (!low)
		return -ENOMEM;
	beside(low, 512, path);
	strcpy(low + 4096, path);
	/* linkat, whose number is that of 64-bit name_to_handle_at. */
	return compat(303, AT_FDCWD, (long)low, AT_FDCWD, (long)low + 4096, 0);
}

static int create_compat_mkdir(const char *path)
{
	char *low = compat_paths();

	if (!low)
		return -ENOMEM;
	strcpy(low, path);
	return compat(39, (long)low, 0777, 0, 0, 0);
}

static int create_compat_open(const char *path)
{
	char *low = compat_paths();
	int fd;

	if (!low)
		return -ENOMEM;
	strcpy(low, path);
	fd = compat(5, (long)low, O_CREAT | O_WRONLY, 0666, 0, 0);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int create_compat_creat(const char *path)
{
	char *low = compat_paths();
	int fd;

	if (!low)
		return -ENOMEM;
	strcpy(low, path);
	fd = compat(8, (long)low, 0666, 0, 0, 0);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int write_pattern(const char *pattern)
{
	int fd = open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC | O_TRUNC);
	ssize_t n = fd < 0 ? -1 : write(fd, pattern, strlen(pattern));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -EPERM : 0;
}

int bpf_core_dump(const char *path)
{
	const struct rlimit any = {RLIM_INFINITY, RLIM_INFINITY};
	int status, err = write_pattern(path);
	pid_t child;

	if (err)
		return err;
	child = fork();
	if (!child) {
		struct stat st;

		setrlimit(RLIMIT_CORE, &any);
		/* Its last call is one that looks, at the very path. */
		stat(path, &st);
		__builtin_trap();
	}
	waitpid(child, &status, 0);
	write_pattern("core");
	return WCOREDUMP(status) ? 0 : -ENOENT;
}

#define ROW(name) {#name, create_##name}
const struct bpf_call bpf_creates[] = {
	ROW(open), ROW(open_excl), ROW(creat), ROW(openat), ROW(openat2), ROW(mkdir), ROW(mkdirat), ROW(mkdir_slash),
	ROW(mknod), ROW(mknodat), ROW(symlink), ROW(symlinkat), ROW(link), ROW(linkat), ROW(rename), ROW(renameat),
	ROW(renameat2), ROW(rename_noreplace), ROW(rename_whiteout), ROW(bind), ROW(tmpfile), ROW(uring_mkdirat), ROW(uring_mkdirat_sqpoll),
	ROW(uring_openat), ROW(uring_openat_sqpoll), ROW(uring_openat_async), ROW(uring_symlinkat), ROW(uring_renameat),
	ROW(uring_linkat), ROW(compat_mkdir), ROW(compat_open), ROW(compat_creat), {"compat_linkat", bpf_compat_link},
	{"core dump", bpf_core_dump},
};
const size_t bpf_creates_count = sizeof(bpf_creates) / sizeof(bpf_creates[0]);
