/*
 * Frames of the control protocol.  Reading takes bytes that nobody vouches for:
 * no offset or length of theirs is used before it has been held against the
 * packet's size.
 */
#include "ctl_frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void *relay_internal_ctl_room(struct relay_ctl_frame *frame, size_t size)
{
	uint32_t at = (frame->size + 7u) & ~7u;
	void *room = frame->bytes + at;

	if (at > RELAY_CTL_FRAME_MAX || size > RELAY_CTL_FRAME_MAX - at) {
		frame->error = -E2BIG;
		return NULL;
	}
	memset(frame->bytes + frame->size, 0, at - frame->size + size);
	frame->size = at + (uint32_t)size;
	return room;
}

void *relay_internal_ctl_begin(struct relay_ctl_frame *frame, const struct relay_ctl_head *head, size_t fixed)
{
	struct relay_ctl_header *header = (struct relay_ctl_header *)frame->bytes;

	frame->size = 0;
	frame->error = 0;
	relay_internal_ctl_room(frame, sizeof(*header) + fixed);
	header->magic = htole32(RELAY_CTL_MAGIC);
	header->version = htole16(RELAY_CTL_VERSION);
	header->type = htole16(head->type);
	header->sequence = htole32(head->sequence);
	header->status = htole32((uint32_t)head->status);
	header->flags = htole32(head->flags);
	return header + 1;
}

void relay_internal_ctl_put(struct relay_ctl_frame *frame, struct relay_ctl_string *where, const char *text)
{
	size_t length;

	if (!text)
		return;
	length = strlen(text);
	if (length >= RELAY_CTL_FRAME_MAX - frame->size) {
		frame->error = -E2BIG;
		return;
	}
	where->offset = htole32(frame->size);
	where->length = htole32((uint32_t)length);
	memcpy(frame->bytes + frame->size, text, length + 1);
	frame->size += (uint32_t)length + 1;
}

int relay_internal_ctl_end(struct relay_ctl_frame *frame)
{
	struct relay_ctl_header *header = (struct relay_ctl_header *)frame->bytes;

	header->size = htole32(frame->size);
	return frame->error;
}

int relay_internal_ctl_check(const void *packet, size_t size, struct relay_ctl_head *head, const char **why)
{
	struct relay_ctl_header header;

	memset(head, 0, sizeof(*head));
	if (size < sizeof(header)) {
		*why = "a packet shorter than a header";
		return -EPROTO;
	}
	memcpy(&header, packet, sizeof(header));
	if (le32toh(header.magic) != RELAY_CTL_MAGIC) {
		*why = "a packet without the protocol's magic";
		return -EPROTO;
	}
	head->version = le16toh(header.version);
	head->type = le16toh(header.type);
	head->size = le32toh(header.size);
	head->sequence = le32toh(header.sequence);
	head->status = (int32_t)le32toh(header.status);
	head->flags = le32toh(header.flags);
	if (head->version != RELAY_CTL_VERSION) {
		*why = "a frame of another version of the protocol";
		return -EPROTONOSUPPORT;
	}
	if (head->size != size) {
		*why = "a frame whose size is not its packet's";
		return -EPROTO;
	}
	return 0;
}

const void *relay_internal_ctl_fixed(const void *packet, size_t size, size_t fixed)
{
	if (size < sizeof(struct relay_ctl_header) || size - sizeof(struct relay_ctl_header) < fixed)
		return NULL;
	return (const char *)packet + sizeof(struct relay_ctl_header);
}

int relay_internal_ctl_get(const void *packet, size_t size, const struct relay_ctl_string *where, const char **text)
{
	uint32_t offset = le32toh(where->offset);
	uint32_t length = le32toh(where->length);
	const char *start;

	*text = NULL;
	if (!offset && !length)
		return 0;
	if (offset < sizeof(struct relay_ctl_header) || offset >= size || length >= size - offset)
		return -EPROTO;
	start = (const char *)packet + offset;
	if (memchr(start, '\0', (size_t)length + 1) != start + length)
		return -EPROTO;
	*text = start;
	return 0;
}
