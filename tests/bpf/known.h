/* The parts of the test of what the kernel answers. */
#ifndef TESTS_BPF_KNOWN_H
#define TESTS_BPF_KNOWN_H

#include "rig.h"

/* Which call, and how its path may look: in the directories that known.c has prepared. */
void known_paths(struct rig *rig);
/* With each rule left out, that a check notices; of these names only, or of all if there are none. */
void known_rules(char *const *names);

/* A directory of the rig with the names that a test needs, unknown so far. */
uint64_t known_dir_new(struct rig *rig, const char *name);

/* stat(); 0 or a negative errno. */
int known_stat(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
