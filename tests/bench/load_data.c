/*
 * Works on data.  Each thread has a file of its own, all of which is written before it
 * is measured, and no operation reaches beyond its end.  Random ones are O_DIRECT;
 * sequential ones go through the page cache, from which --drop takes what was read
 * before it is read again: otherwise the filesystem would be asked once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

static int data_begin(struct worker *worker, int flags)
{
	struct stat st;

	worker->path = load_path(worker->load, "data%u", worker->number);
	worker->buffer = aligned_alloc(LOAD_BLOCK, LOAD_CHUNK);
	if (!worker->path || !worker->buffer)
		return -ENOMEM;
	memset(worker->buffer, (int)worker->number + 1, LOAD_CHUNK);
	worker->fd = open(worker->path, flags | O_CLOEXEC);
	if (worker->fd < 0)
		return load_failed("open", worker->path);
	if (fstat(worker->fd, &st) < 0)
		return load_failed("fstat", worker->path);
	if ((uint64_t)st.st_size == worker->load->file_size)
		return 0;
	errno = EINVAL;
	return load_failed("its size is not what --prepare gave it", worker->path);
}

static void data_end(struct worker *worker)
{
	if (worker->fd >= 0)
		close(worker->fd);
	free(worker->buffer);
	free(worker->path);
}

static int random_begin(struct worker *worker)
{
	return data_begin(worker, O_RDWR | O_DIRECT);
}

static int sequential_begin(struct worker *worker)
{
	return data_begin(worker, O_RDWR);
}

/* xorshift64*, from a seed that is the thread's number: the same places in each column. */
static off_t random_offset(struct worker *worker)
{
	uint64_t x = worker->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	worker->random = x;
	x *= 0x2545f4914f6cdd1dull;
	return (off_t)((x >> 16) % (worker->load->file_size / LOAD_BLOCK) * LOAD_BLOCK);
}

/* A part of what was asked for would be counted as all of it. */
static int transferred(ssize_t did, size_t wanted, const char *what, const struct worker *worker)
{
	if (did == (ssize_t)wanted)
		return 1;
	if (did >= 0)
		errno = EIO;
	return load_failed(what, worker->path);
}

static int randread_step(struct worker *worker)
{
	return transferred(pread(worker->fd, worker->buffer, LOAD_BLOCK, random_offset(worker)), LOAD_BLOCK, "read",
			   worker);
}

static int randwrite_step(struct worker *worker)
{
	return transferred(pwrite(worker->fd, worker->buffer, LOAD_BLOCK, random_offset(worker)), LOAD_BLOCK, "write",
			   worker);
}

static off_t next_chunk(struct worker *worker)
{
	off_t at = (off_t)worker->offset;

	worker->offset += LOAD_CHUNK;
	if (worker->offset >= worker->load->file_size)
		worker->offset = 0;
	return at;
}

static int seqread_step(struct worker *worker)
{
	off_t at = next_chunk(worker);

	if (at == 0 && worker->load->drop) {
		int error = posix_fadvise(worker->fd, 0, 0, POSIX_FADV_DONTNEED);

		if (error) {
			errno = error;
			return load_failed("fadvise", worker->path);
		}
	}
	return transferred(pread(worker->fd, worker->buffer, LOAD_CHUNK, at), LOAD_CHUNK, "read", worker);
}

static int seqwrite_step(struct worker *worker)
{
	return transferred(pwrite(worker->fd, worker->buffer, LOAD_CHUNK, next_chunk(worker)), LOAD_CHUNK, "write",
			   worker);
}

const struct work load_works_data[] = {
	{.name = "randread", .begin = random_begin, .step = randread_step, .end = data_end},
	{.name = "randwrite", .begin = random_begin, .step = randwrite_step, .end = data_end},
	{.name = "seqread", .begin = sequential_begin, .step = seqread_step, .end = data_end},
	{.name = "seqwrite", .begin = sequential_begin, .step = seqwrite_step, .end = data_end},
	{0},
};
