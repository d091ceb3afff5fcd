/*
 * What is in a tree, as text: names, types, modes, owners, link counts, devices,
 * contents, targets and extended attributes, one line an entry.
 */
#ifndef TESTS_TREE_H
#define TESTS_TREE_H

#include "text.h"

/* Everything below path, but not path itself. */
void tree_add(struct text *log, const char *path);

/* Size and checksum of what is left to read from fd. */
void tree_add_content(struct text *log, int fd);

#endif
