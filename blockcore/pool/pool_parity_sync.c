/* Whole rows in the background: making parity right, filling a disk that takes another's place. */
#include "blockcore/pool/pool_stripe.h"
#include "runtime/err.h"
#include <string.h>

/* Parity elements that can be read and differ from what the data make, or cannot be read. */
static uint64_t wrong_parity(struct stripe *s)
{
	struct pool *p = s->p;
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

static int sync_slice(struct pool *p, uint64_t row, uint32_t lo, uint32_t len, bool mend,
		      uint64_t *fixed)
{
	struct stripe s;
	stripe_begin(&s, p, row, lo, len);
	int rc = stripe_read(&s, stripe_all(p));
	if (rc == 0 && mend)
		rc = mend_data(&s, fixed);
	/* What cannot be read can only be decoded by the parity there is: that stays as it is. */
	if (rc == 0 && !(stripe_data(p) & ~s.loaded)) {
		uint64_t wrong = wrong_parity(&s);
		if (wrong)
			rc = stripe_write(&s, wrong, NULL, 0);
		*fixed += rc == 0 && wrong;
	}
	stripe_end(&s);
	return rc;
}

static int fill_slice(struct pool *p, uint64_t row, unsigned elem, uint32_t lo, uint32_t len)
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

int pool_fill_row(struct pool *p, uint64_t row, unsigned position)
{
	unsigned elem = 0;
	int rc = 0;
	while (stripe_position(p, row, elem) != position)
		elem++;
	pool_lock_alone(&p->locks, 0, row * p->chunk);
	for (uint32_t lo = 0, n; lo < p->chunk && rc == 0; lo += n) {
		n = MIN(p->chunk - lo, STRIPE_SLICE);
		rc = fill_slice(p, row, elem, lo, n);
	}
	pool_unlock_alone(&p->locks, 0, row * p->chunk);
	return rc;
}

int pool_sync_row(struct pool *p, uint64_t row, bool mend, uint64_t *ret_fixed)
{
	int rc = 0;
	pool_lock_alone(&p->locks, 0, row * p->chunk);
	for (uint32_t lo = 0, n; lo < p->chunk && rc == 0; lo += n) {
		n = MIN(p->chunk - lo, STRIPE_SLICE);
		rc = sync_slice(p, row, lo, n, mend, ret_fixed);
	}
	pool_unlock_alone(&p->locks, 0, row * p->chunk);
	return rc;
}
