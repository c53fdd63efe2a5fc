/*
 * Making copies equal after an unclean close. Writes that were under way then
 * may stand on one copy and not on the other; what was acknowledged as stable
 * stands on all of them, so either content is right and only a difference is wrong. The first
 * IN copy is taken as the truth, and until the end every read is served from it.
 *
 * One region of a column at a time, alone in it (pool_lock.h): compare, and
 * write only what differs. Yields to users: a pause after each region while calls are in flight.
 */
#include "blockcore/pool/pool_intent.h"
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESYNC_PAUSE (2 * NS_PER_MS)

struct resync {
	struct raid *p;
	bool scrub;			/* all of it, and blocks that cannot be read are mended */
	uint8_t *truth, *other, *third; /* POOL_REGION each */
	uint64_t since;
};

void raid_resync_need(struct raid *p)
{
	atomic_store(&p->resync_needed, raid_copies(p) > 1 || p->sums);
}

bool raid_resync_needed(const struct raid *p)
{
	return atomic_load(&p->resync_needed);
}

void raid_resync_stop(struct raid *p)
{
	atomic_store(&p->resync_stop, true);
}

void raid_resync_progress(const struct raid *p, uint64_t *ret_done, uint64_t *ret_total)
{
	*ret_done = atomic_load(&p->resync_done);
	*ret_total = atomic_load(&p->resync_total);
}

/* `first_only`: -EAGAIN when the copy that readers are served from cannot read all of it. */
static int read_truth(struct resync *r, unsigned column, struct iovec *iov, uint64_t off,
		      bool first_only, unsigned *ret_good)
{
	struct raid *p = r->p;
	int rc = -EIO;
	for (unsigned c = 0; c < p->copies; c++) {
		unsigned pos = pool_position(p, column, c);
		if (!atomic_load(&p->in[pos]))
			continue;
		rc = pool_copy_checked_readv(p, pos, iov, 1, off);
		*ret_good = c;
		if (!pool_disk_error(rc))
			return rc;
		if (rc == -ERR_CORRUPT && !first_only)
			pool_wrong_told(p, pos, off, iov->iov_len);
		if (first_only)
			return -EAGAIN;
	}
	return -ERR_MEDIUM;
}

static int sync_range(struct resync *r, unsigned column, uint64_t off, uint64_t len,
		      bool first_only)
{
	struct raid *p = r->p;
	struct iovec truth = {r->truth, len}, other = {r->other, len};
	unsigned good;
	int rc = read_truth(r, column, &truth, off, first_only, &good);
	if (rc == 0)
		rc = pool_sums_renew(p, pool_position(p, column, good), r->truth, off, len);
	for (unsigned c = 0; c < p->copies && rc == 0; c++) {
		unsigned pos = pool_position(p, column, c);
		if (c == good || !atomic_load(&p->in[pos]))
			continue;
		int e = pool_copy_checked_readv(p, pos, &other, 1, off);
		if (e == 0 && memcmp(r->truth, r->other, len) == 0) {
			rc = pool_sums_renew(p, pos, r->truth, off, len);
			continue;
		}
		if (e == -ERR_CORRUPT)
			pool_wrong_told(p, pos, off, len);
		e = pool_copy_writev(p, pos, &truth, 1, off, 0);
		if (pool_disk_error(e))
			pool_copy_failed(p, pos, "write error during resync", e);
		else if (e)
			rc = e;
		else
			atomic_fetch_add(&p->resync_fixed, 1);
	}
	return rc;
}

/* Two of three: what the other two agree on takes the first one's place in `truth`. ret_first: it
 * was wrong somewhere. */
static bool vote(struct resync *r, uint64_t len)
{
	bool outvoted = false;
	for (uint64_t at = 0, n; at < len; at += n) {
		uint8_t *a = r->truth + at;
		const uint8_t *b = r->other + at, *c = r->third + at;
		n = MIN(len - at, 4096);
		if (memcmp(a, b, n) == 0 || memcmp(b, c, n) != 0)
			continue;
		memcpy(a, b, n);
		atomic_fetch_add(&r->p->located, 1);
		outvoted = true;
	}
	return outvoted;
}

/* A scrub of three copies that can all be read: the first one is set right where the others agree
 * against it; what differs from it then is written by sync_range(). */
static int sync_first(struct resync *r, unsigned column, uint64_t off, uint64_t len)
{
	struct raid *p = r->p;
	struct iovec iov[3] = {{r->truth, len}, {r->other, len}, {r->third, len}};
	unsigned pos = pool_position(p, column, 0);
	for (unsigned c = 0; c < 3; c++)
		if (!atomic_load(&p->in[pos + c]) || pool_copy_readv(p, pos + c, &iov[c], 1, off))
			return 0; /* nobody to outvote anybody */
	if (!vote(r, len))
		return 0;
	event_write(
	    LOG_L_WARN, "pool.wrong_data",
	    "pool %s: disk %s held wrong data from byte %llu on, as two other copies say; made "
	    "right",
	    p->name, disk_path(p->disks[pos]), (unsigned long long)(p->data_off + off));
	int rc = pool_copy_writev(p, pos, &iov[0], 1, off, 0);
	if (pool_disk_error(rc))
		pool_copy_failed(p, pos, "write error during a scrub", rc);
	else if (rc == 0)
		atomic_fetch_add(&p->resync_fixed, 1);
	return pool_disk_error(rc) ? 0 : rc;
}

