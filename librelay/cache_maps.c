/*
 * The maps of one mount, as bpf(2) sees them: which map a name belongs to, its key, and the
 * flags of each update, which are what keeps a concurrent reader from being misled.
 */
#include "cache_maps.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 8.5 MiB for a mount at once, 28 MiB more if all of it is used (docs/ebpf.md). */
const struct cache_sizes relay_internal_cache_sizes = {
	.dirs = 65536,
	.present = {131072, 65536, 8192},
	.names = {16384, 8192, 1024},
	.xattrs = 16384,
};

/* Elements that are read at once. */
#define BATCH 256u

static const struct map_shape {
	uint32_t type, key, value, flags;
} shapes[KNOWN_MAPS] = {
	[KNOWN_DIRS] = {BPF_MAP_TYPE_HASH, sizeof(uint64_t), sizeof(struct known_dir), BPF_F_NO_PREALLOC},
	[KNOWN_PRESENT_16] = {BPF_MAP_TYPE_HASH, sizeof(struct known_name_16), 1, BPF_F_NO_PREALLOC},
	[KNOWN_PRESENT_48] = {BPF_MAP_TYPE_HASH, sizeof(struct known_name_48), 1, BPF_F_NO_PREALLOC},
	[KNOWN_PRESENT_256] = {BPF_MAP_TYPE_HASH, sizeof(struct known_name_256), 1, BPF_F_NO_PREALLOC},
	[KNOWN_NAMES_16] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct known_name_16), sizeof(uint64_t), 0},
	[KNOWN_NAMES_48] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct known_name_48), sizeof(uint64_t), 0},
	[KNOWN_NAMES_256] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct known_name_256), sizeof(uint64_t), 0},
	[KNOWN_XATTRS] = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct known_xattr_key), sizeof(uint64_t), 0},
};

/* A key of any of the maps. */
union key {
	uint64_t dir;
	struct known_name_256 name;
	struct known_xattr_key xattr;
	uint64_t words[sizeof(struct known_name_256) / sizeof(uint64_t)];
};

/*
 * Returns what the command does (a descriptor, or 0), or a negative errno.
 *
 * attr is zero all over but for the fields of the command: the kernel refuses it otherwise, and an
 * initialiser of one of the union's members leaves the rest to the compiler.
 */
static int bpf(int command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

static int map_new(const struct map_shape *shape, uint32_t entries)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = shape->type;
	attr.key_size = shape->key;
	attr.value_size = shape->value;
	attr.max_entries = entries;
	attr.map_flags = shape->flags;
	return bpf(BPF_MAP_CREATE, &attr);
}

static int map_put(int fd, const void *key, const void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	attr.flags = flags;
	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

/* What is not there is dropped already. */
static int map_drop(int fd, const void *key)
{
	union bpf_attr attr;
	int err;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)key;
	err = bpf(BPF_MAP_DELETE_ELEM, &attr);
	return err == -ENOENT ? 0 : err;
}

int relay_internal_cache_maps_new(struct cache_maps *maps, const struct cache_sizes *sizes)
{
	const uint32_t entries[KNOWN_MAPS] = {
		[KNOWN_DIRS] = sizes->dirs,
		[KNOWN_PRESENT_16] = sizes->present[0],
		[KNOWN_PRESENT_48] = sizes->present[1],
		[KNOWN_PRESENT_256] = sizes->present[2],
		[KNOWN_NAMES_16] = sizes->names[0],
		[KNOWN_NAMES_48] = sizes->names[1],
		[KNOWN_NAMES_256] = sizes->names[2],
		[KNOWN_XATTRS] = sizes->xattrs,
	};

	memset(maps->fd, -1, sizeof(maps->fd));
	for (unsigned map = 0; map < KNOWN_MAPS; map++) {
		int fd = map_new(&shapes[map], entries[map]);

		if (fd < 0) {
			relay_internal_cache_maps_close(maps);
			return fd;
		}
		maps->fd[map] = fd;
	}
	return 0;
}

void relay_internal_cache_maps_close(struct cache_maps *maps)
{
	for (unsigned map = 0; map < KNOWN_MAPS; map++) {
		if (maps->fd[map] >= 0)
			close(maps->fd[map]);
		maps->fd[map] = -1;
	}
}

/*
 * Makes the key of a name; returns which of three maps it belongs to, or -EINVAL.  The
 * shorter keys are the beginning of the longest.
 */
