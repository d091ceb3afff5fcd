/*
 * One function for each opcode that relayd sends of its own or redoes.  What is the same
 * for all (rights of directories, times) is left out.
 */
#include "lib/fake_store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "relay/opcodes.h"
#include "relay/wire.h"

#define ID_STEP 100000u

/* A request while it is served. */
struct call {
	struct store *store;
	const struct fuse_in_header *header;
	struct relay_args args;
	uint32_t inode; /* of the header */
	void *out;
	uint32_t *out_size;
};

void store_init(struct store *store)
{
	memset(store, 0, sizeof(*store));
	store->incarnation = 1;
	store->clock = 1000;
	store->inodes[STORE_ROOT] = (struct store_inode){.used = true, .mode = S_IFDIR | 0755, .nlink = 2};
}

void store_restart(struct store *store)
{
	store->incarnation++;
	memset(store->counts, 0, sizeof(store->counts));
	memset(store->files, 0, sizeof(store->files));
	memset(store->locks, 0, sizeof(store->locks));
	memset(store->by_opcode, 0, sizeof(store->by_opcode));
	store->dead = false;
	store->die_at = 0;
	store->asked = 0;
}

/* ---- ids ----------------------------------------------------------------- */

/* Numbers of ids: of an inode, or behind those of a name. */
uint64_t store_id(const struct store *store, uint32_t inode, uint32_t name)
{
	if (inode == STORE_ROOT)
		return FUSE_ROOT_ID;
	return (uint64_t)store->incarnation * ID_STEP + (store->paths && name ? 2 * STORE_INODES + name : inode);
}

static uint32_t id_number(const struct store *store, uint64_t id)
{
	uint64_t number = id - (uint64_t)store->incarnation * ID_STEP;

	if (id == FUSE_ROOT_ID)
		return STORE_ROOT;
	return number < sizeof(store->counts) / sizeof(store->counts[0]) ? (uint32_t)number : 0;
}

uint32_t store_inode_of(const struct store *store, uint64_t id)
{
	uint32_t number = id_number(store, id);

	if (number >= 2 * STORE_INODES)
		return store->names[number - 2 * STORE_INODES].inode;
	return number < STORE_INODES && store->inodes[number].used ? number : 0;
}

/* ---- names --------------------------------------------------------------- */

static uint32_t name_find(const struct store *store, uint32_t parent, const char *name)
{
	for (uint32_t i = 1; i < STORE_NAMES; i++)
		if (store->names[i].used && store->names[i].parent == parent && !strcmp(store->names[i].name, name))
			return i;
	return 0;
}

uint32_t store_lookup(const struct store *store, uint32_t parent, const char *name)
{
	return store->names[name_find(store, parent, name)].inode;
}

uint32_t store_path(const struct store *store, const char *path)
{
	char copy[512];
	uint32_t inode = STORE_ROOT;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *part = strtok(copy, "/"); part && inode; part = strtok(NULL, "/"))
		inode = store_lookup(store, inode, part);
	return inode;
}

static uint32_t name_new(struct store *store, uint32_t parent, const char *name, uint32_t inode)
{
	for (uint32_t i = 1; i < STORE_NAMES; i++)
		if (!store->names[i].used) {
			store->names[i] = (struct store_name){.used = true, .parent = parent, .inode = inode};
			snprintf(store->names[i].name, sizeof(store->names[i].name), "%s", name);
			return i;
		}
	abort();
}

static void name_free(struct store *store, uint32_t number)
{
	uint32_t inode = store->names[number].inode;

	memset(&store->names[number], 0, sizeof(store->names[number]));
	if (S_ISDIR(store->inodes[inode].mode) || --store->inodes[inode].nlink == 0)
		store->inodes[inode].used = false;
}

