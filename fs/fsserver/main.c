/*
 * fsserver(8): the command line.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unreleased"
#endif

enum exit_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_SOURCE = 3,  /* not there, no directory, not ours to read */
	STATUS_CHANNEL = 4, /* none given, or no channel of this version */
	STATUS_MOUNT = 5,   /* relayd did not mount */
};

struct options {
	const char *source;
	const char *mount;
	double timeout;
	unsigned threads;
	enum passthrough_wanted passthrough;
	int fd;
};

static const char usage[] = "Usage: fsserver --source DIR [OPTION...]\n"
			    "Serves a directory through relayd, which starts it with a channel in $RELAY_FD.\n"
			    "\n"
			    "  --source DIR       the directory\n"
			    "  --mount DIR        have relayd mount it there, if there is no channel\n"
			    "  --timeout SECONDS  how long the kernel may believe names and attributes (1)\n"
			    "  --passthrough=HOW  auto, on or off: the kernel reads and writes files by itself (auto)\n"
			    "  --threads N        requests served at once (2 per processor, at least 10)\n"
			    "  --fd N             the channel's descriptor ($RELAY_FD)\n"
			    "  --help             print this and exit\n"
			    "  --version          print the version and exit\n";

/* A whole number in its range, or false. */
static bool number_parse(const char *text, long least, long most, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most;
}

static bool seconds_parse(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end != text && *end == '\0' && *value >= 0 && *value <= 1e9;
}

static bool passthrough_parse(const char *text, enum passthrough_wanted *wanted)
{
	static const char *const names[] = {
		[PASSTHROUGH_AUTO] = "auto",
		[PASSTHROUGH_ON] = "on",
		[PASSTHROUGH_OFF] = "off",
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*wanted = (enum passthrough_wanted)i;
			return true;
		}
	}
	return false;
}

static int bad(const char *option, const char *value)
{
	fprintf(stderr, "fsserver: --%s %s: not a value for it\n", option, value);
	return STATUS_USAGE;
}

/* STATUS_OK to go on, another status to end with, or -1 to end well. */
static int options_parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"source", required_argument, NULL, 's'},  {"mount", required_argument, NULL, 'm'},
		{"timeout", required_argument, NULL, 't'}, {"threads", required_argument, NULL, 'n'},
		{"fd", required_argument, NULL, 'f'},	   {"passthrough", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},	   {"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	const char *env = getenv("RELAY_FD");
	long value;
	int c;

	*options = (struct options){.timeout = 1, .fd = -1};
	if (env && *env) {
		if (!number_parse(env, 0, INT32_MAX, &value))
			return bad("fd", env);
		options->fd = (int)value;
	}
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 's':
			options->source = optarg;
			break;
		case 'm':
			options->mount = optarg;
			break;
		case 't':
			if (!seconds_parse(optarg, &options->timeout))
				return bad("timeout", optarg);
			break;
		case 'p':
			if (!passthrough_parse(optarg, &options->passthrough))
				return bad("passthrough", optarg);
			break;
		case 'n':
			if (!number_parse(optarg, 1, 1024, &value))
				return bad("threads", optarg);
			options->threads = (unsigned)value;
			break;
		case 'f':
			if (!number_parse(optarg, 0, INT32_MAX, &value))
				return bad("fd", optarg);
			options->fd = (int)value;
			break;
		case 'h':
			fputs(usage, stdout);
			return -1;
		case 'v':
			puts("fsserver " PACKAGE_VERSION);
			return -1;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind < argc || !options->source) {
		fprintf(stderr, "fsserver: %s\n",
			optind < argc ? "no arguments but options, please" : "--source is needed");
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

/* Has relayd mount, as a backend that it did not start.  A channel, or -1 after a message. */
static int channel_mount(const struct options *options)
{
	char data[160];
	int fd;

	fd = relay_open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fs_warn("a channel: %s", strerror(errno));
		return -1;
	}
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", fd, (unsigned)geteuid(),
		 (unsigned)getegid(), geteuid() == 0 ? ",allow_other,default_permissions" : ",default_permissions");
	if (relay_mount(options->source, options->mount, "fuse.fsserver", MS_NOSUID | MS_NODEV, data) < 0) {
		fs_warn("--mount %s: %s", options->mount, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

/* As many descriptors as this process may have. */
static void limits_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	static struct fs fs;
	struct options options;
	int status, err;

	status = options_parse(argc, argv, &options);
	if (status == STATUS_USAGE)
		fputs("Try 'fsserver --help'.\n", stderr);
	if (status != STATUS_OK)
		return status < 0 ? STATUS_OK : status;
	if (options.fd < 0 && !options.mount) {
		fs_warn("no channel: start it by relayd (--backend), or give --mount");
		return STATUS_CHANNEL;
	}
	signal(SIGPIPE, SIG_IGN);
	limits_raise();
	fs.passthrough_wanted = options.passthrough;
	fs.valid = (uint64_t)options.timeout;
	fs.valid_nsec = (uint32_t)((options.timeout - (double)fs.valid) * 1e9);
	if (fs_open(&fs, options.source) != 0)
		return STATUS_SOURCE;
	if (options.fd < 0) {
		options.fd = channel_mount(&options);
		if (options.fd < 0)
			return STATUS_MOUNT;
	}
	err = relay_serve(options.fd, &fs_ops, options.threads, &fs);
	if (err) {
		fs_warn("serving: %s", strerror(-err));
		return err == -ENOTSOCK || err == -EPROTO || err == -EBADF ? STATUS_CHANNEL : STATUS_FAILED;
	}
	return STATUS_OK;
}
