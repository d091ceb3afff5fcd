/*
 * The control socket against a fake daemon: what it makes of nonsense, its limits,
 * and who may see and do what.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl_conn.h"
#include "lib/ctl_client_test.h"
#include "relay/fuse_abi.h"

TestSuite(ctl, .init = ctl_test_setup, .fini = ctl_test_teardown, .timeout = 30);

/* ---- frames that make no sense -------------------------------------------- */

static int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, fake_daemon_path(ctl_test_fake));
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends bytes and returns the status of the answer, after which the connection must be at its end. */
static int refused(int fd, const void *bytes, size_t size)
{
	static uint8_t answer[RELAY_CTL_FRAME_MAX];
	struct relay_ctl_head head;
	const char *cause;
	ssize_t n;

	cr_assert_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
	n = recv(fd, answer, sizeof(answer), 0);
	cr_assert(n > 0, "no answer");
	cr_assert_eq(relay_internal_ctl_check(answer, (size_t)n, &head, &cause), 0);
	cr_expect(head.flags & RELAY_CTL_REPLY);
	cr_expect_eq(recv(fd, answer, sizeof(answer), 0), 0, "the connection goes on");
	close(fd);
	/* And others are served. */
	relay_internal_ctl_close(ctl_test_client_open());
	return head.status;
}

static struct relay_ctl_header good_header(uint16_t type, uint32_t size)
{
	return (struct relay_ctl_header){
		.magic = htole32(RELAY_CTL_MAGIC),
		.version = htole16(RELAY_CTL_VERSION),
		.type = htole16(type),
		.size = htole32(size),
		.sequence = htole32(7),
	};
}

Test(ctl, hello_is_answered_with_who_relayd_is)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	cr_expect_eq(client->pid, getpid());
	cr_expect(client->capabilities & RELAY_CTL_CAP_SOCKET_LANE);
	relay_internal_ctl_close(client);
}

Test(ctl, header_of_another_version_is_refused)
{
	struct {
		struct relay_ctl_header header;
		struct relay_ctl_hello hello;
	} frame = {.header = good_header(RELAY_CTL_HELLO, sizeof(frame))};

	frame.header.version = htole16(2);
	cr_expect_eq(refused(raw_connect(), &frame, sizeof(frame)), -EPROTONOSUPPORT);
}

Test(ctl, hello_of_another_version_is_refused)
{
	struct {
		struct relay_ctl_header header;
		struct relay_ctl_hello hello;
	} frame = {.header = good_header(RELAY_CTL_HELLO, sizeof(frame)), .hello = {.version = htole32(2)}};

	cr_expect_eq(refused(raw_connect(), &frame, sizeof(frame)), -EPROTONOSUPPORT);
}

Test(ctl, command_before_hello_is_refused)
{
	struct relay_ctl_header header = good_header(RELAY_CTL_STATUS, sizeof(header));

	cr_expect_eq(refused(raw_connect(), &header, sizeof(header)), -EPROTO);
}

Test(ctl, garbage_is_refused)
{
	struct relay_ctl_header header;
	char noise[100];

	memset(noise, 0x5a, sizeof(noise));
	cr_expect_eq(refused(raw_connect(), noise, sizeof(noise)), -EPROTO);
	cr_expect_eq(refused(raw_connect(), "x", 1), -EPROTO);

	header = good_header(RELAY_CTL_HELLO, sizeof(header) + 8);
	cr_expect_eq(refused(raw_connect(), &header, sizeof(header)), -EPROTO, "size is not the packet's");
	header = good_header(RELAY_CTL_HELLO, sizeof(header));
	cr_expect_eq(refused(raw_connect(), &header, sizeof(header)), -EPROTO, "no fixed part");
	header.flags = htole32(RELAY_CTL_REPLY);
	cr_expect_eq(refused(raw_connect(), &header, sizeof(header)), -EPROTO, "an answer");
}

Test(ctl, packet_that_is_too_long_is_refused)
{
	static char big[RELAY_CTL_FRAME_MAX + 1];

	cr_expect_eq(refused(raw_connect(), big, sizeof(big)), -EMSGSIZE);
}

