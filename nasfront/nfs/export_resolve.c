/*
 * Host names and netgroups in access lists: what addresses they mean is looked up in libuv's thread
 * pool when a table comes into force and every minute after, names and netgroups each one at a
 * time, so that a directory service which does not answer takes two threads of the pool at most.
 *
 * A rule of a table begins with what the same rule meant in the table before. One that nobody has
 * looked up yet is unsure: its clients are told to ask again, until it is, but for PATIENCE_NS at
 * most. A host that does not exist has no address from then on; when it cannot be said (and when a
 * netgroup is not found: the C library does not tell why) what was found before stays for KEEP_NS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "nasfront/nfs/netgroup.h"
#include "nasfront/nfs/nfs_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define ROUND_NS    (60 * NS_PER_S)
#define SOON_NS	    (2 * NS_PER_S) /* while clients are told to ask again */
#define PATIENCE_NS (20 * NS_PER_S)
#define KEEP_NS	    (3600 * NS_PER_S)

enum kind { HOSTS, NETGROUPS, KINDS };

struct look_up {
	uv_work_t work;
	struct resolver *resolver; /* NULL: the service has gone */
	enum kind kind;
	struct export_table *table; /* held, for the rule */
	struct export_rule *rule;
	netgroup_hosts_fn *hosts;
	void *arg;
	struct addr_list before; /* what counts as well while somebody cannot be asked */
	/* The thread's: */
	struct addr_list found;
	int rc;
	char name[];
};

struct resolver {
	struct nfs *nfs;
	struct look_up *running[KINDS];
	unsigned next[KINDS]; /* rules of this kind of the table that had their turn */
	struct env_timer round, patience;
};

static bool is_of(const struct export_rule *r, enum kind k)
{
	return r->match == (k == HOSTS ? MATCH_NAME : MATCH_NETGROUP);
}

/* The n-th rule of a kind; NULL: there are no more. */
static struct export_rule *rule_at(const struct export_table *t, enum kind k, unsigned n)
{
	for (unsigned i = 0; i < t->count; i++)
		for (unsigned j = 0; j < t->exports[i].nrules; j++)
			if (is_of(&t->exports[i].rules[j], k) && n-- == 0)
				return &t->exports[i].rules[j];
	return NULL;
}

/* ---- what was found ---- */

static bool same(const struct export_rule *r, const struct addr_list *l)
{
	return !r->unsure && r->nhost == l->count &&
	       (!l->count || memcmp(r->host, l->at, l->count * sizeof(*l->at)) == 0);
}

static bool kept(const struct export_rule *r, uint64_t now)
{
	return r->found_ns && now - r->found_ns < KEEP_NS;
}

/* True when the rule means others than before. */
static bool take(struct export_rule *r, struct look_up *l, uint64_t now)
{
	bool definite = l->kind == HOSTS && l->rc == -ENOENT;
	/* Who cannot be asked has said nothing: a rule that nobody has looked up yet stays unsure.
	 */
	bool unknown = l->rc && l->rc != -ENOENT && r->unsure;
	bool stays = l->rc && !definite && kept(r, now);
	if (l->rc)
		log_warn("nfs: %s of an access list not found name=%s why=%s%s",
			 l->kind == HOSTS ? "host" : "netgroup", l->name, err_name(l->rc),
			 stays ? " (what was found before counts)" : "");
	if (stays || unknown)
		return false;
	if (!l->rc && (!l->found.unsure || !r->found_ns))
		r->found_ns = now;
	if (same(r, &l->found))
		return false;
	free(r->host);
	r->host = l->found.at;
	r->nhost = l->found.count;
	r->unsure = false;
	l->found = (struct addr_list){0};
	return true;
}

/* Connections remember the rule they matched: a new generation makes them look again. */
static void changed(struct nfs *n)
{
	n->table->generation = ++n->generation;
}

static void next(struct resolver *s, enum kind k);

static void look_up_free(struct look_up *l)
{
	export_table_put(l->table);
	free(l->before.at);
	free(l->found.at);
	free(l);
}

static void on_done(uv_work_t *work, int status)
{
	struct look_up *l = work->data;
	struct resolver *s = l->resolver;
	if (s) {
		struct nfs *n = s->nfs;
		s->running[l->kind] = NULL;
		if (status == 0 && l->table == n->table && take(l->rule, l, env_now_ns(n->o.env)))
			changed(n);
		next(s, l->kind);
	}
	look_up_free(l);
}

static void on_thread(uv_work_t *work)
{
	struct look_up *l = work->data;
	l->rc = l->kind == HOSTS ? host_addresses(l->name, &l->found)
				 : netgroup_addresses(l->hosts, l->arg, l->name, &l->found);
	for (unsigned i = 0; i < l->before.count && l->found.unsure && !l->rc; i++)
		l->rc = addr_list_add(&l->found, &l->before.at[i]);
	addr_list_sort(&l->found);
}

