# tests/README.md says how to add a test: one line here.

# ---- unit tests: tests/unit/test_X.c, Criterion ------------------------------

# A queue of the keeper's, and a ring whose other end the test has.
pump_test_sources = tests/lib/fake_ring.c tests/lib/fake_ring.h uring/pump.c uring/pump.h uring/commands.h uring/ring.h

unit_tests =
unit_tests += tests/unit/test_absence
unit_tests += tests/unit/test_absence_races
unit_tests += tests/unit/test_absences
tests_unit_test_absences_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_answers
unit_tests += tests/unit/test_ask
unit_tests += tests/unit/test_backoff
unit_tests += tests/unit/test_cache_maps
unit_tests += tests/unit/test_cache
unit_tests += tests/unit/test_ctl
tests_unit_test_ctl_SOURCES = tests/unit/test_ctl.c $(ctl_test_sources)
unit_tests += tests/unit/test_ctl_access
unit_tests += tests/unit/test_ctl_attach
tests_unit_test_ctl_attach_SOURCES = tests/unit/test_ctl_attach.c $(ctl_test_sources)
unit_tests += tests/unit/test_ctl_decode
unit_tests += tests/unit/test_ctl_pending
tests_unit_test_ctl_pending_SOURCES = tests/unit/test_ctl_pending.c $(ctl_test_sources)
unit_tests += tests/unit/test_ctl_run
tests_unit_test_ctl_run_SOURCES = tests/unit/test_ctl_run.c $(ctl_test_sources)
unit_tests += tests/unit/test_ctl_socket
unit_tests += tests/unit/test_direct
tests_unit_test_direct_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_direct_crash
tests_unit_test_direct_crash_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_dirlog
unit_tests += tests/unit/test_dispatch_direct
tests_unit_test_dispatch_direct_SOURCES = tests/unit/test_dispatch_direct.c $(stuck_test_sources)
unit_tests += tests/unit/test_dispatch_carry
unit_tests += tests/unit/test_dispatch_read
unit_tests += tests/unit/test_dispatch_redo
tests_unit_test_dispatch_redo_SOURCES = tests/unit/test_dispatch_redo.c $(stuck_test_sources)
unit_tests += tests/unit/test_dispatch_resend
tests_unit_test_dispatch_resend_SOURCES = tests/unit/test_dispatch_resend.c $(stuck_test_sources)
unit_tests += tests/unit/test_dispatch_reply
unit_tests += tests/unit/test_dispatch_rings
tests_unit_test_dispatch_rings_SOURCES = tests/unit/test_dispatch_rings.c $(stuck_test_sources)
unit_tests += tests/unit/test_dispatch_translate
unit_tests += tests/unit/test_fdpass
unit_tests += tests/unit/test_fusermount
tests_unit_test_fusermount_SOURCES = tests/unit/test_fusermount.c $(ctl_test_sources)
unit_tests += tests/unit/test_handles
tests_unit_test_handles_SOURCES = tests/unit/test_handles.c $(fs_test_sources)
tests_unit_test_handles_LDADD = $(fs_ldadd)
unit_tests += tests/unit/test_handshake
tests_unit_test_handshake_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_identity
unit_tests += tests/unit/test_journal
unit_tests += tests/unit/test_journal_map
unit_tests += tests/unit/test_keep
unit_tests += tests/unit/test_keeper_table
unit_tests += tests/unit/test_launch
unit_tests += tests/unit/test_locks
tests_unit_test_locks_SOURCES = tests/unit/test_locks.c $(fs_test_sources)
tests_unit_test_locks_LDADD = $(fs_ldadd)
unit_tests += tests/unit/test_log
unit_tests += tests/unit/test_loop
unit_tests += tests/unit/test_nodes
tests_unit_test_nodes_SOURCES = tests/unit/test_nodes.c $(fs_test_sources)
tests_unit_test_nodes_LDADD = $(fs_ldadd)
unit_tests += tests/unit/test_mount_choices
unit_tests += tests/unit/test_mount_relay
tests_unit_test_mount_relay_LDADD = ways/libmount_relay.a $(CRITERION_LIBS)
unit_tests += tests/unit/test_mountopts
unit_tests += tests/unit/test_namegate
unit_tests += tests/unit/test_notify
unit_tests += tests/unit/test_opcodes
unit_tests += tests/unit/test_place
unit_tests += tests/unit/test_readers
unit_tests += tests/unit/test_record
tests_unit_test_readers_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_redo
tests_unit_test_redo_SOURCES = tests/unit/test_redo.c $(restore_test_sources)
unit_tests += tests/unit/test_relay_mount
tests_unit_test_relay_mount_SOURCES = tests/unit/test_relay_mount.c $(ctl_test_sources)
unit_tests += tests/unit/test_relayd_handles
unit_tests += tests/unit/test_relayd_locks
unit_tests += tests/unit/test_relayd_crash
tests_unit_test_relayd_crash_LDADD = $(state_crash_ldadd)
unit_tests += tests/unit/test_relayd_names
tests_unit_test_relayd_names_SOURCES = tests/unit/test_relayd_names.c $(nodes_test_sources)
unit_tests += tests/unit/test_relayd_nodes
tests_unit_test_relayd_nodes_SOURCES = tests/unit/test_relayd_nodes.c $(nodes_test_sources)
unit_tests += tests/unit/test_relayd_state
unit_tests += tests/unit/test_repair
unit_tests += tests/unit/test_restore
tests_unit_test_restore_SOURCES = tests/unit/test_restore.c $(restore_test_sources)
unit_tests += tests/unit/test_restore_dir
tests_unit_test_restore_dir_SOURCES = tests/unit/test_restore_dir.c $(restore_test_sources)
unit_tests += tests/unit/test_rings
unit_tests += tests/unit/test_rings_serve
tests_unit_test_rings_serve_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_serve
tests_unit_test_serve_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_session_init
unit_tests += tests/unit/test_slots
unit_tests += tests/unit/test_state
tests_unit_test_state_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_stats
unit_tests += tests/unit/test_supervisor
unit_tests += tests/unit/test_supervisor_table
unit_tests += tests/unit/test_translate
unit_tests += tests/unit/test_translate_crash
tests_unit_test_translate_crash_LDADD = $(state_crash_ldadd)
unit_tests += tests/unit/test_translate_dir
unit_tests += tests/unit/test_translate_reply

