/*
 * What the experiments of facts.c are made of: a mount with its keeper, and
 * probes, which are processes that make one request each.
 */
#ifndef RESEARCH_SCENE_H
#define RESEARCH_SCENE_H

#include "keeper.h"

#define PATIENCE 5 /* seconds after which something hangs */
#define PROBES_MAX 128

struct scene {
	struct mount_point mount;
	struct lane lane;
	pid_t keeper;
	pid_t probe[PROBES_MAX]; /* 0: has ended */
	unsigned int probes;
};

/* Mounts and starts the keeper, no backend. With `blind` the keeper cannot read the slots itself. */
void scene_open(struct scene *s, enum lane_owner owner, bool blind);

/* Aborts what hangs, and takes all away. */
void scene_close(struct scene *s);

/* Starts n probes more. Every other one reads and checks what it read, the others stat; each has a name of its own. */
void scene_probe(struct scene *s, unsigned int n);

/* What a probe does. Returns an errno. */
int scene_probe_main(const struct scene *s, unsigned int number);

/* Says how the probes from `first` on ended; those that hang are left alone. */
void scene_report(struct scene *s, unsigned int first, const char *what);

/* The name of a way. */
const char *scene_owner(enum lane_owner owner);

#endif
