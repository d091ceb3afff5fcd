/*
 * Ids are the life's number times 1000 and the file's: no two lives agree about one.
 */
#include "lib/foreign.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#define ID_STEP 1000u

bool foreign_init(struct foreign *foreign)
{
	memset(foreign, 0, sizeof(*foreign));
	if (rig_init(&foreign->rig) < 0)
		return false;
	foreign->rig.translated = true;
	return rig_serve(&foreign->rig, false);
}

void foreign_deinit(struct foreign *foreign)
{
	rig_deinit(&foreign->rig);
}

void foreign_file(struct foreign *foreign, unsigned number, const char *name)
{
	struct foreign_file *file = &foreign->files[number];

	strncpy(file->name, name, sizeof(file->name) - 1);
	file->mode = S_IFREG | 0644;
	file->ino = 500 + number;
}

uint64_t foreign_id(const struct foreign *foreign, unsigned number)
{
	return (uint64_t)foreign->rig.incarnation * ID_STEP + number;
}

bool foreign_die(struct foreign *foreign, bool own_fault)
{
	memset(foreign->asked, 0, sizeof(foreign->asked));
	memset(foreign->forgotten, 0, sizeof(foreign->forgotten));
	return rig_backend_die(&foreign->rig, own_fault);
}

bool foreign_next(struct foreign *foreign)
{
	return rig_serve_next(&foreign->rig, false);
}

uint64_t foreign_request(struct foreign *foreign, uint32_t opcode, uint64_t nodeid, const void *body, uint32_t size)
{
	struct fake_kernel *kernel = &foreign->rig.kernel;
	struct fake_packet packet;

	kernel->unique += 2;
	packet.in = (struct fuse_in_header){
		.len = (uint32_t)sizeof(packet.in) + size,
		.opcode = opcode,
		.unique = kernel->unique,
		.nodeid = nodeid,
		.pid = kernel->pid,
	};
	if (size)
		memcpy(packet.bytes + sizeof(packet.in), body, size);
	return fake_kernel_send(kernel, packet.bytes, packet.in.len) ? kernel->unique : 0;
}

/* ---- the filesystem ------------------------------------------------------ */

static struct foreign_file *by_name(struct foreign *foreign, const char *name)
{
	for (unsigned i = 0; i < FOREIGN_FILES; i++)
		if (foreign->files[i].name[0] && strcmp(foreign->files[i].name, name) == 0)
			return &foreign->files[i];
	return NULL;
}

static struct fuse_attr attr_of(const struct foreign_file *file)
{
	return (struct fuse_attr){.ino = file ? file->ino : 499, .mode = file ? file->mode : S_IFDIR | 0755, .nlink = 1};
}

static struct fuse_entry_out entry_of(const struct foreign *foreign, const struct foreign_file *file)
{
	return (struct fuse_entry_out){.nodeid = foreign_id(foreign, (unsigned)(file - foreign->files)),
				       .attr = attr_of(file)};
}

static void answer_entry(struct foreign *foreign, uint64_t unique, const struct foreign_file *file)
{
	struct fuse_entry_out entry;

	if (!file) {
		fake_backend_reply(&foreign->rig.backend, unique, ENOENT, NULL, 0);
		return;
	}
	entry = entry_of(foreign, file);
	fake_backend_reply(&foreign->rig.backend, unique, 0, &entry, sizeof(entry));
}

static void answer_mkdir(struct foreign *foreign, uint64_t unique, const char *name)
{
	if (by_name(foreign, name)) {
		fake_backend_reply(&foreign->rig.backend, unique, EEXIST, NULL, 0);
		return;
	}
	for (unsigned i = 0; i < FOREIGN_FILES; i++) {
		if (foreign->files[i].name[0])
			continue;
		foreign_file(foreign, i, name);
		foreign->files[i].mode = S_IFDIR | 0755;
		answer_entry(foreign, unique, &foreign->files[i]);
		return;
	}
}

static void answer_unlink(struct foreign *foreign, uint64_t unique, const char *name)
{
	struct foreign_file *file = by_name(foreign, name);

	fake_backend_reply(&foreign->rig.backend, unique, file ? 0 : ENOENT, NULL, 0);
	if (file)
		file->name[0] = '\0';
}

static void answer_rename(struct foreign *foreign, uint64_t unique, const char *name)
{
	struct foreign_file *file = by_name(foreign, name), *target = by_name(foreign, name + strlen(name) + 1);

	fake_backend_reply(&foreign->rig.backend, unique, file ? 0 : ENOENT, NULL, 0);
	if (file && target)
		target->name[0] = '\0';
	if (file)
		strncpy(file->name, name + strlen(name) + 1, sizeof(file->name) - 1);
}

static void answer_attr(struct foreign *foreign, uint64_t unique, uint64_t nodeid)
{
	struct fuse_attr_out out = {.attr_valid = 1};

	if (nodeid != FUSE_ROOT_ID && (nodeid < foreign_id(foreign, 0) || nodeid >= foreign_id(foreign, FOREIGN_FILES))) {
		fake_backend_reply(&foreign->rig.backend, unique, ESTALE, NULL, 0);
		return;
	}
	out.attr = attr_of(nodeid == FUSE_ROOT_ID ? NULL : &foreign->files[nodeid % ID_STEP]);
	fake_backend_reply(&foreign->rig.backend, unique, 0, &out, sizeof(out));
}

