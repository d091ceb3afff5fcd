/*
 * The filesystem as a whole: opening the source, and init(), which takes up what
 * earlier incarnations left.  Applications wait meanwhile, so nothing is done here
 * that could be done when it is first needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"
#include "locks.h"

#define FDCACHE_IDLE 1024u

#define WANTED                                                                                                         \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_POSIX_LOCKS |            \
	 FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |  \
	 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_POSIX_ACL | FUSE_CACHE_SYMLINKS |      \
	 FUSE_MAX_PAGES | FUSE_SETXATTR_EXT | FUSE_INIT_EXT)

void fs_warn(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	fprintf(stderr, "fsserver: %s\n", line);
}

int fs_open(struct fs *fs, const char *source)
{
	int err;

	fs->source = source;
	pthread_mutex_init(&fs->mounts_lock, NULL);
	fdcache_init(&fs->cache, FDCACHE_IDLE);
	fs->root = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fs->root_dir = fs->root < 0 ? -1 : openat(fs->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs->root_dir < 0) {
		err = -errno;
		fs_warn("--source %s: %s", source, strerror(errno));
		return err;
	}
	if (access("/proc/self/fd", X_OK) < 0) {
		err = -errno;
		fs_warn("/proc is needed: %s", strerror(errno));
		return err;
	}
	creds_init(fs);
	return 0;
}

/* Whether nodes can be found by file handle; the source's own mount is entered for it. */
static void handles_probe(struct fs *fs)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + FILE_HANDLE_MAX];
	} found;
	int mount_id, fd;

	found.handle.handle_bytes = FILE_HANDLE_MAX;
	if (!fs->by_handle)
		return;
	fs->by_handle = false;
	if (name_to_handle_at(fs->root, "", &found.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return;
	fd = open_by_handle_at(fs->root_dir, &found.handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return;
	close(fd);
	fs->by_handle = mounts_add(fs, mount_id, fs->root_dir) == 0;
}

/* Node 1 is made, or is found to be what the source still is. */
static int root_restore(struct fs *fs)
{
	struct node_source source = {.handle_size = 0};
	const struct node *root;
	struct statx stx;
	int err;

	err = attr_get(fs->root, "", &stx);
	if (err)
		return err;
	source.ident = attr_ident(&stx);
	fs->root_dev = source.ident.dev;
	if (tables_fresh(&fs->tables)) {
		node_init_root(&fs->tables, &source);
		tables_ready(&fs->tables);
	}
	root = node_get(&fs->tables, NODE_ROOT);
	if (!root || !ident_same(&root->ident, &source.ident)) {
		fs_warn("--source %s is another directory than before", fs->source);
		return -ESTALE;
	}
	return 0;
}

static int fs_init(struct relay_session *session, const struct fuse_init_in *in, struct fuse_init_out *out)
{
	uint64_t wanted = WANTED | FUSE_DIRECT_IO_ALLOW_MMAP, offered;
	struct fs *fs = relay_session_userdata(session);
	void *memory;
	int err;

	fs->session = session;
	memory = relay_state(session, tables_size());
	if (!memory) {
		err = -errno;
		fs_warn("the state: %s", strerror(errno));
		return err;
	}
	err = tables_map(&fs->tables, memory);
	if (err) {
		fs_warn("the state is another version's");
		return err;
	}
	handles_probe(fs);
	err = root_restore(fs);
	if (err)
		return err;
	pin_restore(fs);
	err = passthrough_restore(fs);
	if (!err)
		err = locks_restore(fs);
	if (!err)
		err = passthrough_init(fs, in);
	if (err)
		return err;

	if (fs->own_umask)
		wanted |= FUSE_DONT_MASK;
	if (fs->passthrough)
		wanted |= FUSE_PASSTHROUGH;
	offered = in->flags | (in->flags & FUSE_INIT_EXT ? (uint64_t)in->flags2 << 32 : 0);
	out->flags = (uint32_t)(wanted & offered);
	out->flags2 = (uint32_t)((wanted & offered) >> 32);
	out->max_readahead = in->max_readahead;
	out->time_gran = 1;
	/* Serials are never used again, and what the store lists is all there is (tables.h). */
	relay_known_keep(session);
	fs->setxattr_ext = (out->flags & FUSE_SETXATTR_EXT) != 0;
	return 0;
}

const struct relay_ops fs_ops = {
	.init = fs_init,
	.thread_start = creds_thread_start,
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.symlink = op_symlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.statfs = op_statfs,
	.release = op_release,
	.fsync = op_fsync,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.flush = op_flush,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsync,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.setlkw = op_setlkw,
	.access = op_access,
	.create = op_create,
	.interrupt = op_interrupt,
	.ioctl = op_ioctl,
	.fallocate = op_fallocate,
	.readdirplus = op_readdirplus,
	.rename2 = op_rename2,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.copy_file_range_64 = op_copy_file_range_64,
	.syncfs = op_syncfs,
	.tmpfile = op_tmpfile,
	.statx = op_statx,
};
