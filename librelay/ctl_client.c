/*
 * A client of the control socket.  One command is outstanding at a time, so an
 * answer is simply the next frame.
 *
 * A relayd dying here leaves the client with ECONNRESET: whether the command was
 * done is then unknown, and asking the next relayd for its status tells.
 */
#include "ctl_client.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fdpass.h"

static const char *environment(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static void explain(char *why, size_t why_size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void explain(char *why, size_t why_size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, why_size, format, args);
	va_end(args);
}

/* *by_runtime_dir: the path is a user's own, and root's relayd may serve him too. */
static int path_find(const char *given, char *path, size_t size, bool *by_runtime_dir)
{
	const char *runtime_dir = environment("XDG_RUNTIME_DIR");
	int n;

	*by_runtime_dir = false;
	if (!given)
		given = environment("RELAYD_SOCKET");
	if (!given && geteuid() == 0)
		given = RELAY_CTL_SYSTEM_SOCKET;
	if (given) {
		n = snprintf(path, size, "%s", given);
	} else if (runtime_dir) {
		n = snprintf(path, size, "%s/relayd/relayd.sock", runtime_dir);
		*by_runtime_dir = true;
	} else {
		return -ENOENT;
	}
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int relay_internal_ctl_path(const char *given, char *path, size_t size)
{
	bool by_runtime_dir;

	return path_find(given, path, size, &by_runtime_dir);
}

/* Returns a connected socket or a negative errno. */
static int socket_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int err, fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do {
		err = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	} while (err == -EINTR);
	/* A signal has interrupted it, and it went through nevertheless. */
	if (err == -EISCONN)
		err = 0;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

void *relay_internal_ctl_command(struct relay_ctl_client *client, uint16_t type, size_t fixed)
{
	struct relay_ctl_head head = {.type = type, .sequence = ++client->sequence};

	return relay_internal_ctl_begin(&client->frame, &head, fixed);
}

const void *relay_internal_ctl_answer(const struct relay_ctl_client *client, size_t fixed)
{
	return relay_internal_ctl_fixed(client->frame.bytes, client->frame.size, fixed);
}

const char *relay_internal_ctl_string(const struct relay_ctl_client *client, const struct relay_ctl_string *where)
{
	const char *text;

	if (relay_internal_ctl_get(client->frame.bytes, client->frame.size, where, &text) < 0 || !text)
		return "";
	return text;
}

/* An answer with a status: its reason, or what the errno says. */
static int take_error(struct relay_ctl_client *client, int status, char *why, size_t why_size, unsigned *exit_status)
{
	const struct relay_ctl_error *error = relay_internal_ctl_answer(client, sizeof(*error));
	const char *reason = error ? relay_internal_ctl_string(client, &error->reason) : "";

	/* Only an errno may leave here: a positive status would pass for success. */
	if (status > 0 || status < -4095)
		status = -EPROTO;
	explain(why, why_size, "%s", *reason ? reason : strerror(-status));
	if (exit_status && error)
		*exit_status = le32toh(error->exit_status);
	return status;
}

static int receive(struct relay_ctl_client *client, uint32_t *flags, char *why, size_t why_size, unsigned *exit_status)
{
	struct relay_ctl_frame *frame = &client->frame;
	struct relay_ctl_head head;
	const char *cause;
	ssize_t n;

	n = relay_internal_recv_fds(client->fd, frame->bytes, sizeof(frame->bytes), NULL, NULL);
	/* It went away with something of ours unread: what it sent before is behind that error. */
	if (n == -ECONNRESET)
		n = relay_internal_recv_fds(client->fd, frame->bytes, sizeof(frame->bytes), NULL, NULL);
	if (n <= 0) {
		explain(why, why_size, "relayd has closed the connection%s%s", n ? ": " : "",
			n ? strerror((int)-n) : "");
		return n ? (int)n : -ECONNRESET;
	}
	frame->size = (uint32_t)n;
	if (relay_internal_ctl_check(frame->bytes, frame->size, &head, &cause) < 0) {
		explain(why, why_size, "relayd has sent %s", cause);
		return -EPROTO;
	}
	/* Sequence 0: the connection itself was refused. */
	if (head.status && (head.sequence == client->sequence || head.sequence == 0))
		return take_error(client, head.status, why, why_size, exit_status);
	if (head.status || !(head.flags & RELAY_CTL_REPLY) || head.sequence != client->sequence) {
		explain(why, why_size, "relayd has sent an answer to nothing");
		return -EPROTO;
	}
	if (flags)
		*flags = head.flags;
	return 0;
}

int relay_internal_ctl_more(struct relay_ctl_client *client, uint32_t *flags, char *why, size_t why_size)
{
	return receive(client, flags, why, why_size, NULL);
}

int relay_internal_ctl_call(struct relay_ctl_client *client, const int *fds, unsigned nfds, uint32_t *flags, char *why,
			    size_t why_size, unsigned *exit_status)
{
	struct relay_ctl_frame *frame = &client->frame;
	struct iovec iov = {.iov_base = frame->bytes};
	ssize_t n;

	if (exit_status)
		*exit_status = 0;
	if (relay_internal_ctl_end(frame) < 0) {
		explain(why, why_size, "the arguments are longer than %u bytes", RELAY_CTL_FRAME_MAX);
		return -E2BIG;
	}
	iov.iov_len = frame->size;
	n = relay_internal_send_fds(client->fd, &iov, 1, fds, nfds);
	/* Where relayd has closed already it may have said why. */
	if (n < 0 && n != -EPIPE && n != -ECONNRESET) {
		explain(why, why_size, "cannot send to relayd: %s", strerror((int)-n));
		return (int)n;
	}
	return receive(client, flags, why, why_size, exit_status);
}

static int say_hello(struct relay_ctl_client *client, char *why, size_t why_size)
{
	struct relay_ctl_hello *hello = relay_internal_ctl_command(client, RELAY_CTL_HELLO, sizeof(*hello));
	const struct relay_ctl_hello_reply *reply;
	int err;

	hello->version = htole32(RELAY_CTL_VERSION);
	hello->capabilities = htole64(RELAY_CTL_CAP_SOCKET_LANE);
	err = relay_internal_ctl_call(client, NULL, 0, NULL, why, why_size, NULL);
	if (err)
		return err;
	reply = relay_internal_ctl_answer(client, sizeof(*reply));
	if (!reply) {
		explain(why, why_size, "relayd has sent a short HELLO");
		return -EPROTO;
	}
	client->pid = (pid_t)le32toh(reply->pid);
	client->capabilities = le64toh(reply->capabilities);
	return 0;
}

int relay_internal_ctl_open(struct relay_ctl_client **out, const char *given, char *why, size_t why_size)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)] = RELAY_CTL_SYSTEM_SOCKET;
	struct relay_ctl_client *client;
	bool by_runtime_dir = false;
	int err, fd;

	err = path_find(given, path, sizeof(path), &by_runtime_dir);
	if (err == -ENAMETOOLONG) {
		explain(why, why_size, "the path of the control socket is longer than %zu bytes", sizeof(path) - 1);
		return err;
	}
	/* A user without a place of his own: path is still root's. */
	fd = socket_connect(path);
	if (fd < 0 && by_runtime_dir) {
		strcpy(path, RELAY_CTL_SYSTEM_SOCKET);
		fd = socket_connect(path);
	}
	if (fd < 0) {
		explain(why, why_size, "no relayd at %s: %s", path, strerror(-fd));
		return fd;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		explain(why, why_size, "no memory");
		return -ENOMEM;
	}
	client->fd = fd;
	err = say_hello(client, why, why_size);
	if (err) {
		relay_internal_ctl_close(client);
		return err;
	}
	*out = client;
	return 0;
}

void relay_internal_ctl_close(struct relay_ctl_client *client)
{
	if (!client)
		return;
	close(client->fd);
	free(client);
}

int relay_internal_ctl_target(const char *directory, char *path, size_t size, int *fd)
{
	char link[64];
	ssize_t n;
	int err = 0;

	*fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
	n = readlink(link, path, size);
	if (n < 0)
		err = -errno;
	else if ((size_t)n >= size)
		err = -ENAMETOOLONG;
	if (err) {
		close(*fd);
		*fd = -1;
		return err;
	}
	path[n] = '\0';
	return 0;
}
