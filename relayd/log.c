/*
 * The log.  A line is made up in a buffer on the stack and leaves by one call,
 * so that lines of several threads never mix and no lock is needed.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SIZE 2048u

static const struct level {
	const char *name;
	const char *prefix; /* in a line on standard error */
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "error: ", LOG_ERR},
	[LOG_LEVEL_WARNING] = {"warning", "warning: ", LOG_WARNING},
	[LOG_LEVEL_INFO] = {"info", "", LOG_INFO},
	[LOG_LEVEL_DEBUG] = {"debug", "debug: ", LOG_DEBUG},
};

static _Atomic int threshold = LOG_LEVEL_INFO;
static _Atomic bool use_syslog;

int log_level_parse(const char *name, enum log_level *level)
{
	size_t i;

	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcasecmp(name, levels[i].name) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, (int)level);
}

void log_to_syslog(const char *ident)
{
	openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

/* A name that a backend or a client chose must not start a line of its own. */
static void line_clean(char *line, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
}

static void write_stderr(const char *line, size_t size)
{
	ssize_t n;

	do {
		n = write(STDERR_FILENO, line, size);
	} while (n < 0 && errno == EINTR);
}

void log_write(enum log_level level, const char *format, ...)
{
	const struct level *row = &levels[level];
	char line[LINE_MAX_SIZE];
	int saved = errno;
	size_t start, size;
	va_list args;
	int n;

	if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
		return;
	start = (size_t)snprintf(line, sizeof(line), "relayd: %s", row->prefix);
	va_start(args, format);
	n = vsnprintf(line + start, sizeof(line) - start - 1, format, args);
	va_end(args);
	size = start + (n > 0 ? (size_t)n : 0);
	if (size > sizeof(line) - 2) {
		size = sizeof(line) - 2;
		memcpy(line + size - 3, "...", 3);
	}
	line_clean(line, size);
	line[size] = '\0';
	if (atomic_load_explicit(&use_syslog, memory_order_relaxed)) {
		syslog(row->priority, "%s", line + start);
	} else {
		line[size] = '\n';
		write_stderr(line, size + 1);
	}
	errno = saved;
}

bool log_allow(struct log_limit *limit, const char *whose, const char *kind)
{
	unsigned *count = kind == limit->kind ? &limit->lines : &limit->changes;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((uint64_t)now.tv_sec != limit->second) {
		if (limit->lines > LOG_LIMIT_PER_SECOND)
			log_warning("%s: %u more such lines in one second", whose, limit->lines - LOG_LIMIT_PER_SECOND);
		limit->second = (uint64_t)now.tv_sec;
		limit->lines = limit->changes = 0;
	}
	limit->kind = kind;
	return ++*count <= LOG_LIMIT_PER_SECOND;
}
