/*
 * The log on standard error: one line per event, whatever is in it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static int pipes[2], saved;
static char said[8192];

/* A packet per write(2) is how it shows that a line is one. */
static void setup(void)
{
	cr_assert_eq(pipe2(pipes, O_CLOEXEC | O_DIRECT | O_NONBLOCK), 0);
	saved = dup(STDERR_FILENO);
	dup2(pipes[1], STDERR_FILENO);
}

static void teardown(void)
{
	dup2(saved, STDERR_FILENO);
}

TestSuite(log, .init = setup, .fini = teardown, .timeout = 10);

/* What one write has brought, or "" for none. */
static const char *line(void)
{
	ssize_t n = read(pipes[0], said, sizeof(said) - 1);

	said[n > 0 ? n : 0] = '\0';
	return said;
}

Test(log, levels_are_named_and_kept)
{
	log_error("%d", 1);
	cr_expect_str_eq(line(), "relayd: error: 1\n");
	log_warning("two");
	cr_expect_str_eq(line(), "relayd: warning: two\n");
	log_info("three");
	cr_expect_str_eq(line(), "relayd: three\n");
	log_debug("four");
	cr_expect_str_eq(line(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("five");
	cr_expect_str_eq(line(), "relayd: debug: five\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("six");
	cr_expect_str_eq(line(), "");
}

Test(log, level_is_parsed)
{
	enum log_level level = LOG_LEVEL_ERROR;

	cr_expect_eq(log_level_parse("debug", &level), 0);
	cr_expect_eq(level, LOG_LEVEL_DEBUG);
	cr_expect_eq(log_level_parse("Warning", &level), 0);
	cr_expect_eq(level, LOG_LEVEL_WARNING);
	cr_expect_eq(log_level_parse("loud", &level), -EINVAL);
	cr_expect_eq(log_level_parse("", &level), -EINVAL);
}

Test(log, a_name_cannot_begin_a_line)
{
	log_error("%s", "/mnt/a\nrelayd: error: b\x1b[2J");
	cr_expect_str_eq(line(), "relayd: error: /mnt/a?relayd: error: b?[2J\n");
}

Test(log, long_line_is_cut)
{
	char text[4000];
	size_t size;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	size = strlen(line());
	cr_expect_lt(size, 2049u);
	cr_expect_str_eq(said + size - 5, "x...\n");
	cr_expect_str_eq(line(), "");
}

Test(log, errno_is_kept)
{
	errno = ENOTTY;
	log_info("said");
	log_debug("not said");
	cr_expect_eq(errno, ENOTTY);
}

Test(log, what_others_cause_is_limited)
{
	struct log_limit limit = {0};
	unsigned allowed = 0;

	for (unsigned i = 0; i < 1000; i++)
		allowed += log_allow(&limit, "test", "flood");
	/* It may have been two seconds. */
	cr_expect_geq(allowed, LOG_LIMIT_PER_SECOND);
	cr_expect_leq(allowed, 2 * LOG_LIMIT_PER_SECOND);
	cr_expect(log_allow(&limit, "test", "another kind"), "a flood does not keep back what is not of it");
}

Test(log, kinds_in_turn_are_limited_too)
{
	struct log_limit limit = {0};
	unsigned allowed = 0;

	for (unsigned i = 0; i < 1000; i++)
		allowed += log_allow(&limit, "test", i % 2 ? "one" : "other");
	cr_expect_leq(allowed, 2 * LOG_LIMIT_PER_SECOND);
}
