/*
 * What a backend that is linked with librelay writes down of what does not exist, and when: in
 * maps of this kernel, without the program that reads them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache_maps.h"
#include "lib/fake_relayd.h"
#include "relay/ctl_wire.h"
#include "relay/opcodes.h"
#include "relay/relay.h"

#define DIR 10u
#define CHILD 77u
#define FH 5u

static const struct cache_sizes small = {.dirs = 64, .present = {64, 8, 8}, .names = {64, 64, 64}, .xattrs = 64};
static struct cache_maps maps;
static struct fake_relayd fake;
static bool keeps = true;

static int look(enum known_map map, const void *key, void *value)
{
	union bpf_attr attr = {.map_fd = (uint32_t)maps.fd[map], .key = (uintptr_t)key, .value = (uintptr_t)value};

	return syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* As the program in the kernel sees it. */
static bool is_absent(uint64_t dir, const char *name)
{
	struct known_name_16 key = {.dir = dir, .len = (uint32_t)strlen(name)};
	struct known_dir known = {0};
	uint64_t word = 0, halves[2];
	char present;

	memcpy(key.name, name, strlen(name));
	memcpy(halves, key.name, sizeof(halves));
	if (look(KNOWN_DIRS, &dir, &known))
		return false;
	if (!look(KNOWN_NAMES_16, &key, &word) &&
	    known_flags(word, known_tag(dir, halves[0], halves[1]), relay_internal_cache_now()) & KNOWN_ABSENT)
		return true;
	return known.complete == dir && look(KNOWN_PRESENT_16, &key, &present) == -ENOENT;
}

/* ---- the backend ------------------------------------------------------------- */

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	(void)in;
	out->flags = 0;
	return keeps && relay_known_keep(session) != (fake.maps ? 0 : -EOPNOTSUPP) ? -EINVAL : 0;
}

static void on_lookup(struct relay_req *req, const char *name)
{
	relay_reply_error(req, *name == 'n' ? ENOENT : EIO);
}

/* What is answered to be absent must not be, by now. */
static void entry_reply(struct relay_req *req, const char *name, uint64_t nodeid)
{
	const struct fuse_entry_out entry = {.nodeid = nodeid};

	if (is_absent(relay_req_nodeid(req), name))
		relay_reply_error(req, EBADE);
	else
		relay_reply_entry(req, &entry);
}

static void on_mknod(struct relay_req *req, const struct fuse_mknod_in *in, const char *name)
{
	(void)in;
	entry_reply(req, name, 5);
}

static void on_mkdir(struct relay_req *req, const struct fuse_mkdir_in *in, const char *name)
{
	(void)in;
	entry_reply(req, name, CHILD);
}

static void on_opendir(struct relay_req *req, const struct fuse_open_in *in)
{
	const struct fuse_open_out open = {.fh = FH};

	(void)in;
	relay_reply_open(req, &open);
}

/* One name, "a". */
static void on_readdir(struct relay_req *req, const struct fuse_read_in *in)
{
	uint8_t record[32] = {0};
	const struct fuse_dirent dirent = {.ino = 3, .off = 1, .namelen = 1};

	memcpy(record, &dirent, FUSE_NAME_OFFSET);
	record[FUSE_NAME_OFFSET] = 'a';
	relay_reply(req, record, in->offset ? 0 : sizeof(record));
}

static void on_access(struct relay_req *req, const struct fuse_access_in *in)
{
	struct relay_session *session = relay_req_session(req);
	static const char *const names[] = {"x"};
	int err = 0;

	if (in->mask == 1)
		err = relay_known_absent(session, DIR, "w", RELAY_KNOWN_FOREVER);
	else if (in->mask == 2)
		err = relay_known_complete(session, DIR, names, 1);
	else if (in->mask == 3)
		err = relay_known_drop(session, DIR, "w");
	else if (in->mask == 4)
		err = relay_notify_inval_entry(session, DIR, "y", 0);
	relay_reply_error(req, -err);
}

static int backend(int channel, void *arg)
{
	static const struct relay_ops ops = {
		.init = on_init,
		.lookup = on_lookup,
		.mknod = on_mknod,
		.mkdir = on_mkdir,
		.opendir = on_opendir,
		.readdir = on_readdir,
		.access = on_access,
	};

	(void)arg;
	return -relay_serve(channel, &ops, 1, NULL);
}

/* ---- relayd's side -------------------------------------------------------------- */

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
}

static void setup_with(uint32_t trust)
{
	int err = relay_internal_cache_maps_new(&maps, &small);

	if (err == -EPERM)
		cr_skip_test("this process may not make BPF maps");
	cr_assert_eq(err, 0);
	fake_relayd_init(&fake, 4, 2);
	fake.maps = maps.fd;
	fake.absences = (struct relay_absences){.trust = trust, .same_for_all = 1};
	begin();
}

static void setup(void)
{
	setup_with(RELAY_CTL_TRUST_COMPLETE);
}

static void teardown(void)
{
	if (fake.channel >= 0)
		cr_expect_eq(fake_end(&fake), 0);
	fake_relayd_deinit(&fake);
	relay_internal_cache_maps_close(&maps);
}

static int named(uint32_t opcode, uint64_t dir, const char *name)
{
	/* mknod and mkdir have fixed parts of other sizes. */
	const uint32_t in_size = relay_op_get(opcode)->in_size;
	uint8_t body[64] = {0};

	strcpy((char *)body + in_size, name);
	return fake_call(&fake, 0, opcode, dir, body, in_size + (uint32_t)strlen(name) + 1);
}

