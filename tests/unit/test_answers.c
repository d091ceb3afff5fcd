/*
 * Answers of relayd's own: what is remembered, what makes it untrue, from when to when, and
 * that nodes kept for them are counted and given back as any other.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/translate_rig.h"

static struct translate_rig rig;
static struct nodes *const nodes = &rig.translate.nodes;
static struct translate_answer answer;

/* The backend's ids, and for how long what it says holds. */
enum { DIR_ID = 7000, FILE_ID = 7001, OTHER_ID = 7002, FILE_FH = 8001, VALID = 1000 };

/* The kernel's. */
static uint64_t dir, file, file_fh;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct fuse_entry_out entry_of(uint64_t id, uint32_t mode)
{
	struct fuse_entry_out entry = translate_rig_entry(id, id + 100000, mode);

	entry.entry_valid = entry.attr_valid = VALID;
	return entry;
}

/* Sends the request in the rig, which the backend has then. */
static struct translate_note sent(void)
{
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	return rig.note;
}

/* The reply to a request that was sent before others: it and its note are put back. */
struct flight {
	uint8_t request[512];
	uint32_t size;
	struct translate_note note;
};

static struct flight fly(void)
{
	struct flight flight;

	rig.note = (struct translate_note){0};
	sent();
	cr_assert_leq(rig.size, sizeof(flight.request));
	memcpy(flight.request, rig.request, rig.size);
	flight.size = rig.size;
	flight.note = rig.note;
	rig.note = (struct translate_note){0};
	return flight;
}

static int land(struct flight *flight, int error, const void *payload, uint32_t size)
{
	memcpy(rig.request, flight->request, flight->size);
	rig.size = flight->size;
	rig.note = flight->note;
	return translate_rig_reply(&rig, error, payload, size);
}

static void lookup_make(uint64_t parent, const char *name)
{
	translate_rig_request(&rig, FUSE_LOOKUP, parent, NULL, 0, name, NULL);
}

/* The kernel looks it up, and the backend has it; as a rule for VALID seconds. */
static uint64_t look_entry(uint64_t parent, const char *name, struct fuse_entry_out entry)
{
	lookup_make(parent, name);
	sent();
	cr_assert_eq(translate_rig_reply(&rig, 0, &entry, sizeof(entry)), 0);
	return ((const struct fuse_entry_out *)rig.reply.payload)->nodeid;
}

static uint64_t look(uint64_t parent, const char *name, uint64_t id, uint32_t mode)
{
	return look_entry(parent, name, entry_of(id, mode));
}

static void look_absent(uint64_t parent, const char *name)
{
	look_entry(parent, name, (struct fuse_entry_out){.entry_valid = VALID});
}

static bool name_answered(uint64_t parent, const char *name, bool any)
{
	lookup_make(parent, name);
	return translate_answer(&rig.translate, rig.request, rig.size, any, now_ns(), &answer);
}

/* Whether there is an answer; what that has counted is forgotten again. */
static bool known(uint64_t parent, const char *name)
{
	bool answered = name_answered(parent, name, true);

	if (answered && answer.payload.entry.nodeid)
		translate_rig_forget(&rig, answer.payload.entry.nodeid, 1);
	return answered;
}

static bool attr_known(uint64_t nodeid)
{
	const struct fuse_getattr_in in = {0};

	translate_rig_request(&rig, FUSE_GETATTR, nodeid, &in, sizeof(in), NULL, NULL);
	return translate_answer(&rig.translate, rig.request, rig.size, true, now_ns(), &answer);
}

static struct flight getattr_fly(uint64_t nodeid)
{
	const struct fuse_getattr_in in = {0};

	translate_rig_request(&rig, FUSE_GETATTR, nodeid, &in, sizeof(in), NULL, NULL);
	return fly();
}

static void getattr_land(struct flight *flight)
{
	const struct fuse_attr_out out = {.attr_valid = VALID, .attr = {.ino = 5, .mode = S_IFREG | 0600}};

	cr_assert_eq(land(flight, 0, &out, sizeof(out)), 0);
}

static void getattr(uint64_t nodeid)
{
	struct flight flight = getattr_fly(nodeid);

	getattr_land(&flight);
}

