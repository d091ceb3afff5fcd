/*
 * What relayctl gets from relayd: the mounts, one of them, and its statistics.
 */
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relayctl.h"

static enum relayctl_exit out_of_memory(void)
{
	fputs("relayctl: no memory\n", stderr);
	return RELAYCTL_FAILED;
}

/* The exit status for relayd's answer, or for having lost it. */
static enum relayctl_exit exit_of(int err)
{
	switch (err) {
	case 0:
		return RELAYCTL_OK;
	case -ECONNRESET:
		return RELAYCTL_NO_RELAYD;
	case -ENOENT:
	case -ENODEV:
		return RELAYCTL_NO_MOUNT;
	case -ECANCELED:
		return RELAYCTL_KEPT;
	case -EHOSTDOWN:
		return RELAYCTL_FELL_BACK;
	case -ETIMEDOUT:
		return RELAYCTL_TIMEOUT;
	default:
		return RELAYCTL_FAILED;
	}
}

static enum relayctl_exit tell(const char *what, const char *why, int err)
{
	if (err)
		fprintf(stderr, "relayctl: %s: %s\n", what, why);
	return exit_of(err);
}

enum relayctl_exit command_call(struct relay_ctl_client *client, const char *what, uint32_t *flags)
{
	char why[1024] = "";
	int err;

	err = relay_internal_ctl_call(client, NULL, 0, flags, why, sizeof(why), NULL);
	return tell(what, why, err);
}

/* What relayd is to find it by: a path means the client's own namespace. */
static const char *selector_of(const struct ctl_mount *mount)
{
	return mount->elsewhere || !*mount->mountpoint ? mount->name : mount->mountpoint;
}

/* Copies the mount in the client's frame. */
static int mounts_add(struct ctl_mounts *mounts, const struct relay_ctl_client *client,
		      const struct relay_ctl_status *status)
{
	struct ctl_mount *all = reallocarray(mounts->all, mounts->count + 1, sizeof(*all));
	struct ctl_mount *mount;

	if (!all)
		return -ENOMEM;
	mounts->all = all;
	mount = &all[mounts->count++];
	*mount = (struct ctl_mount){
		.name = strdup(relay_internal_ctl_string(client, &status->name)),
		.mountpoint = strdup(relay_internal_ctl_string(client, &status->mountpoint)),
		.lane = strdup(relay_internal_ctl_string(client, &status->lane)),
		.via = strdup(relay_internal_ctl_string(client, &status->via)),
		.problem = strdup(relay_internal_ctl_string(client, &status->problem)),
		.known = strdup(relay_internal_ctl_string(client, &status->known)),
		.state = (enum supervisor_state)le32toh(status->state),
		.incarnation = le32toh(status->incarnation),
		.backend_pid = le32toh(status->backend_pid),
		.inflight = le32toh(status->inflight),
		.restarts = le64toh(status->restarts),
		.redone = le64toh(status->redone),
		.longest_pause_us = le64toh(status->longest_pause_us),
		.elsewhere = le32toh(status->flags) & RELAY_CTL_STATUS_ELSEWHERE,
	};
	if (mount->name && mount->mountpoint)
		mount->selector = selector_of(mount);
	return mount->name && mount->mountpoint && mount->lane && mount->via && mount->problem && mount->known
		       ? 0
		       : -ENOMEM;
}

enum relayctl_exit mounts_fetch(struct relay_ctl_client *client, struct ctl_mounts *mounts)
{
	char why[1024] = "";
	uint32_t flags = 0;
	int err;

	*mounts = (struct ctl_mounts){0};
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	err = relay_internal_ctl_call(client, NULL, 0, &flags, why, sizeof(why), NULL);
	while (!err && (flags & RELAY_CTL_MORE)) {
		const struct relay_ctl_status *status = relay_internal_ctl_answer(client, sizeof(*status));

		if (!status) {
			snprintf(why, sizeof(why), "relayd has sent a short answer");
			err = -EPROTO;
		} else if (mounts_add(mounts, client, status) < 0) {
			mounts_deinit(mounts);
			return out_of_memory();
		} else {
			err = relay_internal_ctl_more(client, &flags, why, sizeof(why));
		}
	}
	if (err)
		mounts_deinit(mounts);
	return tell("status", why, err);
}

