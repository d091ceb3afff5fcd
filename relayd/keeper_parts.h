/*
 * What the keeper has: all of it, from its start to its end.  Between the keeper's two files.
 */
#ifndef RELAYD_KEEPER_PARTS_H
#define RELAYD_KEEPER_PARTS_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper.h"
#include "keeper_table.h"

struct keeper {
	const struct keeper_config *config;
	struct keeper_table *table; /* what it holds */
	int table_fd;
	int signals;		    /* signalfd(2) */
	sigset_t old;		    /* what was blocked before */
	char program[PATH_MAX];	    /* what is started; "": its own */
	char **environment;	    /* that it is started with; its first entry is: */
	char own[PATH_MAX + 128];   /* KEEPER_ENVIRONMENT */

	/* The relayd that there is. */
	pid_t worker; /* 0: none */
	int pidfd;    /* -1: none */
	int socket;   /* -1: none */
	uint64_t started_ms;
	bool served; /* it is, or the last was, ready */
	int status;  /* how the last one has ended, as of waitpid(2) */

	pid_t checker; /* another one, that looks whether it could go on; 0: none */
	bool stay;     /* with the keeper's own program, whatever is installed in its place by now */
	int directory; /* where it was started, until some relayd is ready; -1: none */
	bool ready;    /* some relayd has been */
	int ending;    /* the signal that everything is to end by; 0: none */
};

extern struct keeper keeper;

uint64_t keeper_now_ms(void);

/* ---- keeper_worker.c -------------------------------------------------------- */

void keeper_worker_start(void);
/* Takes what it has sent.  Returns false when the other end is gone. */
bool keeper_messages_take(void);
/* It is no more.  `told`: how is known, as it was our child. */
void keeper_worker_ended(int status, bool told);
/* Whatever of the keeper's children has ended. */
void keeper_children_reap(void);
/* Has another one look whether it can go on, and takes it if so. */
void keeper_restart(void);

#endif
