/*
 * A struct absence_store in memory (librelay/absence.h), which records what is written down,
 * answers as the kernel would from it, and fails when it is told to.
 */
#ifndef FAKE_ABSENCES_H
#define FAKE_ABSENCES_H

#include "absence.h"

#define FAKE_ABSENCES_MAX 64u

enum fake_absence_kind {
	FAKE_ABSENT = 1,
	FAKE_PRESENT,
	FAKE_STALE,
	FAKE_COMPLETE,
	FAKE_XATTR,
};

struct fake_absence {
	enum fake_absence_kind kind; /* 0: free */
	uint64_t nodeid;
	char name[256];
	uint32_t xattr;
	uint64_t until;
};

struct fake_absences {
	struct fake_absence one[FAKE_ABSENCES_MAX];
	bool awake[1024]; /* absent names of this nodeid are used */
	unsigned calls;	  /* all */
	unsigned fail_at; /* the call that fails, counted from 1; 0: none */
	int fail_with;	  /* a negative errno */
	uint32_t present_room; /* 0: as much as there is */
	unsigned sweeps;
	/* Called before each: what happens elsewhere just then. */
	void (*before)(struct fake_absences *fake, void *arg);
	void *before_arg;
};

extern const struct absence_store fake_absences_ops;
extern uint64_t fake_absences_now; /* the clock of all, ns */

/* What the kernel is told: ENOENT, or 0 if it has to ask. */
int fake_absences_lookup(const struct fake_absences *fake, uint64_t dir, const char *name);
/* ENODATA, or 0. */
int fake_absences_getxattr(const struct fake_absences *fake, uint64_t nodeid, const char *name);
bool fake_absences_has(const struct fake_absences *fake, enum fake_absence_kind kind, uint64_t nodeid,
		       const char *name);
uint32_t fake_absences_count(const struct fake_absences *fake, enum fake_absence_kind kind);

#endif
