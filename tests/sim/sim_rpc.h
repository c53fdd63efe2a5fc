/*
 * RPC in the simulated world: instead of sockets and the reactor, records that take some time from
 * clients to the head that serves, and back. The calls themselves are the head's own (rpc_call.c,
 * rpc_back.c, rpc_msg.c, drc.c); what is here is what nasfront/rpc has of connections and servers.
 *
 * A client has an address and one connection at a time. When its head dies the connection is gone
 * with all calls and replies under way; when a head does not answer the client gives it up. Either
 * way the client sends again what was not answered, the same bytes, to whoever serves then.
 */
#ifndef ISTHMUS_TESTS_SIM_RPC_H
#define ISTHMUS_TESTS_SIM_RPC_H

#include "nasfront/rpc/rpc.h"
#include "tests/sim/sim_node.h"

struct sim_net;
struct sim_peer;

/* What stands for a head's reactor: its node's scheduler, and the network it is on. */
struct reactor {
	struct sim_node *node;
	struct sim_net *net;
};

struct sim_net *sim_net_new(struct sim *s);
/* Also the servers that have ended. */
void sim_net_free(struct sim_net *n);
/* Who is called from now on; NULL: nobody, calls wait. */
void sim_net_serve(struct sim_net *n, struct rpc_server *s);

/* ---- a head's side ---- */

struct rpc_server *sim_server_new(struct sim_net *n, struct reactor *r, size_t area_size);
/* Its process has died: connections break, nothing is taken or sent any more. Does not wait. */
void sim_server_cut(struct rpc_server *s);
/* After that: waits (a task of its node) until no call runs. Its memory stays with the network's.
 */
void sim_server_end(struct rpc_server *s);

/* ---- the clients' side ---- */

/* A call of a server's to the client: results into ret, at most `size` bytes. Must not wait. 0, or
 * -ERR_PROTO: refused. */
typedef int sim_called_fn(void *arg, uint32_t prog, uint32_t vers, uint32_t proc,
			  struct xdr_in *args, struct xdr_out *ret);

/* address: a v4 address as text. The network's. */
struct sim_peer *sim_peer_new(struct sim_net *n, const char *address, uint16_t port,
			      sim_called_fn *called, void *arg);
/* Sends a call and waits (a task of the world) for its reply, for as long as it takes. Calls at the
 * same time have different numbers. The reply's length. */
size_t sim_peer_call(struct sim_peer *p, const void *call, size_t len, void *ret, size_t size);
/* How often it had to send a call again. */
uint64_t sim_peer_resent(const struct sim_peer *p);

#endif
