/*
 * A service with Kerberos and a client of it: one realm, one server, one connection at a time.
 * Alice is a user of the host, bob cannot be looked up, the others are nobody there. Exports: /krb
 * with krb5, krb5i and krb5p, /private with krb5p, /both with sys and krb5; root is squashed. Fails
 * by ck_assert.
 */
#ifndef ISTHMUS_TESTS_GSS_WORLD_H
#define ISTHMUS_TESTS_GSS_WORLD_H

#include <check.h>
#include "nasfront/rpc/gss_impl.h"
#include "nasfront/rpc/rpc.h"
#include "tests/unit/gss/gss_client.h"
#include "tests/unit/nfs/nas_world.h"

#define NFS   100003
#define MOUNT 100005
#define ALICE 1001
#define ANON  65534

extern struct krb_world krb;
extern struct nas nas;
extern struct gss_client c;
extern struct rpc_gss_opts opts;
extern struct rpc_gss_stats stats;	/* of stats_now() */
extern _Atomic unsigned slow_ms, finds; /* what the host takes to say who alice is; times it did */

/* Runs the tests that add() adds, each with a server of its own; what main() returns. */
int gss_suite(const char *name, void (*add)(TCase *t));

void setup(void);
void world_down(void); /* and up again with `opts` as they are then */
void world_up(void);
rpc_gss_find_fn gss_find;
void login(const char *user);
const struct rpc_gss_stats *stats_now(void);

struct gss_fh {
	uint8_t b[64];
	uint32_t len;
};

struct xdr_out args_new(void);
struct xdr_out args_fh(const struct gss_fh *f);
uint32_t u32(void); /* of c's results */
void take_fh(struct gss_fh *f);
/* MNT; the flavours into list: how many. */
unsigned mnt(const char *path, struct gss_fh *f, uint32_t list[4]);
void root_of(const char *path, struct gss_fh *f);
/* CREATE UNCHECKED with mode 0640: status; the new handle and its owner. */
uint32_t create(const struct gss_fh *dir, const char *name, struct gss_fh *f, uint32_t *uid);
int getattr(const struct gss_fh *f); /* as gc_call() */
uint32_t write_at(const struct gss_fh *f, uint64_t off, const uint8_t *p, uint32_t n);
void read_equals(const struct gss_fh *f, uint64_t off, const uint8_t *p, uint32_t n);

#endif
