/* Checksums of pages: disks that lie, sums that are torn, old, lost or another's, crashes between
 * data and sums, filling and scrubbing by them. */
#include "tests/unit/pool/rig.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/pool/pool_stripe.h"
#include "blockcore/pool/pool_sums.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define PAGE 4096u
#define SPAN (6 * MIB) /* of the space, zeroed at first */

static const struct extent_run used[] = {{0, SPAN / EXTENT}};

static const struct {
	const char *level;
	unsigned n;
	uint32_t chunk;
	unsigned spare; /* copies of a page that may be wrong */
} shapes[] = {{"single", 1, 65536, 0}, {"raid0", 3, 16384, 0},	{"raid1", 2, 65536, 1},
	      {"raid1", 3, 65536, 2},  {"raid10", 4, 65536, 1}, {"raid5", 4, 65536, 1},
	      {"raid6", 5, 131072, 2}};

static struct pool_stats stats(struct rig *r)
{
	struct pool_stats st;
	raid_stats(r->p, &st);
	return st;
}

static void put(struct rig *r, uint64_t off, uint64_t len, uint8_t byte)
{
	uint8_t *buf = malloc(len);
	memset(buf, byte, len);
	ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, len, off, 0), 0);
	free(buf);
}

static int get(struct rig *r, uint64_t off, uint8_t *buf, uint64_t len)
{
	return bdev_read(raid_bdev(r->p), buf, len, off);
}

static void is(struct rig *r, uint64_t off, uint64_t len, uint8_t byte)
{
	uint8_t *buf = malloc(len);
	ck_assert_int_eq(get(r, off, buf, len), 0);
	ck_assert_uint_eq(buf[0], byte);
	ck_assert_int_eq(memcmp(buf, buf + 1, len - 1), 0);
	free(buf);
}

/* On disks that were used before: there is something where sums will be, too. */
static void open_shape(struct rig *r, unsigned i)
{
	rig_sums = true;
	rig_open(r, shapes[i].level, shapes[i].n, shapes[i].chunk);
	for (unsigned d = 0; d < r->n; d++) {
		memset(sim_disk_bytes(r->sd[d]) + DISK_DATA_OFF, 0x5b + (int)d, 3 * MIB);
		sim_disk_bytes_changed(r->sd[d], DISK_DATA_OFF, 3 * MIB);
	}
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), 0, SPAN), 0);
}

static void options(struct rig *r, unsigned i, struct raid_opts *o)
{
	*o = (struct raid_opts){.env = sim_env(r->sim),
				.name = "p",
				.level = shapes[i].level,
				.chunk = shapes[i].chunk,
				.extent_size = EXTENT,
				.extents = raid_extents(r->p),
				.disks = r->d,
				.ndisks = r->n,
				.checksums = true,
				.sum_blocks = 32,
				.lost = r->p->lost,
				.arg = r};
}

/* The same disks as another process finds them. */
static void again(struct rig *r, unsigned i, bool closed)
{
	struct raid_opts o;
	options(r, i, &o);
	if (closed)
		ck_assert_int_eq(raid_sync(r->p), 0);
	raid_free(r->p);
	ck_assert_int_eq(raid_new(&r->p, &o), 0);
	ck_assert_int_eq(raid_load(r->p, closed), 0);
	if (!closed)
		raid_resync_need(r->p);
}

/* Where page `page` of the space lies: the position of its first copy, and the offset there. */
static unsigned place(struct rig *r, uint64_t page, uint64_t *ret_off)
{
	struct raid *p = r->p;
	uint64_t off = page * PAGE;
	if (p->parity) {
		uint64_t k = off / p->chunk, row = k / p->data;
		*ret_off = row * p->chunk + off % p->chunk;
		return stripe_position(p, row, (unsigned)(k % p->data));
	}
	struct column_range c = pool_map_piece(p, off, PAGE);
	*ret_off = c.off;
	return pool_position(p, c.column, 0);
}

static uint8_t *bytes_at(struct rig *r, unsigned position, uint64_t off)
{
	return sim_disk_bytes(r->sd[position]) + r->p->data_off + off;
}

static void damage(struct rig *r, unsigned position, uint64_t off, unsigned at)
{
	bytes_at(r, position, off)[at] ^= 0x40;
	sim_disk_bytes_changed(r->sd[position], r->p->data_off + off, PAGE);
}

