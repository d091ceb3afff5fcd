/*
 * The layout: header, counters, then the two copies of the facts.  What is read was another
 * process's, perhaps another program's: each size and each string is checked.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_options.h"
#include "crash.h"
#include "stats.h"

#define RECORD_MAGIC 0x31434552594c4552ULL /* "RELYREC1" */
/* Longer than any command and environment that a process can be started with. */
#define TEXT_MAX (16u << 20)

struct record_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint32_t stats_size;
	uint32_t facts_size;
	uint32_t parts[RECORD_PARTS];
	uint64_t room; /* of a copy's texts */
	_Atomic uint32_t written; /* 0: nothing; else the true copy is its lowest bit's */
	uint32_t reserved;
	struct stats stats;
};

static uint64_t copy_size(uint64_t room)
{
	return (sizeof(struct record_facts) + room + 7) & ~(uint64_t)7;
}

static uint64_t record_size(uint64_t room)
{
	return sizeof(struct record_header) + 2 * copy_size(room);
}

static struct record_facts *copy_at(const struct record *record, uint32_t which)
{
	return (void *)((char *)(record->header + 1) + (which & 1) * copy_size(record->header->room));
}

static int record_map(struct record *record, uint64_t size)
{
	void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, record->fd, 0);

	if (mapping == MAP_FAILED)
		return -errno;
	record->header = mapping;
	record->size = size;
	return 0;
}

