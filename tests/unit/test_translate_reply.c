/*
 * What the tables learn from a backend's replies, and what the kernel is given of them.
 * Listings are in test_translate_dir.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/translate_rig.h"

static struct translate_rig rig;
static struct nodes *const nodes = &rig.translate.nodes;
static struct handles *const handles = &rig.translate.handles;

/* The backend's ids. */
enum { DIR_ID = 7000, FILE_ID = 7001, FILE_FH = 8001, OTHER_FH = 8002, DIR_FH = 8003 };

/* The kernel's. */
static uint64_t dir, file, file_fh, other_fh, dir_fh;

static void setup(void)
{
	cr_assert_eq(translate_rig_init(&rig), 0);
	dir = translate_rig_lookup(&rig, FUSE_ROOT_ID, "dir", DIR_ID, S_IFDIR | 0755);
	file = translate_rig_lookup(&rig, dir, "file", FILE_ID, S_IFREG | 0644);
	file_fh = translate_rig_open(&rig, file, O_RDWR, false, FILE_FH);
	other_fh = translate_rig_open(&rig, file, O_RDWR, false, OTHER_FH);
	dir_fh = translate_rig_open(&rig, dir, O_RDONLY, true, DIR_FH);
	cr_assert(dir && file && file_fh && other_fh && dir_fh);
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(translate_reply, .init = setup, .fini = teardown, .timeout = 60);

/* ---- entries ---------------------------------------------------------------- */

/* A request that makes a name, and its reply with such an entry and fh 5. */
static int make(uint32_t opcode, uint64_t backend_id, uint32_t mode)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.entry = translate_rig_entry(backend_id, 1234, mode), .open = {.fh = 5}};
	const struct relay_op *op = relay_op_get(opcode);
	union {
		struct fuse_mknod_in mknod;
		struct fuse_mkdir_in mkdir;
		struct fuse_create_in create;
		struct fuse_link_in link;
	} in = {.link = {file}};

	out.entry.attr.uid = 1000;
	if (opcode == FUSE_MKNOD)
		in.mknod = (struct fuse_mknod_in){.mode = S_IFIFO | 0640};
	else if (opcode == FUSE_MKDIR)
		in.mkdir = (struct fuse_mkdir_in){.mode = 0777, .umask = 022};
	else if (opcode != FUSE_LINK)
		in.create = (struct fuse_create_in){.flags = O_WRONLY | O_CREAT, .mode = S_IFREG | 0644};
	translate_rig_request(&rig, opcode, dir, &in, op->in_size, "new", opcode == FUSE_SYMLINK ? "target" : NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	return translate_rig_reply(&rig, 0, &out, op->reply_size);
}

static const struct {
	uint32_t opcode, mode;
} makers[] = {
	{FUSE_MKNOD, S_IFIFO | 0640},  {FUSE_MKDIR, S_IFDIR | 0755}, {FUSE_SYMLINK, S_IFLNK | 0777},
	{FUSE_CREATE, S_IFREG | 0600}, {FUSE_LINK, S_IFREG | 0644},  {FUSE_TMPFILE, S_IFREG | 0600},
};

Test(translate_reply, what_makes_names_makes_nodes)
{
	for (unsigned i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		const struct fuse_entry_out *entry = (const void *)rig.reply.payload;
		const struct fuse_open_out *open = (const void *)(entry + 1);
		bool named = makers[i].opcode != FUSE_TMPFILE;
		struct node *node, *child;

		cr_assert_eq(make(makers[i].opcode, 9000 + i, makers[i].mode), 0);
		node = nodes_get(nodes, entry->nodeid);
		child = nodes_child(nodes, nodes_get(nodes, dir), "new");
		cr_assert(node);
		cr_expect_eq(node->nlookup, 1);
		cr_expect_eq(entry->generation, 0);
		cr_expect_eq(node->backend_id, 9000 + i);
		cr_expect_eq(child, named ? node : NULL);
		if (relay_op_get(makers[i].opcode)->flags & RELAY_OP_OPENS) {
			struct handle *handle = handles_get(handles, open->fh);

			cr_assert(handle);
			cr_expect_eq(handle->backend_fh, 5);
			cr_expect_eq(nodes_at(nodes, handle->node), node);
			cr_expect_eq(handle->open_flags, O_WRONLY);
			handles_close(handles, handle);
		}
		nodes_unlink(nodes, nodes_get(nodes, dir), "new");
	}
	cr_expect_eq(rig.translate.makes_exact, 2, "MKNOD and MKDIR");
	cr_expect_eq(rig.translate.makes_other, 1, "CREATE has had another mode");
}

