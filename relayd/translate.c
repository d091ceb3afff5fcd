/*
 * The tables of a mount as one, and what the present incarnation is to be told of its own
 * making: nodes to forget, and open files to release that the kernel does not know of.
 *
 * Both queues are of one incarnation: its end is the end of what it has to forget.  They
 * are not in the state; what a crash of relayd's loses there is the backend's memory.
 */
#include "translate_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of an incarnation that does not read what it is to forget; 16 bytes each. */
#define FORGETS_MAX (1u << 20)
#define FORGETS_LEAST 256u

/* BATCH_FORGET is of 7.16. */
#define MINOR_BATCH_FORGET 16u

static int forgets_grow(struct translate_forgets *forgets)
{
	uint32_t room = forgets->room ? forgets->room * 2 : FORGETS_LEAST;
	struct fuse_forget_one *one;

	if (room > FORGETS_MAX)
		return -ENOSPC;
	one = realloc(forgets->one, room * sizeof(*one));
	if (!one)
		return -ENOMEM;
	forgets->one = one;
	forgets->room = room;
	return 0;
}

void translate_forget_put(struct translate *translate, uint64_t backend_id, uint64_t nlookup)
{
	struct translate_forgets *forgets = &translate->forgets;
	int err = forgets->count == forgets->room ? forgets_grow(forgets) : 0;

	if (err) {
		if (log_allow(&translate->complaints, translate->mount, "forget"))
			log_warning("%s: incarnation %u is not told to forget node %llu: %s", translate->mount,
				    translate->nodes.incarnation, (unsigned long long)backend_id, strerror(-err));
		return;
	}
	forgets->one[forgets->count++] = (struct fuse_forget_one){.nodeid = backend_id, .nlookup = nlookup};
}

static void on_forget(uint64_t backend_id, uint64_t nlookup, void *arg)
{
	translate_forget_put(arg, backend_id, nlookup);
}

static void on_unnamed(const struct node *node, uint32_t ref, void *arg)
{
	struct translate *translate = arg;

	answers_unnamed(&translate->answers, node, ref);
}

static int tables_init(struct translate *translate)
{
	int err = nodes_init(&translate->nodes, &translate->state, translate->mount);

	if (err)
		return err;
	err = handles_init(&translate->handles, &translate->state, &translate->nodes);
	if (!err)
		err = locks_init(&translate->locks, &translate->state, &translate->nodes);
	if (err)
		nodes_deinit(&translate->nodes);
	return err;
}

static void record_sizes(uint32_t record_size[STATE_TABLES])
{
	nodes_record_sizes(record_size);
	handles_record_sizes(record_size);
	dirlog_record_sizes(record_size);
	locks_record_sizes(record_size);
}

/* From the tables to what is queued for the backend, and to what is answered by relayd. */
static void callbacks_set(struct translate *translate)
{
	translate->nodes.on_forget = on_forget;
	translate->nodes.on_unnamed = on_unnamed;
	translate->nodes.arg = translate;
}

int translate_init(struct translate *translate, const char *mount)
{
	uint32_t record_size[STATE_TABLES] = {0};
	int err;

	*translate = (struct translate){.mount = mount, .uid = geteuid()};
	record_sizes(record_size);
	translate->releases.one = calloc(TRANSLATE_RELEASES, sizeof(*translate->releases.one));
	if (!translate->releases.one)
		return -ENOMEM;
	err = state_init(&translate->state, record_size);
	if (!err) {
		err = tables_init(translate);
		if (err)
			state_deinit(&translate->state);
	}
	if (err) {
		free(translate->releases.one);
		return err;
	}
	callbacks_set(translate);
	answers_init(&translate->answers);
	pthread_mutex_init(&translate->lock, NULL);
	return 0;
}

int translate_resume(struct translate *translate, int fd)
{
	uint32_t record_size[STATE_TABLES] = {0};
	struct state fresh = translate->state, left;
	int err;

	record_sizes(record_size);
	err = state_open(&left, fd, record_size);
	if (err)
		return err;
	nodes_deinit(&translate->nodes);
	translate->state = left;
	err = tables_init(translate);
	state_deinit(&fresh);
	callbacks_set(translate);
	/* What cannot be true is the caller's still, and this good for nothing but translate_deinit(). */
	if (err)
		translate->state.fd = -1;
	return err;
}

void translate_deinit(struct translate *translate)
{
	pthread_mutex_destroy(&translate->lock);
	answers_deinit(&translate->answers);
	nodes_deinit(&translate->nodes);
	state_deinit(&translate->state);
	free(translate->releases.one);
	free(translate->forgets.one);
}

