/*
 * What the LSM programs answer, and what they leave to the filesystem, on this kernel.  Runs in
 * a guest (tests/guest), since it takes a kernel that loads such programs.
 *
 *	known [RULE...]		all of it, or what shows that these rules are needed
 */
#include "known.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache.h"
#include "calls.h"
#include "lib/check.h"

uint64_t known_dir_new(struct rig *rig, const char *name)
{
	return rig_make(rig, 1, name, S_IFDIR | 0777, NULL);
}

int known_stat(const char *format, ...)
{
	char path[1024];
	struct stat st;
	va_list args;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	return stat(path, &st) < 0 ? -errno : 0;
}

/* Calls in a child: chdir, chroot and execve must not take the test along. */
static int in_child(const struct bpf_call *call, const char *path, uid_t uid)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (uid && (setgid(uid) < 0 || setuid(uid) < 0))
			_exit(255);
		_exit(-call->call(path));
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EFAULT;
}

/* The name exists, and is known absent: so ENOENT is the kernel's. */
static void check_looks(struct rig *rig, const char *dir, const char *name, uid_t uid)
{
	char path[256], what[128];

	snprintf(path, sizeof(path), "%s/%s/%s", rig->place, dir, name);
	for (size_t i = 0; i < bpf_looks_count; i++) {
		int err;

		rig_reset(rig);
		err = in_child(&bpf_looks[i], path, uid);
		snprintf(what, sizeof(what), "%s of a name that is known absent in %s%s", bpf_looks[i].name, dir,
			 uid ? ", by a user" : "");
		check_why(err == -ENOENT && rig_asked(rig, name) == 0, what, "%s, and it was asked %u times", strerror(-err),
			  rig_asked(rig, name));
	}
}

/* The name is known absent and is: whoever creates it has to reach the filesystem. */
static void check_creates(struct rig *rig, const char *dir, uint64_t node, bool complete)
{
	char path[256], name[64], what[128];

	for (size_t i = 0; i < bpf_creates_count; i++) {
		int err;

		snprintf(name, sizeof(name), "new-%zu", i);
		snprintf(path, sizeof(path), "%s/%s/%s", rig->place, dir, name);
		if (!complete)
			relay_internal_cache_absent_put(rig->maps, node, name, strlen(name), KNOWN_FOREVER);
		if (known_stat("%s", path) != -ENOENT || rig_asked(rig, name))
			check_abort("%s is not known absent", path);
		rig_reset(rig);
		err = bpf_creates[i].call(path);
		if (err == -ENOSYS) {
			printf("not on this kernel: %s\n", bpf_creates[i].name);
			continue;
		}
		snprintf(what, sizeof(what), "%s creates in %s", bpf_creates[i].name, dir);
		check_why(!err && rig_asked(rig, name) > 0 && rig_find(rig, node, name), what,
			  "%s, and it was asked %u times", strerror(-err), rig_asked(rig, name));
		rig_reset(rig);
	}
}

/* Of names that exist and are known absent: both have to be there for this, and only the filesystem can tell. */
static void check_exchange(struct rig *rig, uint64_t node)
{
	static const char *const ends[] = {"source", "target"};
	char paths[2][128];

	for (unsigned absent = 0; absent < 2; absent++) {
		int err;

		for (unsigned i = 0; i < 2; i++) {
			snprintf(paths[i], sizeof(paths[i]), "%s/names/%s-%u", rig->place, ends[i], absent);
			rig_make(rig, node, strrchr(paths[i], '/') + 1, S_IFREG | 0666, NULL);
		}
		relay_internal_cache_absent_put(rig->maps, node, strrchr(paths[absent], '/') + 1, 8, KNOWN_FOREVER);
		if (known_stat("%s", paths[absent]) != -ENOENT)
			check_abort("%s is not known absent", paths[absent]);
		rig_reset(rig);
		err = renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) < 0 ? -errno : 0;
		check_why(!err && rig_asked(rig, strrchr(paths[absent], '/') + 1),
			  absent ? "exchange: its target is looked for" : "exchange: its source is looked for", "%s",
			  strerror(-err));
	}
}

/*
 * What cannot be taken back is answered no more, for no mount: if the kernel does not let the
 * mount's switch be turned.
 */
static void check_distrust(struct rig *rig)
{
	struct cache cache = {.name = "rig", .bpf = rig->bpf, .mount = rig->mount, .bits = RIG_TRUST};
	struct cache_bpf_mount *another;
	struct bpf_map_info info;
	__u32 id = 0, size;
	int fd;

	if (known_stat("%s/names/absent", rig->place) != -ENOENT)
		check_abort("names/absent is not known absent");
	while (bpf_map_get_next_id(id, &id) == 0) {
		fd = bpf_map_get_fd_by_id(id);
		size = sizeof(info);
		memset(&info, 0, sizeof(info));
		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && !strcmp(info.name, "switches"))
			bpf_map_freeze(fd);
		close(fd);
	}
	check(cache_bpf_set_trust(rig->mount, RIG_TRUST) < 0, "a switch that is frozen cannot be turned");
	cache_distrust(&cache);
	check(!known_stat("%s/names/absent", rig->place), "distrusted all the same: nothing is answered");
	check(cache_bpf_join(rig->bpf, rig->dev, 0, NULL, &another) == -ESHUTDOWN, "nor can another mount join: %s",
	      cache_bpf_why(rig->bpf));
}