Test(translate_reply, the_kernel_is_not_given_what_it_would_refuse)
{
	struct translate_release release;

	for (unsigned i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		bool opens = relay_op_get(makers[i].opcode)->flags & RELAY_OP_OPENS;

		cr_expect_eq(make(makers[i].opcode, 0, makers[i].mode), -EIO, "no node");
		cr_expect_eq(make(makers[i].opcode, 9000, makers[i].mode & 07777), -EIO, "no type");
		cr_expect_eq(make(makers[i].opcode, 9000, S_IFSOCK), -EIO, "another type");
		cr_expect_null(nodes_by_backend(nodes, 9000));
		for (unsigned n = 0; n < 2 && opens; n++) {
			cr_expect_eq(translate_rig_forgotten(&rig, 9000), 0, "not while its file is open");
			cr_assert(translate_release_take(&rig.translate, &release));
			cr_expect_eq(release.nodeid, 9000);
			cr_expect_eq(release.fh, 5);
			cr_expect_eq(release.flags, O_WRONLY);
			cr_expect_eq(release.caller.uid, 1000);
			cr_expect_eq(translate_rig_forgotten(&rig, 9000), 0, "nor while that is being asked");
			translate_release_done(&rig.translate, &release);
		}
		cr_expect_not(translate_release_take(&rig.translate, &release));
		cr_expect_eq(translate_rig_forgotten(&rig, 9000), 2);
	}
}

Test(translate_reply, a_lookup_that_finds_nothing_takes_the_name_away)
{
	const struct fuse_entry_out nothing = {0};

	cr_assert(translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG));
	cr_assert(translate_rig_lookup(&rig, dir, "b", 9001, S_IFREG));
	cr_assert(nodes_child(nodes, nodes_get(nodes, dir), "a"));
	translate_rig_request(&rig, FUSE_LOOKUP, dir, NULL, 0, "a", NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(translate_rig_reply(&rig, 0, &nothing, sizeof(nothing)), 0);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, dir), "a"));
	translate_rig_request(&rig, FUSE_LOOKUP, dir, NULL, 0, "b", NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(translate_rig_reply(&rig, -EACCES, NULL, 0), 0);
	cr_expect(nodes_child(nodes, nodes_get(nodes, dir), "b"));
	cr_expect_eq(translate_rig_reply(&rig, -ENOENT, NULL, 0), 0);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, dir), "b"));
}

Test(translate_reply, counts_come_and_go)
{
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG),
			     nodes_by_backend(nodes, 9000)->nodeid);
	translate_rig_forget(&rig, nodes_by_backend(nodes, 9000)->nodeid, 2);
	cr_expect_eq(translate_rig_forgotten(&rig, 9000), 0);
	translate_rig_forget(&rig, nodes_by_backend(nodes, 9000)->nodeid, 1);
	cr_expect_eq(translate_rig_forgotten(&rig, 9000), 3);
	cr_expect_null(nodes_by_backend(nodes, 9000));
}

Test(translate_reply, forgets_go_in_packets_of_their_time)
{
	_Alignas(8) uint8_t packet[sizeof(struct fuse_in_header) + 8 + 3 * sizeof(struct fuse_forget_one)];
	const struct fuse_in_header *header = (const void *)packet;
	const struct fuse_batch_forget_in *in = (const void *)(header + 1);
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[6];
	} batch = {.in = {.count = 1000}}; /* more than there are */

	for (unsigned i = 0; i < 6; i++) {
		char name[2] = {(char)('a' + i)};

		batch.one[i].nodeid = translate_rig_lookup(&rig, dir, name, 9000 + i, S_IFREG);
		batch.one[i].nlookup = 1;
	}
	translate_rig_request(&rig, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, NULL);
	translate_forget(&rig.translate, rig.request, rig.size);
	cr_expect_eq(translate_forgets_take(&rig.translate, 31, packet, 40), 0, "too small for any");
	cr_expect_eq(translate_forgets_take(&rig.translate, 31, packet, sizeof(packet)), sizeof(packet));
	cr_expect_eq(header->opcode, FUSE_BATCH_FORGET);
	cr_expect_eq(header->len, sizeof(packet));
	cr_expect_eq(in->count, 3);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(translate_forgets_take(&rig.translate, 15, packet, sizeof(packet)), sizeof(*header) + 8);
		cr_expect_eq(header->opcode, FUSE_FORGET);
		cr_expect_eq(((const struct fuse_forget_in *)in)->nlookup, 1);
		cr_expect_geq(header->nodeid, 9000);
	}
	cr_expect_eq(translate_forgets_take(&rig.translate, 15, packet, sizeof(packet)), 0);
}

