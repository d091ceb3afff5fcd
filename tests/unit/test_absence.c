/*
 * The rules of what is known not to exist: one by one.  All interleavings are in
 * test_absence_races.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "absence.h"
#include "absence_parts.h"
#include "lib/fake_absences.h"

#define DIR 10u
#define SECOND 1000000000ull

static const struct absence_trust trust_none = {0};
static const struct absence_trust trust_sole = {.sole = true};
static const struct absence_trust trust_complete = {.sole = true, .complete = true};
static const struct absence_trust trust_gate = {.sole = true, .complete = true, .gate = true};

static struct fake_absences *fake;
static struct absence *absence;

static void begin_with(const struct absence_trust *trust, bool inherited)
{
	if (!inherited)
		fake = calloc(1, sizeof(*fake));
	absence = relay_absence_new(&fake_absences_ops, fake, trust, inherited);
	cr_assert(fake && absence);
}

static void end(void)
{
	relay_absence_free(absence);
	free(fake);
}

/* Big enough for any fixed part. */
union in {
	uint8_t bytes[256];
	struct fuse_read_in read;
	struct fuse_release_in release;
	struct fuse_rename2_in rename;
	struct fuse_ioctl_in ioctl;
	struct fuse_batch_forget_in forget;
};

static struct absence_request request_of(uint32_t opcode, uint64_t nodeid, const void *in, const char *name)
{
	return (struct absence_request){
		.op = relay_op_get(opcode),
		.nodeid = nodeid,
		.args = {.in = in, .name = name},
	};
}

/* A request without anything in between. */
static void whole(const struct absence_request *request, int error, const void *payload, uint32_t size)
{
	const struct absence_reply reply = {.error = error, .payload = payload, .size = error ? 0 : size};
	struct absence_window window = {0};

	cr_assert_eq(relay_absence_begin(absence, request, &window), 0);
	relay_absence_end(absence, request, &window, &reply);
	cr_assert_eq(window.changes, 0);
}

static void lookup(uint64_t dir, const char *name, int error, uint64_t nodeid, uint64_t valid)
{
	const struct fuse_entry_out entry = {.nodeid = nodeid, .entry_valid = valid};
	const struct absence_request request = request_of(FUSE_LOOKUP, dir, NULL, name);

	whole(&request, error, &entry, sizeof(entry));
}

static void named(uint32_t opcode, uint64_t dir, const char *name, int error, uint64_t nodeid)
{
	static const union in in;
	const struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.entry = {.nodeid = nodeid}};
	const struct absence_request request = request_of(opcode, dir, &in, name);

	whole(&request, error, &out, sizeof(out));
}

static void getxattr(uint64_t nodeid, const char *name, int error)
{
	static const union in in;
	const struct absence_request request = request_of(FUSE_GETXATTR, nodeid, &in, name);

	whole(&request, error, "value", 5);
}

static void opendir_reply(uint64_t dir, uint64_t fh)
{
	static const union in in;
	const struct fuse_open_out out = {.fh = fh};
	const struct absence_request request = request_of(FUSE_OPENDIR, dir, &in, NULL);

	whole(&request, 0, &out, sizeof(out));
}

/* Records with these names; each entry's cookie is its place, from `offset` on. */
static uint32_t records_make(uint8_t *buffer, uint64_t offset, const char *const *names, bool plus)
{
	uint32_t size = 0, name_at = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;

	for (uint32_t i = 0; names && names[i]; i++) {
		struct fuse_dirent dirent = {.ino = 1, .off = offset + i + 1, .namelen = (uint32_t)strlen(names[i])};

		memset(buffer + size, 0, name_at + FUSE_DIRENT_ALIGN(dirent.namelen));
		memcpy(buffer + size + name_at - FUSE_NAME_OFFSET, &dirent, FUSE_NAME_OFFSET);
		memcpy(buffer + size + name_at, names[i], dirent.namelen);
		size += (uint32_t)FUSE_DIRENT_ALIGN(name_at + dirent.namelen);
	}
	return size;
}

