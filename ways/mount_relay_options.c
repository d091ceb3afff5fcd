/*
 * Whose an option is: relayd's by its name, mount(8)'s and fstab's, the kernel's, and
 * whatever is left is the program's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount_relay.h"

/* For mount(8), fstab(5) and systemd; the last ones have values. */
static const char *const dropped[] = {
	"defaults", "auto", "noauto", "user", "nouser", "users",     "owner",	 "group",     "_netdev",
	"nofail",   "loop", "rw",     "x-*",  "X-*",	"comment=*", "helper=*", "uhelper=*", "user=*",
};

/* What relayd's -o takes. */
static const char *const kernel[] = {
	"ro",		"suid",
	"nosuid",	"dev",
	"nodev",	"exec",
	"noexec",	"async",
	"sync",		"dirsync",
	"atime",	"noatime",
	"diratime",	"nodiratime",
	"relatime",	"norelatime",
	"strictatime",	"nostrictatime",
	"symfollow",	"nosymfollow",
	"allow_other",	"default_permissions",
	"auto_unmount", "max_read=*",
	"fsname=*",	"subtype=*",
};

/* "name", or "start*" for what begins so. */
static bool is_of(const char *option, const char *const *table, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		size_t n = strlen(table[i]);

		if (table[i][n - 1] == '*' ? strncmp(option, table[i], n - 1) == 0 : strcmp(option, table[i]) == 0)
			return true;
	}
	return false;
}

static int list_append(char **list, const char *option)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? "," : "", option) < 0)
		return -ENOMEM;
	free(*list);
	*list = longer;
	return 0;
}

static int value_set(char **where, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*where);
	*where = copy;
	return 0;
}

/* relay.*: returns -EINVAL for one that is not known. */
static int relay_option_take(struct mount_relay_options *options, const char *option)
{
	const struct {
		const char *name;
		char **where;
	} values[] = {
		{"name=", &options->name},
		{"via=", &options->via},
		{"lives=", &options->lives},
		{"request_timeout=", &options->request_timeout},
		{"down_policy=", &options->down_policy},
		{"lane=", &options->lane},
		{"resend=", &options->resend},
		{"trust=", &options->trust},
		{"negative_timeout=", &options->negative_timeout},
		{"bpf=", &options->bpf},
		{"socket=", &options->socket},
	};
	size_t i;

	if (strcmp(option, "shared_store") == 0) {
		options->shared_store = true;
		return 0;
	}
	if (strcmp(option, "write_behind") == 0) {
		options->write_behind = true;
		return 0;
	}
	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		size_t n = strlen(values[i].name);

		if (strncmp(option, values[i].name, n) == 0)
			return value_set(values[i].where, option + n);
	}
	fprintf(stderr, "mount.relay: option 'relay.%s' is not known\n", option);
	return -EINVAL;
}

static int option_take(struct mount_relay_options *options, const char *option)
{
	if (strncmp(option, "relay.", 6) == 0)
		return relay_option_take(options, option + 6);
	if (!*option || is_of(option, dropped, sizeof(dropped) / sizeof(dropped[0])))
		return 0;
	if (is_of(option, kernel, sizeof(kernel) / sizeof(kernel[0])))
		return list_append(&options->kernel, option);
	return list_append(&options->program, option);
}

/* The length of the option that the list begins with. */
static size_t option_length(const char *list)
{
	size_t n;

	for (n = 0; list[n] && list[n] != ','; n++)
		if (list[n] == '\\' && list[n + 1])
			n++;
	return n;
}

int mount_relay_options_take(struct mount_relay_options *options, const char *list)
{
	int err = 0;

	while (!err && *list) {
		size_t n = option_length(list);
		char *option = strndup(list, n);

		err = option ? option_take(options, option) : -ENOMEM;
		free(option);
		list += n + (list[n] == ',');
	}
	if (err == -ENOMEM)
		fputs("mount.relay: no memory\n", stderr);
	return err;
}