Test(translate_reply, another_incarnation_forgets_nothing_of_the_last_one)
{
	translate_rig_forget(&rig, translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG), 1);
	translate_rig_restart(&rig);
	cr_expect_eq(translate_rig_forgotten(&rig, 9000), 0);
}

Test(translate_reply, what_the_kernel_refuses_is_undone)
{
	struct translate_release release;

	cr_assert_eq(make(FUSE_CREATE, 9000, S_IFREG), 0);
	translate_rig_refuse(&rig);
	cr_expect_null(nodes_by_backend(nodes, 9000));
	cr_expect_eq(translate_rig_forgotten(&rig, 9000), 0);
	cr_assert(translate_release_take(&rig.translate, &release));
	cr_expect_eq(release.nodeid, 9000);
	cr_expect_eq(release.fh, 5);
	translate_release_done(&rig.translate, &release);
	cr_expect_eq(translate_rig_forgotten(&rig, 9000), 1);

	cr_assert(translate_rig_open(&rig, file, O_RDONLY, false, 4711));
	translate_rig_refuse(&rig);
	cr_assert(translate_release_take(&rig.translate, &release));
	cr_expect_eq(release.nodeid, FILE_ID);
	cr_expect_eq(release.fh, 4711);
	cr_expect_not(release.dir);
	cr_expect_eq(nodes_get(nodes, file)->opens, 2);

	/* One that is taken in another life is nobody's to wait for. */
	translate_rig_restart(&rig);
	translate_release_done(&rig.translate, &release);
	cr_expect_not(translate_release_take(&rig.translate, &release));
}

/* ---- open files ------------------------------------------------------------- */

Test(translate_reply, a_listing_is_not_kept_by_the_kernel)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	const struct fuse_open_out out = {.fh = 1, .open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE};
	const struct fuse_open_out *got = (const void *)rig.reply.payload;

	translate_rig_request(&rig, FUSE_OPENDIR, dir, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
	cr_expect_eq(got->open_flags, FOPEN_KEEP_CACHE);
	cr_expect(handles_get(handles, got->fh)->flags & HANDLE_DIR);
	translate_rig_request(&rig, FUSE_OPEN, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
	cr_expect_eq(got->open_flags, out.open_flags);
}

Test(translate_reply, an_open_that_fails_opens_nothing)
{
	const struct fuse_open_in in = {.flags = O_RDONLY};
	uint32_t live = state_live(&rig.translate.state, STATE_HANDLES);

	translate_rig_request(&rig, FUSE_OPEN, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -ENOSYS, NULL, 0), 0);
	cr_expect_eq(state_live(&rig.translate.state, STATE_HANDLES), live);
}

Test(translate_reply, a_close_is_one_whatever_the_answer)
{
	const struct fuse_release_in in = {.fh = file_fh};

	translate_rig_request(&rig, FUSE_RELEASE, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -EIO, NULL, 0), 0);
	cr_expect_null(handles_get(handles, file_fh));
	translate_rig_restart(&rig);
	cr_assert(translate_rig_close(&rig, file, other_fh, false));
	cr_assert(translate_rig_close(&rig, dir, dir_fh, true));
	cr_expect_eq(state_live(&rig.translate.state, STATE_HANDLES), 0);
}

static uint64_t written(void)
{
	return handles_get(handles, file_fh)->written;
}

