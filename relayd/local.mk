# Everything of relayd but main.c is a library, which the tests link too.

# What that is linked with.
relayd_libs = $(EV_LIBS) $(LIBBPF_LIBS)

noinst_LIBRARIES += relayd/librelayd.a
relayd_librelayd_a_SOURCES = \
	relayd/answers.c \
	relayd/answers.h \
	relayd/ask.c \
	relayd/ask.h \
	relayd/ask_ops.c \
	relayd/backend.c \
	relayd/backend.h \
	relayd/backoff.h \
	relayd/backing.c \
	relayd/backing.h \
	relayd/cache.c \
	relayd/cache.h \
	relayd/cache_bpf.h \
	relayd/children.c \
	relayd/children.h \
	relayd/ctl.c \
	relayd/ctl.h \
	relayd/ctl_access.c \
	relayd/ctl_access.h \
	relayd/ctl_attach.c \
	relayd/ctl_attach.h \
	relayd/ctl_cmds.c \
	relayd/ctl_cmds.h \
	relayd/ctl_conn.c \
	relayd/ctl_conn.h \
	relayd/ctl_decode.c \
	relayd/ctl_decode.h \
	relayd/ctl_pending.c \
	relayd/ctl_pending.h \
	relayd/ctl_run.c \
	relayd/ctl_run.h \
	relayd/ctl_socket.c \
	relayd/ctl_socket.h \
	relayd/daemon.c \
	relayd/daemon.h \
	relayd/daemon_kept.c \
	relayd/daemon_parts.h \
	relayd/dirlog.c \
	relayd/dispatch.c \
	relayd/dispatch.h \
	relayd/dispatch_backing.c \
	relayd/dispatch_direct.c \
	relayd/dispatch_direct.h \
	relayd/dispatch_carry.c \
	relayd/dispatch_fail.c \
	relayd/dispatch_read.c \
	relayd/dispatch_redo.c \
	relayd/dispatch_reply.c \
	relayd/dispatch_resend.c \
	relayd/dispatch_rings.c \
	relayd/dispatch_resume.c \
	relayd/dispatch_send.c \
	relayd/dispatch_table.c \
	relayd/dispatch_table.h \
	relayd/fdstore.c \
	relayd/fdstore.h \
	relayd/hand_over.c \
	relayd/hand_over.h \
	relayd/handles.c \
	relayd/handles.h \
	relayd/identity.c \
	relayd/identity.h \
	relayd/journal.c \
	relayd/journal.h \
	relayd/keep.c \
	relayd/keep.h \
	relayd/keeper.c \
	relayd/keeper.h \
	relayd/keeper_parts.h \
	relayd/keeper_table.c \
	relayd/keeper_table.h \
	relayd/keeper_worker.c \
	relayd/launch.c \
	relayd/launch.h \
	relayd/locks.c \
	relayd/locks.h \
	relayd/log.c \
	relayd/log.h \
	relayd/loop.c \
	relayd/loop.h \
	relayd/mount.c \
	relayd/mount.h \
	relayd/mount_new.c \
	relayd/mount_parts.h \
	relayd/mount_record.c \
	relayd/mount_resume.c \
	relayd/mount_upgrade.c \
	relayd/mountopts.c \
	relayd/mountopts.h \
	relayd/namegate.c \
	relayd/namegate.h \
	relayd/nodes.c \
	relayd/nodes.h \
	relayd/nodes_check.c \
	relayd/nodes_index.c \
	relayd/nodes_link.c \
	relayd/nodes_parts.h \
	relayd/notify.c \
	relayd/notify.h \
	relayd/options.c \
	relayd/options.h \
	relayd/output.c \
	relayd/output.h \
	relayd/place.c \
	relayd/place.h \
	relayd/record.c \
	relayd/record.h \
	relayd/redo.c \
	relayd/redo.h \
	relayd/redo_data.c \
	relayd/redo_make.c \
	relayd/redo_parts.h \
	relayd/redo_rename.c \
	relayd/repair.c \
	relayd/repair.h \
	relayd/repair_slot.c \
	relayd/restore.c \
	relayd/restore.h \
	relayd/restore_dir.c \
	relayd/restore_doubt.c \
	relayd/restore_handle.c \
	relayd/restore_locks.c \
	relayd/restore_look.c \
	relayd/restore_parts.h \
	relayd/rights.c \
	relayd/rights.h \
	relayd/rings.c \
	relayd/rings.h \
	relayd/session.c \
	relayd/session.h \
	relayd/session_init.c \
	relayd/state.c \
	relayd/state.h \
	relayd/state_format.h \
	relayd/state_open.c \
	relayd/stacks.c \
	relayd/stacks.h \
	relayd/stats.c \
	relayd/stats.h \
	relayd/supervisor.c \
	relayd/supervisor.h \
	relayd/supervisor_life.c \
	relayd/supervisor_life.h \
	relayd/supervisor_resume.c \
	relayd/translate.c \
	relayd/translate.h \
	relayd/translate_answer.c \
	relayd/translate_dir.c \
	relayd/translate_entry.c \
	relayd/translate_notify.c \
	relayd/translate_parts.h \
	relayd/translate_reply.c \
	relayd/translate_request.c \
	relayd/upgrade.c \
	relayd/upgrade.h \
	relayd/watch.c \
	relayd/watch.h \
	relayd/way.c \
	relayd/way.h
