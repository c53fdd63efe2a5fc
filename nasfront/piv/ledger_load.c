/* Reading a ring: where the service's region is, which frames it holds, what state they are
 * (nasfront/piv/ledger_layout.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"

#define READ_BYTES (1u << 20)
#define BAD_MAX	   16 /* blocks that cannot be read, of a volume that can */

/* ---- the region ---- */

static int region_take(struct ledger *l, struct ring *r, const struct piv_area *a,
		       struct piv_found *f)
{
	struct piv_claim c = {.instance = env_random_u64(l->env) | 1};
	strcpy(c.name, l->service);
	/* It may be this service's that is damaged: its state is not begun anew beside it. */
	if (f->damaged && !l->anew)
		return -ERR_CORRUPT;
	int rc = piv_claim_take(l->env, r->bdev, a, &c, &f->index);
	f->claim = c;
	return rc;
}

int ring_find(struct ledger *l, struct ring *r, bool take)
{
	struct piv_header h;
	struct piv_found f;
	int rc = piv_header_read(r->bdev, &h);
	/* A blank main volume is filled from the backup, by who opens the PIV. */
	if (rc == -ENODATA && take && r->index == 1)
		rc = piv_format(r->bdev, l->group_id, &h);
	if (rc)
		return rc;
	if (take && h.group_id != l->group_id)
		return -ERR_FOREIGN;
	if (!h.regions)
		return -ENODEV;
	struct piv_area a = piv_regions(&h);
	rc = piv_claim_find(r->bdev, &a, l->service, &f);
	r->full = rc == 0 && !f.own && !f.room;
	if (rc == 0 && !f.own)
		rc = take ? region_take(l, r, &a, &f) : f.damaged ? -ERR_CORRUPT : -ENOENT;
	/* A claim that one who was killed wrote may be in a volatile cache still. */
	if (rc == 0 && take)
		rc = bdev_flush(r->bdev);
	if (rc)
		return rc;
	r->id = f.claim.instance;
	r->off = piv_area_off(&a, f.index) + (uint64_t)a.claims * PIV_BLOCK;
	r->blocks = a.blocks - a.claims;
	r->frame_blocks =
	    MIN(MAX(r->blocks / 16, (uint32_t)LEDGER_FRAME_MIN), (uint32_t)LEDGER_FRAME_MAX);
	return 0;
}

/* ---- frames ---- */

/* Some blocks that cannot be read may be none that count: they are as damaged ones. */
static int read_blocks(struct ring *r, uint8_t *p, size_t bytes, uint64_t off, unsigned *bad)
{
	int rc = bdev_read(r->bdev, p, bytes, off);
	if (rc == 0 || rc == -ERR_EPOCH_STALE || rc == -ERR_SHUTDOWN)
		return rc;
	for (size_t i = 0; i < bytes; i += PIV_BLOCK) {
		rc = bdev_read(r->bdev, p + i, PIV_BLOCK, off + i);
		if (rc && ++*bad > BAD_MAX)
			return rc;
		if (rc)
			memset(p + i, 0, PIV_BLOCK);
	}
	return 0;
}

static int read_ring(struct ring *r, uint8_t *p)
{
	size_t size = (size_t)r->blocks * PIV_BLOCK;
	unsigned bad = 0;
	int rc = 0;
	for (size_t i = 0; i < size && rc == 0; i += READ_BYTES)
		rc = read_blocks(r, p + i, MIN(size - i, (size_t)READ_BYTES), r->off + i, &bad);
	return rc;
}

static bool frame_sound(const struct ring *r, const struct found_frame *f)
{
	return f->seq >= 1 && f->seq < LEDGER_SEQ_MAX && f->tail >= 1 && f->tail <= f->seq &&
	       f->seq - f->tail < r->blocks && f->term < LEDGER_SEQ_MAX &&
	       f->change < LEDGER_SEQ_MAX && !(f->flags & ~LEDGER_FRAME_MORE);
}

