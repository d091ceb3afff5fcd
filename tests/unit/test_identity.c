/* The rules by which a file is known again: each of identity.c's. */
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <time.h>

#include "identity.h"

static struct fuse_attr attr_of(uint32_t mode, uint64_t ino)
{
	return (struct fuse_attr){
		.mode = mode | 0644, .ino = ino, .size = 10, .mtime = 100, .mtimensec = 7, .nlink = 1};
}

static struct identity known(const struct fuse_attr *attr, bool made_up, bool at_rest)
{
	struct identity identity = {0};

	identity_learn(&identity, attr, made_up, at_rest);
	return identity;
}

/* What is said of `later` by one who knows `first`. */
static enum identity_verdict verdict(const struct fuse_attr *first, const struct fuse_attr *later, bool made_up,
				     bool at_rest, struct identity_evidence evidence)
{
	struct identity identity = known(first, made_up, at_rest);

	return identity_compare(&identity, later, made_up, &evidence);
}

static const struct identity_evidence none, kept = {.kept = 1}, changed = {.changed = 1};

Test(identity, of_what_nothing_is_known_of_is_taken)
{
	struct identity identity = {0};
	struct identity_evidence evidence = {0};
	struct fuse_attr attr = attr_of(S_IFREG, 5);

	cr_assert_eq(identity_compare(&identity, &attr, false, &evidence), IDENTITY_SAME);
}

Test(identity, of_what_is_gone_is_never_found)
{
	struct fuse_attr attr = attr_of(S_IFREG, 5);
	struct identity identity = known(&attr, false, true);
	struct identity_evidence evidence = kept;

	identity.gone = 1;
	cr_assert_eq(identity_compare(&identity, &attr, false, &evidence), IDENTITY_OTHER);
}

Test(identity, a_type_never_changes)
{
	struct fuse_attr file = attr_of(S_IFREG, 5), dir = attr_of(S_IFDIR, 5);
	struct identity identity = known(&file, false, true);

	cr_assert_eq(verdict(&file, &dir, false, true, none), IDENTITY_OTHER);
	cr_assert_eq(verdict(&file, &dir, true, false, changed), IDENTITY_OTHER);
	identity_learn(&identity, &dir, false, true);
	cr_assert_eq(identity.mode, S_IFREG);
}

Test(identity, a_device_is_its_number)
{
	struct fuse_attr a = attr_of(S_IFCHR, 5), b = attr_of(S_IFCHR, 5);

	a.rdev = 1;
	b.rdev = 2;
	cr_assert_eq(verdict(&a, &a, false, true, none), IDENTITY_SAME);
	cr_assert_eq(verdict(&a, &b, false, true, none), IDENTITY_OTHER);
}

Test(identity, equal_numbers_are_the_same_and_count)
{
	struct fuse_attr attr = attr_of(S_IFDIR, 5);
	struct identity identity = known(&attr, false, true);
	struct identity_evidence evidence = {0};

	attr.mtime++;
	cr_assert_eq(identity_compare(&identity, &attr, false, &evidence), IDENTITY_SAME);
	cr_assert_eq(evidence.kept, 1);
}

Test(identity, equal_number_of_a_file_at_rest_with_other_times_is_a_number_used_again)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = a, c = a;

	b.mtime++;
	c.size++;
	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_OTHER);
	cr_assert_eq(verdict(&a, &c, false, true, kept), IDENTITY_OTHER);
	/* Not if it was being written to, */
	cr_assert_eq(verdict(&a, &b, false, false, kept), IDENTITY_SAME);
	/* or could be under another name. */
	b.nlink = 2;
	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_SAME);
}

Test(identity, other_number_is_another_file_where_numbers_last)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);

	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_OTHER);
	a.mode = b.mode = S_IFDIR;
	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_OTHER);
}

Test(identity, other_number_may_be_a_new_one_while_none_was_kept)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6), c = b;
	struct identity identity = known(&a, false, true);
	struct identity_evidence evidence = {0};

	c.size++;
	cr_assert_eq(identity_compare(&identity, &c, false, &evidence), IDENTITY_OTHER);
	cr_assert_eq(evidence.changed, 0);
	cr_assert_eq(identity_compare(&identity, &b, false, &evidence), IDENTITY_SAME);
	cr_assert_eq(evidence.changed, 1);
	/* At rest only. */
	cr_assert_eq(verdict(&a, &b, false, false, none), IDENTITY_OTHER);
	/* Directories and symlinks: the type. */
	a.mode = b.mode = S_IFLNK;
	b.mtime++;
	cr_assert_eq(verdict(&a, &b, false, true, none), IDENTITY_SAME);
}

Test(identity, numbers_of_a_backend_that_changes_them_say_nothing)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6), c = attr_of(S_IFREG, 5);

	cr_assert_eq(verdict(&a, &b, false, true, changed), IDENTITY_SAME);
	cr_assert_eq(verdict(&a, &b, false, false, changed), IDENTITY_SAME);
	c.size++;
	cr_assert_eq(verdict(&a, &c, false, true, changed), IDENTITY_OTHER);
}

