/*
 * relay_mount() with all that the ways in need: see mount.c.
 */
#ifndef RELAY_ATTACH_H
#define RELAY_ATTACH_H

#include <stddef.h>

#include "relay/ctl_wire.h"

/* The arguments of mount(2), and which way they came. */
struct relay_attach_args {
	const char *source; /* NULL: none */
	const char *target;
	const char *type;
	unsigned long flags;
	const char *data;
	enum relay_ctl_via via;
};

/* fd=N in the kernel's option string, or -1. */
int relay_internal_data_fd(const char *data);

/*
 * As relay_mount(), with $RELAY_TOKEN if there is one.  Returns 0, or a negative
 * errno with a sentence in why.
 */
int relay_internal_attach(const struct relay_attach_args *args, char *why, size_t why_size);

/* $RELAY_TOKEN, by which relayd knows what it has started, or NULL. */
const char *relay_internal_token(void);

#endif
