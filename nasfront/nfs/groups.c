/*
 * A cache of users' groups. A look-up may take long (a directory service behind nsswitch), so it
 * runs in libuv's thread pool, LOOKUPS at once; callers of the same user wait for the same one.
 *
 * An entry is  looking -> known | unknown (no such user) | failed  and, when its time is over,
 * looked up anew by the next who asks. Entries nobody waits for go least lately used first when
 * there are more users, or more groups of all users, than there is room for.
 */
#include "nasfront/nfs/groups.h"
#include <bsd/sys/queue.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

#define BUCKETS	     1024
#define USERS	     4096
#define GIDS_MAX     (1u << 20) /* of all users */
#define LOOKUPS	     2		/* threads of the pool they may take */
#define PENDING	     256	/* users looked up or waiting for it */
#define WAIT_NS	     (5 * NS_PER_S)
#define TTL_NS	     (300 * NS_PER_S)
#define NEGATIVE_NS  (60 * NS_PER_S)
#define PASSWD_BYTES (1u << 20)

struct user {
	uint32_t uid;
	int state; /* 0: list; -EAGAIN: looking; else why there is none */
	unsigned waiting;
	uint64_t until_ns;
	struct group_list *list;
	struct waitq q;
	LIST_ENTRY(user) hash_link;
	TAILQ_ENTRY(user) link; /* least lately used first */
};

struct lookup {
	uv_work_t req;
	struct groups *g; /* NULL: it has gone */
	uint32_t uid;
	int (*find)(void *arg, uint32_t uid, uint32_t **ret, uint32_t *ret_count);
	void *arg;
	int rc;
	uint32_t *gids, count;
	LIST_ENTRY(lookup) link;
	STAILQ_ENTRY(lookup) queue_link;
};

struct groups {
	struct groups_opts o;
	LIST_HEAD(, user) hash[BUCKETS];
	TAILQ_HEAD(, user) users;
	LIST_HEAD(, lookup) running;
	STAILQ_HEAD(, lookup) queue;
	unsigned nrunning, npending;
	uint64_t gids; /* of all lists kept */
	struct groups_stats st;
};

/* ---- what the host says ---- */

static int gid_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int list_of(const char *name, gid_t gid, uint32_t **ret, uint32_t *ret_count)
{
	int n = 64;
	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "gid_t");
	for (;;) {
		int room = n;
		gid_t *l = malloc((size_t)room * sizeof(*l));
		if (!l)
			return -ENOMEM;
		if (getgrouplist(name, gid, l, &n) >= 0) {
			*ret = l;
			*ret_count = (uint32_t)n;
			return 0;
		}
		free(l);
		if (room >= GROUPS_LIST_MAX)
			return -E2BIG;
		n = MIN(MAX(n, room * 2), GROUPS_LIST_MAX);
	}
}

static int host_find(void *arg, uint32_t uid, uint32_t **ret, uint32_t *ret_count)
{
	struct passwd pw, *found = NULL;
	size_t size = 4096;
	int rc;
	for (;; size *= 4) {
		char *buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		rc = getpwuid_r(uid, &pw, buf, size, &found);
		if (rc == ERANGE && size < PASSWD_BYTES) {
			free(buf);
			continue;
		}
		if (!rc && found)
			rc = -list_of(pw.pw_name, pw.pw_gid, ret, ret_count);
		else if (!rc || rc == ENOENT || rc == ESRCH) /* getpwnam(3) */
			rc = ENOENT;
		free(buf);
		return -rc;
	}
}

/* ---- lists and users ---- */

void group_list_put(struct group_list *l)
{
	if (l && --l->refs == 0)
		free(l);
}

static struct user *user_find(struct groups *g, uint32_t uid)
{
	struct user *u;
	LIST_FOREACH (u, &g->hash[uid % BUCKETS], hash_link)
		if (u->uid == uid)
			return u;
	return NULL;
}

static void list_drop(struct groups *g, struct user *u)
{
	if (u->list)
		g->gids -= u->list->count;
	group_list_put(u->list);
	u->list = NULL;
}

static void user_drop(struct groups *g, struct user *u)
{
	list_drop(g, u);
	LIST_REMOVE(u, hash_link);
	TAILQ_REMOVE(&g->users, u, link);
	g->st.users--;
	free(u);
}

static void room_make(struct groups *g)
{
	struct user *u, *next;
	TAILQ_FOREACH_SAFE (u, &g->users, link, next) {
		if (g->st.users <= g->o.users && g->gids <= GIDS_MAX)
			return;
		if (u->state != -EAGAIN && !u->waiting)
			user_drop(g, u);
	}
}

static struct user *user_new(struct groups *g, uint32_t uid)
{
	struct user *u = calloc(1, sizeof(*u));
	if (!u)
		return NULL;
	u->uid = uid;
	waitq_init(&u->q);
	LIST_INSERT_HEAD(&g->hash[uid % BUCKETS], u, hash_link);
	TAILQ_INSERT_TAIL(&g->users, u, link);
	g->st.users++;
	return u;
}

/* ---- looking up ---- */

static void lookup_next(struct groups *g);

