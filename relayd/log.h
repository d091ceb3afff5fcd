/*
 * The log: one line per event, to standard error in the foreground, to syslog
 * as a daemon.  Callable from any thread.  A failure is logged once, where it is
 * handled, naming the mount and, where there is one, the opcode and the unique.
 */
#ifndef RELAYD_LOG_H
#define RELAYD_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Returns 0, or -EINVAL for a name that is none of error, warning, info, debug. */
int log_level_parse(const char *name, enum log_level *level);
void log_set_level(enum log_level level);

/* From now on to syslog as `ident` (which stays the caller's), not to standard error. */
void log_to_syslog(const char *ident);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines in a second of a kind that others can cause without end. */
#define LOG_LIMIT_PER_SECOND 20u

/* Zero at first; of one thread. */
struct log_limit {
	uint64_t second;
	unsigned lines;	  /* in this second, of the kind that came before */
	unsigned changes; /* and those of another kind than the one before */
	const char *kind;
};

/*
 * Whether one more may be logged now.  Those that may not are counted, and told of
 * later as `whose`.  kind is a literal: a line that follows one of another kind is not
 * kept back by a flood of that.
 */
bool log_allow(struct log_limit *limit, const char *whose, const char *kind);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
