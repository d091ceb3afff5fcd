/*
 * Not a test by itself: what preload.sh runs with the preload library, and without a
 * token.  Each call that the library takes from libc is checked both ways: with what
 * is the channel's, and with what is not, which has to be libc's and the kernel's.
 *
 *	preload_calls DIR
 *
 * DIR is mounted once, its INIT is answered, and it is unmounted again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/check.h"

extern char **environ;
int fsopen(const char *type, unsigned flags);
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

static bool is_kind(int fd, mode_t kind)
{
	struct stat st;
	bool is = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == kind;

	if (fd >= 0)
		close(fd);
	return is;
}

static void test_vmsplice_before(void)
{
	char byte = 'x';
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	int pipes[2];

	if (pipe(pipes) < 0)
		check_abort("no pipe");
	check(vmsplice(pipes[1], &iov, 1, 0) == 1, "vmsplice() in a program without a channel");
	close(pipes[0]);
	close(pipes[1]);
}

static void test_open(const char *dir)
{
	char path[4096], link[4096];
	int fd;

	check(is_kind(open("/dev/fuse", O_RDWR), S_IFSOCK), "open()");
	check(is_kind(open64("/dev/fuse", O_RDWR | O_CLOEXEC), S_IFSOCK), "open64()");
	check(is_kind(openat(AT_FDCWD, "/dev/fuse", O_RDWR), S_IFSOCK), "openat()");
	check(is_kind(openat64(AT_FDCWD, "/dev/fuse", O_RDWR | O_NOCTTY), S_IFSOCK), "openat64()");
	check(is_kind(__open_2("/dev/fuse", O_RDWR), S_IFSOCK), "__open_2()");
	check(is_kind(__open64_2("/dev/fuse", O_RDWR), S_IFSOCK), "__open64_2()");
	check(is_kind(__openat_2(AT_FDCWD, "/dev/fuse", O_RDWR), S_IFSOCK), "__openat_2()");
	check(is_kind(__openat64_2(AT_FDCWD, "/dev/fuse", O_RDWR), S_IFSOCK), "__openat64_2()");
	check(is_kind(open("/dev/fuse", O_RDWR | O_PATH), S_IFCHR), "O_PATH is the device's");
	check(is_kind(open("/dev/fuse", O_RDONLY), S_IFCHR), "O_RDONLY is the device's");
	check(is_kind(open("/dev/null", O_RDWR), S_IFCHR), "another device");
	snprintf(path, sizeof(path), "%s/../file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	check(fd >= 0, "a new file");
	if (fd >= 0) {
		struct stat st;

		check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640, "with its mode");
		close(fd);
	}
	snprintf(link, sizeof(link), "%s/..", dir);
	check(is_kind(open(link, O_RDWR | O_TMPFILE, 0600), S_IFREG), "O_TMPFILE");
	unlink(path);
	fd = open("/dev/fuse", O_RDWR);
	check((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0, "without O_CLOEXEC it is inherited");
	close(fd);
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	check((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "with O_CLOEXEC it is not");
	close(fd);
	errno = 0;
	check(open("/nonexistent/fuse", O_RDWR) < 0 && errno == ENOENT, "errno is libc's");
}

static void test_fsopen(void)
{
	int fd;

	errno = 0;
	check(fsopen("fuse", 0) < 0 && errno == ENOSYS, "fsopen() of fuse: the caller goes on with mount(2)");
	fd = fsopen("tmpfs", 0);
	check(fd >= 0 || errno != ENOSYS, "fsopen() of another filesystem");
	if (fd >= 0)
		close(fd);
}

/*
 * More than fits into the socket, without waiting: the device takes every reply at
 * once.  The other end is not relayd's yet, but still with the library, and has the
 * number after ours.
 */
static void test_write_without_room(void)
{
	const unsigned packets = 400;
	const size_t size = 60000;
	char *buffer = calloc(1, size);
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	unsigned got = 0, i;
	int status = 0;
	pid_t pid;

	if (!buffer)
		check_abort("no memory");
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		for (i = 0; i < packets; i++)
			if (write(fd, buffer, size) != (ssize_t)size)
				_exit(1);
		_exit(0);
	}
	close(fd);
	while (got < packets && read(fd + 1, buffer, size) == (ssize_t)size)
		got++;
	check(waitpid(pid, &status, 0) == pid && status == 0 && got == packets,
	      "O_NONBLOCK: a reply that finds no room is not lost");
	free(buffer);
}

static const char *data_of(int fd)
{
	static char data[128];

	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u", fd, getuid(), getgid());
	return data;
}

