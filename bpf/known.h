/*
 * What the LSM program (bpf/known.bpf.c) and user space share: the maps of one mount, their
 * keys and values, and the mount's switch.  Native byte order: it never leaves the machine.
 *
 * A mount has maps of its own.  Whoever holds their descriptors can make that mount's
 * names absent, and no other mount's.  The switch, counters and programs are relayd's only.
 *
 * Elements of a map are used again at once, while a program may still look at them.  So
 * that a key was found is a fact, but its value may already be another key's.  A value
 * therefore says whose it is, in the same 64-bit word.
 */
#ifndef RELAY_BPF_KNOWN_H
#define RELAY_BPF_KNOWN_H

#ifndef __bpf__
#include <linux/types.h>
#include <stddef.h>
#endif

/* Raised with every change of the maps' keys, values and kinds: they outlive the relayd that has made them. */
#define KNOWN_VERSION 1u

/* The maps of one mount, in the order in which their descriptors are passed. */
enum known_map {
	KNOWN_DIRS, /* known_dir by nodeid: a directory that is not here is not looked at further */
	/*
	 * The names that exist in complete directories, by known_name: what is in here is
	 * never replaced and never evicted, or a program may miss it.
	 */
	KNOWN_PRESENT_16,
	KNOWN_PRESENT_48,
	KNOWN_PRESENT_256,
	/* Words (below) by known_name: absent or stale.  The least used give way. */
	KNOWN_NAMES_16,
	KNOWN_NAMES_48,
	KNOWN_NAMES_256,
	KNOWN_XATTRS, /* words by known_xattr_key: absent.  The least used give way. */
	KNOWN_MAPS,
};

/* The longest name, and room for one in each of the sizes of keys. */
#define KNOWN_NAME_MAX 255u
#define KNOWN_16 16u
#define KNOWN_48 48u
#define KNOWN_256 256u

/* The whole name is the key, zeros behind it: a hash would answer for another name some day. */
struct known_name_16 {
	__u64 dir; /* nodeid of the directory */
	__u32 len;
	__u32 zero;
	char name[KNOWN_16];
};

/* Names of up to 47 bytes: a program that reads 48 sees where they end. */
struct known_name_48 {
	__u64 dir;
	__u32 len;
	__u32 zero;
	char name[KNOWN_48];
};

struct known_name_256 {
	__u64 dir;
	__u32 len;
	__u32 zero;
	char name[KNOWN_256];
};

struct known_dir {
	/* The directory's own nodeid if each name that exists is in KNOWN_PRESENT, else 0. */
	__u64 complete;
	__u64 until; /* CLOCK_BOOTTIME, ns: complete till then */
	/*
	 * When it became complete.  A program that misses a name looks once more whether the
	 * directory has been complete all the time: names go, after it was dropped.
	 */
	__u64 since;
};

/* Extended attributes whose absence can be known. */
enum known_xattr {
	KNOWN_XATTR_SELINUX, /* security.selinux */
	KNOWN_XATTR_CAPABILITY, /* security.capability */
	KNOWN_XATTR_ACL_ACCESS, /* system.posix_acl_access */
	KNOWN_XATTR_ACL_DEFAULT, /* system.posix_acl_default */
	KNOWN_XATTRS_COUNT,
};

struct known_xattr_key {
	__u64 nodeid;
	__u32 xattr; /* enum known_xattr */
	__u32 zero;
};

/*
 * The value of KNOWN_NAMES and KNOWN_XATTRS: until (CLOCK_BOOTTIME, in units of 2^20 ns),
 * 16 bits of the key, and what is known.
 */
#define KNOWN_ABSENT 1u
#define KNOWN_STALE 2u /* the dentry may be out of date: the VFS is told to ask */
#define KNOWN_FLAGS 15u
#define KNOWN_TAG_SHIFT 4
#define KNOWN_TAG 0xffffull
#define KNOWN_UNTIL_SHIFT 20
#define KNOWN_FOREVER (~0ull)

/* 16 bits of a key: first and second are the first 16 bytes of the name, or the xattr and 0. */
static inline __u64 known_tag(__u64 nodeid, __u64 first, __u64 second)
{
	return (nodeid * 0x9e3779b97f4a7c15ull ^ first * 0xff51afd7ed558ccdull ^ second * 0xc4ceb9fe1a85ec53ull) >> 48;
}

static inline __u64 known_word(__u64 until, __u64 tag, __u64 flags)
{
	return until >> KNOWN_UNTIL_SHIFT << KNOWN_UNTIL_SHIFT | tag << KNOWN_TAG_SHIFT | flags;
}

/* The flags that word has for the key of this tag at this time, 0 if none. */
static inline __u64 known_flags(__u64 word, __u64 tag, __u64 now)
{
	if ((word >> KNOWN_TAG_SHIFT & KNOWN_TAG) != tag || now >> KNOWN_UNTIL_SHIFT >= word >> KNOWN_UNTIL_SHIFT)
		return 0;
	return word & KNOWN_FLAGS;
}

/* What a mount asks for: the low bits of its switch. */
#define KNOWN_TRUST_ABSENT 1u /* names that are known absent */
#define KNOWN_TRUST_COMPLETE 2u /* names that are not in a complete directory */
#define KNOWN_TRUST_XATTR 4u /* extended attributes that are known absent */
#define KNOWN_TRUST_GATE 8u /* stale names are looked up again */

/* Mounts that can be served at once: each has a slot. */
#define KNOWN_MOUNTS 64u

/* The switch of the mount in a slot: the kernel's s_dev, and how far it is trusted. */
static inline __u64 known_switch(__u32 dev, __u32 trust)
{
	return (__u64)dev << 32 | trust;
}

/* What was answered, by mount. */
enum known_counter {
	KNOWN_COUNT_ABSENT, /* ENOENT: the name is known absent */
	KNOWN_COUNT_COMPLETE, /* ENOENT: the directory is complete without it */
	KNOWN_COUNT_XATTR, /* ENODATA */
	KNOWN_COUNT_STALE, /* ESTALE: looked up again */
	KNOWN_COUNT_FINAL, /* known, but passed on: the call might create the name */
	KNOWN_COUNTERS,
};

#ifndef __bpf__
_Static_assert(sizeof(struct known_name_16) == 32 && offsetof(struct known_name_16, name) == 16, "key");
_Static_assert(sizeof(struct known_name_48) == 64 && offsetof(struct known_name_48, name) == 16, "key");
_Static_assert(sizeof(struct known_name_256) == 272 && offsetof(struct known_name_256, name) == 16, "key");
_Static_assert(sizeof(struct known_dir) == 24, "value");
_Static_assert(sizeof(struct known_xattr_key) == 16, "key");
#endif

#endif
