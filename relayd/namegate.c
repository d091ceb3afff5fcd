/*
 * The namespace gate: two sides, of which one at a time is inside.
 *
 * Nobody new joins those inside while the other side waits, and when the last of
 * them leaves, all who wait on the other side by then are admitted at once: so each
 * side waits for one batch of the other at most.
 */
#include "namegate.h"

void namegate_init(struct namegate *gate)
{
	*gate = (struct namegate){.is_shut = false};
	pthread_mutex_init(&gate->lock, NULL);
	pthread_cond_init(&gate->changed, NULL);
}

void namegate_deinit(struct namegate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->lock);
}

static bool side_free(const struct namegate *gate, const struct namegate_side *other)
{
	return !gate->is_shut && other->inside == 0 && other->waiting == 0;
}

static bool side_begin(struct namegate *gate, struct namegate_side *side, const struct namegate_side *other)
{
	unsigned life;
	bool may;

	pthread_mutex_lock(&gate->lock);
	life = gate->life;
	may = side_free(gate, other);
	if (!may && !gate->is_shut) {
		side->waiting++;
		while (gate->life == life && (other->inside > 0 || side->admitted == 0))
			pthread_cond_wait(&gate->changed, &gate->lock);
		side->waiting--;
		may = gate->life == life;
		if (may)
			side->admitted--;
	}
	if (may)
		side->inside++;
	pthread_mutex_unlock(&gate->lock);
	return may;
}

static void side_end(struct namegate *gate, struct namegate_side *side, struct namegate_side *other)
{
	pthread_mutex_lock(&gate->lock);
	if (side->inside > 0 && --side->inside == 0) {
		other->admitted = other->waiting;
		/* Of this side there may be some whom the other side's waiting has kept out. */
		if (other->waiting == 0)
			side->admitted = side->waiting;
		pthread_cond_broadcast(&gate->changed);
	}
	pthread_mutex_unlock(&gate->lock);
}

bool namegate_walk_begin(struct namegate *gate)
{
	return side_begin(gate, &gate->walks, &gate->changes);
}

void namegate_walk_end(struct namegate *gate)
{
	side_end(gate, &gate->walks, &gate->changes);
}

bool namegate_change_try(struct namegate *gate)
{
	bool may;

	pthread_mutex_lock(&gate->lock);
	may = side_free(gate, &gate->walks);
	if (may)
		gate->changes.inside++;
	pthread_mutex_unlock(&gate->lock);
	return may;
}

bool namegate_change_begin(struct namegate *gate)
{
	return side_begin(gate, &gate->changes, &gate->walks);
}

void namegate_change_end(struct namegate *gate)
{
	side_end(gate, &gate->changes, &gate->walks);
}

void namegate_shut(struct namegate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->is_shut = true;
	gate->life++;
	gate->changes.inside = 0;
	gate->changes.admitted = gate->walks.admitted = 0;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

void namegate_open(struct namegate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->is_shut = false;
	pthread_mutex_unlock(&gate->lock);
}
