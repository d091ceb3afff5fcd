/*
 * The kill matrix: what this kernel does not send on such a mount, because it asks
 * other filesystems only (BMAP, SYNCFS, POLL after its first answer), has found
 * the answer itself before (EEXIST and ENOENT, which it looks up first), refuses
 * it (FALLOCATE's collapse and insert), or knows it only in another version (STATX,
 * COPY_FILE_RANGE and its successor).  A fake relayd sends it, with a journal of its
 * own, and starts the next incarnation as relayd would.
 *
 * The reference is the same request to a backend that does not die.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/check.h"
#include "../lib/fake_relayd.h"
#include "matrix.h"

#define SLOT 0u
#define HELPER_SLOT 1u
#define DEATHS_MAX 3u

struct raw {
	struct fake_relayd fake;
	struct place place;
	uint64_t nodeid; /* which the request is about */
	uint64_t fh;
};

struct raw_scenario {
	const char *opcode;
	const char *what;
	uint32_t code;
	int error; /* what the reply has to have, uncrashed; -1: whatever */
	void (*setup)(void);
	/* Fills in the request's body, with calls of its own before; returns its size. */
	uint32_t (*body)(struct raw *raw, uint8_t *bytes);
};

static struct raw raw; /* it is big */

static int backend_main(int channel, void *arg)
{
	const struct place *place = arg;
	const char *program = relayd_program("fs/fsserver/fsserver-crash");
	char number[16];

	snprintf(number, sizeof(number), "%d", channel);
	setenv("RELAY_FD", number, 1);
	fcntl(channel, F_SETFD, 0);
	execl(program, program, "--source", place->direct, "--timeout", "0", (char *)NULL);
	return -errno;
}

static uint64_t lookup(uint64_t parent, const char *name)
{
	struct fuse_entry_out entry;

	if (fake_call(&raw.fake, HELPER_SLOT, FUSE_LOOKUP, parent, name, (uint32_t)strlen(name) + 1) != 0)
		check_abort("LOOKUP of %s: %s", name, strerror(-raw.fake.reply.out.error));
	memcpy(&entry, raw.fake.reply.bytes + sizeof(struct fuse_out_header), sizeof(entry));
	fake_slot_free(&raw.fake, HELPER_SLOT);
	return entry.nodeid;
}

static uint64_t open_node(uint64_t nodeid)
{
	struct fuse_open_in in = {.flags = O_RDWR};
	struct fuse_open_out out;

	if (fake_call(&raw.fake, HELPER_SLOT, FUSE_OPEN, nodeid, &in, sizeof(in)) != 0)
		check_abort("OPEN: %s", strerror(-raw.fake.reply.out.error));
	memcpy(&out, raw.fake.reply.bytes + sizeof(struct fuse_out_header), sizeof(out));
	fake_slot_free(&raw.fake, HELPER_SLOT);
	return out.fh;
}

static uint32_t put(uint8_t *bytes, uint32_t at, const void *part, size_t size)
{
	memcpy(bytes + at, part, size);
	return at + (uint32_t)size;
}

/* Structure, and names up to a NULL. */
static uint32_t with_names(uint8_t *bytes, const void *in, size_t size, const char *name, const char *name2)
{
	uint32_t at = in ? put(bytes, 0, in, size) : 0;

	at = put(bytes, at, name, strlen(name) + 1);
	return name2 ? put(bytes, at, name2, strlen(name2) + 1) : at;
}

/* ---- setups -------------------------------------------------------------- */

static void files(void)
{
	mkdir("d", 0755);
	place_put("f", "content of f");
	place_put("g", "g's");
	place_put("d/inner", "x");
}

static void lettered(void)
{
	char block[4096];
	int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	for (int i = 0; i < 16; i++) {
		memset(block, 'a' + i, sizeof(block));
		if (write(fd, block, sizeof(block)) != sizeof(block))
			abort();
	}
	close(fd);
	place_put("g", "");
}

/* ---- requests ------------------------------------------------------------ */

