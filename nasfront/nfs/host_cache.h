/*
 * What this host (nsswitch) says of users and groups, kept for a time: a look-up may take long, so
 * it never runs on the reactor. Whoever has a kind of question has a cache of these. Everything on
 * one reactor but `find`.
 */
#ifndef ISTHMUS_NASFRONT_NFS_HOST_CACHE_H
#define ISTHMUS_NASFRONT_NFS_HOST_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct env;
struct host_cache;
struct reactor;

#define HOST_NAME_BYTES 255 /* of a name in a question, at most */

/* A question: kind and id, or kind and a name. */
struct host_key {
	uint32_t kind, id;
	uint32_t len;
	const char *name;
};

/* An answer begins with this; it never changes while held. malloc()ed by who finds it. */
struct host_answer {
	unsigned refs; /* the cache's from host_cache_opts.find on */
	uint32_t cost; /* what it adds to max_cost */
};

/* On a thread of its own, may take its time. -ENOENT: there is no such thing. */
typedef int host_find_fn(void *arg, const struct host_key *k, struct host_answer **ret);

struct host_cache_opts {
	struct reactor *reactor;
	struct env *env;
	uint64_t ttl_ns; /* 0: 300 s */
	uint64_t
	    negative_ns;    /* of what is not known and look-ups that failed; 0: 60 s, or ttl_ns */
	unsigned entries;   /* kept at most; 0: 4096 */
	uint64_t max_cost;  /* of all answers kept */
	host_find_fn *find; /* required */
	void *arg;	    /* outlives look-ups under way: host_cache_free() does not wait */
	const char *what;   /* for the log: what cannot be found */
};

int host_cache_new(struct host_cache **ret, const struct host_cache_opts *o);
/* Look-ups under way end by themselves later; nobody may be waiting. */
void host_cache_free(struct host_cache *h);
/* Never waits. -EAGAIN: not known (any more). -ENOENT: no such thing. Else as the look-up failed.
 * The caller puts the answer back. */
int host_cache_try(struct host_cache *h, const struct host_key *k, struct host_answer **ret);
/* Waits for the look-up, at most some seconds: -ETIMEDOUT; -EBUSY: too many are under way;
 * otherwise as it failed. */
int host_cache_get(struct host_cache *h, const struct host_key *k, struct host_answer **ret);
void host_answer_put(struct host_answer *a); /* NULL is allowed */

struct host_cache_stats {
	uint64_t hits, lookups, failures; /* failures: not -ENOENT */
	unsigned entries;
};
void host_cache_stats(const struct host_cache *h, struct host_cache_stats *ret);

#endif
