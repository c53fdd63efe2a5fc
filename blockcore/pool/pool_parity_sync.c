/* Whole rows in the background: making parity right, filling a disk that takes another's place. */
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <string.h>

static bool all_zero(const uint8_t *b, size_t n)
{
	return b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
}

/* Parity elements that can be read and differ from what the data make, or cannot be read. */
static uint64_t wrong_parity(struct stripe *s)
{
	struct raid *p = s->p;
	uint8_t *fresh[PARITY_MAX];
	uint64_t wrong = 0;
	for (unsigned j = 0; j < p->parity; j++)
		fresh[j] = stripe_fresh(s, p->data + j);
	parity_encode(p->code, s->len, s->buf, fresh);
	for (unsigned j = 0; j < p->parity; j++) {
		uint64_t bit = 1ull << (p->data + j);
		if (s->bad & ~s->failed & bit)
			continue; /* its disk is out */
		if ((s->failed & bit) || memcmp(s->buf[p->data + j], fresh[j], s->len) != 0)
			wrong |= bit;
		s->buf[p->data + j] = fresh[j];
	}
	return wrong;
}

/* Data that cannot be read is decoded and written anew; what had to be is in `loaded` then. */
static int mend_data(struct stripe *s, uint64_t *fixed)
{
	int rc = stripe_load(s, stripe_data(s->p));
	uint64_t mended = s->failed & stripe_data(s->p);
	if (rc || !mended)
		return rc;
	rc = stripe_write(s, mended, NULL, BDEV_FUA);
	*fixed += rc == 0;
	return rc;
}

#define LOCATE_BLOCK 4096u

static void told_wrong(const struct stripe *s, unsigned elem, uint32_t at)
{
	struct raid *p = s->p;
	atomic_fetch_add(&p->located, 1);
	event_write(
	    LOG_L_WARN, "pool.wrong_data",
	    "pool %s: disk %s held wrong data at byte %llu, as both parities of its row say; "
	    "made right",
	    p->name, disk_path(p->disks[stripe_position(p, s->row, elem)]),
	    (unsigned long long)(p->data_off + s->row * p->chunk + s->lo + at));
}

/*
 * RAID 6, all of the slice was read: where both parities disagree with the data and one element
 * explains both, that element is wrong. Made right in buf; ret: such elements.
 */
static uint64_t locate_wrong(struct stripe *s)
{
	struct raid *p = s->p;
	uint8_t *fresh[PARITY_MAX] = {stripe_fresh(s, p->data), stripe_fresh(s, p->data + 1)};
	uint64_t wrong = 0;
	parity_encode(p->code, s->len, s->buf, fresh);
	parity_xor(fresh[0], s->buf[p->data], s->len);
	parity_xor(fresh[1], s->buf[p->data + 1], s->len);
	for (uint32_t at = 0, n; at < s->len; at += n) {
		uint8_t *dp = fresh[0] + at, *dq = fresh[1] + at;
		n = MIN(s->len - at, LOCATE_BLOCK);
		if (all_zero(dp, n) || all_zero(dq, n))
			continue; /* the data is right, or nothing tells */
		int e = parity_locate(p->code, n, dp, dq);
		if (e < 0)
			continue;
		parity_xor(s->buf[e] + at, dp, n);
		told_wrong(s, (unsigned)e, at);
		wrong |= 1ull << e;
	}
	return wrong;
}

/* Calls fn for these elements as they lie on the disks. */
static int each_elem(struct stripe *s, uint64_t elems,
		     int (*fn)(struct raid *p, unsigned position, const uint8_t *buf, uint64_t off,
			       uint64_t len))
{
	uint64_t at = s->row * s->p->chunk + s->lo;
	int rc = 0;
	for (; elems && rc == 0; elems &= elems - 1) {
		unsigned e = (unsigned)__builtin_ctzll(elems);
		rc = fn(s->p, stripe_position(s->p, s->row, e), s->buf[e], at, s->len);
	}
	return rc;
}

