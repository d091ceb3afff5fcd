/* relayd's command line. */
#ifndef RELAYD_OPTIONS_H
#define RELAYD_OPTIONS_H

#include <stdbool.h>

#include "log.h"
#include "mount.h"

struct options {
	struct mount_config mount;
	const char *socket; /* NULL: the usual one */
	bool foreground;
	enum log_level level;
	char *const *argv; /* as it was started */
};

/* Exits where there is nothing to be done: --help, --version, and what is wrong. */
void options_parse(struct options *options, int argc, char **argv);

#endif
