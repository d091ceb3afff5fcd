/*
 * The kill matrix: scenarios of locks.  That a lock is held is asked by a second
 * process, after the death.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../lib/check.h"
#include "matrix.h"

static void one_file(void)
{
	place_put("f", "locked");
}

static int lock_range(int fd, int command, int type, off_t start, off_t length)
{
	struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, command, &lock);
}

#define SEEN_FREE "---------"

/* What another process is told about the ranges, as letters: - free, r, w; and of flock(): - or F. */
static void locks_look(char seen[sizeof(SEEN_FREE)])
{
	int fds[2];
	int status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		int fd = open("f", O_RDWR | O_CLOEXEC);

		for (int i = 0; i < 8; i++) {
			struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i * 10, .l_len = 10};

			if (fcntl(fd, F_GETLK, &lock) < 0)
				seen[i] = '?';
			else
				seen[i] = lock.l_type == F_UNLCK ? '-' : lock.l_type == F_RDLCK ? 'r' : 'w';
		}
		seen[8] = flock(fd, LOCK_EX | LOCK_NB) == 0 ? '-' : 'F';
		/* Its end would take it back later than the next look may be; and waiting is another opcode. */
		if (seen[8] == '-')
			flock(fd, LOCK_UN | LOCK_NB);
		_exit(write(fds[1], seen, 9) != 9);
	}
	close(fds[1]);
	if (read(fds[0], seen, 9) != 9)
		strcpy(seen, "nothing");
	seen[9] = '\0';
	close(fds[0]);
	waitpid(pid, &status, 0);
}

static void show_locks(struct place *place)
{
	char seen[sizeof(SEEN_FREE)];

	locks_look(seen);
	text_add(&place->log, "locks: %s\n", seen);
}

/*
 * The same where all are to be free.  Those of an open file go with its RELEASE, which close()
 * does not wait for and which may be served after what is asked next.
 */
static void show_locks_freed(struct place *place)
{
	time_t deadline = time(NULL) + 10;
	char seen[sizeof(SEEN_FREE)];

	do
		locks_look(seen);
	while (strcmp(seen, SEEN_FREE) != 0 && time(NULL) < deadline);
	text_add(&place->log, "locks: %s\n", seen);
}

static void set_lock(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, lock_range(fd, F_SETLK, F_WRLCK, 10, 30));
	show_locks(place);
	TRY(place, lock_range(fd, F_SETLK, F_RDLCK, 20, 10));
	show_locks(place);
	TRY(place, close(fd));
	show_locks(place);
}

static void unset_lock(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, lock_range(fd, F_SETLK, F_WRLCK, 0, 80));
	place_arm(place);
	TRY(place, lock_range(fd, F_SETLK, F_UNLCK, 20, 10));
	show_locks(place);
	TRY(place, close(fd));
	show_locks(place);
}

/* Runs with a second process that holds a write lock on 10 to 19 until told. */
static void beside_holder(struct place *place, void (*run)(struct place *place, int fd, int told))
{
	char byte;
	int status;
	int pair[2];
	int fd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		fd = open("f", O_RDWR | O_CLOEXEC);
		if (lock_range(fd, F_SETLK, F_WRLCK, 10, 10) < 0 || write(pair[1], "x", 1) != 1)
			_exit(1);
		/* The end of the socket also is a word. */
		if (read(pair[1], &byte, 1) < 0)
			_exit(2);
		_exit(lock_range(fd, F_SETLK, F_UNLCK, 10, 10) < 0);
	}
	close(pair[1]);
	fd = open("f", O_RDWR | O_CLOEXEC);
	if (read(pair[0], &byte, 1) != 1)
		text_add(&place->log, "the holder has no lock\n");
	run(place, fd, pair[0]);
	close(pair[0]);
	waitpid(pid, &status, 0);
	text_add(&place->log, "holder: %#x\n", (unsigned)status);
	TRY(place, close(fd));
	show_locks(place);
}

static void refused(struct place *place, int fd, int told)
{
	(void)told;
	place_arm(place);
	TRY(place, lock_range(fd, F_SETLK, F_WRLCK, 15, 1));
	TRY(place, lock_range(fd, F_SETLK, F_RDLCK, 10, 1));
	TRY(place, lock_range(fd, F_SETLK, F_WRLCK, 30, 5));
	show_locks(place);
}

