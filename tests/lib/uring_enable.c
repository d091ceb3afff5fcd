/*
 * Whoever has it on shares a lock on one file, in which the first has written what it was;
 * who finds nobody else there at the end puts that back.  Each does either with the
 * lock of another file.
 */
#include "uring_enable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define PARAMETER "/sys/module/fuse/parameters/enable_uring"
#define USERS "/tmp/relayd-test-uring.users"
#define TURN "/tmp/relayd-test-uring.turn"

static int users = -1;
static pid_t owner;

static int turn_take(void)
{
	int fd = open(TURN, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		flock(fd, LOCK_EX);
	return fd;
}

static int parameter_read(char *value)
{
	int fd = open(PARAMETER, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (read(fd, value, 1) != 1)
		err = -EIO;
	close(fd);
	return err;
}

static int parameter_write(char value)
{
	int fd = open(PARAMETER, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, &value, 1) != 1)
		err = -errno;
	close(fd);
	return err;
}

static void restore(void)
{
	char before;
	int turn;

	if (getpid() != owner)
		return;
	turn = turn_take();
	flock(users, LOCK_UN);
	if (flock(users, LOCK_EX | LOCK_NB) == 0 && pread(users, &before, 1, 0) == 1) {
		parameter_write(before);
		if (ftruncate(users, 0) < 0)
			abort();
	}
	close(users);
	close(turn);
}

int uring_enable(void)
{
	char before;
	int turn, err = parameter_read(&before);

	if (err || users >= 0)
		return err;
	turn = turn_take();
	users = open(USERS, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (turn < 0 || users < 0)
		return -errno;
	/* What a test left that was killed counts for nothing if nobody is there. */
	if (flock(users, LOCK_EX | LOCK_NB) == 0 && pwrite(users, &before, 1, 0) != 1)
		err = -EIO;
	flock(users, LOCK_SH);
	if (!err)
		err = parameter_write('Y');
	owner = getpid();
	atexit(restore);
	close(turn);
	return err;
}
