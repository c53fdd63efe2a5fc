/* Calls as bytes against a nas_world: one at a time over one connection. Fails by ck_assert. */
#ifndef ISTHMUS_TESTS_NAS_RAW_H
#define ISTHMUS_TESTS_NAS_RAW_H

#include <stdint.h>
#include "nasfront/nfs/fh.h"
#include "nasfront/rpc/xdr.h"

struct raw {
	int fd;
	uint16_t port;
	uint32_t xid, uid, gid; /* of AUTH_SYS */
	struct xdr_out out;
	struct xdr_in in;
	uint8_t call[1 << 16], reply[1 << 17];
	/* Instead of the socket; NULL: the socket. All bytes or none. */
	bool (*send)(struct raw *r, const void *p, size_t n);
	bool (*recv)(struct raw *r, void *p, size_t n);
	void *arg;
};

void raw_open(struct raw *r, uint16_t port);
/* From an address of this host (127.0.0.N), and a port below 1024 when that is wanted. */
void raw_open_from(struct raw *r, uint16_t port, const char *address, bool privileged);
/* The same of a socket that is not connected yet. */
void raw_bind(int fd, const char *address, bool privileged);
void raw_close(struct raw *r);
/* Another connection from the same address and port; the next call has the last one's number. */
void raw_again(struct raw *r);
/* A call begins with credentials of AUTH_SYS. */
void raw_begin(struct raw *r, uint32_t prog, uint32_t vers, uint32_t proc);
/* Sends what was begun; the accept_stat, r->in at the results. */
uint32_t raw_end(struct raw *r);
/* The same as one datagram to the port. */
uint32_t raw_end_udp(struct raw *r);
uint32_t raw_u32(struct raw *r);
uint64_t raw_u64(struct raw *r);
/* MNT of a path: mountstat3. */
uint32_t raw_mount(struct raw *r, const char *path, uint8_t fh[FH_SIZE]);
/* CREATE (UNCHECKED) or MKDIR: nfsstat3. */
uint32_t raw_make(struct raw *r, const uint8_t dir[FH_SIZE], const char *name, bool is_dir,
		  uint32_t mode, uint8_t fh[FH_SIZE]);
/* GETATTR: nfsstat3; mode with its nine bits and the others. */
uint32_t raw_mode(struct raw *r, const uint8_t fh[FH_SIZE], uint32_t *ret_mode);

#endif
