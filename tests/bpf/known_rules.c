/*
 * Each rule of the programs (bpf/config.h), and the check that notices if it is left out: it
 * holds with all rules, and fails with the build for tests without that one.  Where another rule
 * covers for it on this kernel, that one is left out in both.  What AGAIN is for happens
 * within some instructions, so that build has the program itself make it happen.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "known.h"
#include "lib/check.h"

#define ROOT 1u

/* A directory of the root that a check has for itself. */
struct room {
	struct rig *rig;
	uint64_t dir;
	char path[96];
};

static void absent(const struct room *room, uint64_t dir, const char *name)
{
	relay_internal_cache_absent_put(room->rig->maps, dir, name, strlen(name), KNOWN_FOREVER);
}

static void complete(const struct room *room, uint64_t until)
{
	relay_internal_cache_dir_complete(room->rig->maps, room->dir, until);
}

static uint64_t make(const struct room *room, const char *name, mode_t mode, const char *target)
{
	return rig_make(room->rig, room->dir, name, mode, target);
}

static bool opens(const struct room *room, const char *name, int flags)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", room->path, name);
	fd = open(path, flags | O_CLOEXEC, 0666);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool creates(const struct room *room, int (*call)(const char *path))
{
	char path[256];

	absent(room, room->dir, "new");
	snprintf(path, sizeof(path), "%s/new", room->path);
	return !call(path);
}

/* open() asks about the directory that it has reached, when all of the path is behind it. */
static bool holds_mask(const struct room *room)
{
	uint64_t dir = make(room, "dir", S_IFDIR | 0777, NULL);

	make(room, "link", S_IFLNK | 0777, ".");
	relay_internal_cache_dir_complete(room->rig->maps, dir, KNOWN_FOREVER);
	return opens(room, "link/dir", O_RDONLY | O_DIRECTORY);
}

/* overlayfs looks "x" up while the task's walk goes on with "y". */
static bool holds_walk(const struct room *room)
{
	uint64_t x = make(room, "x", S_IFDIR | 0777, NULL);
	char place[] = "/tmp/relayd-bpf-ovl.XXXXXX", options[512];
	bool ok;

	rig_make(room->rig, x, "y", S_IFREG | 0666, NULL);
	rig_make(room->rig, ROOT, "empty", S_IFDIR | 0777, NULL);
	absent(room, room->dir, "y");
	snprintf(options, sizeof(options), "lowerdir=%s:%s/empty", room->path, room->rig->place);
	if (!mkdtemp(place) || mount("overlay", place, "overlay", 0, options) < 0)
		check_abort("no overlayfs: %s", strerror(errno));
	ok = !known_stat("%s/x/y", place);
	umount2(place, 0);
	rmdir(place);
	return ok;
}

/* In the body of "link" the walk looks "sub" up, and what is behind "link" in the path is "x". */
static bool holds_depth(const struct room *room)
{
	uint64_t sub = make(room, "sub", S_IFDIR | 0777, NULL);

	make(room, "link", S_IFLNK | 0777, "sub");
	rig_make(room->rig, sub, "x", S_IFREG | 0666, NULL);
	absent(room, room->dir, "x");
	return !known_stat("%s/link/x", room->path);
}

static bool holds_dots(const struct room *room)
{
	make(room, "there", S_IFREG | 0666, NULL);
	relay_internal_cache_present_put(room->rig->maps, room->dir, "there", 5);
	complete(room, KNOWN_FOREVER);
	return !known_stat("%s/./there", room->path) && !known_stat("%s/..", room->path);
}

static bool holds_length(const struct room *room)
{
	char name[KNOWN_NAME_MAX + 2] = {0};

	/* FUSE has names of up to 1,024 bytes. */
	memset(name, 'x', KNOWN_NAME_MAX + 1);
	memcpy(name, RIG_ANY, strlen(RIG_ANY));
	complete(room, KNOWN_FOREVER);
	return !known_stat("%s/%s", room->path, name);
}

static int make_directory(const char *path)
{
	return mkdir(path, 0777) < 0 ? -errno : 0;
}

static bool holds_final(const struct room *room)
{
	return creates(room, make_directory);
}

static bool holds_creat(const struct room *room)
{
	absent(room, room->dir, "new");
	return opens(room, "new", O_CREAT | O_WRONLY);
}

static bool holds_compat(const struct room *room)
{
	return creates(room, bpf_compat_link);
}

