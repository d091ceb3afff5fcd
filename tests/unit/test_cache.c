/*
 * Where the rules of what does not exist meet requests: in relayd, for backends whose ids it
 * translates.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "cache.h"
#include "lib/fake_absences.h"
#include "relay/ctl_wire.h"

static struct fake_absences fake;
static struct cache cache;

static void begin(uint32_t trust)
{
	const struct relay_cache_options options = {.trust = trust};
	const struct absence_trust believed = relay_internal_cache_trust(&options, true);

	memset(&fake, 0, sizeof(fake));
	cache_init(&cache, "mount", NULL, &options);
	atomic_store(&cache.absence, relay_absence_new(&fake_absences_ops, &fake, &believed, false));
	cr_assert(cache_absence(&cache));
}

struct request {
	struct fuse_in_header header;
	uint8_t body[128];
};

static uint32_t make(struct request *request, uint32_t opcode, const void *in, uint32_t in_size, const char *name)
{
	*request = (struct request){.header = {.opcode = opcode, .nodeid = 10}};
	if (in_size != 0)
		memcpy(request->body, in, in_size);
	strcpy((char *)request->body + in_size, name);
	request->header.len = (uint32_t)(sizeof(request->header) + in_size + strlen(name) + 1);
	return request->header.len;
}

static void answer(struct cache_note *note, const struct request *request, int error)
{
	const struct fuse_out_header out = {.len = sizeof(out), .error = -error};

	cache_request_end(cache_absence(&cache), note, request, request->header.len, &out, NULL);
}

Test(cache, a_lookup_that_finds_nothing_is_remembered_and_a_create_is_in_time)
{
	static const struct fuse_create_in in;
	struct request lookup, create;
	struct cache_note note = {0};

	begin(RELAY_CTL_TRUST_COMPLETE);
	make(&lookup, FUSE_LOOKUP, NULL, 0, "n");
	cr_expect_eq(cache_request_begin(cache_absence(&cache), &note, &lookup, lookup.header.len, false), 0);
	cr_expect(note.begun);
	cr_expect_eq(fake_absences_lookup(&fake, 10, "n"), 0);
	answer(&note, &lookup, ENOENT);
	cr_expect(!note.begun);
	cr_expect_eq(fake_absences_lookup(&fake, 10, "n"), ENOENT);
	make(&create, FUSE_CREATE, &in, sizeof(in), "n");
	cr_expect_eq(cache_request_begin(cache_absence(&cache), &note, &create, create.header.len, false), 0);
	cr_expect_eq(fake_absences_lookup(&fake, 10, "n"), 0, "before it is sent");
	cache_request_close(cache_absence(&cache), &note);
	cr_expect(!note.begun);
	cr_expect_eq(note.window.changes, 0);
	cache_close(&cache);
}

Test(cache, what_was_on_its_way_before_anything_was_known_tells_nothing)
{
	struct cache_note note = {0};
	struct request lookup;

	begin(RELAY_CTL_TRUST_COMPLETE);
	make(&lookup, FUSE_LOOKUP, NULL, 0, "n");
	answer(&note, &lookup, ENOENT);
	cr_expect_eq(fake_absences_lookup(&fake, 10, "n"), 0);
	cache_close(&cache);
}

Test(cache, what_cannot_be_taken_back_is_not_sent)
{
	static const struct fuse_create_in in;
	struct cache_note note = {0};
	struct request create;

	begin(RELAY_CTL_TRUST_COMPLETE);
	fake.fail_at = 1;
	fake.fail_with = -EBUSY;
	make(&create, FUSE_CREATE, &in, sizeof(in), "n");
	cr_expect_eq(cache_request_begin(cache_absence(&cache), &note, &create, create.header.len, false), -EBUSY);
	cr_expect(!note.begun);
	cache_close(&cache);
}

Test(cache, other_requests_do_not_come_there)
{
	static const struct fuse_getattr_in in;
	struct cache_note note = {0};
	struct request getattr;

	begin(RELAY_CTL_TRUST_COMPLETE);
	make(&getattr, FUSE_GETATTR, &in, sizeof(in), "");
	cr_expect_eq(cache_request_begin(cache_absence(&cache), &note, &getattr, getattr.header.len, false), 0);
	cr_expect(!note.begun);
	cache_close(&cache);
}

/* ---- options ------------------------------------------------------------------- */

