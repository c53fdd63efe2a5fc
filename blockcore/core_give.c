/*
 * A pool goes to the partner while it is in use (core_own.h).
 *
 *   1. the partner is asked whether it can take it
 *   2. dirty pages go to the disks, while commands go on
 *   3. the word says moving: calls are refused, those who make them hold their commands
 *   4. what runs is waited for, the rest of the pages goes to the disks, the pool is closed in
 *      order, the claims are given up
 *   5. the word goes to the partner with the next epoch, mirrored, moving, stored: nothing of it is
 *      in any memory, so it can be taken back by compare-and-swap should the partner die now
 *   6. the partner is told, takes it and answers
 *
 * Until 5 this controller owns it: whatever fails, it takes it up again. After 5 the partner does,
 * also when the answer does not come; core_partner_down() finds the word as for any other pool.
 */
#include "blockcore/control/owner.h"
#include "blockcore/core_impl.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_NS	    (2 * NS_PER_S)
#define TAKE_NS	    (30 * NS_PER_S)
#define GIVE_TRY_NS (1 * NS_PER_S) /* between two tries to give pools back */

enum own_message {
	OWN_ASK = 1, /* call: could you take the pool now? */
	OWN_TAKE,    /* call: it is yours, with this epoch */
};

/* Head of both; little endian. */
struct own_head {
	uint8_t pool[16];
	uint64_t epoch;
};
_Static_assert(sizeof(struct own_head) == 24, "head of messages on ownership");

/* ---- the partner's side ---- */

static struct core_pool *pool_of(struct core *c, const uint8_t uuid[16])
{
	struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (memcmp(cp->uuid, uuid, 16) == 0)
			return cp;
	return NULL;
}

/* -ENOENT: not known here; -ENODEV: a disk of it is not here; -EAGAIN: not yet. */
static int can_take(struct core *c, const struct core_pool *cp)
{
	const Isthmus__Pool *mp = cp ? meta_pool_find(meta_get(c->meta), cp->name) : NULL;
	if (!mp)
		return -ENOENT;
	if (c->closing || c->leaving)
		return -ERR_SHUTDOWN;
	if (!c->partner_up || cache_mirror_state(c->cache) != MIRROR_ON)
		return -EAGAIN;
	for (size_t i = 0; i < mp->n_disks; i++)
		if (!mp->disks[i]->failed && !core_disk_by_uuid(c, mp->disks[i]->uuid.data))
			return -ENODEV;
	return 0;
}

static int take_given(struct core *c, const struct own_head *h)
{
	struct core_pool *cp = pool_of(c, h->pool);
	struct gcm_owner w;
	if (!cp)
		return -ENOENT;
	if (c->closing)
		return -ERR_SHUTDOWN;
	cp->pins++;
	task_mutex_lock(&cp->change);
	int rc = 0;
	bool known = core_word(cp, &w);
	if (cp->place == CORE_HERE)
		rc = 0; /* it was seen in the word already */
	else if (!known || w.controller != c->duplex->gcm->self || w.epoch != h->epoch)
		rc = -ERR_EPOCH_STALE;
	else
		rc = core_pool_take(cp, w, CORE_TAKE_GIVEN);
	task_mutex_unlock(&cp->change);
	cp->pins--;
	return rc;
}

struct served {
	struct core *c;
	struct link_msg *m;
	int rc;
};

static void serve_on_owner(void *arg)
{
	struct served *s = arg;
	struct own_head h;
	uint32_t len;
	const void *head = link_msg_head(s->m, &len);
	s->rc = -ERR_PROTO;
	if (len != sizeof(h))
		return;
	memcpy(&h, head, sizeof(h));
	if (link_msg_type(s->m) == OWN_ASK)
		s->rc = can_take(s->c, pool_of(s->c, h.pool));
	else if (link_msg_type(s->m) == OWN_TAKE)
		s->rc = take_given(s->c, &h);
}

static void serve(void *arg, struct link_msg *m)
{
	struct core *c = arg;
	struct served s = {.c = c, .m = m};
	int rc = owner_call(c->owner, serve_on_owner, &s);
	link_reply(m, rc ? rc : s.rc, NULL, 0, NULL, 0, NULL, NULL);
}

void core_own_serve(struct core *c, struct link *l)
{
	link_serve(l, LINK_SVC_OWNER, serve, c);
}

/* ---- giving ---- */

