/*
 * Requests of a relayd that keeps to the protocol, and of one that does not: what
 * handlers are given, replies, notifications, interrupts, the end.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/fake_relayd.h"
#include "relay/opcodes.h"
#include "relay/relay.h"

#define FORCED ((uint64_t)(FUSE_INIT_EXT | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES | FUSE_MAX_PAGES))

/* What the backend tells the test. */
struct seen {
	uint32_t incarnation;
	char name[32], name2[32];
	uint32_t data_size;
	bool data_aligned, reply_aligned;
	uint64_t nodeid, unique;
	bool redo;
	_Atomic uint32_t waiting; /* SETLKWs that are detached */
	_Atomic uint32_t dropped; /* answered when the channel had ended */
};

static struct seen *seen;
static struct fake_relayd fake;
static struct relay_req *waiter; /* in the backend */
static pthread_mutex_t waiter_lock = PTHREAD_MUTEX_INITIALIZER;

static int on_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	(void)in;
	(void)out;
	seen->incarnation = relay_session_incarnation(session);
	return 0;
}

static void note_req(struct relay_req *req)
{
	seen->nodeid = relay_req_nodeid(req);
	seen->unique = relay_req_unique(req);
	seen->redo = relay_req_redo(req);
}

static void on_lookup(struct relay_req *req, const char *name)
{
	note_req(req);
	strncpy(seen->name, name, sizeof(seen->name) - 1);
	relay_reply_error(req, ENOENT);
}

static void on_rename2(struct relay_req *req, const struct fuse_rename2_in *in, const char *name, const char *newname)
{
	note_req(req);
	seen->data_size = in->flags;
	strncpy(seen->name, name, sizeof(seen->name) - 1);
	strncpy(seen->name2, newname, sizeof(seen->name2) - 1);
	relay_reply_error(req, 0);
}

static void on_setxattr(struct relay_req *req, const struct fuse_setxattr_in *in, const char *name, const void *value,
			size_t size)
{
	strncpy(seen->name, name, sizeof(seen->name) - 1);
	strncpy(seen->name2, value, size);
	seen->data_size = in->setxattr_flags;
	relay_reply_error(req, 0);
}

static void on_write(struct relay_req *req, const struct fuse_write_in *in, const void *data, size_t size)
{
	seen->data_aligned = (uintptr_t)data % 4096 == 0 && relay_req_in(req) == in;
	seen->data_size = (uint32_t)size;
	relay_reply_write(req, (uint32_t)size);
}

static void on_read(struct relay_req *req, const struct fuse_read_in *in)
{
	size_t capacity;
	uint8_t *buffer = relay_reply_buffer(req, &capacity);

	seen->reply_aligned = (uintptr_t)buffer % 4096 == 0 && capacity >= RELAY_MAX_DATA;
	memset(buffer, 'x', in->size);
	relay_reply_filled(req, in->size);
}

/* Replies in ways that a handler must not. */
static void on_statfs(struct relay_req *req)
{
	static const uint8_t large[RELAY_MAX_REPLY * 2];

	switch (relay_req_nodeid(req)) {
	case 1:
		relay_reply(req, large, sizeof(large));
		break;
	case 2:
		relay_reply_filled(req, SIZE_MAX);
		break;
	case 3:
		relay_reply_error(req, 512);
		break;
	case 4:
		relay_reply_error(req, -EPERM);
		break;
	case 5: /* none at all */
		break;
	case 6: /* two */
		relay_reply_error(req, EPERM);
		relay_reply_error(req, EACCES);
		break;
	}
}

static void on_getattr(struct relay_req *req, const struct fuse_getattr_in *in)
{
	struct relay_session *session = relay_req_session(req);
	int fd = memfd_create("kept", MFD_CLOEXEC);

	(void)in;
	note_req(req);
	if (relay_keep_fd(session, 7, fd) || relay_keep_fd(session, 8, fd) || relay_drop_fd(session, 8) ||
	    relay_keep_fd(session, 0, fd) != -EINVAL || relay_drop_fd(session, 0) != -EINVAL)
		relay_reply_error(req, EBADE);
	else
		relay_reply_attr(req, &(struct fuse_attr_out){.attr = {.ino = 42}});
	close(fd);
}