static void set_lock_refused(struct place *place)
{
	beside_holder(place, refused);
}

static void asked(struct place *place, int fd, int told)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};

	(void)told;
	place_arm(place);
	TRY(place, fcntl(fd, F_GETLK, &lock));
	text_add(&place->log, "type %d start %lld length %lld\n", lock.l_type, (long long)lock.l_start,
		 (long long)lock.l_len);
	lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 30, .l_len = 5};
	TRY(place, fcntl(fd, F_GETLK, &lock));
	text_add(&place->log, "type %d\n", lock.l_type);
}

static void get_lock(struct place *place)
{
	beside_holder(place, asked);
}

/* True when the process sits in fcntl(): it waits for its lock. */
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

static void waited(struct place *place, int fd, int told)
{
	int status;
	int fds[2];
	int hold[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 || pipe2(hold, O_CLOEXEC) < 0)
		abort();
	place_arm(place);
	pid = fork();
	if (pid == 0) {
		int result = lock_range(fd, F_SETLKW, F_WRLCK, 15, 10);

		if (write(fds[1], result == 0 ? "+" : "-", 1) != 1)
			_exit(3);
		/* It holds its lock until the other end of this is closed. */
		close(fds[1]);
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) < 0);
	}
	close(fds[1]);
	close(hold[0]);
	text_add(&place->log, "waits: %d\n", check_until(waits_for_lock, &pid, 5000));
	/* The holder's end: it unlocks, and the waiter has the lock. */
	if (write(told, "x", 1) != 1 || read(fds[0], &byte, 1) != 1)
		byte = '?';
	text_add(&place->log, "waiter: %c\n", byte);
	close(fds[0]);
	show_locks(place);
	close(hold[1]);
	waitpid(pid, &status, 0);
	text_add(&place->log, "waiter ended: %#x\n", (unsigned)status);
}

static void wait_for_lock(struct place *place)
{
	beside_holder(place, waited);
}

static void wait_for_free_lock(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, lock_range(fd, F_SETLKW, F_WRLCK, 0, 10));
	show_locks(place);
	TRY(place, lock_range(fd, F_SETLKW, F_RDLCK, 0, 5));
	TRY(place, close(fd));
	show_locks(place);
}

static void flock_file(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);
	int other = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, flock(fd, LOCK_EX | LOCK_NB));
	show_locks(place);
	TRY(place, flock(other, LOCK_SH | LOCK_NB));
	TRY(place, flock(fd, LOCK_UN));
	TRY(place, flock(other, LOCK_SH | LOCK_NB));
	show_locks(place);
	TRY(place, close(fd));
	TRY(place, close(other));
	show_locks_freed(place);
}

static void flock_waiting(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, flock(fd, LOCK_EX));
	show_locks(place);
	TRY(place, close(fd));
	show_locks_freed(place);
}

/* Whatever the backend dies of: a lock that was there is there. */
static void flush_beside_lock(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);
	int other = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, flock(other, LOCK_EX));
	TRY(place, lock_range(other, F_OFD_SETLK, F_WRLCK, 40, 10));
	place_arm(place);
	TRY(place, close(fd));
	show_locks(place);
	TRY(place, close(other));
	show_locks_freed(place);
}

const struct matrix_scenario matrix_locks[] = {
	{.opcode = "GETLK", .what = "", .setup = one_file, .run = get_lock},
	{.opcode = "SETLK", .what = "", .setup = one_file, .run = set_lock},
	{.opcode = "SETLK", .what = "F_UNLCK", .setup = one_file, .run = unset_lock},
	{.opcode = "SETLK", .what = "EAGAIN", .setup = one_file, .run = set_lock_refused},
	{.opcode = "SETLK", .what = "flock", .setup = one_file, .run = flock_file},
	{.opcode = "SETLKW", .what = "", .setup = one_file, .run = wait_for_free_lock},
	{.opcode = "SETLKW", .what = "that waits", .setup = one_file, .run = wait_for_lock},
	{.opcode = "SETLKW", .what = "flock", .setup = one_file, .run = flock_waiting},
	{.opcode = "FLUSH", .what = "beside locks", .setup = one_file, .run = flush_beside_lock},
	{.opcode = NULL},
};
