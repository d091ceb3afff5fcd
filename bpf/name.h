/*
 * A name, cut out of a path into a key: up to the first slash or zero, zeros behind it.
 * Without branches, since 6.1's verifier follows each path through them.  Keys are on the
 * stack: a per-CPU one would be shared with whoever preempts us.
 */
#ifndef RELAY_BPF_NAME_H
#define RELAY_BPF_NAME_H

#include "maps.h"

#define BYTES(byte) (0x0101010101010101ull * (byte))

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "names are cut in little-endian words"
#endif

/* The top bit of the first zero byte of word is set, and none below it. */
static __always_inline __u64 zero_byte(__u64 word)
{
	return (word - BYTES(0x01)) & ~word & BYTES(0x80);
}

/*
 * Clears what is behind the name's end in its next word.  *more is ~0 until the end was seen,
 * and 0 from then on.  Returns the number of bytes that are the name's.
 */
static __always_inline __u64 word_cut(__u64 *word, __u64 *more)
{
	__u64 end = zero_byte(*word) | zero_byte(*word ^ BYTES('/'));
	__u64 keep = (((end & -end) >> 7) - 1) & *more;
	__u64 cut = ~keep;

	*word &= keep;
	*more = ((cut | -cut) >> 63) - 1;
	return ((keep & BYTES(1)) * BYTES(1)) >> 56;
}

/* The length of the name in so many bytes: all of them if it does not end there. */
static __always_inline __u32 name_cut_48(char *name)
{
	__u64 more = ~0ull, len = 0;

#pragma unroll
	for (unsigned int i = 0; i < KNOWN_48 / 8; i++) {
		len += word_cut((__u64 *)name + i, &more);
		/* One word after the other: all at once they would go through the stack, which has no room for that. */
		__asm__ volatile("" ::: "memory");
	}
	return len;
}

/* Not unrolled: the words would not all find room on the stack. */
static __always_inline __u32 name_cut_256(char *name)
{
	__u64 more = ~0ull, len = 0;

#pragma clang loop unroll(disable)
	for (unsigned int i = 0; i < KNOWN_256 / 8; i++)
		len += word_cut((__u64 *)name + i, &more);
	return len;
}

/* What follows a component. */
enum name_end {
	NAME_LAST, /* at most slashes: it is the path's last one */
	NAME_MORE,
	NAME_UNKNOWN,
};

/* No path that is meant has more slashes in a row. */
#define SLASHES_MAX 8

static __always_inline enum name_end name_end(__u64 at)
{
	char byte;

	for (int i = 0; i < SLASHES_MAX; i++) {
		if (bpf_probe_read_kernel(&byte, 1, (void *)(at + i)))
			return NAME_UNKNOWN;
		if (byte != '/')
			return byte ? NAME_MORE : NAME_LAST;
	}
	return NAME_UNKNOWN;
}

#endif
