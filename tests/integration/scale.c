/*
 * Many nodes and many open files behind a filesystem that knows nothing of relayd:
 * what they cost in memory, and what a death costs then.
 *
 *	scale [--nodes N] [--files N]	by default 20,000 and 200
 *
 * The filesystem is libfuse's passthrough (high level: it holds no descriptor per
 * node).  All nodes are looked up once; the kernel forgets none as long as it has memory.
 * Printed: memory per node of
 * relayd and of its tables, the time from a kill until the mount answers for a name
 * that is not cached, and until every open file has been read again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/peers.h"
#include "../lib/relayd.h"

#define PER_DIRECTORY 1000u

static struct relayd relayd;
static unsigned nodes = 20000;
static unsigned files = 200;

struct memory {
	unsigned long rss_kb;	/* of the process, all of it */
	unsigned long anon_kb;	/* its heap */
	unsigned long state_kb; /* the tables that outlive a backend */
};

static void file_name(char *path, size_t size, const char *base, unsigned number)
{
	snprintf(path, size, "%s/d%u/file-with-a-name-of-usual-length-%u", base, number / PER_DIRECTORY, number);
}

/* In the store: their names are looked up later. */
static void files_make(void)
{
	char path[256];
	char content[32];
	int size;
	int fd;

	for (unsigned i = 0; i < nodes; i++) {
		if (i % PER_DIRECTORY == 0) {
			snprintf(path, sizeof(path), "%s/d%u", relayd.store, i / PER_DIRECTORY);
			if (mkdir(path, 0755) < 0)
				check_abort("%s: %s", path, strerror(errno));
		}
		file_name(path, sizeof(path), relayd.store, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		size = snprintf(content, sizeof(content), "file %u", i);
		if (fd < 0 || write(fd, content, (size_t)size) != size)
			check_abort("%s: %s", path, strerror(errno));
		close(fd);
	}
}

static unsigned long field_kb(const char *path, const char *field)
{
	unsigned long kb = 0;
	char line[256];
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, field, strlen(field)) == 0)
			kb = strtoul(line + strlen(field), NULL, 10);
	if (file)
		fclose(file);
	return kb;
}

/* What is resident of the mappings whose name has `text`. */
static unsigned long mapping_kb(pid_t pid, const char *text)
{
	unsigned long kb = 0;
	bool mine = false;
	char path[64];
	char line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = strstr(line, text) != NULL;
		else if (mine && strncmp(line, "Rss:", 4) == 0)
			kb += strtoul(line + 4, NULL, 10);
	}
	if (file)
		fclose(file);
	return kb;
}

static struct memory memory_now(void)
{
	struct memory memory;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", relayd.pid);
	memory.rss_kb = field_kb(path, "Rss:");
	memory.anon_kb = field_kb(path, "Anonymous:");
	memory.state_kb = mapping_kb(relayd.pid, "memfd:relayd-state");
	return memory;
}

static void nodes_look_up(void)
{
	struct stat st;
	char path[256];
	unsigned wrong = 0;

	for (unsigned i = 0; i < nodes; i++) {
		file_name(path, sizeof(path), relayd.mnt, i);
		wrong += stat(path, &st) < 0;
	}
	check(wrong == 0, "%u nodes are looked up", nodes);
}

static int *files_open(void)
{
	int *fds = calloc(files, sizeof(*fds));
	char path[256];
	unsigned wrong = 0;

	for (unsigned i = 0; fds && i < files; i++) {
		file_name(path, sizeof(path), relayd.mnt, i * (nodes / files));
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		wrong += fds[i] < 0;
	}
	check(fds && wrong == 0, "%u files are open", files);
	return fds;
}

/* Returns how many have not what they should have. */
static unsigned files_read(const int *fds)
{
	char wanted[32];
	char got[32];
	unsigned wrong = 0;

	for (unsigned i = 0; i < files; i++) {
		snprintf(wanted, sizeof(wanted), "file %u", i * (nodes / files));
		memset(got, 0, sizeof(got));
		/* What the page cache has proves nothing. */
		posix_fadvise(fds[i], 0, 0, POSIX_FADV_DONTNEED);
		wrong += pread(fds[i], got, sizeof(got) - 1, 0) < 0 || strcmp(got, wanted) != 0;
	}
	return wrong;
}

static void death(const int *fds, unsigned number)
{
	char path[256];
	struct stat st;
	uint64_t answered;
	uint64_t killed;
	uint64_t read_again;
	unsigned wrong;

	snprintf(path, sizeof(path), "%s/d0/there is no such name %u", relayd.mnt, number);
	killed = check_now_ns();
	if (!relayd_kill_backend(&relayd))
		check_abort("there is no backend to be killed");
	check(stat(path, &st) < 0 && errno == ENOENT, "the mount answers after death %u", number);
	answered = check_now_ns();
	wrong = files_read(fds);
	read_again = check_now_ns();
	check(wrong == 0, "all open files have their content after death %u", number);
	printf("     answered after %.1f ms, %u files read again after %.1f ms\n", (double)(answered - killed) / 1e6, files,
	       (double)(read_again - killed) / 1e6);
	check(answered - killed < 2000000000u, "the pause does not grow with the nodes");
}

static void memory_show(const struct memory *before, const struct memory *after)
{
	double per_node = (double)(after->rss_kb - before->rss_kb) * 1024 / nodes;

	printf("     relayd: %lu kB with no nodes, %lu kB with %u: %.0f bytes per node, of which %.0f in the state memfd\n",
	       before->rss_kb, after->rss_kb, nodes, per_node,
	       (double)(after->state_kb - before->state_kb) * 1024 / nodes);
	/* A node, a name, and their places in the indexes. */
	check(per_node < 1000, "a node costs less than 1,000 bytes");
}

int main(int argc, char **argv)
{
	const char *const extra[] = {"-o", "allow_other", NULL};
	struct memory before, after;
	char backend[PATH_MAX * 2];
	int *fds;

	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], "--nodes") == 0)
			nodes = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--files") == 0)
			files = (unsigned)strtoul(argv[i + 1], NULL, 10);
	check_requires_fuse();
	if (!files || files > nodes)
		check_abort("more files than nodes");
	relayd_init(&relayd);
	files_make();
	snprintf(backend, sizeof(backend), "%s -f -o modules=subdir,subdir=%s {mountfd}", peer_program("passthrough"),
		 relayd.store);
	relayd_spawn(&relayd, backend, extra);
	if (!relayd_wait(&relayd, 1, 20000)) {
		relayd_log_show(&relayd);
		check_abort("the mount does not serve");
	}
	before = memory_now();
	nodes_look_up();
	after = memory_now();
	memory_show(&before, &after);
	fds = files_open();
	for (unsigned i = 1; i <= 3; i++)
		death(fds, i);
	for (unsigned i = 0; i < files; i++)
		close(fds[i]);
	free(fds);
	check(relayd_stop(&relayd), "relayd ends in order and leaves nothing behind");
	return check_end();
}
