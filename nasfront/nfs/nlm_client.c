/*
 * Hosts that ask for locks, and calls to them. A host is known by the name it gives itself together
 * with the address it called from: two that give the same name do not get each other's locks.
 *
 * Calls to a host leave one after the other in a task of its own. Word of a granted lock is tried
 * for about a minute; then the lock stays with its owner, who asks again if it lives (clients do,
 * every half minute), and else is told of by SM_NOTIFY when it is up again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "runtime/siphash.h"

#define RESULT_NS     (5 * NS_PER_S)
#define GRANT_NS      (5 * NS_PER_S)
#define GRANT_TRIES   6
#define GRANT_WAIT_NS (5 * NS_PER_S)

/* ---- hosts ---- */

static unsigned bucket_of(const struct nlm *n, const struct nlm_obj *name)
{
	return (unsigned)(siphash(n->hash_key, name->p, name->len) % NLM_BUCKETS);
}

struct nlm_client *nlm_client_find(struct nlm *n, const struct nlm_obj *name, const char *address)
{
	struct nlm_client *c;
	LIST_FOREACH (c, &n->by_name[bucket_of(n, name)], chain)
		if (strlen(c->name) == name->len && memcmp(c->name, name->p, name->len) == 0 &&
		    strcmp(c->address, address) == 0)
			return c;
	return NULL;
}

static bool client_idle(const struct nlm_client *c)
{
	return !c->refs && !c->calling && !c->nout && !c->monitoring &&
	       !lock_client_locks(c->locks) && !lock_client_waits(c->locks);
}

void nlm_client_forget(struct nlm_client *c)
{
	struct nlm_out *o;
	nlm_unrecord_host(c);
	lock_client_free(c->locks);
	while ((o = TAILQ_FIRST(&c->out))) {
		TAILQ_REMOVE(&c->out, o, link);
		nlm_out_free(o);
	}
	TAILQ_REMOVE(&c->nlm->clients, c, link);
	LIST_REMOVE(c, chain);
	c->nlm->nclients--;
	free(c);
}

bool nlm_host_speaks(struct nlm *n, struct rpc_req *req)
{
	bool port, known = nfs_host_known(n->o.nfs, req, &port);
	return known ? port : rpc_conn_secure_port(req->conn);
}

/* ---- room for them ---- */

/* There is room, of all or (with an address) of what one address may have. */
static bool has_room(const struct nlm *n, const char *address)
{
	const struct nlm_client *c;
	unsigned here = 0;
	if (!address)
		return n->nclients < NLM_CLIENTS_MAX;
	TAILQ_FOREACH (c, &n->clients, link)
		here += strcmp(c->address, address) == 0;
	return here < NLM_ADDRESS_MAX;
}

static bool may_go(const struct nlm_client *c, const char *address)
{
	return client_idle(c) && (!address || strcmp(c->address, address) == 0);
}

/* One that holds nothing gives way; unknown to us it may also be unknown to the next incarnation.
 */
static void give_way(struct nlm *n, const char *address)
{
	struct nlm_client *c, *next;
	TAILQ_FOREACH_SAFE (c, &n->clients, link, next) {
		if (!may_go(c, address) || c->monitored)
			continue;
		nlm_client_forget(c);
		return;
	}
	TAILQ_FOREACH_SAFE (c, &n->clients, link, next) {
		if (!may_go(c, address))
			continue;
		c->refs++;
		c->monitored = false; /* who locks meanwhile is kept again, behind this */
		int rc = n->o.monitor ? n->o.monitor(n->o.arg, c->name, c->address, true) : 0;
		c->refs--;
		if (rc == 0 && client_idle(c))
			nlm_client_forget(c);
		return; /* the list may have changed meanwhile */
	}
}

static bool make_room(struct nlm *n, const char *address)
{
	if (!has_room(n, address))
		give_way(n, address);
	return has_room(n, address);
}

bool nlm_client_room(struct nlm_client *c)
{
	struct nlm *n = c->nlm;
	if (c->recorded || nlm_phase(n) == NLM_GRACE) /* reclaims */
		return true;
	if (store_denies(n->store, 0))
		give_way(n, NULL);
	return c->recorded || !store_denies(n->store, 0);
}

