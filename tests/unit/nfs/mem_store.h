/* Records in memory (nasfront/nfs/store.h): what was synced outlives a server, what was only put
 * does not. */
#ifndef ISTHMUS_TESTS_MEM_STORE_H
#define ISTHMUS_TESTS_MEM_STORE_H

#include "nasfront/nfs/store.h"

struct mem_record {
	struct mem_record *next;
	size_t key_len, len;
	uint8_t key[STORE_KEY_MAX], value[STORE_RECORD_MAX];
};

struct mem_store {
	struct store store;
	struct mem_record *now, *stable;
	_Atomic unsigned syncs, puts;
	_Atomic bool full;    /* nothing is left for what is new */
	_Atomic uint64_t all; /* bytes of records there may be; 0: many */
	_Atomic uint64_t used;
	_Atomic bool
	    sloppy;	   /* sync() forgets to make anything stable: as when a crash comes first */
	_Atomic bool hold; /* sync() waits while it is set */
	_Atomic unsigned held;
};

void mem_store_init(struct mem_store *m);
void mem_store_free(struct mem_store *m);
/* As after a crash: what was not synced is gone. */
void mem_store_crash(struct mem_store *m);
unsigned mem_store_count(const struct mem_store *m, enum store_kind kind);

#endif
