/*
 * Counting, into rows of memory that both sides may share: each value is right, a set of
 * them is a moment's blur.
 */
#include "counts.h"

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
		return RELAY_COUNT_BUCKETS - 1;
	scaled = (latency_ns << FRACTION_BITS) / 1000;
	if (scaled < 1u << FRACTION_BITS)
		return 0;
	octave = 63u - (unsigned)__builtin_clzll(scaled);
	mantissa = scaled << (63u - octave);
	quarter = (unsigned)(mantissa >= quarter_ends[0]) + (unsigned)(mantissa >= quarter_ends[1]) +
		  (unsigned)(mantissa >= quarter_ends[2]);
	index = (octave - FRACTION_BITS) * 4 + quarter;
	return index < RELAY_COUNT_BUCKETS ? index : RELAY_COUNT_BUCKETS - 1;
}

void relay_count_add(struct relay_count *row, int error, uint64_t latency_ns)
{
	atomic_fetch_add_explicit(&row->count, 1, memory_order_relaxed);
	if (error)
		atomic_fetch_add_explicit(&row->errors, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->buckets[bucket_find(latency_ns)], 1, memory_order_relaxed);
}
