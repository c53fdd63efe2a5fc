/*
 * The partner comes and goes (core_own.h).
 *
 * Comes: the metadata is served to it, and mirroring to it begins; when every dirty page has a
 * copy, the words of the pools here say so (`mirrored`). Goes: it is fenced, the words say "not
 * mirrored" before the first write without a copy is acknowledged, and its pools are taken over
 * where the words say that all of their data is here.
 *
 * `mirrored` is set on the core's reactor alone, and only while partner_up is and the cache says
 * ON: core_partner_down() clears partner_up before it has the words changed.
 */
#include "blockcore/cache/cache_layout.h"
#include "blockcore/control/meta_check.h"
#include "blockcore/control/meta_share.h"
#include "blockcore/core_impl.h"
#include "blockcore/far.h"
#include "blockcore/link/link.h"
#include "blockcore/mirror/mirror_wire.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOST_NS	   (3 * NS_PER_S)
#define LEAVING_NS (30 * NS_PER_S) /* then isthmusd ends it too */

/* A change of what is said, or of what it means, is another version. */
void core_link_versions(uint32_t versions[])
{
	versions[LINK_SVC_OWNER] = 1; /* core_give.c */
	versions[LINK_SVC_META] = META_VERSION;
	versions[LINK_SVC_MIRROR] = WIRE_VERSION;
	versions[LINK_SVC_ADMIN] = 1; /* core_admin_pass.c */
	versions[LINK_SVC_VOLUME] = FAR_VERSION;
}

bool core_link_refused(struct core *c, char ret[CORE_LINK_WHY])
{
	char why[256];
	if (!c->link || link_is_up(c->link) || !link_refusal(c->link, why, sizeof(why)))
		return false;
	snprintf(ret, CORE_LINK_WHY, "the two controllers do not work together: %.240s", why);
	return true;
}

/* ---- mirrored or not ---- */

bool core_mirrored(const struct core *c)
{
	return c->duplex && c->partner_up && cache_mirror_state(c->cache) == MIRROR_ON;
}

void core_mirrored_set(struct core_pool *cp)
{
	struct core *c = cp->core;
	if (cp->place != CORE_HERE || !core_mirrored(c))
		return;
	int rc = core_word_flags(cp, true, false, false);
	if (rc)
		log_warn("pool %s: the control memory does not take \"mirrored\" err=%s", cp->name,
			 err_name(rc));
}

static void on_task(void *arg)
{
	struct core *c = arg;
	struct core_pool *cp;
	/* No lock: it does not wait, and a pool that is on its way comes to it by itself. */
	TAILQ_FOREACH (cp, &c->pools, link)
		core_mirrored_set(cp);
	waitq_wake_all(&c->own_wake);
	core_background_done(c);
}

/* On the cache's reactor. */
static void mirror_on(void *arg)
{
	struct core *c = arg;
	atomic_fetch_add(&c->background, 1);
	if (task_start_on(c->owner, on_task, c))
		atomic_fetch_sub(&c->background, 1);
}

/* A word that is not as this controller left it belongs to another already. */
static void clear_mirrored(void *arg)
{
	struct core *c = arg;
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		struct gcm_owner w;
		if (!core_word(cp, &w) || w.controller != c->duplex->gcm->self || !w.mirrored)
			continue;
		int rc = core_word_flags(cp, false, w.moving, false);
		if (rc)
			log_warn("pool %s: the control memory does not take \"not mirrored\" "
				 "err=%s",
				 cp->name, err_name(rc));
	}
	FAULT("own.unmirrored");
}

/* ---- comes ---- */

static void join_task(void *arg)
{
	struct core *c = arg;
	const struct core_duplex *d = c->duplex;
	struct mirror_join j = {
	    .segment = c->partner_segment,
	    .segment_size = c->partner_segment_size,
	    .link = c->link,
	    .partner_pages = c->partner_pages,
	    .on = mirror_on,
	    .arg = c,
	};
	int rc = c->partner_up ? cache_mirror_join(c->cache, &j) : -ECANCELED;
	if (rc && rc != -ECANCELED)
		event_write(LOG_L_ERROR, "mirror.not_joined", "writes are not mirrored to '%s': %s",
			    d->partner, err_text(rc));
	c->joining = false;
	waitq_wake_all(&c->own_wake);
	core_background_done(c);
}

static void put_segment(struct core *c)
{
	if (c->partner_segment)
		c->duplex->unmap(c->duplex->map_arg, c->partner_segment, c->partner_segment_size);
	c->partner_segment = NULL;
	c->partner_segment_size = 0;
}