static void setup(void)
{
	cr_assert_eq(translate_rig_init(&rig), 0);
	dir = look(FUSE_ROOT_ID, "dir", DIR_ID, S_IFDIR | 0755);
	file = look(dir, "file", FILE_ID, S_IFREG | 0644);
	file_fh = translate_rig_open(&rig, file, O_RDWR, false, FILE_FH);
	cr_assert(dir && file && file_fh);
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(answers, .init = setup, .fini = teardown, .timeout = 60);

/* ---- what is remembered ------------------------------------------------------ */

Test(answers, a_name_that_the_kernel_has_forgotten_is_answered_with_what_is_left_of_its_time)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG | 0640);
	const struct fuse_entry_out *entry = &answer.payload.entry;

	translate_rig_forget(&rig, nodeid, 1);
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 0, "it is kept");
	cr_assert(name_answered(dir, "other", false));
	cr_expect_eq(answer.header.len, sizeof(answer.header) + sizeof(*entry));
	cr_expect_eq(answer.header.error, 0);
	cr_expect_eq(entry->nodeid, nodeid);
	cr_expect_eq(entry->generation, 0);
	cr_expect_eq(entry->attr.ino, OTHER_ID + 100000);
	cr_expect_eq(entry->attr.mode, S_IFREG | 0640);
	cr_expect_eq(entry->attr.size, 5);
	cr_expect(entry->entry_valid < VALID && entry->entry_valid > VALID - 60);
	cr_expect(entry->attr_valid < VALID && entry->attr_valid > VALID - 60);
	cr_expect_eq(nodes_get(nodes, nodeid)->nlookup, 1);
}

Test(answers, what_the_kernel_counts_it_wants_to_hear_from_the_backend)
{
	cr_expect_not(name_answered(dir, "file", false));
	cr_assert(name_answered(dir, "file", true), "unless there is none");
	cr_expect_eq(nodes_get(nodes, file)->nlookup, 2);
}

Test(answers, attributes_are_answered_while_there_is_no_backend)
{
	const struct fuse_getattr_in in = {.getattr_flags = FUSE_GETATTR_FH, .fh = file_fh};

	cr_assert(attr_known(file));
	cr_expect_eq(answer.header.len, sizeof(answer.header) + sizeof(answer.payload.attr));
	cr_expect_eq(answer.payload.attr.attr.ino, FILE_ID + 100000);
	cr_expect(answer.payload.attr.attr_valid < VALID && answer.payload.attr.attr_valid > VALID - 60);
	translate_rig_request(&rig, FUSE_GETATTR, file, &in, sizeof(in), NULL, NULL);
	cr_expect(translate_answer(&rig.translate, rig.request, rig.size, true, now_ns(), &answer));
	cr_expect_not(translate_answer(&rig.translate, rig.request, rig.size, false, now_ns(), &answer));
	handles_lost(handles_get(&rig.translate.handles, file_fh));
	cr_expect_not(translate_answer(&rig.translate, rig.request, rig.size, true, now_ns(), &answer));
}

Test(answers, what_is_not_to_be_believed_is_not_remembered)
{
	struct fuse_entry_out entry = entry_of(OTHER_ID, S_IFREG);

	entry.entry_valid = 0;
	look_entry(dir, "a", entry);
	cr_expect_not(known(dir, "a"));
	entry.entry_valid = VALID;
	entry.attr_valid = 0;
	look_entry(dir, "b", entry);
	cr_expect_not(known(dir, "b"));
	look_entry(dir, "c", (struct fuse_entry_out){0});
	cr_expect_not(known(dir, "c"));
	lookup_make(dir, "d");
	sent();
	cr_assert_eq(translate_rig_reply(&rig, -ENOENT, NULL, 0), 0);
	cr_expect_not(known(dir, "d"), "an error may be the caller's");
	entry = entry_of(OTHER_ID, S_IFREG);
	entry.entry_valid = 0;
	entry.entry_valid_nsec = 999999999;
	look_entry(dir, "e", entry);
	cr_expect(known(dir, "e"), "less than a second is enough");
}

