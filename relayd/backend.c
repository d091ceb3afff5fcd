/*
 * Processes by their pidfds, which name one process and never its successor in the
 * number.  Statuses are kept from the reaper (children.h) until they are taken here.
 */
#include "backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stacks.h"

/* PF_EXITING of linux/sched.h, in the flags of proc(5). */
#define TASK_EXITING 0x4u

static void process_init(struct backend_process *process, struct backend *backend)
{
	*process = (struct backend_process){.backend = backend, .pidfd = -1};
}

void backend_init(struct backend *backend, struct loop *loop, void (*on_end)(struct backend *backend))
{
	*backend = (struct backend){.loop = loop, .on_end = on_end};
	snprintf(backend->ending, sizeof(backend->ending), "ended");
	process_init(&backend->first, backend);
	process_init(&backend->server, backend);
}

/* Takes the status, if it is ours to take. */
static void status_take(struct backend_process *process)
{
	siginfo_t info = {0};

	if (process->backend->child && waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG) == 0 &&
	    info.si_pid == process->pid) {
		process->told = true;
		process->exited = info.si_code == CLD_EXITED;
		process->status = info.si_status;
	}
	children_release(&process->kept);
}

/* Whether a signal is of the kind that a program gets by its own doing. */
static bool is_fault(int number)
{
	return number == SIGSEGV || number == SIGABRT || number == SIGBUS || number == SIGILL || number == SIGFPE ||
	       number == SIGTRAP || number == SIGSYS;
}

/*
 * How it ended, and whether that was its own doing.  Where another one serves than the
 * first, it is that one's end which counts; if its status went to the first, which was
 * its parent still, then what that one makes of it: a shell exits with it.
 */
static void ending_note(struct backend *backend)
{
	const struct backend_process *process = &backend->first;

	if (backend->server.pid && (backend->server.told || !backend->server.ended))
		process = &backend->server;
	if (!process->told)
		return;
	backend->own_fault = process->exited || is_fault(process->status);
	backend->in_order = process->exited && process->status == 0;
	if (process->exited)
		snprintf(backend->ending, sizeof(backend->ending), "exited with status %d", process->status);
	else
		snprintf(backend->ending, sizeof(backend->ending), "was killed by signal %d (%s)", process->status,
			 strsignal(process->status));
}

static void on_process_end(struct loop_io *io, unsigned events)
{
	struct backend_process *process =
		(struct backend_process *)((char *)io - offsetof(struct backend_process, on_end));
	struct backend *backend = process->backend;

	(void)events;
	loop_io_stop(io);
	process->ended = true;
	status_take(process);
	ending_note(backend);
	if (process == &backend->first && !backend->answered)
		backend->away = process->told && process->exited && process->status == 0;
	backend->on_end(backend);
}

/* pidfd is taken over. */
static void process_watch(struct backend_process *process, pid_t pid, int pidfd)
{
	struct backend *backend = process->backend;

	process->pid = backend->pid = pid;
	process->pidfd = pidfd;
	if (backend->child)
		children_keep(&process->kept, pid);
	loop_io_start(backend->loop, &process->on_end, pidfd, LOOP_READ, on_process_end);
}

static void life_begin(struct backend *backend, bool child)
{
	backend_init(backend, backend->loop, backend->on_end);
	backend->child = child;
}

int backend_start(struct backend *backend, const struct launch *launch)
{
	int pidfd;
	pid_t pid = launch_run(launch, &pidfd);

	if (pid < 0)
		return (int)pid;
	life_begin(backend, true);
	process_watch(&backend->first, pid, pidfd);
	return 0;
}

/*
 * Opens a process that says of itself which it is, or said so when it connected.  relayd ends backends, and root's
 * ends anybody's: so not one that has the number by now, and that kill(2) would not let the user end.
 */
static int process_open(pid_t pid, uid_t uid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	unsigned real = 0, saved = 0;
	char path[32], line[128];
	bool is = uid == geteuid();
	FILE *file;

	if (pidfd < 0)
		return -errno;
	if (is)
		return pidfd;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && !is && fgets(line, sizeof(line), file))
		is = sscanf(line, "Uid: %u %*u %u", &real, &saved) == 2 && (real == uid || saved == uid);
	if (file)
		fclose(file);
	/* It has not been reaped meanwhile: so what was read is of this one. */
	if (is && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0)
		return pidfd;
	close(pidfd);
	return -EPERM;
}

int backend_take(struct backend *backend, pid_t pid, uid_t uid)
{
	int pidfd = process_open(pid, uid);

	if (pidfd < 0)
		return pidfd;
	life_begin(backend, false);
	backend->uid = uid;
	process_watch(&backend->first, pid, pidfd);
	return 0;
}

/* A pidfd's process, 0 once it has ended and nobody waits for it. */
static pid_t pidfd_pid(int pidfd)
{
	char path[48], line[128];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (file)
		fclose(file);
	return pid > 0 ? pid : 0;
}

