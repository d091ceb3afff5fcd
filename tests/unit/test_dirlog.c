/*
 * What was given of a directory, against a plain array that does the same.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lib/translate_rig.h"

static struct translate_rig rig;
static struct handles *const handles = &rig.translate.handles;
static struct handle *dir;

static void setup(void)
{
	const struct fuse_in_header caller = {0};

	cr_assert_eq(translate_rig_init(&rig), 0);
	cr_assert_eq(handles_new(handles, nodes_get(&rig.translate.nodes, FUSE_ROOT_ID), &caller, 0, true, 1, &dir), 0);
}

static void teardown(void)
{
	translate_rig_deinit(&rig);
}

TestSuite(dirlog, .init = setup, .fini = teardown, .timeout = 60);

static void add(uint32_t from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(dirlog_add(handles, dir, from + i, (uint64_t)(from + i) * 3), 0);
}

/* All is there that was added from 1 on, and nothing else. */
static void expect_count(uint32_t count)
{
	struct dirlog_entry *entries = calloc(count + 1, sizeof(*entries));

	cr_assert_eq(dirlog_read(handles, dir, 0, entries, count + 1), count);
	for (uint32_t i = 0; i < count; i++)
		cr_assert(entries[i].cookie == i + 1 && entries[i].hash == (uint64_t)(i + 1) * 3, "entry %u", i);
	free(entries);
}

/* As relayd started anew would find it. */
static void expect_sound(void)
{
	struct handles again;
	uint32_t at = dir->log_at;

	cr_expect_eq(handles_init(&again, &rig.translate.state, &rig.translate.nodes), 0);
	cr_expect_eq(dir->log_at, at);
}

Test(dirlog, entries_are_kept_in_order_over_parts)
{
	add(1, 1000);
	expect_count(1000);
	expect_sound();
	cr_expect_eq(dir->log_position, 1000);
	cr_expect_eq(state_live(&rig.translate.state, STATE_DIRLOGS), 4);
}

Test(dirlog, a_reader_that_goes_back_finds_what_was_after)
{
	add(1, 1000);
	cr_expect(dirlog_seek(handles, dir, 300));
	cr_expect_eq(dir->log_position, 300);
	add(301, 100);
	cr_expect_eq(dir->log_count, 1000);
	expect_sound();
	cr_expect(dirlog_seek(handles, dir, 999), "and forward");
	cr_expect_eq(dir->log_position, 999);
	cr_expect(dirlog_seek(handles, dir, 0));
	cr_expect_eq(dir->log_position, 0);
	add(1, 1000);
	expect_count(1000);
}

Test(dirlog, something_else_replaces_what_was_after)
{
	struct dirlog_entry entries[600];

	for (uint32_t cut = 1; cut <= 600; cut += 1 + cut % 7) {
		dirlog_clear(handles, dir);
		add(1, 600);
		cr_assert(dirlog_seek(handles, dir, cut));
		cr_assert_eq(dirlog_add(handles, dir, 7777, 8888), 0);
		cr_assert_eq(dir->log_count, cut + 1);
		cr_assert_eq(dirlog_read(handles, dir, cut, entries, 600), 1);
		cr_assert_eq(entries[0].cookie, 7777);
		cr_assert_eq(entries[0].hash, 8888);
		expect_sound();
	}
	cr_expect(dirlog_seek(handles, dir, 0));
	cr_assert_eq(dirlog_add(handles, dir, 5, 5), 0);
	cr_expect_eq(dir->log_count, 1);
	cr_expect_eq(state_live(&rig.translate.state, STATE_DIRLOGS), 1);
}

Test(dirlog, the_same_cookie_with_another_name_is_something_else)
{
	add(1, 10);
	cr_expect(dirlog_seek(handles, dir, 4));
	cr_assert_eq(dirlog_add(handles, dir, 5, 999), 0);
	cr_expect_eq(dir->log_count, 5);
}

Test(dirlog, an_unknown_cookie_clears_it)
{
	add(1, 300);
	cr_expect_not(dirlog_seek(handles, dir, 4711));
	cr_expect_eq(dir->log_count, 0);
	cr_expect_eq(state_live(&rig.translate.state, STATE_DIRLOGS), 0);
	expect_sound();
	add(1, 300);
	expect_count(300);
}

