/*
 * What an earlier incarnation had is found again: nodes by their names, files by opening
 * them, locks by setting them; and never is another file taken for it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/restore_rig.h"

static struct restore_rig rig;

static uint32_t make(const char *dir, const char *name, uint32_t mode, uint64_t size)
{
	uint32_t parent = *dir ? store_path(&rig.store, dir) : STORE_ROOT;
	uint32_t inode = store_make(&rig.store, parent, name, mode, 1000, 1000);

	cr_assert(inode);
	rig.store.inodes[inode].size = size;
	return inode;
}

static void setup(void)
{
	rig_init(&rig);
	make("", "d", S_IFDIR | 0755, 0);
	make("d", "sub", S_IFDIR | 0755, 0);
	make("d/sub", "file", S_IFREG | 0644, 100);
}

static void teardown(void)
{
	rig_deinit(&rig);
}

TestSuite(restore, .init = setup, .fini = teardown);

static int restore(uint64_t nodeid)
{
	return restore_node(&rig.restore, &rig.ask, nodeid);
}

static void remove_name(const char *dir, const char *name)
{
	uint32_t parent = store_path(&rig.store, dir);

	for (uint32_t i = 1; i < STORE_NAMES; i++)
		if (rig.store.names[i].used && rig.store.names[i].parent == parent &&
		    !strcmp(rig.store.names[i].name, name)) {
			rig.store.inodes[rig.store.names[i].inode].used =
				--rig.store.inodes[rig.store.names[i].inode].nlink > 0;
			rig.store.names[i].used = false;
		}
}

static int rename_through(uint64_t dir, const char *name, uint64_t newdir, const char *new_name)
{
	const struct fuse_rename_in in = {.newdir = newdir};
	struct rig_request request;

	rig_build(&rig, &request, FUSE_RENAME, dir, &in, sizeof(in), name, new_name);
	return rig_serve(&rig, &request);
}

/* ---- nodes ------------------------------------------------------------------- */

Test(restore, a_node_is_found_by_its_path)
{
	uint64_t file = rig_path(&rig, "d/sub/file");

	cr_assert(file);
	rig_restart(&rig);
	cr_assert_eq(restore_backend_id(&rig.restore, file), 0);
	cr_assert_eq(restore(file), 0);
	cr_assert_eq(restore_backend_id(&rig.restore, file),
		     store_id(&rig.store, store_path(&rig.store, "d/sub/file"), 0));
	cr_assert_eq(rig.store.asked, 3);
	rig_check_counts(&rig);
	/* Once in each life. */
	cr_assert_eq(restore(file), 0);
	cr_assert_eq(rig.store.asked, 3);
}

Test(restore, the_root_is_always_there)
{
	rig_restart(&rig);
	cr_assert_eq(restore(FUSE_ROOT_ID), 0);
	cr_assert_eq(restore_backend_id(&rig.restore, FUSE_ROOT_ID), FUSE_ROOT_ID);
	cr_assert_eq(rig.store.asked, 0);
}

Test(restore, a_node_that_is_gone_is_estale)
{
	uint64_t file = rig_path(&rig, "d/sub/file");

	remove_name("d/sub", "file");
	rig_restart(&rig);
	cr_assert_eq(restore(file), ESTALE);
	rig_check_counts(&rig);
	/* It is known now: nothing is asked. */
	rig.store.asked = 0;
	cr_assert_eq(restore(file), ESTALE);
	cr_assert_eq(rig.store.asked, 0);
	cr_assert_eq(restore(12345), ESTALE);
}

static void replaced(enum store_numbers numbers, uint32_t mode, uint64_t size)
{
	uint64_t file;

	rig.store.numbers = numbers;
	file = rig_path(&rig, "d/sub/file");
	remove_name("d/sub", "file");
	make("d/sub", "file", mode, size);
	rig_restart(&rig);
	cr_assert_eq(restore(file), ESTALE);
	rig_check_counts(&rig);
}

Test(restore, another_file_under_the_name_is_estale)
{
	replaced(STORE_NUMBERS_TRUE, S_IFREG | 0644, 200);
}

Test(restore, another_type_under_the_name_is_estale)
{
	replaced(STORE_NUMBERS_ZERO, S_IFDIR | 0755, 0);
}

Test(restore, another_file_is_told_by_size_and_times_where_numbers_lie)
{
	replaced(STORE_NUMBERS_NODEID, S_IFREG | 0644, 200);
}

