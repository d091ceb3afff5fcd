/*
 * Redos of foreign backends: each request that may have been applied is redone after it
 * was and after it was not, with a death at every question that is asked, and must end
 * with the answer and the store that a backend which never died has.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/restore_rig.h"
#include "redo_parts.h"

#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

static struct restore_rig rig;

/* ---- a store with something in it, and requests ---------------------------- */

static void begin(enum store_numbers numbers)
{
	uint32_t d, file;

	rig_init(&rig);
	rig.store.numbers = numbers;
	d = store_make(&rig.store, STORE_ROOT, "d", S_IFDIR | 0777, 0, 0);
	store_make(&rig.store, STORE_ROOT, "e", S_IFDIR | 0777, 0, 0);
	file = store_make(&rig.store, d, "file", S_IFREG | 0644, 1000, 1000);
	rig.store.inodes[file].size = 1000;
	file = store_make(&rig.store, d, "other", S_IFREG | 0600, 1000, 1000);
	rig.store.inodes[file].size = 2000;
	store_make(&rig.store, d, "sub", S_IFDIR | 0755, 1000, 1000);
}

static void end(void)
{
	rig_deinit(&rig);
}

/* Has the kernel know what it looks up before the request. */
static void build(struct rig_request *request, const char *row, bool *needs_before)
{
	uint64_t d = rig_path(&rig, "d"), e = rig_path(&rig, "e");
	uint64_t file = rig_path(&rig, "d/file"), other = rig_path(&rig, "d/other");

	(void)other;
	rig_path(&rig, "d/sub");
	*needs_before = false;
	rig.store.vague = strstr(row, " vague") != NULL;
	if (!strcmp(row, "mkdir") || !strcmp(row, "mkdir vague")) {
		const struct fuse_mkdir_in in = {.mode = 0755};
		rig_build(&rig, request, FUSE_MKDIR, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "mknod")) {
		const struct fuse_mknod_in in = {.mode = S_IFIFO | 0640};
		rig_build(&rig, request, FUSE_MKNOD, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "mknod device")) {
		const struct fuse_mknod_in in = {.mode = S_IFCHR | 0640, .rdev = 0x103};
		rig_build(&rig, request, FUSE_MKNOD, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "symlink") || !strcmp(row, "symlink vague")) {
		rig_build(&rig, request, FUSE_SYMLINK, d, NULL, 0, "new", "to/there");
	} else if (!strcmp(row, "link") || !strcmp(row, "link vague")) {
		const struct fuse_link_in in = {.oldnodeid = file};
		rig_build(&rig, request, FUSE_LINK, e, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "create")) {
		const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644};
		rig_build(&rig, request, FUSE_CREATE, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "create shared")) {
		const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | O_TRUNC, .mode = S_IFREG | 0644};
		rig_build(&rig, request, FUSE_CREATE, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "create readonly")) {
		const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0444};
		rig.store.checks_modes = true;
		rig_build(&rig, request, FUSE_CREATE, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "create readonly shared")) {
		const struct fuse_create_in in = {.flags = O_WRONLY | O_CREAT, .mode = S_IFREG | 0400};
		rig.store.checks_modes = true;
		rig_build(&rig, request, FUSE_CREATE, d, &in, sizeof(in), "new", NULL);
	} else if (!strcmp(row, "unlink")) {
		rig_build(&rig, request, FUSE_UNLINK, d, NULL, 0, "file", NULL);
	} else if (!strcmp(row, "rmdir")) {
		rig_build(&rig, request, FUSE_RMDIR, d, NULL, 0, "sub", NULL);
	} else if (!strcmp(row, "rename")) {
		const struct fuse_rename_in in = {.newdir = e};
		rig_build(&rig, request, FUSE_RENAME, d, &in, sizeof(in), "file", "new");
	} else if (!strcmp(row, "rename over")) {
		const struct fuse_rename_in in = {.newdir = d};
		rig_build(&rig, request, FUSE_RENAME, d, &in, sizeof(in), "file", "other");
	} else if (!strcmp(row, "rename directory")) {
		const struct fuse_rename_in in = {.newdir = e};
		rig_build(&rig, request, FUSE_RENAME, d, &in, sizeof(in), "sub", "new");
	} else if (!strcmp(row, "noreplace")) {
		const struct fuse_rename2_in in = {.newdir = e, .flags = NOREPLACE};
		rig_build(&rig, request, FUSE_RENAME2, d, &in, sizeof(in), "file", "new");
	} else if (!strcmp(row, "exchange")) {
		const struct fuse_rename2_in in = {.newdir = d, .flags = EXCHANGE};
		rig_build(&rig, request, FUSE_RENAME2, d, &in, sizeof(in), "file", "other");
	} else if (!strcmp(row, "whiteout")) {
		const struct fuse_rename2_in in = {.newdir = e, .flags = WHITEOUT};
		rig_build(&rig, request, FUSE_RENAME2, d, &in, sizeof(in), "file", "new");
	} else if (!strcmp(row, "collapse") || !strcmp(row, "insert")) {
		const struct fuse_fallocate_in in = {
			.fh = rig_open(&rig, file, O_RDWR, false),
			.length = 100,
			.mode = *row == 'c' ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE,
		};
		rig_build(&rig, request, FUSE_FALLOCATE, file, &in, sizeof(in), NULL, NULL);
		*needs_before = true;
	} else if (!strcmp(row, "setxattr create")) {
		struct {
			uint32_t size, flags;
		} in = {.size = 5, .flags = XATTR_CREATE};
		rig_build(&rig, request, FUSE_SETXATTR, file, &in, sizeof(in), "user.new", NULL);
		rig_data(request, "value", 5);
	} else if (!strcmp(row, "setxattr replace")) {
		struct {
			uint32_t size, flags;
		} in = {.size = 5, .flags = XATTR_REPLACE};
		struct store_inode *inode = &rig.store.inodes[store_path(&rig.store, "d/file")];

		strcpy(inode->xattr, "user.old");
		rig_build(&rig, request, FUSE_SETXATTR, file, &in, sizeof(in), "user.old", NULL);
		rig_data(request, "value", 5);
	} else if (!strcmp(row, "removexattr")) {
		struct store_inode *inode = &rig.store.inodes[store_path(&rig.store, "d/file")];

		strcpy(inode->xattr, "user.old");
		rig_build(&rig, request, FUSE_REMOVEXATTR, file, NULL, 0, "user.old", NULL);
	} else {
		cr_assert_fail("no row %s", row);
	}
}

