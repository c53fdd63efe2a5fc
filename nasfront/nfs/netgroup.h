/* Whom a name in an access list means, by this host (nsswitch): addresses of a host, hosts of a
 * netgroup. All of it waits: only on a thread that may. */
#ifndef ISTHMUS_NASFRONT_NFS_NETGROUP_H
#define ISTHMUS_NASFRONT_NFS_NETGROUP_H

#include "nasfront/nfs/export.h"

#define NETGROUP_ADDRS 4096 /* of a rule */

struct addr_list {
	struct export_addr *at; /* NULL: none; free() */
	unsigned count;
	bool unsure; /* somebody could not be asked: there may be more */
	bool too_many;
};

/* One that is there already is not added, nor one too many. 0, -ENOMEM. */
int addr_list_add(struct addr_list *l, const struct export_addr *a);
/* As rules have them. */
void addr_list_sort(struct addr_list *l);

/*
 * 0: all there are are in *ret; -ENOENT: there is no such host; -EAGAIN: it cannot be said now;
 * -ENOMEM. Adds to *ret.
 */
typedef int host_addresses_fn(void *arg, const char *name, struct addr_list *ret);
host_addresses_fn host_addresses; /* as this host has it */

/*
 * Calls each with the hosts of a netgroup, those of the netgroups in it too. host is NULL where an
 * entry means any. 0, or -ENOENT: there is none, or nobody who knows answers (the C library does
 * not tell which).
 */
typedef int netgroup_hosts_fn(void *arg, const char *netgroup,
			      void (*each)(void *to, const char *host), void *to);
/* As the host has it. The C library keeps its place in a global: by one thread at a time. */
netgroup_hosts_fn netgroup_hosts;

/* Addresses of all hosts of a netgroup. A host that does not exist is logged and left out; so is
 * an entry for any host: a rule for all is "*". Ends after some time, unsure then. */
struct name_service {
	netgroup_hosts_fn *hosts;
	host_addresses_fn *addresses;
	void *arg;
};
int netgroup_addresses(const struct name_service *from, const char *netgroup,
		       struct addr_list *ret);

#endif
