/*
 * What the cache and its mirroring share; see README.md for the order of the steps and why it
 * suffices.
 *
 *   mirror_table   numbers of the partner's pages (pool's lock)
 *   mirror_area    writing pages and CBEs of a mirror area: by the partner into a mapped segment,
 *                  or by the owner of the area for a message that came
 *   mirror_ops     the two ways from here to there
 */
#ifndef ISTHMUS_BLOCKCORE_MIRROR_PRIV_H
#define ISTHMUS_BLOCKCORE_MIRROR_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "blockcore/cache/cache_layout.h"
#include "blockcore/mirror/mirror.h"
#include "runtime/task.h"

struct cache_opts;
struct cache_shard;
struct cache_write;

/* A mirror area, as whoever may write it sees it. */
struct mirror_area {
	struct cbe *cbe; /* of its first page */
	char *data;
	_Atomic uint32_t *staged_true;
	uint32_t npages, page_shift;
};

/* One page to be copied. */
struct mirror_copy {
	uint32_t to;	  /* page of the area */
	const void *data; /* NULL: it is there already */
	uint32_t volume;
	uint16_t valid, dirty;
	uint64_t page, generation;
};

/* Copies pages and publishes their CBEs. atomic: all of them or, if this process dies, none. */
void mirror_area_put(const struct mirror_area *a, const struct mirror_copy *m, unsigned n,
		     bool atomic);
/* Only the data, of a page whose CBE is free. */
void mirror_area_fill(const struct mirror_area *a, uint32_t to, const void *data);
void mirror_area_free(const struct mirror_area *a, uint32_t page);
/* Frees every page. */
void mirror_area_reset(const struct mirror_area *a);

/* How copies get to the partner. */
struct mirror_ops {
	/* The copy waits for an answer: no lock may be held, and the task may park. */
	bool waits;
	/* Required. When it returns 0 the copies are in the partner's memory and would be adopted.
	 * Negative: the partner is away, or going; whether they are there is not known. */
	int (*copy)(struct mirror *m, const struct mirror_copy *pages, unsigned n, bool atomic);
	/* Optional. Where a page's data is, if it is mapped. */
	void *(*at)(struct mirror *m, uint32_t page);
	/* Required. Never waits. Data of a page whose CBE comes with a later copy(). False: it was
	 * not taken. */
	bool (*fill)(struct mirror *m, uint32_t to, const void *data);
	/* Required. Never waits; a shard's lock may be held. The page is not to be adopted. All
	 * clears take effect in the order of their calls. False: its number is not free yet, and
	 * goes back to the table later. */
	bool (*clear)(struct mirror *m, uint32_t page);
	/* Optional. Waits. The epoch has ended: forgets what was to be sent. */
	void (*leave)(struct mirror *m);
};
extern const struct mirror_ops mirror_host_ops, mirror_link_ops;
/* Waits. Tells the partner on another host that this cache is going to write its area. */
int mirror_link_join(struct cache *c, struct link *l, uint32_t epoch, uint32_t *ret_pages);
int mirror_link_init(struct mirror *m, uint32_t npages);
void mirror_clear_task(void *arg);

#define MIRROR_GENERATION_LIMIT (1ull << 62) /* of what can be adopted */

/* Checks a partner's segment and describes its mirror area. 0 or a negative error. */
int mirror_host_map(const struct cache *c, void *segment, uint64_t size, struct mirror_area *ret,
		    _Atomic uint32_t **ret_closed);

/*
 * A cache's side of the mirroring. Epochs count joins and parts, odd while joined: a write belongs
 * to the epoch it began in, and has mirror pages when that is odd. They are of use only as long as
 * the epoch lasts. Changed under the pool's lock, read anywhere.
 */
#define MIRROR_EPOCHS 4 /* counters of writes under way, by epoch modulo this */
struct mirror {
	struct cache *c;
	_Atomic uint32_t epoch;
	_Atomic int state; /* enum mirror_state */
	const struct mirror_ops *_Atomic ops;
	_Atomic uint32_t parts;	   /* counts calls of cache_mirror_part() */
	_Atomic uint32_t io_pages; /* of the largest request that can be mirrored */
	struct mirror_area area;   /* of the partner, on the same host */
	struct link *link;
	uint64_t sent_before;	   /* messages over it when it was joined */
	struct mirror_table table; /* of the partner's mirror area; under the pool's lock */
	void (*on)(void *arg);
	void *on_arg;
	struct waitq q;	    /* mirror_task; under the background's lock */
	bool write_through; /* while lone */
	bool remote;	    /* the partner is on another host */

	/* To another host. */
	uint32_t wire_epoch;  /* of this join, as messages say it */
	uint64_t *generation; /* of each copy in the partner's area */
	pthread_mutex_t clear_lock;
	uint32_t *clears; /* a ring of numbers to be cleared there */
	uint32_t clear_first, nclears;
	bool sending, stopping;
	struct waitq clear_q;

	/* The own area. */
	pthread_mutex_t area_lock; /* whoever writes it for the partner, and adoption */
	struct link *served;
	uint64_t peer_session; /* of the link, and */
	uint32_t peer_epoch;   /* of messages that may write the area; 0: none */
	struct mirror_area own;
	_Atomic uint32_t held; /* adopted pages still in use */
	bool
	    lent; /* readers may be in the area whose slots are not entered yet; counts in `held` */

	_Atomic uint64_t waits, adopted;
};

/* Their CBEs are going to be written. The pool's or a shard's lock is held. */
static inline void mirror_prefetch(const struct mirror *m, const uint32_t *pages, unsigned n)
{
	for (unsigned i = 0; m->area.cbe && i < n && i < 8; i++)
		__builtin_prefetch(&m->area.cbe[pages[i]], 1);
}

static inline bool mirror_epoch_joined(uint32_t epoch)
{
	return epoch & 1;
}

/* ---- for the cache ---- */

int mirror_init(struct cache *c, const struct cache_opts *o);
/* Background lock held: its tasks are to end. */
void mirror_stop(struct cache *c);
void mirror_fini(struct cache *c);
/* Are there n free pages in the partner's area, or are none needed? Pool's lock. */
bool mirror_has(const struct cache *c, unsigned n);
/* Requests of more pages could never have the ones they need. */
uint32_t mirror_io_pages(const struct cache *c);
/* Has the commit of a write that begins now to wait, even without fua? And of this one? */
bool mirror_waits(struct cache *c);
bool mirror_commit_waits(struct cache *c, const struct cache_write *w);
/* Copies page i of a write and publishes the copy, if the write has mirror pages; false: the page
 * has no copy (the partner is away, or was when the write began). The shard's lock is held. */
bool mirror_copy_page(struct cache *c, struct cache_shard *s, const struct cache_write *w,
		      unsigned i);
/* Waits. Sends the copies of all of a write's pages to another host: 0, or an error of the link. A
 * write that has no mirror pages: 0. */
int mirror_copy_write(struct cache *c, const struct cache_write *w, bool atomic);
/* That copy of page i is there, if nothing changed since; false: it counts as having none. The
 * shard's lock is held. */
bool mirror_note_copy(struct cache *c, struct cache_shard *s, const struct cache_write *w,
		      unsigned i);
/* As mirror_copy_page() for all pages of a write, all or nothing. The locks of their shards are
 * held. */
bool mirror_copy_atomic(struct cache *c, const struct cache_write *w);
/* The background task that brings JOINING to ON. */
void mirror_task(void *arg);

#endif
