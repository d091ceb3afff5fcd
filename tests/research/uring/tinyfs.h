/*
 * The filesystem of the experiments: whatever the transport, a request goes in
 * and a reply comes out, so that only the transport differs.
 *
 * The root holds any name of one letter f and a number. Each is a file of 1 GiB
 * whose 8-byte words are their own offsets. Nothing is cached: all timeouts are
 * zero and files are opened for direct I/O. The name "flip" is another inode at
 * each LOOKUP, which makes the kernel send a FORGET.
 */
#ifndef RESEARCH_TINYFS_H
#define RESEARCH_TINYFS_H

#include <stddef.h>

#include <relay/fuse_abi.h>

#define TINYFS_MAX_IO (1u << 20) /* of one READ or WRITE */

/*
 * Answers one request: `op` is the opcode's own header, `arg` what follows it,
 * `out` has room for TINYFS_MAX_IO bytes and may be where `arg` is. Returns the
 * length of the reply, or a negative errno. Requests without a reply give -EALREADY.
 */
int tinyfs_answer(const struct fuse_in_header *in, const void *op, const void *arg, void *out);

/* How many bytes of a request of this opcode are its own header. */
size_t tinyfs_op_size(unsigned int opcode);

#endif
