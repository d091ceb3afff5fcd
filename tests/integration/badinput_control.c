/*
 * Clients of the control socket that are not relayctl.  Each is told what is wrong
 * or has its connection closed, and relayd goes on with the others.
 */
#include "badinput.h"

#include <endian.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"
#include "relay/ctl_wire.h"

#define NOBODY 65534
#define FLOOD 200
#define ANSWER_MS 15000

struct frame {
	struct relay_ctl_header header;
	uint8_t body[256];
};

static int connect_to(const struct relayd *r)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", r->socket);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct frame frame_of(uint16_t type, uint32_t size)
{
	struct frame frame = {
		.header = {
			.magic = htole32(RELAY_CTL_MAGIC),
			.version = htole16(RELAY_CTL_VERSION),
			.type = htole16(type),
			.size = htole32(size),
			.sequence = htole32(1),
		},
	};

	return frame;
}

static void send_hello(int fd)
{
	struct relay_ctl_hello hello = {.version = htole32(RELAY_CTL_VERSION)};
	struct frame frame = frame_of(RELAY_CTL_HELLO, sizeof(frame.header) + sizeof(hello));
	struct frame answer;

	memcpy(frame.body, &hello, sizeof(hello));
	if (send(fd, &frame, sizeof(frame.header) + sizeof(hello), MSG_NOSIGNAL) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) <= 0)
		check_abort("relayd does not answer HELLO");
}

enum outcome {
	CLOSED,	 /* without an answer */
	REFUSED, /* an answer with an error */
	ANSWERED,
	HANGS,
};

static const char *const outcome_names[] = {
	[CLOSED] = "closed",
	[REFUSED] = "refused with a reason",
	[ANSWERED] = "answered as if it were right",
	[HANGS] = "neither answered nor closed",
};

/* What relayd makes of one packet. */
static enum outcome outcome_of(int fd, const void *bytes, size_t size)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	struct frame answer;
	ssize_t got;

	if (send(fd, bytes, size, MSG_NOSIGNAL) < 0)
		return CLOSED;
	if (poll(&poller, 1, ANSWER_MS) != 1)
		return HANGS;
	got = recv(fd, &answer, sizeof(answer), 0);
	if (got < (ssize_t)sizeof(answer.header))
		return CLOSED;
	return answer.header.status ? REFUSED : ANSWERED;
}

static bool answers(const struct relayd *r)
{
	struct relayd_status status;

	return relayd_status(r, &status) && strcmp(status.state, "SERVING") == 0;
}

static void check_packet(const struct relayd *r, const char *what, bool hello, const void *bytes, size_t size)
{
	int fd = connect_to(r);
	enum outcome outcome;

	if (fd < 0) {
		check(false, "control socket, %s: connected", what);
		return;
	}
	if (hello)
		send_hello(fd);
	outcome = outcome_of(fd, bytes, size);
	check(outcome == CLOSED || outcome == REFUSED, "control socket, %s: %s", what, outcome_names[outcome]);
	close(fd);
	check(answers(r), "control socket, %s: relayd goes on answering", what);
}