uint32_t store_make(struct store *store, uint32_t parent, const char *name, uint32_t mode, uint32_t uid, uint32_t gid)
{
	if (name_find(store, parent, name))
		return 0;
	/* Numbers are not used twice: a test that wants that sets it up. */
	for (uint32_t i = STORE_ROOT + 1; i < STORE_INODES; i++)
		if (!store->inodes[i].used && store->inodes[i].mode == 0) {
			store->inodes[i] = (struct store_inode){.used = true, .mode = mode, .uid = uid, .gid = gid};
			store->inodes[i].nlink = S_ISDIR(mode) ? 2 : 1;
			store->inodes[i].mtime = store->clock++;
			name_new(store, parent, name, i);
			return i;
		}
	abort();
}

/* ---- replies ------------------------------------------------------------- */

static struct fuse_attr attr_of(const struct store *store, uint32_t number, uint64_t id)
{
	const struct store_inode *inode = &store->inodes[number];
	struct fuse_attr attr = {.mode = inode->mode,
				 .uid = inode->uid,
				 .gid = inode->gid,
				 .nlink = inode->nlink,
				 .size = inode->size,
				 .rdev = inode->rdev,
				 .mtime = inode->mtime};

	switch (store->numbers) {
	case STORE_NUMBERS_TRUE:
		attr.ino = 7000 + number;
		break;
	case STORE_NUMBERS_ZERO:
		break;
	case STORE_NUMBERS_NODEID:
		attr.ino = id;
		break;
	case STORE_NUMBERS_CHANGING:
		attr.ino = 7000 + 13 * store->incarnation + number;
		break;
	}
	return attr;
}

static int reply_attr(struct call *call)
{
	struct fuse_attr_out *out = call->out;

	*out = (struct fuse_attr_out){.attr = attr_of(call->store, call->inode, call->header->nodeid)};
	*call->out_size = sizeof(*out);
	return 0;
}

static int reply_entry(struct call *call, uint32_t name)
{
	struct store *store = call->store;
	struct fuse_entry_out *out = call->out;
	uint32_t inode = store->names[name].inode;

	*out = (struct fuse_entry_out){.nodeid = store_id(store, inode, name), .generation = 1};
	out->attr = attr_of(store, inode, out->nodeid);
	store->counts[id_number(store, out->nodeid)]++;
	*call->out_size = sizeof(*out);
	return 0;
}

static int reply_open(struct call *call, struct fuse_open_out *out, uint32_t inode, uint32_t flags, bool dir)
{
	struct store *store = call->store;

	for (uint32_t i = 1; i < STORE_FILES; i++)
		if (!store->files[i].used) {
			store->files[i] = (struct store_file){true, dir, inode, flags};
			*out = (struct fuse_open_out){.fh = (uint64_t)store->incarnation * 1000 + i};
			return 0;
		}
	return ENFILE;
}

static struct store_file *file_of(struct store *store, uint64_t fh)
{
	uint64_t i = fh - (uint64_t)store->incarnation * 1000;

	return i < STORE_FILES && store->files[i].used ? &store->files[i] : NULL;
}

uint32_t store_count_files(const struct store *store)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < STORE_FILES; i++)
		count += store->files[i].used;
	return count;
}

uint32_t store_count_locks(const struct store *store, uint32_t inode)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < STORE_LOCKS; i++)
		count += store->locks[i].used && store->locks[i].inode == inode;
	return count;
}

/* ---- opcodes ------------------------------------------------------------- */

static int do_lookup(struct call *call)
{
	uint32_t name = name_find(call->store, call->inode, call->args.name);

	return name ? reply_entry(call, name) : ENOENT;
}

static int is_there(const struct store *store)
{
	return store->vague ? EPERM : EEXIST;
}

static int make(struct call *call, uint32_t mode, uint32_t rdev, uint32_t *inode)
{
	struct store *store = call->store;
	uint32_t uid = store->owner_backend ? geteuid() : call->header->uid;
	uint32_t gid = store->owner_backend ? getegid() : call->header->gid;

	*inode = store_make(store, call->inode, call->args.name, mode, uid, gid);
	if (!*inode)
		return is_there(store);
	store->inodes[*inode].rdev = rdev;
	return reply_entry(call, name_find(store, call->inode, call->args.name));
}

