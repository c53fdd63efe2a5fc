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

/* Calls of whoever keeps the records; put() and drop() never wait. */
struct store {
	void (*put)(void *arg, const void *key, size_t key_len, const void *value, size_t len);
	void (*drop)(void *arg, const void *key, size_t key_len);
	/* What would need records more is to be refused: the room left is for those that change. */
	bool (*full)(void *arg);
	/* All put and dropped before is stable. Waits. */
	void (*sync)(void *arg);
	/* Calls fn for every record of a kind, as they were at the start. */
	void (*each)(void *arg, enum store_kind kind,
		     void (*fn)(void *fn_arg, const Isthmus__StateRecord *r), void *fn_arg);
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

/* Puts a record (its version is filled in); all do nothing where s is NULL. */
void store_put(const struct store *s, const struct store_key *k, Isthmus__StateRecord *r);
void store_drop(const struct store *s, const struct store_key *k);
void store_sync(const struct store *s);
bool store_full(const struct store *s);
void store_each(const struct store *s, enum store_kind kind,
		void (*fn)(void *arg, const Isthmus__StateRecord *r), void *arg);

#endif