static void test_mount_refused(const char *dir)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), other;

	errno = 0;
	check(mount("x", dir, "fuseblk", MS_NODEV, data_of(fd)) < 0 && errno == ENODEV, "fuseblk is ENODEV");
	errno = 0;
	check(mount("x", "/nonexistent", "fuse", MS_NODEV, data_of(fd)) < 0 && errno == ENOENT,
	      "a directory that is not there is ENOENT");
	close(fd);
	other = open("/dev/null", O_RDWR | O_CLOEXEC);
	errno = 0;
	check(other == fd && mount("x", dir, "fuse", MS_NODEV, data_of(other)) < 0 && errno == EINVAL,
	      "a number that was the channel's is another file now: EINVAL from the kernel");
	close(other);
	check(mount("none", dir, "tmpfs", 0, "size=64k") == 0 && umount(dir) == 0, "other filesystems");
}

static bool clones_again(int master, unsigned count)
{
	uint32_t number = (uint32_t)master;
	bool good = true;

	while (count-- && good) {
		int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);

		good = ioctl(clone, FUSE_DEV_IOC_CLONE, &number) == 0;
		close(clone);
	}
	return good;
}

/* A second descriptor that is made a copy of the first, as libfuse's clone_fd does. */
static int test_clone(int master)
{
	int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint32_t number = (uint32_t)null;
	struct stat one, other;

	errno = 0;
	check(ioctl(clone, FUSE_DEV_IOC_CLONE, &number) < 0 && errno == EINVAL, "no clone of something else");
	number = (uint32_t)master;
	check(ioctl(clone, FUSE_DEV_IOC_CLONE, &number) == 0, "FUSE_DEV_IOC_CLONE");
	check(fstat(master, &one) == 0 && fstat(clone, &other) == 0 && one.st_ino == other.st_ino,
	      "the clone is the same channel");
	check((fcntl(clone, F_GETFD) & FD_CLOEXEC) != 0, "and closed on exec as it was");
	errno = 0;
	check(ioctl(clone, FUSE_DEV_IOC_CLONE, &number) < 0 && errno == EINVAL, "only a new one can be one");
	errno = 0;
	check(ioctl(null, FUSE_DEV_IOC_CLONE, &number) < 0 && errno == ENOTTY, "other ioctls are the kernel's");
	check(clones_again(master, 1000), "threads that come and go have theirs, too");
	close(null);
	return clone;
}

static void test_vmsplice_after(void)
{
	char byte = 'x';
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	int pipes[2];

	if (pipe(pipes) < 0)
		check_abort("no pipe");
	errno = 0;
	check(vmsplice(pipes[1], &iov, 1, 0) < 0 && errno == EINVAL,
	      "vmsplice() in a program with a channel is EINVAL");
	check(write(pipes[1], "ab", 2) == 2 && read(pipes[0], &byte, 1) == 1, "pipes are as ever");
	close(pipes[1]);
	check(read(pipes[0], &byte, 1) == 1 && read(pipes[0], &byte, 1) == 0, "their end of file, too");
	close(pipes[0]);
}

/* The smallest answer to INIT that there is. */
static bool init_answer(int fd, const struct fuse_in_header *in)
{
	struct fuse_out_header header = {.unique = in->unique};
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
	struct iovec iov[] = {{&header, sizeof(header)}, {&out, sizeof(out)}};

	header.len = sizeof(header) + sizeof(out);
	return writev(fd, iov, 2) == (ssize_t)header.len;
}

/* Once there is a request, the kernel has taken the INIT's answer.  An error is answer enough. */
static bool serves(int fd, const char *dir)
{
	struct {
		struct fuse_in_header in;
		char rest[65536];
	} request;
	struct fuse_out_header out = {.len = sizeof(out), .error = -EREMOTEIO};
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	int status = 0;
	bool answered;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct stat st;

		_exit(stat(dir, &st) < 0 && errno == EREMOTEIO ? 0 : 1);
	}
	answered = poll(&readable, 1, 10000) == 1 && read(fd, &request, sizeof(request)) >= (ssize_t)sizeof(request.in);
	out.unique = request.in.unique;
	answered = answered && write(fd, &out, sizeof(out)) == (ssize_t)sizeof(out);
	return waitpid(pid, &status, 0) == pid && answered && status == 0;
}

