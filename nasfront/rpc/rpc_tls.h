/*
 * RPC over TLS (RFC 9289), the server's side: version 1.3 on TCP, asked for by a NULL call with the
 * flavour AUTH_TLS, ALPN "sunrpc". See rpc_tls.c and README.md.
 */
#ifndef ISTHMUS_NASFRONT_RPC_TLS_H
#define ISTHMUS_NASFRONT_RPC_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RPC_TLS_WHY_MAX	   256
#define RPC_TLS_HANDSHAKES 64 /* at once, of a server */

struct rpc_tls;
struct rpc_tls_ctx;

struct rpc_tls_files {
	const char *cert, *key; /* PEM; the certificate with its chain */
	const char *ca;		/* NULL: clients are not asked for certificates */
	bool mutual;		/* they have to have one */
};

/* Reads the files. -ERR_CONFIG with what is wrong in why, -EINVAL: mutual without ca, -ENOMEM. */
int rpc_tls_ctx_new(struct rpc_tls_ctx **ret, const struct rpc_tls_files *f,
		    char why[RPC_TLS_WHY_MAX]);
/* Connections that use it keep it. */
void rpc_tls_ctx_free(struct rpc_tls_ctx *c);

/* ---- of a connection: rpc_conn.c's ---- */

int rpc_tls_new(struct rpc_tls **ret, struct rpc_tls_ctx *ctx, int fd);
/* It was begun with the authorities that c trusts, or both trust none. */
bool rpc_tls_same_ca(const struct rpc_tls *t, const struct rpc_tls_ctx *c);
/* Says goodbye when it was open, as far as the socket takes it. */
void rpc_tls_free(struct rpc_tls *t);
/* 0: it is open; -EAGAIN; -EPROTO: it ends, see rpc_tls_why(). Must not be called when open. */
int rpc_tls_handshake(struct rpc_tls *t);
bool rpc_tls_is_open(const struct rpc_tls *t);
/* The peer showed a certificate that the CA signed. */
bool rpc_tls_has_peer(const struct rpc_tls *t);
/* When what it showed, and those who signed it, ends: seconds of real time; UINT64_MAX without. */
uint64_t rpc_tls_peer_until(const struct rpc_tls *t);
/* As recv(): > 0 bytes, 0 the peer said goodbye, -EAGAIN, other errors. Reads little more from the
 * socket than the bytes asked for, whatever the peer sends. */
ssize_t rpc_tls_recv(struct rpc_tls *t, void *buf, size_t size);
/* There may be more here than the socket tells. */
bool rpc_tls_pending(const struct rpc_tls *t);
/* As sendmsg(): what was taken is on its way, perhaps not all on the wire: rpc_tls_left(). */
ssize_t rpc_tls_send(struct rpc_tls *t, const struct iovec *iov, size_t iovcnt);
bool rpc_tls_left(const struct rpc_tls *t);
/* OpenSSL goes on when the socket takes more. */
bool rpc_tls_wants_write(const struct rpc_tls *t);
const char *rpc_tls_why(const struct rpc_tls *t);

#endif