Test(answers, nothing_is_answered_after_its_time)
{
	const uint64_t second = 1000000000u;

	struct fuse_entry_out entry = entry_of(OTHER_ID, S_IFREG);

	entry.entry_valid = 10;
	look_entry(dir, "short", entry);
	lookup_make(dir, "short");
	cr_expect_not(translate_answer(&rig.translate, rig.request, rig.size, true, now_ns() + 10 * second, &answer));
	cr_expect(known(dir, "short"));
	entry.entry_valid = VALID;
	entry.attr_valid = 10;
	look_entry(dir, "short", entry);
	lookup_make(dir, "short");
	cr_expect_not(translate_answer(&rig.translate, rig.request, rig.size, true, now_ns() + 10 * second, &answer));
	cr_expect(known(dir, "short"));
	cr_expect(known(dir, "file"));
	look_absent(dir, "none");
	lookup_make(dir, "file");
	cr_expect_not(
		translate_answer(&rig.translate, rig.request, rig.size, true, now_ns() + VALID * second, &answer));
	lookup_make(dir, "none");
	cr_expect_not(
		translate_answer(&rig.translate, rig.request, rig.size, true, now_ns() + VALID * second, &answer));
}

Test(answers, times_without_end_are_long)
{
	struct fuse_entry_out entry = entry_of(OTHER_ID, S_IFREG);

	entry.entry_valid = entry.attr_valid = UINT64_MAX;
	entry.entry_valid_nsec = entry.attr_valid_nsec = UINT32_MAX;
	look_entry(dir, "other", entry);
	cr_assert(name_answered(dir, "other", true));
	cr_expect_gt(answer.payload.entry.attr_valid, 900000000u);
	cr_expect_lt(answer.payload.entry.attr_valid_nsec, 1000000000u);
}

Test(answers, names_without_a_node_are_answered_as_such)
{
	char longest[ANSWERS_NAME_MAX + 2] = {0};

	memset(longest, 'n', ANSWERS_NAME_MAX);
	look_absent(dir, longest);
	cr_assert(name_answered(dir, longest, false));
	cr_expect_eq(answer.payload.entry.nodeid, 0);
	cr_expect(answer.payload.entry.entry_valid < VALID && answer.payload.entry.entry_valid > VALID - 60);
	cr_expect_not(known(FUSE_ROOT_ID, longest));
	longest[ANSWERS_NAME_MAX] = 'n';
	cr_expect_not(known(dir, longest));
	look_absent(dir, longest);
	cr_expect_not(known(dir, longest), "too long to be remembered");
}

Test(answers, listings_are_remembered)
{
	const struct fuse_read_in in = {.fh = translate_rig_open(&rig, dir, O_RDONLY, true, 9), .size = 4096};
	_Alignas(8) uint8_t record[FUSE_NAME_OFFSET_DIRENTPLUS + 8] = {0};

	*(struct fuse_direntplus *)record = (struct fuse_direntplus){
		.entry_out = entry_of(OTHER_ID, S_IFREG),
		.dirent = {.ino = 1, .namelen = 5},
	};
	memcpy(record + FUSE_NAME_OFFSET_DIRENTPLUS, "other", 5);
	translate_rig_request(&rig, FUSE_READDIRPLUS, dir, &in, sizeof(in), NULL, NULL);
	sent();
	cr_assert_eq(translate_rig_reply(&rig, 0, record, sizeof(record)), 0);
	cr_expect(known(dir, "other"));
	cr_expect_not(attr_known(dir), "it was read");
}

/* ---- what changes -------------------------------------------------------------- */

/* A request of the row on the file, with everything in it that names it. */
static void change_make(uint32_t opcode)
{
	const struct relay_op *op = relay_op_get(opcode);
	uint8_t in[256] = {0};
	bool named = op->shape == RELAY_SHAPE_IN_NAME_DATA || op->shape == RELAY_SHAPE_NAME;

	for (unsigned i = 0; i < RELAY_IDS_MAX; i++) {
		if (op->ids[i].bit)
			memcpy(in, &(uint32_t){op->ids[i].bit}, sizeof(uint32_t));
		if (op->ids[i].kind == RELAY_ID_FH)
			memcpy(in + op->ids[i].at, &file_fh, sizeof(file_fh));
		if (op->ids[i].kind == RELAY_ID_NODE)
			memcpy(in + op->ids[i].at, &file, sizeof(file));
		if (op->ids[i].kind == RELAY_ID_OFLAGS)
			memcpy(in + op->ids[i].at, &(uint32_t){O_RDWR | O_TRUNC}, sizeof(uint32_t));
	}
	translate_rig_request(&rig, opcode, file, in, op->in_size, named ? "user.name" : NULL, NULL);
}

