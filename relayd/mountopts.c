/*
 * The -o list: which words are flags of mount(2), which go to the kernel's FUSE,
 * and which are relayd's own.
 */
#include "mountopts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

enum kind {
	SET,	/* sets a flag of mount(2) */
	CLEAR,	/* clears one */
	KERNEL, /* a word for the kernel's FUSE */
	NUMBER, /* a word and a number for it */
	NOTHING, /* what relayd does anyway, or nothing at all */
	OURS,	/* set by relayd: not to be given */
};

struct word {
	const char *name; /* ends with '=' if a value follows */
	enum kind kind;
	unsigned long flag;
	bool privileged; /* for root alone */
};

static const struct word words[] = {
	{"rw", CLEAR, MS_RDONLY, false},
	{"ro", SET, MS_RDONLY, false},
	{"suid", CLEAR, MS_NOSUID, true},
	{"nosuid", SET, MS_NOSUID, false},
	{"dev", CLEAR, MS_NODEV, true},
	{"nodev", SET, MS_NODEV, false},
	{"exec", CLEAR, MS_NOEXEC, false},
	{"noexec", SET, MS_NOEXEC, false},
	{"async", CLEAR, MS_SYNCHRONOUS, false},
	{"sync", SET, MS_SYNCHRONOUS, false},
	{"dirsync", SET, MS_DIRSYNC, false},
	{"atime", CLEAR, MS_NOATIME, false},
	{"noatime", SET, MS_NOATIME, false},
	{"diratime", CLEAR, MS_NODIRATIME, false},
	{"nodiratime", SET, MS_NODIRATIME, false},
	{"relatime", SET, MS_RELATIME, false},
	{"norelatime", CLEAR, MS_RELATIME, false},
	{"strictatime", SET, MS_STRICTATIME, false},
	{"nostrictatime", CLEAR, MS_STRICTATIME, false},
	{"symfollow", CLEAR, MS_NOSYMFOLLOW, false},
	{"nosymfollow", SET, MS_NOSYMFOLLOW, false},
	{"allow_other", KERNEL, 0, false},
	{"default_permissions", KERNEL, 0, false},
	{"max_read=", NUMBER, 0, false},
	{"defaults", NOTHING, 0, false},
	{"auto_unmount", NOTHING, 0, false},
	{"fd=", OURS, 0, false},
	{"rootmode=", OURS, 0, false},
	{"user_id=", OURS, 0, false},
	{"group_id=", OURS, 0, false},
};

static const struct word *word_find(const char *option)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i].name);

		if (words[i].name[n - 1] == '=' ? strncmp(option, words[i].name, n) == 0
						: strcmp(option, words[i].name) == 0)
			return &words[i];
	}
	return NULL;
}

/* Appends to a list, which begins with a comma. */
static int list_append(char **list, const char *option)
{
	char *longer;

	if (asprintf(&longer, "%s,%s", *list, option) < 0)
		return -ENOMEM;
	free(*list);
	*list = longer;
	return 0;
}

static int is_number(const char *text)
{
	return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

static int string_set(char **where, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*where);
	*where = copy;
	return 0;
}

static int option_take(struct mountopts *opts, const char *option, int may_suid, char *why, size_t why_size)
{
	const struct word *word;

	if (strncmp(option, "fsname=", 7) == 0)
		return string_set(&opts->fsname, option + 7);
	if (strncmp(option, "subtype=", 8) == 0)
		return string_set(&opts->subtype, option + 8);
	if (strncmp(option, "x-", 2) == 0)
		return 0; /* comments for other programs, see mount(8) */
	word = word_find(option);
	if (!word || word->kind == OURS || (word->kind == NUMBER && !is_number(strchr(option, '=') + 1))) {
		snprintf(why, why_size, "mount option '%s' is %s", option,
			 !word			 ? "not known"
			 : word->kind == OURS ? "set by relayd itself"
						 : "not followed by a number");
		return -EINVAL;
	}
	if (word->privileged && !may_suid) {
		snprintf(why, why_size, "mount option '%s' is for root alone", option);
		return -EPERM;
	}
	if (word->kind == NOTHING)
		return 0;
	if (word->kind == SET)
		opts->flags |= word->flag;
	else if (word->kind == CLEAR)
		opts->flags &= ~word->flag;
	else if (list_append(&opts->kernel, option))
		return -ENOMEM;
	return list_append(&opts->helper, option);
}

/* Cuts off the first option of a list, at a comma without a backslash before it, and takes backslashes out. */
static char *option_cut(char **list)
{
	char *start = *list, *to = start, *from = start;

	while (*from && *from != ',') {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	*list = *from ? from + 1 : NULL;
	*to = '\0';
	return start;
}

int mountopts_parse(struct mountopts *opts, const char *list, int may_suid, char *why, size_t why_size)
{
	char *copy, *rest, *option;
	int err = 0;

	*opts = (struct mountopts){.flags = MS_NOSUID | MS_NODEV, .kernel = strdup(""), .helper = strdup("")};
	copy = strdup(list ? list : "");
	if (!copy || !opts->kernel || !opts->helper)
		err = -ENOMEM;
	for (rest = copy; !err && rest;) {
		option = option_cut(&rest);
		if (*option)
			err = option_take(opts, option, may_suid, why, why_size);
	}
	free(copy);
	if (err) {
		if (err == -ENOMEM)
			snprintf(why, why_size, "no memory for the mount options");
		mountopts_deinit(opts);
	}
	return err;
}

void mountopts_deinit(struct mountopts *opts)
{
	free(opts->kernel);
	free(opts->helper);
	free(opts->fsname);
	free(opts->subtype);
	*opts = (struct mountopts){0};
}
