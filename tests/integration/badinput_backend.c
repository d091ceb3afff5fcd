/*
 * A backend that behaves badly on demand: badinput.c looks a name up, and the name
 * says what it is to do.  It speaks the protocol by itself, without librelay.
 *
 *	badinput_backend DIRECTORY
 *
 * What ends the backend it does once only: it leaves a file of that name in the
 * directory, and the next life answers.  The file "init" there names what the next
 * lives do instead of answering INIT, a word for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/wire.h"

static int channel;
static const char *directory;
static uint64_t init_unique;

static void send_bytes(const void *bytes, size_t size)
{
	if (send(channel, bytes, size, MSG_NOSIGNAL) < 0)
		_exit(9);
}

/* A reply whose header says `length`, with so many bytes of payload behind it. */
static void send_reply(uint64_t unique, int error, uint32_t length, const void *payload, size_t size)
{
	static uint8_t packet[256 * 1024];
	struct fuse_out_header header = {.len = length, .error = error, .unique = unique};

	memcpy(packet, &header, sizeof(header));
	if (payload)
		memcpy(packet + sizeof(header), payload, size);
	else
		memset(packet + sizeof(header), 0x5a, size);
	send_bytes(packet, sizeof(header) + size);
}

static void send_error(uint64_t unique, int error)
{
	send_reply(unique, -error, sizeof(struct fuse_out_header), NULL, 0);
}

static void send_payload(uint64_t unique, const void *payload, size_t size)
{
	send_reply(unique, 0, (uint32_t)(sizeof(struct fuse_out_header) + size), payload, size);
}

static struct fuse_attr attr_of(uint64_t nodeid)
{
	struct fuse_attr attr = {
		.ino = nodeid,
		.mode = nodeid == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
		.nlink = 1,
		.blksize = 4096,
	};

	return attr;
}

/* ---- what can be done instead of answering a LOOKUP ---------------------- */

static void garbage(uint64_t unique)
{
	uint8_t bytes[100];

	memset(bytes, 0x5a, sizeof(bytes));
	send_bytes(bytes, sizeof(bytes));
	send_error(unique, ENOENT);
}

static void shorter_than_header(uint64_t unique)
{
	send_bytes(&unique, sizeof(unique));
	send_error(unique, ENOENT);
}

static void empty(uint64_t unique)
{
	send_bytes("", 0);
	send_error(unique, ENOENT);
}

static void short_reply(uint64_t unique)
{
	send_payload(unique, NULL, 10);
}

static void no_payload(uint64_t unique)
{
	send_payload(unique, NULL, 0);
}

static void long_reply(uint64_t unique)
{
	send_payload(unique, NULL, sizeof(struct fuse_entry_out) + 64);
}

static void huge_reply(uint64_t unique)
{
	send_payload(unique, NULL, 150000);
}

static void lying_length(uint64_t unique)
{
	send_reply(unique, 0, 1000, NULL, 50);
}

static void error_with_payload(uint64_t unique)
{
	send_reply(unique, -EPERM, sizeof(struct fuse_out_header) + 16, NULL, 16);
}

static void error_positive(uint64_t unique)
{
	send_error(unique, -ENOENT);
}

static void error_huge(uint64_t unique)
{
	send_error(unique, 100000);
}

static void wrong_unique(uint64_t unique)
{
	send_error(unique + ((uint64_t)1 << 40), ENOENT);
	send_error(unique ^ 2, ENOENT);
	send_error(unique, ENOENT);
}

static void duplicate(uint64_t unique)
{
	send_error(unique, ENOENT);
	send_error(unique, EPERM);
	send_error(unique, EPERM);
}

static void many_replies(uint64_t unique)
{
	for (uint64_t i = 1; i <= 500; i++)
		send_error(unique + (i << 20), ENOENT);
	send_error(unique, ENOENT);
}

static void second_init(uint64_t unique)
{
	send_error(init_unique, ENOSYS);
	send_error(unique, ENOENT);
}

static void interrupt_reply(uint64_t unique)
{
	send_error(unique | 1, EAGAIN);
	send_error(unique, ENOENT);
}

static void unknown_notification(uint64_t unique)
{
	send_reply(0, 99, sizeof(struct fuse_out_header) + 20, NULL, 20);
	send_error(unique, ENOENT);
}

static void short_notification(uint64_t unique)
{
	send_reply(0, FUSE_NOTIFY_INVAL_INODE, sizeof(struct fuse_out_header) + 3, NULL, 3);
	send_error(unique, ENOENT);
}

static void lying_notification(uint64_t unique)
{
	struct fuse_notify_store_out out = {.nodeid = 2, .size = 1 << 30};

	send_reply(0, FUSE_NOTIFY_STORE, sizeof(struct fuse_out_header) + sizeof(out), &out, sizeof(out));
	send_error(unique, ENOENT);
}

static void huge_notification(uint64_t unique)
{
	send_reply(0, FUSE_NOTIFY_STORE, sizeof(struct fuse_out_header) + 150000, NULL, 150000);
	send_error(unique, ENOENT);
}

static void keep_nothing(uint64_t unique)
{
	struct relay_key key = {.key = 5};

	send_reply(0, RELAY_NOTIFY_KEEP, sizeof(struct fuse_out_header) + sizeof(key), &key, sizeof(key));
	send_error(unique, ENOENT);
}

static void drop_short(uint64_t unique)
{
	send_reply(0, RELAY_NOTIFY_DROP, sizeof(struct fuse_out_header) + 2, NULL, 2);
	send_error(unique, ENOENT);
}

static void no_type(uint64_t unique)
{
	struct fuse_entry_out entry = {.nodeid = 3, .attr = {.ino = 3, .nlink = 1}};

	send_payload(unique, &entry, sizeof(entry));
}