static int do_mkdir(struct call *call)
{
	const struct fuse_mkdir_in *in = call->args.in;
	uint32_t inode;

	return make(call, S_IFDIR | in->mode, 0, &inode);
}

static int do_mknod(struct call *call)
{
	const struct fuse_mknod_in *in = call->args.in;
	uint32_t inode;

	return make(call, in->mode, in->rdev, &inode);
}

static int do_symlink(struct call *call)
{
	uint32_t inode;
	int err = make(call, S_IFLNK | 0777, 0, &inode);

	if (!err)
		snprintf(call->store->inodes[inode].target, sizeof(call->store->inodes[inode].target), "%s",
			 call->args.name2);
	return err;
}

static int do_link(struct call *call)
{
	const struct fuse_link_in *in = call->args.in;
	uint32_t inode = store_inode_of(call->store, in->oldnodeid);

	if (!inode)
		return ENOENT;
	if (name_find(call->store, call->inode, call->args.name))
		return is_there(call->store);
	call->store->inodes[inode].nlink++;
	return reply_entry(call, name_new(call->store, call->inode, call->args.name, inode));
}

/* The caller's right to open it so. */
static bool open_denied(const struct call *call, uint32_t number, uint32_t flags)
{
	const struct store_inode *inode = &call->store->inodes[number];
	uint32_t access = flags & O_ACCMODE;
	uint32_t wants = access == O_RDONLY ? 4 : access == O_WRONLY ? 2 : 6;
	uint32_t shift = call->header->uid == inode->uid ? 6 : call->header->gid == inode->gid ? 3 : 0;

	if (!call->store->checks_modes || (call->header->uid == 0 && !call->store->nobody_is_root))
		return false;
	return (inode->mode >> shift & wants) != wants;
}

static int do_create(struct call *call)
{
	const struct fuse_create_in *in = call->args.in;
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} *out = call->out;
	uint32_t name = name_find(call->store, call->inode, call->args.name);
	uint32_t inode = call->store->names[name].inode;
	int err;

	if (name && in->flags & O_EXCL)
		return EEXIST;
	if (name && open_denied(call, inode, in->flags))
		return EACCES;
	err = name ? reply_entry(call, name) : make(call, S_IFREG | (in->mode & 07777), 0, &inode);
	if (err)
		return err;
	if (in->flags & O_TRUNC)
		call->store->inodes[inode].size = 0;
	*call->out_size = sizeof(*out);
	return reply_open(call, &out->open, inode, in->flags, false);
}

static int do_unlink(struct call *call)
{
	uint32_t name = name_find(call->store, call->inode, call->args.name);

	if (!name)
		return ENOENT;
	name_free(call->store, name);
	return 0;
}

static int do_rename(struct call *call)
{
	struct store *store = call->store;
	struct fuse_rename2_in in = {0};
	uint32_t parent, from, to, other;

	memcpy(&in, call->args.in, call->header->opcode == FUSE_RENAME ? sizeof(struct fuse_rename_in) : sizeof(in));
	parent = store_inode_of(store, in.newdir);
	from = name_find(store, call->inode, call->args.name);
	to = name_find(store, parent, call->args.name2);
	if (!from || (in.flags & (1 << 1) && !to))
		return ENOENT;
	if (in.flags & 1 && to)
		return EEXIST;
	if (in.flags & (1 << 1)) {
		other = store->names[to].inode;
		store->names[to].inode = store->names[from].inode;
		store->names[from].inode = other;
		return 0;
	}
	if (to)
		name_free(store, to);
	store->names[from].parent = parent;
	snprintf(store->names[from].name, sizeof(store->names[from].name), "%s", call->args.name2);
	if (in.flags & (1 << 2))
		store_make(store, call->inode, call->args.name, S_IFCHR | 0600, 0, 0);
	return 0;
}

