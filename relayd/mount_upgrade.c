/*
 * What of an upgrade is the mount's: the new command and its way, which take the place of the old
 * ones when it has succeeded, and what is told of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mount_parts.h"
#include "upgrade.h"

static void upgrade_free(struct upgrade *upgrade)
{
	launch_command_deinit(&upgrade->command);
	way_deinit(&upgrade->way);
	free(upgrade);
}

static struct mount *mount_of(struct supervisor *supervisor)
{
	return (struct mount *)((char *)supervisor - offsetof(struct mount, supervisor));
}

static void on_over(struct upgrade *upgrade)
{
	struct mount *mount = mount_of(upgrade->supervisor);

	if (!upgrade->outcome) {
		struct launch_command command = mount->command;
		struct way way = mount->way;

		mount->command = upgrade->command;
		mount->way = upgrade->way;
		mount->supervisor.command = &mount->command;
		mount->supervisor.way = &mount->way;
		/* What is replaced is freed with it. */
		upgrade->command = command;
		upgrade->way = way;
	}
	/* relayd dying before this leaves the new backend, and the old command for the next life. */
	mount_record(mount);
	mount->upgrades++;
	mount->upgrade_error = upgrade->outcome;
	snprintf(mount->upgrade_why, sizeof(mount->upgrade_why), "%s", upgrade->why);
	upgrade_free(upgrade);
	mount_tell(mount, false);
}

static int upgrade_build(struct mount *mount, struct upgrade *upgrade, const char *backend, char *why, size_t why_size)
{
	bool placed = launch_marks_of(backend).mountpoint;
	int err;

	err = way_check(backend, WAY_WANTED_AUTO, why, why_size);
	if (!err)
		err = way_init(&upgrade->way, WAY_WANTED_AUTO, placed, mount->way.socket, why, why_size);
	if (!err)
		err = launch_command_init(&upgrade->command, backend, upgrade->way.placeholder, why, why_size);
	return err;
}

int mount_upgrade(struct mount *mount, const char *backend, uint32_t timeout_ms, char *why, size_t why_size)
{
	struct upgrade *upgrade;
	int err;

	if (mount->supervisor.upgrade) {
		snprintf(why, why_size, "another upgrade is under way");
		return -EALREADY;
	}
	if (!mount->has_command || !mount->supervisor.served || mount->supervisor.stopping) {
		snprintf(why, why_size, "%s",
			 !mount->has_command	    ? "relayd has no command for this mount's backend, which comes by itself"
			 : mount->supervisor.served ? "the mount ends"
						    : "the first backend has not served yet");
		return -EINVAL;
	}
	snprintf(why, why_size, "no memory for an upgrade");
	upgrade = calloc(1, sizeof(*upgrade));
	if (!upgrade)
		return -ENOMEM;
	err = upgrade_build(mount, upgrade, backend, why, why_size);
	if (!err) {
		upgrade->timeout_ms = timeout_ms ? timeout_ms : MOUNT_INIT_DEADLINE_MS;
		upgrade->on_over = on_over;
		err = upgrade_begin(upgrade, &mount->supervisor);
		if (err) {
			snprintf(why, why_size, "%s", upgrade->why);
			err = -ECANCELED;
		}
	}
	if (err)
		upgrade_free(upgrade);
	return err;
}