static void root_again(uint64_t unique)
{
	struct fuse_entry_out entry = {.nodeid = FUSE_ROOT_ID, .attr = attr_of(FUSE_ROOT_ID)};

	send_payload(unique, &entry, sizeof(entry));
}

static void silent(uint64_t unique)
{
	(void)unique;
}

static void other_version(uint64_t unique)
{
	struct relay_hello hello = {.version = 4711};

	(void)unique;
	send_reply(0, RELAY_NOTIFY_HELLO, sizeof(struct fuse_out_header) + sizeof(hello), &hello, sizeof(hello));
}

static void close_channel(uint64_t unique)
{
	(void)unique;
	close(channel);
	for (;;)
		pause();
}

static void leave(uint64_t unique)
{
	(void)unique;
	_exit(0);
}

static void stop(uint64_t unique)
{
	raise(SIGSTOP);
	send_error(unique, ENOENT);
}

static const struct misdeed {
	const char *name;
	void (*act)(uint64_t unique);
	bool once;
} misdeeds[] = {
	{"garbage", garbage, false},
	{"shorter-than-header", shorter_than_header, false},
	{"empty", empty, false},
	{"short-reply", short_reply, false},
	{"no-payload", no_payload, false},
	{"long-reply", long_reply, false},
	{"huge-reply", huge_reply, false},
	{"lying-length", lying_length, false},
	{"error-with-payload", error_with_payload, false},
	{"error-positive", error_positive, false},
	{"error-huge", error_huge, false},
	{"wrong-unique", wrong_unique, false},
	{"duplicate", duplicate, false},
	{"many-replies", many_replies, false},
	{"second-init", second_init, false},
	{"interrupt-reply", interrupt_reply, false},
	{"unknown-notification", unknown_notification, false},
	{"short-notification", short_notification, false},
	{"lying-notification", lying_notification, false},
	{"huge-notification", huge_notification, false},
	{"keep-nothing", keep_nothing, false},
	{"drop-short", drop_short, false},
	{"no-type", no_type, false},
	{"root-again", root_again, false},
	{"silent", silent, true},
	{"other-version", other_version, true},
	{"close-channel", close_channel, true},
	{"leave", leave, true},
	{"stop", stop, true},
};

/* True the first time that this name is asked for, in whichever life. */
static bool first_time(const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%.200s/%.200s", directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void on_lookup(uint64_t unique, const char *name)
{
	struct fuse_entry_out entry = {.nodeid = 2, .attr = attr_of(2)};

	if (strcmp(name, "good") == 0) {
		send_payload(unique, &entry, sizeof(entry));
		return;
	}
	for (size_t i = 0; i < sizeof(misdeeds) / sizeof(misdeeds[0]); i++)
		if (strcmp(name, misdeeds[i].name) == 0 && (!misdeeds[i].once || first_time(name))) {
			misdeeds[i].act(unique);
			return;
		}
	send_error(unique, ENOENT);
}

/* ---- INIT ---------------------------------------------------------------- */

/* Takes this life's word out of the file "init": "" when there is none left. */
static void init_word(char *word, size_t size)
{
	char path[512];
	char text[512] = "";
	size_t length = 0;
	char *rest;
	FILE *file;

	word[0] = '\0';
	snprintf(path, sizeof(path), "%s/init", directory);
	file = fopen(path, "r+e");
	if (!file)
		return;
	length = fread(text, 1, sizeof(text) - 1, file);
	text[length] = '\0';
	rest = text + strcspn(text, " \n");
	if (*rest)
		*rest++ = '\0';
	snprintf(word, size, "%.60s", text);
	rewind(file);
	if (ftruncate(fileno(file), 0) < 0 || fputs(rest, file) < 0)
		_exit(8);
	fclose(file);
}

static void on_init(uint64_t unique, const struct fuse_init_in *in)
{
	struct fuse_init_out out = {
		.major = in->major,
		.minor = in->minor,
		.max_readahead = in->max_readahead,
		.flags = in->flags & (FUSE_BIG_WRITES | FUSE_MAX_PAGES),
		.max_write = 65536,
		.max_pages = 16,
		.max_background = 12,
		.time_gran = 1,
	};
	char word[64];

	init_unique = unique;
	init_word(word, sizeof(word));
	if (strcmp(word, "leave") == 0)
		_exit(0);
	else if (strcmp(word, "abort") == 0)
		abort();
	else if (strcmp(word, "close") == 0)
		close_channel(unique);
	else if (strcmp(word, "error") == 0)
		send_error(unique, EPERM);
	else if (strcmp(word, "short") == 0)
		send_payload(unique, &out, 3);
	else if (strcmp(word, "huge") == 0)
		send_payload(unique, NULL, 100000);
	else if (strcmp(word, "garbage") == 0)
		send_payload(unique, NULL, sizeof(out));
	else
		send_payload(unique, &out, sizeof(out));
}

int main(int argc, char **argv)
{
	static uint8_t packet[256 * 1024];
	const struct fuse_in_header *in = (const void *)packet;
	const char *fd = getenv("RELAY_FD");

	if (argc != 2 || !fd)
		return 2;
	directory = argv[1];
	channel = atoi(fd);
	while (recv(channel, packet, sizeof(packet), 0) > 0) {
		struct fuse_attr_out attr = {.attr = attr_of(in->nodeid)};

		switch (in->opcode) {
		case FUSE_INIT:
			on_init(in->unique, (const void *)(in + 1));
			break;
		case FUSE_LOOKUP:
			on_lookup(in->unique, (const char *)(in + 1));
			break;
		case FUSE_GETATTR:
			send_payload(in->unique, &attr, sizeof(attr));
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			send_error(in->unique, ENOSYS);
		}
	}
	return 0;
}
