/*
 * What a mount is made of.  Internal to the mount*.c files.
 */
#ifndef RELAYD_MOUNT_PARTS_H
#define RELAYD_MOUNT_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "cache.h"
#include "dispatch.h"
#include "journal.h"
#include "launch.h"
#include "loop.h"
#include "mount.h"
#include "mountopts.h"
#include "output.h"
#include "place.h"
#include "record.h"
#include "rings.h"
#include "session.h"
#include "supervisor.h"
#include "way.h"

/* A walk over the watchers, which may go while it is told of a change, and begin another. */
struct walk {
	struct walk *outer;
	struct mount_watcher *next;
};

/* Slots of the journal: what the kernel has in flight at a time, and waiters for locks. */
#define MOUNT_SLOTS_LARGE 64u
#define MOUNT_SLOTS_SMALL 512u

struct mount {
	struct loop *loop;
	unsigned id; /* what it is called with the keeper: never used again */
	struct record record;
	char *name;
	char *named_first; /* what it was called before its place was known, by who may still have it; or NULL */
	bool unnamed;	   /* to be called as its place, once that is known */
	char *mountpoint;  /* NULL: not known yet */
	char *directory;
	char *options; /* that were given; "" */
	char *asked;   /* the first backend that mounted by itself asked for these; NULL: none has */
	uid_t uid;
	gid_t gid;
	uint64_t ns;		   /* the mount namespace of its place (place.h); 0: ours */
	const struct place *place; /* while it is made: that place; NULL: by its name */
	struct launch_command command;
	bool has_command;
	bool once; /* the command cannot be given again: see mount_forget_command() */
	char **environment; /* of the command; NULL: relayd's own */
	struct way way;

	struct journal journal;
	struct session session;
	struct dispatch dispatch;
	struct rings rings;
	struct cache cache;
	struct output output;
	struct supervisor supervisor;
	struct stats *stats; /* in the record */
	struct loop_wake wake;
	bool has_dispatch;
	bool has_output;
	bool uring; /* the lane `uring` is wanted */
	bool open; /* it is, or was, mounted */
	bool told; /* its maker knows of it, and is told of its end by on_gone() */
	bool kernel_gone;

	pthread_t unmounter;
	bool unmounting; /* the thread runs, or has run and is not joined */
	enum session_unmount how;
	_Atomic bool unmounted; /* the thread is done */
	int unmount_result;
	bool detached; /* its place is free: it ends when the last file there is closed */
	bool ending;   /* it is to end whatever it takes */
	bool leftover; /* when it has ended its place may have to be freed */

	unsigned upgrades; /* that are over */
	int upgrade_error;
	char upgrade_why[320];

	struct loop_timer end;
	struct mount_watcher *watchers;
	struct walk *walks;
	void (*on_gone)(struct mount *mount, void *arg);
	void *arg;
};

/* ---- how it comes to be: mount_new.c, for mount_resume.c too --------------- */

/* Of what is all zero. */
void mount_begin(struct mount *mount, struct loop *loop, const struct mount_config *config, unsigned id,
		 void (*on_gone)(struct mount *mount, void *arg), void *arg);
/* Return 0 or a negative errno. */
int mount_strings_copy(struct mount *mount, const struct mount_config *config);
int mount_dispatch_build(struct mount *mount, const struct mount_config *config);
void mount_supervisor_build(struct mount *mount, const struct mount_config *config);
/* What it is mounted with, to be freed; NULL: no memory. */
char *mount_options_merge(const struct mount *mount, const char *asked);
/* As cache_open(), with the options that it is mounted with. */
int mount_cache_open(struct mount *mount, const char *options, struct cache_maps *left, char *why, size_t why_size);

/* ---- what outlives relayd: mount_record.c ---------------------------------- */

/* The versions of what a mount has beside its record: each in its own header. */
extern const uint32_t mount_part_versions[RECORD_PARTS];
/* The record is to say what is true now. */
void mount_record(struct mount *mount);
/* How long its texts can become. */
size_t mount_record_room(const struct mount *mount);
/* Puts what a mount has from the beginning; drops all but the supervisor's and the kept. */
void mount_put(struct mount *mount);
void mount_drop(unsigned id);
/* The maps of what does not exist, if there are any; and how many of them an earlier relayd has left. */
void mount_put_maps(const struct mount *mount);
void mount_drop_maps(unsigned id);
unsigned mount_take_maps(unsigned id, struct cache_maps *maps);
void mount_on_device(int fd, void *arg);
void mount_on_agreed(struct session *session);
void mount_on_record(struct supervisor *supervisor);

/* Makes the kernel's mount, with what a program asks for (NULL: nothing), and begins to read from it. */
int mount_open(struct mount *mount, const char *asked, gid_t gid, char *why, size_t why_size);

/* From here on backends come by themselves. */
void mount_forget_command(struct mount *mount);

void mount_on_supervisor_change(struct supervisor *supervisor);
/* Tells the watchers of a change. */
void mount_tell(struct mount *mount, bool gone);
/* How long a backend may take to answer INIT. */
#define MOUNT_INIT_DEADLINE_MS 10000u

void mount_on_wake(struct loop_wake *wake);

#endif
