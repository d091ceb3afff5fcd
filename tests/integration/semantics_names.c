/*
 * Names: creating, removing and renaming them, and what paths may look like.
 */
#include "semantics.h"

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

static void directories(struct text *out)
{
	TRY(out, mkdir("d", 0755));
	TRY(out, mkdir("d", 0755));
	TRY(out, mkdir("d/", 0755));
	TRY(out, mkdir(".", 0755));
	TRY(out, mkdir("..", 0755));
	TRY(out, mkdir("", 0755));
	TRY(out, mkdir("missing/d", 0755));
	TRY(out, semantics_put("f", "x"));
	TRY(out, mkdir("f", 0755));
	TRY(out, mkdir("f/d", 0755));
	TRY(out, rmdir("f"));
	TRY(out, rmdir("missing"));
	TRY(out, rmdir("d/."));
	TRY(out, rmdir("d/.."));
	TRY(out, mkdir("d/e", 0700));
	semantics_show(out, "d");
	TRY(out, rmdir("d"));
	TRY(out, unlink("d"));
	TRY(out, unlink("d/e/"));
	TRY(out, rmdir("d/e/"));
	TRY(out, rmdir("d"));
	TRY(out, unlink("f/"));
	TRY(out, unlink("f"));
	TRY(out, unlink("f"));
	TRY(out, unlink(""));
}

static void long_names(struct text *out)
{
	char name[300];

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	TRY(out, semantics_put(name, "long"));
	semantics_show_content(out, name);
	TRY(out, rename(name, "short"));
	TRY(out, link("short", name));
	TRY(out, unlink(name));
	TRY(out, mkdir(name, 0755));
	TRY(out, rmdir(name));
	TRY(out, symlink("target", name));
	TRY(out, unlink(name));
	name[255] = 'n';
	name[256] = '\0';
	TRY(out, semantics_put(name, "long"));
	TRY(out, mkdir(name, 0755));
	TRY(out, symlink("target", name));
	TRY(out, link("short", name));
	TRY(out, rename("short", name));
	TRY(out, rename(name, "other"));
	TRY(out, unlink(name));
	TRY(out, access(name, F_OK));
}

static void long_paths(struct text *out)
{
	char path[4200];
	char body[4200];
	size_t size = 0;

	while (size < 4094) {
		path[size++] = '.';
		path[size++] = '/';
	}
	path[4094] = 'x';
	path[4095] = '\0';
	TRY(out, semantics_put(path, "deep"));
	TRY(out, access(path, R_OK));
	path[4095] = 'x';
	path[4096] = '\0';
	TRY(out, access(path, R_OK));
	memset(body, 's', sizeof(body));
	body[4095] = '\0';
	TRY(out, symlink(body, "long"));
	TRY(out, readlink("long", path, sizeof(path)));
	body[4095] = 's';
	body[4096] = '\0';
	TRY(out, symlink(body, "longer"));
	body[1000] = '\0';
	TRY(out, symlink(body, "thousand"));
	TRY(out, readlink("thousand", path, sizeof(path)));
	TRY(out, readlink("thousand", path, 10));
	semantics_show(out, "thousand");
}

static void odd_bytes(struct text *out)
{
	static const char *const names[] = {"\xff\xfe\x80", "\x01\x02\n\t", " ", "...", "\\", "a*?[", "\xc3\x28",
					    "-rf",	    "%s%n",	    "~",  "\x7f"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		TRY(out, semantics_put(names[i], names[i]));
		TRY(out, access(names[i], R_OK));
		TRY(out, rename(names[i], "plain"));
		semantics_show_content(out, "plain");
		TRY(out, rename("plain", names[i]));
		TRY(out, unlink(names[i]));
	}
}

