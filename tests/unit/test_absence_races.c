/*
 * Requests of one directory in every order in which their steps can come: begin, applied to the
 * store, end.  After each step what the kernel would be told is held against the store: an
 * answer may be missing, never wrong.
 *
 * Nothing keeps the requests from each other here: in the kernel the directory's lock does.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "absence.h"
#include "lib/fake_absences.h"

#define DIR 10u
#define FH 5u

static const struct absence_trust trust = {.sole = true, .complete = true};
static const char *const names[] = {"a", "b", "c"};
#define NAMES_COUNT 3u

enum point { BEGIN, APPLY, END, POINTS };

/* What is done, step by step. */
struct actor {
	uint32_t opcode;
	unsigned name, name2; /* indices of names */
	uint64_t offset;      /* READDIR's */
	int after;	      /* the actor whose end it comes after, or -1 */
	/* How far it has come. */
	unsigned point;
	bool refused;
	struct absence_window window;
	int error;
	_Alignas(8) uint8_t payload[512]; /* as a reply's lies in its slot */
	uint32_t size;
};

#define ACTORS_MAX 8u

struct world {
	struct fake_absences fake;
	struct absence *absence;
	bool exists[NAMES_COUNT];
	struct actor actors[ACTORS_MAX];
	unsigned count;
	bool late; /* the mistake that must be noticed: begin comes after the operation was applied */
	unsigned violations;
	unsigned answers; /* given in all */
	unsigned steps;
};

static struct absence_request request_of(const struct actor *actor)
{
	static struct fuse_read_in read;
	static const struct fuse_rename2_in rename = {.newdir = DIR};
	struct absence_request request = {.op = relay_op_get(actor->opcode), .nodeid = DIR};

	read = (struct fuse_read_in){.fh = FH, .offset = actor->offset};
	request.args.in = actor->opcode == FUSE_RENAME2 ? (const void *)&rename : (const void *)&read;
	request.args.name = names[actor->name];
	request.args.name2 = names[actor->name2];
	return request;
}

/* The listing has a record for each name that exists, at a place of its own. */
static uint32_t records(const struct world *world, uint64_t offset, uint8_t *payload)
{
	uint32_t size = 0;

	for (unsigned i = (unsigned)offset; i < NAMES_COUNT && size == 0; i++) {
		struct fuse_dirent dirent = {.off = i + 1, .namelen = 1};

		if (!world->exists[i])
			continue;
		memset(payload, 0, 32);
		memcpy(payload, &dirent, FUSE_NAME_OFFSET);
		payload[FUSE_NAME_OFFSET] = (uint8_t)names[i][0];
		size = 32;
	}
	return size;
}

static void apply(struct world *world, struct actor *actor)
{
	const struct fuse_entry_out entry = {.nodeid = 100};
	const struct fuse_open_out open = {.fh = FH};
	bool *exists = &world->exists[actor->name];

	actor->error = 0;
	actor->size = 0;
	switch (actor->opcode) {
	case FUSE_LOOKUP:
		actor->error = *exists ? 0 : ENOENT;
		memcpy(actor->payload, &entry, actor->size = sizeof(entry));
		break;
	case FUSE_CREATE:
		*exists = true;
		memcpy(actor->payload, &entry, actor->size = sizeof(entry));
		break;
	case FUSE_UNLINK:
		actor->error = *exists ? 0 : ENOENT;
		*exists = false;
		break;
	case FUSE_RENAME2:
		actor->error = *exists ? 0 : ENOENT;
		if (*exists) {
			*exists = false;
			world->exists[actor->name2] = true;
		}
		break;
	case FUSE_OPENDIR:
		memcpy(actor->payload, &open, actor->size = sizeof(open));
		break;
	case FUSE_READDIR:
		actor->size = records(world, actor->offset, actor->payload);
		break;
	default:
		cr_assert_fail("opcode %u", actor->opcode);
	}
}

static void check(struct world *world)
{
	for (unsigned i = 0; i < NAMES_COUNT; i++) {
		if (!fake_absences_lookup(&world->fake, DIR, names[i]))
			continue;
		world->answers++;
		world->violations += world->exists[i];
	}
}

/* In the midst of what the rules do, too. */
static void check_before(struct fake_absences *fake, void *arg)
{
	(void)fake;
	check(arg);
}