/* As a WAIT whose string lies at `offset` with `length`. */
static int refused_string(uint32_t offset, uint32_t length)
{
	struct {
		struct relay_ctl_header header;
		struct relay_ctl_wait wait;
		char text[8];
	} frame = {.header = good_header(RELAY_CTL_WAIT, sizeof(frame)), .text = "abc\0def"};
	struct relay_ctl_client *client = ctl_test_client_open();
	int fd = dup(client->fd);

	relay_internal_ctl_close(client);
	frame.wait.mount.offset = htole32(offset);
	frame.wait.mount.length = htole32(length);
	return refused(fd, &frame, sizeof(frame));
}

Test(ctl, string_outside_of_its_frame_is_refused)
{
	const uint32_t text = sizeof(struct relay_ctl_header) + sizeof(struct relay_ctl_wait);

	cr_expect_eq(refused_string(text + 8, 0), -EPROTO, "begins after the end");
	cr_expect_eq(refused_string(text, 8), -EPROTO, "its NUL is after the end");
	cr_expect_eq(refused_string(text, 0xffffffff), -EPROTO, "longer than anything");
	cr_expect_eq(refused_string(0xfffffff0, 0x20), -EPROTO, "wraps around");
	cr_expect_eq(refused_string(text, 2), -EPROTO, "does not end where it says");
	cr_expect_eq(refused_string(text, 5), -EPROTO, "a NUL in its midst");
	cr_expect_eq(refused_string(0, 3), -EPROTO, "within the header");
	cr_expect_eq(refused_string(0, 0), -EPROTO, "none, where one is needed");
	cr_expect_eq(refused_string(text + 7, 0), -EPROTO, "empty, where one is needed");
}

Test(ctl, unknown_command_is_answered_and_the_connection_goes_on)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	relay_internal_ctl_command(client, 999, 0);
	cr_expect_eq(ctl_test_call(client), -ENOSYS);
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	cr_expect_eq(ctl_test_call(client), 0);
	relay_internal_ctl_close(client);
}

Test(ctl, descriptors_that_nobody_wants_are_closed)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	int pipes[2], fds[2];
	char byte;

	cr_assert_eq(pipe(pipes), 0);
	fds[0] = fds[1] = pipes[1];
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	cr_expect_eq(relay_internal_ctl_call(client, fds, 2, NULL, ctl_test_why, sizeof(ctl_test_why), NULL), 0);
	close(pipes[1]);
	/* The end is seen only when relayd has no copy either. */
	cr_expect_eq(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	relay_internal_ctl_close(client);
}

/* ---- limits --------------------------------------------------------------- */

Test(ctl, one_user_has_no_more_connections_than_that)
{
	struct relay_ctl_client *clients[CTL_CONNECTIONS_PER_UID], *other, *one_more = NULL;
	unsigned i;

	for (i = 0; i < CTL_CONNECTIONS_PER_UID; i++)
		clients[i] = ctl_test_client_open();
	cr_expect_eq(
		relay_internal_ctl_open(&one_more, fake_daemon_path(ctl_test_fake), ctl_test_why, sizeof(ctl_test_why)),
		-EUSERS);
	cr_expect_str_eq(ctl_test_why, "uid 0 has 64 connections, the most of one user");
	/* That is nobody else's trouble. */
	other = ctl_test_client_open_as(OTHER_UID);
	relay_internal_ctl_close(other);
	relay_internal_ctl_close(clients[0]);
	while (relay_internal_ctl_open(&one_more, fake_daemon_path(ctl_test_fake), ctl_test_why,
				       sizeof(ctl_test_why)) == -EUSERS)
		;
	cr_assert_not_null(one_more);
	relay_internal_ctl_close(one_more);
	for (i = 1; i < CTL_CONNECTIONS_PER_UID; i++)
		relay_internal_ctl_close(clients[i]);
}

