/*
 * The owner of a mirror area puts into it what the partner on another host sends. Nothing here
 * waits, and all of a message is checked before any of it is done.
 */
#include "blockcore/cache/cache_priv.h"
#include "blockcore/link/link.h"
#include "blockcore/mirror/mirror_wire.h"
#include <errno.h>

static int serve_join(struct cache *c, const void *head, uint32_t len, struct wire_area *ret)
{
	struct mirror *m = &c->mirror;
	struct wire_join j;
	if (len != sizeof(j))
		return -ERR_PROTO;
	memcpy(&j, head, sizeof(j));
	if (j.version != WIRE_VERSION)
		return -ERR_VERSION;
	if (j.page_size != c->page_size || !j.epoch)
		return -ERR_PROTO;
	if (atomic_load(&c->super->area_closed))
		return -EBUSY;
	mirror_area_reset(&m->own);
	m->peer_epoch = j.epoch;
	m->peer_session = link_session(m->served);
	*ret = (struct wire_area){.npages = m->own.npages};
	return 0;
}

/* May the partner write there now? */
static bool open_to(struct cache *c, uint32_t epoch)
{
	const struct mirror *m = &c->mirror;
	return epoch && epoch == m->peer_epoch && m->peer_session == link_session(m->served) &&
	       !atomic_load(&c->super->area_closed);
}

static bool page_possible(const struct cache *c, const struct wire_put *p,
			  const struct wire_page *e)
{
	return (e->to & ~WIRE_FILLED) < c->mirror.own.npages && !(e->valid & ~c->full) &&
	       e->dirty && !(e->dirty & ~e->valid) && p->generation < MIRROR_GENERATION_LIMIT;
}

static int serve_put(struct cache *c, const void *head, uint32_t len, const char *data,
		     uint32_t data_len)
{
	struct wire_put p;
	struct mirror_copy k[CACHE_IO_PAGES];
	const char *entries = (const char *)head + sizeof(p);
	uint32_t at = 0;
	if (len < sizeof(p))
		return -ERR_PROTO;
	memcpy(&p, head, sizeof(p));
	if (!p.n || p.n > CACHE_IO_PAGES || len != sizeof(p) + p.n * sizeof(struct wire_page) ||
	    !p.volume || p.first >= CACHE_PAGE_LIMIT - p.n)
		return -ERR_PROTO;
	if (!open_to(c, p.epoch))
		return -ERR_EPOCH_STALE;
	for (uint32_t i = 0; i < p.n; i++) {
		struct wire_page e;
		memcpy(&e, entries + i * sizeof(e), sizeof(e));
		bool filled = e.to & WIRE_FILLED;
		if (!page_possible(c, &p, &e) || (!filled && data_len - at < c->page_size))
			return -ERR_PROTO;
		k[i] = (struct mirror_copy){.to = e.to & ~WIRE_FILLED,
					    .data = filled ? NULL : data + at,
					    .volume = p.volume,
					    .page = p.first + i,
					    .generation = p.generation + e.generation,
					    .valid = e.valid,
					    .dirty = e.dirty};
		at += filled ? 0 : c->page_size;
	}
	if (at != data_len)
		return -ERR_PROTO;
	for (uint32_t i = 0; i < p.n; i++) /* they are, unless the partner errs */
		mirror_area_free(&c->mirror.own, k[i].to);
	mirror_area_put(&c->mirror.own, k, p.n, p.atomic);
	return 0;
}

static void serve_fill(struct cache *c, const void *head, uint32_t len, const void *data,
		       uint32_t data_len)
{
	struct wire_fill f;
	if (len != sizeof(f) || data_len != c->page_size)
		return;
	memcpy(&f, head, sizeof(f));
	if (!open_to(c, f.epoch) || f.to >= c->mirror.own.npages)
		return;
	mirror_area_free(&c->mirror.own, f.to);
	mirror_area_fill(&c->mirror.own, f.to, data);
}

static int serve_clear(struct cache *c, const void *head, uint32_t len)
{
	struct mirror_area *a = &c->mirror.own;
	struct wire_clear h;
	if (len < sizeof(h))
		return -ERR_PROTO;
	memcpy(&h, head, sizeof(h));
	if (h.n > WIRE_CLEAR_MAX || len != sizeof(h) + h.n * sizeof(struct wire_cleared))
		return -ERR_PROTO;
	if (!open_to(c, h.epoch))
		return -ERR_EPOCH_STALE;
	for (uint32_t i = 0; i < h.n; i++) {
		struct wire_cleared e;
		memcpy(&e, (const char *)head + sizeof(h) + i * sizeof(e), sizeof(e));
		if (e.page < a->npages && a->cbe[e.page].generation == e.generation)
			mirror_area_free(a, e.page);
	}
	return 0;
}

static void serve(void *arg, struct link_msg *msg)
{
	struct cache *c = arg;
	struct wire_area area;
	uint32_t len, data_len;
	const void *head = link_msg_head(msg, &len), *data = link_msg_data(msg, &data_len);
	int rc = -ERR_PROTO;
	uint16_t type = link_msg_type(msg);
	pthread_mutex_lock(&c->mirror.area_lock);
	if (type == WIRE_JOIN)
		rc = serve_join(c, head, len, &area);
	else if (type == WIRE_PUT)
		rc = serve_put(c, head, len, data, data_len);
	else if (type == WIRE_FILL)
		serve_fill(c, head, len, data, data_len);
	else if (type == WIRE_CLEAR)
		rc = serve_clear(c, head, len);
	pthread_mutex_unlock(&c->mirror.area_lock);
	if (type == WIRE_FILL)
		link_done(msg);
	else if (type == WIRE_JOIN && rc == 0)
		link_reply(msg, 0, &area, sizeof(area), NULL, 0, NULL, NULL);
	else
		link_reply(msg, rc, NULL, 0, NULL, 0, NULL, NULL);
}

void cache_mirror_serve(struct cache *c, struct link *l)
{
	CHECK(c, CACHE_PRIV_MAGIC);
	pthread_mutex_lock(&c->mirror.area_lock);
	c->mirror.served = l;
	c->mirror.peer_epoch = 0; /* sessions are counted anew */
	pthread_mutex_unlock(&c->mirror.area_lock);
	link_serve(l, LINK_SVC_MIRROR, serve, c);
}
