/*
 * Names are "MOUNT.WHAT".  What was inherited is a list that shrinks as it is taken; a mount
 * that is not resumed leaves nothing behind with the keeper.
 */
#include "fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "crash.h"
#include "fdpass.h"
#include "keeper_table.h"
#include "log.h"

/* The first descriptor that a service manager hands down: SD_LISTEN_FDS_START. */
#define LISTEN_FIRST 3

static struct {
	int socket; /* -1: none */
	bool keeper; /* it is a keeper's */
	pid_t pid;   /* of the keeper */
	struct keeper_entry *left;
	uint32_t count;
} store = {.socket = -1};

static void left_add(const char *name, int fd)
{
	if (strlen(name) >= KEEPER_NAME_SIZE || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return;
	store.left[store.count].fd = fd;
	strcpy(store.left[store.count++].name, name);
}

/* What the keeper's table has: the numbers are ours too. */
static int table_take(int fd)
{
	struct keeper_table *table;
	struct stat st;
	int err = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	table = mmap(NULL, sizeof(*table), PROT_READ, MAP_SHARED, fd, 0);
	if (table == MAP_FAILED)
		return -errno;
	if (!keeper_table_good(table, (uint64_t)st.st_size))
		err = -EPROTONOSUPPORT;
	if (!err)
		store.left = calloc(table->count + 1, sizeof(*store.left));
	if (!err && !store.left)
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < table->count; i++)
		left_add(table->entry[i].name, table->entry[i].fd);
	munmap(table, sizeof(*table));
	return err;
}

/* LISTEN_FDS of sd_listen_fds(3). */
static int listen_take(void)
{
	const char *pid = getenv("LISTEN_PID"), *count_text = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	long count = count_text ? strtol(count_text, NULL, 10) : 0;
	char *copy, *rest, *name;

	if (!pid || strtol(pid, NULL, 10) != getpid() || !names || count <= 0 || count > (long)KEEPER_FDS_MAX)
		return 0;
	store.left = calloc((size_t)count, sizeof(*store.left));
	rest = copy = strdup(names);
	if (!store.left || !copy) {
		free(copy);
		return -ENOMEM;
	}
	for (int fd = LISTEN_FIRST; fd < LISTEN_FIRST + count && (name = strsep(&rest, ":")) != NULL; fd++)
		left_add(name, fd);
	free(copy);
	return 0;
}

/* Returns a socket that is connected to the service manager's, or -1. */
static int manager_connect(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;
	int fd;

	if (length < 2 || length >= sizeof(address.sun_path) || (*path != '/' && *path != '@'))
		return -1;
	memcpy(address.sun_path, path, length);
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
		log_warning("%s: %s", path, strerror(errno));
		close(fd);
		fd = -1;
	}
	return fd;
}

int fdstore_begin(const struct keeper_worker *worker)
{
	int err;

	if (worker) {
		store.keeper = true;
		store.socket = worker->socket;
		store.pid = getppid();
		fcntl(store.socket, F_SETFD, FD_CLOEXEC);
		err = table_take(worker->table);
		close(worker->table);
	} else {
		err = listen_take();
		store.socket = manager_connect();
	}
	/* None of it is the backends'. */
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv("NOTIFY_SOCKET");
	if (err)
		log_error("what an earlier relayd has left cannot be taken over: %s", strerror(-err));
	return err;
}

bool fdstore_kept(void)
{
	return store.socket >= 0;
}

int fdstore_keeper(void)
{
	return store.keeper ? store.socket : -1;
}

pid_t fdstore_main_pid(void)
{
	return store.keeper ? store.pid : getpid();
}

void fdstore_keeper_set(int socket, pid_t pid)
{
	store.pid = pid;
	/* In one step: another thread may be about to put something. */
	dup3(socket, store.socket, O_CLOEXEC);
	close(socket);
}

int fdstore_put(unsigned mount, const char *what, int fd)
{
	char text[KEEPER_MESSAGE_MAX];
	struct iovec iov = {.iov_base = text};
	ssize_t n;

	RELAY_CRASH_POINT(what, "put");
	if (store.socket < 0)
		return 0;
	iov.iov_len = (size_t)snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%u.%s\nFDPOLL=0", mount, what);
	n = relay_internal_send_fds(store.socket, &iov, 1, &fd, 1);
	/* EPIPE: it has died, and its heir is given everything. */
	if (n < 0 && n != -EPIPE)
		log_warning("%u.%s: not with the keeper: %s", mount, what, strerror((int)-n));
	RELAY_CRASH_POINT(what, "kept");
	return n < 0 ? (int)n : 0;
}

void fdstore_drop(unsigned mount, const char *what)
{
	char text[KEEPER_MESSAGE_MAX];

	if (store.socket < 0)
		return;
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%u.%s", mount, what);
	fdstore_tell(text);
	RELAY_CRASH_POINT(what, "dropped");
}

void fdstore_tell(const char *text)
{
	if (store.socket >= 0 && send(store.socket, text, strlen(text), MSG_NOSIGNAL) < 0 && errno != EPIPE)
		log_warning("the keeper cannot be told: %s", strerror(errno));
}

/* ---- what is left --------------------------------------------------------- */

/* The number that the name begins with; *what gets the rest. */
static unsigned mount_of(const char *name, const char **what)
{
	char *end;
	unsigned long mount = strtoul(name, &end, 10);

	if (end == name || *end != '.' || mount > UINT32_MAX)
		return FDSTORE_DAEMON;
	*what = end + 1;
	return (unsigned)mount;
}

static int left_take(uint32_t at)
{
	int fd = store.left[at].fd;

	store.left[at] = store.left[--store.count];
	return fd;
}

int fdstore_take_like(unsigned mount, const char *prefix, char *suffix)
{
	const size_t length = strlen(prefix);
	const char *what;

	for (uint32_t i = 0; i < store.count; i++) {
		what = "";
		if (mount_of(store.left[i].name, &what) != mount || strncmp(what, prefix, length) != 0)
			continue;
		memcpy(suffix, what + length, strlen(what + length) + 1);
		return left_take(i);
	}
	return -1;
}

/* The place of the name in what is left, or -1. */
static int left_find(unsigned mount, const char *what)
{
	char name[KEEPER_NAME_SIZE];

	snprintf(name, sizeof(name), "%u.%s", mount, what);
	for (uint32_t i = 0; i < store.count; i++)
		if (strcmp(store.left[i].name, name) == 0)
			return (int)i;
	return -1;
}

int fdstore_take(unsigned mount, const char *what)
{
	int at = left_find(mount, what);

	RELAY_CRASH_POINT(what, "take");
	return at < 0 ? -1 : left_take((uint32_t)at);
}

int fdstore_look(unsigned mount, const char *what)
{
	int at = left_find(mount, what);

	return at < 0 ? -1 : store.left[at].fd;
}

unsigned fdstore_mount_next(unsigned mount)
{
	unsigned next = 0;
	const char *what;

	for (uint32_t i = 0; i < store.count; i++) {
		unsigned of = mount_of(store.left[i].name, &what);

		if (of > mount && (!next || of < next))
			next = of;
	}
	return next;
}

void fdstore_discard(unsigned mount)
{
	char what[KEEPER_NAME_SIZE];
	int fd;

	while ((fd = fdstore_take_like(mount, "", what)) >= 0) {
		fdstore_drop(mount, what);
		close(fd);
	}
}
