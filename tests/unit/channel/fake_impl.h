/* The parts of the block core for channel tests, for each other (fake_core.h is for tests). */
#ifndef ISTHMUS_TESTS_FAKE_IMPL_H
#define ISTHMUS_TESTS_FAKE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "tests/unit/channel/fake_core.h"

#define CACHE_BYTES (6 * 1024 * 1024)
#define HEADS_MAX   16

/* A volume's ownership: one word, changed as a whole. */
#define WORD(epoch, side) ((uint64_t)(epoch) << 8 | (side))
#define WORD_EPOCH(w)	  ((w) >> 8)
#define WORD_SIDE(w)	  ((unsigned)((w)&0xff))

enum order { ORDER_NONE, ORDER_MOVE, ORDER_BACK_OUT, ORDER_TAKE_OVER, ORDER_TAKE_OVER_LOSE };

struct fake_control {
	_Atomic uint64_t owner[FAKE_VOLUMES];
	_Atomic uint64_t memory[FAKE_VOLUMES];
	_Atomic uint64_t taken[FAKE_VOLUMES]; /* the word that its owner serves it under */
	_Atomic int pools;
	/* Metadata: held by whoever changes it; heads and the sequence are shared. */
	_Atomic int meta_lock;
	_Atomic uint64_t seq, seen[FAKE_SIDES];
	_Atomic int lives[FAKE_SIDES];
	_Atomic int stale[FAKE_SIDES]; /* what the cache segment has belongs to the other now */
	struct fake_record {
		char head[32];
		uint64_t instance, epoch;
	} heads[HEADS_MAX];
	unsigned nheads;
	/* One order at a time, to a side. */
	_Atomic int order[FAKE_SIDES];
	uint32_t order_volume;
};

struct mem_dev {
	struct bdev b;
	uint8_t *bytes;
	_Atomic int *stuck;
	_Atomic unsigned calls;
	pthread_mutex_t lock; /* a disk may be asked for what is being written: each its turn */
};

struct volume {
	struct mem_dev dev;
	struct cache_vol *cv;
	uint32_t id;
	char name[16];
	uint8_t uuid[16];
	_Atomic int refs, uses, place;
	_Atomic uint64_t owner_epoch;
	_Atomic uint64_t unheard; /* bytes it has grown by, which this side has not heard of */
};

struct meta_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
};

struct meta {
	Isthmus__ArrayMeta *am;
	struct meta_watch watch;
	struct fake_control *control;
	unsigned side;
};

struct core_own_watch {
	void (*fn)(void *arg, struct volume *v);
	void *arg;
};

struct core {
	struct cache *cache;
	struct meta meta;
	struct volume volumes[FAKE_VOLUMES];
	struct core_own_watch own_watch;
	void *segment;
	_Atomic uint64_t backups;
};

struct fake_server {
	struct fake_world *w;
	unsigned side;
	bool closing, polling;
	struct reactor *home, *other;
	struct core core;
	struct channel_server *cs;
	_Atomic bool ready;
	int ready_fd;
};

/* Of the server whose reactor's thread this is, when fake_server_call() calls. */
extern _Thread_local struct core *fake_called;

/* fake_meta.c */
void fake_meta_lock(struct fake_control *k);
/* What others changed; the lock is held. */
void fake_meta_follow(struct meta *m);
/* What the array has at first. */
Isthmus__ArrayMeta *fake_meta_make(void);

/* fake_own.c */
/* A use of a volume by its owner: 0, or why not; and its end, which passes rc on. */
int fake_enter(struct volume *v);
int fake_leave(struct volume *v, int rc);
/* A task: orders, and what the other side changes. */
void fake_poll(void *arg);

#endif
