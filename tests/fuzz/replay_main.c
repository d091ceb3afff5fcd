/*
 * A main() for fuzz targets built without libFuzzer: gives every file of the
 * corpus to the target once, so that `make check` replays what fuzzing has found.
 *
 * Arguments are files and directories; those that begin with '-' are libFuzzer's
 * and are passed over, so that the callers need not care which one they run.
 */
#include <errno.h>
#include <fts.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is a block of its own of just its size: reads past its end are seen by ASan and valgrind. */
static int replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = malloc(size ? size : 1);
	int ret = -EIO;

	if (!file || !data || fread(data, 1, size, file) != size) {
		fprintf(stderr, "%s: cannot be read: %s\n", path, strerror(errno));
	} else {
		LLVMFuzzerTestOneInput(data, size);
		ret = 0;
	}
	free(data);
	if (file)
		fclose(file);
	return ret;
}

static int replay_below(char *path, unsigned *count)
{
	char *paths[] = {path, NULL};
	FTS *fts = fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;
	int ret = 0;

	if (!fts) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	while (ret == 0 && (entry = fts_read(fts))) {
		switch (entry->fts_info) {
		case FTS_F:
			/* Said before, so that a crash names its input. */
			printf("%s\n", entry->fts_path);
			fflush(stdout);
			ret = replay_file(entry->fts_path, (size_t)entry->fts_statp->st_size);
			++*count;
			break;
		case FTS_ERR:
		case FTS_NS:
		case FTS_DNR:
			fprintf(stderr, "%s: %s\n", entry->fts_path, strerror(entry->fts_errno));
			ret = -entry->fts_errno;
			break;
		}
	}
	fts_close(fts);
	return ret;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++)
		if (argv[i][0] != '-' && replay_below(argv[i], &count) < 0)
			return 1;
	if (count == 0) {
		fprintf(stderr, "%s: no input: the corpus is empty\n", argv[0]);
		return 1;
	}
	printf("%u inputs\n", count);
	return 0;
}
