/*
 * mount.relay, which mount(8) runs for `mount -t fuse.relay` and for fstab:
 *
 *	mount.relay SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTION,...] [-t TYPE]
 *
 * It sorts the options by whose they are (mount_relay_options.c), makes a backend's
 * command line of the source, and runs `relayd --mount`, which hands the mount over
 * to the relayd that serves the control socket, or becomes it.
 */
#include <errno.h>
#include <getopt.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount_relay.h"

/* Exit statuses of mount(8). */
enum {
	MOUNT_USAGE = 1,
	MOUNT_SYSTEM = 2,
	MOUNT_FAILED = 32,
};

/* relayd(8) exits with it for a command line that it does not take. */
#define RELAYD_USAGE 2

#define DEFAULT_PATH BINDIR ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

static const char usage[] = "usage: mount.relay SOURCE DIR [-sfnv] [-o OPTION,...] [-t TYPE]\n"
			    "\n"
			    "Mounts a filesystem that relayd keeps mounted; for mount(8), which runs it for\n"
			    "'mount -t fuse.relay' and for such lines of fstab.  SOURCE is PROGRAM#SOURCE, or\n"
			    "the whole command line of a backend.\n"
			    "\n"
			    "  -o OPTION,...  options: relayd's (relay.name=NAME, relay.via=WAY, relay.lives=N,\n"
			    "                 relay.request_timeout=SECONDS, relay.down_policy=POLICY,\n"
			    "                 relay.lane=LANE, relay.resend=auto|off, relay.shared_store,\n"
			    "                 relay.write_behind, relay.trust=TRUST,\n"
			    "                 relay.negative_timeout=SECONDS, relay.bpf=auto|on|off,\n"
			    "                 relay.socket=PATH), mount\n"
			    "                 options, and for PROGRAM#SOURCE those of the program\n"
			    "  -f             check the arguments, and mount nothing\n"
			    "  -v             say what is run\n"
			    "  -s, -n         ignored\n"
			    "  -t TYPE        ignored\n"
			    "  -h, --help     show this\n"
			    "  -V, --version  show the version\n"
			    "\n"
			    "See mount.relay(8).\n";

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

struct arguments {
	const char *source;
	const char *directory;
	bool fake;
	bool verbose;
};

static void arguments_parse(struct arguments *arguments, struct mount_relay_options *options, int argc, char **argv)
{
	int option, status = MOUNT_USAGE;

	while ((option = getopt_long(argc, argv, "sfnvN:o:t:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'f':
			arguments->fake = true;
			break;
		case 'v':
			arguments->verbose = true;
			break;
		case 's':
		case 'n':
		case 't':
			break;
		case 'N':
			fputs("mount.relay: relayd mounts in its own namespace: -N is not possible\n", stderr);
			exit(MOUNT_USAGE);
		case 'o':
			if (mount_relay_options_take(options, optarg) < 0)
				exit(MOUNT_USAGE);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("mount.relay " PACKAGE_VERSION);
			exit(0);
		default:
			fputs("Try 'mount.relay --help'.\n", stderr);
			exit(status);
		}
	}
	if (argc - optind != 2) {
		fputs("mount.relay: it takes a source and a directory\nTry 'mount.relay --help'.\n", stderr);
		exit(MOUNT_USAGE);
	}
	arguments->source = argv[optind];
	arguments->directory = argv[optind + 1];
}

/* relayd of $PATH, or where it was installed.  Returns mount(8)'s exit status. */
static int relayd_run(char **argv)
{
	pid_t pid;
	int status, err;

	/* mount(8) takes $PATH away; relayd is to find the backend with it, too. */
	if (setenv("PATH", DEFAULT_PATH, 0) < 0) {
		fputs("mount.relay: no memory\n", stderr);
		return MOUNT_SYSTEM;
	}
	err = posix_spawnp(&pid, "relayd", NULL, NULL, argv, environ);
	if (err == ENOENT)
		err = posix_spawn(&pid, BINDIR "/relayd", NULL, NULL, argv, environ);
	if (err) {
		fprintf(stderr, "mount.relay: cannot run relayd: %s\n", strerror(err));
		return MOUNT_SYSTEM;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			fprintf(stderr, "mount.relay: waiting for relayd: %s\n", strerror(errno));
			return MOUNT_SYSTEM;
		}
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == RELAYD_USAGE ? MOUNT_USAGE : MOUNT_FAILED;
}

int main(int argc, char **argv)
{
	struct mount_relay_options options = {0};
	struct arguments arguments = {0};
	struct mount_relay_command command;
	int i, status = 0;

	arguments_parse(&arguments, &options, argc, argv);
	if (mount_relay_command_make(&command, &options, arguments.source, arguments.directory) < 0)
		return MOUNT_USAGE;
	if (arguments.verbose) {
		fputs("mount.relay:", stdout);
		for (i = 0; command.argv[i]; i++)
			printf(" %s", command.argv[i]);
		putchar('\n');
		fflush(stdout);
	}
	if (!arguments.fake)
		status = relayd_run(command.argv);
	mount_relay_command_deinit(&command);
	mount_relay_options_deinit(&options);
	return status;
}
