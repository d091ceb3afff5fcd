/*
 * Entries are looked for from the first to the last: a few thousand at most, and seldom.
 */
#include "keeper_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void keeper_table_init(struct keeper_table *table)
{
	table->magic = KEEPER_MAGIC;
	table->version = KEEPER_VERSION;
	table->count = 0;
}

bool keeper_table_good(const struct keeper_table *table, uint64_t size)
{
	if (size != sizeof(*table) || table->magic != KEEPER_MAGIC || table->version != KEEPER_VERSION ||
	    table->count > KEEPER_FDS_MAX)
		return false;
	for (uint32_t i = 0; i < table->count; i++)
		if (table->entry[i].fd < 0 || !memchr(table->entry[i].name, '\0', KEEPER_NAME_SIZE))
			return false;
	return true;
}

static struct keeper_entry *entry_find(struct keeper_table *table, const char *name)
{
	for (uint32_t i = 0; i < table->count; i++)
		if (strcmp(table->entry[i].name, name) == 0)
			return &table->entry[i];
	return NULL;
}

int keeper_table_put(struct keeper_table *table, const char *name, int fd, int *old)
{
	struct keeper_entry *entry = entry_find(table, name);

	*old = entry ? entry->fd : -1;
	if (!entry) {
		if (table->count == KEEPER_FDS_MAX)
			return -ENOSPC;
		entry = &table->entry[table->count++];
		strcpy(entry->name, name);
	}
	entry->fd = fd;
	return 0;
}

int keeper_table_drop(struct keeper_table *table, const char *name)
{
	struct keeper_entry *entry = entry_find(table, name);
	int fd;

	if (!entry)
		return -1;
	fd = entry->fd;
	*entry = table->entry[--table->count];
	return fd;
}

/* ---- messages ------------------------------------------------------------- */

static int word_take(const char *word, size_t size, struct keeper_message *out)
{
	static const struct {
		const char *text;
		size_t flag;
	} words[] = {
		{"FDSTORE=1", offsetof(struct keeper_message, store)},
		{"FDSTOREREMOVE=1", offsetof(struct keeper_message, remove)},
		{"READY=1", offsetof(struct keeper_message, ready)},
		{"X_RELAYD_RESTART=1", offsetof(struct keeper_message, restart)},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (size == strlen(words[i].text) && memcmp(word, words[i].text, size) == 0)
			*(bool *)((char *)out + words[i].flag) = true;
	if (size < 7 || memcmp(word, "FDNAME=", 7) != 0)
		return 0;
	if (size - 7 == 0 || size - 7 >= KEEPER_NAME_SIZE || memchr(word, '\0', size))
		return -EPROTO;
	memcpy(out->name, word + 7, size - 7);
	out->name[size - 7] = '\0';
	return 0;
}

int keeper_message_parse(const char *text, size_t size, struct keeper_message *out)
{
	const char *end = text + size, *stop;

	*out = (struct keeper_message){.store = false};
	for (; text < end; text = stop + 1) {
		stop = memchr(text, '\n', (size_t)(end - text));
		if (!stop)
			stop = end;
		if (word_take(text, (size_t)(stop - text), out) < 0)
			return -EPROTO;
	}
	/* A descriptor that nobody could ask for again. */
	if ((out->store || out->remove) && !out->name[0])
		return -EPROTO;
	return out->store && out->remove ? -EPROTO : 0;
}

int keeper_worker_of(const char *text, struct keeper_worker *out)
{
	int check, at = 0;

	if (!text || sscanf(text, "%d:%d:%d:%d:%n", &out->socket, &out->table, &out->teller, &check, &at) != 4 || !at)
		return -EINVAL;
	out->check = check;
	out->path = text + at;
	return 0;
}

int keeper_heir_of(const char *text, struct keeper_heir *out)
{
	int at = 0;

	if (!text || sscanf(text, "%d:%d:%n", &out->socket, &out->of, &at) != 2 || !at)
		return -EINVAL;
	out->path = text + at;
	return 0;
}