static void found(enum store_numbers numbers)
{
	uint64_t file;

	rig.store.numbers = numbers;
	file = rig_path(&rig, "d/sub/file");
	rig_restart(&rig);
	cr_assert_eq(restore(file), 0);
	rig_check_counts(&rig);
	rig_restart(&rig);
	cr_assert_eq(restore(file), 0);
}

Test(restore, numbers_of_0)
{
	found(STORE_NUMBERS_ZERO);
}

Test(restore, numbers_that_are_nodeids)
{
	found(STORE_NUMBERS_NODEID);
}

Test(restore, numbers_that_change)
{
	found(STORE_NUMBERS_CHANGING);
}

Test(restore, the_root_tells_that_numbers_change_before_a_file_is_judged_by_its_own)
{
	const struct fuse_getattr_in in = {0};
	struct rig_request request;
	uint64_t file;

	rig.store.numbers = STORE_NUMBERS_CHANGING;
	make("", "open", S_IFREG | 0644, 100);
	rig_build(&rig, &request, FUSE_GETATTR, FUSE_ROOT_ID, &in, sizeof(in), NULL, NULL);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	file = rig_path(&rig, "open");
	/* Its size and times say nothing while it may be written to. */
	cr_assert(rig_open(&rig, file, O_RDWR, false));
	rig_restart(&rig);
	cr_expect_eq(restore(file), 0);
	rig_check_counts(&rig);
}

Test(restore, a_file_that_was_written_is_looked_at_before_it_is_read)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_WRONLY, false);
	struct fuse_open_in in = {.flags = O_WRONLY};
	struct rig_request request;

	rig_build(&rig, &request, FUSE_OPEN, file, &in, sizeof(in), NULL, NULL);
	cr_expect_not(restore_first(&rig.restore, request.bytes, request.size), "it goes on to change");
	in.flags = O_RDONLY;
	rig_build(&rig, &request, FUSE_OPEN, file, &in, sizeof(in), NULL, NULL);
	cr_expect_not(restore_first(&rig.restore, request.bytes, request.size), "somebody may write to it");
	cr_assert_eq(rig_close(&rig, file, fh, false), 0);
	cr_assert(restore_first(&rig.restore, request.bytes, request.size));
	cr_assert_eq(rig_restore(&rig, &request), 0);
	cr_expect_not(restore_first(&rig.restore, request.bytes, request.size));
	/* So another one in its place is not taken for it, whatever its number is. */
	rig.store.numbers = STORE_NUMBERS_ZERO;
	remove_name("d/sub", "file");
	make("d/sub", "file", S_IFREG | 0644, 200);
	rig_restart(&rig);
	cr_expect_eq(restore(file), ESTALE);
}

Test(restore, another_name_is_tried)
{
	uint32_t inode = store_path(&rig.store, "d/sub/file");
	struct rig_request request;
	struct fuse_link_in in = {0};
	uint64_t file = rig_path(&rig, "d/sub/file");

	in.oldnodeid = file;
	rig_build(&rig, &request, FUSE_LINK, FUSE_ROOT_ID, &in, sizeof(in), "again", NULL);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	cr_assert_eq(rig_path(&rig, "again"), file);
	/* Whichever name is tried first. */
	remove_name("d/sub", "file");
	rig_restart(&rig);
	cr_assert_eq(restore(file), 0);
	cr_assert_eq(store_path(&rig.store, "again"), inode);
	rig_check_counts(&rig);
}

Test(restore, another_name_is_tried_if_the_directory_of_one_is_gone)
{
	struct rig_request request;
	struct fuse_link_in in = {.oldnodeid = rig_path(&rig, "d/sub/file")};

	make("", "e", S_IFDIR | 0755, 0);
	rig_build(&rig, &request, FUSE_LINK, rig_path(&rig, "e"), &in, sizeof(in), "again", NULL);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	remove_name("", "e");
	remove_name("e", "again");
	rig_restart(&rig);
	cr_assert_eq(restore(in.oldnodeid), 0);
	rig_restart(&rig);
	remove_name("d", "sub");
	cr_assert_eq(restore(in.oldnodeid), ESTALE);
}

Test(restore, renamed_directories_are_followed)
{
	uint64_t file = rig_path(&rig, "d/sub/file"), d = rig_path(&rig, "d");

	cr_assert_eq(rename_through(d, "sub", FUSE_ROOT_ID, "moved"), 0);
	rig_restart(&rig);
	cr_assert_eq(restore(file), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_LOOKUP], 2);
}

