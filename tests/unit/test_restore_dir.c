/*
 * Directories that are read on after a death: whatever cookies and whatever order the
 * next incarnation has, each entry comes exactly once.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/restore_rig.h"

#define ENTRIES 20u

static struct restore_rig rig;
static uint64_t dir, fh;
static uint32_t store_dir;

/* How often each name came; and the reader's place. */
static unsigned seen[ENTRIES + 10];
static unsigned dots;
static uint64_t offset;
static bool served; /* the last reply was made by relayd */

static void setup(void)
{
	char name[32];

	rig_init(&rig);
	store_dir = store_make(&rig.store, STORE_ROOT, "d", S_IFDIR | 0755, 1000, 1000);
	for (unsigned i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		store_make(&rig.store, store_dir, name, S_IFREG | 0644, 1000, 1000);
	}
	dir = rig_path(&rig, "d");
	fh = rig_open(&rig, dir, O_RDONLY | O_DIRECTORY, true);
	cr_assert(fh);
	memset(seen, 0, sizeof(seen));
	dots = 0;
	offset = 0;
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(restore_dir, .init = setup, .fini = teardown);

/* Takes what was given.  Returns whether there was anything. */
static bool take(bool plus)
{
	uint8_t *at = rig.reply;
	uint32_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET, left = rig.reply_size;

	if (left == 0)
		return false;
	while (left >= head) {
		const struct fuse_dirent *entry = (const struct fuse_dirent *)(at + head - FUSE_NAME_OFFSET);
		uint32_t size = (uint32_t)FUSE_DIRENT_ALIGN(head + entry->namelen);
		char name[32];

		if (size > left) {
			cr_assert_not(served);
			break;
		}
		if (plus && served)
			cr_assert_eq(((const struct fuse_entry_out *)at)->nodeid, 0);
		snprintf(name, sizeof(name), "%.*s", (int)entry->namelen, entry->name);
		if (name[0] == '.')
			dots++;
		else
			seen[atoi(name + 1)]++;
		cr_assert_neq(entry->off, 0);
		cr_assert_neq(entry->off, offset);
		offset = entry->off;
		at += size;
		left -= size;
	}
	return true;
}

/* One READDIR from the reader's place on, as the repair pool serves it.  Returns 0, or an error. */
static int read_some(bool plus, uint32_t size, bool *more)
{
	const struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};
	struct fuse_out_header header = {.len = sizeof(header)};
	const struct handle *handle;
	struct translate_note noted = {0};
	struct rig_request request;
	int err;

	rig_build(&rig, &request, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in, sizeof(in), NULL, NULL);
	err = rig_restore(&rig, &request);
	if (err)
		return err;
	handle = handles_get(&rig.translate.handles, fh);
	served = false;
	if (handle->flags & HANDLE_RESUMES && offset != 0) {
		err = restore_readdir(&rig.restore, &rig.ask, request.bytes, request.size, rig.reply, &rig.reply_size);
		if (err)
			return err;
		served = rig.reply_size != 0;
		if (rig.reply_size == UINT32_MAX)
			rig.reply_size = 0;
	}
	if (served) {
		cr_assert_leq(rig.reply_size, size);
		translate_note(&rig.translate, request.bytes, &noted);
		header.len += rig.reply_size;
		cr_assert_eq(translate_reply(&rig.translate, request.bytes, request.size, &noted, &header, rig.reply),
			     0);
	} else {
		err = rig_serve(&rig, &request);
		if (err)
			return err;
	}
	*more = take(plus);
	return 0;
}

static void read_part(unsigned replies)
{
	bool more = true;

	for (unsigned i = 0; i < replies && more; i++)
		cr_assert_eq(read_some(false, 4096, &more), 0);
}

static void read_rest(bool plus, uint32_t size)
{
	bool more = true;

	for (unsigned i = 0; more; i++) {
		cr_assert(i < 100, "no end");
		cr_assert_eq(read_some(plus, size, &more), 0);
	}
}

static void check_once(unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		cr_assert_eq(seen[i], 1, "n%u came %u times", i, seen[i]);
	cr_assert_eq(dots, 2);
}

static void remove_entry(const char *name)
{
	for (uint32_t i = 1; i < STORE_NAMES; i++)
		if (rig.store.names[i].used && rig.store.names[i].parent == store_dir &&
		    !strcmp(rig.store.names[i].name, name))
			rig.store.names[i].used = false;
}

Test(restore_dir, cookies_that_stay_are_passed_on)
{
	read_part(3);
	rig_restart(&rig);
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
	cr_assert_not(handles_get(&rig.translate.handles, fh)->flags & HANDLE_RESUMES);
	cr_assert_not(served);
}

Test(restore_dir, cookies_that_change)
{
	for (unsigned parts = 1; parts < 8; parts++) {
		rig.store.cookies_change = true;
		read_part(parts);
		rig_restart(&rig);
		read_rest(false, 4096);
		cr_assert(served);
		check_once(0, ENTRIES - 1);
		teardown();
		setup();
	}
}

