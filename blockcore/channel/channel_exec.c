/*
 * Ring requests executed on volumes (channel_exec.h).
 *
 * Nothing the head wrote is used from shared memory twice: an entry is copied,
 * then checked, then executed. The indices that count are ours; of the head's
 * words only sq_tail and cq_head are read, and a value that no honest head can
 * have there closes the channel.
 *
 * A request runs inline when it needs no wait (a READ that hits, a WRITE that
 * finds pages), else in a task with a `struct exec_req` from a fixed pool of as
 * many as can be in flight. Completions go to the ring at once; the eventfd is
 * written at most once a turn, and only when the head sleeps.
 *
 * Ownership. A request bears the epoch of ownership under which the head sent it here. It is
 * compared while the volume can not be given away (a read or write begun, a use taken), so what is
 * carried out is carried out under that ownership or not at all; and the head may issue it to the
 * partner once that owns the volume under a later one.
 */
#include "blockcore/control/owner.h"
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_seg.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXEC_MAGIC  0x63657865
#define TURN_BUDGET 128 /* requests of one channel before others have a turn */
/* What is fetched while a write is copied: pages ahead; buckets of so many stand side by side. */
#define HINT_FAR     16
#define HINT_NEAR    4
#define HINT_BUCKETS 8
#define CACHE_PAGE   4096u /* for hints alone */
/* The same of requests: what so many behind the one that is carried out will touch. */
#define NEXT_FAR  5
#define NEXT_NEAR 2

struct exec_vol {
	struct volume *v; /* NULL: free */
	uint32_t id;
	uint32_t users; /* requests being executed */
	bool closing, read_only;
};

struct exec_req {
	struct channel_exec *x;
	struct exec_vol *vol;
	struct channel_sqe sqe;
	SLIST_ENTRY(exec_req) link;
};

struct channel_exec {
	uint32_t magic;
	struct reactor *r;
	struct channel_seg *seg;
	uint8_t *staging;
	int sock_fd, event_in, event_out;
	struct watch *watch;
	struct deferred turn;
	bool running;
	bool broken;
	bool ring_due;
	uint32_t sq_head, sq_tail, cq_tail; /* sq_tail: as it was last read */
	unsigned executing;		    /* tasks */
	struct waitq drained;
	struct exec_vol vols[CHANNEL_VOLUMES];
	struct exec_vol *last; /* most requests follow one to the same volume */
	struct exec_req *reqs;
	SLIST_HEAD(, exec_req) free_reqs;
	_Atomic uint64_t requests, hits, refused, elsewhere;
	_Atomic uint32_t nvols;
};

