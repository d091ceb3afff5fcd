/* What the loader tells the programs before it loads them, and what it learns by calibration. */
#ifndef RELAY_BPF_CONFIG_H
#define RELAY_BPF_CONFIG_H

#ifndef __bpf__
#include <linux/types.h>
#endif

enum known_rule {
	KNOWN_RULE_MASK = 1 << 0,
	KNOWN_RULE_WALK = 1 << 1,
	KNOWN_RULE_DEPTH = 1 << 2,
	KNOWN_RULE_DOTS = 1 << 3,
	KNOWN_RULE_LENGTH = 1 << 4,
	KNOWN_RULE_FINAL = 1 << 5,
	KNOWN_RULE_CALL = 1 << 6,
	KNOWN_RULE_CREAT = 1 << 7,
	KNOWN_RULE_COMPAT = 1 << 8,
	KNOWN_RULE_WORKER = 1 << 9,
	KNOWN_RULE_EXIT = 1 << 10,
	KNOWN_RULE_ARGUMENT = 1 << 11,
	KNOWN_RULE_UNTIL = 1 << 12,
	KNOWN_RULE_AGAIN = 1 << 13,
	KNOWN_RULE_TAG = 1 << 14,
	KNOWN_RULE_REVAL = 1 << 15,
	KNOWN_RULE_TRUST = 1 << 16,
	KNOWN_RULE_GONE = 1 << 17,
	KNOWN_RULE_OWN = 1 << 18,
	/* No rule: between its looks the directory is dropped and its names are swept, as by another processor. */
	KNOWN_RULE_UNHURRIED = 1 << 19,
};

/* What rules_off is in the object of the build for tests, to be found and replaced there. */
#define KNOWN_RULES_MARK 0x72756c65736f6666ull

struct known_config {
	__u64 rules_off; /* KNOWN_RULE_*; only the build for tests looks at it */
	__u32 lookup_reval; /* LOOKUP_REVAL of this kernel; 0 if that is not known: no gate */
	__u32 xattrs; /* bits of enum known_xattr that may be answered on this machine */
};

/* What bpf/calibrate.bpf.c sees of one lstat() of the loader's. */
#define KNOWN_CALIBRATION_CALLS 3u

struct known_calibration {
	__u32 tid; /* the loader's thread */
	__u32 calls;
	__u32 flags[KNOWN_CALIBRATION_CALLS]; /* nameidata.flags of each */
	__u32 last_type[KNOWN_CALIBRATION_CALLS];
};

#endif
