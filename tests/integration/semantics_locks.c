/*
 * Locks: POSIX, open file description and flock, within a process and between
 * two.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int lock_range(int fd, int command, int type, off_t start, off_t length)
{
	struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, command, &lock);
}

/* Who else holds something against a lock of that type there. */
static void show_holder(struct text *out, int fd, int type, off_t start, off_t length)
{
	struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	int result = fcntl(fd, F_GETLK, &lock);

	text_add(out, "F_GETLK %s", text_result(result));
	if (result == 0)
		text_add(out, " type %d start %lld length %lld%s", lock.l_type, (long long)lock.l_start,
			 (long long)lock.l_len, lock.l_type != F_UNLCK && lock.l_pid == getppid() ? " of the parent" : "");
	text_add(out, "\n");
}

/* Runs in a child what it is to see, and adds its transcript. */
static void in_child(struct text *out, void (*run)(struct text *, int), int fd)
{
	struct text theirs = {0};
	char buffer[4096];
	ssize_t got;
	int fds[2];
	int status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		exit(118);
	pid = fork();
	if (pid == 0) {
		run(&theirs, fd);
		_exit(write(fds[1], text_get(&theirs), theirs.size) != (ssize_t)theirs.size);
	}
	close(fds[1]);
	while ((got = read(fds[0], buffer, sizeof(buffer))) > 0)
		text_add(out, "%.*s", (int)got, buffer);
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (status)
		text_add(out, "child: wait status %#x\n", (unsigned)status);
}

static void child_posix(struct text *out, int fd)
{
	show_holder(out, fd, F_WRLCK, 0, 0);
	show_holder(out, fd, F_RDLCK, 0, 0);
	show_holder(out, fd, F_WRLCK, 25, 1);
	show_holder(out, fd, F_WRLCK, 95, 10);
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 10, 1));
	TRY(out, lock_range(fd, F_SETLK, F_RDLCK, 50, 10));
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 50, 10));
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 30, 5));
	TRY(out, lock_range(fd, F_SETLK, F_UNLCK, 0, 0));
	TRY(out, flock(fd, LOCK_EX | LOCK_NB));
}

static void posix_locks(struct text *out)
{
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int readonly = open("f", O_RDONLY | O_CLOEXEC);
	int twin;

	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 0, 20));
	TRY(out, lock_range(fd, F_SETLK, F_RDLCK, 40, 60));
	in_child(out, child_posix, fd);
	TRY(out, lock_range(fd, F_SETLK, F_UNLCK, 5, 5));
	TRY(out, lock_range(fd, F_SETLK, F_RDLCK, 15, 30)); /* downgrade, and join */
	in_child(out, child_posix, fd);
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 0, 0));
	in_child(out, child_posix, fd);
	TRY(out, lock_range(readonly, F_SETLK, F_WRLCK, 0, 1));
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, -1, 1));
	TRY(out, lock_range(fd, F_SETLK, 99, 0, 1));
	twin = open("f", O_RDWR | O_CLOEXEC);
	close(twin); /* any close of the file by the process drops all its locks */
	in_child(out, child_posix, fd);
	close(fd);
	close(readonly);
}

static void child_flock(struct text *out, int fd)
{
	int own = open("f", O_RDWR | O_CLOEXEC);

	(void)fd;
	TRY(out, flock(own, LOCK_SH | LOCK_NB));
	TRY(out, flock(own, LOCK_EX | LOCK_NB));
	TRY(out, flock(own, LOCK_UN));
	TRY(out, lock_range(own, F_SETLK, F_WRLCK, 0, 0));
	TRY(out, lock_range(own, F_OFD_SETLK, F_RDLCK, 0, 5));
	TRY(out, lock_range(own, F_OFD_SETLK, F_WRLCK, 0, 5));
	/* Not left to the RELEASE, which may come when the next one tries. */
	TRY(out, lock_range(own, F_OFD_SETLK, F_UNLCK, 0, 0));
	close(own);
}

