/*
 * Named checks.  Output goes to standard output, unbuffered by line, so that a
 * test that is killed has shown what it came to.  Counters are the process's
 * own: a child that checks something reports it through its exit status.
 */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "relay/fuse_abi.h"

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

/* The kernel's side of INIT, which is all that this mount ever sees: 0 if there is none. */
static unsigned fuse_minor_ask(int fd, const char *dir)
{
	static uint8_t request[FUSE_MIN_READ_BUFFER];
	struct fuse_init_in in = {0};
	char options[64];
	ssize_t size;

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("check", dir, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		return 0;
	size = read(fd, request, sizeof(request));
	umount2(dir, MNT_DETACH);
	if (size >= (ssize_t)(sizeof(struct fuse_in_header) + 2 * sizeof(uint32_t)))
		memcpy(&in, request + sizeof(struct fuse_in_header), 2 * sizeof(uint32_t));
	return in.minor;
}

unsigned check_fuse_minor(void)
{
	static unsigned minor;
	char dir[] = "/tmp/relayd-check.XXXXXX";
	int fd;

	if (minor)
		return minor;
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0 && mkdtemp(dir)) {
		minor = fuse_minor_ask(fd, dir);
		rmdir(dir);
	}
	if (fd >= 0)
		close(fd);
	if (!minor)
		check_abort("the kernel does not say which FUSE it speaks");
	return minor;
}

bool check_fuse_has(unsigned minor, const char *name)
{
	if (check_fuse_minor() >= minor)
		return true;
	printf("SKIP %s: came with FUSE 7.%u, this kernel speaks 7.%u\n", name, minor, check_fuse_minor());
	fflush(stdout);
	return false;
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

static int compare_times(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void check_sort_times(uint64_t *times, unsigned n)
{
	qsort(times, n, sizeof(*times), compare_times);
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
