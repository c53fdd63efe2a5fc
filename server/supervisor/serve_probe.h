/* Does a head serve? Asked as its clients ask: ONC RPC over TCP, NFS NULL and MOUNT's EXPORT. */
#ifndef ISTHMUS_SERVER_SERVE_PROBE_H
#define ISTHMUS_SERVER_SERVE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#define SERVE_EXPORTS 1024 /* that are looked at */
#define SERVE_PATH    1024 /* longest path of MOUNT (RFC 1813 5.1.4) */

/* Paths of exports, as told to this host. */
struct serve_exports {
	unsigned n;
	char *path[SERVE_EXPORTS];
};

/*
 * Waits at most `timeout_ns` for each answer. 0: NFS (version 3) answers NULL, and *ret has what
 * MOUNT lists; it is to be freed. -ECONNREFUSED, -ETIMEDOUT, -ERR_PROTO and the like.
 */
int serve_probe(const char *address, uint16_t nfs_port, uint16_t mount_port, uint64_t timeout_ns,
		struct serve_exports *ret);
void serve_exports_free(struct serve_exports *e);
/* The first of `before` that `now` lacks; NULL: it has all. */
const char *serve_exports_lost(const struct serve_exports *before, const struct serve_exports *now);

#endif
