/*
 * A backend of which the test plays every part: the other end of a channel.
 */
#ifndef TESTS_FAKE_BACKEND_H
#define TESTS_FAKE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fake_packet.h"

struct fake_backend {
	int fd;	     /* the backend's end; -1: it is dead */
	int channel; /* relayd's, the test's to hand over or close */
	uint64_t init_unique;
	struct relay_journal_map journal; /* after fake_backend_hello() */
	uint32_t kept;			  /* descriptors that WELCOME has promised */
	bool serves_rings;		  /* says so in HELLO; the test's to set */
	uint32_t queues;		  /* of the rings that it was given; 0: none */
};

/* Returns 0 or a negative errno. */
int fake_backend_init(struct fake_backend *backend);
/* Dies, and releases what it had.  The channel stays. */
void fake_backend_end(struct fake_backend *backend);

/* The next packet.  Returns false at the end, or if none comes. */
bool fake_backend_receive(struct fake_backend *backend, struct fake_packet *packet);
/* The next packet, if it is a request of this opcode; returns its unique, or 0. */
uint64_t fake_backend_gets(struct fake_backend *backend, uint32_t opcode);
/* Nothing has come. */
bool fake_backend_quiet(struct fake_backend *backend);

bool fake_backend_send(struct fake_backend *backend, const void *packet, uint32_t size);
bool fake_backend_reply(struct fake_backend *backend, uint64_t unique, int error, const void *payload, uint32_t size);
/* A notification, with a descriptor (-1: none). */
bool fake_backend_notify(struct fake_backend *backend, int32_t code, const void *body, uint32_t size, int fd);

/* Receives INIT. */
bool fake_backend_take_init(struct fake_backend *backend, struct fuse_init_in *in);
/* Answers it, wanting these flags. */
bool fake_backend_answer_init(struct fake_backend *backend, uint64_t flags);
/* Says HELLO as librelay does, takes WELCOME and maps the journal. */
bool fake_backend_hello(struct fake_backend *backend);

/* The slot of a request. */
struct relay_slot *fake_backend_slot(const struct fake_backend *backend, uint64_t unique);
/* Stores a reply of no payload in it as librelay does, without sending it. */
void fake_backend_store(const struct fake_backend *backend, uint64_t unique, int error);

#endif