void mounts_deinit(struct ctl_mounts *mounts)
{
	size_t i;

	for (i = 0; i < mounts->count; i++) {
		free(mounts->all[i].name);
		free(mounts->all[i].mountpoint);
		free(mounts->all[i].lane);
		free(mounts->all[i].via);
		free(mounts->all[i].problem);
		free(mounts->all[i].known);
	}
	free(mounts->all);
	*mounts = (struct ctl_mounts){0};
}

static bool is_called(const struct ctl_mount *mount, const char *name)
{
	return strcmp(mount->name, name) == 0 || (!mount->elsewhere && strcmp(mount->mountpoint, name) == 0);
}

/*
 * The youngest: an older one of that name or place is detached, and ends with its last file.  Before
 * any elsewhere that is called as a place is here.
 */
static const struct ctl_mount *find_exactly(const struct ctl_mounts *mounts, const char *name)
{
	const struct ctl_mount *found = NULL;
	size_t i;

	for (i = mounts->count; i-- > 0;) {
		const struct ctl_mount *mount = &mounts->all[i];

		if (is_called(mount, name) && (!found || (found->elsewhere && !mount->elsewhere)))
			found = mount;
	}
	return found;
}

enum relayctl_exit mounts_find(const struct ctl_mounts *mounts, const char *name, const struct ctl_mount **found)
{
	char path[PATH_MAX];
	int fd;

	if (!name) {
		if (mounts->count == 1) {
			*found = &mounts->all[0];
			return RELAYCTL_OK;
		}
		fputs(mounts->count ? "relayctl: there are several mounts: name one\n"
				    : "relayctl: there is no mount\n",
		      stderr);
		return mounts->count ? RELAYCTL_USAGE : RELAYCTL_NO_MOUNT;
	}
	*found = find_exactly(mounts, name);
	if (!*found && relay_internal_ctl_target(name, path, sizeof(path), &fd) == 0) {
		close(fd);
		*found = find_exactly(mounts, path);
	}
	if (*found)
		return RELAYCTL_OK;
	fprintf(stderr, "relayctl: %s: no such mount\n", name);
	return RELAYCTL_NO_MOUNT;
}

enum relayctl_exit stats_fetch(struct relay_ctl_client *client, const struct ctl_mount *mount,
			       const struct relay_ctl_stats **stats)
{
	struct relay_ctl_select *command = relay_internal_ctl_command(client, RELAY_CTL_STATS, sizeof(*command));
	enum relayctl_exit result;

	relay_internal_ctl_put(&client->frame, &command->mount, mount->selector);
	result = command_call(client, mount->name, NULL);
	if (result)
		return result;
	*stats = relay_internal_ctl_answer(client, sizeof(**stats));
	return *stats ? RELAYCTL_OK : tell(mount->name, "relayd has sent a short answer", -EPROTO);
}

uint64_t known_saved(const struct relay_ctl_stats *stats)
{
	return le64toh(stats->known_absent) + le64toh(stats->known_complete) + le64toh(stats->known_xattr);
}

const struct relay_ctl_stats_row *stats_row(const struct relay_ctl_client *client, uint32_t index,
					    struct relay_ctl_stats_row *row)
{
	const struct relay_ctl_stats *stats = relay_internal_ctl_answer(client, sizeof(*stats));
	uint64_t at, row_size;

	if (!stats || index >= le32toh(stats->rows))
		return NULL;
	/* A later relayd may have longer records, which begin as ours. */
	row_size = le32toh(stats->row_size);
	at = le32toh(stats->rows_offset) + index * row_size;
	if (row_size < sizeof(*row) || at + sizeof(*row) > client->frame.size)
		return NULL;
	memcpy(row, client->frame.bytes + at, sizeof(*row));
	row->name[sizeof(row->name) - 1] = '\0';
	return row;
}
