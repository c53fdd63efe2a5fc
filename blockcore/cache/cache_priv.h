/*
 * What the files of the cache share among themselves. See README.md for the
 * invariants; in short:
 *
 *  - A volume's page is known by (volume id, page number); its place is a bucket of the index,
 *    and every bucket belongs to one shard. All private state of a cached page is guarded by the
 *    lock of the shard it is indexed in, except `refs`.
 *  - In a bucket's chain a page of a volume has at most one current version (CLEAN or DIRTY) and
 *    at most one FILLING placeholder.
 *  - Only CLEAN current versions stand in an eviction queue.
 *  - At most one version of a page is being written to disk at a time.
 *
 * Lock order: background -> volume -> shard -> (dirty group pool | page pool | hazards).
 * No lock is held over a wait.
 */
#ifndef ISTHMUS_BLOCKCORE_CACHE_PRIV_H
#define ISTHMUS_BLOCKCORE_CACHE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/mirror/mirror_priv.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include "runtime/mem_huge.h"
#include "runtime/task.h"

#define CACHE_PRIV_MAGIC 0x63616368
#define CACHE_VOL_MAGIC	 0x63766f6c

#define CACHE_SHARDS_MAX  16
#define CACHE_PAGES_MIN	  64
#define CACHE_GROUP_PAGES (1u << CACHE_GROUP_BITS)
#define CACHE_RUN_PAGES	  256	       /* pages of one disk write, and of a read-ahead window */
#define CACHE_PAGE_LIMIT  (1ull << 51) /* page numbers are below it */
#define CACHE_LINE	  64

/* Flags of a page, under its shard's lock. */
enum {
	PG_INDEXED = 1,	  /* the current version */
	PG_DESTAGING = 2, /* being written to disk */
	PG_HELD = 4,	  /* an older version is being written to disk: not yet this one */
	PG_STALE = 8,	  /* FILLING: what is being read may be older than the disk */
	PG_FAILED = 16,	  /* the last write to disk failed: back off */
	PG_MARK = 32,	  /* reaching it starts the next read-ahead */
	PG_LEFT = 64,	  /* FILLING: a read of it was left behind, and may yet write to it */
};

enum page_queue { QUEUE_NONE, QUEUE_SMALL, QUEUE_MAIN, QUEUES };

/* Private side of a CBE. */
struct cache_page {
	_Atomic uint32_t refs; /* the index's one, readers', the destage's */
	uint32_t prev, next;   /* in the eviction queue */
	uint32_t hazard_scan;  /* last scan that found it named in a slot */
	uint64_t since;	       /* DIRTY: generation of the oldest write not on disk */
	uint64_t since_next;   /* PG_HELD: the same, once the older version is on disk */
	uint16_t writing;      /* PG_DESTAGING: sectors being written */
	uint16_t inherit;      /* PG_HELD: sectors equal to those being written */
	uint8_t flags;
	uint8_t freq;  /* uses since it entered its queue, at most 3 */
	uint8_t queue; /* enum page_queue */
	uint8_t home;  /* the queue it enters when CLEAN */
};

/* Up to CACHE_GROUP_PAGES neighbouring pages of a volume of which some are dirty. */
struct dirty_group {
	RB_ENTRY(dirty_group) link; /* shard: by volume, group */
	struct cache_vol *vol;
	uint64_t group;
	uint32_t bits;	 /* dirty pages of the group */
	uint64_t oldest; /* none of them is `since` before this */
};
RB_HEAD(dirty_tree, dirty_group);

struct page_list {
	uint32_t head, tail, count; /* head: newest */
};

struct ghost_entry {
	uint32_t fingerprint, seq;
};

struct cache_shard {
	pthread_mutex_t lock;
	struct page_list queue[QUEUES];
	struct ghost_entry *ghost; /* sets of 4 */
	uint32_t ghost_sets;	   /* power of two */
	uint32_t ghost_seq;
	struct dirty_tree dirty;
	struct waitq fills;    /* tasks waiting for a FILLING page */
	struct waitq destages; /* tasks waiting for the end of a disk write */
	uint64_t evicted;
	uint64_t copies, copied_bytes, cleared; /* to and in the partner's area */
} __attribute__((aligned(CACHE_LINE)));

/* Counters of one volume in one shard, under the shard's lock. */
struct cache_counters {
	uint64_t read_hits, read_misses, write_pages, readahead_pages, destaged_pages;
	uint64_t pad[3];
};