static uint64_t look_before(const struct rig_request *request)
{
	struct redo redo = {.restore = &rig.restore, .ask = &rig.ask, .request = request->bytes, .size = request->size};
	uint64_t before = 0;

	cr_assert(redo_looks_before(request->bytes, request->size));
	cr_assert_eq(redo_before(&redo, &before), 0);
	return before;
}

/* What a backend that never dies makes of it. */
static char *reference(const char *row, enum store_numbers numbers)
{
	struct rig_request request;
	bool needs_before;
	char *dump;

	begin(numbers);
	build(&request, row, &needs_before);
	cr_assert_eq(rig_serve(&rig, &request), 0, "%s", row);
	dump = store_dump(&rig.store);
	end();
	return dump;
}

/*
 * The redo, which dies at its die_at'th question.  Returns whether it came to that.
 */
static bool redo_case(const char *row, enum store_numbers numbers, bool applied, unsigned die_at, bool die_after,
		      const char *expected)
{
	struct rig_request request;
	bool needs_before, died;
	uint64_t before;
	char *dump;
	int err;

	begin(numbers);
	build(&request, row, &needs_before);
	before = needs_before ? look_before(&request) : 0;
	if (applied)
		rig_apply(&rig, &request);
	rig_restart(&rig);
	rig.store.die_at = die_at;
	rig.store.die_after = die_after;
	err = rig_redo(&rig, &request, before);
	died = rig.lives > 0;
	dump = store_dump(&rig.store);
	cr_assert_eq(err, 0, "%s, numbers %d, applied %d, death %s question %u: %s", row, numbers, applied,
		     die_after ? "after" : "before", die_at, strerror(err));
	cr_assert_str_eq(dump, expected, "%s, numbers %d, applied %d, death %s question %u:\n%s\nnot\n%s", row, numbers,
			 applied, die_after ? "after" : "before", die_at, dump, expected);
	free(dump);
	rig_check_counts(&rig);
	end();
	return died;
}