/* ---- histories ---- */

static unsigned shape;

static void history_task(void *arg)
{
	struct rig *r = arg;
	open_shape(r, shape);
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), SPAN, HISTORY_SPAN - SPAN), 0);
	history(r, 80);
	struct pool_stats st = stats(r);
	ck_assert_uint_eq(st.wrong_sums, 0);
	ck_assert_uint_eq(st.unjudged, 0);
	again(r, shape, true);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	st = stats(r);
	ck_assert_uint_eq(st.resync_fixed + st.wrong_sums + st.unjudged, 0);
	rig_close(r);
}

/* ---- lies ---- */

/* What a page's first copy says is wrong in turn, all over the span; readers never see it. */
static void lies_task(void *arg)
{
	struct rig *r = arg;
	struct disk_stats ds;
	uint8_t buf[2 * PAGE];
	uint64_t off, wrong = 0;
	open_shape(r, shape);
	put(r, 0, SPAN, 0x31);
	for (uint64_t page = 0; page < SPAN / PAGE; page += 37, wrong++) {
		unsigned pos = place(r, page, &off);
		if (r->p->copies > 1) /* the one that is read */
			pos += (unsigned)(off / POOL_REGION) % r->p->copies;
		damage(r, pos, off, (unsigned)(page % PAGE));
		int rc = get(r, page * PAGE, buf, PAGE);
		if (shapes[shape].spare == 0) {
			ck_assert_int_eq(rc, -ERR_MEDIUM);
			put(r, page * PAGE, PAGE, 0x31);
		} else {
			ck_assert_int_eq(rc, 0);
			ck_assert_uint_eq(*bytes_at(r, pos, off + page % PAGE), 0x31);
		}
		is(r, page * PAGE, PAGE, 0x31);
	}
	struct pool_stats st = stats(r);
	ck_assert_uint_eq(st.wrong_sums, wrong);
	for (unsigned i = 0, n = 0; i < r->n; i++) {
		disk_stats(r->d[i], &ds);
		n += ds.wrong_data > 0;
		ck_assert(i + 1 < r->n || n > 0);
	}
	rig_close(r);
}

/* A disk loses writes: what it shows is what was there before, all of it. */
static void stale_task(void *arg)
{
	struct rig *r = arg;
	open_shape(r, shape);
	uint64_t len = SPAN; /* of each disk, at least what was written */
	put(r, 0, SPAN, 1);
	ck_assert_int_eq(raid_sync(r->p), 0);
	uint8_t *old = malloc(len);
	memcpy(old, bytes_at(r, 0, 0), len);
	put(r, 0, SPAN, 2);
	memcpy(bytes_at(r, 0, 0), old, len);
	sim_disk_bytes_changed(r->sd[0], r->p->data_off, len);
	free(old);
	if (shapes[shape].spare) {
		is(r, 0, SPAN, 2);
	} else {
		uint8_t buf[PAGE];
		ck_assert_int_eq(get(r, 0, buf, PAGE), -ERR_MEDIUM);
	}
	rig_close(r);
}

