/*
 * Host names in access lists: looked up forward (getaddrinfo in libuv's thread pool) when a table
 * comes into force and every minute after. A name that cannot be found keeps the addresses found
 * before; until the first answer its rule matches nobody.
 */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "nasfront/nfs/nfs_impl.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define RESOLVE_NS	(60 * NS_PER_S)
#define RESOLVE_AT_ONCE 64 /* the others have their turn a minute later */

struct nfs_lookup {
	uv_getaddrinfo_t req;
	LIST_ENTRY(nfs_lookup) link;
	struct nfs *nfs; /* NULL: the service has gone */
	struct export_table *table;
	struct export_rule *rule;
};

static void rule_set_hosts(struct export_rule *r, const struct addrinfo *res)
{
	unsigned n = 0;
	for (const struct addrinfo *a = res; a && n < EXPORT_HOST_ADDR; a = a->ai_next) {
		struct sockaddr_storage sa = {0};
		if (a->ai_addrlen > sizeof(sa))
			continue;
		memcpy(&sa, a->ai_addr, a->ai_addrlen);
		r->host[n++] = export_addr_of(&sa);
	}
	if (n)
		r->nhost = n;
}

static void lookup_done(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct nfs_lookup *l = req->data;
	struct nfs *n = l->nfs;
	if (status == 0)
		rule_set_hosts(l->rule, res);
	else
		log_warn("nfs: host of an access list not found host=%s why=%s", l->rule->text,
			 uv_err_name(status));
	uv_freeaddrinfo(res);
	/* Connections remember the rule they matched: a new generation makes them look again. */
	if (n && status == 0 && n->table == l->table)
		l->table->generation = ++n->generation;
	if (n) {
		LIST_REMOVE(l, link);
		n->resolving--;
	}
	export_table_put(l->table);
	free(l);
}

static void lookup_start(struct nfs *n, struct export_rule *r)
{
	static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct nfs_lookup *l = calloc(1, sizeof(*l));
	if (!l)
		return;
	l->req.data = l;
	l->nfs = n;
	l->table = n->table;
	l->rule = r;
	if (uv_getaddrinfo(reactor_loop(n->o.reactor), &l->req, lookup_done, r->text, NULL,
			   &hints)) {
		free(l);
		return;
	}
	export_table_get(n->table);
	LIST_INSERT_HEAD(&n->lookups, l, link);
	n->resolving++;
}

static void resolve_round(void *arg)
{
	struct nfs *n = arg;
	unsigned names = 0;
	for (unsigned i = 0; i < n->table->count; i++) {
		struct export *e = &n->table->exports[i];
		for (unsigned k = 0; k < e->nrules; k++) {
			if (e->rules[k].match != MATCH_NAME)
				continue;
			names++;
			if (n->resolving < RESOLVE_AT_ONCE)
				lookup_start(n, &e->rules[k]);
		}
	}
	if (names)
		env_timer_start(n->o.env, &n->resolve_timer, RESOLVE_NS);
}

void nfs_resolve_start(struct nfs *n)
{
	n->resolve_timer.fn = resolve_round;
	n->resolve_timer.arg = n;
	env_timer_stop(n->o.env, &n->resolve_timer);
	resolve_round(n);
}

/* Look-ups under way end by themselves later, without the service. */
void nfs_resolve_stop(struct nfs *n)
{
	struct nfs_lookup *l;
	while ((l = LIST_FIRST(&n->lookups))) {
		LIST_REMOVE(l, link);
		l->nfs = NULL;
	}
	n->resolving = 0;
	if (n->resolve_timer.fn)
		env_timer_stop(n->o.env, &n->resolve_timer);
}