unit_tests += tests/unit/test_backend
unit_tests += tests/unit/test_backing
unit_tests += tests/unit/test_backing_table
unit_tests += tests/unit/test_relay_backing
tests_unit_test_relay_backing_LDADD = $(crash_ldadd)
unit_tests += tests/unit/test_upgrade
if HAVE_URING_HEADERS
unit_tests += tests/unit/test_uring_pump
tests_unit_test_uring_pump_SOURCES = tests/unit/test_uring_pump.c $(pump_test_sources)
endif
unit_tests += tests/unit/test_watch
unit_tests += tests/unit/test_way

# For those that have a daemon and mounts of their own in the place of relayd's.
ctl_test_sources = \
	tests/lib/ctl_client_test.c \
	tests/lib/ctl_client_test.h \
	tests/lib/fake_daemon.c \
	tests/lib/fake_daemon.h

# For those that have a caller who is dying.
stuck_test_sources = tests/lib/stuck.c tests/lib/stuck.h

# For those of relayd's nodes.
nodes_test_sources = tests/lib/nodes_rig.c tests/lib/nodes_rig.h

# For those that ask a store in memory in the place of a backend: instead of relayd/ask.c.
restore_test_sources = \
	tests/lib/fake_ask.c \
	tests/lib/fake_ask.h \
	tests/lib/fake_store.c \
	tests/lib/fake_store.h \
	tests/lib/restore_rig.c \
	tests/lib/restore_rig.h

# For those of fsserver's tables.
fs_test_sources = tests/lib/fs_tables.c tests/lib/fs_tables.h
fs_ldadd = tests/lib/libtest.a fs/libfsserver.a librelay/librelay_core.a $(CRITERION_LIBS)

