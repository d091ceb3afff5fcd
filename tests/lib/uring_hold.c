/*
 * For scripts: has FUSE over io_uring on until standard input ends.  Prints "on" when it is.
 * Leaves with status 77 where the kernel lacks it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "uring_enable.h"

int main(void)
{
	int err = uring_enable();
	char byte;

	if (err) {
		fprintf(stderr, "FUSE over io_uring: %s\n", strerror(-err));
		return err == -ENOENT ? CHECK_SKIP : 1;
	}
	puts("on");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
