/*
 * What the programs cost those who do not want them: costs ROUNDS PATH stats PATH in turns with nothing
 * attached, with an empty program in the place of relayd's, and with relayd's, and prints what each of
 * the three takes, in nanoseconds: medians of many short measurements, so that what else the machine
 * does meets all three alike, and seldom.
 *
 * What the empty one takes more than nothing is the kernel's way into a program and out of it.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache_bpf_load.h"
#include "lib/check.h"

#define ROUNDS_MAX 1000u
/* In each state, each time. */
#define MEASUREMENTS 10u
#define LOOKS 100u

enum state {
	NOTHING,
	EMPTY,
	OURS,
	STATES,
};

static const char *const names[STATES] = {
	[NOTHING] = "nothing",
	[EMPTY] = "empty",
	[OURS] = "ours",
};

struct samples {
	uint64_t ns[ROUNDS_MAX * MEASUREMENTS];
	unsigned count;
};

static void measure(const char *path, struct samples *samples)
{
	struct stat st;

	/* The first one finds its code and the names in no cache. */
	if (stat(path, &st) < 0)
		check_abort("%s: %s", path, strerror(errno));
	for (unsigned i = 0; i < MEASUREMENTS; i++) {
		uint64_t start = check_now_ns();

		for (unsigned j = 0; j < LOOKS; j++)
			stat(path, &st);
		samples->ns[samples->count++] = (check_now_ns() - start) / LOOKS;
	}
}

/* Of the object's programs those that are loaded. */
static void measure_attached(struct bpf_object *object, const char *path, struct samples *samples)
{
	struct bpf_link *links[CACHE_BPF_LINKS] = {0};
	struct bpf_program *program;
	unsigned n = 0;

	bpf_object__for_each_program(program, object) {
		if (!bpf_program__autoload(program))
			continue;
		links[n] = bpf_program__attach(program);
		if (!links[n])
			check_abort("%s is not attached: %s", bpf_program__name(program), strerror(errno));
		n++;
	}
	measure(path, samples);
	while (n)
		bpf_link__destroy(links[--n]);
}

/* The one program that is attached in the same way as relayd's. */
static struct bpf_object *empty_load(const char *how)
{
	const char *name = strcmp(how, "lsm") ? "fmod_permission" : "lsm_permission", *top = getenv("top_builddir");
	struct bpf_program *program;
	struct bpf_object *object;
	char path[512];

	snprintf(path, sizeof(path), "%s/bpf/empty.elf", top ? top : ".");
	object = bpf_object__open(path);
	program = object ? bpf_object__find_program_by_name(object, name) : NULL;
	if (!program || bpf_program__set_autoload(program, true) || bpf_object__load(object))
		check_abort("%s of %s is not loaded: %s", name, path, strerror(errno));
	return object;
}

int main(int argc, char **argv)
{
	static struct samples samples[STATES];
	unsigned long rounds = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	struct cache_bpf_programs ours;
	struct bpf_object *empty;
	char why[CACHE_BPF_WHY];

	if (!rounds || rounds > ROUNDS_MAX)
		check_abort("usage: costs ROUNDS PATH, of at most %u rounds", ROUNDS_MAX);
	if (cache_bpf_load(&ours, why))
		check_abort("%s", why);
	cache_bpf_detach(&ours);
	empty = empty_load(ours.how);
	for (unsigned long round = 0; round < rounds; round++) {
		measure(argv[2], &samples[NOTHING]);
		measure_attached(empty, argv[2], &samples[EMPTY]);
		measure_attached(ours.object, argv[2], &samples[OURS]);
	}
	bpf_object__close(empty);
	cache_bpf_unload(&ours);
	for (unsigned i = 0; i < STATES; i++) {
		check_sort_times(samples[i].ns, samples[i].count);
		printf("%s %llu\n", names[i], (unsigned long long)samples[i].ns[samples[i].count / 2]);
	}
	return 0;
}