struct flush_waiter {
	TAILQ_ENTRY(flush_waiter) link;
	struct task *task;
	uint64_t want;
	bool done;
	int rc;
};

struct ra_stream {
	uint64_t next;	/* page that follows the last read */
	uint64_t ahead; /* end of what was read ahead */
	uint64_t used;
	uint32_t window;
};
#define RA_STREAMS    8
#define RA_WINDOW_MIN 32

struct cache_vol {
	uint32_t magic;
	uint32_t id;
	struct cache *c;
	TAILQ_ENTRY(cache_vol) link;
	struct bdev *backing; /* NULL: not attached. Changes under `lock`, with no users */

	pthread_mutex_t lock;
	unsigned users; /* background work on it */
	bool detaching;
	struct waitq idle;

	/* Ranges of commits under way whose copies go to another host (cache_claim.c). */
	pthread_mutex_t claim_lock;
	struct waitq claim_q;
	TAILQ_HEAD(, cache_claim) claims;

	_Atomic uint32_t atomics; /* commits of several pages at once: see cache_atomic.c */
	_Atomic uint32_t ndirty;
	_Atomic uint64_t nwrites, ndestages, nflushes;

	/* Flushes of the backing: number `started` may be running, `done` has ended. */
	bool flushing;
	uint64_t flush_started;
	TAILQ_HEAD(, flush_waiter) flush_waiters;
	_Atomic uint64_t written; /* counts disk writes that ended */
	uint64_t flushed;	  /* `written` when the last good flush started */

	_Atomic uint64_t retry_at; /* pages that failed are left alone until then */
	uint64_t backoff;
	_Atomic int failing; /* the error of the last disk write; 0: it was good */

	pthread_mutex_t ra_lock;
	struct ra_stream ra[RA_STREAMS];
	uint64_t ra_clock;

	struct cache_counters counters[];
};
TAILQ_HEAD(cache_vols, cache_vol);

enum page_class { TAKE_READ, TAKE_WRITE, TAKE_CLASSES, TAKE_DESTAGE };

struct page_waiter {
	TAILQ_ENTRY(page_waiter) link;
	struct task *task;
	uint32_t *pages;
	struct cache_write *write; /* TAKE_WRITE */
	unsigned n;
	bool granted;
};
TAILQ_HEAD(page_waiters, page_waiter);

/* Pages that belong to nobody. */
struct cache_pool {
	pthread_mutex_t lock;
	uint32_t *free; /* a stack */
	uint32_t nfree;
	uint32_t *limbo; /* out of the index, perhaps still named in a hazard slot */
	uint32_t nlimbo;
	uint32_t limbo_next; /* scan when so many wait */
	uint32_t scan;
	uint32_t *quarantine; /* found FILLING at adoption: a dead process's read may land there */
	uint32_t nquarantine;
	uint32_t reserve; /* last pages, for destage alone */
	struct page_waiters waiters[TAKE_CLASSES];
	_Atomic unsigned nwaiting;
	_Atomic uint32_t held[MIRROR_EPOCHS]; /* by writes that have begun */
};

struct cache_hazard {
	TAILQ_ENTRY(cache_hazard) link;
	const _Atomic uint32_t *slots;
	uint32_t nslots;
	_Atomic uint8_t *touched;
};
TAILQ_HEAD(cache_hazards, cache_hazard);

struct ra_request {
	struct cache_vol *vol;
	uint64_t page;
	uint32_t n;
	bool mark;
};
#define RA_QUEUE 64

/* A flush whose pages the destage tasks help to write. */
struct flush_help {
	TAILQ_ENTRY(flush_help) link;
	struct cache_vol *vol;
	uint64_t cursor, end; /* pages */
	uint64_t limit;
	uint64_t busy; /* first page met that others were writing; UINT64_MAX: none */
	unsigned running;
	int rc;
};

static inline bool cache_help_claimable(const struct flush_help *h)
{
	return !h->rc && h->cursor < h->end;
}

/* Background tasks and what they wait for. */
struct cache_background {
	pthread_mutex_t lock;
	bool started, stopping;
	unsigned tasks; /* alive */
	struct waitq ended;

	struct waitq destage_idle;
	_Atomic unsigned nidle;
	struct cache_vol *cursor_vol; /* NULL: before the first */
	uint64_t cursor_page;
	_Atomic uint64_t sweep; /* dirty pages this old go to disk */
	uint64_t sweep_before;	/* what `sweep` was before the last one */
	bool exhausted;		/* nothing was found to write since the last change */
	TAILQ_HEAD(, flush_help) helps;
	struct waitq help_done;

