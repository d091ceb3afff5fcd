/*
 * The backends' standard output and error are one pipe per mount, which outlives
 * each of them.  They must not have relayd's own: a shell that waits for relayd's
 * output to end would wait for the backend's end.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static void line_log(struct output *output)
{
	if (output->length > 0)
		log_info("%s: backend: %.*s", output->name, (int)output->length, output->line);
	output->length = 0;
}

static void bytes_take(struct output *output, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == '\n' || output->length == sizeof(output->line))
			line_log(output);
		if (bytes[i] != '\n')
			output->line[output->length++] = bytes[i];
	}
}

void output_drain(struct output *output)
{
	char bytes[4096];
	ssize_t n;

	/* At most what a pipe holds: something else may go on printing. */
	for (int i = 0; i < 16 && (n = read(output->read_fd, bytes, sizeof(bytes))) > 0; i++)
		bytes_take(output, bytes, (size_t)n);
	line_log(output);
}

/* Not to the end: a backend that prints without end must not keep the loop. */
static void on_readable(struct loop_io *io, unsigned events)
{
	struct output *output = (struct output *)((char *)io - offsetof(struct output, io));
	char bytes[4096];
	ssize_t n = read(output->read_fd, bytes, sizeof(bytes));

	(void)events;
	if (n > 0)
		bytes_take(output, bytes, (size_t)n);
}

void output_resume(struct output *output, struct loop *loop, const char *name, int read_fd, int write_fd)
{
	output->name = name;
	output->length = 0;
	output->read_fd = read_fd;
	output->write_fd = write_fd;
	fcntl(output->read_fd, F_SETFL, O_NONBLOCK);
	loop_io_start(loop, &output->io, output->read_fd, LOOP_READ, on_readable);
}

int output_init(struct output *output, struct loop *loop, const char *name)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	output_resume(output, loop, name, pair[0], pair[1]);
	return 0;
}

void output_deinit(struct output *output)
{
	loop_io_stop(&output->io);
	close(output->read_fd);
	close(output->write_fd);
}
