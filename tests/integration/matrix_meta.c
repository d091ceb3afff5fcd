/*
 * The kill matrix: scenarios of attributes, extended ones, and what else a file
 * is asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/posix_acl_xattr.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "matrix.h"

static void one_file(void)
{
	place_put("f", "the content of the file");
	if (chmod("f", 0640) < 0 || symlink("the/target", "s") < 0)
		abort();
}

static void setuid_file(void)
{
	place_put("f", "program");
	if (chown("f", 1000, 1000) < 0 || chmod("f", 06755) < 0)
		abort();
}

static void attributed_file(void)
{
	one_file();
	if (setxattr("f", "user.one", "1", 1, 0) < 0 || setxattr("f", "user.two", "22", 2, 0) < 0)
		abort();
}

static void get_attributes(struct place *place)
{
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	place_arm(place);
	place_show_fd(place, "f", fd);
	place_show(place, "f");
	TRY(place, close(fd));
}

static void get_birth(struct place *place)
{
	struct statx stx = {0};
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	place_arm(place);
	TRY(place, statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx));
	text_add(&place->log, "mask %#x mode %o size %llu born %d\n", stx.stx_mask & STATX_BTIME, stx.stx_mode,
		 (unsigned long long)stx.stx_size, stx.stx_btime.tv_sec != 0);
	TRY(place, close(fd));
}

static void truncate_down(struct place *place)
{
	place_arm(place);
	TRY(place, truncate("f", 5));
	place_show(place, "f");
}

static void truncate_up(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, ftruncate(fd, 100000));
	TRY(place, pwrite(fd, "x", 1, 99999));
	place_show_content(place, fd);
	TRY(place, close(fd));
}

static void truncate_unlinked(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	TRY(place, unlink("f"));
	place_arm(place);
	TRY(place, ftruncate(fd, 3));
	TRY(place, fchmod(fd, 0600));
	place_show_fd(place, "unlinked", fd);
	TRY(place, close(fd));
}

static void truncate_setuid(struct place *place)
{
	if (setgid(1000) < 0 || setuid(1000) < 0)
		abort();
	place_arm(place);
	TRY(place, truncate("f", 3));
	TRY(place, chmod("f", 0777));
	place_show(place, "f");
}

static void change_mode(struct place *place)
{
	place_arm(place);
	TRY(place, chmod("f", 04711));
	place_show(place, "f");
	TRY(place, chmod("f", 0600));
	place_show(place, "f");
}

static void change_owner(struct place *place)
{
	place_arm(place);
	TRY(place, chown("f", 1234, 5678));
	place_show(place, "f");
	TRY(place, lchown("s", 12, 34));
	place_show(place, "s");
}

static void change_owner_setuid(struct place *place)
{
	place_arm(place);
	TRY(place, chown("f", 1234, (gid_t)-1));
	place_show(place, "f");
}

static void show_times(struct place *place, const char *name)
{
	struct timespec now;
	struct stat st = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	if (lstat(name, &st) < 0)
		text_add(&place->log, "%s: %s\n", name, text_errno(errno));
	else if (llabs((long long)(st.st_mtim.tv_sec - now.tv_sec)) < 120)
		text_add(&place->log, "%s: now\n", name);
	else
		text_add(&place->log, "%s: %lld.%09ld %lld.%09ld\n", name, (long long)st.st_atim.tv_sec,
			 st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void change_times(struct place *place)
{
	struct timespec times[2] = {{1000000000, 123456789}, {1100000000, 987654321}};

	place_arm(place);
	TRY(place, utimensat(AT_FDCWD, "f", times, 0));
	show_times(place, "f");
	TRY(place, utimensat(AT_FDCWD, "s", times, AT_SYMLINK_NOFOLLOW));
	show_times(place, "s");
}

static void touch(struct place *place)
{
	struct timespec times[2] = {{1, 1}, {2, 2}};

	utimensat(AT_FDCWD, "f", times, 0);
	place_arm(place);
	TRY(place, utimensat(AT_FDCWD, "f", NULL, 0));
	show_times(place, "f");
}

static void read_symlink(struct place *place)
{
	char body[64] = "";

	place_arm(place);
	TRY(place, readlink("s", body, sizeof(body)));
	text_add(&place->log, "%s\n", body);
}

static void set_xattr(struct place *place)
{
	char value[64] = "";

	place_arm(place);
	TRY(place, setxattr("f", "user.one", "replaced", 8, 0));
	TRY(place, setxattr("f", "user.three", "new", 3, 0));
	TRY(place, getxattr("f", "user.one", value, sizeof(value)));
	text_add(&place->log, "%s\n", value);
}

static void create_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, setxattr("f", "user.three", "new", 3, XATTR_CREATE));
	TRY(place, setxattr("f", "user.three", "again", 5, XATTR_CREATE));
}

static void create_existing_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, setxattr("f", "user.one", "1", 1, XATTR_CREATE));
}

static void replace_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, setxattr("f", "user.one", "replaced", 8, XATTR_REPLACE));
	TRY(place, removexattr("f", "user.one"));
	TRY(place, setxattr("f", "user.one", "replaced", 8, XATTR_REPLACE));
}

static void replace_missing_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, setxattr("f", "user.none", "x", 1, XATTR_REPLACE));
}

static void set_acl(struct place *place)
{
	struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry entries[5];
	} acl = {
		{POSIX_ACL_XATTR_VERSION},
		{{0x01, 6, (uint32_t)-1}, {0x02, 7, 1000}, {0x04, 4, (uint32_t)-1}, {0x10, 5, (uint32_t)-1}, {0x20, 0, (uint32_t)-1}},
	};

	place_arm(place);
	TRY(place, setxattr("f", "system.posix_acl_access", &acl, sizeof(acl), 0));
	place_show(place, "f");
}

static void get_xattr(struct place *place)
{
	char value[64] = "";

	place_arm(place);
	TRY(place, getxattr("f", "user.two", value, sizeof(value)));
	text_add(&place->log, "%s\n", value);
	TRY(place, getxattr("f", "user.none", value, sizeof(value)));
}

static void get_xattr_size(struct place *place)
{
	place_arm(place);
	TRY(place, getxattr("f", "user.two", NULL, 0));
	TRY(place, getxattr("f", "user.two", (char[1]){0}, 1));
}

static void get_missing_xattr(struct place *place)
{
	char value[8];

	place_arm(place);
	TRY(place, getxattr("f", "user.none", value, sizeof(value)));
}

static void list_xattrs(struct place *place)
{
	char list[256] = "";

	place_arm(place);
	TRY(place, listxattr("f", list, sizeof(list)));
	TRY(place, listxattr("f", NULL, 0));
}

static void list_xattrs_size(struct place *place)
{
	place_arm(place);
	TRY(place, listxattr("f", NULL, 0));
	TRY(place, listxattr("f", (char[2]){0}, 2));
}

static void remove_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, removexattr("f", "user.one"));
	TRY(place, removexattr("f", "user.one"));
}

static void remove_missing_xattr(struct place *place)
{
	place_arm(place);
	TRY(place, removexattr("f", "user.none"));
	TRY(place, removexattr("f", "user.one"));
}

static void get_flags(struct place *place)
{
	int flags = -1;
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	place_arm(place);
	TRY(place, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	text_add(&place->log, "%#x\n", flags & (FS_NODUMP_FL | FS_NOATIME_FL | FS_APPEND_FL));
	TRY(place, close(fd));
}

static void set_flags(struct place *place)
{
	int flags = 0;
	int fd = open("f", O_RDONLY | O_CLOEXEC);

	TRY(place, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	flags |= FS_NODUMP_FL;
	place_arm(place);
	TRY(place, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	TRY(place, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	text_add(&place->log, "%#x\n", flags & (FS_NODUMP_FL | FS_NOATIME_FL | FS_APPEND_FL));
	TRY(place, close(fd));
}

/* The next life dies while it takes its place. */
static void kill_and_ask(struct place *place)
{
	int fd = open("f", O_RDWR | O_CLOEXEC);

	place_arm(place);
	if (place->relayd)
		relayd_kill_backend(place->relayd);
	TRY(place, pwrite(fd, "after", 5, 0));
	place_show_content(place, fd);
	TRY(place, close(fd));
	place_show(place, "f");
}

