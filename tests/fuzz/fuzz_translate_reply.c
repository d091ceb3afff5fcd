/*
 * A translated mount whose backend answers anything at all, over several lives: whatever it
 * says the kernel is only given nodes and open files that relayd has, and when it has given
 * them all back nothing is left in the tables.
 *
 * An input is a list of steps: a byte that says what, a byte that says of what, and for
 * replies and notifications two bytes of length and that many bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/translate_rig.h"
#include "translate_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the kernel has. */
#define KERNEL_MAX 64u
static struct {
	uint64_t nodeid, nlookup;
} known[KERNEL_MAX];
static struct {
	uint64_t fh, nodeid;
	bool dir;
} opened[KERNEL_MAX];
static unsigned known_count, opened_count;

static struct translate_rig rig;

static void need(bool what)
{
	if (!what)
		abort();
}

static uint64_t some_node(uint8_t which)
{
	which = (uint8_t)(which % (known_count + 1));
	return which ? known[which - 1].nodeid : FUSE_ROOT_ID;
}

static void node_count(uint64_t nodeid)
{
	unsigned i = 0;

	if (nodeid == FUSE_ROOT_ID)
		return;
	need(nodes_get(&rig.translate.nodes, nodeid) != NULL);
	while (i < known_count && known[i].nodeid != nodeid)
		i++;
	if (i == KERNEL_MAX) {
		translate_rig_forget(&rig, nodeid, 1);
		return;
	}
	if (i == known_count)
		known[known_count++].nodeid = nodeid;
	known[i].nlookup++;
}

static void node_forget(unsigned which)
{
	uint64_t nodeid = known[which].nodeid, nlookup = known[which].nlookup;

	known[which] = known[--known_count];
	known[known_count].nlookup = 0;
	translate_rig_forget(&rig, nodeid, nlookup);
}

static void file_close(unsigned which)
{
	uint64_t fh = opened[which].fh, nodeid = opened[which].nodeid;
	bool dir = opened[which].dir;

	opened[which] = opened[--opened_count];
	need(translate_rig_close(&rig, nodeid, fh, dir));
}

/* ---- requests -------------------------------------------------------------- */

/* A request of that opcode, of objects that the kernel has.  Returns false if it would not send one. */
static bool request_make(const struct relay_op *op, uint32_t opcode, uint8_t of, const uint8_t *bytes, size_t size)
{
	static const char *const names[] = {"a", "b", "c", ".", "..", "dir", "longer-name"};
	const char *name = names[of % 7], *name2 = names[of / 7 % 7];
	bool two = op->shape == RELAY_SHAPE_NAME_NAME || op->shape == RELAY_SHAPE_IN_NAME_NAME;
	bool one = two || op->shape == RELAY_SHAPE_NAME || op->shape == RELAY_SHAPE_IN_NAME ||
		   op->shape == RELAY_SHAPE_IN_NAME_DATA;
	uint64_t nodeid = some_node(of), other = some_node((uint8_t)(of >> 3));
	uint8_t in[256] = {0}; /* longer than any fixed part */

	memcpy(in, bytes, size < op->in_size ? size : op->in_size);
	for (unsigned i = 0; i < RELAY_IDS_MAX; i++) {
		const struct relay_id *id = &op->ids[i];

		if (id->kind == RELAY_ID_NODE)
			memcpy(in + id->at, &other, sizeof(other));
		if (id->kind != RELAY_ID_FH)
			continue;
		if (id->bit && opened_count == 0) {
			memset(in, 0, sizeof(uint32_t));
			continue;
		}
		if (opened_count == 0)
			return false;
		memcpy(in + id->at, &opened[of % opened_count].fh, sizeof(uint64_t));
		nodeid = opened[of % opened_count].nodeid;
	}
	/* In most rows it is the limit of the reply's size. */
	if (op->size_at)
		memcpy(in + op->size_at, &(uint32_t){4096}, sizeof(uint32_t));
	translate_rig_request(&rig, opcode, nodeid, in, op->in_size, one ? name : NULL, two ? name2 : NULL);
	return true;
}

/* What the kernel makes of a reply. */
static void reply_taken(const struct relay_op *op, const uint8_t *payload, uint32_t size)
{
	const struct fuse_in_header *header = (const void *)rig.request;
	const struct fuse_entry_out *entry = (const void *)payload;
	const struct fuse_open_out *open = (const void *)(payload + (op->flags & RELAY_OP_ENTRY ? sizeof(*entry) : 0));

	if (op->flags & RELAY_OP_ENTRY && entry->nodeid)
		node_count(entry->nodeid);
	if (op->flags & RELAY_OP_OPENS) {
		const struct handle *handle = handles_get(&rig.translate.handles, open->fh);

		need(handle != NULL && opened_count < KERNEL_MAX);
		opened[opened_count].fh = open->fh;
		opened[opened_count].dir = op->flags & RELAY_OP_OPENS_DIR;
		opened[opened_count++].nodeid = op->flags & RELAY_OP_ENTRY ? entry->nodeid : header->nodeid;
	}
	while (op->flags & RELAY_OP_ENTRIES && size >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		const struct fuse_direntplus *plus = (const void *)payload;
		uint64_t length = FUSE_REC_ALIGN((uint64_t)FUSE_NAME_OFFSET_DIRENTPLUS + plus->dirent.namelen);

		if (length > size)
			break;
		if (plus->entry_out.nodeid)
			node_count(plus->entry_out.nodeid);
		payload += length;
		size -= (uint32_t)length;
	}
}

