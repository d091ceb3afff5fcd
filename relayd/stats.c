/*
 * Counting.  The pumps call stats_count() for each request, so it is a few
 * relaxed additions and no division by anything but a constant.
 */
#include "stats.h"

/* Latencies in 1/1024 us: the first octave begins at bit 10. */
#define FRACTION_BITS 10u
#define LATENCY_LIMIT (1ULL << 53) /* ns: what can be shifted by FRACTION_BITS */

/* 2^(1/4), 2^(2/4) and 2^(3/4) as fractions of 2^63: where a bucket ends within its octave. */
static const uint64_t quarter_ends[] = {
	10968499650544839024ULL,
	13043817825332782213ULL,
	15511800964685064949ULL,
};

static unsigned bucket_find(uint64_t latency_ns)
{
	uint64_t scaled, mantissa;
	unsigned octave, quarter, index;

	if (latency_ns >= LATENCY_LIMIT)
		return STATS_BUCKETS - 1;
	scaled = (latency_ns << FRACTION_BITS) / 1000;
	if (scaled < 1u << FRACTION_BITS)
		return 0;
	octave = 63u - (unsigned)__builtin_clzll(scaled);
	mantissa = scaled << (63u - octave);
	quarter = (unsigned)(mantissa >= quarter_ends[0]) + (unsigned)(mantissa >= quarter_ends[1]) +
		  (unsigned)(mantissa >= quarter_ends[2]);
	index = (octave - FRACTION_BITS) * 4 + quarter;
	return index < STATS_BUCKETS ? index : STATS_BUCKETS - 1;
}

/* The end of a bucket in microseconds, rounded up. */
static uint64_t bucket_end(unsigned index)
{
	static const double ends[] = {1.189207115002721, 1.414213562373095, 1.681792830507429, 2.0};
	double us = (double)(1ULL << (index / 4)) * ends[index % 4];
	uint64_t whole = (uint64_t)us;

	return whole + ((double)whole < us);
}

void stats_count(struct stats *stats, uint32_t opcode, int error, uint64_t latency_ns)
{
	struct stats_opcode *row;

	if (opcode >= RELAY_OPCODE_MAX)
		return;
	row = &stats->opcodes[opcode];
	atomic_fetch_add_explicit(&row->count, 1, memory_order_relaxed);
	if (error)
		atomic_fetch_add_explicit(&row->errors, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->buckets[bucket_find(latency_ns)], 1, memory_order_relaxed);
}

void stats_pause(struct stats *stats, uint64_t us)
{
	uint64_t longest = atomic_load_explicit(&stats->longest_pause_us, memory_order_relaxed);

	atomic_store_explicit(&stats->last_pause_us, us, memory_order_relaxed);
	while (us > longest && !atomic_compare_exchange_weak_explicit(&stats->longest_pause_us, &longest, us,
								      memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t stats_percentile(const struct stats_opcode *opcode, double percent)
{
	uint64_t counts[STATS_BUCKETS];
	uint64_t total = 0, seen = 0;
	double wanted;
	unsigned i;

	/* One copy: the sum must fit what is walked, while the pumps go on counting. */
	for (i = 0; i < STATS_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&opcode->buckets[i], memory_order_relaxed);
		total += counts[i];
	}
	if (!total)
		return 0;
	wanted = (double)total * percent / 100.0;
	for (i = 0; i < STATS_BUCKETS; i++) {
		seen += counts[i];
		if (counts[i] && (double)seen >= wanted)
			return bucket_end(i);
	}
	return bucket_end(STATS_BUCKETS - 1);
}