static void process_resume(struct backend_process *process, int pidfd)
{
	pid_t pid = pidfd < 0 ? 0 : pidfd_pid(pidfd);

	if (pid > 0) {
		process_watch(process, pid, pidfd);
		return;
	}
	process->ended = true;
	if (pidfd >= 0)
		close(pidfd);
}

void backend_resume(struct backend *backend, bool child, int first, int server)
{
	life_begin(backend, child);
	process_resume(&backend->first, first);
	process_resume(&backend->server, server);
}

int backend_follow(struct backend *backend, pid_t pid)
{
	int pidfd;

	backend->answered = true;
	backend->away = false;
	if (pid == 0 || pid == backend->first.pid)
		return 0;
	pidfd = process_open(pid, backend->child ? geteuid() : backend->uid);
	if (pidfd < 0) {
		backend->server.pid = backend->pid = pid;
		backend->server.ended = true;
		return pidfd;
	}
	snprintf(backend->ending, sizeof(backend->ending), "ended");
	backend->own_fault = backend->in_order = false;
	process_watch(&backend->server, pid, pidfd);
	return 0;
}

static bool process_lives(const struct backend_process *process)
{
	return process->pid && !process->ended;
}

bool backend_gone(const struct backend *backend)
{
	return backend->child && !backend->away && !process_lives(&backend->first) && !process_lives(&backend->server);
}

void backend_give_up(struct backend *backend)
{
	backend->away = false;
}

static bool process_kill(const struct backend_process *process)
{
	return process_lives(process) && syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0) == 0;
}

bool backend_kill(struct backend *backend)
{
	bool server = process_kill(&backend->server);

	return process_kill(&backend->first) || server;
}

int backend_stacks_kill(struct backend *backend, const char *name)
{
	const struct backend_process *all[STACKS_MAX] = {&backend->first, &backend->server};
	struct stacks_process processes[STACKS_MAX];

	for (unsigned i = 0; i < STACKS_MAX; i++)
		processes[i] = (struct stacks_process){process_lives(all[i]) ? all[i]->pid : 0, all[i]->pidfd};
	return stacks_log_and_kill(name, processes, STACKS_MAX);
}

/* A field of proc(5)'s stat from the third on, behind the end of the name.  0 if there is none. */
static unsigned long stat_field(const char *name_end, unsigned field)
{
	const char *at = name_end;

	for (unsigned before = 2; at && before < field; before++)
		at = strchr(at + 1, ' ');
	return at ? strtoul(at, NULL, 10) : 0;
}

/*
 * proc(5): pid (name) state, then flags as the 9th and the pending signals as the 31st.  Z once it
 * has left; EXITING while it closes its files itself, as the last thread does; with SIGKILL
 * pending, which all threads of a process that ends have, it does not go on.
 */
static bool thread_dying(int tasks, const char *thread)
{
	char path[32], stat[1024];
	const char *name_end;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%.20s/stat", thread);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, stat, sizeof(stat) - 1);
		close(fd);
	}
	/* It has ended since it was listed. */
	if (n <= 0)
		return true;
	stat[n] = '\0';
	name_end = strrchr(stat, ')');
	if (!name_end || name_end[1] != ' ')
		return false;
	return name_end[2] == 'Z' || name_end[2] == 'X' || stat_field(name_end, 9) & TASK_EXITING ||
	       stat_field(name_end, 31) & 1ul << (SIGKILL - 1);
}

/*
 * A process that has a file of its own mount open, or waits there for an answer, ends by
 * that mount's answer, and keeps its channel until then: neither the channel nor the pidfd tells.
 * It is dying if all its threads are: the first one may have left the others to serve.
 */
bool backend_dying(const struct backend *backend)
{
	bool dying = true;
	struct dirent *entry;
	char path[32];
	DIR *dir;

	if (!backend->child)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)backend->pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (dying && (entry = readdir(dir)) != NULL)
		dying = entry->d_name[0] == '.' || thread_dying(dirfd(dir), entry->d_name);
	closedir(dir);
	return dying;
}

static void process_move(struct backend_process *to, struct backend_process *from, struct backend *backend)
{
	bool watched = from->on_end.loop != NULL, kept = from->kept.pid != 0;

	loop_io_stop(&from->on_end);
	children_release(&from->kept);
	*to = *from;
	to->backend = backend;
	if (kept)
		children_keep(&to->kept, to->pid);
	if (watched)
		loop_io_start(backend->loop, &to->on_end, to->pidfd, LOOP_READ, on_process_end);
}

void backend_move(struct backend *to, struct backend *from)
{
	struct loop *loop = to->loop;
	void (*on_end)(struct backend *backend) = to->on_end;

	*to = *from;
	to->loop = loop;
	to->on_end = on_end;
	process_move(&to->first, &from->first, to);
	process_move(&to->server, &from->server, to);
	backend_init(from, from->loop, from->on_end);
}

static void process_end(struct backend_process *process)
{
	loop_io_stop(&process->on_end);
	children_release(&process->kept);
	if (process->pidfd >= 0)
		close(process->pidfd);
	process->pidfd = -1;
	process->pid = 0;
}

void backend_end(struct backend *backend)
{
	process_end(&backend->first);
	process_end(&backend->server);
	backend->pid = 0;
}
