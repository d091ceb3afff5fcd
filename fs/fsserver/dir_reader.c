/*
 * Reads a directory for READDIR: whole blocks of getdents64(2), of which a reply
 * takes as many entries as it has room for.  Cookies are the store's own, so a
 * listing goes on after a restart where it was.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"

#define READER_SIZE 32768u

struct dir_reader {
	pthread_mutex_t lock; /* of one listing */
	int fd;		      /* the handle's, while locked */
	uint64_t offset;      /* the cookie of the next entry */
	uint64_t fd_offset;   /* where the descriptor is, as far as known */
	bool placed;	      /* fd_offset is known */
	size_t at, end;	      /* of what is in buffer */
	char buffer[READER_SIZE] __attribute__((aligned(8)));
};

struct dir_reader *dir_reader_new(void)
{
	struct dir_reader *reader = malloc(sizeof(*reader));

	if (!reader)
		return NULL;
	memset(reader, 0, offsetof(struct dir_reader, buffer));
	pthread_mutex_init(&reader->lock, NULL);
	return reader;
}

void dir_reader_free(struct dir_reader *reader)
{
	if (reader)
		pthread_mutex_destroy(&reader->lock);
	free(reader);
}

void dir_reader_lock(struct dir_reader *reader, int fd, uint64_t offset)
{
	pthread_mutex_lock(&reader->lock);
	reader->fd = fd;
	/* From the start: entries that came since are to be seen. */
	if (offset == 0 || offset != reader->offset) {
		reader->at = reader->end = 0;
		reader->offset = offset;
	}
}

void dir_reader_unlock(struct dir_reader *reader)
{
	pthread_mutex_unlock(&reader->lock);
}

static int reader_fill(struct dir_reader *reader)
{
	ssize_t size;

	/* At the start always: that is how a store is told to look afresh. */
	if (!reader->placed || reader->fd_offset != reader->offset || reader->offset == 0) {
		reader->placed = false;
		if (lseek(reader->fd, (off_t)reader->offset, SEEK_SET) < 0)
			return -errno;
	}
	size = getdents64(reader->fd, reader->buffer, sizeof(reader->buffer));
	if (size < 0)
		return -errno;
	reader->at = 0;
	reader->end = (size_t)size;
	reader->placed = size > 0;
	if (size > 0) {
		const struct dirent64 *entry;
		size_t at = 0;

		do {
			entry = (const struct dirent64 *)(reader->buffer + at);
			at += entry->d_reclen;
		} while (at < reader->end);
		reader->fd_offset = (uint64_t)entry->d_off;
	}
	return 0;
}

int dir_reader_peek(struct dir_reader *reader, struct dir_entry *entry)
{
	const struct dirent64 *found;
	int err;

	if (reader->at == reader->end) {
		err = reader_fill(reader);
		if (err)
			return err;
		if (reader->end == 0)
			return 0;
	}
	found = (const struct dirent64 *)(reader->buffer + reader->at);
	entry->ino = found->d_ino;
	entry->offset = (uint64_t)found->d_off;
	entry->type = found->d_type;
	entry->name = found->d_name;
	entry->name_length = (uint16_t)strlen(found->d_name);
	return 1;
}

void dir_reader_consume(struct dir_reader *reader)
{
	const struct dirent64 *found = (const struct dirent64 *)(reader->buffer + reader->at);

	reader->offset = (uint64_t)found->d_off;
	reader->at += found->d_reclen;
}
