/*
 * Who may do what: modes, owners, groups, the sticky, setuid and setgid bits, the
 * umask.
 */
#include "semantics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const mode_t modes[] = {0000, 0400, 0200, 0100, 0040, 0020, 0010, 0004, 0002, 0001,
			       0600, 0060, 0006, 0700, 0070, 0007, 0077, 0707, 0777};

/* Each mode for an owner that is the user, for a group that is, for neither. */
static const struct {
	const char *name;
	uid_t uid;
	gid_t gid;
} owners[] = {
	{"mine", SEMANTICS_UID, SEMANTICS_GID},
	{"group", SEMANTICS_OTHER, SEMANTICS_GID},
	{"supplementary", SEMANTICS_OTHER, SEMANTICS_GROUP2},
	{"nobodys", 65534, SEMANTICS_OTHER},
	{"others", SEMANTICS_OTHER, SEMANTICS_OTHER},
	{"roots", 0, 0},
};

#define OWNERS (sizeof(owners) / sizeof(owners[0]))
#define MODES (sizeof(modes) / sizeof(modes[0]))

static void prepare_modes(void)
{
	char name[64];

	for (size_t o = 0; o < OWNERS; o++)
		for (size_t m = 0; m < MODES; m++) {
			snprintf(name, sizeof(name), "f-%s-%03o", owners[o].name, modes[m]);
			semantics_put(name, "#!/bin/true\n");
			if (chown(name, owners[o].uid, owners[o].gid) < 0 || chmod(name, modes[m]) < 0)
				exit(119);
			snprintf(name, sizeof(name), "d-%s-%03o", owners[o].name, modes[m]);
			mkdir(name, 0755);
			strcat(name, "/f");
			semantics_put(name, "inner");
			chmod(name, 0666);
			name[strlen(name) - 2] = '\0';
			if (chown(name, owners[o].uid, owners[o].gid) < 0 || chmod(name, modes[m]) < 0)
				exit(119);
		}
}

static void try_open(struct text *out, const char *name, int flags)
{
	int fd = open(name, flags, 0600);

	text_add(out, " %s", fd < 0 ? text_errno(errno) : "ok");
	if (fd >= 0)
		close(fd);
}

static void file_modes(struct text *out)
{
	char name[64];

	for (size_t o = 0; o < OWNERS; o++)
		for (size_t m = 0; m < MODES; m++) {
			snprintf(name, sizeof(name), "f-%s-%03o", owners[o].name, modes[m]);
			text_add(out, "%s:", name);
			try_open(out, name, O_RDONLY);
			try_open(out, name, O_WRONLY);
			try_open(out, name, O_RDWR);
			try_open(out, name, O_WRONLY | O_TRUNC);
			text_add(out, " r %s", text_result(access(name, R_OK)));
			text_add(out, " w %s", text_result(access(name, W_OK)));
			text_add(out, " x %s", text_result(access(name, X_OK)));
			text_add(out, " rx %s", text_result(faccessat(AT_FDCWD, name, R_OK | X_OK, AT_EACCESS)));
			text_add(out, " truncate %s\n", text_result(truncate(name, 1)));
		}
}

static void directory_modes(struct text *out)
{
	char name[64];
	char inner[80];

	for (size_t o = 0; o < OWNERS; o++)
		for (size_t m = 0; m < MODES; m++) {
			snprintf(name, sizeof(name), "d-%s-%03o", owners[o].name, modes[m]);
			text_add(out, "%s:", name);
			try_open(out, name, O_RDONLY | O_DIRECTORY);
			snprintf(inner, sizeof(inner), "%s/f", name);
			try_open(out, inner, O_RDONLY);
			snprintf(inner, sizeof(inner), "%s/missing", name);
			try_open(out, inner, O_RDONLY);
			snprintf(inner, sizeof(inner), "%s/new", name);
			try_open(out, inner, O_WRONLY | O_CREAT);
			text_add(out, " unlink %s", text_result(unlink(inner)));
			text_add(out, " mkdir %s", text_result(mkdir(inner, 0755)));
			text_add(out, " rmdir %s", text_result(rmdir(inner)));
			text_add(out, " chdir %s", text_result(access(name, X_OK)));
			text_add(out, " tmpfile");
			try_open(out, name, O_RDWR | O_TMPFILE);
			text_add(out, "\n");
		}
}

static void prepare_owners(void)
{
	for (size_t o = 0; o < OWNERS; o++) {
		semantics_put(owners[o].name, "x");
		if (chown(owners[o].name, owners[o].uid, owners[o].gid) < 0 || chmod(owners[o].name, 06755) < 0)
			exit(119);
	}
}

