/*
 * Replacing the process of a service by another that serves as much: what moves, restarts and
 * changes of a program are made of.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "server/supervisor/supervisor.h"

#define ASK_NS	 (2 * NS_PER_S)
#define AGAIN_NS (50 * NS_PER_MS)

static bool is_mounted(const Isthmus__AdminRow *row)
{
	for (size_t i = 0; i < row->n_fields; i++) {
		const Isthmus__AdminValue *v = row->fields[i]->value;
		if (strcmp(row->fields[i]->name, "state") == 0)
			return v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TEXT &&
			       strcmp(v->text, "mounted") == 0;
	}
	return false;
}

int service_mounted(struct supervisor *s, const char *name)
{
	char path[108];
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminReply *reply;
	config_path_admin(s->config, "head", name, path);
	req.verb = "status";
	int rc = admin_task_call(path, &req, ASK_NS, NULL, &reply);
	if (rc)
		return rc;
	int n = 0;
	for (size_t t = 0; t < reply->n_tables; t++)
		for (size_t i = 0; i < reply->tables[t]->n_rows; i++)
			if (strcmp(reply->tables[t]->name, "filesystems") == 0)
				n += is_mounted(reply->tables[t]->rows[i]);
	isthmus__admin_reply__free_unpacked(reply, NULL);
	return n;
}

static void say_why(const struct child *c, int rc, char *why)
{
	if (rc == -ECHILD)
		snprintf(why, SERVICE_WHY_LEN, "its new process does not come into service: %s",
			 c->why);
	else if (rc == -ETIMEDOUT)
		snprintf(why, SERVICE_WHY_LEN, "its new process is not in service in time");
	else
		snprintf(why, SERVICE_WHY_LEN, "it is being stopped");
}

int service_replace(struct child *c, uint64_t timeout_ns, char why[SERVICE_WHY_LEN])
{
	uint64_t until = env_now_ns(env_real()) + timeout_ns;
	c->users++; /* so that it stays while we ask */
	int before = c->state == CHILD_UP ? service_mounted(c->sup, c->name) : 0, now = 0;
	why[0] = '\0';
	int rc = child_replace(c, timeout_ns);
	if (rc)
		say_why(c, rc, why);
	while (!rc && !c->ended && (now = service_mounted(c->sup, c->name)) < before) {
		if (env_now_ns(env_real()) >= until) {
			snprintf(why, SERVICE_WHY_LEN,
				 "its new process serves %d file systems, the one before it %d",
				 MAX(now, 0), before);
			rc = -EIO;
			break;
		}
		env_sleep_ns(env_real(), AGAIN_NS);
	}
	child_leave(c);
	return rc;
}
