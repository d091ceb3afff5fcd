/*
 * posix_spawn(3) rather than fork(2): the journal is large and locked, and a
 * restart is time that applications wait.
 */
#include "launch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

extern char **environ;

/* What stands for {mountpoint} while the line is split: its path may have what a shell would take apart. */
#define MOUNTPOINT_BYTE '\001'

static const struct mark {
	const char *text;
	const char *with;
} marks[] = {
	{"{fd}", "3"},
	{"{mountfd}", LAUNCH_CHANNEL_PATH},
	{"{mountpoint}", "\001"},
};
static_assert(LAUNCH_CHANNEL_FD == 3, "what is in the table");

struct launch_marks launch_marks_of(const char *line)
{
	return (struct launch_marks){
		.fd = strstr(line, "{fd}") != NULL,
		.mountfd = strstr(line, "{mountfd}") != NULL,
		.mountpoint = strstr(line, "{mountpoint}") != NULL,
	};
}

/* The mark that `at` begins with, or NULL. */
static const struct mark *mark_at(const char *at)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strncmp(at, marks[i].text, strlen(marks[i].text)) == 0)
			return &marks[i];
	return NULL;
}

/* A copy of line with each mark replaced, which wordexp(3) would refuse.  None grows by that. */
static char *line_expand(const char *line)
{
	char *out = malloc(strlen(line) + 1);
	char *end = out;

	if (!out)
		return NULL;
	while (*line) {
		const struct mark *mark = mark_at(line);

		if (mark) {
			end = stpcpy(end, mark->with);
			line += strlen(mark->text);
		} else {
			*end++ = *line++;
		}
	}
	*end = '\0';
	return out;
}

/* A copy of word with the mountpoint in its place. */
static char *word_expand(const char *word, const char *mountpoint)
{
	size_t count = 0;
	char *out, *end;

	for (const char *at = word; *at; at++)
		count += *at == MOUNTPOINT_BYTE;
	end = out = malloc(strlen(word) + count * strlen(mountpoint) + 1);
	if (!out)
		return NULL;
	for (; *word; word++) {
		if (*word == MOUNTPOINT_BYTE)
			end = stpcpy(end, mountpoint);
		else
			*end++ = *word;
	}
	*end = '\0';
	return out;
}

static int words_copy(struct launch_command *command, char *const *words, const char *mountpoint)
{
	size_t count = 0;

	*command = (struct launch_command){0};
	while (words[count])
		count++;
	command->argv = calloc(count + 1, sizeof(char *));
	if (!command->argv)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		command->argv[i] = mountpoint ? word_expand(words[i], mountpoint) : strdup(words[i]);
		if (!command->argv[i]) {
			launch_command_deinit(command);
			return -ENOMEM;
		}
	}
	return 0;
}

static const char *path_of(char *const *environment)
{
	for (; *environment; environment++)
		if (strncmp(*environment, "PATH=", 5) == 0)
			return *environment + 5;
	return "/usr/local/bin:/usr/bin:/bin";
}

/* What is not found is left for the start to say. */
static int program_find(struct launch_command *command, const char *path)
{
	char *copy, *rest, *directory, *file;
	int err = 0;

	if (strchr(command->argv[0], '/'))
		return 0;
	rest = copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	while (!err && !command->program && (directory = strsep(&rest, ":")) != NULL) {
		struct stat st;

		if (asprintf(&file, "%s/%s", *directory ? directory : ".", command->argv[0]) < 0)
			err = -ENOMEM;
		else if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0)
			command->program = file;
		else
			free(file);
	}
	free(copy);
	return err;
}

int launch_command_copy(struct launch_command *command, char *const *argv, char *const *environment)
{
	int err = words_copy(command, argv, NULL);

	if (!err)
		err = program_find(command, path_of(environment));
	if (err)
		launch_command_deinit(command);
	return err;
}

