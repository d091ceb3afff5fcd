/*
 * Requests as they come over the channel, and from /dev/fuse: the parser that relayd and
 * librelay share, and what librelay does with a packet from there to its handler.
 *
 * On the channel the packet's unique is replaced by the slot's, or nothing would come
 * further than that check; its first byte tells what the slot was like, and whether the
 * request is in the packet or given in its slot.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"
#include "slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LARGE 1u
#define SMALL 1u
#define SMALL_ROOM 256u

static struct relay_session session = {
	.fd = -1, /* what is sent goes nowhere */
	.device = -1,
	.state_lock = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.phase = RELAY_PHASE_SERVING,
};
static int kernel; /* the other end of session.device */
static uint64_t state[64];
static volatile size_t sum; /* so that what is read is read */

static void touch(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sum += ((const uint8_t *)data)[i];
}

static void touch_name(const char *name)
{
	if (name)
		sum += strlen(name);
}

static void on_lookup(struct relay_req *req, const char *name)
{
	touch_name(name);
	relay_reply_entry(req, &(struct fuse_entry_out){.nodeid = 2});
}

static void on_symlink(struct relay_req *req, const char *name, const char *target)
{
	touch_name(name);
	touch_name(target);
	relay_req_applying(req, relay_req_unique(req) & 0xffff);
	relay_reply_error(req, 1);
}

static void on_rename2(struct relay_req *req, const struct fuse_rename2_in *in, const char *name, const char *newname)
{
	touch(in, sizeof(*in));
	touch_name(name);
	touch_name(newname);
	relay_reply_error(req, (int)in->flags);
}

/* Forgets to answer. */
static void on_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name)
{
	relay_state_begin(req);
	touch(in, sizeof(*in));
	touch_name(name);
}

static void on_write(struct relay_req *req, const struct fuse_write_in *in, const void *bytes, size_t size)
{
	touch(in, sizeof(*in));
	touch(bytes, size);
	relay_reply_write(req, (uint32_t)size);
}

static void on_setxattr(struct relay_req *req, const struct fuse_setxattr_in *in, const char *name, const void *value,
			size_t size)
{
	touch(in, sizeof(*in));
	touch_name(name);
	touch(value, size);
	relay_reply(req, value, size);
}

static void on_read(struct relay_req *req, const struct fuse_read_in *in)
{
	relay_reply_filled(req, in->size);
}

static void on_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	touch(in, sizeof(*in));
	req = relay_req_detach(req);
	if (!req)
		return;
	touch(relay_req_in(req), sizeof(*in));
	touch(relay_req_header(req), relay_req_header(req)->len);
	relay_reply_error(req, relay_req_interrupted(req));
}

static void on_forget(struct relay_req *req, uint64_t nodeid, uint64_t nlookup)
{
	/* Some lie behind the state. */
	uint64_t *word = (uint64_t *)((uintptr_t)state + nodeid % 80 * sizeof(*word));

	relay_state_begin(req);
	for (uint64_t i = 0; i < nlookup % 70; i++)
		relay_state_set(req, word, nlookup);
}

static void on_interrupt(struct relay_session *session_, uint64_t unique)
{
	(void)session_;
	sum += unique;
}

static void on_notify_reply(struct relay_req *req, const struct fuse_notify_retrieve_in *in, const void *bytes,
			    size_t size)
{
	touch(in, sizeof(*in));
	touch(bytes, size);
	relay_reply_error(req, 0);
}

static const struct relay_ops ops = {
	.lookup = on_lookup,
	.symlink = on_symlink,
	.rename2 = on_rename2,
	.mkdir = on_mkdir,
	.write = on_write,
	.setxattr = on_setxattr,
	.read = on_read,
	.setlkw = on_setlkw,
	.forget = on_forget,
	.interrupt = on_interrupt,
	.notify_reply = on_notify_reply,
};

