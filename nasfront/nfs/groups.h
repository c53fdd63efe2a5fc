/*
 * The groups of users as this host knows them, for callers with more of them than AUTH_SYS carries
 * (16): see groups.c. Everything on one reactor but `find`.
 */
#ifndef ISTHMUS_NASFRONT_NFS_GROUPS_H
#define ISTHMUS_NASFRONT_NFS_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

struct env;
struct groups;
struct reactor;

#define GROUPS_LIST_MAX 65536 /* groups of one user */

/* Never changes while held. */
struct group_list {
	unsigned refs;
	uint32_t count;
	uint32_t gids[]; /* sorted */
};

struct groups_opts {
	struct reactor *reactor;
	struct env *env;
	uint64_t ttl_ns;      /* 0: 300 s */
	uint64_t negative_ns; /* of users not known and look-ups that failed; 0: 60 s, or ttl_ns */
	unsigned users;	      /* kept at most; 0: 4096 */
	/* On a thread of its own, may take its time: *ret is malloc()ed, *ret_count at most
	 * GROUPS_LIST_MAX. -ENOENT: no such user. NULL: getpwuid() and getgrouplist(). */
	int (*find)(void *arg, uint32_t uid, uint32_t **ret, uint32_t *ret_count);
	void *arg;
};

int groups_new(struct groups **ret, const struct groups_opts *o);
/* Look-ups under way end by themselves later; nobody may be waiting. */
void groups_free(struct groups *g);
/* Never waits. -EAGAIN: not known (any more). -ENOENT: no such user. The caller puts it back. */
int groups_try(struct groups *g, uint32_t uid, struct group_list **ret);
/* Waits for the look-up, at most some seconds: -ETIMEDOUT; -EBUSY: too many are under way;
 * otherwise as it failed. */
int groups_get(struct groups *g, uint32_t uid, struct group_list **ret);
void group_list_put(struct group_list *l); /* NULL is allowed */

struct groups_stats {
	uint64_t hits, lookups, failures; /* failures: not -ENOENT */
	unsigned users;
};
void groups_stats(const struct groups *g, struct groups_stats *ret);

#endif