Test(cache, how_far_is_believed)
{
	struct relay_cache_options options = {.trust = RELAY_CTL_TRUST_GATE, .negative_ms = 1500};
	struct absence_trust trust = relay_internal_cache_trust(&options, true);

	cr_expect(trust.sole && trust.complete && trust.gate);
	cr_expect_eq(trust.lease, 1500000000ull);
	trust = relay_internal_cache_trust(&options, false);
	cr_expect(!trust.sole && !trust.complete && !trust.gate && !trust.lease, "answers depend on who asks");
	options.trust = RELAY_CTL_TRUST_NEGATIVE;
	trust = relay_internal_cache_trust(&options, true);
	cr_expect(!trust.sole && !trust.complete && trust.lease);
}

Test(cache, words_are_told_from_others)
{
	struct relay_cache_options options = {0};

	cr_expect_null(relay_internal_cache_trust_take(&options, "complete"));
	cr_expect_eq(options.trust, RELAY_CTL_TRUST_COMPLETE);
	cr_expect(relay_internal_cache_trust_take(&options, "Complete"));
	cr_expect_null(relay_internal_cache_bpf_take(&options, "on"));
	cr_expect(relay_internal_cache_bpf_take(&options, ""));
	cr_expect_null(relay_internal_cache_timeout_take(&options, "0.25"));
	cr_expect_eq(options.negative_ms, 250);
	cr_expect(relay_internal_cache_timeout_take(&options, "-1"));
	cr_expect(relay_internal_cache_timeout_take(&options, "nan"));
	cr_expect(relay_internal_cache_timeout_take(&options, "1e9"));
	cr_expect(relay_internal_cache_timeout_take(&options, "1s"));
}

Test(cache, what_contradicts_itself_is_refused)
{
	struct relay_cache_options options = {.trust = RELAY_CTL_TRUST_COMPLETE};
	struct relay_ctl_cache packed;

	cr_expect_null(relay_internal_cache_options_check(&options, false, false));
	cr_expect(relay_internal_cache_options_check(&options, true, false), "others write, and nobody else does");
	cr_expect(relay_internal_cache_options_check(&options, false, true), "the lane uring");
	options = (struct relay_cache_options){.trust = RELAY_CTL_TRUST_NEGATIVE, .negative_ms = 7, .bpf = 2};
	cr_expect_null(relay_internal_cache_options_check(&options, true, false));
	packed = relay_internal_cache_options_pack(&options);
	options = relay_internal_cache_options_unpack(&packed);
	cr_expect(options.trust == RELAY_CTL_TRUST_NEGATIVE && options.negative_ms == 7 && options.bpf == 2);
	options = (struct relay_cache_options){.bpf = RELAY_CTL_BPF_ON};
	cr_expect(relay_internal_cache_options_check(&options, false, false));
	options = (struct relay_cache_options){.trust = 99};
	cr_expect(relay_internal_cache_options_check(&options, false, false));
	options = (struct relay_cache_options){0};
	cr_expect_null(relay_internal_cache_options_check(&options, true, true));
	options = (struct relay_cache_options){.bpf = 99};
	cr_expect(relay_internal_cache_options_check(&options, false, false));
}

/* Built without eBPF, or not allowed here: what was asked for is said, and insisted upon or not. */
Test(cache, without_programs_there_is_a_reason)
{
	struct relay_cache_options options = {.trust = RELAY_CTL_TRUST_COMPLETE};
	struct cache_bpf *bpf = cache_bpf_new();
	char why[512] = "";

	cr_assert(bpf);
	cache_init(&cache, "mount", bpf, &options);
	cr_expect_eq(cache_open(&cache, 0, "", NULL, why, sizeof(why)), 0);
	cr_expect_eq(strncmp(cache.text, "off: ", 5), 0, "%s", cache.text);
	cr_expect_null(cache_maps(&cache));
	options.bpf = RELAY_CTL_BPF_ON;
	cache_init(&cache, "mount", bpf, &options);
	cr_expect_eq(cache_open(&cache, 0, "", NULL, why, sizeof(why)), -EOPNOTSUPP);
	cr_expect_eq(strncmp(why, "--bpf=on: off: ", 10), 0, "%s", why);
	options = (struct relay_cache_options){0};
	cache_init(&cache, "mount", bpf, &options);
	cr_expect_eq(cache_open(&cache, 1, "", NULL, why, sizeof(why)), 0);
	cr_expect_str_eq(cache.text, "off");
	cache_close(&cache);
	cache_bpf_free(bpf);
}
