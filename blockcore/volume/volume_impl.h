/*
 * What the files of blockcore/volume share with the core that makes volumes.
 * Users include volume.h only.
 */
#ifndef ISTHMUS_BLOCKCORE_VOLUME_IMPL_H
#define ISTHMUS_BLOCKCORE_VOLUME_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <bsd/sys/tree.h>
#include "blockcore/pool/pool.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "runtime/task.h"

#define VOLUME_MAGIC	    0x766f6c75
#define VOLUME_SHARDS	    8
#define VOLUME_BACKUP_CHUNK (64 * 1024u) /* what backups track and copy */

struct cache;
struct env;

/* Counters of the threads whose number falls on this shard: no line is shared on the hot path. */
struct volume_shard {
	_Atomic int64_t uses;	 /* calls and pinned reads under way */
	_Atomic int64_t writing; /* begun writes, not yet committed or aborted; discards */
	_Atomic uint64_t reads, writes, read_bytes, write_bytes, flushes, errors;
} __attribute__((aligned(64)));

/* A run of extents: logical ones [logical, logical + count) lie at [first, first + count). */
struct volume_run {
	uint64_t logical, first, count;
};

/* Never changed; a volume that grows gets a new one, and the old ones live as long as it does. */
struct volume_map {
	struct volume_map *prev;
	size_t n;
	struct volume_run runs[];
};

/* See volume_backup.c. */
struct volume_backup {
	pthread_mutex_t lock;
	struct waitq q;
	atomic_bool gate;     /* writes do not begin: an instant is being taken */
	atomic_bool active;   /* chunks of `todo` are saved before they are written */
	atomic_bool tracking; /* `changed` is there */
	unsigned ordered;     /* backups that are about to be made, or are; on the core's reactor */
	uint64_t nchunks;
	_Atomic uint64_t *changed; /* bitmaps: since the last instant */
	/* Under `lock`: */
	bool running;
	bool known; /* `changed` and `crc` are about the backup in `to_id` */
	uint32_t to_id;
	uint64_t *todo, *busy;
	unsigned savers;
	int err;
	uint64_t copied, done, total; /* bytes */
	uint32_t *crc;		      /* of each chunk of the backup */
	struct volume *to;
	const struct volume_far *far; /* NULL: `to` is here */
	bool compare;
};

struct volume {
	uint32_t magic;
	uint32_t id;
	char name[64];
	uint8_t uuid[16];
	atomic_uint refs;
	_Atomic uint64_t size, epoch;
	atomic_bool shutdown;
	_Atomic int place; /* enum core_place: calls are refused unless CORE_HERE */
	_Atomic uint64_t owner_epoch;
	struct env *env;
	struct bdev io; /* the plain volume under the cache */
	struct pool *pool;
	_Atomic(struct volume_map *) map;
	struct cache_vol *cv; /* NULL: the pool is offline, or not here */
	bool battery;
	struct volume_shard shard[VOLUME_SHARDS];
	struct volume_backup backup;
	RB_ENTRY(volume) by_id;
};

struct volume_opts {
	struct env *env;
	struct cache *cache;
	struct pool
	    *pool; /* NULL or offline: every call gives -EIO, dirty pages wait in the cache */
	bool battery;
	uint32_t id;
	const char *name;
	const uint8_t *uuid;
	uint64_t size, epoch;
	const struct extent_run *runs;
	size_t nruns;
	int place; /* enum core_place; other than CORE_HERE: without a medium, pool says nothing */
	uint64_t owner_epoch;
};

/* With one reference; attached to the cache. */
int volume_new(struct volume **ret, const struct volume_opts *o);
void volume_ref(struct volume *v);
void volume_put(struct volume *v); /* frees with the last one; by then detached */

/* New calls are refused with -ERR_SHUTDOWN; waits until those under way have ended. */
void volume_shut(struct volume *v);
void volume_reopen(struct volume *v); /* takes volume_shut() back */
/* New calls are refused with -ERR_NOT_OWNER from here on; those under way go on. */
void volume_set_place(struct volume *v, int place);
/* Waits until no call is under way. After volume_set_place() or volume_shut(). */
void volume_quiesce(struct volume *v);
/* Waits. A volume without a medium gets one, and is here from then on; pool as in volume_opts. */
int volume_take(struct volume *v, struct cache *cache, struct pool *pool, uint64_t owner_epoch);
/* Waits. After volume_quiesce() or volume_shut(). */
int volume_detach(struct volume *v, bool drop);
/* After the cache is gone. */
void volume_forget_cache(struct volume *v);
/* The same runs and more behind them. */
int volume_grow(struct volume *v, uint64_t size, uint64_t epoch, const struct extent_run *runs,
		size_t nruns);
struct pool *volume_pool(const struct volume *v);
void volume_cache_stats(struct volume *v, struct cache_stats *ret);

/* volume_io.c: the bdev under the cache. */
void volume_io_init(struct volume *v);
void volume_io_set_size(struct volume *v); /* from the map, while in use */
struct volume_map *volume_map_new(const struct extent_run *runs, size_t nruns);

/* volume_backup.c */
void volume_backup_init(struct volume *v);
void volume_backup_fini(struct volume *v);
/* Whether a write of the range could begin without waiting. */
bool volume_backup_clear(struct volume *v, uint64_t off, uint64_t len);
/* Waits. Saves what of the range a running backup still has to copy. */
void volume_backup_save(struct volume *v, uint64_t off, uint64_t len);
/* Waits while an instant is being taken. */
void volume_backup_gate_wait(struct volume *v);
void volume_backup_mark(struct volume *v, uint64_t off, uint64_t len);
int64_t volume_writing(struct volume *v);

struct volume_backup_result {
	uint64_t bytes_copied, bytes_total;
	uint32_t crc;
};
/* A backup that is not here: how it is reached. All wait. */
struct volume_far {
	int (*read)(void *arg, uint64_t off, void *buf, uint32_t len);
	int (*write)(void *arg, uint64_t off, const void *buf, uint32_t len);
	int (*flush)(void *arg);
	void *arg;
};
/* Waits. far: NULL, `to` is here. -EBUSY: one is running; -EINVAL: the sizes differ; -ETIMEDOUT: a
 * write never ended. */
int volume_backup_run(struct volume *from, struct volume *to, const struct volume_far *far,
		      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		      struct volume_backup_result *ret);
/* Waits until none is under way; one that is ends with -ECANCELED. What the backup holds is not
 * known any more: the next one compares all. */
void volume_backup_cancel(struct volume *v);
bool volume_backup_progress(struct volume *v, uint64_t *ret_done, uint64_t *ret_total);
/* Waits. CRC32C of all of a volume, and whether every redundancy copy on the disks agrees with
 * what is read (-ERR_CORRUPT, event). */
int volume_checksum(struct volume *v, uint32_t *ret);

#endif
