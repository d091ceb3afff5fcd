/*
 * Does in a backend's place what one that has gone mad could do with what it has of the lane
 * `uring`:
 *
 *	uring_meddle PID kicks		reads from the eventfds do not wait any more, and they are full
 *	uring_meddle PID rings SEED	writes nonsense all over the rings
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/check.h"
#include "relay/rings.h"

#define WRITES 200000u
#define FILLINGS 1000u

static void kick_meddle(int fd)
{
	const uint64_t most = UINT64_MAX - 1;

	fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	/* Full is what it is meanwhile: who reads it takes all. */
	for (unsigned i = 0; i < FILLINGS; i++)
		if (write(fd, &most, sizeof(most)) < 0)
			sched_yield();
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void rings_meddle(int fd, uint64_t seed)
{
	uint64_t state = seed * 2654435761u + 88172645463325252u;
	struct relay_rings_map map;

	if (relay_rings_map(&map, fd))
		check_abort("these are no rings");
	for (unsigned i = 0; i < WRITES; i++) {
		uint64_t random = next_random(&state);
		uint32_t entry = (uint32_t)(random >> 32) % relay_rings_entries(&map);
		struct relay_ring_header *header = relay_ring_header(&map, entry);
		struct relay_ring_queue *queue = relay_ring_queue(&map, entry / RELAY_RING_DEPTH);
		uint64_t what = next_random(&state);

		switch (random % 8) {
		case 0:
			atomic_store(&queue->waiters, (uint32_t)what);
			break;
		case 1:
			atomic_store(&queue->wake, (uint32_t)what);
			break;
		case 2:
		case 3:
			atomic_store(relay_ring_state(&map, entry), what % 8 ? (uint32_t)what % 4 : (uint32_t)what);
			break;
		case 4:
			header->commit_id = what % 2 ? what % 4096 * 2 : what;
			break;
		case 5:
			header->payload_size = (uint32_t)what;
			break;
		default:
			memcpy(header->in_out + what % (sizeof(header->in_out) + sizeof(header->op_in) - 8), &what, 8);
		}
	}
	relay_rings_unmap(&map);
}

/* All eventfds of the backend's. */
static bool kicks_find(const char *pid)
{
	int backend = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
	char directory[32], path[300], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(directory, sizeof(directory), "/proc/%s/fd", pid);
	dir = opendir(directory);
	while (dir && (entry = readdir(dir))) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		memset(target, 0, sizeof(target));
		if (readlink(path, target, sizeof(target) - 1) <= 0 || strcmp(target, "anon_inode:[eventfd]") != 0)
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, backend, atoi(entry->d_name), 0);
		if (fd < 0)
			check_abort("descriptor %s of process %s: %m", entry->d_name, pid);
		kick_meddle(fd);
		close(fd);
		found = true;
	}
	if (dir)
		closedir(dir);
	close(backend);
	return found;
}

/* The rings are mapped, and their descriptor is closed. */
static bool rings_find(const char *pid, uint64_t seed)
{
	char path[64], line[512], range[40];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	while (maps && !found && fgets(line, sizeof(line), maps)) {
		int fd;

		if (!strstr(line, "/memfd:relayd-rings") || sscanf(line, "%39s", range) != 1)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/map_files/%s", pid, range);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			check_abort("%s: %m", path);
		rings_meddle(fd, seed);
		close(fd);
		found = true;
	}
	if (maps)
		fclose(maps);
	return found;
}

int main(int argc, char **argv)
{
	bool rings = argc == 4 && strcmp(argv[2], "rings") == 0;

	if (!rings && !(argc == 3 && strcmp(argv[2], "kicks") == 0)) {
		fprintf(stderr, "usage: uring_meddle PID kicks | rings SEED\n");
		return 2;
	}
	if (!(rings ? rings_find(argv[1], strtoull(argv[3], NULL, 10)) : kicks_find(argv[1])))
		check_abort("process %s has none", argv[1]);
	return 0;
}
