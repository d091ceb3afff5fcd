/* What each call leaves in the maps of a mount, and that what is there already is not disturbed. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache_maps.h"

#define DIR 42u

static const struct cache_sizes small = {.dirs = 8, .present = {8, 8, 8}, .names = {64, 64, 64}, .xattrs = 64};
static struct cache_maps maps;

static void setup(void)
{
	int err = relay_internal_cache_maps_new(&maps, &small);

	if (err == -EPERM)
		cr_skip_test("this process may not make BPF maps");
	cr_assert_eq(err, 0, "maps: %s", strerror(-err));
}

static void teardown(void)
{
	relay_internal_cache_maps_close(&maps);
}

TestSuite(cache_maps, .init = setup, .fini = teardown, .timeout = 60);

static int look(enum known_map map, const void *key, void *value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)maps.fd[map], .key = (uintptr_t)key, .value = (uintptr_t)value};

	return syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* The word of a name of up to 16 bytes, 0 if there is none. */
static uint64_t word_of(const char *name, uint64_t *tag)
{
	struct known_name_16 key = {.dir = DIR, .len = (uint32_t)strlen(name)};
	uint64_t word = 0, halves[2];

	memcpy(key.name, name, strlen(name));
	memcpy(halves, key.name, sizeof(halves));
	*tag = known_tag(DIR, halves[0], halves[1]);
	return look(KNOWN_NAMES_16, &key, &word) ? 0 : word;
}

static bool keep_none(uint64_t dir, void *arg)
{
	(void)dir;
	(void)arg;
	return false;
}

static bool keep_one(uint64_t dir, void *arg)
{
	return dir == *(uint64_t *)arg;
}

Test(cache_maps, an_absent_name_is_known_until_its_time)
{
	uint64_t now = relay_internal_cache_now(), later = now + (1ull << 32), tag, word;

	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, "absent", 6, later), 0);
	word = word_of("absent", &tag);
	cr_assert_eq(known_flags(word, tag, now), KNOWN_ABSENT);
	cr_assert_eq(known_flags(word, tag, later), 0, "no longer than it was said");
	cr_assert_eq(known_flags(word, tag ^ 1, now), 0, "of another name");
	cr_assert_eq(relay_internal_cache_fill(&maps, KNOWN_DIRS), 1, "its directory is looked at");

	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, "absent", 6, KNOWN_FOREVER), 0);
	word = word_of("absent", &tag);
	cr_assert_eq(known_flags(word, tag, later * 1000), KNOWN_ABSENT);
	cr_assert_eq(relay_internal_cache_absent_drop(&maps, DIR, "absent", 6), 0);
	cr_assert_eq(word_of("absent", &tag), 0);
	cr_assert_eq(relay_internal_cache_absent_drop(&maps, DIR, "absent", 6), 0, "once more is no error");
}

Test(cache_maps, a_stale_name_is_so_until_it_is_dropped)
{
	uint64_t tag, word;

	cr_assert_eq(relay_internal_cache_stale_put(&maps, DIR, "old", 3), 0);
	word = word_of("old", &tag);
	cr_assert_eq(known_flags(word, tag, relay_internal_cache_now()), KNOWN_STALE);
	cr_assert_eq(relay_internal_cache_absent_drop(&maps, DIR, "old", 3), 0);
	cr_assert_eq(word_of("old", &tag), 0);
}

Test(cache_maps, every_length_of_a_name_has_its_map)
{
	char name[KNOWN_NAME_MAX + 1];

	memset(name, 'n', sizeof(name));
	for (size_t len = 1; len <= KNOWN_NAME_MAX; len++) {
		enum known_map map = len <= 16 ? KNOWN_PRESENT_16 : len <= 47 ? KNOWN_PRESENT_48 : KNOWN_PRESENT_256;

		cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, name, len), 0);
		cr_assert_eq(relay_internal_cache_fill(&maps, map), 1, "%zu bytes", len);
		cr_assert_eq(relay_internal_cache_present_drop(&maps, DIR, name, len), 0);
		cr_assert_eq(relay_internal_cache_fill(&maps, map), 0, "%zu bytes", len);
	}
	cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, name, KNOWN_NAME_MAX + 1), -EINVAL);
}

Test(cache_maps, what_is_no_name_is_refused)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, bad[i].bytes, bad[i].len, KNOWN_FOREVER), -EINVAL);
		cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, bad[i].bytes, bad[i].len), -EINVAL);
	}
	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, "...", 3, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, ".a", 2, KNOWN_FOREVER), 0);
}

Test(cache_maps, a_full_map_refuses_a_present_name)
{
	char name[] = "a";

	for (unsigned i = 0; i < small.present[0]; i++, name[0]++)
		cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, name, 1), 0);
	cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, name, 1), -E2BIG);
	cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, "a", 1), 0, "which is there already");
	cr_assert_eq(relay_internal_cache_fill(&maps, KNOWN_PRESENT_16), small.present[0]);
}

