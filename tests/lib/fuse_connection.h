/*
 * A connection with the kernel's FUSE that has agreed to passthrough, and whose mount nobody
 * uses: for what is asked of /dev/fuse itself.
 */
#ifndef TESTS_FUSE_CONNECTION_H
#define TESTS_FUSE_CONNECTION_H

struct fuse_connection {
	char place[32];
	int device; /* -1: there is none */
};

/* Returns NULL, or what is missing on this machine. */
const char *fuse_connection_init(struct fuse_connection *connection);
void fuse_connection_deinit(struct fuse_connection *connection);

/* The descriptor that the next KEEP on the other end of this channel carries. */
int fuse_connection_kept(int channel);

#endif
