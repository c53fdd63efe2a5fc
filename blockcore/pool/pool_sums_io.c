/*
 * Pages held against their checksums, and sums set as pages are written (pool_sums.h).
 *
 * A sum is set after the write has returned and within the writer's hold of its region or row; so
 * whoever is alone there finds that sums and data belong together.
 */
#include "runtime/iov_cursor.h"
#include "blockcore/pool/pool_impl.h"
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>

#define PAGES_AT_ONCE 128u

static uint32_t sum_end(uint32_t state)
{
	uint32_t sum = crc32c_end(state);
	return sum == SUM_NONE ? 1 : sum;
}

/* The next page of the buffers. */
static uint32_t sum_next(struct iov_cursor *c)
{
	uint32_t state = CRC32C_INIT;
	for (size_t left = SUM_PAGE, n; left > 0; left -= n) {
		n = MIN(left, c->iov->iov_len - c->skip);
		state = crc32c_add(state, (const uint8_t *)c->iov->iov_base + c->skip, n);
		iov_skip(c, n);
	}
	return sum_end(state);
}

static uint32_t sum_of(const uint8_t *page)
{
	return sum_end(crc32c_add(CRC32C_INIT, page, SUM_PAGE));
}

static bool blind(struct raid *p, uint64_t off, uint64_t len)
{
	uint64_t first, end;
	if (!atomic_load_explicit(&p->resync_needed, memory_order_relaxed))
		return false;
	pool_map_span(p, off, len, &first, &end);
	return pool_intent_blind(p->intent, first, end);
}

static bool whole_pages(uint64_t off, uint64_t len)
{
	return off % SUM_PAGE == 0 && len % SUM_PAGE == 0;
}

/* ---- reading ---- */

#define TOLD_AGAIN (60 * NS_PER_S)

/* A page that has no sum was read. All that is in use had one: it is told, not page by page. */
static void unjudged(struct raid *p, unsigned position, uint64_t off)
{
	uint64_t now = env_now_ns(p->env), told = atomic_load(&p->unjudged_told);
	atomic_fetch_add_explicit(&p->unjudged, 1, memory_order_relaxed);
	if ((told && now - told < TOLD_AGAIN) ||
	    !atomic_compare_exchange_strong(&p->unjudged_told, &told, MAX(now, 1)))
		return;
	event_write(LOG_L_WARN, "pool.unjudged",
		    "pool %s: disk %s: what is at byte %llu has no checksum and is read unverified "
		    "until it is written or scrubbed; others of the next minute are counted only",
		    p->name, disk_path(p->disks[position]),
		    (unsigned long long)(p->data_off + off));
}

static int check(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		 uint64_t off, uint64_t len)
{
	struct iov_cursor c = {iov, iovcnt, 0};
	uint32_t sum[PAGES_AT_ONCE];
	uint64_t page = off / SUM_PAGE, end = (off + len) / SUM_PAGE;
	for (unsigned n; page < end; page += n) {
		n = (unsigned)MIN(end - page, PAGES_AT_ONCE);
		int rc = pool_sums_get(p->sums, position, page, n, sum);
		if (rc)
			return rc;
		for (unsigned i = 0; i < n; i++) {
			uint32_t now = sum_next(&c);
			if (sum[i] == now || blind(p, (page + i) * SUM_PAGE, SUM_PAGE))
				continue;
			if (sum[i] != SUM_NONE)
				return -ERR_CORRUPT;
			unjudged(p, position, (page + i) * SUM_PAGE);
		}
	}
	return 0;
}

int pool_sums_judge(struct raid *p, unsigned position, const struct iovec *iov, int iovcnt,
		    uint64_t off)
{
	uint64_t len = iov_bytes(iov, iovcnt);
	return whole_pages(off, len) ? check(p, position, iov, iovcnt, off, len) : -EINVAL;
}

int pool_page_judge(struct raid *p, unsigned position, const uint8_t *page, uint64_t off,
		    enum page_verdict *ret)
{
	uint32_t sum;
	int rc = pool_sums_get(p->sums, position, off / SUM_PAGE, 1, &sum);
	if (rc)
		return rc;
	*ret = sum == SUM_NONE || blind(p, off, SUM_PAGE) ? PAGE_UNJUDGED
	       : sum == sum_of(page)			  ? PAGE_FITS
							  : PAGE_WRONG;
	return 0;
}

