/*
 * daemonize PROGRAM ARGUMENT...: becomes a daemon in the most thorough way before it
 * does anything: two forks, no descriptor left, and itself executed again.  Nothing
 * waits for anything, so that whoever has started it sees it end at once.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends in the parent. */
static void leave(void)
{
	pid_t pid = fork();

	if (pid)
		_exit(pid < 0);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (strcmp(argv[1], "--daemon") == 0) {
		if (argc > 2)
			execvp(argv[2], argv + 2);
		return 127;
	}
	leave();
	setsid();
	leave();
	closefrom(0);
	if (open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2) {
		char **again = calloc((size_t)argc + 2, sizeof(*again));

		if (again) {
			again[0] = argv[0];
			again[1] = (char *)"--daemon";
			memcpy(again + 2, argv + 1, (size_t)argc * sizeof(*argv));
			execv("/proc/self/exe", again);
		}
	}
	return 127;
}
