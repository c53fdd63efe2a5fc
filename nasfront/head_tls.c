/*
 * RPC over TLS of a head: its certificate, read at the start and again when the files have changed,
 * which is looked after every few seconds. What cannot be used is an event; what there was before
 * stays in use. Without any, exports that want TLS admit nobody and the others are served.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "nasfront/head.h"
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpc_tls.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define LOOK_NS (5 * NS_PER_S)
#define FILES	3

/* What tells a file's states apart. */
struct seen {
	uint64_t dev, ino, size;
	struct timespec mtime, ctime;
};

struct head_tls {
	struct head *head;
	struct rpc_tls_ctx *ctx; /* NULL: none yet */
	struct seen seen[FILES];
	struct env_timer timer;
};

static void look(const struct config_head *c, struct seen ret[FILES])
{
	const char *const paths[FILES] = {c->tls_cert, c->tls_key, c->tls_ca};
	memset(ret, 0, FILES * sizeof(*ret));
	for (unsigned i = 0; i < FILES; i++) {
		struct stat st;
		if (!paths[i][0] || stat(paths[i], &st))
			continue;
		ret[i].dev = st.st_dev;
		ret[i].ino = st.st_ino;
		ret[i].size = (uint64_t)st.st_size;
		ret[i].mtime = st.st_mtim;
		ret[i].ctime = st.st_ctim;
	}
}

static void load(struct head_tls *t)
{
	struct head *h = t->head;
	const struct config_head *c = h->config;
	const struct rpc_tls_files f = {.cert = c->tls_cert,
					.key = c->tls_key,
					.ca = c->tls_ca[0] ? c->tls_ca : NULL,
					.mutual = config_head_tls_mutual(c)};
	struct rpc_tls_ctx *ctx;
	char why[RPC_TLS_WHY_MAX];
	int rc = rpc_tls_ctx_new(&ctx, &f, why);
	if (rc) {
		event_write(LOG_L_WARN, "head.tls", "head %s: %s; %s", c->name,
			    why[0] ? why : err_text(rc),
			    t->ctx ? "the certificate of before stays in use"
				   : "nothing is served under TLS");
		return;
	}
	rpc_server_set_tls(h->rpc, ctx);
	rpc_tls_ctx_free(t->ctx);
	t->ctx = ctx;
	log_notice("head: TLS certificate=%s clients_certificates=%s", c->tls_cert,
		   f.mutual ? "required"
		   : f.ca   ? "asked for"
			    : "not asked for");
}

static void tick(void *arg)
{
	struct head_tls *t = arg;
	struct seen now[FILES];
	look(t->head->config, now);
	if (memcmp(now, t->seen, sizeof(now)) != 0) {
		memcpy(t->seen, now, sizeof(now));
		load(t);
	}
	env_timer_start(t->head->env, &t->timer, LOOK_NS);
}

int head_tls_start(struct head *h)
{
	if (!h->config->tls_cert[0])
		return 0;
	struct head_tls *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->head = h;
	t->timer = (struct env_timer){.fn = tick, .arg = t};
	h->tls = t;
	look(h->config, t->seen);
	load(t);
	env_timer_start(h->env, &t->timer, LOOK_NS);
	return 0;
}

void head_tls_stop(struct head *h)
{
	struct head_tls *t = h->tls;
	if (!t)
		return;
	env_timer_stop(h->env, &t->timer);
	rpc_server_set_tls(h->rpc, NULL);
	rpc_tls_ctx_free(t->ctx);
	free(t);
	h->tls = NULL;
}
