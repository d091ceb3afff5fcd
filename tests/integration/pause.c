/*
 * The pause: how long after the SIGKILL of its backend a mount answers again.
 *
 *	pause [--kills N]
 *
 * A thread asks for attributes all the time, with timeouts of 0, so that each
 * question is a request.  The pause of a kill is the time from right before kill(2)
 * to the answer of the request that the death held up.  Answers of the dying
 * backend, which may still come after kill(2), do not end it.
 *
 * Under make check it makes 50 kills and looks only at whether every request
 * succeeded: how fast the machine is then, is no test.  `make pause` makes 1,000.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"

static struct {
	int fd;
	_Atomic uint64_t answers;
	_Atomic uint64_t errors;
	_Atomic uint64_t longest_ns; /* of the requests since it was last set to 0 */
	_Atomic uint64_t longest_end;
	atomic_bool over;
} asker;

static void *ask(void *arg)
{
	(void)arg;
	while (!asker.over) {
		uint64_t start = check_now_ns();
		struct stat st;
		uint64_t end;

		if (fstat(asker.fd, &st) < 0)
			asker.errors++;
		end = check_now_ns();
		if (end - start > asker.longest_ns) {
			asker.longest_end = end;
			asker.longest_ns = end - start;
		}
		asker.answers++;
	}
	return NULL;
}

static bool has_answered(void *arg)
{
	return asker.answers > *(const uint64_t *)arg;
}

static void await_answers(unsigned count)
{
	uint64_t goal = asker.answers + count;

	if (!check_until(has_answered, &goal, 20000))
		check_abort("the mount does not answer");
}

/* One kill; returns the pause in nanoseconds. */
static uint64_t kill_once(struct relayd *r)
{
	struct relayd_status status;
	uint64_t start;

	if (!relayd_status(r, &status) || status.backend_pid <= 0)
		check_abort("there is no backend");
	/* The request under way has begun before: it may have been slow for another reason. */
	await_answers(2);
	asker.longest_ns = 0;
	start = check_now_ns();
	if (kill(status.backend_pid, SIGKILL) < 0)
		check_abort("kill: %s", strerror(errno));
	if (!relayd_wait(r, status.incarnation + 1, 20000))
		check_abort("the mount does not serve again");
	await_answers(2);
	return asker.longest_end - start;
}

int main(int argc, char **argv)
{
	unsigned kills = argc == 3 && strcmp(argv[1], "--kills") == 0 ? (unsigned)strtoul(argv[2], NULL, 10) : 50;
	uint64_t *pauses = calloc(kills, sizeof(*pauses));
	char backend[PATH_MAX + 128];
	char path[160];
	struct relayd r;
	pthread_t thread;

	if (kills == 0 || !pauses)
		return 2;
	check_requires_fuse();
	relayd_init(&r);
	snprintf(backend, sizeof(backend), "%s --source %s --timeout 0 --passthrough=off",
		 relayd_program("fs/fsserver/fsserver"), r.store);
	relayd_spawn(&r, backend, NULL);
	if (!relayd_wait(&r, 1, 20000))
		check_abort("the mount does not serve");
	snprintf(path, sizeof(path), "%s/file", r.mnt);
	asker.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (asker.fd < 0 || pthread_create(&thread, NULL, ask, NULL) != 0)
		check_abort("%s: %s", path, strerror(errno));

	for (unsigned i = 0; i < kills; i++)
		pauses[i] = kill_once(&r);
	asker.over = true;
	pthread_join(thread, NULL);
	close(asker.fd);

	check_sort_times(pauses, kills);
	printf("kills: %u  pause p50: %.2f ms  p99: %.2f ms  max: %.2f ms  requests: %llu\n", kills,
	       (double)pauses[kills / 2] / 1e6, (double)pauses[(kills * 99 - 1) / 100] / 1e6,
	       (double)pauses[kills - 1] / 1e6, (unsigned long long)asker.answers);
	check(asker.errors == 0, "every request of %llu succeeds over %u kills", (unsigned long long)asker.answers, kills);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");
	free(pauses);
	return check_end();
}
