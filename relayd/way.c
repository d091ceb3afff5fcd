/*
 * What a program is started with so that it comes in.  Nothing here outlives relayd but
 * the placeholder: a relayd dying leaves an empty directory below /run.
 */
#include "way.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "launch.h"
#include "log.h"
#include "session.h"

#define LIBRARY "librelay-preload.so"
#define STAND_IN "fusermount3"

static const char *const wanted_names[WAY_WANTED_COUNT] = {
	[WAY_WANTED_AUTO] = "auto",
	[WAY_WANTED_FD] = "fd",
	[WAY_WANTED_FUSERMOUNT] = "fusermount",
	[WAY_WANTED_PRELOAD] = "preload",
};

static const struct {
	const char *name;
	const char *text;
} vias[WAY_VIA_COUNT] = {
	[WAY_VIA_LIBRARY] = {"librelay", "relay_mount()"},
	[WAY_VIA_FD] = {"fd", "the descriptor that it inherited"},
	[WAY_VIA_FUSERMOUNT] = {"fusermount", "the stand-in for fusermount3"},
	[WAY_VIA_PRELOAD] = {"preload", "the preload library"},
};

int way_wanted_parse(const char *name, enum way_wanted *wanted)
{
	for (unsigned i = 0; i < WAY_WANTED_COUNT; i++) {
		if (strcmp(name, wanted_names[i]) == 0) {
			*wanted = (enum way_wanted)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *way_via_name(enum way_via via)
{
	return (unsigned)via < WAY_VIA_COUNT ? vias[via].name : "?";
}

const char *way_via_text(enum way_via via)
{
	return (unsigned)via < WAY_VIA_COUNT ? vias[via].text : "?";
}

int way_check(const char *line, enum way_wanted wanted, char *why, size_t why_size)
{
	struct launch_marks marks = launch_marks_of(line);

	if (marks.mountpoint && (marks.fd || marks.mountfd))
		snprintf(why, why_size, "the command has {mountpoint} and %s: a backend comes in one way, not two",
			 marks.mountfd ? "{mountfd}" : "{fd}");
	else if (wanted == WAY_WANTED_FD && marks.mountpoint)
		snprintf(why, why_size, "--backend-via=fd: a backend that is told a {mountpoint} mounts by itself; "
					"{mountfd} names the descriptor that it inherits");
	else if ((wanted == WAY_WANTED_PRELOAD || wanted == WAY_WANTED_FUSERMOUNT) && !marks.mountpoint)
		snprintf(why, why_size, "--backend-via=%s needs {mountpoint} in the command: there the backend is "
					"told to mount",
			 wanted_names[wanted]);
	else
		return 0;
	return -EINVAL;
}

/* ---- what is installed ---------------------------------------------------- */

/* Kernels before 6.5 send each page of a spliced reply as a packet. */
static bool kernel_splits_splices(void)
{
	struct utsname name;
	unsigned major, minor;

	return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 5));
}

/* "DIRECTORY/NAME" if it is there, "" if not. */
static void path_find(char *path, size_t size, const char *directory, const char *name, int mode)
{
	int n = snprintf(path, size, "%s/%s", directory, name);

	if (n < 0 || (size_t)n >= size || access(path, mode) < 0)
		path[0] = '\0';
}

/* $RELAY_WAYS_DIR has all of them in one place: for tests, and for installations that were moved. */
static void tools_find(struct way *way)
{
	const char *ways = getenv("RELAY_WAYS_DIR");
	char stand_in[PATH_MAX];

	path_find(way->preload, sizeof(way->preload), ways ? ways : PKGLIBDIR, LIBRARY, R_OK);
	path_find(stand_in, sizeof(stand_in), ways ? ways : PKGLIBEXECDIR, STAND_IN, X_OK);
	snprintf(way->directory, sizeof(way->directory), "%s", *stand_in ? dirname(stand_in) : "");
}

static int tools_check(const struct way *way, char *why, size_t why_size)
{
	const char *where = getenv("RELAY_WAYS_DIR");

	if (way->wanted == WAY_WANTED_PRELOAD && !*way->preload)
		snprintf(why, why_size, "%s/" LIBRARY " is not there: --backend-via=preload needs it",
			 where ? where : PKGLIBDIR);
	else if (way->wanted == WAY_WANTED_FUSERMOUNT && !*way->directory)
		snprintf(why, why_size, "%s/" STAND_IN " is not there: --backend-via=fusermount needs it",
			 where ? where : PKGLIBEXECDIR);
	else if (!*way->preload && !*way->directory)
		snprintf(why, why_size, "neither %s/" LIBRARY " nor %s/" STAND_IN " is there: {mountpoint} needs one",
			 where ? where : PKGLIBDIR, where ? where : PKGLIBEXECDIR);
	else
		return 0;
	return -ENOEXEC;
}

/* ---- the placeholder ------------------------------------------------------ */

/* A user without a directory for the session has /tmp: nobody else can get at what is made there. */
static void placeholder_base(char *base, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		snprintf(base, size, "/run/relayd");
	else if (runtime && *runtime == '/')
		snprintf(base, size, "%s/relayd", runtime);
	else
		snprintf(base, size, "/tmp");
	if (mkdir(base, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
		snprintf(base, size, "/tmp");
}

static int placeholder_make(struct way *way, char *why, size_t why_size)
{
	char path[PATH_MAX], base[PATH_MAX - 32];
	int err;

	placeholder_base(base, sizeof(base));
	snprintf(path, sizeof(path), "%s/mountpoint-XXXXXX", base);
	if (!mkdtemp(path)) {
		err = -errno;
		snprintf(why, why_size, "no place for the backend to mount on in %s: %s", base, strerror(-err));
		return err;
	}
	/* As the program and the library will name it. */
	way->placeholder = realpath(path, NULL);
	if (way->placeholder)
		return 0;
	err = -errno;
	rmdir(path);
	snprintf(why, why_size, "%s: %s", path, strerror(-err));
	return err;
}

int way_init(struct way *way, enum way_wanted wanted, bool placed, const char *socket, char *why, size_t why_size)
{
	int err;

	*way = (struct way){.wanted = wanted, .placed = placed, .socket = socket, .splices = kernel_splits_splices()};
	tools_find(way);
	if (!placed)
		return 0;
	err = tools_check(way, why, why_size);
	return err ? err : placeholder_make(way, why, why_size);
}

int way_resume(struct way *way, enum way_wanted wanted, bool placed, const char *socket, const char *placeholder)
{
	*way = (struct way){.wanted = wanted, .placed = placed, .socket = socket, .splices = kernel_splits_splices()};
	tools_find(way);
	way->placeholder = placeholder ? strdup(placeholder) : NULL;
	return way->placeholder || !placeholder ? 0 : -ENOMEM;
}

static void furniture_path(const struct way *way, char *path, size_t size)
{
	snprintf(path, size, "%s/.go-fuse-epoll-hack", way->placeholder);
}

void way_furnish(struct way *way)
{
	char path[PATH_MAX + 32];
	int fd;

	if (!way->placeholder)
		return;
	furniture_path(way, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	else
		log_warning("%s: %s", path, strerror(errno));
}

bool way_missed(const struct way *way)
{
	return way->placeholder && session_place_used(way->placeholder);
}

void way_clear(struct way *way)
{
	char path[PATH_MAX + 32];

	if (!way->placeholder)
		return;
	/* First: nothing is asked of a filesystem that was mounted past us. */
	if (way_missed(way))
		session_place_free(way->placeholder);
	furniture_path(way, path, sizeof(path));
	if (unlink(path) < 0 && errno != ENOENT)
		log_warning("%s: %s", path, strerror(errno));
}

void way_deinit(struct way *way)
{
	way_clear(way);
	if (way->placeholder && rmdir(way->placeholder) < 0 && errno != ENOENT)
		log_warning("%s: cannot be removed: %s", way->placeholder, strerror(errno));
	free(way->placeholder);
	way->placeholder = NULL;
}

/* ---- tokens --------------------------------------------------------------- */

int way_token_renew(struct way *way)
{
	unsigned char bytes[(WAY_TOKEN_SIZE - 1) / 2];

	way->token[0] = '\0';
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(way->token + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

void way_token_forget(struct way *way)
{
	way->token[0] = '\0';
}

bool way_token_is(const struct way *way, const char *token)
{
	return way->token[0] && strcmp(way->token, token) == 0;
}

/* ---- the environment ------------------------------------------------------ */

static const char *value_of(char *const *environment, const char *name)
{
	size_t n = strlen(name);

	for (; *environment; environment++)
		if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
			return *environment + n + 1;
	return NULL;
}

/* Prints "NAME=front", with what base has for it after the separator, and a NUL. */
static void variable_print(FILE *out, char *const *base, const char *name, const char *front, char separator)
{
	const char *rest = separator ? value_of(base, name) : NULL;

	fprintf(out, "%s=%s", name, front);
	if (rest && *rest)
		fprintf(out, "%c%s", separator, rest);
	fputc('\0', out);
}

/* Without one a program has the C library's own. */
static void path_print(FILE *out, char *const *base, const char *directory)
{
	const char *rest = value_of(base, "PATH");

	fprintf(out, "PATH=%s:%s", directory, rest && *rest ? rest : "/usr/local/bin:/usr/bin:/bin");
	fputc('\0', out);
}

static void variables_print(FILE *out, const struct way *way, char *const *base)
{
	bool by_preload = way->placed ? way->wanted != WAY_WANTED_FUSERMOUNT : way->splices;
	bool by_stand_in = way->placed && way->wanted != WAY_WANTED_PRELOAD;

	if (by_preload && *way->preload)
		variable_print(out, base, "LD_PRELOAD", way->preload, ':');
	if (by_stand_in && *way->directory)
		path_print(out, base, way->directory);
	if (!way->placed)
		return;
	/* Programs that have the path of fusermount3 built in are led to it by the library. */
	if (*way->directory) {
		fprintf(out, "RELAY_FUSERMOUNT=%s/" STAND_IN, way->directory);
		fputc('\0', out);
	}
	variable_print(out, base, "RELAY_TOKEN", way->token, '\0');
	variable_print(out, base, "RELAYD_SOCKET", way->socket, '\0');
}

/* Whether one of the strings, of which each ends with a NUL, sets what entry sets. */
static bool is_set_by(const char *strings, size_t size, const char *entry)
{
	size_t n = strcspn(entry, "=") + 1;

	for (const char *at = strings; at < strings + size; at += strlen(at) + 1)
		if (strncmp(at, entry, n) == 0)
			return true;
	return false;
}

/* What leads to a relayd, if the command line does not: not to be handed down. */
static bool is_stale(const char *entry)
{
	return strncmp(entry, "RELAY_TOKEN=", 12) == 0 || strncmp(entry, "RELAY_FUSERMOUNT=", 17) == 0;
}

/* The array, with room for `size` bytes of strings behind it. */
static char **environment_join(char *const *base, const char *strings, size_t size, size_t count)
{
	size_t n = 0;
	char **out, *bytes;

	for (size_t i = 0; base[i]; i++)
		count++;
	out = malloc((count + 1) * sizeof(*out) + size);
	if (!out)
		return NULL;
	bytes = (char *)(out + count + 1);
	memcpy(bytes, strings, size);
	for (; *base; base++)
		if (!is_stale(*base) && !is_set_by(strings, size, *base))
			out[n++] = *base;
	for (char *at = bytes; at < bytes + size; at += strlen(at) + 1)
		out[n++] = at;
	out[n] = NULL;
	return out;
}

char **way_environment(const struct way *way, char *const *base)
{
	char *strings = NULL, **out = NULL;
	size_t size = 0, count = 0;
	FILE *list = open_memstream(&strings, &size);

	if (!list)
		return NULL;
	variables_print(list, way, base);
	if (fclose(list) == 0) {
		for (size_t i = 0; i < size; i++)
			count += strings[i] == '\0';
		out = environment_join(base, strings, size, count);
	}
	free(strings);
	return out;
}

/* ---- daemons -------------------------------------------------------------- */

/* Reads a file of /proc whole, as far as it fits, with a NUL behind it.  Returns its size, or -1. */
static ssize_t proc_read(const char *pid, const char *name, char *buffer, size_t size)
{
	char path[300];
	size_t got = 0;
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (got < size - 1 && (n = read(fd, buffer + got, size - 1 - got)) > 0)
		got += (size_t)n;
	close(fd);
	buffer[got] = '\0';
	return n < 0 ? -1 : (ssize_t)got;
}

enum kinship {
	KIN_NONE,
	KIN_CHILD,  /* a child of ours lives */
	KIN_ZOMBIE, /* one has ended, and was not reaped yet */
};

/*
 * proc(5): pid (name) state ppid ... num_threads.  The main thread of a process may be a
 * zombie while others of it live, and is one while another of them executes a program.
 */
static enum kinship kinship_of(const char *pid)
{
	char stat[512], state;
	const char *name_end;
	int parent;
	long threads;

	if (proc_read(pid, "stat", stat, sizeof(stat)) < 0)
		return KIN_NONE;
	name_end = strrchr(stat, ')');
	if (!name_end ||
	    sscanf(name_end + 1, " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld", &state,
		   &parent, &threads) != 3 ||
	    parent != getpid())
		return KIN_NONE;
	return (state == 'Z' || state == 'X') && threads <= 1 ? KIN_ZOMBIE : KIN_CHILD;
}

/*
 * One that hides its environment may be it, but is not killed for that.  Nothing at all
 * is read of one that is executing a program just now: it has no environment yet.
 */
static bool has_token(const char *pid, const char *token, int signal, char *buffer, size_t size)
{
	ssize_t n = proc_read(pid, "environ", buffer, size);

	return n <= 0 ? signal == 0 : memmem(buffer, (size_t)n, token, strlen(token)) != NULL;
}

/* Adds what tells one set of zombies from another. */
static void zombies_add(uint64_t *zombies, pid_t pid)
{
	uint64_t mixed = ((uint64_t)pid + 1) * 0x9e3779b97f4a7c15u;

	*zombies += (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9u;
}

/* Looks once through all processes. */
static bool daemons_look(const struct way *way, int signal, char *buffer, size_t size, uint64_t *zombies)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = !proc; /* without an answer there is the deadline */

	while (proc && !(found && !signal) && (entry = readdir(proc)) != NULL) {
		const char *pid = entry->d_name;
		enum kinship kinship = pid[0] >= '1' && pid[0] <= '9' ? kinship_of(pid) : KIN_NONE;

		if (kinship == KIN_ZOMBIE)
			zombies_add(zombies, atoi(pid));
		if (kinship != KIN_CHILD || !has_token(pid, way->token, signal, buffer, size))
			continue;
		found = true;
		/* A child of ours, and nobody reaps it meanwhile: the number is its own. */
		if (signal)
			kill(atoi(pid), signal);
	}
	if (proc)
		closedir(proc);
	return found;
}

/*
 * A process that makes another and ends while we look can hide both: when it is looked at
 * it is a zombie, and the other was not there, or not ours, when its turn was.  But then
 * there is a zombie that was none before.  Orphans are reaped on this thread alone, so
 * that none of them goes away meanwhile.
 */
bool way_daemons(const struct way *way, int signal)
{
	const size_t size = 1 << 20;
	char *buffer = malloc(size);
	uint64_t zombies = 0, before;
	bool found = !buffer;

	do {
		before = zombies;
		zombies = 0;
		if (buffer)
			found = daemons_look(way, signal, buffer, size, &zombies) || found;
	} while (buffer && !(found && !signal) && zombies != before);
	free(buffer);
	return found;
}