static void test_mount(const char *dir)
{
	char buffer[65536];
	struct fuse_in_header *in = (struct fuse_in_header *)buffer;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK), copy, clone;
	struct pollfd readable = {.events = POLLIN};
	ssize_t n;

	errno = 0;
	check(read(fd, buffer, sizeof(buffer)) < 0 && errno == EAGAIN, "O_NONBLOCK: nothing to read is EAGAIN");
	copy = dup(fd);
	close(fd);
	check(mount("source", dir, "fuse.test", MS_NOSUID | MS_NODEV, data_of(copy)) == 0, "mount() of a duplicate");
	clone = test_clone(copy);
	readable.fd = clone;
	check(poll(&readable, 1, 10000) == 1, "the INIT is there");
	n = read(clone, buffer, sizeof(buffer));
	check(n >= (ssize_t)sizeof(*in) && in->opcode == FUSE_INIT && in->len == (size_t)n, "and is read");
	check(init_answer(copy, in), "and answered");
	check(serves(clone, dir), "it serves");
	test_vmsplice_after();
	check(umount2(dir, MNT_DETACH) == 0, "umount2() without a token is the kernel's");
	readable.fd = copy;
	check(poll(&readable, 1, 10000) == 1, "the channel's end is there");
	errno = 0;
	check(read(copy, buffer, sizeof(buffer)) < 0 && errno == ENODEV, "and is ENODEV");
	errno = 0;
	check(readv(clone, &(struct iovec){buffer, sizeof(buffer)}, 1) < 0 && errno == ENODEV, "for every reader");
	check(read(copy, buffer, 0) == 0, "nothing of nothing is nothing");
	close(copy);
	close(clone);
}

/* What `fusermount3 -V` prints when it is started by start(). */
static bool is_stand_in(int (*start)(void))
{
	char output[256] = "";
	int pipes[2], status;
	pid_t pid;

	if (pipe(pipes) < 0)
		check_abort("no pipe");
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		_exit(start());
	}
	close(pipes[1]);
	if (read(pipes[0], output, sizeof(output) - 1) < 0)
		output[0] = '\0';
	close(pipes[0]);
	waitpid(pid, &status, 0);
	return status == 0 && strstr(output, "(relayd ");
}

static char *const version[] = {"fusermount3", "-V", NULL};

static int by_execv(void)
{
	return execv("/nonexistent/bin/fusermount3", version);
}

static int by_execve(void)
{
	return execve("/usr/bin/fusermount3", version, environ);
}

static int by_execvp(void)
{
	return execvp("fusermount3", version);
}

static int by_execvpe(void)
{
	return execvpe("fusermount", version, environ);
}

static int by_execl(void)
{
	return execl("/usr/bin/fusermount", "fusermount", "-V", NULL);
}

static int by_execlp(void)
{
	return execlp("fusermount3", "fusermount3", "-V", NULL);
}

static int by_execle(void)
{
	return execle("/bin/fusermount3", "fusermount3", "-V", NULL, environ);
}

static int by_system(void)
{
	return system("fusermount3 -V");
}

static int spawned(int err, pid_t pid)
{
	int status;

	return err || waitpid(pid, &status, 0) != pid ? 1 : status;
}

static int by_posix_spawn(void)
{
	pid_t pid = 0;
	int err = posix_spawn(&pid, "/usr/bin/fusermount3", NULL, NULL, version, environ);

	return spawned(err, pid);
}

static int by_posix_spawnp(void)
{
	pid_t pid = 0;
	int err = posix_spawnp(&pid, "fusermount3", NULL, NULL, version, environ);

	return spawned(err, pid);
}

static int by_another_name(void)
{
	return execlp("sh", "sh", "-c", "echo '(relayd fusermount3'", NULL);
}

static void test_exec(void)
{
	check(is_stand_in(by_execv), "execv()");
	check(is_stand_in(by_execve), "execve()");
	check(is_stand_in(by_execvp), "execvp()");
	check(is_stand_in(by_execvpe), "execvpe()");
	check(is_stand_in(by_execl), "execl()");
	check(is_stand_in(by_execlp), "execlp()");
	check(is_stand_in(by_execle), "execle()");
	check(is_stand_in(by_system), "system()");
	check(is_stand_in(by_posix_spawn), "posix_spawn()");
	check(is_stand_in(by_posix_spawnp), "posix_spawnp()");
	check(is_stand_in(by_another_name), "other programs are what they are");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fputs("usage: preload_calls DIR\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_vmsplice_before();
	test_exec();
	test_open(argv[1]);
	test_fsopen();
	test_write_without_room();
	test_mount_refused(argv[1]);
	test_mount(argv[1]);
	return check_end();
}