static uint32_t access_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_access_in in = {.mask = R_OK};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t bmap_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_bmap_in in = {.block = 0, .blocksize = 4096};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t statx_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_statx_in in = {.sx_mask = STATX_BASIC_STATS | STATX_BTIME};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t poll_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_poll_in in = {.kh = 1, .events = POLLIN | POLLOUT};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	in.fh = open_node(r->nodeid);
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t syncfs_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_syncfs_in in = {0};

	(void)r;
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t setupmapping_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_setupmapping_in in = {.len = 4096, .flags = FUSE_SETUPMAPPING_FLAG_READ};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	in.fh = open_node(r->nodeid);
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t removemapping_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_removemapping_in in = {.count = 1};
	struct fuse_removemapping_one one = {.len = 4096};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	return put(bytes, put(bytes, 0, &in, sizeof(in)), &one, sizeof(one));
}

static uint32_t destroy_body(struct raw *r, uint8_t *bytes)
{
	(void)r;
	(void)bytes;
	return 0;
}

static uint32_t allocate_body(struct raw *r, uint8_t *bytes, uint32_t mode, uint64_t offset, uint64_t length)
{
	struct fuse_fallocate_in in = {.offset = offset, .length = length, .mode = mode};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	in.fh = open_node(r->nodeid);
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t collapse_body(struct raw *r, uint8_t *bytes)
{
	return allocate_body(r, bytes, FALLOC_FL_COLLAPSE_RANGE, 4096, 8192);
}

static uint32_t collapse_refused_body(struct raw *r, uint8_t *bytes)
{
	return allocate_body(r, bytes, FALLOC_FL_COLLAPSE_RANGE, 0, 1 << 20);
}

static uint32_t insert_body(struct raw *r, uint8_t *bytes)
{
	return allocate_body(r, bytes, FALLOC_FL_INSERT_RANGE, 8192, 4096);
}

static uint32_t copy_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_copy_file_range_in in = {.off_in = 4096, .off_out = 100, .len = 30000};

	r->nodeid = lookup(FUSE_ROOT_ID, "f");
	in.fh_in = open_node(r->nodeid);
	in.nodeid_out = lookup(FUSE_ROOT_ID, "g");
	in.fh_out = open_node(in.nodeid_out);
	return put(bytes, 0, &in, sizeof(in));
}

static uint32_t mkdir_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_mkdir_in in = {.mode = 0755};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "d", NULL);
}

static uint32_t mknod_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_mknod_in in = {.mode = S_IFREG | 0644};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "f", NULL);
}

static uint32_t symlink_body(struct raw *r, uint8_t *bytes)
{
	(void)r;
	return with_names(bytes, NULL, 0, "f", "target");
}

static uint32_t link_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_link_in in = {.oldnodeid = lookup(FUSE_ROOT_ID, "f")};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "g", NULL);
}

static uint32_t create_exclusive_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "f", NULL);
}

static uint32_t create_existing_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "f", NULL);
}

static uint32_t missing_body(struct raw *r, uint8_t *bytes)
{
	(void)r;
	return with_names(bytes, NULL, 0, "missing", NULL);
}

static uint32_t rename_missing_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_rename_in in = {.newdir = FUSE_ROOT_ID};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "missing", "f");
}

static uint32_t noreplace_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_rename2_in in = {.newdir = FUSE_ROOT_ID, .flags = RENAME_NOREPLACE};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "f", "g");
}

static uint32_t exchange_missing_body(struct raw *r, uint8_t *bytes)
{
	struct fuse_rename2_in in = {.newdir = FUSE_ROOT_ID, .flags = RENAME_EXCHANGE};

	(void)r;
	return with_names(bytes, &in, sizeof(in), "f", "missing");
}

