/*
 * relayd's command line: what is asked for, and how the asker is told of it.
 *
 * As a daemon the process that was started waits for the one that goes on, and
 * exits with the status and the reason that that one gives.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl_client.h"
#include "daemon.h"
#include "log.h"

struct options {
	struct mount_config mount;
	const char *socket;
	bool foreground;
	enum log_level level;
};

/* Where the outcome goes: a pipe to the process that was started, or standard error. */
struct teller {
	int pipe; /* -1: none */
};

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
	OPT_SHARED_STORE = 256,
	OPT_WRITE_BEHIND,
	OPT_BACKEND_VIA,
	OPT_LIVES,
	OPT_REQUEST_TIMEOUT,
	OPT_DOWN_POLICY,
	OPT_LANE,
	OPT_RESEND,
	OPT_TRUST,
	OPT_NEGATIVE_TIMEOUT,
	OPT_BPF,
	OPT_LOG_LEVEL,
	OPT_SOCKET,
};

static const struct option long_options[] = {
	{"mount", required_argument, NULL, 'm'},
	{"backend", required_argument, NULL, 'b'},
	{"backend-via", required_argument, NULL, OPT_BACKEND_VIA},
	{"options", required_argument, NULL, 'o'},
	{"name", required_argument, NULL, 'n'},
	{"shared-store", no_argument, NULL, OPT_SHARED_STORE},
	{"write-behind", no_argument, NULL, OPT_WRITE_BEHIND},
	{"lives", required_argument, NULL, OPT_LIVES},
	{"request-timeout", required_argument, NULL, OPT_REQUEST_TIMEOUT},
	{"down-policy", required_argument, NULL, OPT_DOWN_POLICY},
	{"lane", required_argument, NULL, OPT_LANE},
	{"resend", required_argument, NULL, OPT_RESEND},
	{"trust", required_argument, NULL, OPT_TRUST},
	{"negative-timeout", required_argument, NULL, OPT_NEGATIVE_TIMEOUT},
	{"bpf", required_argument, NULL, OPT_BPF},
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

static unsigned number_parse(const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || end == text || n < 1 || n > 1000)
		usage_error("--lives takes a number from 1 to 1000");
	return (unsigned)n;
}

/* Whether the word is `off`, and not `on`. */
static bool choice_parse(const char *word, const char *on, const char *off, const char *error)
{
	if (strcmp(word, on) != 0 && strcmp(word, off) != 0)
		usage_error(error);
	return strcmp(word, off) == 0;
}

static void lane_parse(struct options *options, const char *lane)
{
	options->mount.uring_lane = strcmp(lane, "uring") == 0;
	options->mount.socket_lane =
		!options->mount.uring_lane &&
		choice_parse(lane, "direct", "socket", "--lane takes direct, socket or uring");
}

static void option_take(struct options *options, int option)
{
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
	case OPT_SHARED_STORE:
		options->mount.shared_store = true;
		break;
	case OPT_WRITE_BEHIND:
		options->mount.write_behind = true;
		break;
	case OPT_LIVES:
		options->mount.lives = number_parse(optarg);
		break;
	case OPT_REQUEST_TIMEOUT:
		if (relay_internal_ctl_seconds(optarg, &options->mount.request_timeout_ms) < 0)
			usage_error("--request-timeout takes seconds, from 0.1 to 4000000");
		break;
	case OPT_DOWN_POLICY:
		if (relay_internal_ctl_down_policy(optarg, &options->mount.fail_after_ms) < 0)
			usage_error("--down-policy takes wait or fail-after=SECONDS");
		break;
	case OPT_LANE:
		lane_parse(options, optarg);
		break;
	case OPT_RESEND:
		options->mount.no_resend = choice_parse(optarg, "auto", "off", "--resend takes auto or off");
		break;
	case OPT_TRUST:
		usage_check(relay_internal_cache_trust_take(&options->mount.known, optarg));
		break;
	case OPT_NEGATIVE_TIMEOUT:
		usage_check(relay_internal_cache_timeout_take(&options->mount.known, optarg));
		break;
	case OPT_BPF:
		usage_check(relay_internal_cache_bpf_take(&options->mount.known, optarg));
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

static void options_parse(struct options *options, int argc, char **argv)
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
	    (options->mount.backend || options->mount.options || options->mount.name || options->mount.shared_store ||
	     options->mount.write_behind || options->mount.socket_lane || options->mount.uring_lane ||
	     options->mount.no_resend || options->mount.via || options->mount.request_timeout_ms ||
	     options->mount.fail_after_ms || options->mount.known.trust || options->mount.known.negative_ms ||
	     options->mount.known.bpf))
		usage_error("--backend, --backend-via, --name, --shared-store, --write-behind, --request-timeout, "
			    "--down-policy, --lane, --resend, --trust, --negative-timeout, --bpf and -o go with "
			    "--mount");
	usage_check(relay_internal_cache_options_check(&options->mount.known, options->mount.shared_store));
	if (options->mount.backend && way_check(options->mount.backend, options->mount.via, why, sizeof(why)) < 0)
		usage_error(why);
}

/* As the daemon sees it, whose directory is another. */
static char *path_absolute(const char *path)
{
	char *real = realpath(path, NULL);
	char *joined, *cwd;

	/* What realpath(3) cannot pass, such as a dead mount, is named as it was given. */
	if (real || *path == '/')
		return real ? real : strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&joined, "%s/%s", cwd, path) < 0)
		joined = NULL;
	free(cwd);
	return joined;
}

