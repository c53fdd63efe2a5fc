/*
 * Verbs that only the owner of a pool can carry out, wherever they were sent.
 *
 * A table says which argument of a verb names the pool, directly or by what lies in it. Where that
 * pool is the partner's, the whole call goes there over the link (LINK_SVC_ADMIN): the request as
 * it came, progress back while it runs, then the reply. A call that was passed on is not passed on
 * again: it says so in its destination.
 *
 *   PASS_CALL      call: head: number of the call; data: AdminRequest; answer: AdminReply
 *   PASS_PROGRESS  head: number of the call; data: AdminProgress
 */
#include "blockcore/control/owner.h"
#include "blockcore/core_admin.h"
#include "blockcore/core_software.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (1024 * 1024u)
#define SETTLE_NS (15 * NS_PER_S) /* a pool that moves, or is taken over, is somewhere then */
#define PASSED	  "owner"	  /* destination of a call that was passed on */

enum pass_message { PASS_CALL = 1, PASS_PROGRESS };

_Static_assert(REPLY_MAX <= LINK_DATA_MAX, "a reply fits a message");

/* ---- which pool a verb is about ---- */

enum names { POOL, VOLUME, FS, GROUP, DISK, NEW_POOL, SOFTWARE };

static const struct rule {
	const char *verb, *arg;
	enum names names;
} rules[] = {
    {"pool.create", "owner", NEW_POOL}, {"pool.remove", "name", POOL},
    {"pool.scrub", "name", POOL},	{"pool.replace", "name", POOL},
    {"pool.grow", "name", POOL},	{"pool.show", "name", POOL},
    {"pool.move", "name", POOL},	{"volume.create", "pool", POOL},
    {"volume.resize", "name", VOLUME},	{"volume.remove", "name", VOLUME},
    {"volume.show", "name", VOLUME},	{"fs.create", "pool", POOL},
    {"fs.create", "volume", VOLUME},	{"fs.grow", "name", FS},
    {"fs.remove", "name", FS},		{"group.create", "pool", POOL},
    {"group.remove", "name", GROUP},	{"backup.run", "group", GROUP},
    {"backup.verify", "group", GROUP},	{"backup.status", "group", GROUP},
    {"disk.wipe", "disk", DISK},	{"software.install", "pool", SOFTWARE},
    {"software.list", "", SOFTWARE},	{"software.show", "", SOFTWARE},
    {"software.remove", "", SOFTWARE},	{"software.step", "", SOFTWARE},
    {"backup.restore", "pool", POOL},
};

static const Isthmus__Pool *pool_of_volume(const Isthmus__ArrayMeta *am, const Isthmus__Volume *v)
{
	return v ? meta_pool_find(am, v->pool) : NULL;
}

static const Isthmus__Pool *pool_of_fs(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->name, name) == 0)
			return pool_of_volume(am,
					      meta_volume_by_id(am, am->filesystems[i]->volume_id));
	return NULL;
}

/* Not given: the only one there is. */
static const Isthmus__Pool *pool_of_group(const Isthmus__ArrayMeta *am, const char *name)
{
	const Isthmus__HeadGroup *g = name		  ? meta_group_find(am, name)
				      : am->n_groups == 1 ? am->groups[0]
							  : NULL;
	return g ? pool_of_volume(am, meta_volume_by_id(am, g->piv_volume)) : NULL;
}

/* Where the volume lies, or is going to be made. */
static const Isthmus__Pool *pool_of_software(struct core *c, const char *pool)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__Volume *v = core_software_find(am);
	if (v)
		return pool_of_volume(am, v);
	return pool ? meta_pool_find(am, pool) : core_software_pool(c);
}

static const Isthmus__Pool *pool_of_disk(struct core *c, const char *path)
{
	size_t position;
	const struct disk *d = core_disk_find(c, path);
	return d ? core_disk_pool(c, d, &position) : NULL;
}

/* NULL: it is about no pool that there is; whoever has the call says so. */
static const Isthmus__Pool *pool_named(struct core *c, const struct admin_call *call,
				       const struct rule *r)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const char *name = admin_arg_text(call, r->arg);
	if (r->names == GROUP)
		return pool_of_group(am, name);
	if (r->names == SOFTWARE)
		return pool_of_software(c, name);
	if (!name)
		return NULL;
	switch (r->names) {
	case POOL:
		return meta_pool_find(am, name);
	case VOLUME:
		return pool_of_volume(am, meta_volume_find(am, name));
	case FS:
		return pool_of_fs(am, name);
	case DISK:
		return pool_of_disk(c, name);
	default:
		return NULL;
	}
}