static int sync_slice(struct raid *p, uint64_t row, uint32_t lo, uint32_t len, bool mend,
		      uint64_t *fixed)
{
	struct stripe s;
	stripe_begin(&s, p, row, lo, len);
	int rc = stripe_read(&s, stripe_all(p));
	uint64_t read = s.loaded;
	/* What lies there is the truth after an unclean close, and has its checksums made new. */
	if (rc == 0)
		rc = each_elem(&s, read, pool_sums_renew);
	if (rc == 0 && mend)
		rc = mend_data(&s, fixed);
	/* What cannot be read can only be decoded by the parity there is: that stays as it is. */
	if (rc == 0 && !(stripe_data(p) & ~s.loaded)) {
		/* Not after a crash: then it is a write that was cut off, and the data is as good.
		 */
		bool whole = mend && p->parity == 2 && !s.bad && !(stripe_all(p) & ~s.loaded);
		uint64_t wrong = whole ? locate_wrong(&s) : 0;
		wrong |= wrong_parity(&s);
		if (wrong)
			rc = stripe_write(&s, wrong, NULL, 0);
		*fixed += rc == 0 && wrong;
		read &= ~wrong;
	}
	if (rc == 0 && mend)
		rc = each_elem(&s, read, pool_sums_complete);
	stripe_end(&s);
	return rc;
}

static int fill_slice(struct raid *p, uint64_t row, unsigned elem, uint32_t lo, uint32_t len)
{
	struct stripe s;
	uint64_t bit = 1ull << elem;
	stripe_begin(&s, p, row, lo, len);
	int rc = stripe_load(&s, bit);
	if (rc == 0)
		rc = stripe_write(&s, bit, NULL, 0);
	stripe_end(&s);
	return rc;
}

#define BLOCK 4096u

/* Where too much of a slice is bad, each block may still come from what is good there. */
static int fill_blocks(struct raid *p, uint64_t row, unsigned elem, uint32_t lo, uint32_t len)
{
	int rc = 0;
	for (uint32_t at = lo, n; at < lo + len && rc == 0; at += n) {
		n = MIN(lo + len - at, MAX(BLOCK, p->io.block_size));
		rc = fill_slice(p, row, elem, at, n);
	}
	return rc;
}

int pool_fill_row(struct raid *p, uint64_t row, unsigned position)
{
	unsigned elem = 0;
	int rc = 0;
	while (stripe_position(p, row, elem) != position)
		elem++;
	pool_lock_alone(&p->locks, 0, row * p->chunk);
	for (uint32_t lo = 0, n; lo < p->chunk && rc == 0; lo += n) {
		n = MIN(p->chunk - lo, STRIPE_SLICE);
		rc = fill_slice(p, row, elem, lo, n);
		if (rc == -ERR_MEDIUM)
			rc = fill_blocks(p, row, elem, lo, n);
	}
	pool_unlock_alone(&p->locks, 0, row * p->chunk);
	return rc;
}

/* The same for a scrub. Checksums say which block is wrong: what cannot be made right is counted,
 * and the rest looked at. */
static int mend_blocks(struct raid *p, uint64_t row, uint32_t lo, uint32_t len, uint64_t *fixed)
{
	int rc = 0;
	for (uint32_t at = lo, n; at < lo + len && rc == 0; at += n) {
		n = MIN(lo + len - at, MAX(BLOCK, p->io.block_size));
		rc = sync_slice(p, row, at, n, true, fixed);
		if (rc == -ERR_MEDIUM && p->sums) {
			pool_unmended_told(p, row * stripe_row_bytes(p), stripe_row_bytes(p));
			rc = 0;
		}
	}
	return rc;
}

int pool_sync_row(struct raid *p, uint64_t row, bool mend, uint64_t *ret_fixed)
{
	int rc = 0;
	pool_lock_alone(&p->locks, 0, row * p->chunk);
	for (uint32_t lo = 0, n; lo < p->chunk && rc == 0; lo += n) {
		n = MIN(p->chunk - lo, STRIPE_SLICE);
		rc = sync_slice(p, row, lo, n, mend, ret_fixed);
		if (rc == -ERR_MEDIUM && mend)
			rc = mend_blocks(p, row, lo, n, ret_fixed);
	}
	pool_unlock_alone(&p->locks, 0, row * p->chunk);
	return rc;
}
