/*
 * fsserver, with one order of librelay's wrong on purpose: that a name is absent is taken back after
 * the reply of what has made it, not before it is made.  The linker puts the __wrap_ functions
 * in place of librelay's (--wrap).  A race that is not noticed with this proves nothing.
 */
#include <string.h>

#include "internal.h"

int __real_relay_absence_begin(struct absence *absence, const struct absence_request *request,
			       struct absence_window *window);
int __wrap_relay_absence_begin(struct absence *absence, const struct absence_request *request,
			       struct absence_window *window);
void __real_relay_internal_direct_reply(struct relay_req *req, const struct fuse_out_header *out, uint32_t size);
void __wrap_relay_internal_direct_reply(struct relay_req *req, const struct fuse_out_header *out, uint32_t size);

/* The name that the thread's request makes; empty: none. */
static _Thread_local struct {
	uint64_t dir;
	char name[256];
} late;

int __wrap_relay_absence_begin(struct absence *absence, const struct absence_request *request,
			       struct absence_window *window)
{
	const enum relay_absence kind = request->op->absence;
	bool moves = kind == RELAY_ABSENCE_MOVES;
	const char *name = moves ? request->args.name2 : request->args.name;

	if ((!moves && kind != RELAY_ABSENCE_NAMES && kind != RELAY_ABSENCE_BEARS) || !name || strlen(name) > 255)
		return __real_relay_absence_begin(absence, request, window);
	late.dir = moves ? ((const struct fuse_rename2_in *)request->args.in)->newdir : request->nodeid;
	strcpy(late.name, name);
	*window = (struct absence_window){0};
	return 0;
}

void __wrap_relay_internal_direct_reply(struct relay_req *req, const struct fuse_out_header *out, uint32_t size)
{
	struct relay_session *session = req->session;

	__real_relay_internal_direct_reply(req, out, size);
	if (late.name[0])
		relay_absence_drop(session->absence, late.dir, late.name);
	late.name[0] = '\0';
}
