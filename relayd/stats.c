/*
 * What was counted, and what is told of it.
 */
#include "stats.h"

#include "counts.h"

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
	if (opcode < RELAY_OPCODE_MAX)
		relay_count_add(&stats->opcodes[opcode], error, latency_ns);
}

static uint64_t sum(const _Atomic uint64_t *a, const _Atomic uint64_t *b)
{
	return atomic_load_explicit(a, memory_order_relaxed) + atomic_load_explicit(b, memory_order_relaxed);
}

void stats_sum(struct relay_count *out, const struct relay_count *a, const struct relay_count *b)
{
	out->count = sum(&a->count, &b->count);
	out->errors = sum(&a->errors, &b->errors);
	for (unsigned i = 0; i < RELAY_COUNT_BUCKETS; i++)
		out->buckets[i] = sum(&a->buckets[i], &b->buckets[i]);
}

void stats_pause(struct stats *stats, uint64_t us)
{
	uint64_t longest = atomic_load_explicit(&stats->longest_pause_us, memory_order_relaxed);

	atomic_store_explicit(&stats->last_pause_us, us, memory_order_relaxed);
	while (us > longest && !atomic_compare_exchange_weak_explicit(&stats->longest_pause_us, &longest, us,
								      memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t stats_percentile(const struct relay_count *opcode, double percent)
{
	uint64_t counts[RELAY_COUNT_BUCKETS];
	uint64_t total = 0, seen = 0;
	double wanted;
	unsigned i;

	/* One copy: the sum must fit what is walked, while the pumps go on counting. */
	for (i = 0; i < RELAY_COUNT_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&opcode->buckets[i], memory_order_relaxed);
		total += counts[i];
	}
	if (!total)
		return 0;
	wanted = (double)total * percent / 100.0;
	for (i = 0; i < RELAY_COUNT_BUCKETS; i++) {
		seen += counts[i];
		if (counts[i] && (double)seen >= wanted)
			return bucket_end(i);
	}
	return bucket_end(RELAY_COUNT_BUCKETS - 1);
}
