/*
 * Descriptors left with relayd.
 *
 * A KEEP is done once it was sent: relayd takes everything out of the channel
 * before it gives a dead backend's mount to the next one.  So a process dying
 * after the send leaves a kept descriptor, and one dying before it leaves none;
 * there is nothing between.
 *
 * The descriptors that come with the handshake are the session's until
 * relay_kept_fds() hands them over; the rest is closed when init() is through.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "crash.h"

int relay_internal_keep(struct relay_session *session, uint64_t key, int fd)
{
	const struct relay_key body = {.key = key};
	int err;

	err = relay_internal_channel_notify(session, RELAY_NOTIFY_KEEP, &body, sizeof(body), NULL, 0, &fd, 1);
	if (!err)
		RELAY_CRASH_POINT("KEEP", "kept");
	return err;
}

int relay_keep_fd(struct relay_session *session, uint64_t key, int fd)
{
	if (key == 0 || key == RELAY_KEY_BACKINGS)
		return -EINVAL;
	return relay_internal_keep(session, key, fd);
}

int relay_drop_fd(struct relay_session *session, uint64_t key)
{
	const struct relay_key body = {.key = key};

	if (key == 0 || key == RELAY_KEY_BACKINGS)
		return -EINVAL;
	return relay_internal_channel_notify(session, RELAY_NOTIFY_DROP, &body, sizeof(body), NULL, 0, NULL, 0);
}

int relay_internal_kept_add(struct relay_session *session, uint64_t key, int fd)
{
	struct relay_kept *kept;

	kept = reallocarray(session->kept, (size_t)session->kept_count + 1, sizeof(*kept));
	if (!kept) {
		close(fd);
		return -ENOMEM;
	}
	session->kept = kept;
	kept[session->kept_count++] = (struct relay_kept){.key = key, .fd = fd};
	return 0;
}

int relay_internal_kept_get(const struct relay_session *session, uint64_t key)
{
	for (uint32_t i = 0; i < session->kept_count; i++) {
		if (session->kept[i].key == key)
			return session->kept[i].fd;
	}
	return -1;
}

void relay_internal_kept_close(struct relay_session *session)
{
	for (uint32_t i = 0; i < session->kept_count; i++) {
		if (session->kept[i].fd >= 0)
			close(session->kept[i].fd);
	}
	free(session->kept);
	session->kept = NULL;
	session->kept_count = 0;
}

void relay_kept_fds(struct relay_session *session, void (*each)(uint64_t key, int fd, void *arg), void *arg)
{
	for (uint32_t i = 0; i < session->kept_count; i++) {
		struct relay_kept *kept = &session->kept[i];
		int fd = kept->fd;

		if (kept->key == 0 || kept->key == RELAY_KEY_BACKINGS || fd < 0)
			continue;
		kept->fd = -1;
		each(kept->key, fd, arg);
	}
}