int record_init(struct record *record, size_t room, const uint32_t parts[RECORD_PARTS])
{
	int err;

	*record = (struct record){.fd = memfd_create("relayd-record", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
	if (record->fd < 0)
		return -errno;
	err = room > TEXT_MAX ? -E2BIG : -posix_fallocate(record->fd, 0, (off_t)record_size(room));
	if (!err && fcntl(record->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		err = -errno;
	if (!err)
		err = record_map(record, record_size(room));
	if (err) {
		record_deinit(record);
		return err;
	}
	record->header->version = RECORD_VERSION;
	record->header->header_size = sizeof(struct record_header);
	record->header->stats_size = sizeof(struct stats);
	record->header->facts_size = sizeof(struct record_facts);
	memcpy(record->header->parts, parts, sizeof(record->header->parts));
	record->header->room = room;
	record->header->magic = RECORD_MAGIC;
	return 0;
}

void record_deinit(struct record *record)
{
	if (record->header)
		munmap(record->header, record->size);
	if (record->fd >= 0)
		close(record->fd);
	*record = (struct record){.fd = -1};
}

static int header_check(const struct record_header *header, uint64_t size, const uint32_t parts[RECORD_PARTS])
{
	if (header->magic != RECORD_MAGIC)
		return -EPROTO;
	if (header->version != RECORD_VERSION || header->header_size != sizeof(*header) ||
	    header->stats_size != sizeof(struct stats) || header->facts_size != sizeof(struct record_facts) ||
	    memcmp(header->parts, parts, sizeof(header->parts)) != 0)
		return -EPROTONOSUPPORT;
	return header->room <= TEXT_MAX && size == record_size(header->room) ? 0 : -EPROTO;
}

int record_open(struct record *record, int fd, const uint32_t parts[RECORD_PARTS])
{
	struct stat st;
	int seals, err;

	*record = (struct record){.fd = fd};
	if (fstat(fd, &st) < 0)
		return -errno;
	seals = fcntl(fd, F_GET_SEALS);
	/* Nobody can take away under us what is mapped. */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || st.st_size < (off_t)sizeof(struct record_header))
		return -EPROTO;
	err = record_map(record, (uint64_t)st.st_size);
	if (!err)
		err = header_check(record->header, record->size, parts);
	if (err && record->header)
		munmap(record->header, record->size);
	if (err)
		*record = (struct record){.fd = -1};
	return err;
}

struct stats *record_stats(const struct record *record)
{
	return &record->header->stats;
}

/* ---- writing -------------------------------------------------------------- */

struct writer {
	char *at;
	size_t left;
};

/* Returns false if there is no room. */
static bool text_put(struct writer *writer, const char *text)
{
	size_t size = strlen(text) + 1;

	if (size > writer->left)
		return false;
	memcpy(writer->at, text, size);
	writer->at += size;
	writer->left -= size;
	return true;
}

static bool words_put(struct writer *writer, char *const *words, uint32_t *count)
{
	for (*count = 0; words && words[*count]; ++*count)
		if (!text_put(writer, words[*count]))
			return false;
	return true;
}

int record_write(struct record *record, const struct record_facts *facts, const struct record_texts *texts)
{
	uint32_t next = atomic_load_explicit(&record->header->written, memory_order_relaxed) + 1;
	struct record_facts *copy;
	struct writer writer;

	if (next == 0)
		next = 2;
	copy = copy_at(record, next);
	writer = (struct writer){.at = (char *)(copy + 1), .left = record->header->room};
	*copy = *facts;
	copy->texts = 0;
	for (unsigned i = 0; i < RECORD_TEXTS; i++) {
		if (!texts->text[i])
			continue;
		if (!text_put(&writer, texts->text[i]))
			return -E2BIG;
		copy->texts |= 1u << i;
	}
	if (!words_put(&writer, texts->words, &copy->words) ||
	    !words_put(&writer, texts->variables, &copy->variables))
		return -E2BIG;
	copy->text_size = (uint32_t)(record->header->room - writer.left);
	RELAY_CRASH_POINT("record", "written");
	atomic_store_explicit(&record->header->written, next, memory_order_release);
	RELAY_CRASH_POINT("record", "published");
	return 0;
}

/* ---- reading -------------------------------------------------------------- */

/* The next string, or NULL if none ends before the end. */
static const char *text_next(const char **at, const char *end)
{
	const char *text = *at, *nul = memchr(text, '\0', (size_t)(end - text));

	if (!nul)
		return NULL;
	*at = nul + 1;
	return text;
}

/* Fills array, which has room for count and NULL. */
static bool words_next(char **array, uint32_t count, const char **at, const char *end)
{
	for (uint32_t i = 0; i < count; i++) {
		array[i] = (char *)text_next(at, end);
		if (!array[i])
			return false;
	}
	array[count] = NULL;
	return true;
}

static bool facts_right(const struct record_facts *facts)
{
	const struct relay_cache_options known = {
		.trust = facts->trust,
		.negative_ms = facts->negative_ms,
		.bpf = facts->bpf,
	};

	if (relay_internal_cache_options_check(&known, facts->flags & RECORD_SHARED_STORE, facts->flags & RECORD_RINGS))
		return false;
	return facts->init_size <= SESSION_INIT_MAX && (facts->init_size == 0 || facts->init_size >= 56) &&
	       (!(facts->flags & RECORD_AGREED) || facts->init_size) && facts->texts < 1u << RECORD_TEXTS &&
	       facts->texts & 1u << RECORD_NAME && facts->texts & 1u << RECORD_DIRECTORY &&
	       (!(facts->flags & RECORD_HAS_COMMAND) || facts->words);
}

int record_read(const struct record *record, struct record_facts *facts, struct record_texts *texts, void **block)
{
	uint32_t written = atomic_load_explicit(&record->header->written, memory_order_acquire);
	const char *at, *end;
	char **words;
	bool good;

	*block = NULL;
	if (written == 0)
		return -ENOENT;
	*facts = *copy_at(record, written);
	at = (const char *)(copy_at(record, written) + 1);
	/* Each word has a byte at least: no count is larger than what was written. */
	if (facts->text_size > record->header->room || facts->words > facts->text_size ||
	    facts->variables > facts->text_size || !facts_right(facts))
		return -EPROTO;
	end = at + facts->text_size;
	*texts = (struct record_texts){.words = NULL};
	words = calloc((size_t)facts->words + facts->variables + 2, sizeof(*words));
	if (!words)
		return -ENOMEM;
	good = true;
	for (unsigned i = 0; good && i < RECORD_TEXTS; i++)
		if (facts->texts & 1u << i)
			good = (texts->text[i] = text_next(&at, end)) != NULL;
	good = good && words_next(words, facts->words, &at, end) &&
	       words_next(words + facts->words + 1, facts->variables, &at, end) && at == end;
	if (!good) {
		free(words);
		return -EPROTO;
	}
	*block = words;
	texts->words = facts->words ? words : NULL;
	texts->variables = facts->variables ? words + facts->words + 1 : NULL;
	return 0;
}
