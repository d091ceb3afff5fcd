/*
 * The kernel and the backend of a translated mount.
 */
#include "lib/translate_rig.h"

#include <string.h>
#include <sys/stat.h>

int translate_rig_init(struct translate_rig *rig)
{
	int err = translate_init(&rig->translate, "mount");

	rig->incarnation = 0;
	rig->note = (struct translate_note){0};
	if (!err)
		translate_rig_restart(rig);
	return err;
}

void translate_rig_deinit(struct translate_rig *rig)
{
	translate_deinit(&rig->translate);
}

void translate_rig_restart(struct translate_rig *rig)
{
	translate_incarnation(&rig->translate, ++rig->incarnation);
}

static void request_add(struct translate_rig *rig, const void *bytes, size_t size)
{
	memcpy(rig->request + rig->size, bytes, size);
	rig->size += (uint32_t)size;
}

void translate_rig_request(struct translate_rig *rig, uint32_t opcode, uint64_t nodeid, const void *in,
			   uint32_t in_size, const char *name, const char *name2)
{
	struct fuse_in_header *header = (struct fuse_in_header *)rig->request;

	rig->size = 0;
	request_add(rig,
		    &(struct fuse_in_header){.opcode = opcode, .nodeid = nodeid, .uid = 1000, .gid = 100, .pid = 7},
		    sizeof(*header));
	if (in_size)
		request_add(rig, in, in_size);
	if (name)
		request_add(rig, name, strlen(name) + 1);
	if (name2)
		request_add(rig, name2, strlen(name2) + 1);
	header->len = rig->size;
}

int translate_rig_send(struct translate_rig *rig)
{
	int ret = translate_request(&rig->translate, rig->request, rig->size, &rig->head);

	if (ret == TRANSLATE_READY)
		translate_note(&rig->translate, rig->request, &rig->note);
	return ret;
}

const struct fuse_in_header *translate_rig_head(const struct translate_rig *rig)
{
	return (const struct fuse_in_header *)rig->head.bytes;
}

const void *translate_rig_in(const struct translate_rig *rig)
{
	return translate_rig_head(rig) + 1;
}

int translate_rig_reply(struct translate_rig *rig, int error, const void *payload, uint32_t size)
{
	rig->reply.header = (struct fuse_out_header){.len = (uint32_t)sizeof(rig->reply.header) + size, .error = error};
	if (size)
		memcpy(rig->reply.payload, payload, size);
	return translate_reply(&rig->translate, rig->request, rig->size, &rig->note, &rig->reply.header,
			       rig->reply.payload);
}

void translate_rig_refuse(struct translate_rig *rig)
{
	translate_refused(&rig->translate, rig->request, &rig->reply.header, rig->reply.payload);
}

struct fuse_entry_out translate_rig_entry(uint64_t backend_id, uint64_t ino, uint32_t mode)
{
	return (struct fuse_entry_out){
		.nodeid = backend_id,
		.generation = 77,
		.attr = {.ino = ino, .mode = mode, .nlink = S_ISDIR(mode) ? 2 : 1, .size = 5},
	};
}

uint64_t translate_rig_lookup(struct translate_rig *rig, uint64_t parent, const char *name, uint64_t backend_id,
			      uint32_t mode)
{
	struct fuse_entry_out entry = translate_rig_entry(backend_id, backend_id + 100000, mode);

	translate_rig_request(rig, FUSE_LOOKUP, parent, NULL, 0, name, NULL);
	if (translate_rig_send(rig) != TRANSLATE_READY || translate_rig_reply(rig, 0, &entry, sizeof(entry)))
		return 0;
	return ((const struct fuse_entry_out *)rig->reply.payload)->nodeid;
}

uint64_t translate_rig_open(struct translate_rig *rig, uint64_t nodeid, uint32_t flags, bool dir, uint64_t backend_fh)
{
	const struct fuse_open_in in = {.flags = flags};
	const struct fuse_open_out out = {.fh = backend_fh};

	translate_rig_request(rig, dir ? FUSE_OPENDIR : FUSE_OPEN, nodeid, &in, sizeof(in), NULL, NULL);
	if (translate_rig_send(rig) != TRANSLATE_READY || translate_rig_reply(rig, 0, &out, sizeof(out)))
		return 0;
	return ((const struct fuse_open_out *)rig->reply.payload)->fh;
}

bool translate_rig_close(struct translate_rig *rig, uint64_t nodeid, uint64_t fh, bool dir)
{
	const struct fuse_release_in in = {.fh = fh};
	int outcome;

	translate_rig_request(rig, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, nodeid, &in, sizeof(in), NULL, NULL);
	outcome = translate_rig_send(rig);
	return outcome >= 0 && outcome != TRANSLATE_RESTORE && translate_rig_reply(rig, 0, NULL, 0) == 0;
}

void translate_rig_forget(struct translate_rig *rig, uint64_t nodeid, uint64_t nlookup)
{
	const struct fuse_forget_in in = {.nlookup = nlookup};

	translate_rig_request(rig, FUSE_FORGET, nodeid, &in, sizeof(in), NULL, NULL);
	translate_forget(&rig->translate, rig->request, rig->size);
}

uint64_t translate_rig_forgotten(struct translate_rig *rig, uint64_t backend_id)
{
	_Alignas(8) uint8_t packet[4096];
	const struct fuse_batch_forget_in *in = (const void *)(packet + sizeof(struct fuse_in_header));
	const struct fuse_forget_one *one = (const void *)(in + 1);
	uint64_t count = 0;

	while (translate_forgets_take(&rig->translate, 31, packet, sizeof(packet)) > 0)
		for (uint32_t i = 0; i < in->count; i++)
			if (one[i].nodeid == backend_id)
				count += one[i].nlookup;
	return count;
}
