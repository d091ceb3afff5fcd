/*
 * relay-run: a FUSE program with its usual command line, run by relayd.
 *
 * The command line, the environment, the working directory and the standard
 * descriptors go to relayd, which runs the program from there, and again when it
 * dies.  This process only waits for the outcome: dying here changes nothing.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctl_client.h"
#include "mount_choices.h"

/* Exit statuses, as relayd(8) has them. */
enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

extern char **environ;

struct options {
	const char *name;
	const char *options;
	const char *socket;
	struct relay_mount_choices choices;
	char **argv;
};

static const char usage[] = "usage: relay-run [--name NAME] [-o OPTION,...] [--shared-store] [--write-behind]\n"
			    "                 [--lives N] [--request-timeout SECONDS] [--down-policy POLICY]\n"
			    "                 [--lane LANE] [--resend auto|off] [--trust TRUST]\n"
			    "                 [--negative-timeout SECONDS] [--bpf auto|on|off] [--socket PATH]\n"
			    "                 COMMAND ARG...\n"
			    "\n"
			    "Has relayd run a FUSE filesystem, which is given with its usual command line, and\n"
			    "keep it mounted while its process comes and goes.\n"
			    "\n"
			    "  -n, --name NAME        what relayctl calls the mount (its mountpoint)\n"
			    "  -o, --options OPTION,...\n"
			    "                         mount options, besides those that the command has\n"
			    "      --shared-store     others write to the filesystem's store too\n"
			    "      --write-behind     the program acknowledges writes that it does later\n"
			    "      --lives N          answer EIO for a request that has killed N backends (3)\n"
			    "      --request-timeout SECONDS\n"
			    "                         replace a program that holds a request for longer (never)\n"
			    "      --down-policy POLICY\n"
			    "                         wait, or fail-after=SECONDS: what applications get while no\n"
			    "                         backend can be started (wait)\n"
			    "      --lane LANE        direct, socket or uring (direct)\n"
			    "      --resend auto|off  off: never have the kernel send a request again (auto)\n"
			    "      --trust TRUST      what the kernel may answer by itself: none, negative, complete\n"
			    "                         or gate (none)\n"
			    "      --negative-timeout SECONDS\n"
			    "                         for how long, where the filesystem does not say (0)\n"
			    "      --bpf auto|on|off  on: no mount without an eBPF program that does it (auto)\n"
			    "      --socket PATH      the control socket of relayd ($RELAYD_SOCKET)\n"
			    "  -h, --help             show this\n"
			    "  -V, --version          show the version\n"
			    "\n"
			    "Ends when the mount serves, with a line that says so.  See relay-run(1).\n";

enum {
	OPT_SOCKET = 256,
};

static const struct option long_options[] = {
	{"name", required_argument, NULL, 'n'},
	{"options", required_argument, NULL, 'o'},
	RELAY_MOUNT_CHOICE_OPTIONS,
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static void die(int status, const char *format, ...)
{
	va_list args;

	fputs("relay-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(status);
}

static void usage_check(const char *what)
{
	if (what)
		die(EXIT_USAGE, "%s", what);
}

static void command_check(char **argv)
{
	unsigned i;

	for (i = 0; argv[i]; i++)
		if (!*argv[i])
			die(EXIT_USAGE, "argument %u of the command is empty: relayd cannot be given it", i);
}

static void option_take(struct options *options, int option)
{
	if (option >= RELAY_CHOICE_FIRST && option < RELAY_CHOICE_END) {
		usage_check(relay_internal_choice_take(&options->choices, option, optarg));
		return;
	}
	switch (option) {
	case 'n':
		options->name = optarg;
		break;
	case 'o':
		options->options = optarg;
		break;
	case OPT_SOCKET:
		options->socket = optarg;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	case 'V':
		puts("relay-run " PACKAGE_VERSION);
		exit(0);
	default:
		fputs("Try 'relay-run --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
}

static void options_parse(struct options *options, int argc, char **argv)
{
	int option;

	/* The command's own options are behind its name. */
	while ((option = getopt_long(argc, argv, "+n:o:hV", long_options, NULL)) != -1)
		option_take(options, option);
	usage_check(relay_internal_choices_check(&options->choices));
	options->argv = argv + optind;
	if (!*options->argv)
		die(EXIT_USAGE, "which command?\nTry 'relay-run --help'.");
	command_check(options->argv);
}

/* Each with a NUL, and an empty one at the end: one that is empty itself has no form there. */
static void strings_write(FILE *out, char **strings)
{
	for (; *strings; strings++) {
		if (!**strings)
			continue;
		fputs(*strings, out);
		fputc('\0', out);
	}
	fputc('\0', out);
}

/* The memfd of the RUN: the arguments and the environment. */
static int command_pack(char **argv)
{
	int fd = memfd_create("relay-run", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	FILE *out;
	int copy;

	copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	out = copy < 0 ? NULL : fdopen(copy, "w");
	if (!out)
		die(EXIT_FAILED, "no memory for the command: %s", strerror(errno));
	strings_write(out, argv);
	strings_write(out, environ);
	if (ferror(out) | (fclose(out) != 0) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		die(EXIT_FAILED, "no memory for the command: %s", strerror(errno));
	return fd;
}

/* A standard descriptor that is closed is /dev/null, in the program too. */
static void standard_open(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			die(EXIT_FAILED, "/dev/null: %s", strerror(errno));
	} while (fd <= STDERR_FILENO);
	close(fd);
}

static void run(const struct options *options)
{
	int fds[RELAY_CTL_RUN_FDS] = {-1, -1, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
	const struct relay_ctl_status *status;
	struct relay_ctl_client *client;
	unsigned exit_status = 0;
	struct relay_ctl_run *body;
	char why[1024] = "";

	if (relay_internal_ctl_open(&client, options->socket, why, sizeof(why)) < 0)
		die(RELAY_CTL_EXIT_SOCKET,
		    "%s\nStart one with 'relayd', or 'relayd --socket PATH' and --socket or $RELAYD_SOCKET here.", why);
	fds[0] = command_pack(options->argv);
	fds[1] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fds[1] < 0)
		die(EXIT_FAILED, "the working directory: %s", strerror(errno));
	body = relay_internal_ctl_command(client, RELAY_CTL_RUN, sizeof(*body));
	RELAY_MOUNT_CHOICES_PACK(body, &options->choices);
	relay_internal_ctl_put(&client->frame, &body->name, options->name);
	relay_internal_ctl_put(&client->frame, &body->options, options->options);
	if (relay_internal_ctl_call(client, fds, RELAY_CTL_RUN_FDS, NULL, why, sizeof(why), &exit_status) < 0)
		die(exit_status ? (int)exit_status : EXIT_FAILED, "%s: %s", options->argv[0], why);
	status = relay_internal_ctl_answer(client, sizeof(*status));
	if (!status)
		die(EXIT_FAILED, "relayd has sent a short answer");
	printf("relay-run: %s is mounted on %s as '%s', by %s\n", options->argv[0],
	       relay_internal_ctl_string(client, &status->mountpoint), relay_internal_ctl_string(client, &status->name),
	       relay_internal_ctl_string(client, &status->via));
	relay_internal_ctl_close(client);
}

int main(int argc, char **argv)
{
	struct options options = {0};

	standard_open();
	options_parse(&options, argc, argv);
	run(&options);
	return 0;
}
