/*
 * Writing a ring: frames, and the old records that are copied forward so that its tail moves
 * (nasfront/piv/ledger_layout.h).
 *
 * A frame takes all that waits, in the order in which it was first changed. While more than half of
 * the ring is in use it takes twice as many bytes of the oldest records along, and fills its last
 * block with more. Live records are at most half of the ring, so what is in use stays below three
 * quarters of it, but for what blocks and the ring's end waste. Where it grows beyond that all the
 * same (`crowded`) frames of old records alone go first: a lap of them leaves little more in use
 * than is live. So a frame always finds its place. A crowded ring may have to write a changed
 * record out of turn, as its old place is in the way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/fault.h"

#define CROWDED_FRAMES 3 /* kept free beyond what is to be written */

/* ---- places ---- */

void ring_place(struct ring *r, struct record *e, uint64_t seq)
{
	struct place *p = &e->at[r->index];
	if (p->seq)
		TAILQ_REMOVE(&r->old, e, at[r->index].lru);
	p->seq = seq;
	if (seq)
		TAILQ_INSERT_TAIL(&r->old, e, at[r->index].lru);
}

void ring_dirty(struct ring *r, struct record *e, uint64_t change)
{
	struct place *p = &e->at[r->index];
	if (p->dirty)
		return;
	p->dirty = true;
	p->since = change;
	r->dirty_bytes += record_bytes(e);
	TAILQ_INSERT_TAIL(&r->queue, e, at[r->index].queue);
}

void ring_clean(struct ring *r, struct record *e)
{
	struct place *p = &e->at[r->index];
	if (!p->dirty)
		return;
	p->dirty = false;
	r->dirty_bytes -= record_bytes(e);
	TAILQ_REMOVE(&r->queue, e, at[r->index].queue);
}

int ring_begin(struct ring *r)
{
	r->where = calloc(r->blocks, sizeof(*r->where));
	if (!r->where ||
	    posix_memalign((void **)&r->buf, PIV_BLOCK, (size_t)r->frame_blocks * PIV_BLOCK)) {
		free(r->where);
		r->where = NULL;
		r->buf = NULL;
		return -ENOMEM;
	}
	TAILQ_INIT(&r->old);
	TAILQ_INIT(&r->queue);
	r->tail = r->base = r->seq + 1;
	r->covered = 0;
	r->dirty_bytes = r->debt = 0;
	r->built = false;
	return 0;
}

void ring_off(struct ledger *l, struct ring *r)
{
	struct record *e;
	r->state = RING_OFF;
	if (!r->buf)
		return;
	while ((e = TAILQ_FIRST(&r->queue))) {
		ring_clean(r, e);
		ledger_record_settle(l, e);
	}
	while ((e = TAILQ_FIRST(&r->old))) {
		ring_place(r, e, 0);
		ledger_record_settle(l, e);
	}
	free(r->buf);
	free(r->where);
	r->buf = NULL;
	r->where = NULL;
	r->built = false;
}

/* ---- room ---- */

static uint32_t blocks_of(size_t bytes)
{
	return (uint32_t)((bytes + PIV_BLOCK - 1) / PIV_BLOCK);
}

uint32_t ring_used(const struct ring *r)
{
	if (r->tail > r->seq)
		return 0;
	return (r->head + r->blocks - r->where[r->tail % r->blocks]) % r->blocks;
}

/* Where a frame of so many blocks goes; at least one stays free. */
static bool ring_fits(const struct ring *r, uint32_t blocks, uint32_t *ret)
{
	uint32_t start = r->tail > r->seq ? r->head : r->where[r->tail % r->blocks];
	bool empty = r->tail > r->seq;
	*ret = r->head;
	if (r->head < start)
		return r->head + blocks < start;
	if (r->head + blocks < r->blocks || (r->head + blocks == r->blocks && start > 0))
		return true;
	*ret = 0;
	return empty ? blocks < r->blocks : blocks < start;
}

/* The most that one frame may be now. */
static size_t frame_limit(const struct ring *r)
{
	uint32_t n = r->frame_blocks, block;
	while (n && !ring_fits(r, n, &block))
		n--;
	return (size_t)n * PIV_BLOCK;
}

/* ---- a frame ---- */

struct frame {
	struct ledger *l;
	struct ring *r;
	uint64_t seq;
	size_t len, limit;
	size_t fresh; /* bytes of changed records */
};

static bool add(struct frame *f, struct record *e)
{
	struct ring *r = f->r;
	size_t n = record_bytes(e);
	uint8_t *p = r->buf + f->len;
	if (f->len + n > f->limit)
		return false;
	le16_put(p, e->klen);
	le16_put(p + 2, e->gone ? LEDGER_RECORD_GONE : 0);
	le32_put(p + 4, e->gone ? 0 : e->vlen);
	memcpy(p + LEDGER_RECORD_HEAD, e->key, e->klen);
	if (!e->gone && e->vlen)
		memcpy(p + LEDGER_RECORD_HEAD + e->klen, e->value, e->vlen);
	f->len += n;
	if (e->at[r->index].dirty) {
		f->fresh += n;
		ring_clean(r, e);
	} else {
		r->bytes_copied += n;
		r->debt -= MIN(r->debt, n);
	}
	ring_place(r, e, f->seq);
	return true;
}