if HAVE_BPF
relayd_librelayd_a_SOURCES += \
	relayd/cache_bpf.c \
	relayd/cache_bpf_load.c \
	relayd/cache_bpf_load.h \
	relayd/cache_bpf_object.c \
	relayd/cache_bpf_object.h
relayd/librelayd_a-cache_bpf_object.$(OBJEXT): bpf/known.bpf.o bpf/calibrate.bpf.o
else
relayd_librelayd_a_SOURCES += relayd/cache_nobpf.c
endif
# Where the ways in are installed.
relayd_librelayd_a_CPPFLAGS = $(AM_CPPFLAGS) $(LIBBPF_CFLAGS) -DPKGLIBDIR='"$(pkglibdir)"' -DPKGLIBEXECDIR='"$(pkglibexecdir)"'

bin_PROGRAMS += relayd/relayd
relayd_relayd_SOURCES = relayd/main.c
relayd_relayd_LDADD = relayd/librelayd.a librelay/librelay_core.a $(relayd_libs)

# The same, ending where a test wants it to (librelay/crash.h): these files have the points.
check_PROGRAMS += relayd/relayd-crash
relayd_relayd_crash_SOURCES = \
	relayd/dispatch.c \
	relayd/dispatch_read.c \
	relayd/dispatch_redo.c \
	relayd/dispatch_reply.c \
	relayd/dispatch_send.c \
	relayd/fdstore.c \
	relayd/main.c \
	relayd/record.c
relayd_relayd_crash_CPPFLAGS = $(AM_CPPFLAGS) -DRELAY_CRASH_POINTS
relayd_relayd_crash_LDADD = relayd/librelayd.a librelay/librelay_crash.a $(relayd_libs)

bin_PROGRAMS += relayd/relayctl
relayd_relayctl_SOURCES = \
	relayd/relayctl.c \
	relayd/relayctl.h \
	relayd/relayctl_json.c \
	relayd/relayctl_mounts.c \
	relayd/relayctl_table.c \
	relayd/relayctl_text.c
relayd_relayctl_LDADD = relayd/librelayd.a librelay/librelay_core.a $(relayd_libs) $(JANSSON_LIBS)

# systemd's unit.
systemdunitdir = $(prefix)/lib/systemd/system
systemdunit_DATA = relayd/relayd.service
EXTRA_DIST += relayd/relayd.service.in
CLEANFILES += relayd/relayd.service
relayd/relayd.service: relayd/relayd.service.in
	$(AM_V_GEN)sed 's,@bindir@,$(bindir),' $(top_srcdir)/relayd/relayd.service.in >$@.new && mv $@.new $@
