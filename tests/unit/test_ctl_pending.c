/*
 * Commands of the control socket that are answered later: WAIT, MOUNT, UNMOUNT.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "hand_over.h"
#include "lib/ctl_client_test.h"

TestSuite(ctl_pending, .init = ctl_test_setup, .fini = ctl_test_teardown, .timeout = 30);

/* ---- WAIT ----------------------------------------------------------------- */

Test(ctl_pending, wait_for_what_is_so_is_answered_at_once)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_SERVING, 1, RELAY_CTL_FOREVER);
	cr_expect_eq(ctl_test_call(client), 0);
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, wait_is_answered_when_state_and_incarnation_are_there)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	const struct relay_ctl_status *status;
	struct fake_mount mount = ctl_test_serving;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_SERVING, 2, RELAY_CTL_FOREVER);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	mount.state = SUPERVISOR_STARTING;
	mount.incarnation = 2;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect(ctl_test_is_silent(client));
	mount.state = SUPERVISOR_SERVING;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_assert_eq(ctl_test_receive(client), 0);
	status = relay_internal_ctl_answer(client, sizeof(*status));
	cr_assert_not_null(status);
	cr_expect_eq(le32toh(status->incarnation), 2u);
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, wait_ends_with_its_time)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, 20);
	cr_expect_eq(ctl_test_call(client), -ETIMEDOUT);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, 0);
	cr_expect_eq(ctl_test_call(client), -ETIMEDOUT);
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, wait_ends_with_its_mount)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, RELAY_CTL_FOREVER);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	fake_mount_end(ctl_test_fake, "one");
	cr_expect_eq(ctl_test_receive(client), -ENODEV);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, client_that_goes_away_in_the_midst_of_wait_is_forgotten)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_mount mount = ctl_test_serving;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, 60000);
	ctl_test_send_frame(client);
	ctl_test_put_wait(client, "one", 1u << RELAY_CTL_FAILED, 0, RELAY_CTL_FOREVER);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(2);
	relay_internal_ctl_close(client);
	ctl_test_wait_for_watchers(0);
	mount.state = SUPERVISOR_FAILED;
	fake_mount_set(ctl_test_fake, "one", &mount);
}

/* ---- MOUNT ---------------------------------------------------------------- */

static void put_mount(struct relay_ctl_client *client)
{
	struct relay_ctl_mount *body = relay_internal_ctl_command(client, RELAY_CTL_MOUNT, sizeof(*body));

	body->request_timeout_ms = htole32(1500);
	body->fail_after_ms = htole32(2500);
	body->flags = htole32(RELAY_CTL_MOUNT_SHARED_STORE | RELAY_CTL_MOUNT_SOCKET_LANE | RELAY_CTL_MOUNT_NO_RESEND);
	body->lives = htole32(5);
	relay_internal_ctl_put(&client->frame, &body->name, "new");
	relay_internal_ctl_put(&client->frame, &body->mountpoint, "/mnt/new");
	relay_internal_ctl_put(&client->frame, &body->options, "ro,noatime");
	relay_internal_ctl_put(&client->frame, &body->backend, "fs --option");
	relay_internal_ctl_put(&client->frame, &body->directory, "/srv");
}

Test(ctl_pending, mount_is_answered_when_it_serves)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_asked asked;

	put_mount(client);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	cr_expect(ctl_test_is_silent(client));
	fake_mount_set(ctl_test_fake, "new", &ctl_test_serving);
	cr_expect_eq(ctl_test_receive(client), 0);
	asked = fake_daemon_asked(ctl_test_fake);
	cr_expect_str_eq(asked.name, "new");
	cr_expect_str_eq(asked.mountpoint, "/mnt/new");
	cr_expect_str_eq(asked.options, "ro,noatime");
	cr_expect_str_eq(asked.backend, "fs --option");
	cr_expect_str_eq(asked.directory, "/srv");
	cr_expect(asked.shared_store);
	cr_expect(asked.socket_lane);
	cr_expect(asked.no_resend);
	cr_expect_eq(asked.request_timeout_ms, 1500u);
	cr_expect_eq(asked.fail_after_ms, 2500u);
	cr_expect_eq(asked.lives, 5u);
	cr_expect_eq(asked.uid, 0u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, mount_that_ends_first_says_why)
{
	struct fake_mount mount = {.state = SUPERVISOR_FAILED, .problem = "no such program", .exit_status = 6};
	struct relay_ctl_client *client = ctl_test_client_open();
	unsigned status = 0;

	put_mount(client);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	fake_mount_set(ctl_test_fake, "new", &mount);
	fake_mount_end(ctl_test_fake, "new");
	cr_expect_eq(ctl_test_receive(client), -ENODEV);
	cr_expect_str_eq(ctl_test_why, "no such program");
	/* The same through the function that relayd uses, where it cannot even begin. */
	fake_daemon_refuse(ctl_test_fake, -ENOTDIR, "/mnt/new: not a directory");
	cr_expect_eq(hand_over(fake_daemon_path(ctl_test_fake),
			       &(struct mount_config){.mountpoint = "/mnt/new", .backend = "x"}, ctl_test_why,
			       sizeof(ctl_test_why), &status),
		     -ENOTDIR);
	cr_expect_str_eq(ctl_test_why, "/mnt/new: not a directory");
	cr_expect_eq(status, 4u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, mount_outlives_a_client_that_goes_away)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	put_mount(client);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	relay_internal_ctl_close(client);
	ctl_test_wait_for_watchers(0);
	fake_mount_set(ctl_test_fake, "new", &ctl_test_serving);
	client = ctl_test_client_open();
	cr_expect_eq(ctl_test_mounts_seen(client), 1u);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).unmounts, 0u);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, backends_are_started_for_nobody_else)
{
	struct relay_ctl_client *user = ctl_test_client_open_as(OTHER_UID);

	put_mount(user);
	cr_expect_eq(ctl_test_call(user), -EPERM);
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).adds, 0u);
	relay_internal_ctl_close(user);
}

