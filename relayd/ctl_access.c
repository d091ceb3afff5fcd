/*
 * The right of another user to have root's relayd mount on a directory.
 *
 * What is looked at is a descriptor that the client opened himself, so his own
 * rights took him there, and it does not change under the checks.  The mount
 * is made on that very directory, by whatever name (session.c).
 *
 * root walking a path, or asking for attributes, waits for whoever serves the
 * filesystem: one served by the user himself could hold up relayd for ever.
 * Types are compared before anything is asked.
 */
#include "ctl_access.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "place.h"

/* fusermount3's limit, where fuse.conf has none. */
#define MOUNT_MAX 1000u

/* fusermount3's list, without FUSE itself and what is no place for a mountpoint. */
static const char *const types[] = {
	"bcachefs", "btrfs",	"ceph",	  "cifs",   "ecryptfs", "exfat", "ext2", "ext3",   "ext4",  "f2fs",  "gfs2",
	"gpfs",	    "jffs2",	"jfs",	  "lustre", "msdos",	"nfs",	 "nfs4", "nilfs2", "ntfs3", "ocfs2", "overlay",
	"ramfs",    "reiserfs", "rootfs", "smb3",   "tmpfs",	"ubifs", "ufs",	 "vfat",   "xfs",   "zfs",
};

void ctl_access_conf_read(struct ctl_access_conf *conf, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[256];

	*conf = (struct ctl_access_conf){.mount_max = MOUNT_MAX};
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		unsigned n;
		int end = 0;

		line[strcspn(line, "#\n")] = '\0';
		if (sscanf(line, " mount_max = %u %n", &n, &end) == 1 && end && !line[end])
			conf->mount_max = n;
		end = 0;
		sscanf(line, " user_allow_other %n", &end);
		if (end && !line[end])
			conf->user_allow_other = true;
	}
	fclose(file);
}

static bool type_known(const char *type)
{
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(type, types[i]) == 0)
			return true;
	}
	return false;
}

/* The directory's own mount by its type, and those above it: none that a user may serve. */
static bool type_allowed(const char *type, bool own)
{
	return own ? type_known(type) : strncmp(type, "fuse", 4) != 0;
}

/* Each mount from the directory's up to the namespace's root, whose parent is none of ours. */
static int mounts_check(int fd, const char *path, char *why, size_t why_size)
{
	FILE *mountinfo = place_proc_open("mountinfo");
	int id = place_mount_of(fd);
	bool own = true;
	char type[64];
	int parent, err = 0;

	if (!mountinfo || id < 0) {
		snprintf(why, why_size, "/proc is not mounted: relayd cannot tell where %s is", path);
		err = -EACCES;
	}
	while (!err && place_mount_lookup(mountinfo, id, &parent, type, sizeof(type))) {
		if (!type_allowed(type, own)) {
			snprintf(why, why_size, "%s: is on or below a filesystem of type %s, where users may not mount",
				 path, type);
			err = -EPERM;
		}
		own = false;
		if (parent == id)
			break;
		id = parent;
	}
	if (!err && own) {
		snprintf(why, why_size, "%s: is neither in relayd's mount namespace nor in that of the process", path);
		err = -EPERM;
	}
	if (mountinfo)
		fclose(mountinfo);
	return err;
}

static int directory_check(int fd, const char *path, uid_t uid, char *why, size_t why_size)
{
	struct statvfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0) {
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		return -EACCES;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(why, why_size, "%s: not a directory", path);
		return -ENOTDIR;
	}
	if (st.st_uid != uid || !(st.st_mode & S_IWUSR)) {
		snprintf(why, why_size, "%s: is not a directory of yours that you can write to", path);
		return -EPERM;
	}
	if (fs.f_flag & ST_RDONLY) {
		snprintf(why, why_size, "%s: is on a read-only filesystem", path);
		return -EROFS;
	}
	if (st.st_nlink == 0) {
		snprintf(why, why_size, "%s: has been removed", path);
		return -ENOENT;
	}
	return 0;
}

int ctl_access_check(int fd, const char *path, uid_t uid, char *why, size_t why_size)
{
	char real[PATH_MAX];
	int err;

	err = mounts_check(fd, path, why, why_size);
	if (!err)
		err = directory_check(fd, path, uid, why, why_size);
	if (err)
		return err;
	if (place_path_of(fd, real, sizeof(real)) < 0)
		*real = '\0';
	if (strcmp(real, path) != 0) {
		snprintf(why, why_size, "%s: is called %s meanwhile", path, real);
		return -ENOENT;
	}
	return 0;
}
