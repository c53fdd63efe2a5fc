/*
 * Activation of a version of the head program, head by head.
 *
 * What is to happen stands on the software volume (runtime/software.h) before it happens: begin,
 * one `assign` before each head's process is replaced, `back` when one fails, finish. A step is
 * looked up when its answer was lost. So whoever carries an activation out, this process or the
 * next, does the same: for each head that it is about, in the order of the table:
 *
 *   runs the version already, and serves          nothing
 *   else      assign; service_replace(): it boots what is assigned; then it must run that version,
 *             answer NFS NULL, and list the exports that it listed before
 *
 * and on a failure the same back, last head first, to what each ran before. Controllers that are
 * away are waited for. The one who ordered it may go away: nothing depends on him.
 */
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

#define ASK_NS	  (10 * NS_PER_S) /* of silence, a controller */
#define BACK_NS	  (60 * NS_PER_S)
#define PAUSE_NS  (100 * NS_PER_MS)
#define RESUME_NS (10 * NS_PER_S) /* between looks for one that nobody carries out */

/* ---- asking controllers ---- */

void activate_arg(struct activate_args *a, const char *name, const char *value)
{
	ASSERT(a->n < ACTIVATE_ARGS);
	isthmus__admin_arg__init(&a->arg[a->n]);
	a->arg[a->n].name = (char *)name;
	a->arg[a->n].value = (char *)value;
	a->ptr[a->n] = &a->arg[a->n];
	a->n++;
}

int activate_ask(struct supervisor *s, const char *kind, const char *name, const char *verb,
		 struct activate_args *a, uint64_t timeout_ns, struct admin_call *via,
		 Isthmus__AdminReply **ret)
{
	char path[108];
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	config_path_admin(s->config, kind, name, path);
	req.verb = (char *)verb;
	req.args = a ? a->ptr : NULL;
	req.n_args = a ? a->n : 0;
	return admin_task_call(path, &req, timeout_ns, via, ret);
}

/* Is it only that a controller is away for a moment? */
static bool passing(int code)
{
	return code == -ENOTCONN || code == -ERR_NOT_OWNER || code == -ERR_DISCONNECTED ||
	       code == -ERR_SHUTDOWN;
}

/* Whichever controller answers; they pass on what is the other's. *ret only with 0. */
static int ask_any(struct supervisor *s, const char *verb, struct activate_args *a,
		   struct admin_call *via, Isthmus__AdminReply **ret)
{
	int rc = -ENOTCONN;
	for (unsigned i = 0; i < s->config->controllers_count; i++) {
		Isthmus__AdminReply *r;
		rc = activate_ask(s, "controller", s->config->controllers[i].name, verb, a, ASK_NS,
				  via, &r);
		if (rc)
			continue;
		if (!passing(r->code) || i + 1 == s->config->controllers_count) {
			*ret = r;
			return 0;
		}
		isthmus__admin_reply__free_unpacked(r, NULL);
	}
	return rc;
}

/* The same, waiting for a controller for `limit_ns`; 0: as long as isthmusd lives. */
int activate_ask_any(struct supervisor *s, const char *verb, struct activate_args *a,
		     struct admin_call *via, uint64_t limit_ns, Isthmus__AdminReply **ret)
{
	uint64_t until = env_now_ns(env_real()) + limit_ns;
	for (;;) {
		int rc = ask_any(s, verb, a, via, ret);
		if (rc == 0 && !passing((*ret)->code))
			return 0;
		if (s->stopping || (limit_ns && env_now_ns(env_real()) >= until))
			return rc;
		if (rc == 0)
			isthmus__admin_reply__free_unpacked(*ret, NULL);
		if (via)
			admin_progress(via, "waiting for a controller", 0, 0);
		env_sleep_ns(env_real(), PAUSE_NS);
	}
}

/* ---- the state of things ---- */

static void take_head(struct activation *a, const Isthmus__AdminReply *r, const char *name)
{
	struct software_head *h = &a->heads[a->nheads];
	if (a->nheads == SOFTWARE_HEADS || (a->only[0] && strcmp(a->only, name) != 0))
		return;
	memset(h, 0, sizeof(*h));
	snprintf(h->head, sizeof(h->head), "%.63s", name);
	snprintf(h->version, sizeof(h->version), "%.47s",
		 admin_reply_text(r, "assigned", "head", name, "version"));
	snprintf(h->before, sizeof(h->before), "%.47s",
		 admin_reply_text(r, "assigned", "head", name, "before"));
	a->nheads++;
}

/* Fills in what stands on the volume. True: an activation is in progress. */
bool activate_take(struct activation *a, const Isthmus__AdminReply *r)
{
	const char *phase = admin_reply_text(r, "software", NULL, NULL, "activation");
	const Isthmus__AdminValue *way = admin_reply_value(r, "software", NULL, NULL, "one_way");
	a->back = strcmp(phase, "back") == 0;
	if (!a->back && strcmp(phase, "forward") != 0)
		return false;
	snprintf(a->target, sizeof(a->target), "%.47s",
		 admin_reply_text(r, "software", NULL, NULL, "target"));
	snprintf(a->only, sizeof(a->only), "%.63s",
		 admin_reply_text(r, "software", NULL, NULL, "only"));
	a->one_way = way && way->flag;
	a->nheads = 0;
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++)
			if (strcmp(r->tables[t]->name, "assigned") == 0 &&
			    r->tables[t]->rows[i]->n_fields > 0)
				take_head(a, r, r->tables[t]->rows[i]->fields[0]->value->text);
	return true;
}

