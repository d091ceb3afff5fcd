/*
 * A dispatch between a fake kernel and fake backends, with a real journal and the
 * loop that its events come through.  The test is the main thread.
 */
#ifndef TESTS_DISPATCH_RIG_H
#define TESTS_DISPATCH_RIG_H

#include <stdbool.h>

#include "dispatch.h"
#include "lib/fake_backend.h"
#include "lib/fake_kernel.h"

/* Few slots, so that a test can fill them. */
#define RIG_LARGE 4u
#define RIG_SMALL 300u

struct dispatch_rig {
	struct fake_kernel kernel;
	struct fake_backend backend; /* the present one */
	struct journal journal;
	struct session session;
	struct stats stats;
	struct dispatch dispatch;
	struct loop *loop;
	struct loop_wake wake;
	struct loop_timer deadline;
	unsigned events; /* that have come and were not waited for */
	uint32_t incarnation;
	bool translated; /* backends make up their own ids; the test's to set before the first */
};

/* Everything but the threads.  Returns 0 or a negative errno. */
int rig_init(struct dispatch_rig *rig);
/* Ends the backend, if it lives, and the threads. */
void rig_deinit(struct dispatch_rig *rig);

/* Waits for one of these events and takes it.  Returns false if none comes. */
bool rig_wait(struct dispatch_rig *rig, unsigned events);

/* The kernel's INIT, up to where the first backend can be begun. */
bool rig_kernel_init(struct dispatch_rig *rig);
/* The next backend, up to where it has received INIT. */
bool rig_backend_begin(struct dispatch_rig *rig);
/* From there to where the redo may begin; `hello` as librelay. */
bool rig_backend_ready(struct dispatch_rig *rig, bool hello);
/* The backend dies, and its channel is drained and ended. */
bool rig_backend_die(struct dispatch_rig *rig, bool own_fault);
/* All of it: the threads, the kernel's INIT, a backend, the gate open. */
bool rig_serve(struct dispatch_rig *rig, bool hello);
/* The next backend, and everything that waited given to it, the gate open. */
bool rig_serve_next(struct dispatch_rig *rig, bool hello);

/* Waits until so many requests are in flight. */
bool rig_inflight(struct dispatch_rig *rig, uint32_t count);

#endif