/* Pages wrong here and there, never more of one than the level has spare. */
static void scrub_task(void *arg)
{
	struct rig *r = arg;
	open_shape(r, shape);
	for (uint64_t at = 0; at < SPAN; at += 64 * 1024)
		put(r, at, 64 * 1024, (uint8_t)(at >> 16));
	again(r, shape, true);
	uint64_t column = SPAN / r->p->data, n = 0;
	for (uint64_t page = 0; page < column / PAGE; page += 5)
		for (unsigned k = 0; k < MAX(shapes[shape].spare, 1); k++, n++) {
			/* Of each column of mirrors, or of the row. */
			unsigned group = r->p->copies > 1 ? r->p->copies : r->n;
			for (unsigned g = 0; g < r->n; g += group) {
				unsigned pos = g + (unsigned)(page / 5 + k) % group;
				damage(r, pos, page * PAGE, (unsigned)page % PAGE);
			}
		}
	int rc = raid_scrub(r->p, used, 1);
	struct pool_stats st = stats(r);
	ck_assert_uint_ge(st.wrong_sums, n / 2);
	if (shapes[shape].spare == 0) {
		ck_assert_int_eq(rc, -ERR_MEDIUM);
		ck_assert_uint_ge(st.unmended, n);
		rig_close(r);
		return;
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(st.unmended, 0);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	ck_assert_uint_eq(stats(r).resync_fixed, st.resync_fixed);
	ck_assert_uint_eq(stats(r).wrong_sums, st.wrong_sums);
	for (uint64_t at = 0; at < SPAN; at += 64 * 1024)
		is(r, at, 64 * 1024, (uint8_t)(at >> 16));
	rig_close(r);
}

/* No copy fits: the host gets an error, and only for that page; a scrub does not guess. */
static void none_right_task(void *arg)
{
	struct rig *r = arg;
	uint8_t buf[PAGE];
	uint64_t off;
	open_shape(r, shape);
	put(r, 0, SPAN, 0x77);
	unsigned pos = place(r, 5, &off);
	if (r->p->parity)
		for (unsigned i = 0; i <= r->p->parity; i++)
			damage(r, (pos + i) % r->n, off, 9);
	else
		for (unsigned i = 0; i < r->p->copies; i++)
			damage(r, pos + i, off, 9);
	ck_assert_int_eq(get(r, 5 * PAGE, buf, PAGE), -ERR_MEDIUM);
	is(r, 0, 5 * PAGE, 0x77);
	is(r, 6 * PAGE, 3 * PAGE, 0x77);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), -ERR_MEDIUM);
	ck_assert_uint_ge(stats(r).unmended, 1);
	ck_assert_int_eq(get(r, 5 * PAGE, buf, PAGE), -ERR_MEDIUM);
	put(r, 0, r->p->parity ? stripe_row_bytes(r->p) : 8 * PAGE, 0x78);
	is(r, 5 * PAGE, PAGE, 0x78);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	rig_close(r);
}

/* ---- crashes ---- */

/* Sums that were not written are made new where the map stands; outside of it they are believed. */
static void unclean_task(void *arg)
{
	struct rig *r = arg;
	uint8_t buf[PAGE];
	uint64_t off;
	open_shape(r, shape);
	put(r, 0, SPAN, 3);
	raid_sweep_intent(r->p);
	raid_sweep_intent(r->p);
	ck_assert_uint_eq(stats(r).intent, 0);
	put(r, 0, 16 * PAGE, 4); /* data, and the crash before its sums */
	unsigned pos = place(r, SPAN / PAGE - 1, &off);
	again(r, shape, false);
	ck_assert_uint_eq(stats(r).intent, 1);
	is(r, 0, 16 * PAGE, 4);
	/* The last page is not in the map: what is wrong there stays wrong. */
	for (unsigned i = 0; i < r->p->copies; i++)
		damage(r, pos / r->p->copies * r->p->copies + i, off, 1);
	int rc = get(r, SPAN - PAGE, buf, PAGE);
	ck_assert_int_eq(rc, r->p->parity ? 0 : -ERR_MEDIUM);
	uint64_t wrong = stats(r).wrong_sums;
	ck_assert_uint_ge(wrong, 1);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	ck_assert(!raid_resync_needed(r->p));
	is(r, 0, 16 * PAGE, 4);
	is(r, 16 * PAGE, SPAN - 17 * PAGE, 3);
	ck_assert_uint_eq(stats(r).wrong_sums, wrong);
	/* And from now on it is judged. */
	pos = place(r, 2, &off);
	for (unsigned i = 0; i < r->p->copies; i++)
		damage(r, pos / r->p->copies * r->p->copies + i, off, 1);
	rc = get(r, 2 * PAGE, buf, PAGE);
	ck_assert_int_eq(rc, r->p->parity ? 0 : -ERR_MEDIUM);
	rig_close(r);
}

/* What can be read from nowhere does not keep the rest from being judged again. */
RIG_TEST(resync_past_a_bad_block)
{
	struct rig *r = arg;
	uint8_t buf[PAGE];
	uint64_t off;
	shape = 1;
	open_shape(r, shape);
	put(r, 0, SPAN, 3);
	unsigned pos = place(r, 7, &off);
	again(r, shape, false);
	sim_disk_bad_range(r->sd[pos], r->p->data_off + off, 512);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	ck_assert(!raid_resync_needed(r->p));
	ck_assert_uint_eq(stats(r).unmended, 1);
	ck_assert_int_eq(get(r, 7 * PAGE, buf, PAGE), -ERR_MEDIUM);
	is(r, 0, 7 * PAGE, 3);
	is(r, 8 * PAGE, SPAN - 8 * PAGE, 3);
	put(r, 7 * PAGE, PAGE, 4);
	is(r, 7 * PAGE, PAGE, 4);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	rig_close(r);
}