static void readdir_as(uint32_t opcode, uint64_t dir, uint64_t fh, uint64_t offset, const char *const *names)
{
	static uint8_t buffer[65536];
	const union in in = {.read = {.fh = fh, .offset = offset}};
	const struct absence_request request = request_of(opcode, dir, &in, NULL);

	whole(&request, 0, buffer, records_make(buffer, offset, names, opcode == FUSE_READDIRPLUS));
}

static void readdir_reply(uint64_t dir, uint64_t fh, uint64_t offset, const char *const *names)
{
	readdir_as(FUSE_READDIR, dir, fh, offset, names);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Makes DIR complete with ".", "..", "a" and "b". */
static void list(void)
{
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES(".", "..", "a", "b"));
	readdir_reply(DIR, 5, 4, NULL);
}

static void notify(int code, const void *body, uint32_t size, const char *name)
{
	uint8_t packet[512];
	struct fuse_out_header header = {.error = code};

	memcpy(packet + sizeof(header), body, size);
	strcpy((char *)packet + sizeof(header) + size, name);
	header.len = (uint32_t)(sizeof(header) + size + strlen(name) + 1);
	memcpy(packet, &header, sizeof(header));
	cr_assert_eq(relay_absence_notify(absence, packet, header.len), 0);
}

/* ---- names ------------------------------------------------------------------- */

Test(absence, a_name_that_is_not_there_is_absent_where_the_mount_is_the_only_writer)
{
	begin_with(&trust_sole, false);
	lookup(DIR, "n", ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "m"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR + 1, "n"), 0);
	end();
}

Test(absence, otherwise_for_as_long_as_the_backend_says)
{
	begin_with(&trust_none, false);
	lookup(DIR, "n", ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	lookup(DIR, "n", 0, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	lookup(DIR, "n", 0, 0, 3);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), ENOENT);
	fake_absences_now += 3 * SECOND;
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	end();
}

Test(absence, or_for_the_time_that_it_is_said_to_hold_if_that_is_longer)
{
	static const struct absence_trust trust = {.lease = 2 * SECOND};

	begin_with(&trust, false);
	lookup(DIR, "n", ENOENT, 0, 0);
	lookup(DIR, "m", 0, 0, 5);
	fake_absences_now += 2 * SECOND;
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "m"), ENOENT);
	end();
}

Test(absence, no_time_is_too_long)
{
	begin_with(&trust_none, false);
	lookup(DIR, "n", 0, 0, UINT64_MAX);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), ENOENT);
	end();
}

Test(absence, what_is_found_is_absent_no_more_though_a_lease_said_so)
{
	begin_with(&trust_none, false);
	lookup(DIR, "n", 0, 0, 100);
	lookup(DIR, "n", 0, 7, 1);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	lookup(DIR, "a", 0, 0, 100);
	opendir_reply(DIR, 5);
	lookup(DIR, "n", EACCES, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0, "another error says nothing");
	end();
}

/* ---- the table, walked --------------------------------------------------------- */

enum survives {
	KEEPS = 0,
	TAKES_NAME = 1,	 /* "n" in DIR */
	TAKES_OTHER = 2, /* "m" in DIR + 1 */
	TAKES_XATTR = 4, /* of DIR */
};

static const uint8_t effects[RELAY_OPCODE_MAX] = {
	[FUSE_CREATE] = TAKES_NAME,
	[FUSE_MKNOD] = TAKES_NAME,
	[FUSE_MKDIR] = TAKES_NAME,
	[FUSE_SYMLINK] = TAKES_NAME,
	[FUSE_LINK] = TAKES_NAME,
	[FUSE_RENAME] = TAKES_OTHER,
	[FUSE_RENAME2] = TAKES_OTHER,
	[FUSE_SETATTR] = TAKES_XATTR,
	[FUSE_SETXATTR] = TAKES_XATTR,
	[FUSE_REMOVEXATTR] = TAKES_XATTR,
	[FUSE_IOCTL] = TAKES_XATTR,
	[FUSE_FORGET] = TAKES_XATTR | TAKES_NAME,
};