static void on_fsync(struct relay_req *req, const struct fuse_fsync_in *in)
{
	struct relay_session *session = relay_req_session(req);
	static const uint8_t data[RELAY_MAX_DATA + 1];
	char long_name[1100];

	(void)in;
	memset(long_name, 'n', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	if (relay_notify_inval_inode(session, 5, 0, -1) || relay_notify_inval_entry(session, 1, "name", 0) ||
	    relay_notify_delete(session, 1, 5, "name") || relay_notify_store(session, 5, 0, data, sizeof(data)) ||
	    relay_notify_retrieve(session, 9, 5, 0, 4096) || relay_notify_poll(session, 3) ||
	    relay_notify_inval_entry(session, 1, long_name, 0) != -ENAMETOOLONG ||
	    relay_notify_delete(session, 1, 5, "") != -EINVAL)
		relay_reply_error(req, EBADE);
	else
		relay_reply_error(req, 0);
}

/* Waits until it is interrupted: elsewhere (flags 1), or here. */
static void on_setlkw(struct relay_req *req, const struct fuse_lk_in *in)
{
	bool detach = in->lk_flags == 1;

	if (detach) {
		req = relay_req_detach(req);
		in = relay_req_in(req);
		seen->data_size = in->lk_flags;
		note_req(req);
	}
	pthread_mutex_lock(&waiter_lock);
	waiter = req;
	atomic_fetch_add(&seen->waiting, 1);
	if (!detach || relay_req_interrupted(req)) {
		pthread_mutex_unlock(&waiter_lock);
		while (!relay_req_interrupted(req))
			sched_yield();
		pthread_mutex_lock(&waiter_lock);
		if (waiter)
			relay_reply_error(req, EINTR);
		waiter = NULL;
	}
	pthread_mutex_unlock(&waiter_lock);
}

static void on_interrupt(struct relay_session *session, uint64_t unique)
{
	(void)session;
	pthread_mutex_lock(&waiter_lock);
	if (waiter && relay_req_unique(waiter) == unique && relay_req_header(waiter)->nodeid == 1) {
		relay_reply_error(waiter, EINTR);
		waiter = NULL;
		atomic_fetch_add(&seen->dropped, 1);
	}
	pthread_mutex_unlock(&waiter_lock);
}

static void on_notify_reply(struct relay_req *req, const struct fuse_notify_retrieve_in *in, const void *data,
			    size_t size)
{
	uint64_t word = 0;
	size_t capacity;

	(void)in;
	memcpy(seen->name, data, size);
	/* None of these has anything to work on. */
	relay_state_begin(req);
	if (relay_state_set(req, &word, 1) == -EINVAL && !relay_req_pre(req) && !relay_reply_buffer(req, &capacity))
		seen->data_size = (uint32_t)size;
	relay_req_applying(req, 8);
	relay_reply_error(req, 0);
}

static const struct relay_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.rename2 = on_rename2,
	.setxattr = on_setxattr,
	.write = on_write,
	.read = on_read,
	.statfs = on_statfs,
	.getattr = on_getattr,
	.fsync = on_fsync,
	.setlkw = on_setlkw,
	.interrupt = on_interrupt,
	.notify_reply = on_notify_reply,
};

static int backend(int channel, void *arg)
{
	(void)arg;
	return relay_serve(channel, &ops, 3, NULL);
}

static int backend_nonblocking(int channel, void *arg)
{
	cr_assert_eq(fcntl(channel, F_SETFL, O_NONBLOCK), 0);
	return backend(channel, arg);
}

static int backend_without_handlers(int channel, void *arg)
{
	static const struct relay_ops none;

	(void)arg;
	return relay_serve(channel, &none, 0, NULL);
}

static void setup(void)
{
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(seen, MAP_FAILED);
	fake_relayd_init(&fake, 4, 4);
	fake_crash_plan(NULL);
}

static void teardown(void)
{
	fake_relayd_deinit(&fake);
	munmap(seen, sizeof(*seen));
}

TestSuite(serve, .init = setup, .fini = teardown, .timeout = 120);

static void begin(void)
{
	cr_assert(fake_begin(&fake, backend, NULL));
	cr_assert_eq(fake.reply.out.error, 0);
}

/* The exit status that stands for relay_serve()'s result: 0, or an errno. */
static void expect_end(int result)
{
	int status = fake.channel >= 0 ? fake_end(&fake) : fake_wait(&fake);

	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == result, "status %x", (unsigned)status);
}

/* ---- requests ---------------------------------------------------------- */

