/*
 * How long a mount does not answer after its backend was killed.  All threads ask for
 * attributes all the time.  Standard input says what to do, one line each:
 *
 *	kill PID	SIGKILL; the clock starts right before
 *	report		once the next life serves: prints the pause in nanoseconds
 *
 * The pause ends with the answer of the request that the death held up, which is the
 * longest since; answers of the dying backend, which may still come after kill(2), do
 * not end it.  A request that fails ends all.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

struct asker {
	pthread_t thread;
	const struct load *load;
	unsigned int number;
	_Atomic uint64_t answers;
};

static struct {
	pthread_mutex_t lock;
	uint64_t ns; /* of the requests since it was last set to 0 */
	uint64_t end;
} longest = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool failed;

static void note(uint64_t start, uint64_t end)
{
	pthread_mutex_lock(&longest.lock);
	if (end - start > longest.ns) {
		longest.ns = end - start;
		longest.end = end;
	}
	pthread_mutex_unlock(&longest.lock);
}

static void *ask(void *arg)
{
	struct asker *asker = arg;
	char *path = load_path(asker->load, "f%u", asker->number);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;

	if (fd < 0) {
		if (path)
			load_failed("open", path);
		failed = true;
	}
	while (!failed) {
		uint64_t start = load_now_ns();

		if (fstat(fd, &st) < 0) {
			load_failed("fstat", path);
			failed = true;
		}
		note(start, load_now_ns());
		asker->answers++;
	}
	return NULL;
}

/* Each thread has had an answer to what it asks from now on. */
static void all_answered(struct asker *askers, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		uint64_t answers = askers[i].answers;

		while (!failed && askers[i].answers < answers + 2)
			usleep(500);
	}
}

static int command(struct asker *askers, unsigned int count, const char *line, uint64_t *killed)
{
	int pid;

	if (sscanf(line, "kill %d", &pid) == 1 && pid > 1) {
		all_answered(askers, count);
		pthread_mutex_lock(&longest.lock);
		longest.ns = 0;
		pthread_mutex_unlock(&longest.lock);
		*killed = load_now_ns();
		return kill(pid, SIGKILL) < 0 ? load_failed("kill", line) : 0;
	}
	if (strcmp(line, "report\n") == 0) {
		all_answered(askers, count);
		printf("%llu\n", (unsigned long long)(longest.end - *killed));
		fflush(stdout);
		return 0;
	}
	fprintf(stderr, "load: no such command: %s", line);
	return -EINVAL;
}

int load_pause(const struct load *load)
{
	static struct asker askers[LOAD_THREADS_MAX];
	uint64_t killed = 0;
	char line[64];
	int error = 0;

	for (unsigned int i = 0; i < load->threads; i++) {
		askers[i] = (struct asker){.load = load, .number = i};
		error = pthread_create(&askers[i].thread, NULL, ask, &askers[i]);
		if (error) {
			errno = error;
			load_failed("a thread", "pause");
			exit(1);
		}
	}
	while (error == 0 && !failed && fgets(line, sizeof(line), stdin))
		error = command(askers, load->threads, line, &killed);
	/* The threads may hang in a mount that is no more; the process's end is theirs. */
	return failed ? -EIO : error;
}