/* ---- a scrub of copies that have checksums ---- */

/* A page of each copy, by copy; NULL: it was not or could not be read. */
struct page_set {
	unsigned column, n;
	uint64_t off;
	uint8_t *page[POOL_COPIES_MAX];
	enum page_verdict verdict[POOL_COPIES_MAX];
};

/* The copy to go by: one that fits, else one that nothing speaks against. n: none. */
static int find_right(struct raid *p, struct page_set *s, unsigned *ret)
{
	unsigned unjudged = s->n;
	*ret = s->n;
	for (unsigned c = s->n; c-- > 0;) {
		unsigned pos = pool_position(p, s->column, c);
		s->verdict[c] = PAGE_WRONG;
		if (!s->page[c])
			continue;
		int rc = pool_page_judge(p, pos, s->page[c], s->off, &s->verdict[c]);
		if (rc)
			return rc;
		if (s->verdict[c] == PAGE_WRONG)
			pool_wrong_told(p, pos, s->off, SUM_PAGE);
		else if (s->verdict[c] == PAGE_FITS)
			*ret = c;
		else
			unjudged = c;
	}
	*ret = *ret < s->n ? *ret : unjudged;
	return 0;
}

/* The others become equal to it, and what has no sum gets one. */
static int mend_page(struct raid *p, struct page_set *s, unsigned right)
{
	struct iovec iov = {s->page[right], SUM_PAGE};
	for (unsigned c = 0; c < s->n; c++) {
		unsigned pos = pool_position(p, s->column, c);
		if (!atomic_load(&p->in[pos]))
			continue;
		bool same = s->verdict[c] != PAGE_WRONG &&
			    (c == right || memcmp(s->page[c], s->page[right], SUM_PAGE) == 0);
		if (same && s->verdict[c] == PAGE_FITS)
			continue;
		int rc = same ? pool_sums_written(p, pos, pool_sums_gen(p->sums, pos), &iov, 1,
						  s->off, 0)
			      : pool_copy_writev(p, pos, &iov, 1, s->off, 0);
		if (pool_disk_error(rc))
			pool_copy_failed(p, pos, "write error during a scrub", rc);
		else if (rc)
			return rc;
		else if (!same)
			atomic_fetch_add(&p->resync_fixed, 1);
		atomic_fetch_add(&p->located, rc == 0 && !same && s->verdict[right] == PAGE_FITS);
	}
	return 0;
}

static bool read_page_of(struct raid *p, unsigned pos, uint8_t *to, uint64_t off)
{
	struct iovec iov = {to, SUM_PAGE};
	return pool_copy_readv(p, pos, &iov, 1, off) == 0;
}

static int scrub_region(struct resync *r, unsigned column, uint64_t off, uint64_t len)
{
	struct raid *p = r->p;
	uint8_t *buf[POOL_COPIES_MAX] = {r->truth, r->other, r->third};
	bool in[POOL_COPIES_MAX], whole[POOL_COPIES_MAX];
	for (unsigned c = 0; c < p->copies; c++) {
		unsigned pos = pool_position(p, column, c);
		struct iovec iov = {buf[c], len};
		in[c] = atomic_load(&p->in[pos]);
		whole[c] = in[c] && pool_copy_readv(p, pos, &iov, 1, off) == 0;
	}
	for (uint64_t at = 0; at < len; at += SUM_PAGE) {
		struct page_set s = {.column = column, .n = p->copies, .off = off + at};
		unsigned right;
		for (unsigned c = 0; c < p->copies; c++)
			if (whole[c] || (in[c] && read_page_of(p, pool_position(p, column, c),
							       buf[c] + at, off + at)))
				s.page[c] = buf[c] + at;
		int rc = find_right(p, &s, &right);
		if (rc == 0 && right < s.n)
			rc = mend_page(p, &s, right);
		else if (rc == 0)
			pool_unmended_told(p, pool_map_logical(p, column, off + at), SUM_PAGE);
		if (rc)
			return rc;
	}
	return 0;
}

/*
 * A range of one region, alone in it. Where the first copy has a bad block only that block is taken
 * from another: the rest of the range may have been read already, and must not change.
 */
static int sync_region(struct resync *r, unsigned column, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, step = MAX(4096, r->p->io.block_size);
	if (r->scrub && r->p->sums)
		return scrub_region(r, column, off, len);
	int rc = r->scrub && r->p->copies == 3 ? sync_first(r, column, off, len) : 0;
	if (rc == 0)
		rc = sync_range(r, column, off, len, true);
	if (rc != -EAGAIN)
		return rc;
	for (rc = 0; off < end && rc == 0; off += step) {
		rc = sync_range(r, column, off, MIN(step, end - off), false);
		if (rc != -ERR_MEDIUM || !r->p->sums)
			continue;
		/* It stays an error for who reads it; the rest can be judged again. */
		pool_unmended_told(r->p, pool_map_logical(r->p, column, off), step);
		rc = 0;
	}
	return rc;
}

