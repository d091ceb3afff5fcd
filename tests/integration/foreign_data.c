/*
 * Ids that lie: open files, and what is written to them over deaths.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foreign.h"

#define FILES 50
#define ROUNDS 4

/* Each round writes one more line to each, by the descriptor of the first life. */
void foreign_open_files(struct foreign *f)
{
	char wanted[FILES][ROUNDS * 32 + 1] = {{0}};
	int fds[FILES];
	char name[16];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fds[i] = open(foreign_path(f, name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		foreign_expect(f, fds[i] >= 0, "%s: %s", name, strerror(errno));
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int k = 0; k < FILES; k++) {
			int i = (k * 7 + round) % FILES;
			char line[32];
			size_t at = strlen(wanted[i]);
			int size = snprintf(line, sizeof(line), "file %d round %d\n", i, round);

			if (k == FILES / 2)
				foreign_restart(f);
			foreign_expect(f, pwrite(fds[i], line, (size_t)size, (off_t)at) == size, "pwrite: %s",
				       strerror(errno));
			strcat(wanted[i], line);
		}
		foreign_restart(f);
		for (int i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			foreign_content(f, fds[i], wanted[i], false, name);
		}
	}
	for (int i = 0; i < FILES; i++) {
		struct stat st;

		foreign_expect(f, fsync(fds[i]) == 0, "fsync: %s", strerror(errno));
		foreign_expect(f, ftruncate(fds[i], 5) == 0, "ftruncate: %s", strerror(errno));
		foreign_expect(f, close(fds[i]) == 0, "close: %s", strerror(errno));
		snprintf(name, sizeof(name), "f%d", i);
		foreign_expect(f, stat(foreign_store_path(f, name), &st) == 0 && st.st_size == 5, "%s in the store",
			       name);
	}
}

#define WRITERS 4
#define LINES 60

static void append_lines(const char *path, int writer)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	char line[32];

	for (int i = 0; i < LINES; i++) {
		int size = snprintf(line, sizeof(line), "%d %03d\n", writer, i);

		if (write(fd, line, (size_t)size) != size)
			_exit(1);
	}
	_exit(close(fd) != 0);
}

/* Exactly the lines that were written, each once, those of each writer in their order. */
void foreign_appenders(struct foreign *f)
{
	const char *path = foreign_path(f, "log");
	int next[WRITERS] = {0};
	pid_t pids[WRITERS];
	unsigned lines = 0;
	char line[64];
	FILE *file;
	int status;

	foreign_put(f, path, "");
	for (int i = 0; i < WRITERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			append_lines(path, i);
	}
	for (int i = 0; i < 5; i++)
		foreign_restart(f);
	for (int i = 0; i < WRITERS; i++) {
		waitpid(pids[i], &status, 0);
		foreign_expect(f, status == 0, "writer %d: %#x", i, (unsigned)status);
	}
	file = fopen(foreign_store_path(f, "log"), "re");
	while (file && fgets(line, sizeof(line), file)) {
		int writer, number;

		lines++;
		if (sscanf(line, "%d %d\n", &writer, &number) != 2 || writer < 0 || writer >= WRITERS)
			foreign_expect(f, false, "line %u is \"%.20s\"", lines, line);
		else
			foreign_expect(f, number == next[writer]++, "line %u of writer %d is its %d", lines, writer,
				       number);
	}
	if (file)
		fclose(file);
	foreign_expect(f, lines == WRITERS * LINES, "%u lines", lines);
}
