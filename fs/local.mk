# One folder per backend.

# fsserver: everything but main.c is a library, which the tests link too.

noinst_LIBRARIES += fs/libfsserver.a
fs_libfsserver_a_SOURCES = \
	fs/fsserver/attr.c \
	fs/fsserver/creds.c \
	fs/fsserver/dir_reader.c \
	fs/fsserver/entry.c \
	fs/fsserver/fdcache.c \
	fs/fsserver/fdcache.h \
	fs/fsserver/files.c \
	fs/fsserver/fs.h \
	fs/fsserver/handles.c \
	fs/fsserver/handles.h \
	fs/fsserver/locks.c \
	fs/fsserver/locks.h \
	fs/fsserver/locks_store.c \
	fs/fsserver/locks_wait.c \
	fs/fsserver/mounts.c \
	fs/fsserver/nodes.c \
	fs/fsserver/nodes.h \
	fs/fsserver/ops_attr.c \
	fs/fsserver/ops_create.c \
	fs/fsserver/ops_dir.c \
	fs/fsserver/ops_file.c \
	fs/fsserver/ops_ioctl.c \
	fs/fsserver/ops_lock.c \
	fs/fsserver/ops_lookup.c \
	fs/fsserver/ops_remove.c \
	fs/fsserver/ops_rename.c \
	fs/fsserver/ops_space.c \
	fs/fsserver/ops_xattr.c \
	fs/fsserver/passthrough.c \
	fs/fsserver/pin.c \
	fs/fsserver/resolve.c \
	fs/fsserver/serve.c \
	fs/fsserver/tables.c \
	fs/fsserver/tables.h

bin_PROGRAMS += fs/fsserver/fsserver
fs_fsserver_fsserver_SOURCES = fs/fsserver/main.c
fs_fsserver_fsserver_LDADD = fs/libfsserver.a librelay/librelay_core.a

# The same, ending where the kill matrix wants it to.
check_PROGRAMS += fs/fsserver/fsserver-crash
fs_fsserver_fsserver_crash_SOURCES = fs/fsserver/main.c
fs_fsserver_fsserver_crash_LDADD = fs/libfsserver.a librelay/librelay_crash.a
