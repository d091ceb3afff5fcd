/*
 * The notifier: a queue and the thread that empties it into /dev/fuse.
 *
 * The queue is lost with relayd; the kernel's caches then expire by their own
 * timeouts, as for any filesystem that dies before it has told of a change.
 */
#include "notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "relay/fuse_abi.h"
#include "rights.h"

struct notification {
	struct notification *next;
	uint32_t size;
	uint8_t bytes[] __attribute__((aligned(8)));
};

/* The payload that each code needs at least; 0: not for a backend to send. */
static const uint32_t least[] = {
	[FUSE_NOTIFY_POLL] = sizeof(struct fuse_notify_poll_wakeup_out),
	[FUSE_NOTIFY_INVAL_INODE] = sizeof(struct fuse_notify_inval_inode_out),
	[FUSE_NOTIFY_INVAL_ENTRY] = sizeof(struct fuse_notify_inval_entry_out),
	[FUSE_NOTIFY_STORE] = sizeof(struct fuse_notify_store_out),
	[FUSE_NOTIFY_RETRIEVE] = sizeof(struct fuse_notify_retrieve_out),
	[FUSE_NOTIFY_DELETE] = sizeof(struct fuse_notify_delete_out),
};

void notify_init(struct notify *notify, const char *name, int fd)
{
	*notify = (struct notify){.name = name, .fd = fd, .limit = NOTIFY_BYTES};
	notify->last = &notify->first;
	pthread_mutex_init(&notify->lock, NULL);
	pthread_cond_init(&notify->changed, NULL);
}

static void *notifier(void *arg)
{
	struct notify *notify = arg;

	rights_lower();
	pthread_mutex_lock(&notify->lock);
	for (;;) {
		struct notification *n;

		while (!notify->first && !notify->stop)
			pthread_cond_wait(&notify->changed, &notify->lock);
		if (notify->stop)
			break;
		n = notify->first;
		notify->first = n->next;
		if (!notify->first)
			notify->last = &notify->first;
		notify->bytes -= n->size;
		pthread_mutex_unlock(&notify->lock);
		/* ENOENT: the kernel does not know the node or the name, and needs not. */
		if (write(notify->fd, n->bytes, n->size) < 0 && errno != ENOENT && errno != ENODEV &&
		    log_allow(&notify->refused, notify->name, "refused"))
			log_warning("%s: the kernel refused notification %d: %s", notify->name,
				    ((struct fuse_out_header *)(void *)n->bytes)->error, strerror(errno));
		free(n);
		pthread_mutex_lock(&notify->lock);
	}
	pthread_mutex_unlock(&notify->lock);
	return NULL;
}

int notify_check(const void *packet, uint32_t size)
{
	const struct fuse_out_header *header = packet;

	if (size < sizeof(*header) || header->len != size || header->error <= 0 ||
	    (size_t)header->error >= sizeof(least) / sizeof(least[0]) || least[header->error] == 0 ||
	    size - sizeof(*header) < least[header->error])
		return -EPROTO;
	return 0;
}

int notify_put(struct notify *notify, const void *packet, uint32_t size)
{
	struct notification *n;
	int err = notify_check(packet, size);

	if (err)
		return err;
	n = malloc(sizeof(*n) + size);
	if (!n)
		return -ENOMEM;
	n->next = NULL;
	n->size = size;
	memcpy(n->bytes, packet, size);
	pthread_mutex_lock(&notify->lock);
	if (notify->bytes + size > notify->limit)
		err = -ENOSPC;
	else if (!notify->started)
		err = -pthread_create(&notify->thread, NULL, notifier, notify);
	if (!err) {
		notify->started = true;
		*notify->last = n;
		notify->last = &n->next;
		notify->bytes += size;
		pthread_cond_signal(&notify->changed);
	}
	pthread_mutex_unlock(&notify->lock);
	if (err)
		free(n);
	return err;
}

void notify_deinit(struct notify *notify)
{
	struct notification *n;

	pthread_mutex_lock(&notify->lock);
	notify->stop = true;
	pthread_cond_signal(&notify->changed);
	pthread_mutex_unlock(&notify->lock);
	if (notify->started)
		pthread_join(notify->thread, NULL);
	while ((n = notify->first) != NULL) {
		notify->first = n->next;
		free(n);
	}
	pthread_cond_destroy(&notify->changed);
	pthread_mutex_destroy(&notify->lock);
}