static void know_all(void)
{
	lookup(DIR, "n", ENOENT, 0, 0);
	lookup(DIR + 1, "m", ENOENT, 0, 0);
	getxattr(DIR, "security.capability", ENODATA);
}

static unsigned taken(void)
{
	return (fake_absences_lookup(fake, DIR, "n") ? 0 : TAKES_NAME) |
	       (fake_absences_lookup(fake, DIR + 1, "m") ? 0 : TAKES_OTHER) |
	       (fake_absences_getxattr(fake, DIR, "security.capability") ? 0 : TAKES_XATTR);
}

/* What each takes back is gone before it is applied: at its begin. */
Test(absence, every_opcode_takes_back_what_it_may_make_untrue_and_nothing_else)
{
	const union in in = {.rename = {.newdir = DIR + 1}};

	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		struct absence_request request = request_of(opcode, DIR, &in, "n");
		const struct absence_reply failed = {.error = EIO};
		struct absence_window window = {0};

		if (!request.op)
			continue;
		request.args.name2 = "m";
		begin_with(&trust_complete, false);
		know_all();
		cr_expect_eq(taken(), 0);
		if (relay_absence_concerns(request.op))
			cr_expect_eq(relay_absence_begin(absence, &request, &window), 0);
		cr_expect_eq(taken(), effects[opcode], "%s: %u", request.op->name, taken());
		if (relay_absence_concerns(request.op))
			relay_absence_end(absence, &request, &window, &failed);
		cr_expect_eq(taken(), effects[opcode], "%s, failed: %u", request.op->name, taken());
		end();
	}
}

Test(absence, both_names_of_an_exchange_come_to_be)
{
	const union in in = {.rename = {.newdir = DIR + 1, .flags = 1u << 1}};
	struct absence_request request = request_of(FUSE_RENAME2, DIR, &in, "n");

	request.args.name2 = "m";
	begin_with(&trust_complete, false);
	know_all();
	whole(&request, 0, NULL, 0);
	cr_expect_eq(taken(), TAKES_NAME | TAKES_OTHER);
	end();
}

Test(absence, an_ioctl_of_a_directory_that_may_write_takes_all_back)
{
	union in in = {.ioctl = {.flags = FUSE_IOCTL_DIR, .cmd = 0x80086601u /* FS_IOC_GETFLAGS */}};
	const struct absence_request request = request_of(FUSE_IOCTL, DIR, &in, NULL);

	begin_with(&trust_complete, false);
	know_all();
	whole(&request, 0, NULL, 0);
	cr_expect_eq(taken(), TAKES_XATTR);
	in.ioctl.cmd = 0x40086602u; /* FS_IOC_SETFLAGS */
	know_all();
	whole(&request, 0, NULL, 0);
	cr_expect_eq(taken(), TAKES_NAME | TAKES_OTHER | TAKES_XATTR);
	end();
}

/* It may make any name at any moment of it. */
Test(absence, while_an_ioctl_of_a_directory_is_under_way_nothing_is_learnt)
{
	const union in in = {.ioctl = {.flags = FUSE_IOCTL_DIR, .cmd = 0x40086602u /* FS_IOC_SETFLAGS */}};
	const struct absence_request ioctl = request_of(FUSE_IOCTL, DIR, &in, NULL);
	const struct absence_request early = request_of(FUSE_LOOKUP, DIR + 1, NULL, "early");
	const struct absence_request late = request_of(FUSE_LOOKUP, DIR + 1, NULL, "late");
	const struct absence_reply missing = {.error = ENOENT}, done = {0};
	struct absence_window changes = {0}, early_window = {0}, late_window = {0};

	begin_with(&trust_complete, false);
	cr_assert_eq(relay_absence_begin(absence, &early, &early_window), 0);
	cr_assert_eq(relay_absence_begin(absence, &ioctl, &changes), 0);
	lookup(DIR + 1, "within", ENOENT, 0, 0);
	cr_assert_eq(relay_absence_begin(absence, &late, &late_window), 0);
	relay_absence_end(absence, &ioctl, &changes, &done);
	relay_absence_end(absence, &early, &early_window, &missing);
	relay_absence_end(absence, &late, &late_window, &missing);
	cr_expect_eq(fake_absences_lookup(fake, DIR + 1, "early"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR + 1, "within"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR + 1, "late"), 0);
	lookup(DIR + 1, "after", ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR + 1, "after"), ENOENT);
	end();
}

