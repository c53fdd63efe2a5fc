/*
 * The head's side of a channel: structures shared by its files. One reactor's.
 *
 * struct channel is what the head's code has: volumes, staging memory, requests in flight.
 * struct channel_end is one controller: connection, segment, rings, cache mapping.
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

struct channel_end;
struct channel_sock;

/* A mapping of a cache segment; lives while the connection or a reference uses it. */
struct cache_map {
	uint8_t *base;
	size_t size;
	struct channel_end *end; /* whose slots hold its pages */
	unsigned users;
	uint32_t npages, nbuckets;
	uint64_t seed;
	/* The mapping is of this incarnation of the segment; another one in `super`: its controller
	 * is gone, and what the index names may be old. */
	uint64_t incarnation;
	const struct cache_super *super;
	const struct cbe *cbes;
	const struct cache_bucket *buckets;
	uint8_t *pages;
};

/* What a controller said of a volume. */
struct channel_said {
	bool open;  /* there, on the present connection */
	bool known; /* the rest counts */
	bool ask;   /* it is to be asked (again) */
	int gone;   /* it refused to open the volume: why */
	Isthmus__ChannelPlace place;
	uint64_t epoch, number, memory_id;
};

/* Where requests of a volume go. One for all bdevs of a volume. */
struct channel_route {
	uint32_t volume;
	unsigned users;		   /* bdevs, requests, openers */
	struct channel_end *owner; /* NULL: not known this moment: requests wait */
	uint64_t epoch;		   /* of that ownership */
	uint64_t memory_id;	   /* of the last owner known */
	uint64_t lost_ns;	   /* when there was none any more; 0: there never was one */
	int gone;		   /* no controller has it: requests are refused */
	struct channel_said said[CHANNEL_ENDS];
	TAILQ_ENTRY(channel_route) link;
};

/* A request from submission until its waiter has taken the result. */
struct channel_req {
	struct channel_sqe sqe;
	struct task *task; /* NULL: nobody waits (prefetch) */
	struct channel_route *route;
	uint64_t order; /* of submission: reissued in this order */
	/* The last issue: to whom, on which connection. */
	struct channel_end *end;
	uint64_t serial;
	uint16_t issue; /* counts issues: a completion of an earlier one is ignored */
	bool in_ring;	/* of `end`, whose connection lives: it will be answered */
	bool ended;	/* answered -ERR_NOT_OWNER: that issue can do nothing any more */
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
	struct channel_route *route;
	struct bdev b;
	TAILQ_ENTRY(channel_vol) link;
};

struct channel_end {
	struct channel *c;
	unsigned number;
	char *path;
	char controller[64];

	bool up; /* requests may be put in the ring */
	bool ever_up;
	int refused;	 /* its last word was a refusal that no retry mends soon */
	bool main_runs;	 /* the connection's task */
	bool asker_runs; /* the task that asks about volumes */
	uint64_t serial; /* of the connection */
	struct channel_sock *sock;
	TAILQ_HEAD(, channel_call) calls;
	uint64_t next_call;
	Isthmus__ChannelMsg *config; /* received, not yet begun */

	/* The channel segment; mapped at the first welcome, and kept. */
	dev_t seg_dev;
	ino_t seg_ino;
	uint8_t *base;
	struct channel_geometry geo;
	struct channel_head *hdr;
	struct channel_sqe *sq;
	struct channel_cqe *cq;
	_Atomic uint32_t *hazards;
	_Atomic uint8_t *touched;
	struct cache_map *map; /* NULL while down */

	/* channel_ring.c */
	int event_out, event_in;
	struct watch *watch;
	struct deferred turn;
	bool bell_due;
	uint32_t sq_tail, cq_head;

	/* channel_hit.c: slot i's next in its list, + 1; 0: last */
	uint16_t slot_next[CHANNEL_HAZARDS];
	uint16_t slot_free;
	unsigned slots_used;

	uint64_t read_hits, requests, reconnects;
};

struct channel {
	uint32_t magic;
	struct reactor *r;
	struct channel_opts opts;
	char *head, *group, *program;
	uint64_t instance, started_ms;
	uint64_t epoch; /* 0 until the first welcome; the same at both controllers */
	unsigned refs;
	bool ever_up;
	bool closing;
	int failed;	   /* why it will never be up again: -ERR_EPOCH_STALE, -EACCES, ... */
	struct waitq up_q; /* up, failed or closing changed */
	struct waitq close_q;
	unsigned nends;
	struct channel_end ends[CHANNEL_ENDS];

	TAILQ_HEAD(, channel_vol) vols;
	TAILQ_HEAD(, channel_route) routes;

	bool config_runs;
	Isthmus__NasConfigApplied *applied; /* the last answer, NULL: none yet */
	unsigned applied_from;		    /* number of the end it was made for */

	/* channel_table.c */
	uint64_t next_order;
	struct channel_req *reqs;
	SLIST_HEAD(, channel_req) free_reqs;
	struct waitq req_q;