Test(ctl_pending, mountpoint_that_is_relative_is_refused)
{
	unsigned status = 0;

	cr_expect_eq(hand_over(fake_daemon_path(ctl_test_fake),
			       &(struct mount_config){.mountpoint = "mnt", .backend = "x"}, ctl_test_why,
			       sizeof(ctl_test_why), &status),
		     -EINVAL);
	cr_expect_eq(status, 2u);
}

/* ---- UNMOUNT -------------------------------------------------------------- */

Test(ctl_pending, unmount_is_answered_when_the_mount_has_ended)
{
	struct relay_ctl_client *client = ctl_test_client_open();

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &ctl_test_serving);
	ctl_test_put_unmount(client, "one", false);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	cr_expect(ctl_test_is_silent(client));
	fake_mount_end(ctl_test_fake, "one");
	cr_expect_eq(ctl_test_receive(client), 0);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, unmount_that_fails_says_why)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_mount mount = ctl_test_serving;

	mount.unmount_result = -EBUSY;
	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	ctl_test_put_unmount(client, "one", false);
	cr_expect_eq(ctl_test_call(client), -EBUSY);
	cr_expect(strstr(ctl_test_why, "--force"));
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	/* And one that fails later, in its thread. */
	mount.unmount_result = 0;
	fake_mount_set(ctl_test_fake, "one", &mount);
	ctl_test_put_unmount(client, "one", false);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	mount.unmount_error = -EIO;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect_eq(ctl_test_receive(client), -EIO);
	relay_internal_ctl_close(client);
}

Test(ctl_pending, unmount_by_force_does_not_wait_for_open_files)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_mount mount = ctl_test_serving;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	ctl_test_put_unmount(client, "one", true);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	mount.detached = true;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect_eq(ctl_test_receive(client), 0);
	cr_expect(fake_daemon_asked(ctl_test_fake).force);
	ctl_test_put_unmount(client, "one", true);
	cr_expect_eq(ctl_test_call(client), 0);
	relay_internal_ctl_close(client);
}

/* ---- UPGRADE -------------------------------------------------------------- */

static void put_upgrade(struct relay_ctl_client *client)
{
	struct relay_ctl_upgrade *body = relay_internal_ctl_command(client, RELAY_CTL_UPGRADE, sizeof(*body));

	body->timeout_ms = htole32(1500);
	relay_internal_ctl_put(&client->frame, &body->mount, "one");
	relay_internal_ctl_put(&client->frame, &body->backend, "fs --new");
}

Test(ctl_pending, upgrade_is_answered_with_what_came_of_it)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_mount mount = ctl_test_serving;

	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	put_upgrade(client);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	cr_expect_str_eq(fake_daemon_asked(ctl_test_fake).backend, "fs --new");
	cr_expect_eq(fake_daemon_asked(ctl_test_fake).timeout_ms, 1500u);
	/* Any other change is none of its business. */
	mount.state = SUPERVISOR_DRAINING;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect(ctl_test_is_silent(client));
	mount.upgrades = 1;
	mount.upgrade_error = -EHOSTDOWN;
	mount.upgrade_why = "it has died";
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect_eq(ctl_test_receive(client), -EHOSTDOWN);
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	put_upgrade(client);
	ctl_test_send_frame(client);
	ctl_test_wait_for_watchers(1);
	mount.upgrades = 2;
	mount.upgrade_error = 0;
	fake_mount_set(ctl_test_fake, "one", &mount);
	cr_expect_eq(ctl_test_receive(client), 0);
	relay_internal_ctl_close(client);
}

/* root's relayd would run the command as root. */
Test(ctl_pending, owning_a_mount_is_no_right_to_upgrade_it)
{
	struct relay_ctl_client *user = ctl_test_client_open_as(OTHER_UID);

	fake_mount_add(ctl_test_fake, "one", "/one", OTHER_UID, &ctl_test_serving);
	put_upgrade(user);
	cr_expect_eq(ctl_test_call(user), -EPERM);
	cr_expect_str_eq(fake_daemon_asked(ctl_test_fake).backend, "");
	relay_internal_ctl_close(user);
}

Test(ctl_pending, upgrade_that_cannot_begin_is_answered_at_once)
{
	struct relay_ctl_client *client = ctl_test_client_open();
	struct fake_mount mount = ctl_test_serving;

	mount.upgrade_result = -EALREADY;
	fake_mount_add(ctl_test_fake, "one", "/one", 0, &mount);
	put_upgrade(client);
	cr_expect_eq(ctl_test_call(client), -EALREADY);
	cr_expect_eq(fake_daemon_watchers(ctl_test_fake), 0u);
	relay_internal_ctl_close(client);
}
