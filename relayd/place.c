/*
 * Working directory and mount namespace are a thread's own, once it has asked for that: what is
 * done elsewhere is done by a thread that ends with it.  It keeps relayd's /proc as a
 * descriptor: what is called /proc in another namespace is anybody's.
 *
 * No namespace is kept open, as that would keep its mounts alive when the last process has left
 * it.  It is known by its number, and found again by a process that is in it.
 */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "rights.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* relayd's /proc, in a thread that has left its namespace; -1: it is where it is. */
static _Thread_local int proc = -1;

/* ---- mounts ------------------------------------------------------------------ */

static int proc_at(const char *file, char *path, size_t size)
{
	snprintf(path, size, "%sthread-self/%s", proc >= 0 ? "" : "/proc/", file);
	return proc >= 0 ? proc : AT_FDCWD;
}

FILE *place_proc_open(const char *file)
{
	char path[96];
	int at = proc_at(file, path, sizeof(path));
	int fd = openat(at, path, O_RDONLY | O_CLOEXEC);
	FILE *stream = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (!stream && fd >= 0)
		close(fd);
	return stream;
}

int place_mount_of(int fd)
{
	char path[64], line[256];
	int id = -1;
	FILE *file;

	snprintf(path, sizeof(path), "fdinfo/%d", fd);
	file = place_proc_open(path);
	if (!file)
		return -1;
	while (id < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "mnt_id: %d", &id) != 1)
			id = -1;
	fclose(file);
	return id;
}

int place_path_of(int fd, char *path, size_t size)
{
	char file[32], link[96];
	ssize_t n;
	int at;

	snprintf(file, sizeof(file), "fd/%d", fd);
	at = proc_at(file, link, sizeof(link));
	n = readlinkat(at, link, path, size);
	if (n < 0)
		return -errno;
	if ((size_t)n >= size)
		return -ENAMETOOLONG;
	path[n] = '\0';
	return 0;
}

static void type_take(const char *line, char *type, size_t size)
{
	const char *after = strstr(line, " - ");

	snprintf(type, size, "%.*s", after ? (int)strcspn(after + 3, " ") : 0, after ? after + 3 : "");
}

bool place_mount_lookup(FILE *mountinfo, int id, int *parent, char *type, size_t type_size)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	rewind(mountinfo);
	while (!found && getline(&line, &size, mountinfo) > 0) {
		int this_id;

		if (sscanf(line, "%d %d", &this_id, parent) != 2 || this_id != id)
			continue;
		type_take(line, type, type_size);
		found = true;
	}
	free(line);
	return found;
}

/* Whether the word, in which some characters are three octal digits, is this path. */
static bool word_is(const char *word, size_t size, const char *path)
{
	size_t i = 0;

	for (; i < size && *path; path++) {
		unsigned char c = (unsigned char)word[i];

		if (c == '\\' && i + 3 < size)
			c = (unsigned char)((word[i + 1] - '0') << 6 | (word[i + 2] - '0') << 3 | (word[i + 3] - '0'));
		if (c != (unsigned char)*path)
			return false;
		i += word[i] == '\\' && i + 3 < size ? 4 : 1;
	}
	return i == size && !*path;
}

int place_find(const char *path, struct place_mount *found)
{
	FILE *mountinfo = place_proc_open("mountinfo");
	int err = -ENOENT;
	char *line = NULL, type[64];
	size_t size = 0;

	if (!mountinfo)
		return -errno;
	/* Of several at one place the last one is to be seen. */
	while (getline(&line, &size, mountinfo) > 0) {
		unsigned major, minor;
		int id, at = 0;

		if (sscanf(line, "%d %*d %u:%u %*s %n", &id, &major, &minor, &at) != 3 || !at ||
		    !word_is(line + at, strcspn(line + at, " "), path))
			continue;
		type_take(line, type, sizeof(type));
		err = strncmp(type, "fuse", 4) == 0 ? 0 : -ENOENT;
		*found = (struct place_mount){.id = id, .device = makedev(major, minor)};
	}
	free(line);
	fclose(mountinfo);
	return err;
}

/* ---- namespaces -------------------------------------------------------------- */

static uint64_t ns_number(int ns)
{
	struct stat st;

	return fstat(ns, &st) == 0 ? st.st_ino : 0;
}

uint64_t place_ns_own(void)
{
	struct stat st;

	return stat("/proc/self/ns/mnt", &st) == 0 ? st.st_ino : 0;
}

static int ns_open(const char *pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The peer, whatever has its number by now: where the kernel cannot tell, who has it when we look. */
static int peer_open(int socket, pid_t pid)
{
	int pidfd;
	socklen_t size = sizeof(pidfd);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) {
		if (errno != ENOPROTOOPT)
			return -errno;
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	}
	return pidfd < 0 ? -errno : pidfd;
}

