/*
 * JSON for programs.  The members are an interface: relayctl(8) lists them.
 */
#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "relayctl.h"

/* Any bytes as a JSON string. */
static json_t *string_json(const char *text)
{
	char *escaped = text_escape(text, false);
	json_t *json = escaped ? json_string(escaped) : NULL;

	free(escaped);
	return json;
}

static json_t *number_json(uint64_t number)
{
	return json_integer((json_int_t)number);
}

static json_t *ms_json(uint64_t us)
{
	return json_real((double)us / 1e3);
}

/* A member that cannot be made makes the object one that cannot be made. */
static void member_add(json_t **object, const char *key, json_t *value)
{
	if (*object && json_object_set_new(*object, key, value) == 0)
		return;
	if (!*object)
		json_decref(value);
	json_decref(*object);
	*object = NULL;
}

static int document_print(json_t *document)
{
	int err = -ENOMEM;

	if (document)
		err = json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10)) <
					      0 ||
				      putchar('\n') == EOF || fflush(stdout) == EOF
			      ? -EIO
			      : 0;
	json_decref(document);
	return err;
}

static json_t *identity_json(const struct ctl_mount *mount)
{
	json_t *object = json_object();

	member_add(&object, "name", string_json(mount->name));
	member_add(&object, "mountpoint", string_json(mount->mountpoint));
	member_add(&object, "state", json_string(supervisor_state_name(mount->state)));
	return object;
}

static json_t *mount_json(const struct ctl_mount *mount)
{
	json_t *object = identity_json(mount);

	member_add(&object, "lane", string_json(mount->lane));
	member_add(&object, "via", string_json(mount->via));
	member_add(&object, "incarnation", number_json(mount->incarnation));
	member_add(&object, "backend_pid", number_json(mount->backend_pid));
	member_add(&object, "inflight", number_json(mount->inflight));
	member_add(&object, "restarts", number_json(mount->restarts));
	member_add(&object, "redone", number_json(mount->redone));
	member_add(&object, "longest_pause_ms", ms_json(mount->longest_pause_us));
	member_add(&object, "problem", string_json(mount->problem));
	member_add(&object, "known", string_json(mount->known));
	return object;
}

static int mounts_print(const struct relay_ctl_client *client, const struct ctl_mounts *mounts,
			json_t *(*make)(const struct ctl_mount *mount))
{
	json_t *document = json_object();
	json_t *array = json_array();
	size_t i;

	for (i = 0; i < mounts->count; i++) {
		if (json_array_append_new(array, make(&mounts->all[i])) < 0) {
			json_decref(array);
			json_decref(document);
			return -ENOMEM;
		}
	}
	member_add(&document, "relayd_pid", number_json((uint64_t)client->pid));
	member_add(&document, "mounts", array);
	return document_print(document);
}

int json_list(const struct relay_ctl_client *client, const struct ctl_mounts *mounts)
{
	return mounts_print(client, mounts, identity_json);
}

int json_status(const struct relay_ctl_client *client, const struct ctl_mounts *mounts)
{
	return mounts_print(client, mounts, mount_json);
}

static json_t *row_json(const struct relay_ctl_stats_row *row)
{
	json_t *object = json_object();

	member_add(&object, "name", string_json(row->name));
	member_add(&object, "opcode", number_json(le32toh(row->opcode)));
	member_add(&object, "count", number_json(le64toh(row->count)));
	member_add(&object, "errors", number_json(le64toh(row->errors)));
	member_add(&object, "p50_us", number_json(le64toh(row->p50_us)));
	member_add(&object, "p90_us", number_json(le64toh(row->p90_us)));
	member_add(&object, "p99_us", number_json(le64toh(row->p99_us)));
	member_add(&object, "max_us", number_json(le64toh(row->max_us)));
	return object;
}

static json_t *known_json(const struct relay_ctl_stats *stats)
{
	json_t *object = json_object();

	member_add(&object, "saved", number_json(known_saved(stats)));
	member_add(&object, "absent", number_json(le64toh(stats->known_absent)));
	member_add(&object, "complete", number_json(le64toh(stats->known_complete)));
	member_add(&object, "xattr", number_json(le64toh(stats->known_xattr)));
	member_add(&object, "stale", number_json(le64toh(stats->known_stale)));
	member_add(&object, "passed", number_json(le64toh(stats->known_passed)));
	member_add(&object, "directories", number_json(le64toh(stats->known_directories)));
	member_add(&object, "names_present", number_json(le64toh(stats->known_names_present)));
	member_add(&object, "names_absent", number_json(le64toh(stats->known_names_absent)));
	member_add(&object, "xattrs", number_json(le64toh(stats->known_xattrs)));
	return object;
}

int json_stats(const struct relay_ctl_client *client, const struct relay_ctl_stats *stats)
{
	json_t *document = json_object();
	json_t *opcodes = json_array();
	struct relay_ctl_stats_row row;
	uint32_t i;

	for (i = 0; stats_row(client, i, &row); i++) {
		if (json_array_append_new(opcodes, row_json(&row)) < 0) {
			json_decref(opcodes);
			json_decref(document);
			return -ENOMEM;
		}
	}
	member_add(&document, "relayd_pid", number_json((uint64_t)client->pid));
	member_add(&document, "name", string_json(relay_internal_ctl_string(client, &stats->name)));
	member_add(&document, "mountpoint", string_json(relay_internal_ctl_string(client, &stats->mountpoint)));
	member_add(&document, "restarts", number_json(le64toh(stats->restarts)));
	member_add(&document, "redone", number_json(le64toh(stats->redone)));
	member_add(&document, "resent", number_json(le64toh(stats->resent)));
	member_add(&document, "poisoned", number_json(le64toh(stats->poisoned)));
	member_add(&document, "abandoned", number_json(le64toh(stats->abandoned)));
	member_add(&document, "bad_replies", number_json(le64toh(stats->bad_replies)));
	member_add(&document, "answered", number_json(le64toh(stats->answered)));
	member_add(&document, "failed", number_json(le64toh(stats->failed)));
	member_add(&document, "longest_pause_ms", ms_json(le64toh(stats->longest_pause_us)));
	member_add(&document, "last_pause_ms", ms_json(le64toh(stats->last_pause_us)));
	member_add(&document, "known", known_json(stats));
	member_add(&document, "opcodes", opcodes);
	return document_print(document);
}
