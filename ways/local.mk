# The ways in for programs that know nothing of relayd, and what runs them.

# The preload library is loaded into programs of any kind: it is as small as can be,
# and has no sanitizer, which would have to come first there.
pkglib_LTLIBRARIES = ways/librelay-preload.la
ways_librelay_preload_la_SOURCES = \
	librelay/attach.h \
	librelay/ctl_client.c \
	librelay/ctl_client.h \
	librelay/ctl_frame.c \
	librelay/ctl_frame.h \
	librelay/fdpass.c \
	librelay/fdpass.h \
	librelay/mount.c \
	librelay/opened.c \
	librelay/opened.h \
	ways/preload.h \
	ways/preload_exec.c \
	ways/preload_io.c \
	ways/preload_mount.c \
	ways/preload_open.c \
	ways/preload_real.c
ways_librelay_preload_la_CPPFLAGS = $(AM_CPPFLAGS) -U_FORTIFY_SOURCE
ways_librelay_preload_la_CFLAGS = -std=gnu11 -pthread $(WARN_CFLAGS) -fvisibility=hidden -fno-sanitize=all \
	-fno-delete-null-pointer-checks
ways_librelay_preload_la_LDFLAGS = -pthread -Wl,--as-needed -module -avoid-version -shared -no-undefined \
	-Wl,--version-script=$(top_srcdir)/ways/preload.map
ways_librelay_preload_la_LIBADD = -ldl
EXTRA_ways_librelay_preload_la_DEPENDENCIES = ways/preload.map
EXTRA_DIST += ways/preload.map

# The stand-in, by both names.
pkglibexec_PROGRAMS = ways/fusermount3
ways_fusermount3_SOURCES = \
	ways/fusermount.c \
	ways/fusermount.h \
	ways/fusermount_environment.c \
	ways/fusermount_mount.c \
	ways/fusermount_unmount.c
ways_fusermount3_LDADD = librelay/librelay_core.a

# Beside the ways in, where relayd looks for what it starts: the keeper of a mount's rings.
noinst_HEADERS += uring/keeper.h
if HAVE_URING_HEADERS
pkglibexec_PROGRAMS += ways/relayd-uring
ways_relayd_uring_SOURCES = uring/commands.h uring/keeper.c uring/keeper.h uring/pump.c uring/pump.h uring/ring.c \
	uring/ring.h relayd/rights.c relayd/rights.h
ways_relayd_uring_LDADD = librelay/librelay_core.a
endif

bin_PROGRAMS += ways/relay-run
ways_relay_run_SOURCES = ways/relay_run.c
ways_relay_run_LDADD = librelay/librelay_core.a

noinst_LIBRARIES += ways/libmount_relay.a
ways_libmount_relay_a_SOURCES = ways/mount_relay.h ways/mount_relay_options.c

sbin_PROGRAMS = ways/mount.relay
ways_mount_relay_SOURCES = ways/mount_relay.c
ways_mount_relay_LDADD = ways/libmount_relay.a

# Names that are links, in the build tree as they are installed: it is $RELAY_WAYS_DIR.
ways_links = ways/fusermount ways/mount.fuse.relay ways/librelay-preload.so
noinst_DATA = $(ways_links)
CLEANFILES += $(ways_links)
ways/fusermount: ways/fusermount3$(EXEEXT)
	$(AM_V_GEN)rm -f $@ && $(LN_S) fusermount3$(EXEEXT) $@
ways/mount.fuse.relay: ways/mount.relay$(EXEEXT)
	$(AM_V_GEN)rm -f $@ && $(LN_S) mount.relay$(EXEEXT) $@
ways/librelay-preload.so: ways/librelay-preload.la
	$(AM_V_GEN)rm -f $@ && $(LN_S) .libs/librelay-preload.so $@

ways-install-links:
	cd '$(DESTDIR)$(pkglibexecdir)' && rm -f fusermount && $(LN_S) fusermount3 fusermount
	cd '$(DESTDIR)$(sbindir)' && rm -f mount.fuse.relay && $(LN_S) mount.relay mount.fuse.relay
install-exec-hook: ways-install-links
uninstall-hook:
	rm -f '$(DESTDIR)$(pkglibexecdir)/fusermount' '$(DESTDIR)$(sbindir)/mount.fuse.relay'
.PHONY: ways-install-links
