/* The lock manager as a whole: its life, grace period, figures. */
#include "nasfront/nfs/nlm.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/log.h"

#define GRACE_NS (45 * NS_PER_S)

static void from_address(struct nlm *n, const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	if (!address)
		return;
	if (inet_pton(AF_INET, address, &in.sin_addr) == 1 && in.sin_addr.s_addr != INADDR_ANY)
		memcpy(&n->from, &in, sizeof(in));
	else if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1 &&
		 !IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr))
		memcpy(&n->from, &in6, sizeof(in6));
}

static void file_unused(void *arg, const struct lock_file_key *file)
{
	struct nlm *n = arg;
	nfs_file_unused(n->o.nfs, file);
}

int nlm_new(struct nlm **ret, const struct nlm_opts *o)
{
	static const uint32_t versions[] = {1, 3, 4};
	struct nlm *n = calloc(1, sizeof(*n));
	struct lock_table_opts lo = o->limits;
	if (!n)
		return -ENOMEM;
	n->magic = NLM_MAGIC;
	n->o = *o;
	if (!n->o.grace_ns)
		n->o.grace_ns = GRACE_NS;
	strncpy(n->name, o->name, NLM_NAME_MAX);
	from_address(n, o->address);
	TAILQ_INIT(&n->clients);
	env_random(o->env, n->hash_key, sizeof(n->hash_key));
	TAILQ_INIT(&n->peers);
	waitq_init(&n->ended);
	waitq_init(&n->wake);
	n->cookie = env_random_u64(o->env);
	lo.granted = nlm_granted;
	lo.dropped = nlm_dropped;
	lo.unused = file_unused;
	lo.kept = nlm_lock_kept;
	lo.full = nlm_store_full;
	lo.arg = n;
	env_random(o->env, lo.hash_key, sizeof(lo.hash_key));
	int rc = lock_table_new(&n->table, &lo);
	if (rc == 0)
		rc = rpc_out_new(&n->out, o->reactor, o->env);
	if (rc) {
		lock_table_free(n->table);
		free(n);
		return rc;
	}
	nfs_set_opens(o->nfs, n->table);
	for (unsigned i = 0; i < ARRAY_LEN(versions); i++)
		n->programs[i] = (struct rpc_program){.prog = NLM_PROGRAM,
						      .vers = versions[i],
						      .procs = nlm_procs,
						      /* 20 and up are from version 3 on */
						      .nprocs = versions[i] == 1 ? 16 : NLM_PROCS,
						      .arg = n,
						      .udp = true};
	n->programs[3] = (struct rpc_program){.prog = NSM_PROGRAM,
					      .vers = 1,
					      .procs = nsm_procs,
					      .nprocs = NSM_PROCS,
					      .arg = n,
					      .udp = true};
	*ret = n;
	return 0;
}

int nlm_serve(struct nlm *n, struct rpc_server *s)
{
	int rc = 0;
	for (unsigned i = 0; i < ARRAY_LEN(n->programs) && rc == 0; i++)
		rc = rpc_server_add(s, &n->programs[i]);
	return rc;
}

void nlm_begin(struct nlm *n, uint32_t state, const struct nlm_monitored *list, unsigned count,
	       bool unsure, bool others)
{
	CHECK(n, NLM_MAGIC);
	uint64_t now = env_now_ns(n->o.env);
	struct nlm_client *c;
	/* Late: who got locks meanwhile is not kept yet. */
	if (n->ready)
		TAILQ_FOREACH (c, &n->clients, link)
			c->monitored = false;
	n->state = state;
	if (!n->ready || count || unsure || others)
		n->grace_end = count || unsure || others ? now + n->o.grace_ns : now;
	n->grace_whole |= count || unsure;
	n->ready = true;
	for (unsigned i = 0; i < count; i++) {
		struct nsm_peer *p = calloc(1, sizeof(*p));
		if (!p)
			break;
		p->who = list[i];
		p->due_ns = now;
		TAILQ_INSERT_TAIL(&n->peers, p, link);
		n->npeers++;
	}
	log_info("nlm: state=%u clients_to_tell=%u grace_s=%llu", state, n->npeers,
		 (unsigned long long)((n->grace_end - now) / NS_PER_S));
	nsm_start(n);
}

void nlm_reclaimed(struct nlm *n)
{
	if (n->grace_whole || nlm_phase(n) != NLM_GRACE)
		return;
	log_info("nlm: all have reclaimed, the grace period ends");
	n->grace_end = env_now_ns(n->o.env);
}

void nlm_task_end(struct nlm *n)
{
	ASSERT(n->tasks);
	if (--n->tasks == 0)
		waitq_wake_all(&n->ended);
}

void nlm_free(struct nlm *n)
{
	struct nlm_client *c;
	struct nsm_peer *p;
	if (!n)
		return;
	CHECK(n, NLM_MAGIC);
	n->stopping = true;
	/* What is kept is a successor's now. */
	n->store = NULL;
	lock_table_leave(n->table);
	TAILQ_FOREACH (c, &n->clients, link)
		waitq_wake_all(&c->wake);
	waitq_wake_all(&n->wake);
	rpc_out_free(n->out);
	while (n->tasks)
		waitq_wait(&n->ended);
	while ((c = TAILQ_FIRST(&n->clients)))
		nlm_client_forget(c);
	while ((p = TAILQ_FIRST(&n->peers))) {
		TAILQ_REMOVE(&n->peers, p, link);
		free(p);
	}
	nfs_set_opens(n->o.nfs, NULL);
	lock_table_free(n->table);
	n->magic = 0;
	free(n);
}

struct lock_table *nlm_locks(const struct nlm *n)
{
	return n->table;
}

enum nlm_phase nlm_phase(const struct nlm *n)
{
	if (!n->ready)
		return NLM_STARTING;
	return env_now_ns(n->o.env) < n->grace_end ? NLM_GRACE : NLM_GRANTING;
}

void nlm_status(const struct nlm *n, struct nlm_status *ret)
{
	uint64_t now = env_now_ns(n->o.env);
	*ret = (struct nlm_status){.ready = n->ready,
				   .state = n->state,
				   .grace_left_ns =
				       n->ready && n->grace_end > now ? n->grace_end - now : 0,
				   .clients = n->nclients,
				   .to_notify = n->npeers,
				   .callbacks = n->callbacks,
				   .callbacks_failed = n->callbacks_failed};
	lock_stats(n->table, &ret->locks);
}

void nlm_each(const struct nlm *n, bool (*fn)(void *arg, const struct nlm_client_info *c),
	      void *arg)
{
	const struct nlm_client *c;
	TAILQ_FOREACH (c, &n->clients, link) {
		struct nlm_client_info i = {.name = c->name,
					    .address = c->address,
					    .locks = c->locks,
					    .monitored = c->monitored};
		if (!fn(arg, &i))
			return;
	}
}