static void add_queue(struct frame *f)
{
	struct record *e;
	while ((e = TAILQ_FIRST(&f->r->queue)) && add(f, e))
		;
}

/* Is the next of the oldest records to go along? */
static bool old_wanted(const struct frame *f, const struct record *e, bool crowded)
{
	return crowded || f->r->debt > 0 ||
	       f->len + record_bytes(e) <= ROUND_UP(f->len, (size_t)PIV_BLOCK);
}

static void add_old(struct frame *f, bool crowded)
{
	struct ring *r = f->r;
	struct record *e;
	while ((e = TAILQ_FIRST(&r->old)) && e->at[r->index].seq != f->seq) {
		bool dirty = e->at[r->index].dirty;
		if (e->gone && !dirty) {
			/* Its older values are before the tail from this frame on. */
			ring_place(r, e, 0);
			ledger_record_settle(f->l, e);
			continue;
		}
		if (!old_wanted(f, e, crowded))
			return;
		/* What was changed together stays together, as far as one frame holds it. */
		if (dirty && f->len + r->dirty_bytes <= f->limit)
			add_queue(f);
		else if (!add(f, e))
			return;
	}
	r->debt = 0;
}

static void frame_seal(struct frame *f)
{
	struct ring *r = f->r;
	uint8_t *p = r->buf;
	memset(p + f->len, 0, (size_t)blocks_of(f->len) * PIV_BLOCK - f->len);
	memset(p, 0, LEDGER_FRAME_HEAD);
	le32_put(p, LEDGER_FRAME_MAGIC);
	le32_put(p + 4, LEDGER_FRAME_VERSION);
	le64_put(p + 8, r->id);
	le64_put(p + 16, f->seq);
	le64_put(p + 24, r->out.tail);
	le64_put(p + 32, f->l->term);
	le64_put(p + 40, r->out.change);
	le32_put(p + 48, (uint32_t)f->len);
	le32_put(p + 52, r->out.flags);
	uint32_t c = crc32c_add(CRC32C_INIT, p, 60);
	le32_put(p + 60,
		 crc32c_end(crc32c_add(c, p + LEDGER_FRAME_HEAD, f->len - LEDGER_FRAME_HEAD)));
}

/* The next frame into the buffer, with its place. What it says of tail and change is so when it is
 * stable. -ENOSPC: no place, nothing is changed. */
static int frame_build(struct ledger *l, struct ring *r)
{
	struct frame f = {
	    .l = l, .r = r, .seq = r->seq + 1, .len = LEDGER_FRAME_HEAD, .limit = frame_limit(r)};
	uint32_t used = ring_used(r);
	uint32_t need = MIN(blocks_of(LEDGER_FRAME_HEAD + r->dirty_bytes), r->frame_blocks);
	bool crowded = r->blocks - used < need + CROWDED_FRAMES * r->frame_blocks;
	bool half = r->state == RING_ON && used > r->blocks / 2;
	if (f.limit == 0)
		return -ENOSPC;
	if (!half)
		r->debt = 0;
	if (!crowded && r->debt < f.limit)
		add_queue(&f);
	if (half)
		r->debt += 2 * f.fresh;
	if (half || crowded) {
		add_old(&f, crowded);
		FAULT("ledger.copied_forward");
	}
	struct record *first = TAILQ_FIRST(&r->queue), *old = TAILQ_FIRST(&r->old);
	bool more = r->state == RING_FILLING && first;
	r->out.tail = more ? r->base : old ? old->at[r->index].seq : f.seq;
	r->out.change = first ? first->at[r->index].since - 1 : l->changes;
	r->out.flags = more ? LEDGER_FRAME_MORE : 0;
	r->out.len = (uint32_t)f.len;
	ASSERT(ring_fits(r, blocks_of(f.len), &r->out.block));
	frame_seal(&f);
	r->seq = f.seq;
	r->where[r->seq % r->blocks] = r->out.block;
	r->head = (r->out.block + blocks_of(f.len)) % r->blocks;
	r->built = true;
	return 0;
}

static int frame_write(struct ring *r)
{
	size_t bytes = (size_t)blocks_of(r->out.len) * PIV_BLOCK;
	uint64_t off = r->off + (uint64_t)r->out.block * PIV_BLOCK;
	FAULT("ledger.before_write");
	int rc = bdev_write(r->bdev, r->buf, bytes, off, BDEV_FUA);
	if (rc)
		return rc;
	FAULT("ledger.after_write");
	r->built = false;
	r->tail = r->out.tail;
	r->covered = r->out.change;
	if (!(r->out.flags & LEDGER_FRAME_MORE))
		r->state = RING_ON;
	r->frames++;
	r->bytes_written += bytes;
	return 0;
}

int ring_write(struct ledger *l, struct ring *r, uint64_t mark)
{
	/* More than laps of nothing but old records and all that can wait. */
	for (uint64_t n = 0; n < 8ull * r->blocks; n++) {
		struct record *e = TAILQ_FIRST(&r->queue);
		int rc = 0;
		if (!r->built && r->state == RING_ON && !(e && e->at[r->index].since <= mark))
			return 0;
		if (!r->built)
			rc = frame_build(l, r);
		if (rc == 0)
			rc = frame_write(r);
		if (rc)
			return rc;
	}
	return -ENOSPC;
}