static void expect_change(uint32_t opcode)
{
	const char *name = relay_op_get(opcode)->name;
	struct flight change, before, within;

	getattr(file);
	cr_assert(attr_known(file), "%s", name);
	before = getattr_fly(file);
	change_make(opcode);
	change = fly();
	cr_expect_not(attr_known(file), "%s: from when it is sent", name);
	cr_expect_not(known(dir, "file"), "%s: by name too", name);
	within = getattr_fly(file);
	getattr_land(&before);
	cr_expect_not(attr_known(file), "%s: asked before, said while it is on", name);
	before = getattr_fly(file);
	getattr(file);
	cr_expect_not(attr_known(file), "%s: asked and said while it is on", name);
	land(&change, -EIO, NULL, 0);
	cr_expect_not(attr_known(file), "%s: until something is said of it", name);
	getattr_land(&within);
	cr_expect_not(attr_known(file), "%s: asked while it was on", name);
	getattr_land(&before);
	cr_expect_not(attr_known(file), "%s: asked while it was on", name);
	getattr(file);
	cr_expect(attr_known(file), "%s", name);
}

Test(answers, attributes_are_void_while_something_may_change_them)
{
	static const uint32_t opcodes[] = {FUSE_SETATTR,
					   FUSE_READLINK,
					   FUSE_READ,
					   FUSE_WRITE,
					   FUSE_FSYNC,
					   FUSE_SETXATTR,
					   FUSE_REMOVEXATTR,
					   FUSE_FLUSH,
					   FUSE_IOCTL,
					   FUSE_FALLOCATE,
					   FUSE_OPEN,
					   FUSE_COPY_FILE_RANGE,
					   FUSE_COPY_FILE_RANGE_64,
					   FUSE_RELEASE};

	for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
		expect_change(opcodes[i]);
}

Test(answers, every_other_request_leaves_them)
{
	static const uint32_t opcodes[] = {FUSE_STATFS, FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_GETLK, FUSE_SETLK,
					   FUSE_ACCESS, FUSE_LSEEK,    FUSE_POLL,      FUSE_BMAP};

	for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
		struct flight flight;

		change_make(opcodes[i]);
		flight = fly();
		cr_expect(attr_known(file), "%s", relay_op_get(opcodes[i])->name);
		land(&flight, -EIO, NULL, 0);
		cr_expect(attr_known(file), "%s", relay_op_get(opcodes[i])->name);
	}
}

Test(answers, the_reply_to_a_change_is_remembered)
{
	const struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 77};
	const struct fuse_attr_out out = {.attr_valid = VALID, .attr = {.ino = 5, .mode = S_IFREG, .size = 77}};
	struct flight set, other;

	translate_rig_request(&rig, FUSE_SETATTR, file, &in, sizeof(in), NULL, NULL);
	set = fly();
	cr_assert_eq(land(&set, 0, &out, sizeof(out)), 0);
	cr_assert(attr_known(file));
	cr_expect_eq(answer.payload.attr.attr.size, 77);
	/* Unless there is another. */
	translate_rig_request(&rig, FUSE_SETATTR, file, &in, sizeof(in), NULL, NULL);
	set = fly();
	change_make(FUSE_WRITE);
	other = fly();
	cr_assert_eq(land(&set, 0, &out, sizeof(out)), 0);
	cr_expect_not(attr_known(file));
	land(&other, -EIO, NULL, 0);
	cr_expect_not(attr_known(file));
}

/* A change of names that was sent, of which the reply has not come. */
static struct flight names_fly(uint32_t opcode, uint64_t parent, const char *name, uint64_t newdir, const char *name2)
{
	const struct fuse_rename2_in in = {.newdir = newdir};
	uint8_t other[256] = {0};

	if (relay_op_get(opcode)->shape == RELAY_SHAPE_IN_NAME_NAME)
		translate_rig_request(&rig, opcode, parent, &in, relay_op_get(opcode)->in_size, name, name2);
	else if (opcode == FUSE_SYMLINK)
		translate_rig_request(&rig, opcode, parent, NULL, 0, name, "target");
	else
		translate_rig_request(&rig, opcode, parent, memcpy(other, &file, sizeof(file)),
				      relay_op_get(opcode)->in_size, name, NULL);
	return fly();
}

