/* Registration of the core's admin verbs, and what their handlers share. */
#include "blockcore/core_admin.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEAD_TIMEOUT (30 * NS_PER_S)

int core_admin_add(struct core *c, struct admin_server *s, const struct core_verb *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = core_admin_route(c, s, &v[i]);
		if (rc)
			return rc;
	}
	return 0;
}

int core_admin_fail(struct admin_call *call, int rc, const char *why)
{
	char text[CORE_WHY_LEN];
	snprintf(text, sizeof(text), "%s", why[0] ? why : err_text(rc));
	char *remedy = strstr(text, "; ");
	if (remedy) {
		*remedy = '\0';
		remedy += 2;
	}
	return admin_error(call, rc, remedy, "%s", text);
}

const char *core_admin_text(const struct admin_call *call, const char *name)
{
	const char *t = admin_arg_text(call, name);
	return t ? t : "";
}

void core_admin_progress(void *arg, uint64_t done, uint64_t total)
{
	struct core_progress *p = arg;
	admin_progress(p->call, p->what, done, total);
}

int core_admin_wait_head(struct core *c, struct admin_call *call, const char *head, const char *fs,
			 char *text)
{
	text[0] = '\0';
	if (!c->hooks.wait_applied || !head[0])
		return 0;
	int rc = c->hooks.wait_applied(c->hooks.arg, head, meta_get(c->meta)->seq, fs, HEAD_TIMEOUT,
				       text);
	if (rc != -ETIMEDOUT && rc != -ERR_DISCONNECTED)
		return rc;
	admin_note(call, "head '%s' %s; the change takes effect when it is up", head,
		   rc == -ETIMEDOUT ? "has not answered yet" : "is not connected");
	return 0;
}

int core_admin_register(struct core *c, struct admin_server *s)
{
	TAILQ_INIT(&c->routes);
	int rc = core_admin_status(c, s);
	if (rc == 0)
		rc = core_admin_controller(c, s);
	if (rc == 0)
		rc = core_admin_disk(c, s);
	if (rc == 0)
		rc = core_admin_pool(c, s);
	if (rc == 0)
		rc = core_admin_move(c, s);
	if (rc == 0)
		rc = core_admin_volume(c, s);
	if (rc == 0)
		rc = core_admin_fs(c, s);
	if (rc == 0)
		rc = core_admin_export(c, s);
	if (rc == 0)
		rc = core_admin_group(c, s);
	if (rc == 0)
		rc = core_admin_backup(c, s);
	if (rc == 0)
		rc = core_admin_software(c, s);
	if (rc == 0)
		rc = core_admin_pass_start(c, s);
	return rc;
}