static void tell_full(struct nlm *n, const char *address)
{
	if (!n->full_told)
		event_write(LOG_L_WARN, "nlm.clients",
			    "no more than %u clients may hold locks, %u of one address; others "
			    "are refused, as from %s now",
			    NLM_CLIENTS_MAX, NLM_ADDRESS_MAX, address);
	n->full_told = true;
}

struct nlm_client *nlm_client_new(struct nlm *n, const struct nlm_obj *name, const char *address)
{
	struct nlm_client *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->nlm = n;
	memcpy(c->name, name->p, name->len);
	strncpy(c->address, address, sizeof(c->address) - 1);
	TAILQ_INIT(&c->out);
	waitq_init(&c->wake);
	if (lock_client_new(&c->locks, n->table, c)) {
		free(c);
		return NULL;
	}
	store_key_begin(&c->key, STORE_HOST);
	store_key_bytes(&c->key, c->name, strlen(c->name) + 1);
	store_key_bytes(&c->key, c->address, strlen(c->address));
	lock_client_set_key(c->locks, c->key.bytes, c->key.len);
	LIST_INSERT_HEAD(&n->by_name[bucket_of(n, name)], c, chain);
	TAILQ_INSERT_TAIL(&n->clients, c, link);
	n->nclients++;
	return c;
}

struct nlm_client *nlm_client_get(struct nlm *n, struct rpc_req *req, const struct nlm_obj *name)
{
	const char *address = rpc_conn_peer_text(req->conn);
	struct nlm_client *c = nlm_client_find(n, name, address);
	if (!c && !(make_room(n, address) && make_room(n, NULL))) {
		tell_full(n, address);
		return NULL;
	}
	if (!c)
		c = nlm_client_find(n, name, address);
	if (!c)
		c = nlm_client_new(n, name, address);
	if (!c)
		return NULL;
	TAILQ_REMOVE(&n->clients, c, link);
	TAILQ_INSERT_TAIL(&n->clients, c, link);
	c->peer = *rpc_conn_peer(req->conn);
	c->tcp = !rpc_conn_is_udp(req->conn);
	rpc_conn_local(req->conn, &c->local);
	if (c->local.ss_family != c->peer.ss_family)
		c->local = n->from;
	return c;
}

int nlm_client_monitor(struct nlm_client *c)
{
	struct nlm *n = c->nlm;
	int rc = 0;
	while (c->monitoring && !c->monitored && !n->stopping)
		waitq_wait(&c->wake);
	if (c->monitored)
		return 0;
	c->monitoring = true;
	if (n->o.monitor)
		rc = n->o.monitor(n->o.arg, c->name, c->address, false);
	c->monitoring = false;
	c->monitored = rc == 0;
	if (rc == 0)
		nlm_record_host(c);
	waitq_wake_all(&c->wake);
	return rc;
}

void nlm_client_reboot(struct nlm_client *c, const char *why)
{
	unsigned locks = lock_client_locks(c->locks);
	struct nlm_out *o;
	TAILQ_FOREACH (o, &c->out, link)
		nlm_settle(o);
	waitq_wake_all(&c->wake);
	lock_client_release(c->locks);
	log_info("nlm: client=%s address=%s gives up locks=%u why=%s", c->name, c->address, locks,
		 why);
}

/* ---- calls to them ---- */

void nlm_out_free(struct nlm_out *o)
{
	nlm_unrecord_wait(o);
	free(o);
}

static struct nlm_obj obj_copy(uint8_t **at, const struct nlm_obj *from)
{
	struct nlm_obj o = {.p = *at, .len = from->len};
	if (from->len)
		memcpy(*at, from->p, from->len);
	*at += from->len;
	return o;
}

struct nlm_out *nlm_wait_new(struct nlm_client *c, const struct nlm_args *a,
			     const struct lock_file_key *file, bool msg)
{
	struct nlm_out *o = calloc(1, sizeof(*o) + a->name.len + a->fh.len + a->oh.len);
	uint8_t *at;
	if (!o)
		return NULL;
	at = o->bytes;
	o->vers = a->vers;
	o->proc = msg ? NLM_PROC_GRANTED_MSG : NLM_PROC_GRANTED;
	o->client = c;
	o->grant = true;
	o->cookie = ++c->nlm->cookie;
	o->file = *file;
	o->a = *a;
	o->a.name = obj_copy(&at, &a->name);
	o->a.fh = obj_copy(&at, &a->fh);
	o->a.oh = obj_copy(&at, &a->oh);
	return o;
}

