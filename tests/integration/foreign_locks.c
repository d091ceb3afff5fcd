/*
 * Ids that lie: locks, which outlive the process that granted them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "foreign.h"

static int lock_range(int fd, int command, int type, off_t start, off_t length)
{
	struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, command, &lock);
}

/* Whether another process could have it; it does not keep it. */
static bool other_gets(struct foreign *f, off_t start, bool whole)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(foreign_path(f, "file"), O_RDWR | O_CLOEXEC);
		int result = whole ? flock(fd, LOCK_EX | LOCK_NB) : lock_range(fd, F_SETLK, F_WRLCK, start, 1);

		_exit(result == 0 ? 0 : errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK ? 1 : 2);
	}
	waitpid(pid, &status, 0);
	foreign_expect(f, WIFEXITED(status) && WEXITSTATUS(status) < 2, "another process cannot ask: %#x",
		       (unsigned)status);
	return status == 0;
}

void foreign_posix_locks(struct foreign *f)
{
	int fd;

	foreign_put(f, foreign_path(f, "file"), "locked");
	fd = open(foreign_path(f, "file"), O_RDWR | O_CLOEXEC);
	foreign_expect(f, lock_range(fd, F_SETLK, F_WRLCK, 0, 100) == 0, "F_SETLK: %s", strerror(errno));
	foreign_expect(f, lock_range(fd, F_SETLK, F_UNLCK, 40, 20) == 0, "F_UNLCK: %s", strerror(errno));
	for (int life = 0; life < 2; life++) {
		foreign_restart(f);
		foreign_expect(f, !other_gets(f, 10, false), "life %d: the lock is lost", life);
		foreign_expect(f, !other_gets(f, 70, false), "life %d: its second half is lost", life);
		foreign_expect(f, other_gets(f, 50, false), "life %d: what was unlocked is locked", life);
		foreign_expect(f, other_gets(f, 100, false), "life %d: it is longer", life);
	}
	/* It still is this process's: it may have it again, and give it up. */
	foreign_expect(f, lock_range(fd, F_SETLK, F_RDLCK, 0, 10) == 0, "F_SETLK again: %s", strerror(errno));
	foreign_expect(f, lock_range(fd, F_SETLK, F_UNLCK, 0, 0) == 0, "F_UNLCK: %s", strerror(errno));
	foreign_expect(f, other_gets(f, 70, false), "it is not given up");
	foreign_expect(f, lock_range(fd, F_SETLK, F_WRLCK, 0, 0) == 0, "F_SETLK: %s", strerror(errno));
	foreign_restart(f);
	close(fd);
	foreign_restart(f);
	foreign_expect(f, other_gets(f, 5, false), "closing has not given it up");
}

void foreign_flocks(struct foreign *f)
{
	int fd;

	foreign_put(f, foreign_path(f, "file"), "locked");
	fd = open(foreign_path(f, "file"), O_RDWR | O_CLOEXEC);
	foreign_expect(f, flock(fd, LOCK_EX) == 0, "flock: %s", strerror(errno));
	foreign_restart(f);
	foreign_expect(f, !other_gets(f, 0, true), "the lock is lost");
	foreign_restart(f);
	foreign_expect(f, !other_gets(f, 0, true), "the lock is lost a life later");
	foreign_expect(f, flock(fd, LOCK_UN) == 0, "LOCK_UN: %s", strerror(errno));
	foreign_expect(f, other_gets(f, 0, true), "it is not given up");
	close(fd);
}

/* True when the process sits in fcntl(). */
static bool waits_for_lock(void *arg)
{
	char path[64];
	long number = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", *(const pid_t *)arg);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%ld", &number) != 1)
		number = -1;
	fclose(file);
	return number == SYS_fcntl;
}

/* Who waits for a lock goes on waiting in the next life, and gets it there. */
void foreign_waiting_lock(struct foreign *f)
{
	int status;
	pid_t pid;
	int fd;

	foreign_put(f, foreign_path(f, "file"), "locked");
	fd = open(foreign_path(f, "file"), O_RDWR | O_CLOEXEC);
	foreign_expect(f, lock_range(fd, F_SETLK, F_WRLCK, 0, 10) == 0, "F_SETLK: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		int other = open(foreign_path(f, "file"), O_RDWR | O_CLOEXEC);

		_exit(lock_range(other, F_SETLKW, F_WRLCK, 5, 1) != 0);
	}
	foreign_expect(f, check_until(waits_for_lock, &pid, 5000), "nobody waits");
	foreign_restart(f);
	foreign_restart(f);
	foreign_expect(f, waitpid(pid, &status, WNOHANG) == 0, "it has got what is another's");
	foreign_expect(f, lock_range(fd, F_SETLK, F_UNLCK, 0, 10) == 0, "F_UNLCK: %s", strerror(errno));
	waitpid(pid, &status, 0);
	foreign_expect(f, status == 0, "who waited: %#x", (unsigned)status);
	close(fd);
}
