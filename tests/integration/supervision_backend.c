/*
 * A small filesystem on librelay whose names are orders:
 *
 *	supervision_backend DIRECTORY
 *
 *	good		is there
 *	poison		kills the process that looks it up, as a bug would
 *	hang		is never answered
 *	twice		kills the first process that looks it up, and is never answered by the others
 *	own		has the process open "good" on its own mount, which is ../mnt, and keep it open
 *	leader		has its first thread, which does not serve, look up "hang" there
 *	anything else	is not there
 *
 * A lock that is waited for is never had.  While there is a file "die" in the directory, it ends before it says a word.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/relay.h"

static struct fuse_attr attr_of(uint64_t nodeid)
{
	struct fuse_attr attr = {
		.ino = nodeid,
		.mode = nodeid == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
		.nlink = 1,
		.blksize = 4096,
	};

	return attr;
}

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	(void)session;
	out->max_readahead = in->max_readahead;
	out->flags |= FUSE_POSIX_LOCKS;
	return 0;
}

static void *own_open(void *arg)
{
	(void)arg;
	/* It is never closed, but by the process's end. */
	if (open("../mnt/good", O_RDONLY | O_CLOEXEC) < 0)
		perror("../mnt/good");
	return NULL;
}

/* The first thread waits here for the order "leader". */
static sem_t leader;

static void on_lookup(struct relay_req *req, const char *name)
{
	struct fuse_entry_out entry = {.nodeid = 2, .attr = attr_of(2)};

	if (strcmp(name, "poison") == 0)
		abort();
	if (strcmp(name, "twice") == 0 && mknod(name, S_IFREG | 0600, 0) == 0)
		abort();
	if (strcmp(name, "own") == 0) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, own_open, NULL) == 0)
			pthread_detach(thread);
	}
	if (strcmp(name, "leader") == 0)
		sem_post(&leader);
	if (strcmp(name, "hang") == 0 || strcmp(name, "twice") == 0) {
		relay_req_detach(req); /* and nobody will ever answer it */
		return;
	}
	if (strcmp(name, "good") == 0)
		relay_reply_entry(req, &entry);
	else
		relay_reply_error(req, ENOENT);
}

static void on_getattr(struct relay_req *req, const struct fuse_getattr_in *in)
{
	struct fuse_attr_out attr = {.attr = attr_of(relay_req_nodeid(req))};

	(void)in;
	relay_reply_attr(req, &attr);
}

static void on_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	(void)in;
	relay_req_detach(req);
}

static const struct relay_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setlkw = on_setlkw,
};

static void *serve(void *fd)
{
	exit(relay_serve(atoi(fd), &ops, 4, NULL) < 0);
}

int main(int argc, char **argv)
{
	char *fd = getenv("RELAY_FD");
	pthread_t server;
	char path[512];

	if (argc != 2 || !fd)
		return 2;
	snprintf(path, sizeof(path), "%s/die", argv[1]);
	if (access(path, F_OK) == 0)
		return 3;
	if (chdir(argv[1]) < 0)
		return 4;
	if (sem_init(&leader, 0, 0) < 0 || pthread_create(&server, NULL, serve, fd) != 0)
		return 5;
	while (sem_wait(&leader) < 0)
		;
	access("../mnt/hang", F_OK);
	pthread_join(server, NULL);
	return 0;
}