/* Nothing of this controller is in the partner's memory any more. */
static int part(struct core *c)
{
	int rc = cache_mirror_part(c->cache, clear_mirrored, c);
	while (c->joining)
		env_sleep_ns(c->env, NS_PER_MS);
	if (cache_mirror_state(c->cache) != MIRROR_LONE)
		rc = cache_mirror_part(c->cache, clear_mirrored, c); /* it joined meanwhile */
	put_segment(c);
	return rc;
}

void core_partner_unlink(struct core *c)
{
	/* Copies in a mapped segment are good as long as they are cleared as pages get to disk. */
	if (c->cache && (c->joining || !c->duplex->map))
		(void)part(c); /* it cannot fail */
}

int core_partner_up(struct core *c, struct link *l, const void *hello)
{
	CHECK(c, CORE_MAGIC);
	const struct link_hello *h = hello;
	char why[CORE_WHY_LEN];
	if (!c->duplex)
		return -EINVAL;
	if (memcmp(h->array_uuid, c->array_uuid, 16) != 0) {
		event_write(LOG_L_ERROR, "partner.foreign",
			    "controller '%s' has disks of another array; compare the `disks` of "
			    "both in the configuration",
			    c->duplex->partner);
		return -ERR_FOREIGN;
	}
	c->link = l;
	c->partner_up = true;
	c->partner_lost_ns = c->returned_ns = 0;
	c->partner_pages = h->pages;
	atomic_store(&c->partner_incarnation, h->incarnation);
	core_own_serve(c, l);
	core_far_serve(c, l);
	cache_mirror_serve(c->cache, l);
	meta_link_serve(c->meta_link, l, c->meta);
	int rc = meta_refresh(c->meta, why);
	if (rc)
		event_write(LOG_L_ERROR, "meta.not_read", "array metadata: %s", why);
	if (h->segment[0] && c->duplex->map)
		rc = c->duplex->map(c->duplex->map_arg, h, &c->partner_segment,
				    &c->partner_segment_size);
	if (h->segment[0] && rc) {
		event_write(LOG_L_ERROR, "mirror.not_joined",
			    "the cache segment of '%s' cannot be used: %s", c->duplex->partner,
			    err_text(rc));
		return rc;
	}
	event_write(LOG_L_NOTICE, "partner.up", "controller '%s' is there", c->duplex->partner);
	if (!c->partner_up)
		return -ERR_DISCONNECTED;
	c->joining = true;
	rc = core_background(c, join_task, c);
	if (rc)
		c->joining = false;
	waitq_wake_all(&c->own_wake);
	return rc;
}

/* ---- goes ---- */

static void take_over(struct core_pool *cp, void *arg)
{
	struct core *c = cp->core;
	unsigned *taken = arg;
	struct gcm_owner w;
	if (cp->place == CORE_HERE || !core_word(cp, &w) || !core_word_is_partner(c, &w))
		return;
	if (!w.mirrored) {
		cp->waits_since = env_now_ns(c->env);
		core_pool_look(cp); /* it says what is to be done */
		return;
	}
	core_pool_place(cp, CORE_MOVING);
	int rc = core_pool_take(cp, w, CORE_TAKE_DEAD);
	if (rc == 0) {
		(*taken)++;
		return;
	}
	if (rc == -ERR_EPOCH_STALE)
		log_notice("pool %s: its owner came back before it was taken over", cp->name);
	else
		event_write(LOG_L_ERROR, "pool.not_taken", "pool %s could not be taken over: %s",
			    cp->name, cp->why[0] ? cp->why : err_text(rc));
	core_pool_look(cp);
}

/* One that is being stopped in order writes its last pages; then it ends. */
static void wait_leaving(struct core *c)
{
	struct gcm_controller k;
	uint64_t until = env_now_ns(c->env) + LEAVING_NS;
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	while (i >= 0 && gcm_controller(c->duplex->gcm, (uint8_t)i, &k) && k.alive &&
	       k.state == GCM_LEAVING && env_now_ns(c->env) < until && !c->closing)
		env_sleep_ns(c->env, NS_PER_MS);
}

static int partner_gone(struct core *c, struct link *l, bool died);

/*
 * A controller that beats in control memory runs: that it is not heard is the link's doing, which
 * comes up again (core_partner_up()), or not within LOST_NS (core_partner_watch()).
 */