void pool_wrong_told(struct raid *p, unsigned position, uint64_t off, uint64_t len)
{
	struct disk *d = p->disks[position];
	atomic_fetch_add(&p->wrong_sums, 1);
	disk_count_wrong(d);
	event_write(LOG_L_WARN, "pool.wrong_data",
		    "pool %s: disk %s gave wrong data for the %llu bytes at byte %llu: it does not "
		    "fit its checksum",
		    p->name, disk_path(d), (unsigned long long)len,
		    (unsigned long long)(p->data_off + off));
}

void pool_unmended_told(struct raid *p, uint64_t off, uint64_t len)
{
	atomic_fetch_add(&p->unmended, 1);
	event_write(LOG_L_ERROR, "pool.unmended",
		    "pool %s: no right copy of a page in the %llu bytes at byte %llu of its space: "
		    "reading it fails until it is written",
		    p->name, (unsigned long long)len, (unsigned long long)off);
}

/* ---- writing ---- */

static int put(struct raid *p, unsigned position, unsigned gen, const struct iovec *iov, int iovcnt,
	       uint64_t off, uint64_t len)
{
	struct iov_cursor c = {iov, iovcnt, 0};
	uint32_t sum[PAGES_AT_ONCE];
	uint64_t page = off / SUM_PAGE, end = (off + len) / SUM_PAGE;
	int rc = 0;
	for (unsigned n; page < end && rc == 0; page += n) {
		n = (unsigned)MIN(end - page, PAGES_AT_ONCE);
		for (unsigned i = 0; i < n; i++)
			sum[i] = sum_next(&c);
		rc = pool_sums_put(p->sums, position, gen, page, n, sum, 0);
	}
	return rc;
}

/* What a write that failed left there is not known. */
static int put_none(struct raid *p, unsigned position, unsigned gen, uint64_t off, uint64_t len,
		    int rc)
{
	uint64_t page = off / SUM_PAGE, end = (off + len + SUM_PAGE - 1) / SUM_PAGE;
	pool_sums_put(p->sums, position, gen, page, end - page, NULL, SUM_NONE);
	return rc;
}

int pool_sums_written(struct raid *p, unsigned position, unsigned gen, const struct iovec *iov,
		      int iovcnt, uint64_t off, int rc)
{
	uint64_t len = iov_bytes(iov, iovcnt);
	if (rc == 0 && !whole_pages(off, len))
		rc = -EINVAL;
	return rc ? put_none(p, position, gen, off, len, rc)
		  : put(p, position, gen, iov, iovcnt, off, len);
}

int pool_sums_zeroed(struct raid *p, unsigned position, unsigned gen, uint64_t off, uint64_t len,
		     int rc)
{
	static const uint8_t zeros[SUM_PAGE];
	if (rc == 0 && !whole_pages(off, len))
		rc = -EINVAL;
	if (rc)
		return put_none(p, position, gen, off, len, rc);
	return pool_sums_put(p->sums, position, gen, off / SUM_PAGE, len / SUM_PAGE, NULL,
			     sum_of(zeros));
}

int pool_sums_renew(struct raid *p, unsigned position, const uint8_t *buf, uint64_t off,
		    uint64_t len)
{
	struct iovec iov = {(void *)buf, len};
	if (!p->sums || !blind(p, off, len))
		return 0;
	return put(p, position, pool_sums_gen(p->sums, position), &iov, 1, off, len);
}

static int lacks_sums(struct raid *p, unsigned position, uint64_t page, uint64_t end, bool *ret)
{
	uint32_t sum[PAGES_AT_ONCE];
	*ret = false;
	for (unsigned n; page < end && !*ret; page += n) {
		n = (unsigned)MIN(end - page, PAGES_AT_ONCE);
		int rc = pool_sums_get(p->sums, position, page, n, sum);
		if (rc)
			return rc;
		for (unsigned i = 0; i < n; i++)
			*ret |= sum[i] == SUM_NONE;
	}
	return 0;
}

int pool_sums_complete(struct raid *p, unsigned position, const uint8_t *buf, uint64_t off,
		       uint64_t len)
{
	struct iovec iov = {(void *)buf, len};
	bool lacks;
	if (!p->sums)
		return 0;
	int rc = lacks_sums(p, position, off / SUM_PAGE, (off + len) / SUM_PAGE, &lacks);
	if (rc || !lacks)
		return rc;
	return put(p, position, pool_sums_gen(p->sums, position), &iov, 1, off, len);
}
