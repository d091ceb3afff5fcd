/*
 * The table of open files.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/translate_rig.h"

static struct translate_rig rig;
static struct handles *const handles = &rig.translate.handles;
static struct nodes *const nodes = &rig.translate.nodes;
static const struct fuse_in_header caller = {.uid = 5, .gid = 6, .pid = 7};

static void setup(void)
{
	cr_assert_eq(translate_rig_init(&rig), 0);
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(relayd_handles, .init = setup, .fini = teardown, .timeout = 60);

static struct handle *open_new(uint64_t nodeid, uint32_t flags, bool dir, uint64_t backend_fh)
{
	struct handle *handle = NULL;

	cr_assert_eq(handles_new(handles, nodes_get(nodes, nodeid), &caller, flags, dir, backend_fh, &handle), 0);
	return handle;
}

Test(relayd_handles, a_handle_is_found_by_what_the_kernel_calls_it)
{
	uint64_t file = translate_rig_lookup(&rig, FUSE_ROOT_ID, "file", 50, S_IFREG | 0644);
	struct handle *a = open_new(file, O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW, false, 0);
	struct handle *b = open_new(file, O_RDONLY, false, UINT64_MAX);

	cr_expect_neq(a->fh, 0, "0 is the kernel's for none");
	cr_expect_neq(a->fh, b->fh);
	cr_expect_eq(handles_get(handles, a->fh), a);
	cr_expect_eq(handles_get(handles, b->fh), b);
	cr_expect_eq(a->backend_fh, 0);
	cr_expect_eq(b->backend_fh, UINT64_MAX);
	cr_expect_eq(a->open_flags, O_RDWR | O_NOFOLLOW);
	cr_expect_eq(a->uid, 5);
	cr_expect_eq(a->gid, 6);
	cr_expect_eq(a->pid, 7);
	cr_expect_null(handles_get(handles, 0));
	cr_expect_null(handles_get(handles, a->fh + (1ULL << 32)));
	cr_expect_null(handles_get(handles, 77));
}

Test(relayd_handles, the_number_of_a_closed_one_is_given_with_another_upper_half)
{
	uint64_t file = translate_rig_lookup(&rig, FUSE_ROOT_ID, "file", 50, S_IFREG | 0644);
	struct handle *handle = open_new(file, O_RDONLY, false, 1);
	uint64_t fh = handle->fh;

	handles_close(handles, handle);
	cr_expect_null(handles_get(handles, fh));
	handle = open_new(file, O_RDONLY, false, 1);
	cr_expect_eq((uint32_t)handle->fh, (uint32_t)fh);
	cr_expect_neq(handle->fh, fh);
	cr_expect_null(handles_get(handles, fh));
}

Test(relayd_handles, the_node_lives_while_it_is_open)
{
	uint64_t file = translate_rig_lookup(&rig, FUSE_ROOT_ID, "file", 50, S_IFREG | 0644);
	struct handle *a = open_new(file, O_RDONLY, false, 1), *b = open_new(file, O_WRONLY, false, 2);

	cr_expect_eq(nodes_get(nodes, file)->opens, 2);
	cr_expect_eq(nodes_get(nodes, file)->writers, 1);
	translate_rig_forget(&rig, file, 1);
	cr_assert(nodes_get(nodes, file));
	cr_expect_eq(translate_rig_forgotten(&rig, 50), 0);
	handles_close(handles, a);
	cr_assert(nodes_get(nodes, file));
	handles_close(handles, b);
	cr_expect_null(nodes_get(nodes, file));
	cr_expect_eq(translate_rig_forgotten(&rig, 50), 1);
}

Test(relayd_handles, opening_for_writing_disturbs)
{
	uint64_t file = translate_rig_lookup(&rig, FUSE_ROOT_ID, "file", 50, S_IFREG | 0644);
	uint32_t changes = nodes_get(nodes, file)->changes;
	struct handle *handle = open_new(file, O_RDONLY, false, 1);

	cr_expect_eq(nodes_get(nodes, file)->changes, changes);
	handles_close(handles, handle);
	cr_expect_eq(nodes_get(nodes, file)->changes, changes);
	handle = open_new(file, O_RDWR, false, 1);
	cr_expect_gt(nodes_get(nodes, file)->changes, changes);
	changes = nodes_get(nodes, file)->changes;
	handles_close(handles, handle);
	cr_expect_gt(nodes_get(nodes, file)->changes, changes, "what was kept back may be written by the close");
}

Test(relayd_handles, another_incarnation_has_to_open_again)
{
	struct handle *file = open_new(FUSE_ROOT_ID, O_RDONLY, false, 1), *dir = open_new(FUSE_ROOT_ID, 0, true, 2);
	struct handle *unread = open_new(FUSE_ROOT_ID, 0, true, 3);

	cr_assert_eq(dirlog_add(handles, dir, 1, 1), 0);
	cr_expect(handles_current(handles, file));
	translate_rig_restart(&rig);
	cr_expect_not(handles_current(handles, file));
	handles_reopened(handles, file, 11);
	handles_reopened(handles, dir, 12);
	handles_reopened(handles, unread, 13);
	cr_expect(handles_current(handles, file));
	cr_expect_eq(file->backend_fh, 11);
	cr_expect_not(file->flags & HANDLE_RESUMES);
	cr_expect(dir->flags & HANDLE_RESUMES);
	cr_expect_not(unread->flags & HANDLE_RESUMES);
	handles_lost(file);
	cr_expect(file->flags & HANDLE_LOST);
}

Test(relayd_handles, a_walk_meets_each_once)
{
	struct handle *all[5], *handle = NULL;

	for (unsigned i = 0; i < 5; i++)
		all[i] = open_new(FUSE_ROOT_ID, 0, true, i);
	handles_close(handles, all[0]);
	handles_close(handles, all[2]);
	cr_expect_eq(handle = handles_next(handles, handle), all[1]);
	cr_expect_eq(handle = handles_next(handles, handle), all[3]);
	cr_expect_eq(handle = handles_next(handles, handle), all[4]);
	cr_expect_null(handles_next(handles, handle));
}

Test(relayd_handles, what_cannot_be_true_is_refused)
{
	struct handle *handle = open_new(FUSE_ROOT_ID, O_WRONLY, false, 1);
	struct handles again;
	struct handle good = *handle;

	nodes_get(nodes, FUSE_ROOT_ID)->opens = 99;
	cr_expect_eq(handles_init(&again, &rig.translate.state, nodes), 0);
	cr_expect_eq(nodes_get(nodes, FUSE_ROOT_ID)->opens, 1, "the counts are taken anew");
	cr_expect_eq(nodes_get(nodes, FUSE_ROOT_ID)->writers, 1);
	handle->node = 44;
	cr_expect_eq(handles_init(&again, &rig.translate.state, nodes), -EPROTO);
	*handle = good;
	handle->fh++;
	cr_expect_eq(handles_init(&again, &rig.translate.state, nodes), -EPROTO);
	*handle = good;
	handle->log = 3;
	handle->log_count = 2;
	cr_expect_eq(handles_init(&again, &rig.translate.state, nodes), -EPROTO);
	*handle = good;
	cr_expect_eq(handles_init(&again, &rig.translate.state, nodes), 0);
}