static int tell(struct core_pool *cp, enum own_message type, uint64_t epoch, uint64_t timeout_ns)
{
	struct core *c = cp->core;
	struct own_head h = {.epoch = epoch};
	struct link_answer none = {0};
	memcpy(h.pool, cp->uuid, 16);
	if (!c->link || !c->partner_up)
		return -ERR_DISCONNECTED;
	return link_call(c->link, LINK_CONTROL, LINK_SVC_OWNER, (uint16_t)type, &h, sizeof(h), NULL,
			 0, &none, timeout_ns);
}

static bool in_use(struct core *c, const struct core_pool *cp)
{
	const struct reservation *r;
	TAILQ_FOREACH (r, &c->reserved, link)
		if (strcmp(r->pool, cp->name) == 0)
			return true;
	return false;
}

/* Why the partner cannot take it; what to do behind "; ". */
static void say_refusal(const struct core_pool *cp, int rc, char *why)
{
	const char *partner = cp->core->duplex->partner, *format;
	switch (rc) {
	case -ERR_DISCONNECTED:
		format = "pool '%.63s' stays here: controller '%.40s' is not connected; see "
			 "`isthmus controller list` and start it";
		break;
	case -EBUSY:
		format = "pool '%.63s' stays here: what is written is not mirrored to controller "
			 "'%.40s' yet; try again in a moment";
		break;
	case -EAGAIN:
		format = "pool '%.63s' stays here: controller '%.40s' has not mirrored all it has "
			 "yet; try again in a moment";
		break;
	case -ENODEV:
		format = "pool '%.63s' stays here: controller '%.40s' does not see all its disks; "
			 "see `isthmus disk list` of both";
		break;
	default:
		snprintf(why, CORE_WHY_LEN,
			 "pool '%.63s' stays here: controller '%.40s' cannot take it: %.70s; see "
			 "`isthmus event list`",
			 cp->name, partner, err_text(rc));
		return;
	}
	snprintf(why, CORE_WHY_LEN, format, cp->name, partner);
}

static int ask(struct core_pool *cp)
{
	struct core *c = cp->core;
	if (!c->partner_up)
		return -ERR_DISCONNECTED;
	/* Until it has joined, the partner's mirror area may have copies of long ago. */
	if (cache_mirror_state(c->cache) < MIRROR_JOINING)
		return -EBUSY;
	return tell(cp, OWN_ASK, cp->epoch, ASK_NS);
}

static int may_give(struct core_pool *cp, char *why)
{
	struct core *c = cp->core;
	if (cp->place != CORE_HERE || !cp->pool) {
		snprintf(why, CORE_WHY_LEN,
			 "pool '%.63s' is not this controller's; see OWNER in `isthmus pool list`",
			 cp->name);
		return -ERR_NOT_OWNER;
	}
	if (cp->removing || in_use(c, cp)) {
		snprintf(
		    why, CORE_WHY_LEN,
		    "pool '%.63s' is busy (a volume of it is being made or removed); try again "
		    "when that is done",
		    cp->name);
		return -EBUSY;
	}
	int rc = ask(cp);
	if (rc)
		say_refusal(cp, rc, why);
	return rc;
}

static void flush_volumes(struct core_pool *cp)
{
	uint32_t *ids;
	size_t n;
	if (core_pool_volumes(cp, &ids, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		struct volume *v = core_volume_get(cp->core, ids[i]);
		/* What it cannot write is told when the volume is closed. */
		if (v)
			(void)volume_flush(v, 0, volume_size(v));
		core_volume_put(v);
	}
	free(ids);
}

static int back(struct core_pool *cp, int rc, char *why)
{
	struct gcm_owner w;
	snprintf(why, CORE_WHY_LEN, "pool '%.63s' could not be closed: %.100s; it stays here",
		 cp->name, err_text(rc));
	core_word(cp, &w);
	int e = core_pool_take(cp, w, CORE_TAKE_BACK);
	if (e) {
		event_write(LOG_L_ERROR, "pool.not_taken",
			    "pool %s could not be given away nor taken up again: %s", cp->name,
			    cp->why);
		core_pool_place(cp, CORE_NOWHERE);
	}
	return rc;
}

/* This controller is its preferred owner. */
static bool is_own(const struct core_pool *cp)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(cp->core->meta), cp->name);
	return mp && strcmp(mp->owner, cp->core->controller) == 0;
}