/* A store may use the highest cookies of all, and any between. */
Test(restore_dir, cookies_that_change_and_are_as_high_as_can_be)
{
	bool more = true;

	rig.store.cookies_change = rig.store.cookies_high = true;
	for (unsigned i = 0; more; i++) {
		cr_assert(i < 100);
		cr_assert_eq(read_some(false, 120, &more), 0);
		rig_restart(&rig);
	}
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, several_deaths)
{
	bool more = true;

	rig.store.cookies_change = true;
	for (unsigned i = 0; more; i++) {
		cr_assert(i < 100);
		cr_assert_eq(read_some(false, 120, &more), 0);
		rig_restart(&rig);
	}
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, a_death_at_each_question)
{
	unsigned at = 0;
	bool more;
	int err;

	rig.store.cookies_change = true;
	read_part(3);
	do {
		rig_restart(&rig);
		rig.store.die_at = ++at;
		err = read_some(false, 120, &more);
	} while (err == -EPIPE);
	cr_assert_eq(err, 0);
	cr_assert_gt(at, 4);
	rig_restart(&rig);
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
}

/* As libfuse gives them: it cuts a listing where the reply is full, within an entry. */
Test(restore_dir, replies_that_end_within_an_entry)
{
	for (unsigned cut = 1; cut < FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 2); cut++)
		for (unsigned change = 0; change < 2; change++) {
			rig.store.cookies_change = change;
			rig.store.cut = cut;
			read_part(3);
			rig_restart(&rig);
			read_rest(false, 4096);
			check_once(0, ENTRIES - 1);
			teardown();
			setup();
		}
}

Test(restore_dir, entries_that_stay_come_once_though_others_come_and_go)
{
	rig.store.cookies_change = true;
	read_part(4);
	remove_entry("n1");
	remove_entry("n15");
	store_make(&rig.store, store_dir, "n25", S_IFREG | 0644, 0, 0);
	rig_restart(&rig);
	read_rest(false, 200);
	seen[1] = seen[15] = 1;
	check_once(0, ENTRIES - 1);
	cr_assert_leq(seen[25], 1);
}

Test(restore_dir, the_last_entry_given_is_gone)
{
	rig.store.cookies_change = true;
	read_part(4);
	for (unsigned i = 0; i < ENTRIES; i++)
		if (seen[i]) {
			char name[32];

			snprintf(name, sizeof(name), "n%u", i);
			remove_entry(name);
		}
	rig_restart(&rig);
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, readdirplus_has_entries_without_a_node)
{
	rig.store.cookies_change = true;
	read_part(4);
	rig_restart(&rig);
	read_rest(true, 4096);
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, the_end)
{
	bool more;

	rig.store.cookies_change = true;
	read_rest(false, 4096);
	rig_restart(&rig);
	cr_assert_eq(read_some(false, 4096, &more), 0);
	cr_assert_not(more);
	cr_assert(served);
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, rewound_after_a_death)
{
	rig.store.cookies_change = true;
	read_part(4);
	rig_restart(&rig);
	read_part(1);
	cr_assert(served);
	offset = 0;
	memset(seen, 0, sizeof(seen));
	dots = 0;
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
	cr_assert_not(served);
}

Test(restore_dir, a_listing_that_is_read_on_is_not_read_again)
{
	unsigned asked, replies = 0, pages = (ENTRIES + 2) / 3 + 1;
	bool more = true;

	rig.store.cookies_change = true;
	read_part(2);
	rig_restart(&rig);
	cr_assert_eq(read_some(false, 120, &more), 0);
	asked = rig.store.by_opcode[FUSE_READDIR];
	for (; more; replies++)
		cr_assert_eq(read_some(false, 120, &more), 0);
	asked = rig.store.by_opcode[FUSE_READDIR] - asked;
	cr_assert_gt(replies, 4);
	cr_assert_leq(asked, pages + 2 * replies, "%u questions for %u replies", asked, replies);
	check_once(0, ENTRIES - 1);
}

/* Seeks back to a place that it remembers. */
Test(restore_dir, back_to_an_earlier_cookie)
{
	unsigned first[ENTRIES + 10], first_dots;
	uint64_t place;

	rig.store.cookies_change = true;
	read_part(2);
	place = offset;
	memcpy(first, seen, sizeof(first));
	first_dots = dots;
	read_part(2);
	rig_restart(&rig);
	read_part(1);
	offset = place;
	memcpy(seen, first, sizeof(first));
	dots = first_dots;
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
}

Test(restore_dir, room_for_no_entry_is_no_end)
{
	bool more;

	rig.store.cookies_change = true;
	read_part(2);
	rig_restart(&rig);
	cr_assert_eq(read_some(false, 16, &more), EINVAL);
}

Test(restore_dir, an_error_is_the_answer)
{
	bool more;

	rig.store.cookies_change = true;
	read_part(2);
	rig_restart(&rig);
	rig.store.fail_opcode = FUSE_READDIR;
	rig.store.fail_errno = EIO;
	cr_assert_eq(read_some(false, 4096, &more), EIO);
	rig.store.fail_opcode = 0;
	read_rest(false, 4096);
	check_once(0, ENTRIES - 1);
}
