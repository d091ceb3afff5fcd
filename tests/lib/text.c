/*
 * Growing text.  text_result() and text_errno() answer from a few static
 * buffers in turn, so that several fit in one printf().
 */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

void text_add(struct text *text, const char *format, ...)
{
	va_list args;
	int length;

	for (;;) {
		size_t room = text->capacity - text->size;

		va_start(args, format);
		length = vsnprintf(text->bytes ? text->bytes + text->size : NULL, room, format, args);
		va_end(args);
		if (length < 0)
			check_abort("a transcript cannot be formatted");
		if ((size_t)length < room)
			break;
		text->capacity = (text->size + (size_t)length + 1) * 2;
		text->bytes = realloc(text->bytes, text->capacity);
		if (!text->bytes)
			check_abort("no memory for a transcript");
	}
	text->size += (size_t)length;
}

void text_clear(struct text *text)
{
	text->size = 0;
	if (text->bytes)
		text->bytes[0] = '\0';
}

void text_free(struct text *text)
{
	free(text->bytes);
	*text = (struct text){0};
}

const char *text_get(const struct text *text)
{
	return text->bytes ? text->bytes : "";
}

static int line_length(const char *line)
{
	return (int)strcspn(line, "\n");
}

bool text_same(const struct text *wanted, const struct text *got, char *where, size_t where_size)
{
	const char *a = text_get(wanted);
	const char *b = text_get(got);

	where[0] = '\0';
	for (;;) {
		int na = line_length(a);
		int nb = line_length(b);

		if (na != nb || memcmp(a, b, (size_t)na) != 0) {
			snprintf(where, where_size, "wanted \"%.*s\", got \"%.*s\"", na, a, nb, b);
			return false;
		}
		if (!a[na] || !b[nb]) {
			if (a[na] == b[nb])
				return true;
			snprintf(where, where_size, "one ends after \"%.*s\"", na, a);
			return false;
		}
		a += na + 1;
		b += nb + 1;
	}
}

const char *text_errno(int error)
{
	const char *name = error ? strerrorname_np(error) : "0";

	return name ? name : "E?";
}

const char *text_result(long result)
{
	static _Thread_local char buffers[8][32];
	static _Thread_local unsigned turn;
	char *buffer = buffers[turn++ % 8];

	if (result < 0)
		snprintf(buffer, sizeof(buffers[0]), "-1 %s", text_errno(errno));
	else
		snprintf(buffer, sizeof(buffers[0]), "%ld", result);
	return buffer;
}
