/*
 * ATTACH: the server's side of relay_mount().
 */
#ifndef RELAYD_CTL_ATTACH_H
#define RELAYD_CTL_ATTACH_H

#include <stddef.h>
#include <sys/types.h>

struct ctl_request;

/* A handler of the table of commands. */
int ctl_attach(struct ctl_request *request);

/*
 * What mount(2) takes, as the -o list that mount_new() takes.  `options` gets the
 * list, to be freed; *gid the group_id in data, or the caller's.
 *
 * Returns 0, or a negative errno with a sentence in why: -EINVAL for what the
 * kernel would refuse, -EPERM for a user_id or group_id of somebody else,
 * -ENODEV for a type that is not FUSE's.
 */
struct ctl_attach_args {
	unsigned long flags; /* MS_* */
	const char *source;
	const char *type;
	const char *data;
	uid_t uid; /* the caller's */
	gid_t gid;
};
int ctl_attach_options(const struct ctl_attach_args *args, char **options, gid_t *gid, char *why, size_t why_size);

#endif