const struct matrix_scenario matrix_meta[] = {
	{.opcode = "GETATTR", .what = "", .setup = one_file, .run = get_attributes},
	{.opcode = "STATX", .what = "", .setup = one_file, .run = get_birth, .first = 39},
	{.opcode = "SETATTR", .what = "truncate", .setup = one_file, .run = truncate_down},
	{.opcode = "SETATTR", .what = "ftruncate up", .setup = one_file, .run = truncate_up},
	{.opcode = "SETATTR", .what = "unlinked", .setup = one_file, .run = truncate_unlinked},
	{.opcode = "SETATTR", .what = "truncate, setuid", .setup = setuid_file, .run = truncate_setuid},
	{.opcode = "SETATTR", .what = "chmod", .setup = one_file, .run = change_mode},
	{.opcode = "SETATTR", .what = "chown", .setup = one_file, .run = change_owner},
	{.opcode = "SETATTR", .what = "chown, setuid", .setup = setuid_file, .run = change_owner_setuid},
	{.opcode = "SETATTR", .what = "utimensat", .setup = one_file, .run = change_times},
	{.opcode = "SETATTR", .what = "touch", .setup = one_file, .run = touch},
	{.opcode = "READLINK", .what = "", .setup = one_file, .run = read_symlink},
	{.opcode = "SETXATTR", .what = "", .setup = attributed_file, .run = set_xattr},
	{.opcode = "SETXATTR", .what = "CREATE", .setup = attributed_file, .run = create_xattr},
	{.opcode = "SETXATTR", .what = "CREATE, EEXIST", .setup = attributed_file, .run = create_existing_xattr,
	 .refused = true},
	{.opcode = "SETXATTR", .what = "REPLACE", .setup = attributed_file, .run = replace_xattr},
	{.opcode = "SETXATTR", .what = "REPLACE, ENODATA", .setup = attributed_file, .run = replace_missing_xattr,
	 .refused = true},
	{.opcode = "SETXATTR", .what = "ACL", .setup = one_file, .run = set_acl},
	{.opcode = "GETXATTR", .what = "", .setup = attributed_file, .run = get_xattr},
	{.opcode = "GETXATTR", .what = "size", .setup = attributed_file, .run = get_xattr_size},
	{.opcode = "GETXATTR", .what = "missing", .setup = attributed_file, .run = get_missing_xattr},
	{.opcode = "LISTXATTR", .what = "", .setup = attributed_file, .run = list_xattrs},
	{.opcode = "LISTXATTR", .what = "size", .setup = attributed_file, .run = list_xattrs_size},
	{.opcode = "REMOVEXATTR", .what = "", .setup = attributed_file, .run = remove_xattr},
	{.opcode = "REMOVEXATTR", .what = "missing", .setup = attributed_file, .run = remove_missing_xattr},
	{.opcode = "IOCTL", .what = "GETFLAGS", .setup = one_file, .run = get_flags},
	{.opcode = "IOCTL", .what = "SETFLAGS", .setup = one_file, .run = set_flags},
	{.opcode = "INIT", .what = "", .setup = one_file, .run = kill_and_ask, .kills = 1},
	{.opcode = NULL},
};
