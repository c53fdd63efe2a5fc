/*
 * Where a service puts what a successor must know: records by key (proto/state.proto). The lock
 * manager and NFS version 4 write them while they change their state, and wait for sync() before
 * the answer that depends on it leaves; what was put since a crash's last sync() may be there or
 * not, in the order in which it was put.
 *
 * Keys begin with a letter that says what the record is.
 */
#ifndef ISTHMUS_NASFRONT_STORE_H
#define ISTHMUS_NASFRONT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/state.pb-c.h"

#define STORE_VERSION 1
/* The largest record, and key: an owner's name. */
#define STORE_RECORD_MAX 8192
#define STORE_KEY_MAX	 1100

enum store_kind {
	STORE_SERVER = 'V',
	STORE_CLIENT = 'C',  /* id u64 */
	STORE_SESSION = 'S', /* its id */
	STORE_SLOT = 'R',    /* session id, number u32 */
	STORE_OWNER = 'O',   /* client id u64, name */
	STORE_OPEN = 'T',    /* index u32 */
	STORE_LOCK = 'L',    /* id u64 */
	STORE_SHARE = 'H',   /* id u64 */
	STORE_HOST = 'N',    /* name, zero, address */
	STORE_WAIT = 'W',    /* id u64 */
	STORE_PARTIAL = 'P', /* the keeper's own */
};

/* Bytes of records. */
struct store_room {
	uint64_t all;	/* that there may be */
	uint64_t left;	/* for what is new: a part of all is for what there is, which changes */
	uint64_t spare; /* not used */
};

/* What is told of a record that is there at the start; bytes: what it takes. */
typedef void store_fn(void *fn_arg, const Isthmus__StateRecord *r, uint64_t bytes);

/* Calls of whoever keeps the records; put() and drop() never wait, and say how many bytes more or
 * fewer are used. */
struct store {
	int64_t (*put)(void *arg, const void *key, size_t key_len, const void *value, size_t len);
	int64_t (*drop)(void *arg, const void *key, size_t key_len);
	struct store_room (*room)(void *arg);
	/* All put and dropped before is stable. Waits. */
	void (*sync)(void *arg);
	/* Calls fn for every record of a kind, as they were at the start; locks in the order of
	 * their first byte, all else in any. */
	void (*each)(void *arg, enum store_kind kind, store_fn *fn, void *fn_arg);
	void *arg;
};

/* A key under construction: its kind, then what follows. */
struct store_key {
	uint32_t len;
	uint8_t bytes[STORE_KEY_MAX];
};
void store_key_begin(struct store_key *k, enum store_kind kind);
void store_key_u32(struct store_key *k, uint32_t v);
void store_key_u64(struct store_key *k, uint64_t v);
void store_key_bytes(struct store_key *k, const void *p, size_t len);

/* Puts a record (its version is filled in). What it takes is added to *account, whose it is (may be
 * NULL). All do nothing where s is NULL. */
void store_put(const struct store *s, const struct store_key *k, Isthmus__StateRecord *r,
	       uint64_t *account);
void store_drop(const struct store *s, const struct store_key *k, uint64_t *account);
void store_sync(const struct store *s);
/*
 * Who has so many bytes of records gets no more. Nobody has more than what is left then: one who
 * takes all he can has half, a second a quarter, so there is always room for those who have little.
 */
bool store_denies(const struct store *s, uint64_t has);
/* The same of what can be done without, from half of the room on. */
bool store_denies_extra(const struct store *s, uint64_t has);
void store_each(const struct store *s, enum store_kind kind, store_fn *fn, void *arg);

#endif