	struct waitq tick;
	_Atomic bool tick_idle;

	struct ra_request ra[RA_QUEUE];
	unsigned ra_first, ra_count;
	struct waitq ra_idle;
};

struct cache {
	uint32_t magic;
	struct env *env;
	bool battery;
	struct cache_super *super;
	struct cbe *cbe;
	struct cache_bucket *bucket;
	char *data;
	uint32_t npages; /* of the segment: own ones and mirror area */
	uint32_t nown;
	uint32_t nbuckets, page_size, page_shift;
	uint16_t full; /* mask of all sectors */
	uint64_t seed;

	struct cache_page *page;
	struct cache_shard *shard;
	uint32_t nshards;
	struct cache_pool pool;

	pthread_mutex_t atomic_lock; /* taken before the shards' */
	pthread_mutex_t group_lock;
	struct dirty_group *groups;
	uint32_t *group_free;
	uint32_t ngroup_free;

	pthread_mutex_t hazard_lock;
	struct cache_hazards hazards;
	_Atomic unsigned nhazards;

	pthread_mutex_t vols_lock;
	struct cache_vols vols;

	_Atomic uint32_t ndirty, norphans;
	/* Dirty pages from which sweeps come sooner, destage goes on without them, writers are
	 * slowed; and never more than budget. */
	_Atomic uint32_t low, urgent, high, budget;
	unsigned low_share, high_share; /* per cent */
	uint64_t sweep_ns;
	_Atomic uint64_t nthrottled;
	struct mirror mirror;

	struct cache_background bg;
};

/* Where a page of a volume is kept. */
struct cache_place {
	uint32_t bucket;
	struct cache_shard *shard;
};

static inline struct cache_place cache_place_of(struct cache *c, uint32_t vol, uint64_t page)
{
	uint32_t b = cache_bucket_of(c->seed, c->nbuckets, vol, page);
	return (struct cache_place){b, &c->shard[(b >> CACHE_GROUP_BITS) & (c->nshards - 1)]};
}

/* Goes from one shard's lock to another's; either may be NULL. */
static inline struct cache_shard *cache_shard_move(struct cache_shard *from, struct cache_shard *to)
{
	if (from == to)
		return to;
	if (from)
		pthread_mutex_unlock(&from->lock);
	if (to)
		pthread_mutex_lock(&to->lock);
	return to;
}

/* Dirty own pages: adopted ones take no room away. */
static inline uint32_t cache_own_dirty(struct cache *c)
{
	uint32_t dirty = atomic_load(&c->ndirty), adopted = atomic_load(&c->mirror.held);
	return dirty > adopted ? dirty - adopted : 0;
}

static inline struct cache_counters *cache_count(struct cache_vol *v, struct cache_shard *s)
{
	return &v->counters[s - v->c->shard];
}

static inline void *cache_data(struct cache *c, uint32_t pg)
{
	return c->data + ((size_t)pg << c->page_shift);
}

/* Fields that heads read without locks; here always under the shard's lock. */
#define CBE_GET(e, f)	 atomic_load_explicit(&(e)->f, memory_order_relaxed)
#define CBE_PUT(e, f, v) atomic_store_explicit(&(e)->f, (v), memory_order_release)

/* Sectors of page `page` that lie in [off, off + len). */
uint16_t cache_mask(const struct cache *c, uint64_t page, uint64_t off, uint64_t len);

static inline unsigned cache_page_count(const struct cache *c, uint64_t off, uint32_t len)
{
	return len ? (unsigned)(((off + len - 1) >> c->page_shift) - (off >> c->page_shift)) + 1
		   : 0;
}

