/* Mounting the filesystem, and having it served. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_bpf_object.h"
#include "lib/check.h"

void rig_mount(struct rig *rig)
{
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[160];
	struct stat st;

	memset(rig, 0, sizeof(*rig));
	strcpy(rig->place, "/tmp/relayd-bpf.XXXXXX");
	if (device < 0 || !mkdtemp(rig->place))
		check_abort("no /dev/fuse, or no directory");
	chmod(rig->place, 0755);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40777,user_id=0,group_id=0,allow_other,default_permissions",
		 device);
	if (mount("rig", rig->place, "fuse.rig", 0, options) < 0)
		check_abort("mount: %s", strerror(errno));
	rig->fs = rig_fs_new(device);
	if (stat(rig->place, &st) < 0)
		check_abort("%s: %s", rig->place, strerror(errno));
	rig->dev = st.st_dev;
}

void rig_unmount(struct rig *rig)
{
	if (umount2(rig->place, 0) < 0)
		check_abort("umount %s: %s", rig->place, strerror(errno));
	rmdir(rig->place);
	rig_fs_free(rig->fs);
	rig->fs = NULL;
}

/* The programs of the build for tests, without these rules. */
static struct cache_bpf_object object_without(uint64_t rules_off)
{
	const char *top = getenv("top_builddir");
	const uint64_t mark = KNOWN_RULES_MARK;
	struct cache_bpf_object object;
	char path[512], *bytes, *at;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/bpf/known-rules.elf", top ? top : ".");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !(bytes = malloc((size_t)st.st_size)) ||
	    read(fd, bytes, (size_t)st.st_size) != st.st_size)
		check_abort("%s: %s", path, strerror(errno));
	close(fd);
	at = memmem(bytes, (size_t)st.st_size, &mark, sizeof(mark));
	if (!at)
		check_abort("%s has no place for rules", path);
	memcpy(at, &rules_off, sizeof(rules_off));
	object.bytes = bytes;
	object.size = (size_t)st.st_size;
	return object;
}

void rig_join(struct rig *rig, uint64_t rules_off)
{
	struct cache_bpf_object production = *cache_bpf_known(), without = {0};
	int err;

	if (rules_off)
		*cache_bpf_known() = without = object_without(rules_off);
	rig->bpf = cache_bpf_new();
	err = rig->bpf ? cache_bpf_join(rig->bpf, rig->dev, RIG_TRUST, NULL, &rig->mount) : -ENOMEM;
	if (err)
		check_abort("not served: %s (%s)", rig->bpf ? cache_bpf_why(rig->bpf) : "no memory", strerror(-err));
	rig->maps = cache_bpf_maps(rig->mount);
	*cache_bpf_known() = production;
	if (rules_off)
		free((void *)without.bytes);
}

void rig_leave(struct rig *rig)
{
	cache_bpf_leave(rig->mount);
	cache_bpf_free(rig->bpf);
	rig->mount = NULL;
	rig->bpf = NULL;
	rig->maps = NULL;
}

uint64_t rig_make(struct rig *rig, uint64_t dir, const char *name, mode_t mode, const char *target)
{
	return rig_fs_make(rig->fs, dir, name, mode, target);
}

uint64_t rig_find(struct rig *rig, uint64_t dir, const char *name)
{
	return rig_fs_find(rig->fs, dir, name);
}

void rig_reset(struct rig *rig)
{
	rig_fs_reset(rig->fs);
}

unsigned rig_asked(struct rig *rig, const char *name)
{
	return rig_fs_asked(rig->fs, name);
}
