# librelay_core is what relayd, the backends and the tests link; librelay is the
# same code as the shared library that others link, with relay_* exported only.

librelay_sources = \
	librelay/absence.c \
	librelay/absence.h \
	librelay/absence_kinds.c \
	librelay/absence_list.c \
	librelay/absence_maps.c \
	librelay/absence_maps.h \
	librelay/absence_names.c \
	librelay/absence_nodes.c \
	librelay/absence_notify.c \
	librelay/absence_parts.h \
	librelay/absence_said.c \
	librelay/absences.c \
	librelay/attach.h \
	librelay/backing.c \
	librelay/backing_table.c \
	librelay/cache_maps.c \
	librelay/cache_maps.h \
	librelay/cache_options.c \
	librelay/cache_options.h \
	librelay/channel.c \
	librelay/counts.c \
	librelay/counts.h \
	librelay/crash.h \
	librelay/crowd.c \
	librelay/ctl_client.c \
	librelay/ctl_client.h \
	librelay/ctl_frame.c \
	librelay/ctl_frame.h \
	librelay/device.c \
	librelay/direct.c \
	librelay/fdpass.c \
	librelay/fdpass.h \
	librelay/given.c \
	librelay/handshake.c \
	librelay/internal.h \
	librelay/journal_map.c \
	librelay/keep.c \
	librelay/mount.c \
	librelay/mount_choices.c \
	librelay/mount_choices.h \
	librelay/notify.c \
	librelay/opcodes.c \
	librelay/opened.c \
	librelay/opened.h \
	librelay/pairing.c \
	librelay/readers.c \
	librelay/reply.c \
	librelay/request.c \
	librelay/rings.c \
	librelay/rings_serve.c \
	librelay/serve.c \
	librelay/serve_forget.c \
	librelay/serve_request.c \
	librelay/slots.c \
	librelay/slots.h \
	librelay/state.c

relayincludedir = $(includedir)/relay
relayinclude_HEADERS = \
	librelay/relay/fuse_abi.h \
	librelay/relay/relay.h
noinst_HEADERS += \
	librelay/relay/ctl_wire.h \
	librelay/relay/opcodes.h \
	librelay/relay/rings.h \
	librelay/relay/wire.h

noinst_LIBRARIES += librelay/librelay_core.a
librelay_librelay_core_a_SOURCES = $(librelay_sources)

lib_LTLIBRARIES += librelay/librelay.la
librelay_librelay_la_SOURCES = $(librelay_sources)
# Its objects have names of their own by this.
librelay_librelay_la_CPPFLAGS = $(AM_CPPFLAGS)
librelay_librelay_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(top_srcdir)/librelay/librelay.map
EXTRA_librelay_librelay_la_DEPENDENCIES = librelay/librelay.map
EXTRA_DIST += librelay/librelay.map

# The same code with the named points at which the kill matrix ends the process.
check_LIBRARIES += librelay/librelay_crash.a
librelay_librelay_crash_a_SOURCES = $(librelay_sources) librelay/crash.c
librelay_librelay_crash_a_CPPFLAGS = $(AM_CPPFLAGS) -DRELAY_CRASH_POINTS

pkgconfig_DATA = librelay/relay.pc