Test(answers, names_that_are_taken_lead_nowhere_from_when_that_is_sent)
{
	static const uint32_t opcodes[] = {FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2};
	uint64_t other = look(FUSE_ROOT_ID, "other", OTHER_ID, S_IFDIR);

	for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
		uint64_t nodeid = look(dir, "name", 7100 + i, S_IFREG);
		struct flight before, change;

		cr_assert(known(dir, "name"));
		getattr(dir);
		getattr(other);
		lookup_make(dir, "name");
		before = fly();
		change = names_fly(opcodes[i], dir, "name", other, "new");
		cr_expect_not(known(dir, "name"));
		cr_expect_not(attr_known(nodeid));
		cr_expect_not(attr_known(dir));
		cr_assert_eq(
			land(&before, 0, &(struct fuse_entry_out){.entry_valid = VALID}, sizeof(struct fuse_entry_out)),
			0);
		cr_expect_not(known(dir, "name"));
		cr_assert_eq(land(&change, 0, NULL, 0), 0);
		cr_expect_not(known(dir, "name"));
		cr_expect_not(known(other, "new"));
		cr_expect_not(attr_known(nodeid));
		cr_expect_not(attr_known(dir));
		if (relay_op_get(opcodes[i])->shape == RELAY_SHAPE_IN_NAME_NAME) {
			cr_expect_not(attr_known(other));
			look(other, "new", 7100 + i, S_IFREG);
			cr_expect(known(other, "new"));
		}
		cr_expect_not(known(dir, "name"));
	}
}

Test(answers, a_failed_change_may_have_been_made)
{
	struct flight change = names_fly(FUSE_UNLINK, dir, "file", 0, NULL);

	land(&change, -EIO, NULL, 0);
	cr_expect_not(known(dir, "file"));
	getattr(file);
	cr_expect_not(known(dir, "file"));
}

Test(answers, a_name_that_was_found_before_it_was_taken_is_not_answered)
{
	const struct fuse_entry_out entry = entry_of(FILE_ID, S_IFREG | 0644);
	struct flight before, change;

	lookup_make(dir, "file");
	before = fly();
	change = names_fly(FUSE_UNLINK, dir, "file", 0, NULL);
	cr_assert_eq(land(&change, 0, NULL, 0), 0);
	cr_assert_eq(land(&before, 0, &entry, sizeof(entry)), 0);
	getattr(file);
	cr_expect(attr_known(file));
	cr_expect_not(known(dir, "file"));
}

Test(answers, a_name_that_was_absent_before_it_was_made_perhaps_is_not_answered)
{
	const struct fuse_entry_out absent = {.entry_valid = VALID};
	struct flight before, change;

	lookup_make(dir, "new");
	before = fly();
	change = names_fly(FUSE_MKDIR, dir, "new", 0, NULL);
	land(&change, -EIO, NULL, 0);
	cr_assert_eq(land(&before, 0, &absent, sizeof(absent)), 0);
	cr_expect_not(known(dir, "new"));
}

Test(answers, a_name_that_is_not_to_be_believed_any_more_is_not_answered)
{
	struct fuse_entry_out entry = entry_of(FILE_ID, S_IFREG | 0644);

	cr_assert(known(dir, "file"));
	entry.entry_valid = 0;
	look_entry(dir, "file", entry);
	cr_expect(attr_known(file));
	cr_expect_not(known(dir, "file"));
}

Test(answers, a_name_that_comes_back_is_not_what_it_was)
{
	struct flight change;

	look(dir, "file", OTHER_ID, S_IFREG);
	/* What makes names there keeps what is found from being remembered. */
	change = names_fly(FUSE_MKDIR, dir, "new", 0, NULL);
	cr_assert_eq(look(dir, "file", FILE_ID, S_IFREG | 0644), file);
	land(&change, -EIO, NULL, 0);
	getattr(file);
	cr_expect_not(known(dir, "file"));
}

Test(answers, what_a_rename_replaces_is_not_answered)
{
	uint64_t other = look(FUSE_ROOT_ID, "other", OTHER_ID, S_IFREG);
	struct flight change;

	cr_assert(known(FUSE_ROOT_ID, "other"));
	change = names_fly(FUSE_RENAME, dir, "file", FUSE_ROOT_ID, "other");
	cr_expect_not(known(FUSE_ROOT_ID, "other"));
	cr_expect_not(attr_known(other));
	cr_assert_eq(land(&change, 0, NULL, 0), 0);
	cr_expect_not(known(FUSE_ROOT_ID, "other"));
	getattr(other);
	cr_expect_not(known(FUSE_ROOT_ID, "other"), "nor when there are attributes again");
	look(FUSE_ROOT_ID, "other", FILE_ID, S_IFREG);
	cr_assert(name_answered(FUSE_ROOT_ID, "other", true));
	cr_expect_eq(answer.payload.entry.nodeid, file);
}

