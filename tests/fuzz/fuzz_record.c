/*
 * A mount's record that somebody has scribbled over: it is refused, or what it says can be
 * read.  The input is a list of changes: where (2 bytes), and what 4 bytes there are made.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record.h"

#define CHANGE 6u
#define ROOM 128u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *words[] = {"fsserver", "--source", NULL};
static const uint32_t parts[RECORD_PARTS] = {1, 2, 3, 4, 5};
static char *variables[] = {"PATH=/bin", NULL};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static size_t words_read(char *const *list)
{
	size_t length = 0;

	for (; list && *list; list++)
		length += strlen(*list) + 1;
	return length;
}

static void record_try(const struct record *record)
{
	struct record_facts facts;
	struct record_texts texts;
	size_t length;
	void *block;

	if (record_read(record, &facts, &texts, &block) < 0)
		return;
	must(texts.text[RECORD_NAME] && texts.text[RECORD_DIRECTORY]);
	must(facts.init_size <= sizeof(facts.init));
	length = words_read(texts.words) + words_read(texts.variables);
	for (unsigned i = 0; i < RECORD_TEXTS; i++)
		length += texts.text[i] ? strlen(texts.text[i]) + 1 : 0;
	must(length == facts.text_size);
	free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct record_facts facts = {.flags = RECORD_MOUNTED | RECORD_HAS_COMMAND, .init_size = 104};
	const struct record_texts texts = {
		.text = {[RECORD_NAME] = "n", [RECORD_DIRECTORY] = "/", [RECORD_MOUNTPOINT] = "/mnt"},
		.words = words,
		.variables = variables,
	};
	struct record record, again;
	int fd;

	must(record_init(&record, ROOM, parts) == 0 && record_write(&record, &facts, &texts) == 0);
	/* The counters in the midst are nobody's to believe. */
	for (; size >= CHANGE; data += CHANGE, size -= CHANGE) {
		uint64_t at = data[0] | (uint64_t)data[1] << 8;

		if (at >= 64)
			at = record.size - (65536 - at) % 2048 - 4;
		memcpy((char *)record.header + at, data + 2, 4);
	}
	fd = dup(record.fd);
	if (record_open(&again, fd, parts) == 0) {
		record_try(&again);
		record_deinit(&again);
	} else {
		close(fd);
	}
	record_deinit(&record);
	return 0;
}
