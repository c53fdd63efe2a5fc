/* The front door's verbs of the head program: what isthmusd itself does with versions. */
#include "server/supervisor/activate.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/supervisor/supervisor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX 600 /* seconds */

static int fail(struct admin_call *call, struct activation *a, int rc)
{
	char *remedy = strstr(a->why, "; ");
	if (remedy) {
		*remedy = '\0';
		remedy += 2;
	}
	return admin_error(call, rc, remedy, "%s", a->why[0] ? a->why : err_text(rc));
}

/* Stands on the volume when it returns 0. */
static int begin(struct activation *a)
{
	struct activate_args x = {0};
	Isthmus__AdminReply *r;
	const struct config_file *c = a->s->config;
	char names[SOFTWARE_HEADS][SOFTWARE_HEAD_NAME];
	if (c->heads_count > SOFTWARE_HEADS) {
		snprintf(a->why, sizeof(a->why), "there are more than %u heads", SOFTWARE_HEADS);
		return -E2BIG;
	}
	activate_arg(&x, "do", "begin");
	activate_arg(&x, "version", a->target);
	activate_arg(&x, "head", a->only);
	if (a->one_way)
		activate_arg(&x, "one-way", "true");
	for (unsigned i = 0; i < c->heads_count; i++) {
		snprintf(names[i], sizeof(names[i]), "%.63s", c->heads[i].name);
		activate_arg(&x, "heads", names[i]);
	}
	int rc = activate_ask_any(a->s, "software.step", &x, a->call, ACTIVATE_AWAY_NS, &r);
	if (rc == 0) {
		rc = r->code;
		snprintf(a->why, sizeof(a->why), "%.200s%s%.100s", r->error,
			 r->remedy[0] ? "; " : "", r->remedy);
		isthmus__admin_reply__free_unpacked(r, NULL);
	} else {
		snprintf(a->why, sizeof(a->why), "no controller answers: %s", err_text(rc));
	}
	if (rc)
		return rc;
	rc = activate_ask_any(a->s, "software.list", NULL, NULL, 0, &r);
	if (rc)
		return rc;
	rc = activate_take(a, r) ? 0 : -ERR_PROTO;
	isthmus__admin_reply__free_unpacked(r, NULL);
	return rc;
}

static int activate(struct activation *a, struct admin_call *call)
{
	if (a->s->activating) {
		snprintf(a->why, sizeof(a->why),
			 "an activation is in progress; wait until it has "
			 "ended (isthmus software list)");
		return fail(call, a, -EBUSY);
	}
	a->s->activating = true; /* two at once would both check, and one begin */
	admin_progress(call, "checking", 0, 0);
	int rc = activate_check(a);
	rc = rc ? rc : begin(a);
	a->s->activating = false;
	if (rc)
		return fail(call, a, rc);
	event_write(LOG_L_NOTICE, "software.begin", "version %s is being activated%s%s", a->target,
		    a->only[0] ? " at head " : "", a->only);
	rc = activate_run(a);
	if (rc == -ERR_SHUTDOWN)
		return admin_error(call, rc, "it is gone on with when isthmusd runs again",
				   "isthmusd ends");
	if (rc)
		return admin_error(call, rc, "see isthmus event list",
				   "version %s was not "
				   "activated%s: %s",
				   a->target,
				   a->one_way  ? ""
				   : a->astray ? ", and not every head serves again"
					       : ", heads were rolled back",
				   a->why);
	admin_table(call, "activated", false);
	for (unsigned i = 0; i < a->nheads; i++) {
		admin_row(call);
		admin_put_text(call, "head", "%s", a->heads[i].head);
		admin_put_text(call, "version", "%s", a->target);
		admin_put_text(call, "before", "%s", a->heads[i].before);
	}
	return 0;
}