/* ---- passing on ---- */

struct pass {
	uint64_t id;
	struct admin_call *call;
	TAILQ_ENTRY(pass) link;
};

struct core_pass {
	struct core *core;
	struct admin_server *server;
	uint64_t last;
	TAILQ_HEAD(, pass) under_way;
};

bool core_admin_passed(const struct admin_call *call)
{
	return strcmp(admin_call_request(call)->destination, PASSED) == 0;
}

static int take_reply(struct core *c, struct admin_call *call, int rc, const uint8_t *buf,
		      size_t len)
{
	const char *partner = c->duplex->partner;
	Isthmus__AdminReply *reply = rc ? NULL : isthmus__admin_reply__unpack(NULL, len, buf);
	if (reply)
		return admin_reply_take(call, reply);
	if (rc == -ERR_DISCONNECTED)
		return admin_error(call, rc, "look whether it was done, then say it again",
				   "controller '%s', which is in charge of it, went away", partner);
	rc = rc ? rc : -ERR_PROTO;
	return admin_error(call, rc, "see isthmus event list",
			   "controller '%s', which is in charge of it, does not answer: %s",
			   partner, err_text(rc));
}

int core_admin_pass_on(struct core *c, struct admin_call *call)
{
	struct core_pass *p = c->pass;
	if (!p || !c->link || !link_is_up(c->link))
		return admin_error(call, -ENOTCONN, "see isthmus controller list",
				   "controller '%s', which is in charge of it, is not connected",
				   c->duplex->partner);
	Isthmus__AdminRequest req = *admin_call_request(call); /* shares the arguments */
	req.destination = (char *)PASSED;
	size_t len = isthmus__admin_request__get_packed_size(&req);
	uint8_t *out = malloc(len), *in = malloc(REPLY_MAX);
	if (!out || !in) {
		free(out);
		free(in);
		return -ENOMEM;
	}
	isthmus__admin_request__pack(&req, out);
	struct pass x = {.id = ++p->last, .call = call};
	struct iovec to = {.iov_base = out, .iov_len = len};
	struct iovec from = {.iov_base = in, .iov_len = REPLY_MAX};
	struct link_answer ans = {.iov = &from, .iovcnt = 1};
	TAILQ_INSERT_TAIL(&p->under_way, &x, link);
	int rc = link_call(c->link, LINK_CONTROL, LINK_SVC_ADMIN, PASS_CALL, &x.id, sizeof(x.id),
			   &to, 1, &ans, 0);
	TAILQ_REMOVE(&p->under_way, &x, link);
	free(out);
	rc = take_reply(c, call, rc, in, ans.data_len);
	free(in);
	return rc;
}

/* ---- where ---- */

static enum core_place place_of(struct core *c, const uint8_t *uuid)
{
	const struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (memcmp(cp->uuid, uuid, 16) == 0)
			return cp->place;
	return CORE_NOWHERE;
}

static enum core_place settled(struct core *c, const struct admin_call *call, const struct rule *r)
{
	uint64_t until = env_now_ns(c->env) + SETTLE_NS;
	for (;;) {
		const Isthmus__Pool *mp = pool_named(c, call, r);
		enum core_place at = mp ? place_of(c, mp->uuid.data) : CORE_HERE;
		if (at != CORE_MOVING || env_now_ns(c->env) >= until)
			return at;
		env_sleep_ns(c->env, NS_PER_MS);
	}
}

/* The one that was named, or has fewer pools. */
static int new_owner(struct core *c, struct admin_call *call, bool *ret_partner)
{
	const char *owner = admin_arg_text(call, "owner");
	const char *partner = c->duplex ? c->duplex->partner : "";
	int here = 0, there = 0;
	const struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link) {
		here += cp->place == CORE_HERE;
		there += cp->place == CORE_PARTNER;
	}
	if (owner && strcmp(owner, c->controller) != 0 && strcmp(owner, partner) != 0)
		return admin_error(call, -ENOENT, "see isthmus controller list",
				   "there is no controller '%s' in this cluster", owner);
	if (owner)
		*ret_partner = strcmp(owner, c->controller) != 0;
	else
		*ret_partner = there < here && c->link && link_is_up(c->link);
	return 0;
}

