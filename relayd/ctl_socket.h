/*
 * The control socket's file, and the lock that says whose it is.
 */
#ifndef RELAYD_CTL_SOCKET_H
#define RELAYD_CTL_SOCKET_H

#include <sys/un.h>

struct ctl_socket {
	int fd;	     /* listening, non-blocking */
	int lock_fd; /* path + ".lock", locked as long as we live */
	struct sockaddr_un address;
};

/* As ctl_new(). */
int ctl_socket_open(struct ctl_socket *socket, const char *path);
/* Another keeper is there, and has nothing yet. */
void ctl_socket_put(const struct ctl_socket *socket);
void ctl_socket_close(struct ctl_socket *socket);

#endif
