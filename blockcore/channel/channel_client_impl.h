/*
 * The head's side of a channel: structures shared by its files. One reactor's.
 */
#ifndef ISTHMUS_CHANNEL_CLIENT_IMPL_H
#define ISTHMUS_CHANNEL_CLIENT_IMPL_H

#include <sys/types.h>
#include <bsd/sys/queue.h>
#include "blockcore/cache/cache_layout.h"
#include "blockcore/channel/channel_client.h"
#include "blockcore/channel/channel_layout.h"
#include "runtime/bdev.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

#define CHANNEL_CLIENT_MAGIC 0x63686e6c
/* Staging buffers kept for the channel's own copies; the rest may be held by users. */
#define CHANNEL_OWN_SMALL 32
#define CHANNEL_OWN_LARGE 4

struct channel_sock;

/* A mapping of the cache segment; lives while the connection or a reference uses it. */
struct cache_map {
	uint8_t *base;
	size_t size;
	unsigned users;
	uint32_t npages, nbuckets;
	uint64_t seed, memory_id;
	const struct cbe *cbes;
	const struct cache_bucket *buckets;
	uint8_t *pages;
};

/* A request from submission until its waiter has taken the result. */
struct channel_req {
	struct channel_sqe sqe;
	struct task *task; /* NULL: nobody waits (prefetch) */
	uint64_t order;	   /* of submission: reissued in this order */
	uint16_t issue;	   /* counts issues: a completion of an earlier one is ignored */
	bool used, issued, done;
	int res;
	SLIST_ENTRY(channel_req) link;
};

/* A message that waits for the answer with its id; on its waiter's stack. */
struct channel_call {
	uint64_t id;
	struct task *task; /* NULL: the connection's own task, which looks itself */
	Isthmus__ChannelMsg *answer;
	int rc;
	bool done;
	TAILQ_ENTRY(channel_call) link;
};

/* Free buffers of one class for one kind of user. */
struct staging_pool {
	uint16_t free[CHANNEL_SMALL];
	unsigned nfree;
	struct waitq q; /* of struct staging_waiter */
};

struct channel_vol {
	uint32_t magic;
	struct channel *c;
	uint32_t id;
	struct bdev b;
	TAILQ_ENTRY(channel_vol) link;
};

struct channel {
	uint32_t magic;
	struct reactor *r;
	struct channel_opts opts;
	char *path, *head, *group;
	uint64_t instance;
	char controller[64];
	unsigned refs;

	bool up; /* requests may be put in the ring */
	bool ever_up;
	bool closing;
	int failed;	 /* why it will never be up again: -ERR_EPOCH_STALE, -EACCES, ... */
	bool main_runs;	 /* the connection's task */
	uint64_t serial; /* of the connection */
	struct channel_sock *sock;
	struct waitq up_q; /* up, failed or closing changed */
	struct waitq close_q;
	TAILQ_HEAD(, channel_call) calls;
	uint64_t next_call;
	TAILQ_HEAD(, channel_vol) vols;
	Isthmus__ChannelMsg *config; /* received, not yet begun */
	bool config_runs;

	/* The channel segment; mapped at the first welcome, and kept. */
	uint64_t epoch;
	dev_t seg_dev;
	ino_t seg_ino;
	uint8_t *base;
	struct channel_geometry geo;
	struct channel_head *hdr;
	struct channel_sqe *sq;
	struct channel_cqe *cq;
	_Atomic uint32_t *hazards;
	_Atomic uint8_t *touched;
	uint8_t *staging;
	struct cache_map *map; /* NULL while down */

	/* channel_ring.c */
	int event_out, event_in;
	struct watch *watch;
	struct deferred turn;
	bool bell_due;
	uint32_t sq_tail, cq_head;
	uint64_t next_order;
	struct channel_req *reqs;
	SLIST_HEAD(, channel_req) free_reqs;
	struct waitq req_q;

	/* channel_hit.c: slot i's next in its list, + 1; 0: last */
	uint16_t slot_next[CHANNEL_HAZARDS];
	uint16_t slot_free;
	unsigned slots_used;

	/* channel_staging.c */
	struct staging_pool small, large, own_small, own_large;

	struct channel_stats stats;
};

void channel_ref(struct channel *c);
void channel_unref(struct channel *c);
/* It will never be up again: everything that waits ends with rc. */
void channel_fail(struct channel *c, int rc);
/* 0, or why requests are refused for good. */
int channel_refusal(const struct channel *c);

/* ---- channel_ring.c ---- */

int channel_ring_new(struct channel *c);
void channel_ring_free(struct channel *c);
/* A new connection: empty rings, these eventfds (taken). */
int channel_ring_connect(struct channel *c, int event_out, int event_in);
void channel_ring_disconnect(struct channel *c);
/* Issues again what was in flight; then `up` may be set. */
void channel_ring_reissue(struct channel *c);
void channel_ring_fail_all(struct channel *c, int rc);
/* Waits for the answer. */
int channel_request(struct channel *c, const struct channel_sqe *q);
/* Never waits; nothing happens when there is no room. */
void channel_request_hint(struct channel *c, const struct channel_sqe *q);

/* ---- channel_hit.c ---- */

void channel_hit_init(struct channel *c);
/* Takes the descriptor. Geometry of the segment is checked. */
int cache_map_new(struct cache_map **ret, int fd, size_t size);
void cache_map_put(struct cache_map *m);
/* Holds all pages of the range: 0, -EAGAIN (ask the controller), -ERR_EPOCH_STALE. */
int channel_hit(struct channel *c, uint32_t volume, uint64_t off, uint32_t len,
		struct bdev_ref *ret);
void channel_hit_put(struct channel *c, struct bdev_ref *ref);

/* ---- channel_staging.c ---- */

void channel_staging_init(struct channel *c);
void channel_staging_fail_all(struct channel *c);
/* Waits. Of the channel's own share. NULL: the channel was closed or has failed. */
uint8_t *channel_staging_own(struct channel *c, size_t size);
bool channel_in_staging(const struct channel *c, const void *p, size_t len);

/* ---- channel_bdev.c ---- */

int channel_vol_new(struct channel *c, const Isthmus__ChannelOpened *o, struct channel_vol **ret);
/* Waits. Tells the controller that the volume is not used any more (channel_client.c). */
void channel_volume_closed(struct channel *c, uint32_t id);

#endif
