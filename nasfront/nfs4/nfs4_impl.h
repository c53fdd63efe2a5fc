/* The service, and all that the files of nasfront/nfs4 share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_NFS4_IMPL_H
#define ISTHMUS_NASFRONT_NFS4_IMPL_H

#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/store.h"
#include "nasfront/nfs4/nfs4_compound.h"
#include "nasfront/rpc/rpc_out.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/histogram.h"

#define NFS4_MAGIC   0x6e667334
#define NFS_PROGRAM  100003
#define NFS4_BUCKETS 1024

struct nfs4 {
	uint32_t magic;
	struct nfs4_opts o;
	uint32_t boot; /* of this incarnation, in client ids and stateids */
	uint32_t next_client;
	uint64_t hash_key[2];
	uint64_t born_s; /* real time: the times of pseudo directories */
	struct lock_table *locks;
	const struct store *store; /* NULL: nothing is recorded */
	bool restored;		   /* clients of an earlier incarnation are here */
	struct env_timer tick;
	LIST_HEAD(, nfs4_client) clients_by_id[NFS4_STATE_BUCKETS];
	LIST_HEAD(, nfs4_client) clients_by_owner[NFS4_BUCKETS];
	LIST_HEAD(, nfs4_client) clients_by_kept[NFS4_BUCKETS];
	TAILQ_HEAD(, nfs4_client) clients;
	unsigned nclients;
	LIST_HEAD(, nfs4_session) sessions[NFS4_BUCKETS];
	LIST_HEAD(, nfs4_owner) owners[NFS4_STATE_BUCKETS];
	unsigned nowners;
	TAILQ_HEAD(, nfs4_owner) idle; /* open-owners of version 4.0, idle longest first */
	LIST_HEAD(, nfs4_state) states[NFS4_STATE_BUCKETS];
	struct nfs4_state_slot *slots;
	uint32_t nslots, slots_cap, slots_free, nstates;
	LIST_HEAD(, nfs4_kept_client) kept, kept_by_name[NFS4_BUCKETS];
	unsigned nkept_done; /* of `kept`: who have reclaimed what they had */
	unsigned nkept;
	bool forgetting; /* tasks give up those who did not come back */
	unsigned nforgetters;
	struct waitq forgotten;
	bool ending; /* a task ends clients whose lease ran out */
	struct waitq ended;
	struct deleg_table *delegs; /* of all protocols */
	struct nfs4_delegs lent, recalled;
	struct nfs4_deleg_stats dstats;
	bool revoking; /* a task takes away what was not returned */
	struct waitq revoked;
	struct rpc_out *out; /* calls to clients of version 4.0; NULL: none */
	bool stopping;
	unsigned ncallers;
	struct waitq called;
	uint64_t next_note;
	unsigned nblocked;    /* of all clients */
	uint64_t give_way_ns; /* files lent are asked for again, for room, not before */
	uint64_t fewer_ns;    /* somebody was looked for who is to keep less of what is lent */
	unsigned ncopying;    /* tasks */
	struct waitq copied;
	struct nfs4_tree *tree;
	struct rpc_program program;
	struct nfs4_op_stats ops[NFS4_OPS], compounds;
	struct histogram compound_latency;
};

#endif
