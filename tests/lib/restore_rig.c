/* What repair threads do, one step after the other. */
#include "lib/restore_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void rig_init(struct restore_rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	store_init(&rig->store);
	cr_assert_eq(translate_init(&rig->translate, "rig"), 0);
	restore_init(&rig->restore, &rig->translate);
	cr_assert_eq(ask_init(&rig->ask, (struct dispatch *)&rig->store, 0), 0);
	rig->uid = 1000;
	translate_incarnation(&rig->translate, 1);
	ask_begin(&rig->ask, 1);
}

void rig_deinit(struct restore_rig *rig)
{
	ask_deinit(&rig->ask);
	restore_deinit(&rig->restore);
	translate_deinit(&rig->translate);
}

void rig_restart(struct restore_rig *rig)
{
	restore_doubts_clear(&rig->restore);
	store_restart(&rig->store);
	translate_incarnation(&rig->translate, rig->store.incarnation);
	ask_begin(&rig->ask, rig->store.incarnation);
}

/* ---- requests ------------------------------------------------------------ */

void rig_data(struct rig_request *request, const void *data, size_t size)
{
	struct fuse_in_header *header = (struct fuse_in_header *)request->bytes;

	cr_assert(request->size + size <= sizeof(request->bytes));
	memcpy(request->bytes + request->size, data, size);
	request->size += (uint32_t)size;
	header->len = request->size;
}

void rig_build(const struct restore_rig *rig, struct rig_request *request, uint32_t opcode, uint64_t nodeid,
	       const void *in, size_t in_size, const char *name, const char *name2)
{
	struct fuse_in_header *header = (struct fuse_in_header *)request->bytes;

	memset(request, 0, sizeof(*request));
	*header = (struct fuse_in_header){
		.opcode = opcode, .unique = 2, .nodeid = nodeid, .uid = rig->uid, .gid = rig->uid, .pid = 77};
	request->size = sizeof(*header);
	rig_data(request, in ? in : "", in ? in_size : 0);
	if (name)
		rig_data(request, name, strlen(name) + 1);
	if (name2)
		rig_data(request, name2, strlen(name2) + 1);
}

int rig_restore(struct restore_rig *rig, const struct rig_request *request)
{
	return restore_request(&rig->restore, &rig->ask, request->bytes, request->size);
}

/* Its translated form to the backend. */
static int send_plain(struct restore_rig *rig, const struct rig_request *request)
{
	struct translate_head head;
	_Alignas(8) uint8_t sent[sizeof(request->bytes)];
	struct fuse_in_header *header = (struct fuse_in_header *)sent;
	int err = translate_request(&rig->translate, request->bytes, request->size, &head);

	rig->reply_size = 0;
	if (err == TRANSLATE_ANSWERED)
		return 0;
	if (err != TRANSLATE_READY)
		return err < 0 ? -err : ESTALE;
	memcpy(sent, request->bytes, request->size);
	memcpy(sent, head.bytes, head.size);
	header->len = request->size;
	return store_serve(&rig->store, sent, request->size, rig->reply, &rig->reply_size);
}

/* Notes the reply, as the replier does.  Returns 0 or a positive errno. */
static int note(struct restore_rig *rig, const struct rig_request *request, struct translate_note *noted, int err)
{
	struct fuse_out_header header = {.len = sizeof(header), .error = -err, .unique = 2};

	if (!err)
		header.len += rig->reply_size;
	return err ? (translate_reply(&rig->translate, request->bytes, request->size, noted, &header, rig->reply), err)
		   : -translate_reply(&rig->translate, request->bytes, request->size, noted, &header, rig->reply);
}

/* What is to be forgotten, and closed, is. */
void rig_settle(struct restore_rig *rig)
{
	_Alignas(8) uint8_t packet[4096];
	struct translate_release release;
	const struct fuse_batch_forget_in *batch = (void *)(packet + sizeof(struct fuse_in_header));
	const struct fuse_forget_one *one = (const void *)(batch + 1);

	if (rig->store.dead)
		return;
	while (translate_release_take(&rig->translate, &release)) {
		ask_release(&rig->ask, release.nodeid, &release.caller, release.fh, release.flags, release.dir);
		translate_release_done(&rig->translate, &release);
	}
	while (translate_forgets_take(&rig->translate, RELAY_FUSE_MINOR, packet, sizeof(packet)) > 0)
		for (uint32_t i = 0; i < batch->count; i++)
			cr_assert_eq(ask_forget(&rig->ask, one[i].nodeid, one[i].nlookup), 0);
}