Test(restore, an_error_is_the_answer_and_forgets_nothing)
{
	uint64_t file = rig_path(&rig, "d/sub/file");

	rig_restart(&rig);
	rig.store.fail_opcode = FUSE_LOOKUP;
	rig.store.fail_errno = EIO;
	cr_assert_eq(restore(file), EIO);
	rig.store.fail_opcode = 0;
	cr_assert_eq(restore(file), 0);
}

Test(restore, deep_paths)
{
	char path[600] = "deep";
	uint64_t nodeid;

	make("", "deep", S_IFDIR | 0755, 0);
	for (int i = 0; i < 99; i++) {
		make(path, "x", S_IFDIR | 0755, 0);
		strcat(path, "/x");
	}
	nodeid = rig_path(&rig, path);
	cr_assert(nodeid);
	rig_restart(&rig);
	cr_assert_eq(restore(nodeid), 0);
	cr_assert_eq(rig.store.asked, 100);
	rig_check_counts(&rig);
}

Test(restore, names_of_255_bytes_and_bytes_that_are_no_text)
{
	char name[256];
	uint64_t nodeid;

	memset(name, '\xff', 255);
	name[255] = '\0';
	make("d", name, S_IFREG | 0644, 1);
	rig_path(&rig, "d");
	{
		struct rig_request request;

		rig_build(&rig, &request, FUSE_LOOKUP, rig_path(&rig, "d"), NULL, 0, name, NULL);
		cr_assert_eq(rig_serve(&rig, &request), 0);
		nodeid = ((const struct fuse_entry_out *)rig.reply)->nodeid;
	}
	rig_restart(&rig);
	cr_assert_eq(restore(nodeid), 0);
}

Test(restore, a_death_at_each_lookup_is_made_good_by_the_next_life)
{
	uint64_t file = rig_path(&rig, "d/sub/file");

	for (unsigned at = 1; at <= 3; at++)
		for (int after = 0; after < 2; after++) {
			rig_restart(&rig);
			rig.store.die_at = at;
			rig.store.die_after = after;
			cr_assert_eq(restore(file), -EPIPE);
			rig_restart(&rig);
			cr_assert_eq(restore(file), 0);
			rig_check_counts(&rig);
		}
}

Test(restore, a_conversation_of_another_incarnation_ends)
{
	uint64_t file = rig_path(&rig, "d/sub/file");

	rig_restart(&rig);
	ask_begin(&rig.ask, 1);
	cr_assert_eq(restore(file), -EPIPE);
	cr_assert_eq(rig.store.asked, 0);
}

#define THREADS ASK_MAX
#define FILES 40u
static uint64_t files[FILES];

static void *restore_files(void *arg)
{
	struct ask *ask = arg;

	for (unsigned i = 0; i < FILES; i++)
		if (restore_node(&rig.restore, ask, files[(i + ask->number * 7) % FILES]))
			return arg;
	return NULL;
}

Test(restore, each_node_is_looked_up_once_by_however_many_threads)
{
	struct ask asks[THREADS];
	pthread_t threads[THREADS];
	char name[32];
	void *failed;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		make("d/sub", name, S_IFREG | 0644, i);
		snprintf(name, sizeof(name), "d/sub/f%u", i);
		files[i] = rig_path(&rig, name);
	}
	rig_restart(&rig);
	for (unsigned i = 0; i < THREADS; i++) {
		ask_init(&asks[i], (struct dispatch *)&rig.store, i);
		ask_begin(&asks[i], rig.store.incarnation);
		pthread_create(&threads[i], NULL, restore_files, &asks[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
		ask_deinit(&asks[i]);
	}
	cr_assert_eq(rig.store.by_opcode[FUSE_LOOKUP], FILES + 2);
	rig_check_counts(&rig);
}

/* ---- open files --------------------------------------------------------------- */

Test(restore, a_file_is_opened_again)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR | O_TRUNC | O_APPEND, false);

	cr_assert(fh);
	rig_restart(&rig);
	cr_assert_eq(rig_read(&rig, file, fh), 0);
	cr_assert_eq(store_count_files(&rig.store), 1);
	cr_assert_eq(rig.store.files[1].flags, O_RDWR);
	cr_assert_eq(rig.store.by_opcode[FUSE_OPEN], 1);
	cr_assert_eq(rig_close(&rig, file, fh, false), 0);
	cr_assert_eq(store_count_files(&rig.store), 0);
}