/* A full fence. ThreadSanitizer knows none: an exchange is one on the machine. */
static inline void cache_fence(void)
{
#ifdef __SANITIZE_THREAD__
	_Atomic int word = 0;
	atomic_exchange(&word, 1);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* cache_adopt.c */
int cache_segment_open(struct cache *c, const struct cache_opts *o);
int cache_adopt(struct cache *c, bool heads, uint32_t *ret_adopted);
/* Magic, version, checksum, layout and split of a segment of `size` bytes. */
int cache_super_check(const struct cache_super *s, uint64_t size);
bool cache_cbe_possible(const struct cache *c, struct cbe *e);

/* cache_index.c: the caller holds the shard's lock. */
struct cache_found {
	uint32_t cur, fill; /* CACHE_NO_PAGE: none */
};
struct cache_found cache_index_find(struct cache *c, uint32_t bucket, uint32_t vol, uint64_t page);
void cache_index_insert(struct cache *c, uint32_t bucket, uint32_t pg);
void cache_index_remove(struct cache *c, uint32_t bucket, uint32_t pg);
/* `pg` takes the place of `old` in the chain. */
void cache_index_replace(struct cache *c, uint32_t bucket, uint32_t old, uint32_t pg);
/* All fields but the state: not true yet. */
void cache_cbe_write(struct cache *c, uint32_t pg, uint32_t vol, uint64_t page, uint64_t gen,
		     uint16_t valid, uint16_t dirty);
/* Makes a version true. */
void cache_cbe_publish(struct cache *c, uint32_t pg, enum cbe_state state);
uint64_t cache_generation(struct cache *c);

/* cache_page.c */
int cache_pool_init(struct cache *c);
void cache_pool_fini(struct cache *c);
/* All n or none. Never waits: -EAGAIN. May evict: no shard's lock may be held. */
int cache_pages_try_take(struct cache *c, unsigned n, enum page_class cls, uint32_t *pages);
/* The same for a write, with as many pages of the partner's mirror area if it is there. */
int cache_pages_try_take_write(struct cache *c, unsigned n, struct cache_write *w);
/* Waits; the caller may hold no page. The error of a volume that cannot be written, when it
 * has its share of dirty pages already (TAKE_WRITE) or no page came for long. */
int cache_pages_take(struct cache_vol *v, unsigned n, enum page_class cls, uint32_t *pages);
int cache_pages_take_write(struct cache_vol *v, unsigned n, struct cache_write *w);
/* What a write had taken and did not publish. */
void cache_write_give(struct cache *c, struct cache_write *w);
void cache_limits_set(struct cache *c);
/* Gives back pages that were never published. */
void cache_pages_give(struct cache *c, unsigned n, const uint32_t *pages);
/* Something became evictable: tells those who wait for pages. */
void cache_pool_nudge(struct cache *c);
void cache_pool_rescan(struct cache *c);
/* Free pages that these slots name are not free: an earlier process let go of them while a reader,
 * who lives on, held them. Of the mirror area too, while `lent`. The pool's and the hazards' locks
 * are held. */
void cache_pool_heed(struct cache *c, const struct cache_hazard *h);
/* One adopted page less is in use; with the last of them the area is open to the partner again. The
 * pool's lock is held. */
void cache_area_put(struct cache *c);

/* Pages that left the index and have no more references, and pages of the partner's area that hold
 * no copy any more: given back once the shard's lock is no longer held. Only the counts are set at
 * start: clearing the arrays would cost more than a hit. */
struct page_batch {
	unsigned n, nmirror;
	uint32_t epoch; /* that the numbers in `mirror` belong to */
	uint32_t pages[CACHE_IO_PAGES];
	uint32_t mirror[CACHE_IO_PAGES];
};
static inline void page_batch_init(struct page_batch *b)
{
	b->n = b->nmirror = 0;
}
void cache_batch_retire(struct cache *c, struct page_batch *b);
static inline void page_batch_flush(struct cache *c, struct page_batch *b)
{
	if (b->n || b->nmirror)
		cache_batch_retire(c, b);
}
/* The copy of a page, if it has one, is not needed any more: clears it, unmirrors the page and puts
 * the number into the batch. The shard's lock is held. */
void cache_page_unmirror(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b);
/* The index no longer names it: frees the CBE and drops the index's reference. */
void cache_page_detach(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b);
/* `pg` follows `old` as the page's version; `mask`: sectors written anew. */
void cache_page_succeed(struct cache *c, uint32_t pg, uint32_t old, uint16_t mask, uint64_t gen);

void cache_copy_sectors(struct cache *c, uint32_t to, uint32_t from, uint16_t mask);

/* cache_evict.c */
/* Takes a clean page out. The shard's lock is held. */
void cache_evict_page(struct cache *c, struct cache_shard *s, uint32_t pg, struct page_batch *b);
int cache_evict_init(struct cache *c);
void cache_evict_fini(struct cache *c);
void cache_queue_insert(struct cache *c, struct cache_shard *s, uint32_t pg);
void cache_queue_remove(struct cache *c, struct cache_shard *s, uint32_t pg);
/* The queue a page new to the cache belongs in. */
enum page_queue cache_queue_choose(struct cache *c, struct cache_shard *s, uint32_t vol,
				   uint64_t page);
/* Returns how many pages were retired. */
unsigned cache_evict(struct cache *c, unsigned want);

/* cache_dirty.c: the caller holds the shard's lock. */
int cache_dirty_init(struct cache *c);
void cache_dirty_fini(struct cache *c);
void cache_dirty_add(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page,
		     uint64_t since);
void cache_dirty_del(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page);
struct dirty_group *cache_dirty_find(struct cache_shard *s, struct cache_vol *v, uint64_t group);
/* The first dirty group at or after (id, group) of all shards; takes their locks itself. */
bool cache_dirty_next(struct cache *c, uint32_t id, uint64_t group, struct cache_vol **ret_vol,
		      uint64_t *ret_group);
/* Sectors of `mask` are on disk now. */
void cache_dirty_settle(struct cache *c, struct cache_shard *s, struct cache_vol *v, uint64_t page,
			uint32_t pg, uint16_t mask, struct page_batch *b);

/* cache_fill.c */
struct cache_fill {
	struct cache_vol *v;
	uint64_t first;			/* page number of pages[0] */
	uint32_t n;			/* pages of the range */
	uint32_t pages[CACHE_IO_PAGES]; /* our placeholders; CACHE_NO_PAGE: none */
	bool mark;			/* read-ahead: the first page gets PG_MARK */
};
/* Reads our placeholders from disk and publishes them. ret_pins: if not NULL, ret_pins[i] becomes
 * the pinned current version of each page that was ours. The first error. */
int cache_fill_run(struct cache_fill *f, uint32_t *ret_pins);
/* Makes `pg` the placeholder of a page. The shard's lock is held. */
void cache_fill_start(struct cache *c, struct cache_place p, struct cache_vol *v, uint64_t page,
		      uint32_t pg);
/* Reads whatever of [first, first + n) is not wholly valid; waits for pages only as `cls`
 * TAKE_DESTAGE does (reserve). -EAGAIN when pages are short. */
int cache_fill_range(struct cache_vol *v, uint64_t first, uint32_t n, bool mark,
		     enum page_class cls);

/* Waits until nobody is reading the page. */
void cache_fill_wait(struct cache_vol *v, uint64_t page);

/* cache_readahead.c */
void cache_ra_note(struct cache_vol *v, uint64_t first, uint32_t n);
bool cache_ra_push(struct cache_vol *v, uint64_t page, uint32_t n, bool mark);
void cache_ra_purge(struct cache_vol *v);
void cache_ra_task(void *arg);

/* cache_destage.c */
/* A run of neighbouring dirty pages, claimed: PG_DESTAGING, and a reference each. */
struct cache_run {
	struct cache_vol *v;
	uint64_t first;
	uint32_t n;
	uint32_t pages[CACHE_IO_PAGES]; /* CACHE_NO_PAGE: a gap */
	uint64_t busy;	  /* first page met that others are writing; UINT64_MAX: none */
	uint64_t partial; /* first page met that must be read before it is written */
	uint32_t stripe;  /* pages of the backing's stripe; 0: none that a run could fill */
	uint32_t max;	  /* pages: so that the run ends with a stripe */
};
/*
 * Claims the first run of dirty pages in [*cursor, end) not newer than `limit`, and moves the
 * cursor past it. eager: also pages whose last write failed. run->n is 0 when there is none.
 * Where the backing has stripes, a run ends with one, takes what of its last one is newer too, and
 * leaves parts of stripes with data newer than `hold` to a later run: the rest is perhaps coming.
 */
void cache_run_claim(struct cache_vol *v, uint64_t *cursor, uint64_t end, uint64_t limit,
		     uint64_t hold, bool eager, struct cache_run *run);
/* Waits. Writes a claimed run and lets go of it. 0 or the first error. */
int cache_run_write(struct cache_run *run);
/* The same by the backing's discard, for pages of zeros; -EOPNOTSUPP and others: still claimed. */
int cache_run_discard(struct cache_run *run);
bool cache_vol_hold(struct cache_vol *v);
void cache_vol_unhold(struct cache_vol *v);

/* cache_background.c */
void cache_background_init(struct cache *c);
void cache_background_stop(struct cache *c);
/* A background task ends. The background lock is held, and let go of. */
void cache_task_ended(struct cache_background *bg);
/* There are dirty pages to write. */
void cache_kick(struct cache *c);
/* All that is dirty now goes to disk. */
void cache_sweep(struct cache *c);

/* cache_flush.c */
/* Waits. Writes a run, or reads the page that stands in its way. */
int cache_run_finish(struct cache_run *run);
/* Background lock held, let go of for the I/O. False: nothing to claim. */
bool cache_help_step(struct cache *c, struct flush_help *h);
/* Waits. All of the pages [first, end) that is dirty and not newer than `limit` goes to disk. */
int cache_destage_range(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit);
/* Waits. Flushes the backing, sharing the flush with others. */
int cache_flush_backing(struct cache_vol *v);

/* cache_vol.c */
struct cache_vol *cache_vol_find_or_make(struct cache *c, uint32_t id);
void cache_vol_free(struct cache_vol *v);
/* Checks a range: sectors, within the volume. */
int cache_vol_check_range(struct cache_vol *v, uint64_t off, uint64_t len);
/* The same for one request, which also has to fit the cache. */
int cache_vol_check(struct cache_vol *v, uint64_t off, uint64_t len);
/* It may grow at any time. */
static inline uint64_t cache_vol_size(const struct cache_vol *v)
{
	return __atomic_load_n(&v->backing->size, __ATOMIC_ACQUIRE);
}
static inline uint64_t cache_vol_pages(const struct cache_vol *v)
{
	return (cache_vol_size(v) + v->c->page_size - 1) >> v->c->page_shift;
}

/* cache_write.c: the shard's lock is held. */
/* Writes the new version of a page down, not yet true, with the other sectors of the version it
 * follows (returned; CACHE_NO_PAGE: none). */
uint32_t cache_page_make(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
			 uint16_t mask);
/* It is true, and takes the old one's place. */
void cache_page_enter(struct cache_vol *v, struct cache_place p, uint64_t page, uint32_t pg,
		      uint32_t old, uint16_t mask, struct page_batch *retire);
/* What follows a commit, with no lock held. */
void cache_committed(struct cache_vol *v, struct cache_write *w, struct page_batch *retire);

/* Puts page i, just committed, into a run if it can be written at once. */
bool cache_run_add(struct cache_vol *v, struct cache_run *run, unsigned i, uint32_t pg);

/* cache_claim.c: the same commits, which wait for their copies. */
struct cache_commit_result cache_commit_claimed(struct cache_vol *v, struct cache_write *w,
						struct cache_run *run);
int cache_commit_if_claimed(struct cache_vol *v, struct cache_write *w, const void *expect,
			    uint32_t *ret_at, bool *ret_bare);

/* cache_atomic.c */
void cache_shards_lock(struct cache *c, uint32_t which, bool lock);
uint32_t cache_shards_of(struct cache_vol *v, uint64_t first, unsigned n);
/* Is expect what is there? -EAGAIN when not all of it is here. */
int cache_compare(struct cache_vol *v, const struct cache_write *w, const void *expect,
		  uint32_t *ret_at);
/* STAGED pages become true and enter the index. */
void cache_staged_enter(struct cache_vol *v, const struct cache_write *w, const uint32_t *old,
			struct page_batch *retire);
/* What a process killed in the middle of a commit of several pages left in n
 * elements. */
void cache_staged_settle(struct cbe *cbe, uint32_t n, _Atomic uint32_t *staged_true);

/* cache_write.c */
/* Makes the pages visible, after their copies. run: if not NULL, claims those that can be written
 * at once. */
struct cache_commit_result {
	unsigned unclaimed; /* pages that could not be claimed */
	unsigned bare;	    /* pages that have no copy */
};
struct cache_commit_result cache_commit(struct cache_vol *v, struct cache_write *w,
					struct cache_run *run);
/* Waits; -EAGAIN outside a task. A write that has no copy, of a controller that may acknowledge
 * none before it is on the disks, goes there. */
int cache_write_through(struct cache_vol *v, const struct cache_write *w);
/* Waits. Everything of [first, end) not newer than `limit` is on the disks for good. */
int cache_stabilize(struct cache_vol *v, uint64_t first, uint64_t end, uint64_t limit);

/* cache.c */
/* `lock` held: enters q, lets go of the lock, parks once (at most `ns`; 0: for ever), takes it
 * again, leaves q. Wakes may be spurious. */
void cache_wait(struct cache *c, pthread_mutex_t *lock, struct waitq *q, uint64_t ns);

#endif
