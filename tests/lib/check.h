/*
 * Named checks: what a test prints, and what its exit status comes from.
 *
 * A check that holds prints "ok NAME", one that fails "FAIL NAME" with the
 * reason behind it.  A test that cannot go on says so with check_abort(), which
 * runs what atexit() holds.
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* The exit status that automake's driver takes for "not possible on this machine". */
#define CHECK_SKIP 77

/* Counts and prints one check; returns ok.  The name is a format. */
bool check(bool ok, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* The same, with the reason of a failure as its second line. */
bool check_why(bool ok, const char *name, const char *why, ...) __attribute__((format(printf, 3, 4)));

/* Prints "NAME: reason", and ends the test as a failure. */
void check_abort(const char *why, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Prints "N checks, M failed" and returns main()'s status. */
int check_end(void);

/* Leaves with CHECK_SKIP if there is no /dev/fuse on this machine. */
void check_requires_fuse(void);

/* The minor version of FUSE that the kernel speaks: it is asked by a mount, once. */
unsigned check_fuse_minor(void);

/* Whether that is `minor` or more; if not, prints "SKIP NAME" and why. */
bool check_fuse_has(unsigned minor, const char *name);

/* The checks so far. */
unsigned check_count(void);
unsigned check_failures(void);

/* Milliseconds and nanoseconds of CLOCK_MONOTONIC. */
uint64_t check_now_ms(void);
uint64_t check_now_ns(void);

/* Sorts measured times, the least first: the median is in the middle. */
void check_sort_times(uint64_t *times, unsigned n);

/*
 * Asks until() every millisecond until it says true, for at most `ms`.  For the
 * conditions that nothing reports; returns what until() said last.
 */
bool check_until(bool (*until)(void *arg), void *arg, unsigned ms);

#endif