Test(answers, names_that_are_made_are_absent_no_more)
{
	static const uint32_t opcodes[] = {FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR, FUSE_LINK, FUSE_CREATE, FUSE_RENAME};

	for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
		const struct fuse_entry_out absent = {.entry_valid = VALID};
		struct flight change, before;
		char name[16];

		snprintf(name, sizeof(name), "new%u", i);
		look_absent(dir, name);
		getattr(dir);
		cr_assert(known(dir, name));
		lookup_make(dir, name);
		before = fly();
		if (opcodes[i] == FUSE_RENAME)
			change = names_fly(opcodes[i], FUSE_ROOT_ID, "whatever", dir, name);
		else
			change = names_fly(opcodes[i], dir, name, 0, NULL);
		cr_expect_not(known(dir, name), "%s", name);
		cr_expect_not(attr_known(dir));
		cr_assert_eq(land(&before, 0, &absent, sizeof(absent)), 0);
		cr_expect_not(known(dir, name), "%s", name);
		land(&change, -EIO, NULL, 0);
		cr_expect_not(known(dir, name), "%s", name);
		look_absent(dir, name);
		cr_expect(known(dir, name));
	}
}

Test(answers, what_is_made_is_known)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made = {.entry = entry_of(OTHER_ID, S_IFREG | 0644), .open = {.fh = 77}};
	struct flight change = names_fly(FUSE_CREATE, dir, "new", 0, NULL);

	cr_assert_eq(land(&change, 0, &made, sizeof(made)), 0);
	cr_expect(known(dir, "new"));
}

Test(answers, other_names_of_a_file_have_its_attributes)
{
	struct flight change;
	struct fuse_entry_out entry = entry_of(FILE_ID, S_IFREG | 0644);

	change = names_fly(FUSE_LINK, FUSE_ROOT_ID, "second", 0, NULL);
	cr_expect_not(attr_known(file));
	entry.attr.nlink = 2;
	cr_assert_eq(land(&change, 0, &entry, sizeof(entry)), 0);
	cr_assert(name_answered(FUSE_ROOT_ID, "second", true));
	cr_expect_eq(answer.payload.entry.attr.nlink, 2);
	change = names_fly(FUSE_UNLINK, dir, "file", 0, NULL);
	cr_expect_not(known(FUSE_ROOT_ID, "second"));
	cr_assert_eq(land(&change, 0, NULL, 0), 0);
	cr_expect_not(known(FUSE_ROOT_ID, "second"), "it has one link less");
}

Test(answers, a_name_that_is_not_known_may_be_one_of_any_file)
{
	struct flight change = names_fly(FUSE_UNLINK, FUSE_ROOT_ID, "unseen", 0, NULL);

	cr_expect_not(attr_known(file));
	cr_assert_eq(land(&change, 0, NULL, 0), 0);
	cr_expect_not(attr_known(file));
}

Test(answers, a_name_that_leads_elsewhere_by_itself_is_the_new_one)
{
	uint64_t other = look(dir, "file", OTHER_ID, S_IFREG);

	cr_assert(name_answered(dir, "file", true));
	cr_expect_eq(answer.payload.entry.nodeid, other);
	/* Back without being believed: what was said of the first is not revived. */
	lookup_make(dir, "file");
	sent();
	cr_assert_eq(translate_rig_reply(&rig, -ENOENT, NULL, 0), 0);
	cr_expect_not(known(dir, "file"));
	look_entry(dir, "file", translate_rig_entry(FILE_ID, FILE_ID + 100000, S_IFREG));
	getattr(file);
	cr_expect_not(known(dir, "file"));
}

/* ---- what the backend says ------------------------------------------------------ */

Test(answers, estale_has_everything_looked_up_again)
{
	const struct fuse_getattr_in in = {0};

	look_absent(dir, "none");
	translate_rig_request(&rig, FUSE_GETATTR, dir, &in, sizeof(in), NULL, NULL);
	sent();
	translate_rig_reply(&rig, -ESTALE, NULL, 0);
	cr_expect_not(known(dir, "file"));
	cr_expect_not(known(dir, "none"));
	cr_expect_not(attr_known(file));
}

