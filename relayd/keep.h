/*
 * The descriptors that backends have left with their mount, under keys.  Copies of them are
 * with the keeper (fdstore.h), from before keep_put() returns.  The carrier's, and the main
 * thread's once that has ended; keep_put_all() may be called at any time.
 */
#ifndef RELAYD_KEEP_H
#define RELAYD_KEEP_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

/* Most descriptors kept for one mount: the limit of open files is the process's. */
#define KEEP_MAX 8192u
/* And for all mounts of one user who is not relayd's: the keeper has room for KEEPER_FDS_MAX of all. */
#define KEEP_USER_MAX 2048u

struct keep {
	pthread_mutex_t lock;
	void *root; /* tsearch(3) tree of struct kept */
	uint32_t count;
	uid_t uid;	 /* whose they are; before anything is kept */
	unsigned mount;  /* as whose they are with the keeper; before anything is kept */
	uint32_t serial; /* of the last one that was put: names are used once */
};

void keep_init(struct keep *keep);
void keep_deinit(struct keep *keep);

/*
 * Takes fd over in any case.  Returns 0, -ENOSPC past KEEP_MAX, -EDQUOT past KEEP_USER_MAX, -EMFILE if
 * the process has few descriptors left, or -ENOMEM.
 */
int keep_put(struct keep *keep, uint64_t key, int fd);
/* What such an error means. */
const char *keep_why(int err);

/* Takes over what an earlier relayd has kept for the mount. */
void keep_resume(struct keep *keep);
/* Another keeper is there, and has nothing yet. */
void keep_put_all(struct keep *keep);

/* Closes what is under the key, if anything is. */
void keep_drop(struct keep *keep, uint64_t key);

/* Calls each() for every one, until it returns other than 0, which is returned. */
int keep_each(const struct keep *keep, int (*each)(uint64_t key, int fd, void *arg), void *arg);

#endif
