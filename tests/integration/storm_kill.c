/*
 * Kills the backend of a mount, its relayd, both, or the keeper, again and again, until its
 * standard input ends, or so many times:
 *
 *	storm_kill SOCKET SEED LEAST_MS MOST_MS [KILLS [backend]]
 *
 * With `backend` that alone.
 *
 * The pauses between and what is killed are random, but the same for the same seed; the tenth
 * kill is the keeper's.  Each kill is of the process that relayd names right then; one that is
 * not there (the next is on its way) is no kill.  After the keeper's death the next kill waits
 * until its heir has everything: the death of both is the end of the mount.
 *
 * Prints the kills at the end: of backends, relayd, both, the keeper; and those that were none.
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

enum target {
	TARGET_BACKEND,
	TARGET_RELAYD,
	TARGET_BOTH,
	TARGET_KEEPER,
	TARGETS,
};

static enum target target_choose(uint64_t *state, unsigned kills)
{
	unsigned turn = next_random(state) % 20;

	if (kills == 9 || turn == 19)
		return TARGET_KEEPER;
	return turn < 11 ? TARGET_BACKEND : turn < 17 ? TARGET_RELAYD : TARGET_BOTH;
}

/* Returns the pid of what was killed, 0 if there was nothing. */
static pid_t target_kill(const struct relayd *r, enum target target)
{
	pid_t pid;

	if (target == TARGET_BACKEND)
		return relayd_kill_backend(r);
	if (target != TARGET_KEEPER)
		return relayd_kill(r, target == TARGET_BOTH);
	pid = relayd_kill_keeper(r);
	if (pid < 0)
		check_abort("no heir of the keeper has come");
	return pid;
}

int main(int argc, char **argv)
{
	struct relayd r = {0};
	unsigned of[TARGETS] = {0};
	unsigned kills = 0;
	unsigned misses = 0;
	enum target target;
	uint64_t state;
	unsigned least;
	unsigned most;
	unsigned long wanted;

	if (argc < 5 || argc > 7 || (argc == 7 && strcmp(argv[6], "backend") != 0)) {
		fprintf(stderr, "usage: storm_kill SOCKET SEED LEAST_MS MOST_MS [KILLS [backend]]\n");
		return 2;
	}
	snprintf(r.socket, sizeof(r.socket), "%s", argv[1]);
	state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
	least = (unsigned)strtoul(argv[3], NULL, 10);
	most = (unsigned)strtoul(argv[4], NULL, 10);
	wanted = argc > 5 ? strtoul(argv[5], NULL, 10) : ULONG_MAX;
	while (kills < wanted && pause_for(least + next_random(&state) % (most - least + 1))) {
		target = argc == 7 ? TARGET_BACKEND : target_choose(&state, kills);
		if (target_kill(&r, target) == 0) {
			misses++;
			continue;
		}
		of[target]++;
		kills++;
	}
	printf("%u %u %u %u %u\n", of[TARGET_BACKEND], of[TARGET_RELAYD], of[TARGET_BOTH], of[TARGET_KEEPER], misses);
	return 0;
}
