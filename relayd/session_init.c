/*
 * INIT: what the kernel offers, what a backend is offered, what the kernel is
 * told.
 *
 * The kernel asks once in the mount's life.  relayd keeps the question and puts
 * it to every incarnation; the first answer goes to the kernel, and later ones
 * are held against it, since the kernel cannot be told anything else any more.
 */
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/wire.h"

/* Before it the structures of requests and replies are others than the opcode table knows. */
#define MINOR_LEAST 12u

/* From it on FUSE_PASSTHROUGH is what it is today, and the answer has max_stack_depth. */
#define MINOR_PASSTHROUGH 40u

/*
 * Never offered: what relies on the kernel's own descriptor (DAX), or on requests that
 * relayd doesn't let time out.  Passthrough goes by another way: see
 * session_passthrough_offered().  Whether requests come by io_uring is no backend's choice.
 */
#define WITHHELD                                                                                                       \
	(FUSE_OVER_IO_URING | FUSE_PASSTHROUGH | FUSE_HAS_INODE_DAX | (uint64_t)FUSE_MAP_ALIGNMENT |                    \
	 FUSE_REQUEST_TIMEOUT | FUSE_ALLOW_IDMAP | FUSE_SECURITY_CTX)

static uint64_t flags_of(uint32_t flags, uint32_t flags2)
{
	return flags & FUSE_INIT_EXT ? flags | (uint64_t)flags2 << 32 : flags;
}

static const struct fuse_init_in *kernel_in(const struct session *session)
{
	return (const struct fuse_init_in *)(session->init + sizeof(struct fuse_in_header));
}

/* What an older kernel's INIT lacks is 0. */
static uint64_t offered(const struct session *session)
{
	const struct fuse_init_in *in = kernel_in(session);

	return flags_of(in->flags, in->flags2) & ~WITHHELD;
}

bool session_passthrough_offered(const struct session *session)
{
	const struct fuse_init_in *in = kernel_in(session);

	return session->may_back && in->minor >= MINOR_PASSTHROUGH &&
	       flags_of(in->flags, in->flags2) & FUSE_PASSTHROUGH;
}

bool session_rings_offered(const struct session *session)
{
	const struct fuse_init_in *in = kernel_in(session);

	return flags_of(in->flags, in->flags2) & FUSE_OVER_IO_URING;
}

bool session_passthrough(const struct session *session)
{
	return session->agreed && flags_of(session->answer.flags, session->answer.flags2) & FUSE_PASSTHROUGH;
}

int session_init_take(struct session *session, const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	const struct fuse_init_in *in = (const void *)(header + 1);

	if (size < sizeof(*header) + 16 || size > SESSION_INIT_MAX || in->major != FUSE_KERNEL_VERSION)
		return -EPROTO;
	memset(session->init, 0, sizeof(session->init));
	memcpy(session->init, request, size);
	session->init_size = size;
	return 0;
}

uint32_t session_init_request(const struct session *session, uint64_t unique, void *buffer)
{
	struct fuse_in_header *header = buffer;
	struct fuse_init_in *in = (void *)(header + 1);
	uint64_t flags = offered(session);

	memcpy(buffer, session->init, SESSION_INIT_MAX);
	header->unique = unique;
	if (in->minor > RELAY_FUSE_MINOR)
		in->minor = RELAY_FUSE_MINOR;
	in->flags = (uint32_t)flags;
	in->flags2 = (uint32_t)(flags >> 32);
	return session->init_size;
}

/*
 * libfuse sends a reply by splice(2): 16 pages make one packet, of which the header
 * takes one and data that begin in the midst of a page one more.
 */
#define PAGES_TRANSLATED (RELAY_MAX_PAGES - 2)

/* What the kernel is told for this answer. */
static void answer_clamp(const struct session *session, const struct fuse_init_out *reply, bool native,
			 struct fuse_init_out *out)
{
	const uint32_t pages = native ? RELAY_MAX_PAGES : PAGES_TRANSLATED;
	const uint32_t data = native ? RELAY_MAX_DATA : PAGES_TRANSLATED * 4096u;
	uint64_t wanted = flags_of(reply->flags, reply->flags2), flags = wanted & offered(session);

