/* Two clients of version 4.0 and a server, and operations with numbers, made one by one. */
#ifndef ISTHMUS_TESTS_V40_WORLD_H
#define ISTHMUS_TESTS_V40_WORLD_H

#include <check.h>
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

extern struct nas nas;
extern struct v4 a, b;
extern struct v4_fh demo, fh;
extern _Atomic unsigned nkept, nforgotten;
extern _Atomic bool hold; /* to keep somebody takes a while */

struct lock {
	uint32_t open_seq, lock_seq;
	const char *owner; /* NULL: it exists */
	uint32_t type;
	uint64_t off, len;
};

void clients(void);
void up(void);
void up_short(void);
/* After a restart: client a was kept. */
void up_again(void);
void down(void);
void put_open(struct v4 *c, const char *owner, uint32_t seq, const char *name, uint32_t access,
	      uint32_t deny, uint32_t how);
void take_open(struct v4 *c, struct v4_stateid *s, uint32_t *flags);
uint32_t open_at(struct v4 *c, const char *owner, uint32_t seq, const char *name, uint32_t access,
		 uint32_t deny, uint32_t how, struct v4_stateid *s, uint32_t *flags);
/* An operation of a stateid and a number, one before the other. */
uint32_t with_number(struct v4 *c, uint32_t op, uint32_t seq, struct v4_stateid *s);
/* Opened and confirmed with the numbers 1 and 2. */
void open_f(struct v4 *c, const char *owner, uint32_t access, struct v4_stateid *s);
uint32_t lock(struct v4 *c, const struct v4_stateid *s, const struct lock *l,
	      struct v4_stateid *ret);
uint32_t unlock(struct v4 *c, uint32_t seq, struct v4_stateid *s, uint64_t off, uint64_t len);
uint32_t lockt(struct v4 *c, const char *owner, uint64_t off, uint64_t len);
uint32_t release(struct v4 *c, const char *owner);
uint32_t renew(struct v4 *c, uint64_t id);
uint32_t named(struct v4 *c, uint32_t op, const char *name);
/* What was sent last, again: the same answer, byte for byte. */
void comes_again(struct v4 *c);
/* The same as another call: the number alone tells that it was done. Only the transaction differs.
 */
void asked_again(struct v4 *c);

#endif