static void redo_all(const char *row, enum store_numbers numbers)
{
	char *expected = reference(row, numbers);

	for (int applied = 0; applied < 2; applied++)
		for (int after = 0; after < 2; after++) {
			unsigned at = 1;

			redo_case(row, numbers, applied, 0, false, expected);
			while (redo_case(row, numbers, applied, at, after, expected))
				at++;
			/* It asked something, so that was tried. */
			cr_assert_gt(at, 1);
		}
	free(expected);
}

#define ROWS(X)                                                                                                        \
	X(mkdir, "mkdir")                                                                                              \
	X(mknod, "mknod")                                                                                              \
	X(mknod_device, "mknod device")                                                                                \
	X(symlink, "symlink")                                                                                          \
	X(link, "link")                                                                                                \
	X(mkdir_vague, "mkdir vague")                                                                                  \
	X(symlink_vague, "symlink vague")                                                                              \
	X(link_vague, "link vague")                                                                                    \
	X(create, "create")                                                                                            \
	X(create_shared, "create shared")                                                                              \
	X(create_readonly, "create readonly")                                                                          \
	X(create_readonly_shared, "create readonly shared")                                                            \
	X(unlink, "unlink")                                                                                            \
	X(rmdir, "rmdir")                                                                                              \
	X(rename, "rename")                                                                                            \
	X(rename_over, "rename over")                                                                                  \
	X(rename_directory, "rename directory")                                                                        \
	X(noreplace, "noreplace")                                                                                      \
	X(exchange, "exchange")                                                                                        \
	X(whiteout, "whiteout")                                                                                        \
	X(collapse, "collapse")                                                                                        \
	X(insert, "insert")                                                                                            \
	X(setxattr_create, "setxattr create")                                                                          \
	X(setxattr_replace, "setxattr replace")                                                                        \
	X(removexattr, "removexattr")

#define ROW_TESTS(name, row)                                                                                           \
	Test(redo, name##_is_applied_once)                                                                             \
	{                                                                                                              \
		redo_all(row, STORE_NUMBERS_TRUE);                                                                     \
	}                                                                                                              \
	Test(redo, name##_is_applied_once_with_numbers_that_lie)                                                       \
	{                                                                                                              \
		redo_all(row, STORE_NUMBERS_ZERO);                                                                     \
		redo_all(row, STORE_NUMBERS_NODEID);                                                                   \
		redo_all(row, STORE_NUMBERS_CHANGING);                                                                 \
	}
ROWS(ROW_TESTS)

/* ---- others write to the store too ----------------------------------------- */

/* Applied by the first delivery or by somebody else: the redo's own error. */
static void shared_row(const char *row, int error)
{
	struct rig_request request;
	bool needs_before;
	int err;

	begin(STORE_NUMBERS_TRUE);
	rig.shared_store = true;
	build(&request, row, &needs_before);
	rig_apply(&rig, &request);
	rig_restart(&rig);
	err = rig_redo(&rig, &request, 0);
	cr_assert_eq(err, error, "%s: %s", row, strerror(err));
	rig_check_counts(&rig);
	end();
}

Test(redo, nothing_is_taken_for_our_own_in_a_shared_store)
{
	shared_row("mkdir", EEXIST);
	shared_row("symlink", EEXIST);
	shared_row("link", EEXIST);
	shared_row("create", EEXIST);
	shared_row("create readonly shared", EACCES);
	shared_row("unlink", ENOENT);
	shared_row("rmdir", ENOENT);
	shared_row("rename", ENOENT);
	shared_row("setxattr create", EEXIST);
	shared_row("removexattr", ENODATA);
	/* These are looked at, not tried. */
	shared_row("exchange", 0);
}

/* ---- what is there is something else ---------------------------------------- */

static void other_is_there(const char *row, uint32_t mode, uint64_t size, const char *target, int error)
{
	struct rig_request request;
	bool needs_before;
	uint32_t inode;
	int err;

	begin(STORE_NUMBERS_TRUE);
	build(&request, row, &needs_before);
	inode = store_make(&rig.store, store_path(&rig.store, strcmp(row, "link") ? "d" : "e"), "new", mode, 1000,
			   1000);
	rig.store.inodes[inode].size = size;
	strcpy(rig.store.inodes[inode].target, target);
	rig_restart(&rig);
	err = rig_redo(&rig, &request, 0);
	cr_assert_eq(err, error, "%s: %s", row, strerror(err));
	/* And its count was given back. */
	rig_check_counts(&rig);
	end();
}

Test(redo, what_is_something_else_is_no_success)
{
	other_is_there("mkdir", S_IFREG | 0644, 0, "", EEXIST);
	other_is_there("mknod", S_IFDIR | 0755, 0, "", EEXIST);
	other_is_there("mknod device", S_IFCHR | 0640, 0, "", EEXIST);
	other_is_there("symlink", S_IFLNK | 0777, 0, "elsewhere", EEXIST);
	other_is_there("symlink", S_IFREG | 0644, 0, "", EEXIST);
	other_is_there("link", S_IFREG | 0644, 1000, "", EEXIST);
	other_is_there("create", S_IFREG | 0644, 5, "", EEXIST);
	other_is_there("create", S_IFDIR | 0755, 0, "", EEXIST);
	other_is_there("symlink vague", S_IFLNK | 0777, 0, "elsewhere", EEXIST);
	/* Not empty: not unlinked. */
	other_is_there("create readonly shared", S_IFREG | 0400, 5, "", EACCES);
}

Test(redo, a_value_that_differs_is_not_ours)
{
	struct rig_request request;
	bool needs_before;
	struct store_inode *inode;

	begin(STORE_NUMBERS_TRUE);
	build(&request, "setxattr create", &needs_before);
	inode = &rig.store.inodes[store_path(&rig.store, "d/file")];
	strcpy(inode->xattr, "user.new");
	strcpy(inode->value, "other");
	inode->value_size = 5;
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, 0), EEXIST);
	end();
}

