/*
 * RENAMEs that an earlier incarnation had when it died.  Nobody knows whether the names
 * in the tables are those from before or those from after, until the redo has told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "restore.h"
#include "restore_parts.h"

struct restore_doubt {
	struct restore_doubt *next;
	const void *request;
	uint64_t parent;
	uint64_t new_parent;
	const char *name; /* in the request */
	const char *new_name;
};

int restore_doubt(struct restore *restore, const void *request, uint32_t size)
{
	const struct fuse_in_header *header = request;
	struct restore_doubt *doubt;
	struct relay_args args;

	if (header->opcode != FUSE_RENAME && header->opcode != FUSE_RENAME2)
		return 0;
	if (relay_args_parse(request, size, 0, &args) < 0)
		return 0;
	doubt = calloc(1, sizeof(*doubt));
	if (!doubt)
		return -ENOMEM;
	doubt->request = request;
	doubt->parent = header->nodeid;
	/* The first member of the fixed part of both. */
	memcpy(&doubt->new_parent, args.in, sizeof(doubt->new_parent));
	doubt->name = args.name;
	doubt->new_name = args.name2;
	pthread_mutex_lock(&restore->translate->lock);
	doubt->next = restore->doubts;
	restore->doubts = doubt;
	pthread_mutex_unlock(&restore->translate->lock);
	return 0;
}

void restore_certain(struct restore *restore, const void *request)
{
	struct restore_doubt **at;
	struct restore_doubt *doubt;

	pthread_mutex_lock(&restore->translate->lock);
	at = &restore->doubts;
	while (*at && (*at)->request != request)
		at = &(*at)->next;
	doubt = *at;
	if (doubt)
		*at = doubt->next;
	pthread_mutex_unlock(&restore->translate->lock);
	free(doubt);
}

void restore_doubts_clear(struct restore *restore)
{
	struct restore_doubt *doubt;

	pthread_mutex_lock(&restore->translate->lock);
	while ((doubt = restore->doubts) != NULL) {
		restore->doubts = doubt->next;
		free(doubt);
	}
	pthread_mutex_unlock(&restore->translate->lock);
}

bool restore_doubtful(const struct restore *restore, uint64_t parent, const char *name, uint32_t length)
{
	for (const struct restore_doubt *doubt = restore->doubts; doubt; doubt = doubt->next) {
		if (doubt->parent == parent && strlen(doubt->name) == length && !memcmp(doubt->name, name, length))
			return true;
		if (doubt->new_parent == parent && strlen(doubt->new_name) == length &&
		    !memcmp(doubt->new_name, name, length))
			return true;
	}
	return false;
}
