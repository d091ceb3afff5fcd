/*
 * What a session knows not to exist: the rules of absence.h around its handlers, and what the
 * filesystem adds to that.
 *
 * What a request makes untrue is taken back before its handler is called.  What its reply says
 * is written down when the reply is stored, and before it is sent: an id that it names is
 * then the state's, in each incarnation.  A process dying in between leaves less known than there
 * could be.  The next one finds what was written down and no table of it: it takes back what
 * it changes.
 *
 * Without maps, or if init() has not asked for them, a request costs a look at a pointer.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "absence_maps.h"
#include "cache_options.h"

int relay_internal_absences_take(struct relay_session *session, const struct relay_absences *absences, const int *fds)
{
	struct cache_maps *maps = malloc(sizeof(*maps));
	struct cache_maps taken;

	memcpy(taken.fd, fds, sizeof(taken.fd));
	if (!maps) {
		relay_internal_cache_maps_close(&taken);
		return -ENOMEM;
	}
	*maps = taken;
	session->maps = maps;
	session->absences = *absences;
	return 0;
}

int relay_internal_absences_begin(struct relay_session *session, uint64_t flags)
{
	const struct relay_cache_options options = {
		.trust = session->absences.trust,
		.negative_ms = session->absences.negative_ms,
	};
	struct absence_trust trust;

	if (!session->maps)
		return 0;
	/* Nobody would take back what an earlier incarnation has written down. */
	if (!session->absences_kept)
		return session->incarnation > 1 ? relay_absence_maps.clear(session->maps) : 0;
	trust = relay_internal_cache_trust(&options, session->absences.same_for_all || flags & FUSE_POSIX_ACL);
	session->absence = relay_absence_new(&relay_absence_maps, session->maps, &trust, session->incarnation > 1);
	return session->absence ? 0 : -ENOMEM;
}

void relay_internal_absences_end(struct relay_session *session)
{
	relay_absence_free(session->absence);
	if (session->maps)
		relay_internal_cache_maps_close(session->maps);
	free(session->maps);
	session->absence = NULL;
	session->maps = NULL;
}

/* ---- requests ---------------------------------------------------------------- */

static struct absence_request request_of(const struct relay_req *req)
{
	return (struct absence_request){
		.op = req->op,
		.nodeid = req->header->nodeid,
		.args = req->args,
		.redo = req->redo,
	};
}

int relay_internal_absence_begin(struct relay_req *req)
{
	const struct absence_request request = request_of(req);

	return relay_absence_begin(req->session->absence, &request, &req->window);
}

void relay_internal_absence_end(struct relay_req *req, const struct fuse_out_header *out)
{
	const struct absence_request request = request_of(req);
	const struct absence_reply reply = {
		.error = -out->error,
		.payload = out + 1,
		.size = out->len - (uint32_t)sizeof(*out),
	};

	/* What was detached has lost its names, which are what is to be learnt from. */
	if (req->detached)
		relay_absence_close(req->session->absence, &req->window);
	else
		relay_absence_end(req->session->absence, &request, &req->window, &reply);
}

/* ---- the filesystem's own ------------------------------------------------------ */

int relay_known_keep(struct relay_session *session)
{
	session->absences_kept = true;
	return session->maps ? 0 : -EOPNOTSUPP;
}

int relay_known_absent(struct relay_session *session, uint64_t dir, const char *name, uint64_t lease)
{
	return session->absence ? relay_absence_put(session->absence, dir, name, lease) : -EOPNOTSUPP;
}

int relay_known_no_xattr(struct relay_session *session, uint64_t nodeid, const char *name, uint64_t lease)
{
	return session->absence ? relay_absence_put_xattr(session->absence, nodeid, name, lease) : -EOPNOTSUPP;
}

int relay_known_complete(struct relay_session *session, uint64_t dir, const char *const *names, uint32_t count)
{
	return session->absence ? relay_absence_complete(session->absence, dir, names, count) : -EOPNOTSUPP;
}

int relay_known_drop(struct relay_session *session, uint64_t dir, const char *name)
{
	return session->absence ? relay_absence_drop(session->absence, dir, name) : 0;
}

int relay_known_drop_xattrs(struct relay_session *session, uint64_t nodeid)
{
	return session->absence ? relay_absence_drop_xattrs(session->absence, nodeid) : 0;
}

int relay_known_stale(struct relay_session *session, uint64_t dir, const char *name)
{
	return session->absence ? relay_absence_stale(session->absence, dir, name) : 0;
}
