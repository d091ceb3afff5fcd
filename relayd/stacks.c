/*
 * Threads as /proc shows them: their name and state, the system call that they are in, and
 * where in the kernel they wait.  Needs no debugger; where in its own code a thread is, is an
 * address that the program's map would have to explain.
 *
 * The thread that does it owns all that it uses, and nobody waits for it: relayd dying here, or
 * ending, leaves a process that its next relayd, or nobody, kills.
 */
#include "stacks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

/* Threads of a process that are shown. */
#define THREADS_MAX 64u

struct stacks {
	struct stacks_process processes[STACKS_MAX];
	unsigned count;
	char name[]; /* the mount's */
};

/* A file of a thread's, without the newline at its end; "" if it can't be read. */
static void file_read(const char *task, const char *thread, const char *file, char *text, size_t size)
{
	char path[96];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/%.20s/%s", task, thread, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, size - 1);
		close(fd);
	}
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
}

/* "[<0>] fuse_dev_do_read+0x5a/0x3c0" on each line: the names, as one line. */
static void stack_join(char *stack)
{
	char *out = stack, *line, *rest = stack;

	while ((line = strsep(&rest, "\n")) != NULL) {
		const char *name = strchr(line, ' ');
		size_t n;

		name = name ? name + 1 : line;
		n = strlen(name);
		if (out > stack)
			*out++ = ' ';
		memmove(out, name, n);
		out += n;
	}
	*out = '\0';
}

static void thread_log(const char *name, const char *task, const char *thread)
{
	char comm[32], stat[512], wchan[64], call[256], stack[4096];
	const char *state;

	file_read(task, thread, "comm", comm, sizeof(comm));
	file_read(task, thread, "stat", stat, sizeof(stat));
	file_read(task, thread, "wchan", wchan, sizeof(wchan));
	file_read(task, thread, "syscall", call, sizeof(call));
	file_read(task, thread, "stack", stack, sizeof(stack));
	stack_join(stack);
	state = strrchr(stat, ')');
	log_warning("%s:   thread %s (%s), state %c, waits in %s; system call %s; kernel stack: %s", name, thread, comm,
		    state && state[1] ? state[2] : '?', *wchan ? wchan : "?", *call ? call : "?",
		    *stack ? stack : "not readable");
}

static void process_log(const char *name, pid_t pid)
{
	char task[32];
	struct dirent *entry;
	unsigned shown = 0, all = 0;
	DIR *dir;

	snprintf(task, sizeof(task), "/proc/%d/task", (int)pid);
	dir = opendir(task);
	if (!dir)
		return;
	log_warning("%s: what pid %d is doing:", name, (int)pid);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (all++ >= THREADS_MAX)
			continue;
		thread_log(name, task, entry->d_name);
		shown++;
	}
	closedir(dir);
	if (all > shown)
		log_warning("%s:   and %u threads more", name, all - shown);
}

static void stacks_free(struct stacks *stacks)
{
	for (unsigned i = 0; i < stacks->count; i++)
		close(stacks->processes[i].pidfd);
	free(stacks);
}

static void *stacks_run(void *arg)
{
	struct stacks *stacks = arg;

	for (unsigned i = 0; i < stacks->count; i++)
		process_log(stacks->name, stacks->processes[i].pid);
	/* All are shown as they hang, before any of them is gone. */
	for (unsigned i = 0; i < stacks->count; i++)
		syscall(SYS_pidfd_send_signal, stacks->processes[i].pidfd, SIGKILL, NULL, 0);
	stacks_free(stacks);
	return NULL;
}

int stacks_log_and_kill(const char *name, const struct stacks_process *processes, unsigned count)
{
	struct stacks *stacks = calloc(1, sizeof(*stacks) + strlen(name) + 1);
	pthread_attr_t attr;
	pthread_t thread;
	int err = 0;

	if (!stacks)
		return -ENOMEM;
	strcpy(stacks->name, name);
	for (unsigned i = 0; i < count && i < STACKS_MAX && !err; i++) {
		int fd;

		if (!processes[i].pid)
			continue;
		fd = fcntl(processes[i].pidfd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			err = -errno;
		else
			stacks->processes[stacks->count++] = (struct stacks_process){processes[i].pid, fd};
	}
	if (!err) {
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		err = -pthread_create(&thread, &attr, stacks_run, stacks);
		pthread_attr_destroy(&attr);
	}
	if (err)
		stacks_free(stacks);
	return err;
}
