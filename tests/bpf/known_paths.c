/*
 * How a path may look and where its walk may begin.  In the directory "p", "absent" is known
 * absent and exists; of anything else nothing is known.  So a path that ends there is answered
 * by the kernel, and each other one by the filesystem, with what it has.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "known.h"
#include "lib/check.h"

/* A path below the mountpoint, and what stat() of it says. */
static const struct shape {
	const char *path;
	bool answered; /* by the kernel: ENOENT, and "absent" was not asked for */
	int err; /* what the filesystem says if not */
} shapes[] = {
	{"p/absent", true, 0},
	{"p//absent", true, 0},
	{"p///////absent", true, 0},
	{"p/absent/", true, 0},
	{"p/absent//", true, 0},
	{"p/absent/.", true, 0},
	{"p/absent/..", true, 0},
	{"p/absent/more", true, 0},
	{"p/./absent", true, 0},
	{"p/sub/../absent", true, 0},
	{"./p/absent", true, 0},
	{"//p/absent", true, 0},
	{"../%s/p/absent", true, 0},
	{"link/absent", true, 0}, /* a symlink to p */
	{"link//absent", true, 0},
	{"slashed/absent", true, 0}, /* to "p/" */
	{"twice/absent", true, 0}, /* to link */
	{"deep/absent", true, 0}, /* to p/sub/.. */
	{"link/sub/../absent", true, 0},
	{"p/sub/up/absent", true, 0}, /* to .. */
	{"absolute/absent", true, 0}, /* to the mountpoint's p */
	{"tail", false, 0}, /* to p/absent: in a symlink's body it is left to the filesystem */
	{"p/to-absent", false, 0}, /* to absent */
	{"p/to-absent/", false, -ENOTDIR},
	{"p/there", false, 0},
	{"p/there/", false, -ENOTDIR},
	{"p/sub/absent", false, 0}, /* another directory's of that name */
	{"p/absen", false, -ENOENT},
	{"p/absent1", false, -ENOENT},
	{"absent", false, -ENOENT},
	{"p/.", false, 0},
	{"p/..", false, 0},
	{"p/sub/.", false, 0},
	{"p", false, 0},
	{"p/", false, 0},
};

static void shape_check(struct rig *rig, const char *how, const char *path, const struct shape *shape, int err)
{
	char what[256];
	unsigned asked = rig_asked(rig, "absent");
	bool ok = shape->answered ? err == -ENOENT && !asked : err == shape->err;

	snprintf(what, sizeof(what), "path %s%s", path, how);
	check_why(ok, what, "%s, and it was asked %u times", strerror(-err), asked);
}

/* The text of a shape: of one that goes out of the mount, with the way back. */
static const char *shape_path(const struct rig *rig, const struct shape *shape, char *text, size_t size)
{
	const char *place = strstr(shape->path, "%s");

	if (place)
		snprintf(text, size, "%.*s%s%s", (int)(place - shape->path), shape->path, strrchr(rig->place, '/') + 1,
			 place + 2);
	else
		snprintf(text, size, "%s", shape->path);
	return text;
}

static int done(long result)
{
	return result < 0 ? -errno : 0;
}

static int open_by(int dir, const char *path, uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH, .resolve = resolve};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
	int err = done(fd);

	if (!err)
		close((int)fd);
	return err;
}

static void check_shapes(struct rig *rig)
{
	int dir = open(rig->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char text[256], path[512];
	struct stat st;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct shape *shape = &shapes[i];

		shape_path(rig, shape, text, sizeof(text));
		snprintf(path, sizeof(path), "%s/%s", rig->place, text);
		rig_reset(rig);
		shape_check(rig, "", text, shape, done(stat(path, &st)));
		/* Of an absolute path with slashes in front there is no relative form. */
		if (text[0] == '/')
			continue;
		rig_reset(rig);
		shape_check(rig, ", from a directory", text, shape, done(fstatat(dir, text, &st, 0)));
	}
	close(dir);
}

static void check_resolve(struct rig *rig)
{
	static const struct {
		uint64_t flags;
		const char *name;
	} ways[] = {
		{RESOLVE_BENEATH, ", RESOLVE_BENEATH"},
		{RESOLVE_IN_ROOT, ", RESOLVE_IN_ROOT"},
		{RESOLVE_NO_SYMLINKS, ", RESOLVE_NO_SYMLINKS"},
		{RESOLVE_NO_MAGICLINKS, ", RESOLVE_NO_MAGICLINKS"},
		{RESOLVE_NO_XDEV, ", RESOLVE_NO_XDEV"},
	};
	static const struct shape absent = {"p/absent", true, 0}, there = {"p/there", false, 0};
	int dir = open(rig->place, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		rig_reset(rig);
		shape_check(rig, ways[i].name, absent.path, &absent, open_by(dir, absent.path, ways[i].flags));
		shape_check(rig, ways[i].name, there.path, &there, open_by(dir, there.path, ways[i].flags));
	}
	rig_reset(rig);
	shape_check(rig, ", RESOLVE_IN_ROOT", "/p/absent", &absent, open_by(dir, "/p/absent", RESOLVE_IN_ROOT));
	close(dir);
}

