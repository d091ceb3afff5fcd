/*
 * What a backend sends, checked, and on to the kernel.
 *
 * One thread, the carrier, reads the channel, so that messages are handled in the order in
 * which they were sent (a descriptor is kept before the reply that relies on it
 * goes out), and so that the end of the channel is the end: what a backend had
 * sent before it died is taken, whatever it was in the midst of.
 */
#include "dispatch.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crash.h"
#include "fdpass.h"
#include "log.h"

struct packet {
	void *bytes;
	uint32_t size;
	bool truncated;
	int *fd; /* -1: it carried none; whoever takes it sets -1 */
	pid_t sender; /* 0: unknown */
};

static void reply_bad(struct dispatch *dispatch, const char *what, uint64_t unique)
{
	atomic_fetch_add_explicit(&dispatch->stats->bad_replies, 1, memory_order_relaxed);
	if (log_allow(&dispatch->complaints, dispatch->name, what))
		log_error("%s: incarnation %u: %s (unique %llu on the channel)", dispatch->name,
			  dispatch->incarnation, what, (unsigned long long)unique);
}

static int kept_send(uint64_t key, int fd, void *arg)
{
	struct dispatch *dispatch = arg;
	struct {
		struct fuse_in_header header;
		struct relay_key key;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = RELAY_KEPT},
		.key = {.key = key},
	};
	struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};
	ssize_t n = relay_internal_send_fds(dispatch->channel, &iov, 1, &fd, 1);

	return n < 0 ? (int)n : 0;
}

/*
 * Whether the incarnation is to serve the rings, which the first one decides.
 * Returns false if this one cannot do what the first one could.
 */
static bool rings_decide(struct dispatch *dispatch, const struct relay_hello *hello, bool *rings)
{
	bool able = hello->flags & RELAY_HELLO_RINGS;

	*rings = dispatch->session->rings;
	if (dispatch->session->agreed)
		return able || !*rings;
	*rings = able && dispatch->rings && rings_are(dispatch->rings) && session_rings_offered(dispatch->session);
	if (dispatch->rings && rings_are(dispatch->rings) && !*rings)
		log_warning("%s: the direct lane in place of uring: %s", dispatch->name,
			    able ? "the kernel's INIT does not offer it"
				 : "the backend serves with one thread, or is linked with an older librelay");
	dispatch->session->rings = *rings;
	return true;
}

/* What it may write down of what does not exist. */
static int absences_send(struct dispatch *dispatch, const struct cache_maps *maps)
{
	struct {
		struct fuse_in_header header;
		struct relay_absences absences;
	} packet = {
		.header = {.len = sizeof(packet), .opcode = RELAY_ABSENCES},
		.absences = cache_absences(dispatch->cache),
	};
	struct iovec iov = {.iov_base = &packet, .iov_len = sizeof(packet)};
	ssize_t n = relay_internal_send_fds(dispatch->channel, &iov, 1, maps->fd, KNOWN_MAPS);

	return n < 0 ? (int)n : 0;
}