static int routed(struct admin_call *call, void *arg)
{
	const struct core_route *r = arg;
	struct core *c = r->core;
	bool partner = false;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (strcmp(rules[i].verb, r->verb->verb) != 0)
			continue;
		if (rules[i].names == NEW_POOL) {
			int rc = new_owner(c, call, &partner);
			if (rc)
				return rc;
		} else if (c->duplex) {
			partner |= settled(c, call, &rules[i]) == CORE_PARTNER;
		}
	}
	return partner && !core_admin_passed(call) ? core_admin_pass_on(c, call)
						   : r->verb->handler(call, c);
}

int core_admin_route(struct core *c, struct admin_server *s, const struct core_verb *v)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		if (strcmp(rules[i].verb, v->verb) != 0)
			continue;
		struct core_route *r = malloc(sizeof(*r));
		if (!r)
			return -ENOMEM;
		*r = (struct core_route){.core = c, .verb = v};
		TAILQ_INSERT_TAIL(&c->routes, r, link);
		return admin_register(s, v->verb, routed, r);
	}
	return admin_register(s, v->verb, v->handler, c);
}

/* ---- what the partner passes on ---- */

struct passed {
	struct core_pass *p;
	struct link_msg *msg;
	uint64_t id;
	uint8_t *reply;
	size_t len;
	int rc;
};

static void tell_progress(void *arg, const Isthmus__AdminProgress *pg)
{
	struct passed *x = arg;
	uint8_t buf[1024];
	size_t len = isthmus__admin_progress__get_packed_size(pg);
	if (len > sizeof(buf))
		return;
	isthmus__admin_progress__pack(pg, buf);
	/* What is lost of it is lost. */
	(void)link_send(x->p->core->link, LINK_CONTROL, LINK_SVC_ADMIN, PASS_PROGRESS, &x->id,
			sizeof(x->id), buf, (uint32_t)len);
}

static void run_passed(void *arg)
{
	struct passed *x = arg;
	uint32_t len;
	const void *req = link_msg_data(x->msg, &len);
	if (!x->p->server) {
		x->rc = -ERR_SHUTDOWN;
		return;
	}
	x->rc = admin_server_run(x->p->server, req, len, tell_progress, x, &x->reply, &x->len);
	if (x->rc == 0 && x->len > REPLY_MAX)
		x->rc = -E2BIG;
}

static void show_progress(void *arg)
{
	struct passed *x = arg;
	struct pass *w;
	uint32_t len;
	const void *data = link_msg_data(x->msg, &len);
	Isthmus__AdminProgress *pg = isthmus__admin_progress__unpack(NULL, len, data);
	TAILQ_FOREACH (w, &x->p->under_way, link)
		if (pg && w->id == x->id)
			admin_progress(w->call, pg->what, pg->done, pg->total);
	if (pg)
		isthmus__admin_progress__free_unpacked(pg, NULL);
}

static void serve(void *arg, struct link_msg *m)
{
	struct core_pass *p = arg;
	struct passed x = {.p = p, .msg = m};
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	bool call = link_msg_type(m) == PASS_CALL;
	if (len == sizeof(x.id))
		memcpy(&x.id, head, sizeof(x.id));
	int rc = owner_call(p->core->owner, call ? run_passed : show_progress, &x);
	if (!call) {
		link_done(m);
		return;
	}
	rc = rc ? rc : x.rc;
	struct iovec iov = {.iov_base = x.reply, .iov_len = x.len};
	link_reply(m, rc, NULL, 0, &iov, rc || !x.len ? 0 : 1, NULL, NULL);
	free(x.reply);
}

int core_admin_pass_start(struct core *c, struct admin_server *s)
{
	struct core_pass *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct core_pass){.core = c, .server = s};
	TAILQ_INIT(&p->under_way);
	c->pass = p;
	if (c->link)
		link_serve(c->link, LINK_SVC_ADMIN, serve, p);
	return 0;
}

void core_admin_stop(struct core *c)
{
	if (!c->pass)
		return;
	c->pass->server = NULL;
	if (c->link)
		link_serve(c->link, LINK_SVC_ADMIN, NULL, NULL);
}

void core_admin_free(struct core *c)
{
	struct core_route *r;
	while ((r = TAILQ_FIRST(&c->routes))) {
		TAILQ_REMOVE(&c->routes, r, link);
		free(r);
	}
	free(c->pass);
}