/* hold: it is to stay there, though it is not its preferred owner. */
static int pass_word(struct core_pool *cp, bool hold, uint64_t *ret_epoch)
{
	struct core *c = cp->core;
	struct gcm *g = c->duplex->gcm;
	int partner = gcm_index(g, c->duplex->partner);
	struct gcm_owner was, now;
	if (partner < 0)
		return partner;
	core_word(cp, &was);
	now = (struct gcm_owner){.epoch = was.epoch + 1,
				 .controller = (uint8_t)partner,
				 .mirrored = true,
				 .moving = true,
				 .stored = true,
				 .held = hold && is_own(cp)};
	*ret_epoch = now.epoch;
	if (was.controller != g->self || was.epoch != cp->epoch)
		return -ERR_NOT_OWNER;
	return g->ops->set_owner(g, cp->uuid, &was, &now);
}

static int give(struct core_pool *cp, bool hold, char *why)
{
	struct core *c = cp->core;
	uint64_t begun, epoch = 0;
	int rc = may_give(cp, why);
	if (rc)
		return rc;
	flush_volumes(cp);
	begun = env_now_ns(c->env);
	bool mirrored = cache_mirror_state(c->cache) == MIRROR_ON && c->partner_up;
	rc = core_word_flags(cp, mirrored, true, false);
	if (rc) {
		snprintf(why, CORE_WHY_LEN, "the control memory refuses it: %s", err_text(rc));
		return rc;
	}
	FAULT("own.moving");
	rc = core_pool_part(cp);
	FAULT("own.closed");
	if (rc == 0)
		rc = pass_word(cp, hold, &epoch);
	if (rc)
		return back(cp, rc, why);
	FAULT("own.passed");
	rc = tell(cp, OWN_TAKE, epoch, TAKE_NS);
	if (rc == 0 || core_partner_alive(c))
		core_pool_place(cp, CORE_PARTNER);
	if (rc) {
		snprintf(why, CORE_WHY_LEN,
			 "pool '%.63s' belongs to '%.40s' now, which has not said that it serves "
			 "it: %.80s",
			 cp->name, c->duplex->partner, err_text(rc));
		return rc;
	}
	event_write(LOG_L_NOTICE, "pool.given", "pool %s was given to '%s' in %llu ms", cp->name,
		    c->duplex->partner,
		    (unsigned long long)((env_now_ns(c->env) - begun) / NS_PER_MS));
	return 0;
}

static int give_named(struct core *c, const char *pool, bool hold, char *why)
{
	struct core_pool *cp = core_pool_find(c, pool);
	why[0] = '\0';
	if (!c->duplex) {
		snprintf(why, CORE_WHY_LEN,
			 "pool '%.63s' has no other owner: this controller has no partner", pool);
		return -EINVAL;
	}
	if (!cp) {
		snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'; see `isthmus pool list`",
			 pool);
		return -ENOENT;
	}
	cp->pins++;
	task_mutex_lock(&cp->change);
	int rc = c->closing ? -ERR_SHUTDOWN : give(cp, hold, why);
	task_mutex_unlock(&cp->change);
	cp->pins--;
	if (rc && !why[0])
		snprintf(why, CORE_WHY_LEN, "%s", err_text(rc));
	return rc;
}

/* ---- where an administrator wants it ---- */

struct preferred {
	const char *pool, *controller;
};

static int change_owner(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct preferred *p = arg;
	for (size_t i = 0; i < am->n_pools; i++)
		if (strcmp(am->pools[i]->name, p->pool) == 0)
			return pb_set_text(&am->pools[i]->owner, p->controller);
	snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'; see `isthmus pool list`", p->pool);
	return -ENOENT;
}

int core_pool_prefer(struct core *c, const char *pool, const char *controller, char *why)
{
	struct preferred p = {.pool = pool, .controller = controller};
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), pool);
	if (mp && strcmp(mp->owner, controller) == 0)
		return 0;
	return meta_update(c->meta, change_owner, &p, why);
}

/* The preference first: without it the partner would give the pool back at once. */
int core_pool_give(struct core *c, const char *pool, char *why)
{
	CHECK(c, CORE_MAGIC);
	char before[64] = "", lost[CORE_WHY_LEN];
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), pool);
	const struct core_pool *cp = core_pool_find(c, pool);
	bool ours = c->duplex && mp && cp && cp->place == CORE_HERE;
	if (ours)
		snprintf(before, sizeof(before), "%s", mp->owner);
	int rc = ours ? core_pool_prefer(c, pool, c->duplex->partner, why) : 0;
	if (rc)
		return rc;
	rc = give_named(c, pool, false, why);
	if (rc && ours && before[0] && core_pool_prefer(c, pool, before, lost))
		event_write(LOG_L_WARN, "pool.preference",
			    "pool %s was not given to '%s', and is still to be its: %s", pool,
			    c->duplex->partner, lost);
	return rc;
}

