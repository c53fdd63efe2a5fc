/*
 * Which controller a volume's requests go to.
 *
 * Each controller says of each volume that is open there whether it owns it,
 * under which epoch of ownership, and again whenever that changes. The owner is
 * who says "here" with the highest epoch on a connection that lives. What is
 * said on a connection counts until that ends; words that crossed on their way
 * are told apart by their number.
 *
 * Nobody says "here": requests wait (moving, takeover, both away). Somebody
 * says that there is no such volume, and nobody knows better: they are refused.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct channel_route *channel_route_find(struct channel *c, uint32_t volume)
{
	struct channel_route *r;
	TAILQ_FOREACH (r, &c->routes, link)
		if (r->volume == volume)
			return r;
	return NULL;
}

struct channel_route *channel_route_get(struct channel *c, uint32_t volume)
{
	struct channel_route *r = channel_route_find(c, volume);
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		r->volume = volume;
		TAILQ_INSERT_TAIL(&c->routes, r, link);
	}
	r->users++;
	return r;
}

void channel_route_put(struct channel *c, struct channel_route *r)
{
	ASSERT(r->users > 0);
	if (--r->users)
		return;
	TAILQ_REMOVE(&c->routes, r, link);
	free(r);
}

/* Before any request reaches the owner's memory. */
static void take_memory_id(struct channel *c, struct channel_route *r, uint64_t id)
{
	struct channel_vol *v;
	r->memory_id = id;
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->route == r)
			v->b.memory_id = id;
}

static struct channel_said *best_said(struct channel *c, struct channel_route *r,
				      struct channel_end **ret)
{
	struct channel_said *best = NULL;
	for (unsigned i = 0; i < c->nends; i++) {
		struct channel_said *s = &r->said[i];
		if (!c->ends[i].up || !s->known || s->place != ISTHMUS__CHANNEL_PLACE__CHANNEL_HERE)
			continue;
		if (best && best->epoch >= s->epoch)
			continue;
		best = s;
		*ret = &c->ends[i];
	}
	return best;
}

/* Nobody has it, as far as anybody can be asked. */
static int gone(const struct channel *c, const struct channel_route *r)
{
	bool told = false;
	for (unsigned i = 0; i < c->nends; i++) {
		if (!c->ends[i].up)
			continue;
		if (!r->said[i].gone)
			return 0;
		told = true;
	}
	return told ? -ENODEV : 0;
}

static void owner_lost(struct channel *c, struct channel_route *r)
{
	if (r->owner)
		r->lost_ns = env_now_ns(env_real());
	r->owner = NULL;
	r->gone = gone(c, r);
	if (r->gone)
		channel_table_fail(c, r, r->gone);
}

static void owner_found(struct channel *c, struct channel_route *r, struct channel_end *e,
			const struct channel_said *s)
{
	bool other = r->owner != e || r->epoch != s->epoch;
	if (r->lost_ns) {
		uint64_t waited = env_now_ns(env_real()) - r->lost_ns;
		c->stats.waits_ns = MAX(c->stats.waits_ns, waited);
		r->lost_ns = 0;
	}
	if (r->epoch && s->epoch > r->epoch)
		c->stats.moves++;
	r->owner = e;
	r->epoch = s->epoch;
	r->gone = 0;
	take_memory_id(c, r, s->memory_id);
	if (other)
		log_debug("channel: volume=%u owner=%s epoch=%llu", r->volume, e->controller,
			  (unsigned long long)s->epoch);
	channel_table_issue(c, r);
}

void channel_route_settle(struct channel *c, struct channel_route *r)
{
	struct channel_end *e = NULL;
	if (channel_refusal(c))
		return;
	struct channel_said *s = best_said(c, r, &e);
	if (s)
		owner_found(c, r, e, s);
	else
		owner_lost(c, r);
}

void channel_route_settle_all(struct channel *c)
{
	struct channel_route *r, *next;
	TAILQ_FOREACH_SAFE (r, &c->routes, link, next) {
		r->users++; /* requests that fail may be the last */
		channel_route_settle(c, r);
		next = TAILQ_NEXT(r, link);
		channel_route_put(c, r);
	}
}

void channel_route_told(struct channel_end *e, const Isthmus__ChannelOwner *o)
{
	struct channel *c = e->c;
	struct channel_route *r = channel_route_find(c, o->volume_id);
	if (!r)
		return; /* closed meanwhile */
	struct channel_said *s = &r->said[e->number];
	if (o->number < s->number)
		return;
	*s = (struct channel_said){.open = true,
				   .known = true,
				   .place = o->place,
				   .epoch = o->epoch,
				   .number = o->number,
				   .memory_id = o->memory_id};
	if (e->up)
		channel_route_settle(c, r);
}

void channel_route_forget(struct channel_end *e)
{
	struct channel_route *r;
	TAILQ_FOREACH (r, &e->c->routes, link)
		memset(&r->said[e->number], 0, sizeof(r->said[0]));
	channel_route_settle_all(e->c);
}

void channel_route_doubt(struct channel *c, struct channel_route *r)
{
	struct channel_end *e = r->owner;
	/* What it says of a change was perhaps said before the change was taken back. */
	r->said[e->number].known = false;
	r->said[e->number].ask = true;
	channel_route_settle(c, r);
	channel_end_ask(e);
}