static int out_call(struct nlm_client *c, const struct nlm_out *o, const void *args, size_t len,
		    uint64_t timeout_ns, uint32_t *ret_stat)
{
	struct nlm *n = c->nlm;
	uint8_t reply[RPC_OUT_REPLY_MAX];
	size_t got;
	struct rpc_out_call call = {.to = c->peer,
				    .from = c->local,
				    .pmap_port = n->o.pmap_port,
				    .tcp = c->tcp,
				    .prog = NLM_PROGRAM,
				    .vers = o->vers,
				    .proc = o->proc,
				    .args = args,
				    .args_len = len,
				    .timeout_ns = timeout_ns};
	int rc = rpc_out_call(n->out, &call, reply, sizeof(reply), &got);
	/* Some listen on one transport only. */
	if (rc == -ENOENT || rc == -ECONNREFUSED) {
		call.tcp = !call.tcp;
		rc = rpc_out_call(n->out, &call, reply, sizeof(reply), &got);
	}
	n->callbacks++;
	n->callbacks_failed += rc != 0;
	if (rc || !ret_stat)
		return rc;
	struct xdr_in x = xdr_in_of(reply, got);
	struct nlm_obj cookie;
	return nlm_get_obj(&x, &cookie) && xdr_u32(&x, ret_stat) ? 0 : -ERR_PROTO;
}

static size_t grant_args(const struct nlm_out *o, uint8_t *buf, size_t size)
{
	struct xdr_out x = xdr_out_of(buf, size);
	uint8_t cookie[8];
	be64_put(cookie, o->cookie);
	xdr_put_opaque(&x, cookie, sizeof(cookie));
	xdr_put_bool(&x, o->a.exclusive);
	nlm_put_lock(&x, &o->a);
	return xdr_out_len(&x);
}

/* One try: 0 and the client's answer. */
static int grant_try(struct nlm_client *c, struct nlm_out *o, uint32_t *ret_stat)
{
	uint8_t args[RPC_OUT_CALL_MAX];
	struct nlm *n = c->nlm;
	size_t len = grant_args(o, args, sizeof(args));
	bool msg = o->proc == NLM_PROC_GRANTED_MSG;
	int rc = out_call(c, o, args, len, GRANT_NS, msg ? NULL : ret_stat);
	if (!msg)
		return rc;
	/* The answer comes as a call of the client's; some never answer the _MSG call itself. */
	uint64_t end = env_now_ns(n->o.env) + (rc ? 0 : GRANT_NS);
	while (!o->answered && !o->settled && !n->stopping && env_now_ns(n->o.env) < end)
		env_waitq_wait(n->o.env, &c->wake, end - env_now_ns(n->o.env));
	*ret_stat = o->answer;
	return o->answered ? 0 : rc ? rc : -ETIMEDOUT;
}

static struct lock_ask ask_of(struct nlm_client *c, const struct nlm_args *a,
			      const struct lock_file_key *file)
{
	return (struct lock_ask){.file = *file,
				 .client = c->locks,
				 .owner = a->owner,
				 .owner_len = a->owner_len,
				 .kind = a->exclusive ? LOCK_EXCLUSIVE : LOCK_SHARED,
				 .range = a->range};
}

