/*
 * Duplicate request cache: what makes a retransmitted REMOVE or CREATE succeed once.
 *
 * A call is recognized by xid, client address and port, procedure, length and a checksum of its
 * first bytes, and by who calls and how that is protected: what was kept for one is not another's.
 * While it runs duplicates are not run (one may wait for the end with the entry); after that they
 * get the reply that was kept. Memory is fixed at the start; the oldest finished entry gives way, a
 * running one never.
 */
#ifndef ISTHMUS_NASFRONT_DRC_H
#define ISTHMUS_NASFRONT_DRC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define DRC_REPLY_MAX 512 /* every cached procedure's reply is smaller */
#define DRC_CRC_BYTES 256

struct drc;
struct drc_entry;

struct rpc_cred;

/* Without padding: compared as bytes. */
struct drc_key {
	uint32_t xid, prog, proc, len, crc;
	uint32_t port;
	uint8_t addr[16];
	uint32_t flavor, service; /* rpc_cred's */
	uint64_t who;		  /* uid and gid, or principal */
};
_Static_assert(sizeof(struct drc_key) == 56, "no padding");

enum drc_found {
	DRC_NEW,    /* run it; *ret is NULL when every entry is busy: then it is not cached */
	DRC_BUSY,   /* being run */
	DRC_REPLAY, /* done: send the reply again */
};

int drc_new(struct drc **ret, unsigned entries);
void drc_free(struct drc *d);

void drc_key_fill(struct drc_key *k, const struct sockaddr_storage *peer,
		  const struct rpc_cred *cred, uint32_t xid, uint32_t prog, uint32_t proc,
		  const void *args, size_t len);
enum drc_found drc_begin(struct drc *d, const struct drc_key *k, struct drc_entry **ret);
/* Keeps the reply (results without the RPC header). Too long: the entry is forgotten. */
void drc_done(struct drc *d, struct drc_entry *e, const void *reply, size_t len);
void drc_forget(struct drc *d, struct drc_entry *e);
/* What a BUSY entry's users keep with it: the call that runs, and a duplicate that waits for its
 * end. Both are NULL in a new entry. */
void drc_set_runner(struct drc_entry *e, void *runner);
void *drc_runner(const struct drc_entry *e);
/* Returns the one that waited. */
void *drc_swap_waiter(struct drc_entry *e, void *waiter);
const void *drc_reply(const struct drc_entry *e, size_t *ret_len);

#endif