int core_pool_give_held(struct core *c, const char *pool, char *why)
{
	CHECK(c, CORE_MAGIC);
	return give_named(c, pool, true, why);
}

/* With cp->change. */
static int force(struct core_pool *cp, char *why)
{
	struct core *c = cp->core;
	struct gcm_owner w;
	bool known = core_word(cp, &w);
	if (cp->place == CORE_HERE)
		return 0;
	if (known && core_word_is_partner(c, &w) && core_partner_alive(c)) {
		snprintf(why, CORE_WHY_LEN, "controller '%.63s', which owns pool '%.63s', lives",
			 c->duplex->partner, cp->name);
		return -EBUSY;
	}
	/* What the dead owner's copies say may be older than what it wrote to the disks alone. */
	if (!w.mirrored)
		cache_mirror_clear(c->cache);
	core_pool_place(cp, CORE_NOWHERE);
	int rc = core_pool_take(cp, w, w.mirrored ? CORE_TAKE_DEAD : CORE_TAKE_FORCED);
	if (rc)
		snprintf(why, CORE_WHY_LEN, "pool '%.63s' cannot be taken: %.150s", cp->name,
			 cp->why[0] ? cp->why : err_text(rc));
	return rc;
}

int core_pool_force(struct core *c, const char *pool, char *why)
{
	struct core_pool *cp = core_pool_find(c, pool);
	if (!cp || !c->duplex) {
		snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'; see `isthmus pool list`",
			 pool);
		return -ENOENT;
	}
	cp->pins++;
	task_mutex_lock(&cp->change);
	int rc = c->closing ? -ERR_SHUTDOWN : force(cp, why);
	task_mutex_unlock(&cp->change);
	cp->pins--;
	return rc ? rc : core_pool_prefer(c, pool, c->controller, why);
}

/* ---- giving back ---- */

static bool is_partners(const struct core_pool *cp)
{
	const Isthmus__Pool *mp = meta_pool_find(meta_get(cp->core->meta), cp->name);
	struct gcm_owner w;
	return mp && cp->place == CORE_HERE && cp->pool &&
	       strcmp(mp->owner, cp->core->duplex->partner) == 0 && !(core_word(cp, &w) && w.held);
}

/* Hosts find their paths to a controller some time after it has returned. Given before that, a pool
 * would be used by the other one's paths, and moved again when its own are there. */
static bool is_back(struct core *c)
{
	uint64_t now = env_now_ns(c->env);
	if (!core_mirrored(c)) {
		c->returned_ns = 0;
		return false;
	}
	if (!c->returned_ns)
		c->returned_ns = now;
	return now - c->returned_ns >= c->duplex->give_back_delay_ns;
}

void core_give_back(struct core *c)
{
	char why[CORE_WHY_LEN];
	struct core_pool *cp, *next;
	if (!c->duplex->give_back || !is_back(c) || c->leaving ||
	    env_now_ns(c->env) < c->give_again_ns)
		return;
	for (cp = TAILQ_FIRST(&c->pools); cp && !c->closing; cp = next) {
		cp->pins++;
		int rc = is_partners(cp) ? give_named(c, cp->name, false, why) : 0;
		next = TAILQ_NEXT(cp, link);
		cp->pins--;
		if (rc && rc != -EAGAIN && rc != -EBUSY)
			log_warn("pool not given back why=\"%s\"", why);
		if (rc)
			c->give_again_ns = env_now_ns(c->env) + GIVE_TRY_NS;
	}
}

void core_leave(struct core *c)
{
	char why[CORE_WHY_LEN];
	struct core_pool *cp, *next;
	CHECK(c, CORE_MAGIC);
	c->leaving = true;
	for (cp = TAILQ_FIRST(&c->pools); cp && c->duplex && c->partner_up; cp = next) {
		cp->pins++;
		if (cp->place == CORE_HERE && give_named(c, cp->name, false, why))
			log_notice("pool stays for the next start why=\"%s\"", why);
		next = TAILQ_NEXT(cp, link);
		cp->pins--;
	}
}
