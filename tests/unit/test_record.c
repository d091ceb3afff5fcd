/* Records of mounts (relayd/record.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record.h"
#include "stats.h"

static char *words[] = {"fsserver", "--source", "/a place", NULL};
static const uint32_t parts[RECORD_PARTS] = {1, 2, 3, 4, 5}, other_parts[RECORD_PARTS] = {1, 2, 4, 4, 5};
static char *variables[] = {"PATH=/bin", "EMPTY=", NULL};

static const struct record_facts facts = {
	.flags = RECORD_MOUNTED | RECORD_HAS_COMMAND,
	.uid = 1000,
	.lives = 3,
	.incarnation = 7,
	.init_size = 104,
};

static const struct record_texts texts = {
	.text = {[RECORD_NAME] = "name", [RECORD_DIRECTORY] = "/", [RECORD_MOUNTPOINT] = "/mnt", [RECORD_OPTIONS] = ""},
	.words = words,
	.variables = variables,
};

/* As another process would open it. */
static int reopen(const struct record *record, struct record *out)
{
	return record_open(out, dup(record->fd), parts);
}

Test(record, is_read_as_it_was_written)
{
	struct record record, again;
	struct record_facts read;
	struct record_texts got;
	void *block;

	cr_assert_eq(record_init(&record, 4096, parts), 0);
	atomic_store(&record_stats(&record)->restarts, 5);
	cr_assert_eq(record_write(&record, &facts, &texts), 0);
	cr_assert_eq(reopen(&record, &again), 0);
	record_deinit(&record);
	cr_assert_eq(record_read(&again, &read, &got, &block), 0);
	cr_expect_eq(read.incarnation, 7);
	cr_expect_eq(read.flags, facts.flags);
	cr_expect_str_eq(got.text[RECORD_MOUNTPOINT], "/mnt");
	cr_expect_str_eq(got.text[RECORD_OPTIONS], "");
	cr_expect_null(got.text[RECORD_ASKED]);
	cr_expect_str_eq(got.words[2], "/a place");
	cr_expect_null(got.words[3]);
	cr_expect_str_eq(got.variables[1], "EMPTY=");
	cr_expect_null(got.variables[2]);
	cr_expect_eq(atomic_load(&record_stats(&again)->restarts), 5, "counters go on");
	free(block);
	record_deinit(&again);
}

Test(record, that_was_never_written_says_nothing)
{
	struct record record;
	struct record_facts read;
	struct record_texts got;
	void *block;

	cr_assert_eq(record_init(&record, 4096, parts), 0);
	cr_expect_eq(record_read(&record, &read, &got, &block), -ENOENT);
	record_deinit(&record);
}

Test(record, keeps_what_was_true_where_texts_have_no_room)
{
	struct record_facts more = facts, read;
	struct record_texts got, longer = texts;
	char text[200] = "";
	struct record record;
	void *block;

	memset(text, 'x', sizeof(text) - 1);
	longer.text[RECORD_OPTIONS] = text;
	cr_assert_eq(record_init(&record, 100, parts), 0);
	cr_assert_eq(record_write(&record, &facts, &texts), 0);
	more.incarnation = 8;
	cr_expect_eq(record_write(&record, &more, &longer), -E2BIG);
	cr_assert_eq(record_read(&record, &read, &got, &block), 0);
	cr_expect_eq(read.incarnation, 7);
	free(block);
	record_deinit(&record);
}

/* Of two that were written the later counts, whatever is left of a third that was begun. */
Test(record, survives_a_death_in_the_midst_of_a_change)
{
	struct record_facts next = facts, read;
	struct record_texts got;
	struct record record;
	void *block;

	cr_assert_eq(record_init(&record, 4096, parts), 0);
	for (uint32_t i = 1; i < 6; i++) {
		next.incarnation = i;
		cr_assert_eq(record_write(&record, &next, &texts), 0);
		cr_assert_eq(record_read(&record, &read, &got, &block), 0);
		cr_expect_eq(read.incarnation, i);
		free(block);
	}
	record_deinit(&record);
}

Test(record, of_another_version_is_told_from_none)
{
	struct record record, again;
	uint32_t version = RECORD_VERSION + 1;
	uint64_t magic = 0;
	int fd;

	cr_assert_eq(record_init(&record, 4096, parts), 0);
	cr_assert_eq(pwrite(record.fd, &version, sizeof(version), sizeof(uint64_t)), (ssize_t)sizeof(version));
	fd = dup(record.fd);
	cr_expect_eq(record_open(&again, fd, parts), -EPROTONOSUPPORT);
	version = RECORD_VERSION;
	cr_assert_eq(pwrite(record.fd, &version, sizeof(version), sizeof(uint64_t)), (ssize_t)sizeof(version));
	cr_expect_eq(record_open(&again, fd, other_parts), -EPROTONOSUPPORT, "a part's version");
	cr_assert_eq(pwrite(record.fd, &magic, sizeof(magic), 0), (ssize_t)sizeof(magic));
	cr_expect_eq(record_open(&again, fd, parts), -EPROTO);
	cr_expect_neq(fcntl(fd, F_GETFD), -1, "what is refused stays the caller's");
	close(fd);
	record_deinit(&record);
	fd = memfd_create("unsealed", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	cr_expect_eq(record_open(&again, fd, parts), -EPROTO, "one that could be cut short");
	close(fd);
}