struct world {
	struct rig *r;
	uint32_t *durable, *last; /* stamps of pages: at least, at most */
	uint32_t stamp;
	bool over;
};

static void flushed(struct world *w)
{
	for (uint64_t i = 0; i < SPAN / PAGE; i++)
		w->durable[i] = w->last[i];
}

static bool write_some(struct world *w, bool zero)
{
	struct rig *r = w->r;
	struct bdev *b = raid_bdev(r->p);
	uint64_t page = sim_random_below(r->sim, SPAN / PAGE);
	uint64_t n = 1 + sim_random_below(r->sim, sim_random_below(r->sim, 16) ? 16 : 300);
	n = MIN(n, SPAN / PAGE - page);
	uint32_t *buf = malloc(n * PAGE);
	uint32_t stamp = ++w->stamp;
	for (uint64_t i = 0; i < n * PAGE / 4; i++)
		buf[i] = stamp;
	for (uint64_t i = page; i < page + n; i++)
		w->last[i] = stamp;
	int rc = bdev_write(b, buf, n * PAGE, page * PAGE, zero ? BDEV_FUA : 0);
	free(buf);
	return rc == 0;
}

static void crash_writer(void *arg)
{
	struct world *w = arg;
	struct rig *r = w->r;
	bool ok = true;
	while (ok && !sim_power_is_off(r->sim)) {
		switch (sim_random_below(r->sim, 12)) {
		case 0:
			ok = bdev_flush(raid_bdev(r->p)) == 0;
			if (ok)
				flushed(w);
			break;
		case 1:
		case 2:
			raid_sweep_intent(r->p);
			break;
		default:
			ok = write_some(w, sim_random_below(r->sim, 8) == 0);
		}
	}
	w->over = true;
}

static void check_pages(struct world *w)
{
	struct rig *r = w->r;
	static uint32_t buf[16 * PAGE / 4];
	for (uint64_t page = 0; page < SPAN / PAGE; page += 16) {
		ck_assert_int_eq(get(r, page * PAGE, (uint8_t *)buf, sizeof(buf)), 0);
		for (unsigned i = 0; i < ARRAY_LEN(buf); i++) {
			uint64_t at = page + i / (PAGE / 4);
			if (buf[i] < w->durable[at] || buf[i] > w->last[at])
				ck_abort_msg("page %llu: %u, not %u to %u", (unsigned long long)at,
					     buf[i], w->durable[at], w->last[at]);
		}
	}
}

static void open_disks(struct rig *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		char name[16];
		disk_close(r->d[i]);
		snprintf(name, sizeof(name), "d%u", i);
		ck_assert_int_eq(
		    disk_open(&r->d[i], sim_env(r->sim), name, sim_disk_open(r->sd[i]), NULL), 0);
	}
}

/* What is there is the truth from now on; a page that was torn is written whole. */
static void settle(struct world *w)
{
	struct rig *r = w->r;
	static uint32_t page[PAGE / 4];
	for (uint64_t i = 0; i < SPAN / PAGE; i++) {
		ck_assert_int_eq(get(r, i * PAGE, (uint8_t *)page, PAGE), 0);
		bool torn = false;
		for (unsigned k = 1; k < PAGE / 4; k++) {
			torn |= page[k] != page[0];
			page[k] = page[0];
		}
		if (torn)
			ck_assert_int_eq(bdev_write(raid_bdev(r->p), page, PAGE, i * PAGE, 0), 0);
		w->durable[i] = w->last[i] = page[0];
	}
	ck_assert_int_eq(bdev_flush(raid_bdev(r->p)), 0);
}

