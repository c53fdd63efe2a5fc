/* What the calls (nfs_client.c, nfs_calls.c) and the data path (nfs_load.c) share. */
#ifndef ISTHMUS_TESTS_BENCH_NFS_CLIENT_IMPL_H
#define ISTHMUS_TESTS_BENCH_NFS_CLIENT_IMPL_H

#include <stddef.h>
#include "tests/bench/nfs_client.h"
#include "tests/bench/nfs_xdr.h"
#include "tests/bench/wire.h"

#define RECV_BUF    (512 * 1024)
#define RECORD_MAX  (2u << 20) /* a reply: more is an error */
#define STREAM_MIN  65536u     /* a longer reply is READ's, whose data is looked at as it comes */
#define STREAM_HEAD 256u       /* more than what precedes the data */
#define CALL_MAX    320u       /* a call without the data of a WRITE */
#define SEND_CALLS  250	       /* of a batch; each takes two pieces of wire_out at most */
#define SEND_BYTES  (4u << 20)
#define LAST	    0x80000000u /* of a record's fragments, RFC 5531 11 */
#define STAMP	    8u		/* bytes at the start of written data that tell its place */

enum {
	NFS_PROGRAM = 100003,
	MOUNT_PROGRAM = 100005,
	PROC_GETATTR = 1,
	PROC_LOOKUP = 3,
	PROC_READ = 6,
	PROC_WRITE = 7,
	PROC_CREATE = 8,
	PROC_MKDIR = 9,
	PROC_REMOVE = 12,
	PROC_READDIRPLUS = 17,
	PROC_COMMIT = 21,
	ATTR_BYTES = 84, /* fattr3 */
	TYPE_REGULAR = 1,
	UNSTABLE = 0,
	FILE_SYNC = 2,
	STATUS_LATER = 10008, /* NFS3ERR_JUKEBOX */
};

/* A call in flight; its number is the low byte of the xid. */
struct slot {
	uint32_t xid;
	bool busy;
	uint64_t at; /* byte, or number of the file */
	/* READDIRPLUS: each slot walks the directory by itself */
	uint64_t cookie, listed;
	uint8_t verifier[8];
};

/* A call prepared once; what differs is patched in at these places. */
struct template
{
	uint8_t bytes[CALL_MAX];
	uint32_t len;
	uint32_t at_place; /* offset, cookie, or the digits of the name */
};

struct nfs_conn {
	int fd;
	char name[160]; /* for messages */
	bool failed;
	uint32_t sequence;

	/* received: bytes [head, tail) of rbuf are not looked at yet */
	uint8_t *rbuf;
	size_t head, tail;
	/* in the middle of a READ's data */
	struct slot *reader;
	uint32_t data_at, data_left;
	/* a record of several fragments is put together */
	uint8_t *record;
	uint32_t record_len, fragment_left;
	bool in_fragment, last_fragment;

	struct wire_out out;
	uint8_t *calls; /* of the batch */
	unsigned ncalls;

	const struct nfs_load *load;
	const struct op *op;
	struct template call;
	struct slot slots[NFS_DEPTH_MAX];
	uint8_t free[NFS_DEPTH_MAX];
	unsigned nfree, in_flight;
	uint8_t again[NFS_DEPTH_MAX]; /* calls that the server wants later */
	unsigned nagain, later;	      /* such answers in this run */
	double again_at;
	uint64_t next_off, seed;
	int64_t done;
};

/* One operation of a load. */
struct op {
	const char *name;
	uint32_t proc;
	/* The arguments, once; notes the place of what differs. */
	void (*encode)(const struct nfs_load *l, struct template *t, struct enc *e);
	/* Its place in this call. */
	void (*patch)(struct slot *s, uint8_t *place);
	/* What follows the status NFS3_OK; for READ up to the data. What it counts for, or -1. */
	int (*reply)(struct nfs_conn *c, struct slot *s, struct dec *d);
};

const struct op *nfs_op_get(enum nfs_op op);

/* Record mark, header and credentials of a call; nfs_call_end() says its length. */
void nfs_call_begin(struct enc *e, uint32_t program, uint32_t proc);
void nfs_call_end(struct enc *e, uint32_t data_that_follows);
/* What precedes the results, after the xid. 0, or -1 told. */
int nfs_reply_begin(struct nfs_conn *c, struct dec *d);

/* Tells why on stderr and fails it. Returns -1. */
int nfs_fail(struct nfs_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