# For those that have librelay end at its crash points.
crash_ldadd = tests/lib/libtest.a librelay/librelay_crash.a $(CRITERION_LIBS)

# For those that have relayd's tables end at theirs.
state_crash_ldadd = tests/lib/libtest.a tests/lib/libstate_crash.a relayd/librelayd.a librelay/librelay_core.a $(relayd_libs) \
	$(CRITERION_LIBS)

# ---- fuzz targets of decoders: tests/fuzz/fuzz_X.c, corpus/X/* ---------------

fuzz_tests =
fuzz_tests += tests/fuzz/fuzz_absence
tests_fuzz_fuzz_absence_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_ctl
tests_fuzz_fuzz_ctl_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_dispatch_reply
tests_fuzz_fuzz_dispatch_reply_SOURCES = tests/fuzz/fuzz_dispatch_reply.c tests/fuzz/no_log.c
tests_fuzz_fuzz_dispatch_reply_LDADD = tests/lib/libtest.a $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_journal_import
tests_fuzz_fuzz_journal_import_SOURCES = tests/fuzz/fuzz_journal_import.c tests/fuzz/no_log.c
tests_fuzz_fuzz_journal_import_LDADD = tests/lib/libtest.a $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_keeper
tests_fuzz_fuzz_keeper_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_mountopts
tests_fuzz_fuzz_mountopts_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_record
tests_fuzz_fuzz_record_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_reply
tests_fuzz_fuzz_reply_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_request
tests_fuzz_fuzz_request_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_resume
tests_fuzz_fuzz_resume_SOURCES = tests/fuzz/fuzz_resume.c tests/fuzz/no_log.c
tests_fuzz_fuzz_resume_LDADD = tests/lib/libtest.a $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_rings
tests_fuzz_fuzz_rings_SOURCES = tests/fuzz/fuzz_rings.c tests/fuzz/no_log.c
tests_fuzz_fuzz_rings_LDADD = tests/lib/libtest.a $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_upgrade
tests_fuzz_fuzz_upgrade_LDADD = $(fuzz_ldadd)
if HAVE_URING_HEADERS
fuzz_tests += tests/fuzz/fuzz_uring_pump
tests_fuzz_fuzz_uring_pump_SOURCES = tests/fuzz/fuzz_uring_pump.c $(pump_test_sources)
tests_fuzz_fuzz_uring_pump_LDADD = $(fuzz_ldadd)
endif
fuzz_tests += tests/fuzz/fuzz_session_init
tests_fuzz_fuzz_session_init_LDADD = $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_translate_reply
tests_fuzz_fuzz_translate_reply_SOURCES = tests/fuzz/fuzz_translate_reply.c tests/fuzz/no_log.c
tests_fuzz_fuzz_translate_reply_LDADD = tests/lib/libtest.a $(fuzz_ldadd)
fuzz_tests += tests/fuzz/fuzz_state
tests_fuzz_fuzz_state_LDADD = tests/lib/libtest.a $(fuzz_ldadd)

# ---- integration tests -------------------------------------------------------

# Scripts: tests/integration/X.sh.
integration_scripts =
integration_scripts += tests/integration/attach.sh
integration_scripts += tests/integration/bpf_guest.sh
integration_scripts += tests/integration/bench.sh
integration_scripts += tests/integration/compat.sh
integration_scripts += tests/integration/daemon.sh
integration_scripts += tests/integration/ending.sh
integration_scripts += tests/integration/help.sh
integration_scripts += tests/integration/install.sh
integration_scripts += tests/integration/keeper.sh
integration_scripts += tests/integration/limits.sh
integration_scripts += tests/integration/manpages.sh
integration_scripts += tests/integration/matrix_passthrough.sh
integration_scripts += tests/integration/mount_relay.sh
integration_scripts += tests/integration/namespaces.sh
integration_scripts += tests/integration/preload.sh
integration_scripts += tests/integration/relay_run.sh
integration_scripts += tests/integration/relayctl.sh
integration_scripts += tests/integration/resume.sh
integration_scripts += tests/integration/rights.sh
integration_scripts += tests/integration/service.sh
integration_scripts += tests/integration/storm.sh
integration_scripts += tests/integration/uring.sh
integration_scripts += tests/integration/user.sh
integration_scripts += tests/integration/users.sh
integration_scripts += tests/integration/ways.sh

