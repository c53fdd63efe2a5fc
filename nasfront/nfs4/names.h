/*
 * Names of users and groups as NFSv4 has them, "user@domain" (RFC 8881 5.9), by what this host says
 * (nsswitch): a host_cache both ways. Everything on one reactor but `find`.
 */
#ifndef ISTHMUS_NASFRONT_NFS4_NAMES_H
#define ISTHMUS_NASFRONT_NFS4_NAMES_H

#include "nasfront/nfs/host_cache.h"

struct names;

#define NAMES_DOMAIN_MAX 255

/* What is asked: the kind of a host_key. */
enum names_question {
	NAMES_USER_OF_ID,
	NAMES_GROUP_OF_ID,
	NAMES_USER_OF_NAME,
	NAMES_GROUP_OF_NAME,
};

/* The answer to each of them. */
struct name {
	struct host_answer answer; /* first */
	uint32_t id;
	uint32_t len;
	char text[]; /* without the domain */
};

struct names_opts {
	struct reactor *reactor;
	struct env *env;
	const char *domain;	      /* copied; at most NAMES_DOMAIN_MAX bytes */
	uint64_t ttl_ns, negative_ns; /* as in host_cache_opts */
	host_find_fn *find;	      /* NULL: getpwuid(), getgrgid(), getpwnam(), getgrnam() */
	void *arg;
};

int names_new(struct names **ret, const struct names_opts *o);
/* Look-ups under way end by themselves later; nobody may be waiting. */
void names_free(struct names *n);
const char *names_domain(const struct names *n);

/*
 * The name of an id, to be put back. Without `wait` -EAGAIN: not known (any more). -ENOENT: it has
 * none, or one that cannot be said with a domain. Else as host_cache_get().
 */
int names_of_id(struct names *n, bool group, uint32_t id, bool wait, struct name **ret);
/* The id of "name@domain". Waits. -ENOENT: nobody has that name, or it is of another domain. */
int names_to_id(struct names *n, bool group, const char *text, uint32_t len, uint32_t *ret);
void name_put(struct name *n); /* NULL is allowed */
/* For who finds them. NULL: no memory. */
struct name *name_new(uint32_t id, const char *text);

#endif
