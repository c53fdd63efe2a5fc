/* Names of users and groups: what the host says, and the cache of it. */
#include "nasfront/nfs4/names.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "runtime/check.h"

#define ENTRY_BYTES (16u << 20) /* of one user or group: a group may have many members */
#define TEXT_MAX    (4u << 20)	/* of all names kept */

struct names {
	struct host_cache *cache;
	char domain[NAMES_DOMAIN_MAX + 1];
	size_t domain_len;
};

_Static_assert(offsetof(struct name, answer) == 0, "a name is a host_answer");

struct name *name_new(uint32_t id, const char *text)
{
	size_t len = strlen(text);
	struct name *n = malloc(sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	n->answer = (struct host_answer){.cost = (uint32_t)len};
	n->id = id;
	n->len = (uint32_t)len;
	memcpy(n->text, text, len + 1);
	return n;
}

void name_put(struct name *n)
{
	host_answer_put(n ? &n->answer : NULL);
}

/* ---- what the host says ---- */

/* 0 with *ret NULL: there is none. Else the error of the call, ERANGE: buf is too small. */
static int ask_user(const struct host_key *k, char *buf, size_t size, struct name **ret)
{
	struct passwd pw, *found = NULL;
	int rc = k->kind == NAMES_USER_OF_ID ? getpwuid_r(k->id, &pw, buf, size, &found)
					     : getpwnam_r(k->name, &pw, buf, size, &found);
	if (rc || !found)
		return rc;
	*ret = name_new(pw.pw_uid, pw.pw_name);
	return *ret ? 0 : ENOMEM;
}

static int ask_group(const struct host_key *k, char *buf, size_t size, struct name **ret)
{
	struct group gr, *found = NULL;
	int rc = k->kind == NAMES_GROUP_OF_ID ? getgrgid_r(k->id, &gr, buf, size, &found)
					      : getgrnam_r(k->name, &gr, buf, size, &found);
	if (rc || !found)
		return rc;
	*ret = name_new(gr.gr_gid, gr.gr_name);
	return *ret ? 0 : ENOMEM;
}

static int host_find(void *arg, const struct host_key *k, struct host_answer **ret)
{
	bool user = k->kind == NAMES_USER_OF_ID || k->kind == NAMES_USER_OF_NAME;
	struct name *found = NULL;
	size_t size = 4096;
	for (;; size *= 4) {
		char *buf = malloc(size);
		if (!buf)
			return -ENOMEM;
		int rc = user ? ask_user(k, buf, size, &found) : ask_group(k, buf, size, &found);
		free(buf);
		if (rc == ERANGE && size < ENTRY_BYTES)
			continue;
		if (rc && rc != ENOENT && rc != ESRCH) /* getpwnam(3) */
			return -rc;
		*ret = found ? &found->answer : NULL;
		return found ? 0 : -ENOENT;
	}
}

/* ---- the cache ---- */

int names_of_id(struct names *n, bool group, uint32_t id, bool wait, struct name **ret)
{
	const struct host_key k = {.kind = group ? NAMES_GROUP_OF_ID : NAMES_USER_OF_ID, .id = id};
	struct host_answer *a = NULL;
	int rc = wait ? host_cache_get(n->cache, &k, &a) : host_cache_try(n->cache, &k, &a);
	if (rc)
		return rc;
	struct name *found = (struct name *)a;
	if (!found->len || found->len > HOST_NAME_BYTES || strchr(found->text, '@')) {
		name_put(found);
		return -ENOENT;
	}
	*ret = found;
	return 0;
}

int names_to_id(struct names *n, bool group, const char *text, uint32_t len, uint32_t *ret)
{
	size_t rest = n->domain_len + 1;
	if (len <= rest || len - rest > HOST_NAME_BYTES || memchr(text, 0, len) ||
	    text[len - rest] != '@' ||
	    strncasecmp(text + len - n->domain_len, n->domain, n->domain_len))
		return -ENOENT;
	const struct host_key k = {.kind = group ? NAMES_GROUP_OF_NAME : NAMES_USER_OF_NAME,
				   .name = text,
				   .len = (uint32_t)(len - rest)};
	struct host_answer *a = NULL;
	/* As it comes back: names of ours have none. */
	int rc = memchr(text, '@', k.len) ? -ENOENT : host_cache_get(n->cache, &k, &a);
	if (rc)
		return rc;
	*ret = ((struct name *)a)->id;
	host_answer_put(a);
	return 0;
}

const char *names_domain(const struct names *n)
{
	return n->domain;
}

int names_new(struct names **ret, const struct names_opts *o)
{
	struct host_cache_opts ho = {.reactor = o->reactor,
				     .env = o->env,
				     .ttl_ns = o->ttl_ns,
				     .negative_ns = o->negative_ns,
				     .max_cost = TEXT_MAX,
				     .find = o->find ? o->find : host_find,
				     .arg = o->arg,
				     .what = "a user's or group's name or id"};
	size_t len = strlen(o->domain);
	if (len == 0 || len > NAMES_DOMAIN_MAX)
		return -EINVAL;
	struct names *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	memcpy(n->domain, o->domain, len);
	n->domain_len = len;
	int rc = host_cache_new(&n->cache, &ho);
	if (rc) {
		free(n);
		return rc;
	}
	*ret = n;
	return 0;
}

void names_free(struct names *n)
{
	if (!n)
		return;
	host_cache_free(n->cache);
	free(n);
}
