/* What the host says of a user's groups: getpwuid(), getgrouplist(). */
#include "nasfront/nfs/groups.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"

#define GIDS_MAX     (1u << 20) /* of all users */
#define PASSWD_BYTES (1u << 20)

/* All there is of it is the cache. */
struct groups {
	struct host_cache *cache;
};

_Static_assert(offsetof(struct group_list, answer) == 0, "a group_list is a host_answer");

/* ---- lists ---- */

static int gid_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

struct group_list *group_list_new(const uint32_t *gids, uint32_t count)
{
	struct group_list *l = malloc(sizeof(*l) + (size_t)count * sizeof(l->gids[0]));
	if (!l)
		return NULL;
	l->answer = (struct host_answer){.cost = count};
	l->count = count;
	memcpy(l->gids, gids, (size_t)count * sizeof(l->gids[0]));
	qsort(l->gids, count, sizeof(l->gids[0]), gid_order);
	return l;
}

void group_list_put(struct group_list *l)
{
	host_answer_put(l ? &l->answer : NULL);
}

/* ---- what the host says ---- */

static int list_of(const char *name, gid_t gid, struct host_answer **ret)
{
	int n = 64;
	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "gid_t");
	for (;;) {
		int room = n;
		gid_t *l = malloc((size_t)room * sizeof(*l));
		if (!l)
			return -ENOMEM;
		if (getgrouplist(name, gid, l, &n) >= 0) {
			struct group_list *list = group_list_new(l, (uint32_t)n);
			free(l);
			*ret = list ? &list->answer : NULL;
			return list ? 0 : -ENOMEM;
		}
		free(l);
		if (room >= GROUPS_LIST_MAX)
			return -E2BIG;
		n = MIN(MAX(n, room * 2), GROUPS_LIST_MAX);
	}
}

static int host_find(void *arg, const struct host_key *k, struct host_answer **ret)
{
	struct passwd pw, *found = NULL;
	size_t size = 4096;
	int rc;
	for (;; size *= 4) {
		char *buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		rc = getpwuid_r(k->id, &pw, buf, size, &found);
		if (rc == ERANGE && size < PASSWD_BYTES) {
			free(buf);
			continue;
		}
		if (!rc && found)
			rc = -list_of(pw.pw_name, pw.pw_gid, ret);
		else if (!rc || rc == ENOENT || rc == ESRCH) /* getpwnam(3) */
			rc = ENOENT;
		free(buf);
		return -rc;
	}
}

/* ---- the cache ---- */

int groups_try(struct groups *g, uint32_t uid, struct group_list **ret)
{
	struct host_answer *a;
	int rc = host_cache_try(g->cache, &(struct host_key){.id = uid}, &a);
	if (rc == 0)
		*ret = (struct group_list *)a;
	return rc;
}

int groups_get(struct groups *g, uint32_t uid, struct group_list **ret)
{
	struct host_answer *a;
	int rc = host_cache_get(g->cache, &(struct host_key){.id = uid}, &a);
	if (rc == 0)
		*ret = (struct group_list *)a;
	return rc;
}

int groups_new(struct groups **ret, const struct groups_opts *o)
{
	struct host_cache_opts ho = {.reactor = o->reactor,
				     .env = o->env,
				     .ttl_ns = o->ttl_ns,
				     .negative_ns = o->negative_ns,
				     .entries = o->users,
				     .max_cost = GIDS_MAX,
				     .find = o->find ? o->find : host_find,
				     .arg = o->arg,
				     .what = "groups of a user"};
	struct groups *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	int rc = host_cache_new(&g->cache, &ho);
	if (rc) {
		free(g);
		return rc;
	}
	*ret = g;
	return 0;
}

void groups_free(struct groups *g)
{
	if (!g)
		return;
	host_cache_free(g->cache);
	free(g);
}

void groups_stats(const struct groups *g, struct host_cache_stats *ret)
{
	host_cache_stats(g->cache, ret);
}