static int do_setattr(struct call *call)
{
	const struct fuse_setattr_in *in = call->args.in;
	struct store_inode *inode = &call->store->inodes[call->inode];

	if (in->valid & FATTR_MODE)
		inode->mode = (inode->mode & S_IFMT) | (in->mode & 07777);
	if (in->valid & FATTR_UID)
		inode->uid = in->uid;
	if (in->valid & FATTR_GID)
		inode->gid = in->gid;
	if (in->valid & FATTR_SIZE)
		inode->size = in->size;
	return reply_attr(call);
}

static int do_open(struct call *call)
{
	const struct fuse_open_in *in = call->args.in;
	bool dir = call->header->opcode == FUSE_OPENDIR;

	if (call->store->no_open)
		return ENOSYS;
	if (open_denied(call, call->inode, in->flags))
		return EACCES;
	*call->out_size = sizeof(struct fuse_open_out);
	return reply_open(call, call->out, call->inode, in->flags, dir);
}

static int do_release(struct call *call)
{
	struct store_file *file = file_of(call->store, ((const struct fuse_release_in *)call->args.in)->fh);

	if (!file)
		return EBADF;
	file->used = false;
	return 0;
}

static int do_readlink(struct call *call)
{
	const char *target = call->store->inodes[call->inode].target;

	*call->out_size = (uint32_t)strlen(target);
	memcpy(call->out, target, *call->out_size);
	return 0;
}

/* The entries in this life's order, with their cookies; the first two are "." and "..". */
static uint64_t dir_entry(const struct store *store, uint32_t dir, uint32_t index, uint32_t *name)
{
	uint32_t numbers[STORE_NAMES], count = 0, at;

	for (uint32_t i = 1; i < STORE_NAMES; i++)
		if (store->names[i].used && store->names[i].parent == dir)
			numbers[count++] = i;
	*name = 0;
	if (index < 2)
		return index + 1;
	index -= 2;
	if (index >= count)
		return 0;
	at = index;
	if (store->cookies_change)
		at = store->incarnation % 2 ? index : (index * 7 + store->incarnation) % count;
	if (store->cookies_change && count % 7 == 0)
		at = store->incarnation % 2 ? index : count - 1 - index;
	*name = numbers[at];
	if (!store->cookies_change)
		return 10 + *name;
	/* Spread over all that there are, as hashes are. */
	if (store->cookies_high)
		return (1ULL << 62) + (uint64_t)(index % 8) * (1ULL << 32) + (index / 8 + 1) * 0x10000u - (index > 15);
	return index + 3;
}

static int do_readdir(struct call *call)
{
	const struct fuse_read_in *in = call->args.in;
	struct store *store = call->store;
	uint32_t name, size = 0, given = 0;
	uint64_t cookie;
	bool reached = in->offset == 0;

	if (!file_of(store, in->fh))
		return EBADF;
	for (uint32_t i = 0; (cookie = dir_entry(store, call->inode, i, &name)) != 0; i++) {
		const char *text = i == 0 ? "." : i == 1 ? ".." : store->names[name].name;
		uint32_t length = (uint32_t)strlen(text);
		struct fuse_dirent *entry = (struct fuse_dirent *)((char *)call->out + size);

		if (!reached) {
			/* Cookies that grow: the place of one that is gone is where it was. */
			reached = cookie == in->offset;
			if (!store->cookies_change && cookie > in->offset)
				reached = true;
			else
				continue;
		}
		if (size + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length) > in->size)
			break;
		memset(entry, 0, FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length));
		*entry = (struct fuse_dirent){.ino = 7000 + i, .off = cookie, .namelen = length};
		memcpy(entry->name, text, length);
		if (given == (store->page ? store->page : 3)) {
			size += store->cut;
			break;
		}
		size += (uint32_t)FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
		given++;
	}
	*call->out_size = size;
	return 0;
}

