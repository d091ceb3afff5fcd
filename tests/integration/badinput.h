/*
 * badinput.c has the backends, badinput_control.c the clients of the control socket.
 */
#ifndef TESTS_BADINPUT_H
#define TESTS_BADINPUT_H

struct relayd;

/* Checks what nonsense over the control socket comes to; the mount is SERVING. */
void badinput_control(struct relayd *r);

#endif