Test(redo, both_forms_of_setxattr_are_understood)
{
	const struct fuse_setxattr_in in = {.size = 5, .flags = XATTR_CREATE, .setxattr_flags = 1};
	struct rig_request request;
	struct relay_args args;

	begin(STORE_NUMBERS_TRUE);
	rig_build(&rig, &request, FUSE_SETXATTR, FUSE_ROOT_ID, &in, sizeof(in), "user.long", NULL);
	rig_data(&request, "value", 5);
	cr_assert_eq(redo_setxattr_parse(request.bytes, request.size, &args), 0);
	cr_assert_str_eq(args.name, "user.long");
	cr_assert_eq(args.data_size, 5);
	rig_build(&rig, &request, FUSE_SETXATTR, FUSE_ROOT_ID, &in, FUSE_COMPAT_SETXATTR_IN_SIZE, "u", NULL);
	rig_data(&request, "value", 5);
	cr_assert_eq(redo_setxattr_parse(request.bytes, request.size, &args), 0);
	cr_assert_str_eq(args.name, "u");
	rig_data(&request, "more", 4);
	cr_assert_eq(redo_setxattr_parse(request.bytes, request.size, &args), -EPROTO);
	end();
}

Test(redo, a_rename_whose_file_is_nowhere_is_enoent)
{
	struct rig_request request;
	bool needs_before;

	begin(STORE_NUMBERS_TRUE);
	build(&request, "rename", &needs_before);
	store_make(&rig.store, store_path(&rig.store, "e"), "new", S_IFDIR | 0755, 0, 0);
	for (uint32_t i = 0; i < STORE_NAMES; i++)
		if (!strcmp(rig.store.names[i].name, "file"))
			rig.store.names[i].used = false;
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, 0), ENOENT);
	rig_check_counts(&rig);
	end();
}

/* Two files of which nothing tells which is which are left alone. */
Test(redo, an_exchange_that_cannot_be_told_is_not_tried)
{
	struct rig_request request;
	bool needs_before;
	char *before, *after;

	begin(STORE_NUMBERS_ZERO);
	rig.store.inodes[store_path(&rig.store, "d/file")].size = 2000;
	rig.store.inodes[store_path(&rig.store, "d/file")].mtime = 5;
	rig.store.inodes[store_path(&rig.store, "d/other")].mtime = 5;
	build(&request, "exchange", &needs_before);
	before = store_dump(&rig.store);
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, 0), EIO);
	after = store_dump(&rig.store);
	cr_assert_str_eq(before, after);
	free(before);
	free(after);
	end();
}

