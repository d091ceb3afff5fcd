/*
 * Notes in the file $MALLOC_PRELOAD_FILE, one byte each, what processes that call
 * themselves $MALLOC_PRELOAD_NAME allocate.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The C library's, under the names that it has for this. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static int file = -1;
static const char *wanted;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("MALLOC_PRELOAD_FILE");

	wanted = getenv("MALLOC_PRELOAD_NAME");
	if (path && wanted)
		file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

static void note(void)
{
	char name[16] = "";
	int saved = errno;

	/* One that could not be noted must not go unseen. */
	if (file >= 0 && prctl(PR_GET_NAME, name) == 0 && strcmp(name, wanted) == 0 && write(file, "m", 1) != 1)
		abort();
	errno = saved;
}

void *malloc(size_t size)
{
	note();
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	note();
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	note();
	return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	note();
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	note();
	*out = __libc_memalign(alignment, size);
	return *out ? 0 : ENOMEM;
}