/* Answers HELLO with the journal and what earlier incarnations have left. */
static void hello_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;
	const struct relay_hello *hello = (const void *)(header + 1);
	const struct cache_maps *maps = dispatch->cache ? cache_maps(dispatch->cache) : NULL;
	struct {
		struct fuse_in_header header;
		struct relay_welcome welcome;
	} answer = {
		.header = {.len = sizeof(answer), .opcode = RELAY_WELCOME},
		.welcome = {.version = RELAY_WIRE_VERSION,
			    .incarnation = dispatch->incarnation,
			    .kept = dispatch->keep.count,
			    .flags = (dispatch->shared_store ? RELAY_WELCOME_SHARED_STORE : 0) |
				     (dispatch->direct.wanted ? RELAY_WELCOME_DIRECT : 0) |
				     (session_passthrough_offered(dispatch->session) ? RELAY_WELCOME_PASSTHROUGH : 0) |
				     (maps ? RELAY_WELCOME_ABSENCES : 0),
			    .backed = dispatch->backing.count,
			    .journal_size = dispatch->journal->map.size},
	};
	struct iovec iov = {.iov_base = &answer, .iov_len = sizeof(answer)};
	const int fds[] = {dispatch->journal->fd, dispatch->session->fd};
	bool rings;
	int err;

	if (packet->size != sizeof(*header) + sizeof(*hello) || hello->version != RELAY_WIRE_VERSION) {
		reply_bad(dispatch, "a HELLO of another version: link the backend with this librelay", 0);
		shutdown(dispatch->channel, SHUT_RDWR);
		return;
	}
	if (atomic_load(&dispatch->librelay)) {
		reply_bad(dispatch, "a second HELLO", 0);
		return;
	}
	/* Where ids are translated the journal is relayd's alone: it goes by what it finds there. */
	if (dispatch->init_reply_size || atomic_load(&dispatch->translated)) {
		reply_bad(dispatch,
			  dispatch->init_reply_size ? "a HELLO after the answer to INIT"
						    : "a HELLO, and the first backend was not linked with librelay",
			  0);
		shutdown(dispatch->channel, SHUT_RDWR);
		return;
	}
	if (!rings_decide(dispatch, hello, &rings)) {
		reply_bad(dispatch, "a HELLO of a backend that cannot serve the rings, as the first one could", 0);
		shutdown(dispatch->channel, SHUT_RDWR);
		return;
	}
	answer.welcome.flags |= rings ? RELAY_WELCOME_RINGS : 0;
	atomic_store(&dispatch->librelay, true);
	dispatch->shared = true;
	dispatch_event(dispatch, DISPATCH_HELLO);
	err = (int)relay_internal_send_fds(dispatch->channel, &iov, 1, fds, dispatch->direct.wanted ? 2 : 1);
	if (err > 0 && rings)
		err = dispatch_rings_offer(dispatch);
	if (err >= 0)
		err = keep_each(&dispatch->keep, kept_send, dispatch);
	if (err >= 0)
		err = dispatch_backing_tell(dispatch);
	if (err >= 0 && maps)
		err = absences_send(dispatch, maps);
	if (err >= 0)
		return;
	/* It would wait for the rest: with the channel ended it is replaced instead. */
	if (err != -EPIPE && err != -ECONNRESET)
		log_error("%s: incarnation %u: what was left with relayd cannot be sent: %s", dispatch->name,
			  dispatch->incarnation, strerror(-err));
	shutdown(dispatch->channel, SHUT_RDWR);
}

static void key_take(struct dispatch *dispatch, const struct packet *packet, bool put)
{
	const struct fuse_out_header *header = packet->bytes;
	struct relay_key key;
	int err;

	if (packet->size != sizeof(*header) + sizeof(key) || put != (*packet->fd >= 0)) {
		reply_bad(dispatch, put ? "a malformed KEEP" : "a malformed DROP", 0);
		return;
	}
	memcpy(&key, header + 1, sizeof(key));
	if (!put) {
		keep_drop(&dispatch->keep, key.key);
		return;
	}
	err = keep_put(&dispatch->keep, key.key, *packet->fd);
	*packet->fd = -1;
	if (err && log_allow(&dispatch->complaints, dispatch->name, "kept"))
		log_error("%s: incarnation %u: a descriptor is not kept: %s", dispatch->name, dispatch->incarnation,
			  keep_why(err));
}

/* PAUSED and GONE, which have no body. */
static void direct_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;

	if (!direct_is(&dispatch->direct) || packet->size != sizeof(*header)) {
		reply_bad(dispatch, "a malformed message about the direct lane", 0);
	} else if (header->error == RELAY_NOTIFY_GONE) {
		dispatch_device_look(dispatch);
	} else {
		atomic_store(&dispatch->direct.paused, true);
		dispatch_event(dispatch, DISPATCH_PROGRESS);
	}
}

