/*
 * Listings of a backend, on their way to the kernel.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/translate_rig.h"

static struct translate_rig rig;
static struct nodes *const nodes = &rig.translate.nodes;
static struct handles *const handles = &rig.translate.handles;

enum { DIR_ID = 7000, DIR_FH = 8000 };

static uint64_t dir, fh;

/* The listing that is being made. */
static _Alignas(8) uint8_t listing[RIG_PAYLOAD];
static uint32_t length;

static void setup(void)
{
	cr_assert_eq(translate_rig_init(&rig), 0);
	dir = translate_rig_lookup(&rig, FUSE_ROOT_ID, "dir", DIR_ID, S_IFDIR | 0755);
	fh = translate_rig_open(&rig, dir, O_RDONLY, true, DIR_FH);
	cr_assert(dir && fh);
	length = 0;
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(translate_dir, .init = setup, .fini = teardown, .timeout = 60);

/* One more record; backend_id 0: without a node. */
static void add(bool plus, const char *name, uint32_t namelen, uint64_t cookie, uint64_t backend_id)
{
	struct fuse_dirent dirent = {.ino = 555, .off = cookie, .namelen = namelen, .type = 8};
	struct fuse_entry_out entry = translate_rig_entry(backend_id, backend_id + 50, S_IFREG | 0644);
	uint32_t at = length + (plus ? (uint32_t)sizeof(entry) : 0);

	memset(listing + length, 0, 512);
	if (plus && backend_id)
		memcpy(listing + length, &entry, sizeof(entry));
	memcpy(listing + at, &dirent, FUSE_NAME_OFFSET);
	memcpy(listing + at + FUSE_NAME_OFFSET, name, strlen(name));
	length += (uint32_t)FUSE_REC_ALIGN((at - length) + FUSE_NAME_OFFSET + namelen);
}

/* Of READDIRPLUS, with ids from 9000 on by their first letter. */
static void add_plus(const char *name, uint64_t cookie)
{
	add(true, name, (uint32_t)strlen(name), cookie, 9000 + (uint64_t)name[0]);
}

static void add_name(const char *name, uint64_t cookie)
{
	add(false, name, (uint32_t)strlen(name), cookie, 0);
}

/* Asks from that cookie on, and answers with the listing. */
static int list(uint32_t opcode, uint64_t offset)
{
	const struct fuse_read_in in = {.fh = fh, .offset = offset, .size = 4096};
	int ret;

	translate_rig_request(&rig, opcode, dir, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	ret = translate_rig_reply(&rig, 0, listing, length);
	length = 0;
	return ret;
}

/* The nth record of the reply. */
static const struct fuse_dirent *got(bool plus, unsigned n, const struct fuse_entry_out **entry)
{
	const uint8_t *at = rig.reply.payload;

	for (;; n--) {
		const struct fuse_dirent *dirent = (const void *)(at + (plus ? sizeof(struct fuse_entry_out) : 0));

		if (plus)
			*entry = (const void *)at;
		if (n == 0)
			return dirent;
		at += plus ? FUSE_DIRENTPLUS_SIZE((const struct fuse_direntplus *)(const void *)at)
			   : FUSE_DIRENT_SIZE(dirent);
	}
}

static void expect_log(unsigned count, const uint64_t *cookies)
{
	struct dirlog_entry entries[64];

	cr_assert_eq(dirlog_read(handles, handles_get(handles, fh), 0, entries, 64), count);
	for (unsigned i = 0; i < count; i++)
		cr_expect_eq(entries[i].cookie, cookies[i]);
}

Test(translate_dir, names_that_are_known_have_their_number)
{
	uint64_t known = translate_rig_lookup(&rig, dir, "known", 9000, S_IFREG);

	add_name(".", 1);
	add_name("..", 2);
	add_name("known", 3);
	add_name("new", 4);
	cr_assert_eq(list(FUSE_READDIR, 0), 0);
	cr_expect_eq(got(false, 0, NULL)->ino, nodes_get(nodes, dir)->shown_ino);
	cr_expect_eq(got(false, 1, NULL)->ino, 555, "the root's is not known yet");
	cr_expect_eq(got(false, 2, NULL)->ino, nodes_get(nodes, known)->shown_ino);
	cr_expect_eq(got(false, 3, NULL)->ino, 555);
	expect_log(4, (const uint64_t[]){1, 2, 3, 4});
	cr_assert_eq(list(FUSE_READDIR, 4), 0);
	expect_log(4, (const uint64_t[]){1, 2, 3, 4});
}

Test(translate_dir, entries_become_nodes)
{
	const struct fuse_entry_out *entry;
	const struct fuse_dirent *dirent;

	add(true, ".", 1, 1, DIR_ID);
	add(true, "..", 2, 2, 1);
	add_plus("a", 3);
	add(true, "unseen", 6, 4, 0);
	add_plus("b", 5);
	cr_assert_eq(list(FUSE_READDIRPLUS, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		got(true, i, &entry);
		cr_expect_eq(entry->nodeid, 0);
	}
	dirent = got(true, 2, &entry);
	cr_expect_eq(entry->nodeid, nodes_child(nodes, nodes_get(nodes, dir), "a")->nodeid);
	cr_expect_eq(entry->generation, 0);
	cr_expect_eq(dirent->ino, entry->attr.ino);
	cr_expect_eq(nodes_get(nodes, entry->nodeid)->nlookup, 1);
	got(true, 3, &entry);
	cr_expect_eq(entry->nodeid, 0);
	got(true, 4, &entry);
	cr_expect_eq(nodes_get(nodes, entry->nodeid)->backend_id, 9000 + 'b');
	cr_expect_eq(translate_rig_forgotten(&rig, DIR_ID), 0, "nobody counts the dots");
	cr_expect_eq(nodes_get(nodes, dir)->nlookup, 1);
	expect_log(5, (const uint64_t[]){1, 2, 3, 4, 5});
}

Test(translate_dir, a_record_beyond_the_end_is_the_end)
{
	add_plus("a", 1);
	add_plus("b", 2);
	length -= 8;
	cr_assert_eq(list(FUSE_READDIRPLUS, 0), 0);
	cr_expect(nodes_by_backend(nodes, 9000 + 'a'));
	cr_expect_null(nodes_by_backend(nodes, 9000 + 'b'), "the kernel does not read it");
	expect_log(1, (const uint64_t[]){1});
	add_name("a", 1);
	add(false, "b", UINT32_MAX, 2, 0);
	length = 48;
	cr_assert_eq(list(FUSE_READDIR, 0), 0);
	expect_log(1, (const uint64_t[]){1});
	add_name("a", 1);
	length += 23; /* less than any */
	cr_assert_eq(list(FUSE_READDIR, 0), 0);
}

Test(translate_dir, names_that_cannot_be_are_errors_for_the_whole)
{
	static const struct {
		const char *name;
		uint32_t namelen;
	} bad[] = {{"", 0}, {"a/b", 3}, {"a", 2}, {"n", 4096}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		add_plus("a", 1);
		add(true, bad[i].name, bad[i].namelen, 2, 9999);
		add_plus("c", 3);
		cr_expect_eq(list(FUSE_READDIRPLUS, 0), -EIO, "%u", i);
		cr_expect_null(nodes_by_backend(nodes, 9000 + 'a'));
		cr_expect_eq(translate_rig_forgotten(&rig, 9000 + 'a'), 1, "what was counted is given back");
		expect_log(0, NULL);
		add_name("a", 1);
		add(false, bad[i].name, bad[i].namelen, 2, 0);
		cr_expect_eq(list(FUSE_READDIR, 0), -EIO);
	}
}

Test(translate_dir, attributes_that_cannot_be_leave_the_name)
{
	const struct fuse_entry_out *entry;

	add_plus("a", 1);
	((struct fuse_entry_out *)listing)->attr.mode = 0644;
	add_plus("b", 2);
	cr_assert_eq(list(FUSE_READDIRPLUS, 0), 0);
	got(true, 0, &entry);
	cr_expect_eq(entry->nodeid, 0);
	cr_expect_eq(translate_rig_forgotten(&rig, 9000 + 'a'), 1);
	got(true, 1, &entry);
	cr_expect_neq(entry->nodeid, 0);
}

Test(translate_dir, a_listing_that_the_kernel_refuses_is_not_counted)
{
	const struct fuse_entry_out *entry;
	uint64_t a = translate_rig_lookup(&rig, dir, "a", 9000 + 'a', S_IFREG);

	add(true, ".", 1, 1, DIR_ID);
	add_plus("a", 2);
	add_plus("b", 3);
	cr_assert_eq(list(FUSE_READDIRPLUS, 0), 0);
	got(true, 1, &entry);
	cr_expect_eq(entry->nodeid, a);
	cr_expect_eq(nodes_get(nodes, a)->nlookup, 2);
	translate_rig_refuse(&rig);
	cr_expect_eq(nodes_get(nodes, a)->nlookup, 1);
	cr_expect_null(nodes_by_backend(nodes, 9000 + 'b'));
	cr_expect_eq(translate_rig_forgotten(&rig, 9000 + 'b'), 1);
}

Test(translate_dir, a_directory_without_a_handle_has_no_log)
{
	fh = 0;
	add_name("a", 1);
	cr_expect_eq(list(FUSE_READDIR, 0), 0);
	add_plus("a", 1);
	cr_expect_eq(list(FUSE_READDIRPLUS, 0), 0);
}

Test(translate_dir, a_reader_of_an_earlier_life_is_to_be_repaired)
{
	struct fuse_read_in in = {.fh = fh, .offset = 1};
	struct fuse_entry_out entry = translate_rig_entry(DIR_ID, DIR_ID + 100000, S_IFDIR | 0755);
	struct node *out;

	add_name("a", 1);
	cr_assert_eq(list(FUSE_READDIR, 0), 0);
	translate_rig_restart(&rig);
	cr_assert_eq(nodes_entry(nodes, nodes_get(nodes, FUSE_ROOT_ID), "dir", &entry, nodes_get(nodes, dir), &out), 0);
	handles_reopened(handles, handles_get(handles, fh), 9);
	for (uint32_t opcode = FUSE_READDIR; opcode <= FUSE_READDIRPLUS; opcode += FUSE_READDIRPLUS - FUSE_READDIR) {
		translate_rig_request(&rig, opcode, dir, &in, sizeof(in), NULL, NULL);
		cr_expect_eq(translate_rig_send(&rig), TRANSLATE_RESTORE);
	}
	in.offset = 0; /* it begins anew, and so does the backend */
	translate_rig_request(&rig, FUSE_READDIR, dir, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
	in.offset = 1;
	translate_rig_request(&rig, FUSE_READDIR, dir, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
}
