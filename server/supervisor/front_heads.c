/* The front door's verbs of heads: what isthmusd itself does with their processes. */
#include <errno.h>
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "server/supervisor/supervisor.h"

#define REPLACE_NS (60 * NS_PER_S)

/* NULL: the error is put. */
static struct child *the_head(struct supervisor *s, struct admin_call *call, const char *name)
{
	struct child *c = name ? supervisor_child(s, "head", name) : NULL;
	if (!c)
		admin_error(call, -ENOENT, "see isthmus head list", "no head `%.31s` is configured",
			    name ? name : "");
	return c;
}

static int verb_restart(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	const char *name = admin_arg_text(call, "name");
	struct child *c = the_head(s, call, name);
	char why[SERVICE_WHY_LEN];
	if (!c)
		return -ENOENT;
	admin_progress(call, "replacing the process", 0, 0);
	int rc = service_replace(c, REPLACE_NS, why);
	if (rc)
		return admin_error(call, rc, "see isthmus status", "head %s: %s", name, why);
	return 0;
}

int front_heads_register(struct supervisor *s)
{
	return admin_register(s->admin, "head.restart", verb_restart, s);
}
