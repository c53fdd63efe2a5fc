/*
 * Calls that another server of the host answers: relayed to it over a unix socket, and its reply
 * relayed back. To the client this server answers; the other one knows the client's address, how
 * it is connected, and who calls as found out here. See rpc_relay.c and rpc_relayed.c.
 */
#ifndef ISTHMUS_NASFRONT_RPC_RELAY_H
#define ISTHMUS_NASFRONT_RPC_RELAY_H

#include <sys/types.h>
#include "nasfront/rpc/rpc.h"

#define RPC_RELAY_PATH_MAX 108

/*
 * For a handler: the call is the server's at this path to answer. What the handler returns then,
 * at once: RPC_RELAY, or what says why not. Nothing may have been done for the call. Said of
 * several: it is answered, with what the last of them says, when all have.
 */
int rpc_relay(struct rpc_req *req, const char *path);
/* The call came by a relay: it is not relayed again. */
bool rpc_conn_relayed(const struct rpc_conn *c);

/*
 * Takes calls that others relay, on a unix socket at path (made anew; 0666: who is let in is
 * decided by the peer's credentials): from root, this user, and these. They are believed. As the
 * other listeners it waits for rpc_server_accept().
 */
int rpc_server_listen_relay(struct rpc_server *s, const char *path, const uid_t *uids,
			    unsigned nuids);

/* ---- what stands in the credential of a relayed call ---- */

#define RPC_FLAVOR_RELAY 0x49535448 /* not one that is assigned */
#define RPC_RELAY_CRED	 160	    /* bytes, at most */

struct rpc_relay_from {
	struct sockaddr_storage peer, local; /* the client's, and ours that it reached */
	enum rpc_xprt xprt;
	struct rpc_cred cred;
};
/* Into `size` bytes; how many. */
size_t rpc_relay_put(const struct rpc_relay_from *from, uint8_t *to, size_t size);
/* False: it is none of that form. */
bool rpc_relay_get(struct rpc_relay_from *ret, const void *body, size_t len);

#endif
