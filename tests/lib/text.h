/*
 * A text that grows: transcripts of what a system call gave, to be compared.
 */
#ifndef TESTS_TEXT_H
#define TESTS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
	char *bytes; /* NUL-terminated once something was added; the text's */
	size_t size;
	size_t capacity;
};

/* Ends the test when there is no memory. */
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(struct text *text);
void text_free(struct text *text);
/* "" for an empty one. */
const char *text_get(const struct text *text);

/*
 * The first lines in which two texts differ, as "WANTED | GOT" in `where`; returns
 * true if the texts are the same.
 */
bool text_same(const struct text *wanted, const struct text *got, char *where, size_t where_size);

/* "0", "-1 ENOENT", "5": a system call's result and, if it is negative, errno's name. */
const char *text_result(long result);
/* "ENOENT", or "0". */
const char *text_errno(int error);

#endif
