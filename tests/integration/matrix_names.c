/*
 * The kill matrix: scenarios of names.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "matrix.h"

static void two_files(void)
{
	place_put("a", "content of a");
	place_put("b", "b's");
}

static void two_directories(void)
{
	mkdir("d", 0755);
	mkdir("e", 0755);
	place_put("d/a", "content of a");
	place_put("e/b", "b's");
}

static void full_directory(void)
{
	mkdir("d", 0755);
	place_put("d/f", "x");
	mkdir("e", 0750);
}

static void setgid_directory(void)
{
	mkdir("d", 0755);
	if (chown("d", 1000, 2000) < 0 || chmod("d", 02777) < 0)
		abort();
}

static void lookup(struct place *place)
{
	place_arm(place);
	place_show(place, "a");
	place_show(place, "b");
}

static void lookup_missing(struct place *place)
{
	place_arm(place);
	place_show(place, "missing");
	TRY(place, access("missing", F_OK));
}

static void make_fifo(struct place *place)
{
	umask(027);
	place_arm(place);
	TRY(place, mkfifo("fifo", 0666));
	place_show(place, "fifo");
}

static void make_node(struct place *place)
{
	place_arm(place);
	TRY(place, mknod("regular", S_IFREG | 0640, 0));
	place_show(place, "regular");
	TRY(place, mknod("regular", S_IFREG | 0640, 0));
}

static void make_device(struct place *place)
{
	place_arm(place);
	TRY(place, mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	place_show(place, "null");
}

static void make_socket(struct place *place)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	place_arm(place);
	TRY(place, bind(fd, (struct sockaddr *)&address, sizeof(address)));
	place_show(place, "socket");
	close(fd);
}

/* What a MKNOD makes belongs to the caller, also when another incarnation finds it. */
static void make_node_as_user(struct place *place)
{
	if (setgid(2000) < 0 || setuid(1000) < 0)
		abort();
	place_arm(place);
	TRY(place, mkfifo("d/fifo", 0644));
	place_show(place, "d/fifo");
}

static void make_directory(struct place *place)
{
	place_arm(place);
	TRY(place, mkdir("new", 0751));
	place_show(place, "new");
	TRY(place, mkdir("new", 0751));
}

static void make_directory_as_user(struct place *place)
{
	if (setgid(3000) < 0 || setuid(1000) < 0)
		abort();
	umask(07);
	place_arm(place);
	TRY(place, mkdir("d/new", 0777));
	place_show(place, "d/new");
	place_show(place, "d");
}

static void make_symlink(struct place *place)
{
	char body[32] = "";

	place_arm(place);
	TRY(place, symlink("the/target", "s"));
	TRY(place, readlink("s", body, sizeof(body)));
	TRY(place, symlink("another", "s"));
	place_show(place, "s");
}

static void make_link(struct place *place)
{
	place_arm(place);
	TRY(place, link("a", "c"));
	place_show(place, "a");
	place_show(place, "c");
	TRY(place, link("a", "c"));
	TRY(place, link("a", "c2"));
	place_show(place, "a");
}

static void create(struct place *place)
{
	int fd;

	place_arm(place);
	fd = open("new", O_RDWR | O_CREAT | O_CLOEXEC, 0604);
	TRY(place, write(fd, "written", 7));
	place_show_content(place, fd);
	place_show_fd(place, "new", fd);
	TRY(place, close(fd));
	place_show(place, "new");
}

