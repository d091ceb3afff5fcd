/*
 * libc's own functions.  They are looked up before the program runs: dlsym(3) takes
 * locks, which a child of fork() may find taken for ever.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>

#include "preload.h"

static const char *const names[PRELOAD_COUNT] = {
#define PRELOAD_NAME(name) [PRELOAD_##name] = #name,
	PRELOAD_FUNCTIONS(PRELOAD_NAME)
#undef PRELOAD_NAME
};

static void *_Atomic functions[PRELOAD_COUNT];

void *preload_real(enum preload_function function)
{
	void *found = atomic_load_explicit(&functions[function], memory_order_relaxed);

	/* Another library's constructor may be before ours. */
	if (!found) {
		found = dlsym(RTLD_NEXT, names[function]);
		atomic_store_explicit(&functions[function], found, memory_order_relaxed);
	}
	return found;
}

__attribute__((constructor)) static void preload_init(void)
{
	unsigned i;

	for (i = 0; i < PRELOAD_COUNT; i++)
		preload_real((enum preload_function)i);
}