static void rename_files(struct text *out)
{
	TRY(out, semantics_put("a", "A"));
	TRY(out, semantics_put("b", "BB"));
	TRY(out, rename("a", "a"));
	TRY(out, rename("a", "b"));
	semantics_show(out, "a");
	semantics_show_content(out, "b");
	TRY(out, rename("missing", "b"));
	TRY(out, rename("b", "missing/b"));
	TRY(out, rename("b", ""));
	TRY(out, rename("b", "."));
	TRY(out, rename("b", "c/"));
	TRY(out, link("b", "twin"));
	TRY(out, rename("b", "twin")); /* the same inode: nothing happens */
	semantics_show(out, "b");
	semantics_show(out, "twin");
	TRY(out, mkdir("d", 0755));
	TRY(out, rename("b", "d"));
	TRY(out, rename("b", "d/b"));
	TRY(out, rename("d/b", "../outside-is-not-here/b"));
	semantics_show(out, "d/b");
	TRY(out, symlink("d", "s"));
	TRY(out, rename("s", "t"));
	semantics_show(out, "t");
	TRY(out, rename("t/b", "s"));
	semantics_show(out, "s");
}

static void rename_directories(struct text *out)
{
	TRY(out, mkdir("d", 0755));
	TRY(out, mkdir("d/sub", 0755));
	TRY(out, mkdir("e", 0755));
	TRY(out, mkdir("full", 0755));
	TRY(out, semantics_put("full/f", "x"));
	TRY(out, semantics_put("f", "x"));
	TRY(out, rename("d", "d/sub/d"));
	TRY(out, rename("d", "d/x"));
	TRY(out, rename("d/sub", "d"));
	TRY(out, rename("d", "f"));
	TRY(out, rename("d", "full"));
	TRY(out, rename("d/.", "x"));
	TRY(out, rename("d/..", "x"));
	TRY(out, rename("d", "e"));
	semantics_show(out, "e");
	semantics_show(out, "e/sub");
	TRY(out, rename("e/sub", "full/sub"));
	semantics_show(out, "e");
	semantics_show(out, "full");
	TRY(out, rename("e/", "g/"));
	TRY(out, rename("full", "full"));
	TRY(out, access("full/sub/..", F_OK));
}

static void rename_flags(struct text *out)
{
	TRY(out, semantics_put("a", "A"));
	TRY(out, semantics_put("b", "BB"));
	TRY(out, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	TRY(out, renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	TRY(out, renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE));
	semantics_show_content(out, "b");
	semantics_show_content(out, "c");
	TRY(out, renameat2(AT_FDCWD, "c", AT_FDCWD, "missing", RENAME_EXCHANGE));
	TRY(out, mkdir("d", 0755));
	TRY(out, semantics_put("d/f", "x"));
	TRY(out, renameat2(AT_FDCWD, "c", AT_FDCWD, "d", RENAME_EXCHANGE));
	semantics_show(out, "c");
	semantics_show(out, "d");
	TRY(out, renameat2(AT_FDCWD, "c", AT_FDCWD, "c/f", RENAME_EXCHANGE));
	TRY(out, renameat2(AT_FDCWD, "c", AT_FDCWD, "c", RENAME_EXCHANGE));
	TRY(out, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE | RENAME_NOREPLACE));
	TRY(out, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 1 << 7));
	TRY(out, renameat2(AT_FDCWD, "b", AT_FDCWD, "w", RENAME_WHITEOUT));
	semantics_show(out, "b");
	semantics_show_content(out, "w");
	TRY(out, renameat2(AT_FDCWD, "w", AT_FDCWD, "w2", RENAME_WHITEOUT | RENAME_NOREPLACE));
	semantics_show(out, "w");
}

