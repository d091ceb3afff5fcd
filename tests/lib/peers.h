/*
 * Filesystems of others, which tests run behind relayd: tests/backends/build
 * compiles them when they are first asked for.
 */
#ifndef TESTS_PEERS_H
#define TESTS_PEERS_H

/*
 * The path of "passthrough_ll" and the like; static memory.  Ends the test with
 * CHECK_SKIP, saying what is missing, if its source is not on this machine.
 */
const char *peer_program(const char *name);

#endif
