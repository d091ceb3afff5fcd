/*
 * FUSE over io_uring is off unless the administrator turns it on, for the whole machine.
 * A test that needs it has it on while it runs.
 */
#ifndef TESTS_URING_ENABLE_H
#define TESTS_URING_ENABLE_H

/*
 * Turns it on until the process ends; what it was before is what it is when the last test
 * that runs has ended.  Returns 0, or a negative errno: -ENOENT where the kernel lacks it.
 */
int uring_enable(void);

#endif
