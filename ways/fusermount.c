/*
 * The stand-in for fusermount3(1) and fusermount(1): the command line.
 *
 * libfuse and others call it, so what they ask for has to be understood or refused:
 * libfuse tries options that an older fusermount3 does not have, and goes on without
 * them after an error.  Ignoring one would mount twice.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fusermount.h"

#define COMM_FD_VARIABLE "_FUSE_COMMFD"

const char *fusermount_name;

struct options {
	bool unmount;
	bool lazy;
	bool quiet;
	bool auto_unmount;
	const char *options;
	const char *comm_fd;
	const char *directory;
};

enum {
	OPT_AUTO_UNMOUNT = 256,
	OPT_COMM_FD,
};

static const struct option long_options[] = {
	{"unmount", no_argument, NULL, 'u'},
	{"lazy", no_argument, NULL, 'z'},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"options", required_argument, NULL, 'o'},
	{"auto-unmount", no_argument, NULL, OPT_AUTO_UNMOUNT},
	{"comm-fd", required_argument, NULL, OPT_COMM_FD},
	{NULL, 0, NULL, 0},
};

static void usage(void)
{
	printf("%s: [options] mountpoint\n"
	       "Options:\n"
	       " -h                 print help\n"
	       " -V                 print version\n"
	       " -o opt[,opt...]    mount options\n"
	       " -u                 unmount\n"
	       " -q                 quiet\n"
	       " -z                 lazy unmount\n"
	       "\n"
	       "This one mounts through relayd(8), and hands over to the system's own what is\n"
	       "not relayd's.\n",
	       fusermount_name);
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", fusermount_name, what);
	exit(1);
}

static void option_take(struct options *options, int option)
{
	switch (option) {
	case 'u':
		options->unmount = true;
		break;
	case 'z':
		options->lazy = true;
		break;
	case 'q':
		options->quiet = true;
		break;
	case 'o':
		options->options = optarg;
		break;
	case OPT_AUTO_UNMOUNT:
		options->auto_unmount = true;
		break;
	case OPT_COMM_FD:
		options->comm_fd = optarg;
		break;
	case 'h':
		usage();
		exit(0);
	case 'V':
		printf("fusermount3 version: 3 (relayd " PACKAGE_VERSION ")\n");
		exit(0);
	default:
		exit(1);
	}
}

static void options_parse(struct options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "hVo:uzq", long_options, NULL)) != -1)
		option_take(options, option);
	if (options->lazy && !options->unmount)
		fail("-z can only be used with -u");
	if (optind >= argc)
		fail("missing mountpoint argument");
	if (argc > optind + 1)
		fail("extra arguments after the mountpoint");
	options->directory = argv[optind];
}

static int comm_fd_parse(const char *number)
{
	char *end;
	unsigned long fd;

	if (!number)
		fail("old style mounting not supported: " COMM_FD_VARIABLE " is not set");
	errno = 0;
	fd = strtoul(number, &end, 10);
	if (errno || end == number || *end || fd > INT_MAX)
		fail("the descriptor in " COMM_FD_VARIABLE " is not a number");
	return (int)fd;
}

/* getopt_long() sorts the words. */
static char **argv_copy(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));

	if (!copy)
		fail("no memory");
	memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	return copy;
}

int main(int argc, char **argv)
{
	struct options options = {.comm_fd = getenv(COMM_FD_VARIABLE)};
	char **given = argv_copy(argc, argv);
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	int status;

	fusermount_name = slash ? slash + 1 : argc > 0 ? argv[0] : "fusermount3";
	options_parse(&options, argc, argv);
	fusermount_environment_take();
	if (options.unmount)
		status = fusermount_unmount(&(struct fusermount_unmount_args){
			.directory = options.directory,
			.lazy = options.lazy,
			.quiet = options.quiet,
			.argv = given,
		});
	else if (options.auto_unmount)
		status = fusermount_auto_unmount(options.directory, given);
	else
		status = fusermount_mount(options.directory, options.options ? options.options : "",
					  comm_fd_parse(options.comm_fd));
	free(given);
	return status;
}
