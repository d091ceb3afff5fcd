/*
 * The client of the tests of the control socket.
 */
#include "lib/ctl_client_test.h"

#include <criterion/criterion.h>
#include <endian.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fake_daemon *ctl_test_fake;
char ctl_test_why[1024];
const struct fake_mount ctl_test_serving = {.state = SUPERVISOR_SERVING, .incarnation = 1, .backend_pid = 42};

void ctl_test_setup(void)
{
	unsetenv("RELAYD_SOCKET");
	ctl_test_fake = fake_daemon_start();
}

void ctl_test_teardown(void)
{
	fake_daemon_stop(ctl_test_fake);
}

struct relay_ctl_client *ctl_test_client_open(void)
{
	struct relay_ctl_client *client = NULL;

	cr_assert_eq(
		relay_internal_ctl_open(&client, fake_daemon_path(ctl_test_fake), ctl_test_why, sizeof(ctl_test_why)),
		0, "%s", ctl_test_why);
	return client;
}

struct relay_ctl_client *ctl_test_client_open_as(uid_t uid)
{
	struct relay_ctl_client *client = NULL;
	int err;

	cr_assert_eq(syscall(SYS_setresuid, -1, uid, -1), 0);
	err = relay_internal_ctl_open(&client, fake_daemon_path(ctl_test_fake), ctl_test_why, sizeof(ctl_test_why));
	cr_assert_eq(syscall(SYS_setresuid, -1, 0, -1), 0);
	/* What changing users took away, and a leak checker wants. */
	prctl(PR_SET_DUMPABLE, 1);
	cr_assert_eq(err, 0, "%s", ctl_test_why);
	return client;
}

int ctl_test_call(struct relay_ctl_client *client)
{
	return relay_internal_ctl_call(client, NULL, 0, NULL, ctl_test_why, sizeof(ctl_test_why), NULL);
}

void ctl_test_put_select(struct relay_ctl_client *client, uint16_t type, const char *mount)
{
	struct relay_ctl_select *body = relay_internal_ctl_command(client, type, sizeof(*body));

	relay_internal_ctl_put(&client->frame, &body->mount, mount);
}

void ctl_test_put_wait(struct relay_ctl_client *client, const char *mount, uint32_t states, uint32_t incarnation,
		       uint32_t timeout_ms)
{
	struct relay_ctl_wait *body = relay_internal_ctl_command(client, RELAY_CTL_WAIT, sizeof(*body));

	body->states = htole32(states);
	body->incarnation = htole32(incarnation);
	body->timeout_ms = htole32(timeout_ms);
	relay_internal_ctl_put(&client->frame, &body->mount, mount);
}

void ctl_test_put_unmount(struct relay_ctl_client *client, const char *mount, bool force)
{
	struct relay_ctl_unmount *body = relay_internal_ctl_command(client, RELAY_CTL_UNMOUNT, sizeof(*body));

	body->flags = htole32(force ? RELAY_CTL_UNMOUNT_FORCE : 0);
	relay_internal_ctl_put(&client->frame, &body->mount, mount);
}

void ctl_test_send_frame(struct relay_ctl_client *client)
{
	cr_assert_eq(relay_internal_ctl_end(&client->frame), 0);
	cr_assert_eq(send(client->fd, client->frame.bytes, client->frame.size, MSG_NOSIGNAL),
		     (ssize_t)client->frame.size);
}

int ctl_test_receive(struct relay_ctl_client *client)
{
	return relay_internal_ctl_more(client, NULL, ctl_test_why, sizeof(ctl_test_why));
}

bool ctl_test_is_silent(const struct relay_ctl_client *client)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 0;
}

void ctl_test_wait_for_watchers(unsigned count)
{
	while (fake_daemon_watchers(ctl_test_fake) != count)
		;
}

unsigned ctl_test_mounts_seen(struct relay_ctl_client *client)
{
	unsigned count = 0;
	uint32_t flags;

	relay_internal_ctl_command(client, RELAY_CTL_STATUS, 0);
	cr_assert_eq(relay_internal_ctl_call(client, NULL, 0, &flags, ctl_test_why, sizeof(ctl_test_why), NULL), 0);
	for (; flags & RELAY_CTL_MORE; count++)
		cr_assert_eq(relay_internal_ctl_more(client, &flags, ctl_test_why, sizeof(ctl_test_why)), 0);
	return count;
}