static void changing_modes(struct text *out)
{
	for (size_t o = 0; o < OWNERS; o++) {
		TRY(out, chmod(owners[o].name, 06777));
		semantics_show(out, owners[o].name);
		TRY(out, chmod(owners[o].name, 02644));
		semantics_show(out, owners[o].name);
		TRY(out, chmod(owners[o].name, 01644));
		semantics_show(out, owners[o].name);
		TRY(out, chmod(owners[o].name, 07777));
		semantics_show(out, owners[o].name);
	}
	TRY(out, chmod("missing", 0644));
	TRY(out, fchmodat(AT_FDCWD, "mine", 0600, 0));
}

static void changing_owners(struct text *out)
{
	static const gid_t groups[] = {SEMANTICS_GID, SEMANTICS_GROUP, SEMANTICS_GROUP2, SEMANTICS_OTHER, 65534, 0};

	for (size_t o = 0; o < OWNERS; o++) {
		for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
			text_add(out, "%s to group %d: %s\n", owners[o].name, (int)groups[g],
				 text_result(chown(owners[o].name, (uid_t)-1, groups[g])));
			semantics_show(out, owners[o].name);
		}
		TRY(out, chown(owners[o].name, SEMANTICS_UID, (gid_t)-1));
		TRY(out, chown(owners[o].name, 65534, (gid_t)-1));
		TRY(out, chown(owners[o].name, 0, 0));
		semantics_show(out, owners[o].name);
	}
}

static void prepare_suid(void)
{
	static const char *const names[] = {"write", "truncate", "open", "chown", "fallocate", "group", "append", "mmap"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		semantics_put(names[i], "program");
		if (chown(names[i], SEMANTICS_OTHER, SEMANTICS_OTHER) < 0 || chmod(names[i], 06777) < 0)
			exit(119);
	}
	/* Without the group's x, setgid stands for mandatory locking, and stays. */
	if (chmod("group", 06767) < 0)
		exit(119);
}

static void clearing_suid(struct text *out)
{
	int fd;

	fd = open("write", O_WRONLY | O_CLOEXEC);
	TRY(out, write(fd, "x", 1));
	semantics_show_fd(out, "write, still open", fd);
	close(fd);
	semantics_show(out, "write");
	TRY(out, truncate("truncate", 3));
	semantics_show(out, "truncate");
	fd = open("open", O_WRONLY | O_TRUNC | O_CLOEXEC);
	semantics_show(out, "open");
	close(fd);
	/* To others than the owner and root, the kernel's FUSE does not refuse it. */
	if (geteuid() == 0)
		TRY(out, chown("chown", (uid_t)-1, (gid_t)-1));
	semantics_show(out, "chown");
	TRY(out, chown("chown", SEMANTICS_OTHER, SEMANTICS_OTHER));
	semantics_show(out, "chown");
	fd = open("fallocate", O_WRONLY | O_CLOEXEC);
	TRY(out, fallocate(fd, 0, 0, 4096));
	close(fd);
	semantics_show(out, "fallocate");
	fd = open("group", O_WRONLY | O_CLOEXEC);
	TRY(out, write(fd, "x", 1));
	close(fd);
	semantics_show(out, "group");
	fd = open("append", O_WRONLY | O_APPEND | O_CLOEXEC);
	TRY(out, write(fd, "x", 1));
	TRY(out, write(fd, "x", 1));
	close(fd);
	semantics_show(out, "append");
}

static void prepare_sticky(void)
{
	static const char *const dirs[] = {"sticky", "plain", "stickymine"};
	char name[64];

	for (size_t d = 0; d < 3; d++) {
		mkdir(dirs[d], 0755);
		for (size_t o = 0; o < OWNERS; o++)
			for (int i = 0; i < 4; i++) {
				snprintf(name, sizeof(name), "%s/%s%d", dirs[d], owners[o].name, i);
				semantics_put(name, "x");
				if (chown(name, owners[o].uid, owners[o].gid) < 0)
					exit(119);
			}
		if (chown(dirs[d], d == 2 ? SEMANTICS_UID : SEMANTICS_OTHER, 0) < 0)
			exit(119);
		chmod(dirs[d], d == 1 ? 0777 : 01777);
	}
}

static void sticky_directories(struct text *out)
{
	static const char *const dirs[] = {"sticky", "plain", "stickymine"};
	char name[64];
	char other[64];

	for (size_t d = 0; d < 3; d++)
		for (size_t o = 0; o < OWNERS; o++) {
			snprintf(name, sizeof(name), "%s/%s0", dirs[d], owners[o].name);
			text_add(out, "%s: unlink %s", name, text_result(unlink(name)));
			snprintf(name, sizeof(name), "%s/%s1", dirs[d], owners[o].name);
			snprintf(other, sizeof(other), "%s/renamed%zu", dirs[d], o);
			text_add(out, " rename %s", text_result(rename(name, other)));
			snprintf(other, sizeof(other), "%s/fresh%zu", dirs[d], o);
			semantics_put(other, "y");
			snprintf(name, sizeof(name), "%s/%s2", dirs[d], owners[o].name);
			text_add(out, " replace %s", text_result(rename(other, name)));
			snprintf(other, sizeof(other), "%s/link%zu", dirs[d], o);
			snprintf(name, sizeof(name), "%s/%s3", dirs[d], owners[o].name);
			text_add(out, " link %s\n", text_result(link(name, other)));
		}
}