static void notification_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;
	int err;

	switch (header->error) {
	case RELAY_NOTIFY_HELLO:
		hello_take(dispatch, packet);
		return;
	case RELAY_NOTIFY_KEEP:
	case RELAY_NOTIFY_DROP:
		key_take(dispatch, packet, header->error == RELAY_NOTIFY_KEEP);
		return;
	case RELAY_NOTIFY_BACK:
	case RELAY_NOTIFY_UNBACK:
		if (dispatch_backing_take(dispatch, packet->bytes, packet->size, *packet->fd) < 0)
			reply_bad(dispatch, "a malformed BACK or UNBACK", 0);
		return;
	case RELAY_NOTIFY_PAUSED:
	case RELAY_NOTIFY_GONE:
		direct_take(dispatch, packet);
		return;
	case -ENOSYS:
		/* What ntfs-3g, whose library does not know BATCH_FORGET, says to each: the kernel drops it. */
		if (packet->size == sizeof(*header)) {
			dispatch->forgets_singly = true;
			return;
		}
		break;
	default:
		break;
	}
	err = notify_check(packet->bytes, packet->size);
	if (!err && atomic_load_explicit(&dispatch->translated, memory_order_relaxed))
		err = translate_notification(&dispatch->translate, packet->bytes, packet->size);
	if (err == -ENOENT)
		return; /* of what the kernel does not know it needs no news */
	if (!err && cache_absence(dispatch->cache) &&
	    relay_absence_notify(cache_absence(dispatch->cache), packet->bytes, packet->size) < 0)
		dispatch_event(dispatch, DISPATCH_DISTRUST);
	if (!err)
		err = notify_put(&dispatch->notify, packet->bytes, packet->size);
	if (err == -EPROTO)
		reply_bad(dispatch, "a malformed notification", 0);
	else if (err && log_allow(&dispatch->complaints, dispatch->name, "notification"))
		log_error("%s: incarnation %u: notification %d is lost: %s", dispatch->name, dispatch->incarnation,
			  header->error, strerror(-err));
}

/* EAGAIN: the INTERRUPT came before its request was found; the kernel would send it again, so do we. */
static void interrupt_again(struct dispatch *dispatch, const struct fuse_out_header *header)
{
	uint64_t channel_unique = header->unique & ~(uint64_t)1;
	uint32_t slot = relay_unique_slot(channel_unique);

	if (header->error != -EAGAIN || slot >= journal_slots(dispatch->journal))
		return;
	if (atomic_load(&dispatch->inflight[slot].state) == INFLIGHT_SENT &&
	    dispatch->inflight[slot].channel_unique == channel_unique)
		dispatch_interrupt(dispatch, channel_unique);
}

static void init_reply_take(struct dispatch *dispatch, const struct packet *packet)
{
	if (packet->truncated || packet->size > sizeof(dispatch->init_reply) || dispatch->init_reply_size) {
		reply_bad(dispatch, "a malformed or second reply to INIT", 0);
		/* Without another it would be waited for in vain. */
		if (!dispatch->init_reply_size)
			shutdown(dispatch->channel, SHUT_RDWR);
		return;
	}
	/* Somebody may still have the journal, and write to it.  (Once it is agreed, see session_init_answer().) */
	if (dispatch->shared && !atomic_load(&dispatch->librelay) && !dispatch->session->agreed) {
		reply_bad(dispatch, "not linked with librelay, and an earlier one was", 0);
		shutdown(dispatch->channel, SHUT_RDWR);
		return;
	}
	memcpy(dispatch->init_reply, packet->bytes, packet->size);
	dispatch->init_reply_size = packet->size;
	/* Who sends what follows is of no interest. */
	setsockopt(dispatch->channel, SOL_SOCKET, SO_PASSCRED, &(int){0}, sizeof(int));
	dispatch->peer_pid = packet->sender;
	dispatch_event(dispatch, DISPATCH_ANSWERED);
}

