/*
 * The processes of one life of a backend.
 *
 * The first is the one that relayd has started, or that attached by itself.  It may
 * have another one serve: a program that becomes a daemon, or a shell that runs it.
 * That is the server, known as the one whose INIT answer has come, and the life lasts
 * as long as the server does.
 */
#ifndef RELAYD_BACKEND_H
#define RELAYD_BACKEND_H

#include <stdbool.h>
#include <sys/types.h>

#include "children.h"
#include "launch.h"
#include "loop.h"

struct backend_process {
	struct backend *backend;
	pid_t pid;  /* 0: none */
	int pidfd;  /* -1: none */
	bool ended;
	bool told;  /* how: `exited` or by a signal, and `status`, as in siginfo_t */
	bool exited;
	int status;
	struct loop_io on_end;
	struct child kept; /* whose status is ours to take */
};

struct backend {
	struct loop *loop;
	bool child; /* relayd has started it; else its process is none of ours, and only its channel tells */
	uid_t uid;  /* of one that is no child: whose it is */
	pid_t pid;  /* the one to be named: of the server if it is known */
	struct backend_process first;
	struct backend_process server; /* if another one than the first */
	bool answered;	/* INIT: who serves is known */
	bool away;	/* the first has ended in order, and not answered: its daemon may come yet */
	bool own_fault; /* it died by its own doing */
	bool in_order;	/* it exited with status 0 */
	char ending[64]; /* how it ended */

	/* Something of it has ended: see backend_gone(). */
	void (*on_end)(struct backend *backend);
};

/* No process. */
void backend_init(struct backend *backend, struct loop *loop, void (*on_end)(struct backend *backend));

/* Starts a life.  Returns 0 or a negative errno: as launch_run(). */
int backend_start(struct backend *backend, const struct launch *launch);
/*
 * The life of a process that is none of ours, but this user's.  Returns 0, -ESRCH if there is none, or -EPERM if
 * it is not one that the user could end by himself: the number may have become another's.
 */
int backend_take(struct backend *backend, pid_t pid, uid_t uid);

/*
 * The life of processes that an earlier relayd has started (`child`) or taken, as their pidfds
 * tell, which are taken over; -1: none.  How they end is not told to us.
 */
void backend_resume(struct backend *backend, bool child, int first, int server);

/*
 * The process that answered INIT (0: unknown, it is taken for the first).
 * Returns 0, or -ESRCH if it is gone already, or -EPERM if it is another user's: on_end() tells of neither.
 */
int backend_follow(struct backend *backend, pid_t pid);

/* Every process that is known of it has ended, and none is to come.  Always false for one that is none of ours. */
bool backend_gone(const struct backend *backend);
/* Its daemon will not come. */
void backend_give_up(struct backend *backend);
/* Kills what lives of it.  Returns whether there was anything whose end on_end() will tell. */
bool backend_kill(struct backend *backend);

/* Logs what its threads do, and kills it then.  Returns 0, or a negative errno: nothing is done. */
int backend_stacks_kill(struct backend *backend, const char *name);

/* Whether the server is dying without an end: it has left, and waits for its last answer. */
bool backend_dying(const struct backend *backend);

/*
 * The life goes on as another owner's, who has set its loop and on_end(); from has no process then.
 */
void backend_move(struct backend *to, struct backend *from);

/* The life is over. */
void backend_end(struct backend *backend);

#endif
