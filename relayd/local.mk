# Everything of relayd but main.c is a library, which the tests link too.

noinst_LTLIBRARIES += relayd/librelayd.la
relayd_librelayd_la_SOURCES = \
	relayd/daemon.h \
	relayd/dispatch.h \
	relayd/journal.c \
	relayd/journal.h \
	relayd/keep.c \
	relayd/keep.h \
	relayd/log.c \
	relayd/log.h \
	relayd/loop.c \
	relayd/loop.h \
	relayd/mount.h \
	relayd/mountopts.c \
	relayd/mountopts.h \
	relayd/notify.c \
	relayd/notify.h \
	relayd/session.c \
	relayd/session.h \
	relayd/session_init.c \
	relayd/stats.c \
	relayd/stats.h \
	relayd/supervisor.h
relayd_librelayd_la_LIBADD = $(EV_LIBS) $(JANSSON_LIBS)
