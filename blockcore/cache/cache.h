/*
 * The block core's cache: pages of volumes in a shared segment, read and
 * written by tasks of any reactor. See blockcore/cache/README.md.
 *
 * Offsets and lengths are bytes, multiples of 512 (CACHE_SECTOR).
 */
#ifndef ISTHMUS_BLOCKCORE_CACHE_H
#define ISTHMUS_BLOCKCORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bdev;
struct cache;
struct cache_vol;
struct env;

#define CACHE_IO_MAX   (1024 * 1024) /* bytes of one read or write */
#define CACHE_IO_PAGES (CACHE_IO_MAX / 4096 + 1)

struct cache_opts {
	struct env *env;
	void *segment;	     /* mapped read-write; adopted when valid, formatted otherwise */
	size_t segment_size; /* at least 64 pages; no request may need more than half of them */
	uint32_t page_size;  /* 4096 */
	uint8_t array_uuid[16];
	const char *controller;
	bool battery;	     /* memory: battery (architecture 5.1); false: volatile */
	unsigned dirty_low;  /* per cent of pages: sweeps come sooner above it (default 25) */
	unsigned dirty_high; /* writers are slowed above it (default 60) */
	uint64_t sweep_ns;   /* from one sweep to the next while little is dirty (default 1 s) */
	/* A partner is configured: pages of its cache in all, which give the size of the mirror
	 * area here; 0: no partner, no area. */
	uint32_t partner_pages;
	unsigned mirror_share; /* per cent of the partner's pages (default MIRROR_SHARE) */
	bool partner_remote;   /* it is on another host: every commit may wait */
	bool heads; /* slots of readers that outlived the process before are going to be entered:
		     * cache_hazards_entered() says when all are */
	bool lone_write_through; /* while the partner is away, writes are acknowledged when they
				  * are on the disks */
};

/* Pages, own and mirror area, of a cache segment of so many bytes; 0: it is too small. */
uint32_t cache_segment_pages(uint64_t size, uint32_t page_size);

/*
 * Adopts a valid segment of the same array, controller and geometry (all CLEAN and DIRTY own pages
 * live on; FILLING ones stay out of use until cache_quarantine_end()) or formats it. ret_adopted:
 * pages adopted. What the partner left in the mirror area stays as it is (cache_mirror_adopt). With
 * a partner configured the state is MIRROR_LONE (blockcore/mirror/mirror.h): the caller has
 * recorded that before a volume is attached.
 */
int cache_open(struct cache **ret, const struct cache_opts *opts, uint32_t *ret_adopted);
/* Waits. Ends the background tasks: no read is under way then but those that callers wait for. */
void cache_stop(struct cache *c);
/* Waits. Destages everything (unless abandon), then frees private memory. The segment stays. */
int cache_close(struct cache *c, bool abandon);

/* See cache_layout.h, memory_id. */
uint64_t cache_memory_id(const struct cache *c);

/*
 * Starts the destage tasks on the calling reactor (call once, when volumes are attached).
 * A dirty page of a volume that is not attached stays, counted as an orphan.
 */
int cache_start(struct cache *c);

/*
 * A volume whose pages the cache keeps. backing: where misses are read and dirty pages destaged;
 * its calls run on whichever reactor misses or destages. id: non-zero, as in the CBEs.
 */
int cache_vol_attach(struct cache *c, uint32_t id, struct bdev *backing, struct cache_vol **ret);
/* Waits. Flushes (0 or the error that kept pages dirty: they stay as orphans); drop: discards its
 * pages instead. In any case the volume is detached, and its clean pages are gone. */
int cache_vol_detach(struct cache_vol *v, bool drop);

/*
 * Reads of the cache's that are left behind (struct disk_lender). The memory that they go to,
 * [from, to); a read into these pieces was left, and came back. Neither waits. Left: called before
 * the read returns; the cache reads again, into other pages.
 */
void cache_memory(const struct cache *c, const void **ret_from, const void **ret_to);
void cache_read_left(struct cache *c, const struct iovec *iov, int iovcnt);
void cache_read_back(struct cache *c, const struct iovec *iov, int iovcnt);
/* Pages to which reads of the process that died may yet write; all of them are back. */
uint32_t cache_quarantined(struct cache *c);
void cache_quarantine_end(struct cache *c);

/* A read in place: pages pinned until cache_read_done(). Embed or pool it; no init needed. */
struct cache_read {
	struct iovec iov[CACHE_IO_PAGES];
	uint32_t pages[CACHE_IO_PAGES];
	int n;
};
/* Never waits: -EAGAIN unless every sector is valid in the cache. */
int cache_read_try(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_read *r);
/* Waits for misses. 0, or the backing's error. Feeds sequential read-ahead. */
int cache_read(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_read *r);
void cache_read_done(struct cache_vol *v, struct cache_read *r);