int launch_command_init(struct launch_command *command, const char *line, const char *mountpoint, char *why,
			size_t why_size)
{
	char *expanded;
	wordexp_t words;
	int err, result;

	*command = (struct launch_command){0};
	if (strchr(line, MOUNTPOINT_BYTE)) {
		snprintf(why, why_size, "the backend's command line has a control character");
		return -EINVAL;
	}
	expanded = line_expand(line);
	if (!expanded)
		return -ENOMEM;
	result = wordexp(expanded, &words, WRDE_NOCMD | WRDE_UNDEF);
	free(expanded);
	if (result) {
		snprintf(why, why_size, "the backend's command line %s: %s",
			 result == WRDE_SYNTAX	  ? "has a quote that does not end"
			 : result == WRDE_BADVAL ? "uses a variable that is not set"
			 : result == WRDE_NOSPACE ? "is too long"
						  : "is for a shell (give it to sh -c)",
			 line);
		return -EINVAL;
	}
	if (words.we_wordc == 0) {
		snprintf(why, why_size, "the backend's command line is empty");
		err = -EINVAL;
	} else {
		err = words_copy(command, words.we_wordv, mountpoint ? mountpoint : "");
	}
	wordfree(&words);
	return err;
}

int launch_command_resume(struct launch_command *command, char *const *words, const char *program)
{
	int err = words_copy(command, words, NULL);

	if (err || !program)
		return err;
	command->program = strdup(program);
	if (command->program)
		return 0;
	launch_command_deinit(command);
	return -ENOMEM;
}

void launch_command_deinit(struct launch_command *command)
{
	for (char **word = command->argv; word && *word; word++)
		free(*word);
	free(command->argv);
	free(command->program);
	*command = (struct launch_command){0};
}

/* `base` with RELAY_FD set, or taken out.  The array is the caller's, the strings are not. */
static char **environment_make(char *const *base, char *relay_fd)
{
	size_t n = 0, count = 0;
	char **envp;

	while (base[count])
		count++;
	envp = calloc(count + 2, sizeof(char *));
	if (!envp)
		return NULL;
	for (char *const *e = base; *e; e++)
		if (strncmp(*e, "RELAY_FD=", 9) != 0)
			envp[n++] = *e;
	envp[n] = relay_fd;
	return envp;
}

static int attributes_init(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int err = posix_spawnattr_init(attributes);

	if (err)
		return err;
	sigemptyset(&none);
	sigfillset(&all);
	/* A group of its own: ^C at the terminal is for relayd, which ends its backends in order. */
	posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(attributes, &none);
	posix_spawnattr_setsigdefault(attributes, &all);
	return 0;
}

/* The descriptors, each to its number; 0 to 2 are taken in relayd too (main.c), so none overwrites another. */
static int actions_fill(posix_spawn_file_actions_t *actions, const struct launch *launch)
{
	int err;

	if (launch->input >= 0)
		err = posix_spawn_file_actions_adddup2(actions, launch->input, STDIN_FILENO);
	else
		err = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(actions, launch->output, STDOUT_FILENO);
	if (!err)
		err = posix_spawn_file_actions_adddup2(actions, launch->error, STDERR_FILENO);
	/* Last: the number may be one of those that were just taken from. */
	if (!err && launch->channel >= 0)
		err = posix_spawn_file_actions_adddup2(actions, launch->channel, LAUNCH_CHANNEL_FD);
	if (!err && launch->directory)
		err = posix_spawn_file_actions_addchdir_np(actions, launch->directory);
	return err;
}

static int spawn(const struct launch *launch, char **envp, pid_t *pid)
{
	const char *program = launch->command->program;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int err = posix_spawn_file_actions_init(&actions);

	if (err)
		return err;
	err = attributes_init(&attributes);
	if (!err) {
		err = actions_fill(&actions, launch);
		if (!err)
			err = posix_spawnp(pid, program ? program : launch->command->argv[0], &actions, &attributes,
					   launch->command->argv, envp);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

pid_t launch_run(const struct launch *launch, int *pidfd)
{
	char relay_fd[32], **envp;
	pid_t pid;
	int err;

	snprintf(relay_fd, sizeof(relay_fd), "RELAY_FD=%d", LAUNCH_CHANNEL_FD);
	envp = environment_make(launch->environment ? launch->environment : environ,
				launch->channel >= 0 ? relay_fd : NULL);
	if (!envp)
		return -ENOMEM;
	err = spawn(launch, envp, &pid);
	free(envp);
	if (err)
		return -err;
	/* Our child, not waited for: the pid is still its own, living or dead. */
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*pidfd < 0) {
		err = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return err;
	}
	return pid;
}