static int uring_mkdir(const char *path)
{
	return bpf_uring_mkdir(path, false);
}

static bool holds_worker(const struct room *room)
{
	return creates(room, uring_mkdir);
}

static bool holds_exit(const struct room *room)
{
	return creates(room, bpf_core_dump);
}

/* The interpreter of a script is not execve()'s own argument. */
static bool holds_argument(const struct room *room)
{
	char script[] = "/tmp/relayd-bpf-script.XXXXXX";
	int fd = mkstemp(script), status;
	pid_t child;

	make(room, "interpreter", S_IFREG | 0777, NULL);
	absent(room, room->dir, "interpreter");
	dprintf(fd, "#!%s/interpreter\n", room->path);
	fchmod(fd, 0755);
	close(fd);
	rig_reset(room->rig);
	child = fork();
	if (!child) {
		execl(script, script, NULL);
		_exit(0);
	}
	waitpid(child, &status, 0);
	unlink(script);
	return rig_asked(room->rig, "interpreter") > 0;
}

static bool holds_until(const struct room *room)
{
	const uint64_t past = relay_internal_cache_now() - (1ull << 32);
	bool ok;

	make(room, "there", S_IFREG | 0666, NULL);
	relay_internal_cache_absent_put(room->rig->maps, room->dir, "there", 5, past);
	ok = !known_stat("%s/there", room->path);
	complete(room, past);
	return ok && !known_stat("%s/there", room->path);
}

/* Writes a value by hand, as if the element had become another key's. */
static void overwrite(int map, const void *key, const void *value)
{
	union bpf_attr attr = {.map_fd = (uint32_t)map, .key = (uintptr_t)key, .value = (uintptr_t)value};

	if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) < 0)
		check_abort("no update: %s", strerror(errno));
}

static bool holds_tag(const struct room *room)
{
	struct known_name_16 key = {.dir = room->dir, .len = 5, .name = "there"};
	uint64_t halves[2], word;

	make(room, "there", S_IFREG | 0666, NULL);
	absent(room, room->dir, "other");
	memcpy(halves, key.name, sizeof(halves));
	word = known_word(KNOWN_FOREVER, known_tag(room->dir, halves[0], halves[1]) ^ 1, KNOWN_ABSENT);
	overwrite(room->rig->maps->fd[KNOWN_NAMES_16], &key, &word);
	return !known_stat("%s/there", room->path);
}

static bool holds_own(const struct room *room)
{
	const struct known_dir value = {.complete = room->dir + 1, .until = KNOWN_FOREVER, .since = 1};

	make(room, "there", S_IFREG | 0666, NULL);
	overwrite(room->rig->maps->fd[KNOWN_DIRS], &room->dir, &value);
	return !known_stat("%s/there", room->path);
}

static bool holds_reval(const struct room *room)
{
	make(room, "old", S_IFDIR | 0777, NULL);
	if (known_stat("%s/old", room->path))
		return false;
	relay_internal_cache_stale_put(room->rig->maps, room->dir, "old", 3);
	rig_reset(room->rig);
	/* It is there, and the filesystem was asked though the dentry had time left. */
	return !known_stat("%s/old", room->path) && rig_asked(room->rig, "old") == 1;
}

static bool holds_trust(const struct room *room)
{
	bool ok;

	make(room, "there", S_IFREG | 0666, NULL);
	absent(room, room->dir, "there");
	cache_bpf_set_trust(room->rig->mount, KNOWN_TRUST_COMPLETE);
	ok = !known_stat("%s/there", room->path);
	complete(room, KNOWN_FOREVER);
	cache_bpf_set_trust(room->rig->mount, KNOWN_TRUST_ABSENT | KNOWN_TRUST_XATTR);
	relay_internal_cache_absent_drop(room->rig->maps, room->dir, "there", 5);
	ok &= !known_stat("%s/there", room->path);
	cache_bpf_set_trust(room->rig->mount, RIG_TRUST);
	return ok;
}

/* Between two looks the directory is complete no longer, and its names go. */
static bool holds_again(const struct room *room)
{
	make(room, "there", S_IFREG | 0666, NULL);
	relay_internal_cache_present_put(room->rig->maps, room->dir, "there", 5);
	complete(room, KNOWN_FOREVER);
	return !known_stat("%s/there", room->path);
}

