/* Hosts and netgroups, as the C library finds them; see netgroup.h. */
#include "nasfront/nfs/netgroup.h"
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/check.h"
#include "runtime/log.h"

#define TIME_S 60 /* for the hosts of one netgroup */

static bool list_has(const struct addr_list *l, const struct export_addr *a)
{
	for (unsigned i = 0; i < l->count; i++)
		if (memcmp(&l->at[i], a, sizeof(*a)) == 0)
			return true;
	return false;
}

int addr_list_add(struct addr_list *l, const struct export_addr *a)
{
	if (list_has(l, a))
		return 0;
	if (l->count == NETGROUP_ADDRS) {
		l->too_many = true;
		return 0;
	}
	if ((l->count & (l->count - 1)) == 0) { /* room for a power of two */
		size_t room = l->count ? 2 * (size_t)l->count : 1;
		struct export_addr *p = realloc(l->at, room * sizeof(*p));
		if (!p)
			return -ENOMEM;
		l->at = p;
	}
	l->at[l->count++] = *a;
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct export_addr));
}

void addr_list_sort(struct addr_list *l)
{
	if (l->count)
		qsort(l->at, l->count, sizeof(*l->at), by_bytes);
}

int host_addresses(void *arg, const char *name, struct addr_list *ret)
{
	static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *all, *a;
	int rc = getaddrinfo(name, NULL, &hints, &all);
	switch (rc) {
	case 0:
		break;
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return -ENOENT;
	case EAI_MEMORY:
		return -ENOMEM;
	default:
		return -EAGAIN;
	}
	for (a = all; a && rc == 0; a = a->ai_next) {
		struct sockaddr_storage sa = {0};
		if (a->ai_addrlen > sizeof(sa))
			continue;
		memcpy(&sa, a->ai_addr, a->ai_addrlen);
		struct export_addr addr = export_addr_of(&sa);
		rc = addr_list_add(ret, &addr);
	}
	freeaddrinfo(all);
	return rc;
}

int netgroup_hosts(void *arg, const char *netgroup, void (*each)(void *to, const char *host),
		   void *to)
{
	char *host, *user, *domain, buf[4096];
	bool known = setnetgrent(netgroup);
	while (known && getnetgrent_r(&host, &user, &domain, buf, sizeof(buf)))
		each(to, host);
	endnetgrent();
	return known ? 0 : -ENOENT;
}

/* ---- a netgroup's ---- */

struct names {
	char **at;
	unsigned count;
	bool any, no_memory, too_many;
};

static void take_name(void *to, const char *host)
{
	struct names *n = to;
	if (!host || !*host) {
		n->any = true;
		return;
	}
	if (strcmp(host, "-") == 0) /* netgroup(5): no host at all */
		return;
	if (n->count == NETGROUP_ADDRS) {
		n->too_many = true;
		return;
	}
	char **p = n->count & (n->count - 1)
		       ? n->at
		       : realloc(n->at, (n->count ? 2 * (size_t)n->count : 1) * sizeof(*p));
	char *s = strdup(host);
	if (p)
		n->at = p;
	if (!p || !s) {
		free(s);
		n->no_memory = true;
		return;
	}
	n->at[n->count++] = s;
}

static time_t seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static int find_all(const struct name_service *from, const struct names *n, const char *netgroup,
		    struct addr_list *ret)
{
	time_t end = seconds() + TIME_S;
	const char *missing = NULL;
	unsigned nmissing = 0;
	int rc = 0;
	for (unsigned i = 0; i < n->count && rc != -ENOMEM; i++) {
		rc = seconds() < end ? from->addresses(from->arg, n->at[i], ret) : -EAGAIN;
		ret->unsure |= rc == -EAGAIN;
		if (rc && !nmissing++)
			missing = n->at[i];
	}
	if (missing)
		log_warn("nfs: hosts of a netgroup not found netgroup=%s count=%u first=%s",
			 netgroup, nmissing, missing);
	return rc == -ENOMEM ? rc : 0;
}

int netgroup_addresses(const struct name_service *from, const char *netgroup, struct addr_list *ret)
{
	struct names n = {0};
	int rc = from->hosts(from->arg, netgroup, take_name, &n);
	if (rc == 0)
		rc = n.no_memory ? -ENOMEM : find_all(from, &n, netgroup, ret);
	if (n.any)
		log_warn("nfs: entries of a netgroup that name no host are left out netgroup=%s",
			 netgroup);
	if (n.too_many || ret->too_many)
		log_warn("nfs: of a netgroup only the first %u hosts count netgroup=%s",
			 NETGROUP_ADDRS, netgroup);
	while (n.count)
		free(n.at[--n.count]);
	free(n.at);
	return rc;
}
