/*
 * The loop runs only in here, and stops at each change: a test that has waited for a
 * state finds it as it was entered.
 */
#include "lib/supervisor_rig.h"

#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_wake(struct loop_wake *wake)
{
	struct supervisor_rig *rig = (struct supervisor_rig *)((char *)wake - offsetof(struct supervisor_rig, dispatch.wake));
	unsigned events = dispatch_events_take(&rig->dispatch.dispatch);

	supervisor_dispatched(&rig->supervisor, events);
	loop_break(rig->dispatch.loop);
}

static void on_record(struct supervisor *supervisor)
{
	(void)supervisor;
}

static void on_change(struct supervisor *supervisor)
{
	struct supervisor_rig *rig = (struct supervisor_rig *)((char *)supervisor - offsetof(struct supervisor_rig, supervisor));

	if (rig->changes < sizeof(rig->states) / sizeof(rig->states[0]))
		rig->states[rig->changes++] = supervisor->state;
	loop_break(rig->dispatch.loop);
}

static void on_deadline(struct loop_timer *timer)
{
	struct supervisor_rig *rig = (struct supervisor_rig *)((char *)timer - offsetof(struct supervisor_rig, deadline));

	loop_break(rig->dispatch.loop);
}

static void on_packet(struct loop_io *io, unsigned events)
{
	(void)events;
	loop_break(io->loop);
	loop_io_stop(io);
}

int supervisor_rig_init(struct supervisor_rig *rig, const char *line)
{
	char why[256];
	int err;

	*rig = (struct supervisor_rig){0};
	/* As the daemon has it. */
	signal(SIGCHLD, SIG_DFL);
	err = rig_init(&rig->dispatch);
	if (!err)
		err = output_init(&rig->output, rig->dispatch.loop, "rig");
	if (!err && line)
		err = launch_command_init(&rig->command, line, NULL, why, sizeof(why));
	if (err)
		return err;
	loop_wake_start(rig->dispatch.loop, &rig->dispatch.wake, on_wake);
	rig->supervisor = (struct supervisor){
		.name = "rig",
		.loop = rig->dispatch.loop,
		.dispatch = &rig->dispatch.dispatch,
		.session = &rig->dispatch.session,
		.stats = &rig->dispatch.stats,
		.output = &rig->output,
		.command = line ? &rig->command : NULL,
		.directory = "/",
		.lives = 3,
		.init_ms = FAKE_DEADLINE_MS,
		.end_ms = FAKE_DEADLINE_MS,
		.channel = -1,
		.on_record = on_record,
		.on_change = on_change,
	};
	return dispatch_start(&rig->dispatch.dispatch);
}

static void attached_end(struct supervisor_rig *rig)
{
	if (rig->attached > 0) {
		kill(rig->attached, SIGKILL);
		waitpid(rig->attached, NULL, 0);
	}
	rig->attached = 0;
}

void supervisor_rig_deinit(struct supervisor_rig *rig)
{
	struct supervisor *s = &rig->supervisor;

	supervisor_event(s, SUPERVISOR_STOP);
	if (s->backend.pid && s->backend.child)
		backend_kill(&s->backend);
	fake_backend_end(&rig->dispatch.backend);
	attached_end(rig);
	supervisor_rig_until(rig, SUPERVISOR_STOPPED);
	loop_timer_stop(&s->timer);
	loop_timer_stop(&s->sweep);
	loop_timer_stop(&s->down);
	output_deinit(&rig->output);
	rig_deinit(&rig->dispatch);
	launch_command_deinit(&rig->command);
}

bool supervisor_rig_until_life(struct supervisor_rig *rig, uint32_t incarnation, enum supervisor_state state)
{
	struct supervisor *s = &rig->supervisor;

	loop_timer_start(rig->dispatch.loop, &rig->deadline, FAKE_DEADLINE_MS, on_deadline);
	while ((s->state != state || s->incarnation < incarnation) && loop_timer_active(&rig->deadline))
		loop_run(rig->dispatch.loop);
	loop_timer_stop(&rig->deadline);
	return s->state == state && s->incarnation >= incarnation;
}

bool supervisor_rig_until(struct supervisor_rig *rig, enum supervisor_state state)
{
	return supervisor_rig_until_life(rig, 0, state);
}

bool supervisor_rig_was(const struct supervisor_rig *rig, enum supervisor_state state)
{
	for (unsigned i = 0; i < rig->changes; i++)
		if (rig->states[i] == state)
			return true;
	return false;
}

bool supervisor_rig_until_packet(struct supervisor_rig *rig, int fd)
{
	struct loop_io io = {0};

	loop_timer_start(rig->dispatch.loop, &rig->deadline, FAKE_DEADLINE_MS, on_deadline);
	loop_io_start(rig->dispatch.loop, &io, fd, LOOP_READ, on_packet);
	while (io.loop && loop_timer_active(&rig->deadline))
		loop_run(rig->dispatch.loop);
	loop_timer_stop(&rig->deadline);
	if (!io.loop)
		return true;
	loop_io_stop(&io);
	return false;
}

int supervisor_rig_launch(struct supervisor_rig *rig)
{
	int err = supervisor_launch(&rig->supervisor);

	fake_kernel_init_request(&rig->dispatch.kernel, FUSE_HAS_RESEND);
	return err;
}

bool supervisor_rig_attach(struct supervisor_rig *rig, bool ready)
{
	struct dispatch_rig *d = &rig->dispatch;
	uint32_t incarnation = rig->supervisor.incarnation + 1;
	struct fuse_init_in in;

	attached_end(rig);
	if (fake_backend_init(&d->backend) < 0)
		return false;
	rig->attached = fork();
	if (rig->attached == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_range(3, ~0u, 0);
		for (;;)
			pause();
	}
	if (supervisor_attach(&rig->supervisor, d->backend.channel, rig->attached, WAY_VIA_LIBRARY) < 0)
		return false;
	if (!d->session.init_size)
		fake_kernel_init_request(&d->kernel, FUSE_HAS_RESEND);
	if (!ready)
		return true;
	return supervisor_rig_until_packet(rig, d->backend.fd) && fake_backend_take_init(&d->backend, &in) &&
	       fake_backend_answer_init(&d->backend, 0) &&
	       supervisor_rig_until_life(rig, incarnation, SUPERVISOR_SERVING);
}
