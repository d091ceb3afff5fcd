/*
 * What the kernel has been given of an open directory, as (cookie, name hash) in order, so
 * that a reader can go on in another life of the backend's, whose cookies may be others.
 *
 * A log is a list of parts, all full but the last.  What stands for itself is each part's
 * `prev`, the handle's last part and its count; `next` and the handle's log_at are found
 * again by walking.  An entry is stored before the count says that it is there: a process
 * dying in between leaves the log without it.
 */
#include "handles.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#define PART_SIZE 4096u
#define PART_ENTRIES ((PART_SIZE - 16u) / (uint32_t)sizeof(struct dirlog_entry))

struct dirlog_part {
	struct state_record record;
	uint32_t prev;
	uint32_t next; /* rebuilt */
	struct dirlog_entry entries[PART_ENTRIES];
};

static_assert(sizeof(struct dirlog_part) == PART_SIZE, "a part is one record");

void dirlog_record_sizes(uint32_t record_size[STATE_TABLES])
{
	record_size[STATE_DIRLOGS] = sizeof(struct dirlog_part);
}

uint64_t dirlog_hash(const char *name, uint32_t length)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, and the bits of short names spread by a multiplication */

	for (uint32_t i = 0; i < length; i++)
		hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3u;
	hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
	return hash ^ hash >> 32;
}

static struct dirlog_part *part_at(const struct handles *handles, uint32_t number)
{
	return state_get(handles->state, STATE_DIRLOGS, number);
}

/* The number in the list, from 0 on, of the part of entry n. */
static uint32_t part_of(uint32_t n)
{
	return n / PART_ENTRIES;
}

/* How many parts a log of so many entries has. */
static uint32_t part_count(uint32_t count)
{
	return (count + PART_ENTRIES - 1) / PART_ENTRIES;
}

/* The part of entry n, which is there: found from log_at, or from the end if that is nearer. */
static uint32_t part_find(const struct handles *handles, const struct handle *handle, uint32_t n)
{
	uint32_t number = handle->log, at = part_count(handle->log_count) - 1, want = part_of(n);

	if (handle->log_at) {
		uint32_t here = part_of(handle->log_position - 1);
		uint32_t away = here > want ? here - want : want - here;

		if (away <= at - want) {
			number = handle->log_at;
			at = here;
		}
	}
	for (; at > want; at--)
		number = part_at(handles, number)->prev;
	for (; at < want; at++)
		number = part_at(handles, number)->next;
	return number;
}

/* Position and log_at together: the second is found again if a process dies in between. */
static void position_set(struct handles *handles, struct handle *handle, uint32_t position)
{
	uint32_t at = position > 0 ? part_find(handles, handle, position - 1) : 0;

	handle->log_position = position;
	handle->log_at = at;
}

int dirlog_init(struct handles *handles, struct handle *handle, uint32_t *parts)
{
	uint32_t count = part_count(handle->log_count), number = handle->log, next = 0;

	if (handle->log_position > handle->log_count || handle->log_count > DIRLOG_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < count; i++) {
		struct dirlog_part *part = part_at(handles, number);

		if (!part)
			return -EPROTO;
		part->next = next;
		next = number;
		number = part->prev;
	}
	if (number != 0)
		return -EPROTO;
	*parts += count;
	handle->log_at = 0;
	position_set(handles, handle, handle->log_position);
	return 0;
}

/* The last part goes, with what is in it. */
static void part_drop(struct handles *handles, struct handle *handle)
{
	uint32_t number = handle->log, count = (part_count(handle->log_count) - 1) * PART_ENTRIES;
	uint32_t prev = part_at(handles, number)->prev;
	int err;

	state_begin(handles->state);
	handle = state_edit(handles->state, STATE_HANDLES, (uint32_t)handle->fh);
	err = handle ? state_free(handles->state, STATE_DIRLOGS, number) : -ENOSPC;
	/* The undo log has room for so few records. */
	assert(!err);
	handle->log = prev;
	handle->log_count = count;
	state_commit(handles->state);
	if (prev)
		part_at(handles, prev)->next = 0;
}

/* What is after the position goes. */
static void log_cut(struct handles *handles, struct handle *handle)
{
	uint32_t keep = part_count(handle->log_position);

	while (part_count(handle->log_count) > keep)
		part_drop(handles, handle);
	handle->log_count = handle->log_position;
}