/* 0: none begins there; 1: the frame; -ERR_VERSION. */
static int frame_check(const struct ring *r, const uint8_t *p, uint32_t block,
		       struct found_frame *ret)
{
	size_t room = (size_t)(r->blocks - block) * PIV_BLOCK;
	if (le32_get(p) != LEDGER_FRAME_MAGIC || le64_get(p + 8) != r->id)
		return 0;
	if (le32_get(p + 4) != LEDGER_FRAME_VERSION)
		return -ERR_VERSION;
	*ret = (struct found_frame){.seq = le64_get(p + 16),
				    .tail = le64_get(p + 24),
				    .term = le64_get(p + 32),
				    .change = le64_get(p + 40),
				    .block = block,
				    .len = le32_get(p + 48),
				    .flags = le32_get(p + 52)};
	if (ret->len < LEDGER_FRAME_HEAD || ret->len > room || !frame_sound(r, ret))
		return 0;
	uint32_t c = crc32c_add(CRC32C_INIT, p, 60);
	c = crc32c_add(c, p + LEDGER_FRAME_HEAD, ret->len - LEDGER_FRAME_HEAD);
	return le32_get(p + 60) == crc32c_end(c);
}

static int frames_find(const struct ring *r, struct ring_scan *s)
{
	for (uint32_t block = 0; block < r->blocks;) {
		struct found_frame *f = &s->frames[s->count];
		int rc = frame_check(r, s->bytes + (size_t)block * PIV_BLOCK, block, f);
		if (rc < 0)
			return rc;
		if (rc) {
			s->term = MAX(s->term, f->term);
			s->count++;
			block += (f->len + PIV_BLOCK - 1) / PIV_BLOCK;
		} else {
			block++;
		}
	}
	return 0;
}

/* By sequence; of two with one the later term's last. */
static int frame_order(const void *a, const void *b)
{
	const struct found_frame *x = a, *y = b;
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->term < y->term ? -1 : x->term > y->term;
}

static void frames_sort(struct ring_scan *s)
{
	unsigned n = 0;
	if (!s->count)
		return;
	qsort(s->frames, s->count, sizeof(*s->frames), frame_order);
	for (unsigned i = 1; i < s->count; i++) {
		if (s->frames[i].seq != s->frames[n].seq)
			n++;
		s->frames[n] = s->frames[i];
	}
	s->count = n + 1;
}

/* Finds head and tail. -ERR_CORRUPT: a frame between them is not there. */
static int state_find(struct ring_scan *s)
{
	unsigned n = s->count;
	while (n && s->frames[n - 1].flags & LEDGER_FRAME_MORE) {
		uint64_t base = s->frames[n - 1].tail;
		s->unfinished = true;
		while (n && s->frames[n - 1].seq >= base)
			n--;
	}
	if (!n)
		return 0;
	const struct found_frame *head = &s->frames[n - 1];
	uint64_t span = head->seq - head->tail;
	bool there = span < n && s->frames[n - 1 - span].seq == head->tail;
	for (unsigned i = n; there && i-- > n - span;)
		there = s->frames[i - 1].term <= s->frames[i].term;
	if (!there) /* a filling writes over what was there before */
		return s->unfinished ? 0 : -ERR_CORRUPT;
	s->last = n - 1;
	s->first = (unsigned)(n - 1 - span);
	s->whole = true;
	return 0;
}

int ring_scan(struct ring *r, struct ring_scan *s)
{
	*s = (struct ring_scan){0};
	r->seq = 0;
	r->head = 0;
	s->frames = calloc(r->blocks + 1, sizeof(*s->frames));
	if (!s->frames ||
	    posix_memalign((void **)&s->bytes, PIV_BLOCK, (size_t)r->blocks * PIV_BLOCK)) {
		s->bytes = NULL;
		return -ENOMEM;
	}
	int rc = read_ring(r, s->bytes);
	if (rc == 0)
		rc = frames_find(r, s);
	if (rc)
		return rc;
	frames_sort(s);
	if (s->count) {
		const struct found_frame *f = &s->frames[s->count - 1];
		r->seq = f->seq;
		r->head = (f->block + (f->len + PIV_BLOCK - 1) / PIV_BLOCK) % r->blocks;
	}
	r->found = true;
	return state_find(s);
}