int rig_serve(struct restore_rig *rig, const struct rig_request *request)
{
	struct translate_note noted = {0};
	int err = rig_restore(rig, request);

	if (err)
		return err;
	translate_note(&rig->translate, request->bytes, &noted);
	err = send_plain(rig, request);
	if (err < 0)
		return err;
	err = note(rig, request, &noted, err);
	rig_settle(rig);
	return err;
}

void rig_apply(struct restore_rig *rig, const struct rig_request *request)
{
	cr_assert_eq(rig_restore(rig, request), 0);
	cr_assert_eq(send_plain(rig, request), 0);
}

static int redo_once(struct restore_rig *rig, const struct rig_request *request, uint64_t before,
		     struct translate_note *noted)
{
	static _Alignas(8) uint8_t reply[RELAY_MAX_REPLY];
	int err = rig_restore(rig, request);

	if (err)
		return err;
	translate_note(&rig->translate, request->bytes, noted);
	rig->redo = (struct redo){
		.restore = &rig->restore,
		.ask = &rig->ask,
		.mount = "rig",
		.shared_store = rig->shared_store,
		.request = request->bytes,
		.size = request->size,
		.before = before,
		.reply = reply,
	};
	err = redo_special(request->bytes, request->size) ? redo_run(&rig->redo) : REDO_SEND;
	if (err == REDO_SEND)
		return send_plain(rig, request);
	if (err < 0)
		return err;
	cr_assert_eq(err, REDO_ANSWERED);
	memcpy(rig->reply, reply, rig->redo.reply_size);
	rig->reply_size = rig->redo.reply_size;
	return -rig->redo.error;
}

int rig_redo(struct restore_rig *rig, const struct rig_request *request, uint64_t before)
{
	struct translate_note noted = {0};
	int err;

	rig->lives = 0;
	for (;;) {
		cr_assert_eq(restore_doubt(&rig->restore, request->bytes, request->size), 0);
		err = redo_once(rig, request, before, &noted);
		if (err != -EPIPE)
			break;
		rig->lives++;
		cr_assert(rig->lives < 10);
		rig_restart(rig);
	}
	cr_assert_geq(err, 0, "%d", err);
	err = note(rig, request, &noted, err);
	restore_certain(&rig->restore, request->bytes);
	rig_settle(rig);
	return err;
}

/* ---- what a kernel does -------------------------------------------------- */

uint64_t rig_path(struct restore_rig *rig, const char *path)
{
	struct rig_request request;
	uint64_t nodeid = FUSE_ROOT_ID;
	char copy[512];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *save, *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		rig_build(rig, &request, FUSE_LOOKUP, nodeid, NULL, 0, part, NULL);
		if (rig_serve(rig, &request))
			return 0;
		nodeid = ((const struct fuse_entry_out *)rig->reply)->nodeid;
	}
	return nodeid;
}

uint64_t rig_open(struct restore_rig *rig, uint64_t nodeid, uint32_t flags, bool dir)
{
	const struct fuse_open_in in = {.flags = flags};
	struct rig_request request;

	rig_build(rig, &request, dir ? FUSE_OPENDIR : FUSE_OPEN, nodeid, &in, sizeof(in), NULL, NULL);
	return rig_serve(rig, &request) ? 0 : ((const struct fuse_open_out *)rig->reply)->fh;
}

int rig_close(struct restore_rig *rig, uint64_t nodeid, uint64_t fh, bool dir)
{
	const struct fuse_release_in in = {.fh = fh};
	struct rig_request request;

	rig_build(rig, &request, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, nodeid, &in, sizeof(in), NULL, NULL);
	return rig_serve(rig, &request);
}

int rig_read(struct restore_rig *rig, uint64_t nodeid, uint64_t fh)
{
	const struct fuse_read_in in = {.fh = fh, .size = 4096};
	struct rig_request request;

	rig_build(rig, &request, FUSE_READ, nodeid, &in, sizeof(in), NULL, NULL);
	return rig_serve(rig, &request);
}

void rig_check_counts(struct restore_rig *rig)
{
	const struct nodes *nodes = &rig->translate.nodes;

	rig_settle(rig);
	for (uint32_t i = 1; i < STORE_INODES + STORE_NAMES; i++) {
		uint64_t id = (uint64_t)rig->store.incarnation * 100000 +
			      (i < STORE_INODES ? i : i - STORE_INODES + 2 * STORE_INODES);
		uint64_t count = rig->store.counts[id % 100000];
		const struct node *node = nodes_by_backend(nodes, id);

		cr_assert_eq(count, node ? node->backend_nlookup : 0, "id %llu: counted %llu, known %llu",
			     (unsigned long long)id, (unsigned long long)count,
			     node ? (unsigned long long)node->backend_nlookup : 0);
	}
}
