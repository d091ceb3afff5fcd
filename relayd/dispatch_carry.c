/*
 * The carrier: the thread that moves requests and replies.
 *
 * It waits for both ends at once and blocks on neither, so that it is awake when a second
 * wake-up would cost more than the request (docs/performance.md), and so that no end can
 * keep it from the other: a backend that takes nothing leaves one request held and the
 * rest with the kernel, and its replies go on to the kernel.
 *
 * Others change what it goes by (a channel begins, the gate opens, a slot is freed that
 * it is starving for, the end), and have it look with dispatch_kick().
 *
 * What survives it: nothing needs to.  A slot that it is about to read into is as free; what
 * it holds is in the journal.
 */
#include "dispatch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "rights.h"

#define BATCH 16u	 /* of one end before the other is looked at */
#define GREED_ROUNDS 16u /* so often more than one is looked for where there was no more */

#define SPIN_NS 50000u	   /* no longer than about two wake-ups take */
#define SPIN_OTHER 4u	   /* each so many a look at the end that is less likely */
#define SPIN_VAIN 4u	   /* so often in vain, and it is skipped for a while: */
#define SPIN_VAIN_MOST 10u /* for 2^4 to 2^10 times */
#define UNPOLLED 64u	   /* looks at both ends, and then one at all that is polled */

/* What backends may forget waits for more of it: for so long, or for so many requests. */
#define FORGETS_MS 1
#define FORGETS_REQUESTS 64u

/*
 * Whether to look for more behind what an end had.  To look in vain is a system call, which one
 * client's requests never need: so only where it was worth it the last time, or once in a while.
 */
struct greed {
	bool worth;
	uint32_t rounds; /* without */
};

/*
 * Whether to stay awake for what comes next.  One for each end: a backend may answer at once to a
 * client that takes its time, or the other way round.
 */
struct spin {
	uint32_t vain; /* how often in a row it was no use */
	uint32_t skip; /* so often it is not tried */
};

struct carry {
	struct dispatch *dispatch;
	int channel;	      /* that is served; -1: none */
	uint32_t serial;      /* its number */
	uint32_t incarnation; /* and whose it is */
	uint32_t requests;    /* since FORGETs were sent */
	bool postponed;	      /* they cannot be sent before something else happens */
	struct greed channel_greed;
	struct greed device_greed;
	struct spin reply_spin;
	struct spin request_spin;
	bool asked;	   /* the last thing that was moved is a request: a reply is likelier to be next */
	uint32_t unpolled; /* looks since poll() */
};

int dispatch_kick_init(struct dispatch *dispatch)
{
	dispatch->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return dispatch->kick < 0 ? -errno : 0;
}

void dispatch_kick(struct dispatch *dispatch)
{
	const uint64_t one = 1;

	/* It cannot fail: the counter does not come to its end. */
	if (write(dispatch->kick, &one, sizeof(one)) < 0)
		log_debug("%s: eventfd: %s", dispatch->name, strerror(errno));
}