Test(absence, a_batch_forget_is_as_many_forgets)
{
	const union in in = {.forget = {.count = 2}};
	const struct fuse_forget_one items[] = {{.nodeid = DIR}, {.nodeid = DIR + 1}};
	struct absence_request request = request_of(FUSE_BATCH_FORGET, 0, &in, NULL);

	request.args.data = items;
	request.args.data_size = sizeof(items);
	begin_with(&trust_complete, false);
	know_all();
	whole(&request, 0, NULL, 0);
	cr_expect_eq(taken(), TAKES_NAME | TAKES_OTHER | TAKES_XATTR);
	end();
}

/* ---- attributes ------------------------------------------------------------------ */

Test(absence, attributes_are_absent_where_there_is_a_time_for_it)
{
	begin_with(&trust_none, false);
	getxattr(DIR, "security.capability", ENODATA);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), 0);
	end();
	begin_with(&trust_sole, false);
	getxattr(DIR, "security.capability", ENODATA);
	getxattr(DIR, "user.mine", ENODATA);
	getxattr(DIR, "system.posix_acl_access", 0);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), ENODATA);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "system.posix_acl_access"), 0);
	cr_expect_eq(fake_absences_count(fake, FAKE_XATTR), 1);
	end();
}

Test(absence, an_attribute_that_is_set_while_it_is_asked_for_is_not_absent)
{
	static const union in in;
	const struct absence_request get = request_of(FUSE_GETXATTR, DIR, &in, "security.capability");
	const struct absence_reply missing = {.error = ENODATA};
	struct absence_window window = {0};

	begin_with(&trust_sole, false);
	cr_assert_eq(relay_absence_begin(absence, &get, &window), 0);
	named(FUSE_SETXATTR, DIR, "security.capability", 0, 0);
	relay_absence_end(absence, &get, &window, &missing);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), 0);
	end();
}

/* ---- complete directories ---------------------------------------------------------- */

Test(absence, a_directory_that_was_read_to_its_end_is_complete)
{
	begin_with(&trust_complete, false);
	list();
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "a"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "b"), 0);
	cr_expect_eq(fake_absences_count(fake, FAKE_PRESENT), 2);
	end();
}

Test(absence, and_so_with_readdirplus_in_several_replies)
{
	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_as(FUSE_READDIRPLUS, DIR, 5, 0, NAMES("..", "a"));
	readdir_as(FUSE_READDIR, DIR, 5, 2, NAMES("b", "."));
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	readdir_as(FUSE_READDIRPLUS, DIR, 5, 4, NULL);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "b"), 0);
	end();
}

Test(absence, without_that_trust_it_is_not)
{
	begin_with(&trust_sole, false);
	list();
	cr_expect_eq(fake_absences_count(fake, FAKE_COMPLETE), 0);
	cr_expect_eq(fake_absences_count(fake, FAKE_PRESENT), 0);
	end();
}

static void expect_incomplete(const char *what)
{
	cr_expect_eq(fake_absences_count(fake, FAKE_COMPLETE), 0, "%s", what);
	end();
}

Test(absence, what_was_not_read_from_begin_to_end_is_not_complete)
{
	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 2, NULL);
	expect_incomplete("an end somewhere");

	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES("a", "b"));
	readdir_reply(DIR, 5, 1, NULL);
	expect_incomplete("a seek back");

	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	opendir_reply(DIR, 6);
	readdir_reply(DIR, 5, 0, NAMES("a", "b"));
	readdir_reply(DIR, 6, 2, NULL);
	expect_incomplete("half by one open file, half by another");

	begin_with(&trust_complete, false);
	readdir_reply(DIR, 5, 0, NULL);
	expect_incomplete("never opened");

	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES("a/b"));
	readdir_reply(DIR, 5, 1, NULL);
	expect_incomplete("a name that is none");
}