static void list(void)
{
	const struct fuse_open_in open = {0};
	struct fuse_read_in read = {.fh = FH, .size = 4096};

	cr_assert_eq(fake_call(&fake, 0, FUSE_OPENDIR, DIR, &open, sizeof(open)), 0);
	cr_assert_eq(fake_call(&fake, 0, FUSE_READDIR, DIR, &read, sizeof(read)), 0);
	read.offset = 1;
	cr_assert_eq(fake_call(&fake, 0, FUSE_READDIR, DIR, &read, sizeof(read)), 0);
}

static int access_call(uint32_t mask)
{
	const struct fuse_access_in in = {.mask = mask};

	return fake_call(&fake, 0, FUSE_ACCESS, DIR, &in, sizeof(in));
}

TestSuite(absences, .init = setup, .fini = teardown, .timeout = 60);

Test(absences, what_is_not_found_is_known_before_the_reply_and_taken_back_before_it_is_made)
{
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	cr_expect(is_absent(DIR, "n"));
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "other"), -EIO);
	cr_expect_not(is_absent(DIR, "other"));
	cr_expect_eq(named(FUSE_MKNOD, DIR, "n"), 0);
	cr_expect_not(is_absent(DIR, "n"));
}

Test(absences, a_listing_and_a_birth_make_complete)
{
	list();
	cr_expect(is_absent(DIR, "z"));
	cr_expect_not(is_absent(DIR, "a"));
	cr_expect_eq(named(FUSE_MKDIR, DIR, "d"), 0);
	cr_expect_not(is_absent(DIR, "d"));
	cr_expect(is_absent(CHILD, "anything"));
	cr_expect_eq(named(FUSE_MKNOD, CHILD, "f"), 0);
	cr_expect_not(is_absent(CHILD, "f"));
}

Test(absences, a_filesystem_may_say_more)
{
	cr_expect_eq(access_call(1), 0);
	cr_expect(is_absent(DIR, "w"));
	cr_expect_eq(access_call(3), 0);
	cr_expect_not(is_absent(DIR, "w"));
	cr_expect_eq(access_call(2), 0);
	cr_expect(is_absent(DIR, "y"));
	cr_expect_not(is_absent(DIR, "x"));
	cr_expect_eq(access_call(4), 0);
	cr_expect_not(is_absent(DIR, "y"));
}

Test(absences, what_a_killed_one_has_written_down_is_still_so_and_the_next_takes_it_back)
{
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	list();
	cr_expect(WIFSIGNALED(fake_kill(&fake)));
	cr_expect(is_absent(DIR, "n"), "while nobody is there");
	cr_expect(is_absent(DIR, "z"));
	begin();
	cr_expect_eq(fake.incarnation, 2);
	cr_expect(is_absent(DIR, "z"));
	cr_expect_eq(named(FUSE_MKNOD, DIR, "n"), 0);
	cr_expect_not(is_absent(DIR, "n"));
	cr_expect_not(is_absent(DIR, "z"), "of a directory that it changes it takes back all");
}

/* Between the stored reply and what it tells: the id in it is the state's by then. */
Test(absences, a_death_before_the_reply_is_stored_leaves_nothing_known)
{
	uint8_t body[64] = {0};

	cr_expect_eq(fake_end(&fake), 0);
	fake_crash_plan("MKDIR applied 1\n");
	begin();
	strcpy((char *)body + sizeof(struct fuse_mkdir_in), "d");
	fake_request(&fake, 0, FUSE_MKDIR, DIR, body, sizeof(struct fuse_mkdir_in) + 2);
	cr_expect_eq(fake_receive(&fake), 0);
	cr_expect(WIFSIGNALED(fake_wait(&fake)));
	cr_expect_not(is_absent(CHILD, "anything"));
	fake_crash_plan(NULL);
	begin();
}

Test(absences, who_does_not_ask_for_it_is_not_listened_to)
{
	cr_expect_eq(fake_end(&fake), 0);
	keeps = false;
	begin();
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	cr_expect_not(is_absent(DIR, "n"));
	cr_expect_eq(access_call(1), -EOPNOTSUPP);
}

Test(absences, nor_does_what_was_written_down_outlive_who_takes_it_back)
{
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	list();
	cr_expect(WIFSIGNALED(fake_kill(&fake)));
	cr_expect(is_absent(DIR, "n") && is_absent(DIR, "z"));
	keeps = false;
	begin();
	cr_expect_not(is_absent(DIR, "n"));
	cr_expect_not(is_absent(DIR, "z"));
}

Test(absences, nor_is_one_of_a_mount_that_has_none)
{
	cr_expect_eq(fake_end(&fake), 0);
	fake.maps = NULL;
	begin();
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	cr_expect_not(is_absent(DIR, "n"));
}

Test(absences, callers_that_may_be_told_different_things_are_told_only_what_has_a_timeout)
{
	cr_expect_eq(fake_end(&fake), 0);
	fake.absences.same_for_all = 0;
	begin();
	cr_expect_eq(named(FUSE_LOOKUP, DIR, "n"), -ENOENT);
	list();
	cr_expect_not(is_absent(DIR, "n"));
	cr_expect_not(is_absent(DIR, "z"));
}