/*
 * A request for this place comes soon: fetches what finding its page touches into the processor's
 * cache. Two steps, a few requests apart, since the second (for a read or a write) follows what the
 * first fetched. Never waits, takes no lock, checks nothing: any place will do.
 */
enum cache_hint { CACHE_HINT_FAR, CACHE_HINT_READ, CACHE_HINT_WRITE };
void cache_hint(struct cache_vol *v, uint64_t off, enum cache_hint step);

/* A write: new pages to be filled by the caller through iov, invisible until commit. */
struct cache_write {
	struct iovec iov[CACHE_IO_PAGES];
	uint32_t pages[CACHE_IO_PAGES];
	uint32_t mirror[CACHE_IO_PAGES]; /* pages of the partner's mirror area */
	int n;
	uint32_t epoch;	 /* of mirroring, when it began (mirror_priv.h) */
	uint32_t copied; /* pages done: data of whole ones is in the mirror already */
	uint32_t part;	 /* bytes of the page after them that are there too */
	uint64_t off;
	uint32_t len;
};
/* Never waits: -EAGAIN when pages (here or in the partner's mirror area) are short, writers are
 * being slowed, or the commit would have to wait. */
int cache_write_try_begin(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_write *w);
/* Waits for pages. The backing's error when it takes no data and a quarter of the cache is dirty
 * with what it did not take. */
int cache_write_begin(struct cache_vol *v, uint64_t off, uint32_t len, struct cache_write *w);
/*
 * Never waits; optional. Copies n bytes that were received to w->iov[i], from byte `off` of it on,
 * and at once to the partner's memory where it is mapped: while they are in the processor's cache.
 */
void cache_write_copy(struct cache_vol *v, struct cache_write *w, unsigned i, size_t off,
		      const void *from, size_t n);
/* Never waits; optional. The first `bytes` of the write are in w->iov: copies whole pages of them
 * to the partner while the rest comes. */
void cache_write_received(struct cache_vol *v, struct cache_write *w, uint32_t bytes);
/*
 * Makes the data visible and dirty, after it was copied to the partner: when it returns, the write
 * may be acknowledged. With fua it returns when stable as the memory policy promises (0 or error:
 * then the data is in the cache but not stable). Waits with fua, when the copy goes to another host
 * and while a lone controller writes through; outside a task it never waits: -EAGAIN then, to be
 * called again from one.
 */
int cache_write_commit(struct cache_vol *v, struct cache_write *w, bool fua);
/*
 * All pages at once: no reader sees a part of it, and a process that is killed leaves all or
 * nothing in the segment. expect (w->len bytes, or NULL): only if that is what the range holds;
 * else -ERR_MISCOMPARE with the offset of the first byte that differs, or -EAGAIN when not all of
 * it is in the cache: cache_read() it first. On an error nothing has changed and w can be tried
 * again. Waits as cache_write_commit() without fua does; outside a task -EAGAIN instead.
 */
int cache_write_commit_if(struct cache_vol *v, struct cache_write *w, const void *expect,
			  uint32_t *ret_at);
void cache_write_abort(struct cache_vol *v, struct cache_write *w);

/* Waits. Everything acknowledged in the range before the call is stable when it returns. len 0:
 * to the volume's end. */
int cache_flush(struct cache_vol *v, uint64_t off, uint64_t len);
/* Waits. The range reads as zeros from now on (partial pages zeroed, whole ones given to the
 * backing's discard where it has one). */
int cache_discard(struct cache_vol *v, uint64_t off, uint64_t len);
/* Never waits: starts reading ahead. */
void cache_prefetch(struct cache_vol *v, uint64_t off, uint64_t len);

/*
 * Hazard slots of readers outside this process (heads), see cache_layout.h. slots[i] is a page
 * number + 1, 0 when empty. touched: one byte a page, set by a head that hit it (eviction's hint,
 * cleared here); may be NULL. Stays registered until removed.
 */
struct cache_hazard;
int cache_hazard_add(struct cache *c, const _Atomic uint32_t *slots, uint32_t nslots,
		     _Atomic uint8_t *touched, struct cache_hazard **ret);
void cache_hazard_remove(struct cache *c, struct cache_hazard *h);
/* Once, with cache_opts.heads: what no slot names by now nobody reads. Until then the partner is
 * kept out of a mirror area that adopted pages were in. */
void cache_hazards_entered(struct cache *c);

struct cache_stats {
	uint64_t read_hits, read_misses; /* pages */
	uint64_t writes, write_pages;
	uint64_t readahead_pages;
	uint64_t destaged_pages, destage_ios;
	uint64_t flushes;
	uint64_t throttled; /* writes that were slowed */
	uint64_t evicted;
	uint32_t npages; /* own ones */
	uint32_t free, clean, dirty, orphans;
};
void cache_stats(struct cache *c, struct cache_stats *ret);
void cache_vol_stats(struct cache_vol *v, struct cache_stats *ret);

#endif