# Programs: tests/integration/X.c.
integration_programs =
integration_programs += tests/integration/answers
integration_programs += tests/integration/badinput
tests_integration_badinput_SOURCES = \
	tests/integration/badinput.c \
	tests/integration/badinput.h \
	tests/integration/badinput_control.c
integration_programs += tests/integration/foreign_ids
tests_integration_foreign_ids_SOURCES = \
	tests/integration/foreign.h \
	tests/integration/foreign_data.c \
	tests/integration/foreign_dirs.c \
	tests/integration/foreign_ids.c \
	tests/integration/foreign_locks.c \
	tests/integration/foreign_names.c
integration_programs += tests/integration/matrix
tests_integration_matrix_SOURCES = \
	tests/integration/matrix.c \
	tests/integration/matrix.h \
	tests/integration/matrix_data.c \
	tests/integration/matrix_locks.c \
	tests/integration/matrix_meta.c \
	tests/integration/matrix_names.c \
	tests/integration/matrix_place.c \
	tests/integration/matrix_raw.c \
	tests/integration/matrix_table.c
integration_programs += tests/integration/matrix_foreign
tests_integration_matrix_foreign_SOURCES = \
	tests/integration/matrix.h \
	tests/integration/matrix_data.c \
	tests/integration/matrix_foreign.c \
	tests/integration/matrix_locks.c \
	tests/integration/matrix_meta.c \
	tests/integration/matrix_names.c \
	tests/integration/matrix_place.c \
	tests/integration/matrix_table.c
integration_programs += tests/integration/passthrough
integration_programs += tests/integration/pause
integration_programs += tests/integration/scale
integration_programs += tests/integration/semantics
tests_integration_semantics_SOURCES = \
	tests/integration/semantics.c \
	tests/integration/semantics.h \
	tests/integration/semantics_acls.c \
	tests/integration/semantics_data.c \
	tests/integration/semantics_dirs.c \
	tests/integration/semantics_links.c \
	tests/integration/semantics_locks.c \
	tests/integration/semantics_names.c \
	tests/integration/semantics_permissions.c \
	tests/integration/semantics_space.c \
	tests/integration/semantics_times.c
integration_programs += tests/integration/supervision
integration_programs += tests/integration/upgrade
integration_programs += tests/integration/hangs

# Not tests, but called by them: tests/integration/X.c.
helper_programs =
if HAVE_BPF
# Run in a guest, by bpf_guest.sh, race-bpf and bench-bpf.
helper_programs += tests/bpf/costs
helper_programs += tests/bpf/known
tests_bpf_known_SOURCES = \
	tests/bpf/calls.h \
	tests/bpf/calls_create.c \
	tests/bpf/calls_look.c \
	tests/bpf/known.c \
	tests/bpf/known.h \
	tests/bpf/known_paths.c \
	tests/bpf/known_rules.c \
	tests/bpf/rig.c \
	tests/bpf/rig.h \
	tests/bpf/rig_fs.c