Test(identity, credibility_is_lost_to_files_that_are_alike_but_for_the_number)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);
	struct identity identity = known(&a, false, true);
	struct identity_evidence evidence = kept;

	cr_assert_eq(identity_compare(&identity, &b, false, &evidence), IDENTITY_OTHER);
	cr_assert_eq(identity_compare(&identity, &b, false, &evidence), IDENTITY_OTHER);
	cr_assert_eq(evidence.changed, 2);
	cr_assert_eq(identity_compare(&identity, &b, false, &evidence), IDENTITY_SAME);
	/* And comes back with those that are found again. */
	cr_assert_eq(identity_compare(&identity, &a, false, &evidence), IDENTITY_SAME);
	cr_assert_eq(evidence.kept, 2);
	cr_assert_eq(identity_compare(&identity, &b, false, &evidence), IDENTITY_OTHER);
}

/* Whole seconds, and a ctime that is mtime's: an ISO image's. */
static struct fuse_attr image_attr(uint32_t mode, uint64_t ino)
{
	struct fuse_attr attr = attr_of(mode, ino);

	attr.mtimensec = 0;
	attr.ctime = attr.mtime;
	return attr;
}

static enum identity_verdict found(const struct fuse_attr *first, const struct fuse_attr *later, bool at_rest,
				   struct identity_evidence evidence)
{
	struct identity identity = known(first, false, at_rest);

	return identity_found(&identity, later, false, &evidence);
}

Test(identity, untouched_file_is_found_though_it_was_counted_in_another_order)
{
	struct fuse_attr a = image_attr(S_IFREG, 5), b = image_attr(S_IFREG, 6);
	struct fuse_attr dir = image_attr(S_IFDIR, 5), dir2 = image_attr(S_IFDIR, 6);
	struct identity identity = known(&a, false, true);
	struct identity_evidence evidence = {.kept = 5};

	cr_assert_eq(identity_found(&identity, &b, false, &evidence), IDENTITY_SAME);
	cr_assert_eq(evidence.kept, 5);
	cr_assert_eq(evidence.changed, 1);
	cr_assert_eq(found(&dir, &dir2, true, kept), IDENTITY_SAME);
	/* Side by side they are two. */
	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_OTHER);
	identity.gone = 1;
	cr_assert_eq(identity_found(&identity, &b, false, &evidence), IDENTITY_OTHER);
}

Test(identity, touched_file_of_another_number_is_another)
{
	const struct fuse_attr a = image_attr(S_IFREG, 5), same = image_attr(S_IFREG, 6);
	struct fuse_attr b;

#define OTHER_IF(change)                                                                                               \
	do {                                                                                                           \
		b = same;                                                                                              \
		change;                                                                                                \
		cr_expect_eq(found(&a, &b, true, kept), IDENTITY_OTHER, #change);                                      \
	} while (0)
	OTHER_IF(b.ctime++); /* what cp -p does */
	OTHER_IF(b.ctimensec++);
	OTHER_IF(b.mtime--);
	OTHER_IF(b.mtimensec++);
	OTHER_IF(b.size++);
	OTHER_IF(b.mode ^= 1);
	OTHER_IF(b.mode = S_IFLNK | 0644);
	OTHER_IF(b.uid++);
	OTHER_IF(b.gid++);
	OTHER_IF(b.nlink++);
	OTHER_IF(b.ino = 1u << 20); /* nobody has counted that far */
#undef OTHER_IF
	cr_expect_eq(found(&a, &same, false, kept), IDENTITY_OTHER, "not at rest");
}

Test(identity, ctime_that_says_nothing_does_not_make_up_for_the_number)
{
	struct fuse_attr a = image_attr(S_IFREG, 5), b = image_attr(S_IFREG, 6);

	a.ctime = b.ctime = 0;
	cr_assert_eq(found(&a, &b, true, kept), IDENTITY_OTHER);
	a.ctime = b.ctime = a.mtime - 1;
	cr_assert_eq(found(&a, &b, true, kept), IDENTITY_OTHER);
	/* Of now: in the same second another may have been put there. */
	a.ctime = b.ctime = (uint64_t)time(NULL);
	cr_assert_eq(found(&a, &b, true, kept), IDENTITY_OTHER);
	a.ctime = b.ctime = UINT64_MAX;
	cr_assert_eq(found(&a, &b, true, kept), IDENTITY_OTHER);
}

/* As of a file that was made just now, in the place of another one that was. */
Test(identity, a_new_file_is_not_the_one_that_was_new_then)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);

	a.atime = a.mtime = a.ctime = (uint64_t)time(NULL);
	b.atime = b.mtime = b.ctime = a.mtime;
	a.atimensec = a.mtimensec = a.ctimensec = 1000;
	b.atimensec = b.mtimensec = b.ctimensec = 2000;
	cr_expect_eq(verdict(&a, &b, true, true, none), IDENTITY_OTHER);
}