Test(answers, a_node_that_is_not_there_is_looked_up_again)
{
	change_make(FUSE_GETXATTR);
	sent();
	translate_rig_reply(&rig, -ENOENT, NULL, 0);
	cr_expect_not(known(dir, "file"));
	getattr(file);
	cr_expect_not(known(dir, "file"));
	cr_expect(attr_known(file));
}

static void notify(int code, const void *out, uint32_t size, const char *name)
{
	struct {
		struct fuse_out_header header;
		uint8_t bytes[256];
	} packet = {.header = {.error = code}};
	uint32_t length = size + (name ? (uint32_t)strlen(name) + 1 : 0);

	memcpy(packet.bytes, out, size);
	if (name)
		strcpy((char *)packet.bytes + size, name);
	packet.header.len = (uint32_t)sizeof(packet.header) + length;
	cr_assert_eq(translate_notification(&rig.translate, &packet, packet.header.len), 0);
}

Test(answers, notifications_are_believed)
{
	const struct fuse_notify_inval_inode_out inode = {.ino = FILE_ID};
	const struct fuse_notify_store_out store = {.nodeid = FILE_ID};
	const struct fuse_notify_inval_entry_out entry = {.parent = DIR_ID, .namelen = 4};
	const struct fuse_notify_delete_out gone = {.parent = DIR_ID, .child = FILE_ID, .namelen = 4};
	struct flight flight;

	flight = getattr_fly(file);
	notify(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode), NULL);
	cr_expect_not(attr_known(file));
	getattr_land(&flight);
	cr_expect_not(attr_known(file), "asked before that");
	getattr(file);
	cr_expect(attr_known(file));
	notify(FUSE_NOTIFY_STORE, &store, sizeof(store), NULL);
	cr_expect_not(attr_known(file));

	look(dir, "file", FILE_ID, S_IFREG | 0644);
	look_absent(dir, "none");
	cr_assert(known(dir, "file"));
	notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), "file");
	cr_expect_not(known(dir, "file"));
	cr_expect_not(known(dir, "none"));
	getattr(file);
	cr_expect_not(known(dir, "file"));

	look(dir, "file", FILE_ID, S_IFREG | 0644);
	cr_assert(known(dir, "file"));
	notify(FUSE_NOTIFY_DELETE, &gone, sizeof(gone), "file");
	cr_expect_not(known(dir, "file"));
	cr_expect_not(attr_known(file));
}

Test(answers, a_name_longer_than_its_packet_is_none)
{
	const struct fuse_notify_inval_entry_out entry = {.parent = DIR_ID, .namelen = UINT32_MAX};

	notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), "file");
	cr_expect(known(dir, "file"));
}

/* ---- counts ----------------------------------------------------------------------- */

/* Everything that is kept is let go of. */
static void drop_all(void)
{
	answers_stale_all(&rig.translate.answers);
	lookup_make(FUSE_ROOT_ID, "dir");
	translate_rig_send(&rig);
}

Test(answers, the_backend_forgets_what_it_has_counted_and_nothing_else)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG);

	look(dir, "other", OTHER_ID, S_IFREG);
	translate_rig_forget(&rig, nodeid, 2);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert(name_answered(dir, "other", false));
		translate_rig_forget(&rig, nodeid, 1);
	}
	cr_expect_eq(rig.translate.answers.kept, 1);
	cr_assert(name_answered(dir, "other", false));
	cr_expect_eq(rig.translate.answers.kept, 0);
	look(dir, "other", OTHER_ID, S_IFREG);
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 0);
	/* One FORGET for what both have said. */
	translate_rig_forget(&rig, nodeid, 2);
	drop_all();
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 3);
	cr_expect_null(nodes_get(nodes, nodeid));
}

Test(answers, a_forget_that_comes_behind_an_answer_is_of_what_was_counted_before)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG);

	/* The kernel has evicted it, and looks it up before its FORGET is read. */
	cr_assert(name_answered(dir, "other", true));
	translate_rig_forget(&rig, nodeid, 1);
	cr_assert_not_null(nodes_get(nodes, nodeid));
	cr_expect_eq(nodes_get(nodes, nodeid)->nlookup, 1);
	cr_expect_eq(rig.translate.answers.kept, 0);
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 0);
}

