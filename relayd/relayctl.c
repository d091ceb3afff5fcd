/*
 * relayctl's command line.  One table has the commands: their options, how many
 * mounts they take, and what runs them.
 */
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayctl.h"

enum option_bit {
	OPTION_JSON = 1 << 0,
	OPTION_STATE = 1 << 1,
	OPTION_INCARNATION = 1 << 2,
	OPTION_TIMEOUT = 1 << 3,
	OPTION_FORCE = 1 << 4,
	OPTION_BACKEND = 1 << 5,
};

struct arguments {
	const char *socket;
	unsigned given; /* enum option_bit */
	uint32_t states;
	uint32_t incarnation;
	uint32_t timeout_ms;
	const char *backend;
	const struct command *command;
	char **mounts; /* as given, up to a NULL */
};

struct command {
	const char *name;
	unsigned options; /* that it takes */
	unsigned mounts;  /* the most that it takes */
	enum relayctl_exit (*run)(const struct arguments *arguments, struct relay_ctl_client *client,
				  const struct ctl_mounts *mounts);
};

static const char usage[] = "usage: relayctl [--socket PATH] COMMAND [OPTION...] [MOUNT...]\n"
			    "\n"
			    "Shows and steers what relayd has mounted.  MOUNT is a name or a mountpoint, and\n"
			    "may be left out where there is but one.\n"
			    "\n"
			    "  list                   the mounts\n"
			    "  status [MOUNT]         how they are\n"
			    "  stats [MOUNT]          per opcode: requests, errors, latencies; and what crashes did\n"
			    "  wait [MOUNT]           until the mount is in a state\n"
			    "  restart [MOUNT...]     end the backend in order, and start the next\n"
			    "  upgrade [MOUNT]        another command for the backend, which has to come up\n"
			    "                         before the present one is ended\n"
			    "  unmount [MOUNT...]     unmount, and end the backend\n"
			    "\n"
			    "      --json             list, status, stats: for programs\n"
			    "      --state=STATE,...  wait: for one of these states (SERVING)\n"
			    "      --incarnation=N    wait: for the backend's Nth life, or a later one\n"
			    "      --timeout=SECONDS  wait: no longer than this; upgrade: to come up (10)\n"
			    "      --backend=COMMAND  upgrade: the new command\n"
			    "      --force            unmount: though files are open there\n"
			    "      --socket PATH      relayd's control socket ($RELAYD_SOCKET)\n"
			    "  -h, --help             show this\n"
			    "  -V, --version          show the version\n"
			    "\n"
			    "See relayctl(8).\n";

enum {
	OPT_SOCKET = 256,
	OPT_JSON,
	OPT_STATE,
	OPT_INCARNATION,
	OPT_TIMEOUT,
	OPT_FORCE,
	OPT_BACKEND,
};

static const struct option long_options[] = {
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"json", no_argument, NULL, OPT_JSON},
	{"state", required_argument, NULL, OPT_STATE},
	{"incarnation", required_argument, NULL, OPT_INCARNATION},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"force", no_argument, NULL, OPT_FORCE},
	{"backend", required_argument, NULL, OPT_BACKEND},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void usage_error(const char *what, const char *of)
{
	fprintf(stderr, "relayctl: %s%s%s\nTry 'relayctl --help'.\n", of ? of : "", of ? ": " : "", what);
	exit(RELAYCTL_USAGE);
}

/* ---- the commands ------------------------------------------------------- */

/* The mount that is named, or all of them. */
static enum relayctl_exit select_mounts(const struct arguments *arguments, const struct ctl_mounts *mounts,
					struct ctl_mounts *selected)
{
	const struct ctl_mount *mount;
	enum relayctl_exit result;

	*selected = *mounts;
	if (!arguments->mounts[0])
		return RELAYCTL_OK;
	result = mounts_find(mounts, arguments->mounts[0], &mount);
	if (!result)
		*selected = (struct ctl_mounts){.all = (struct ctl_mount *)mount, .count = 1};
	return result;
}

static enum relayctl_exit printed(int err)
{
	if (err)
		fprintf(stderr, "relayctl: cannot print: %s\n", strerror(-err));
	return err ? RELAYCTL_FAILED : RELAYCTL_OK;
}

static enum relayctl_exit run_list(const struct arguments *arguments, struct relay_ctl_client *client,
				   const struct ctl_mounts *mounts)
{
	if (arguments->given & OPTION_JSON)
		return printed(json_list(client, mounts));
	table_list(mounts);
	return RELAYCTL_OK;
}

