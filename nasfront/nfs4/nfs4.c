/* The service as a whole: its life, figures, who its clients are. */
#include "nasfront/nfs4/nfs4.h"
#include <errno.h>
#include <stdlib.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define LEASE_NS (45 * NS_PER_S)
#define QUIET_NS (30 * NS_PER_S)

int nfs4_new(struct nfs4 **ret, const struct nfs4_opts *o)
{
	struct nfs4 *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->magic = NFS4_MAGIC;
	n->o = *o;
	if (!n->o.lease_ns)
		n->o.lease_ns = LEASE_NS;
	if (!n->o.max_clients)
		n->o.max_clients = NFS4_CLIENTS_MAX;
	if (!n->o.max_states)
		n->o.max_states = NFS4_STATES_MAX;
	if (!n->o.max_delegs)
		n->o.max_delegs = NFS4_DELEGS_MAX;
	if (o->reactor && rpc_out_new(&n->out, o->reactor, o->env)) {
		free(n);
		return -ENOMEM;
	}
	n->locks = nlm_locks(o->nlm);
	n->delegs = nfs_delegs(o->nfs);
	deleg_table_serve(n->delegs, nfs4_deleg_recall, n, o->quiet_ns ? o->quiet_ns : QUIET_NS);
	env_random(o->env, &n->boot, sizeof(n->boot));
	env_random(o->env, n->hash_key, sizeof(n->hash_key));
	n->born_s = env_realtime_ns(o->env) / NS_PER_S;
	n->next_client = 1;
	n->slots_free = UINT32_MAX;
	TAILQ_INIT(&n->clients);
	TAILQ_INIT(&n->idle);
	waitq_init(&n->forgotten);
	TAILQ_INIT(&n->lent);
	TAILQ_INIT(&n->recalled);
	waitq_init(&n->ended);
	waitq_init(&n->revoked);
	waitq_init(&n->called);
	waitq_init(&n->copied);
	n->compounds = (struct nfs4_op_stats){.name = "COMPOUND", .latency = &n->compound_latency};
	for (unsigned i = 0; i < NFS4_OPS; i++)
		n->ops[i].name = nfs4_ops[i].name;
	n->program = (struct rpc_program){.prog = NFS_PROGRAM,
					  .vers = 4,
					  .procs = nfs4_procs,
					  .nprocs = NFS4_PROCS,
					  .arg = n,
					  .finished = nfs4_finished};
	n->tick = (struct env_timer){.fn = nfs4_tick, .arg = n};
	env_timer_start(o->env, &n->tick, NS_PER_S);
	*ret = n;
	return 0;
}

void nfs4_free(struct nfs4 *n)
{
	struct nfs4_client *c;
	if (!n)
		return;
	CHECK(n, NFS4_MAGIC);
	env_timer_stop(n->o.env, &n->tick);
	n->store = NULL; /* what is recorded is a successor's now */
	n->forgetting = false;
	while (n->nforgetters)
		waitq_wait(&n->forgotten);
	if (n->ending) {
		n->ending = false;
		waitq_wait(&n->ended);
	}
	n->stopping = true;
	rpc_out_free(n->out);
	if (n->revoking) {
		n->revoking = false;
		waitq_wait(&n->revoked);
	}
	while (n->ncallers)
		waitq_wait(&n->called);
	while (n->ncopying)
		waitq_wait(&n->copied);
	while ((c = TAILQ_FIRST(&n->clients)))
		nfs4_client_free(c);
	nfs4_kept_free(n);
	nfs4_tree_put(n->tree);
	free(n->slots);
	n->magic = 0;
	free(n);
}

size_t nfs4_area_size(void)
{
	return sizeof(struct nfs4_call);
}

int nfs4_serve(struct nfs4 *n, struct rpc_server *s)
{
	return rpc_server_add(s, &n->program);
}

void nfs4_stats_ops(const struct nfs4 *n, void (*fn)(void *arg, const struct nfs4_op_stats *s),
		    void *arg)
{
	fn(arg, &n->compounds);
	for (unsigned i = 0; i < NFS4_OPS; i++)
		if (n->ops[i].name)
			fn(arg, &n->ops[i]);
}

void nfs4_each(const struct nfs4 *n, bool (*fn)(void *arg, const struct nfs4_client_info *c),
	       void *arg)
{
	const struct nfs4_client *c;
	uint64_t now = env_now_ns(n->o.env);
	TAILQ_FOREACH (c, &n->clients, link) {
		struct nfs4_client_info i = {.address = c->address,
					     .owner = c->owner,
					     .owner_len = c->owner_len,
					     .v40 = c->v40,
					     .confirmed = c->confirmed,
					     .courtesy = c->courtesy,
					     .sessions = c->nsessions,
					     .opens = c->nopens,
					     .locks = c->nlocks,
					     .delegations = c->ndelegs,
					     .path = nfs4_path_text(c),
					     .idle_ns =
						 now > c->renewed_ns ? now - c->renewed_ns : 0};
		if (!fn(arg, &i))
			return;
	}
}