static void write_some(uint32_t size)
{
	const struct fuse_write_in in = {.fh = file_fh, .size = size};
	const struct fuse_write_out out = {.size = size};

	translate_rig_request(&rig, FUSE_WRITE, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
}

Test(translate_reply, what_was_written_is_known_until_it_is_flushed)
{
	const struct fuse_flush_in flush = {.fh = file_fh};
	const struct fuse_fsync_in fsync = {.fh = file_fh};
	struct translate_note note = {0};

	write_some(100);
	write_some(50);
	cr_expect_eq(written(), 150);
	translate_rig_request(&rig, FUSE_FLUSH, file, &flush, sizeof(flush), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -EIO, NULL, 0), 0);
	cr_expect_eq(written(), 150);
	translate_rig_request(&rig, FUSE_FSYNC, file, &fsync, sizeof(fsync), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	note = rig.note;
	/* One that is answered meanwhile is not surely in it. */
	write_some(7);
	translate_rig_request(&rig, FUSE_FSYNC, file, &fsync, sizeof(fsync), NULL, NULL);
	rig.note = note;
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_eq(written(), 7);
}

/* FSYNC or FLUSH in the next life, when the file is open again. */
static int sync_in_next_life(uint32_t opcode)
{
	const struct fuse_fsync_in in = {.fh = file_fh};

	translate_rig_request(&rig, opcode, file, &in, sizeof(in), NULL, NULL);
	return translate_rig_send(&rig);
}

static void next_life(void)
{
	translate_rig_restart(&rig);
	cr_assert_eq(translate_rig_lookup(&rig, FUSE_ROOT_ID, "dir", DIR_ID, S_IFDIR | 0755), dir);
	cr_assert_eq(translate_rig_lookup(&rig, dir, "file", FILE_ID, S_IFREG | 0644), file);
	handles_reopened(&rig.translate.handles, handles_get(&rig.translate.handles, file_fh), 77);
}

Test(translate_reply, writes_that_may_have_died_with_their_backend_are_told_of_once)
{
	rig.translate.write_behind = true;
	write_some(100);
	next_life();
	cr_expect_eq(sync_in_next_life(FUSE_FSYNC), -EIO);
	cr_expect_eq(sync_in_next_life(FUSE_FSYNC), TRANSLATE_READY);
	write_some(100);
	next_life();
	cr_expect_eq(sync_in_next_life(FUSE_FLUSH), -EIO, "close(2) tells of it, too");
	/* Nothing was written since. */
	next_life();
	cr_expect_eq(sync_in_next_life(FUSE_FSYNC), TRANSLATE_READY);
}

Test(translate_reply, writes_are_done_when_they_are_acknowledged_unless_said_otherwise)
{
	write_some(100);
	next_life();
	cr_expect_eq(sync_in_next_life(FUSE_FSYNC), TRANSLATE_READY);
}

Test(translate_reply, a_poll_that_waits_is_remembered)
{
	struct fuse_poll_in in = {.fh = file_fh, .kh = 99};
	const struct fuse_poll_out out = {0};

	translate_rig_request(&rig, FUSE_POLL, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
	cr_expect_not(handles_get(handles, file_fh)->flags & HANDLE_POLLED);
	in.flags = FUSE_POLL_SCHEDULE_NOTIFY;
	translate_rig_request(&rig, FUSE_POLL, file, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
	cr_expect(handles_get(handles, file_fh)->flags & HANDLE_POLLED);
	cr_expect_eq(handles_get(handles, file_fh)->poll_kh, 99);
}

/* ---- names ------------------------------------------------------------------- */

Test(translate_reply, names_go_where_requests_take_them)
{
	uint64_t a = translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG);
	struct fuse_rename2_in in = {.newdir = FUSE_ROOT_ID};

	translate_rig_request(&rig, FUSE_RENAME, dir, &in, sizeof(struct fuse_rename_in), "a", "b");
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -ENOENT, NULL, 0), 0);
	cr_expect(nodes_child(nodes, nodes_get(nodes, dir), "a"));
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, dir), "a"));
	cr_expect_eq(nodes_child(nodes, nodes_get(nodes, FUSE_ROOT_ID), "b"), nodes_get(nodes, a));
	in.newdir = dir;
	in.flags = RENAME_EXCHANGE;
	translate_rig_request(&rig, FUSE_RENAME2, FUSE_ROOT_ID, &in, sizeof(in), "b", "file");
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_eq(nodes_child(nodes, nodes_get(nodes, FUSE_ROOT_ID), "b"), nodes_get(nodes, file));
	cr_expect_eq(nodes_child(nodes, nodes_get(nodes, dir), "file"), nodes_get(nodes, a));
	translate_rig_request(&rig, FUSE_UNLINK, dir, NULL, 0, "file", NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, dir), "file"));
}