static void open_flags(struct text *out)
{
	TRY(out, semantics_put("f", "content"));
	TRY(out, mkdir("d", 0755));
	TRY(out, symlink("f", "s"));
	TRY(out, symlink("missing", "dangling"));
#define OPENS(name, flags)                                                                                             \
	do {                                                                                                           \
		int fd = open(name, flags, 0640);                                                                      \
		text_add(out, "open %s %s = %s\n", name, #flags, fd < 0 ? text_errno(errno) : "ok");                   \
		if (fd >= 0)                                                                                           \
			close(fd);                                                                                     \
	} while (0)
	OPENS("f", O_RDWR | O_CREAT | O_EXCL);
	OPENS("f", O_RDONLY | O_DIRECTORY);
	OPENS("d", O_RDONLY | O_DIRECTORY);
	OPENS("d", O_RDWR);
	OPENS("d", O_WRONLY);
	OPENS("d", O_RDONLY | O_CREAT);
	OPENS("d", O_RDONLY | O_TRUNC);
	OPENS("s", O_RDONLY | O_NOFOLLOW);
	OPENS("s", O_PATH | O_NOFOLLOW);
	OPENS("s", O_RDWR | O_CREAT | O_EXCL);
	OPENS("dangling", O_RDONLY);
	OPENS("dangling", O_RDWR | O_CREAT | O_EXCL);
	OPENS("dangling", O_RDWR | O_CREAT);
	semantics_show(out, "missing");
	OPENS("f/", O_RDONLY);
	OPENS("new/", O_RDWR | O_CREAT);
	OPENS("f/x", O_RDWR | O_CREAT);
	OPENS("missing-dir/x", O_RDWR | O_CREAT);
	OPENS("f", O_RDONLY | O_CREAT);
	semantics_show_content(out, "f");
	OPENS("f", O_WRONLY | O_TRUNC);
	semantics_show_content(out, "f");
	OPENS("n1", O_RDONLY | O_CREAT | O_EXCL);
	OPENS("n2", O_WRONLY | O_CREAT | O_TRUNC);
	OPENS("n3", O_WRONLY | O_CREAT | O_APPEND | O_SYNC);
	OPENS("n4", O_RDWR | O_CREAT | O_DSYNC | O_NONBLOCK | O_NOCTTY);
	semantics_show(out, "n1");
	semantics_show(out, "n4");
#undef OPENS
}

static void special_files(struct text *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte = 'x';
	int fd;

	TRY(out, mkfifo("fifo", 0640));
	TRY(out, mkfifo("fifo", 0640));
	semantics_show(out, "fifo");
	fd = open("fifo", O_RDWR | O_CLOEXEC);
	TRY(out, write(fd, "p", 1));
	TRY(out, read(fd, &byte, 1));
	text_add(out, "through the fifo: %c\n", byte);
	close(fd);
	TRY(out, open("fifo", O_WRONLY | O_NONBLOCK));
	TRY(out, bind(listener, (struct sockaddr *)&address, sizeof(address)));
	TRY(out, bind(client, (struct sockaddr *)&address, sizeof(address)));
	TRY(out, listen(listener, 1));
	TRY(out, connect(client, (struct sockaddr *)&address, sizeof(address)));
	semantics_show(out, "socket");
	TRY(out, open("socket", O_RDONLY));
	close(listener);
	close(client);
	TRY(out, mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	semantics_show(out, "null");
	TRY(out, mknod("block", S_IFBLK | 0600, makedev(7, 200)));
	semantics_show(out, "block");
	TRY(out, mknod("regular", S_IFREG | 0604, 0));
	semantics_show(out, "regular");
	TRY(out, mknod("whiteout", S_IFCHR, makedev(0, 0)));
	semantics_show(out, "whiteout");
	TRY(out, mknod("nothing", S_IFDIR | 0755, 0));
	fd = open("null", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		TRY(out, write(fd, "gone", 4));
		TRY(out, read(fd, &byte, 1));
		close(fd);
	}
	TRY(out, rename("fifo", "pipe"));
	TRY(out, link("pipe", "pipe2"));
	semantics_show(out, "pipe2");
	TRY(out, unlink("pipe"));
	TRY(out, unlink("socket"));
}

const struct semantics_check semantics_names[] = {
	{"mkdir, rmdir and unlink", NULL, directories},
	{"names of 255 and 256 bytes", NULL, long_names},
	{"paths and symlinks of PATH_MAX", NULL, long_paths},
	{"names that are not UTF-8", NULL, odd_bytes},
	{"rename of files", NULL, rename_files},
	{"rename of directories", NULL, rename_directories},
	{"rename with flags", NULL, rename_flags},
	{"open flags", NULL, open_flags},
	{"fifos, sockets and devices", NULL, special_files},
	{NULL, NULL, NULL},
};