void dirlog_clear(struct handles *handles, struct handle *handle)
{
	handle->log_position = 0;
	handle->log_at = 0;
	log_cut(handles, handle);
}

/* The last entry before `end` with that cookie, counted from 1; 0: there is none. */
static uint32_t find_before(const struct handles *handles, const struct handle *handle, uint32_t end, uint64_t cookie)
{
	const struct dirlog_part *part = end > 0 ? part_at(handles, part_find(handles, handle, end - 1)) : NULL;

	for (uint32_t n = end; n > 0; n--) {
		if (part->entries[(n - 1) % PART_ENTRIES].cookie == cookie)
			return n;
		if ((n - 1) % PART_ENTRIES == 0 && n > 1)
			part = part_at(handles, part->prev);
	}
	return 0;
}

/* The first from number `begin` on, likewise. */
static uint32_t find_after(const struct handles *handles, const struct handle *handle, uint32_t begin, uint64_t cookie)
{
	const struct dirlog_part *part = NULL;

	for (uint32_t n = begin; n < handle->log_count; n++) {
		if (!part)
			part = part_at(handles, part_find(handles, handle, n));
		else if (n % PART_ENTRIES == 0)
			part = part_at(handles, part->next);
		if (part->entries[n % PART_ENTRIES].cookie == cookie)
			return n + 1;
	}
	return 0;
}

bool dirlog_seek(struct handles *handles, struct handle *handle, uint64_t offset)
{
	uint32_t position;

	if (offset == 0) {
		position_set(handles, handle, 0);
		return true;
	}
	/* Mostly it is the entry just before. */
	position = find_before(handles, handle, handle->log_position, offset);
	if (!position)
		position = find_after(handles, handle, handle->log_position, offset);
	if (!position) {
		dirlog_clear(handles, handle);
		return false;
	}
	position_set(handles, handle, position);
	return true;
}

/* One more part behind the last, which is full, with its first entry: a log never has a part that is empty. */
static int part_append(struct handles *handles, struct handle *handle, const struct dirlog_entry *entry)
{
	struct dirlog_part *part = NULL;
	uint32_t number, last = handle->log;

	state_begin(handles->state);
	handle = state_edit(handles->state, STATE_HANDLES, (uint32_t)handle->fh);
	if (handle)
		part = state_new(handles->state, STATE_DIRLOGS, &number);
	if (!part) {
		state_undo(handles->state);
		return -ENOMEM;
	}
	part->prev = last;
	part->entries[0] = *entry;
	handle->log = number;
	handle->log_count++;
	state_commit(handles->state);
	if (last)
		part_at(handles, last)->next = number;
	return 0;
}

int dirlog_add(struct handles *handles, struct handle *handle, uint64_t cookie, uint64_t hash)
{
	const struct dirlog_entry entry = {.cookie = cookie, .hash = hash};
	uint32_t position = handle->log_position, part = handle->log_at;
	struct dirlog_entry *at;

	if (position % PART_ENTRIES == 0 && position < handle->log_count)
		part = position ? part_at(handles, part)->next : part_find(handles, handle, 0);
	if (position < handle->log_count) {
		at = &part_at(handles, part)->entries[position % PART_ENTRIES];
		if (at->cookie == cookie && at->hash == hash)
			goto next;
		log_cut(handles, handle);
	}
	if (position % PART_ENTRIES != 0) {
		part_at(handles, part)->entries[position % PART_ENTRIES] = entry;
		atomic_signal_fence(memory_order_release);
		handle->log_count++;
	} else {
		if (position >= DIRLOG_MAX || part_append(handles, handle, &entry)) {
			dirlog_clear(handles, handle);
			return -ENOMEM;
		}
		part = handle->log;
	}
next:
	handle->log_position = position + 1;
	handle->log_at = part;
	return 0;
}

uint32_t dirlog_read(const struct handles *handles, const struct handle *handle, uint32_t from,
		     struct dirlog_entry *out, uint32_t max)
{
	const struct dirlog_part *part = NULL;
	uint32_t n;

	for (n = 0; n < max && from + n < handle->log_count; n++) {
		if (!part)
			part = part_at(handles, part_find(handles, handle, from + n));
		else if ((from + n) % PART_ENTRIES == 0)
			part = part_at(handles, part->next);
		out[n] = part->entries[(from + n) % PART_ENTRIES];
	}
	return n;
}
