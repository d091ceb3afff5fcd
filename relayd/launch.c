/*
 * posix_spawn(3) rather than fork(2): the journal is large and locked, and a
 * restart is time that applications wait.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wordexp.h>

extern char **environ;

/* A copy of line with each {fd} replaced, which wordexp(3) would refuse. */
static char *line_expand(const char *line)
{
	static const char mark[] = "{fd}";
	char number[16], *out, *end;
	const char *at, *found;
	size_t marks = 0;

	snprintf(number, sizeof(number), "%d", LAUNCH_CHANNEL_FD);
	for (at = line; (found = strstr(at, mark)) != NULL; at = found + strlen(mark))
		marks++;
	out = malloc(strlen(line) + marks * strlen(number) + 1);
	if (!out)
		return NULL;
	end = out;
	for (at = line; (found = strstr(at, mark)) != NULL; at = found + strlen(mark)) {
		end = mempcpy(end, at, (size_t)(found - at));
		end = stpcpy(end, number);
	}
	strcpy(end, at);
	return out;
}

static int words_copy(struct launch_command *command, const wordexp_t *words)
{
	command->argv = calloc(words->we_wordc + 1, sizeof(char *));
	if (!command->argv)
		return -ENOMEM;
	for (size_t i = 0; i < words->we_wordc; i++) {
		command->argv[i] = strdup(words->we_wordv[i]);
		if (!command->argv[i])
			return -ENOMEM;
	}
	return 0;
}

int launch_command_init(struct launch_command *command, const char *line, char *why, size_t why_size)
{
	char *expanded = line_expand(line);
	wordexp_t words;
	int err, result;

	command->argv = NULL;
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
		err = words_copy(command, &words);
	}
	wordfree(&words);
	if (err)
		launch_command_deinit(command);
	return err;
}

void launch_command_deinit(struct launch_command *command)
{
	for (char **word = command->argv; word && *word; word++)
		free(*word);
	free(command->argv);
	command->argv = NULL;
}

/* environ with RELAY_FD set.  The array is the caller's, the strings are not. */
static char **environment_make(char *relay_fd)
{
	size_t n = 0, count = 0;
	char **envp;

	while (environ[count])
		count++;
	envp = calloc(count + 2, sizeof(char *));
	if (!envp)
		return NULL;
	for (char **e = environ; *e; e++)
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

pid_t launch_run(const struct launch_command *command, const char *directory, int channel, int output, int *pidfd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char relay_fd[32], **envp;
	pid_t pid;
	int err;

	snprintf(relay_fd, sizeof(relay_fd), "RELAY_FD=%d", LAUNCH_CHANNEL_FD);
	envp = environment_make(relay_fd);
	if (!envp)
		return -ENOMEM;
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		goto out_env;
	err = attributes_init(&attributes);
	if (err)
		goto out_actions;
	err = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	/* Last: the number may be one of those that were just taken from. */
	if (!err)
		err = posix_spawn_file_actions_adddup2(&actions, channel, LAUNCH_CHANNEL_FD);
	if (!err && directory)
		err = posix_spawn_file_actions_addchdir_np(&actions, directory);
	if (!err)
		err = posix_spawnp(&pid, command->argv[0], &actions, &attributes, command->argv, envp);
	posix_spawnattr_destroy(&attributes);
out_actions:
	posix_spawn_file_actions_destroy(&actions);
out_env:
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
