/* See scene.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scene.h"

const char *scene_owner(enum lane_owner owner)
{
	static const char *const names[] = {"dev", "own", "sqpoll", "pump", "sealed"};

	return names[owner];
}

void scene_open(struct scene *s, enum lane_owner owner, bool blind)
{
	int err;

	memset(s, 0, sizeof(*s));
	err = mount_open(&s->mount, true);
	if (!err)
		err = lane_init(&s->lane, &s->mount, owner);
	if (err) {
		fprintf(stderr, "%s: %s\n", scene_owner(owner), strerror(-err));
		exit(1);
	}
	s->lane.sq_thread_each = true;
	s->lane.blind_owner = blind;
	s->lane.fresh_map = owner != LANE_BACKEND;
	s->keeper = keeper_start(&s->lane);
}

void scene_close(struct scene *s)
{
	mount_close(&s->mount);
	for (unsigned int i = 0; i < s->probes; i++)
		if (s->probe[i])
			waitpid(s->probe[i], NULL, 0);
	keeper_stop(&s->lane, s->keeper);
	lane_fini(&s->lane);
}

static void on_usr1(int sig)
{
	(void)sig;
}

int scene_probe_main(const struct scene *s, unsigned int number)
{
	struct sigaction action = {.sa_handler = on_usr1};
	char path[96];
	struct stat st;
	uint64_t word;
	int fd;

	sigaction(SIGUSR1, &action, NULL);
	/* a name of its own: the kernel sends one LOOKUP at a time for each new name */
	snprintf(path, sizeof(path), "%s/f%u", s->mount.dir, number);
	if (number % 2 == 0)
		return stat(path, &st) < 0 ? errno : 0;
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &word, sizeof(word), 4096) < 0)
		return errno;
	return word == 4096 ? 0 : EBADMSG;
}

void scene_probe(struct scene *s, unsigned int n)
{
	fflush(NULL);
	while (n-- && s->probes < PROBES_MAX) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(scene_probe_main(s, s->probes));
		s->probe[s->probes++] = pid;
	}
}

void scene_report(struct scene *s, unsigned int first, const char *what)
{
	unsigned int ok = 0, failed = 0, killed = 0, left = 0;
	int error = 0;

	for (unsigned int i = first; i < s->probes; i++)
		left += s->probe[i] != 0;
	for (unsigned int tries = 0; left && tries < PATIENCE * 1000; tries++) {
		for (unsigned int i = first; i < s->probes; i++) {
			int status;

			if (!s->probe[i] || waitpid(s->probe[i], &status, WNOHANG) != s->probe[i])
				continue;
			s->probe[i] = 0;
			left--;
			if (WIFSIGNALED(status))
				killed++;
			else if (WEXITSTATUS(status) == 0)
				ok++;
			else if (++failed == 1)
				error = WEXITSTATUS(status);
		}
		usleep(left ? 1000 : 0);
	}
	printf("  %s: %u succeeded, %u failed%s%s, %u died, %u hang\n", what, ok, failed, failed ? " with " : "",
	       failed ? strerror(error) : "", killed, left);
}
