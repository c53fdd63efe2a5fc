/* What the files of nfs3_client.h share. */
#ifndef ISTHMUS_TESTS_NFS3_CLIENT_IMPL_H
#define ISTHMUS_TESTS_NFS3_CLIENT_IMPL_H

#include "tests/tools/nfs3_client.h"

/* Empties c->res for a call. */
void nc_begin(struct nc *c);
/* Serves the connection until the call is answered; rc is what libnfs said to it. */
const struct nc_res *nc_run(struct nc *c, int rc);
/* In a callback: takes the RPC's and the procedure's status; true when results follow. */
bool nc_answered(struct nc *c, int status, int *stat);
void nc_take_fh(struct nc *c, const nfs_fh3 *f);

#define DEAD(c)                                                                                    \
	if ((c)->dead) {                                                                           \
		(c)->res.rpc = NC_LOST;                                                            \
		(c)->res.status = -1;                                                              \
		return &(c)->res;                                                                  \
	}
#define CALL(c, proc, cb, args)                                                                    \
	do {                                                                                       \
		DEAD(c)                                                                            \
		nc_begin(c);                                                                       \
		return nc_run(c, rpc_##proc##_async((c)->rpc, cb, args, c));                       \
	} while (0)

#endif
