/*
 * mount.relay: whose an option is, and the backend's command line.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <wordexp.h>

#include "ways/mount_relay.h"

static struct mount_relay_options options;
static struct mount_relay_command command;

static void setup(void)
{
	memset(&options, 0, sizeof(options));
	memset(&command, 0, sizeof(command));
}

static void teardown(void)
{
	mount_relay_options_deinit(&options);
	mount_relay_command_deinit(&command);
}

TestSuite(mount_relay, .init = setup, .fini = teardown, .timeout = 20);

/* What follows `option` in the command, or NULL. */
static const char *value_of(const char *option)
{
	unsigned i;

	for (i = 0; command.argv[i]; i++)
		if (strcmp(command.argv[i], option) == 0)
			return command.argv[i + 1];
	return NULL;
}

Test(mount_relay, options_go_to_whom_they_belong)
{
	cr_assert_eq(mount_relay_options_take(&options, "rw,noauto,user,_netdev,nofail,x-systemd.automount,comment=a b,"
							"nosuid,allow_other,max_read=4096,reconnect,uid=1000,,"
							"relay.name=n,relay.via=preload,relay.lives=5,"
							"relay.lane=socket,relay.resend=off,relay.shared_store,"
							"relay.request_timeout=5,relay.down_policy=wait,"
							"relay.socket=/s"),
		     0);
	cr_expect_str_eq(options.kernel, "nosuid,allow_other,max_read=4096");
	cr_expect_str_eq(options.program, "reconnect,uid=1000");
	cr_expect_str_eq(options.name, "n");
	cr_expect_str_eq(options.via, "preload");
	cr_expect_str_eq(options.lives, "5");
	cr_expect_str_eq(options.request_timeout, "5");
	cr_expect_str_eq(options.down_policy, "wait");
	cr_expect_str_eq(options.lane, "socket");
	cr_expect_str_eq(options.resend, "off");
	cr_expect_str_eq(options.socket, "/s");
	cr_expect(options.shared_store);
}

Test(mount_relay, several_lists_are_one)
{
	cr_assert_eq(mount_relay_options_take(&options, "ro,a"), 0);
	cr_assert_eq(mount_relay_options_take(&options, "b,noatime"), 0);
	cr_expect_str_eq(options.kernel, "ro,noatime");
	cr_expect_str_eq(options.program, "a,b");
}

Test(mount_relay, option_of_relays_that_is_none_is_refused)
{
	cr_expect_eq(mount_relay_options_take(&options, "relay.nmae=x"), -EINVAL);
	cr_expect_eq(mount_relay_options_take(&options, "relay."), -EINVAL);
}

Test(mount_relay, comma_with_a_backslash_is_part_of_its_option)
{
	cr_assert_eq(mount_relay_options_take(&options, "a=x\\,y,ro"), 0);
	cr_expect_str_eq(options.program, "a=x\\,y");
	cr_expect_str_eq(options.kernel, "ro");
}

Test(mount_relay, program_and_source)
{
	cr_assert_eq(mount_relay_options_take(&options, "ro,reconnect,relay.name=n"), 0);
	cr_assert_eq(mount_relay_command_make(&command, &options, "sshfs#host:/srv", "/mnt"), 0);
	cr_expect_str_eq(command.argv[0], "relayd");
	cr_expect_str_eq(value_of("--mount"), "/mnt");
	cr_expect_str_eq(value_of("--backend"), "'sshfs' 'host:/srv' {mountpoint} -o 'reconnect'");
	cr_expect_str_eq(value_of("-o"), "ro");
	cr_expect_str_eq(value_of("--name"), "n");
	cr_expect_null(value_of("--socket"));
}

Test(mount_relay, empty_source_is_left_out)
{
	cr_assert_eq(mount_relay_command_make(&command, &options, "program#", "/mnt"), 0);
	cr_expect_str_eq(value_of("--backend"), "'program' {mountpoint}");
	cr_expect_null(value_of("-o"));
}

Test(mount_relay, whole_command_line_is_left_as_it_is)
{
	cr_assert_eq(mount_relay_command_make(&command, &options, "fs --store '/a b#c' {mountpoint}", "/mnt"), 0);
	cr_expect_str_eq(value_of("--backend"), "fs --store '/a b#c' {mountpoint}");
}

Test(mount_relay, whole_command_line_has_its_options_in_it)
{
	cr_assert_eq(mount_relay_options_take(&options, "reconnect"), 0);
	cr_expect_eq(mount_relay_command_make(&command, &options, "sshfs host: {mountpoint}", "/mnt"), -EINVAL);
}

Test(mount_relay, words_come_out_of_a_shells_splitting_as_they_went_in)
{
	const char *source = "it's \"a\" $HOME `b` \\ * {x} |;&<>()";
	wordexp_t words;

	cr_assert_eq(mount_relay_options_take(&options, "k=it's"), 0);
	cr_assert_eq(mount_relay_command_make(&command, &options, "prog#it's \"a\" $HOME `b` \\ * {x} |;&<>()", "/mnt"),
		     0);
	/* The mark is for relayd: it is no word for wordexp(3). */
	memcpy(strstr(command.backend, "{mountpoint}"), "_mountpoint_", 12);
	cr_assert_eq(wordexp(command.backend, &words, WRDE_NOCMD | WRDE_UNDEF), 0, "%s", command.backend);
	cr_assert_eq(words.we_wordc, 5u);
	cr_expect_str_eq(words.we_wordv[0], "prog");
	cr_expect_str_eq(words.we_wordv[1], source);
	cr_expect_str_eq(words.we_wordv[4], "k=it's");
	wordfree(&words);
}

Test(mount_relay, mark_in_a_source_is_not_the_mark)
{
	cr_assert_eq(mount_relay_command_make(&command, &options, "prog#{mountpoint}{fd}{mountfd}", "/mnt"), 0);
	cr_expect_eq(strstr(command.backend, "{mountpoint}"), strrchr(command.backend, '{'));
	cr_expect_null(strstr(command.backend, "{fd}"));
	cr_expect_null(strstr(command.backend, "{mountfd}"));
}
