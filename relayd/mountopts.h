/*
 * Mount options as fusermount3(1) takes them.
 */
#ifndef RELAYD_MOUNTOPTS_H
#define RELAYD_MOUNTOPTS_H

#include <stddef.h>

struct mountopts {
	unsigned long flags; /* MS_* of mount(2) */
	char *kernel;	     /* ",allow_other,..." for the kernel's FUSE */
	char *helper;	     /* ",ro,allow_other,..." for fusermount3: the flags by their words, too */
	char *fsname;	     /* NULL: not given */
	char *subtype;	     /* NULL: not given */
};

/*
 * Parses a comma-separated list (NULL: empty), in which a backslash takes what follows it
 * as it is.  nosuid and nodev are set unless `suid` or `dev` is given, as libfuse does;
 * `may_suid` says who may give them.
 *
 * Returns 0, -EINVAL for an option that is unknown or relayd's own business,
 * -EPERM for one that this user may not give (both with a sentence in why), or
 * -ENOMEM.
 */
int mountopts_parse(struct mountopts *opts, const char *list, int may_suid, char *why, size_t why_size);
void mountopts_deinit(struct mountopts *opts);

#endif