Test(absence, what_changed_since_it_was_opened_is_not_complete)
{
	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	named(FUSE_CREATE, DIR, "new", 0, 7);
	readdir_reply(DIR, 5, 0, NAMES("a"));
	readdir_reply(DIR, 5, 1, NULL);
	expect_incomplete("it may list what was there when it was opened");

	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES("a"));
	named(FUSE_UNLINK, DIR, "a", 0, 0);
	readdir_reply(DIR, 5, 1, NULL);
	expect_incomplete("a name went");

	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES("a"));
	relay_absence_incarnation(absence);
	readdir_reply(DIR, 5, 1, NULL);
	expect_incomplete("another backend goes on with it");
}

Test(absence, the_second_listing_is_good_again)
{
	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	named(FUSE_CREATE, DIR, "new", 0, 7);
	readdir_reply(DIR, 5, 0, NAMES("a"));
	readdir_reply(DIR, 5, 1, NULL);
	list();
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	end();
}

Test(absence, names_come_and_go_in_a_complete_directory)
{
	begin_with(&trust_complete, false);
	list();
	named(FUSE_CREATE, DIR, "c", 0, 7);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	named(FUSE_UNLINK, DIR, "a", 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "a"), ENOENT);
	named(FUSE_RMDIR, DIR, "b", ENOTEMPTY, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "b"), 0);
	named(FUSE_MKNOD, DIR, "d", EEXIST, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "d"), 0, "one too many does no harm");
	cr_expect_eq(fake_absences_lookup(fake, DIR, "e"), ENOENT);
	end();
}

Test(absence, a_rename_moves_the_name)
{
	union in in = {.rename = {.newdir = DIR}};
	struct absence_request request = request_of(FUSE_RENAME2, DIR, &in, "a");

	request.args.name2 = "z";
	begin_with(&trust_complete, false);
	list();
	whole(&request, 0, NULL, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "a"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "z"), 0);
	in.rename.flags = 1u << 2; /* WHITEOUT */
	request.args.name = "b";
	whole(&request, 0, NULL, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "b"), 0);
	end();
}

Test(absence, a_directory_is_born_complete)
{
	begin_with(&trust_complete, false);
	named(FUSE_MKDIR, DIR, "d", 0, 77);
	cr_expect_eq(fake_absences_lookup(fake, 77, "x"), ENOENT);
	named(FUSE_CREATE, 77, "x", 0, 78);
	cr_expect_eq(fake_absences_lookup(fake, 77, "x"), 0);
	named(FUSE_MKDIR, DIR, "e", EEXIST, 79);
	cr_expect_eq(fake_absences_lookup(fake, 79, "x"), 0);
	end();
}

Test(absence, not_if_somebody_was_quicker_or_it_may_have_been_made_before)
{
	static const union in in;
	struct absence_request request = request_of(FUSE_MKDIR, DIR, &in, "d");
	const struct fuse_entry_out entry = {.nodeid = 77};
	const struct absence_reply reply = {.payload = &entry, .size = sizeof(entry)};
	struct absence_window window = {0};

	begin_with(&trust_complete, false);
	cr_assert_eq(relay_absence_begin(absence, &request, &window), 0);
	named(FUSE_CREATE, 77, "x", 0, 78);
	relay_absence_end(absence, &request, &window, &reply);
	cr_expect_eq(fake_absences_lookup(fake, 77, "x"), 0);
	end();

	begin_with(&trust_complete, false);
	request.redo = true;
	whole(&request, 0, &entry, sizeof(entry));
	cr_expect_eq(fake_absences_lookup(fake, 77, "x"), 0);
	end();
}