static int reply_give(const struct relay_op *op, const uint8_t *bytes, uint32_t size, int error, bool refuse)
{
	uint32_t length = (uint32_t)sizeof(struct fuse_out_header) + (error ? 0 : size);
	struct relay_bounds bounds = relay_reply_bounds(op, rig.request);
	struct fuse_out_header *header = malloc(length);
	uint8_t *payload = (uint8_t *)(header + 1);
	int ret;

	need(header != NULL);
	*header = (struct fuse_out_header){.len = length, .error = error};
	memcpy(payload, bytes, length - sizeof(*header));
	if (relay_reply_check(&bounds, header, length))
		*header = (struct fuse_out_header){.len = sizeof(*header), .error = -EIO};
	ret = translate_reply(&rig.translate, rig.request, rig.size, &rig.note, header, payload);
	need(ret <= 0);
	if (!ret && refuse)
		translate_refused(&rig.translate, rig.request, header, payload);
	else if (!ret && !header->error)
		reply_taken(op, payload, header->len - (uint32_t)sizeof(*header));
	free(header);
	return ret;
}

/* Relayd's own, if there is one. */
static bool answer_give(const struct relay_op *op, bool any, bool refuse)
{
	struct translate_answer answer;

	if (!translate_answer(&rig.translate, rig.request, rig.size, any, 1, &answer))
		return false;
	if (refuse)
		translate_refused(&rig.translate, rig.request, &answer.header, &answer.payload);
	else
		reply_taken(op, (const uint8_t *)&answer.payload, answer.header.len - (uint32_t)sizeof(answer.header));
	return true;
}

/* A request and its answer: the bytes are of the request's fixed part first, then of the reply. */
static void step_request(uint8_t opcode, uint8_t of, const uint8_t *bytes, uint32_t size, bool refuse)
{
	const struct relay_op *op = relay_op_get(opcode % RELAY_OPCODE_MAX);
	int outcome;

	opcode %= RELAY_OPCODE_MAX;
	if (!op || op->reply == RELAY_REPLY_NEVER || op->flags & (RELAY_OP_OWN | RELAY_OP_CLOSES))
		return;
	if (op->flags & RELAY_OP_OPENS && opened_count == KERNEL_MAX)
		return;
	if (!request_make(op, opcode, of, bytes, size))
		return;
	bytes += size < op->in_size ? size : op->in_size;
	size -= size < op->in_size ? size : op->in_size;
	if (answer_give(op, of & 1, refuse))
		return;
	outcome = translate_rig_send(&rig);
	if (outcome == TRANSLATE_READY)
		reply_give(op, bytes, size, size == 1 ? -(int)bytes[0] : 0, refuse);
	else
		need(outcome == TRANSLATE_RESTORE || outcome == TRANSLATE_ANSWERED || outcome == -ESTALE);
}

static void step_notify(uint8_t code, const uint8_t *bytes, uint32_t size)
{
	uint32_t length = (uint32_t)sizeof(struct fuse_out_header) + size;
	struct fuse_out_header *packet = malloc(length);

	need(packet != NULL);
	*packet = (struct fuse_out_header){.len = length, .error = code % 16};
	memcpy(packet + 1, bytes, size);
	translate_notification(&rig.translate, packet, length);
	free(packet);
}

static void step_small(uint8_t what, uint8_t of)
{
	struct translate_release release;

	switch (what % 4) {
	case 0:
		if (known_count)
			node_forget(of % known_count);
		break;
	case 1:
		if (opened_count)
			file_close(of % opened_count);
		break;
	case 2:
		translate_rig_restart(&rig);
		break;
	default:
		while (translate_release_take(&rig.translate, &release))
			translate_release_done(&rig.translate, &release);
		translate_rig_forgotten(&rig, of);
		break;
	}
}

static void tables_check(void)
{
	struct handles handles;
	struct locks locks;

	need(handles_init(&handles, &rig.translate.state, &rig.translate.nodes) == 0);
	need(locks_init(&locks, &rig.translate.state, &rig.translate.nodes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	known_count = opened_count = 0;
	memset(known, 0, sizeof(known));
	need(translate_rig_init(&rig) == 0);
	while (size >= 4) {
		uint8_t what = data[0], of = data[1];
		uint32_t length = data[2] | (uint32_t)(data[3] & 0xf) << 8;
		bool refuse = data[3] & 0x80;

		data += 4;
		size -= 4;
		if (length > size)
			length = (uint32_t)size;
		if (what < 192)
			step_request(what, of, data, length, refuse);
		else if (what < 224)
			step_notify(what, data, length);
		else
			step_small(what, of);
		if (what < 224) {
			data += length;
			size -= length;
		}
	}
	tables_check();
	while (opened_count)
		file_close(0);
	while (known_count)
		node_forget(0);
	/* Nothing is worth keeping. */
	answers_stale_all(&rig.translate.answers);
	translate_sweep(&rig.translate);
	need(rig.translate.answers.kept == 0);
	need(state_live(&rig.translate.state, STATE_HANDLES) == 0);
	need(state_live(&rig.translate.state, STATE_DIRLOGS) == 0);
	need(state_live(&rig.translate.state, STATE_LOCKS) == 0);
	need(state_live(&rig.translate.state, STATE_NODES) == 1);
	tables_check();
	translate_rig_deinit(&rig);
	return 0;
}