/* One history to a loss of power at any write, and what is there after it. */
static void crash_round(struct world *w)
{
	struct rig *r = w->r;
	struct raid_opts o;
	r->record_err = -EIO;
	sim_power_off_at_write(r->sim, 1 + sim_random_below(r->sim, 300));
	crash_writer(w);
	env_sleep_ns(sim_env(r->sim), NS_PER_S);
	options(r, shape, &o);
	sim_power_on(r->sim, sim_random_below(r->sim, 3) ? SIM_LOSE_RANDOM : SIM_LOSE_ALL, 0);
	raid_free(r->p);
	open_disks(r);
	ck_assert_int_eq(raid_new(&r->p, &o), 0);
	ck_assert_int_eq(raid_load(r->p, false), 0);
	raid_resync_need(r->p);
	if (sim_random_below(r->sim, 2))
		check_pages(w);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	check_pages(w);
	struct pool_stats st = stats(r);
	ck_assert_uint_eq(st.wrong_sums, 0);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	struct pool_stats after = stats(r);
	ck_assert_uint_eq(after.wrong_sums + after.unmended, 0);
	ck_assert_uint_eq(after.resync_fixed, st.resync_fixed);
	ck_assert_uint_eq(after.unjudged, 0);
	settle(w);
}

static void crashes_task(void *arg)
{
	struct rig *r = arg;
	struct world w = {.r = r};
	w.durable = calloc(SPAN / PAGE, sizeof(uint32_t));
	w.last = calloc(SPAN / PAGE, sizeof(uint32_t));
	open_shape(r, shape);
	ck_assert_int_eq(raid_sync(r->p), 0);
	for (unsigned i = 0; i < 8; i++)
		crash_round(&w);
	free(w.durable);
	free(w.last);
	rig_close(r);
}

/* ---- blocks of sums ---- */

static uint64_t block_off(uint64_t page)
{
	return DISK_DATA_OFF + page / SUMS_A_BLOCK * SUM_BLOCK;
}

/* A torn block is old in some sectors and new in others: each counts for its pages. */
RIG_TEST(torn_block)
{
	struct rig *r = arg;
	uint8_t old[SUM_BLOCK], *now;
	shape = 0;
	open_shape(r, shape);
	put(r, 0, SUMS_A_BLOCK * PAGE, 1);
	again(r, shape, true);
	now = sim_disk_bytes(r->sd[0]) + block_off(0);
	memcpy(old, now, sizeof(old));
	put(r, 0, 300 * PAGE, 2);
	again(r, shape, true);
	memcpy(now + 2 * SUM_SECTOR, old + 2 * SUM_SECTOR, SUM_BLOCK - 2 * SUM_SECTOR);
	sim_disk_bytes_changed(r->sd[0], block_off(0), SUM_BLOCK);
	again(r, shape, true);
	/* Two sectors are new; pages of the third have the sums of before. */
	is(r, 0, 2 * SUMS_A_SECTOR * PAGE, 2);
	uint8_t buf[PAGE];
	ck_assert_int_eq(get(r, 2 * SUMS_A_SECTOR * PAGE, buf, PAGE), -ERR_MEDIUM);
	is(r, 300 * PAGE, (SUMS_A_BLOCK - 300) * PAGE, 1);
	/* And one whose check does not hold has none. */
	now[2 * SUM_SECTOR + 7] ^= 1;
	sim_disk_bytes_changed(r->sd[0], block_off(0), SUM_BLOCK);
	again(r, shape, true);
	is(r, 2 * SUMS_A_SECTOR * PAGE, (300 - 2 * SUMS_A_SECTOR) * PAGE, 2);
	rig_close(r);
}

/* A block that cannot be read: its pages are served unjudged, and a scrub gives them new sums. */
static void block_cannot_be_read(struct rig *r, unsigned which)
{
	shape = which;
	open_shape(r, shape);
	put(r, 0, SPAN, 9);
	again(r, shape, true);
	for (unsigned i = 0; i < 2; i++)
		sim_disk_bad_range(r->sd[i], block_off(0), SUM_BLOCK);
	is(r, 0, SPAN, 9);
	ck_assert_uint_ge(stats(r).sums_lost, 1);
	ck_assert_uint_ge(stats(r).unjudged, 1);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	again(r, shape, true);
	damage(r, 0, 8 * PAGE, 8);
	damage(r, 1, 9 * PAGE, 8);
	is(r, 0, SPAN, 9);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	ck_assert_uint_ge(stats(r).wrong_sums, 2);
	ck_assert_uint_eq(stats(r).sums_lost, 0);
	ck_assert_uint_eq(stats(r).unjudged, 0);
	rig_close(r);
}

RIG_TEST(block_cannot_be_read_raid1)
{
	block_cannot_be_read(arg, 2);
}

RIG_TEST(block_cannot_be_read_raid5)
{
	block_cannot_be_read(arg, 5);
}

