/* pool.move: to which controller a pool belongs. */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <string.h>

static int to_partner(struct core *c, const char *pool, char *why)
{
	const struct core_pool *cp = core_pool_find(c, pool);
	if (cp && cp->place == CORE_PARTNER) /* it is there: it is to stay there */
		return core_pool_prefer(c, pool, c->duplex->partner, why);
	return core_pool_give(c, pool, why);
}

static int to_self(struct admin_call *call, struct core *c, const char *pool, char *why)
{
	const struct core_pool *cp = core_pool_find(c, pool);
	if (cp && cp->place == CORE_HERE)
		return core_pool_prefer(c, pool, c->controller, why);
	if (!admin_arg_flag(call, "force"))
		return admin_error(call, -ERR_NOT_OWNER,
				   "start its owner, or --force: what only that has in its memory "
				   "is lost then, and file systems on it may be damaged",
				   "pool '%s' has no owner that lives", pool);
	return core_pool_force(c, pool, why);
}

/* Carried out by the owner, or where there is none by the controller that was asked. */
static int verb_move(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	char why[CORE_WHY_LEN] = "";
	const char *pool = core_admin_text(call, "name"), *to = core_admin_text(call, "to");
	if (!meta_pool_find(meta_get(c->meta), pool))
		return admin_error(call, -ENOENT, "see `isthmus pool list`",
				   "there is no pool '%s'", pool);
	if (!c->duplex)
		return admin_error(call, -EINVAL, "see partner in isthmus.conf(5)",
				   "controller '%s' has no partner", c->controller);
	int rc;
	if (strcmp(to, c->duplex->partner) == 0)
		rc = to_partner(c, pool, why);
	else if (strcmp(to, c->controller) == 0)
		rc = to_self(call, c, pool, why);
	else
		return admin_error(call, -ENOENT, "see `isthmus controller list`",
				   "there is no controller '%s' in this cluster", to);
	return rc && why[0] ? core_admin_fail(call, rc, why) : rc;
}

int core_admin_move(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {{"pool.move", verb_move}};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
