/*
 * What a look at a name costs: looks COUNT PATH… stats each path COUNT times, eleven times over, in
 * turns, and prints the median of each in nanoseconds, one a line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../lib/check.h"

#define ROUNDS 11u
#define PATHS 16

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t look(const char *path, unsigned long count)
{
	uint64_t start = check_now_ns();
	struct stat st;

	for (unsigned long i = 0; i < count; i++)
		stat(path, &st);
	return (check_now_ns() - start) / count;
}

int main(int argc, char **argv)
{
	static uint64_t ns[PATHS][ROUNDS];
	unsigned long count = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;

	if (!count || argc - 2 > PATHS)
		check_abort("usage: looks COUNT PATH...");
	for (unsigned round = 0; round < ROUNDS; round++)
		for (int i = 2; i < argc; i++)
			ns[i - 2][round] = look(argv[i], count);
	for (int i = 0; i < argc - 2; i++) {
		qsort(ns[i], ROUNDS, sizeof(ns[i][0]), by_size);
		printf("%llu\n", (unsigned long long)ns[i][ROUNDS / 2]);
	}
	return 0;
}