static enum relayctl_exit run_status(const struct arguments *arguments, struct relay_ctl_client *client,
				     const struct ctl_mounts *mounts)
{
	struct ctl_mounts selected;
	enum relayctl_exit result;

	result = select_mounts(arguments, mounts, &selected);
	if (result)
		return result;
	if (arguments->given & OPTION_JSON)
		return printed(json_status(client, &selected));
	table_status(&selected);
	return RELAYCTL_OK;
}

static enum relayctl_exit run_stats(const struct arguments *arguments, struct relay_ctl_client *client,
				    const struct ctl_mounts *mounts)
{
	const struct relay_ctl_stats *stats;
	const struct ctl_mount *mount;
	enum relayctl_exit result;

	result = mounts_find(mounts, arguments->mounts[0], &mount);
	if (!result)
		result = stats_fetch(client, mount, &stats);
	if (result)
		return result;
	if (arguments->given & OPTION_JSON)
		return printed(json_stats(client, stats));
	table_stats(client, stats);
	return RELAYCTL_OK;
}

static enum relayctl_exit run_wait(const struct arguments *arguments, struct relay_ctl_client *client,
				   const struct ctl_mounts *mounts)
{
	const struct ctl_mount *mount;
	struct relay_ctl_wait *command;
	enum relayctl_exit result;

	result = mounts_find(mounts, arguments->mounts[0], &mount);
	if (result)
		return result;
	command = relay_internal_ctl_command(client, RELAY_CTL_WAIT, sizeof(*command));
	command->states = htole32(arguments->states);
	command->incarnation = htole32(arguments->incarnation);
	command->timeout_ms = htole32(arguments->timeout_ms);
	relay_internal_ctl_put(&client->frame, &command->mount, mount->selector);
	return command_call(client, mount->name, NULL);
}

/* Runs one(mount) for each that is named, and returns the first failure. */
static enum relayctl_exit
for_each(const struct arguments *arguments, struct relay_ctl_client *client, const struct ctl_mounts *mounts,
	 enum relayctl_exit (*one)(const struct arguments *arguments, struct relay_ctl_client *client,
				   const struct ctl_mount *mount))
{
	enum relayctl_exit first = RELAYCTL_OK, result;
	const struct ctl_mount *mount;
	size_t i = 0;

	do {
		result = mounts_find(mounts, arguments->mounts[i], &mount);
		if (!result)
			result = one(arguments, client, mount);
		if (!first)
			first = result;
	} while (arguments->mounts[i] && arguments->mounts[++i]);
	return first;
}

static enum relayctl_exit restart_one(const struct arguments *arguments, struct relay_ctl_client *client,
				      const struct ctl_mount *mount)
{
	struct relay_ctl_select *command = relay_internal_ctl_command(client, RELAY_CTL_RESTART, sizeof(*command));

	(void)arguments;
	relay_internal_ctl_put(&client->frame, &command->mount, mount->selector);
	return command_call(client, mount->name, NULL);
}

static enum relayctl_exit run_restart(const struct arguments *arguments, struct relay_ctl_client *client,
				      const struct ctl_mounts *mounts)
{
	return for_each(arguments, client, mounts, restart_one);
}

static enum relayctl_exit run_upgrade(const struct arguments *arguments, struct relay_ctl_client *client,
				      const struct ctl_mounts *mounts)
{
	const struct ctl_mount *mount;
	struct relay_ctl_upgrade *command;
	enum relayctl_exit result;

	result = mounts_find(mounts, arguments->mounts[0], &mount);
	if (result)
		return result;
	command = relay_internal_ctl_command(client, RELAY_CTL_UPGRADE, sizeof(*command));
	command->timeout_ms = htole32(arguments->given & OPTION_TIMEOUT ? arguments->timeout_ms : 0);
	relay_internal_ctl_put(&client->frame, &command->mount, mount->selector);
	relay_internal_ctl_put(&client->frame, &command->backend, arguments->backend);
	return command_call(client, mount->name, NULL);
}

static enum relayctl_exit unmount_one(const struct arguments *arguments, struct relay_ctl_client *client,
				      const struct ctl_mount *mount)
{
	struct relay_ctl_unmount *command = relay_internal_ctl_command(client, RELAY_CTL_UNMOUNT, sizeof(*command));

	command->flags = htole32(arguments->given & OPTION_FORCE ? RELAY_CTL_UNMOUNT_FORCE : 0);
	relay_internal_ctl_put(&client->frame, &command->mount, mount->selector);
	return command_call(client, mount->name, NULL);
}