static int name_key(union key *key, uint64_t dir, const char *name, size_t len)
{
	if (!len || len > KNOWN_NAME_MAX || memchr(name, '/', len) || memchr(name, 0, len))
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return -EINVAL;
	*key = (union key){.name = {.dir = dir, .len = (uint32_t)len}};
	memcpy(key->name.name, name, len);
	return len <= KNOWN_16 ? 0 : len < KNOWN_48 ? 1 : 2;
}

static int word_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len, uint64_t until,
		    uint64_t flags)
{
	static const struct known_dir none;
	union key key;
	uint64_t word;
	int size = name_key(&key, dir, name, len), err;

	if (size < 0)
		return size;
	word = known_word(until, known_tag(dir, key.words[2], key.words[3]), flags);
	err = map_put(maps->fd[KNOWN_NAMES_16 + size], &key, &word, BPF_ANY);
	if (err)
		return err;
	/* The names of a directory that is not there are not looked up.  One that is complete stays so. */
	err = map_put(maps->fd[KNOWN_DIRS], &dir, &none, BPF_NOEXIST);
	return err == -EEXIST ? 0 : err;
}

int relay_internal_cache_absent_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len,
				    uint64_t until)
{
	return word_put(maps, dir, name, len, until, KNOWN_ABSENT);
}

int relay_internal_cache_stale_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len)
{
	return word_put(maps, dir, name, len, KNOWN_FOREVER, KNOWN_STALE);
}

int relay_internal_cache_absent_drop(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len)
{
	union key key;
	int size = name_key(&key, dir, name, len);

	return size < 0 ? size : map_drop(maps->fd[KNOWN_NAMES_16 + size], &key);
}

int relay_internal_cache_present_put(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len)
{
	static const char present = 1;
	union key key;
	int size = name_key(&key, dir, name, len), err;

	if (size < 0)
		return size;
	/* Not BPF_ANY: that puts a second element in and then takes the first one out, and who is between sees neither. */
	err = map_put(maps->fd[KNOWN_PRESENT_16 + size], &key, &present, BPF_NOEXIST);
	return err == -EEXIST ? 0 : err;
}

int relay_internal_cache_present_drop(const struct cache_maps *maps, uint64_t dir, const char *name, size_t len)
{
	union key key;
	int size = name_key(&key, dir, name, len);

	return size < 0 ? size : map_drop(maps->fd[KNOWN_PRESENT_16 + size], &key);
}

int relay_internal_cache_dir_complete(const struct cache_maps *maps, uint64_t dir, uint64_t until)
{
	const struct known_dir value = {.complete = dir, .until = until, .since = relay_internal_cache_now()};

	/* Replaced, since to miss a directory is to ask the filesystem. */
	return map_put(maps->fd[KNOWN_DIRS], &dir, &value, BPF_ANY);
}

int relay_internal_cache_dir_drop(const struct cache_maps *maps, uint64_t dir)
{
	return map_drop(maps->fd[KNOWN_DIRS], &dir);
}

int relay_internal_cache_xattr(const char *name)
{
	static const char *const names[KNOWN_XATTRS_COUNT] = {
		[KNOWN_XATTR_SELINUX] = "security.selinux",
		[KNOWN_XATTR_CAPABILITY] = "security.capability",
		[KNOWN_XATTR_ACL_ACCESS] = "system.posix_acl_access",
		[KNOWN_XATTR_ACL_DEFAULT] = "system.posix_acl_default",
	};

	for (int xattr = 0; xattr < KNOWN_XATTRS_COUNT; xattr++)
		if (!strcmp(name, names[xattr]))
			return xattr;
	return -1;
}

int relay_internal_cache_xattr_put(const struct cache_maps *maps, uint64_t nodeid, enum known_xattr xattr,
				   uint64_t until)
{
	const struct known_xattr_key key = {.nodeid = nodeid, .xattr = xattr};
	const uint64_t word = known_word(until, known_tag(nodeid, xattr, 0), KNOWN_ABSENT);

	return map_put(maps->fd[KNOWN_XATTRS], &key, &word, BPF_ANY);
}

int relay_internal_cache_xattr_drop(const struct cache_maps *maps, uint64_t nodeid, enum known_xattr xattr)
{
	const struct known_xattr_key key = {.nodeid = nodeid, .xattr = xattr};

	return map_drop(maps->fd[KNOWN_XATTRS], &key);
}

