/* Volumes in memory and array metadata without disks, linked in place of the block core's. */
#ifndef ISTHMUS_TESTS_FAKE_VOLUME_H
#define ISTHMUS_TESTS_FAKE_VOLUME_H

#include <pthread.h>
#include <stdatomic.h>
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"

struct volume {
	uint32_t id;
	char name[32];
	uint8_t uuid[16];
	_Atomic uint64_t size;
	uint8_t *data;
	uint64_t capacity; /* bytes of data */
	_Atomic bool miss; /* the _try functions say -EAGAIN */
	bool battery;
	pthread_mutex_t lock; /* of data and stats: connections run on several threads */
	struct volume_stats stats;
	unsigned evicted; /* so many times commit_if says -EAGAIN */
	_Atomic int read_err, write_err, flush_err, copy_err, discard_err;
	unsigned copies;
	_Atomic unsigned flushes, fuas, copy_reads, discards, prefetches, commits, atomics;
	_Atomic int refs, pins, writes;	    /* what users hold */
	_Atomic int place;		    /* enum core_place */
	unsigned refusals, commit_refusals; /* so many times: not the owner, whatever place says */
	bool slow;			    /* discards take a millisecond */
	bool stuck;			    /* they take until this is over */
	bool far_hangs;			    /* the partner's writes end when the link goes down */
	unsigned far;			    /* calls of the partner's */
	struct core *core;
};

struct core_own_watch {
	void (*fn)(void *arg, struct volume *v);
	void *arg;
};

struct fake_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
};
#define WATCHES 4
struct meta {
	Isthmus__ArrayMeta *am;
	struct fake_watch watches[WATCHES];
	int update_err;
};

#define FAKE_REALTIME_NS 0x123456789ab00000ull
#define FAKE_VOLUMES	 8
struct core {
	struct volume volumes[FAKE_VOLUMES];
	unsigned nvolumes;
	struct meta *meta;
	struct env *env;
	uint64_t memory_id;
	struct core_own_watch own_watches[2];
	struct core *partner; /* shares metadata and the volumes' data */
	bool second, duplex;
	_Atomic bool partner_ended; /* its process */
	_Atomic bool partner_works; /* it beats */
	int give_err;
};

struct core *fake_core_new(void);
/* A second controller: the same metadata; volumes are the first one's. Freed before it. */
struct core *fake_core_join(struct core *first);
/* A volume is somewhere else from now on, as this core sees it; the partner sees the same. */
void fake_core_place(struct core *c, uint32_t volume_id, enum core_place place);
void fake_core_free(struct core *c);
/* Number i + 1, named "v<id>". */
struct volume *fake_volume_add(struct core *c, uint64_t size);

/* Changes the metadata as meta_update() does and runs the watches. */
Isthmus__ArrayMeta *fake_meta(struct core *c);
void fake_meta_changed(struct core *c);
Isthmus__Target *fake_target_add(struct core *c, const char *iqn, bool open);
Isthmus__Lun *fake_lun_add(Isthmus__Target *t, uint32_t lun, uint32_t volume_id,
			   const char *serial);
Isthmus__Initiator *fake_initiator_add(struct core *c, const char *target, const char *iqn);
void fake_map_add(Isthmus__Initiator *i, uint32_t lun, uint32_t target_lun, bool read_only);
void fake_lun_remove(Isthmus__Target *t, size_t i);

#endif
