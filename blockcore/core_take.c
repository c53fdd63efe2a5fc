/*
 * A pool comes here: at start, from a partner that died, or given by one that lives.
 *
 *   claim its disks -> old pages go -> the word -> pages of the other -> assemble
 *   -> record -> attach -> here
 *
 * What decides whether it may come is in core_own_look.c and core_partner.c; this file does it, the
 * same way each time, with the pool's `change` lock held. Until the word is this controller's
 * nothing has been written; from then on the pool is nobody else's, and what fails is tried again.
 */
#include "blockcore/core_impl.h"
#include "blockcore/mirror/mirror.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

bool core_word(const struct core_pool *cp, struct gcm_owner *ret)
{
	struct gcm *g = cp->core->duplex->gcm;
	if (g->ops->owner(g, cp->uuid, ret))
		return true;
	*ret = (struct gcm_owner){.controller = GCM_NOBODY};
	return false;
}

/* The word becomes this controller's, with a higher epoch than any before; was: as decided on. One
 * that is stored stays so until it is attached: should this controller die, another can take it.
 * Its disks are claimed, so nobody else is about to take it. */
static int own_word(struct core_pool *cp, struct gcm_owner was, enum core_take how)
{
	struct core *c = cp->core;
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), cp->name);
	struct gcm *g = c->duplex->gcm;
	struct gcm_owner now = {.epoch = MAX(was.epoch, mp ? mp->epoch : 0) + 1,
				.controller = g->self,
				.mirrored = was.stored,
				.stored = was.stored,
				.held = how == CORE_TAKE_GIVEN && was.held};
	struct gcm_owner is;
	core_word(cp, &is);
	if (is.epoch != was.epoch || is.controller != was.controller)
		return -ERR_EPOCH_STALE;
	core_pool_say_memory(cp, mp, was.stored ? CORE_TAKE_GIVEN : how);
	FAULT("own.memory_said");
	int rc = g->ops->set_owner(g, cp->uuid, &was, &now);
	if (rc == 0)
		cp->epoch = now.epoch;
	return rc;
}

int core_word_flags(struct core_pool *cp, bool mirrored, bool moving, bool stored)
{
	struct core *c = cp->core;
	struct gcm *g = c->duplex->gcm;
	struct gcm_owner was, now;
	core_word(cp, &was);
	int rc;
	do {
		if (was.controller != g->self || was.epoch != cp->epoch)
			return -ERR_NOT_OWNER;
		now = was;
		now.mirrored = mirrored;
		now.moving = moving;
		now.stored = stored;
		rc = g->ops->set_owner(g, cp->uuid, &was, &now);
	} while (rc == -ERR_EPOCH_STALE);
	return rc;
}

/* ---- volumes of a pool ---- */

int core_pool_volumes(struct core_pool *cp, uint32_t **ret, size_t *ret_n)
{
	const Isthmus__ArrayMeta *am = meta_get(cp->core->meta);
	uint32_t *ids = calloc(am->n_volumes ? am->n_volumes : 1, sizeof(*ids));
	size_t n = 0;
	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_volumes; i++)
		if (strcmp(am->volumes[i]->pool, cp->name) == 0)
			ids[n++] = am->volumes[i]->id;
	*ret = ids;
	*ret_n = n;
	return 0;
}

void core_pool_place(struct core_pool *cp, enum core_place place)
{
	struct core *c = cp->core;
	uint32_t *ids;
	size_t n;
	if (cp->place == place)
		return;
	cp->place = place;
	ASSERT(place != CORE_HERE);
	int rc = core_pool_volumes(cp, &ids, &n);
	if (rc) { /* volumes have no place of their own: they must have this one */
		struct volume *v;
		RB_FOREACH (v, volume_tree, &c->volumes) {
			const Isthmus__Volume *mv =
			    meta_volume_by_id(meta_get(c->meta), volume_id(v));
			if (mv && strcmp(mv->pool, cp->name) == 0)
				volume_set_place(v, place);
		}
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct volume *v = core_volume_get(c, ids[i]);
		if (!v)
			continue;
		volume_set_place(v, place);
		core_own_tell(c, v);
		core_volume_put(v);
	}
	free(ids);
}

/* ---- what it has in memory ---- */

static bool wants(void *arg, uint32_t volume)
{
	const struct core_pool *cp = arg;
	const Isthmus__Volume *mv = meta_volume_by_id(meta_get(cp->core->meta), volume);
	return mv && strcmp(mv->pool, cp->name) == 0;
}

/* Was another's last: what this controller has in its own pages is older than what is on the disks.
 */
static bool from_another(enum core_take how)
{
	return how != CORE_TAKE_OWN && how != CORE_TAKE_FREE && how != CORE_TAKE_BACK;
}

