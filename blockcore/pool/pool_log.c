/*
 * The stripe log in use (pool_log.h).
 *
 * Whoever writes a row holds its lock from before the entry to after the last element, so entries
 * of a row are numbered as its writes come. `active` counts entries whose rows are being written;
 * emptying waits until there is none, while who comes waits for room, holding no entry: so both
 * get on. What decides whether a row is logged (p->log_mask) is looked at under `lock`, and
 * changes only while the log is emptied: no row is changed past the log while an entry of it
 * counts.
 */
#include "blockcore/pool/pool_log_impl.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pool_log_new(struct pool_log **ret, struct raid *p)
{
	struct pool_log *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->p = p;
	l->slice = MIN(STRIPE_SLICE, ROUND_DOWN(LOG_PAYLOAD_MAX / p->ndisks, LOG_BLOCK));
	pthread_mutex_init(&l->lock, NULL);
	waitq_init(&l->q);
	bool ok = posix_memalign((void **)&l->block, 4096, LOG_BLOCK) == 0;
	for (unsigned i = 0; i < LOG_BUFS && ok; i++) {
		ok = posix_memalign((void **)&l->buf[i].bytes, 4096, LOG_BLOCK + LOG_PAYLOAD_MAX) ==
		     0;
		l->buf[i].next = l->free;
		l->free = &l->buf[i];
	}
	if (!ok) {
		pool_log_free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

void pool_log_free(struct pool_log *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < LOG_BUFS; i++)
		free(l->buf[i].bytes);
	free(l->block);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

uint32_t pool_log_slice(const struct raid *p)
{
	return p->log->slice;
}

/* ---- who is logged ---- */

bool pool_log_wanted(const struct raid *p, uint64_t row)
{
	uint64_t mask = atomic_load(&p->log_mask);
	if (atomic_load(&p->log_always))
		return true;
	for (unsigned e = 0; mask && e < p->data; e++)
		if (mask >> stripe_position(p, row, e) & 1)
			return true;
	return false;
}

/* ---- emptying ---- */

struct disk_io {
	struct raid *p;
	unsigned position;
	const uint8_t *bytes;
	uint64_t len, off; /* len 0: a flush */
	int rc;
};

static void disk_io_run(void *item)
{
	struct disk_io *io = item;
	struct bdev *b = disk_bdev(io->p->disks[io->position]);
	io->rc = io->len ? bdev_write(b, io->bytes, io->len, io->off, BDEV_FUA) : bdev_flush(b);
}

/* 0 when every disk that is in use after it did it, and the pool lives. */
static int disks_run(struct raid *p, struct disk_io *io, unsigned n, const char *what)
{
	int rc = 0;
	fan_run(disk_io_run, io, sizeof(io[0]), n);
	for (unsigned i = 0; i < n; i++) {
		if (io[i].rc == 0)
			continue;
		if (pool_disk_error(io[i].rc))
			pool_copy_failed(p, io[i].position, what, io[i].rc);
		if (atomic_load(&p->in[io[i].position]))
			rc = io[i].rc;
	}
	return rc ? rc : raid_state(p) == POOL_OFFLINE ? -EIO : 0;
}

static int all_disks_run(struct raid *p, const struct disk_io *like, const char *what)
{
	struct disk_io io[POOL_DISKS_MAX];
	unsigned n = 0;
	for (unsigned i = 0; i < p->ndisks; i++) {
		if (!pool_writable(p, i))
			continue;
		io[n] = *like;
		io[n++].position = i;
	}
	return disks_run(p, io, n, what);
}

int pool_flush_disks(struct raid *p)
{
	return all_disks_run(p, &(struct disk_io){.p = p}, "flush error");
}

/* Everything that is logged is stable in its place, then the marker gets another key. */
static int write_marker(struct pool_log *l, uint64_t number, const uint8_t *key)
{
	struct raid *p = l->p;
	int rc = pool_flush_disks(p);
	if (rc)
		return rc;
	FAULT("pool.log.flushed");
	log_marker_encode(l, number, key, l->block);
	rc = all_disks_run(p,
			   &(struct disk_io){.p = p,
					     .bytes = l->block,
					     .len = LOG_BLOCK,
					     .off = LOG_OFF + number % 2 * LOG_BLOCK},
			   "the stripe log's marker");
	FAULT("pool.log.emptied");
	return rc;
}

static void wait_turn(struct pool_log *l)
{
	struct waiter w;
	waitq_enter(&l->q, &w);
	pthread_mutex_unlock(&l->lock);
	task_park();
	pthread_mutex_lock(&l->lock);
	waitq_leave(&l->q, &w);
}

/* Positions that are not IN any more since are logged on. */
static void unlog(struct raid *p, uint64_t done)
{
	pthread_mutex_lock(&p->lock);
	atomic_fetch_and(&p->log_mask, ~(done & ~raid_out_mask(p)));
	pthread_mutex_unlock(&p->lock);
}

/* With `lock` held, which it leaves meanwhile; nobody else is emptying. */
static int empty(struct pool_log *l, uint64_t done, bool always)
{
	uint8_t key[16];
	l->emptying = true;
	while (l->active)
		wait_turn(l);
	uint64_t number = ++l->marker; /* also when it fails: some disks may have it */
	pthread_mutex_unlock(&l->lock);
	env_random(l->p->env, key, sizeof(key));
	int rc = write_marker(l, number, key);
	pthread_mutex_lock(&l->lock);
	/* A marker that is on some disks only: no entry may count on either key. */
	l->keyed = rc == 0;
	if (rc == 0) {
		memcpy(l->key, key, sizeof(key));
		memset(l->next, 0, sizeof(l->next));
		unlog(l->p, done);
		atomic_store(&l->p->log_always, always);
		atomic_fetch_add(&l->emptied, 1);
	}
	l->emptying = false;
	waitq_wake_all(&l->q);
	return rc;
}

int pool_log_empty(struct raid *p, uint64_t done)
{
	struct pool_log *l = p->log;
	pthread_mutex_lock(&l->lock);
	while (l->emptying)
		wait_turn(l);
	int rc = empty(l, done, atomic_load(&p->log_always));
	pthread_mutex_unlock(&l->lock);
	return rc;
}

int pool_log_set_always(struct raid *p, bool always)
{
	struct pool_log *l = p->log;
	pthread_mutex_lock(&l->lock);
	while (l->emptying)
		wait_turn(l);
	int rc = empty(l, 0, always);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

/* ---- an entry ---- */

struct placed {
	unsigned n;
	struct disk_io io[1 + PARITY_MAX];
};

/* Disks that the pool could lose and still have all data, and one more. One that is being filled
 * counts as there: when it is IN, the entries of before have to survive what may be lost then. */
static unsigned copies_wanted(const struct raid *p)
{
	unsigned out = 0, in = 0;
	for (unsigned i = 0; i < p->ndisks; i++) {
		out += !pool_writable(p, i);
		in += atomic_load(&p->in[i]);
	}
	return MIN(in, 1 + (out < p->parity ? p->parity - out : 0));
}

/* With `lock` held. On the disks with most room; false: there is none. */
static bool place(struct pool_log *l, uint32_t blocks, struct placed *ret)
{
	struct raid *p = l->p;
	unsigned want = copies_wanted(p);
	uint64_t taken = 0;
	for (ret->n = 0; ret->n < want; ret->n++) {
		unsigned best = p->ndisks;
		for (unsigned i = 0; i < p->ndisks; i++)
			if (atomic_load(&p->in[i]) && !(taken >> i & 1) &&
			    (best == p->ndisks || l->next[i] < l->next[best]))
				best = i;
		if (best == p->ndisks || l->next[best] + blocks > LOG_BLOCKS)
			return false;
		taken |= 1ull << best;
		ret->io[ret->n] =
		    (struct disk_io){.p = p,
				     .position = best,
				     .len = (uint64_t)blocks * LOG_BLOCK,
				     .off = LOG_ENTRIES_OFF + (uint64_t)l->next[best] * LOG_BLOCK};
	}
	for (unsigned i = 0; i < ret->n; i++)
		l->next[ret->io[i].position] += blocks;
	return true;
}

static bool still_wanted(struct raid *p, const struct log_entry *e)
{
	return e->nrows ? atomic_load(&p->log_always) || atomic_load(&p->log_mask)
			: pool_log_wanted(p, e->row);
}

/* With `lock` held. 1: there is a place, a number and a buffer; 0: the row is not logged. */
static int reserve(struct pool_log *l, struct log_entry *e, struct placed *at, struct log_buf **ret)
{
	for (;;) {
		if (!still_wanted(l->p, e))
			return 0;
		if (raid_state(l->p) == POOL_OFFLINE)
			return -EIO;
		if (l->emptying || !l->free) {
			wait_turn(l);
		} else if (l->keyed && place(l, log_blocks(log_payload(e)), at)) {
			*ret = l->free;
			l->free = (*ret)->next;
			e->seq = ++l->seq;
			l->active++;
			return 1;
		} else {
			int rc = empty(l, 0, atomic_load(&l->p->log_always));
			if (rc)
				return rc;
		}
	}
}

static void give_back(struct pool_log *l, struct log_buf *b, bool ended)
{
	pthread_mutex_lock(&l->lock);
	if (b) {
		b->next = l->free;
		l->free = b;
	}
	l->active -= ended;
	waitq_wake_all(&l->q);
	pthread_mutex_unlock(&l->lock);
}

static void fill_payload(struct stripe *s, const struct log_entry *e,
			 const struct stripe_source *src, uint8_t *to)
{
	for (uint64_t elems = e->elems; elems; elems &= elems - 1, to += e->len) {
		unsigned i = (unsigned)__builtin_ctzll(elems);
		if (src && src[i].n) {
			struct iov_cursor c = {src[i].iov, src[i].n, 0};
			iov_gather(&c, to, e->len);
		} else {
			memcpy(to, s->buf[i], e->len);
		}
	}
}

/* 0 when at least one copy stands, and nobody in use refused it. */
static int write_entry(struct pool_log *l, struct log_entry *e, struct placed *at, uint8_t *bytes)
{
	uint64_t payload = log_payload(e), len = at->io[0].len;
	memset(bytes + LOG_BLOCK + payload, 0, len - LOG_BLOCK - payload);
	e->crc = crc32c(bytes + LOG_BLOCK, payload);
	log_head_encode(l, e, bytes);
	for (unsigned i = 0; i < at->n; i++)
		at->io[i].bytes = bytes;
	int rc = disks_run(l->p, at->io, at->n, "the stripe log");
	bool any = false;
	for (unsigned i = 0; i < at->n; i++)
		any |= at->io[i].rc == 0;
	atomic_fetch_add(&l->entries, 1);
	atomic_fetch_add(&l->bytes, at->n * len);
	return rc ? rc : any ? 0 : -EAGAIN;
}

/* s NULL: rows of zeros. 1: logged; 0: not wanted. */
static int begin(struct raid *p, struct log_entry *e, struct stripe *s,
		 const struct stripe_source *src)
{
	struct pool_log *l = p->log;
	struct placed at;
	struct log_buf *b = NULL;
	int rc;
	do {
		pthread_mutex_lock(&l->lock);
		rc = reserve(l, e, &at, &b);
		pthread_mutex_unlock(&l->lock);
		if (rc <= 0)
			return rc;
		if (s)
			fill_payload(s, e, src, b->bytes + LOG_BLOCK);
		rc = write_entry(l, e, &at, b->bytes);
		give_back(l, b, rc != 0);
	} while (rc == -EAGAIN); /* its only disk is out now; there are others */
	FAULT("pool.log.written");
	return rc ? rc : 1;
}

int pool_log_begin(struct stripe *s, uint64_t elems, const struct stripe_source *src)
{
	struct raid *p = s->p;
	struct log_entry e = {.row = s->row, .elems = elems & ~s->out, .lo = s->lo, .len = s->len};
	if (!pool_log_wanted(p, s->row) || !e.elems)
		return 0;
	if (log_payload(&e) > LOG_PAYLOAD_MAX)
		return -E2BIG;
	int rc = begin(p, &e, s, src);
	s->logged = rc > 0;
	return MIN(rc, 0);
}

int pool_log_begin_zeros(struct raid *p, uint64_t row, uint32_t nrows, bool *ret_logged)
{
	struct log_entry e = {.row = row, .nrows = nrows};
	int rc = begin(p, &e, NULL, NULL);
	*ret_logged = rc > 0;
	return MIN(rc, 0);
}

void pool_log_end(struct raid *p)
{
	FAULT("pool.row.written");
	give_back(p->log, NULL, true);
}

void pool_log_stats(const struct raid *p, struct pool_log_stats *ret)
{
	const struct pool_log *l = p->log;
	*ret = (struct pool_log_stats){0};
	if (l)
		*ret = (struct pool_log_stats){.entries = atomic_load(&l->entries),
					       .bytes = atomic_load(&l->bytes),
					       .emptied = atomic_load(&l->emptied),
					       .replayed = atomic_load(&l->replayed)};
}