static void grant_call(struct nlm_client *c, struct nlm_out *o)
{
	struct nlm *n = c->nlm;
	uint32_t stat = NLM_GRANTED;
	int rc = -ETIMEDOUT;
	store_sync(n->store); /* it has the lock, before it hears so */
	for (unsigned i = 0; i < GRANT_TRIES && !o->settled && !n->stopping; i++) {
		if (i)
			env_waitq_wait(n->o.env, &c->wake, GRANT_WAIT_NS);
		if (o->settled || n->stopping)
			break;
		if (nfs_fenced(n->o.nfs)) /* it may be another's by now */
			return;
		rc = grant_try(c, o, &stat);
		if (rc == 0 && stat != NLM_DENIED_GRACE_PERIOD)
			break;
		o->told |= rc != 0;
	}
	if (o->settled || n->stopping)
		return;
	nlm_settle(o);
	if (rc == 0 && stat != NLM_GRANTED && stat != NLM_DENIED_GRACE_PERIOD && !o->told) {
		/* It does not want it any more. Who is told again, and has it since the first time,
		 * says the same: there nothing is taken back, as who wants it no more cancels. */
		struct lock_ask a = ask_of(c, &o->a, &o->file);
		lock_unset(n->table, &a);
	} else if (rc) {
		log_info("nlm: client=%s address=%s not told of its lock why=%s", c->name,
			 c->address, err_name(rc));
	}
}

static void call_task(void *arg)
{
	struct nlm_client *c = arg;
	struct nlm *n = c->nlm;
	struct nlm_out *o;
	while ((o = TAILQ_FIRST(&c->out)) && !n->stopping) {
		if (o->grant)
			grant_call(c, o);
		else
			out_call(c, o, o->bytes, o->len, RESULT_NS, NULL);
		TAILQ_REMOVE(&c->out, o, link);
		c->nout--;
		nlm_out_free(o);
	}
	c->calling = false;
	nlm_task_end(n);
}

void nlm_out_queue(struct nlm_client *c, struct nlm_out *o)
{
	struct nlm *n = c->nlm;
	TAILQ_INSERT_TAIL(&c->out, o, link);
	c->nout++;
	if (c->calling || n->stopping)
		return;
	n->tasks++;
	c->calling = true;
	if (task_start_on(reactor_sched(n->o.reactor), call_task, c)) {
		c->calling = false;
		n->tasks--;
	}
}

void nlm_send_result(struct nlm_client *c, uint32_t vers, uint32_t proc, const void *args,
		     uint32_t len)
{
	struct nlm_out *o = c->nout < NLM_OUT_MAX ? calloc(1, sizeof(*o) + len) : NULL;
	if (!o)
		return; /* as if the datagram was lost: the client asks again */
	o->vers = vers;
	o->proc = proc;
	o->client = c;
	o->len = len;
	memcpy(o->bytes, args, len);
	nlm_out_queue(c, o);
}

void nlm_granted(void *arg, void *user)
{
	struct nlm_out *o = user;
	nlm_out_queue(o->client, o);
}

void nlm_dropped(void *arg, void *user)
{
	nlm_out_free(user);
}

static bool same_owner(const struct nlm_out *o, const struct nlm_args *a,
		       const struct lock_file_key *file)
{
	return o->grant && !o->settled && o->file.ino == file->ino && o->file.fs == file->fs &&
	       o->file.generation == file->generation && o->a.owner_len == a->owner_len &&
	       memcmp(o->a.owner, a->owner, a->owner_len) == 0;
}

void nlm_grants_known(struct nlm_client *c, const struct nlm_args *a,
		      const struct lock_file_key *file)
{
	struct nlm_out *o;
	TAILQ_FOREACH (o, &c->out, link)
		if (same_owner(o, a, file) && o->a.range.first <= a->range.last &&
		    a->range.first <= o->a.range.last)
			nlm_settle(o);
}

struct nlm_out *nlm_grant_find(struct nlm_client *c, const struct nlm_args *a,
			       const struct lock_file_key *file)
{
	struct nlm_out *o;
	TAILQ_FOREACH (o, &c->out, link)
		if (same_owner(o, a, file) && o->a.range.first == a->range.first &&
		    o->a.range.last == a->range.last && o->a.exclusive == a->exclusive)
			return o;
	return NULL;
}

void nlm_granted_res(struct nlm *n, const char *address, uint64_t cookie, uint32_t stat)
{
	struct nlm_client *c;
	struct nlm_out *o;
	TAILQ_FOREACH (c, &n->clients, link) {
		if (strcmp(c->address, address))
			continue;
		TAILQ_FOREACH (o, &c->out, link) {
			if (!o->grant || o->cookie != cookie)
				continue;
			o->answered = true;
			o->answer = stat;
			waitq_wake_all(&c->wake);
			return;
		}
	}
}