static int adopt_pages(struct core_pool *cp, enum core_take how)
{
	struct core *c = cp->core;
	uint32_t adopted = 0;
	if (how != CORE_TAKE_DEAD) /* core_own_adopt() did it, or there is nothing */
		return 0;
	int rc = cache_mirror_adopt(c->cache, wants, cp, &adopted);
	if (adopted)
		event_write(LOG_L_NOTICE, "pool.pages_adopted",
			    "pool %s: %u pages of the partner's cache were taken up from this "
			    "controller's memory",
			    cp->name, adopted);
	return rc;
}

static bool own_word_of(struct core *c, uint32_t volume, struct gcm_owner *ret)
{
	const Isthmus__Volume *mv = meta_volume_by_id(meta_get(c->meta), volume);
	const Isthmus__Pool *mp = mv ? meta_pool_find(meta_get(c->meta), mv->pool) : NULL;
	struct gcm *g = c->duplex->gcm;
	return mp && g->ops->owner(g, mp->uuid.data, ret) && ret->controller == g->self;
}

/* What an own pool has in the mirror area: its takeover was cut short. */
static bool own_copy(void *arg, uint32_t volume)
{
	struct gcm_owner w;
	return own_word_of(arg, volume, &w) && !w.stored;
}

/* The other had written all of it to the disks: these copies are older. */
static bool old_copy(void *arg, uint32_t volume)
{
	struct gcm_owner w;
	return own_word_of(arg, volume, &w) && w.stored;
}

/* Before a partner can join. */
int core_own_adopt(struct core *c)
{
	uint32_t n = 0;
	if (!c->duplex)
		return 0;
	cache_mirror_drop(c->cache, old_copy, c);
	return cache_mirror_adopt(c->cache, own_copy, c, &n);
}

int core_pool_drop_pages(struct core_pool *cp)
{
	uint32_t *ids;
	size_t n;
	int rc = core_pool_volumes(cp, &ids, &n);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		cache_drop_foreign(cp->core->cache, ids[i]);
	free(ids);
	return 0;
}

/* ---- recording ---- */

struct taken {
	struct core_pool *cp;
	enum core_take how;
	bool survived; /* every write under way is a dirty page of the cache */
};

static int change_taken(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct taken *t = arg;
	for (size_t i = 0; i < am->n_pools; i++)
		if (memcmp(am->pools[i]->uuid.data, t->cp->uuid, 16) == 0) {
			core_change_pool_memory(t->cp->core, am->pools[i], t->how);
			return core_change_pool_opened(t->cp, am->pools[i], t->survived);
		}
	snprintf(why, CORE_WHY_LEN, "there is no pool '%.63s' any more", t->cp->name);
	return -ENOENT;
}

static int record_taken(struct core_pool *cp, enum core_take how)
{
	struct core *c = cp->core;
	char why[CORE_WHY_LEN];
	struct taken t = {.cp = cp, .how = how, .survived = how != CORE_TAKE_FORCED};
	if (how == CORE_TAKE_OWN || how == CORE_TAKE_FREE)
		t.survived = c->adopted > 0;
	if (!cp->pool || pool_state(cp->pool) == POOL_OFFLINE)
		return 0;
	int rc = meta_update(c->meta, change_taken, &t, why);
	if (rc) {
		event_write(LOG_L_ERROR, "pool.not_taken",
			    "pool %s: that it is this controller's now could not be recorded: %s",
			    cp->name, why);
		return rc;
	}
	core_pool_recorded_open(cp);
	return 0;
}

/* ---- taking ---- */

static int attach(struct core_pool *cp, const uint32_t *ids, size_t n)
{
	struct core *c = cp->core;
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct volume *v = core_volume_get(c, ids[i]);
		if (!v)
			continue;
		if (core_volume_place(v) != CORE_HERE)
			rc = volume_take(v, c->cache, cp->pool, cp->epoch);
		core_volume_put(v);
	}
	return rc;
}

static void tell_all(struct core_pool *cp, const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct volume *v = core_volume_get(cp->core, ids[i]);
		if (!v)
			continue;
		core_own_tell(cp->core, v);
		core_volume_put(v);
	}
}

/* The word is this controller's. */
static int take_up(struct core_pool *cp, enum core_take how)
{
	struct core *c = cp->core;
	uint32_t *ids;
	size_t n;
	int rc = core_pool_volumes(cp, &ids, &n);
	if (rc)
		return rc;
	rc = adopt_pages(cp, how);
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), cp->name);
	if (rc == 0)
		rc = mp ? core_pool_assemble_into(cp, mp) : -ENOENT;
	FAULT("own.assembled");
	if (rc == 0)
		rc = record_taken(cp, how);
	FAULT("own.recorded");
	if (rc == 0) /* before anything is acknowledged */
		rc = core_word_flags(cp, core_mirrored(c), false, false);
	if (rc == 0)
		rc = attach(cp, ids, n);
	if (rc == 0) {
		cp->place = CORE_HERE;
		core_mirrored_set(cp);
		tell_all(cp, ids, n);
	}
	free(ids);
	return rc;
}