/* All lengths that a name can have, of one that is absent by name and by its directory. */
static void check_lengths(struct rig *rig, uint64_t names, uint64_t complete)
{
	char name[KNOWN_NAME_MAX + 2];
	unsigned absent = 0, incomplete = 0, more = 0, present = 0;

	memset(name, 'x', sizeof(name));
	memcpy(name, RIG_ANY, strlen(RIG_ANY));
	for (size_t len = strlen(RIG_ANY); len <= KNOWN_NAME_MAX; len++) {
		name[len] = 0;
		relay_internal_cache_absent_put(rig->maps, names, name, len, KNOWN_FOREVER);
		rig_reset(rig);
		absent += known_stat("%s/names/%s", rig->place, name) == -ENOENT && !rig_asked(rig, name);
		incomplete += known_stat("%s/complete/%s", rig->place, name) == -ENOENT && !rig_asked(rig, name);
		more += known_stat("%s/names/%s/more", rig->place, name) == -ENOENT && !rig_asked(rig, name);
		relay_internal_cache_absent_drop(rig->maps, names, name, len);
		relay_internal_cache_present_put(rig->maps, complete, name, len);
		present += !known_stat("%s/names/%s", rig->place, name) && !known_stat("%s/complete/%s", rig->place, name) &&
			   rig_asked(rig, name) == 2;
		name[len] = 'x';
	}
	check_why(absent == 252, "names of 4 to 255 bytes, known absent", "%u of 252", absent);
	check_why(incomplete == 252, "names of 4 to 255 bytes, not in a complete directory", "%u of 252", incomplete);
	check_why(more == 252, "names of 4 to 255 bytes with more of a path behind them", "%u of 252", more);
	check_why(present == 252, "names of 4 to 255 bytes, not absent", "%u of 252", present);
}

static void check_counters(struct rig *rig)
{
	uint64_t before[KNOWN_COUNTERS], after[KNOWN_COUNTERS];
	char path[128];

	if (cache_bpf_counters(rig->mount, before))
		check_abort("no counters");
	known_stat("%s/names/absent", rig->place);
	known_stat("%s/complete/hidden", rig->place);
	snprintf(path, sizeof(path), "%s/names/absent", rig->place);
	mkdir(path, 0777);
	cache_bpf_counters(rig->mount, after);
	check(after[KNOWN_COUNT_ABSENT] == before[KNOWN_COUNT_ABSENT] + 1, "one more absent name is counted");
	check(after[KNOWN_COUNT_COMPLETE] == before[KNOWN_COUNT_COMPLETE] + 1, "one more of a complete directory is counted");
	check(after[KNOWN_COUNT_FINAL] > before[KNOWN_COUNT_FINAL], "one more that was passed on is counted");
}

static void check_answers(void)
{
	uint64_t names, complete;
	struct rig rig;

	rig_mount(&rig);
	names = known_dir_new(&rig, "names");
	complete = known_dir_new(&rig, "complete");
	rig_make(&rig, names, "absent", S_IFREG | 0666, NULL);
	rig_make(&rig, complete, "hidden", S_IFREG | 0666, NULL);
	rig_make(&rig, complete, "beside", S_IFREG | 0666, NULL);
	rig_join(&rig, 0);
	printf("served by %s\n", cache_bpf_how(rig.bpf));
	relay_internal_cache_absent_put(rig.maps, names, "absent", 6, KNOWN_FOREVER);
	relay_internal_cache_present_put(rig.maps, complete, "beside", 6);
	relay_internal_cache_dir_complete(rig.maps, complete, KNOWN_FOREVER);

	check_looks(&rig, "names", "absent", 0);
	check_looks(&rig, "complete", "hidden", 0);
	check_looks(&rig, "names", "absent", 65534);
	check_creates(&rig, "names", names, false);
	check_creates(&rig, "complete", complete, true);
	check_counters(&rig);
	check_lengths(&rig, names, complete);
	check_exchange(&rig, names);
	known_paths(&rig);
	check_distrust(&rig);
	rig_leave(&rig);
	rig_join(&rig, 0);
	relay_internal_cache_absent_put(rig.maps, names, "absent", 6, KNOWN_FOREVER);
	check(known_stat("%s/names/absent", rig.place) == -ENOENT, "once all have left it is answered anew");
	rig_leave(&rig);
	rig_unmount(&rig);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	check_requires_fuse();
	umask(0);
	if (argc == 1)
		check_answers();
	known_rules(argv + 1);
	return check_end();
}