int relay_internal_cache_node_drop(const struct cache_maps *maps, uint64_t nodeid)
{
	int err = relay_internal_cache_dir_drop(maps, nodeid);

	for (unsigned xattr = 0; xattr < KNOWN_XATTRS_COUNT; xattr++) {
		int failed = relay_internal_cache_xattr_drop(maps, nodeid, xattr);

		if (failed && !err)
			err = failed;
	}
	return err;
}

/* Keys of one map, read in batches. */
struct walk {
	char *keys, *values;
	uint32_t at; /* the kernel's: where the next batch begins */
	bool begun;
};

/*
 * The next keys.  Returns how many, 0 at the end, or a negative errno.  What is put in or
 * taken out meanwhile may or may not be among them.
 */
static int64_t walk_next(struct walk *walk, int fd)
{
	union bpf_attr attr;
	int err;

	memset(&attr, 0, sizeof(attr));
	attr.batch.in_batch = walk->begun ? (uintptr_t)&walk->at : 0;
	attr.batch.out_batch = (uintptr_t)&walk->at;
	attr.batch.keys = (uintptr_t)walk->keys;
	attr.batch.values = (uintptr_t)walk->values;
	attr.batch.count = BATCH;
	attr.batch.map_fd = (uint32_t)fd;
	err = bpf(BPF_MAP_LOOKUP_BATCH, &attr);
	walk->begun = true;
	/* -ENOENT comes with the last of them. */
	return err && err != -ENOENT ? err : (int64_t)attr.batch.count;
}

/* Calls each() for every key until it returns a negative errno; returns the sum of what it did. */
static int64_t map_walk(int fd, const struct map_shape *shape,
			int (*each)(int fd, const union key *key, void *arg), void *arg)
{
	struct walk walk = {.keys = malloc((size_t)BATCH * shape->key), .values = malloc((size_t)BATCH * shape->value)};
	int64_t sum = 0, count = 0;

	if (!walk.keys || !walk.values)
		count = -ENOMEM;
	else
		while (sum >= 0 && (count = walk_next(&walk, fd)) > 0)
			for (int64_t i = 0; i < count && sum >= 0; i++) {
				union key key;
				int n;

				memcpy(&key, walk.keys + i * shape->key, shape->key);
				n = each(fd, &key, arg);
				sum = n < 0 ? n : sum + n;
			}
	free(walk.keys);
	free(walk.values);
	return count < 0 ? count : sum;
}

static int key_count(int fd, const union key *key, void *arg)
{
	(void)fd;
	(void)key;
	(void)arg;
	return 1;
}

int64_t relay_internal_cache_fill(const struct cache_maps *maps, enum known_map map)
{
	return map_walk(maps->fd[map], &shapes[map], key_count, NULL);
}

static int key_drop(int fd, const union key *key, void *arg)
{
	(void)arg;
	return map_drop(fd, key);
}

int relay_internal_cache_clear(const struct cache_maps *maps)
{
	int err = 0;

	/* Directories come first: the names of one that is complete must not be taken from below it. */
	for (unsigned map = 0; map < KNOWN_MAPS; map++) {
		int64_t n = map_walk(maps->fd[map], &shapes[map], key_drop, NULL);

		if (n < 0 && map == KNOWN_DIRS)
			return (int)n;
		if (n < 0)
			err = (int)n;
	}
	return err;
}

struct sweep {
	const struct cache_maps *maps;
	bool (*keep)(uint64_t dir, void *arg);
	void *arg;
};

static int key_sweep(int fd, const union key *key, void *arg)
{
	const struct sweep *sweep = arg;
	struct known_dir dir = {0};
	union bpf_attr attr;
	int err;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)sweep->maps->fd[KNOWN_DIRS];
	attr.key = (uintptr_t)&key->dir;
	attr.value = (uintptr_t)&dir;
	err = bpf(BPF_MAP_LOOKUP_ELEM, &attr);
	if (err && err != -ENOENT)
		return err;
	if (dir.complete || sweep->keep(key->dir, sweep->arg))
		return 0;
	err = map_drop(fd, key);
	return err ? err : 1;
}

int64_t relay_internal_cache_sweep(const struct cache_maps *maps, bool (*keep)(uint64_t dir, void *arg), void *arg)
{
	struct sweep sweep = {.maps = maps, .keep = keep, .arg = arg};
	int64_t sum = 0;

	for (unsigned map = KNOWN_PRESENT_16; map <= KNOWN_PRESENT_256; map++) {
		int64_t n = map_walk(maps->fd[map], &shapes[map], key_sweep, &sweep);

		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

uint64_t relay_internal_cache_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
