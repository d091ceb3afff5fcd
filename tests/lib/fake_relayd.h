/*
 * relayd's side of a channel, for tests of librelay: a journal, the handshake,
 * requests out of slots, and as many incarnations of a backend as a test wants,
 * each in a process of its own.
 *
 * Whatever cannot be and is not the test's subject ends the test by abort(), with
 * the place on stderr.  Every wait has a deadline.
 */
#ifndef TESTS_FAKE_RELAYD_H
#define TESTS_FAKE_RELAYD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/rings.h"

#define FAKE_KEPT_MAX 16u
#define FAKE_NOTIFY_MAX 64u
#define FAKE_BACKED_MAX 16u
#define FAKE_QUEUES 2u

struct fake_kept {
	uint64_t key;
	int fd;
};

struct fake_packet {
	uint32_t size; /* 0: the channel has ended */
	union {
		struct fuse_out_header out;
		_Alignas(8) uint8_t bytes[RELAY_MAX_REPLY + 4096];
	};
};

struct fake_relayd {
	int journal_fd;
	struct relay_journal_map map;
	int channel; /* -1: no backend */
	pid_t backend;
	uint32_t incarnation;
	uint64_t sequence;
	struct fake_kept kept[FAKE_KEPT_MAX];
	unsigned kept_count;
	/* Whether files can be registered; the ids of those that are; what BACK is answered, if not 0. */
	bool passthrough;
	int32_t backed[FAKE_BACKED_MAX];
	unsigned backed_count;
	const int *maps; /* KNOWN_MAPS descriptors of what does not exist; NULL: none are given */
	struct relay_absences absences;
	int32_t back_answer;
	int32_t back_last;
	/* Codes of the notifications that came, private ones aside; and the last one. */
	int32_t notified[FAKE_NOTIFY_MAX];
	unsigned notify_count;
	struct fake_packet notice;
	struct fake_packet reply; /* the last one received */

	/* Direct lane: a pair of sockets is /dev/fuse. */
	int kernel; /* the kernel's side; -1: the socket lane */
	int device; /* the side that backends read and write */
	uint64_t kernel_sequence;
	struct fake_packet answer; /* the last one written to the device */

	/* Lane `uring`: the test is the keeper. */
	struct relay_rings_map rings; /* not there: another lane */
	int rings_fd;
	int kicks[FAKE_QUEUES];
};

void fake_relayd_init(struct fake_relayd *fake, uint32_t large, uint32_t small);
void fake_relayd_deinit(struct fake_relayd *fake);

/* Starts main_(channel, arg) in a process of its own, which leaves with what it returns, as an errno. */
void fake_start(struct fake_relayd *fake, int (*main_)(int channel, void *arg), void *arg);

/* Waits until the backend is dead and takes what it has left in the channel.  Returns its wait status. */
int fake_wait(struct fake_relayd *fake);
/* Kills it first. */
int fake_kill(struct fake_relayd *fake);
/* Closes the channel, and waits.  Returns the wait status. */
int fake_end(struct fake_relayd *fake);

/* ---- the handshake, in steps and as a whole ---------------------------- */

void fake_send_init(struct fake_relayd *fake, uint32_t minor, uint64_t flags);
/* True if it came, and then it is in fake->notice. */
bool fake_expect_hello(struct fake_relayd *fake);
void fake_send_welcome(struct fake_relayd *fake, uint32_t version);
/* What follows it in the lane `uring`. */
void fake_send_rings(struct fake_relayd *fake);
/* A message of relayd's own, with a descriptor, or -1. */
void fake_send_private(struct fake_relayd *fake, uint32_t opcode, const void *body, uint32_t size, int fd);
void fake_send_kept(struct fake_relayd *fake);
/* Starts, and goes through it to the answer of INIT, which is in fake->reply.  False: it died on the way. */
bool fake_begin(struct fake_relayd *fake, int (*main_)(int channel, void *arg), void *arg);

/* ---- requests ---------------------------------------------------------- */

/* Puts a request into the slot, TAKEN, and returns its unique on the channel. */
uint64_t fake_take(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
		   uint32_t size);