static void check_frames(const struct relayd *r)
{
	uint8_t noise[512];
	struct frame frame;

	memset(noise, 0xa5, sizeof(noise));
	check_packet(r, "noise", false, noise, sizeof(noise));
	check_packet(r, "one byte", false, noise, 1);
	check_packet(r, "noise after HELLO", true, noise, sizeof(noise));

	frame = frame_of(RELAY_CTL_HELLO, sizeof(frame.header) + sizeof(struct relay_ctl_hello));
	frame.header.magic = htole32(0x12345678);
	check_packet(r, "wrong magic", false, &frame, sizeof(frame.header) + sizeof(struct relay_ctl_hello));

	frame = frame_of(RELAY_CTL_HELLO, sizeof(frame.header) + sizeof(struct relay_ctl_hello));
	frame.header.version = htole16(99);
	check_packet(r, "wrong version", false, &frame, sizeof(frame.header) + sizeof(struct relay_ctl_hello));

	frame = frame_of(RELAY_CTL_STATUS, sizeof(frame.header) + sizeof(struct relay_ctl_select));
	check_packet(r, "a command before HELLO", false, &frame,
		     sizeof(frame.header) + sizeof(struct relay_ctl_select));

	frame = frame_of(RELAY_CTL_STATUS, sizeof(frame.header) + 200);
	check_packet(r, "a size that is more than the packet", true, &frame, sizeof(frame.header) + 8);

	frame = frame_of(RELAY_CTL_STATUS, 10);
	check_packet(r, "a size that is less than the packet", true, &frame, sizeof(frame));

	frame = frame_of(RELAY_CTL_WAIT, sizeof(frame.header) + 4);
	check_packet(r, "a truncated body", true, &frame, sizeof(frame.header) + 4);

	frame = frame_of(RELAY_CTL_TYPES + 77, sizeof(frame.header));
	check_packet(r, "an unknown command", true, &frame, sizeof(frame.header));

	frame = frame_of(RELAY_CTL_STATS, sizeof(frame.header) + sizeof(struct relay_ctl_select));
	memset(frame.body, 0xff, sizeof(struct relay_ctl_select));
	check_packet(r, "a string outside of the frame", true, &frame,
		     sizeof(frame.header) + sizeof(struct relay_ctl_select));

	frame = frame_of(RELAY_CTL_STATS, sizeof(frame));
	((struct relay_ctl_select *)frame.body)->mount.offset = htole32(sizeof(frame.header) + 8);
	((struct relay_ctl_select *)frame.body)->mount.length = htole32(200);
	memset(frame.body + 8, 'x', sizeof(frame.body) - 8);
	check_packet(r, "a string without its end", true, &frame, sizeof(frame));

	frame = frame_of(RELAY_CTL_ATTACH, sizeof(frame.header) + sizeof(struct relay_ctl_attach));
	check_packet(r, "ATTACH without descriptors", true, &frame,
		     sizeof(frame.header) + sizeof(struct relay_ctl_attach));
}

/* As another user: what it sees, and what it may not do. */
static int as_nobody(const struct relayd *r, const char *const *args)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		    setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(120);
		_exit(relayd_ctl(r, args));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void check_rights(const struct relayd *r)
{
	struct relayd_status before;
	struct relayd_status after;

	relayd_status(r, &before);
	check(as_nobody(r, (const char *const[]){"restart", r->mnt, NULL}) != 0, "another user may not restart");
	check(as_nobody(r, (const char *const[]){"unmount", r->mnt, NULL}) != 0, "another user may not unmount");
	check(as_nobody(r, (const char *const[]){"unmount", "--force", r->mnt, NULL}) != 0,
	      "another user may not unmount by force");
	check(answers(r), "another user: relayd goes on answering");
	relayd_status(r, &after);
	check(after.incarnation == before.incarnation && after.backend_pid == before.backend_pid,
	      "another user has changed nothing");
}

/* Connections that say nothing, and ones that say much and listen to nothing. */
static void check_floods(const struct relayd *r)
{
	struct frame frame = frame_of(RELAY_CTL_STATS, sizeof(frame.header) + sizeof(struct relay_ctl_select));
	int fds[FLOOD];
	unsigned opened = 0;
	unsigned sent = 0;

	for (unsigned i = 0; i < FLOOD; i++) {
		fds[i] = connect_to(r);
		opened += fds[i] >= 0;
	}
	check(opened > 0, "%u connections that say nothing", opened);
	for (unsigned i = 0; i < FLOOD; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	check(answers(r), "after the flood relayd answers");

	fds[0] = connect_to(r);
	send_hello(fds[0]);
	while (sent < 5000 && send(fds[0], &frame, sizeof(frame.header) + sizeof(struct relay_ctl_select),
				   MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		sent++;
	check(answers(r), "%u commands whose answers nobody reads: others are answered", sent);
	close(fds[0]);
	check(answers(r), "and also when that client has gone");
}

void badinput_control(struct relayd *r)
{
	check_frames(r);
	check_rights(r);
	check_floods(r);
}