/* A write that failed on a disk that stays in use: old or new, but no error for want of a sum. */
RIG_TEST(failed_write)
{
	struct rig *r = arg;
	uint8_t buf[PAGE] = {5};
	shape = 0;
	open_shape(r, shape);
	put(r, 0, 16 * PAGE, 1);
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){.write_error_ppm = 1000000});
	ck_assert_int_ne(bdev_write(raid_bdev(r->p), buf, PAGE, PAGE, 0), 0);
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){0});
	memset(bytes_at(r, 0, PAGE), 5, PAGE); /* it had come as far as that */
	sim_disk_bytes_changed(r->sd[0], r->p->data_off + PAGE, PAGE);
	is(r, PAGE, PAGE, 5);
	is(r, 0, PAGE, 1);
	rig_close(r);
}

/* ---- filling ---- */

/* A disk that was something else takes a place: its sums are there when it is IN. */
static void fill_task(void *arg)
{
	struct rig *r = arg;
	open_shape(r, shape);
	put(r, 0, SPAN, 0x61);
	unsigned pos = 1;
	ck_assert_int_eq(raid_drop(r->p, r->d[pos], "test"), 0);
	put(r, 4 * PAGE, 40 * PAGE, 0x62);
	/* Sums of before, and of other disks, are on it. */
	memcpy(sim_disk_bytes(r->sd[pos]) + DISK_DATA_OFF, sim_disk_bytes(r->sd[0]) + DISK_DATA_OFF,
	       r->p->data_off - DISK_DATA_OFF);
	memset(bytes_at(r, pos, 0), 0xd7, 8 * MIB);
	sim_disk_bytes_changed(r->sd[pos], DISK_DATA_OFF, 9 * MIB);
	disk_close(r->d[pos]);
	ck_assert_int_eq(
	    disk_open(&r->d[pos], sim_env(r->sim), "again", sim_disk_open(r->sd[pos]), NULL), 0);
	/* The source lies, too, where there is more than one. */
	uint64_t off;
	unsigned first = place(r, 99, &off);
	if (shapes[shape].spare > 1 && first != pos)
		damage(r, first, off, 3);
	ck_assert_int_eq(raid_fill_begin(r->p, pos, r->d[pos]), 0);
	put(r, 50 * PAGE, 10 * PAGE, 0x63);
	ck_assert_int_eq(raid_fill(r->p, pos, used, 1, false), 0);
	ck_assert_int_eq(raid_fill_recorded(r->p, pos), 0);
	raid_recorded(r->p, 0, 0);
	is(r, 0, 4 * PAGE, 0x61);
	is(r, 4 * PAGE, 40 * PAGE, 0x62);
	is(r, 50 * PAGE, 10 * PAGE, 0x63);
	is(r, 60 * PAGE, SPAN - 60 * PAGE, 0x61);
	again(r, shape, true);
	struct pool_stats before = stats(r);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	struct pool_stats st = stats(r);
	ck_assert_uint_eq(st.unjudged, before.unjudged);
	ck_assert_uint_le(st.wrong_sums, 1); /* the one that lied, if nobody read it */
	for (uint64_t page = 0; page < 64; page++)
		damage(r, pos, page * PAGE, 1);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	ck_assert_uint_eq(stats(r).wrong_sums - st.wrong_sums >= 64 / (r->p->chunk / PAGE), 1);
	is(r, 60 * PAGE, SPAN - 60 * PAGE, 0x61);
	rig_close(r);
}

/* ---- readers beside writers ---- */

struct user {
	struct rig *r;
	bool write, *stop, done;
};

static void user_task(void *arg)
{
	struct user *u = arg;
	uint8_t *buf = malloc(8 * PAGE);
	for (unsigned i = 0; !*u->stop; i++) {
		uint64_t page = sim_random_below(u->r->sim, 8);
		unsigned n = 1 + (unsigned)sim_random_below(u->r->sim, 8);
		memset(buf, (int)i, 8 * PAGE);
		ck_assert_int_eq(u->write
				     ? bdev_write(raid_bdev(u->r->p), buf, n * PAGE, page * PAGE, 0)
				     : get(u->r, page * PAGE, buf, n * PAGE),
				 0);
	}
	free(buf);
	u->done = true;
}