helper_programs += tests/bpf/fsserver_late
tests_bpf_fsserver_late_SOURCES = fs/fsserver/main.c tests/bpf/fsserver_late.c
tests_bpf_fsserver_late_LDADD = fs/libfsserver.a librelay/librelay_core.a
tests_bpf_fsserver_late_LDFLAGS = -Wl,--wrap=relay_absence_begin -Wl,--wrap=relay_internal_direct_reply
helper_programs += tests/bpf/loaded
helper_programs += tests/bpf/lookers
helper_programs += tests/bpf/looks
helper_programs += tests/bpf/renames
check_DATA = bpf/known-rules.elf bpf/empty.elf
endif
helper_programs += tests/integration/badinput_backend
helper_programs += tests/integration/preload_calls
helper_programs += tests/integration/storm_kill
helper_programs += tests/integration/storm_names
helper_programs += tests/integration/service_manager
helper_programs += tests/integration/supervision_backend
helper_programs += tests/lib/uring_hold
if HAVE_URING_HEADERS
helper_programs += tests/integration/uring_meddle
endif
# The preload library is first in it, where no sanitizer may be second.
helper_programs += tests/backends/daemonize
tests_backends_daemonize_CFLAGS = -std=gnu11 $(WARN_CFLAGS)
tests_backends_daemonize_LDFLAGS =
tests_backends_daemonize_LDADD =
helper_programs += tests/backends/liar
tests_backends_liar_SOURCES = \
	tests/backends/liar.c \
	tests/backends/liar.h \
	tests/backends/liar_dirs.c \
	tests/backends/liar_files.c \
	tests/backends/liar_locks.c \
	tests/backends/liar_names.c \
	tests/backends/liar_nodes.c
tests_backends_liar_LDADD =

# For filesystems of others, which no sanitizer is linked with.
check_LTLIBRARIES += tests/backends/crash_preload.la
tests_backends_crash_preload_la_SOURCES = tests/backends/crash_preload.c librelay/crash.c librelay/opcodes.c
tests_backends_crash_preload_la_CPPFLAGS = $(AM_CPPFLAGS) -DRELAY_CRASH_POINTS
tests_backends_crash_preload_la_CFLAGS = -std=gnu11 -pthread $(WARN_CFLAGS)
tests_backends_crash_preload_la_LDFLAGS = -module -shared -avoid-version -rpath /not-installed
tests_backends_crash_preload_la_LIBADD = -ldl
check_LTLIBRARIES += tests/backends/malloc_preload.la
tests_backends_malloc_preload_la_SOURCES = tests/backends/malloc_preload.c
tests_backends_malloc_preload_la_CFLAGS = -std=gnu11 $(WARN_CFLAGS)
tests_backends_malloc_preload_la_LDFLAGS = -module -shared -avoid-version -rpath /not-installed
tests_backends_malloc_preload_la_LIBADD =
EXTRA_DIST += tests/backends/build tests/integration/compat-table.sh

# ---- what tests share ---------------------------------------------------------

check_LIBRARIES += tests/lib/libtest.a
tests_lib_libtest_a_SOURCES = \
	tests/lib/asker.c \
	tests/lib/asker.h \
	tests/lib/fake_absences.c \
	tests/lib/fake_absences.h \
	tests/lib/check.c \
	tests/lib/check.h \
	tests/lib/direct_play.c \
	tests/lib/direct_play.h \
	tests/lib/dispatch_rig.c \
	tests/lib/dispatch_rig.h \
	tests/lib/fake_backend.c \
	tests/lib/fake_backend.h \
	tests/lib/fake_kernel.c \
	tests/lib/fake_kernel.h \
	tests/lib/fake_packet.c \
	tests/lib/fake_packet.h \
	tests/lib/fake_relayd.c \
	tests/lib/fake_relayd.h \
	tests/lib/foreign.c \
	tests/lib/foreign.h \
	tests/lib/fuse_connection.c \
	tests/lib/fuse_connection.h \
	tests/lib/nodes_play.c \
	tests/lib/nodes_play.h \
	tests/lib/peers.c \
	tests/lib/peers.h \
	tests/lib/relayd.c \
	tests/lib/relayd.h \
	tests/lib/rings_play.c \
	tests/lib/rings_play.h \
	tests/lib/supervisor_rig.c \
	tests/lib/supervisor_rig.h \
	tests/lib/text.c \
	tests/lib/text.h \
	tests/lib/translate_rig.c \
	tests/lib/uring_enable.c \
	tests/lib/uring_enable.h \
	tests/lib/translate_rig.h \
	tests/lib/tree.c \
	tests/lib/tree.h

