/* Two clients of a server that lends: a is lent files, b comes in between. For the tests of
 * delegations and of the way back to clients. */
#ifndef ISTHMUS_TESTS_DELEG_WORLD_H
#define ISTHMUS_TESTS_DELEG_WORLD_H

#include <check.h>
#include "nasfront/nfs4/nfs4.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define READ	OPEN4_SHARE_ACCESS_READ
#define WRITE	OPEN4_SHARE_ACCESS_WRITE
#define BOTH	OPEN4_SHARE_ACCESS_BOTH
#define LEASE_S 20
#define QUIET_S 5 /* what was asked for is not lent again before */
#define CALL_S	5 /* a client's time to answer */

extern struct nas nas;
extern struct v4 a, b;
extern struct v4_fh demo, fh;
extern struct v4_stateid open_a, open_b;    /* what they opened last */
extern _Atomic int kept, forgotten, refuse; /* what is kept; refuse: it cannot be */
extern struct nfs4_deleg_stats stats;	    /* by stats_step() */

/* The server with what it is to be given, not serving version 4 yet; the two clients, and a file
 * "f" that nobody has; both. */
void up(void);
void clients(void);
void setup(void);
void down(void);
/* The server's clock goes on by so many seconds. */
void skip(unsigned s);
/* Until what c answered to a call is taken. */
void settle(struct v4 *c);
/* A client with a back channel that was tried. */
void back_client(struct v4 *c, const char *name);
uint32_t open_as(struct v4 *c, uint32_t access, struct v4_stateid *ret);
/* CLAIM_DELEGATE_CUR with a name, or CLAIM_DELEG_CUR_FH. */
uint32_t open_under(struct v4 *c, const char *name, uint32_t access, const struct v4_stateid *under,
		    struct v4_stateid *ret);
/* a has it now: OPEN_DELEGATE_READ or _WRITE. */
void lend(uint32_t kind);
void expect_recall(struct v4 *c);
void give_back(struct v4 *c);
/* Of a compound with SEQUENCE alone. */
uint32_t status_of(struct v4 *c);
void stats_step(struct nas *n);

void add(Suite *s, const char *name, void (*up_fn)(void), const TTest *const *tests,
	 const int *loops, unsigned n);
int run(Suite *s);

#endif
