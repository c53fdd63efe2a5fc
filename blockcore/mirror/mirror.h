/*
 * Mirroring of dirty cache pages in the partner's memory (architecture 5.2).
 *
 * Each controller's segment has an own area and, behind it, a mirror area that only its partner
 * writes. The table of the partner's mirror area is in this controller's memory: next-links and
 * the first unused page. So taking a mirror page is a local pop, without a message and without
 * work by the partner.
 *
 * The cache (cache_priv.h) calls this under its shard locks; nothing here waits but what says so.
 */
#ifndef ISTHMUS_BLOCKCORE_MIRROR_H
#define ISTHMUS_BLOCKCORE_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

struct cache;
struct link;
struct mirror;

#define MIRROR_SHARE 30 /* per cent of the partner's pages, default */

/* Pages of a controller's mirror area, given the pages of its partner in all (own and mirror
 * area): 110 -> 33, 100 -> 30. */
uint32_t mirror_area_pages(uint32_t partner_pages, unsigned share);

/* ---- the mirror management table ---- */

struct mirror_table {
	uint32_t *next; /* next-links, MIRROR_NONE ends */
	uint32_t first; /* first unused page */
	uint32_t npages, nfree;
};
#define MIRROR_NONE 0xffffffffu

int mirror_table_init(struct mirror_table *t, uint32_t npages);
void mirror_table_free(struct mirror_table *t);
/* All n or none. */
bool mirror_table_pop(struct mirror_table *t, uint32_t *ret, uint32_t n);
void mirror_table_push(struct mirror_table *t, const uint32_t *pages, uint32_t n);

/* ---- states of a cache towards its partner ---- */

enum mirror_state {
	MIRROR_OFF,	/* no partner is configured */
	MIRROR_LONE,	/* the partner is away: writes are not mirrored */
	MIRROR_JOINING, /* new writes are mirrored; what was dirty before is being written to disk
			 */
	MIRROR_ON,	/* every dirty page has a copy in the partner's memory */
};

/*
 * Attaches a cache to the partner's segment on the same host (mapped read-write), or by messages
 * over the link's data path between hosts (segment NULL). From here on writes are mirrored.
 * on(arg) is called, on the cache's background reactor, when the state became MIRROR_ON.
 */
struct mirror_join {
	void *segment;
	uint64_t segment_size;
	struct link *link;
	uint32_t partner_pages; /* as its hello told */
	void (*on)(void *arg);
	void *arg;
};
/*
 * Waits as long as the partner's area holds pages that it adopted. All in the partner's area is
 * forgotten first, so the caller's ownership map says "not mirrored" from before the call until
 * on(). -EALREADY; -ECANCELED: cache_mirror_part() was called meanwhile; -ENOSPC: the partner has
 * no mirror area; -ERR_FOREIGN, -ERR_VERSION, -ERR_CORRUPT: it is not a partner's segment.
 */
int cache_mirror_join(struct cache *c, const struct mirror_join *j);
/* Between hosts: answers what the partner sends for the mirror area. From before the link is up. */
void cache_mirror_serve(struct cache *c, struct link *l);
/*
 * Waits for copies under way. The partner is away: from here on writes are acknowledged without a
 * copy. before(arg) is called once, before the first such acknowledgement (it records that in
 * control memory); until it returns writes go on being copied, or wait. When the call returns, the
 * partner's segment is not used any more. May be called in any state.
 */
int cache_mirror_part(struct cache *c, void (*before)(void *arg), void *arg);
enum mirror_state cache_mirror_state(const struct cache *c);

/*
 * Takeover. The pages that the partner left in this controller's mirror area, of volumes for which
 * want() is true, become this cache's own dirty pages: scans all elements of the area and links
 * what is valid into the index. They are destaged like others; freed ones stay out of use until
 * the partner joins again. Before the volumes are attached, after cache_drop_foreign() for what
 * this cache had of them from an earlier time. The partner must not be able to write the area any
 * more. -ENOMEM: not all were taken; it can be called again.
 */
int cache_mirror_adopt(struct cache *c, bool (*want)(void *arg, uint32_t volume), void *arg,
		       uint32_t *ret_adopted);
/* Forgets pages of the mirror area that belong to no adopted volume. Only while no partner is
 * joined: one that joins does it itself. */
void cache_mirror_clear(struct cache *c);
/* Forgets pages of the mirror area, of volumes for which want() is true: copies of an earlier time.
 * None of them is adopted, and no partner on this host writes the area. */
void cache_mirror_drop(struct cache *c, bool (*want)(void *arg, uint32_t volume), void *arg);
/* Drops this cache's pages of a volume that another controller owns now. After it was detached. */
void cache_drop_foreign(struct cache *c, uint32_t volume);

struct mirror_stats {
	enum mirror_state state;
	uint32_t table_pages, table_free; /* of the partner's mirror area */
	uint32_t area_pages, area_used;	  /* of the own one: pages the partner or adoption holds */
	uint32_t adopted_held; /* adopted pages: not on the disks yet, or read by a head */
	bool write_through;    /* lone_write_through is set */
	uint64_t copies, copied_bytes, cleared, waits, adopted;
	uint64_t messages; /* sent since it joined, to copy and clear pages; 0 on one host. None is
			    * sent to acquire one */
};
void cache_mirror_stats(struct cache *c, struct mirror_stats *ret);

#endif