# relayd's tables with the points at which test_relayd_crash ends them.
check_LIBRARIES += tests/lib/libstate_crash.a
tests_lib_libstate_crash_a_SOURCES = \
	relayd/identity.c \
	relayd/nodes.c \
	relayd/nodes_check.c \
	relayd/nodes_index.c \
	relayd/nodes_link.c \
	relayd/state.c \
	relayd/state_open.c
tests_lib_libstate_crash_a_CPPFLAGS = $(AM_CPPFLAGS) -DSTATE_CRASH_POINTS

# ---- how they are built -------------------------------------------------------

# A program without a _SOURCES line of its own is made of the one .c file of its name.
AM_DEFAULT_SOURCE_EXT = .c
LDADD = tests/lib/libtest.a relayd/librelayd.a librelay/librelay_core.a $(relayd_libs) $(CRITERION_LIBS)
AM_CPPFLAGS += -I$(top_srcdir)/tests $(CRITERION_CFLAGS)

if ENABLE_FUZZERS
fuzz_ldadd = $(FUZZ_LDFLAGS) relayd/librelayd.a librelay/librelay_core.a $(relayd_libs)
EXTRA_DIST += tests/fuzz/replay_main.c
else
fuzz_ldadd = tests/fuzz/libreplay.a relayd/librelayd.a librelay/librelay_core.a $(relayd_libs)
check_LIBRARIES += tests/fuzz/libreplay.a
tests_fuzz_libreplay_a_SOURCES = tests/fuzz/replay_main.c
endif

check_PROGRAMS += $(integration_programs) $(helper_programs) $(fuzz_tests)
dist_check_SCRIPTS += $(integration_scripts)

if HAVE_CRITERION
check_PROGRAMS += $(unit_tests)
else
# Without Criterion each unit test is a script that says so and is skipped by name.
check_SCRIPTS += $(unit_tests)
$(unit_tests): Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	printf '#!/bin/sh\necho "%s: Criterion was not there at configure time"\nexit 77\n' $@ >$@ && chmod +x $@
endif

# ---- how they are run --------------------------------------------------------

TESTS = $(unit_tests) $(fuzz_tests) $(integration_scripts) $(integration_programs)

# Seconds that one test may take: one that hangs has failed.
TEST_TIMEOUT = 900

TEST_EXTENSIONS = .sh
AM_TESTS_ENVIRONMENT = \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir; \
	top_builddir='$(abs_top_builddir)'; export top_builddir; \
	RELAY_BUILD='$(abs_top_builddir)'; export RELAY_BUILD; \
	RELAY_WAYS_DIR='$(abs_top_builddir)/ways'; export RELAY_WAYS_DIR; \
	TEST_TIMEOUT='$(TEST_TIMEOUT)'; export TEST_TIMEOUT; \
	CC='$(CC)'; export CC; \
	SANITIZE_CFLAGS='$(SANITIZE_CFLAGS)'; export SANITIZE_CFLAGS; \
	PACKAGE_VERSION='$(PACKAGE_VERSION)'; export PACKAGE_VERSION; \
	ASAN_OPTIONS="$${ASAN_OPTIONS-detect_stack_use_after_return=1:verify_asan_link_order=0}"; export ASAN_OPTIONS; \
	LSAN_OPTIONS="$${LSAN_OPTIONS-suppressions=$(abs_top_srcdir)/tests/lsan.supp:print_suppressions=0}"; export LSAN_OPTIONS; \
	UBSAN_OPTIONS="$${UBSAN_OPTIONS-print_stacktrace=1}"; export UBSAN_OPTIONS;
# What failed is read after make has.
.PRECIOUS: $(TEST_SUITE_LOG)
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run-test
SH_LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run-test
EXTRA_DIST += tests/run-test tests/lsan.supp tests/functions.sh tests/README.md tests/fuzz/corpus

# The unit tests again, each process under valgrind.  A process that a test has
# forked holds what Criterion's threads had in the one before, and cannot free it:
# only what is surely lost counts.
check-valgrind: all
	@test '$(have_valgrind)' = yes || { echo 'check-valgrind: valgrind was not there at configure time' >&2; exit 1; }
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests)' \
		TEST_WRAPPER='$(LIBTOOL) --mode=execute valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite --trace-children=yes'
