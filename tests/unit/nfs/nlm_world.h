/*
 * The lock manager over a nas_world: calls as bytes over UDP and TCP, and a client's end
 * (portmapper, lock manager and state monitor in one socket) played by the test. Fails by
 * ck_assert.
 */
#ifndef ISTHMUS_TESTS_NLM_WORLD_H
#define ISTHMUS_TESTS_NLM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include "nasfront/nfs/fh.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/rpc/xdr.h"
#include "tests/unit/nfs/nas_world.h"

/* nlm4_stats */
enum { GRANTED, DENIED, NOLOCKS, BLOCKED, GRACE, DEADLCK, ROFS, STALE, FBIG, FAILED };

extern struct nas nas;
extern struct nlm *nlm;
extern uint8_t handle[FH_SIZE], handle_ro[FH_SIZE]; /* of one file, by /demo and by /ro */
extern int kept, kept_gone;			    /* times a client was kept, taken out */
extern bool fail_keep;
extern unsigned begin_count; /* whom begin() says to have been kept: 0 or 1, "old" */

/* Where calls come from; an address of NULL: anywhere. up() sets it so. */
extern struct nlm_from {
	const char *address;
	bool privileged; /* a port below 1024 */
} nlm_from;

void up(void); /* what was kept is not known yet */
void begin(struct nas *n);
void up_granting(void);
/* The same with a store; replace(): the server dies, and another has what was synced. */
struct mem_store;
void up_stored(struct mem_store *store);
void replace(void);
void down(void);

struct args {
	const char *name;
	uint32_t svid, state;
	bool block, exclusive, reclaim, ro;
	uint64_t off, len;
	uint32_t vers; /* 0: 4 */
	const char *oh;
};

/* The results; *ret_accept as told. */
struct xdr_in call(uint32_t prog, uint32_t vers, uint32_t proc, struct xdr_out *args, bool tcp,
		   uint32_t *ret_accept);
struct xdr_in nlm_call(uint32_t proc, const struct args *a, bool tcp);
uint32_t stat_of(struct xdr_in r);

#define NLM(proc, ...) stat_of(nlm_call(proc, &(struct args){__VA_ARGS__}, false))
#define TEST(...)      NLM(1, __VA_ARGS__)
#define LOCK(...)      NLM(2, __VA_ARGS__)
#define CANCEL(...)    NLM(3, __VA_ARGS__)
#define UNLOCK(...)    NLM(4, __VA_ARGS__)

/* Takes one call; answers GETPORT itself. The procedure, its arguments in *ret. */
uint32_t serve_back(struct xdr_in *ret, uint32_t answer);

#endif