static void forget(struct foreign *foreign, uint64_t nodeid, uint64_t nlookup)
{
	if (nodeid >= foreign_id(foreign, 0) && nodeid < foreign_id(foreign, FOREIGN_FILES))
		foreign->forgotten[nodeid % ID_STEP] += nlookup;
}

static void take_batch(struct foreign *foreign, const struct fuse_batch_forget_in *in)
{
	const struct fuse_forget_one *one = (const void *)(in + 1);

	if (foreign->knows_no_batch) {
		fake_backend_notify(&foreign->rig.backend, -ENOSYS, NULL, 0, -1);
		return;
	}
	for (uint32_t i = 0; i < in->count; i++)
		forget(foreign, one[i].nodeid, one[i].nlookup);
}

void foreign_answer(struct foreign *foreign, const struct fake_packet *packet)
{
	struct fake_backend *backend = &foreign->rig.backend;
	const struct relay_op *op = relay_op_get(packet->in.opcode);
	const void *in = fake_packet_in(packet);
	const struct fuse_open_out open = {.fh = (uint64_t)foreign->rig.incarnation * ID_STEP + foreign->opened};
	uint64_t unique = packet->in.unique;

	foreign->asked[packet->in.opcode]++;
	foreign->last_nodeid = packet->in.nodeid;
	if (op->ids[0].kind == RELAY_ID_FH)
		memcpy(&foreign->last_fh, (const char *)in + op->ids[0].at, sizeof(foreign->last_fh));
	switch (packet->in.opcode) {
	case FUSE_LOOKUP:
		answer_entry(foreign, unique, by_name(foreign, in));
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		answer_attr(foreign, unique, packet->in.nodeid);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		foreign->opened++;
		fake_backend_reply(backend, unique, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
		fake_backend_reply(backend, unique, 0, foreign->files[packet->in.nodeid % ID_STEP].name, 1);
		break;
	case FUSE_MKDIR:
		answer_mkdir(foreign, unique, (const char *)in + sizeof(struct fuse_mkdir_in));
		break;
	case FUSE_UNLINK:
		answer_unlink(foreign, unique, in);
		break;
	case FUSE_RENAME:
		answer_rename(foreign, unique, (const char *)in + sizeof(struct fuse_rename_in));
		break;
	case FUSE_POLL:
		fake_backend_reply(backend, unique, 0, &(struct fuse_poll_out){0}, sizeof(struct fuse_poll_out));
		break;
	case FUSE_FORGET:
		forget(foreign, packet->in.nodeid, ((const struct fuse_forget_in *)in)->nlookup);
		break;
	case FUSE_BATCH_FORGET:
		take_batch(foreign, in);
		break;
	default:
		fake_backend_reply(backend, unique, 0, NULL, 0);
		break;
	}
}

/* ---- serving ------------------------------------------------------------- */

bool foreign_serve(struct foreign *foreign, uint64_t unique, struct fake_packet *reply)
{
	struct pollfd pollers[] = {
		{.fd = foreign->rig.kernel.fd, .events = POLLIN},
		{.fd = foreign->rig.backend.fd, .events = POLLIN},
	};
	struct fake_packet packet;

	while (poll(pollers, 2, FAKE_DEADLINE_MS) > 0) {
		if (pollers[0].revents & POLLIN)
			return fake_kernel_receive(&foreign->rig.kernel, reply) && reply->out.unique == unique;
		if (!fake_backend_receive(&foreign->rig.backend, &packet))
			return false;
		foreign_answer(foreign, &packet);
	}
	return false;
}

bool foreign_serve_until(struct foreign *foreign, bool (*done)(struct foreign *foreign))
{
	struct pollfd poller = {.fd = foreign->rig.backend.fd, .events = POLLIN};
	struct fake_packet packet;

	for (unsigned ms = 0; ms < FAKE_DEADLINE_MS; ms++) {
		if (done(foreign))
			return true;
		if (poll(&poller, 1, 1) > 0 && fake_backend_receive(&foreign->rig.backend, &packet))
			foreign_answer(foreign, &packet);
	}
	return false;
}

uint64_t foreign_holds(struct foreign *foreign, uint32_t opcode)
{
	return fake_backend_gets(&foreign->rig.backend, opcode);
}

uint64_t foreign_lookup(struct foreign *foreign, const char *name)
{
	uint64_t unique = fake_kernel_lookup(&foreign->rig.kernel, name);
	struct fake_packet reply;

	if (!foreign_serve(foreign, unique, &reply) || reply.out.error)
		return 0;
	return ((const struct fuse_entry_out *)fake_packet_out(&reply))->nodeid;
}

uint64_t foreign_open(struct foreign *foreign, uint64_t nodeid)
{
	const struct fuse_open_in in = {.flags = 2};
	uint64_t unique = foreign_request(foreign, FUSE_OPEN, nodeid, &in, sizeof(in));
	struct fake_packet reply;

	if (!foreign_serve(foreign, unique, &reply) || reply.out.error)
		return 0;
	return ((const struct fuse_open_out *)fake_packet_out(&reply))->fh;
}

uint64_t foreign_read(struct foreign *foreign, uint64_t nodeid, uint64_t fh)
{
	const struct fuse_read_in in = {.fh = fh, .size = 4096};

	return foreign_request(foreign, FUSE_READ, nodeid, &in, sizeof(in));
}
