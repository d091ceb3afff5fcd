/* A mount's nodes, in a state of their own, for the tests of nodes.h. */
#ifndef TESTS_LIB_NODES_RIG_H
#define TESTS_LIB_NODES_RIG_H

#include <criterion/criterion.h>
#include <sys/stat.h>

#include "lib/nodes_play.h"

extern struct state state;
extern struct nodes nodes; /* of incarnation 1 */
extern struct node *root;
extern char forgotten[4096]; /* what the backend is to forget: "id:count " for each */

void nodes_rig_setup(void);
void nodes_rig_teardown(void);

/* The backend is to forget just this, since the last time. */
#define FORGOTTEN(text)                                                                                                \
	do {                                                                                                           \
		cr_assert_str_eq(forgotten, text);                                                                     \
		forgotten[0] = 0;                                                                                      \
	} while (0)

/* What an earlier process has left is what is there now: all that nodes_init() checks is so. */
void consistent(void);

/* A reply to a LOOKUP, of which the kernel was told. */
struct node *look(struct node *parent, const char *name, uint64_t id, uint32_t type);
struct node *dir(struct node *parent, const char *name, uint64_t id);
struct node *file(struct node *parent, const char *name, uint64_t id);
unsigned names_of(const struct node *node);

#endif
