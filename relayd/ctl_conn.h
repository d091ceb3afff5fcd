/*
 * One connection on the control socket, and the answers on it.  Internal to the
 * ctl_*.c files.
 */
#ifndef RELAYD_CTL_CONN_H
#define RELAYD_CTL_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "ctl_frame.h"
#include "ctl_socket.h"
#include "loop.h"

struct ctl_pending;
struct daemon;
struct mount;

/* Connections that one user may have at a time. */
#define CTL_CONNECTIONS_PER_UID 64u
/* Commands of one connection that wait for something. */
#define CTL_PENDING_PER_CONN 16u
/* Answers, in bytes, that wait for a client to read them, and for how long. */
#define CTL_QUEUE_MAX (4u << 20)
#define CTL_STALL_MS 10000u
/* Lines of the log for what clients do wrong, in a second: the socket is open to everybody. */
#define CTL_COMPLAINTS_PER_SECOND 20u
/* No command has more strings than MOUNT and ATTACH. */
#define CTL_STRINGS_MAX 5u
/* Nor more descriptors than RUN. */
#define CTL_FDS_MAX RELAY_CTL_RUN_FDS
/* The longest fixed part of a command that had a shorter one before. */
#define CTL_WIDENED_MAX sizeof(struct relay_ctl_mount)

struct ctl {
	struct loop *loop;
	struct daemon *daemon;
	struct ctl_socket socket;
	struct loop_io io;
	struct loop_timer pause; /* of accepting, while there are no descriptors left */
	struct ctl_conn *conns;
	struct ctl_pending *pending;
	time_t complaint_second;
	unsigned complaints;	    /* in that second */
	struct relay_ctl_frame in;  /* the command being handled */
	struct relay_ctl_frame out; /* the answer being made */
};

/* An answer, or the rest of several, that the socket had no room for. */
struct ctl_packet {
	struct ctl_packet *next;
	size_t size;
	uint8_t bytes[];
};

struct ctl_conn {
	struct ctl_conn *next;
	struct ctl *ctl;
	int fd;
	pid_t pid; /* the peer's, when it connected */
	uid_t uid;
	gid_t gid;
	uint64_t ns;  /* its mount namespace, once `ns_known`: ctl_conn_ns() */
	bool ns_known;
	bool hello;   /* said */
	bool closing; /* to be closed when the queue is empty */
	bool failed;  /* to be freed by its own callback, nowhere else */
	unsigned pending;
	struct loop_io io;
	struct loop_timer stall; /* runs while the queue is not empty */
	struct ctl_packet *queue;
	struct ctl_packet **queue_end;
	size_t queued; /* bytes */
};

/* A command that came in whole: see ctl_decode.c. */
struct ctl_request {
	struct ctl_conn *conn;
	const struct ctl_command *command;
	struct relay_ctl_head head;
	const void *body; /* the fixed part, as long as this relayd knows it: in the packet or in widened */
	_Alignas(8) uint8_t widened[CTL_WIDENED_MAX];
	const char *strings[CTL_STRINGS_MAX];
	int fds[CTL_FDS_MAX]; /* closed after the handler, unless taken (-1) */
	unsigned nfds;
	struct mount *mount; /* of a command for one mount */
	/* Why it failed. */
	char reason[1024];
	unsigned exit_status;
};

/* Takes fd over.  Returns 0 or a negative errno (fd is closed). */
int ctl_conn_new(struct ctl *ctl, int fd);
void ctl_conn_free(struct ctl_conn *conn);

/* The mount namespace of the peer (place.h); 0: ours, or it cannot be told. */
uint64_t ctl_conn_ns(struct ctl_conn *conn);

/* Logs what is wrong with a client, as "process N (uid N) ...", or not if there is too much of that. */
void ctl_complain(struct ctl_conn *conn, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * An answer: begin it, fill in the fixed part that is returned, put strings into
 * ctl->out, and send it.  Sending never blocks, and never frees the connection.
 */
void *ctl_reply_begin(struct ctl_conn *conn, const struct relay_ctl_head *head, uint32_t flags, size_t fixed);
void ctl_reply_send(struct ctl_conn *conn);
void ctl_reply_error(struct ctl_conn *conn, const struct relay_ctl_head *head, int status, unsigned exit_status,
		     const char *reason);

#endif