static void whole_file_locks(struct text *out)
{
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int twin = dup(fd);

	TRY(out, flock(fd, LOCK_SH));
	in_child(out, child_flock, fd);
	TRY(out, flock(twin, LOCK_EX | LOCK_NB));
	in_child(out, child_flock, fd);
	close(twin);
	in_child(out, child_flock, fd);
	TRY(out, flock(fd, LOCK_UN));
	in_child(out, child_flock, fd);
	TRY(out, flock(fd, LOCK_EX));
	close(fd);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	/* FUSE sends the RELEASE that ends the other's lock, and waits for no answer: close(2) may be first. */
	TRY(out, flock(fd, LOCK_EX));
	TRY(out, flock(fd, 77));
	close(fd);
}

static void description_locks(struct text *out)
{
	int a = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int b = open("f", O_RDWR | O_CLOEXEC);

	TRY(out, lock_range(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	TRY(out, lock_range(b, F_OFD_SETLK, F_WRLCK, 5, 10));
	TRY(out, lock_range(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	TRY(out, lock_range(b, F_SETLK, F_RDLCK, 0, 5));
	in_child(out, child_flock, a);
	TRY(out, lock_range(a, F_OFD_SETLK, F_UNLCK, 0, 0));
	TRY(out, lock_range(b, F_OFD_SETLK, F_WRLCK, 0, 0));
	close(b);
	/* Its RELEASE, which nobody waits for, ends its lock. */
	TRY(out, lock_range(a, F_OFD_SETLKW, F_WRLCK, 0, 0));
	close(a);
}

static int gate[2];

/* Holds a lock until the other has tried for it, then lets go. */
static void child_holder(struct text *out, int fd)
{
	char byte;

	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 0, 10));
	if (write(gate[1], "x", 1) != 1)
		exit(117);
	/* F_GETLK of a waiter shows nothing: wait for the parent's own word. */
	while (read(gate[1], &byte, 1) < 0 && errno == EINTR)
		;
	TRY(out, lock_range(fd, F_SETLK, F_UNLCK, 0, 10));
}

static void on_alarm(int number)
{
	(void)number;
}

static void waiting(struct text *out)
{
	struct sigaction action = {.sa_handler = on_alarm};
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct text theirs = {0};
	char byte;
	int status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) < 0)
		exit(118);
	sigaction(SIGALRM, &action, NULL);
	pid = fork();
	if (pid == 0) {
		child_holder(&theirs, fd);
		_exit(0);
	}
	if (read(gate[0], &byte, 1) != 1)
		exit(117);
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 0, 10));
	/* A signal ends the wait, and nothing is locked by it. */
	ualarm(100000, 0);
	TRY(out, lock_range(fd, F_SETLKW, F_WRLCK, 5, 10));
	if (write(gate[0], "x", 1) != 1)
		exit(117);
	TRY(out, lock_range(fd, F_SETLKW, F_WRLCK, 5, 10));
	waitpid(pid, &status, 0);
	in_child(out, child_posix, fd);
	close(fd);
}

/* Each of two processes wants what the other has: one is told EDEADLK. */
static void deadlock(struct text *out)
{
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	char byte;
	int status;
	int mine;
	int error;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) < 0)
		exit(118);
	TRY(out, lock_range(fd, F_SETLK, F_WRLCK, 0, 1));
	pid = fork();
	if (pid == 0) {
		int theirs = lock_range(fd, F_SETLK, F_WRLCK, 1, 1);

		if (write(gate[1], "x", 1) != 1)
			_exit(99);
		theirs |= lock_range(fd, F_SETLKW, F_WRLCK, 0, 1);
		_exit(theirs == 0 ? 0 : errno);
	}
	if (read(gate[0], &byte, 1) != 1)
		exit(117);
	mine = lock_range(fd, F_SETLKW, F_WRLCK, 1, 1);
	error = errno;
	if (mine < 0)
		lock_range(fd, F_SETLK, F_UNLCK, 0, 0);
	waitpid(pid, &status, 0);
	/* Which of the two it is, is a matter of who came last. */
	text_add(out, "one of two: %d\n", (mine < 0) != (WEXITSTATUS(status) != 0));
	text_add(out, "with %s\n", text_errno(mine < 0 ? error : WEXITSTATUS(status)));
	close(fd);
}

const struct semantics_check semantics_locks[] = {
	{"POSIX locks", NULL, posix_locks},
	{"flock", NULL, whole_file_locks},
	{"locks of open file descriptions", NULL, description_locks},
	{"waiting for a lock", NULL, waiting},
	{"deadlock of locks", NULL, deadlock},
	{NULL, NULL, NULL},
};
