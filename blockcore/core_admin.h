/* What the files of admin verbs share (core_admin_*.c). */
#ifndef ISTHMUS_BLOCKCORE_CORE_ADMIN_H
#define ISTHMUS_BLOCKCORE_CORE_ADMIN_H

#include "blockcore/core_impl.h"
#include "runtime/admin.h"

struct core_verb {
	const char *verb;
	admin_handler *handler;
};
/* Verbs that a pool's owner has to carry out are passed on to it (core_admin_pass.c). */
struct core_route {
	struct core *core;
	const struct core_verb *verb;
	TAILQ_ENTRY(core_route) link;
};
int core_admin_route(struct core *c, struct admin_server *s, const struct core_verb *v);
/* Waits. The whole call to the partner, whose reply becomes the call's. Returns its code. */
int core_admin_pass_on(struct core *c, struct admin_call *call);
/* The partner passed it on: it is to be carried out here, or not at all. */
bool core_admin_passed(const struct admin_call *call);
int core_admin_pass_start(struct core *c, struct admin_server *s);

int core_admin_add(struct core *c, struct admin_server *s, const struct core_verb *v, size_t n);

/* Answers with why, "sentence; what to do about it". Returns rc. */
int core_admin_fail(struct admin_call *call, int rc, const char *why);
/* The argument, or "" when it was not given (required ones are checked by the server). */
const char *core_admin_text(const struct admin_call *call, const char *name);
/* progress() of long work: arg is a struct core_progress. */
struct core_progress {
	struct admin_call *call;
	const char *what;
};
void core_admin_progress(void *arg, uint64_t done, uint64_t total);

/* core_admin_pool.c, core_admin_disk.c, core_admin_volume.c: rows that status shows as well; with
 * `bad` only disks that are not well, in a table of their own if there are any. */
void core_admin_put_pools(struct core *c, struct admin_call *call, const char *only);
void core_admin_put_disks(struct core *c, struct admin_call *call, const char *pool, bool bad);
void core_admin_put_volumes(struct core *c, struct admin_call *call, const char *pool);
/* Name of the controller that has the pool; "": none has. */
const char *core_admin_owner(struct core *c, const Isthmus__Pool *mp);
/* Operations, bytes and errors of a volume, into the current row. */
void core_admin_put_counters(struct admin_call *call, struct volume *v);

/* Waits until the head that serves a file system has applied the current metadata; a note tells
 * when it has not. The code the head gave for the file system, with its text (256 bytes). */
int core_admin_wait_head(struct core *c, struct admin_call *call, const char *head, const char *fs,
			 char *text);

#endif
