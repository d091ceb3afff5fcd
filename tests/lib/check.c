/*
 * Named checks.  Output goes to standard output, unbuffered by line, so that a
 * test that is killed has shown what it came to.  Counters are the process's
 * own: a child that checks something reports it through its exit status.
 */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static unsigned count;
static unsigned failures;

static void print_result(bool ok, const char *name, va_list args)
{
	fputs(ok ? "ok " : "FAIL ", stdout);
	vprintf(name, args);
	putchar('\n');
	count++;
	failures += !ok;
}

bool check(bool ok, const char *name, ...)
{
	va_list args;

	va_start(args, name);
	print_result(ok, name, args);
	va_end(args);
	fflush(stdout);
	return ok;
}

bool check_why(bool ok, const char *name, const char *why, ...)
{
	va_list args;

	printf("%s %s\n", ok ? "ok" : "FAIL", name);
	count++;
	failures += !ok;
	if (!ok) {
		fputs("     ", stdout);
		va_start(args, why);
		vprintf(why, args);
		va_end(args);
		putchar('\n');
	}
	fflush(stdout);
	return ok;
}

void check_abort(const char *why, ...)
{
	va_list args;

	fputs("FAIL cannot go on: ", stdout);
	va_start(args, why);
	vprintf(why, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	exit(EXIT_FAILURE);
}

int check_end(void)
{
	printf("%u checks, %u failed\n", count, failures);
	fflush(stdout);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

void check_requires_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		puts("SKIP: /dev/fuse cannot be opened");
		exit(CHECK_SKIP);
	}
	close(fd);
}

unsigned check_count(void)
{
	return count;
}

unsigned check_failures(void)
{
	return failures;
}

uint64_t check_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t check_now_ms(void)
{
	return check_now_ns() / 1000000u;
}

bool check_until(bool (*until)(void *arg), void *arg, unsigned ms)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t end = check_now_ms() + ms;

	for (;;) {
		if (until(arg))
			return true;
		if (check_now_ms() >= end)
			return false;
		nanosleep(&pause, NULL);
	}
}
