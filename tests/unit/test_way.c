/*
 * The ways in: what fits what, what a program finds in its environment, the
 * placeholder.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "way.h"

static struct way way;
static char dir[64];
static char why[512];

static void file_make(const char *name)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	cr_assert_not_null(file);
	fclose(file);
	cr_assert_eq(chmod(path, 0755), 0);
}

/* A directory with what is installed elsewhere. */
static void setup(void)
{
	strcpy(dir, "/tmp/test-way-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	setenv("RELAY_WAYS_DIR", dir, 1);
	file_make("librelay-preload.so");
	file_make("fusermount3");
}

static void file_remove(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static void teardown(void)
{
	way_deinit(&way);
	file_remove("librelay-preload.so");
	file_remove("fusermount3");
	rmdir(dir);
}

TestSuite(way, .init = setup, .fini = teardown, .timeout = 30);

static void begin(enum way_wanted wanted, bool placed)
{
	cr_assert_eq(way_init(&way, wanted, placed, "/run/some.sock", why, sizeof(why)), 0, "%s", why);
}

static const char *value(char *const *environment, const char *name)
{
	const char *found = NULL;
	unsigned count = 0;

	for (; *environment; environment++) {
		if (strncmp(*environment, name, strlen(name)) == 0 && (*environment)[strlen(name)] == '=') {
			found = *environment + strlen(name) + 1;
			count++;
		}
	}
	cr_expect_leq(count, 1u, "%s is set %u times", name, count);
	return found;
}

Test(way, names)
{
	enum way_wanted wanted;

	cr_expect_eq(way_wanted_parse("auto", &wanted), 0);
	cr_expect_eq(wanted, WAY_WANTED_AUTO);
	cr_expect_eq(way_wanted_parse("preload", &wanted), 0);
	cr_expect_eq(wanted, WAY_WANTED_PRELOAD);
	cr_expect_eq(way_wanted_parse("", &wanted), -EINVAL);
	cr_expect_eq(way_wanted_parse("Auto", &wanted), -EINVAL);
	cr_expect_str_eq(way_via_name(WAY_VIA_FUSERMOUNT), "fusermount");
	cr_expect_str_eq(way_via_name(WAY_VIA_COUNT), "?");
	cr_expect_str_eq(way_via_text(WAY_VIA_PRELOAD), "the preload library");
}

static int check(const char *line, enum way_wanted wanted)
{
	why[0] = '\0';
	return way_check(line, wanted, why, sizeof(why));
}

Test(way, what_contradicts_itself_is_refused_with_a_sentence)
{
	cr_expect_eq(check("p {mountpoint}", WAY_WANTED_AUTO), 0);
	cr_expect_eq(check("p {mountpoint}", WAY_WANTED_PRELOAD), 0);
	cr_expect_eq(check("p {mountpoint}", WAY_WANTED_FUSERMOUNT), 0);
	cr_expect_eq(check("p", WAY_WANTED_AUTO), 0);
	cr_expect_eq(check("p", WAY_WANTED_FD), 0);
	cr_expect_eq(check("p {mountfd} {fd}", WAY_WANTED_FD), 0);
	cr_expect_eq(check("p {mountpoint}", WAY_WANTED_FD), -EINVAL);
	cr_expect(strstr(why, "{mountfd}"), "%s", why);
	cr_expect_eq(check("p {mountfd}", WAY_WANTED_PRELOAD), -EINVAL);
	cr_expect(strstr(why, "--backend-via=preload needs {mountpoint}"), "%s", why);
	cr_expect_eq(check("p", WAY_WANTED_FUSERMOUNT), -EINVAL);
	cr_expect_eq(check("p {fd} {mountpoint}", WAY_WANTED_AUTO), -EINVAL);
	cr_expect(strstr(why, "{fd}"), "%s", why);
}

Test(way, what_is_not_installed_is_named)
{
	file_remove("librelay-preload.so");
	cr_expect_eq(way_init(&way, WAY_WANTED_PRELOAD, true, "/s", why, sizeof(why)), -ENOEXEC);
	cr_expect(strstr(why, dir) && strstr(why, "librelay-preload.so"), "%s", why);
	cr_expect_null(way.placeholder);
	/* The other one may do. */
	cr_expect_eq(way_init(&way, WAY_WANTED_AUTO, true, "/s", why, sizeof(why)), 0);
	way_deinit(&way);
	file_remove("fusermount3");
	cr_expect_eq(way_init(&way, WAY_WANTED_AUTO, true, "/s", why, sizeof(why)), -ENOEXEC);
	cr_expect_eq(way_init(&way, WAY_WANTED_AUTO, false, "/s", why, sizeof(why)), 0);
}

Test(way, the_placeholder_is_an_empty_directory_of_ours)
{
	char path[PATH_MAX];
	struct stat st;

	begin(WAY_WANTED_AUTO, true);
	cr_assert_eq(lstat(way.placeholder, &st), 0);
	cr_expect(S_ISDIR(st.st_mode));
	cr_expect_eq(st.st_mode & 07777, 0700u);
	cr_expect_eq(st.st_uid, geteuid());
	cr_expect_str_eq(realpath(way.placeholder, path), way.placeholder);
	way_furnish(&way);
	cr_expect_eq(rmdir(way.placeholder), -1);
	way_clear(&way);
	cr_expect_not(way_missed(&way));
	strcpy(path, way.placeholder);
	way_furnish(&way);
	way_deinit(&way);
	cr_expect_eq(lstat(path, &st), -1, "%s is left", path);
}

Test(way, a_token_is_of_one_life)
{
	char first[WAY_TOKEN_SIZE];

	begin(WAY_WANTED_AUTO, true);
	cr_expect_not(way_token_is(&way, ""));
	cr_assert_eq(way_token_renew(&way), 0);
	strcpy(first, way.token);
	cr_expect_eq(strlen(first), WAY_TOKEN_SIZE - 1);
	cr_expect(way_token_is(&way, first));
	cr_assert_eq(way_token_renew(&way), 0);
	cr_expect_not(way_token_is(&way, first));
	way_token_forget(&way);
	cr_expect_not(way_token_is(&way, way.token));
}

Test(way, a_program_that_mounts_by_itself_is_led_to_us)
{
	char *base[] = {"A=1", "LD_PRELOAD=/other.so", "PATH=/bin", "RELAY_TOKEN=stale", "RELAYD_SOCKET=/other", NULL};
	char expected[256];
	char **got;

	begin(WAY_WANTED_AUTO, true);
	way_token_renew(&way);
	got = way_environment(&way, base);
	cr_assert_not_null(got);
	cr_expect_str_eq(value(got, "A"), "1");
	snprintf(expected, sizeof(expected), "%s/librelay-preload.so:/other.so", dir);
	cr_expect_str_eq(value(got, "LD_PRELOAD"), expected);
	snprintf(expected, sizeof(expected), "%s:/bin", dir);
	cr_expect_str_eq(value(got, "PATH"), expected);
	snprintf(expected, sizeof(expected), "%s/fusermount3", dir);
	cr_expect_str_eq(value(got, "RELAY_FUSERMOUNT"), expected);
	cr_expect_str_eq(value(got, "RELAY_TOKEN"), way.token);
	cr_expect_str_eq(value(got, "RELAYD_SOCKET"), "/run/some.sock");
	free(got);
}

Test(way, one_way_that_is_asked_for_is_the_only_one)
{
	char *base[] = {NULL};
	char **got;

	begin(WAY_WANTED_FUSERMOUNT, true);
	got = way_environment(&way, base);
	cr_expect_null(value(got, "LD_PRELOAD"));
	cr_expect(strstr(value(got, "PATH"), dir));
	free(got);
	way_deinit(&way);
	begin(WAY_WANTED_PRELOAD, true);
	got = way_environment(&way, base);
	cr_expect(strstr(value(got, "LD_PRELOAD"), dir));
	cr_expect_null(value(got, "PATH"));
	free(got);
}

Test(way, a_program_that_inherits_its_channel_is_left_alone)
{
	char *base[] = {"PATH=/bin", "RELAY_TOKEN=stale", NULL};
	char **got;

	begin(WAY_WANTED_AUTO, false);
	cr_expect_null(way.placeholder);
	way.splices = false;
	got = way_environment(&way, base);
	cr_expect_str_eq(got[0], "PATH=/bin");
	cr_expect_null(got[1]);
	free(got);
	/* But where its spliced replies would be taken apart. */
	way.splices = true;
	got = way_environment(&way, base);
	cr_expect(strstr(value(got, "LD_PRELOAD"), dir));
	free(got);
}

/* An orphan of this process, with the token in its environment. */
static pid_t orphan_make(const char *token)
{
	int pipes[2], begun[2];
	pid_t launcher, orphan = 0;
	char byte;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	cr_assert(pipe(pipes) == 0 && pipe(begun) == 0);
	launcher = fork();
	if (launcher == 0) {
		char variable[64], *environment[] = {variable, NULL};

		snprintf(variable, sizeof(variable), "RELAY_TOKEN=%s", token);
		orphan = fork();
		if (orphan == 0) {
			char fd[16], *argv[] = {"sh", "-c", "echo >/proc/self/fd/$0; kill -STOP $$", fd, NULL};

			snprintf(fd, sizeof(fd), "%d", begun[1]);
			execve("/bin/sh", argv, environment);
			_exit(127);
		}
		cr_assert_eq(write(pipes[1], &orphan, sizeof(orphan)), sizeof(orphan));
		_exit(0);
	}
	waitpid(launcher, NULL, 0);
	cr_assert_eq(read(pipes[0], &orphan, sizeof(orphan)), sizeof(orphan));
	/* From here on its environment is what it was given: it executes nothing more. */
	cr_assert_eq(read(begun[0], &byte, 1), 1);
	close(begun[0]);
	close(begun[1]);
	close(pipes[0]);
	close(pipes[1]);
	return orphan;
}

Test(way, a_daemon_is_known_by_its_token)
{
	pid_t orphan;
	int status;

	begin(WAY_WANTED_AUTO, true);
	way_token_renew(&way);
	cr_expect_not(way_daemons(&way, 0));
	orphan = orphan_make(way.token);
	cr_expect(way_daemons(&way, 0));
	cr_expect(way_daemons(&way, SIGKILL));
	cr_assert_eq(waitpid(orphan, &status, 0), orphan);
	cr_expect(WIFSIGNALED(status));
	cr_expect_not(way_daemons(&way, 0));
	/* Another life's is none of this one. */
	orphan = orphan_make("0123");
	cr_expect_not(way_daemons(&way, 0));
	kill(orphan, SIGKILL);
	waitpid(orphan, NULL, 0);
}