static void reply_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;
	uint32_t slot = relay_unique_slot(header->unique), sent = INFLIGHT_SENT;
	struct inflight *r;
	const char *why;

	if (slot >= journal_slots(dispatch->journal)) {
		reply_bad(dispatch, "a reply to nothing", header->unique);
		return;
	}
	r = &dispatch->inflight[slot];
	if (atomic_load(&r->state) != INFLIGHT_SENT || r->channel_unique != header->unique ||
	    !atomic_compare_exchange_strong(&r->state, &sent, INFLIGHT_ANSWERED)) {
		reply_bad(dispatch, "a reply to nothing", header->unique);
		return;
	}
	RELAY_CRASH_POINT("reply", "taken");
	if (r->no_reply) { /* librelay's acknowledgement */
		dispatch_free(dispatch, slot);
		return;
	}
	why = packet->truncated ? "longer than any reply" : relay_reply_check(&r->bounds, packet->bytes, packet->size);
	if (why) {
		atomic_fetch_add_explicit(&dispatch->stats->bad_replies, 1, memory_order_relaxed);
		if (log_allow(&dispatch->complaints, dispatch->name, why))
			log_error("%s: incarnation %u: malformed reply to %s, unique %llu: %s; answered EIO",
				  dispatch->name, dispatch->incarnation, dispatch_opcode_name(r->opcode),
				  (unsigned long long)r->unique, why);
		dispatch_answer(dispatch, slot, EIO);
		return;
	}
	dispatch_deliver(dispatch, slot, header, (char *)packet->bytes + sizeof(*header));
}

/* A reply to a request of relayd's own.  One that is too long was lost, and fits none. */
static void ask_reply_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;

	if (!repair_reply(&dispatch->repair, relay_unique_slot(header->unique), packet->bytes, packet->size))
		reply_bad(dispatch, "a reply to nothing", header->unique);
}

static void packet_take(struct dispatch *dispatch, const struct packet *packet)
{
	const struct fuse_out_header *header = packet->bytes;

	if (packet->size < sizeof(*header))
		reply_bad(dispatch, "a packet shorter than a header", 0);
	else if (header->unique == 0 && packet->truncated)
		reply_bad(dispatch, "a notification longer than any", 0);
	else if (header->unique == 0)
		notification_take(dispatch, packet);
	else if (relay_unique_slot(header->unique) == DISPATCH_INIT_SLOT)
		init_reply_take(dispatch, packet);
	else if (header->unique & 1)
		interrupt_again(dispatch, header);
	else if (relay_unique_slot(header->unique) >= ASK_SLOT(ASK_MAX - 1))
		ask_reply_take(dispatch, packet);
	else
		reply_take(dispatch, packet);
}

/* An empty packet reads as the end does: the end has nothing behind it, and nobody at the other side. */
static bool channel_ended(int channel)
{
	struct pollfd poller = {.fd = channel, .events = POLLRDHUP};
	int left = 0;

	if (poll(&poller, 1, 0) <= 0 || !(poller.revents & (POLLRDHUP | POLLHUP)))
		return false;
	return ioctl(channel, SIOCINQ, &left) < 0 || left == 0;
}

int dispatch_channel_take(struct dispatch *dispatch, int channel)
{
	int fd = -1;
	unsigned fds = 1;
	pid_t sender;
	ssize_t n = relay_internal_recv_fds_from(channel, MSG_DONTWAIT, dispatch->reply, DISPATCH_REPLY_SIZE, &fd,
						 &fds, &sender);
	struct packet packet = {
		.bytes = dispatch->reply,
		.size = n < 0 ? DISPATCH_REPLY_SIZE : (uint32_t)n,
		.truncated = n == -EMSGSIZE,
		.fd = &fd,
		.sender = sender,
	};
	bool ended;

	if (fds == 0)
		fd = -1;
	/*
	 * ECONNRESET: it died with requests unread.  Said once, before what it had
	 * sent by then, which must not be lost.
	 */
	if (n == -ECONNRESET)
		return 0;
	if (n < 0 && n != -EMSGSIZE)
		return (int)n;
	/* An empty packet that is the last may have a descriptor too. */
	ended = n == 0 && channel_ended(channel);
	if (!ended)
		packet_take(dispatch, &packet);
	if (fd >= 0)
		close(fd);
	return ended ? -EPIPE : 0;
}