/* A write that is half done is no lie. */
static void beside_task(void *arg)
{
	struct rig *r = arg;
	bool stop = false;
	open_shape(r, shape);
	struct user u[5] = {{.r = r, .write = true, .stop = &stop}};
	for (unsigned i = 0; i < 5; i++) {
		u[i] = (struct user){.r = r, .write = i == 0, .stop = &stop};
		ck_assert_int_eq(task_start(user_task, &u[i]), 0);
	}
	env_sleep_ns(sim_env(r->sim), 40 * NS_PER_MS);
	stop = true;
	for (unsigned i = 0; i < 5; i++)
		while (!u[i].done)
			env_sleep_ns(sim_env(r->sim), NS_PER_MS);
	ck_assert_uint_eq(stats(r).wrong_sums, 0);
	ck_assert_uint_eq(stats(r).read_repairs, 0);
	rig_close(r);
}

/* ---- the block ---- */

START_TEST(format)
{
	uint8_t block[SUM_BLOCK] = {0}, copy[SUM_BLOCK], uuid[16] = {1, 2}, other[16] = {1, 3};
	for (unsigned i = 0; i < SUMS_A_BLOCK; i++)
		sum_slot(block, i)[0] = (uint8_t)(i + 1);
	sum_block_seal(block, uuid, 3, 77);
	memcpy(copy, block, sizeof(copy));
	ck_assert_uint_eq(sum_block_open(copy, uuid, 3, 77), 0);
	ck_assert_mem_eq(copy, block, sizeof(copy));
	struct {
		const uint8_t *uuid;
		uint32_t position;
		uint64_t number;
	} wrong[] = {{other, 3, 77}, {uuid, 2, 77}, {uuid, 3, 76}, {uuid, 3, 77ull << 32}};
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		memcpy(copy, block, sizeof(copy));
		ck_assert_uint_eq(
		    sum_block_open(copy, wrong[i].uuid, wrong[i].position, wrong[i].number), 8);
		for (unsigned k = 0; k < SUMS_A_BLOCK; k++)
			ck_assert_uint_eq(sum_slot(copy, k)[0], 0);
	}
	for (unsigned bit = 0; bit < SUM_BLOCK * 8; bit += 61) {
		memcpy(copy, block, sizeof(copy));
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		ck_assert_uint_eq(sum_block_open(copy, uuid, 3, 77), 1);
	}
	ck_assert_uint_eq(pool_sums_area(0), 0);
	ck_assert_uint_eq(pool_sums_area(1), MIB);
	ck_assert_uint_eq(pool_sums_area(256ull * SUMS_A_BLOCK * PAGE), MIB);
	ck_assert_uint_eq(pool_sums_area(256ull * SUMS_A_BLOCK * PAGE + 1), 2 * MIB);
}
END_TEST

/* ---- every shape ---- */

static const struct {
	const char *what;
	task_fn *fn;
	bool redundant; /* only where something is spare */
} tests[] = {{"history", history_task, false},
	     {"lies", lies_task, false},
	     {"stale", stale_task, false},
	     {"scrub", scrub_task, false},
	     {"none is right", none_right_task, false},
	     {"unclean", unclean_task, false},
	     {"crashes", crashes_task, false},
	     {"filling", fill_task, true},
	     {"beside writers", beside_task, false}};

START_TEST(every_shape)
{
	unsigned t = (unsigned)_i / ARRAY_LEN(shapes);
	shape = (unsigned)_i % ARRAY_LEN(shapes);
	if (tests[t].redundant && !shapes[shape].spare)
		return;
	struct rig r = {.sim = sim_new(100 + (unsigned)_i)};
	ck_assert_msg(sim_run(r.sim, tests[t].fn, &r) == 0, "%s of %s", tests[t].what,
		      shapes[shape].level);
	sim_run_for(r.sim, NS_PER_S);
	sim_free(r.sim);
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("checksums");
	TCase *tc = tcase_create("checksums");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, format);
	tcase_add_test(tc, torn_block);
	tcase_add_test(tc, block_cannot_be_read_raid1);
	tcase_add_test(tc, block_cannot_be_read_raid5);
	tcase_add_test(tc, failed_write);
	tcase_add_test(tc, resync_past_a_bad_block);
	tcase_add_loop_test(tc, every_shape, 0, (int)(ARRAY_LEN(shapes) * ARRAY_LEN(tests)));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