Test(restore, a_file_that_is_closed_is_not_opened_for_that)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDONLY, false);

	rig_restart(&rig);
	cr_assert_eq(rig_close(&rig, file, fh, false), 0);
	cr_assert_eq(rig.store.asked, 0);
	cr_assert_eq(restore_handle(&rig.restore, &rig.ask, fh), EBADF);
}

Test(restore, an_open_file_that_is_gone_is_lost)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDONLY, false);

	remove_name("d/sub", "file");
	rig_restart(&rig);
	cr_assert_eq(rig_read(&rig, file, fh), ESTALE);
	/* Even if another one comes. */
	make("d/sub", "file", S_IFREG | 0644, 100);
	cr_assert_eq(rig_read(&rig, file, fh), ESTALE);
	cr_assert_eq(rig_close(&rig, file, fh, false), 0);
}

Test(restore, a_file_is_opened_before_its_name_is_taken)
{
	uint64_t dir = rig_path(&rig, "d/sub"), file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDONLY, false);
	struct rig_request request;

	rig_restart(&rig);
	rig_build(&rig, &request, FUSE_UNLINK, dir, NULL, 0, "file", NULL);
	cr_assert(restore_first(&rig.restore, request.bytes, request.size));
	cr_assert_eq(restore_handle(&rig.restore, &rig.ask, fh), 0);
	cr_assert_not(restore_first(&rig.restore, request.bytes, request.size));
	rig_restart(&rig);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	cr_assert_eq(store_count_files(&rig.store), 1);
	cr_assert_eq(restore_handle(&rig.restore, &rig.ask, fh), 0);
	/* So is one that is renamed over. */
	make("d/sub", "a", S_IFREG | 0644, 1);
	make("d/sub", "b", S_IFREG | 0644, 2);
	rig_path(&rig, "d/sub/a");
	file = rig_path(&rig, "d/sub/b");
	fh = rig_open(&rig, file, O_RDONLY, false);
	rig_restart(&rig);
	cr_assert_eq(rename_through(dir, "a", dir, "b"), 0);
	cr_assert_eq(restore_handle(&rig.restore, &rig.ask, fh), 0);
}

Test(restore, a_directory_closed_to_its_user_since_does_not_matter)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);

	if (geteuid() != 0)
		cr_skip_test("relayd's user has no more rights");
	/* The file itself is denied to its opener, as after a chmod. */
	rig.store.checks_modes = true;
	rig.store.inodes[store_path(&rig.store, "d/sub/file")].mode = S_IFREG;
	rig_restart(&rig);
	cr_assert_eq(rig_read(&rig, file, fh), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETATTR], 0);
}

static uint64_t denied(uint64_t *file)
{
	uint64_t fh;

	*file = rig_path(&rig, "d/sub/file");
	fh = rig_open(&rig, *file, O_RDWR, false);
	rig.store.checks_modes = rig.store.nobody_is_root = true;
	rig.store.inodes[store_path(&rig.store, "d/sub/file")].mode = S_IFREG | 0444;
	rig_restart(&rig);
	return fh;
}

Test(restore, a_file_whose_mode_denies_its_creator)
{
	uint64_t file, fh = denied(&file);

	cr_assert_eq(rig_read(&rig, file, fh), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETATTR], 2);
	cr_assert_eq(rig.store.inodes[store_path(&rig.store, "d/sub/file")].mode, S_IFREG | 0444);
	cr_assert_eq(nodes_get(&rig.translate.nodes, file)->mode_owed, 0);
}

Test(restore, the_mode_is_put_back_after_a_death_at_any_point)
{
	uint64_t file, fh = denied(&file);
	uint32_t inode = store_path(&rig.store, "d/sub/file");
	unsigned deaths = 0;
	int err;

	for (int after = 0; after < 2; after++) {
		rig_restart(&rig);
		for (unsigned at = 1; at < 30; at++) {
			rig.store.die_at = at;
			rig.store.die_after = after;
			err = rig_read(&rig, file, fh);
			if (err == 0)
				break;
			cr_assert_eq(err, -EPIPE);
			deaths++;
			rig_restart(&rig);
			/* By the file's next use, or by nobody's. */
			if (at % 2)
				cr_assert_eq(restore_modes(&rig.restore, &rig.ask), 0);
			else
				cr_assert_eq(rig_read(&rig, file, fh), 0);
			cr_assert_eq(rig.store.inodes[inode].mode, S_IFREG | 0444, "%o after question %u",
				     rig.store.inodes[inode].mode, at);
			cr_assert_eq(nodes_get(&rig.translate.nodes, file)->mode_owed, 0);
			rig_restart(&rig);
		}
	}
	cr_assert_geq(deaths, 16, "%u", deaths);
}

