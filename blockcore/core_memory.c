/*
 * The identity of the memory behind a volume (core_own.h, core_volume_memory_id()).
 *
 * A controller without a partner: the identity of its cache (cache_layout.h), which changes when
 * pages were lost. With a partner, memory is the two caches together, and what is dirty goes from
 * one to the other; so the pool has an identity of its own, recorded with the cache that upholds it
 * now:
 *
 *   made                                              that of the cache
 *   comes at start, its cache is the recorded one     stays
 *   the same, and died after it had taken the pool    stays: the control memory has that its cache
 *   and before that was recorded                      was to uphold it
 *   comes at start, all of it stored                  stays
 *   comes at start, with another cache                new: there was a loss of memory
 *   taken over, mirrored; or given, all on the disks  stays, and this cache upholds it
 *   taken by force                                    new
 *
 * An identity that stays is that of the first cache. The record is part of the change that every
 * new owner makes before it serves (core_take.c).
 */
#include "blockcore/cache/cache.h"
#include "blockcore/core_impl.h"
#include "blockcore/core_own.h"
#include "runtime/check.h"
#include "runtime/env.h"

bool core_pool_memory_stays(struct core *c, const Isthmus__Pool *mp, enum core_take how)
{
	uint64_t own = cache_memory_id(c->cache);
	if (how == CORE_TAKE_FORCED)
		return false;
	if ((how != CORE_TAKE_OWN && how != CORE_TAKE_FREE) || mp->memory_of == own)
		return true;
	if (how == CORE_TAKE_FREE || !c->duplex)
		return false;
	return c->duplex->gcm->ops->memory(c->duplex->gcm, mp->uuid.data) == own;
}

void core_pool_say_memory(struct core_pool *cp, const Isthmus__Pool *mp, enum core_take how)
{
	struct core *c = cp->core;
	struct gcm *g = c->duplex->gcm;
	bool stays = mp && core_pool_memory_stays(c, mp, how);
	/* One that is not in the map yet is taken at its first start: what is recorded is right. */
	(void)g->ops->set_memory(g, cp->uuid, stays ? cache_memory_id(c->cache) : 0);
}

void core_change_pool_memory(struct core *c, Isthmus__Pool *mp, enum core_take how)
{
	uint64_t own = cache_memory_id(c->cache);
	if (!mp->memory_id)
		mp->memory_id = own;
	else if (!core_pool_memory_stays(c, mp, how))
		mp->memory_id = env_random_u64(c->env) | 1;
	mp->memory_of = own;
}

uint64_t core_volume_memory_id(struct core *c, const struct volume *v)
{
	const Isthmus__Volume *mv = meta_volume_by_id(meta_get(c->meta), volume_id(v));
	const Isthmus__Pool *mp = mv ? meta_pool_find(meta_get(c->meta), mv->pool) : NULL;
	uint64_t own = cache_memory_id(c->cache);
	if (!mp || !mp->memory_id)
		return own;
	if (mp->memory_of == own)
		return mp->memory_id;
	/* It had a partner once, which upheld it: never what either of them called it. */
	return (own ^ mp->memory_id ^ mp->memory_of) | 1;
}
