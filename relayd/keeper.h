/*
 * The keeper: the process that has to stay alive.  It holds the descriptors that a relayd
 * cannot be without, and starts another relayd when that one has died, which begins with
 * them (fdstore.h).  It does nothing else, and after its start it allocates nothing.
 */
#ifndef RELAYD_KEEPER_H
#define RELAYD_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

/* A relayd could not take over what an earlier one has left: exit status to the keeper alone. */
#define KEEPER_EXIT_OTHER_VERSION 64

struct keeper_config {
	char *const *argv; /* relayd's own */
	const char *path;  /* of the control socket, absolute */
	int teller;	   /* for struct keeper_worker */
	bool detached;	   /* nobody's terminal, once it is ready */
};

/*
 * Keeps a relayd with these arguments until one of them ends and leaves nothing.  SIGTERM and
 * SIGINT are passed on to it, SIGHUP has another one take its place, if that can take over.
 * Returns the exit status, or does not return: it ends by the signal that relayd has died of.
 */
int keeper_run(const struct keeper_config *config);

/* The same in a process that a living relayd, its parent, has started with a socket to itself. */
int keeper_inherit(const struct keeper_config *config, int socket, pid_t worker);

#endif