/* Waits. To be freed; NULL: the call's error is set. */
static struct activation *ordered(struct supervisor *s, struct admin_call *call)
{
	uint64_t wait = ACTIVATE_WAIT_S;
	const char *only = admin_arg_text(call, "head");
	int rc = admin_arg_u64(call, "wait", &wait);
	if (rc && rc != -ENOENT)
		return NULL;
	if (wait == 0 || wait > WAIT_MAX) {
		admin_error(call, -EINVAL, NULL, "--wait: 1 to %d seconds", WAIT_MAX);
		return NULL;
	}
	struct activation *a = calloc(1, sizeof(*a));
	if (!a) {
		admin_error(call, -ENOMEM, NULL, "no memory");
		return NULL;
	}
	a->s = s;
	a->call = call;
	a->wait_ns = wait * NS_PER_S;
	a->one_way = admin_arg_flag(call, "one-way");
	snprintf(a->only, sizeof(a->only), "%.63s", only ? only : "");
	return a;
}

static int verb_activate(struct admin_call *call, void *arg)
{
	const char *version = admin_arg_text(call, "version");
	struct activation *a = ordered(arg, call);
	if (!a)
		return -EINVAL;
	snprintf(a->target, sizeof(a->target), "%.47s", version ? version : "");
	int rc = activate(a, call);
	free(a);
	return rc;
}

/* A head with a version of its own goes back to what all run, the array to what it ran before. */
static int verb_rollback(struct admin_call *call, void *arg)
{
	struct activation *a = ordered(arg, call);
	Isthmus__AdminReply *r;
	if (!a)
		return -EINVAL;
	int rc = activate_ask_any(a->s, "software.list", NULL, NULL, ACTIVATE_AWAY_NS, &r);
	if (rc == 0) {
		bool own =
		    a->only[0] && admin_reply_value(r, "assigned", "head", a->only, "version");
		snprintf(a->target, sizeof(a->target), "%.47s",
			 admin_reply_text(r, "software", NULL, NULL, own ? "active" : "previous"));
		isthmus__admin_reply__free_unpacked(r, NULL);
		if (a->target[0]) {
			rc = activate(a, call);
		} else {
			snprintf(a->why, sizeof(a->why),
				 "there is no version to go back to; see "
				 "isthmus software list");
			rc = fail(call, a, -ENOENT);
		}
	} else {
		rc = admin_error(call, rc, "see isthmus status", "no controller answers");
	}
	free(a);
	return rc;
}

static void put_head(struct supervisor *s, struct admin_call *call, const char *head)
{
	Isthmus__AdminReply *r;
	int rc = activate_ask(s, "head", head, "head.program", NULL, ACTIVATE_HEAD_NS, NULL, &r);
	admin_row(call);
	admin_put_text(call, "head", "%s", head);
	if (rc == 0 && r->code == 0) {
		admin_put_text(call, "runs", "%s",
			       admin_reply_text(r, "program", NULL, NULL, "version"));
		admin_put_text(call, "build", "%s",
			       admin_reply_text(r, "program", NULL, NULL, "build"));
	} else {
		admin_put_text(call, "runs", "%s", rc ? "(does not answer)" : SOFTWARE_INSTALLED);
		admin_put_text(call, "build", "%s", "");
	}
	if (rc == 0)
		isthmus__admin_reply__free_unpacked(r, NULL);
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	Isthmus__AdminReply *r;
	char name[SOFTWARE_HEAD_NAME];
	int rc = activate_ask_any(s, "software.list", NULL, call, ACTIVATE_AWAY_NS, &r);
	if (rc)
		return admin_error(call, rc, "see isthmus status", "no controller answers");
	rc = admin_reply_take(call, r);
	if (rc)
		return rc;
	admin_table(call, "heads", false);
	for (unsigned i = 0; i < s->config->heads_count; i++) {
		snprintf(name, sizeof(name), "%.63s", s->config->heads[i].name);
		put_head(s, call, name);
	}
	return 0;
}

int front_software_register(struct supervisor *s)
{
	int rc = admin_register(s->admin, "software.list", verb_list, s);
	rc = rc ? rc : admin_register(s->admin, "software.activate", verb_activate, s);
	return rc ? rc : admin_register(s->admin, "software.rollback", verb_rollback, s);
}