static bool can_step(const struct world *world, const struct actor *actor)
{
	if (actor->point == POINTS)
		return false;
	return actor->after < 0 || world->actors[actor->after].point == POINTS;
}

static void step(struct world *world, struct actor *actor)
{
	const struct absence_request request = request_of(actor);
	unsigned point = actor->point++;

	if (world->late && point < END)
		point = point == BEGIN ? APPLY : BEGIN;
	world->steps++;
	if (point == BEGIN) {
		/* What the rules refuse is answered with an error. */
		actor->refused = relay_absence_begin(world->absence, &request, &actor->window) != 0;
		if (actor->refused)
			actor->error = EIO;
	} else if (point == APPLY) {
		if (!actor->refused)
			apply(world, actor);
	} else {
		struct absence_reply reply = {actor->error, actor->payload, actor->error ? 0 : actor->size};

		relay_absence_end(world->absence, &request, &actor->window, &reply);
	}
	check(world);
}

/* The rules' process dies: those who were under way begin anew with the next, or were done. */
static void die(struct world *world)
{
	relay_absence_free(world->absence);
	world->absence = relay_absence_new(&fake_absences_ops, &world->fake, &trust, true);
	for (unsigned i = 0; i < world->count; i++) {
		struct actor *actor = &world->actors[i];

		actor->window = (struct absence_window){0};
		if (actor->point < POINTS)
			actor->point = BEGIN;
	}
}

static void world_reset(struct world *world, const struct actor *actors, unsigned count)
{
	memset(&world->fake, 0, sizeof(world->fake));
	world->fake.before = check_before;
	world->fake.before_arg = world;
	world->absence = relay_absence_new(&fake_absences_ops, &world->fake, &trust, false);
	cr_assert(world->absence);
	world->exists[0] = true;
	world->exists[1] = world->exists[2] = false;
	memcpy(world->actors, actors, count * sizeof(*actors));
	world->count = count;
}

/*
 * One schedule, in which each choice is a digit of `schedule`, to the base of the count.  Returns
 * false if a choice was not possible.
 */
static bool play(struct world *world, const struct actor *actors, unsigned count, uint64_t schedule, unsigned die_at,
		 unsigned fail_at)
{
	bool possible = true;

	world_reset(world, actors, count);
	world->fake.fail_at = fail_at;
	world->fake.fail_with = -ENOMEM;
	for (unsigned i = 0; i < count * POINTS + (die_at ? count * POINTS : 0) && possible; i++) {
		struct actor *actor = &world->actors[schedule % count];
		unsigned tried = 0;

		schedule = schedule / count * 2862933555777941757ull / 2 + schedule / count;
		while (!can_step(world, actor) && tried++ < count)
			actor = &world->actors[(unsigned)(actor - world->actors + 1) % count];
		possible = tried <= count;
		if (possible)
			step(world, actor);
		if (die_at && i + 1 == die_at)
			die(world);
	}
	relay_absence_free(world->absence);
	return possible;
}

/* Every order there is, by depth. */
static void explore(struct world *world, const struct actor *actors, unsigned count, unsigned *order, unsigned depth,
		    uint64_t *schedules)
{
	unsigned done[ACTORS_MAX] = {0};

	if (depth == count * POINTS) {
		world_reset(world, actors, count);
		for (unsigned i = 0; i < depth; i++)
			step(world, &world->actors[order[i]]);
		relay_absence_free(world->absence);
		(*schedules)++;
		return;
	}
	for (unsigned i = 0; i < depth; i++)
		done[order[i]]++;
	for (unsigned i = 0; i < count; i++) {
		if (done[i] == POINTS || (actors[i].after >= 0 && done[actors[i].after] < POINTS))
			continue;
		order[depth] = i;
		explore(world, actors, count, order, depth + 1, schedules);
	}
}

static struct world *explore_all(const struct actor *actors, unsigned count, bool late, uint64_t *schedules)
{
	unsigned order[ACTORS_MAX * POINTS];
	struct world *world = calloc(1, sizeof(*world));

	cr_assert(world);
	world->late = late;
	*schedules = 0;
	explore(world, actors, count, order, 0, schedules);
	return world;
}