Test(translate_reply, a_name_in_what_is_no_directory_is_not_taken)
{
	const struct fuse_rename_in in = {.newdir = file};

	translate_rig_request(&rig, FUSE_RENAME, dir, &in, sizeof(in), "file", "file");
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, file), "file"));
}

/* ---- attributes -------------------------------------------------------------- */

static const struct fuse_attr *getattr(uint64_t nodeid, uint64_t ino)
{
	const struct fuse_getattr_in in = {0};
	struct fuse_attr_out out = {.attr = {.ino = ino, .mode = S_IFREG | 0644}};

	translate_rig_request(&rig, FUSE_GETATTR, nodeid, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &out, sizeof(out)), 0);
	return &((const struct fuse_attr_out *)rig.reply.payload)->attr;
}

Test(translate_reply, the_inode_number_stays_what_it_was)
{
	uint64_t a = translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG | 0644);
	uint64_t shown = ((const struct fuse_entry_out *)rig.reply.payload)->attr.ino;
	const struct fuse_setattr_in set = {.valid = FATTR_MODE};
	const struct fuse_attr_out attr = {.attr = {.ino = 4711, .mode = S_IFREG | 0600}};
	const struct fuse_statx_in ask = {.sx_mask = 0x7ff};
	struct fuse_statx_out statx = {.stat = {.mask = 0x7ff, .ino = 4712, .mode = S_IFREG}};
	const struct fuse_statx_out *statx_got = (const void *)rig.reply.payload;

	cr_expect_eq(shown, nodes_get(nodes, a)->shown_ino);
	cr_expect_eq(getattr(a, 4711)->ino, shown);
	translate_rig_request(&rig, FUSE_SETATTR, a, &set, sizeof(set), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, &attr, sizeof(attr)), 0);
	cr_expect_eq(((const struct fuse_attr_out *)rig.reply.payload)->attr.ino, shown);
	for (unsigned i = 0; i < 2; i++) {
		translate_rig_request(&rig, FUSE_STATX, a, &ask, sizeof(ask), NULL, NULL);
		cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
		cr_assert_eq(translate_rig_reply(&rig, 0, &statx, sizeof(statx)), 0);
		cr_expect_eq(statx_got->stat.ino, shown);
		statx.stat.mask = 0x100; /* the number alone */
	}
}