int core_partner_down(struct core *c, struct link *l, bool died)
{
	CHECK(c, CORE_MAGIC);
	if (!c->duplex)
		return -EINVAL;
	c->partner_up = false;
	if (c->closing)
		return -ERR_SHUTDOWN;
	if (c->leaving) {      /* what it owned is for the next start to find */
		(void)part(c); /* it cannot fail: what waits for an answer goes on */
		return -ERR_SHUTDOWN;
	}
	if (!died && l && core_partner_works(c)) {
		event_write(LOG_L_WARN, "partner.link_lost",
			    "controller '%s' cannot be heard and is at work: waiting for the link",
			    c->duplex->partner);
		c->partner_lost_ns = env_now_ns(c->env);
		return part(c);
	}
	return partner_gone(c, l, died);
}

void core_partner_watch(struct core *c)
{
	uint64_t lost = c->partner_lost_ns;
	if (!lost || c->partner_up || c->leaving)
		return;
	bool alive = core_partner_alive(c);
	if (!alive || !core_partner_works(c) || env_now_ns(c->env) - lost >= LOST_NS)
		(void)partner_gone(c, c->link, !alive); /* told */
}

/*
 * Two that cannot hear each other would end each other: who has the right ends the other, which
 * waits for that. -ECANCELED: it need not be ended any more, or not by this one.
 */
static int may_fence(struct core *c, const struct link *l)
{
	while (!c->closing && !c->leaving && !c->partner_up && c->link == l) {
		int rc = gcm_end_lock(c->duplex->gcm, CORE_BEAT_NS);
		if (rc != -EBUSY)
			return rc;
		env_sleep_ns(c->env, NS_PER_MS);
	}
	return -ECANCELED;
}

/*
 * Ends the partner's process and waits until it is gone. A link of unix sockets knows it; one of
 * TCP alone does not, but the control memory of this host does.
 */
static int end_process(struct core *c, struct link *l)
{
	int rc = l ? link_fence(l) : -EHOSTUNREACH;
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	if (rc != -EHOSTUNREACH || i < 0 || !c->partner_incarnation)
		return rc;
	while ((rc = gcm_end(c->duplex->gcm, (uint8_t)i, c->partner_incarnation)) == -EAGAIN)
		env_sleep_ns(c->env, NS_PER_MS);
	return rc;
}

static int fence(struct core *c, struct link *l, bool died)
{
	int rc = died ? 0 : may_fence(c, l);
	if (rc)
		return rc;
	rc = end_process(c, l);
	if (!died)
		gcm_end_unlock(c->duplex->gcm);
	return rc;
}

/* Ended for certain, or to be ended: what it owns comes here. */
static int partner_gone(struct core *c, struct link *l, bool died)
{
	char why[CORE_WHY_LEN];
	uint64_t begun = env_now_ns(c->env);
	unsigned taken = 0;
	c->partner_lost_ns = 0;
	if (!died)
		wait_leaving(c);
	if (c->link != l) /* closed meanwhile: this controller is being stopped */
		return -ERR_SHUTDOWN;
	int rc = died && !l ? 0 : fence(c, l, died);
	if (rc == -ECANCELED) {
		if (c->leaving)
			(void)part(c); /* it cannot fail */
		return rc;
	}
	if (rc && !died) {
		event_write(LOG_L_ERROR, "partner.not_fenced",
			    "controller '%s' is silent and cannot be ended from here: its pools "
			    "stay with it",
			    c->duplex->partner);
		part(c);
		return rc;
	}
	FAULT("own.fenced");
	/* Heads that have not heard of its end find no page in its cache from here on. */
	if (c->partner_segment)
		cache_super_retire(c->partner_segment);
	if (!died)
		event_write(LOG_L_WARN, "partner.fenced",
			    "controller '%s' gave no sign of life and was ended",
			    c->duplex->partner);
	int index = gcm_index(c->duplex->gcm, c->duplex->partner);
	if (index >= 0)
		gcm_forget(c->duplex->gcm, (uint8_t)index);
	rc = part(c);
	meta_partner_gone(c->meta);
	if (rc == 0 && (rc = meta_refresh(c->meta, why)) != 0)
		event_write(LOG_L_ERROR, "meta.not_read", "array metadata: %s", why);
	core_pools_each(c, take_over, &taken);
	event_write(LOG_L_WARN, "partner.down",
		    "controller '%s' %s; %u of its pools were taken over in %llu ms; what is "
		    "written now is in one memory until it is back",
		    c->duplex->partner, died ? "has ended" : "was ended", taken,
		    (unsigned long long)((env_now_ns(c->env) - begun) / NS_PER_MS));
	return rc;
}
