/*
 * What the control memory says of each pool, and what follows for this controller: at start, and
 * every OWN_TICK_NS for pools that are not here.
 *
 *   nobody ever owned it     its preferred owner takes it; another after START_NS, when that one
 *                            has not come, or ENTER_NS, when it has come and does not take it
 *   this controller          it takes it up: its segment has what is not on the disks
 *   the partner, alive       it is there
 *   the partner, dead        mirrored: it is given RETURN_NS to come back, then taken over (what
 *                            dies while this controller runs is taken over at once:
 *                            core_partner.c). Not mirrored: its owner has to come back
 *   another                  nothing but `pool move --force`
 *
 * A task of the core's reactor; it also beats in control memory.
 */
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OWN_TICK_NS (100 * NS_PER_MS)
#define START_NS    (10 * NS_PER_S)
#define ENTER_NS    (60 * NS_PER_S)
#define RETURN_NS   (5 * NS_PER_S)
#define RETRY_NS    (2 * NS_PER_S) /* after taking failed */

enum verdict {
	LOOK_TAKE,    /* with *ret_how */
	LOOK_PARTNER, /* it is there */
	LOOK_WAIT,    /* own_why says for what */
};

bool core_partner_alive(struct core *c)
{
	struct gcm_controller k;
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	return i >= 0 && gcm_controller(c->duplex->gcm, (uint8_t)i, &k) && k.alive;
}

bool core_partner_works(struct core *c)
{
	struct gcm_controller k;
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	return i >= 0 && gcm_controller(c->duplex->gcm, (uint8_t)i, &k) && k.alive &&
	       env_now_ns(c->env) < k.beat_ns + CORE_BEAT_NS;
}

bool core_partner_ended(struct core *c)
{
	struct gcm_controller k;
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	return i < 0 || !gcm_controller(c->duplex->gcm, (uint8_t)i, &k) || !k.alive ||
	       k.incarnation != atomic_load(&c->partner_incarnation);
}

bool core_word_is_partner(struct core *c, const struct gcm_owner *w)
{
	int i = gcm_index(c->duplex->gcm, c->duplex->partner);
	return i >= 0 && w->controller == i;
}

static enum verdict judge_free(struct core_pool *cp, const char *preferred, uint64_t waited,
			       enum core_take *ret_how)
{
	struct core *c = cp->core;
	bool alive = core_partner_alive(c);
	*ret_how = CORE_TAKE_FREE;
	if (strcmp(preferred, c->duplex->partner) != 0 || waited >= (alive ? ENTER_NS : START_NS))
		return LOOK_TAKE;
	snprintf(cp->why, sizeof(cp->why), "its preferred owner '%.40s' %s: waiting for it",
		 c->duplex->partner, alive ? "has not taken it yet" : "has not started yet");
	return LOOK_WAIT;
}

static enum verdict judge_dead(struct core_pool *cp, const struct gcm_owner *w, uint64_t waited,
			       enum core_take *ret_how)
{
	struct core *c = cp->core;
	*ret_how = CORE_TAKE_DEAD;
	if (!w->mirrored) {
		snprintf(cp->why, sizeof(cp->why),
			 "its owner '%.40s' is down and has its newest data alone: start it, or "
			 "give that up with `isthmus pool move %.40s %.40s --force`",
			 c->duplex->partner, cp->name, c->controller);
		return LOOK_WAIT;
	}
	if (waited >= RETURN_NS)
		return LOOK_TAKE;
	snprintf(cp->why, sizeof(cp->why), "its owner '%.40s' is down: waiting for its return",
		 c->duplex->partner);
	return LOOK_WAIT;
}

static enum verdict judge(struct core_pool *cp, const char *preferred, struct gcm_owner *w,
			  enum core_take *ret_how)
{
	struct core *c = cp->core;
	uint64_t now = env_now_ns(c->env);
	bool known = core_word(cp, w);
	bool partner = known && core_word_is_partner(c, w);
	if (partner && core_partner_alive(c)) {
		cp->waits_since = now;
		return LOOK_PARTNER;
	}
	uint64_t waited = now - cp->waits_since;
	if (partner)
		return judge_dead(cp, w, waited, ret_how);
	if (!known || w->controller == GCM_NOBODY)
		return judge_free(cp, preferred, waited, ret_how);
	/* Moving and stored: it was given, and this controller died before it took it. */
	*ret_how = w->moving && w->stored ? CORE_TAKE_GIVEN : CORE_TAKE_OWN;
	if (w->controller == c->duplex->gcm->self)
		return LOOK_TAKE;
	snprintf(cp->why, sizeof(cp->why),
		 "a controller that is not this one's partner owns it: start that, or "
		 "`isthmus pool move %.40s %.40s --force`",
		 cp->name, c->controller);
	return LOOK_WAIT;
}

/* What is said, and since when, once. */
static void tell_wait(struct core_pool *cp, const char *before)
{
	if (strcmp(before, cp->why) != 0)
		event_write(LOG_L_WARN, "pool.waits", "pool %s has no owner: %s", cp->name,
			    cp->why);
}

void core_pool_look(struct core_pool *cp)
{
	struct core *c = cp->core;
	struct gcm_owner w;
	enum core_take how;
	char before[sizeof(cp->why)];
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), cp->name);
	if (!mp || cp->place == CORE_HERE || env_now_ns(c->env) < cp->retry_own_ns)
		return;
	snprintf(before, sizeof(before), "%s", cp->why);
	switch (judge(cp, mp->owner, &w, &how)) {
	case LOOK_PARTNER:
		cp->why[0] = '\0';
		if (cp->place == CORE_NOWHERE)
			(void)core_pool_drop_pages(cp); /* else they stay, without a use */
		core_pool_place(cp, CORE_PARTNER);
		break;
	case LOOK_WAIT:
		core_pool_place(cp, CORE_NOWHERE);
		tell_wait(cp, before);
		break;
	case LOOK_TAKE:
		if (cp->place != CORE_MOVING)
			core_pool_place(cp, CORE_NOWHERE);
		if (core_pool_take(cp, w, how) == 0)
			break;
		cp->retry_own_ns = env_now_ns(c->env) + RETRY_NS;
		tell_wait(cp, before);
		break;
	}
}

void core_pools_each(struct core *c, void (*fn)(struct core_pool *cp, void *arg), void *arg)
{
	struct core_pool *cp, *next;
	for (cp = TAILQ_FIRST(&c->pools); cp; cp = next) {
		cp->pins++;
		task_mutex_lock(&cp->change);
		if (!c->closing)
			fn(cp, arg);
		task_mutex_unlock(&cp->change);
		next = TAILQ_NEXT(cp, link);
		cp->pins--;
	}
}

static void look(struct core_pool *cp, void *arg)
{
	core_pool_look(cp);
}

static void beat_task(void *arg)
{
	struct core *c = arg;
	while (!c->closing) {
		gcm_beat(c->duplex->gcm);
		env_waitq_wait(c->env, &c->watch, OWN_TICK_NS);
	}
	core_background_done(c);
}

static void own_task(void *arg)
{
	struct core *c = arg;
	while (!c->closing) {
		core_partner_watch(c);
		core_pools_each(c, look, NULL);
		core_give_back(c);
		if (!c->closing)
			env_waitq_wait(c->env, &c->own_wake, OWN_TICK_NS);
	}
	core_background_done(c);
}

int core_own_start(struct core *c)
{
	if (!c->duplex)
		return 0;
	int rc = core_background(c, beat_task, c);
	return rc ? rc : core_background(c, own_task, c);
}