void ring_scan_free(struct ring_scan *s)
{
	free(s->bytes);
	free(s->frames);
	*s = (struct ring_scan){0};
}

/* ---- records ---- */

static int record_load(struct ledger *l, struct ring *r, uint64_t seq, const uint8_t *key,
		       size_t klen, const uint8_t *value, size_t vlen, bool gone)
{
	struct record *e = ledger_find(l, key, klen);
	if (!e && gone) /* its older values do not count any more */
		return 0;
	if (!e)
		e = ledger_record_new(l, key, klen);
	else if (!e->gone)
		l->records--, l->live_bytes -= record_bytes(e);
	if (!e)
		return -ENOMEM;
	e->gone = true;
	ring_place(r, e, seq);
	if (gone)
		return 0;
	if (!ledger_record_grow(e, vlen))
		return -ENOMEM;
	ledger_record_set(e, value, vlen);
	l->records++;
	l->live_bytes += record_bytes(e);
	return 0;
}

static int frame_load(struct ledger *l, struct ring *r, uint64_t seq, const uint8_t *p, size_t len)
{
	while (len) {
		if (len < LEDGER_RECORD_HEAD)
			return -ERR_CORRUPT;
		size_t klen = le16_get(p), vlen = le32_get(p + 4);
		unsigned flags = le16_get(p + 2);
		if (!klen || klen > LEDGER_KEY_MAX || vlen > LEDGER_VALUE_MAX ||
		    flags & ~LEDGER_RECORD_GONE || (flags && vlen))
			return -ERR_CORRUPT;
		size_t n = LEDGER_RECORD_HEAD + klen + vlen;
		if (n > len)
			return -ERR_CORRUPT;
		int rc = record_load(l, r, seq, p + LEDGER_RECORD_HEAD, klen,
				     p + LEDGER_RECORD_HEAD + klen, vlen, flags);
		if (rc)
			return rc;
		p += n;
		len -= n;
	}
	return 0;
}

int ring_load(struct ledger *l, struct ring *r, const struct ring_scan *s)
{
	int rc = ring_begin(r);
	for (unsigned i = s->first; i <= s->last && rc == 0; i++) {
		const struct found_frame *f = &s->frames[i];
		const uint8_t *p = s->bytes + (size_t)f->block * PIV_BLOCK;
		r->where[f->seq % r->blocks] = f->block;
		rc = frame_load(l, r, f->seq, p + LEDGER_FRAME_HEAD, f->len - LEDGER_FRAME_HEAD);
	}
	if (rc)
		return rc;
	r->tail = s->frames[s->last].tail;
	r->covered = s->frames[s->last].change;
	return 0;
}

int ring_resume(struct ring *r, const struct ring_scan *s)
{
	const struct found_frame *head = &s->frames[s->last];
	uint8_t *zeros = NULL;
	/* What was read may still be in a volatile cache: nothing later may be stable before it. */
	int rc = bdev_flush(r->bdev);
	if (rc)
		return rc;
	if (posix_memalign((void **)&zeros, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	memset(zeros, 0, PIV_BLOCK);
	for (unsigned i = s->count; i-- > s->last + 1 && rc == 0;)
		rc = bdev_write(r->bdev, zeros, PIV_BLOCK,
				r->off + (uint64_t)s->frames[i].block * PIV_BLOCK, BDEV_FUA);
	free(zeros);
	if (rc)
		return rc;
	r->seq = head->seq;
	r->head = (head->block + (head->len + PIV_BLOCK - 1) / PIV_BLOCK) % r->blocks;
	r->state = RING_ON;
	return 0;
}
