/*
 * Assembly: the newest marker, the entries that count, and their replay. What lies in the log's
 * place is taken for what it may be: anything. An entry counts when head, key and checksum of its
 * elements hold on one of the disks; one that does not was never finished, so its row was not
 * touched.
 */
#include "blockcore/pool/pool_log_impl.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct found {
	struct log_entry e;
	unsigned position;
	uint32_t block;
};

struct load {
	struct pool_log *l;
	uint8_t *area; /* LOG_BLOCKS: what one disk holds */
	struct found *list;
	size_t n, cap;
	unsigned position; /* whose the area is; POOL_DISKS_MAX: nobody's */
};

static int find_marker(struct pool_log *l, uint8_t *block, bool *ret_found)
{
	struct raid *p = l->p;
	uint8_t key[16];
	uint64_t number;
	*ret_found = false;
	for (unsigned i = 0; i < p->ndisks; i++)
		for (unsigned k = 0; k < 2; k++) {
			if (!atomic_load(&p->in[i]) ||
			    bdev_read(disk_bdev(p->disks[i]), block, LOG_BLOCK,
				      LOG_OFF + k * LOG_BLOCK))
				continue;
			int rc = log_marker_decode(l, block, &number, key);
			if (rc == -ERR_VERSION)
				return rc;
			if (rc || (*ret_found && number <= l->marker))
				continue;
			l->marker = number;
			memcpy(l->key, key, sizeof(key));
			*ret_found = true;
		}
	return 0;
}

static bool read_area(struct load *x, unsigned position)
{
	struct raid *p = x->l->p;
	if (x->position == position)
		return true;
	x->position = POOL_DISKS_MAX;
	if (!atomic_load(&p->in[position]) || bdev_read(disk_bdev(p->disks[position]), x->area,
							LOG_BLOCKS * LOG_BLOCK, LOG_ENTRIES_OFF))
		return false;
	x->position = position;
	return true;
}

static bool known(const struct load *x, uint64_t seq)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->list[i].e.seq == seq)
			return true;
	return false;
}

static int remember(struct load *x, const struct found *f)
{
	if (x->n == x->cap) {
		size_t cap = x->cap ? 2 * x->cap : 64;
		struct found *list = reallocarray(x->list, cap, sizeof(*list));
		if (!list)
			return -ENOMEM;
		x->list = list;
		x->cap = cap;
	}
	x->list[x->n++] = *f;
	return 0;
}

static int scan_area(struct load *x)
{
	int rc = 0;
	for (uint32_t b = 0; b < LOG_BLOCKS && rc == 0; b++) {
		const uint8_t *at = x->area + (size_t)b * LOG_BLOCK;
		struct found f = {.position = x->position, .block = b};
		if (!log_head_decode(x->l, at, &f.e) ||
		    b + log_blocks(log_payload(&f.e)) > LOG_BLOCKS ||
		    crc32c(at + LOG_BLOCK, log_payload(&f.e)) != f.e.crc || known(x, f.e.seq))
			continue;
		rc = remember(x, &f);
	}
	return rc;
}

static int by_number(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	return (x->e.seq > y->e.seq) - (x->e.seq < y->e.seq);
}

/* Elements of disks that are in use; the others' come from them. */
static int replay_elems(struct load *x, const struct found *f)
{
	struct raid *p = x->l->p;
	uint8_t *at = x->area + (size_t)(f->block + 1) * LOG_BLOCK;
	int rc = 0;
	for (uint64_t elems = f->e.elems; elems; elems &= elems - 1, at += f->e.len) {
		unsigned pos = stripe_position(p, f->e.row, (unsigned)__builtin_ctzll(elems));
		struct iovec iov = {at, f->e.len};
		if (!atomic_load(&p->in[pos]))
			continue;
		int w = pool_copy_writev(p, pos, &iov, 1, f->e.row * p->chunk + f->e.lo, 0);
		if (w && pool_disk_error(w))
			pool_copy_failed(p, pos, "replaying the stripe log", w);
		if (w && atomic_load(&p->in[pos]))
			rc = w;
	}
	return rc;
}

static int replay(struct load *x)
{
	struct raid *p = x->l->p;
	int rc = 0;
	if (x->n)
		qsort(x->list, x->n, sizeof(*x->list), by_number);
	for (size_t i = 0; i < x->n && rc == 0; i++) {
		const struct found *f = &x->list[i];
		if (f->e.nrows)
			rc = pool_zero_copies(p, f->e.row * p->chunk,
					      (uint64_t)f->e.nrows * p->chunk);
		else if (!read_area(x, f->position))
			rc = -ERR_MEDIUM; /* it was read just now */
		else
			rc = replay_elems(x, f);
		x->l->seq = MAX(x->l->seq, f->e.seq);
		FAULT("pool.log.replaying");
	}
	atomic_fetch_add(&x->l->replayed, x->n);
	return rc;
}

static int scan_and_replay(struct load *x)
{
	struct raid *p = x->l->p;
	int rc = 0;
	for (unsigned i = 0; i < p->ndisks && rc == 0; i++)
		if (read_area(x, i))
			rc = scan_area(x);
	if (rc == 0)
		rc = replay(x);
	if (rc == 0 && x->n)
		event_write(LOG_L_NOTICE, "pool.log_replayed",
			    "pool %s: %zu writes of rows that were under way were done once more "
			    "from the stripe log",
			    p->name, x->n);
	return rc;
}

int pool_log_load(struct raid *p, bool want_replay)
{
	struct load x = {.l = p->log, .position = POOL_DISKS_MAX};
	bool found = false;
	int rc = posix_memalign((void **)&x.area, 4096, LOG_BLOCKS * LOG_BLOCK) ? -ENOMEM : 0;
	if (rc == 0)
		rc = find_marker(x.l, x.area, &found);
	if (rc == 0 && found && want_replay)
		rc = scan_and_replay(&x);
	/* What was in it must not come again over what will be written past the log. */
	if (rc == 0 && found)
		rc = pool_log_empty(p, 0);
	free(x.area);
	free(x.list);
	return rc;
}
