/*
 * Registration with rpcbind on this host, by portmap version 2 (RFC 1833 section 3) over loopback
 * UDP: what `rpcinfo -p` and clients without a port option ask. A host without rpcbind is no
 * error: it is looked for again at every refresh.
 */
#ifndef ISTHMUS_NASFRONT_RPCBIND_H
#define ISTHMUS_NASFRONT_RPCBIND_H

#include <stdbool.h>
#include <stdint.h>

struct env;
struct reactor;
struct rpcbind;

struct rpcbind_entry {
	uint32_t prog, vers;
	uint16_t port;
	bool udp;
};

#define RPCBIND_ENTRIES_MAX 24

struct rpcbind_opts {
	struct reactor *reactor;
	struct env *env;
	struct rpcbind_entry entries[RPCBIND_ENTRIES_MAX];
	unsigned nentries;
	uint16_t rpcbind_port; /* 0: 111 */
	uint64_t refresh_ns;   /* 0: 60 s */
};

/* Registers now and at every refresh, in the background. */
int rpcbind_start(struct rpcbind **ret, const struct rpcbind_opts *o);
/* True when the last round was answered with success for every entry. */
bool rpcbind_registered(const struct rpcbind *b);
/* Takes the registrations back (one datagram each, no waiting) and ends. */
void rpcbind_stop(struct rpcbind *b);

#endif
