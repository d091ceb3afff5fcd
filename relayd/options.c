/* relayd's command line: what can be asked for, and what goes with what. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_client.h"
#include "daemon.h"

static const char usage[] =
	"usage: relayd [--socket PATH] [--foreground] [--log-level LEVEL]\n"
	"              [--mount DIR --backend 'COMMAND ARGS...' [--backend-via WAY]]\n"
	"              [-o OPTION,...] [--name NAME] [--shared-store] [--write-behind]\n"
	"              [--lives N] [--request-timeout SECONDS] [--down-policy POLICY]\n"
	"              [--lane LANE] [--resend auto|off]\n"
	"              [--trust TRUST] [--negative-timeout SECONDS] [--bpf auto|on|off]\n"
	"\n"
	"Keeps a FUSE filesystem mounted while its process comes and goes.\n"
	"\n"
	"  -m, --mount DIR        mount on DIR\n"
	"  -b, --backend COMMAND  the filesystem's program: any FUSE program, unchanged, with\n"
	"                         {mountpoint} where it is told to mount; or one that takes\n"
	"                         /dev/fd/N there: {mountfd}; or one linked with librelay,\n"
	"                         which finds its descriptor in $RELAY_FD, or at {fd}\n"
	"      --backend-via WAY  how it comes in: auto, fd, fusermount or preload (auto)\n"
	"  -o, --options OPTION,...\n"
	"                         mount options, as fusermount3 takes them\n"
	"  -n, --name NAME        what relayctl calls the mount (DIR)\n"
	"      --shared-store     others write to the filesystem's store too\n"
	"      --write-behind     the program acknowledges writes that it does later\n"
	"      --lives N          answer EIO for a request that has killed N backends (3)\n"
	"      --request-timeout SECONDS\n"
	"                         replace a program that holds a request for longer (never)\n"
	"      --down-policy POLICY\n"
	"                         wait: applications wait for as long as no backend can be\n"
	"                         started; fail-after=SECONDS: then they get errors (wait)\n"
	"      --lane LANE        direct: a program linked with librelay reads /dev/fuse itself;\n"
	"                         uring: the same, by FUSE over io_uring, if that is enabled;\n"
	"                         socket: all requests go through relayd (direct)\n"
	"      --resend auto|off  off: never have the kernel send a request again (auto)\n"
	"      --trust TRUST      what the kernel may answer by itself: negative, what the\n"
	"                         filesystem says does not exist, for as long as it says;\n"
	"                         complete, until that is changed here: nobody else writes to\n"
	"                         the store; gate: or the filesystem notifies of it (none)\n"
	"      --negative-timeout SECONDS\n"
	"                         for how long, where the filesystem does not say (0)\n"
	"      --bpf auto|on|off  on: no mount without an eBPF program that does it (auto)\n"
	"  -f, --foreground       stay in the foreground, and log to standard error\n"
	"      --log-level LEVEL  error, warning, info or debug (info)\n"
	"      --socket PATH      the control socket ($RELAYD_SOCKET)\n"
	"  -h, --help             show this\n"
	"  -V, --version          show the version\n"
	"\n"
	"Without --mount it serves the control socket, for filesystems that call\n"
	"relay_mount().  See relayd(8).\n";

enum {
	OPT_BACKEND_VIA = 256,
	OPT_LOG_LEVEL,
	OPT_SOCKET,
};

static const struct option long_options[] = {
	{"mount", required_argument, NULL, 'm'},
	{"backend", required_argument, NULL, 'b'},
	{"backend-via", required_argument, NULL, OPT_BACKEND_VIA},
	{"options", required_argument, NULL, 'o'},
	{"name", required_argument, NULL, 'n'},
	RELAY_MOUNT_CHOICE_OPTIONS,
	{"foreground", no_argument, NULL, 'f'},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void usage_error(const char *what)
{
	fprintf(stderr, "relayd: %s\nTry 'relayd --help'.\n", what);
	exit(EXIT_USAGE);
}

static void usage_check(const char *what)
{
	if (what)
		usage_error(what);
}

static void option_take(struct options *options, int option)
{
	if (option >= RELAY_CHOICE_FIRST && option < RELAY_CHOICE_END) {
		usage_check(relay_internal_choice_take(&options->mount.choices, option, optarg));
		return;
	}
	switch (option) {
	case 'm':
		options->mount.mountpoint = optarg;
		break;
	case 'b':
		options->mount.backend = optarg;
		break;
	case 'o':
		options->mount.options = optarg;
		break;
	case 'n':
		options->mount.name = optarg;
		break;
	case 'f':
		options->foreground = true;
		break;
	case OPT_BACKEND_VIA:
		if (way_wanted_parse(optarg, &options->mount.via) < 0)
			usage_error("--backend-via takes auto, fd, fusermount or preload");
		break;
	case OPT_LOG_LEVEL:
		if (log_level_parse(optarg, &options->level) < 0)
			usage_error("--log-level takes error, warning, info or debug");
		break;
	case OPT_SOCKET:
		options->socket = optarg;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_OK);
	case 'V':
		puts("relayd " PACKAGE_VERSION);
		exit(EXIT_OK);
	default:
		fputs("Try 'relayd --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
}

void options_parse(struct options *options, int argc, char **argv)
{
	char why[256];
	int option;

	while ((option = getopt_long(argc, argv, "m:b:o:n:fhV", long_options, NULL)) != -1)
		option_take(options, option);
	if (optind < argc)
		usage_error("there are words left over: quote the backend's command line");
	if (options->mount.mountpoint && !options->mount.backend)
		usage_error("--mount needs --backend");
	if (!options->mount.mountpoint &&
	    (options->mount.backend || options->mount.options || options->mount.name || options->mount.via ||
	     relay_internal_choices_made(&options->mount.choices)))
		usage_error("--backend, --backend-via, --name, --shared-store, --write-behind, --lives, "
			    "--request-timeout, --down-policy, --lane, --resend, --trust, --negative-timeout, --bpf "
			    "and -o go with --mount");
	usage_check(relay_internal_choices_check(&options->mount.choices));
	if (options->mount.backend && way_check(options->mount.backend, options->mount.via, why, sizeof(why)) < 0)
		usage_error(why);
}