static void create_exclusively(struct place *place)
{
	int fd;

	place_arm(place);
	fd = open("new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	TRY(place, write(fd, "mine", 4));
	TRY(place, close(fd));
	TRY(place, open("new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

static void create_without_right(struct place *place)
{
	int fd;

	if (setgid(2000) < 0 || setuid(1000) < 0)
		abort();
	place_arm(place);
	/* The mode forbids what the descriptor is for: an open() of it would fail. */
	fd = open("d/new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	TRY(place, write(fd, "written", 7));
	place_show_content(place, fd);
	TRY(place, close(fd));
	TRY(place, open("d/new", O_RDWR | O_CLOEXEC));
}

static void create_truncating(struct place *place)
{
	int fd;

	place_arm(place);
	fd = open("new", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640);
	TRY(place, write(fd, "one", 3));
	TRY(place, write(fd, "two", 3));
	TRY(place, close(fd));
}

static void remove_file(struct place *place)
{
	place_arm(place);
	TRY(place, unlink("a"));
	place_show(place, "a");
	TRY(place, unlink("a"));
	place_show(place, "b");
}

static void linked_file(void)
{
	place_put("a", "content of a");
	if (link("a", "twin") < 0)
		abort();
}

static void remove_link(struct place *place)
{
	place_arm(place);
	TRY(place, unlink("a"));
	place_show(place, "twin");
}

static void remove_open_file(struct place *place)
{
	int fd = open("a", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, unlink("a"));
	place_show_fd(place, "unlinked", fd);
	TRY(place, pwrite(fd, "after", 5, 8));
	place_show_content(place, fd);
	TRY(place, close(fd));
}

/* The same name comes again between death and redo's end only if unlink succeeded. */
static void remove_and_make_again(struct place *place)
{
	int fd;

	place_arm(place);
	TRY(place, unlink("a"));
	fd = open("a", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	TRY(place, write(fd, "second", 6));
	TRY(place, close(fd));
}

static void remove_directory(struct place *place)
{
	place_arm(place);
	TRY(place, rmdir("e"));
	place_show(place, "e");
	TRY(place, rmdir("e"));
}

static void remove_full_directory(struct place *place)
{
	place_arm(place);
	TRY(place, rmdir("d"));
	place_show(place, "d");
	place_show(place, "d/f");
}

static void rename_file(struct place *place)
{
	place_arm(place);
	TRY(place, rename("a", "c"));
	place_show(place, "a");
	place_show(place, "c");
	TRY(place, rename("a", "c"));
}

static void rename_over(struct place *place)
{
	place_arm(place);
	TRY(place, rename("a", "b"));
	place_show(place, "a");
	place_show(place, "b");
}

static void rename_over_open(struct place *place)
{
	int fd = open("b", O_RDWR | O_CLOEXEC);

	place_arm(place);
	TRY(place, rename("a", "b"));
	place_show_fd(place, "replaced", fd);
	place_show_content(place, fd);
	TRY(place, close(fd));
	place_show(place, "b");
}

static void rename_across(struct place *place)
{
	place_arm(place);
	TRY(place, rename("d/a", "e/c"));
	place_show(place, "d/a");
	place_show(place, "e/c");
}

static void rename_and_back(struct place *place)
{
	place_arm(place);
	TRY(place, rename("d/a", "e/b"));
	TRY(place, rename("e/b", "d/a"));
	place_show(place, "d/a");
	place_show(place, "e/b");
}

static void rename_directory(struct place *place)
{
	place_arm(place);
	TRY(place, rename("d", "e/moved"));
	place_show(place, "e/moved/f");
	place_show(place, "e");
}

static void rename_directory_over(struct place *place)
{
	place_arm(place);
	TRY(place, rename("d", "e"));
	place_show(place, "e/f");
}

static void rename_over_full(struct place *place)
{
	place_arm(place);
	TRY(place, rename("e", "d"));
	place_show(place, "e");
	place_show(place, "d/f");
}

static void rename_noreplace(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	TRY(place, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE));
	place_show(place, "c");
}

static void exchange(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
	place_show(place, "a");
	place_show(place, "b");
}

static void exchange_twice(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "d/a", AT_FDCWD, "e/b", RENAME_EXCHANGE));
	place_show(place, "d/a");
	TRY(place, renameat2(AT_FDCWD, "d/a", AT_FDCWD, "e/b", RENAME_EXCHANGE));
	place_show(place, "d/a");
}

static void exchange_kinds(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "d/a", AT_FDCWD, "e", RENAME_EXCHANGE));
	place_show(place, "d/a/b");
	place_show(place, "e");
}

static void whiteout(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_WHITEOUT));
	place_show(place, "a");
	place_show(place, "c");
}

static void whiteout_over(struct place *place)
{
	place_arm(place);
	TRY(place, renameat2(AT_FDCWD, "d/a", AT_FDCWD, "e/b", RENAME_WHITEOUT));
	place_show(place, "d/a");
	place_show(place, "e/b");
}

