/*
 * What a keeper is told, and a table that somebody has scribbled over.  The first byte says
 * which: even, a message; odd, changes to a true table (where, 3 bytes, and what, 4 bytes).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "keeper_table.h"

#define CHANGE 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keeper_table table;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void message_try(const char *text, size_t size)
{
	struct keeper_message message;
	int old;

	if (keeper_message_parse(text, size, &message) < 0)
		return;
	must(strlen(message.name) < KEEPER_NAME_SIZE);
	must(!(message.store && message.remove) && (message.name[0] || !(message.store || message.remove)));
	keeper_table_init(&table);
	if (message.store)
		must(keeper_table_put(&table, message.name, 3, &old) == 0 && old == -1 && table.count == 1);
}

static void table_try(const uint8_t *data, size_t size)
{
	size_t length = 0;
	int old;

	memset(&table, 0, sizeof(table));
	keeper_table_init(&table);
	must(keeper_table_put(&table, "0.ctl", 3, &old) == 0 && keeper_table_put(&table, "1.fuse", 4, &old) == 0);
	for (; size >= CHANGE; data += CHANGE, size -= CHANGE) {
		size_t at = data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16;

		if (at + 4 <= sizeof(table))
			memcpy((char *)&table + at, data + 3, 4);
	}
	if (!keeper_table_good(&table, sizeof(table)))
		return;
	for (uint32_t i = 0; i < table.count; i++)
		length += strlen(table.entry[i].name);
	must(length < sizeof(table));
	keeper_table_drop(&table, "1.fuse");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		table_try(data + 1, size - 1);
	else
		message_try((const char *)data + 1, size - 1);
	return 0;
}
