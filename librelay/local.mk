# librelay_core is what relayd, the backends and the tests link; librelay is the
# same code as the shared library that others link, with relay_* exported only.

librelay_sources = \
	librelay/fdpass.c \
	librelay/fdpass.h \
	librelay/journal_map.c \
	librelay/opcodes.c

relayincludedir = $(includedir)/relay
relayinclude_HEADERS = \
	librelay/relay/fuse_abi.h \
	librelay/relay/relay.h
noinst_HEADERS += \
	librelay/relay/opcodes.h \
	librelay/relay/wire.h

noinst_LTLIBRARIES += librelay/librelay_core.la
librelay_librelay_core_la_SOURCES = $(librelay_sources)

lib_LTLIBRARIES += librelay/librelay.la
librelay_librelay_la_SOURCES =
librelay_librelay_la_LIBADD = librelay/librelay_core.la
librelay_librelay_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(top_srcdir)/librelay/librelay.map
EXTRA_librelay_librelay_la_DEPENDENCIES = librelay/librelay.map
EXTRA_DIST += librelay/librelay.map

# The same code with the named points at which the kill matrix ends the process.
check_LTLIBRARIES += librelay/librelay_crash.la
librelay_librelay_crash_la_SOURCES = $(librelay_sources)
librelay_librelay_crash_la_CPPFLAGS = $(AM_CPPFLAGS) -DRELAY_CRASH_POINTS

pkgconfig_DATA = librelay/relay.pc