static void count(_Atomic uint64_t *n)
{
	atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* ---- calls to the data reactor ---- */

struct remote {
	void (*fn)(struct remote *);
	struct channel_exec *x;
	struct volume *volume;
	uint32_t id;
	bool read_only;
	int rc;
};

static void remote_main(void *arg)
{
	struct remote *c = arg;
	c->fn(c);
}

static int remote_call(struct remote *c)
{
	CHECK(c->x, EXEC_MAGIC);
	while (owner_call(reactor_sched(c->x->r), remote_main, c) != 0)
		env_sleep_ns(env_real(), NS_PER_MS); /* no memory this moment */
	return c->rc;
}

/* ---- volumes ---- */

static struct exec_vol *vol_find(struct channel_exec *x, uint32_t id)
{
	if (x->last && x->last->v && x->last->id == id && !x->last->closing)
		return x->last;
	for (unsigned i = 0; i < CHANNEL_VOLUMES; i++) {
		struct exec_vol *vol = &x->vols[i];
		if (vol->v && vol->id == id && !vol->closing)
			return x->last = vol;
	}
	return NULL;
}

static void vol_put_if_idle(struct channel_exec *x, struct exec_vol *vol)
{
	if (!vol->closing || vol->users)
		return;
	core_volume_put(vol->v);
	memset(vol, 0, sizeof(*vol));
	atomic_fetch_sub(&x->nvols, 1);
}

static void open_here(struct remote *c)
{
	struct channel_exec *x = c->x;
	uint32_t id = volume_id(c->volume);
	c->rc = -ENFILE;
	if (vol_find(x, id)) {
		core_volume_put(c->volume);
		c->rc = 0;
		return;
	}
	for (unsigned i = 0; i < CHANNEL_VOLUMES; i++) {
		if (x->vols[i].v)
			continue;
		x->vols[i].v = c->volume;
		x->vols[i].id = id;
		x->vols[i].read_only = c->read_only;
		atomic_fetch_add(&x->nvols, 1);
		c->rc = 0;
		return;
	}
}

static void close_here(struct remote *c)
{
	struct exec_vol *vol = vol_find(c->x, c->id);
	if (!vol)
		return;
	vol->closing = true;
	vol_put_if_idle(c->x, vol);
}

int channel_exec_open(struct channel_exec *x, struct volume *v, bool read_only)
{
	struct remote c = {.fn = open_here, .x = x, .volume = v, .read_only = read_only};
	return remote_call(&c);
}

void channel_exec_close(struct channel_exec *x, uint32_t id)
{
	struct remote c = {.fn = close_here, .x = x, .id = id};
	remote_call(&c);
}

/* ---- execution ---- */

static void complete(struct channel_exec *x, uint32_t tag, int res)
{
	struct channel_cqe *cqe = &x->seg->cq[x->cq_tail % CHANNEL_ENTRIES];
	cqe->tag = tag;
	cqe->res = res;
	atomic_store(&x->seg->hdr->cq_tail, ++x->cq_tail);
	x->ring_due = true;
	reactor_defer(x->r, &x->turn);
}

/* Lengths and places, whatever the operation: 0 or the error to answer. */
static int sqe_check(const struct exec_vol *vol, const struct channel_sqe *q)
{
	uint64_t size = volume_size(vol->v);
	if (vol->read_only && (q->op == CHANNEL_WRITE || q->op == CHANNEL_DISCARD))
		return -ERR_WRITE_PROTECT;
	if (q->off % CACHE_SECTOR || q->len % CACHE_SECTOR || q->off > size ||
	    q->len > size - q->off)
		return -EINVAL;
	switch (q->op) {
	case CHANNEL_READ:
	case CHANNEL_WRITE:
	case CHANNEL_READ_COPY:
		if (q->len == 0 || q->len > CHANNEL_IO_MAX || q->staging > CHANNEL_STAGING ||
		    q->len > CHANNEL_STAGING - q->staging)
			return -EINVAL;
		return 0;
	case CHANNEL_FLUSH:
	case CHANNEL_DISCARD:
	case CHANNEL_PREFETCH:
		return 0;
	}
	return -EOPNOTSUPP;
}

static void copy_out(uint8_t *to, const struct cache_read *r)
{
	for (int i = 0; i < r->n; i++) {
		memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
		to += r->iov[i].iov_len;
	}
}

/* While a page is copied past the processor's cache, what the commit will look at of those further
 * on is fetched (cache_hint()). */
static void hint_ahead(struct volume *v, const struct cache_write *w, int i)
{
	uint64_t off = w->off + (uint64_t)i * CACHE_PAGE;
	if (i % HINT_BUCKETS == 0 && i + HINT_FAR < w->n)
		volume_hint(v, off + HINT_FAR * CACHE_PAGE, CACHE_HINT_FAR);
	if (i + HINT_NEAR < w->n)
		volume_hint(v, off + HINT_NEAR * CACHE_PAGE, CACHE_HINT_WRITE);
}

static void copy_in(struct volume *v, struct cache_write *w, const uint8_t *from)
{
	for (int i = 0; i < w->n; i++) {
		hint_ahead(v, w, i);
		volume_write_copy(v, w, (unsigned)i, 0, from, w->iov[i].iov_len);
		from += w->iov[i].iov_len;
	}
}

/* In a read, a write or a use of the volume: is it ours under the ownership that the head knew? */
static int owner_check(const struct volume *v, const struct channel_sqe *q)
{
	return core_volume_owner_epoch(v) == q->owner_epoch ? 0 : -ERR_NOT_OWNER;
}

static void hint_request(struct channel_exec *x, struct volume *v, const struct channel_sqe *q,
			 uint32_t ahead, enum cache_hint step)
{
	if (x->sq_tail - x->sq_head <= ahead)
		return;
	/* The head's, and not checked: only what is fetched depends on it. */
	const struct channel_sqe *next = &x->seg->sq[(x->sq_head + ahead) % CHANNEL_ENTRIES];
	if (next->volume == q->volume)
		volume_hint(v, next->off, step);
}

/* In a read or a write of the volume: what the requests behind it will touch is fetched meanwhile.
 */
static void hint_next(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	hint_request(x, v, q, NEXT_FAR - 1, CACHE_HINT_FAR);
	hint_request(x, v, q, NEXT_NEAR - 1,
		     q->op == CHANNEL_READ ? CACHE_HINT_READ : CACHE_HINT_WRITE);
}

/* -EAGAIN: it would have to wait. */
static int try_read(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	struct cache_read r;
	int rc = volume_read_try(v, q->off, (uint32_t)q->len, &r);
	if (rc)
		return rc;
	hint_next(x, v, q);
	rc = owner_check(v, q);
	if (rc == 0)
		copy_out(x->staging + q->staging, &r);
	volume_read_done(v, &r);
	if (rc == 0)
		count(&x->hits);
	return rc;
}

static int write_end(struct channel_exec *x, struct volume *v, const struct channel_sqe *q,
		     struct cache_write *w)
{
	int rc = owner_check(v, q);
	if (rc) {
		volume_write_abort(v, w);
		return rc;
	}
	copy_in(v, w, x->staging + q->staging);
	return volume_write_commit(v, w, q->flags & CHANNEL_FUA);
}

static int try_write(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	struct cache_write w;
	if (q->flags & (CHANNEL_FUA | CHANNEL_PREFLUSH))
		return -EAGAIN;
	int rc = volume_write_try_begin(v, q->off, (uint32_t)q->len, &w);
	if (rc)
		return rc;
	hint_next(x, v, q);
	rc = write_end(x, v, q, &w);
	if (rc == -EAGAIN) /* it has to wait; a task writes it again */
		volume_write_abort(v, &w);
	return rc;
}

static int wait_read(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	struct cache_read r;
	int rc = volume_read(v, q->off, (uint32_t)q->len, &r);
	if (rc)
		return rc;
	rc = owner_check(v, q);
	if (rc == 0)
		copy_out(x->staging + q->staging, &r);
	volume_read_done(v, &r);
	return rc;
}

static int flush_before(struct volume *v, const struct channel_sqe *q)
{
	int rc = volume_use(v);
	if (rc)
		return rc;
	rc = owner_check(v, q);
	if (rc == 0)
		rc = volume_flush(v, 0, volume_size(v));
	volume_unuse(v);
	return rc;
}

static int wait_write(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	struct cache_write w;
	int rc = q->flags & CHANNEL_PREFLUSH ? flush_before(v, q) : 0;
	if (rc == 0)
		rc = volume_write_begin(v, q->off, (uint32_t)q->len, &w);
	if (rc)
		return rc;
	return write_end(x, v, q, &w);
}

/*
 * The disks read into private memory: a transfer that a killed controller left in the kernel must
 * not end in staging memory that the head has put to other use since.
 */
static int wait_read_copy(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	void *buf;
	if (posix_memalign(&buf, 4096, q->len))
		return -ENOMEM;
	int rc = volume_read_copy(v, buf, (uint32_t)q->len, q->off, q->copy);
	if (rc == 0)
		memcpy(x->staging + q->staging, buf, q->len);
	free(buf);
	return rc;
}

static int use_any(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	switch (q->op) {
	case CHANNEL_FLUSH:
		return volume_flush(v, q->off, q->len ? q->len : volume_size(v) - q->off);
	case CHANNEL_DISCARD:
		return volume_discard(v, q->off, q->len);
	case CHANNEL_READ_COPY:
		return wait_read_copy(x, v, q);
	}
	return -EOPNOTSUPP;
}

static int wait_any(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	if (q->op == CHANNEL_READ)
		return wait_read(x, v, q);
	if (q->op == CHANNEL_WRITE)
		return wait_write(x, v, q);
	int rc = volume_use(v);
	if (rc)
		return rc;
	rc = owner_check(v, q);
	if (rc == 0)
		rc = use_any(x, v, q);
	volume_unuse(v);
	return rc;
}

static int try_any(struct channel_exec *x, struct volume *v, const struct channel_sqe *q)
{
	switch (q->op) {
	case CHANNEL_READ:
		return try_read(x, v, q);
	case CHANNEL_WRITE:
		return try_write(x, v, q);
	case CHANNEL_PREFETCH:
		volume_prefetch(v, q->off, q->len);
		return 0;
	}
	return -EAGAIN;
}

static void exec_task(void *arg)
{
	struct exec_req *req = arg;
	struct channel_exec *x = req->x;
	int rc = wait_any(x, req->vol->v, &req->sqe);
	if (rc == -ERR_NOT_OWNER)
		count(&x->elsewhere);
	complete(x, req->sqe.tag, rc);
	req->vol->users--;
	vol_put_if_idle(x, req->vol);
	SLIST_INSERT_HEAD(&x->free_reqs, req, link);
	if (--x->executing == 0)
		waitq_wake_all(&x->drained);
}

static int exec_in_task(struct channel_exec *x, struct exec_vol *vol, const struct channel_sqe *q)
{
	struct exec_req *req = SLIST_FIRST(&x->free_reqs);
	ASSERT(req); /* room_for_one() let it in */
	req->vol = vol;
	req->sqe = *q;
	int rc = task_start(exec_task, req);
	if (rc)
		return rc;
	SLIST_REMOVE_HEAD(&x->free_reqs, link);
	vol->users++;
	x->executing++;
	return 0;
}

/* One request, already copied out of shared memory. */
static void exec_one(struct channel_exec *x, const struct channel_sqe *q)
{
	count(&x->requests);
	struct exec_vol *vol = vol_find(x, q->volume);
	int rc = 0;
	if (q->epoch != x->seg->epoch || atomic_load(&x->seg->fenced))
		rc = -ERR_EPOCH_STALE;
	else if (!vol)
		rc = -ENODEV;
	else
		rc = sqe_check(vol, q);
	if (rc) {
		count(&x->refused);
		complete(x, q->tag, rc);
		return;
	}
	rc = try_any(x, vol->v, q);
	if (rc == -EAGAIN) {
		rc = exec_in_task(x, vol, q);
		if (rc == 0)
			return;
	}
	if (rc == -ERR_NOT_OWNER)
		count(&x->elsewhere);
	complete(x, q->tag, rc);
}

/* ---- the ring ---- */

/* The head broke the rules: its connection ends, and home does the rest. */
static void exec_break(struct channel_exec *x, const char *why)
{
	if (x->broken)
		return;
	x->broken = true;
	event_write(LOG_L_WARN, "head.broken", "head %s broke its channel (%s): closed",
		    x->seg->head, why);
	shutdown(x->sock_fd, SHUT_RDWR);
}

static bool room_for_one(struct channel_exec *x)
{
	uint32_t unread = x->cq_tail - atomic_load(&x->seg->hdr->cq_head);
	if (unread > CHANNEL_ENTRIES || unread + x->executing >= CHANNEL_ENTRIES) {
		exec_break(x, "more in flight than the ring holds");
		return false;
	}
	return true;
}

/* Takes what is there, a budget at most; how many. */
static unsigned exec_drain(struct channel_exec *x)
{
	unsigned n = 0;
	uint32_t tail = atomic_load(&x->seg->hdr->sq_tail);
	if (tail - x->sq_head > CHANNEL_ENTRIES) {
		exec_break(x, "submission index out of range");
		return 0;
	}
	x->sq_tail = tail;
	while (x->sq_head != tail && n < TURN_BUDGET && !x->broken && room_for_one(x)) {
		struct channel_sqe q;
		memcpy(&q, &x->seg->sq[x->sq_head % CHANNEL_ENTRIES], sizeof(q));
		x->sq_head++;
		n++;
		exec_one(x, &q);
	}
	if (atomic_load(&x->seg->lost))
		exec_break(x, "the segment's file changed its size");
	if (n)
		atomic_store_explicit(&x->seg->hdr->sq_head, x->sq_head, memory_order_release);
	return n;
}

static void ring_bell(struct channel_exec *x)
{
	static const uint64_t one = 1;
	if (!x->ring_due)
		return;
	x->ring_due = false;
	if (channel_must_ring(&x->seg->hdr->client_sleeping) &&
	    write(x->event_out, &one, sizeof(one)) != sizeof(one))
		log_debug("channel: eventfd full head=%s", x->seg->head); /* then it is awake */
}

/* At the end of every turn in which something of this channel happened. */
static void exec_turn(void *arg)
{
	struct channel_exec *x = arg;
	_Atomic uint32_t *sleeping = &x->seg->hdr->server_sleeping;
	unsigned n = x->running && !x->broken ? exec_drain(x) : 0;
	ring_bell(x);
	if (!x->running || x->broken)
		return;
	if (n == 0) {
		atomic_store(sleeping, 1);
		if (atomic_load(&x->seg->hdr->sq_tail) == x->sq_head)
			return;
	}
	atomic_store(sleeping, 0);
	reactor_defer(x->r, &x->turn);
}

static void on_bell(void *arg, int status, int events)
{
	struct channel_exec *x = arg;
	uint64_t n;
	if (read(x->event_in, &n, sizeof(n)) == sizeof(n))
		reactor_defer(x->r, &x->turn);
}

/* ---- life ---- */

int channel_exec_new(struct channel_exec **ret, struct reactor *data, struct channel_seg *seg,
		     uint8_t *staging, int sock_fd)
{
	struct channel_exec *x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->magic = EXEC_MAGIC;
	x->r = data;
	x->seg = seg;
	x->staging = staging;
	x->sock_fd = sock_fd;
	x->turn.fn = exec_turn;
	x->turn.arg = x;
	waitq_init(&x->drained);
	SLIST_INIT(&x->free_reqs);
	x->event_in = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x->event_out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x->reqs = calloc(CHANNEL_ENTRIES, sizeof(*x->reqs));
	if (!x->reqs || x->event_in < 0 || x->event_out < 0) {
		channel_exec_free(x);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		x->reqs[i].x = x;
		SLIST_INSERT_HEAD(&x->free_reqs, &x->reqs[i], link);
	}
	*ret = x;
	return 0;
}

int channel_exec_event_in(const struct channel_exec *x)
{
	return x->event_in;
}

int channel_exec_event_out(const struct channel_exec *x)
{
	return x->event_out;
}

static void start_here(struct remote *c)
{
	struct channel_exec *x = c->x;
	c->rc = watch_new(&x->watch, x->r, x->event_in, on_bell, x);
	if (c->rc == 0)
		c->rc = watch_set(x->watch, UV_READABLE);
	if (c->rc)
		return;
	x->running = true;
	reactor_defer(x->r, &x->turn);
}

int channel_exec_start(struct channel_exec *x)
{
	struct remote c = {.fn = start_here, .x = x};
	return remote_call(&c);
}

static void stop_here(struct remote *c)
{
	struct channel_exec *x = c->x;
	x->running = false;
	watch_free(x->watch);
	x->watch = NULL;
	while (x->executing)
		waitq_wait(&x->drained);
	reactor_defer_cancel(x->r, &x->turn);
	for (unsigned i = 0; i < CHANNEL_VOLUMES; i++) {
		if (x->vols[i].v) {
			x->vols[i].closing = true;
			vol_put_if_idle(x, &x->vols[i]);
		}
	}
}

void channel_exec_stop(struct channel_exec *x)
{
	struct remote c = {.fn = stop_here, .x = x};
	remote_call(&c);
}

void channel_exec_free(struct channel_exec *x)
{
	if (!x)
		return;
	CHECK(x, EXEC_MAGIC);
	ASSERT(!x->running && x->executing == 0);
	x->magic = 0;
	if (x->event_in >= 0)
		close(x->event_in);
	if (x->event_out >= 0)
		close(x->event_out);
	free(x->reqs);
	free(x);
}

void channel_exec_stats(struct channel_exec *x, struct channel_exec_stats *ret)
{
	ret->requests = atomic_load(&x->requests);
	ret->hits = atomic_load(&x->hits);
	ret->refused = atomic_load(&x->refused);
	ret->elsewhere = atomic_load(&x->elsewhere);
	ret->volumes = atomic_load(&x->nvols);
}