Test(serve, handlers_get_the_parts_of_their_requests)
{
	struct {
		struct fuse_rename2_in in;
		char names[16];
	} rename = {.in = {.flags = 2}, .names = "old\0new"};
	struct {
		struct fuse_setxattr_in in;
		char name_value[16];
	} xattr = {.in = {.setxattr_flags = 1}, .name_value = "user.a\0value"};

	begin();
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 77, "name", 5), -ENOENT);
	cr_expect_str_eq(seen->name, "name");
	cr_expect_eq(seen->nodeid, 77);
	cr_expect_eq(seen->unique, fake_slot(&fake, 0)->unique);
	cr_expect_not(seen->redo);
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_APPLIED);
	cr_expect_eq(fake_call(&fake, 3, FUSE_RENAME2, 1, &rename, sizeof(rename.in) + 8), 0);
	cr_expect_str_eq(seen->name, "old");
	cr_expect_str_eq(seen->name2, "new");
	cr_expect_eq(seen->data_size, 2);
	cr_expect_eq(fake_call(&fake, 0, FUSE_SETXATTR, 1, &xattr, sizeof(xattr.in) + 12), 0);
	cr_expect_str_eq(seen->name, "user.a");
	cr_expect_str_eq(seen->name2, "value");
	cr_expect_eq(seen->data_size, 1);
	expect_end(0);
}

Test(serve, data_lies_on_pages)
{
	static struct {
		struct fuse_write_in in;
		uint8_t data[RELAY_MAX_DATA];
	} write;
	const struct fuse_read_in read = {.size = RELAY_MAX_DATA};

	cr_assert(fake_begin(&fake, backend_nonblocking, NULL));
	cr_expect_eq(fake_call(&fake, 0, FUSE_WRITE, 1, &write, sizeof(write)), 0);
	cr_expect(seen->data_aligned);
	cr_expect_eq(seen->data_size, RELAY_MAX_DATA);
	cr_expect_eq(((const struct fuse_write_out *)(&fake.reply.out + 1))->size, RELAY_MAX_DATA);
	cr_expect_eq(fake_call(&fake, 1, FUSE_READ, 1, &read, sizeof(read)), 0);
	cr_expect(seen->reply_aligned);
	cr_expect_eq(fake.reply.size, sizeof(fake.reply.out) + RELAY_MAX_DATA);
	cr_expect_eq(fake.reply.bytes[fake.reply.size - 1], 'x');
	expect_end(0);
}

Test(serve, an_opcode_without_a_handler_is_answered)
{
	const struct fuse_forget_in forget = {.nlookup = 1};

	cr_assert(fake_begin(&fake, backend_without_handlers, NULL));
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "name", 5), -ENOSYS);
	cr_expect_eq(fake_call(&fake, 0, FUSE_FORGET, 1, &forget, sizeof(forget)), 0);
	cr_expect_eq(fake_call(&fake, 0, FUSE_DESTROY, 1, NULL, 0), 0);
	fake_send_interrupt(&fake, fake_slot(&fake, 0)->channel_unique);
	cr_expect_eq(fake_call(&fake, 0, FUSE_STATFS, 1, NULL, 0), -ENOSYS);
	expect_end(0);
}

Test(serve, replies_that_cannot_be_become_EIO)
{
	begin();
	for (uint64_t nodeid = 1; nodeid <= 5; nodeid++) {
		cr_expect_eq(fake_call(&fake, 0, FUSE_STATFS, nodeid, NULL, 0), -EIO, "%d", (int)nodeid);
		cr_expect_eq(fake.reply.size, sizeof(fake.reply.out));
	}
	/* A small slot has less room. */
	cr_expect_eq(fake_call(&fake, 5, FUSE_STATFS, 1, NULL, 0), -EIO);
	cr_expect_eq(fake_call(&fake, 0, FUSE_STATFS, 6, NULL, 0), -EPERM, "the first of two counts");
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "name", 5), -ENOENT);
	expect_end(0);
}

Test(serve, requests_that_do_not_fit_are_answered)
{
	begin();
	cr_expect_eq(fake_call(&fake, 0, 1000, 1, NULL, 0), -ENOSYS, "no opcode");
	cr_expect_eq(fake_call(&fake, 0, 0, 1, NULL, 0), -ENOSYS, "no opcode");
	cr_expect_eq(fake_call(&fake, 0, FUSE_LOOKUP, 1, "name", 4), -EIO, "a name without its end");
	cr_expect_eq(fake_call(&fake, 0, FUSE_WRITE, 1, "x", 1), -EIO, "a short fixed part");
	cr_expect_eq(fake_call(&fake, 0, FUSE_INIT, 1, fake.reply.bytes, 64), -EIO, "a second INIT");
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_APPLIED);
	expect_end(0);
}

