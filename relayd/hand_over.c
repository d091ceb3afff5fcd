/* The MOUNT of a relayd that finds its socket in use. */
#include "hand_over.h"

#include <endian.h>
#include <errno.h>

#include "ctl_client.h"

int hand_over(const char *path, const struct mount_config *config, char *why, size_t why_size, unsigned *exit_status)
{
	struct relay_ctl_client *client;
	struct relay_ctl_mount *mount;
	int err;

	*exit_status = RELAY_CTL_EXIT_SOCKET;
	err = relay_internal_ctl_open(&client, path, why, why_size);
	if (err)
		return err == -ENOENT || err == -ECONNREFUSED || err == -ECONNRESET ? -EAGAIN : err;
	mount = relay_internal_ctl_command(client, RELAY_CTL_MOUNT, sizeof(*mount));
	RELAY_MOUNT_CHOICES_PACK(mount, &config->choices);
	mount->via_wanted = htole32((uint32_t)config->via);
	relay_internal_ctl_put(&client->frame, &mount->name, config->name);
	relay_internal_ctl_put(&client->frame, &mount->mountpoint, config->mountpoint);
	relay_internal_ctl_put(&client->frame, &mount->options, config->options);
	relay_internal_ctl_put(&client->frame, &mount->backend, config->backend);
	relay_internal_ctl_put(&client->frame, &mount->directory, config->directory);
	err = relay_internal_ctl_call(client, NULL, 0, NULL, why, why_size, exit_status);
	if (err && !*exit_status)
		*exit_status = err == -EPROTO ? RELAY_CTL_EXIT_SOCKET : 1;
	relay_internal_ctl_close(client);
	return err == -ECONNRESET ? -EAGAIN : err;
}
