/*
 * The journal's geometry, and mapping one that somebody else made.
 *
 * Nothing here changes a journal: relayd's journal.c makes it and moves its
 * slots, librelay's serve.c does so on the backend's side.
 */
#include "relay/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096u
/* What precedes the data of a WRITE, and of a READ's reply. */
#define WRITE_HEADERS (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define READ_HEADERS sizeof(struct fuse_out_header)

/* A large slot's buffers: a page that ends with the headers, then the data. */
#define LARGE_REQUEST (PAGE + RELAY_MAX_REQUEST)
#define LARGE_REPLY (PAGE + RELAY_MAX_REPLY)
#define SMALL_REQUEST 256u
#define SMALL_REPLY 256u

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static uint64_t buffers_at(uint32_t large, uint32_t small)
{
	uint64_t slots = (uint64_t)large + small;

	return round_up(sizeof(struct relay_journal) + slots * sizeof(struct relay_slot), PAGE);
}

uint64_t relay_journal_size(uint32_t large, uint32_t small)
{
	return round_up(buffers_at(large, small) + (uint64_t)large * (LARGE_REQUEST + LARGE_REPLY) +
				(uint64_t)small * (SMALL_REQUEST + SMALL_REPLY),
			PAGE);
}

struct relay_slot_place relay_slot_place(uint32_t large, uint32_t small, uint32_t index)
{
	uint64_t at = buffers_at(large, small);
	struct relay_slot_place place;

	if (index < large) {
		at += (uint64_t)index * (LARGE_REQUEST + LARGE_REPLY);
		place.request = at + PAGE - WRITE_HEADERS;
		place.request_capacity = RELAY_MAX_REQUEST + WRITE_HEADERS;
		place.reply = at + LARGE_REQUEST + PAGE - READ_HEADERS;
		place.reply_capacity = RELAY_MAX_REPLY + READ_HEADERS;
	} else {
		at += (uint64_t)large * (LARGE_REQUEST + LARGE_REPLY);
		at += (uint64_t)(index - large) * (SMALL_REQUEST + SMALL_REPLY);
		place.request = at;
		place.request_capacity = SMALL_REQUEST;
		place.reply = at + SMALL_REQUEST;
		place.reply_capacity = SMALL_REPLY;
	}
	return place;
}

/* Copies the header out of the mapping first: what is checked is what is used. */
static int header_check(const struct relay_journal *shared, uint64_t size, struct relay_journal *header)
{
	memcpy(header, shared, offsetof(struct relay_journal, counts));
	if (header->magic != RELAY_JOURNAL_MAGIC || header->version != RELAY_JOURNAL_VERSION)
		return -EPROTO;
	if (header->header_size != sizeof(*header) || header->slot_size != sizeof(struct relay_slot))
		return -EPROTO;
	if (header->large == 0 || header->large > 1u << RELAY_UNIQUE_SLOT_BITS ||
	    header->small > (1u << RELAY_UNIQUE_SLOT_BITS) - header->large)
		return -EPROTO;
	if (header->size != size || relay_journal_size(header->large, header->small) != size)
		return -EPROTO;
	return 0;
}

int relay_journal_map(struct relay_journal_map *map, int fd)
{
	struct relay_journal header;
	struct stat st;
	void *base;
	int seals, err;

	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return -errno;
	if ((seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(struct relay_journal))
		return -EPROTO;
	base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	err = header_check(base, (uint64_t)st.st_size, &header);
	if (err) {
		munmap(base, (size_t)st.st_size);
		return err;
	}
	map->journal = base;
	map->size = header.size;
	map->large = header.large;
	map->small = header.small;
	return 0;
}

void relay_journal_unmap(struct relay_journal_map *map)
{
	if (map->journal)
		munmap(map->journal, map->size);
	map->journal = NULL;
}
