/*
 * Files that the kernel reads and writes by itself, without asking us (FUSE passthrough).
 *
 * An inode is in that mode, or is not, from its first open to its last RELEASE: the kernel
 * answers EIO to an open that differs from those there are.  So the choice is made by who
 * finds the node not open, and stands in the node from the transaction that makes the
 * first handle to the one that ends the last.  The kernel leaves the mode before it
 * sends a RELEASE, so what the node says is never later than what the kernel does.
 *
 * A process dying between the registration and that transaction leaves one that is in no node;
 * so does one dying between the end of the last handle and the giving back: the next
 * incarnation gives back what no open node has.  The opposite, a node with a registration that
 * is gone, cannot be: it is made before, and given back after.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "fs.h"

/* Filesystems upon others: the kernel registers no files of those (ELOOP). */
#define OVERLAY_MAGIC 0x794c7630
#define ECRYPT_MAGIC 0xf15f

#define MINOR_LEAST 40u

/* What is read or written by fewer requests than these is not worth asking relayd. */
#define WORTH_ASKING (4u * 65536u)

/* What is in the way, or NULL. */
static const char *passthrough_lacks(const struct fs *fs, const struct fuse_init_in *in)
{
	struct statfs st;

	if (in->minor < MINOR_LEAST)
		return "the kernel is older than 6.9";
	if (!(in->flags2 & FUSE_PASSTHROUGH >> 32))
		return "relayd may not register files for this mount (it takes a mount of root's and CAP_SYS_ADMIN), "
		       "or the kernel was built without it";
	if (fstatfs(fs->root, &st) == 0 && (st.f_type == OVERLAY_MAGIC || st.f_type == ECRYPT_MAGIC))
		return "the source is on a filesystem that is stacked upon another";
	return NULL;
}

int passthrough_init(struct fs *fs, const struct fuse_init_in *in)
{
	const char *lacks = fs->passthrough_wanted == PASSTHROUGH_OFF ? NULL : passthrough_lacks(fs, in);

	fs->passthrough = fs->passthrough_wanted != PASSTHROUGH_OFF && !lacks;
	if (lacks && fs->passthrough_wanted == PASSTHROUGH_ON) {
		fs_warn("--passthrough=on: %s", lacks);
		return -EOPNOTSUPP;
	}
	if (lacks && relay_session_incarnation(fs->session) == 1)
		fs_warn("no passthrough: %s; files are read and written through this process", lacks);
	return 0;
}

/* ---- what earlier incarnations left ------------------------------------ */

struct left {
	uint64_t *backings; /* sorted */
	size_t count;
	size_t room;
	int err;
};

static void left_add(uint64_t backing, void *arg)
{
	struct left *left = arg;
	uint64_t *more;

	if (left->count == left->room) {
		left->room = left->room ? 2 * left->room : 64;
		more = reallocarray(left->backings, left->room, sizeof(*more));
		if (!more)
			left->err = -ENOMEM;
		else
			left->backings = more;
	}
	if (!left->err)
		left->backings[left->count++] = backing;
}

static int left_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Marks those that open nodes have. */
static void left_mark(const struct fs *fs, const struct left *left, bool *used)
{
	for (uint64_t i = 1; i < fs->tables.header->handle_bump; i++) {
		const struct handle *handle = &fs->tables.handles[i];
		const struct node *node = handle->live ? node_get(&fs->tables, handle->nodeid) : NULL;
		const uint64_t *found = NULL;

		if (node && node->backing)
			found = bsearch(&node->backing, left->backings, left->count, sizeof(*found), left_compare);
		if (found)
			used[found - left->backings] = true;
	}
}

int passthrough_restore(struct fs *fs)
{
	struct left left = {.backings = NULL};
	bool *used = NULL;

	relay_backings(fs->session, left_add, &left);
	if (!left.err && left.count > 0) {
		used = calloc(left.count, sizeof(*used));
		left.err = used ? 0 : -ENOMEM;
	}
	if (!left.err && left.count > 0) {
		qsort(left.backings, left.count, sizeof(*left.backings), left_compare);
		left_mark(fs, &left, used);
		for (size_t i = 0; i < left.count; i++)
			if (!used[i])
				relay_unback(fs->session, left.backings[i]);
	}
	free(used);
	free(left.backings);
	return left.err;
}

/* ---- OPEN, CREATE, RELEASE --------------------------------------------- */

/* Each reason is told once. */
static void refused(int err)
{
	static _Atomic uint64_t told;
	uint64_t bit = 1ULL << (-err & 63);

	if (err != -ECONNRESET && !(atomic_fetch_or(&told, bit) & bit))
		fs_warn("no passthrough for a file: %s; it is read and written through this process", strerror(-err));
}

/* One that is being created may well be small, and is closed soon if it is. */
static bool is_worth_it(const struct fs *fs, int fd)
{
	struct statx stx;

	if (fs->passthrough_wanted == PASSTHROUGH_ON || !relay_back_asks(fs->session))
		return true;
	return attr_get(fd, "", &stx) == 0 && stx.stx_size >= WORTH_ASKING;
}

void passthrough_prepare(struct fs *fs, struct passthrough *choice, uint64_t nodeid, int path_fd, int fd)
{
	const struct node *node;
	bool open = false;
	int err = -EBADF;

	*choice = (struct passthrough){.fs = fs, .tried = true};
	if (!fs->passthrough)
		return;
	if (nodeid) {
		relay_state_lock(fs->session);
		node = node_get(&fs->tables, nodeid);
		open = node && node->opens > 0;
		relay_state_unlock(fs->session);
	}
	choice->tried = !open;
	if (open || !is_worth_it(fs, fd))
		return;
	creds_own(fs);
	/* One that is open for writing would keep the file from being executed for as long as it is registered. */
	if (path_fd >= 0)
		err = relay_back(fs->session, path_fd, &choice->backing);
	if (err == -EBADF)
		err = relay_back(fs->session, fd, &choice->backing);
	if (err) {
		choice->backing = 0;
		refused(err);
	}
}

int passthrough_open(struct passthrough *choice, struct txn *txn, uint64_t nodeid, struct fuse_open_out *out)
{
	struct node *node = node_get(&choice->fs->tables, nodeid);
	int err;

	if (!node)
		return -ESTALE;
	/* Who came first has chosen: it may have been somebody else since passthrough_prepare(). */
	if (node->opens == 0) {
		if (!choice->tried)
			return -EAGAIN;
		err = txn_set(txn, &node->backing, choice->backing);
		if (err)
			return err;
		choice->taken = true;
	}
	if (node->backing) {
		out->open_flags |= FOPEN_PASSTHROUGH;
		out->RELAY_BACKING_ID = (typeof(out->RELAY_BACKING_ID))relay_backing_id(node->backing);
	}
	return 0;
}

void passthrough_end(struct passthrough *choice, bool answered)
{
	if (choice->backing && !(answered && choice->taken))
		relay_unback(choice->fs->session, choice->backing);
	choice->backing = 0;
}

int passthrough_release(struct fs *fs, struct txn *txn, uint64_t fh, uint64_t *backing)
{
	const struct handle *handle = handle_get(&fs->tables, fh);
	struct node *node = handle ? node_get(&fs->tables, handle->nodeid) : NULL;

	*backing = 0;
	if (!node || node->opens != 1 || !node->backing)
		return 0;
	*backing = node->backing;
	return txn_set(txn, &node->backing, 0);
}
