/*
 * The journal's geometry, and which files are taken for a journal.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/wire.h"

#define LARGE 3u
#define SMALL 5u

static struct relay_journal header_of(uint32_t large, uint32_t small)
{
	return (struct relay_journal){
		.magic = RELAY_JOURNAL_MAGIC,
		.version = RELAY_JOURNAL_VERSION,
		.header_size = sizeof(struct relay_journal),
		.slot_size = sizeof(struct relay_slot),
		.large = large,
		.small = small,
		.size = relay_journal_size(large, small),
	};
}

/* What relay_journal_map() says about a file with this header, size and seals. */
static int map_result(const struct relay_journal *header, uint64_t size, int seals)
{
	struct relay_journal_map map = {0};
	int fd, err;

	fd = memfd_create("test-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert(fd >= 0);
	cr_assert_eq(pwrite(fd, header, sizeof(*header), 0), (ssize_t)sizeof(*header));
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	err = relay_journal_map(&map, fd);
	close(fd);
	if (!err) {
		cr_expect_eq(map.size, size);
		cr_expect_eq(map.large, header->large);
		cr_expect_eq(map.small, header->small);
		relay_journal_unmap(&map);
		cr_expect_null(map.journal);
	}
	return err;
}

static int sealed_result(const struct relay_journal *header)
{
	return map_result(header, relay_journal_size(LARGE, SMALL), F_SEAL_SHRINK | F_SEAL_GROW);
}

Test(journal_map, a_whole_journal_is_mapped)
{
	struct relay_journal header = header_of(LARGE, SMALL);

	cr_expect_eq(sealed_result(&header), 0);
	header.incarnation = 7;
	cr_expect_eq(sealed_result(&header), 0);
}

Test(journal_map, one_that_could_be_cut_short_is_refused)
{
	struct relay_journal header = header_of(LARGE, SMALL);

	cr_expect_eq(map_result(&header, header.size, 0), -EPROTO);
	cr_expect_eq(map_result(&header, header.size, F_SEAL_SHRINK), -EPROTO);
	cr_expect_eq(map_result(&header, header.size, F_SEAL_GROW), -EPROTO);
}

Test(journal_map, headers_that_do_not_fit_are_refused)
{
	struct relay_journal header;

	header = header_of(LARGE, SMALL);
	header.magic++;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.version++;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.header_size += 8;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.slot_size -= 8;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.size += 4096;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.large = 0;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.large = UINT32_MAX;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.small = UINT32_MAX;
	cr_expect_eq(sealed_result(&header), -EPROTO);
	header = header_of(LARGE, SMALL);
	header.large++;
	cr_expect_eq(sealed_result(&header), -EPROTO);
}

Test(journal_map, files_of_other_sizes_are_refused)
{
	struct relay_journal header = header_of(LARGE, SMALL);

	cr_expect_eq(map_result(&header, header.size - 4096, F_SEAL_SHRINK | F_SEAL_GROW), -EPROTO);
	cr_expect_eq(map_result(&header, header.size + 4096, F_SEAL_SHRINK | F_SEAL_GROW), -EPROTO);
	cr_expect_eq(map_result(&header, 64, F_SEAL_SHRINK | F_SEAL_GROW), -EPROTO);
	cr_expect_eq(map_result(&header, 0, F_SEAL_SHRINK | F_SEAL_GROW), -EPROTO);
}

Test(journal_map, what_is_no_memfd_is_refused)
{
	struct relay_journal_map map = {0};
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	cr_assert(fd >= 0);
	cr_expect_lt(relay_journal_map(&map, fd), 0);
	close(fd);
	cr_expect_eq(relay_journal_map(&map, -1), -EBADF);
}

/* Buffers lie one behind the other in the order of the slots, request before reply. */
Test(journal_map, buffers_do_not_overlap)
{
	uint64_t end = sizeof(struct relay_journal) + (LARGE + SMALL) * sizeof(struct relay_slot);

	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		struct relay_slot_place place = relay_slot_place(LARGE, SMALL, i);

		cr_expect(place.request >= end, "slot %u", i);
		end = place.request + place.request_capacity;
		cr_expect(place.reply >= end, "slot %u", i);
		end = place.reply + place.reply_capacity;
		cr_expect_eq(place.request % 8, 0, "slot %u", i);
		cr_expect_eq(place.reply % 8, 0, "slot %u", i);
	}
	cr_expect(end <= relay_journal_size(LARGE, SMALL));
}

Test(journal_map, data_of_large_slots_begins_on_a_page)
{
	for (uint32_t i = 0; i < LARGE; i++) {
		struct relay_slot_place place = relay_slot_place(LARGE, SMALL, i);
		uint64_t write_data = place.request + sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in);

		cr_expect_eq(write_data % 4096, 0);
		cr_expect_eq((place.reply + sizeof(struct fuse_out_header)) % 4096, 0);
		cr_expect(place.request_capacity >=
			  RELAY_MAX_DATA + sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in));
		cr_expect(place.reply_capacity >= RELAY_MAX_DATA + sizeof(struct fuse_out_header));
	}
}

Test(journal_map, uniques_name_their_slots)
{
	static const uint32_t slots[] = {0, 1, 255, (1u << RELAY_UNIQUE_SLOT_BITS) - 1};

	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		uint64_t unique = relay_unique_make(1ULL << 40, slots[i]);

		cr_expect_eq(relay_unique_slot(unique), slots[i]);
		cr_expect_eq(unique & 1, 0);
		cr_expect_eq(relay_unique_slot(unique | 1), slots[i], "an INTERRUPT's names the same slot");
		cr_expect_neq(unique, relay_unique_make((1ULL << 40) + 1, slots[i]));
	}
}
