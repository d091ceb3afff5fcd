/*
 * The rules without which an answer may be wrong.  Each is written where it is kept, with
 * what goes wrong without it.  Production builds keep all of them; the build for tests
 * (KNOWN_RULES_OFF) leaves out those whose bits are in its config, so that tests can show
 * that they notice.
 */
#ifndef RELAY_BPF_RULES_H
#define RELAY_BPF_RULES_H

#include "config.h"

const volatile struct known_config config SEC(".rodata.config") = {
#ifdef KNOWN_RULES_OFF
	.rules_off = KNOWN_RULES_MARK,
#endif
};

#ifdef KNOWN_RULES_OFF
#define KEEPS(rule) (!(config.rules_off & (rule)))
#else
#define KEEPS(rule) 1
#endif

#endif
