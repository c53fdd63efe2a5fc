/*
 * A lean NFSv3 client for measuring (RFC 1813, RFC 5531): its own calls over TCP, one receive for
 * many answers, one gathered send for all calls that follow from them. It must never be the limit
 * of what it measures, so it does nothing else: no retransmission, no portmapper, and any answer
 * but the one that is expected ends it (NFS3ERR_JUKEBOX: the call is sent again, and told of).
 * Correctness is tests/system's business; what is checked here is that the server does the work
 * that is counted.
 *
 * One thread drives any number of connections.
 */
#ifndef ISTHMUS_TESTS_BENCH_NFS_CLIENT_H
#define ISTHMUS_TESTS_BENCH_NFS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#define NFS_DEPTH_MAX	    256
#define NFS_CONNECTIONS_MAX 32
#define NFS_SIZE_MAX	    (1u << 20)

struct nfs_fh {
	uint32_t len;
	uint8_t data[64];
};

struct nfs_conn;

/* What nfs://HOST/PATH?nfsport=N&mountport=N says. The ports are the NFS port where none is said.
 */
struct nfs_url {
	char host[128], path[256], nfs_port[8], mount_port[8];
	bool keeps_data; /* without check=no: what is written can be read */
};

int nfs_url_parse(const char *text, struct nfs_url *ret); /* 0, or -1 with a line on stderr */

/* Asks the MOUNT program for the root's handle. 0, or -1 with a line on stderr. */
int nfs_mount(const struct nfs_url *url, struct nfs_fh *ret_root);

int nfs_open(struct nfs_conn **ret, const struct nfs_url *url);
/* Takes a connected socket; name is for messages. NULL: no memory, and the socket stays open. */
struct nfs_conn *nfs_adopt(int fd, const char *name);
void nfs_close(struct nfs_conn *c);

/*
 * Calls that are waited for, with nothing else in flight. 0, the NFS status, or -1 with a line on
 * stderr.
 */
int nfs_lookup(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret);
int nfs_mkdir(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret);
/* UNCHECKED: one that exists is emptied. */
int nfs_create(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret);
int nfs_commit(struct nfs_conn *c, const struct nfs_fh *file);

enum nfs_op {
	NFS_GETATTR,
	NFS_LOOKUP,
	NFS_READ,
	NFS_WRITE,	/* UNSTABLE */
	NFS_WRITE_SYNC, /* FILE_SYNC */
	NFS_READDIRPLUS,
	NFS_CREATE, /* GUARDED */
	NFS_REMOVE,
};

/* Name of a file of CREATE, REMOVE and LOOKUP. */
#define NFS_NAME_LEN 13
void nfs_file_name(char ret[NFS_NAME_LEN + 1], uint64_t number);

struct nfs_load {
	enum nfs_op op;
	struct nfs_fh fh; /* of the file, or the directory */
	uint32_t size;	  /* bytes of a READ or WRITE; multiple of 8 */
	unsigned depth;	  /* in flight on each connection */
	bool random;	  /* otherwise each connection runs through the region in order */
	bool spin;	  /* looks at the sockets without sleeping */
	bool check;	  /* looks at a sample of what was read; all of it with check_all */
	bool check_all;
	uint64_t region; /* READ, WRITE: bytes of the file; GETATTR: its size */
	uint64_t files;	 /* LOOKUP: names in the directory; READDIRPLUS: what it must list */
	uint64_t *marks; /* CREATE notes a mark of each file's handle, LOOKUP compares; or NULL */
	uint64_t first;	 /* CREATE, REMOVE: number of the first file */
	uint64_t ops;	 /* ends after so many; CREATE and REMOVE take the files in order */
	uint64_t list;	 /* READDIRPLUS: ... or when a connection has listed so many entries */
	double seconds;	 /* ... or after so long; 0: not by time */
};

/*
 * Runs the load on n connections until it ends and nothing is in flight. Returns the operations
 * done (READDIRPLUS: the entries listed), -1 with a line on stderr.
 *
 * What is written, and expected when read: each operation's first word tells its place in the
 * file, the others their place in the operation. So a file is read with the size it was written.
 */
int64_t nfs_load_run(struct nfs_conn **c, unsigned n, const struct nfs_load *l);

#endif