Test(ctl, client_that_does_not_read_is_dropped)
{
	struct relay_ctl_client *client;
	char mountpoint[4000], name[16];
	ssize_t n;
	unsigned i;

	memset(mountpoint, 'm', sizeof(mountpoint) - 1);
	mountpoint[0] = '/';
	mountpoint[sizeof(mountpoint) - 1] = '\0';
	for (i = 0; i < 1200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		fake_mount_add(ctl_test_fake, name, mountpoint, 0, &ctl_test_serving);
	}
	client = ctl_test_client_open();
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	ctl_test_send_frame(client);
	/* More than the queue holds: others are answered, this one is at its end. */
	relay_internal_ctl_close(ctl_test_client_open());
	do {
		n = recv(client->fd, client->frame.bytes, sizeof(client->frame.bytes), 0);
	} while (n > 0);
	cr_expect_eq(n, 0);
	relay_internal_ctl_close(client);
}

Test(ctl, answers_wait_for_a_slow_reader)
{
	struct relay_ctl_client *client;
	uint32_t flags = 0;
	char name[16];
	unsigned i;

	for (i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		fake_mount_add(ctl_test_fake, name, name, 0, &ctl_test_serving);
	}
	client = ctl_test_client_open();
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	cr_assert_eq(relay_internal_ctl_call(client, NULL, 0, &flags, ctl_test_why, sizeof(ctl_test_why), NULL), 0);
	for (i = 0; flags & RELAY_CTL_MORE; i++) {
		const struct relay_ctl_status *status = relay_internal_ctl_answer(client, sizeof(*status));

		snprintf(name, sizeof(name), "%u", i);
		cr_assert_not_null(status);
		cr_assert_str_eq(relay_internal_ctl_string(client, &status->name), name);
		cr_assert_eq(relay_internal_ctl_more(client, &flags, ctl_test_why, sizeof(ctl_test_why)), 0);
	}
	cr_expect_eq(i, 2000u);
	relay_internal_ctl_close(client);
}

Test(ctl, one_connection_waits_for_no_more_than_that)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	unsigned i;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	for (i = 0; i < CTL_PENDING_PER_CONN; i++) {
		ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, RELAY_CTL_FOREVER);
		ctl_test_send_frame(client);
	}
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, RELAY_CTL_FOREVER);
	cr_expect_eq(ctl_test_call(client), -ENOBUFS);
	relay_internal_ctl_close(client);
	ctl_test_wait_for_watchers(0);
}

/* ---- status and rights ---------------------------------------------------- */

Test(ctl, status_tells_all_of_a_mount)
{
	struct fake_mount mount = {.state = SUPERVISOR_BACKOFF, .incarnation = 9, .problem = "it died"};
	struct relay_ctl_client *client = ctl_test_client_open();
	const struct relay_ctl_status *status;
	uint32_t flags;

	fake_mount_add(ctl_test_fake, "one", "/mnt/one", 0, &mount);
	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	cr_assert_eq(relay_internal_ctl_call(client, NULL, 0, &flags, ctl_test_why, sizeof(ctl_test_why), NULL), 0);
	cr_expect(flags & RELAY_CTL_MORE);
	status = relay_internal_ctl_answer(client, sizeof(*status));
	cr_assert_not_null(status);
	cr_expect_eq(le32toh(status->state), RELAY_CTL_BACKOFF);
	cr_expect_eq(le32toh(status->incarnation), 9u);
	cr_expect_eq(le32toh(status->inflight), 3u);
	cr_expect_str_eq(relay_internal_ctl_string(client, &status->name), "one");
	cr_expect_str_eq(relay_internal_ctl_string(client, &status->mountpoint), "/mnt/one");
	cr_expect_str_eq(relay_internal_ctl_string(client, &status->lane), "socket");
	cr_expect_str_eq(relay_internal_ctl_string(client, &status->problem), "it died");
	cr_assert_eq(relay_internal_ctl_more(client, &flags, ctl_test_why, sizeof(ctl_test_why)), 0);
	cr_expect_not(flags & RELAY_CTL_MORE);
	relay_internal_ctl_close(client);
}

