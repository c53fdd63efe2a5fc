/*
 * TLS 1.3 over a route's TCP connection, by pre-shared key or by mutual certificates; OpenSSL.
 * A connection's handshake goes on inside of recv and send: until it is through they say -EAGAIN.
 */
#ifndef ISTHMUS_BLOCKCORE_LINK_TLS_H
#define ISTHMUS_BLOCKCORE_LINK_TLS_H

#include <stdbool.h>
#include <sys/types.h>
#include "blockcore/link/link_ops.h"

struct link_tls;
struct link_tls_ctx;

/* Reads the files. *ret is NULL when auth asks for nothing. peer: the name its certificate has to
 * show. 0, or a negative error and what is wrong in why. */
int link_tls_ctx_new(struct link_tls_ctx **ret, const struct link_auth *auth, const char *peer,
		     char why[LINK_WHY_MAX]);
void link_tls_ctx_put(struct link_tls_ctx *c);

/* Keeps the context as long as it needs it. */
int link_tls_new(struct link_tls **ret, struct link_tls_ctx *ctx, int fd, bool client);
void link_tls_free(struct link_tls *t);
/* As recvmsg and sendmsg; -ERR_PROTO, -EACCES: the peer did not prove who it is. */
ssize_t link_tls_recv(struct link_tls *t, const struct iovec *iov, int iovcnt);
ssize_t link_tls_send(struct link_tls *t, const struct iovec *iov, int iovcnt);
/* The handshake is through. */
bool link_tls_ready(const struct link_tls *t);
/* It has to write before it can go on: link_tls_push() when there is room. */
bool link_tls_wants_write(const struct link_tls *t);
void link_tls_push(struct link_tls *t);
/* Bytes were taken off the socket and not yet handed out: the socket will not tell of them. */
bool link_tls_pending(const struct link_tls *t);

#endif
