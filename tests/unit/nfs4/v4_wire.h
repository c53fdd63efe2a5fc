/* What the files of the client of NFSv4 for tests share. */
#ifndef ISTHMUS_TESTS_V4_WIRE_H
#define ISTHMUS_TESTS_V4_WIRE_H

#include "tests/unit/nfs4/v4_client.h"

#define V4_BUF (2 * 1024 * 1024)

/* All of these bytes, in or out. */
void v4_bytes(int fd, void *p, size_t n, bool out);
/* A record of RPC; there is room for V4_BUF bytes. */
void v4_record(int fd, uint8_t *to, size_t *ret_len);
/* A call of the server's came: it is answered as c->manner says. */
void v4_called(struct v4 *c, int fd, const uint8_t *msg, size_t len);

#endif