Test(restore, a_backend_without_open)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);

	rig_restart(&rig);
	rig.store.no_open = true;
	cr_assert_eq(restore_handle(&rig.restore, &rig.ask, fh), 0);
}

/* ---- locks -------------------------------------------------------------------- */

static int set_lock(uint64_t file, uint64_t fh, uint64_t owner, uint64_t start, uint64_t end)
{
	const struct fuse_lk_in in = {
		.fh = fh, .owner = owner, .lk = {.start = start, .end = end, .type = F_WRLCK, .pid = 77}};
	struct rig_request request;

	rig_build(&rig, &request, FUSE_SETLK, file, &in, sizeof(in), NULL, NULL);
	return rig_serve(&rig, &request);
}

Test(restore, locks_are_set_again)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint32_t inode = store_path(&rig.store, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);

	cr_assert_eq(set_lock(file, fh, 5, 0, 9), 0);
	cr_assert_eq(set_lock(file, fh, 6, 20, 29), 0);
	for (unsigned at = 1; at < 6; at++) {
		rig_restart(&rig);
		rig.store.die_at = at;
		cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), -EPIPE);
	}
	rig_restart(&rig);
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(store_count_locks(&rig.store, inode), 2);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETLK], 2);
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETLK], 2);
	/* What depends on locks sees them without being told. */
	rig_restart(&rig);
	cr_assert_eq(set_lock(file, fh, 7, 40, 49), 0);
	cr_assert_eq(store_count_locks(&rig.store, inode), 3);
}

Test(restore, a_lock_that_somebody_else_took_holds_nothing_up)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint32_t inode = store_path(&rig.store, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);

	cr_assert_eq(set_lock(file, fh, 5, 0, 9), 0);
	rig_restart(&rig);
	rig.store.foreign_lock = inode;
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETLK], 1);
	/* It is tried again in the next life. */
	rig.store.foreign_lock = 0;
	rig_restart(&rig);
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(store_count_locks(&rig.store, inode), 1);
}

Test(restore, locks_of_a_file_that_is_gone)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);

	cr_assert_eq(set_lock(file, fh, 5, 0, 9), 0);
	remove_name("d/sub", "file");
	rig_restart(&rig);
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(rig.store.by_opcode[FUSE_SETLK], 0);
}

/* ---- RENAMEs in doubt ----------------------------------------------------------- */

Test(restore, a_file_that_may_have_been_renamed_waits_for_that_to_be_known)
{
	uint64_t dir = rig_path(&rig, "d/sub"), file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDONLY, false);
	const struct fuse_rename_in in = {.newdir = rig_path(&rig, "d")};
	struct rig_request rename;

	rig_build(&rig, &rename, FUSE_RENAME, dir, &in, sizeof(in), "file", "moved");
	rig_apply(&rig, &rename);
	rig_restart(&rig);
	cr_assert_eq(restore_doubt(&rig.restore, rename.bytes, rename.size), 0);
	cr_assert_eq(rig_read(&rig, file, fh), -EAGAIN);
	restore_certain(&rig.restore, rename.bytes);
	cr_assert_eq(rig_redo(&rig, &rename, 0), 0);
	cr_assert_eq(rig_read(&rig, file, fh), 0);
	rig_check_counts(&rig);
}