Test(ctl, users_see_their_own_mounts_and_root_all)
{
	struct relay_ctl_client *root = ctl_test_client_open(), *user = ctl_test_client_open_as(OTHER_UID);

	fake_mount_add(ctl_test_fake, "root's", "/a", 0, &ctl_test_serving);
	fake_mount_add(ctl_test_fake, "user's", "/b", OTHER_UID, &ctl_test_serving);
	cr_expect_eq(ctl_test_mounts_seen(root), 2u);
	cr_expect_eq(ctl_test_mounts_seen(user), 1u);
	relay_internal_ctl_close(root);
	relay_internal_ctl_close(user);
}

Test(ctl, what_is_anothers_is_not_to_be_touched)
{
	struct relay_ctl_client *user = ctl_test_client_open_as(OTHER_UID);
	struct fake_asked asked;

	fake_mount_add(ctl_test_fake, "root's", "/a", 0, &ctl_test_serving);
	ctl_test_put_select(user, RELAY_CTL_RESTART, "root's");
	cr_expect_eq(ctl_test_call(user), -EPERM);
	ctl_test_put_select(user, RELAY_CTL_STATS, "/a");
	cr_expect_eq(ctl_test_call(user), -EPERM);
	ctl_test_put_wait(user, "/a", ~0u, 0, 0);
	cr_expect_eq(ctl_test_call(user), -EPERM);
	ctl_test_put_unmount(user, "/a", true);
	cr_expect_eq(ctl_test_call(user), -EPERM);
	ctl_test_put_unmount(user, "/nowhere", true);
	cr_expect_eq(ctl_test_call(user), -ENOENT);
	asked = fake_daemon_asked(ctl_test_fake);
	cr_expect_eq(asked.restarts + asked.unmounts, 0u);
	relay_internal_ctl_close(user);
}

Test(ctl, what_is_ones_own_is)
{
	struct relay_ctl_client *user = ctl_test_client_open_as(OTHER_UID);
	const struct relay_ctl_status *status;

	fake_mount_add(ctl_test_fake, "user's", "/b", OTHER_UID, &ctl_test_serving);
	ctl_test_put_select(user, RELAY_CTL_RESTART, "user's");
	cr_assert_eq(ctl_test_call(user), 0);
	status = relay_internal_ctl_answer(user, sizeof(*status));
	cr_assert_not_null(status);
	cr_expect_eq(le32toh(status->state), RELAY_CTL_DRAINING);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).restarts, 1u);
	relay_internal_ctl_close(user);
}

Test(ctl, restart_of_a_backend_that_comes_by_itself_is_refused)
{
	struct fake_mount mount = ctl_test_serving;
	struct relay_ctl_client *client = ctl_test_client_open();

	mount.restart_result = -EINVAL;
	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	ctl_test_put_select(client, RELAY_CTL_RESTART, "one");
	cr_expect_eq(ctl_test_call(client), -EINVAL);
	cr_expect(strstr(ctl_test_why, "comes by itself"));
	relay_internal_ctl_close(client);
}

Test(ctl, stats_have_a_row_per_counted_opcode)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	const struct relay_ctl_stats *stats;
	struct relay_ctl_stats_row row;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	fake_mount_count(ctl_test_fake, "one", FUSE_LOOKUP, ENOENT, 5000000);
	fake_mount_count(ctl_test_fake, "one", FUSE_LOOKUP, 0, 5000000);
	fake_mount_count(ctl_test_fake, "one", FUSE_WRITE, 0, 1000);
	ctl_test_put_select(client, RELAY_CTL_STATS, "/one");
	cr_assert_eq(ctl_test_call(client), 0);
	stats = relay_internal_ctl_answer(client, sizeof(*stats));
	cr_assert_not_null(stats);
	cr_assert_eq(le32toh(stats->rows), 2u);
	cr_assert_eq(le32toh(stats->row_size), sizeof(row));
	memcpy(&row, client->frame.bytes + le32toh(stats->rows_offset), sizeof(row));
	cr_expect_str_eq(row.name, "LOOKUP");
	cr_expect_eq(le64toh(row.count), 2u);
	cr_expect_eq(le64toh(row.errors), 1u);
	cr_expect(le64toh(row.p50_us) >= 5000 && le64toh(row.p50_us) < 6000);
	cr_expect_str_eq(relay_internal_ctl_string(client, &stats->name), "one");
	relay_internal_ctl_close(client);
}