static int do_getxattr(struct call *call)
{
	const struct fuse_getxattr_in *in = call->args.in;
	const struct store_inode *inode = &call->store->inodes[call->inode];

	if (strcmp(inode->xattr, call->args.name) != 0)
		return ENODATA;
	if (in->size == 0) {
		*(struct fuse_getxattr_out *)call->out = (struct fuse_getxattr_out){.size = inode->value_size};
		*call->out_size = sizeof(struct fuse_getxattr_out);
		return 0;
	}
	if (inode->value_size > in->size)
		return ERANGE;
	memcpy(call->out, inode->value, inode->value_size);
	*call->out_size = inode->value_size;
	return 0;
}

static int do_setxattr(struct call *call)
{
	const struct fuse_setxattr_in *in = call->args.in;
	struct store_inode *inode = &call->store->inodes[call->inode];
	bool there = !strcmp(inode->xattr, call->args.name);

	if (there && in->flags & XATTR_CREATE)
		return EEXIST;
	if (!there && in->flags & XATTR_REPLACE)
		return ENODATA;
	if (in->size > sizeof(inode->value))
		return E2BIG;
	snprintf(inode->xattr, sizeof(inode->xattr), "%s", call->args.name);
	memcpy(inode->value, call->args.data, in->size);
	inode->value_size = in->size;
	return 0;
}

static int do_removexattr(struct call *call)
{
	struct store_inode *inode = &call->store->inodes[call->inode];

	if (strcmp(inode->xattr, call->args.name) != 0)
		return ENODATA;
	inode->xattr[0] = '\0';
	return 0;
}

static int do_fallocate(struct call *call)
{
	const struct fuse_fallocate_in *in = call->args.in;
	struct store_inode *inode = &call->store->inodes[call->inode];

	if (!file_of(call->store, in->fh))
		return EBADF;
	if (in->mode & FALLOC_FL_COLLAPSE_RANGE)
		inode->size -= in->length;
	else if (in->mode & FALLOC_FL_INSERT_RANGE)
		inode->size += in->length;
	return 0;
}

static int do_setlk(struct call *call)
{
	const struct fuse_lk_in *in = call->args.in;
	struct store *store = call->store;

	if (!file_of(store, in->fh))
		return EBADF;
	if (store->foreign_lock == call->inode)
		return EAGAIN;
	for (uint32_t i = 0; i < STORE_LOCKS; i++)
		if (store->locks[i].used && store->locks[i].inode == call->inode &&
		    store->locks[i].owner == in->owner && store->locks[i].start == in->lk.start)
			store->locks[i].used = false;
	for (uint32_t i = 0; i < STORE_LOCKS && in->lk.type != F_UNLCK; i++)
		if (!store->locks[i].used) {
			store->locks[i] = (struct store_lock){true,	    call->inode, in->owner,
							      in->lk.start, in->lk.end,	 in->lk.type};
			return 0;
		}
	return in->lk.type == F_UNLCK ? 0 : ENOLCK;
}

static int do_read(struct call *call)
{
	const struct fuse_read_in *in = call->args.in;
	struct store_file *file = file_of(call->store, in->fh);

	*call->out_size = 0;
	return file && file->inode == call->inode ? 0 : EBADF;
}

static int do_forget(struct call *call)
{
	const struct fuse_forget_in *in = call->args.in;
	uint64_t *count = &call->store->counts[id_number(call->store, call->header->nodeid)];

	if (*count < in->nlookup)
		abort();
	*count -= in->nlookup;
	return 0;
}