/* Was the step done, though its answer was lost? */
static bool was_done(const char *what, const char *head, const char *version,
		     const Isthmus__AdminReply *r)
{
	const char *phase = admin_reply_text(r, "software", NULL, NULL, "activation");
	if (strcmp(what, "finish") == 0)
		return strcmp(phase, "none") == 0;
	if (strcmp(what, "back") == 0)
		return strcmp(phase, "back") == 0;
	return strcmp(admin_reply_text(r, "assigned", "head", head, "version"), version) == 0;
}

/* Waits for controllers, as long as it takes. -ERR_SHUTDOWN: isthmusd ends. */
static int step(struct activation *a, const char *what, const char *head, const char *version)
{
	struct activate_args x = {0};
	Isthmus__AdminReply *r, *list;
	activate_arg(&x, "do", what);
	activate_arg(&x, "head", head);
	int rc = activate_ask_any(a->s, "software.step", &x, NULL, 0, &r);
	if (rc || a->s->stopping) {
		if (!rc)
			isthmus__admin_reply__free_unpacked(r, NULL);
		return -ERR_SHUTDOWN;
	}
	rc = r->code;
	if (rc)
		snprintf(a->why, sizeof(a->why), "%.300s", r->error);
	isthmus__admin_reply__free_unpacked(r, NULL);
	if (rc && activate_ask_any(a->s, "software.list", NULL, NULL, 0, &list) == 0) {
		rc = was_done(what, head, version, list) ? 0 : rc;
		isthmus__admin_reply__free_unpacked(list, NULL);
	}
	return a->s->stopping ? -ERR_SHUTDOWN : rc;
}

/* ---- one head ---- */

static int probe(struct activation *a, const char *head, struct serve_exports *ret)
{
	const struct config_head *c = config_head(a->s->config, head);
	if (!c)
		return -ENOENT;
	char address[64];
	snprintf(address, sizeof(address), "%.63s", c->address); /* a reload may free it */
	return serve_probe(address, (uint16_t)c->nfs_port,
			   (uint16_t)(c->mount_port ? c->mount_port : c->nfs_port),
			   ACTIVATE_HEAD_NS, ret);
}

/* Does the head run this version, and serve all that it served before? */
static int serves(struct activation *a, const char *head, const char *version,
		  const struct serve_exports *before)
{
	struct serve_exports now;
	Isthmus__AdminReply *r;
	int rc = activate_ask(a->s, "head", head, "head.program", NULL, ACTIVATE_HEAD_NS, NULL, &r);
	if (rc) {
		snprintf(a->why, sizeof(a->why), "it does not answer: %s", err_text(rc));
		return rc;
	}
	const char *runs = admin_reply_text(r, "program", NULL, NULL, "version");
	/* One that does not know the question is an installed program of old. */
	runs = r->code == -EOPNOTSUPP ? SOFTWARE_INSTALLED : runs;
	if (strcmp(runs, version) != 0) {
		snprintf(a->why, sizeof(a->why), "it runs version %.47s instead", runs);
		rc = -ERR_VERSION;
	}
	isthmus__admin_reply__free_unpacked(r, NULL);
	rc = rc ? rc : probe(a, head, &now);
	if (rc) {
		if (rc != -ERR_VERSION)
			snprintf(a->why, sizeof(a->why), "it does not serve NFS: %s", err_text(rc));
		return rc;
	}
	const char *lost = serve_exports_lost(before, &now);
	if (lost) {
		snprintf(a->why, sizeof(a->why), "it does not serve export %.200s", lost);
		rc = -ENOENT;
	}
	serve_exports_free(&now);
	return rc;
}

static int replace(struct activation *a, unsigned i, const char *version)
{
	const char *head = a->heads[i].head;
	/* On the way back there is nothing else to turn to. */
	uint64_t wait_ns = a->back ? MAX(a->wait_ns, BACK_NS) : a->wait_ns;
	uint64_t until = env_now_ns(env_real()) + wait_ns;
	struct child *c = supervisor_child(a->s, "head", head);
	if (!c) /* not configured any more */
		return a->s->stopping ? -ERR_SHUTDOWN : 0;
	int rc = service_replace(c, wait_ns, a->why);
	while (!rc && (rc = serves(a, head, version, &a->exports[i]))) {
		/* Another program than was asked for will not become it. */
		if (rc == -ERR_VERSION || a->s->stopping || env_now_ns(env_real()) >= until)
			break;
		env_sleep_ns(env_real(), PAUSE_NS);
		rc = 0;
	}
	return a->s->stopping ? -ERR_SHUTDOWN : rc;
}

