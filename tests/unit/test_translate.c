/*
 * Ids between the kernel and a backend: every place where a request or a notification holds
 * one.  Replies are in test_translate_reply.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
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

TestSuite(translate, .init = setup, .fini = teardown, .timeout = 60);

/* ---- requests -------------------------------------------------------------- */

static void put_u64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A request with all its ids in it, as its row says; all else in the fixed part is `fill`. */
static void request_make(uint32_t opcode, uint8_t fill)
{
	const struct relay_op *op = relay_op_get(opcode);
	bool names = op->shape == RELAY_SHAPE_NAME || op->shape >= RELAY_SHAPE_IN_NAME;
	bool of_dir = opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS || opcode == FUSE_RELEASEDIR ||
		      opcode == FUSE_FSYNCDIR || names;
	bool two = op->shape == RELAY_SHAPE_NAME_NAME || op->shape == RELAY_SHAPE_IN_NAME_NAME;
	uint8_t in[256];
	unsigned fhs = 0;

	memset(in, fill, sizeof(in));
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++) {
		const struct relay_id *id = &op->ids[i];

		if (id->bit)
			memcpy(in, &(uint32_t){id->bit}, sizeof(uint32_t));
		if (id->kind == RELAY_ID_NODE)
			put_u64(in + id->at, opcode == FUSE_RENAME || opcode == FUSE_RENAME2 ? dir : file);
		else if (id->kind == RELAY_ID_FH)
			put_u64(in + id->at, of_dir ? dir_fh : fhs++ ? other_fh : file_fh);
		else if (id->kind == RELAY_ID_OFLAGS)
			memcpy(in + id->at, &(uint32_t){O_WRONLY | O_APPEND | O_EXCL}, sizeof(uint32_t));
	}
	translate_rig_request(&rig, opcode, of_dir ? dir : file, in, op->in_size, names || two ? "name" : NULL,
			      two ? "name2" : NULL);
}

static void expect_translated(uint32_t opcode)
{
	const struct relay_op *op = relay_op_get(opcode);
	const struct fuse_in_header *asked = (const void *)rig.request, *head = translate_rig_head(&rig);
	const uint8_t *in = translate_rig_in(&rig), *was = (const uint8_t *)(asked + 1);
	uint8_t expected[256];
	unsigned fhs = 0;

	cr_expect_eq(head->nodeid, asked->nodeid == dir ? DIR_ID : FILE_ID, "%s", op->name);
	cr_expect_eq(head->opcode, opcode);
	cr_expect_eq(head->len, rig.size);
	cr_expect_eq(head->uid, asked->uid);
	if (op->ids[0].kind == RELAY_ID_NONE) {
		cr_expect_eq(rig.head.size, sizeof(*head), "%s", op->name);
		return;
	}
	cr_assert_eq(rig.head.size, sizeof(*head) + op->in_size, "%s", op->name);
	memcpy(expected, was, op->in_size);
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++) {
		uint8_t *at = expected + op->ids[i].at;

		if (op->ids[i].kind == RELAY_ID_NODE)
			put_u64(at, get_u64(at) == dir ? DIR_ID : FILE_ID);
		else if (op->ids[i].kind == RELAY_ID_FH)
			put_u64(at, get_u64(at) == dir_fh ? DIR_FH : fhs++ ? OTHER_FH : FILE_FH);
		else if (op->ids[i].kind == RELAY_ID_OFLAGS)
			memcpy(at, &(uint32_t){O_WRONLY | O_EXCL}, sizeof(uint32_t));
	}
	cr_expect_eq(memcmp(in, expected, op->in_size), 0, "%s", op->name);
}

static bool is_forget(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

Test(translate, every_opcode_has_its_ids_translated)
{
	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		const struct relay_op *op = relay_op_get(opcode);

		if (!op || op->flags & RELAY_OP_OWN || opcode == FUSE_INTERRUPT || is_forget(opcode))
			continue;
		request_make(opcode, 1);
		cr_assert_eq(translate_rig_send(&rig), TRANSLATE_READY, "%s", op->name);
		expect_translated(opcode);
	}
}

Test(translate, every_opcode_needs_restoring_after_a_restart)
{
	translate_rig_restart(&rig);
	for (uint32_t opcode = 0; opcode < RELAY_OPCODE_MAX; opcode++) {
		const struct relay_op *op = relay_op_get(opcode);
		bool ends;

		if (!op || op->flags & RELAY_OP_OWN || opcode == FUSE_INTERRUPT)
			continue;
		ends = op->flags & RELAY_OP_CLOSES || is_forget(opcode) || opcode == FUSE_NOTIFY_REPLY;
		request_make(opcode, 1);
		cr_expect_eq(translate_rig_send(&rig), ends ? TRANSLATE_ANSWERED : TRANSLATE_RESTORE, "%s", op->name);
	}
}

