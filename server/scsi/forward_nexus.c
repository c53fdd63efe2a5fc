/*
 * Nexuses made known to the partner, and the proxies of the partner's (forward.h).
 *
 * A nexus is made known when it begins, when a session of the link begins, or at the latest
 * before its first command. Its proxy ends with it or with the link's session; commands it has then
 * are aborted, and it goes with the last of them. Only then it is made known again: so who is told
 * that it is known in a later session knows that no command of an earlier one is left.
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/scsi/forward.h"

#define PROXIES_MAX 16384
#define ANNOUNCE_NS (2 * NS_PER_S)

/* ---- the front ---- */

static int announce(struct forward *f, const struct fwd_nexus *x)
{
	uint8_t b[FWD_NEXUS_LEN];
	fwd_nexus_put(b, x);
	struct link_answer none = {0};
	return link_call(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_NEXUS, b, sizeof(b), NULL, 0,
			 &none, ANNOUNCE_NS);
}

static void say_gone(struct forward *f, uint64_t number)
{
	uint8_t b[FWD_ITEM_LEN];
	fwd_item_put(b, &(struct fwd_item){.nexus = number});
	/* without a link there is no proxy */
	(void)link_send(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_GONE, b, sizeof(b), NULL, 0);
}

static struct fwd_nexus describe(const struct scsi_nexus *n)
{
	struct fwd_nexus x = {.nexus = n->number, .tpgt = n->tpgt};
	memcpy(x.isid, n->isid, 6);
	text_copy(x.target, n->target, sizeof(x.target));
	text_copy(x.initiator, n->initiator, sizeof(x.initiator));
	return x;
}

int forward_announce(struct forward *f, struct scsi_nexus *n)
{
	uint64_t session = link_session(f->link);
	if (!session)
		return -ERR_DISCONNECTED;
	if (__builtin_expect(atomic_load(&n->known) == session, 1))
		return 0;
	struct fwd_nexus x = describe(n);
	int err = announce(f, &x);
	if (!err)
		atomic_store(&n->known, session);
	return err;
}

void forward_nexus_new(struct forward *f, struct scsi_nexus *n)
{
	int err = task_self() ? forward_announce(f, n) : 0;
	if (err && err != -ERR_DISCONNECTED)
		log_warn("scsi: the partner does not know a nexus yet initiator=%s err=%s",
			 n->initiator, err_name(err));
}

void forward_nexus_gone(struct forward *f, struct scsi_nexus *n)
{
	if (atomic_load(&n->known))
		say_gone(f, n->number);
}

struct scsi_nexus *forward_find_nexus(struct forward *f, uint64_t number)
{
	struct scsi_nexus *n;
	TAILQ_FOREACH (n, &f->registry->nexuses, link)
		if (!n->proxy && n->number == number)
			return n;
	return NULL;
}

/* The number after `after`; false: there is none. Nexuses come and go meanwhile. */
static bool next_nexus(struct forward *f, uint64_t after, struct fwd_nexus *ret)
{
	struct scsi_nexus *n, *best = NULL;
	pthread_mutex_lock(&f->registry->lock);
	TAILQ_FOREACH (n, &f->registry->nexuses, link)
		if (!n->proxy && n->number > after && (!best || n->number < best->number))
			best = n;
	if (best)
		*ret = describe(best);
	pthread_mutex_unlock(&f->registry->lock);
	return best;
}

/* It may have gone while the partner made its proxy: then the proxy goes too. */
static void announced(struct forward *f, uint64_t number, uint64_t session)
{
	pthread_mutex_lock(&f->registry->lock);
	struct scsi_nexus *n = forward_find_nexus(f, number);
	if (n)
		atomic_store(&n->known, session);
	pthread_mutex_unlock(&f->registry->lock);
	if (!n)
		say_gone(f, number);
}

void forward_announce_all(struct forward *f)
{
	struct fwd_nexus x = {0};
	uint64_t session = link_session(f->link);
	while (session && link_session(f->link) == session && next_nexus(f, x.nexus, &x))
		if (!announce(f, &x)) /* else with its first command */
			announced(f, x.nexus, session);
}

/* ---- proxies; on the link's reactor ---- */

static unsigned bucket(uint64_t id)
{
	return (unsigned)(id * 0x9e3779b97f4a7c15ull >> 54);
}
_Static_assert(PROXY_HASH == 1 << 10, "bucket() gives ten bits");

struct proxy *proxy_find(struct forward *f, uint64_t id)
{
	struct proxy *p;
	LIST_FOREACH (p, &f->proxies[bucket(id)], hash)
		if (p->id == id && !p->gone)
			return p;
	return NULL;
}

static void proxy_free(struct forward *f, struct proxy *p)
{
	LIST_REMOVE(p, hash);
	f->nproxies--;
	scsi_nexus_free(p->nexus);
	free(p);
}

void proxy_unuse(struct forward *f, struct proxy *p)
{
	if (p->gone && LIST_EMPTY(&p->commands))
		proxy_free(f, p);
}

static void proxy_end(struct forward *f, struct proxy *p)
{
	struct served *s, *next;
	for (s = LIST_FIRST(&p->commands); s; s = next) {
		next = LIST_NEXT(s, link);
		if (s->kept)
			serve_forget(s);
		else
			scsi_abort(&s->cmd);
	}
	p->gone = true;
	proxy_unuse(f, p);
}

void proxy_gone(struct forward *f, uint64_t id)
{
	struct proxy *p = proxy_find(f, id);
	if (p)
		proxy_end(f, p);
}

void proxies_gone(struct forward *f)
{
	struct proxy *p, *next;
	for (unsigned i = 0; i < PROXY_HASH; i++)
		for (p = LIST_FIRST(&f->proxies[i]); p; p = next) {
			next = LIST_NEXT(p, hash);
			if (!p->gone)
				proxy_end(f, p);
		}
}

/* Its commands of an earlier session have not all ended. */
static bool proxy_lingers(struct forward *f, uint64_t id)
{
	struct proxy *p;
	LIST_FOREACH (p, &f->proxies[bucket(id)], hash)
		if (p->id == id && p->gone)
			return true;
	return false;
}

static int make(struct forward *f, const struct fwd_nexus *x)
{
	if (proxy_find(f, x->nexus))
		return 0;
	if (proxy_lingers(f, x->nexus))
		return -EBUSY;
	if (f->nproxies >= PROXIES_MAX)
		return -ENOSPC;
	struct scsi_target *t = scsi_target_get(f->registry, x->target);
	if (!t)
		return -ENODEV; /* not yet, or not any more */
	struct proxy *p = calloc(1, sizeof(*p));
	int err = p ? 0 : -ENOMEM;
	if (!err) {
		p->id = x->nexus;
		LIST_INIT(&p->commands);
		err = nexus_make(&p->nexus, t, x->initiator, x->isid, x->tpgt, p);
	}
	scsi_target_put(t);
	if (err) {
		free(p);
		return err;
	}
	LIST_INSERT_HEAD(&f->proxies[bucket(p->id)], p, hash);
	f->nproxies++;
	return 0;
}

void proxy_made(struct forward *f, struct link_msg *m)
{
	struct fwd_nexus x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_nexus_get(head, len, &x);
	if (!err)
		err = make(f, &x);
	link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
}