static bool busy(const struct raid *p)
{
	for (unsigned i = 0; i < p->ndisks; i++) {
		const struct disk *d = atomic_load(&p->disks[i]);
		if (d && disk_in_flight(d))
			return true;
	}
	return false;
}

void raid_set_rate(struct raid *p, uint64_t bytes_per_s)
{
	atomic_store(&p->rate, bytes_per_s);
}

void pool_pace(struct raid *p, uint64_t bytes, uint64_t *since)
{
	uint64_t rate = atomic_load(&p->rate), now = env_now_ns(p->env), pause = 0;
	if (busy(p))
		pause = RESYNC_PAUSE;
	if (rate) {
		uint64_t due = *since + bytes * NS_PER_S / rate;
		pause = MAX(pause, due > now ? due - now : 0);
	}
	if (pause)
		env_sleep_ns(p->env, pause);
	else
		task_yield();
	*since = env_now_ns(p->env);
}

static int sync_column(struct resync *r, struct column_range c)
{
	struct raid *p = r->p;
	for (uint64_t off = c.off, end = c.off + c.len; off < end;) {
		uint64_t n = MIN(end, ROUND_DOWN(off, POOL_REGION) + POOL_REGION) - off;
		if (atomic_load(&p->resync_stop))
			return -ERR_SHUTDOWN;
		pool_lock_alone(&p->locks, c.column, off);
		int rc = sync_region(r, c.column, off, n);
		pool_unlock_alone(&p->locks, c.column, off);
		if (rc)
			return rc;
		atomic_fetch_add(&p->resync_done, n);
		off += n;
		pool_pace(p, n, &r->since);
	}
	return 0;
}

/* The rows that hold [off, off + len). */
static int sync_rows(struct resync *r, uint64_t off, uint64_t len)
{
	struct raid *p = r->p;
	uint64_t bytes = stripe_row_bytes(p), fixed = 0;
	int rc = 0;
	for (uint64_t at = off, n; at < off + len && rc == 0; at += n) {
		n = MIN(off + len, ROUND_DOWN(at, bytes) + bytes) - at;
		if (atomic_load(&p->resync_stop))
			return -ERR_SHUTDOWN;
		rc = pool_sync_row(p, at / bytes, r->scrub, &fixed);
		atomic_fetch_add(&p->resync_done, n);
		pool_pace(p, n, &r->since);
	}
	atomic_fetch_add(&p->resync_fixed, fixed);
	return rc;
}

static int sync_part(void *arg, uint64_t off, uint64_t len)
{
	struct resync *r = arg;
	struct raid *p = r->p;
	if (p->parity)
		return sync_rows(r, off, len);
	for (unsigned col = 0; col < p->columns; col++) {
		int rc = sync_column(r, pool_map_column(p, col, off, len));
		if (rc)
			return rc;
	}
	return 0;
}

static int count_part(void *arg, uint64_t off, uint64_t len)
{
	struct resync *r = arg;
	atomic_fetch_add(&r->p->resync_total, len);
	return 0;
}

static int look_through(struct raid *p, const struct extent_run *used, size_t nused, bool scrub)
{
	CHECK(p, RAID_MAGIC);
	struct resync r = {.p = p, .scrub = scrub, .since = env_now_ns(p->env)};
	int rc = 0;
	if (!p->intent)
		return 0; /* there is one copy of everything, and nothing to judge it by */
	atomic_store(&p->resync_total, 0);
	atomic_store(&p->resync_done, 0);
	pool_each_part(p, used, nused, scrub, count_part, &r);
	if (posix_memalign((void **)&r.truth, 4096, POOL_REGION) ||
	    posix_memalign((void **)&r.other, 4096, POOL_REGION) ||
	    posix_memalign((void **)&r.third, 4096, POOL_REGION))
		rc = -ENOMEM;
	if (rc == 0)
		rc = pool_each_part(p, used, nused, scrub, sync_part, &r);
	if (rc == 0)
		rc = raid_sync(p);
	free(r.truth);
	free(r.other);
	free(r.third);
	return rc;
}

int raid_resync(struct raid *p, const struct extent_run *used, size_t nused)
{
	int rc = look_through(p, used, nused, false);
	if (rc == 0)
		atomic_store(&p->resync_needed, false);
	return rc;
}

int raid_scrub(struct raid *p, const struct extent_run *used, size_t nused)
{
	uint64_t unmended = atomic_load(&p->unmended);
	int rc = look_through(p, used, nused, true);
	return rc == 0 && atomic_load(&p->unmended) != unmended ? -ERR_MEDIUM : rc;
}
