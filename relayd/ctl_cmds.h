/*
 * The table of commands, and what runs them.
 */
#ifndef RELAYD_CTL_CMDS_H
#define RELAYD_CTL_CMDS_H

#include <stdbool.h>
#include <stdint.h>

#include "ctl_conn.h"

struct mount_config;

/* Who may give a command. */
enum ctl_rule {
	CTL_RULE_ANYONE, /* the handler looks further where it must */
	CTL_RULE_DAEMON, /* whose relayd this is: what it starts runs as that user */
	CTL_RULE_OWNER,	 /* the owner of the mount that the first string selects, and root */
};

struct ctl_command {
	const char *name;
	uint16_t fixed;	    /* bytes of the fixed part */
	uint16_t fixed_min; /* of its first version; 0: there was no other */
	enum ctl_rule rule;
	struct {
		uint16_t at; /* of the struct relay_ctl_string in the frame; 0: no more */
		bool required;
	} strings[CTL_STRINGS_MAX];
	/*
	 * Returns 0 if the command is answered, or will be, or a negative errno with
	 * request->reason (a sentence; empty: what the errno says) and ->exit_status.
	 */
	int (*handle)(struct ctl_request *request);
};

/* The row of a type, or NULL. */
const struct ctl_command *ctl_command_get(uint16_t type);

/*
 * Runs a decoded command.  Returns 0 (it was answered, with an error or without),
 * or a negative errno with the cause in *why where the connection must end.
 */
int ctl_command_run(struct ctl_request *request, const char **why);

/* Answers with the state of a mount: a whole answer, or one of several with RELAY_CTL_MORE. */
void ctl_reply_status(struct ctl_conn *conn, const struct relay_ctl_head *head, uint32_t flags,
		      const struct mount *mount);

/* MOUNT and RUN: whether what may be known goes together.  If not, the request has the reason. */
bool ctl_choices_check(struct ctl_request *request, const struct mount_config *config);
/* Likewise: whether paths mean to who asks what they mean to relayd. */
bool ctl_ns_check(struct ctl_request *request);

#endif
