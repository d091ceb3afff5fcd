/*
 * Filesystems of others.
 */
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "check.h"
#include "relayd.h"

const char *peer_program(const char *name)
{
	const char *source = getenv("top_srcdir");
	const char *build = getenv("top_builddir");
	char command[PATH_MAX * 2];
	char program[128];
	int status;

	snprintf(command, sizeof(command), "top_builddir='%s' bash '%s/tests/backends/build' %s", build ? build : ".",
		 source ? source : ".", name);
	fflush(stdout);
	status = system(command);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIP)
		exit(CHECK_SKIP);
	if (status != 0)
		check_abort("%s: cannot be built", name);
	snprintf(program, sizeof(program), "tests/backends/peers/%s", name);
	return relayd_program(program);
}
