/*
 * The rig plays the supervisor: it begins and ends channels as that does, at the
 * moments that a test chooses.
 */
#include "lib/dispatch_rig.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void on_wake(struct loop_wake *wake)
{
	struct dispatch_rig *rig = (struct dispatch_rig *)((char *)wake - offsetof(struct dispatch_rig, wake));

	rig->events |= dispatch_events_take(&rig->dispatch);
	loop_break(rig->loop);
}

static void on_deadline(struct loop_timer *timer)
{
	struct dispatch_rig *rig = (struct dispatch_rig *)((char *)timer - offsetof(struct dispatch_rig, deadline));

	loop_break(rig->loop);
}

static void signal_ignore(int number)
{
	(void)number;
}

int rig_init(struct dispatch_rig *rig)
{
	struct sigaction nothing = {.sa_handler = signal_ignore};
	int err;

	memset(rig, 0, sizeof(*rig));
	sigaction(DISPATCH_SIGNAL, &nothing, NULL);
	rig->backend.fd = rig->backend.channel = -1;
	err = fake_kernel_init(&rig->kernel);
	if (!err)
		err = journal_init(&rig->journal, RIG_LARGE, RIG_SMALL);
	if (!err)
		err = loop_new(&rig->loop);
	if (err)
		return err;
	rig->session.fd = rig->kernel.device;
	loop_wake_start(rig->loop, &rig->wake, on_wake);
	return dispatch_init(&rig->dispatch, "rig", &rig->journal, &rig->session, &rig->stats, &rig->wake);
}

void rig_deinit(struct dispatch_rig *rig)
{
	if (rig->backend.fd >= 0)
		rig_backend_die(rig, false);
	fake_kernel_end(&rig->kernel);
	dispatch_deinit(&rig->dispatch);
	loop_wake_stop(&rig->wake);
	loop_free(rig->loop);
	journal_deinit(&rig->journal);
	fake_kernel_deinit(&rig->kernel);
}

bool rig_wait(struct dispatch_rig *rig, unsigned events)
{
	loop_timer_start(rig->loop, &rig->deadline, FAKE_DEADLINE_MS, on_deadline);
	while (!(rig->events & events) && loop_timer_active(&rig->deadline))
		loop_run(rig->loop);
	loop_timer_stop(&rig->deadline);
	if (!(rig->events & events))
		return false;
	rig->events &= ~events;
	return true;
}

bool rig_kernel_init(struct dispatch_rig *rig)
{
	return dispatch_start(&rig->dispatch) == 0 && fake_kernel_init_request(&rig->kernel, FUSE_HAS_RESEND) != 0 &&
	       rig_wait(rig, DISPATCH_KERNEL_INIT);
}

bool rig_backend_begin(struct dispatch_rig *rig)
{
	struct fuse_init_in in;

	if (fake_backend_init(&rig->backend) < 0)
		return false;
	rig->backend.serves_rings = rig->dispatch.rings != NULL;
	return dispatch_channel_begin(&rig->dispatch, rig->backend.channel, ++rig->incarnation) == 0 &&
	       fake_backend_take_init(&rig->backend, &in);
}

bool rig_backend_ready(struct dispatch_rig *rig, bool hello)
{
	bool agreed = rig->session.agreed;
	struct fake_packet packet;
	char why[256];

	if (hello && !fake_backend_hello(&rig->backend))
		return false;
	if (!fake_backend_answer_init(&rig->backend, 0) || !rig_wait(rig, DISPATCH_ANSWERED) ||
	    session_init_answer(&rig->session, rig->dispatch.init_reply, rig->dispatch.init_reply_size,
				!rig->translated, why, sizeof(why)) < 0)
		return false;
	/* The first one's answer goes to the kernel. */
	return agreed || fake_kernel_receive(&rig->kernel, &packet);
}

bool rig_backend_die(struct dispatch_rig *rig, bool own_fault)
{
	fake_backend_end(&rig->backend);
	if (!rig_wait(rig, DISPATCH_DRAINED))
		return false;
	shutdown(rig->backend.channel, SHUT_RDWR);
	dispatch_gate_shut(&rig->dispatch);
	dispatch_channel_end(&rig->dispatch, own_fault);
	close(rig->backend.channel);
	rig->backend.channel = -1;
	return true;
}

bool rig_serve(struct dispatch_rig *rig, bool hello)
{
	return rig_kernel_init(rig) && rig_serve_next(rig, hello);
}

bool rig_serve_next(struct dispatch_rig *rig, bool hello)
{
	bool waited;

	return rig_backend_begin(rig) && rig_backend_ready(rig, hello) && dispatch_redo(&rig->dispatch, 3, false) == 0 &&
	       dispatch_gate_open(&rig->dispatch, &waited) == 0;
}

bool rig_inflight(struct dispatch_rig *rig, uint32_t count)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	for (unsigned ms = 0; ms < FAKE_DEADLINE_MS; ms++) {
		if (dispatch_inflight(&rig->dispatch) == count)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}
