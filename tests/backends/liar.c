/*
 * A filesystem that lies, for tests:
 *
 *	liar [OPTION…] SOURCE CHANNEL
 *
 * SOURCE is the directory that it shows, CHANNEL /dev/fd/N or a directory to mount
 * on.  It knows nothing of relayd, keeps its word to the kernel as long as it lives,
 * and nothing of what it says outlives it:
 *
 *	--ino=true|zero|nodeid|random|changing	inode numbers
 *	--collide	nodeids count from 2, so two lives give one number to two files
 *	--reuse		a nodeid is given again as soon as it was forgotten
 *	--hardlinks=same|distinct		nodeids of the names of one inode
 *	--cookies=store|index|shuffle		what readdir's offsets mean
 *	--timeout=SECONDS	of entries and attributes, by default 0
 *	--threads=N	that serve, by default 1
 *
 * Generations are always 0.  Locks are in its memory.
 */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WRITE_MAX (128u << 10)
#define ROOM (WRITE_MAX + 4096)

struct liar liar = {.threads = 1, .fd = -1};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

uint64_t liar_mix(uint64_t value)
{
	value ^= value >> 31;
	value *= 0x7fb5d329728ea185u;
	value ^= value >> 27;
	value *= 0x81dadef4bc2dd44du;
	return value ^ value >> 33;
}

const char *liar_name(const struct liar_call *call, size_t at)
{
	const char *name = (const char *)call->in + at;

	return at < call->in_size && memchr(name, '\0', call->in_size - at) ? name : NULL;
}

void liar_answer(uint64_t unique, int error, const void *payload, size_t size)
{
	struct fuse_out_header head = {.len = (uint32_t)(sizeof(head) + size), .error = error, .unique = unique};
	struct iovec parts[2] = {{&head, sizeof(head)}, {(void *)payload, size}};

	/* ENOENT: nobody waits for it any more. */
	if (writev(liar.fd, parts, size ? 2 : 1) < 0 && errno != ENOENT)
		fprintf(stderr, "liar: cannot answer %llu: %s\n", (unsigned long long)unique, strerror(errno));
}

static long do_init(const struct liar_call *call)
{
	const struct fuse_init_in *in = (const void *)call->in;
	struct fuse_init_out *out = (void *)call->out;

	*out = (struct fuse_init_out){
		.major = FUSE_KERNEL_VERSION,
		.minor = 31,
		.max_readahead = in->max_readahead,
		.flags = in->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_POSIX_LOCKS |
				      FUSE_FLOCK_LOCKS | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS),
		.max_background = 16,
		.congestion_threshold = 12,
		.max_write = WRITE_MAX,
		.time_gran = 1,
		.max_pages = WRITE_MAX / 4096,
	};
	return sizeof(*out);
}

static long do_forget(const struct liar_call *call)
{
	const struct fuse_forget_in *in = (const void *)call->in;

	liar_forget(call->head->nodeid, in->nlookup);
	return LIAR_NO_ANSWER;
}

static long do_batch_forget(const struct liar_call *call)
{
	const struct fuse_batch_forget_in *in = (const void *)call->in;
	const struct fuse_forget_one *one = (const void *)(in + 1);

	for (uint32_t i = 0; i < in->count; i++)
		liar_forget(one[i].nodeid, one[i].nlookup);
	return LIAR_NO_ANSWER;
}

static long do_nothing(const struct liar_call *call)
{
	(void)call;
	return 0;
}

static liar_handler *const handlers[] = {
	[FUSE_INIT] = do_init,
	[FUSE_DESTROY] = do_nothing,
	[FUSE_FORGET] = do_forget,
	[FUSE_BATCH_FORGET] = do_batch_forget,
	[FUSE_INTERRUPT] = liar_interrupt,
	[FUSE_LOOKUP] = liar_lookup,
	[FUSE_GETATTR] = liar_getattr,
	[FUSE_SETATTR] = liar_setattr,
	[FUSE_READLINK] = liar_readlink,
	[FUSE_SYMLINK] = liar_symlink,
	[FUSE_MKNOD] = liar_mknod,
	[FUSE_MKDIR] = liar_mkdir,
	[FUSE_UNLINK] = liar_unlink,
	[FUSE_RMDIR] = liar_rmdir,
	[FUSE_RENAME] = liar_rename,
	[FUSE_RENAME2] = liar_rename2,
	[FUSE_LINK] = liar_link,
	[FUSE_STATFS] = liar_statfs,
	[FUSE_OPEN] = liar_open,
	[FUSE_CREATE] = liar_create,
	[FUSE_READ] = liar_read,
	[FUSE_WRITE] = liar_write,
	[FUSE_RELEASE] = liar_release,
	[FUSE_FLUSH] = liar_flush,
	[FUSE_FSYNC] = liar_fsync,
	[FUSE_OPENDIR] = liar_opendir,
	[FUSE_READDIR] = liar_readdir,
	[FUSE_RELEASEDIR] = liar_releasedir,
	[FUSE_FSYNCDIR] = do_nothing,
	[FUSE_GETLK] = liar_getlk,
	[FUSE_SETLK] = liar_setlk,
	[FUSE_SETLKW] = liar_setlkw,
};

