/*
 * The -o list.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "mountopts.h"

static struct mountopts opts;
static char why[256];

static int parse(const char *list, int may_suid)
{
	why[0] = '\0';
	return mountopts_parse(&opts, list, may_suid, why, sizeof(why));
}

TestSuite(mountopts, .timeout = 60);

Test(mountopts, without_options_it_is_safe)
{
	static const char *const empty[] = {NULL, "", ",", ",,,"};

	for (size_t i = 0; i < 4; i++) {
		cr_expect_eq(parse(empty[i], 0), 0);
		cr_expect_eq(opts.flags, MS_NOSUID | MS_NODEV);
		cr_expect_str_eq(opts.kernel, "");
		cr_expect_str_eq(opts.helper, "");
		cr_expect_null(opts.fsname);
		cr_expect_null(opts.subtype);
		mountopts_deinit(&opts);
	}
}

Test(mountopts, words_become_flags_and_the_last_one_counts)
{
	static const struct {
		const char *list;
		unsigned long flags; /* besides nosuid and nodev */
	} cases[] = {
		{"ro", MS_RDONLY},
		{"ro,rw", 0},
		{"rw,ro", MS_RDONLY},
		{"noexec,noatime,nodiratime", MS_NOEXEC | MS_NOATIME | MS_NODIRATIME},
		{"sync,dirsync", MS_SYNCHRONOUS | MS_DIRSYNC},
		{"sync,async", 0},
		{"relatime,strictatime", MS_RELATIME | MS_STRICTATIME},
		{"nosymfollow", 256},
		{"nosuid,nodev", 0},
		{"defaults,auto_unmount,x-gvfs-show", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(parse(cases[i].list, 0), 0, "%s", cases[i].list);
		cr_expect_eq(opts.flags, cases[i].flags | MS_NOSUID | MS_NODEV, "%s", cases[i].list);
		cr_expect_str_eq(opts.kernel, "");
		mountopts_deinit(&opts);
	}
}

Test(mountopts, some_are_for_root)
{
	cr_expect_eq(parse("suid", 0), -EPERM);
	cr_expect(strstr(why, "'suid'"));
	cr_expect_eq(parse("dev", 0), -EPERM);
	cr_expect_eq(parse("suid,dev", 1), 0);
	cr_expect_eq(opts.flags, 0);
	mountopts_deinit(&opts);
}

Test(mountopts, the_kernel_and_the_helper_are_given_what_is_theirs)
{
	cr_expect_eq(parse("ro,allow_other,fsname=a b,auto_unmount,max_read=4096,subtype=sub,x-y=z,default_permissions", 0),
		     0);
	cr_expect_str_eq(opts.kernel, ",allow_other,max_read=4096,default_permissions");
	cr_expect_str_eq(opts.helper, ",ro,allow_other,max_read=4096,default_permissions");
	cr_expect_str_eq(opts.fsname, "a b");
	cr_expect_str_eq(opts.subtype, "sub");
	mountopts_deinit(&opts);
	cr_expect_eq(parse("fsname=a,fsname=b,fsname=", 0), 0);
	cr_expect_str_eq(opts.fsname, "");
	mountopts_deinit(&opts);
}

Test(mountopts, others_are_refused_by_name)
{
	static const char *const lists[] = {
		"sideways",    "ro,sideways", "fd=3",	 "rootmode=40000", "user_id=0", "group_id=0",
		"max_read=",   "max_read=x",  "max_read=1x", "max_read=-1",	   "max_read",	"ro=1",
		"allow_other=", "RO",	      " ro",	 "blkdev",
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const char *last = strrchr(lists[i], ',');

		cr_expect_eq(parse(lists[i], 1), -EINVAL, "%s", lists[i]);
		cr_expect(strstr(why, last ? last + 1 : lists[i]), "%s: %s", lists[i], why);
		cr_expect_null(opts.kernel);
	}
}

Test(mountopts, a_backslash_takes_the_next_character_as_it_is)
{
	cr_assert_eq(parse("fsname=host:/a\\,b\\\\c,ro,subtype=x\\", 0), 0, "%s", why);
	cr_expect_str_eq(opts.fsname, "host:/a,b\\c");
	cr_expect_str_eq(opts.subtype, "x\\");
	cr_expect(opts.flags & MS_RDONLY);
	mountopts_deinit(&opts);
}