static void tell(const struct teller *teller, enum relayd_exit status, const char *why)
{
	unsigned char byte = (unsigned char)status;

	if (status != EXIT_OK)
		fprintf(stderr, "relayd: %s\n", why);
	if (teller->pipe >= 0 && write(teller->pipe, &byte, 1) != 1)
		log_debug("nobody waits for this relayd any more");
}

/* The daemon serves: from here on it has no terminal. */
static void terminal_leave(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog("relayd");
	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

static void on_ready(enum relayd_exit status, const char *why, void *arg)
{
	struct teller *teller = arg;

	tell(teller, status, why);
	if (status == EXIT_OK && teller->pipe >= 0)
		terminal_leave();
	if (teller->pipe >= 0)
		close(teller->pipe);
	teller->pipe = -1;
}

/* Asks the relayd that serves the socket already.  -EAGAIN: it has ended meanwhile. */
static int hand_over(const struct options *options, const char *socket, const struct teller *teller)
{
	const struct relay_ctl_mount_args args = {
		.name = options->mount.name,
		.mountpoint = options->mount.mountpoint,
		.options = options->mount.options,
		.backend = options->mount.backend,
		.directory = options->mount.directory,
		.via = (enum relay_ctl_via_wanted)options->mount.via,
		.lives = options->mount.lives,
		.request_timeout_ms = options->mount.request_timeout_ms,
		.fail_after_ms = options->mount.fail_after_ms,
		.shared_store = options->mount.shared_store,
		.write_behind = options->mount.write_behind,
		.socket_lane = options->mount.socket_lane,
		.uring_lane = options->mount.uring_lane,
		.no_resend = options->mount.no_resend,
		.cache = options->mount.known,
	};
	unsigned status = EXIT_OK;
	char why[512] = "";
	int err = relay_internal_ctl_mount(socket, &args, why, sizeof(why), &status);

	if (err == -EAGAIN)
		return err;
	tell(teller, err ? (enum relayd_exit)status : EXIT_OK, why);
	return err ? (int)status : EXIT_OK;
}

static int serve(const struct options *options, const char *socket, struct teller *teller)
{
	const struct daemon_config config = {
		.socket = socket,
		.mount = options->mount.mountpoint ? &options->mount : NULL,
		.on_ready = on_ready,
		.arg = teller,
	};
	char why[PATH_MAX + 128];
	int result;

	do {
		result = daemon_run(&config);
		if (result == -EADDRINUSE && config.mount && !options->foreground)
			result = hand_over(options, socket, teller);
	} while (result == -EAGAIN);
	if (result != -EADDRINUSE)
		return result;
	snprintf(why, sizeof(why), "%s: a relayd serves this socket already; give --socket for one of its own", socket);
	tell(teller, EXIT_SOCKET, why);
	return EXIT_SOCKET;
}

/* Returns the exit status that the process which serves has told. */
static int wait_for(pid_t child, int pipe)
{
	unsigned char status;
	ssize_t n;
	int ended;

	do {
		n = read(pipe, &status, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return status;
	/* It has ended without a word. */
	if (waitpid(child, &ended, 0) == child && WIFSIGNALED(ended))
		fprintf(stderr, "relayd: killed by signal %d before it was ready\n", WTERMSIG(ended));
	return EXIT_FAILED;
}

static int serve_detached(const struct options *options, const char *socket)
{
	struct teller teller;
	int pipes[2];
	pid_t child;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		fprintf(stderr, "relayd: cannot become a daemon: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	if (child > 0) {
		close(pipes[1]);
		return wait_for(child, pipes[0]);
	}
	close(pipes[0]);
	teller.pipe = pipes[1];
	setsid();
	if (chdir("/") < 0)
		log_warning("cannot leave the directory that it was started in: %s", strerror(errno));
	return serve(options, socket, &teller);
}

/* Backends are told of it, wherever they are started. */
static int socket_absolute(char *socket, size_t size)
{
	char cwd[PATH_MAX], relative[PATH_MAX];

	if (*socket == '/')
		return 0;
	snprintf(relative, sizeof(relative), "%s", socket);
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	if ((size_t)snprintf(socket, size, "%s/%s", cwd, relative) < size)
		return 0;
	errno = ENAMETOOLONG;
	return -errno;
}

/* What is opened later must not become a standard stream: backends' are set from others (launch.c). */
static void streams_open(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct options options = {.level = LOG_LEVEL_INFO};
	struct teller teller = {.pipe = -1};
	char *directory, *mountpoint = NULL;
	char socket[PATH_MAX];
	int err, status;

	streams_open();
	options_parse(&options, argc, argv);
	log_set_level(options.level);
	err = relay_internal_ctl_path(options.socket, socket, sizeof(socket));
	if (err) {
		fprintf(stderr, "relayd: no place for the control socket: %s\n",
			err == -ENOENT ? "XDG_RUNTIME_DIR is not set; give --socket" : strerror(-err));
		return EXIT_SOCKET;
	}
	if (socket_absolute(socket, sizeof(socket)) < 0) {
		fprintf(stderr, "relayd: %s: no place for the control socket: %s\n", socket, strerror(errno));
		return EXIT_SOCKET;
	}
	options.mount.uid = getuid();
	options.mount.gid = getgid();
	options.mount.directory = directory = getcwd(NULL, 0);
	if (options.mount.mountpoint)
		options.mount.mountpoint = mountpoint = path_absolute(options.mount.mountpoint);
	status = options.foreground ? serve(&options, socket, &teller) : serve_detached(&options, socket);
	free(directory);
	free(mountpoint);
	return status;
}