Test(redo, a_size_that_nobody_made_is_left)
{
	struct rig_request request;
	bool needs_before;
	uint64_t before;

	begin(STORE_NUMBERS_TRUE);
	build(&request, "collapse", &needs_before);
	before = look_before(&request);
	cr_assert_eq(before, 1000);
	rig.store.inodes[store_path(&rig.store, "d/file")].size = 777;
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, before), EIO);
	cr_assert_eq(rig.store.inodes[store_path(&rig.store, "d/file")].size, 777);
	end();
}

/* ---- links of a backend whose nodes are paths ------------------------------ */

Test(redo, link_between_paths)
{
	struct rig_request request;
	bool needs_before;

	begin(STORE_NUMBERS_NODEID);
	rig.store.paths = true;
	build(&request, "link", &needs_before);
	rig_apply(&rig, &request);
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, 0), 0);
	cr_assert_eq(rig.store.inodes[store_path(&rig.store, "e/new")].nlink, 2);
	rig_check_counts(&rig);
	end();
}

/* ---- cut in half ------------------------------------------------------------ */

/* The object is there and still the backend's own. */
static void half(const char *row, uint32_t mode, bool exact, uint32_t uid, uint32_t permissions)
{
	struct rig_request request;
	bool needs_before;
	uint32_t inode;

	begin(STORE_NUMBERS_TRUE);
	build(&request, row, &needs_before);
	rig.translate.makes_exact = exact ? 3 : 0;
	rig.translate.makes_other = exact ? 0 : 1;
	store_make(&rig.store, store_path(&rig.store, "d"), "new", mode, geteuid(), getegid());
	rig_restart(&rig);
	cr_assert_eq(rig_redo(&rig, &request, 0), 0, "%s", row);
	inode = store_path(&rig.store, "d/new");
	cr_assert_eq(rig.store.inodes[inode].uid, uid, "%s: uid %u", row, rig.store.inodes[inode].uid);
	cr_assert_eq(rig.store.inodes[inode].gid, uid, "%s", row);
	cr_assert_eq(rig.store.inodes[inode].mode & 07777, permissions, "%s: %o", row, rig.store.inodes[inode].mode);
	rig_check_counts(&rig);
	end();
}

Test(redo, what_was_made_half_is_completed)
{
	if (geteuid() != 0)
		cr_skip_test("the backend's user has to be another than the caller's");
	half("mkdir", S_IFDIR | 0700, true, 1000, 0755);
	half("mknod", S_IFIFO | 0640, true, 1000, 0640);
	half("create", S_IFREG | 0600, true, 1000, 0644);
	half("create shared", S_IFREG | 0600, true, 1000, 0644);
	/* S_ISGID of the directory is inherited. */
	half("mkdir", S_IFDIR | S_ISGID | 0755, true, 1000, S_ISGID | 0755);
	/* A backend that gives nobody what is asked for. */
	half("mkdir", S_IFDIR | 0700, false, 0, 0700);
}

/* ---- which -------------------------------------------------------------------- */

Test(redo, only_what_needs_it_is_special)
{
	const struct fuse_fallocate_in in = {.length = 10};
	struct rig_request request;

	begin(STORE_NUMBERS_TRUE);
	rig_build(&rig, &request, FUSE_FALLOCATE, FUSE_ROOT_ID, &in, sizeof(in), NULL, NULL);
	cr_assert_not(redo_special(request.bytes, request.size));
	cr_assert_not(redo_looks_before(request.bytes, request.size));
	rig_build(&rig, &request, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "x", NULL);
	cr_assert_not(redo_special(request.bytes, request.size));
	rig_build(&rig, &request, FUSE_UNLINK, FUSE_ROOT_ID, NULL, 0, "x", NULL);
	cr_assert(redo_special(request.bytes, request.size));
	end();
}
