/*
 * Starting fusermount3 starts the stand-in for it: libfuse has the full path of
 * fusermount3 built in, so $PATH would not lead there.
 *
 * Called between fork() and exec(): no memory but the stack, and no locks.
 */
#include <alloca.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

extern char **environ;

/* The stand-in's path if the program is to be replaced by it, or NULL. */
static const char *stand_in_for(const char *program)
{
	const char *name, *path;

	if (!program)
		return NULL;
	name = strrchr(program, '/');
	name = name ? name + 1 : program;
	if (strcmp(name, "fusermount3") != 0 && strcmp(name, "fusermount") != 0)
		return NULL;
	path = getenv("RELAY_FUSERMOUNT");
	if (!path || !*path)
		path = PKGLIBEXECDIR "/fusermount3";
	return access(path, X_OK) == 0 ? path : NULL;
}

PRELOAD_EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	const char *stand_in = stand_in_for(path);

	return PRELOAD_REAL(execve)(stand_in ? stand_in : path, argv, envp);
}

PRELOAD_EXPORT int execv(const char *path, char *const argv[])
{
	const char *stand_in = stand_in_for(path);

	return PRELOAD_REAL(execv)(stand_in ? stand_in : path, argv);
}

PRELOAD_EXPORT int execvp(const char *file, char *const argv[])
{
	const char *stand_in = stand_in_for(file);

	return PRELOAD_REAL(execvp)(stand_in ? stand_in : file, argv);
}

PRELOAD_EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	const char *stand_in = stand_in_for(file);

	return PRELOAD_REAL(execvpe)(stand_in ? stand_in : file, argv, envp);
}

PRELOAD_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
			       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	const char *stand_in = stand_in_for(path);

	return PRELOAD_REAL(posix_spawn)(pid, stand_in ? stand_in : path, actions, attributes, argv, envp);
}

PRELOAD_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
				const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	const char *stand_in = stand_in_for(file);

	return PRELOAD_REAL(posix_spawnp)(pid, stand_in ? stand_in : file, actions, attributes, argv, envp);
}

/* ---- with the arguments one by one ------------------------------------------ */

/*
 * The arguments from `first`, which libc takes to be one, to the NULL, as an array on
 * the caller's stack; args goes on after the NULL.
 */
#define ARGUMENTS(array, first, args)                                                                                  \
	do {                                                                                                           \
		va_list counted_;                                                                                      \
		size_t count_ = 1, i_;                                                                                 \
		va_copy(counted_, args);                                                                               \
		while (va_arg(counted_, char *))                                                                       \
			count_++;                                                                                      \
		va_end(counted_);                                                                                      \
		(array) = alloca((count_ + 1) * sizeof(char *));                                                       \
		(array)[0] = (char *)(first);                                                                          \
		for (i_ = 1; (array)[i_ - 1]; i_++)                                                                    \
			(array)[i_] = va_arg(args, char *);                                                            \
	} while (0)

PRELOAD_EXPORT int execl(const char *path, const char *first, ...)
{
	va_list args;
	char **argv;

	va_start(args, first);
	ARGUMENTS(argv, first, args);
	va_end(args);
	return execv(path, argv);
}

PRELOAD_EXPORT int execlp(const char *file, const char *first, ...)
{
	va_list args;
	char **argv;

	va_start(args, first);
	ARGUMENTS(argv, first, args);
	va_end(args);
	return execvp(file, argv);
}

PRELOAD_EXPORT int execle(const char *path, const char *first, ...)
{
	char *const *envp;
	va_list args;
	char **argv;

	va_start(args, first);
	ARGUMENTS(argv, first, args);
	envp = va_arg(args, char *const *);
	va_end(args);
	return execve(path, argv, envp);
}
