/*
 * The status monitor, NSM version 1 (XNFS chapter 11): clients tell us that they were restarted,
 * and we tell those who held locks that we were.
 *
 * Whom to tell was kept by our predecessor. NSM_NOTIFY_TASKS tasks share the list; each client is
 * tried with growing pauses for NOTIFY_END_NS, then given up. One who was told, or
 * given up, is not kept any longer unless it holds locks anew.
 *
 * Requests to monitor somebody else for a local process (MON and the like) are refused: the lock
 * manager beside us is the only one we serve.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <arpa/inet.h>
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define SM_NOTIFY     6
#define STAT_FAIL     1
#define NOTIFY_NS     (5 * NS_PER_S)
#define NOTIFY_PAUSE  (5 * NS_PER_S)
#define NOTIFY_LONG   (60 * NS_PER_S)
#define NOTIFY_END_NS (900 * NS_PER_S)

/* ---- to clients ---- */

static bool peer_address(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		memcpy(ret, &in, sizeof(in));
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		memcpy(ret, &in6, sizeof(in6));
	return ret->ss_family;
}

static int notify(struct nlm *n, const struct nsm_peer *p)
{
	uint8_t args[NLM_NAME_MAX + 16], reply[16];
	struct xdr_out x = xdr_out_of(args, sizeof(args));
	size_t got;
	xdr_put_string(&x, n->name);
	xdr_put_u32(&x, n->state);
	struct rpc_out_call call = {.from = n->from,
				    .pmap_port = n->o.pmap_port,
				    .prog = NSM_PROGRAM,
				    .vers = 1,
				    .proc = SM_NOTIFY,
				    .args = args,
				    .args_len = xdr_out_len(&x),
				    .timeout_ns = NOTIFY_NS};
	if (!peer_address(p->who.address, &call.to))
		return 0; /* nobody can be told */
	int rc = rpc_out_call(n->out, &call, reply, sizeof(reply), &got);
	if (rc && rc != -ERR_SHUTDOWN) {
		call.tcp = true;
		rc = rpc_out_call(n->out, &call, reply, sizeof(reply), &got);
	}
	return rc;
}

static struct nsm_peer *next_due(struct nlm *n, uint64_t now, uint64_t *ret_wait)
{
	struct nsm_peer *p;
	*ret_wait = NOTIFY_LONG;
	TAILQ_FOREACH (p, &n->peers, link) {
		if (p->busy)
			continue;
		if (p->due_ns <= now)
			return p;
		*ret_wait = MIN(*ret_wait, p->due_ns - now);
	}
	return NULL;
}

/* Not kept any longer, unless it has locks again by now. */
static void peer_done(struct nlm *n, struct nsm_peer *p, int rc)
{
	struct nlm_obj name = {.p = (const uint8_t *)p->who.name,
			       .len = (uint32_t)strlen(p->who.name)};
	struct nlm_client *c = nlm_client_find(n, &name, p->who.address);
	log_info("nsm: client=%s address=%s %s", p->who.name, p->who.address,
		 rc ? "given up" : "was told of the restart");
	if (n->o.monitor && !(c && (c->monitored || c->monitoring)))
		n->o.monitor(n->o.arg, p->who.name, p->who.address, true);
	TAILQ_REMOVE(&n->peers, p, link);
	n->npeers--;
	free(p);
}

static void notify_task(void *arg)
{
	struct nlm *n = arg;
	while (!n->stopping && n->npeers) {
		uint64_t now = env_now_ns(n->o.env), wait;
		struct nsm_peer *p = next_due(n, now, &wait);
		if (!p) {
			env_waitq_wait(n->o.env, &n->wake, wait);
			continue;
		}
		if (!p->end_ns)
			p->end_ns = now + NOTIFY_END_NS;
		p->busy = true;
		int rc = notify(n, p);
		now = env_now_ns(n->o.env);
		if (rc == -ERR_SHUTDOWN || n->stopping) {
			p->busy = false;
		} else if (rc == 0 || now >= p->end_ns) {
			peer_done(n, p, rc);
		} else {
			p->due_ns = now + MIN(NOTIFY_PAUSE << MIN(p->tries, 4u), NOTIFY_LONG);
			p->tries++;
			p->busy = false;
		}
	}
	waitq_wake_all(&n->wake);
	n->notifiers--;
	nlm_task_end(n);
}

