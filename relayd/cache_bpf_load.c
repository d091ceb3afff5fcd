/*
 * Loads the programs with libbpf, in one of two ways: as LSM programs, or, where the kernel
 * does not call those, on the functions that call the LSMs.  Which of the two works is found out
 * with a small program that is called for one lstat() of ours and also says what LOOKUP_REVAL
 * is here.
 *
 * A process dying here leaves nothing: programs and links go with their descriptors.
 */
#include "cache_bpf_load.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cache_bpf_object.h"
#include "../bpf/config.h"

/* A way to attach, and what the names of its programs begin with. */
static const struct way {
	const char *name, *prefix;
} ways[] = {{"lsm", "lsm_"}, {"fmod_ret", "fmod_"}};

static const char *const known_names[KNOWN_MAPS] = {
	[KNOWN_DIRS] = "dirs",
	[KNOWN_PRESENT_16] = "present_16",
	[KNOWN_PRESENT_48] = "present_48",
	[KNOWN_PRESENT_256] = "present_256",
	[KNOWN_NAMES_16] = "names_16",
	[KNOWN_NAMES_48] = "names_48",
	[KNOWN_NAMES_256] = "names_256",
	[KNOWN_XATTRS] = "xattrs",
};

/* libbpf says much, by lines: the first of a failure names the program and the errno. */
static char said[CACHE_BPF_WHY];

__attribute__((format(printf, 2, 0))) static int on_libbpf(enum libbpf_print_level level, const char *format,
							   va_list args)
{
	if (level == LIBBPF_WARN && !*said)
		vsnprintf(said, sizeof(said), format, args);
	return 0;
}

__attribute__((format(printf, 2, 3))) static void say(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, CACHE_BPF_WHY, format, args);
	va_end(args);
	/* What libbpf says ends with its line. */
	why[strcspn(why, "\n")] = 0;
}

/* Opens an object with the programs of one way to be loaded. */
static int object_open(struct bpf_object **object, const struct cache_bpf_object *from, const struct way *way)
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "relayd");
	struct bpf_program *program;

	*object = bpf_object__open_mem(from->bytes, from->size, &opts);
	if (!*object)
		return -errno;
	bpf_object__for_each_program(program, *object)
		bpf_program__set_autoload(program,
					  !strncmp(bpf_program__name(program), way->prefix, strlen(way->prefix)));
	return 0;
}

/* The map that is a data section of the object. */
static struct bpf_map *object_section(const struct bpf_object *object, const char *section)
{
	struct bpf_map *map;

	/* What libbpf puts before a name depends on its version. */
	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), section))
			return map;
	return NULL;
}

/* Its contents, if it has so many bytes. */
static const void *section_data(const struct bpf_map *map, size_t size)
{
	size_t has = 0;
	const void *data = map ? bpf_map__initial_value((struct bpf_map *)map, &has) : NULL;

	return data && has == size ? data : NULL;
}

/* Whether this kernel has the hook: inode_get_acl is of 6.2. */
static bool has_get_acl(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool has = btf && btf__find_by_name_kind(btf, "security_inode_get_acl", BTF_KIND_FUNC) > 0;

	btf__free(btf);
	return has;
}

/* The machine's LSMs, separated by commas; "" if that is not to be known. */
static void read_lsms(char *lsms, size_t size)
{
	int fd = open("/sys/kernel/security/lsm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, lsms, size - 1);

	lsms[n < 0 ? 0 : n] = 0;
	if (fd >= 0)
		close(fd);
}

/* Attributes that an LSM has in memory are its own to answer. */
static __u32 xattrs_allowed(void)
{
	char lsms[CACHE_BPF_WHY];
	__u32 all = (1u << KNOWN_XATTRS_COUNT) - 1;

	read_lsms(lsms, sizeof(lsms));
	/* Not to be known is taken for yes. */
	return *lsms && !strstr(lsms, "selinux") ? all : all & ~(1u << KNOWN_XATTR_SELINUX);
}

static int programs_attach(struct bpf_object *object, const struct way *way, struct bpf_link **links)
{
	struct bpf_program *program;
	unsigned n = 0;

	bpf_object__for_each_program(program, object) {
		if (!bpf_program__autoload(program) || strncmp(bpf_program__name(program), way->prefix, strlen(way->prefix)))
			continue;
		links[n] = bpf_program__attach(program);
		if (!links[n])
			return -errno;
		n++;
	}
	return 0;
}

/*
 * What the one walk has shown: the second of its calls is of the walk that was sent back
 * after the first, and the third is one component on.
 */
static int calibration_read(const struct known_calibration *seen, __u32 *lookup_reval, char *why)
{
	__u32 added = seen->flags[1] & ~seen->flags[0];

	if (seen->calls < KNOWN_CALIBRATION_CALLS) {
		say(why, "the kernel does not call the program in path walks (seen: %u of %u)", seen->calls,
		    KNOWN_CALIBRATION_CALLS);
		return -EOPNOTSUPP;
	}
	if (seen->last_type[0] != 1 || seen->last_type[1] != 1 || seen->last_type[2] != 0) {
		say(why, "the kernel keeps a path walk's place in another way than is known here");
		return -EOPNOTSUPP;
	}
	/* One bit, or it is not known which: then only the gate lacks. */
	*lookup_reval = added && !(added & (added - 1)) ? added : 0;
	return 0;
}

static int calibrate(const struct way *way, __u32 *lookup_reval, char *why)
{
	struct known_calibration us = {.tid = (__u32)syscall(SYS_gettid)};
	struct bpf_link *links[CACHE_BPF_LINKS] = {0};
	const __u32 only = 0;
	struct bpf_object *object;
	struct bpf_map *section;
	struct stat st;
	int err;

	err = object_open(&object, cache_bpf_calibrate(), way);
	if (err) {
		say(why, "the program cannot be read: %s", strerror(-err));
		return err;
	}
	section = object_section(object, ".data.calib");
	if (!section_data(section, sizeof(us)) || bpf_map__set_initial_value(section, &us, sizeof(us))) {
		say(why, "the program has no place for what it sees");
		err = -EINVAL;
		goto out;
	}
	err = bpf_object__load(object);
	if (err) {
		say(why, "the kernel refuses the program as %s: %s", way->name, *said ? said : strerror(-err));
		goto out;
	}
	err = programs_attach(object, way, links);
	if (err)
		say(why, "the kernel does not attach the program as %s: %s", way->name, strerror(-err));
	if (!err) {
		/* Of two components at least; whether it succeeds does not matter. */
		lstat("/proc/self", &st);
		err = bpf_map_lookup_elem(bpf_map__fd(section), &only, &us) ? -errno
									     : calibration_read(&us, lookup_reval, why);
	}
out:
	for (unsigned i = 0; i < CACHE_BPF_LINKS; i++)
		bpf_link__destroy(links[i]);
	bpf_object__close(object);
	return err;
}

static int map_of(const struct bpf_object *object, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);

	return fd < 0 ? -EINVAL : fd;
}

