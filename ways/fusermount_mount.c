/*
 * The stand-in's mounting: the options as fusermount3 takes them become the arguments
 * of relay_mount(), and the program gets its end of the channel as it would have got
 * /dev/fuse.
 *
 * Dying before ATTACH leaves nothing.  Dying after it leaves a channel at whose other
 * end nobody is: relayd starts the program again, or leaves the mount to the next one
 * that comes.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "ctl_client.h"
#include "fdpass.h"
#include "fusermount.h"
#include "relay/relay.h"

static const struct flag {
	const char *word;
	unsigned long flag;
	bool on;
	bool privileged;
} flags[] = {
	{"rw", MS_RDONLY, false, false},
	{"ro", MS_RDONLY, true, false},
	{"suid", MS_NOSUID, false, true},
	{"nosuid", MS_NOSUID, true, false},
	{"dev", MS_NODEV, false, true},
	{"nodev", MS_NODEV, true, false},
	{"exec", MS_NOEXEC, false, false},
	{"noexec", MS_NOEXEC, true, false},
	{"async", MS_SYNCHRONOUS, false, false},
	{"sync", MS_SYNCHRONOUS, true, false},
	{"dirsync", MS_DIRSYNC, true, false},
	{"atime", MS_NOATIME, false, false},
	{"noatime", MS_NOATIME, true, false},
	{"diratime", MS_NODIRATIME, false, false},
	{"nodiratime", MS_NODIRATIME, true, false},
	{"relatime", MS_RELATIME, true, false},
	{"norelatime", MS_RELATIME, false, false},
	{"strictatime", MS_STRICTATIME, true, false},
	{"nostrictatime", MS_STRICTATIME, false, false},
	{"symfollow", MS_NOSYMFOLLOW, false, false},
	{"nosymfollow", MS_NOSYMFOLLOW, true, false},
};

/* What the options make of a mount. */
struct wanted {
	unsigned long flags;
	char *fsname;  /* NULL: none */
	char *subtype; /* NULL: none */
	char *data;
	size_t data_size; /* room */
};

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Returns false if the word is no flag. */
static bool flag_take(struct wanted *wanted, const char *word)
{
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(flags[i].word, word) != 0)
			continue;
		if (flags[i].privileged && getuid() != 0)
			fprintf(stderr, "%s: unsafe option %s ignored\n", fusermount_name, word);
		else if (flags[i].on)
			wanted->flags |= flags[i].flag;
		else
			wanted->flags &= ~flags[i].flag;
		return true;
	}
	return false;
}

static int option_take(struct wanted *wanted, char *word)
{
	size_t used = strlen(wanted->data);

	if (starts_with(word, "fsname=")) {
		wanted->fsname = word + 7;
		return 0;
	}
	if (starts_with(word, "subtype=")) {
		wanted->subtype = word + 8;
		return 0;
	}
	/* What relayd does anyway, what has no meaning any more, and what follows from who asks. */
	if (!*word || strcmp(word, "auto_unmount") == 0 || strcmp(word, "nonempty") == 0 ||
	    strcmp(word, "large_read") == 0 || starts_with(word, "fd=") || starts_with(word, "rootmode=") ||
	    starts_with(word, "user_id=") || starts_with(word, "group_id="))
		return 0;
	if (flag_take(wanted, word))
		return 0;
	if (strcmp(word, "default_permissions") == 0 || strcmp(word, "allow_other") == 0 ||
	    starts_with(word, "max_read=")) {
		snprintf(wanted->data + used, wanted->data_size - used, ",%s", word);
		return 0;
	}
	if (strcmp(word, "blkdev") == 0 || starts_with(word, "blksize="))
		fprintf(stderr, "%s: relayd has no mounts of block devices ('%s')\n", fusermount_name, word);
	else
		fprintf(stderr, "%s: unknown option '%s'\n", fusermount_name, word);
	return -EINVAL;
}