static enum relayctl_exit run_unmount(const struct arguments *arguments, struct relay_ctl_client *client,
				      const struct ctl_mounts *mounts)
{
	return for_each(arguments, client, mounts, unmount_one);
}

static const struct command commands[] = {
	{"list", OPTION_JSON, 0, run_list},   {"status", OPTION_JSON, 1, run_status},
	{"stats", OPTION_JSON, 1, run_stats}, {"wait", OPTION_STATE | OPTION_INCARNATION | OPTION_TIMEOUT, 1, run_wait},
	{"restart", 0, ~0u, run_restart},     {"unmount", OPTION_FORCE, ~0u, run_unmount},
	{"upgrade", OPTION_BACKEND | OPTION_TIMEOUT, 1, run_upgrade},
};

/* ---- the command line --------------------------------------------------- */

static uint32_t states_parse(char *list)
{
	uint32_t states = 0;
	char *name;

	while ((name = strsep(&list, ",")) != NULL) {
		enum supervisor_state state;

		if (supervisor_state_parse(name, &state) < 0)
			usage_error("no such state", name);
		states |= 1u << state;
	}
	return states;
}

static uint32_t incarnation_parse(const char *text)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || n > UINT32_MAX)
		usage_error("--incarnation takes a number", NULL);
	return (uint32_t)n;
}

static uint32_t timeout_parse(const char *text)
{
	double seconds;
	char *end;

	seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0 && seconds < 4000000))
		usage_error("--timeout takes seconds, below 4000000", NULL);
	return (uint32_t)(seconds * 1000.0 + 0.5);
}

static void option_take(struct arguments *arguments, int option)
{
	switch (option) {
	case OPT_SOCKET:
		arguments->socket = optarg;
		break;
	case OPT_JSON:
		arguments->given |= OPTION_JSON;
		break;
	case OPT_STATE:
		arguments->given |= OPTION_STATE;
		arguments->states = states_parse(optarg);
		break;
	case OPT_INCARNATION:
		arguments->given |= OPTION_INCARNATION;
		arguments->incarnation = incarnation_parse(optarg);
		break;
	case OPT_TIMEOUT:
		arguments->given |= OPTION_TIMEOUT;
		arguments->timeout_ms = timeout_parse(optarg);
		break;
	case OPT_FORCE:
		arguments->given |= OPTION_FORCE;
		break;
	case OPT_BACKEND:
		arguments->given |= OPTION_BACKEND;
		arguments->backend = optarg;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(RELAYCTL_OK);
	case 'V':
		puts("relayctl " PACKAGE_VERSION);
		exit(RELAYCTL_OK);
	default:
		fputs("Try 'relayctl --help'.\n", stderr);
		exit(RELAYCTL_USAGE);
	}
}

static const struct command *command_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static void arguments_parse(struct arguments *arguments, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "hV", long_options, NULL)) != -1)
		option_take(arguments, option);
	if (optind == argc)
		usage_error("there is no command", NULL);
	arguments->command = command_find(argv[optind]);
	if (!arguments->command)
		usage_error("no such command", argv[optind]);
	if (arguments->given & ~arguments->command->options)
		usage_error("takes no such option", arguments->command->name);
	if ((unsigned)(argc - optind - 1) > arguments->command->mounts)
		usage_error("takes no more mounts than that", arguments->command->name);
	if (arguments->command->run == run_upgrade && !(arguments->given & OPTION_BACKEND))
		usage_error("needs --backend", arguments->command->name);
	arguments->mounts = argv + optind + 1;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {
		.states = 1u << SUPERVISOR_SERVING,
		.timeout_ms = RELAY_CTL_FOREVER,
	};
	struct relay_ctl_client *client;
	struct ctl_mounts mounts;
	enum relayctl_exit result;
	char why[512] = "";

	arguments_parse(&arguments, argc, argv);
	if (relay_internal_ctl_open(&client, arguments.socket, why, sizeof(why)) < 0) {
		fprintf(stderr, "relayctl: %s\n", why);
		return RELAYCTL_NO_RELAYD;
	}
	result = mounts_fetch(client, &mounts);
	if (!result)
		result = arguments.command->run(&arguments, client, &mounts);
	mounts_deinit(&mounts);
	relay_internal_ctl_close(client);
	if (fflush(stdout) == EOF && !result)
		result = printed(-errno);
	return (int)result;
}