static void prepare_setgid(void)
{
	mkdir("dir", 0755);
	mkdir("own", 0755);
	if (chown("dir", SEMANTICS_OTHER, SEMANTICS_OTHER) < 0 || chmod("dir", 02777) < 0)
		exit(119);
	if (chown("own", SEMANTICS_OTHER, SEMANTICS_GROUP) < 0 || chmod("own", 02777) < 0)
		exit(119);
}

static void setgid_directories(struct text *out)
{
	static const char *const dirs[] = {"dir", "own"};

	for (size_t d = 0; d < 2; d++) {
		int fd;

		if (chdir(dirs[d]) < 0)
			text_add(out, "chdir: %s\n", text_errno(errno));
		fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 02775);
		close(fd);
		semantics_show(out, "file");
		TRY(out, mkdir("dir", 0775));
		semantics_show(out, "dir");
		TRY(out, mkdir("dir/dir", 0700));
		semantics_show(out, "dir/dir");
		TRY(out, mkfifo("fifo", 02660));
		semantics_show(out, "fifo");
		TRY(out, mknod("node", S_IFREG | 02777, 0));
		semantics_show(out, "node");
		TRY(out, symlink("x", "symlink"));
		semantics_show(out, "symlink");
		fd = open(".", O_RDWR | O_TMPFILE | O_CLOEXEC, 02777);
		semantics_show_fd(out, "tmpfile", fd);
		close(fd);
		TRY(out, chmod("file", 02755));
		semantics_show(out, "file");
		if (chdir("..") < 0)
			text_add(out, "chdir: %s\n", text_errno(errno));
	}
}

static void creating_with_umask(struct text *out)
{
	static const mode_t masks[] = {0, 022, 027, 077, 0177, 0777};
	char name[32];

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		umask(masks[i]);
		snprintf(name, sizeof(name), "f%zu", i);
		close(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
		semantics_show(out, name);
		snprintf(name, sizeof(name), "x%zu", i);
		close(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 07777));
		semantics_show(out, name);
		snprintf(name, sizeof(name), "d%zu", i);
		mkdir(name, 01777);
		semantics_show(out, name);
		snprintf(name, sizeof(name), "p%zu", i);
		mkfifo(name, 0666);
		semantics_show(out, name);
		snprintf(name, sizeof(name), "n%zu", i);
		mknod(name, S_IFREG | 0777, 0);
		semantics_show(out, name);
		snprintf(name, sizeof(name), "s%zu", i);
		symlink("x", name);
		semantics_show(out, name);
	}
}

/* A mode that forbids what the descriptor was opened for does not take it back. */
static void open_descriptors(struct text *out)
{
	char byte;
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0);

	text_add(out, "created without any right: %s\n", fd < 0 ? text_errno(errno) : "ok");
	TRY(out, write(fd, "x", 1));
	TRY(out, pread(fd, &byte, 1, 0));
	TRY(out, open("f", O_RDONLY));
	TRY(out, fchmod(fd, 0200));
	TRY(out, ftruncate(fd, 0));
	close(fd);
	TRY(out, chmod("f", 0400));
	fd = open("f", O_RDONLY | O_CLOEXEC);
	TRY(out, ftruncate(fd, 0));
	TRY(out, write(fd, "x", 1));
	TRY(out, fallocate(fd, 0, 0, 10));
	TRY(out, fchmod(fd, 0644));
	TRY(out, fsetxattr(fd, "user.a", "b", 1, 0));
	semantics_show_fd(out, "f", fd);
	close(fd);
}

const struct semantics_check semantics_permissions[] = {
	{"file modes", prepare_modes, file_modes},
	{"directory modes", prepare_modes, directory_modes},
	{"chmod", prepare_owners, changing_modes},
	{"chown", prepare_owners, changing_owners},
	{"setuid and setgid are cleared", prepare_suid, clearing_suid},
	{"sticky directories", prepare_sticky, sticky_directories},
	{"setgid directories", prepare_setgid, setgid_directories},
	{"umask", NULL, creating_with_umask},
	{"rights of open descriptors", NULL, open_descriptors},
	{NULL, NULL, NULL},
};
