/* What pool.c and pool_space.c share. */
#ifndef ISTHMUS_BLOCKCORE_POOL_GROUPS_H
#define ISTHMUS_BLOCKCORE_POOL_GROUPS_H

#include <stdatomic.h>
#include "blockcore/pool/pool.h"
#include "runtime/bdev.h"
#include "runtime/check.h"

#define POOL_MAGIC 0x706f6f6c

struct pool {
	uint32_t magic;
	struct bdev io; /* what pool_bdev() gives */
	struct env *env;
	char name[64], level[16];
	uint8_t uuid[16];
	uint32_t chunk;
	uint64_t extent_size;
	unsigned width; /* disks of a group */
	_Atomic unsigned ngroups;
	struct raid *group[POOL_GROUPS_MAX];
	uint64_t first[POOL_GROUPS_MAX + 1];   /* extent of each; of what is behind the last */
	struct raid *dropped[POOL_GROUPS_MAX]; /* freed with the pool */
	unsigned ndropped;
	atomic_bool log_always;
	bool checksums;
	_Atomic uint64_t rate;
	_Atomic unsigned sync_at, fill_at; /* the group that is worked on */
	void (*lost)(void *arg, struct pool *p);
	void *arg;
};

void pool_space_init(struct pool *p);
/* After groups have come or gone. */
void pool_space_resize(struct pool *p);

#endif