void translate_incarnation(struct translate *translate, uint32_t incarnation)
{
	pthread_mutex_lock(&translate->lock);
	answers_incarnation(&translate->answers, &translate->nodes);
	nodes_incarnation(&translate->nodes, incarnation);
	translate->forgets.count = 0;
	translate->releases.first = 0;
	translate->releases.count = 0;
	translate->releases.asked = 0;
	pthread_mutex_unlock(&translate->lock);
}

/* ---- forgetting ----------------------------------------------------------- */

void translate_forget(struct translate *translate, const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	const struct fuse_forget_in *in = (const void *)(header + 1);
	const struct fuse_batch_forget_in *batch = (const void *)(header + 1);
	const struct fuse_forget_one *one = (const void *)(batch + 1);
	uint64_t count;

	pthread_mutex_lock(&translate->lock);
	translate_sweep(translate);
	if (header->opcode == FUSE_FORGET && size >= sizeof(*header) + sizeof(*in)) {
		translate_uncount(translate, header->nodeid, in->nlookup);
	} else if (header->opcode == FUSE_BATCH_FORGET && size >= sizeof(*header) + sizeof(*batch)) {
		count = (size - sizeof(*header) - sizeof(*batch)) / sizeof(*one);
		if (count > batch->count)
			count = batch->count;
		for (uint64_t i = 0; i < count; i++)
			translate_uncount(translate, one[i].nodeid, one[i].nlookup);
	}
	pthread_mutex_unlock(&translate->lock);
}

/* The last `count` of the queue into a packet, which has room for them. */
static uint32_t forgets_pack(const struct fuse_forget_one *from, uint32_t count, bool batch, void *packet)
{
	struct fuse_in_header *header = packet;
	struct fuse_batch_forget_in *in = (void *)(header + 1);
	uint32_t size = (uint32_t)sizeof(*header);

	*header = (struct fuse_in_header){.opcode = batch ? FUSE_BATCH_FORGET : FUSE_FORGET};
	if (batch) {
		*in = (struct fuse_batch_forget_in){.count = count};
		memcpy(in + 1, from, count * sizeof(*from));
		size += (uint32_t)(sizeof(*in) + count * sizeof(*from));
	} else {
		header->nodeid = from->nodeid;
		memcpy(header + 1, &(struct fuse_forget_in){.nlookup = from->nlookup}, sizeof(struct fuse_forget_in));
		size += (uint32_t)sizeof(struct fuse_forget_in);
	}
	header->len = size;
	return size;
}

uint32_t translate_forgets_take(struct translate *translate, uint32_t minor, void *packet, uint32_t size)
{
	const uint32_t fixed = sizeof(struct fuse_in_header) + sizeof(struct fuse_batch_forget_in);
	struct translate_forgets *forgets = &translate->forgets;
	bool batch = minor >= MINOR_BATCH_FORGET;
	uint32_t count, room = 1, length = 0;

	if (size < fixed + sizeof(struct fuse_forget_one))
		return 0;
	if (batch)
		room = (size - fixed) / (uint32_t)sizeof(struct fuse_forget_one);
	pthread_mutex_lock(&translate->lock);
	atomic_store_explicit(&translate->forgets_due, false, memory_order_relaxed);
	count = forgets->count < room ? forgets->count : room;
	if (count > 0 && translate->releases.count + translate->releases.asked == 0) {
		forgets->count -= count;
		length = forgets_pack(forgets->one + forgets->count, count, batch, packet);
	}
	pthread_mutex_unlock(&translate->lock);
	return length;
}

/* ---- releasing ------------------------------------------------------------ */

void translate_release_put(struct translate *translate, const struct translate_release *release)
{
	struct translate_releases *releases = &translate->releases;

	if (releases->count == TRANSLATE_RELEASES) {
		if (log_allow(&translate->complaints, translate->mount, "release"))
			log_warning("%s: incarnation %u is not told to release an open file of node %llu",
				    translate->mount, translate->nodes.incarnation,
				    (unsigned long long)release->nodeid);
		return;
	}
	releases->one[(releases->first + releases->count) % TRANSLATE_RELEASES] = *release;
	releases->one[(releases->first + releases->count++) % TRANSLATE_RELEASES].incarnation =
		translate->nodes.incarnation;
}

bool translate_release_take(struct translate *translate, struct translate_release *release)
{
	struct translate_releases *releases = &translate->releases;
	bool any;

	pthread_mutex_lock(&translate->lock);
	any = releases->count > 0;
	if (any) {
		*release = releases->one[releases->first];
		releases->first = (releases->first + 1) % TRANSLATE_RELEASES;
		releases->count--;
		releases->asked++;
	}
	pthread_mutex_unlock(&translate->lock);
	return any;
}

void translate_release_done(struct translate *translate, const struct translate_release *release)
{
	pthread_mutex_lock(&translate->lock);
	if (release->incarnation == translate->nodes.incarnation)
		translate->releases.asked--;
	pthread_mutex_unlock(&translate->lock);
}