int place_ns_of_peer(int socket, pid_t pid, uint64_t *number)
{
	int pidfd = peer_open(socket, pid), ns;
	char text[16];

	if (pidfd < 0)
		return pidfd;
	snprintf(text, sizeof(text), "%d", (int)pid);
	ns = ns_open(text);
	/* Still there: so the number was its own. */
	if (ns >= 0 && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0 && errno == ESRCH) {
		close(ns);
		ns = -ESRCH;
	}
	close(pidfd);
	if (ns >= 0)
		*number = ns_number(ns);
	return ns;
}

/* Returns a descriptor, or -ESRCH. */
static int ns_find(uint64_t number)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	int ns = -ESRCH;

	while (dir && ns < 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		ns = ns_open(entry->d_name);
		if (ns >= 0 && ns_number(ns) != number) {
			close(ns);
			ns = -ESRCH;
		}
	}
	if (dir)
		closedir(dir);
	return ns < 0 ? -ESRCH : ns;
}

bool place_ns_is_ours(int ns)
{
	struct stat theirs, ours;
	int user = ioctl(ns, NS_GET_USERNS);
	bool is;

	is = user >= 0 && fstat(user, &theirs) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
	     theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
	if (user >= 0)
		close(user);
	return is;
}

struct errand {
	int ns;		 /* -1: by its number */
	uint64_t number; /* 0: relayd's own */
	int (*what)(void *arg);
	void *arg;
	int result;
};

/* With the thread's own working directory, in the namespace. */
static int errand_do(const struct errand *errand, int ns)
{
	int result;

	proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return -errno;
	if (unshare(CLONE_FS) < 0 || (ns >= 0 && setns(ns, CLONE_NEWNS) < 0))
		result = -errno;
	else
		result = errand->what(errand->arg);
	close(proc);
	return result;
}

static void *errand_run(void *arg)
{
	struct errand *errand = arg;
	int ns = errand->ns;

	/* Who sends the errand may use none. */
	rights_raise();
	if (ns < 0 && errand->number)
		ns = ns_find(errand->number);
	errand->result = errand->number && ns < 0 ? ns : errand_do(errand, ns);
	if (ns >= 0 && ns != errand->ns)
		close(ns);
	return NULL;
}

static int errand_send(struct errand *errand)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, errand_run, errand);

	if (err)
		return -err;
	pthread_join(thread, NULL);
	return errand->result;
}

int place_run(int ns, int (*what)(void *arg), void *arg)
{
	return errand_send(&(struct errand){.ns = ns, .what = what, .arg = arg});
}

/* The same by the number. */
static int run_in(uint64_t number, int (*what)(void *arg), void *arg)
{
	return errand_send(&(struct errand){.ns = -1, .number = number, .what = what, .arg = arg});
}

struct find {
	const char *path;
	struct place_mount *found;
};

static int find_run(void *arg)
{
	const struct find *find = arg;

	return place_find(find->path, find->found);
}

int place_find_in(uint64_t ns, const char *path, struct place_mount *found)
{
	return ns ? run_in(ns, find_run, &(struct find){path, found}) : place_find(path, found);
}

/* ---- unmounting ---------------------------------------------------------------- */

struct unmount {
	const char *path;
	int id;
	bool trusted;
	int flags;
};

/* Whether a name may be looked up there. */
static bool may_step(int directory, FILE *mountinfo)
{
	char type[64];
	int parent;

	return place_mount_lookup(mountinfo, place_mount_of(directory), &parent, type, sizeof(type)) &&
	       strncmp(type, "fuse", 4) != 0;
}

/* Opens the directory that the last name of the path is in; *name gets that.  The path is changed. */
static int parent_open(char *path, bool trusted, char **name)
{
	FILE *mountinfo = place_proc_open("mountinfo");
	int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), next, err = at < 0 || !mountinfo ? -errno : 0;
	char *rest = path + 1;

	for (; !err; at = next) {
		*name = strsep(&rest, "/");
		if (!trusted && !may_step(at, mountinfo))
			err = -EPERM;
		if (err || !rest)
			break;
		next = openat(at, *name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		err = next < 0 ? -errno : 0;
		close(at);
	}
	if (mountinfo)
		fclose(mountinfo);
	if (err && at >= 0)
		close(at);
	return err ? err : at;
}

static int unmount_run(void *arg)
{
	const struct unmount *unmount = arg;
	char path[PATH_MAX], *name = "";
	int parent, there, err = 0;

	snprintf(path, sizeof(path), "%s", unmount->path);
	parent = parent_open(path, unmount->trusted, &name);
	if (parent < 0)
		return parent;
	/* The root of what is mounted there: nothing is asked for it. */
	there = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0 || place_mount_of(there) != unmount->id)
		err = -ENOENT;
	if (there >= 0)
		close(there);
	if (!err && (fchdir(parent) < 0 || umount2(name, UMOUNT_NOFOLLOW | unmount->flags) < 0))
		err = -errno;
	close(parent);
	return err;
}

int place_unmount(uint64_t ns, const char *path, int id, bool trusted, int flags)
{
	return run_in(ns, unmount_run,
		      &(struct unmount){.path = path, .id = id, .trusted = trusted, .flags = flags});
}