/* Sends what is in the slot: in the direct lane its header. */
void fake_send(struct fake_relayd *fake, uint32_t slot);
/* Both. */
uint64_t fake_request(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
		      uint32_t size);
void fake_send_raw(struct fake_relayd *fake, const void *packet, uint32_t size);
void fake_send_interrupt(struct fake_relayd *fake, uint64_t unique);

/*
 * Waits for the next reply, taking note of notifications on the way.  It is in
 * fake->reply; returns its unique, or 0 if the channel has ended.
 */
uint64_t fake_receive(struct fake_relayd *fake);
/* Sends a request and waits for its reply.  Returns the error (0 or negative), or 1 if the channel has ended. */
int fake_call(struct fake_relayd *fake, uint32_t slot, uint32_t opcode, uint64_t nodeid, const void *body,
	      uint32_t size);
/* Waits until a notification with this code has come. */
void fake_expect_notice(struct fake_relayd *fake, int32_t code);

struct relay_slot *fake_slot(struct fake_relayd *fake, uint32_t slot);
uint32_t fake_slot_state(struct fake_relayd *fake, uint32_t slot);
const struct fuse_out_header *fake_stored_reply(struct fake_relayd *fake, uint32_t slot);
void fake_slot_free(struct fake_relayd *fake, uint32_t slot);

/* The descriptor kept under the key, or -1. */
int fake_kept_get(const struct fake_relayd *fake, uint64_t key);

/* ---- the direct lane --------------------------------------------------- */

/* From here on backends get a device with the journal. */
void fake_direct(struct fake_relayd *fake);
void fake_send_go(struct fake_relayd *fake);
void fake_send_pause(struct fake_relayd *fake);

/* Puts a request into the kernel's queue, and returns its unique. */
uint64_t fake_device_request(struct fake_relayd *fake, uint32_t opcode, uint64_t nodeid, const void *body,
			     uint32_t size);
void fake_device_raw(struct fake_relayd *fake, const void *packet, uint32_t size);
void fake_device_interrupt(struct fake_relayd *fake, uint64_t unique);
/* Waits for the next answer on the device, which is in fake->answer.  Returns its unique. */
uint64_t fake_device_receive(struct fake_relayd *fake);
/* Requests and waits for the answer.  Returns the error (0 or negative). */
int fake_device_call(struct fake_relayd *fake, uint32_t opcode, uint64_t nodeid, const void *body, uint32_t size);
/* The mount has ended: read() says so. */
void fake_device_gone(struct fake_relayd *fake);
/* No answer is there. */
bool fake_device_quiet(struct fake_relayd *fake);

/* The slot whose request buffer begins with the kernel's unique: UINT32_MAX if none. */
uint32_t fake_find(struct fake_relayd *fake, uint64_t unique);
struct fuse_in_header *fake_slot_header(struct fake_relayd *fake, uint32_t slot);
/* Makes what a dead backend has left in the slot a request of relayd's, as relayd does, and returns its unique. */
uint64_t fake_import(struct fake_relayd *fake, uint32_t slot);

/* ---- the lane `uring` ---------------------------------------------------- */

/* From here on backends get a device and rings with the journal. */
void fake_rings(struct fake_relayd *fake);
/* Puts a request into an entry, as the kernel does: nobody is told.  Returns its unique. */
uint64_t fake_ring_fill(struct fake_relayd *fake, uint32_t entry, uint32_t opcode, uint64_t nodeid, const void *body,
			uint32_t size);
/* Publishes it, as the keeper does. */
void fake_ring_publish(struct fake_relayd *fake, uint32_t entry);
/* Waits for the entry's answer, by its queue's eventfd, and takes it.  Returns the error (0 or negative). */
int fake_ring_answer(struct fake_relayd *fake, uint32_t entry);

/* ---- crash plans (librelay/crash.h) ------------------------------------ */

/* Writes the plan; NULL: none.  The file is made with the first one, and is gone with the process. */
void fake_crash_plan(const char *plan);
/* What is left of it. */
void fake_crash_left(char *text, size_t size);

#endif
