/*
 * The control socket: opening it, taking connections, and closing it all.
 */
#include "ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ctl_conn.h"
#include "ctl_pending.h"
#include "log.h"

/* How long nobody is let in when there is no descriptor left for him. */
#define ACCEPT_PAUSE_MS 100u

static void on_accept_ready(struct loop_io *io, unsigned events);

static void on_accept_pause(struct loop_timer *timer)
{
	struct ctl *ctl = (struct ctl *)((char *)timer - offsetof(struct ctl, pause));

	loop_io_start(ctl->loop, &ctl->io, ctl->socket.fd, LOOP_READ, on_accept_ready);
}

static void on_accept_ready(struct loop_io *io, unsigned events)
{
	struct ctl *ctl = (struct ctl *)((char *)io - offsetof(struct ctl, io));
	int fd, err;

	(void)events;
	fd = accept4(ctl->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		err = ctl_conn_new(ctl, fd);
		if (err)
			log_warning("control socket: a connection was lost: %s", strerror(-err));
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* It stays readable, and would keep the loop busy with nothing. */
	log_warning("control socket: cannot accept: %s", strerror(errno));
	loop_io_stop(&ctl->io);
	loop_timer_start(ctl->loop, &ctl->pause, ACCEPT_PAUSE_MS, on_accept_pause);
}

int ctl_new(struct ctl **out, struct loop *loop, struct daemon *daemon, const char *path)
{
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	int err;

	if (!ctl)
		return -ENOMEM;
	err = ctl_socket_open(&ctl->socket, path);
	if (err) {
		free(ctl);
		return err;
	}
	ctl->loop = loop;
	ctl->daemon = daemon;
	loop_io_start(loop, &ctl->io, ctl->socket.fd, LOOP_READ, on_accept_ready);
	*out = ctl;
	return 0;
}

void ctl_put(const struct ctl *ctl)
{
	ctl_socket_put(&ctl->socket);
}

void ctl_free(struct ctl *ctl)
{
	if (!ctl)
		return;
	loop_io_stop(&ctl->io);
	loop_timer_stop(&ctl->pause);
	ctl_pending_clear(ctl);
	while (ctl->conns)
		ctl_conn_free(ctl->conns);
	ctl_socket_close(&ctl->socket);
	free(ctl);
}
