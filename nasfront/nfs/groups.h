/*
 * The groups of users as this host knows them, for callers with more of them than AUTH_SYS carries
 * (16): a host_cache by user id. Everything on one reactor but `find`.
 */
#ifndef ISTHMUS_NASFRONT_NFS_GROUPS_H
#define ISTHMUS_NASFRONT_NFS_GROUPS_H

#include "nasfront/nfs/host_cache.h"

struct groups;

#define GROUPS_LIST_MAX 65536 /* groups of one user */

/* Never changes while held. */
struct group_list {
	struct host_answer answer; /* first */
	uint32_t count;
	uint32_t gids[]; /* sorted */
};

struct groups_opts {
	struct reactor *reactor;
	struct env *env;
	uint64_t ttl_ns, negative_ns; /* as in host_cache_opts */
	unsigned users;		      /* kept at most; 0: 4096 */
	/* Finds a group_list by the key's id; NULL: getpwuid() and getgrouplist(). */
	host_find_fn *find;
	void *arg;
};

int groups_new(struct groups **ret, const struct groups_opts *o);
/* Look-ups under way end by themselves later; nobody may be waiting. */
void groups_free(struct groups *g);
/* host_cache_try(), host_cache_get(). */
int groups_try(struct groups *g, uint32_t uid, struct group_list **ret);
int groups_get(struct groups *g, uint32_t uid, struct group_list **ret);
void group_list_put(struct group_list *l); /* NULL is allowed */
/* For who finds them: a list of these, sorted. NULL: no memory. */
struct group_list *group_list_new(const uint32_t *gids, uint32_t count);
void groups_stats(const struct groups *g, struct host_cache_stats *ret);

#endif