/* An answer that is no slot's: relayd hears of it, and the journal is as it was. */
static void expect_outside(uint64_t unique)
{
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EIO);
	cr_expect_eq(fake.reply.size, sizeof(fake.reply.out));
}

Test(serve, requests_of_no_slot_leave_the_journal_alone)
{
	static uint8_t large[RELAY_MAX_REQUEST + 8192];
	struct fuse_in_header *header = (struct fuse_in_header *)large;
	struct fuse_in_header packet = {.len = sizeof(packet), .opcode = FUSE_STATFS, .nodeid = 3};
	uint64_t unique;

	begin();
	unique = fake_take(&fake, 0, FUSE_STATFS, 3, NULL, 0);

	packet.unique = relay_unique_make(1000, 0);
	fake_send_raw(&fake, &packet, sizeof(packet));
	expect_outside(packet.unique);
	packet.unique = relay_unique_make(1000, 8);
	fake_send_raw(&fake, &packet, sizeof(packet));
	expect_outside(packet.unique);
	packet.unique = UINT64_MAX;
	fake_send_raw(&fake, &packet, sizeof(packet));
	expect_outside(packet.unique);
	/* No answer to what could not be told from a notification, or is no message. */
	packet.unique = 0;
	fake_send_raw(&fake, &packet, sizeof(packet));
	fake_send_raw(&fake, &packet, 5);
	packet.opcode = FUSE_INTERRUPT;
	fake_send_raw(&fake, &packet, sizeof(packet));
	packet.opcode = FUSE_NOTIFY_REPLY;
	fake_send_raw(&fake, &packet, sizeof(packet));
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_TAKEN);

	/* A slot in another state is not to be applied. */
	atomic_store(&fake_slot(&fake, 0)->state, RELAY_SLOT_FREE);
	fake_send(&fake, 0);
	expect_outside(unique);
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_FREE);

	/* A packet that is too long has a beginning, and so a slot. */
	*header = (struct fuse_in_header){.len = sizeof(large), .opcode = FUSE_WRITE, .unique = unique};
	atomic_store(&fake_slot(&fake, 0)->state, RELAY_SLOT_TAKEN);
	fake_send_raw(&fake, large, sizeof(large));
	expect_outside(unique);
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_APPLIED);
	expect_end(0);
}

Test(serve, a_request_that_may_be_repeated_is_marked_by_the_library)
{
	begin();
	fake_crash_plan("LOOKUP prerecorded 1\n");
	fake_request(&fake, 0, FUSE_LOOKUP, 1, "name", 5);
	cr_expect_eq(WTERMSIG(fake_wait(&fake)), SIGKILL);
	cr_expect_eq(fake_slot_state(&fake, 0), RELAY_SLOT_APPLYING);
	cr_expect_str_empty(seen->name);
	begin();
	cr_expect_eq(seen->incarnation, 2);
	fake_send(&fake, 0);
	cr_expect_eq(fake_receive(&fake), fake_slot(&fake, 0)->channel_unique);
	cr_expect(seen->redo);
	expect_end(0);
}

/* ---- descriptors and notifications ------------------------------------- */

Test(serve, a_descriptor_is_safe_once_it_was_sent)
{
	const struct fuse_getattr_in in = {0};

	begin();
	fake_crash_plan("KEEP kept 1\n");
	fake_request(&fake, 0, FUSE_GETATTR, 1, &in, sizeof(in));
	cr_expect_eq(WTERMSIG(fake_wait(&fake)), SIGKILL);
	cr_expect_neq(fake_kept_get(&fake, 7), -1);
}

Test(serve, notifications_are_sent)
{
	static const int32_t codes[] = {FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_DELETE,
					FUSE_NOTIFY_STORE,	 FUSE_NOTIFY_STORE,	  FUSE_NOTIFY_RETRIEVE,
					FUSE_NOTIFY_POLL};
	const struct fuse_fsync_in in = {0};

	begin();
	cr_expect_eq(fake_call(&fake, 0, FUSE_FSYNC, 1, &in, sizeof(in)), 0);
	cr_assert_eq(fake.notify_count, sizeof(codes) / sizeof(codes[0]));
	cr_expect_arr_eq(fake.notified, codes, sizeof(codes));
	expect_end(0);
}

