/*
 * The checks of file semantics: each is a function that works in an empty
 * directory (the process's own) and writes down what it saw.  The same function
 * runs on the backing filesystem and on the mount, and the two transcripts have to
 * be equal: nothing here says what is right, the backing filesystem does.
 */
#ifndef TESTS_SEMANTICS_H
#define TESTS_SEMANTICS_H

#include "../lib/text.h"

struct semantics_check {
	const char *name;
	/* As root in the check's directory (which belongs to the user); may be NULL. */
	void (*prepare)(void);
	/* As the user under test. */
	void (*run)(struct text *out);
};

/* One list per file, ended by a row without a name. */
extern const struct semantics_check semantics_names[];
extern const struct semantics_check semantics_links[];
extern const struct semantics_check semantics_permissions[];
extern const struct semantics_check semantics_acls[];
extern const struct semantics_check semantics_data[];
extern const struct semantics_check semantics_space[];
extern const struct semantics_check semantics_times[];
extern const struct semantics_check semantics_births[];
extern const struct semantics_check semantics_locks[];
extern const struct semantics_check semantics_dirs[];

/* "call = result" as a line; errno is the call's. */
#define TRY(out, call) text_add(out, "%s = %s\n", #call, text_result((long)(call)))

/* Type, mode, links, owner, group, size and device of a name, or the errno. */
void semantics_show(struct text *out, const char *name);
/* The same of a descriptor. */
void semantics_show_fd(struct text *out, const char *label, int fd);
/* The whole content of a file, as a size and a checksum, and its first bytes. */
void semantics_show_content(struct text *out, const char *name);

/* Makes a file with that content; returns 0 or -1 with errno. */
int semantics_put(const char *name, const char *content);

/* Users and groups of the test: the user's are 1000 and 2000, 3000. */
#define SEMANTICS_UID 1000
#define SEMANTICS_GID 1000
#define SEMANTICS_GROUP 2000
#define SEMANTICS_GROUP2 3000
#define SEMANTICS_OTHER 4000 /* somebody else, and their group */

#endif
