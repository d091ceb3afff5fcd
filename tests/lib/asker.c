/* See asker.h. */
#include "asker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

int asker_stat(const struct relayd *r, const char *name)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", r->mnt, name);
	return stat(path, &st) < 0 ? errno : 0;
}

pid_t asker_start(const struct relayd *r, const char *name, int (*how)(const struct relayd *r, const char *name))
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	_exit(how(r, name));
}

bool asker_has_ended(void *pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t) * (pid_t *)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

bool asker_dies(pid_t pid, unsigned within_ms)
{
	kill(pid, SIGKILL);
	if (!check_until(asker_has_ended, &pid, within_ms))
		return false;
	waitpid(pid, NULL, 0);
	return true;
}

bool asker_has_inflight(void *r)
{
	struct relayd_status status;

	return relayd_status(r, &status) && status.inflight > 0;
}

void asker_order(const struct relayd *r, const char *name, bool on)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", r->store, name);
	if (!on) {
		unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		check_abort("%s: %s", path, strerror(errno));
	close(fd);
}

static void *stand_by(void *arg)
{
	struct bystander *bystander = arg;

	while (!bystander->over) {
		if (asker_stat(bystander->r, "good") != 0)
			bystander->errors++;
		bystander->answers++;
	}
	return NULL;
}

void bystander_begin(struct bystander *bystander, const struct relayd *r)
{
	*bystander = (struct bystander){.r = r};
	if (pthread_create(&bystander->thread, NULL, stand_by, bystander) != 0)
		check_abort("no thread");
}

void bystander_end(struct bystander *bystander)
{
	bystander->over = true;
	pthread_join(bystander->thread, NULL);
}