/* A copy; empty when there is no memory for it. */
static struct addr_list addresses_of(const struct export_rule *r)
{
	struct addr_list l = {.at = r->nhost ? malloc(r->nhost * sizeof(*l.at)) : NULL};
	if (!l.at)
		return l;
	memcpy(l.at, r->host, r->nhost * sizeof(*l.at));
	l.count = r->nhost;
	return l;
}

static void next(struct resolver *s, enum kind k)
{
	struct nfs *n = s->nfs;
	struct export_rule *r = s->running[k] ? NULL : rule_at(n->table, k, s->next[k]);
	if (!r)
		return;
	const char *name = r->text + (k == NETGROUPS); /* without the @ */
	struct look_up *l = calloc(1, sizeof(*l) + strlen(name) + 1);
	if (!l)
		return; /* in a minute again */
	s->next[k]++;
	l->work.data = l;
	l->resolver = s;
	l->kind = k;
	l->table = n->table;
	export_table_get(n->table);
	l->rule = r;
	l->hosts = n->o.netgroup_hosts ? n->o.netgroup_hosts : netgroup_hosts;
	l->arg = n->o.arg;
	if (kept(r, env_now_ns(n->o.env)))
		l->before = addresses_of(r);
	strcpy(l->name, name);
	s->running[k] = l;
	/* Fails only without a callback. */
	int rc = uv_queue_work(reactor_loop(n->o.reactor), &l->work, on_thread, on_done);
	ASSERT(rc == 0);
}

static bool any_unsure(const struct export_table *t)
{
	for (unsigned i = 0; i < t->count; i++)
		for (unsigned j = 0; j < t->exports[i].nrules; j++)
			if (t->exports[i].rules[j].unsure)
				return true;
	return false;
}

static void on_round(void *arg)
{
	struct resolver *s = arg;
	struct nfs *n = s->nfs;
	bool any = false;
	for (enum kind k = 0; k < KINDS; k++) {
		/* A round that is not through goes on: everyone has his turn. */
		if (!rule_at(n->table, k, s->next[k]))
			s->next[k] = 0;
		any |= rule_at(n->table, k, 0) != NULL;
		next(s, k);
	}
	uint64_t again = any_unsure(n->table) ? SOON_NS : ROUND_NS;
	if (any)
		env_timer_start(n->o.env, &s->round, n->o.resolve_ns ? n->o.resolve_ns : again);
}

/* Nobody waits longer for rules that may be looked up for ever: they admit nobody until then. */
static void on_patience(void *arg)
{
	struct resolver *s = arg;
	struct export_table *t = s->nfs->table;
	bool any = false;
	for (unsigned i = 0; i < t->count; i++)
		for (unsigned j = 0; j < t->exports[i].nrules; j++) {
			any |= t->exports[i].rules[j].unsure;
			t->exports[i].rules[j].unsure = false;
		}
	if (any)
		changed(s->nfs);
}

/* ---- life ---- */

int nfs_resolve_new(struct nfs *n)
{
	struct resolver *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->nfs = n;
	s->round = (struct env_timer){.fn = on_round, .arg = s};
	s->patience = (struct env_timer){.fn = on_patience, .arg = s};
	n->resolver = s;
	return 0;
}

/* What the same words meant before. */
static void inherit(struct export_rule *r, const struct export_table *from, enum kind k)
{
	const struct export_rule *o;
	for (unsigned i = 0; (o = rule_at(from, k, i)); i++) {
		if (o->unsure || strcmp(o->text, r->text) != 0)
			continue;
		struct addr_list l = addresses_of(o);
		if (l.count != o->nhost)
			return;
		free(r->host);
		r->host = l.at;
		r->nhost = l.count;
		r->found_ns = o->found_ns;
		r->unsure = false;
		return;
	}
}

void nfs_resolve_table(struct nfs *n, const struct export_table *before)
{
	struct resolver *s = n->resolver;
	struct export_rule *r;
	for (enum kind k = 0; k < KINDS; k++) {
		for (unsigned i = 0; (r = rule_at(n->table, k, i)); i++)
			inherit(r, before, k);
		s->next[k] = 0;
	}
	env_timer_stop(n->o.env, &s->round);
	env_timer_stop(n->o.env, &s->patience);
	on_round(s);
	env_timer_start(n->o.env, &s->patience, PATIENCE_NS);
}

/* Look-ups under way end by themselves later, without the service. */
void nfs_resolve_free(struct nfs *n)
{
	struct resolver *s = n->resolver;
	if (!s)
		return;
	for (enum kind k = 0; k < KINDS; k++)
		if (s->running[k])
			s->running[k]->resolver = NULL;
	env_timer_stop(n->o.env, &s->round);
	env_timer_stop(n->o.env, &s->patience);
	free(s);
	n->resolver = NULL;
}
