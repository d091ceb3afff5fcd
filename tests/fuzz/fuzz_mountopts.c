/*
 * Mount options: a list that is taken gives the kernel and fusermount3 known words
 * only, none of relayd's own, and a user no right that is root's.
 *
 * The first byte says whether root asks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "mountopts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void words_check(const char *list)
{
	static const char *const ours[] = {",fd=", ",rootmode=", ",user_id=", ",group_id=", ",auto_unmount", ",fsname=",
					   ",subtype=", ",x-", ",,"};

	if (*list && *list != ',')
		abort();
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strstr(list, ours[i]))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mountopts opts;
	char why[48] = "";
	char *list;
	int root, err;

	if (size < 1)
		return 0;
	root = data[0] & 1;
	list = calloc(1, size);
	if (!list)
		return 0;
	memcpy(list, data + 1, size - 1);
	err = mountopts_parse(&opts, list, root, why, sizeof(why));
	if (err) {
		if (err > 0 || !*why || opts.kernel || opts.helper || opts.fsname || opts.subtype)
			abort();
	} else {
		words_check(opts.kernel);
		words_check(opts.helper);
		if (!root && (opts.flags & (MS_NOSUID | MS_NODEV)) != (MS_NOSUID | MS_NODEV))
			abort();
		mountopts_deinit(&opts);
	}
	free(list);
	return 0;
}