Test(cache_maps, a_complete_directory_stays_so_when_a_name_is_put_absent)
{
	const uint64_t dir = DIR;
	struct known_dir value, again;

	cr_assert_eq(relay_internal_cache_dir_complete(&maps, DIR, KNOWN_FOREVER), 0);
	cr_assert_eq(look(KNOWN_DIRS, &dir, &value), 0);
	cr_assert_eq(value.complete, DIR);
	cr_assert_eq(value.until, KNOWN_FOREVER);
	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, "n", 1, KNOWN_FOREVER), 0);
	cr_assert_eq(look(KNOWN_DIRS, &dir, &again), 0);
	cr_assert_arr_eq(&value, &again, sizeof(value));

	cr_assert_eq(relay_internal_cache_dir_drop(&maps, DIR), 0);
	cr_assert_eq(look(KNOWN_DIRS, &dir, &again), -ENOENT);
	cr_assert_eq(relay_internal_cache_dir_complete(&maps, DIR, KNOWN_FOREVER), 0);
	cr_assert_eq(look(KNOWN_DIRS, &dir, &again), 0);
	cr_assert_gt(again.since, value.since, "a second time is another one");
}

Test(cache_maps, a_sweep_takes_names_of_directories_that_are_not_complete)
{
	uint64_t entered = 3;

	for (uint64_t dir = 1; dir <= 4; dir++) {
		cr_assert_eq(relay_internal_cache_present_put(&maps, dir, "short", 5), 0);
		cr_assert_eq(relay_internal_cache_present_put(&maps, dir, "a name of more than sixteen", 27), 0);
	}
	cr_assert_eq(relay_internal_cache_dir_complete(&maps, 1, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_absent_put(&maps, 2, "n", 1, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_sweep(&maps, keep_one, &entered), 4);
	cr_assert_eq(relay_internal_cache_fill(&maps, KNOWN_PRESENT_16), 2);
	cr_assert_eq(relay_internal_cache_sweep(&maps, keep_none, NULL), 2);
	cr_assert_eq(relay_internal_cache_fill(&maps, KNOWN_PRESENT_48), 1);
}

Test(cache_maps, xattrs_by_name)
{
	const struct known_xattr_key key = {.nodeid = DIR, .xattr = KNOWN_XATTR_CAPABILITY};
	uint64_t word, tag = known_tag(DIR, KNOWN_XATTR_CAPABILITY, 0);

	cr_assert_eq(relay_internal_cache_xattr("security.selinux"), KNOWN_XATTR_SELINUX);
	cr_assert_eq(relay_internal_cache_xattr("system.posix_acl_default"), KNOWN_XATTR_ACL_DEFAULT);
	cr_assert_eq(relay_internal_cache_xattr("user.security.selinux"), -1);
	cr_assert_eq(relay_internal_cache_xattr_put(&maps, DIR, KNOWN_XATTR_CAPABILITY, KNOWN_FOREVER), 0);
	cr_assert_eq(look(KNOWN_XATTRS, &key, &word), 0);
	cr_assert_eq(known_flags(word, tag, relay_internal_cache_now()), KNOWN_ABSENT);
	cr_assert_eq(relay_internal_cache_xattr_drop(&maps, DIR, KNOWN_XATTR_CAPABILITY), 0);
	cr_assert_eq(look(KNOWN_XATTRS, &key, &word), -ENOENT);
}

Test(cache_maps, nothing_is_left_of_a_node_that_is_dropped)
{
	const uint64_t dir = DIR;
	struct known_dir value;

	for (unsigned xattr = 0; xattr < KNOWN_XATTRS_COUNT; xattr++)
		cr_assert_eq(relay_internal_cache_xattr_put(&maps, DIR, xattr, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_dir_complete(&maps, DIR, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_node_drop(&maps, DIR), 0);
	cr_assert_eq(look(KNOWN_DIRS, &dir, &value), -ENOENT);
	cr_assert_eq(relay_internal_cache_fill(&maps, KNOWN_XATTRS), 0);
}

Test(cache_maps, nothing_is_left_after_a_clear)
{
	cr_assert_eq(relay_internal_cache_absent_put(&maps, DIR, "absent", 6, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_present_put(&maps, DIR, "present", 7), 0);
	cr_assert_eq(relay_internal_cache_dir_complete(&maps, DIR, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_xattr_put(&maps, DIR, KNOWN_XATTR_SELINUX, KNOWN_FOREVER), 0);
	cr_assert_eq(relay_internal_cache_clear(&maps), 0);
	for (unsigned map = 0; map < KNOWN_MAPS; map++)
		cr_assert_eq(relay_internal_cache_fill(&maps, map), 0, "map %u", map);
}

Test(cache_maps, what_fails_says_so)
{
	struct cache_maps closed;

	memset(&closed, -1, sizeof(closed));
	cr_assert_eq(relay_internal_cache_absent_put(&closed, DIR, "n", 1, KNOWN_FOREVER), -EBADF);
	cr_assert_eq(relay_internal_cache_absent_drop(&closed, DIR, "n", 1), -EBADF);
	cr_assert_eq(relay_internal_cache_present_put(&closed, DIR, "n", 1), -EBADF);
	cr_assert_eq(relay_internal_cache_dir_drop(&closed, DIR), -EBADF);
	cr_assert_eq(relay_internal_cache_node_drop(&closed, DIR), -EBADF);
	cr_assert_eq(relay_internal_cache_clear(&closed), -EBADF);
	cr_assert_eq(relay_internal_cache_fill(&closed, KNOWN_DIRS), -EBADF);
}