/* Somebody has changed something. */
static void kick_take(struct carry *carry)
{
	struct dispatch *dispatch = carry->dispatch;
	uint64_t count;

	if (read(dispatch->kick, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&dispatch->lock);
	if (dispatch->serial != carry->serial) {
		carry->serial = dispatch->serial;
		carry->channel = dispatch->channel;
		carry->incarnation = dispatch->incarnation;
		dispatch->forgets_singly = false;
	}
	pthread_mutex_unlock(&dispatch->lock);
}

/* How much to take from an end that has something. */
static unsigned greed_begin(struct greed *greed)
{
	return greed->worth || ++greed->rounds % GREED_ROUNDS == 0 ? BATCH : 1;
}

static void greed_end(struct greed *greed, unsigned most, unsigned taken)
{
	if (most > 1 && taken)
		greed->worth = taken > 1;
}

static bool channel_take(struct carry *carry)
{
	struct dispatch *dispatch = carry->dispatch;
	unsigned most = greed_begin(&carry->channel_greed), count;

	for (count = 0; count < most && carry->channel >= 0; count++) {
		int result = dispatch_channel_take(dispatch, carry->channel);

		if (result == -EAGAIN)
			break;
		if (result == 0)
			continue;
		carry->channel = -1;
		/* Nothing is answered any more: who waits for that is told, before anybody waits for this end. */
		repair_end(&dispatch->repair, carry->incarnation);
		dispatch_event(dispatch, DISPATCH_DRAINED);
	}
	greed_end(&carry->channel_greed, most, count);
	if (count)
		carry->asked = false;
	return count > 0;
}

static bool device_take(struct carry *carry)
{
	struct dispatch *dispatch = carry->dispatch;
	unsigned most = greed_begin(&carry->device_greed), count = 0;

	while (count < most && dispatch_device_ready(dispatch) && dispatch_device_take(dispatch))
		count++;
	greed_end(&carry->device_greed, most, count);
	carry->requests += count;
	if (count)
		carry->asked = true;
	return count > 0;
}

/* ---- staying awake --------------------------------------------------------- */

static bool spin_worth(struct spin *spin)
{
	if (!spin->skip)
		return true;
	spin->skip--;
	return false;
}

static bool spin_end(struct spin *spin, bool found)
{
	if (found)
		spin->vain = 0;
	else if (++spin->vain >= SPIN_VAIN)
		spin->skip = 1u << (spin->vain < SPIN_VAIN_MOST ? spin->vain : SPIN_VAIN_MOST);
	return found;
}

/* Looks at both ends for a while, at the likelier one more often. */
static bool spin(struct carry *carry)
{
	struct spin *side = carry->asked ? &carry->reply_spin : &carry->request_spin;
	uint64_t until;
	bool found = false;

	/* In the direct lane, and while a request is held, there is no round trip to be awake for. */
	if (carry->channel < 0 || !dispatch_device_ready(carry->dispatch) || !spin_worth(side))
		return false;
	until = dispatch_now_ns() + SPIN_NS;
	for (unsigned i = 1; !found && (i % SPIN_OTHER || dispatch_now_ns() < until); i++)
		found = (i % SPIN_OTHER == 0) == carry->asked ? device_take(carry) : channel_take(carry);
	return spin_end(side, found);
}

/* ---- the round --------------------------------------------------------------- */

static void forgets_send(struct carry *carry)
{
	carry->requests = 0;
	carry->postponed = !dispatch_forgets_send(carry->dispatch);
}

/* Sleeps until there is something to be done, and does it. */
static void carry_wait(struct carry *carry)
{
	struct dispatch *dispatch = carry->dispatch;
	bool forgets = dispatch_forgets(dispatch) && !carry->postponed;
	struct pollfd pollers[] = {
		{.fd = dispatch->kick, .events = POLLIN},
		{.fd = carry->channel, .events = POLLIN | (dispatch->wants_room ? POLLOUT : 0)},
		{.fd = dispatch_device_ready(dispatch) ? dispatch->session->fd : -1, .events = POLLIN},
	};
	int count = poll(pollers, 3, forgets ? FORGETS_MS : -1);

	if (forgets && (count == 0 || carry->requests >= FORGETS_REQUESTS))
		forgets_send(carry);
	if (count <= 0)
		return;
	carry->postponed = false;
	if (pollers[0].revents)
		kick_take(carry);
	if (pollers[1].revents)
		channel_take(carry);
	if (dispatch->holds)
		dispatch_held_send(dispatch);
	if (pollers[2].revents)
		device_take(carry);
}

void *dispatch_carrier(void *arg)
{
	struct carry carry = {.dispatch = arg, .channel = -1};

	rights_lower();
	while (!atomic_load(&carry.dispatch->stop)) {
		if (++carry.unpolled < UNPOLLED && spin(&carry))
			continue;
		carry.unpolled = 0;
		carry_wait(&carry);
	}
	return NULL;
}