static const struct raw_scenario scenarios[] = {
	{"ACCESS", "", FUSE_ACCESS, -1, files, access_body},
	{"BMAP", "", FUSE_BMAP, -1, files, bmap_body},
	{"POLL", "", FUSE_POLL, -1, files, poll_body},
	{"STATX", "of 7.39", FUSE_STATX, 0, files, statx_body},
	{"SYNCFS", "", FUSE_SYNCFS, 0, files, syncfs_body},
	{"SETUPMAPPING", "", FUSE_SETUPMAPPING, -1, files, setupmapping_body},
	{"REMOVEMAPPING", "", FUSE_REMOVEMAPPING, -1, files, removemapping_body},
	{"DESTROY", "", FUSE_DESTROY, 0, files, destroy_body},
	{"COPY_FILE_RANGE", "", FUSE_COPY_FILE_RANGE, 0, lettered, copy_body},
	{"COPY_FILE_RANGE_64", "of 7.45", FUSE_COPY_FILE_RANGE_64, 0, lettered, copy_body},
	{"FALLOCATE", "COLLAPSE_RANGE", FUSE_FALLOCATE, 0, lettered, collapse_body},
	{"FALLOCATE", "COLLAPSE_RANGE, EINVAL", FUSE_FALLOCATE, EINVAL, lettered, collapse_refused_body},
	{"FALLOCATE", "INSERT_RANGE", FUSE_FALLOCATE, 0, lettered, insert_body},
	{"MKDIR", "EEXIST", FUSE_MKDIR, EEXIST, files, mkdir_body},
	{"MKNOD", "EEXIST", FUSE_MKNOD, EEXIST, files, mknod_body},
	{"SYMLINK", "EEXIST", FUSE_SYMLINK, EEXIST, files, symlink_body},
	{"LINK", "EEXIST", FUSE_LINK, EEXIST, files, link_body},
	{"CREATE", "O_EXCL, EEXIST", FUSE_CREATE, EEXIST, files, create_exclusive_body},
	/* The kernel looks again, and opens what it finds. */
	{"CREATE", "of what exists, ESTALE", FUSE_CREATE, ESTALE, files, create_existing_body},
	{"UNLINK", "ENOENT", FUSE_UNLINK, ENOENT, files, missing_body},
	{"RMDIR", "ENOENT", FUSE_RMDIR, ENOENT, files, missing_body},
	{"RENAME", "ENOENT", FUSE_RENAME, ENOENT, files, rename_missing_body},
	{"RENAME2", "NOREPLACE, EEXIST", FUSE_RENAME2, EEXIST, files, noreplace_body},
	{"RENAME2", "EXCHANGE, ENOENT", FUSE_RENAME2, ENOENT, files, exchange_missing_body},
};

/* ---- cells --------------------------------------------------------------- */

static void begin(unsigned *deaths)
{
	while (!fake_begin(&raw.fake, backend_main, &raw.place)) {
		fake_wait(&raw.fake);
		if (++*deaths > DEATHS_MAX)
			check_abort("a backend that dies over and over");
	}
}

/* What of a reply is the same in two directories: not inode numbers, not times. */
static void show_reply(struct text *log, uint32_t code, const struct fuse_out_header *reply)
{
	const uint8_t *payload = (const uint8_t *)(reply + 1);
	uint32_t size = reply->len - (uint32_t)sizeof(*reply);

	text_add(log, "error %s, %u bytes:", text_errno(-reply->error), size);
	if (code == FUSE_COPY_FILE_RANGE || code == FUSE_COPY_FILE_RANGE_64 || code == FUSE_POLL || code == FUSE_BMAP)
		for (uint32_t i = 0; i < size; i++)
			text_add(log, " %02x", payload[i]);
	text_add(log, "\n");
}

static bool plan_is_done(void)
{
	char left[256];

	fake_crash_left(left, sizeof(left));
	for (char *line = strtok(left, "\n"); line; line = strtok(NULL, "\n"))
		if (strcmp(strrchr(line, ' ') + 1, "0") != 0)
			return false;
	return true;
}

/*
 * Sends the request until it is answered, with a next incarnation after each death,
 * and lets the one that answered die if it is to.  A stored reply is relayd's to
 * send: nobody gets the request again.
 */
static unsigned request_run(const struct raw_scenario *scenario, const char *plan)
{
	uint8_t body[8192];
	unsigned deaths = 0;
	uint32_t size;

	raw.nodeid = FUSE_ROOT_ID;
	begin(&deaths);
	size = scenario->body(&raw, body);
	fake_crash_plan(plan);
	fake_request(&raw.fake, SLOT, scenario->code, raw.nodeid, body, size);
	while (fake_receive(&raw.fake) == 0) {
		fake_wait(&raw.fake);
		if (++deaths > DEATHS_MAX)
			check_abort("a backend that dies over and over");
		if (fake_slot_state(&raw.fake, SLOT) == RELAY_SLOT_APPLIED) {
			show_reply(&raw.place.log, scenario->code, fake_stored_reply(&raw.fake, SLOT));
			fake_slot_free(&raw.fake, SLOT);
			begin(&deaths);
			return deaths;
		}
		begin(&deaths);
		fake_send(&raw.fake, SLOT);
	}
	show_reply(&raw.place.log, scenario->code, &raw.fake.reply.out);
	fake_slot_free(&raw.fake, SLOT);
	if (plan && strstr(plan, " sent ")) {
		fake_wait(&raw.fake);
		deaths++;
		begin(&deaths);
	}
	return deaths;
}

