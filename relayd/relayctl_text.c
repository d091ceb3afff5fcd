/*
 * Names are bytes to the kernel; JSON wants UTF-8, and a terminal wants no
 * control characters that a name's owner thought of.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayctl.h"

/* The bytes of the well-formed character at `s`, 0 if there is none (RFC 3629). */
static size_t utf8_length(const unsigned char *s)
{
	uint32_t code;
	size_t n, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	code = s[0] & (0xffu >> (n + 1));
	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	/* Not what a shorter form says, no surrogates, nothing past the end. */
	if ((n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10ffff)) ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return n;
}

/* C0, DEL, and C1, which terminals understand in its UTF-8 form. */
static bool is_control(const unsigned char *s, size_t length)
{
	return (length == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

static bool needs_escape(const unsigned char *s, size_t length, bool for_people)
{
	return !length || (for_people && is_control(s, length));
}

char *text_escape(const char *text, bool for_people)
{
	const unsigned char *s;
	size_t n, size;
	bool any = false;
	char *out;
	FILE *file;

	for (s = (const unsigned char *)text; *s; s += n ? n : 1) {
		n = utf8_length(s);
		any |= needs_escape(s, n, for_people);
	}
	if (!any)
		return strdup(text);
	file = open_memstream(&out, &size);
	if (!file)
		return NULL;
	for (s = (const unsigned char *)text; *s; s += n) {
		n = utf8_length(s);
		if (needs_escape(s, n, for_people)) {
			n = 1;
			fprintf(file, "\\x%02x", *s);
		} else if (*s == '\\') {
			fputs("\\\\", file);
		} else {
			fwrite(s, 1, n, file);
		}
	}
	if (fclose(file) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}
