/*
 * An NFS server in this process: a real file system on a disk in memory, served by a reactor on a
 * thread of its own. Tests talk to it over loopback, with libnfs or with bytes of their own.
 */
#ifndef ISTHMUS_TESTS_NAS_WORLD_H
#define ISTHMUS_TESTS_NAS_WORLD_H

#include <stdint.h>
#include "nasfront/fs/fs.h"
#include "nasfront/nfs/groups.h"
#include "nasfront/nfs/netgroup.h"
#include "nasfront/nfs/nfs.h"
#include "nasfront/nfs4/names.h"
#include "nasfront/rpc/gss.h"
#include "nasfront/rpc/rpc.h"

#define NAS_FS_ID     77
#define NAS_FS_SIZE   (512ull << 20)
#define NAS_MISSES    3 /* of so many reads that could wait for nothing one does */
#define NAS_EXPORT_ID 5 /* "/demo": read and write, no squash, for everyone */

/* Zeros: as the services have it. */
struct nas_opts {
	uint64_t tls_timeout_ns, record_timeout_ns, resolve_ns;
	unsigned max_conns, max_requests, drc_entries;
	netgroup_hosts_fn *netgroup_hosts;
	host_addresses_fn *host_addresses;
};

struct mem_store;
struct nas_clock;

struct nas {
	struct nas_clock *clock; /* nas_clock.h */
	uint64_t skip_ns;
	struct reactor *reactor;
	struct rpc_server *server;
	struct nfs *nfs;
	struct nlm *nlm; /* of nas_serve4() */
	struct nfs4 *nfs4;
	/* For nas_serve4(), to be set before: 0 and NULL as the service has it. */
	uint64_t lease_ns, grace_ns;
	unsigned max_clients, max_states;
	bool lend; /* delegations */
	uint64_t quiet_ns, call_ns;
	unsigned max_delegs;
	bool late;		 /* who was kept is not told yet: nas_begin() does */
	struct mem_store *store; /* what a successor must know goes there */
	bool unsure;		 /* others may have been kept: the grace period is whole */
	const struct names_opts *names_want; /* NULL: owners are numbers */
	struct names *names;
	const char *kept_name; /* a client that was kept: there is a grace period */
	int (*keep)(void *arg, const char *name, bool gone);
	struct bdev *bdev;
	struct fs *fs;
	const struct groups_opts *groups_want;
	struct nas_opts o;
	struct groups *groups; /* NULL: as clients say */
	const struct rpc_gss_opts *gss_want;
	struct rpc_gss *gss;
	uint16_t port;
	_Atomic bool hold; /* data of files is lent when this ends */
	_Atomic bool busy; /* a step runs on the reactor */
	void (*step)(struct nas *n);
};

/* Makes, mounts and serves it, with the exports of nas_exports(). */
void nas_up(struct nas *n);
/* The same with groups looked up as these say (their reactor and env are filled in). */
void nas_up_groups(struct nas *n, const struct groups_opts *groups);
/* The same with Kerberos as these say; groups (may be NULL) are of its callers alone. */
void nas_up_gss(struct nas *n, const struct rpc_gss_opts *gss, const struct groups_opts *groups);
/* With other limits. */
void nas_up_opts(struct nas *n, const struct nas_opts *o);
void nas_down(struct nas *n);
/* Adds locks and NFSv4. */
void nas_serve4(struct nas *n);
/* The server dies and another takes its place: what was synced into the store is all it has of
 * the clients. The file
 * system is mounted anew; exports and the port are the same. */
void nas_replace(struct nas *n);
/* Another RPC server on the same port, with nothing but NFS version 3 (in a step, the other one
 * having been stopped and what it served freed). */
void nas_listen_again(struct nas *n);
/* What was kept becomes known (as a step of nas_run()). */
void nas_begin(struct nas *n);
/* The server's clock goes on by so much. */
void nas_skip(struct nas *n, uint64_t ns);
/* Runs fn in a task of the reactor and waits for its end. */
void nas_run(struct nas *n, void (*fn)(struct nas *n));
/*
 * The exports: /demo rw,none; /ro read-only; /squash root squash to 65534; /all all squash to
 * 1234:1234; /secret for 192.0.2.0/24 only; /sub of the directory /dir/below.
 */
void nas_exports(struct nas *n);

/* A bdev over memory; hold (may be NULL): reads in place wait as long as it is true. */
struct bdev *mem_bdev_new(uint64_t size, const _Atomic bool *hold);

#endif