/* Where it is seen by another mount, and by a task with another root. */
static void check_elsewhere(struct rig *rig)
{
	static const struct shape absent = {"p/absent", true, 0}, there = {"p/there", false, 0};
	char other[] = "/tmp/relayd-bpf-other.XXXXXX", path[256];
	int status;
	pid_t child;

	if (!mkdtemp(other) || mount(rig->place, other, NULL, MS_BIND, NULL) < 0)
		check_abort("no bind mount: %s", strerror(errno));
	rig_reset(rig);
	shape_check(rig, ", through a bind mount", absent.path, &absent, known_stat("%s/p/absent", other));
	shape_check(rig, ", through a bind mount", there.path, &there, known_stat("%s/p/there", other));
	umount2(other, 0);

	/* A directory of it alone. */
	snprintf(path, sizeof(path), "%s/p", rig->place);
	if (mount(path, other, NULL, MS_BIND, NULL) < 0)
		check_abort("no bind mount: %s", strerror(errno));
	rig_reset(rig);
	shape_check(rig, ", through a bind mount of p", absent.path, &absent, known_stat("%s/absent", other));
	umount2(other, 0);
	rmdir(other);

	rig_reset(rig);
	child = fork();
	if (!child) {
		struct stat st;

		if (unshare(CLONE_NEWNS) < 0 || chroot(rig->place) < 0 || chdir("/p") < 0)
			_exit(255);
		/* Both, and the second as a relative path. */
		_exit(done(stat("/p/absent", &st)) == -ENOENT && done(stat("absent", &st)) == -ENOENT &&
				      !done(stat("/p/there", &st))
			      ? 0
			      : 1);
	}
	waitpid(child, &status, 0);
	check_why(status == 0 && !rig_asked(rig, "absent"), "paths in another mount namespace and root",
		  "status %x, and it was asked %u times", (unsigned)status, rig_asked(rig, "absent"));
}

/* A directory that the caller may not search says so, and not that a name is absent. */
static void check_permission(struct rig *rig, uint64_t dir)
{
	uint64_t closed = rig_make(rig, dir, "closed", S_IFDIR | 0700, NULL);
	int status;
	pid_t child;

	relay_internal_cache_absent_put(rig->maps, closed, "absent", 6, KNOWN_FOREVER);
	check(known_stat("%s/p/closed/absent", rig->place) == -ENOENT, "who may search a directory is answered");
	child = fork();
	if (!child) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(255);
		_exit(-known_stat("%s/p/closed/absent", rig->place));
	}
	waitpid(child, &status, 0);
	check_why(WIFEXITED(status) && WEXITSTATUS(status) == EACCES, "who may not search a directory is told so", "%s",
		  strerror(WEXITSTATUS(status)));
}

static void check_overlay(struct rig *rig)
{
	char top[] = "/tmp/relayd-bpf-overlay.XXXXXX", options[512], path[256];

	if (!mkdtemp(top) || mount("tmpfs", top, "tmpfs", 0, NULL) < 0)
		check_abort("no tmpfs: %s", strerror(errno));
	for (const char *const *dir = (const char *const[]){"upper", "work", "merged", NULL}; *dir; dir++) {
		snprintf(path, sizeof(path), "%s/%s", top, *dir);
		mkdir(path, 0777);
	}
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", rig->place, top, top);
	if (mount("overlay", path, "overlay", 0, options) < 0)
		check_abort("no overlayfs: %s", strerror(errno));
	check(!known_stat("%s/p/there", path), "a name is there through overlayfs");
	check(!known_stat("%s/p/sub/absent", path), "a name below a directory is there through overlayfs");
	check(!known_stat("%s/p/absent", path), "overlayfs asks the filesystem by itself");
	umount2(path, 0);
	umount2(top, 0);
	rmdir(top);
}

void known_paths(struct rig *rig)
{
	uint64_t p = known_dir_new(rig, "p"), sub = rig_make(rig, p, "sub", S_IFDIR | 0777, NULL);
	char absolute[128];

	snprintf(absolute, sizeof(absolute), "%s/p", rig->place);
	rig_make(rig, p, "absent", S_IFREG | 0666, NULL);
	rig_make(rig, p, "there", S_IFREG | 0666, NULL);
	rig_make(rig, sub, "absent", S_IFREG | 0666, NULL);
	rig_make(rig, p, "to-absent", S_IFLNK | 0777, "absent");
	rig_make(rig, sub, "up", S_IFLNK | 0777, "..");
	rig_make(rig, 1, "link", S_IFLNK | 0777, "p");
	rig_make(rig, 1, "slashed", S_IFLNK | 0777, "p/");
	rig_make(rig, 1, "twice", S_IFLNK | 0777, "link");
	rig_make(rig, 1, "deep", S_IFLNK | 0777, "p/sub/..");
	rig_make(rig, 1, "absolute", S_IFLNK | 0777, absolute);
	rig_make(rig, 1, "tail", S_IFLNK | 0777, "p/absent");
	relay_internal_cache_absent_put(rig->maps, p, "absent", 6, KNOWN_FOREVER);
	check_shapes(rig);
	check_resolve(rig);
	check_elsewhere(rig);
	check_permission(rig, p);
	check_overlay(rig);
}
