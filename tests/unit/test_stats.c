/*
 * Counters and percentiles.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "stats.h"

static struct stats stats;

static uint64_t percentile_of_one(uint64_t latency_ns)
{
	static struct stats one;

	one = (struct stats){0};
	stats_count(&one, FUSE_GETATTR, 0, latency_ns);
	return stats_percentile(&one.opcodes[FUSE_GETATTR], 50);
}

Test(stats, percentile_is_at_most_19_percent_too_high)
{
	uint64_t us;

	for (us = 1; us < 3000000000ULL; us = us * 9 / 8 + 1) {
		uint64_t told = percentile_of_one(us * 1000);

		cr_expect_geq(told, us);
		/* One more for what is rounded up to a whole microsecond. */
		cr_expect_leq((double)told, (double)us * 1.1893 + 1.0, "%llu us as %llu", (unsigned long long)us,
			      (unsigned long long)told);
	}
}

Test(stats, extremes_have_a_bucket)
{
	cr_expect_eq(percentile_of_one(0), 2u);
	cr_expect_eq(percentile_of_one(999), 2u);
	cr_expect_eq(percentile_of_one(UINT64_MAX), (uint64_t)1 << 32);
	cr_expect_eq(percentile_of_one((uint64_t)1 << 62), (uint64_t)1 << 32);
}

Test(stats, no_requests_have_no_percentile)
{
	cr_expect_eq(stats_percentile(&stats.opcodes[FUSE_READ], 99), 0u);
}

Test(stats, percentiles_part_the_requests)
{
	const struct relay_count *row = &stats.opcodes[FUSE_READ];
	unsigned i;

	for (i = 0; i < 90; i++)
		stats_count(&stats, FUSE_READ, 0, 10 * 1000);
	for (i = 0; i < 9; i++)
		stats_count(&stats, FUSE_READ, 0, 1000 * 1000);
	stats_count(&stats, FUSE_READ, EIO, 100 * 1000 * 1000);
	cr_expect_lt(stats_percentile(row, 50), 13u);
	cr_expect_lt(stats_percentile(row, 90), 13u);
	cr_expect_geq(stats_percentile(row, 91), 1000u);
	cr_expect_lt(stats_percentile(row, 99), 1300u);
	cr_expect_geq(stats_percentile(row, 100), 100000u);
	cr_expect_eq(row->count, 100u);
	cr_expect_eq(row->errors, 1u);
}

Test(stats, unknown_opcode_is_not_counted)
{
	stats_count(&stats, RELAY_OPCODE_MAX, 0, 1000);
	stats_count(&stats, UINT32_MAX, 0, 1000);
}

Test(stats, longest_pause_stays)
{
	stats_pause(&stats, 5000);
	stats_pause(&stats, 9000);
	stats_pause(&stats, 7000);
	cr_expect_eq(stats.longest_pause_us, 9000u);
	cr_expect_eq(stats.last_pause_us, 7000u);
}
