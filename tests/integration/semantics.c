/*
 * The same checks of file semantics on a backing directory and on the mount, as
 * root, as nobody, and as a user with supplementary groups: each must give the
 * same transcript.  A child does one check with one identity in one place, so
 * that nothing of one (credentials, umask, locks, limits) reaches the next.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/relayd.h"

struct identity {
	const char *name;
	uid_t uid;
	gid_t gid;
	unsigned group_count;
	gid_t groups[2];
};

static const struct identity identities[] = {
	{"root", 0, 0, 0, {0}},
	{"nobody", 65534, 65534, 0, {0}},
	{"user", SEMANTICS_UID, SEMANTICS_GID, 2, {SEMANTICS_GROUP, SEMANTICS_GROUP2}},
};

/* Each with the minor version of FUSE that it takes. */
static const struct list {
	const struct semantics_check *items;
	unsigned fuse_minor;
} lists[] = {
	{semantics_names, 0}, {semantics_links, 0}, {semantics_permissions, 0}, {semantics_acls, 0},
	{semantics_data, 0},  {semantics_space, 0}, {semantics_times, 0},	{semantics_births, 39 /* STATX */},
	{semantics_locks, 0}, {semantics_dirs, 0},
};

static void show_stat(struct text *out, const char *label, const struct stat *st)
{
	text_add(out, "%s: mode %06o links %u owner %u:%u", label, st->st_mode, (unsigned)st->st_nlink, st->st_uid,
		 st->st_gid);
	if (!S_ISDIR(st->st_mode))
		text_add(out, " size %" PRId64 " rdev %u:%u", (int64_t)st->st_size, major(st->st_rdev),
			 minor(st->st_rdev));
	text_add(out, "\n");
}

void semantics_show(struct text *out, const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		text_add(out, "%s: %s\n", name, text_errno(errno));
	else
		show_stat(out, name, &st);
}

void semantics_show_fd(struct text *out, const char *label, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		text_add(out, "%s: %s\n", label, text_errno(errno));
	else
		show_stat(out, label, &st);
}

void semantics_show_content(struct text *out, const char *name)
{
	unsigned char buffer[4096];
	uint64_t hash = 14695981039346656037u;
	uint64_t size = 0;
	char head[17] = "";
	ssize_t got;
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		text_add(out, "%s content: %s\n", name, text_errno(errno));
		return;
	}
	while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (size + (uint64_t)i < 16)
				head[size + (uint64_t)i] =
					buffer[i] >= 32 && buffer[i] < 127 ? (char)buffer[i] : '.';
			hash = (hash ^ buffer[i]) * 1099511628211u;
		}
		size += (uint64_t)got;
	}
	text_add(out, "%s content: %" PRIu64 " bytes %016" PRIx64 " \"%s\" %s\n", name, size, hash, head,
		 got < 0 ? text_errno(errno) : "");
	close(fd);
}

int semantics_put(const char *name, const char *content)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t done;

	if (fd < 0)
		return -1;
	done = write(fd, content, strlen(content));
	close(fd);
	return done == (ssize_t)strlen(content) ? 0 : -1;
}

static void become(const struct identity *id)
{
	if (setgroups(id->group_count, id->groups) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
	    setresuid(id->uid, id->uid, id->uid) < 0)
		_exit(120);
	/* Changing ids makes /proc/self root's, and the checks go through it. */
	prctl(PR_SET_DUMPABLE, 1);
}

/* In a child: prepares, becomes the user, runs, and writes the transcript to fd. */
static void run_child(const struct semantics_check *item, const struct identity *id, const char *place, int fd)
{
	struct text out = {0};
	size_t done = 0;
	ssize_t written;

	umask(022);
	if (chdir(place) < 0)
		_exit(121);
	if (item->prepare)
		item->prepare();
	become(id);
	item->run(&out);
	while (done < out.size && (written = write(fd, out.bytes + done, out.size - done)) > 0)
		done += (size_t)written;
	_exit(done == out.size ? 0 : 122);
}

/* Runs one check in a fresh directory `parent`/`name`; the transcript in *out. */
static void run_check(const struct semantics_check *item, const struct identity *id, const char *parent,
		      struct text *out)
{
	char place[512];
	char buffer[4096];
	ssize_t got;
	int fds[2];
	int status;
	pid_t pid;

	snprintf(place, sizeof(place), "%s/%s-%s", parent, item->name, id->name);
	for (char *at = place + strlen(parent) + 1; *at; at++)
		if (*at == ' ' || *at == '/')
			*at = '_';
	if (mkdir(place, 0755) < 0 || chown(place, id->uid, id->gid) < 0 || pipe2(fds, O_CLOEXEC) < 0)
		check_abort("%s: %s", place, strerror(errno));
	pid = fork();
	if (pid == 0)
		run_child(item, id, place, fds[1]);
	close(fds[1]);
	while ((got = read(fds[0], buffer, sizeof(buffer))) > 0)
		text_add(out, "%.*s", (int)got, buffer);
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (status)
		text_add(out, "the check ended with wait status %#x\n", (unsigned)status);
}

static void compare(const struct semantics_check *item, const struct identity *id, const struct relayd *r)
{
	struct text wanted = {0};
	struct text got = {0};
	char reference[128];
	char name[256];
	char where[1024];

	snprintf(reference, sizeof(reference), "%s/reference", r->dir);
	run_check(item, id, reference, &wanted);
	run_check(item, id, r->mnt, &got);
	snprintf(name, sizeof(name), "%s, as %s", item->name, id->name);
	check_why(text_same(&wanted, &got, where, sizeof(where)), name, "%s", where);
	text_free(&wanted);
	text_free(&got);
}

static void list_run(const struct list *list, const struct identity *id, const char *only, const struct relayd *r)
{
	for (const struct semantics_check *item = list->items; item->name; item++)
		if ((!only || strstr(item->name, only)) && check_fuse_has(list->fuse_minor, item->name))
			compare(item, id, r);
}

/* All of it on a mount whose files are read and written so. */
static void mount_run(const char *passthrough, const char *only)
{
	const char *const extra[] = {"-o", "allow_other,suid,dev", NULL};
	char backend[PATH_MAX + 128];
	char reference[128];
	struct relayd r;

	printf("--passthrough=%s\n", passthrough);
	relayd_init(&r);
	snprintf(reference, sizeof(reference), "%s/reference", r.dir);
	if (mkdir(reference, 0755) < 0)
		check_abort("%s: %s", reference, strerror(errno));
	snprintf(backend, sizeof(backend), "%s --source %s --passthrough=%s", relayd_program("fs/fsserver/fsserver"),
		 r.store, passthrough);
	relayd_spawn(&r, backend, extra);
	if (!relayd_wait(&r, 1, 20000)) {
		relayd_log_show(&r);
		check_abort("the mount does not serve");
	}
	for (size_t i = 0; i < sizeof(identities) / sizeof(identities[0]); i++)
		for (size_t j = 0; j < sizeof(lists) / sizeof(lists[0]); j++)
			list_run(&lists[j], &identities[i], only, &r);
	check(relayd_stop(&r), "relayd ends in order and leaves nothing behind");
}

int main(int argc, char **argv)
{
	const char *only = argc > 2 && strcmp(argv[1], "--only") == 0 ? argv[2] : NULL;

	check_requires_fuse();
	umask(022);
	mount_run("off", only);
	mount_run("auto", only);
	return check_end();
}
