/*
 * Who we are called for.  Some programs give fusermount3 an environment with nothing
 * but the descriptor in it (go-fuse does): what relayd has told the program is then
 * found in the program's own.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "fusermount.h"

/* What leads to relayd. */
static const char *const names[] = {"RELAYD_SOCKET", "RELAY_TOKEN", "XDG_RUNTIME_DIR"};
#define NAMES (sizeof(names) / sizeof(names[0]))
/* Between the program and us are at most some shells. */
#define ANCESTORS_MAX 8

/* If the string sets one of ours that says whose we are. */
static bool is_telling(const char *entry)
{
	return strncmp(entry, "RELAYD_SOCKET=", 14) == 0 || strncmp(entry, "RELAY_TOKEN=", 12) == 0;
}

/* Takes over what is set there and not here. */
static void entry_take(const char *entry)
{
	size_t i;

	for (i = 0; i < NAMES; i++) {
		size_t n = strlen(names[i]);

		if (strncmp(entry, names[i], n) == 0 && entry[n] == '=')
			setenv(names[i], entry + n + 1, 0);
	}
}

/* Returns true if the process was started with anything that leads to relayd. */
static bool process_take(pid_t pid)
{
	char path[64], *line = NULL;
	bool found = false;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!found && getdelim(&line, &size, '\0', file) > 0)
		found = is_telling(line);
	if (found) {
		rewind(file);
		while (getdelim(&line, &size, '\0', file) > 0)
			entry_take(line);
	}
	free(line);
	fclose(file);
	return found;
}

/* Returns 0 if there is none. */
static pid_t parent_of(pid_t pid)
{
	char path[64], *line = NULL;
	size_t size = 0;
	int parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (getline(&line, &size, file) > 0 && sscanf(line, "PPid: %d", &parent) != 1)
		;
	free(line);
	fclose(file);
	return parent;
}

void fusermount_environment_take(void)
{
	pid_t pid = getppid();
	int i;

	if (getenv("RELAYD_SOCKET") || getenv("RELAY_TOKEN"))
		return;
	for (i = 0; i < ANCESTORS_MAX && pid > 1 && !process_take(pid); i++)
		pid = parent_of(pid);
}