Test(restore, the_file_that_may_have_been_renamed_over_is_not_taken_for_the_other)
{
	uint64_t dir, other, fh;
	struct fuse_rename_in in = {0};
	struct rig_request rename;

	/* Nothing tells the two from each other but their names. */
	rig.store.numbers = STORE_NUMBERS_ZERO;
	rig.store.inodes[make("d/sub", "a", S_IFREG | 0644, 5)].mtime = 9;
	rig.store.inodes[make("d/sub", "b", S_IFREG | 0644, 5)].mtime = 9;
	dir = in.newdir = rig_path(&rig, "d/sub");
	rig_path(&rig, "d/sub/a");
	other = rig_path(&rig, "d/sub/b");
	fh = rig_open(&rig, other, O_RDONLY, false);
	rig_build(&rig, &rename, FUSE_RENAME, dir, &in, sizeof(in), "a", "b");
	rig_apply(&rig, &rename);
	rig_restart(&rig);
	cr_assert_eq(restore_doubt(&rig.restore, rename.bytes, rename.size), 0);
	cr_assert_eq(rig_read(&rig, other, fh), -EAGAIN);
	restore_doubts_clear(&rig.restore);
	cr_assert_eq(rig_redo(&rig, &rename, 0), 0);
	cr_assert_eq(rig_read(&rig, other, fh), ESTALE);
	cr_assert_eq(store_count_files(&rig.store), 0);
}

Test(restore, a_mode_that_cannot_be_put_back_now_is_owed)
{
	uint64_t file, fh = denied(&file);
	uint32_t inode = store_path(&rig.store, "d/sub/file");

	rig.store.die_at = 8; /* the OPEN is through, and the mode is the other one */
	rig.store.die_after = true;
	cr_assert_eq(rig_read(&rig, file, fh), -EPIPE);
	cr_assert_eq(rig.store.inodes[inode].mode, S_IFREG | 0644);
	rig_restart(&rig);
	rig.store.fail_opcode = FUSE_SETATTR;
	rig.store.fail_errno = EIO;
	cr_assert_eq(restore_modes(&rig.restore, &rig.ask), 0);
	cr_assert_neq(nodes_get(&rig.translate.nodes, file)->mode_owed, 0);
	rig.store.fail_opcode = 0;
	cr_assert_eq(restore_modes(&rig.restore, &rig.ask), 0);
	cr_assert_eq(rig.store.inodes[inode].mode, S_IFREG | 0444);
}

Test(restore, a_mode_that_somebody_has_set_since_stays)
{
	uint64_t file, fh = denied(&file);
	uint32_t inode = store_path(&rig.store, "d/sub/file");

	rig.store.die_at = 8;
	cr_assert_eq(rig_read(&rig, file, fh), -EPIPE);
	rig.store.inodes[inode].mode = S_IFREG | 0400;
	rig_restart(&rig);
	cr_assert_eq(restore_modes(&rig.restore, &rig.ask), 0);
	cr_assert_eq(rig.store.inodes[inode].mode, S_IFREG | 0400);
	cr_assert_eq(nodes_get(&rig.translate.nodes, file)->mode_owed, 0);
}

Test(restore, a_lock_is_set_through_another_open_file_if_its_own_is_lost)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint32_t inode = store_path(&rig.store, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false), readonly = rig_open(&rig, file, O_RDONLY, false);
	uint64_t other = rig_open(&rig, file, O_RDWR, false);

	cr_assert(fh && readonly && other);
	cr_assert_eq(set_lock(file, fh, 5, 0, 9), 0);
	handles_lost(handles_get(&rig.translate.handles, fh));
	rig_restart(&rig);
	cr_assert_eq(restore_locks(&rig.restore, &rig.ask, file), 0);
	cr_assert_eq(store_count_locks(&rig.store, inode), 1);
	/* A lock for writing needs a file that may be written to. */
	cr_assert_eq(rig.store.files[1].flags, O_RDWR);
	cr_assert_eq(store_count_files(&rig.store), 1);
}

/* close(2) of what nobody can bring back is no error. */
Test(restore, an_open_file_that_is_gone_is_flushed_and_unlocked)
{
	uint64_t file = rig_path(&rig, "d/sub/file");
	uint64_t fh = rig_open(&rig, file, O_RDWR, false);
	const struct fuse_flush_in flush = {.fh = fh, .lock_owner = 5};
	const struct fuse_lk_in unlock = {.fh = fh, .owner = 5, .lk = {.end = 9, .type = F_UNLCK}};
	struct rig_request request;

	remove_name("d/sub", "file");
	rig_restart(&rig);
	rig_build(&rig, &request, FUSE_FLUSH, file, &flush, sizeof(flush), NULL, NULL);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	rig_build(&rig, &request, FUSE_SETLK, file, &unlock, sizeof(unlock), NULL, NULL);
	cr_assert_eq(rig_serve(&rig, &request), 0);
	cr_assert_eq(rig_read(&rig, file, fh), ESTALE);
	cr_assert_eq(rig.store.by_opcode[FUSE_FLUSH], 0);
}