Test(absence, long_names_are_left_to_the_filesystem)
{
	char name[300], longest[256];

	memset(name, 'n', sizeof(name));
	name[299] = '\0';
	memset(longest, 'm', 255);
	longest[255] = '\0';
	begin_with(&trust_complete, false);
	opendir_reply(DIR, 5);
	readdir_reply(DIR, 5, 0, NAMES("a", name, longest));
	readdir_reply(DIR, 5, 3, NULL);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, DIR, longest), 0);
	named(FUSE_CREATE, DIR, NULL, 0, 7);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	lookup(DIR, name, ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, name), 0);
	end();
}

/* ---- room ------------------------------------------------------------------------- */

Test(absence, a_directory_that_does_not_fit_is_not_complete_and_not_tried_again)
{
	unsigned calls;

	begin_with(&trust_complete, false);
	fake->present_room = 1;
	list();
	cr_expect_eq(fake_absences_count(fake, FAKE_COMPLETE), 0);
	cr_expect_eq(fake->sweeps, 1);
	cr_expect_eq(fake_absences_count(fake, FAKE_PRESENT), 0);
	calls = fake->calls;
	list();
	cr_expect_eq(fake->calls, calls);
	end();
}

Test(absence, a_name_that_does_not_fit_ends_completeness_before_it_is_made)
{
	static const union in in;
	const struct absence_request request = request_of(FUSE_CREATE, DIR, &in, "c");
	struct absence_window window = {0};

	begin_with(&trust_complete, false);
	fake->present_room = 2;
	list();
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT);
	cr_expect_eq(relay_absence_begin(absence, &request, &window), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "d"), 0);
	relay_absence_close(absence, &window);
	end();
}

/* Names of directories that are of no use any more make room, those of others stay. */
Test(absence, a_sweep_keeps_what_is_complete_or_listed)
{
	begin_with(&trust_complete, false);
	list();
	opendir_reply(20, 1);
	readdir_reply(20, 1, 0, NAMES("x"));
	opendir_reply(30, 1);
	readdir_reply(30, 1, 0, NAMES("y"));
	named(FUSE_CREATE, 30, "z", 0, 7);
	readdir_reply(30, 1, 1, NAMES("z"));
	fake->present_room = fake_absences_count(fake, FAKE_PRESENT);
	opendir_reply(40, 1);
	readdir_reply(40, 1, 0, NAMES("w"));
	cr_expect_eq(fake->sweeps, 1);
	cr_expect(fake_absences_has(fake, FAKE_PRESENT, DIR, "a"));
	cr_expect(fake_absences_has(fake, FAKE_PRESENT, 20, "x"));
	cr_expect(!fake_absences_has(fake, FAKE_PRESENT, 30, "y"));
	readdir_reply(20, 1, 1, NULL);
	cr_expect_eq(fake_absences_lookup(fake, 20, "y"), ENOENT);
	cr_expect_eq(fake_absences_lookup(fake, 20, "x"), 0);
	end();
}

/* More directories than the table has places for in one of its sets. */
Test(absence, who_is_put_out_of_the_table_is_complete_no_more)
{
	uint64_t dirs[ABSENCE_PLACES + 3];
	unsigned found = 0, complete = 0;

	for (uint64_t id = 2; found < ABSENCE_PLACES + 3; id++)
		if (((id * 0x9e3779b97f4a7c15ull) >> 52 & (ABSENCE_SETS - 1)) == 0)
			dirs[found++] = id;
	begin_with(&trust_complete, false);
	for (unsigned i = 0; i < found; i++)
		named(FUSE_MKDIR, DIR, "d", 0, dirs[i]);
	for (unsigned i = 0; i < found; i++)
		complete += fake_absences_has(fake, FAKE_COMPLETE, dirs[i], "");
	cr_expect_eq(complete, ABSENCE_PLACES);
	for (unsigned i = 0; i < found; i++) {
		named(FUSE_CREATE, dirs[i], "new", 0, 5);
		cr_expect_eq(fake_absences_lookup(fake, dirs[i], "new"), 0, "%u", i);
	}
	end();
}

