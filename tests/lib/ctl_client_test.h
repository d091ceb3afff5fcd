/*
 * A client of the control socket of a fake daemon, for the tests of ctl_*.c.  Link
 * ctl_client_test.c and fake_daemon.c into the test itself.
 */
#ifndef TESTS_CTL_CLIENT_TEST_H
#define TESTS_CTL_CLIENT_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctl_client.h"
#include "lib/fake_daemon.h"

#define OTHER_UID 65534u

/* Made by ctl_test_setup(), ended by ctl_test_teardown(): .init and .fini of a suite. */
extern struct fake_daemon *ctl_test_fake;
void ctl_test_setup(void);
void ctl_test_teardown(void);

/* The reason that came with the last error. */
extern char ctl_test_why[1024];
/* A mount in order. */
extern const struct fake_mount ctl_test_serving;

struct relay_ctl_client *ctl_test_client_open(void);
/* This thread alone becomes the user: the daemon's stays what it is. */
struct relay_ctl_client *ctl_test_client_open_as(uid_t uid);

/* Commands, made in the client's frame. */
void ctl_test_put_select(struct relay_ctl_client *client, uint16_t type, const char *mount);
void ctl_test_put_wait(struct relay_ctl_client *client, const char *mount, uint32_t states, uint32_t incarnation,
		       uint32_t timeout_ms);
void ctl_test_put_unmount(struct relay_ctl_client *client, const char *mount, bool force);

/* Sends it and waits for the answer; or only the one or the other. */
int ctl_test_call(struct relay_ctl_client *client);
void ctl_test_send_frame(struct relay_ctl_client *client);
int ctl_test_receive(struct relay_ctl_client *client);
/* No answer is there. */
bool ctl_test_is_silent(const struct relay_ctl_client *client);

/* The mounts that STATUS tells this client of. */
unsigned ctl_test_mounts_seen(struct relay_ctl_client *client);

/* Until so many commands wait for mounts. */
void ctl_test_wait_for_watchers(unsigned count);

#endif
