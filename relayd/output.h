/*
 * What a mount's backends print: relayd's log has it, line by line.
 */
#ifndef RELAYD_OUTPUT_H
#define RELAYD_OUTPUT_H

#include <stddef.h>

#include "loop.h"

#define OUTPUT_LINE_MAX 1024u

struct output {
	const char *name; /* the mount's */
	int write_fd;	  /* the backends' standard output and error */
	int read_fd;
	struct loop_io io;
	size_t length; /* of the line that has begun */
	char line[OUTPUT_LINE_MAX];
};

/* Returns 0 or a negative errno. */
int output_init(struct output *output, struct loop *loop, const char *name);
/* With both ends of an earlier relayd's, which are taken over: backends that live go on printing there. */
void output_resume(struct output *output, struct loop *loop, const char *name, int read_fd, int write_fd);
void output_deinit(struct output *output);

/* Logs what is there now: a backend has ended, and its last words come before that. */
void output_drain(struct output *output);

#endif