/* ---- what cannot be taken back ------------------------------------------------------ */

Test(absence, what_cannot_be_taken_back_is_not_changed)
{
	static const union in in;
	const struct absence_request request = request_of(FUSE_CREATE, DIR, &in, "n");
	struct absence_window window = {0};

	begin_with(&trust_complete, false);
	lookup(DIR, "n", ENOENT, 0, 0);
	fake->fail_at = fake->calls + 1;
	fake->fail_with = -EBUSY;
	cr_expect_eq(relay_absence_begin(absence, &request, &window), -EBUSY);
	cr_expect_eq(window.changes, 0);
	lookup(DIR, "m", ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "m"), 0, "nothing is written down from here on");
	end();
}

/* ---- other incarnations --------------------------------------------------------------- */

Test(absence, what_a_dead_one_has_written_down_is_taken_back_by_the_next)
{
	begin_with(&trust_complete, false);
	list();
	named(FUSE_MKDIR, DIR, "d", 0, 77);
	lookup(20, "n", ENOENT, 0, 0);
	getxattr(30, "security.capability", ENODATA);
	relay_absence_free(absence);
	begin_with(&trust_complete, true);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), ENOENT, "it is still true");
	lookup(DIR, "c", ENOENT, 0, 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "e"), ENOENT, "an absent name takes nothing from it");
	named(FUSE_CREATE, DIR, "c", 0, 7);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	named(FUSE_CREATE, 20, "n", 0, 7);
	cr_expect_eq(fake_absences_lookup(fake, 20, "n"), 0);
	named(FUSE_SETXATTR, 30, "security.capability", 0, 0);
	cr_expect_eq(fake_absences_getxattr(fake, 30, "security.capability"), 0);
	list();
	cr_expect_eq(fake_absences_lookup(fake, DIR, "e"), ENOENT, "and is learnt anew");
	end();
}

Test(absence, what_an_earlier_one_was_asked_is_not_believed)
{
	const struct absence_request request = request_of(FUSE_LOOKUP, DIR, NULL, "n");
	const struct absence_reply missing = {.error = ENOENT};
	struct absence_window window = {0};

	begin_with(&trust_sole, false);
	cr_assert_eq(relay_absence_begin(absence, &request, &window), 0);
	relay_absence_incarnation(absence);
	relay_absence_end(absence, &request, &window, &missing);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	end();
}

/* ---- notifications --------------------------------------------------------------------- */

Test(absence, an_invalidated_name_may_be_there)
{
	const struct fuse_notify_inval_entry_out entry = {.parent = DIR, .namelen = 1};
	const struct fuse_notify_delete_out gone = {.parent = DIR, .child = 9, .namelen = 1};

	begin_with(&trust_complete, false);
	list();
	lookup(20, "n", ENOENT, 0, 0);
	notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), "c");
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "d"), ENOENT);
	notify(FUSE_NOTIFY_DELETE, &gone, sizeof(gone), "d");
	cr_expect_eq(fake_absences_lookup(fake, DIR, "d"), 0);
	cr_expect_eq(fake_absences_lookup(fake, 20, "n"), ENOENT);
	cr_expect_eq(fake_absences_count(fake, FAKE_STALE), 0);
	end();
}

Test(absence, and_is_stale_where_the_gate_is_asked_for)
{
	const struct fuse_notify_inval_entry_out entry = {.parent = DIR, .namelen = 1};

	begin_with(&trust_gate, false);
	list();
	notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), "a");
	cr_expect(fake_absences_has(fake, FAKE_STALE, DIR, "a"));
	lookup(DIR, "a", 0, 7, 1);
	cr_expect(!fake_absences_has(fake, FAKE_STALE, DIR, "a"), "it was looked up again");
	end();
}

Test(absence, an_invalidated_inode_is_known_no_more)
{
	const struct fuse_notify_inval_inode_out inode = {.ino = DIR};

	begin_with(&trust_complete, false);
	list();
	getxattr(DIR, "security.capability", ENODATA);
	notify(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode), "");
	cr_expect_eq(fake_absences_lookup(fake, DIR, "c"), 0);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), 0);
	end();
}