static int (*const serve[RELAY_OPCODE_MAX])(struct call *call) = {
	[FUSE_LOOKUP] = do_lookup,	 [FUSE_MKDIR] = do_mkdir,	[FUSE_MKNOD] = do_mknod,
	[FUSE_SYMLINK] = do_symlink,	 [FUSE_LINK] = do_link,		[FUSE_CREATE] = do_create,
	[FUSE_UNLINK] = do_unlink,	 [FUSE_RMDIR] = do_unlink,	[FUSE_RENAME] = do_rename,
	[FUSE_RENAME2] = do_rename,	 [FUSE_GETATTR] = reply_attr,	[FUSE_SETATTR] = do_setattr,
	[FUSE_OPEN] = do_open,		 [FUSE_OPENDIR] = do_open,	[FUSE_RELEASE] = do_release,
	[FUSE_RELEASEDIR] = do_release,	 [FUSE_READLINK] = do_readlink, [FUSE_READDIR] = do_readdir,
	[FUSE_GETXATTR] = do_getxattr,	 [FUSE_SETXATTR] = do_setxattr, [FUSE_REMOVEXATTR] = do_removexattr,
	[FUSE_FALLOCATE] = do_fallocate, [FUSE_SETLK] = do_setlk,	[FUSE_FORGET] = do_forget,
	[FUSE_READ] = do_read,
};

int store_serve(struct store *store, const void *request, uint32_t size, void *payload, uint32_t *payload_size)
{
	struct call call = {.store = store, .header = request, .out = payload, .out_size = payload_size};
	uint32_t opcode = call.header->opcode;
	bool dies;
	int err;

	*payload_size = 0;
	if (store->dead)
		return -EPIPE;
	store->asked++;
	store->by_opcode[opcode & 63]++;
	dies = store->die_at && store->asked == store->die_at;
	if (dies && !store->die_after) {
		store->dead = true;
		return -EPIPE;
	}
	call.inode = store_inode_of(store, call.header->nodeid);
	if (store->fail_opcode == opcode)
		err = store->fail_errno;
	else if (opcode >= RELAY_OPCODE_MAX || !serve[opcode])
		err = ENOSYS;
	else if (relay_args_parse(request, size, 0, &call.args) < 0)
		err = EINVAL;
	else if (!call.inode && opcode != FUSE_FORGET && opcode != FUSE_RELEASE)
		err = ENOENT;
	else
		err = serve[opcode](&call);
	if (dies) {
		store->dead = true;
		return -EPIPE;
	}
	return err;
}

/* ---- what it holds ------------------------------------------------------- */

static int line_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The path of a name, from the root. */
static void name_path(const struct store *store, uint32_t number, char *path, size_t size)
{
	char rest[512];

	snprintf(path, size, "%s", store->names[number].name);
	for (uint32_t dir = store->names[number].parent; dir != STORE_ROOT;) {
		for (number = 1; number < STORE_NAMES; number++)
			if (store->names[number].used && store->names[number].inode == dir)
				break;
		if (number == STORE_NAMES)
			break;
		snprintf(rest, sizeof(rest), "%s", path);
		snprintf(path, size, "%.200s/%.300s", store->names[number].name, rest);
		dir = store->names[number].parent;
	}
}

char *store_dump(const struct store *store)
{
	char *lines[STORE_NAMES], *text = calloc(STORE_NAMES, 700);
	uint32_t count = 0;

	for (uint32_t i = 1; i < STORE_NAMES; i++) {
		const struct store_inode *inode = &store->inodes[store->names[i].inode];
		char path[512];

		if (!store->names[i].used)
			continue;
		name_path(store, i, path, sizeof(path));
		if (asprintf(&lines[count++], "%s %o %u:%u links %u size %llu rdev %u '%s' %s=%.*s\n", path,
			     inode->mode, inode->uid, inode->gid, inode->nlink, (unsigned long long)inode->size,
			     inode->rdev, inode->target, inode->xattr, inode->xattr[0] ? (int)inode->value_size : 0,
			     inode->value) < 0)
			abort();
	}
	qsort(lines, count, sizeof(lines[0]), line_compare);
	for (uint32_t i = 0; i < count; i++) {
		strcat(text, lines[i]);
		free(lines[i]);
	}
	return text;
}
