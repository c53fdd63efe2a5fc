/*
 * NFS of both versions with TLS, certificates made anew, and exports /x0 to /x4 that want
 * connections of any kind, "none", "tls", "mtls" and "none:mtls". Fails by ck_assert.
 */
#ifndef ISTHMUS_TESTS_TLS_WORLD_H
#define ISTHMUS_TESTS_TLS_WORLD_H

#include <check.h>
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/rpc/tls_client.h"

#define TIMEOUT (4 * NS_PER_S) /* of handshakes */

extern struct tls_certs certs;
extern struct nas nas;
extern struct raw r;	 /* the test's */
extern struct raw plain; /* open without TLS; served at the end of each test */
extern struct rpc_tls_files files;
extern struct rpc_stats stats; /* of stats_step() */

/* Runs the tests that add() adds, each with a server of its own; what main() returns. */
int tls_suite(const char *name, void (*add)(TCase *t));

void set_tls(struct nas *n); /* for nas_run(): reads `files` */
void ask_for_certificates(bool mutual);
void stats_step(struct nas *n); /* for nas_run() */
/* Over r. */
void write_block(const uint8_t *fh, uint64_t off, const uint8_t *data, uint32_t len);
void read_block(const uint8_t *fh, uint64_t off, const uint8_t *want, uint32_t len);
void fill(uint8_t *p, size_t n, uint32_t seed);

#endif