/* A filesystem that takes over the s_dev of one that has gone has nodeids of the same numbers. */
static bool holds_gone(const struct room *room)
{
	struct rig first, second;
	bool ok, same;

	rig_mount(&first);
	rig_make(&first, ROOT, "there", S_IFREG | 0666, NULL);
	first.bpf = room->rig->bpf;
	if (cache_bpf_join(first.bpf, first.dev, RIG_TRUST, NULL, &first.mount))
		check_abort("not served: %s", cache_bpf_why(first.bpf));
	relay_internal_cache_absent_put(cache_bpf_maps(first.mount), ROOT, "there", 5, KNOWN_FOREVER);
	if (known_stat("%s/there", first.place) != -ENOENT)
		check_abort("a second mount is not served");
	rig_unmount(&first);
	rig_mount(&second);
	same = second.dev == first.dev;
	rig_make(&second, ROOT, "there", S_IFREG | 0666, NULL);
	ok = !known_stat("%s/there", second.place);
	if (!same)
		check_abort("the s_dev was not used again");
	cache_bpf_leave(first.mount);
	rig_unmount(&second);
	return ok;
}

static const struct rule {
	const char *name;
	uint64_t rule;
	uint64_t covering; /* rules that are left out too: they would keep it from being seen, or what needs it from happening */
	bool (*holds)(const struct room *room);
} rules[] = {
	{"MASK", KNOWN_RULE_MASK, 0, holds_mask},
	{"WALK", KNOWN_RULE_WALK, 0, holds_walk},
	{"DEPTH", KNOWN_RULE_DEPTH, 0, holds_depth},
	{"DOTS", KNOWN_RULE_DOTS, 0, holds_dots},
	{"LENGTH", KNOWN_RULE_LENGTH, 0, holds_length},
	{"FINAL", KNOWN_RULE_FINAL, 0, holds_final},
	{"CALL", KNOWN_RULE_CALL, 0, holds_final},
	{"CREAT", KNOWN_RULE_CREAT, 0, holds_creat},
	{"COMPAT", KNOWN_RULE_COMPAT, 0, holds_compat},
	{"WORKER", KNOWN_RULE_WORKER, KNOWN_RULE_CALL, holds_worker},
	{"EXIT", KNOWN_RULE_EXIT, KNOWN_RULE_CALL, holds_exit},
	{"ARGUMENT", KNOWN_RULE_ARGUMENT, 0, holds_argument},
	{"UNTIL", KNOWN_RULE_UNTIL, 0, holds_until},
	{"AGAIN", KNOWN_RULE_AGAIN, KNOWN_RULE_UNHURRIED, holds_again},
	{"TAG", KNOWN_RULE_TAG, 0, holds_tag},
	{"OWN", KNOWN_RULE_OWN, 0, holds_own},
	{"REVAL", KNOWN_RULE_REVAL, 0, holds_reval},
	{"TRUST", KNOWN_RULE_TRUST, 0, holds_trust},
	{"GONE", KNOWN_RULE_GONE, 0, holds_gone},
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

static bool rule_holds(struct rig *rig, const struct rule *rule, const char *what)
{
	struct room room = {.rig = rig};
	char name[32];

	snprintf(name, sizeof(name), "%s-%s", rule->name, what);
	room.dir = known_dir_new(rig, name);
	snprintf(room.path, sizeof(room.path), "%s/%s", rig->place, name);
	return rule->holds(&room);
}

static bool wanted(const struct rule *rule, char *const *names)
{
	bool any = !*names;

	for (; !any && *names; names++)
		any = !strcmp(rule->name, *names);
	return any;
}

/* Loading them is what takes the time: those with nothing left out are loaded once. */
void known_rules(char *const *names)
{
	struct rig rig;

	rig_mount(&rig);
	for (const struct rule *rule = rules; rule < rules + RULES; rule++) {
		if (!wanted(rule, names))
			continue;
		rig_join(&rig, rule->rule | rule->covering);
		check(!rule_holds(&rig, rule, "off"), "%s: without it that is noticed", rule->name);
		rig_leave(&rig);
		if (!rule->covering)
			continue;
		rig_join(&rig, rule->covering);
		check(rule_holds(&rig, rule, "on"), "%s: with it", rule->name);
		rig_leave(&rig);
	}
	rig_join(&rig, 0);
	for (const struct rule *rule = rules; rule < rules + RULES; rule++)
		if (wanted(rule, names) && !rule->covering)
			check(rule_holds(&rig, rule, "on"), "%s: with it", rule->name);
	rig_leave(&rig);
	rig_unmount(&rig);
}