Test(answers, batches_forget_the_same)
{
	uint64_t a = look(dir, "a", 7100, S_IFREG), b = look(dir, "b", 7101, S_IFREG);
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} batch = {.in = {.count = 3}, .one = {{a, 1}, {b, 1}, {a, 1}}};

	cr_assert(name_answered(dir, "a", true));
	translate_rig_request(&rig, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, NULL);
	translate_forget(&rig.translate, rig.request, rig.size);
	cr_expect_eq(rig.translate.answers.kept, 2);
	drop_all();
	cr_expect_eq(translate_rig_forgotten(&rig, 7100), 1);
	cr_expect_null(nodes_get(nodes, a));
	cr_expect_null(nodes_get(nodes, b));
}

Test(answers, an_answer_that_the_kernel_refuses_was_not_counted)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG);

	translate_rig_forget(&rig, nodeid, 1);
	cr_assert(name_answered(dir, "other", false));
	translate_refused(&rig.translate, rig.request, &answer.header, &answer.payload);
	drop_all();
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 1);
	cr_expect_null(nodes_get(nodes, nodeid));
}

Test(answers, the_next_incarnation_has_counted_nothing)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG);

	translate_rig_forget(&rig, nodeid, 1);
	translate_rig_restart(&rig);
	cr_assert(name_answered(dir, "other", false), "what the last one has said holds");
	cr_expect_eq(answer.payload.entry.nodeid, nodeid);
	translate_rig_forget(&rig, nodeid, 1);
	drop_all();
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 0);
	cr_expect_null(nodes_get(nodes, nodeid));
}

Test(answers, a_kept_node_whose_name_goes_is_given_back)
{
	uint64_t nodeid = look(dir, "other", OTHER_ID, S_IFREG);
	struct flight change;

	translate_rig_forget(&rig, nodeid, 1);
	cr_expect_eq(rig.translate.answers.kept, 1);
	change = names_fly(FUSE_UNLINK, dir, "other", 0, NULL);
	cr_assert_eq(land(&change, 0, NULL, 0), 0);
	lookup_make(dir, "x");
	sent();
	cr_expect_eq(rig.translate.answers.kept, 0);
	cr_expect_eq(translate_rig_forgotten(&rig, OTHER_ID), 1);
}

Test(answers, the_backend_never_has_more_than_it_ever_had_to)
{
	enum { COUNT = 10 };
	uint64_t nodeid[COUNT];
	char name[8];

	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "%u", i);
		nodeid[i] = look(dir, name, 7100 + i, S_IFREG);
	}
	for (unsigned i = 0; i < COUNT; i++)
		translate_rig_forget(&rig, nodeid[i], 1);
	cr_expect_eq(rig.translate.answers.kept, COUNT);
	/* Others come: the oldest go. */
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		look(dir, name, 7200 + i, S_IFREG);
		lookup_make(dir, "x");
		translate_rig_send(&rig);
		cr_expect_leq(nodes->ids_count, COUNT + 4);
	}
	cr_expect_leq(rig.translate.answers.kept, 1);
	cr_expect_eq(translate_rig_forgotten(&rig, 7100), 1);
}

/* ---- lives -------------------------------------------------------------------------- */

Test(answers, what_a_dead_incarnation_was_changing_is_not_known_until_it_is_answered)
{
	struct flight change;

	change_make(FUSE_SETATTR);
	change = fly();
	translate_rig_restart(&rig);
	cr_expect_not(attr_known(file));
	cr_expect_not(known(dir, "file"));
	land(&change, -EIO, NULL, 0);
	cr_expect_not(attr_known(file));
}

Test(answers, a_change_that_nobody_waits_for_any_more_is_over_when_its_slot_is_freed)
{
	struct flight change = names_fly(FUSE_UNLINK, dir, "file", 0, NULL);

	cr_expect_not(attr_known(file));
	translate_note_end(&rig.translate, &change.note);
	cr_expect_not(attr_known(file));
	cr_expect_not(known(dir, "file"));
	getattr(file);
	cr_expect(attr_known(file));
}

Test(answers, what_is_written_to_may_be_lost_with_the_incarnation)
{
	uint64_t other = look(dir, "other", OTHER_ID, S_IFREG);

	cr_assert(attr_known(file) && attr_known(other));
	translate_rig_restart(&rig);
	cr_expect_not(attr_known(file));
	cr_expect(attr_known(other));
}