Test(serve, the_answer_to_retrieve_comes_without_a_slot)
{
	const struct {
		struct fuse_in_header header;
		struct fuse_notify_retrieve_in in;
		char data[8];
	} packet = {.header = {.len = sizeof(packet), .opcode = FUSE_NOTIFY_REPLY, .unique = 9}, .data = "content"};

	begin();
	fake_send_raw(&fake, &packet, sizeof(packet));
	/* It is served when the last thread has gone, and nothing is said about it. */
	cr_assert_eq(shutdown(fake.channel, SHUT_WR), 0);
	cr_expect_eq(fake_receive(&fake), 0);
	expect_end(0);
	cr_expect_str_eq(seen->name, "content");
	cr_expect_eq(seen->data_size, sizeof(packet.data));
}

/* ---- interrupts and the end -------------------------------------------- */

static uint64_t request_setlkw(uint32_t slot, uint64_t nodeid, bool detach)
{
	const struct fuse_lk_in in = {.lk_flags = detach};

	return fake_request(&fake, slot, FUSE_SETLKW, nodeid, &in, sizeof(in));
}

static void wait_for_waiter(void)
{
	while (!atomic_load(&seen->waiting))
		sched_yield();
}

Test(serve, a_detached_request_is_interrupted)
{
	uint64_t unique;

	begin();
	unique = request_setlkw(4, 1, true);
	fake_send_interrupt(&fake, unique);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EINTR);
	cr_expect_eq(seen->unique, fake_slot(&fake, 4)->unique);
	cr_expect_eq(seen->data_size, 1, "its fixed part was kept");
	expect_end(0);
}

/* nodeid 2: on_interrupt() doesn't find it, as if it had come too early. */
Test(serve, an_interrupt_that_comes_before_its_request_is_not_lost)
{
	uint64_t unique;

	begin();
	unique = fake_take(&fake, 4, FUSE_SETLKW, 2, &(struct fuse_lk_in){0}, sizeof(struct fuse_lk_in));
	fake_send_interrupt(&fake, unique);
	fake_send(&fake, 4);
	cr_expect_eq(fake_receive(&fake), unique);
	cr_expect_eq(fake.reply.out.error, -EINTR);
	expect_end(0);
}

Test(serve, the_end_interrupts_what_is_detached_and_drops_its_reply)
{
	begin();
	request_setlkw(4, 1, true);
	wait_for_waiter();
	expect_end(0);
	cr_expect_eq(atomic_load(&seen->dropped), 1);
	cr_expect_eq(fake_slot_state(&fake, 4), RELAY_SLOT_APPLYING, "it is the next incarnation's");
}

Test(serve, the_end_interrupts_what_waits_in_its_handler)
{
	begin();
	request_setlkw(4, 1, false);
	wait_for_waiter();
	expect_end(0);
	cr_expect_eq(fake_slot_state(&fake, 4), RELAY_SLOT_APPLYING, "it is the next incarnation's");
}

struct in_process {
	int channel;
	int result;
};

static void *serve_in_process(void *arg)
{
	struct in_process *p = arg;

	p->result = backend(p->channel, NULL);
	close(p->channel);
	return NULL;
}

/* In this process, whose end is looked at for leaks and for memory used after it was freed. */
Test(serve, a_session_leaves_nothing_behind)
{
	const struct fuse_getattr_in in = {0};
	struct in_process p;
	pthread_t thread;
	int pair[2];

	for (int i = 0; i < 3; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		p.channel = pair[1];
		fake.channel = pair[0];
		cr_assert_eq(pthread_create(&thread, NULL, serve_in_process, &p), 0);
		fake_send_init(&fake, 45, FORCED);
		cr_assert(fake_expect_hello(&fake));
		fake_send_welcome(&fake, RELAY_WIRE_VERSION);
		fake_send_kept(&fake);
		cr_assert_neq(fake_receive(&fake), 0);
		cr_expect_eq(fake_call(&fake, 0, FUSE_GETATTR, 1, &in, sizeof(in)), 0);
		request_setlkw(4, 1, true);
		close(fake.channel);
		fake.channel = -1;
		cr_assert_eq(pthread_join(thread, NULL), 0);
		cr_expect_eq(p.result, 0);
	}
}