/* Cuts off the first option of a list, at a comma without a backslash before it, and takes backslashes out. */
static char *option_cut(char **list)
{
	char *start = *list, *to = start, *from = start;

	while (*from && *from != ',') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	*list = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

/* list is cut to pieces, to which *wanted then points. */
static int options_take(struct wanted *wanted, char *list)
{
	int err = 0;

	while (list && !err)
		err = option_take(wanted, option_cut(&list));
	return err;
}

/* As fusermount3 does: one byte, which is 0, and the descriptor. */
static int channel_send(int comm_fd, int channel)
{
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	ssize_t n;

	do {
		n = relay_internal_send_fds(comm_fd, &iov, 1, &channel, 1);
	} while (n == -EINTR);
	return n < 0 ? (int)n : 0;
}

/* The program has not got its channel, and will not come back for it unless relayd starts it again. */
static void mount_undo(const char *directory)
{
	struct relay_ctl_client *client;
	struct relay_ctl_unmount *unmount;
	char path[4096], why[256];
	int fd;

	if (relay_internal_token() || relay_internal_ctl_target(directory, path, sizeof(path), &fd) < 0)
		return;
	close(fd);
	if (relay_internal_ctl_open(&client, NULL, why, sizeof(why)) < 0)
		return;
	unmount = relay_internal_ctl_command(client, RELAY_CTL_UNMOUNT, sizeof(*unmount));
	unmount->flags = htole32(RELAY_CTL_UNMOUNT_FORCE);
	relay_internal_ctl_put(&client->frame, &unmount->mount, path);
	if (relay_internal_ctl_call(client, NULL, 0, NULL, why, sizeof(why), NULL) < 0)
		fprintf(stderr, "%s: cannot unmount %s again: %s\n", fusermount_name, path, why);
	relay_internal_ctl_close(client);
}

static int channel_mount(const char *directory, const struct wanted *wanted, int comm_fd)
{
	struct relay_attach_args args = {
		.source = wanted->fsname    ? wanted->fsname
			  : wanted->subtype ? wanted->subtype
					    : "/dev/fuse",
		.target = directory,
		.flags = wanted->flags,
		.via = RELAY_CTL_VIA_FUSERMOUNT,
	};
	char *type = NULL, *data = NULL, why[512] = "";
	int channel = relay_open("/dev/fuse", O_RDWR | O_CLOEXEC);
	int err = channel < 0 ? -errno : 0;

	if (err)
		snprintf(why, sizeof(why), "no channel: %s", strerror(-err));
	if (!err && asprintf(&type, wanted->subtype ? "fuse.%s" : "fuse", wanted->subtype) < 0)
		err = -ENOMEM;
	if (!err && asprintf(&data, "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", channel, getuid(), getgid(),
			     wanted->data) < 0)
		err = -ENOMEM;
	args.type = type;
	args.data = data;
	if (!err)
		err = relay_internal_attach(&args, why, sizeof(why));
	if (err) {
		fprintf(stderr, "%s: mount failed: %s\n", fusermount_name, *why ? why : strerror(-err));
	} else {
		err = channel_send(comm_fd, channel);
		if (err) {
			fprintf(stderr, "%s: sending the descriptor: %s\n", fusermount_name, strerror(-err));
			mount_undo(directory);
		}
	}
	if (channel >= 0)
		close(channel);
	free(type);
	free(data);
	return err;
}

int fusermount_mount(const char *directory, const char *options, int comm_fd)
{
	struct wanted wanted = {.flags = MS_NOSUID | MS_NODEV, .data_size = strlen(options) + 2};
	char *list = strdup(options);
	int err;

	/* No word grows, and each has a comma in the list but the first. */
	wanted.data = calloc(1, wanted.data_size);
	if (!list || !wanted.data) {
		fprintf(stderr, "%s: no memory\n", fusermount_name);
		err = -ENOMEM;
	} else {
		err = options_take(&wanted, list);
		if (!err)
			err = channel_mount(directory, &wanted, comm_fd);
	}
	free(wanted.data);
	free(list);
	return err ? 1 : 0;
}
