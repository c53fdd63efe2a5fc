/* Versions of the head program, activated head by head. */
#ifndef ISTHMUS_SERVER_ACTIVATE_H
#define ISTHMUS_SERVER_ACTIVATE_H

#include <stdbool.h>
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/software.h"
#include "server/supervisor/serve_probe.h"

struct supervisor;

#define ACTIVATE_WAIT_S	 15 /* a head is given to come into service */
#define ACTIVATE_ARGS	 (SOFTWARE_HEADS + 4)
#define ACTIVATE_WHY	 400
#define ACTIVATE_HEAD_NS (2 * NS_PER_S) /* a head's answer */
#define ACTIVATE_AWAY_NS (5 * NS_PER_S) /* no controller answers a question of a person's */

struct activation {
	struct supervisor *s;
	struct admin_call *call; /* who waits for it; NULL: nobody */
	uint64_t wait_ns;
	char target[SOFTWARE_NAME], only[SOFTWARE_HEAD_NAME];
	bool one_way, back;
	bool astray; /* a head does not serve with what it ran before either */
	unsigned nheads, done;
	struct software_head heads[SOFTWARE_HEADS];
	struct serve_exports exports[SOFTWARE_HEADS];
	char why[ACTIVATE_WHY];
};

struct activate_args {
	Isthmus__AdminArg arg[ACTIVATE_ARGS], *ptr[ACTIVATE_ARGS];
	unsigned n;
};

/* activate.c: all wait. */
void activate_arg(struct activate_args *a, const char *name, const char *value);
/* The process's own admin socket. */
int activate_ask(struct supervisor *s, const char *kind, const char *name, const char *verb,
		 struct activate_args *a, uint64_t timeout_ns, struct admin_call *via,
		 Isthmus__AdminReply **ret);
/* Whichever controller answers, waiting for one for `limit_ns`; 0: as long as isthmusd lives. */
int activate_ask_any(struct supervisor *s, const char *verb, struct activate_args *a,
		     struct admin_call *via, uint64_t limit_ns, Isthmus__AdminReply **ret);
/* Fills in what stands on the volume (a reply of software.list). True: one is in progress. */
bool activate_take(struct activation *a, const Isthmus__AdminReply *r);
/* Carries out what was taken, or rolls back. -ERR_SHUTDOWN: isthmusd ends; else an error that led
 * to the roll-back, with a->why. */
int activate_run(struct activation *a);
/* A task that goes on with an activation that nobody carries out: the last isthmusd ended in it, or
 * its order was lost. It looks every ten seconds. */
int activate_start(struct supervisor *s);
/* Waits until none is being carried out; s->stopping is set. What is not done is gone on with by
 * the next isthmusd. */
void activate_stop(struct supervisor *s);

/* activate_check.c: waits. Whether a->target can run at the heads that it is about; a->why says,
 * "what; what to do about it". */
int activate_check(struct activation *a);

/* front_software.c: the verbs software.list, software.activate and software.rollback. */
int front_software_register(struct supervisor *s);

#endif
