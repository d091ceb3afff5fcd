/*
 * The descriptors that backends have left with their mount, under keys.  Used by
 * one thread at a time (the carrier; the main thread once that has ended).
 */
#ifndef RELAYD_KEEP_H
#define RELAYD_KEEP_H

#include <stdint.h>

/* Most descriptors kept for one mount: the limit of open files is the process's. */
#define KEEP_MAX 8192u

struct keep {
	void *root; /* tsearch(3) tree of struct kept */
	uint32_t count;
};

void keep_init(struct keep *keep);
void keep_deinit(struct keep *keep);

/*
 * Takes fd over in any case.  Returns 0, -ENOSPC past KEEP_MAX, -EMFILE if the process
 * has few descriptors left, or -ENOMEM.
 */
int keep_put(struct keep *keep, uint64_t key, int fd);

/* Closes what is under the key, if anything is. */
void keep_drop(struct keep *keep, uint64_t key);

/* Calls each() for every one, until it returns other than 0, which is returned. */
int keep_each(const struct keep *keep, int (*each)(uint64_t key, int fd, void *arg), void *arg);

#endif