Test(translate, what_has_no_node_is_left_alone)
{
	const struct fuse_interrupt_in in = {.unique = 5};

	translate_rig_request(&rig, FUSE_INTERRUPT, 0, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(translate_rig_head(&rig)->nodeid, 0);
	translate_rig_request(&rig, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(translate_rig_head(&rig)->nodeid, FUSE_ROOT_ID);
	translate_rig_request(&rig, FUSE_STATFS, 0, NULL, 0, NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -ESTALE);
}

Test(translate, ids_that_relayd_does_not_have_are_errors)
{
	struct fuse_read_in in = {.fh = file_fh + (1ULL << 32), .size = 10};

	translate_rig_request(&rig, FUSE_READ, file, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -EBADF);
	in.fh = file_fh;
	translate_rig_request(&rig, FUSE_READ, file + (1ULL << 40), &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -ESTALE);
	in.fh = 0; /* the backend has no OPEN */
	translate_rig_request(&rig, FUSE_READ, file, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(((const struct fuse_read_in *)translate_rig_in(&rig))->fh, 0);
	translate_rig_request(&rig, FUSE_LINK, dir, &(struct fuse_link_in){99}, sizeof(struct fuse_link_in), "n", NULL);
	cr_expect_eq(translate_rig_send(&rig), -ESTALE);
	translate_rig_request(&rig, 4711, dir, NULL, 0, NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -ENOSYS);
}

Test(translate, a_handle_that_is_not_said_to_be_there_is_not_looked_at)
{
	const struct fuse_getattr_in in = {.fh = 12345};

	translate_rig_request(&rig, FUSE_GETATTR, file, &in, sizeof(in), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_READY);
	cr_expect_eq(((const struct fuse_getattr_in *)translate_rig_in(&rig))->fh, 12345);
}

Test(translate, a_lost_file_can_be_closed_and_unlocked_and_nothing_else)
{
	const struct fuse_read_in read = {.fh = file_fh};
	const struct fuse_flush_in flush = {.fh = file_fh, .lock_owner = 4};
	struct fuse_lk_in lock = {.fh = file_fh, .owner = 4, .lk = {0, 9, F_RDLCK, 1}};

	handles_lost(handles_get(handles, file_fh));
	translate_rig_request(&rig, FUSE_READ, file, &read, sizeof(read), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -ESTALE);
	translate_rig_request(&rig, FUSE_SETLK, file, &lock, sizeof(lock), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), -ESTALE);
	lock.lk.type = F_UNLCK;
	translate_rig_request(&rig, FUSE_SETLK, file, &lock, sizeof(lock), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_ANSWERED);
	translate_rig_request(&rig, FUSE_FLUSH, file, &flush, sizeof(flush), NULL, NULL);
	cr_expect_eq(translate_rig_send(&rig), TRANSLATE_ANSWERED);
	cr_expect(translate_rig_close(&rig, file, file_fh, false));
	cr_expect_null(handles_get(handles, file_fh));
}

/* ---- notifications ------------------------------------------------------------ */

static struct {
	struct fuse_out_header header;
	_Alignas(8) uint8_t payload[128];
} packet;

static int notify(int code, const void *payload, uint32_t size)
{
	packet.header = (struct fuse_out_header){.len = (uint32_t)sizeof(packet.header) + size, .error = code};
	memcpy(packet.payload, payload, size);
	return translate_notification(&rig.translate, &packet, packet.header.len);
}

Test(translate, notifications_are_of_the_kernels_nodes)
{
	struct fuse_notify_inval_inode_out inode = {.ino = FILE_ID};
	struct fuse_notify_inval_entry_out entry = {.parent = DIR_ID, .namelen = 4};
	struct fuse_notify_store_out store = {.nodeid = FILE_ID};
	struct fuse_notify_retrieve_out retrieve = {.notify_unique = 1, .nodeid = FILE_ID};
	struct {
		struct fuse_notify_delete_out out;
		char name[5];
	} delete = {.out = {.parent = DIR_ID, .child = FILE_ID, .namelen = 4}, .name = "file"};
	const struct fuse_notify_poll_wakeup_out poll = {.kh = FILE_ID};

	cr_expect_eq(notify(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode)), 0);
	cr_expect_eq(((const struct fuse_notify_inval_inode_out *)packet.payload)->ino, file);
	cr_expect_eq(notify(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry)), 0);
	cr_expect_eq(((const struct fuse_notify_inval_entry_out *)packet.payload)->parent, dir);
	cr_expect_eq(notify(FUSE_NOTIFY_STORE, &store, sizeof(store)), 0);
	cr_expect_eq(((const struct fuse_notify_store_out *)packet.payload)->nodeid, file);
	cr_expect_eq(notify(FUSE_NOTIFY_RETRIEVE, &retrieve, sizeof(retrieve)), 0);
	cr_expect_eq(((const struct fuse_notify_retrieve_out *)packet.payload)->nodeid, file);
	cr_expect_eq(((const struct fuse_notify_retrieve_out *)packet.payload)->notify_unique, 1);
	cr_expect(nodes_child(nodes, nodes_get(nodes, dir), "file"));
	cr_expect_eq(notify(FUSE_NOTIFY_DELETE, &delete, offsetof(typeof(delete), name) + 5), 0);
	cr_expect_eq(((const struct fuse_notify_delete_out *)packet.payload)->parent, dir);
	cr_expect_eq(((const struct fuse_notify_delete_out *)packet.payload)->child, file);
	cr_expect_null(nodes_child(nodes, nodes_get(nodes, dir), "file"));
	cr_expect_eq(notify(FUSE_NOTIFY_POLL, &poll, sizeof(poll)), 0);
	cr_expect_eq(((const struct fuse_notify_poll_wakeup_out *)packet.payload)->kh, FILE_ID);
}

Test(translate, notifications_of_what_the_kernel_does_not_know_are_not_passed)
{
	struct fuse_notify_inval_inode_out inode = {.ino = file};
	const struct fuse_notify_delete_out delete = {.parent = DIR_ID, .child = 4711};

	cr_expect_eq(notify(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode)), -ENOENT);
	cr_expect_eq(((const struct fuse_notify_inval_inode_out *)packet.payload)->ino, file);
	cr_expect_eq(notify(FUSE_NOTIFY_DELETE, &delete, sizeof(delete)), -ENOENT);
	cr_expect_eq(((const struct fuse_notify_delete_out *)packet.payload)->parent, DIR_ID, "all or nothing");
	translate_rig_restart(&rig);
	inode.ino = FILE_ID;
	cr_expect_eq(notify(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode)), -ENOENT);
}
