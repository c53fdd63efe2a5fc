/*
 * Contexts: a table by handle, bounded in number and time.
 *
 * A handle is 16 random bytes, so none can be guessed, and its first bytes are the hash.
 *
 * Sequence numbers (RFC 2203 5.3.3.1): a window of RPC_GSS_WINDOW numbers ends with the highest
 * seen; a number above moves it, one in it is taken once, one below is too old. Number s has bit
 * s % RPC_GSS_WINDOW of `seen`.
 */
#include "nasfront/rpc/gss_impl.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

#define CONTEXTS 4096
#define IDLE_NS	 (3600 * NS_PER_S)
#define LIFE_NS	 (12 * 3600 * NS_PER_S)
#define TICK_NS	 (10 * NS_PER_S)
#define SHARE	 4 /* a principal that has more than one part in so many replaces its own */

static unsigned bucket(const uint8_t *handle)
{
	return be32_get(handle) % GSS_BUCKETS;
}

struct gss_ctx *gss_ctx_new(struct rpc_gss *g)
{
	struct gss_ctx *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = GSS_CTX_MAGIC;
	c->refs = 1;
	c->gss = g;
	c->id = GSS_C_NO_CONTEXT;
	env_random(g->o.env, c->handle, sizeof(c->handle));
	return c;
}

void gss_ctx_put(struct gss_ctx *c)
{
	OM_uint32 minor;
	CHECK(c, GSS_CTX_MAGIC);
	if (--c->refs)
		return;
	ASSERT(!c->listed && !c->busy);
	gss_delete_sec_context(&minor, &c->id, GSS_C_NO_BUFFER);
	c->magic = 0;
	free(c);
}

void gss_ctx_unlist(struct gss_ctx *c)
{
	if (!c->listed)
		return;
	c->listed = false;
	LIST_REMOVE(c, chain);
	TAILQ_REMOVE(&c->gss->lru, c, link);
	c->gss->st.contexts--;
	gss_ctx_put(c);
}

/*
 * Whom a new context replaces: one that never came to be; one of its own principal, when that has a
 * SHARE of all; else whichever is used least lately.
 */
static struct gss_ctx *least(const struct rpc_gss *g, const struct gss_ctx *new)
{
	struct gss_ctx *c, *own = NULL;
	unsigned n = 0;
	TAILQ_FOREACH (c, &g->lru, link) {
		if (!c->established && !c->busy)
			return c;
		if (!new->established || !c->established || c->principal != new->principal)
			continue;
		own = own ? own : c;
		n++;
	}
	return n > g->o.contexts / SHARE ? own : TAILQ_FIRST(&g->lru);
}

void gss_ctx_list(struct gss_ctx *c)
{
	struct rpc_gss *g = c->gss;
	if (c->listed)
		return;
	while (g->st.contexts >= g->o.contexts) {
		g->st.evicted++;
		gss_ctx_unlist(least(g, c));
	}
	c->listed = true;
	c->refs++;
	c->used_ns = env_now_ns(g->o.env);
	LIST_INSERT_HEAD(&g->table[bucket(c->handle)], c, chain);
	TAILQ_INSERT_TAIL(&g->lru, c, link);
	g->st.contexts++;
}

static bool over(const struct gss_ctx *c, uint64_t now)
{
	return (c->established && now >= c->until_ns) ||
	       (now > c->used_ns && now - c->used_ns > c->gss->o.idle_ns);
}

struct gss_ctx *gss_ctx_find(struct rpc_gss *g, const uint8_t *handle, uint32_t len, uint64_t now)
{
	struct gss_ctx *c;
	if (len != GSS_HANDLE)
		return NULL;
	LIST_FOREACH (c, &g->table[bucket(handle)], chain)
		if (memcmp(c->handle, handle, GSS_HANDLE) == 0)
			break;
	if (c && over(c, now)) {
		gss_ctx_unlist(c);
		return NULL;
	}
	if (c && TAILQ_NEXT(c, link)) {
		TAILQ_REMOVE(&g->lru, c, link);
		TAILQ_INSERT_TAIL(&g->lru, c, link);
	}
	if (c)
		c->used_ns = now;
	return c;
}

/* Those not used for long; the others end when they are looked for, or for lack of room. */
void gss_ctx_tick(void *arg)
{
	struct rpc_gss *g = arg;
	struct gss_ctx *c;
	uint64_t now = env_now_ns(g->o.env);
	while ((c = TAILQ_FIRST(&g->lru)) && over(c, now))
		gss_ctx_unlist(c);
	env_timer_start(g->o.env, &g->tick, MIN(TICK_NS, g->o.idle_ns));
}

bool gss_ctx_seq(struct gss_ctx *c, uint32_t seq)
{
	uint32_t bit = seq % RPC_GSS_WINDOW;
	if (seq > c->seq) {
		if (seq - c->seq >= RPC_GSS_WINDOW)
			memset(c->seen, 0, sizeof(c->seen));
		else
			for (uint32_t s = c->seq + 1; s != seq; s++)
				c->seen[s % RPC_GSS_WINDOW / 64] &= ~(1ull << (s % 64));
		c->seq = seq;
	} else if (c->seq - seq >= RPC_GSS_WINDOW || (c->seen[bit / 64] & 1ull << (seq % 64))) {
		return false;
	}
	c->seen[bit / 64] |= 1ull << (seq % 64);
	return true;
}

/* ---- the service ---- */

int rpc_gss_new(struct rpc_gss **ret, const struct rpc_gss_opts *o)
{
	struct rpc_gss *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->magic = GSS_MAGIC;
	g->o = *o;
	g->o.keytab = strdup(o->keytab);
	g->o.principal = strdup(o->principal ? o->principal : "");
	if (!g->o.contexts)
		g->o.contexts = CONTEXTS;
	if (!g->o.idle_ns)
		g->o.idle_ns = IDLE_NS;
	if (!g->o.life_ns)
		g->o.life_ns = LIFE_NS;
	TAILQ_INIT(&g->lru);
	STAILQ_INIT(&g->queue);
	/* The largest reply, put together: allocated once. Its pages are touched when it is used.
	 */
	g->scratch = malloc(RPC_LARGE_BUF);
	g->tick = (struct env_timer){.fn = gss_ctx_tick, .arg = g};
	env_timer_start(o->env, &g->tick, MIN(TICK_NS, g->o.idle_ns));
	if (!g->o.keytab || !g->o.principal || !g->scratch) {
		rpc_gss_free(g);
		return -ENOMEM;
	}
	*ret = g;
	return 0;
}

void rpc_gss_free(struct rpc_gss *g)
{
	struct gss_ctx *c;
	if (!g)
		return;
	CHECK(g, GSS_MAGIC);
	env_timer_stop(g->o.env, &g->tick);
	gss_init_free(g);
	while ((c = TAILQ_FIRST(&g->lru)))
		gss_ctx_unlist(c);
	free((char *)g->o.keytab);
	free((char *)g->o.principal);
	free(g->scratch);
	g->magic = 0;
	free(g);
}

void rpc_gss_stats(const struct rpc_gss *g, struct rpc_gss_stats *ret)
{
	*ret = g->st;
}
