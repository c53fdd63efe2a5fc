/*
 * Two ends of an interconnect, a and b, each on a reactor of its own, and two more reactors on a's
 * side whose tasks call. Both ends serve LINK_SVC_ADMIN:
 *   ECHO     the head and data again
 *   SLOW     the same after the u32 milliseconds of the head
 *   NEVER    no reply before rig_release()
 *   COUNT    one-way: u64 that must be one more than the last
 */
#ifndef ISTHMUS_TESTS_LINK_RIG_H
#define ISTHMUS_TESTS_LINK_RIG_H

#include <stdatomic.h>
#include "blockcore/link/link.h"
#include "runtime/reactor.h"

enum { RIG_ECHO = 1, RIG_SLOW, RIG_NEVER, RIG_COUNT };
#define RIG_CALLERS 2

struct rig_end {
	struct reactor *reactor;
	struct link_opts opts;
	struct link *link;
	_Atomic unsigned ups, downs, died;
	_Atomic uint64_t count, broken; /* one-way messages in order; out of it */
	_Atomic unsigned calls, held;
	struct link_msg *never[64];
	struct link_hello peer;
};

struct rig {
	char dir[64];
	struct rig_end a, b;
	struct reactor *callers[RIG_CALLERS];
};
extern struct rig rig;

/* Makes the reactors and the options: unix sockets, or TCP of 127.0.0.1 from `port` on; two routes
 * of each path. */
void rig_setup(enum link_transport t, unsigned port);
void rig_teardown(void);
void rig_open(struct rig_end *e);
void rig_close(struct rig_end *e);
/* Runs fn(arg) as a task there and waits for its end. */
void rig_run(struct reactor *r, void (*fn)(void *arg), void *arg);
/* In a task or not: waits until the condition, at most 10 s; fails the test after. */
#define RIG_WAIT(cond)                                                                             \
	do {                                                                                       \
		for (unsigned i_ = 0; !(cond); i_++) {                                             \
			ck_assert_msg(i_ < 10000, "waited in vain for " #cond);                    \
			rig_nap();                                                                 \
		}                                                                                  \
	} while (0)
void rig_nap(void); /* 1 ms */
void rig_both_up(void);
void rig_release(struct rig_end *e); /* the held calls are answered with 0 */
/* The options of one end, for a test to change before rig_open(). */
void rig_options(struct rig_end *e, const char *self, const char *peer, enum link_transport t,
		 unsigned port);

#endif