	/* channel_staging.c */
	int staging_fd;
	uint8_t *staging;
	struct staging_pool small, large, own_small, own_large;

	struct channel_stats stats;
};

/* ---- channel_client.c ---- */

void channel_ref(struct channel *c);
void channel_unref(struct channel *c);
/* It will never be up again: everything that waits ends with rc. */
void channel_fail(struct channel *c, int rc);
/* 0, or why requests are refused for good. */
int channel_refusal(const struct channel *c);
/* An end's configuration waits. */
void channel_config_start(struct channel *c);

/* ---- channel_end.c ---- */

int channel_end_init(struct channel_end *e, struct channel *c, unsigned number, const char *path);
/* Starts its task, which holds a reference to the channel. */
int channel_end_start(struct channel_end *e);
/* Wakes everything that waits for what will not come. */
void channel_end_stop(struct channel_end *e);
void channel_end_free(struct channel_end *e);
/* Waits. Sends a call. -ERR_DISCONNECTED: no connection, or it ended before the answer. */
int channel_end_call(struct channel_end *e, Isthmus__ChannelMsg *m,
		     Isthmus__ChannelMsg__BodyCase want, Isthmus__ChannelMsg **ret);
/* Waits. Opens the volume there, and takes what its controller says of it. */
int channel_end_open(struct channel_end *e, struct channel_route *route, uint64_t *ret_size,
		     char *ret_name, size_t name_size);
/* A task asks about all routes that want it. */
void channel_end_ask(struct channel_end *e);
/* Waits. */
void channel_end_tell_closed(struct channel_end *e, uint32_t volume);

/* ---- channel_route.c ---- */

/* A reference; made when there is none. NULL: no memory. */
struct channel_route *channel_route_get(struct channel *c, uint32_t volume);
struct channel_route *channel_route_find(struct channel *c, uint32_t volume);
/* The last one forgets it; no bdev of it is left then. */
void channel_route_put(struct channel *c, struct channel_route *route);
/* A controller spoke. Older words than the last are ignored. */
void channel_route_told(struct channel_end *e, const Isthmus__ChannelOwner *o);
/* The end's connection ended, and what it had said counts no more. */
void channel_route_forget(struct channel_end *e);
/* An issue under the route's present ownership was answered -ERR_NOT_OWNER. */
void channel_route_doubt(struct channel *c, struct channel_route *route);
/* Finds the owner anew and issues what waits. */
void channel_route_settle(struct channel *c, struct channel_route *route);
void channel_route_settle_all(struct channel *c);

/* ---- channel_table.c ---- */

int channel_table_new(struct channel *c);
void channel_table_free(struct channel *c);
/* Waits for the answer. */
int channel_request(struct channel *c, struct channel_route *route, const struct channel_sqe *q);
/* Never waits; nothing happens when there is no room. */
void channel_request_hint(struct channel *c, struct channel_route *route,
			  const struct channel_sqe *q);
/* Issues what waits for the route's owner, in order. */
void channel_table_issue(struct channel *c, struct channel_route *route);
/* The end's connection ended: what was in its ring has to be issued again. */
void channel_table_unring(struct channel_end *e);
void channel_table_answer(struct channel_end *e, const struct channel_cqe *cqe);
void channel_table_fail(struct channel *c, struct channel_route *route, int rc); /* NULL: all */

/* ---- channel_ring.c ---- */

/* A new connection: empty rings, these eventfds (taken). */
int channel_ring_connect(struct channel_end *e, int event_out, int event_in);
void channel_ring_disconnect(struct channel_end *e);
void channel_ring_init(struct channel_end *e);
void channel_ring_put(struct channel_end *e, const struct channel_sqe *q);

/* ---- channel_hit.c ---- */

void channel_hit_init(struct channel_end *e);
/* Maps the descriptor. Geometry of the segment is checked. */
int cache_map_new(struct channel_end *e, int fd, size_t size, uint64_t incarnation,
		  struct cache_map **ret);
void cache_map_put(struct cache_map *m);
/* Holds all pages of the range: 0, -EAGAIN (ask the controller), -ERR_EPOCH_STALE. */
int channel_hit(struct channel *c, struct channel_route *route, uint64_t off, uint32_t len,
		struct bdev_ref *ret);
void channel_hit_put(struct channel *c, struct bdev_ref *ref);

/* ---- channel_staging.c ---- */

int channel_staging_new(struct channel *c);
void channel_staging_free(struct channel *c);
void channel_staging_fail_all(struct channel *c);
/* Waits. Of the channel's own share. NULL: the channel was closed or has failed. */
uint8_t *channel_staging_own(struct channel *c, size_t size);
bool channel_in_staging(const struct channel *c, const void *p, size_t len);

/* ---- channel_bdev.c ---- */

/* Takes the reference to the route. */
int channel_vol_new(struct channel *c, struct channel_route *route, const char *name, uint64_t size,
		    struct channel_vol **ret);
/* Waits. Tells the controllers that the volume is not used any more (channel_client.c). */
void channel_volume_closed(struct channel *c, struct channel_route *route);

#endif
