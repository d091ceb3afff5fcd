/*
 * Direct lane: the channel, on the thread of relay_serve().
 *
 * What earlier incarnations had not answered is given here, each request by a packet that
 * is its header only: the request is in its slot.  It is handed to the serving threads, so
 * that none waits for another, and answered on the channel.  Then relayd says GO.
 */
#include "internal.h"

#include <errno.h>
#include <sys/mman.h>

#define BUFFER_SIZE (RELAY_PACKET_AT + RELAY_PACKET_MAX)

static void packet_take(struct relay_thread *thread, const struct fuse_in_header *header, uint32_t size)
{
	struct relay_session *session = thread->session;

	switch (header->opcode) {
	case RELAY_GO:
		relay_internal_readers_go(session);
		break;
	case RELAY_PAUSE:
		relay_internal_readers_pause(session);
		break;
	case FUSE_INTERRUPT:
	case FUSE_NOTIFY_REPLY:
		relay_internal_serve_unanswered(thread, header, size, false);
		break;
	default:
		if (!relay_internal_readers_give(session, header->unique))
			relay_internal_answer_outside(session, header->unique, EIO);
	}
}

void relay_internal_given_receive(struct relay_session *session)
{
	struct relay_thread thread = {.session = session, .slot = RELAY_NO_SLOT, .entry = RELAY_NO_ENTRY};
	struct fuse_in_header *header;
	void *buffer;

	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffer == MAP_FAILED) {
		relay_internal_session_end(session, -errno);
		return;
	}
	header = (struct fuse_in_header *)((uint8_t *)buffer + RELAY_PACKET_AT);
	while (!relay_internal_session_ended(session)) {
		ssize_t n;

		relay_internal_pairing_watch(session);
		n = relay_internal_channel_receive(session, header, RELAY_PACKET_MAX, NULL, NULL);

		if (n == -EMSGSIZE)
			relay_internal_answer_outside(session, header->unique, EIO);
		else if (n <= 0)
			relay_internal_session_end(session, (int)n);
		else if (n >= (ssize_t)sizeof(*header))
			packet_take(&thread, header, (uint32_t)n);
	}
	munmap(buffer, BUFFER_SIZE);
}