	*out = *reply;
	if (out->minor > RELAY_FUSE_MINOR)
		out->minor = RELAY_FUSE_MINOR;
	/* No request or reply may outgrow a slot and a packet, whatever the kernel's default. */
	if (out->max_write > data)
		out->max_write = data;
	if (out->max_write < FUSE_MIN_READ_BUFFER / 2)
		out->max_write = FUSE_MIN_READ_BUFFER / 2;
	if (!(flags & FUSE_MAX_PAGES) || out->max_pages == 0 || out->max_pages > pages)
		out->max_pages = (uint16_t)pages;
	flags |= FUSE_MAX_PAGES | (offered(session) & (FUSE_HAS_RESEND | FUSE_INIT_EXT));
	/* The kernel ignores it together with write-back caching, and without a depth. */
	if (native && session_passthrough_offered(session) && wanted & FUSE_PASSTHROUGH &&
	    !(flags & FUSE_WRITEBACK_CACHE) && reply->RELAY_STACK_DEPTH)
		flags |= FUSE_PASSTHROUGH;
	if (native && session->rings)
		flags |= FUSE_OVER_IO_URING;
	out->flags = (uint32_t)flags;
	out->flags2 = flags & FUSE_INIT_EXT ? (uint32_t)(flags >> 32) : 0;
	out->map_alignment = 0;
	memset(out->unused, 0, sizeof(out->unused));
	out->RELAY_STACK_DEPTH = 0;
	if (out->flags2 & FUSE_PASSTHROUGH >> 32)
		out->RELAY_STACK_DEPTH = reply->RELAY_STACK_DEPTH;
}

static int answer_compare(const struct fuse_init_out *was, const struct fuse_init_out *now, char *why, size_t why_size)
{
	const struct {
		const char *name;
		uint64_t was, now;
	} fields[] = {
		{"minor", was->minor, now->minor},
		{"flags", was->flags, now->flags},
		{"flags2", was->flags2, now->flags2},
		{"max_write", was->max_write, now->max_write},
		{"max_pages", was->max_pages, now->max_pages},
		{"time_gran", was->time_gran, now->time_gran},
		{"max_stack_depth", was->RELAY_STACK_DEPTH, now->RELAY_STACK_DEPTH},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (fields[i].was == fields[i].now)
			continue;
		snprintf(why, why_size, "INIT: %s was agreed with the kernel as %#llx, and this backend says %#llx",
			 fields[i].name, (unsigned long long)fields[i].was, (unsigned long long)fields[i].now);
		return -EPROTO;
	}
	return 0;
}

/* The kernel reads a short answer as one of an old minor version; ours is whole. */
static int answer_send(const struct session *session)
{
	const struct fuse_in_header *asked = (const void *)session->init;
	struct {
		struct fuse_out_header header;
		struct fuse_init_out out;
	} packet = {
		.header = {.len = sizeof(packet), .unique = asked->unique},
		.out = session->answer,
	};

	if (write(session->fd, &packet, sizeof(packet)) != (ssize_t)sizeof(packet))
		return -errno;
	return 0;
}

void session_init_again(const struct session *session)
{
	answer_send(session);
}

/* The answer in the form of this version: what an older one's lacks is 0. */
static int answer_take(const void *reply, uint32_t size, struct fuse_init_out *out, char *why, size_t why_size)
{
	const struct fuse_out_header *header = reply;
	size_t payload = size - sizeof(*header);

	*out = (struct fuse_init_out){0};
	if (size < sizeof(*header) || header->len != size || header->error > 0 || header->error < -4095) {
		snprintf(why, why_size, "INIT: the backend answered with a malformed reply");
		return -EPROTO;
	}
	if (header->error) {
		snprintf(why, why_size, "INIT: the backend answered %s", strerror(-header->error));
		return -EPROTO;
	}
	memcpy(out, header + 1, payload < sizeof(*out) ? payload : sizeof(*out));
	if (payload < FUSE_COMPAT_22_INIT_OUT_SIZE || out->major != FUSE_KERNEL_VERSION || out->minor < MINOR_LEAST) {
		snprintf(why, why_size, "INIT: the backend speaks version %u.%u of the protocol, not %d.%u or later",
			 out->major, out->minor, FUSE_KERNEL_VERSION, MINOR_LEAST);
		return -EPROTO;
	}
	return 0;
}

int session_init_answer(struct session *session, const void *reply, uint32_t size, bool native, char *why,
			size_t why_size)
{
	struct fuse_init_out out, clamped;
	int err;

	err = answer_take(reply, size, &out, why, why_size);
	if (err)
		return err;
	answer_clamp(session, &out, native, &clamped);
	if (session->agreed && session->native != native) {
		snprintf(why, why_size, "INIT: this backend is %slinked with librelay, and the first one was %s",
			 native ? "" : "not ", native ? "not" : "linked with it");
		return -EPROTO;
	}
	if (session->agreed)
		return answer_compare(&session->answer, &clamped, why, why_size);
	session->answer = clamped;
	session->native = native;
	session->agreed = true;
	if (session->on_agreed)
		session->on_agreed(session);
	err = answer_send(session);
	if (err) {
		session->agreed = false;
		snprintf(why, why_size, "INIT: the kernel did not take the answer: %s", strerror(-err));
		return -EPROTO;
	}
	return 0;
}