static const struct actor two_lookups_and_a_create[] = {
	{.opcode = FUSE_LOOKUP, .name = 1, .after = -1},
	{.opcode = FUSE_CREATE, .name = 1, .after = -1},
	{.opcode = FUSE_LOOKUP, .name = 1, .after = -1},
};

/* The listing, and a name that comes meanwhile. */
static const struct actor listing_and_create[] = {
	{.opcode = FUSE_OPENDIR, .after = -1},
	{.opcode = FUSE_READDIR, .offset = 0, .after = 0},
	{.opcode = FUSE_READDIR, .offset = 1, .after = 1},
	{.opcode = FUSE_CREATE, .name = 1, .after = -1},
};

static const struct actor listing_rename_and_lookup[] = {
	{.opcode = FUSE_OPENDIR, .after = -1},
	{.opcode = FUSE_READDIR, .offset = 0, .after = 0},
	{.opcode = FUSE_READDIR, .offset = 1, .after = 1},
	{.opcode = FUSE_RENAME2, .name = 0, .name2 = 2, .after = -1},
	{.opcode = FUSE_LOOKUP, .name = 2, .after = -1},
};

/* A complete directory, in which one name is made and taken away at once. */
static const struct actor complete_and_changed[] = {
	{.opcode = FUSE_OPENDIR, .after = -1},
	{.opcode = FUSE_READDIR, .offset = 0, .after = 0},
	{.opcode = FUSE_READDIR, .offset = 1, .after = 1},
	{.opcode = FUSE_CREATE, .name = 0, .after = 2},
	{.opcode = FUSE_UNLINK, .name = 0, .after = 2},
	{.opcode = FUSE_LOOKUP, .name = 0, .after = 2},
};

#define COUNT(actors) (unsigned)(sizeof(actors) / sizeof((actors)[0]))

static void expect_sound(const struct actor *actors, unsigned count)
{
	uint64_t schedules;
	struct world *world = explore_all(actors, count, false, &schedules);

	cr_expect_gt(schedules, 100);
	cr_expect_gt(world->answers, 0, "nothing was ever answered");
	cr_expect_eq(world->violations, 0, "%u wrong answers in %llu schedules", world->violations,
		     (unsigned long long)schedules);
	free(world);
	/* The same, and the rules are told only when it is done. */
	world = explore_all(actors, count, true, &schedules);
	cr_expect_gt(world->violations, 0, "a change that is taken back too late is not noticed");
	free(world);
}

Test(absence_races, lookups_and_a_create)
{
	expect_sound(two_lookups_and_a_create, COUNT(two_lookups_and_a_create));
}

Test(absence_races, a_listing_and_a_create)
{
	uint64_t schedules;
	struct world *world = explore_all(listing_and_create, COUNT(listing_and_create), false, &schedules);

	cr_expect_gt(world->answers, 0);
	cr_expect_eq(world->violations, 0);
	free(world);
}

Test(absence_races, a_listing_a_rename_and_a_lookup)
{
	expect_sound(listing_rename_and_lookup, COUNT(listing_rename_and_lookup));
}

Test(absence_races, changes_of_a_complete_directory)
{
	expect_sound(complete_and_changed, COUNT(complete_and_changed));
}

/* Who keeps the rules dies at any step of schedules that are drawn; and any write may fail. */
static void play_many(unsigned schedules, bool deaths, bool failures)
{
	struct world *world = calloc(1, sizeof(*world));
	uint64_t seed = 88172645463325252ull;

	cr_assert(world);
	for (unsigned i = 0; i < schedules; i++) {
		const struct actor *actors = i % 2 ? complete_and_changed : listing_rename_and_lookup;
		unsigned count = i % 2 ? COUNT(complete_and_changed) : COUNT(listing_rename_and_lookup);

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		play(world, actors, count, seed, deaths ? 1 + i / 2 % (count * POINTS) : 0,
		     failures ? 1 + i / 2 % 12 : 0);
	}
	cr_expect_gt(world->answers, schedules / 4);
	cr_expect_eq(world->violations, 0);
	free(world);
}

Test(absence_races, a_death_at_any_step)
{
	play_many(20000, true, false);
}

Test(absence_races, any_write_fails)
{
	play_many(20000, false, true);
}

Test(absence_races, both)
{
	play_many(20000, true, true);
}
