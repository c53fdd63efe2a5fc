/* What gss_*.c and rpc_*.c know of each other; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_RPC_GSS_IMPL_H
#define ISTHMUS_NASFRONT_RPC_GSS_IMPL_H

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <bsd/sys/queue.h>
#include "nasfront/rpc/gss.h"
#include "nasfront/rpc/rpc_conn.h"

#define GSS_MAGIC     0x67737331
#define GSS_CTX_MAGIC 0x67737363
#define GSS_VERSION   1
#define GSS_HANDLE    16
#define GSS_MAXSEQ    0x80000000u
#define GSS_TOKEN_MAX 16384 /* of a context that is asked for: tickets with authorization data */
#define GSS_BUCKETS   1024
#define GSS_TEXT      256

enum gss_proc { GSS_DATA = 0, GSS_INIT = 1, GSS_CONTINUE_INIT = 2, GSS_DESTROY = 3 };

/* rpc_gss_cred_vers_1_t */
struct gss_cred {
	uint32_t proc, seq, service;
	const uint8_t *handle;
	uint32_t handle_len;
};
/* body of a credential. False: it is none. */
bool gss_cred_decode(struct gss_cred *c, const void *body, size_t len);

/*
 * A context. In the table and the list, least lately used first, while it lives; referenced by
 * these and each call of it. While `busy` a thread works on it and nobody else may.
 */
struct gss_ctx {
	uint32_t magic;
	unsigned refs;
	struct rpc_gss *gss;
	LIST_ENTRY(gss_ctx) chain;
	TAILQ_ENTRY(gss_ctx) link;
	bool listed, busy, established;
	uint8_t handle[GSS_HANDLE];
	gss_ctx_id_t id;
	uint64_t used_ns, until_ns;
	uint32_t mic_len;
	/* Who: mapped is false for a principal that is nobody here. */
	bool mapped;
	uint32_t uid, gid;
	uint64_t principal;
	/* Sequence numbers: the highest one seen, and which of the RPC_GSS_WINDOW up to it were. */
	uint32_t seq;
	uint64_t seen[RPC_GSS_WINDOW / 64];
};
TAILQ_HEAD(gss_ctx_list, gss_ctx);

struct gss_work;

struct rpc_gss {
	uint32_t magic;
	struct rpc_gss_opts o;
	LIST_HEAD(, gss_ctx) table[GSS_BUCKETS];
	struct gss_ctx_list lru;
	struct env_timer tick;
	uint8_t *scratch; /* a reply put together for encryption */
	LIST_HEAD(, gss_work) running;
	STAILQ_HEAD(, gss_work) queue;
	unsigned nrunning, npending;
	struct rpc_gss_stats st;
};

/* gss_ctx.c */
struct gss_ctx *gss_ctx_new(struct rpc_gss *g);
void gss_ctx_put(struct gss_ctx *c);
/* Puts it into the table; the least lately used one may have to go. */
void gss_ctx_list(struct gss_ctx *c);
void gss_ctx_unlist(struct gss_ctx *c);
/* Of a handle; NULL: none (any more). Not a reference. */
struct gss_ctx *gss_ctx_find(struct rpc_gss *g, const uint8_t *handle, uint32_t len, uint64_t now);
/* Takes a sequence number. False: it was used before, or is below the window. */
bool gss_ctx_seq(struct gss_ctx *c, uint32_t seq);
void gss_ctx_tick(void *arg);

/* gss_call.c: what becomes of a call that carries this flavour. */
enum gss_verdict {
	GSS_RUN,      /* proved, its arguments are plain */
	GSS_ANSWERED, /* to be answered with what is in out, nothing (DESTROY) */
	GSS_TAKEN,    /* answered later */
	GSS_DROPPED,  /* no answer: a replay */
	GSS_GARBAGE,  /* GARBAGE_ARGS */
	GSS_DENIED,   /* AUTH_ERROR and *ret_why */
};
enum gss_verdict gss_call_begin(struct rpc_gss *g, struct rpc_req *req, const uint8_t *record,
				size_t len, enum rpc_auth_stat *ret_why);
/*
 * Makes the reply of a call with a context: header with its verifier, results protected as the
 * call was. stat as of RFC 5531; not RPC_SUCCESS: what is in out is sent plain.
 */
void gss_reply(struct rpc_req *req, uint32_t stat);

/* gss_init.c */
enum gss_verdict gss_init_begin(struct rpc_gss *g, struct rpc_req *req, const struct gss_cred *cred,
				struct gss_ctx *c, enum rpc_auth_stat *ret_why);
/* Threads that are free take the next. */
void gss_init_next(struct rpc_gss *g);
void gss_init_free(struct rpc_gss *g);

/* gss_keytab.c: what went wrong, in words that name the remedy. */
void gss_error_text(uint32_t major, uint32_t minor, const char *keytab, char *text, unsigned len);

/* The service's keys, of krb5 alone. The caller releases them. */
uint32_t gss_acceptor(const char *keytab, const char *principal, gss_cred_id_t *ret,
		      uint32_t *ret_minor);

#endif
