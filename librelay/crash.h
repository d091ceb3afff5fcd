/*
 * Crash points: named places at which a test has the process end by SIGKILL.
 * They are in librelay_crash.la only, which tests link (-DRELAY_CRASH_POINTS); in
 * the library itself they are nothing.
 *
 *   read         a request was read from /dev/fuse (direct lane) or the rings, its slot is in READING
 *   claimed      an entry of the rings was claimed, nothing of it was copied (lane `uring`)
 *   received     a request is decoded, nothing has been done about it
 *   prerecorded  APPLYING is published (or was found so: a redo)
 *   applied      a reply function was called: the store has changed
 *   stored       APPLIED is published; of a BATCH_FORGET also each item's commit
 *   answered     the reply is in the rings, and the keeper was not kicked (lane `uring`)
 *   sent         the reply was sent
 *   kept         a descriptor was left with relayd ("KEEP kept")
 *   asked        relayd, or the kernel, was (is to be) asked to register a file ("BACK asked")
 *   registered   the kernel has registered it without relayd, and the id is nowhere ("BACK registered")
 *   backed       the id is in a table, and in nobody's state ("BACK backed")
 *   rollback     one word of the state was given back, others may not be (of the
 *                restart: "INIT rollback"; else the request is aborting)
 *
 * relayd-crash has points of its own:
 *
 *   WHAT put, kept, dropped, take   a descriptor is about to be with the keeper, is there, is
 *                                   let go of, is taken over (relayd/fdstore.c)
 *   record written, published       the facts of a mount (relayd/record.c)
 *   request read, published, sending, sent; reply taken, stored, written
 *                                   a request of the socket lane, or of a redo (relayd/dispatch*.c)
 *   life begun, redone, ended       an incarnation
 *
 * The file named by $RELAY_CRASH_FILE has lines "OPCODE point count": the process
 * ends at that point of that opcode if count is not 0, after taking 1 off it in
 * the file; or stays there for ever, if the line has "hang" behind that.  The file
 * is opened at the first point that a process comes to and made if need be; plans
 * are changed by writing to it in place.
 */
#ifndef RELAY_CRASH_H
#define RELAY_CRASH_H

#ifdef RELAY_CRASH_POINTS
void relay_internal_crash_point(const char *opcode, const char *point);
#define RELAY_CRASH_POINT(opcode, point) relay_internal_crash_point(opcode, point)
#else
#define RELAY_CRASH_POINT(opcode, point) ((void)(opcode))
#endif

#endif
