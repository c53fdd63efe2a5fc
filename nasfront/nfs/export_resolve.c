/*
 * Host names and netgroups in access lists: what addresses they mean is looked up in libuv's thread
 * pool when a table comes into force and every minute after, names and netgroups each one at a
 * time, so that a directory service which does not answer takes two threads of the pool at most.
 *
 * A name is looked up once, however many rules say it, and begins with what it meant in the table
 * before. As long as not all of it was found it is unsure: those that it does not admit are told to
 * ask again, for PATIENCE_NS at most. A host that does not exist has no address from then on; when
 * it cannot be said (and when a netgroup is not found: the C library does not tell why) what was
 * found before stays for KEEP_NS.
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
	struct name_service from;
	struct addr_list before; /* what counts as well while somebody cannot be asked */
	/* The thread's: */
	struct addr_list found;
	int rc;
	char text[]; /* of the export_name, which may have gone, or be another table's */
};

struct resolver {
	struct nfs *nfs;
	struct look_up *running[KINDS];
	unsigned next[KINDS]; /* names of the table before this had their turn */
	struct env_timer round;
};

static bool is_of(const struct export_name *e, enum kind k)
{
	return (e->text[0] == '@') == (k == NETGROUPS);
}

/* The first name of a kind from *at on, which moves there; NULL: there are no more. */
static struct export_name *name_at(const struct export_table *t, enum kind k, unsigned *at)
{
	while (*at < t->nnames && !is_of(&t->names[*at], k))
		++*at;
	return *at < t->nnames ? &t->names[*at] : NULL;
}

/* ---- what was found ---- */

static bool same(const struct export_name *e, const struct addr_list *l)
{
	return e->nhost == l->count &&
	       (!l->count || memcmp(e->host, l->at, l->count * sizeof(*l->at)) == 0);
}

static bool kept(const struct export_name *e, uint64_t now)
{
	return e->found_ns && now - e->found_ns < KEEP_NS;
}

static const char *name_of(const struct look_up *l)
{
	return l->text + (l->kind == NETGROUPS); /* without the @ */
}

static void tell(const struct look_up *l, bool stays)
{
	log_warn("nfs: %s of an access list not found name=%s why=%s%s",
		 l->kind == HOSTS ? "host" : "netgroup", name_of(l), err_name(l->rc),
		 stays ? " (what was found before counts)" : "");
}

/* True when the name means others than before. */
static bool take(struct export_name *e, struct look_up *l, uint64_t now)
{
	bool definite = l->kind == HOSTS && l->rc == -ENOENT;
	bool part = l->rc ? !definite : l->found.unsure;
	/* Who cannot be asked has said nothing: what nobody has found yet stays unsure. */
	bool unsure = e->unsure && part;
	bool stays = l->rc && !definite && (unsure || kept(e, now));
	if (l->rc)
		tell(l, stays && !unsure);
	if (stays)
		return false;
	if (!l->rc && (!part || !e->found_ns))
		e->found_ns = now;
	if (unsure == e->unsure && same(e, &l->found))
		return false;
	free(e->host);
	e->host = l->found.at;
	e->nhost = l->found.count;
	e->unsure = unsure;
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
		struct export_name *e = export_name_find(n->table, l->text);
		s->running[l->kind] = NULL;
		if (status == 0 && e && take(e, l, env_now_ns(n->o.env)))
			changed(n);
		next(s, l->kind);
	}
	look_up_free(l);
}

static void on_thread(uv_work_t *work)
{
	struct look_up *l = work->data;
	l->rc = l->kind == HOSTS ? l->from.addresses(l->from.arg, name_of(l), &l->found)
				 : netgroup_addresses(&l->from, name_of(l), &l->found);
	for (unsigned i = 0; i < l->before.count && l->found.unsure && !l->rc; i++)
		l->rc = addr_list_add(&l->found, &l->before.at[i]);
	addr_list_sort(&l->found);
}

/* A copy; empty when there is no memory for it. */
static struct addr_list addresses_of(const struct export_name *e)
{
	struct addr_list l = {.at = e->nhost ? malloc(e->nhost * sizeof(*l.at)) : NULL};
	if (!l.at)
		return l;
	memcpy(l.at, e->host, e->nhost * sizeof(*l.at));
	l.count = e->nhost;
	return l;
}

static void next(struct resolver *s, enum kind k)
{
	struct nfs *n = s->nfs;
	struct export_name *e = s->running[k] ? NULL : name_at(n->table, k, &s->next[k]);
	if (!e)
		return;
	struct look_up *l = calloc(1, sizeof(*l) + strlen(e->text) + 1);
	if (!l)
		return; /* in a minute again */
	s->next[k]++;
	l->work.data = l;
	l->resolver = s;
	l->kind = k;
	l->from = (struct name_service){n->o.netgroup_hosts ?: netgroup_hosts,
					n->o.host_addresses ?: host_addresses, n->o.arg};
	if (kept(e, env_now_ns(n->o.env)))
		l->before = addresses_of(e);
	strcpy(l->text, e->text);
	s->running[k] = l;
	/* Fails only without a callback. */
	int rc = uv_queue_work(reactor_loop(n->o.reactor), &l->work, on_thread, on_done);
	ASSERT(rc == 0);
}

/* Nobody waits longer for what may be looked for in vain for ever: it admits nobody until then.
 * True: some are still unsure. */
static bool lose_patience(struct nfs *n)
{
	uint64_t now = env_now_ns(n->o.env);
	bool some = false, lost = false;
	for (unsigned i = 0; i < n->table->nnames; i++) {
		struct export_name *e = &n->table->names[i];
		bool over = e->unsure && now - e->since_ns >= PATIENCE_NS;
		lost |= over;
		e->unsure &= !over;
		some |= e->unsure;
	}
	if (lost)
		changed(n);
	return some;
}

static void on_round(void *arg)
{
	struct resolver *s = arg;
	struct nfs *n = s->nfs;
	uint64_t again = lose_patience(n) ? SOON_NS : ROUND_NS;
	for (enum kind k = 0; k < KINDS; k++) {
		/* A round that is not through goes on: everyone has his turn. */
		if (!name_at(n->table, k, &s->next[k]))
			s->next[k] = 0;
		next(s, k);
	}
	if (n->table->nnames)
		env_timer_start(n->o.env, &s->round, n->o.resolve_ns ? n->o.resolve_ns : again);
}

/* ---- life ---- */

int nfs_resolve_new(struct nfs *n)
{
	struct resolver *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->nfs = n;
	s->round = (struct env_timer){.fn = on_round, .arg = s};
	n->resolver = s;
	return 0;
}

/* What the same words meant before. */
static void inherit(struct export_name *e, const struct export_name *from)
{
	struct addr_list l = addresses_of(from);
	e->since_ns = from->since_ns;
	if (l.count != from->nhost)
		return;
	e->host = l.at;
	e->nhost = l.count;
	e->found_ns = from->found_ns;
	e->unsure = from->unsure;
}

void nfs_resolve_table(struct nfs *n, const struct export_table *before)
{
	struct resolver *s = n->resolver;
	for (unsigned i = 0; i < n->table->nnames; i++) {
		struct export_name *e = &n->table->names[i];
		const struct export_name *from = export_name_find(before, e->text);
		e->since_ns = env_now_ns(n->o.env);
		if (from)
			inherit(e, from);
	}
	for (enum kind k = 0; k < KINDS; k++)
		s->next[k] = 0;
	env_timer_stop(n->o.env, &s->round);
	on_round(s);
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
	free(s);
	n->resolver = NULL;
}