.PHONY: check-valgrind

# The pause over 1,000 kills: a measurement, not a test.
pause: all tests/integration/pause$(EXEEXT)
	@$(AM_TESTS_ENVIRONMENT) tests/integration/pause --kills 1000
.PHONY: pause

# As many upgrades as there are meant to be, and what they cost.
UPGRADES = 100
upgrades: all tests/integration/upgrade$(EXEEXT) $(helper_programs)
	@$(AM_TESTS_ENVIRONMENT) tests/integration/upgrade --upgrades $(UPGRADES)
.PHONY: upgrades

# Deaths of relayd as many as there are meant to be.
RESUME_SECONDS = 60
RESUME_ROUNDS = 4
resume: all relayd/relayd-crash$(EXEEXT) $(helper_programs)
	@$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/integration/resume.sh $(RESUME_SECONDS) $(RESUME_ROUNDS)
.PHONY: resume

# The storm as long as it is meant to be.
STORM_SECONDS = 300
storm: all $(helper_programs)
	@$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/integration/storm.sh --seconds $(STORM_SECONDS)
.PHONY: storm

# Whether relayd grows while backends die, in the lane in which all passes through it.
MEMORY_SECONDS = 3600
MEMORY_LANE = socket
memory: all $(helper_programs)
	@RELAY_TEST_LANE=$(MEMORY_LANE); export RELAY_TEST_LANE; \
	$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/integration/storm.sh --threads 4 --seconds $(MEMORY_SECONDS) \
		--memory '$(abs_top_builddir)/memory.txt'
.PHONY: memory

# Each filesystem of others as long as it is meant to be; COMPAT=all for really all.
COMPAT =
COMPAT_SECONDS = 120
compat: all $(helper_programs)
	@$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/integration/compat.sh --seconds $(COMPAT_SECONDS) $(COMPAT)
.PHONY: compat

# The kill matrix, all of it in each lane.
matrix: all fs/fsserver/fsserver-crash$(EXEEXT) tests/integration/matrix$(EXEEXT)
	@for lane in direct no-resend socket uring; do \
		$(AM_TESTS_ENVIRONMENT) tests/integration/matrix --lane $$lane || exit 1; \
	done
.PHONY: matrix

# The kill matrix of filesystems of others, all of it.
matrix-foreign: all tests/integration/matrix_foreign$(EXEEXT) $(check_LTLIBRARIES)
	@$(AM_TESTS_ENVIRONMENT) tests/integration/matrix_foreign --full
.PHONY: matrix-foreign

# Against plain libfuse; make bench BENCH=--help says what it can do.
helper_programs += tests/bench/load
tests_bench_load_SOURCES = \
	tests/bench/load.c \
	tests/bench/load.h \
	tests/bench/load_data.c \
	tests/bench/load_meta.c \
	tests/bench/load_pause.c \
	tests/bench/load_prepare.c \
	tests/bench/load_untar.c
