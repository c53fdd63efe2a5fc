/* What can be set of a pool in use; it stands in the metadata. */
#include "blockcore/core_impl.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct pool_setting {
	const char *name;
	const uint64_t *rate;
	const bool *log_always;
};

static int change_setting(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct pool_setting *s = arg;
	for (size_t i = 0; i < am->n_pools; i++) {
		if (strcmp(am->pools[i]->name, s->name) != 0)
			continue;
		if (s->rate)
			am->pools[i]->rebuild_rate = *s->rate;
		if (s->log_always)
			am->pools[i]->log_always = *s->log_always;
		return 0;
	}
	snprintf(why, CORE_WHY_LEN, "there is no pool '%.80s'", s->name);
	return -ENOENT;
}

int core_pool_set_rate(struct core *c, const char *name, uint64_t bytes_per_s, char *why)
{
	struct core_pool *cp = core_pool_find(c, name);
	int rc = meta_update(c->meta, change_setting,
			     &(struct pool_setting){.name = name, .rate = &bytes_per_s}, why);
	if (rc == 0 && cp && cp->pool)
		pool_set_rate(cp->pool, bytes_per_s);
	return rc;
}

int core_pool_set_log(struct core *c, const char *name, bool always, char *why)
{
	struct core_pool *cp = core_pool_find(c, name);
	struct pool_setting s = {.name = name, .log_always = &always};
	if (cp && cp->pool && !pool_parity(cp->pool)) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' has no parity: nothing to log", name);
		return -EINVAL;
	}
	if (cp && (!cp->pool || pool_state(cp->pool) == POOL_OFFLINE)) {
		snprintf(why, CORE_WHY_LEN, "pool '%s' is offline", name);
		return -EIO;
	}
	/* Logged before it is promised, promised no more before it is not logged. */
	int rc = cp && always ? pool_set_log_always(cp->pool, true) : 0;
	if (rc == 0)
		rc = meta_update(c->meta, change_setting, &s, why);
	else
		snprintf(why, CORE_WHY_LEN, "pool '%s': %s", name, err_text(rc));
	if (rc == 0 && cp && !always)
		rc = pool_set_log_always(cp->pool, false);
	return rc;
}