static int programs_maps(struct cache_bpf_programs *programs)
{
	int bad = 0;

	bad |= programs->devs = map_of(programs->object, "devs");
	bad |= programs->switches = map_of(programs->object, "switches");
	bad |= programs->counters = map_of(programs->object, "counters");
	for (unsigned map = 0; map < KNOWN_MAPS; map++)
		bad |= programs->known[map] = map_of(programs->object, known_names[map]);
	return bad < 0 ? -EINVAL : 0;
}

static int programs_load(struct cache_bpf_programs *programs, const struct way *way, __u32 lookup_reval, char *why)
{
	const struct known_config *has;
	struct known_config config;
	struct bpf_program *get_acl;
	struct bpf_map *section;
	char name[32];
	int err;

	err = object_open(&programs->object, cache_bpf_known(), way);
	if (err) {
		say(why, "the program cannot be read: %s", strerror(-err));
		return err;
	}
	snprintf(name, sizeof(name), "%sget_acl", way->prefix);
	get_acl = bpf_object__find_program_by_name(programs->object, name);
	if (get_acl)
		bpf_program__set_autoload(get_acl, has_get_acl());
	section = object_section(programs->object, ".rodata.conf");
	has = section_data(section, sizeof(config));
	if (has) {
		config = *has;
		config.lookup_reval = lookup_reval;
		config.xattrs = xattrs_allowed();
	}
	if (!has || bpf_map__set_initial_value(section, &config, sizeof(config))) {
		say(why, "the program has no place for its configuration");
		return -EINVAL;
	}
	err = bpf_object__load(programs->object);
	if (err) {
		say(why, "the kernel refuses the program as %s: %s", way->name, *said ? said : strerror(-err));
		return err;
	}
	programs->how = way->name;
	err = programs_maps(programs);
	if (!err)
		err = programs_attach(programs->object, way, programs->links);
	if (err)
		say(why, "the kernel does not attach the program as %s: %s", way->name, strerror(-err));
	return err;
}

/* What can be said without an attempt. */
static int preconditions(char *why)
{
	struct utsname name;
	unsigned major = 0;

	uname(&name);
	if (sscanf(name.release, "%u.", &major) != 1 || major < 6) {
		say(why, "the kernel is Linux %s, and it takes 6.0", name.release);
		return -EOPNOTSUPP;
	}
	if (access("/sys/kernel/btf/vmlinux", R_OK)) {
		say(why, "the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)");
		return -EOPNOTSUPP;
	}
	return 0;
}

int cache_bpf_load(struct cache_bpf_programs *programs, char why[CACHE_BPF_WHY])
{
	libbpf_print_fn_t before = libbpf_set_print(on_libbpf);
	char lsms[CACHE_BPF_WHY];
	int err = preconditions(why);

	memset(programs, 0, sizeof(*programs));
	if (err)
		goto out;
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		__u32 lookup_reval = 0;

		said[0] = 0;
		err = calibrate(&ways[i], &lookup_reval, why);
		if (!err)
			err = programs_load(programs, &ways[i], lookup_reval, why);
		if (!err)
			break;
		cache_bpf_unload(programs);
		/* Without the right the other way does not work either. */
		if (err == -EPERM) {
			say(why, "the kernel does not let this process load programs of this kind (%s): it takes CAP_BPF, "
				 "CAP_PERFMON and CAP_SYS_ADMIN",
			    strerror(-err));
			break;
		}
	}
	if (err == -EOPNOTSUPP) {
		read_lsms(lsms, sizeof(lsms));
		if (*lsms && !strstr(lsms, "bpf"))
			say(why, "bpf is not in the kernel's list of LSMs (%.64s), nor can a program be put before them", lsms);
	}
out:
	libbpf_set_print(before);
	if (!err)
		why[0] = 0;
	return err;
}

void cache_bpf_detach(struct cache_bpf_programs *programs)
{
	for (unsigned i = 0; i < CACHE_BPF_LINKS; i++) {
		bpf_link__destroy(programs->links[i]);
		programs->links[i] = NULL;
	}
}

void cache_bpf_unload(struct cache_bpf_programs *programs)
{
	cache_bpf_detach(programs);
	bpf_object__close(programs->object);
	memset(programs, 0, sizeof(*programs));
}