static void session_make(void)
{
	uint64_t size = relay_journal_size(LARGE, SMALL);
	int pair[2];

	session.ops = &ops;
	session.journal = (struct relay_journal_map){.size = size, .large = LARGE, .small = SMALL};
	session.journal.journal = aligned_alloc(4096, size);
	session.interrupted = calloc(LARGE + SMALL, sizeof(*session.interrupted));
	session.touched = calloc(LARGE, sizeof(*session.touched));
	if (!session.journal.journal || !session.interrupted || !session.touched)
		abort();
	memset(session.journal.journal, 0, size);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	kernel = pair[0];
	session.device = pair[1];
	session.state = (uint8_t *)state;
	session.state_size = sizeof(state);
}

/* Nobody holds the lock any more, and nothing is detached. */
static void expect_idle(void)
{
	if (pthread_mutex_trylock(&session.state_lock))
		abort();
	pthread_mutex_unlock(&session.state_lock);
	if (session.detached)
		abort();
}

static void serve(uint8_t *packet, size_t size, uint8_t how)
{
	static struct relay_thread thread = {.session = &session, .entry = RELAY_NO_ENTRY};
	struct relay_slot *slot = relay_slot_at(&session.journal, how & 1);
	struct fuse_in_header *header = (struct fuse_in_header *)packet;

	slot->channel_unique = relay_unique_make(how, how & 1);
	slot->state = how & 2 ? RELAY_SLOT_APPLYING : RELAY_SLOT_TAKEN;
	slot->undo_count = RELAY_UNDO_WORD(how >> 4, 0);
	if (size >= sizeof(*header))
		header->unique = slot->channel_unique;
	if (how & 8) {
		uint32_t room = how & 1 ? SMALL_ROOM : RELAY_PACKET_MAX;

		memcpy(relay_slot_request(&session.journal, how & 1), packet, size < room ? size : room);
		slot->request_size = (uint32_t)size;
		relay_internal_serve_given(&thread, slot->channel_unique);
	} else {
		relay_internal_serve_packet(&thread, packet, size, how & 4);
	}
	expect_idle();
	if (slot->state > RELAY_SLOT_APPLIED)
		abort();
}

/* As one that the kernel has sent, which sends no less than a header. */
static void serve_direct(const uint8_t *packet, size_t size)
{
	static struct relay_thread thread = {.session = &session, .slot = RELAY_NO_SLOT, .entry = RELAY_NO_ENTRY};
	static uint8_t answer[RELAY_PACKET_MAX];

	if (size < sizeof(struct fuse_in_header))
		return;
	for (uint32_t i = 0; i < LARGE + SMALL; i++)
		relay_slot_free(&session.journal, i);
	if (send(kernel, packet, size, MSG_NOSIGNAL) != (ssize_t)size)
		abort();
	session.threads = &thread;
	relay_internal_direct_serve(&thread);
	relay_internal_direct_stop(&thread);
	expect_idle();
	while (recv(kernel, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		touch(answer, sizeof(struct fuse_out_header));
	/* What was answered leaves nothing. */
	for (uint32_t i = 0; i < LARGE + SMALL; i++) {
		if (relay_slot_at(&session.journal, i)->state != RELAY_SLOT_FREE ||
		    relay_slot_request(&session.journal, i)->unique != 0)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_args args;
	uint8_t *packet;

	if (size < 1 || size > RELAY_PACKET_MAX)
		return 0;
	if (!session.journal.journal)
		session_make();
	/* In memory of its own, so that a step outside of it is seen. */
	packet = malloc(size - 1 ? size - 1 : 1);
	if (!packet)
		return 0;
	memcpy(packet, data + 1, size - 1);
	if (relay_args_parse(packet, (uint32_t)size - 1, data[0] & 8 ? 16 : 0, &args) == 0) {
		touch_name(args.name);
		touch_name(args.name2);
		touch(args.data, args.data_size);
	}
	serve(packet, size - 1, data[0]);
	serve_direct(data + 1, size - 1);
	free(packet);
	return 0;
}
