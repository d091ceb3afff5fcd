/*
 * Crash points (crash.h).
 *
 * The file is opened once, at the handshake, since a thread that acts with its
 * caller's credentials later may not be allowed to.  One process writes to it at a
 * time: the next incarnation starts when this one is dead.  A process dying here
 * leaves the count taken down: SIGKILL follows the pwrite(), which is all that
 * changes the file.
 */
#include "crash.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_once_t opened = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int plan_fd = -1;

static void plan_open(void)
{
	const char *path = getenv("RELAY_CRASH_FILE");

	if (path)
		plan_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* If the line is of this point and its count is not 0: the count's place in the line and its digits. */
static bool line_matches(const char *line, const char *opcode, const char *point, int *at, int *digits,
			 unsigned long *count)
{
	char has_opcode[32], has_point[32];
	int end = 0;

	if (sscanf(line, "%31s %31s %n%lu%n", has_opcode, has_point, at, count, &end) != 3)
		return false;
	*digits = end - *at;
	return *count > 0 && strcmp(has_opcode, opcode) == 0 && strcmp(has_point, point) == 0;
}

/* Takes 1 off the first count that matches, in as many digits as it had. */
static bool plan_take(const char *opcode, const char *point, bool *hangs)
{
	char plan[4096];
	ssize_t size;
	char *line, *next;

	size = pread(plan_fd, plan, sizeof(plan) - 1, 0);
	if (size <= 0)
		return false;
	plan[size] = '\0';
	for (line = plan; *line; line = next) {
		unsigned long count;
		char text[32];
		int at, digits;

		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		if (!line_matches(line, opcode, point, &at, &digits, &count))
			continue;
		*hangs = strcmp(line + at + digits, " hang") == 0;
		snprintf(text, sizeof(text), "%0*lu", digits, count - 1);
		return pwrite(plan_fd, text, (size_t)digits, line - plan + at) == digits;
	}
	return false;
}

void relay_internal_crash_point(const char *opcode, const char *point)
{
	bool hangs;

	pthread_once(&opened, plan_open);
	if (plan_fd < 0)
		return;
	pthread_mutex_lock(&lock);
	if (plan_take(opcode, point, &hangs)) {
		if (!hangs)
			kill(getpid(), SIGKILL);
		/* With the lock held: no other thread comes past a point of its own. */
		for (;;)
			pause();
	}
	pthread_mutex_unlock(&lock);
}
