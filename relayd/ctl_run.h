/*
 * RUN: the server's side of relay-run(1).
 */
#ifndef RELAYD_CTL_RUN_H
#define RELAYD_CTL_RUN_H

struct ctl_request;

/* A handler of the table of commands. */
int ctl_run(struct ctl_request *request);

#endif
