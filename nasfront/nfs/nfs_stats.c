/*
 * Figures: each procedure's count, errors and latency; each export's and each client address's
 * use. Clients that are gone are kept until NFS_CLIENTS are known, the least lately used goes
 * first; those with a connection stay.
 */
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nfs_impl.h"

/* ---- uses ---- */

static struct nfs_use *use_new(struct nfs_uses *list, const char *name)
{
	struct nfs_use *u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->name = strdup(name);
	if (!u->name) {
		free(u);
		return NULL;
	}
	TAILQ_INSERT_TAIL(list, u, link);
	return u;
}

static void use_free(struct nfs_uses *list, struct nfs_use *u)
{
	TAILQ_REMOVE(list, u, link);
	free(u->name);
	free(u);
}

static void clients_trim(struct nfs *n)
{
	struct nfs_use *u, *next;
	TAILQ_FOREACH_SAFE (u, &n->clients, link, next) {
		if (n->nclients < NFS_CLIENTS)
			return;
		if (u->refs)
			continue;
		use_free(&n->clients, u);
		n->nclients--;
	}
}

struct nfs_use *nfs_client_get(struct nfs *n, const char *address)
{
	struct nfs_use *u;
	TAILQ_FOREACH (u, &n->clients, link)
		if (strcmp(u->name, address) == 0)
			break;
	if (!u) {
		clients_trim(n);
		u = use_new(&n->clients, address);
		if (!u)
			return NULL;
		n->nclients++;
	}
	u->refs++;
	return u;
}

void nfs_client_put(struct nfs *n, struct nfs_use *u)
{
	u->refs--;
	TAILQ_REMOVE(&n->clients, u, link);
	TAILQ_INSERT_TAIL(&n->clients, u, link);
}

/* Kept for the life of the service: as many as exports were ever configured in it. */
struct nfs_use *nfs_export_use(struct nfs *n, const struct export *e)
{
	struct nfs_use *u;
	TAILQ_FOREACH (u, &n->exports, link)
		if (u->id == e->id && strcmp(u->name, e->path) == 0)
			return u;
	u = use_new(&n->exports, e->path);
	if (u)
		u->id = e->id;
	return u;
}

void nfs_stats_free(struct nfs *n)
{
	struct nfs_use *u;
	while ((u = TAILQ_FIRST(&n->clients)))
		use_free(&n->clients, u);
	while ((u = TAILQ_FIRST(&n->exports)))
		use_free(&n->exports, u);
}

static void use_count(struct nfs_use *u, const struct nfs_call *c, bool error, uint64_t ns)
{
	u->ops++;
	u->errors += error;
	histogram_add(&u->latency, ns);
	u->read_bytes += c->read_bytes;
	u->write_bytes += c->write_bytes;
}

/* Real time is looked at once in 256 calls a use, and at its first. */
static void use_touch(struct nfs *n, struct nfs_use *u)
{
	if (u->first_ns && u->ops % 256)
		return;
	u->last_ns = env_realtime_ns(n->o.env);
	if (!u->first_ns)
		u->first_ns = u->last_ns;
}

/* ---- procedures ---- */

static uint64_t op_count(struct nfs *n, struct nfs_op_stats *s, const struct rpc_req *req,
			 bool error)
{
	uint64_t now = env_now_ns(n->o.env);
	uint64_t ns = now > req->start_ns ? now - req->start_ns : 0;
	s->count++;
	s->errors += error;
	histogram_add(&s->latency, ns);
	return ns;
}

static void tell_client(struct nfs *n, struct nfs_peer *p, uint64_t now)
{
	struct nfs_use *u = p->client;
	if (!n->o.client_seen || (u->told_ns && now - u->told_ns < NS_PER_S))
		return;
	u->told_ns = now;
	n->o.client_seen(n->o.arg, u->name, p->use->name);
}

static void call_finished(struct nfs *n, struct nfs_op_stats *s, struct rpc_req *req, int result)
{
	const struct nfs_call *c = (const struct nfs_call *)req->area;
	/* NULL has no call; a procedure that was begun left its status. */
	bool begun = req->proc != 0;
	bool error = result != RPC_SUCCESS || (begun && c->status);
	uint64_t ns = op_count(n, s, req, error);
	if (begun && result == RPC_SUCCESS)
		nfs_count(n, c, req, error, ns);
}

void nfs_finished(void *arg, struct rpc_req *req, int result)
{
	struct nfs *n = arg;
	call_finished(n, &n->ops[req->proc], req, result);
}

void acl3_finished(void *arg, struct rpc_req *req, int result)
{
	struct nfs *n = arg;
	call_finished(n, &n->ops[NFS3_PROCS + MOUNT3_PROCS + req->proc], req, result);
}

void nfs_count(struct nfs *n, const struct nfs_call *c, const struct rpc_req *req, bool error,
	       uint64_t ns)
{
	struct nfs_peer *p = rpc_conn_data(req->conn);
	if (!p)
		return;
	use_count(p->client, c, error, ns);
	use_touch(n, p->client);
	if (p->use && p->generation == n->generation) {
		use_count(p->use, c, error, ns);
		use_touch(n, p->use);
		tell_client(n, p, req->start_ns);
	}
}

void mount3_finished(void *arg, struct rpc_req *req, int result)
{
	struct nfs *n = arg;
	op_count(n, &n->ops[NFS3_PROCS + req->proc], req, result != RPC_SUCCESS);
}

void rquota_finished(void *arg, struct rpc_req *req, int result)
{
	struct nfs *n = arg;
	op_count(n, &n->ops[NFS_PROCS_ALL - RQUOTA_PROCS + req->proc], req, result != RPC_SUCCESS);
}

/* ---- readers ---- */

void nfs_stats_ops(const struct nfs *n, void (*fn)(void *arg, const struct nfs_op_stats *s),
		   void *arg)
{
	for (unsigned i = 0; i < NFS_PROCS_ALL; i++)
		fn(arg, &n->ops[i]);
}

static void uses_tell(const struct nfs_uses *list,
		      void (*fn)(void *arg, const struct nfs_use_stats *s), void *arg)
{
	const struct nfs_use *u;
	TAILQ_FOREACH (u, list, link) {
		struct nfs_use_stats s = {.name = u->name,
					  .ops = u->ops,
					  .errors = u->errors,
					  .read_bytes = u->read_bytes,
					  .write_bytes = u->write_bytes,
					  .latency = &u->latency,
					  .first_ns = u->first_ns,
					  .last_ns = u->last_ns,
					  .connections = u->refs};
		fn(arg, &s);
	}
}

void nfs_stats_exports(const struct nfs *n, void (*fn)(void *arg, const struct nfs_use_stats *s),
		       void *arg)
{
	uses_tell(&n->exports, fn, arg);
}

void nfs_stats_clients(const struct nfs *n, void (*fn)(void *arg, const struct nfs_use_stats *s),
		       void *arg)
{
	uses_tell(&n->clients, fn, arg);
}
