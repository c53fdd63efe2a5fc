/*
 * Calls that a server makes itself: back to its clients (NLM results and GRANTED, SM_NOTIFY, and
 * CB_COMPOUND of NFSv4.0). Rare,
 * so each has a socket of its own; its replies are bounded, its time is too. Waits (tasks).
 */
#ifndef ISTHMUS_NASFRONT_RPC_OUT_H
#define ISTHMUS_NASFRONT_RPC_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct env;
struct reactor;
struct rpc_out;

#define RPC_OUT_CALL_MAX  4096 /* bytes of arguments */
#define RPC_OUT_REPLY_MAX 2048 /* bytes of results that are looked at */

int rpc_out_new(struct rpc_out **ret, struct reactor *r, struct env *env);
/* Calls under way end with -ERR_SHUTDOWN, later ones at once. Waits until none is left. */
void rpc_out_free(struct rpc_out *o);

struct rpc_out_call {
	struct sockaddr_storage to;   /* its port is not looked at */
	struct sockaddr_storage from; /* our address; ss_family 0: any */
	uint16_t port;		      /* 0: the peer's portmapper is asked (RFC 1833) */
	uint16_t pmap_port;	      /* of that; 0: 111 */
	bool tcp;
	uint32_t prog, vers, proc;
	const void *sys; /* the body of an AUTH_SYS credential; none: AUTH_NONE */
	size_t sys_len;
	const void *args;
	size_t args_len;
	uint64_t timeout_ns; /* of all; UDP sends again meanwhile. 0: 10 s */
};
/*
 * Makes the call. 0: accepted, with at most `size` bytes of results. -ETIMEDOUT, -ECONNREFUSED …;
 * -ENOENT: not registered there; -ERR_PROTO: refused, or no reply to what was asked.
 */
int rpc_out_call(struct rpc_out *o, const struct rpc_out_call *call, void *ret, size_t size,
		 size_t *ret_len);

#endif