tests_bench_load_LDADD =
EXTRA_DIST += tests/bench/README.md tests/bench/bench tests/bench/chart.awk tests/bench/columns.sh tests/bench/table.awk
BENCH =
bench: all tests/bench/load$(EXEEXT) tests/lib/uring_hold$(EXEEXT)
	@$(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/bench/bench $(BENCH)
.PHONY: bench

# Many nodes and open files behind a filesystem of others.
scale: all tests/integration/scale$(EXEEXT)
	@$(AM_TESTS_ENVIRONMENT) tests/integration/scale --nodes 200000 --files 1000
.PHONY: scale

# On kernels of Debian's, in an emulated machine: each of guest_tests on each, or
# make guest GUEST='--kernel 6.1 TEST…'.
guest_kernels = 6.1 6.12
guest_tests = \
	tests/unit/test_backing \
	tests/unit/test_backing_table \
	tests/unit/test_direct \
	tests/unit/test_direct_crash \
	tests/unit/test_fusermount \
	tests/unit/test_readers \
	tests/unit/test_relay_mount \
	tests/integration/answers \
	tests/integration/attach.sh \
	tests/integration/badinput \
	tests/integration/daemon.sh \
	tests/integration/ending.sh \
	tests/integration/limits.sh \
	tests/integration/matrix \
	tests/integration/passthrough \
	tests/integration/pause \
	tests/integration/semantics \
	tests/integration/storm.sh \
	tests/integration/supervision \
	tests/integration/user.sh
GUEST =
guest: all $(check_LTLIBRARIES) $(check_PROGRAMS) $(check_SCRIPTS)
	@$(AM_TESTS_ENVIRONMENT) run='$(top_srcdir)/tests/guest/run'; \
	$(if $(GUEST),bash "$$run" $(GUEST),status=0; for kernel in $(guest_kernels); do \
		bash "$$run" --kernel $$kernel $(guest_tests) || status=1; \
	done; exit $$status)

# Answers by the kernel while names come and go, for long, on 4 preemptible processors.
bpf_guest = $(AM_TESTS_ENVIRONMENT) bash $(top_srcdir)/tests/backends/build passthrough && \
	bash $(top_srcdir)/tests/guest/run --memory 1G
RACE_SECONDS = 600
RACE_KERNEL = 6.12
race-bpf: all $(check_LTLIBRARIES) $(check_PROGRAMS)
	@RELAY_RACE_SECONDS=$(RACE_SECONDS); export RELAY_RACE_SECONDS; \
	RELAY_RACE_PARTS='$(RACE_PARTS)'; export RELAY_RACE_PARTS; $(bpf_guest) --kernel $(RACE_KERNEL) --cpus 4 --threads safe \
		--append 'lsm=capability,bpf preempt=full' tests/bpf/race.sh
# What it saves and costs that the kernel answers: figures of a machine that is emulated.
GAIN_KERNEL = 6.12
GAIN_ROUNDS = 3
GAIN_PARTS = looks work
GAIN_CLOCK = real
GAIN_LSM = capability,bpf
bench-bpf: all $(check_LTLIBRARIES) $(check_PROGRAMS) $(check_DATA)
	@RELAY_GAIN_ROUNDS=$(GAIN_ROUNDS); export RELAY_GAIN_ROUNDS; RELAY_GAIN_PARTS='$(GAIN_PARTS)'; export RELAY_GAIN_PARTS; \
	GUEST_PACKAGES='gcc python3'; export GUEST_PACKAGES; \
	$(bpf_guest) --kernel $(GAIN_KERNEL) --cpus 1 --clock $(GAIN_CLOCK) --append lsm=$(GAIN_LSM) tests/bpf/gain.sh
.PHONY: bench-bpf race-bpf
EXTRA_DIST += tests/bpf/gain.sh tests/bpf/mounts.sh tests/bpf/race.sh
EXTRA_DIST += tests/guest/disk tests/guest/init tests/guest/inside tests/guest/kernel tests/guest/run
.PHONY: guest

# Seconds for each fuzz target.
FUZZ_SECONDS = 60
if ENABLE_FUZZERS
fuzz_runs = $(addsuffix .run,$(fuzz_tests))
fuzz: $(fuzz_runs)
$(fuzz_runs): %.run: %
	@corpus=$(subst fuzz_,,$(*F)); \
	$(MKDIR_P) tests/fuzz/found/$$corpus || exit 1; \
	echo "$*: $(FUZZ_SECONDS) s"; \
	./$* -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -artifact_prefix=tests/fuzz/found/$$corpus- \
		tests/fuzz/found/$$corpus '$(srcdir)'/tests/fuzz/corpus/$$corpus
.PHONY: $(fuzz_runs)
else
fuzz:
	@echo 'make fuzz: configure with --enable-fuzzers CC=clang first' >&2; exit 1
endif
.PHONY: fuzz
clean-local:
	rm -rf tests/fuzz/found tests/backends/peers bench-results memory.txt guest