static const char *told(enum core_take how)
{
	switch (how) {
	case CORE_TAKE_OWN:
		return "it was this controller's";
	case CORE_TAKE_FREE:
		return "nobody owned it";
	case CORE_TAKE_DEAD:
		return "its owner has ended, and its newest data is in this controller's memory";
	case CORE_TAKE_GIVEN:
		return "its owner had closed it in order";
	case CORE_TAKE_FORCED:
		return "an administrator said so";
	case CORE_TAKE_BACK:
		return "it could not be given away";
	}
	return "";
}

int core_pool_take(struct core_pool *cp, struct gcm_owner was, enum core_take how)
{
	struct core *c = cp->core;
	uint64_t begun = env_now_ns(c->env);
	ASSERT(task_mutex_held(&cp->change) && cp->place != CORE_HERE);
	if (how == CORE_TAKE_DEAD && was.stored) /* copies in the mirror area are older */
		how = CORE_TAKE_GIVEN;
	const Isthmus__Pool *mp = meta_pool_find(meta_get(c->meta), cp->name);
	int rc = mp ? core_pool_claim(c, mp, &was, cp->why, sizeof(cp->why)) : -ENOENT;
	if (rc)
		return rc;
	FAULT("own.claimed");
	/* Before the word says that what is in the mirror area counts. A partner on this host that
	 * lives and gives has emptied it when it joined. */
	if (how == CORE_TAKE_GIVEN && (!c->duplex->map || !core_partner_alive(c)))
		cache_mirror_drop(c->cache, wants, cp);
	/* And before it says that this controller's own pages count: who dies with the word finds
	 * nothing old in its memory. */
	rc = from_another(how) ? core_pool_drop_pages(cp) : 0;
	if (rc == 0)
		rc = own_word(cp, was, how);
	if (rc) {
		core_pool_unclaim(c, cp->uuid);
		return rc;
	}
	FAULT("own.word_taken");
	cp->why[0] = '\0';
	rc = take_up(cp, how);
	if (rc) {
		snprintf(cp->why, sizeof(cp->why), "it cannot be taken up: %s", err_text(rc));
		core_pool_part(cp);
		return rc;
	}
	event_write(LOG_L_NOTICE, "pool.owned",
		    "pool %s is this controller's (epoch %llu): %s; %llu ms", cp->name,
		    (unsigned long long)cp->epoch, told(how),
		    (unsigned long long)((env_now_ns(c->env) - begun) / NS_PER_MS));
	core_pool_start_resync(cp);
	core_fill_resume(cp);
	return 0;
}

/* ---- letting go ---- */

static int detach_volumes(struct core_pool *cp)
{
	struct core *c = cp->core;
	uint32_t *ids;
	size_t n;
	int rc = core_pool_volumes(cp, &ids, &n), e;
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++) {
		struct volume *v = core_volume_get(c, ids[i]);
		if (!v)
			continue;
		if (core_volume_place(v) == CORE_HERE)
			volume_set_place(v, CORE_MOVING);
		volume_quiesce(v);
		if ((e = volume_detach(v, false)) != 0) {
			event_write(LOG_L_ERROR, "volume.not_flushed",
				    "volume %s: its newest data could not be written: %s",
				    volume_name(v), err_text(e));
			rc = e;
		}
		core_volume_put(v);
	}
	free(ids);
	return rc;
}

void core_pool_idle(struct core_pool *cp)
{
	if (!cp->pool)
		return;
	cp->removing = true;
	pool_resync_stop(cp->pool);
	while (atomic_load(&cp->users) || cp->sweeping)
		env_sleep_ns(cp->core->env, NS_PER_MS);
}

int core_pool_part(struct core_pool *cp)
{
	if (cp->place == CORE_HERE)
		core_pool_place(cp, CORE_MOVING);
	int rc = detach_volumes(cp);
	core_pool_idle(cp);
	if (rc == 0 && cp->pool && pool_state(cp->pool) != POOL_OFFLINE)
		rc = pool_sync(cp->pool);
	if (rc == 0 && cp->recorded_open)
		rc = core_pool_record_clean(cp);
	core_pool_idle(cp); /* a disk may have been lost by that */
	pool_free(cp->pool);
	cp->pool = NULL;
	cp->recorded_open = false;
	cp->removing = false;
	core_pool_unclaim(cp->core, cp->uuid);
	return rc;
}