void nsm_start(struct nlm *n)
{
	waitq_wake_all(&n->wake);
	for (unsigned i = n->notifiers; i < MIN(n->npeers, NSM_NOTIFY_TASKS); i++) {
		n->tasks++;
		n->notifiers++;
		if (task_start_on(reactor_sched(n->o.reactor), notify_task, n)) {
			n->tasks--;
			n->notifiers--;
			log_warn("nsm: no memory to tell clients of the restart");
			return;
		}
	}
}

/* ---- from clients ---- */

static int nsm_null(struct rpc_req *req, void *arg)
{
	return RPC_SUCCESS;
}

static int nsm_stat(struct rpc_req *req, void *arg)
{
	struct nlm *n = arg;
	struct nlm_obj name;
	if (!nlm_get_obj(&req->args, &name))
		return RPC_GARBAGE_ARGS;
	/* Whom we monitor is nobody's business; our state is. */
	xdr_put_u32(&req->out, STAT_FAIL);
	xdr_put_u32(&req->out, n->state);
	return RPC_SUCCESS;
}

/* UNMON, UNMON_ALL: there is nothing that could be undone. */
static int nsm_unmon(struct rpc_req *req, void *arg)
{
	struct nlm *n = arg;
	xdr_put_u32(&req->out, n->state);
	return RPC_SUCCESS;
}

/* Repeated until it is answered: one state number counts once. */
static void rebooted(struct nlm_client *c, uint32_t state)
{
	if (c->notified == state || (c->state && c->state == state))
		return;
	c->notified = state;
	nlm_client_reboot(c, "SM_NOTIFY");
}

/* "host" and "host.example.org" are one. */
static bool same_host(const char *a, const struct nlm_obj *b)
{
	size_t n = MIN(strlen(a), (size_t)b->len);
	return n && strncasecmp(a, (const char *)b->p, n) == 0 && (!a[n] || a[n] == '.') &&
	       (b->len == n || b->p[n] == '.');
}

/*
 * A host says it of itself alone: what others hold stays, whatever name is told. Its name for
 * itself is looked for first. Statd may say another one (an address): then whoever has locks from
 * that address, when that is one.
 */
static int nsm_notify(struct rpc_req *req, void *arg)
{
	struct nlm *n = arg;
	struct nlm_obj name;
	uint32_t state;
	struct nlm_client *c, *only = NULL;
	const char *address = rpc_conn_peer_text(req->conn);
	unsigned found = 0, here = 0;
	if (!nlm_get_obj(&req->args, &name) || !xdr_u32(&req->args, &state))
		return RPC_GARBAGE_ARGS;
	if (!nlm_host_speaks(n, req))
		return RPC_SUCCESS;
	TAILQ_FOREACH (c, &n->clients, link) {
		if (strcmp(c->address, address) != 0)
			continue;
		here++;
		only = c;
		if (!same_host(c->name, &name))
			continue;
		rebooted(c, state);
		found++;
	}
	if (!found && here == 1)
		rebooted(only, state);
	else if (!found)
		log_info("nsm: nobody is known at address=%s by the name that was told", address);
	store_sync(n->store);
	int relayed = nfs_relay_all(n->o.nfs, req); /* it may have locks there through us */
	return relayed >= 0 ? relayed : RPC_SUCCESS;
}

const struct rpc_proc nsm_procs[NSM_PROCS] = {
    [0] = {"NSM NULL", nsm_null, NULL, 0},    [1] = {"STAT", nsm_stat, NULL, 0},
    [2] = {"MON", nsm_stat, NULL, 0},	      [3] = {"UNMON", nsm_unmon, NULL, 0},
    [4] = {"UNMON_ALL", nsm_unmon, NULL, 0},  [5] = {"SIMU_CRASH", nsm_null, NULL, 0},
    [6] = {"SM_NOTIFY", NULL, nsm_notify, 0},
};
