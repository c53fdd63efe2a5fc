/*
 * Opening and closing of array metadata, for the core that owns the disks
 * (users of the metadata include meta.h). Every function on the owning reactor.
 */
#ifndef ISTHMUS_BLOCKCORE_META_STORE_H
#define ISTHMUS_BLOCKCORE_META_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_check.h"

struct disk;
struct env;
struct meta_share_ops;

struct meta_opts {
	struct env *env;
	const uint8_t *array_uuid; /* 16 bytes */
	const char *array_name;	   /* of a new array */
	struct disk **disks;	   /* ONLINE, labelled with the array's uuid */
	unsigned ndisks;
	/* A disk did not take a change that others took. May be NULL. */
	void (*write_failed)(void *arg, struct disk *d, int err);
	void *arg;

	const struct meta_share_ops *share; /* meta_share.h; NULL: without a partner */
	void *share_arg;
	/* A state that was not made here is about to be current, and is current. Both may wait, and
	 * must not change the metadata. May be NULL. */
	void (*foreign)(void *arg, const Isthmus__ArrayMeta *next);
	void (*foreign_done)(void *arg);
};

/*
 * Waits. Finds the state with the highest sequence that holds on any disk; where there is none
 * at all, makes an empty one (seq 0, written nowhere yet). Damaged slots are told by path and
 * offset (event). -ERR_CORRUPT: there was metadata and none of it holds, or what holds makes no
 * sense; -ERR_VERSION. why: META_WHY_LEN bytes.
 */
int meta_open(struct meta **ret, const struct meta_opts *o, char *why);
void meta_close(struct meta *m);
/* Waits. Writes the current state to disks that lack it or have it in one slot only. */
int meta_sync(struct meta *m);

/* Waits. Reads every slot that should hold something; what does not hold is told and rewritten
 * with the current state (events). */
void meta_check_slots(struct meta *m);

/* Waits. The disk takes part in changes from now on; at the next one it gets both its slots. */
int meta_disk_add(struct meta *m, struct disk *d);
void meta_disk_remove(struct meta *m, struct disk *d);
bool meta_disk_has(const struct meta *m, const struct disk *d);

/* Bytes -> message, checked. 0, -ERR_CORRUPT, -ERR_VERSION, -ENOMEM; why names the field. */
int meta_decode(const uint8_t *p, size_t len, Isthmus__ArrayMeta **ret, char *why);

#endif