static void user_answer(struct groups *g, struct lookup *l)
{
	struct user *u = user_find(g, l->uid);
	uint64_t now = env_now_ns(g->o.env);
	if (l->rc == 0) {
		struct group_list *list =
		    malloc(sizeof(*list) + (size_t)l->count * sizeof(list->gids[0]));
		l->rc = list ? 0 : -ENOMEM;
		if (list) {
			qsort(l->gids, l->count, sizeof(l->gids[0]), gid_order);
			list->refs = 1;
			list->count = l->count;
			memcpy(list->gids, l->gids, (size_t)l->count * sizeof(l->gids[0]));
			u->list = list;
			g->gids += list->count;
		}
	}
	if (l->rc && l->rc != -ENOENT) {
		g->st.failures++;
		log_warn("nfs: groups of a user cannot be found uid=%u why=%s", l->uid,
			 err_text(l->rc));
	}
	u->state = l->rc;
	u->until_ns = now + (l->rc ? g->o.negative_ns : g->o.ttl_ns);
	waitq_wake_all(&u->q);
}

static void lookup_work(uv_work_t *req)
{
	struct lookup *l = req->data;
	l->rc = l->find(l->arg, l->uid, &l->gids, &l->count);
}

static void lookup_done(uv_work_t *req, int status)
{
	struct lookup *l = req->data;
	struct groups *g = l->g;
	if (status)
		l->rc = -ECANCELED;
	if (g) {
		LIST_REMOVE(l, link);
		g->nrunning--;
		g->npending--;
		user_answer(g, l);
		room_make(g);
		lookup_next(g);
	}
	free(l->gids);
	free(l);
}

static void lookup_next(struct groups *g)
{
	struct lookup *l;
	while (g->nrunning < LOOKUPS && (l = STAILQ_FIRST(&g->queue))) {
		STAILQ_REMOVE_HEAD(&g->queue, queue_link);
		LIST_INSERT_HEAD(&g->running, l, link);
		g->nrunning++;
		/* Fails only without a callback. */
		int rc =
		    uv_queue_work(reactor_loop(g->o.reactor), &l->req, lookup_work, lookup_done);
		ASSERT(rc == 0);
	}
}

static int lookup_start(struct groups *g, struct user *u)
{
	if (g->npending >= PENDING)
		return -EBUSY;
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->req.data = l;
	l->g = g;
	l->uid = u->uid;
	l->find = g->o.find;
	l->arg = g->o.arg;
	list_drop(g, u);
	u->state = -EAGAIN;
	g->npending++;
	g->st.lookups++;
	STAILQ_INSERT_TAIL(&g->queue, l, queue_link);
	lookup_next(g);
	return 0;
}

/* ---- calls ---- */

static int user_state(struct groups *g, struct user *u, struct group_list **ret)
{
	TAILQ_REMOVE(&g->users, u, link);
	TAILQ_INSERT_TAIL(&g->users, u, link);
	if (u->state)
		return u->state;
	u->list->refs++;
	*ret = u->list;
	return 0;
}

static bool is_fresh(const struct groups *g, const struct user *u)
{
	return u->state != -EAGAIN && env_now_ns(g->o.env) < u->until_ns;
}

int groups_try(struct groups *g, uint32_t uid, struct group_list **ret)
{
	struct user *u = user_find(g, uid);
	if (!u || !is_fresh(g, u))
		return -EAGAIN;
	g->st.hits++;
	return user_state(g, u, ret);
}

struct waiting {
	struct user *u;
	bool over;
};

static void wait_over(void *arg)
{
	struct waiting *w = arg;
	w->over = true;
	waitq_wake_all(&w->u->q); /* the others look and wait on */
}

int groups_get(struct groups *g, uint32_t uid, struct group_list **ret)
{
	struct user *u = user_find(g, uid);
	if (u && is_fresh(g, u))
		return groups_try(g, uid, ret);
	if (!u && !(u = user_new(g, uid)))
		return -ENOMEM;
	u->waiting++;
	int rc = u->state == -EAGAIN ? 0 : lookup_start(g, u);
	struct waiting w = {.u = u};
	struct env_timer timer = {.fn = wait_over, .arg = &w};
	if (!rc)
		env_timer_start(g->o.env, &timer, WAIT_NS);
	while (!rc && u->state == -EAGAIN && !w.over)
		waitq_wait(&u->q);
	if (!rc)
		env_timer_stop(g->o.env, &timer);
	u->waiting--;
	if (!rc)
		rc = user_state(g, u, ret);
	else if (!u->waiting && !u->until_ns) /* never asked for */
		user_drop(g, u);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

int groups_new(struct groups **ret, const struct groups_opts *o)
{
	struct groups *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->o = *o;
	if (!g->o.ttl_ns)
		g->o.ttl_ns = TTL_NS;
	if (!g->o.negative_ns)
		g->o.negative_ns = MIN(g->o.ttl_ns, NEGATIVE_NS);
	if (!g->o.users)
		g->o.users = USERS;
	if (!g->o.find)
		g->o.find = host_find;
	TAILQ_INIT(&g->users);
	STAILQ_INIT(&g->queue);
	*ret = g;
	return 0;
}

void groups_free(struct groups *g)
{
	struct lookup *l;
	struct user *u;
	if (!g)
		return;
	while ((l = LIST_FIRST(&g->running))) {
		LIST_REMOVE(l, link);
		l->g = NULL;
	}
	while ((l = STAILQ_FIRST(&g->queue))) {
		STAILQ_REMOVE_HEAD(&g->queue, queue_link);
		free(l);
	}
	while ((u = TAILQ_FIRST(&g->users))) {
		ASSERT(!u->waiting);
		user_drop(g, u);
	}
	free(g);
}

void groups_stats(const struct groups *g, struct groups_stats *ret)
{
	*ret = g->st;
}