Test(identity, number_0_is_none)
{
	struct fuse_attr a = attr_of(S_IFREG, 0), b = attr_of(S_IFREG, 0), c = attr_of(S_IFREG, 9);

	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_SAME);
	cr_assert_eq(verdict(&a, &c, false, true, kept), IDENTITY_SAME);
	cr_assert_eq(verdict(&c, &a, false, true, kept), IDENTITY_SAME);
	b.size++;
	cr_assert_eq(verdict(&a, &b, false, true, kept), IDENTITY_OTHER);
}

Test(identity, number_that_changed_once_is_not_relied_on)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);
	struct identity identity = known(&a, false, true);

	cr_assert(identity.ino_true);
	identity_learn(&identity, &b, false, true);
	cr_assert_not(identity.ino_true);
	identity_learn(&identity, &b, false, true);
	cr_assert_not(identity.ino_true);
}

Test(identity, made_up_number_file_at_rest_has_its_size_and_time)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);

	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_SAME);
	b.size++;
	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_OTHER);
	b = a;
	b.mtimensec++;
	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_OTHER);
	/* A store of whole seconds. */
	b.mtimensec = 0;
	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_SAME);
}

Test(identity, made_up_number_file_in_use_does_not_turn_back)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);

	b.size++;
	b.mtime++;
	cr_assert_eq(verdict(&a, &b, true, false, none), IDENTITY_SAME);
	b.mtime = a.mtime - 1;
	cr_assert_eq(verdict(&a, &b, true, false, none), IDENTITY_OTHER);
	/* Nor does one with other names, though nobody has this one open. */
	b.nlink = 2;
	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_OTHER);
	b.mtime = a.mtime + 1;
	cr_assert_eq(verdict(&a, &b, true, true, none), IDENTITY_SAME);
}

Test(identity, disturbed_file_may_have_any_times)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6);
	struct identity identity = known(&a, true, true);
	struct identity_evidence evidence = {0};

	identity_disturb(&identity);
	b.mtime = 1;
	cr_assert_eq(identity_compare(&identity, &b, true, &evidence), IDENTITY_SAME);
}

Test(identity, late_answer_is_not_taken_for_the_present)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = a;
	struct identity identity = known(&a, false, true);

	identity_disturb(&identity);
	identity_learn_late(&identity, &a, false, true);
	cr_assert_eq(identity.times, IDENTITY_TIMES_VOID);
	b.mtime++;
	identity_learn_late(&identity, &b, false, true);
	cr_assert_eq(identity.times, IDENTITY_TIMES_REST);
	identity_learn_late(&identity, &a, false, true);
	cr_assert_eq(identity.times, IDENTITY_TIMES_VOID);
}

Test(identity, root_tells_of_all_numbers)
{
	struct fuse_attr a = attr_of(S_IFDIR, 500), b = attr_of(S_IFDIR, 501), one = attr_of(S_IFDIR, 1);
	struct identity identity = known(&a, false, true), small = known(&one, false, true);
	struct identity_evidence evidence = {0};

	identity_root(&small, &one, false, &evidence);
	identity_root(&identity, &a, true, &evidence);
	cr_assert_eq(evidence.kept + evidence.changed, 0);
	identity_root(&identity, &a, false, &evidence);
	cr_assert_eq(evidence.kept, 1);
	identity_root(&identity, &b, false, &evidence);
	cr_assert_eq(evidence.changed, 1);
}

Test(identity, number_that_changes_under_ones_eyes_tells_of_all_numbers)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = attr_of(S_IFREG, 6), c = b;
	struct identity identity = known(&a, false, true);
	struct identity_evidence evidence = {0};

	c.mtime++; /* a path-based backend has another file there */
	identity_witness(&identity, &a, false, &evidence);
	identity_witness(&identity, &b, true, &evidence);
	identity_witness(&identity, &c, false, &evidence);
	cr_assert_eq(evidence.changed, 0);
	identity_witness(&identity, &b, false, &evidence);
	cr_assert_eq(evidence.changed, 1);
}

Test(identity, alike_in_one_incarnation)
{
	struct fuse_attr a = attr_of(S_IFREG, 5), b = a;

	cr_assert(identity_alike(&a, &b, false));
	b.ino = 6;
	cr_assert_not(identity_alike(&a, &b, false));
	cr_assert(identity_alike(&a, &b, true));
	b.size++;
	cr_assert(identity_alike(&a, &b, true));
	b.nlink++;
	cr_assert_not(identity_alike(&a, &b, true));
	b = a;
	b.mode = S_IFDIR | 0644;
	cr_assert_not(identity_alike(&a, &b, false));
}
