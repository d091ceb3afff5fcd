/*
 * May another user mount here, through root's relayd?  The rules of
 * fusermount3(1).
 */
#ifndef RELAYD_CTL_ACCESS_H
#define RELAYD_CTL_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What /etc/fuse.conf says. */
struct ctl_access_conf {
	bool user_allow_other;
	unsigned mount_max; /* of one user */
};
void ctl_access_conf_read(struct ctl_access_conf *conf, const char *path);

/*
 * Looks at the directory behind fd (O_PATH will do): on a mount of the calling thread's mount
 * namespace (place.h) whose type ordinary users cannot serve themselves, as all that are
 * above it; the user's own and writable for him; and called `path`.  Asks no
 * filesystem anything that a user could answer late or never.
 *
 * Returns 0, or -EPERM, -EACCES, -ENOTDIR, -EROFS, -ENOENT with a sentence in why.
 */
int ctl_access_check(int fd, const char *path, uid_t uid, char *why, size_t why_size);

#endif