Test(dirlog, of_two_with_one_cookie_the_nearer_before_is_meant)
{
	static const uint64_t cookies[] = {1, 9, 3, 9, 5};

	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(dirlog_add(handles, dir, cookies[i], i), 0);
	cr_expect(dirlog_seek(handles, dir, 9));
	cr_expect_eq(dir->log_position, 4);
	cr_expect(dirlog_seek(handles, dir, 3));
	cr_expect(dirlog_seek(handles, dir, 9));
	cr_expect_eq(dir->log_position, 2);
}

Test(dirlog, closing_frees_it)
{
	add(1, 5000);
	cr_expect_gt(state_live(&rig.translate.state, STATE_DIRLOGS), 10);
	handles_close(handles, dir);
	cr_expect_eq(state_live(&rig.translate.state, STATE_DIRLOGS), 0);
}

Test(dirlog, reading_takes_up_anywhere)
{
	struct dirlog_entry entries[400];

	add(1, 700);
	for (uint32_t from = 0; from < 720; from += 13) {
		uint32_t count = dirlog_read(handles, dir, from, entries, 400);

		cr_assert_eq(count, from >= 700 ? 0 : 700 - from < 400 ? 700 - from : 400);
		for (uint32_t i = 0; i < count; i++)
			cr_assert_eq(entries[i].cookie, from + i + 1);
	}
}

Test(dirlog, hashes_tell_names_apart)
{
	cr_expect_neq(dirlog_hash("a", 1), dirlog_hash("b", 1));
	cr_expect_neq(dirlog_hash("a", 1), dirlog_hash("a\0", 2));
	cr_expect_neq(dirlog_hash("", 0), dirlog_hash("\0", 1));
	cr_expect_eq(dirlog_hash("name", 3), dirlog_hash("nam", 3));
}

/* The same thing, simply. */
struct model {
	struct dirlog_entry entries[2000];
	uint32_t count, position;
};

static void model_seek(struct model *model, uint64_t offset)
{
	if (offset == 0) {
		model->position = 0;
		return;
	}
	for (uint32_t n = model->position; n > 0; n--)
		if (model->entries[n - 1].cookie == offset) {
			model->position = n;
			return;
		}
	for (uint32_t n = model->position; n < model->count; n++)
		if (model->entries[n].cookie == offset) {
			model->position = n + 1;
			return;
		}
	model->count = model->position = 0;
}

static void model_add(struct model *model, struct dirlog_entry entry)
{
	if (model->position == model->count || memcmp(&model->entries[model->position], &entry, sizeof(entry)) != 0)
		model->count = model->position + 1;
	model->entries[model->position++] = entry;
}

Test(dirlog, any_order_of_things)
{
	static struct model model;
	static struct dirlog_entry entries[2000];
	unsigned seed = 1;

	for (unsigned round = 0; round < 3000; round++) {
		uint64_t offset = (unsigned)rand_r(&seed) % 1200;
		unsigned length = (unsigned)rand_r(&seed) % 80;

		if (rand_r(&seed) % 4) /* on from where it was */
			offset = model.position ? model.entries[model.position - 1].cookie : 0;
		if (rand_r(&seed) % 50 == 0)
			offset = 5000;
		model_seek(&model, offset);
		dirlog_seek(handles, dir, offset);
		for (unsigned i = 0; i < length && model.position < 1990; i++) {
			struct dirlog_entry entry = {.cookie = model.position + 1};

			if (rand_r(&seed) % 2000 == 0)
				entry.hash = (unsigned)rand_r(&seed) % 3;
			model_add(&model, entry);
			cr_assert_eq(dirlog_add(handles, dir, entry.cookie, entry.hash), 0);
		}
		cr_assert_eq(dir->log_count, model.count, "round %u", round);
		cr_assert_eq(dir->log_position, model.position);
		cr_assert_eq(dirlog_read(handles, dir, 0, entries, 2000), model.count);
		cr_assert_eq(memcmp(entries, model.entries, model.count * sizeof(entries[0])), 0);
		if (round % 50 == 0)
			expect_sound();
	}
}
