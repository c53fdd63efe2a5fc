/* A client of RPCSEC_GSS for tests, which can also do what no client may. */
#ifndef ISTHMUS_TESTS_GSS_CLIENT_H
#define ISTHMUS_TESTS_GSS_CLIENT_H

#include <gssapi/gssapi.h>
#include "nasfront/rpc/gss.h"
#include "nasfront/rpc/xdr.h"
#include "tests/unit/gss/krb_world.h"

#define GC_BYTES (1280 * 1024)

/* What came back, when it is not an accept_stat. */
enum { GC_NOTHING = -1, GC_CLOSED = -2, GC_BAD_VERF = -3, GC_BAD_BODY = -4, GC_DENIED = -100 };

struct gss_client {
	int fd;
	gss_ctx_id_t ctx;
	uint8_t handle[64];
	uint32_t handle_len, window, major, minor;
	uint32_t seq;	  /* of the next call */
	uint32_t service; /* enum rpc_gss_service */
	uint32_t xid;
	/* What is wrong with the next call; cleared behind it. */
	struct {
		bool verf, body, body_seq, no_conf, trailing, plain_verf;
		uint32_t proc, version; /* of the credential; 0: as it must be */
		uint32_t nfs_proc;	/* of a control message */
		int cut;		/* bytes that the body lacks */
	} bad;
	uint8_t *out, *in;
	size_t out_len, in_len;
	struct xdr_in r; /* results */
};

void gc_open(struct gss_client *c, uint16_t port);
void gc_close(struct gss_client *c);
/* Makes a context as the user of the clients' keytab with the service named ("nfs@localhost").
 * GSS_S_COMPLETE, or the server's major status; GC_* as a number below zero: RPC refused it. */
int64_t gc_init(struct gss_client *c, const struct krb_world *w, const char *user,
		const char *service);
/* The same by a token of these bytes. proc: 1 INIT, 2 CONTINUE_INIT. */
int64_t gc_init_raw(struct gss_client *c, uint32_t proc, const void *token, uint32_t len);
/* A call: accept_stat, GC_DENIED - auth_stat, or another of GC_*. Results are in r. */
int gc_call(struct gss_client *c, uint32_t prog, uint32_t vers, uint32_t proc,
	    const struct xdr_out *args);
/* Its halves. */
void gc_send(struct gss_client *c, uint32_t prog, uint32_t vers, uint32_t proc,
	     const struct xdr_out *args);
int gc_recv(struct gss_client *c, uint32_t seq);
/* The same bytes again; waits 200 ms for an answer that must not come. */
int gc_again(struct gss_client *c);
/* A call by AUTH_SYS as this user. */
int gc_sys(struct gss_client *c, uint32_t uid, uint32_t prog, uint32_t vers, uint32_t proc,
	   const struct xdr_out *args);
/* RPCSEC_GSS_DESTROY. */
int gc_destroy(struct gss_client *c);

#endif