/* One run in a fresh directory, whose transcript goes to *log.  Returns the deaths. */
static unsigned run(const struct raw_scenario *scenario, const char *plan, struct text *log, bool *done)
{
	static unsigned number;
	const struct matrix_scenario outer = {.setup = scenario->setup};
	unsigned deaths;

	raw.place = (struct place){.plan_fd = -1};
	snprintf(raw.place.direct, sizeof(raw.place.direct), "/tmp/relayd-matrix.%d.%u", getpid(), number++);
	place_begin(&raw.place, &outer);
	fake_relayd_init(&raw.fake, 4, 2);
	deaths = request_run(scenario, plan);
	*done = !plan || plan_is_done();
	fake_crash_plan(NULL);
	fake_end(&raw.fake);
	fake_relayd_deinit(&raw.fake);
	place_end(&raw.place);
	text_clear(log);
	text_add(log, "%s", text_get(&raw.place.log));
	place_free(&raw.place);
	return deaths;
}

static void cell_run(const struct raw_scenario *scenario, const struct matrix_column *column,
		     const struct text *wanted)
{
	struct text got = {0};
	unsigned expected = 0;
	char plan[128] = "";
	char where[1024];
	unsigned deaths;
	size_t length = 0;
	bool done;

	for (unsigned i = 0; i < MATRIX_POINTS && column->points[i]; i++, expected++)
		length += (size_t)snprintf(plan + length, sizeof(plan) - length, "%s%s%s 1\n",
					   strchr(column->points[i], ' ') ? "" : scenario->opcode,
					   strchr(column->points[i], ' ') ? "" : " ", column->points[i]);
	deaths = run(scenario, plan, &got, &done);
	/* What is refused right away has no pre-state. */
	if (!done && (strstr(plan, "KEEP kept") || strstr(plan, "INIT rollback") ||
		      (scenario->error > 0 && strstr(plan, "prerecorded")))) {
		matrix_cell(false, true, "");
	} else if (!done || deaths != expected) {
		snprintf(where, sizeof(where), "%u deaths instead of %u", deaths, expected);
		matrix_cell(true, false, where);
	} else {
		bool same = text_same(wanted, &got, where, sizeof(where));

		matrix_cell(true, same, where);
	}
	text_free(&got);
}

void matrix_raw_run(const char *only, unsigned columns)
{
	char *file = getenv("RELAY_CRASH_FILE");
	char *saved = file ? strdup(file) : NULL;

	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		const struct raw_scenario *scenario = &scenarios[i];
		struct text wanted = {0};
		char expected[64];
		char name[128];
		bool done;

		snprintf(name, sizeof(name), "%s %s", scenario->opcode, scenario->what);
		if (only && !strstr(name, only))
			continue;
		run(scenario, NULL, &wanted, &done);
		snprintf(expected, sizeof(expected), "error %s,", text_errno(scenario->error));
		if (scenario->error >= 0 && strncmp(text_get(&wanted), expected, strlen(expected)) != 0)
			check(false, "%s without a death: %.40s", name, text_get(&wanted));
		matrix_line_begin(scenario->opcode, scenario->what);
		for (unsigned column = 0; column < columns; column++)
			/* The fake relayd speaks the socket lane. */
			if (strcmp(matrix_columns[column].points[0], "read") == 0 ||
			    matrix_of_rings(&matrix_columns[column]))
				matrix_cell(false, true, "");
			else
				cell_run(scenario, &matrix_columns[column], &wanted);
		matrix_line_end("");
		text_free(&wanted);
	}
	if (saved)
		setenv("RELAY_CRASH_FILE", saved, 1);
	free(saved);
}