static void tmpfile_linked(struct place *place)
{
	char path[64];
	int fd;

	place_arm(place);
	fd = open(".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0640);
	TRY(place, write(fd, "unnamed", 7));
	place_show_fd(place, "tmpfile", fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TRY(place, linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	place_show_content(place, fd);
	TRY(place, close(fd));
	place_show(place, "named");
}

const struct matrix_scenario matrix_names[] = {
	{.opcode = "LOOKUP", .what = "found", .setup = two_files, .run = lookup},
	{.opcode = "LOOKUP", .what = "missing", .run = lookup_missing},
	{.opcode = "MKNOD", .what = "fifo", .run = make_fifo},
	{.opcode = "MKNOD", .what = "regular", .run = make_node},
	{.opcode = "MKNOD", .what = "device", .run = make_device},
	{.opcode = "MKNOD", .what = "socket", .run = make_socket},
	{.opcode = "MKNOD", .what = "by a user, setgid", .setup = setgid_directory, .run = make_node_as_user},
	{.opcode = "MKDIR", .what = "", .run = make_directory},
	{.opcode = "MKDIR", .what = "by a user, setgid", .setup = setgid_directory, .run = make_directory_as_user},
	{.opcode = "SYMLINK", .what = "", .run = make_symlink},
	{.opcode = "LINK", .what = "", .setup = two_files, .run = make_link},
	{.opcode = "LINK", .what = "of O_TMPFILE", .run = tmpfile_linked},
	{.opcode = "TMPFILE", .what = "", .run = tmpfile_linked},
	{.opcode = "CREATE", .what = "", .run = create},
	{.opcode = "CREATE", .what = "O_EXCL", .run = create_exclusively},
	{.opcode = "CREATE", .what = "mode 0, by a user", .setup = setgid_directory, .run = create_without_right},
	{.opcode = "CREATE", .what = "O_TRUNC O_APPEND", .run = create_truncating},
	{.opcode = "UNLINK", .what = "", .setup = two_files, .run = remove_file},
	{.opcode = "UNLINK", .what = "one of two links", .setup = linked_file, .run = remove_link},
	{.opcode = "UNLINK", .what = "open file", .setup = two_files, .run = remove_open_file},
	{.opcode = "UNLINK", .what = "and create", .setup = two_files, .run = remove_and_make_again},
	{.opcode = "RMDIR", .what = "", .setup = full_directory, .run = remove_directory},
	{.opcode = "RMDIR", .what = "not empty", .setup = full_directory, .run = remove_full_directory},
	{.opcode = "RENAME", .what = "", .setup = two_files, .run = rename_file},
	{.opcode = "RENAME", .what = "over a file", .setup = two_files, .run = rename_over},
	{.opcode = "RENAME", .what = "over an open file", .setup = two_files, .run = rename_over_open},
	{.opcode = "RENAME", .what = "across directories", .setup = two_directories, .run = rename_across},
	{.opcode = "RENAME", .what = "there and back", .setup = two_directories, .run = rename_and_back},
	{.opcode = "RENAME", .what = "directory", .setup = full_directory, .run = rename_directory},
	{.opcode = "RENAME", .what = "over a directory", .setup = full_directory, .run = rename_directory_over},
	{.opcode = "RENAME", .what = "over a full one", .setup = full_directory, .run = rename_over_full},
	{.opcode = "RENAME2", .what = "NOREPLACE", .setup = two_files, .run = rename_noreplace},
	{.opcode = "RENAME2", .what = "EXCHANGE", .setup = two_files, .run = exchange},
	{.opcode = "RENAME2", .what = "EXCHANGE twice", .setup = two_directories, .run = exchange_twice},
	{.opcode = "RENAME2", .what = "EXCHANGE kinds", .setup = two_directories, .run = exchange_kinds},
	{.opcode = "RENAME2", .what = "WHITEOUT", .setup = two_files, .run = whiteout},
	{.opcode = "RENAME2", .what = "WHITEOUT over", .setup = two_directories, .run = whiteout_over},
	{.opcode = NULL},
};
