/*
 * relay_open() and relay_mount(): the way in for a filesystem that speaks the
 * kernel's protocol by itself.
 *
 * relay_open() makes the channel, and relay_mount() hands relayd's end of it over
 * (opened.c keeps it between the two).
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "ctl_client.h"
#include "opened.h"
#include "relay/relay.h"

int relay_open(const char *path, int flags)
{
	int fd;

	if (strcmp(path, "/dev/fuse") != 0) {
		errno = ENOENT;
		return -1;
	}
	if ((flags & O_ACCMODE) != O_RDWR || (flags & ~(O_ACCMODE | O_CLOEXEC | O_NONBLOCK | O_LARGEFILE))) {
		errno = EINVAL;
		return -1;
	}
	fd = relay_internal_opened_new(flags);
	if (fd < 0) {
		errno = -fd;
		return -1;
	}
	return fd;
}

int relay_internal_data_fd(const char *data)
{
	const char *at = data;

	while (at) {
		if (strncmp(at, "fd=", 3) == 0 && at[3] >= '0' && at[3] <= '9') {
			char *end;
			unsigned long fd = strtoul(at + 3, &end, 10);

			return (*end == '\0' || *end == ',') && fd <= INT_MAX ? (int)fd : -1;
		}
		at = strchr(at, ',');
		if (at)
			at++;
	}
	return -1;
}

const char *relay_internal_token(void)
{
	const char *token = getenv("RELAY_TOKEN");

	return token && *token ? token : NULL;
}

/* Returns 0 or a negative errno. */
static int attach(const struct relay_attach_args *args, const char *target, int target_fd, int channel, char *why,
		  size_t why_size)
{
	const int fds[RELAY_CTL_ATTACH_FDS] = {channel, target_fd};
	struct relay_ctl_client *client;
	struct relay_ctl_attach *body;
	int err;

	err = relay_internal_ctl_open(&client, NULL, why, why_size);
	if (err)
		return err;
	body = relay_internal_ctl_command(client, RELAY_CTL_ATTACH, sizeof(*body));
	body->flags = htole64(args->flags);
	body->via = htole32(args->via);
	relay_internal_ctl_put(&client->frame, &body->source, args->source);
	relay_internal_ctl_put(&client->frame, &body->target, target);
	relay_internal_ctl_put(&client->frame, &body->type, args->type);
	relay_internal_ctl_put(&client->frame, &body->data, args->data);
	relay_internal_ctl_put(&client->frame, &body->token, relay_internal_token());
	err = relay_internal_ctl_call(client, fds, RELAY_CTL_ATTACH_FDS, NULL, why, why_size, NULL);
	relay_internal_ctl_close(client);
	return err;
}

int relay_internal_attach(const struct relay_attach_args *args, char *why, size_t why_size)
{
	struct relay_opened *opened;
	char path[PATH_MAX];
	int target_fd, err;

	opened = relay_internal_opened_take(relay_internal_data_fd(args->data));
	if (!opened) {
		snprintf(why, why_size, "the descriptor is not of relay_open(), or has a mount");
		return -EBADF;
	}
	err = relay_internal_ctl_target(args->target, path, sizeof(path), &target_fd);
	if (err) {
		snprintf(why, why_size, "%s: %s", args->target, strerror(-err));
	} else {
		err = attach(args, path, target_fd, opened->peer, why, why_size);
		close(target_fd);
	}
	/* As after mount(2), the caller may try again with the same descriptor. */
	if (err)
		relay_internal_opened_put(opened);
	else
		relay_internal_opened_free(opened);
	return err;
}

int relay_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	const struct relay_attach_args args = {
		.source = source,
		.target = target,
		.type = type,
		.flags = flags,
		.data = data,
		.via = RELAY_CTL_VIA_LIBRARY,
	};
	char why[256];
	int err;

	if (!target || !type || !data) {
		errno = EINVAL;
		return -1;
	}
	err = relay_internal_attach(&args, why, sizeof(why));
	if (err) {
		errno = -err;
		return -1;
	}
	return 0;
}
