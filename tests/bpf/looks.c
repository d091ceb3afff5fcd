/*
 * What a look at a name costs: looks COUNT DIR NAME [DIR NAME]… stats each NAME COUNT times from within its
 * DIR, so that the way there costs nothing, and so 31 times over, in turns.  Prints the median of each
 * in nanoseconds, one a line.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"

#define ROUNDS 31u
#define NAMES 16

static uint64_t look(const char *dir, const char *name, unsigned long count)
{
	struct stat st;
	uint64_t start;

	if (chdir(dir) < 0)
		check_abort("%s: %s", dir, strerror(errno));
	start = check_now_ns();
	for (unsigned long i = 0; i < count; i++)
		stat(name, &st);
	return (check_now_ns() - start) / count;
}

int main(int argc, char **argv)
{
	static uint64_t ns[NAMES][ROUNDS];
	unsigned long count = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
	int names = (argc - 2) / 2;

	if (!count || argc % 2 || names < 1 || names > NAMES)
		check_abort("usage: looks COUNT DIR NAME [DIR NAME]..., of at most %d names", NAMES);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (int i = 0; i < names; i++)
			ns[i][round] = look(argv[2 + 2 * i], argv[3 + 2 * i], count);
	for (int i = 0; i < names; i++) {
		check_sort_times(ns[i], ROUNDS);
		printf("%llu\n", (unsigned long long)ns[i][ROUNDS / 2]);
	}
	return 0;
}
