/* What a mount's options say, and the flags that a MOUNT has of it (librelay/mount_choices.h). */
#include <criterion/criterion.h>
#include <string.h>

#include "mount_choices.h"

static struct relay_mount_choices choices;

static const struct option options[] = {RELAY_MOUNT_CHOICE_OPTIONS, {NULL, 0, NULL, 0}};

/* As getopt_long() would. */
static const char *take(const char *name, const char *word)
{
	const struct option *option = options;

	while (option->name && strcmp(option->name, name) != 0)
		option++;
	cr_assert_not_null(option->name, "%s: no such option", name);
	return relay_internal_choice_take(&choices, option->val, word);
}

Test(mount_choices, each_option_has_a_number_of_its_own)
{
	bool seen[RELAY_CHOICE_END - RELAY_CHOICE_FIRST] = {false};
	size_t count = 0;

	for (const struct option *option = options; option->name; option++, count++) {
		cr_assert(option->val >= RELAY_CHOICE_FIRST && option->val < RELAY_CHOICE_END, "%s", option->name);
		cr_expect_not(seen[option->val - RELAY_CHOICE_FIRST], "%s", option->name);
		seen[option->val - RELAY_CHOICE_FIRST] = true;
	}
	cr_expect_eq(count, sizeof(seen));
}

Test(mount_choices, words_are_taken)
{
	cr_expect_not(relay_internal_choices_made(&choices));
	cr_expect_null(take("shared-store", NULL));
	cr_expect_null(take("write-behind", NULL));
	cr_expect_null(take("lives", "1000"));
	cr_expect_null(take("request-timeout", "0.1"));
	cr_expect_null(take("down-policy", "fail-after=2.5"));
	cr_expect_null(take("lane", "socket"));
	cr_expect_null(take("resend", "off"));
	cr_expect_null(take("trust", "negative"));
	cr_expect_null(take("negative-timeout", "3"));
	cr_expect_null(take("bpf", "on"));
	cr_expect(choices.shared_store && choices.write_behind && choices.socket_lane && choices.no_resend);
	cr_expect_eq(choices.lives, 1000u);
	cr_expect_eq(choices.request_timeout_ms, 100u);
	cr_expect_eq(choices.fail_after_ms, 2500u);
	cr_expect_eq(choices.known.trust, (uint32_t)RELAY_CTL_TRUST_NEGATIVE);
	cr_expect_eq(choices.known.negative_ms, 3000u);
	cr_expect_eq(choices.known.bpf, (uint32_t)RELAY_CTL_BPF_ON);
	cr_expect(relay_internal_choices_made(&choices));
	cr_expect_null(relay_internal_choices_check(&choices));
	/* The last one holds. */
	cr_expect_null(take("lane", "direct"));
	cr_expect_null(take("resend", "auto"));
	cr_expect_null(take("down-policy", "wait"));
	cr_expect_not(choices.socket_lane || choices.uring_lane || choices.no_resend || choices.fail_after_ms);
}

Test(mount_choices, each_one_counts_by_itself)
{
	static const char *const words[][2] = {
		{"shared-store"}, {"write-behind"}, {"lives", "3"}, {"request-timeout", "1"}, {"down-policy", "fail-after=1"},
		{"lane", "socket"}, {"lane", "uring"}, {"resend", "off"}, {"trust", "gate"}, {"negative-timeout", "1"},
		{"bpf", "off"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		memset(&choices, 0, sizeof(choices));
		cr_assert_null(take(words[i][0], words[i][1]));
		cr_expect(relay_internal_choices_made(&choices), "%s", words[i][0]);
	}
}

Test(mount_choices, other_words_are_refused_by_the_options_name)
{
	static const char *const words[][2] = {
		{"lives", "0"}, {"lives", "1001"}, {"lives", ""}, {"lives", "3x"}, {"lives", "99999999999999999999"},
		{"request-timeout", "0"}, {"request-timeout", "4000001"}, {"request-timeout", "nan"},
		{"request-timeout", "1s"}, {"request-timeout", ""}, {"down-policy", "fail-after="},
		{"down-policy", "fail-after=0"}, {"down-policy", "fail"}, {"lane", ""}, {"lane", "fast"},
		{"resend", "on"}, {"trust", "all"}, {"negative-timeout", "-1"}, {"bpf", "yes"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *why = take(words[i][0], words[i][1]);

		cr_assert_not_null(why, "--%s=%s", words[i][0], words[i][1]);
		cr_expect(strncmp(why, "--", 2) == 0 && strncmp(why + 2, words[i][0], strlen(words[i][0])) == 0, "%s", why);
	}
}

Test(mount_choices, what_does_not_go_together_is_named)
{
	take("lane", "uring");
	cr_expect_null(relay_internal_choices_check(&choices));
	take("trust", "negative");
	cr_expect_not_null(relay_internal_choices_check(&choices));
	take("lane", "direct");
	take("trust", "complete");
	cr_expect_null(relay_internal_choices_check(&choices));
	take("shared-store", NULL);
	cr_expect_not_null(relay_internal_choices_check(&choices));
}

Test(mount_choices, flags_there_and_back)
{
	struct relay_mount_choices back;

	for (uint32_t flags = 0; flags < 32; flags++) {
		memset(&back, 0, sizeof(back));
		relay_internal_choices_flags_take(&back, flags);
		cr_expect_eq(relay_internal_choices_flags(&back), flags);
	}
	relay_internal_choices_flags_take(&back, ~31u);
	cr_expect_eq(relay_internal_choices_flags(&back), 0u, "what we do not know");
}
