/*
 * Renames with flags, on a mount whose kernel answers for what does not exist: what they make is
 * there and what they take is not, in directories that are known and in such that are not.
 *
 *	renames DIR
 *
 * Each name is looked up twice beforehand where it is absent, so that it is known to be.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"

enum there {
	ABSENT,
	FILE_THERE,
	DIR_THERE,
	WHITEOUT_THERE,
};

static int base;

static enum there look(const char *path)
{
	struct stat st;

	if (fstatat(base, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return ABSENT;
	return S_ISDIR(st.st_mode) ? DIR_THERE : S_ISCHR(st.st_mode) ? WHITEOUT_THERE : FILE_THERE;
}

static void list(const char *path)
{
	int fd = openat(base, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		check_abort("%s: %s", path, strerror(errno));
	while (readdir(dir))
		;
	closedir(dir);
}

static void make(const char *path, enum there what)
{
	int fd;

	if (what == DIR_THERE) {
		if (mkdirat(base, path, 0700) < 0)
			check_abort("mkdir %s: %s", path, strerror(errno));
	} else if (what == FILE_THERE) {
		fd = openat(base, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd < 0)
			check_abort("%s: %s", path, strerror(errno));
		close(fd);
	}
}

static void end(const char *path)
{
	unlinkat(base, path, 0);
	unlinkat(base, path, AT_REMOVEDIR);
}

struct rename_case {
	const char *name;
	unsigned flags;
	enum there from, to; /* before */
	int error;
	enum there from_after, to_after;
};

static const struct rename_case cases[] = {
	{"no flags", 0, FILE_THERE, ABSENT, 0, ABSENT, FILE_THERE},
	{"no flags, replaces", 0, FILE_THERE, FILE_THERE, 0, ABSENT, FILE_THERE},
	{"no flags, a directory", 0, DIR_THERE, ABSENT, 0, ABSENT, DIR_THERE},
	{"NOREPLACE", RENAME_NOREPLACE, FILE_THERE, ABSENT, 0, ABSENT, FILE_THERE},
	{"NOREPLACE, there", RENAME_NOREPLACE, FILE_THERE, DIR_THERE, EEXIST, FILE_THERE, DIR_THERE},
	{"EXCHANGE", RENAME_EXCHANGE, FILE_THERE, DIR_THERE, 0, DIR_THERE, FILE_THERE},
	{"EXCHANGE with nothing", RENAME_EXCHANGE, FILE_THERE, ABSENT, ENOENT, FILE_THERE, ABSENT},
	{"EXCHANGE of nothing", RENAME_EXCHANGE, ABSENT, FILE_THERE, ENOENT, ABSENT, FILE_THERE},
	{"WHITEOUT", RENAME_WHITEOUT, FILE_THERE, ABSENT, 0, WHITEOUT_THERE, FILE_THERE},
	{"WHITEOUT, replaces", RENAME_WHITEOUT, FILE_THERE, FILE_THERE, 0, WHITEOUT_THERE, FILE_THERE},
	{"WHITEOUT, a directory", RENAME_WHITEOUT, DIR_THERE, ABSENT, 0, WHITEOUT_THERE, DIR_THERE},
	{"WHITEOUT, NOREPLACE", RENAME_WHITEOUT | RENAME_NOREPLACE, FILE_THERE, ABSENT, 0, WHITEOUT_THERE, FILE_THERE},
};

static void try(const struct rename_case *c, const char *from, const char *to, const char *where)
{
	enum there from_after, to_after;
	int error;

	/* Known to be absent, whatever comes to be there later. */
	for (unsigned i = 0; i < 2; i++)
		if (look(from) != ABSENT || look(to) != ABSENT)
			check_abort("%s or %s is there", from, to);
	make(from, c->from);
	make(to, c->to);
	error = renameat2(base, from, base, to, c->flags) < 0 ? errno : 0;
	from_after = look(from);
	to_after = look(to);
	check_why(error == c->error && from_after == c->from_after && to_after == c->to_after, c->name,
		  "%s: %s, then %d and %d", where, strerror(error), from_after, to_after);
	/* What came here keeps no old knowledge: a directory that was moved is looked into. */
	if (to_after == DIR_THERE) {
		char inside[128];

		snprintf(inside, sizeof(inside), "%s/inside", to);
		check(look(inside) == ABSENT, "%s, %s: the directory is empty", c->name, where);
		make(inside, FILE_THERE);
		check(look(inside) == FILE_THERE, "%s, %s: what is made in it is there", c->name, where);
		end(inside);
	}
	end(from);
	end(to);
	check(look(from) == ABSENT && look(to) == ABSENT, "%s, %s: and gone", c->name, where);
}

int main(int argc, char **argv)
{
	int top = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (top < 0)
		check_abort("usage: renames DIR");
	if (mkdirat(top, "renames", 0700) < 0 ||
	    (base = openat(top, "renames", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		check_abort("renames: %s", strerror(errno));
	make("listed", DIR_THERE);
	make("other", DIR_THERE);
	list("listed");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		try(&cases[i], "listed/from", "listed/to", "in one directory");
		try(&cases[i], "listed/from", "other/to", "to another");
		try(&cases[i], "other/from", "listed/to", "from another");
		try(&cases[i], "from", "to", "in one with others");
	}
	end("listed");
	end("other");
	close(base);
	unlinkat(top, "renames", AT_REMOVEDIR);
	return check_end();
}
