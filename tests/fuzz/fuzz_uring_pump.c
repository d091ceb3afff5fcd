/*
 * What a backend, and the kernel, can do to a queue of the keeper's: it has at most one
 * command per entry under way, and commits a request that the kernel has brought once.
 *
 * An input is pairs of bytes: what happens, and to which entry.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fake_ring.h"
#include "uring/commands.h"
#include "uring/pump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool what)
{
	if (!what)
		abort();
}

static struct relay_rings_map map;
static struct fake_ring fake;
static struct pump pump;

/* What the kernel knows. */
static bool submitted[RELAY_RING_DEPTH];
static uint64_t had[RELAY_RING_DEPTH];

static void commands_take(void)
{
	struct fake_command command;

	while (fake_ring_submitted(&fake, &command)) {
		uint64_t i = command.user_data;

		need(i < RELAY_RING_DEPTH && !submitted[i] && command.queue == 1);
		if (command.op == COMMAND_REGISTER) {
			need(command.len == 2);
		} else {
			need(command.op == COMMAND_COMMIT_AND_FETCH && had[i] && command.commit_id == had[i]);
			had[i] = 0;
		}
		submitted[i] = true;
	}
}

static void step(uint8_t what, uint32_t i, uint64_t unique)
{
	_Atomic uint32_t *state = relay_ring_state(&map, RELAY_RING_DEPTH + i);

	switch (what % 5) {
	case 0: /* a request comes */
		if (!submitted[i])
			return;
		submitted[i] = false;
		had[i] = unique;
		relay_ring_header(&map, RELAY_RING_DEPTH + i)->commit_id = unique;
		fake_ring_complete(&fake, i, 0);
		/* Before anybody can write there. */
		pump_requests(&pump);
		break;
	case 1: /* a command fails */
		if (!submitted[i])
			return;
		submitted[i] = false;
		fake_ring_complete(&fake, i, what & 0x80 ? -ENOENT : -ECONNABORTED);
		pump_requests(&pump);
		break;
	case 2:
		atomic_store(state, what);
		break;
	case 3:
		atomic_store(state, RELAY_RING_ANSWERED);
		break;
	case 4:
		relay_ring_header(&map, RELAY_RING_DEPTH + i)->commit_id = what;
		break;
	}
	pump_answers(&pump);
	commands_take();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t unique = 0;

	if (!map.rings) {
		int fd = relay_rings_make(2);

		need(fd >= 0 && relay_rings_map(&map, fd) == 0);
	}
	for (uint32_t i = 0; i < RELAY_RING_DEPTH; i++)
		atomic_store(relay_ring_state(&map, RELAY_RING_DEPTH + i), RELAY_RING_KERNEL);
	memset(submitted, 0, sizeof(submitted));
	memset(had, 0, sizeof(had));
	pump_init(&pump, &map, 1);
	fake_ring_init(&fake, &pump.ring);
	pump_register(&pump);
	commands_take();
	for (; size >= 2; data += 2, size -= 2)
		step(data[0], data[1] % RELAY_RING_DEPTH, unique += 2);
	return 0;
}