Test(absence, an_epoch_or_a_code_that_is_not_known_takes_all_back)
{
	begin_with(&trust_complete, false);
	know_all();
	notify(FUSE_NOTIFY_INC_EPOCH, "", 0, "");
	cr_expect_eq(taken(), TAKES_NAME | TAKES_OTHER | TAKES_XATTR);
	know_all();
	notify(1000, "", 0, "");
	cr_expect_eq(taken(), TAKES_NAME | TAKES_OTHER | TAKES_XATTR);
	know_all();
	notify(FUSE_NOTIFY_RESEND, "", 0, "");
	cr_expect_eq(taken(), 0);
	end();
}

Test(absence, a_notification_comes_between_a_question_and_its_answer)
{
	const struct fuse_notify_inval_entry_out entry = {.parent = DIR, .namelen = 1};
	const struct absence_request request = request_of(FUSE_LOOKUP, DIR, NULL, "n");
	const struct absence_reply missing = {.error = ENOENT};
	struct absence_window window = {0};

	begin_with(&trust_sole, false);
	cr_assert_eq(relay_absence_begin(absence, &request, &window), 0);
	notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), "n");
	relay_absence_end(absence, &request, &window, &missing);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	end();
}

/* Of any bytes. */
Test(absence, a_malformed_notification_does_nothing)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_inval_entry_out out;
		char name[4];
	} packet = {{.error = FUSE_NOTIFY_INVAL_ENTRY}, {.parent = DIR, .namelen = UINT32_MAX}, "n"};

	begin_with(&trust_sole, false);
	lookup(DIR, "n", ENOENT, 0, 0);
	for (uint32_t size = 0; size <= sizeof(packet); size++)
		cr_expect_eq(relay_absence_notify(absence, &packet, size), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), ENOENT);
	end();
}

/* ---- what a filesystem says by itself ----------------------------------------------------- */

Test(absence, a_filesystem_may_say_what_it_knows)
{
	begin_with(&trust_none, false);
	cr_expect_eq(relay_absence_put(absence, DIR, "n", ABSENCE_FOREVER), 0);
	cr_expect_eq(relay_absence_put_xattr(absence, DIR, "security.capability", 5 * SECOND), 0);
	cr_expect_eq(relay_absence_put_xattr(absence, DIR, "user.mine", 5), -EINVAL);
	cr_expect_eq(relay_absence_complete(absence, 20, NAMES("a"), 1), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), ENOENT);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), ENODATA);
	cr_expect_eq(fake_absences_lookup(fake, 20, "a"), 0);
	cr_expect_eq(fake_absences_lookup(fake, 20, "b"), ENOENT);
	cr_expect_eq(relay_absence_drop(absence, DIR, "n"), 0);
	cr_expect_eq(relay_absence_drop(absence, 20, "b"), 0);
	cr_expect_eq(relay_absence_drop_xattrs(absence, DIR), 0);
	cr_expect_eq(fake_absences_lookup(fake, DIR, "n"), 0);
	cr_expect_eq(fake_absences_lookup(fake, 20, "b"), 0);
	cr_expect_eq(fake_absences_getxattr(fake, DIR, "security.capability"), 0);
	end();
}

Test(absence, but_not_while_it_is_being_changed)
{
	static const union in in;
	const struct absence_request request = request_of(FUSE_CREATE, DIR, &in, "x");
	struct absence_window window = {0};

	begin_with(&trust_complete, false);
	cr_assert_eq(relay_absence_begin(absence, &request, &window), 0);
	cr_expect_eq(relay_absence_put(absence, DIR, "n", ABSENCE_FOREVER), -EAGAIN);
	cr_expect_eq(relay_absence_complete(absence, DIR, NAMES("a"), 1), -EAGAIN);
	relay_absence_close(absence, &window);
	cr_expect_eq(relay_absence_complete(absence, DIR, NAMES("a"), 1), 0);
	end();
}