static void serve(const uint8_t *request, size_t size, uint8_t *out)
{
	struct liar_call call = {
		.head = (const void *)request,
		.in = request + sizeof(struct fuse_in_header),
		.in_size = size - sizeof(struct fuse_in_header),
		.out = out,
		.out_room = ROOM,
	};
	uint32_t code = call.head->opcode;
	long result = -ENOSYS;

	if (code < sizeof(handlers) / sizeof(handlers[0]) && handlers[code]) {
		memset(out, 0, 256);
		result = handlers[code](&call);
	}
	if (result != LIAR_NO_ANSWER)
		liar_answer(call.head->unique, result < 0 ? (int)result : 0, out, result < 0 ? 0 : (size_t)result);
}

static void *serve_all(void *arg)
{
	uint8_t *request = malloc(ROOM);
	uint8_t *out = malloc(ROOM);
	ssize_t size;

	if (!request || !out) {
		fprintf(stderr, "liar: no memory\n");
		exit(1);
	}
	for (;;) {
		size = read(liar.fd, request, ROOM);
		if (size < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (size < (ssize_t)sizeof(struct fuse_in_header))
			break;
		pthread_mutex_lock(&lock);
		serve(request, (size_t)size, out);
		pthread_mutex_unlock(&lock);
	}
	/* The end of the channel is the end of the process, whoever sees it. */
	exit(size < 0 && errno != ENODEV);
	return arg;
}

/* The place of a word in a list, from 0. */
static unsigned choose(const char *word, const char *const *list)
{
	for (unsigned i = 0; list[i]; i++)
		if (strcmp(word, list[i]) == 0)
			return i;
	fprintf(stderr, "liar: %s is none of its lies\n", word);
	exit(2);
}

static void channel_open(const char *channel)
{
	char options[128];
	int number;

	if (sscanf(channel, "/dev/fd/%d", &number) == 1) {
		liar.fd = number;
		return;
	}
	liar.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", liar.fd);
	if (liar.fd < 0 || mount("liar", channel, "fuse.liar", 0, options) < 0) {
		fprintf(stderr, "liar: %s: %s\n", channel, strerror(errno));
		exit(1);
	}
}

static void options_parse(int argc, char **argv)
{
	static const char *const inos[] = {"true", "zero", "nodeid", "random", "changing", NULL};
	static const char *const cookies[] = {"store", "index", "shuffle", NULL};
	static const char *const links[] = {"same", "distinct", NULL};
	static const struct option options[] = {
		{"ino", required_argument, NULL, 'i'},	   {"collide", no_argument, NULL, 'c'},
		{"reuse", no_argument, NULL, 'r'},	   {"hardlinks", required_argument, NULL, 'h'},
		{"cookies", required_argument, NULL, 'd'}, {"timeout", required_argument, NULL, 't'},
		{"threads", required_argument, NULL, 'n'}, {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'i':
			liar.ino = (enum liar_ino)choose(optarg, inos);
			break;
		case 'c':
			liar.collide = true;
			break;
		case 'r':
			liar.reuse = true;
			break;
		case 'h':
			liar.distinct = choose(optarg, links) == 1;
			break;
		case 'd':
			liar.cookies = (enum liar_cookies)choose(optarg, cookies);
			break;
		case 't':
			liar.timeout = strtod(optarg, NULL);
			break;
		case 'n':
			liar.threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		default:
			exit(2);
		}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: liar [OPTION...] SOURCE CHANNEL\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct timespec now;
	pthread_t thread;

	options_parse(argc, argv);
	umask(0);
	clock_gettime(CLOCK_REALTIME, &now);
	liar.seed = liar_mix((uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32);
	liar.root = open(argv[optind], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (liar.root < 0) {
		fprintf(stderr, "liar: %s: %s\n", argv[optind], strerror(errno));
		return 1;
	}
	liar_nodes_init();
	channel_open(argv[optind + 1]);
	for (unsigned i = 1; i < liar.threads; i++)
		if (pthread_create(&thread, NULL, serve_all, NULL) != 0) {
			fprintf(stderr, "liar: no thread\n");
			return 1;
		}
	serve_all(NULL);
	return 1;
}