void mount_relay_options_deinit(struct mount_relay_options *options)
{
	free(options->kernel);
	free(options->program);
	free(options->name);
	free(options->via);
	free(options->lives);
	free(options->request_timeout);
	free(options->down_policy);
	free(options->lane);
	free(options->resend);
	free(options->trust);
	free(options->negative_timeout);
	free(options->bpf);
	free(options->socket);
	*options = (struct mount_relay_options){0};
}

/* ---- relayd's command line ---------------------------------------------------- */

/*
 * A word for relayd, which takes a command line apart as a shell does, and looks for
 * {mountpoint} even within quotes: a brace that is the word's own has quotes for itself.
 */
static void word_print(FILE *out, const char *word, size_t size)
{
	size_t i;

	fputc('\'', out);
	for (i = 0; i < size; i++) {
		if (word[i] == '\'')
			fputs("'\\''", out);
		else if (word[i] == '{')
			fputs("{''", out);
		else
			fputc(word[i], out);
	}
	fputc('\'', out);
}

/* PROGRAM SOURCE {mountpoint} -o OPTIONS */
static void backend_print(FILE *out, const struct mount_relay_options *options, const char *source, const char *hash)
{
	word_print(out, source, (size_t)(hash - source));
	if (hash[1]) {
		fputc(' ', out);
		word_print(out, hash + 1, strlen(hash + 1));
	}
	fputs(" {mountpoint}", out);
	if (options->program) {
		fputs(" -o ", out);
		word_print(out, options->program, strlen(options->program));
	}
}

static int backend_make(char **backend, const struct mount_relay_options *options, const char *source)
{
	const char *hash = strchr(source, '#');
	size_t size;
	FILE *out;

	/* A '#' further on is the command line's own: no program has a space in its name, or a quote. */
	if (hash && (hash == source || memchr(source, ' ', (size_t)(hash - source))))
		hash = NULL;
	if (!hash && options->program) {
		fprintf(stderr, "mount.relay: '%s' is a whole command line, so options like '%s' belong into it\n",
			source, options->program);
		return -EINVAL;
	}
	out = open_memstream(backend, &size);
	if (!out)
		return -ENOMEM;
	if (hash)
		backend_print(out, options, source, hash);
	else
		fputs(source, out);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

static void argument_add(struct mount_relay_command *command, unsigned *count, const char *option, const char *value)
{
	if (!value)
		return;
	command->argv[(*count)++] = (char *)option;
	command->argv[(*count)++] = (char *)value;
}

int mount_relay_command_make(struct mount_relay_command *command, const struct mount_relay_options *options,
			     const char *source, const char *directory)
{
	unsigned count = 0;
	int err;

	*command = (struct mount_relay_command){0};
	err = backend_make(&command->backend, options, source);
	if (err) {
		if (err == -ENOMEM)
			fputs("mount.relay: no memory\n", stderr);
		return err;
	}
	command->argv[count++] = "relayd";
	argument_add(command, &count, "--mount", directory);
	argument_add(command, &count, "--backend", command->backend);
	argument_add(command, &count, "-o", options->kernel);
	argument_add(command, &count, "--name", options->name);
	argument_add(command, &count, "--backend-via", options->via);
	argument_add(command, &count, "--lives", options->lives);
	argument_add(command, &count, "--request-timeout", options->request_timeout);
	argument_add(command, &count, "--down-policy", options->down_policy);
	argument_add(command, &count, "--lane", options->lane);
	argument_add(command, &count, "--resend", options->resend);
	argument_add(command, &count, "--trust", options->trust);
	argument_add(command, &count, "--negative-timeout", options->negative_timeout);
	argument_add(command, &count, "--bpf", options->bpf);
	argument_add(command, &count, "--socket", options->socket);
	if (options->shared_store)
		command->argv[count++] = "--shared-store";
	if (options->write_behind)
		command->argv[count++] = "--write-behind";
	return 0;
}

void mount_relay_command_deinit(struct mount_relay_command *command)
{
	free(command->backend);
	command->backend = NULL;
}