_Static_assert(ACTIVATE_WHY >= SERVICE_WHY_LEN, "service_replace() says why");

static int take_to(struct activation *a, unsigned i, const char *version)
{
	char what[160];
	const char *head = a->heads[i].head;
	snprintf(what, sizeof(what), "head %.40s: %s version %.47s", head,
		 a->back ? "back to" : "activating", version);
	if (a->call)
		admin_progress(a->call, what, a->done, a->nheads);
	bool has = serves(a, head, version, &a->exports[i]) == 0;
	int rc = step(a, "assign", head, version);
	if (rc == 0 && !has)
		rc = replace(a, i, version);
	a->done++;
	if (rc == 0 && !has)
		event_write(LOG_L_NOTICE, "software.head", "head %s runs version %s", head,
			    version);
	return rc;
}

/* ---- all of it ---- */

static int go_back(struct activation *a, const char *because)
{
	int failed = 0;
	a->back = true;
	a->done = 0;
	event_write(LOG_L_ERROR, "software.rollback",
		    "version %s is not activated, heads go back: %.150s", a->target, because);
	for (unsigned i = a->nheads; i-- > 0;) {
		int rc = take_to(a, i, a->heads[i].before);
		if (rc == -ERR_SHUTDOWN)
			return rc;
		if (rc)
			event_write(LOG_L_ERROR, "software.head",
				    "head %s does not serve with version %s either: %.120s",
				    a->heads[i].head, a->heads[i].before, a->why);
		failed = failed ? failed : rc;
		a->astray |= rc != 0;
	}
	int rc = step(a, "finish", "", "");
	return rc ? rc : failed;
}

static int failed_at(struct activation *a, unsigned i, int why_rc)
{
	char because[ACTIVATE_WHY];
	snprintf(because, sizeof(because), "head %.40s: %.250s", a->heads[i].head, a->why);
	int rc = a->one_way ? step(a, "finish", "", "") : step(a, "back", "", "");
	a->astray |= rc != 0;
	if (rc == 0 && !a->one_way)
		rc = go_back(a, because);
	else if (rc == 0)
		event_write(LOG_L_ERROR, "software.stopped",
			    "the activation of version %s (one way) has stopped: %.150s", a->target,
			    because);
	if (rc == -ERR_SHUTDOWN)
		return rc;
	snprintf(a->why, sizeof(a->why), "%.315s", because);
	return why_rc;
}

/* With the durable state of an activation in progress taken. */
static int carry_out(struct activation *a)
{
	if (a->back)
		return go_back(a, "it had begun to");
	for (unsigned i = 0; i < a->nheads; i++) {
		/* Nothing is expected of one that served nobody before. */
		if (probe(a, a->heads[i].head, &a->exports[i]))
			memset(&a->exports[i], 0, sizeof(a->exports[i]));
		int rc = take_to(a, i, a->target);
		if (rc)
			return rc == -ERR_SHUTDOWN ? rc : failed_at(a, i, rc);
	}
	int rc = step(a, "finish", "", "");
	if (rc == 0)
		event_write(LOG_L_NOTICE, "software.activate", "version %s is active%s%s",
			    a->target, a->only[0] ? " at head " : "", a->only);
	return rc;
}

int activate_run(struct activation *a)
{
	a->s->activating = true;
	int rc = carry_out(a);
	for (unsigned i = 0; i < SOFTWARE_HEADS; i++)
		serve_exports_free(&a->exports[i]);
	a->s->activating = false;
	return rc;
}

/* ---- from one isthmusd to the next ---- */

static void resume(struct supervisor *s)
{
	struct activation *a = calloc(1, sizeof(*a));
	Isthmus__AdminReply *r = NULL;
	if (a && activate_ask_any(s, "software.list", NULL, NULL, 0, &r) == 0) {
		a->s = s;
		a->wait_ns = ACTIVATE_WAIT_S * NS_PER_S;
		if (!s->stopping && !s->activating && r->code == 0 && activate_take(a, r)) {
			event_write(LOG_L_NOTICE, "software.resume",
				    "the activation of version %s goes on", a->target);
			activate_run(a);
		}
		isthmus__admin_reply__free_unpacked(r, NULL);
	}
	free(a);
}

/* Also one that was begun and whose answer was lost, or that could not be told how it ended. */
static void go_on(void *arg)
{
	struct supervisor *s = arg;
	while (!s->stopping) {
		if (!s->activating)
			resume(s);
		if (!s->stopping)
			env_waitq_wait(env_real(), &s->resume, RESUME_NS);
	}
	s->resuming = false;
}

int activate_start(struct supervisor *s)
{
	waitq_init(&s->resume);
	s->resuming = true;
	int rc = task_start(go_on, s);
	if (rc)
		s->resuming = false;
	return rc;
}

void activate_stop(struct supervisor *s)
{
	waitq_wake_all(&s->resume);
	while (s->activating || s->resuming)
		env_sleep_ns(env_real(), PAUSE_NS);
}