Test(translate_reply, writing_disturbs_before_and_after)
{
	uint64_t a = translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG | 0644);
	const struct fuse_fallocate_in in = {.length = 5};
	const struct fuse_open_in open = {.flags = O_RDONLY | O_TRUNC};
	uint32_t before = nodes_get(nodes, a)->changes, sent;

	translate_rig_request(&rig, FUSE_FALLOCATE, a, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	sent = nodes_get(nodes, a)->changes;
	cr_expect_gt(sent, before);
	cr_assert_eq(translate_rig_reply(&rig, -EIO, NULL, 0), 0);
	cr_expect_gt(nodes_get(nodes, a)->changes, sent);
	before = nodes_get(nodes, a)->changes;
	translate_rig_request(&rig, FUSE_OPEN, a, &open, sizeof(open), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_gt(nodes_get(nodes, a)->changes, before);
	before = nodes_get(nodes, a)->changes;
	getattr(a, 1);
	cr_expect_eq(nodes_get(nodes, a)->changes, before);
}

/* A GETATTR that is sent behind a SETATTR and is answered before it says how things were. */
Test(translate_reply, attributes_are_not_believed_while_they_are_being_changed)
{
	uint64_t a = translate_rig_lookup(&rig, dir, "a", 9000, S_IFREG | 0644);
	const struct fuse_setattr_in set = {.valid = FATTR_SIZE, .size = 5};
	const struct fuse_attr_out attr = {.attr = {.ino = 1, .mode = S_IFREG | 0644, .size = 5, .mtime = 9}};
	const struct identity *identity = &nodes_get(nodes, a)->identity;
	struct translate_note note = {0};

	getattr(a, 1);
	cr_expect_eq(identity->times, IDENTITY_TIMES_REST);
	for (unsigned i = 0; i < 2; i++) {
		translate_rig_request(&rig, FUSE_SETATTR, a, &set, sizeof(set), NULL, NULL);
		cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
		note = rig.note;
		getattr(a, 1);
		cr_expect_eq(identity->times, IDENTITY_TIMES_VOID);
		translate_rig_request(&rig, FUSE_SETATTR, a, &set, sizeof(set), NULL, NULL);
		rig.note = note;
		cr_assert_eq(i ? translate_rig_reply(&rig, 0, &attr, sizeof(attr))
			       : translate_rig_reply(&rig, -EIO, NULL, 0),
			     0);
		if (!i)
			getattr(a, 1);
		cr_expect_eq(identity->times, IDENTITY_TIMES_REST);
	}
	cr_expect_eq(identity->size, 5);
}

/* ---- locks -------------------------------------------------------------------- */

static int lock_ask(uint32_t opcode, uint64_t owner, uint32_t type, uint32_t flags)
{
	const struct fuse_lk_in in = {.fh = file_fh, .owner = owner, .lk = {0, 9, type, 1}, .lk_flags = flags};

	translate_rig_request(&rig, opcode, file, &in, sizeof(in), NULL, NULL);
	return translate_rig_send(&rig);
}

Test(translate_reply, locks_that_were_granted_are_known)
{
	const struct fuse_flush_in flush = {.fh = other_fh, .lock_owner = 4};
	const struct fuse_release_in release = {
		.fh = file_fh, .lock_owner = 5, .release_flags = FUSE_RELEASE_FLOCK_UNLOCK};

	cr_assert_eq(lock_ask(FUSE_SETLK, 4, F_WRLCK, 0), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -EAGAIN, NULL, 0), 0);
	cr_expect_not(locks_any(nodes_get(nodes, file)));
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect(locks_any(nodes_get(nodes, file)));
	cr_assert_eq(lock_ask(FUSE_SETLKW, 5, F_WRLCK, FUSE_LK_FLOCK), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_eq(state_live(&rig.translate.state, STATE_LOCKS), 2);
	/* Through another file of the same process, and whatever the backend says. */
	translate_rig_request(&rig, FUSE_FLUSH, file, &flush, sizeof(flush), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, -ENOSYS, NULL, 0), 0);
	cr_expect_eq(state_live(&rig.translate.state, STATE_LOCKS), 1);
	translate_rig_request(&rig, FUSE_RELEASE, file, &release, sizeof(release), NULL, NULL);
	cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	cr_expect_eq(state_live(&rig.translate.state, STATE_LOCKS), 0);
}

Test(translate_reply, locks_are_set_again_before_anybody_asks_for_some)
{
	struct handle *handle = handles_get(handles, file_fh);
	struct fuse_entry_out entry;
	struct node *out, *parent;

	cr_assert_eq(lock_ask(FUSE_SETLK, 4, F_WRLCK, 0), TRANSLATE_READY);
	cr_assert_eq(translate_rig_reply(&rig, 0, NULL, 0), 0);
	translate_rig_restart(&rig);
	entry = translate_rig_entry(DIR_ID + 100, DIR_ID + 100000, S_IFDIR);
	parent = nodes_get(nodes, FUSE_ROOT_ID);
	cr_assert_eq(nodes_entry(nodes, parent, "dir", &entry, nodes_get(nodes, dir), &out), 0);
	entry = translate_rig_entry(FILE_ID + 100, FILE_ID + 100000, S_IFREG);
	cr_assert_eq(nodes_entry(nodes, out, "file", &entry, nodes_get(nodes, file), &out), 0);
	handles_reopened(handles, handle, 123);
	for (uint32_t opcode = FUSE_GETLK; opcode <= FUSE_SETLKW; opcode++)
		cr_expect_eq(lock_ask(opcode, 5, F_RDLCK, 0), TRANSLATE_RESTORE);
	locks_unset(&rig.translate.locks, out)->incarnation = rig.incarnation;
	cr_expect_eq(lock_ask(FUSE_SETLK, 5, F_RDLCK, 0), TRANSLATE_READY);
	cr_expect_eq(((const struct fuse_lk_in *)translate_rig_in(&rig))->fh, 123);
	cr_expect_eq(translate_rig_head(&rig)->nodeid, FILE_ID + 100);
}
