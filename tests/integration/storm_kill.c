/*
 * Kills the backend of a mount, again and again, until its standard input ends, or
 * it has been killed KILLS times:
 *
 *	storm_kill SOCKET SEED LEAST_MS MOST_MS [KILLS]
 *
 * The pauses between are random, but the same for the same seed.  Each kill is of
 * the process that relayd names right then; one that is not there (the next is on
 * its way) is no kill.  Prints the kills at the end.
 */
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"

static uint32_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 32);
}

/* True while nobody says that it is over. */
static bool pause_for(unsigned ms)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, (int)ms) == 0;
}

int main(int argc, char **argv)
{
	struct relayd r = {0};
	unsigned kills = 0;
	unsigned misses = 0;
	uint64_t state;
	unsigned least;
	unsigned most;
	unsigned long wanted;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: storm_kill SOCKET SEED LEAST_MS MOST_MS [KILLS]\n");
		return 2;
	}
	snprintf(r.socket, sizeof(r.socket), "%s", argv[1]);
	state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
	least = (unsigned)strtoul(argv[3], NULL, 10);
	most = (unsigned)strtoul(argv[4], NULL, 10);
	wanted = argc == 6 ? strtoul(argv[5], NULL, 10) : ULONG_MAX;
	while (kills < wanted && pause_for(least + next_random(&state) % (most - least + 1)))
		if (relayd_kill_backend(&r))
			kills++;
		else
			misses++;
	printf("%u %u\n", kills, misses);
	return 0;
}
