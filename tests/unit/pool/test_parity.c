/* Parity: the code, rows and bands, pools of RAID 5 and 6 with lost and bad disks, wrong parity. */
#include "tests/unit/pool/rig.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/pool/pool_stripe.h"
#include "runtime/err.h"
#include "runtime/log.h"

/* ---- the code ---- */

struct elems {
	uint8_t *e[PARITY_ELEMS], *kept[PARITY_ELEMS];
	size_t len;
	unsigned n;
};

static void elems_new(struct elems *x, unsigned n, size_t len)
{
	x->n = n;
	x->len = len;
	for (unsigned i = 0; i < n; i++) {
		x->e[i] = malloc(len);
		x->kept[i] = malloc(len);
		for (size_t k = 0; k < len; k++)
			x->e[i][k] = (uint8_t)rand();
	}
}

static void elems_keep(struct elems *x)
{
	for (unsigned i = 0; i < x->n; i++)
		memcpy(x->kept[i], x->e[i], x->len);
}

static void elems_free(struct elems *x)
{
	for (unsigned i = 0; i < x->n; i++) {
		free(x->e[i]);
		free(x->kept[i]);
	}
}

static void lose_and_decode(const struct parity *c, struct elems *x, uint64_t lost)
{
	static struct parity_work w;
	uint64_t all = (1ull << x->n) - 1;
	for (unsigned i = 0; i < x->n; i++)
		if (lost >> i & 1)
			memset(x->e[i], 0xa5, x->len);
	ck_assert_int_eq(parity_decode(c, &w, x->len, all & ~lost, lost, x->e), 0);
	for (unsigned i = 0; i < x->n; i++)
		ck_assert_mem_eq(x->e[i], x->kept[i], x->len);
}

START_TEST(every_loss_is_decoded)
{
	static const unsigned ks[] = {2, 3, 5, 14, 30};
	srand(7);
	for (unsigned m = 1; m <= 2; m++)
		for (unsigned t = 0; t < ARRAY_LEN(ks); t++) {
			unsigned k = ks[t], n = k + m;
			struct parity *c;
			struct elems x;
			ck_assert_int_eq(parity_new(&c, k, m), 0);
			elems_new(&x, n, 517);
			parity_encode(c, x.len, x.e, x.e + k);
			for (size_t b = 0; b < x.len; b++) {
				uint8_t sum = 0;
				for (unsigned i = 0; i < k; i++)
					sum ^= x.e[i][b];
				ck_assert_uint_eq(sum, x.e[k][b]);
			}
			elems_keep(&x);
			for (unsigned a = 0; a < n; a++)
				for (unsigned b = m == 2 ? 0 : a; b <= a; b++)
					lose_and_decode(c, &x, 1ull << a | 1ull << b);
			elems_free(&x);
			parity_free(c);
		}
}
END_TEST

START_TEST(an_update_equals_an_encode)
{
	struct parity *c;
	struct elems x;
	ck_assert_int_eq(parity_new(&c, 4, 2), 0);
	elems_new(&x, 6, 1000);
	parity_encode(c, x.len, x.e, x.e + 4);
	for (unsigned i = 0; i < 4; i++) {
		elems_keep(&x);
		for (size_t k = 0; k < x.len; k++)
			x.e[i][k] = (uint8_t)rand();
		parity_xor(x.kept[i], x.e[i], x.len); /* the change */
		parity_update(c, x.len, i, x.kept[i], x.e + 4);
		elems_keep(&x);
		parity_encode(c, x.len, x.e, x.e + 4);
		ck_assert_mem_eq(x.e[4], x.kept[4], x.len);
		ck_assert_mem_eq(x.e[5], x.kept[5], x.len);
	}
	elems_free(&x);
	parity_free(c);
}
END_TEST

START_TEST(what_cannot_be_coded_is_refused)
{
	static struct parity_work w;
	struct parity *c;
	uint8_t *none[PARITY_ELEMS] = {0};
	ck_assert_int_eq(parity_new(&c, 0, 1), -EINVAL);
	ck_assert_int_eq(parity_new(&c, 4, 3), -EINVAL);
	ck_assert_int_eq(parity_new(&c, 63, 2), -EINVAL);
	ck_assert_int_eq(parity_new(&c, 4, 1), 0);
	ck_assert_int_eq(parity_decode(c, &w, 512, 0x7, 0x18, none), -EINVAL);
	parity_free(c);
}
END_TEST

/* ---- geometry ---- */

START_TEST(bands_cover_a_write_once)
{
	struct raid p = {.ndisks = 6, .data = 5, .parity = 1, .chunk = 16};
	for (uint64_t off = 0; off < 80; off++)
		for (uint64_t len = 1; off + len <= 80; len++) {
			struct stripe_band b[3];
			uint8_t seen[80] = {0};
			unsigned n = stripe_bands(&p, off, len, b);
			ck_assert_uint_ge(n, 1);
			ck_assert_uint_le(n, 3);
			for (unsigned i = 0; i < n; i++) {
				ck_assert_uint_lt(b[i].lo, b[i].hi);
				ck_assert_uint_lt(b[i].first, b[i].end);
				for (unsigned e = b[i].first; e < b[i].end; e++)
					for (uint32_t k = b[i].lo; k < b[i].hi; k++)
						seen[e * 16 + k]++;
			}
			for (uint64_t k = 0; k < 80; k++)
				ck_assert_uint_eq(seen[k], k >= off && k < off + len);
		}
}
END_TEST

START_TEST(a_row_uses_every_disk_once)
{
	for (unsigned n = 3; n <= 8; n++)
		for (unsigned m = 1; m <= 2 && m + 2 <= n; m++) {
			struct raid p = {.ndisks = n, .data = n - m, .parity = m, .chunk = 16384};
			unsigned parity_at[8] = {0};
			for (uint64_t row = 0; row < n; row++) {
				uint64_t seen = 0;
				for (unsigned e = 0; e < n; e++)
					seen |= 1ull << stripe_position(&p, row, e);
				ck_assert_uint_eq(seen, stripe_all(&p));
				parity_at[stripe_position(&p, row, p.data)]++;
			}
			for (unsigned i = 0; i < n; i++)
				ck_assert_uint_eq(parity_at[i], 1);
		}
}
END_TEST

/* ---- pools ---- */

static uint8_t *elem_bytes(struct rig *r, uint64_t row, unsigned elem)
{
	unsigned pos = stripe_position(r->p, row, elem);
	return sim_disk_bytes(r->sd[pos]) + DISK_DATA_OFF + row * r->p->chunk;
}

/* Rows of the history's span whose parity does not belong to their data. */
static unsigned wrong_rows(struct rig *r)
{
	struct raid *p = r->p;
	unsigned wrong = 0;
	uint8_t *fresh[PARITY_MAX], *e[PARITY_ELEMS];
	for (unsigned j = 0; j < PARITY_MAX; j++)
		fresh[j] = malloc(p->chunk);
	for (uint64_t row = 0; (row + 1) * stripe_row_bytes(p) <= HISTORY_SPAN; row++) {
		for (unsigned i = 0; i < p->ndisks; i++)
			e[i] = elem_bytes(r, row, i);
		parity_encode(p->code, p->chunk, e, fresh);
		for (unsigned j = 0; j < p->parity; j++)
			wrong += memcmp(fresh[j], e[p->data + j], p->chunk) != 0;
	}
	for (unsigned j = 0; j < PARITY_MAX; j++)
		free(fresh[j]);
	return wrong;
}

static const struct {
	const char *level;
	unsigned n;
	uint32_t chunk;
	unsigned lose[3];
	unsigned nlose;
} losses[] = {{"raid5", 3, 65536, {1}, 1},    {"raid5", 6, 16384, {5}, 1},
	      {"raid5", 4, 262144, {0}, 1},   {"raid6", 4, 65536, {0, 1}, 2},
	      {"raid6", 6, 16384, {2, 5}, 2}, {"raid6", 5, 131072, {3}, 1}};
static unsigned loss;

static void zero_all(struct rig *r)
{
	ck_assert_int_eq(bdev_discard(raid_bdev(r->p), 0, HISTORY_SPAN), 0);
}

/* Disks die under use: nothing is noticed, up to what parity covers; beyond that nothing is
 * invented. */
static void loss_task(void *arg)
{
	struct rig *r = arg;
	uint8_t *buf = malloc(MIB);
	rig_junk = true;
	rig_open(r, losses[loss].level, losses[loss].n, losses[loss].chunk);
	zero_all(r);
	ck_assert_uint_eq(raid_copies(r->p), 1 + r->p->parity);
	history(r, 60);
	ck_assert_uint_eq(wrong_rows(r), 0);
	for (unsigned i = 0; i < losses[loss].nlose; i++) {
		sim_disk_set_faults(r->sd[losses[loss].lose[i]],
				    &(struct sim_disk_faults){.dead = true});
		zero_all(r);
		ck_assert_int_eq(raid_state(r->p), POOL_DEGRADED);
		history(r, 80);
	}
	ck_assert_uint_eq(r->lost_calls, losses[loss].nlose);
	if (losses[loss].nlose == r->p->parity) {
		unsigned more = losses[loss].lose[0] == 2 ? 3 : 2;
		memset(buf, 0x11, MIB);
		sim_disk_set_faults(r->sd[more], &(struct sim_disk_faults){.dead = true});
		ck_assert_int_ne(bdev_write(raid_bdev(r->p), buf, MIB, 0, 0), 0);
		ck_assert_int_eq(bdev_read(raid_bdev(r->p), buf, MIB, 0), -ERR_MEDIUM);
		ck_assert_int_ne(bdev_flush(raid_bdev(r->p)), 0);
	}
	free(buf);
	rig_close(r);
}

START_TEST(disks_lost)
{
	struct rig r = {.sim = sim_new(31)};
	loss = (unsigned)_i;
	ck_assert_int_eq(sim_run(r.sim, loss_task, &r), 0);
	sim_run_for(r.sim, NS_PER_S);
	sim_free(r.sim);
}
END_TEST

/* A bad range is decoded, given, and written anew; two in one place are beyond one parity. */
RIG_TEST(bad_ranges)
{
	struct rig *r = arg;
	struct pool_stats st;
	uint8_t *buf = malloc(MIB), *want = malloc(MIB);
	rig_open(r, "raid5", 4, 65536);
	struct bdev *b = raid_bdev(r->p);
	for (size_t i = 0; i < MIB; i++)
		want[i] = (uint8_t)(i * 13 + (i >> 12));
	ck_assert_int_eq(bdev_write(b, want, MIB, 0, 0), 0);
	unsigned a = stripe_position(r->p, 0, 0), c = stripe_position(r->p, 0, 1);
	sim_disk_bad_range(r->sd[a], DISK_DATA_OFF + 8192, 4096);
	sim_disk_bad_range(r->sd[c], DISK_DATA_OFF + 16384, 4096);
	ck_assert_int_eq(bdev_read(b, buf, MIB, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.read_repairs, 2);
	ck_assert_int_eq(bdev_read_copy(b, buf, MIB, 0, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	ck_assert_int_eq(raid_state(r->p), POOL_ONLINE);
	sim_disk_bad_range(r->sd[a], DISK_DATA_OFF + 8192, 4096);
	sim_disk_bad_range(r->sd[c], DISK_DATA_OFF + 8192, 4096);
	ck_assert_int_eq(bdev_read(b, buf, 65536, 0), -ERR_MEDIUM);
	ck_assert_int_eq(bdev_read(b, buf, 8192, 0), 0);
	/* What is written over a bad range is well again, and so is its row. */
	ck_assert_int_eq(bdev_write(b, want + 8192, 4096, 8192, 0), -ERR_MEDIUM);
	ck_assert_int_eq(bdev_write(b, want, 2 * 65536, 0, 0), 0);
	ck_assert_int_eq(bdev_read(b, buf, MIB, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	ck_assert_uint_eq(wrong_rows(r), 0);
	free(buf);
	free(want);
	rig_close(r);
}

/* Somebody with checksums found wrong data, took another copy and wrote it back: the row is right.
 */
static void silent_damage(struct rig *r, const char *level)
{
	uint8_t buf[4096], want[4096];
	rig_open(r, level, 5, 65536);
	struct bdev *b = raid_bdev(r->p);
	memset(want, 0x3c, sizeof(want));
	ck_assert_int_eq(bdev_write(b, want, 4096, 65536, BDEV_FUA), 0);
	memset(elem_bytes(r, 0, 1), 0x77, 4096);
	sim_disk_bytes_changed(r->sd[stripe_position(r->p, 0, 1)], DISK_DATA_OFF, 4096);
	ck_assert_int_eq(bdev_read(b, buf, 4096, 65536), 0);
	ck_assert_int_eq(buf[0], 0x77);
	for (unsigned copy = 1; copy <= r->p->parity; copy++) {
		ck_assert_int_eq(bdev_read_copy(b, buf, 4096, 65536, copy), 0);
		ck_assert_mem_eq(buf, want, 4096);
	}
	ck_assert_int_eq(bdev_write(b, want, 4096, 65536, 0), 0);
	ck_assert_uint_eq(wrong_rows(r), 0);
	rig_close(r);
}

RIG_TEST(silent_damage_is_healed_raid5)
{
	silent_damage(arg, "raid5");
}

RIG_TEST(silent_damage_is_healed_raid6)
{
	silent_damage(arg, "raid6");
}

/* Parity that fell behind in a crash is made right while the pool is in use. */
RIG_TEST(resync_makes_parity_right)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 9}};
	uint64_t done, total;
	rig_open(r, "raid6", 5, 65536);
	history(r, 60);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t row = sim_random_below(r->sim, 30);
		unsigned e = r->p->data + i % 2;
		memset(elem_bytes(r, row, e) + sim_random_below(r->sim, 100) * 512, 0x99, 512);
		sim_disk_bytes_changed(r->sd[stripe_position(r->p, row, e)], DISK_DATA_OFF,
				       8 * MIB);
	}
	ck_assert_uint_gt(wrong_rows(r), 0);
	raid_resync_need(r->p);
	/* Written before the resync gets there: not by an update of wrong parity. */
	uint8_t buf[4096] = {0};
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, 4096,
					    sim_random_below(r->sim, 9 * MIB / 4096) * 4096, 0),
				 0);
	ck_assert_int_eq(raid_resync(r->p, used, 1), 0);
	ck_assert_uint_eq(wrong_rows(r), 0);
	raid_resync_progress(r->p, &done, &total);
	ck_assert_uint_eq(done, total);
	ck_assert(!raid_resync_needed(r->p));
	rig_close(r);
}

/* A scrub finds what nobody has read: bad blocks of data and parity, parity that is wrong. */
static void scrubbed(struct rig *r, const char *level)
{
	struct extent_run used[] = {{0, 9}};
	struct pool_stats st;
	rig_junk = false;
	rig_open(r, level, 4, 65536);
	history(r, 60);
	for (unsigned i = 0; i < 4; i++)
		sim_disk_bad_range(r->sd[i], DISK_DATA_OFF + (i * 5 + 1) * 65536 + 4096, 4096);
	raid_stats(r->p, &st);
	uint64_t before = st.resync_fixed;
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	raid_stats(r->p, &st);
	ck_assert_uint_ge(st.resync_fixed, before + 4);
	before = st.resync_fixed;
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.resync_fixed, before);
	if (r->p->parity) {
		ck_assert_uint_eq(wrong_rows(r), 0);
		memset(elem_bytes(r, 3, r->p->data), 0x42, 512);
		sim_disk_bytes_changed(r->sd[stripe_position(r->p, 3, r->p->data)], DISK_DATA_OFF,
				       MIB);
		ck_assert_uint_eq(wrong_rows(r), 1);
		ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
		ck_assert_uint_eq(wrong_rows(r), 0);
	}
	rig_close(r);
}

RIG_TEST(scrubbed_raid10)
{
	scrubbed(arg, "raid10");
}

RIG_TEST(scrubbed_raid5)
{
	scrubbed(arg, "raid5");
}

RIG_TEST(scrubbed_raid6)
{
	scrubbed(arg, "raid6");
}

/* Wrong data that a disk returns without an error is found by both parities, block by block, and
 * with two parities only; two wrong elements at one place are not taken for a third. */
RIG_TEST(scrub_finds_the_wrong_data)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 9}};
	struct pool_stats st;
	uint8_t *want = malloc(MIB), *buf = malloc(MIB);
	rig_junk = false;
	rig_open(r, "raid6", 6, 65536);
	struct bdev *b = raid_bdev(r->p);
	for (size_t i = 0; i < MIB; i++)
		want[i] = (uint8_t)(i * 7 + (i >> 11));
	ck_assert_int_eq(bdev_write(b, want, MIB, 0, 0), 0);
	for (unsigned e = 0; e < 4; e++) { /* another element in each block */
		memset(elem_bytes(r, 1, e) + e * 4096 + 512, 0x5a + (int)e, 100);
		sim_disk_bytes_changed(r->sd[stripe_position(r->p, 1, e)], DISK_DATA_OFF, MIB);
	}
	elem_bytes(r, 0, 4)[9] ^= 1; /* P alone, Q alone: the data is right */
	elem_bytes(r, 2, 5)[9] ^= 1;
	for (unsigned i = 0; i < r->n; i++)
		sim_disk_bytes_changed(r->sd[i], DISK_DATA_OFF, MIB);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.wrong_data, 4);
	ck_assert_uint_eq(wrong_rows(r), 0);
	ck_assert_int_eq(bdev_read(b, buf, MIB, 0), 0);
	ck_assert_mem_eq(buf, want, MIB);
	memset(elem_bytes(r, 1, 0), 0x11, 4096);
	memset(elem_bytes(r, 1, 2), 0x22, 4096);
	for (unsigned i = 0; i < r->n; i++)
		sim_disk_bytes_changed(r->sd[i], DISK_DATA_OFF, MIB);
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.wrong_data, 4);
	ck_assert_uint_eq(wrong_rows(r), 0);
	free(want);
	free(buf);
	rig_close(r);
}

/* Two of three copies are right. */
RIG_TEST(scrub_votes)
{
	struct rig *r = arg;
	struct extent_run used[] = {{0, 9}};
	struct pool_stats st;
	uint8_t buf[4096], want[4096];
	rig_junk = false;
	rig_open(r, "raid1", 3, 65536);
	struct bdev *b = raid_bdev(r->p);
	memset(want, 0x3c, sizeof(want));
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(bdev_write(b, want, 4096, i * 40960, 0), 0);
	for (unsigned i = 0; i < 3; i++) { /* each copy is wrong once */
		memset(sim_disk_bytes(r->sd[i]) + DISK_DATA_OFF + i * 40960 + 512, 0x77, 64);
		sim_disk_bytes_changed(r->sd[i], DISK_DATA_OFF, MIB);
	}
	ck_assert_int_eq(raid_scrub(r->p, used, 1), 0);
	raid_stats(r->p, &st);
	ck_assert_uint_eq(st.wrong_data, 1); /* the others are not the first, which is right */
	ck_assert_uint_ge(st.resync_fixed, 3);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned copy = 0; copy < 3; copy++) {
			ck_assert_int_eq(bdev_read_copy(b, buf, 4096, i * 40960, copy), 0);
			ck_assert_mem_eq(buf, want, 4096);
		}
	rig_close(r);
}

/* Whole rows are written without reading anything. */
RIG_TEST(full_rows_read_nothing)
{
	struct rig *r = arg;
	struct disk_stats st;
	uint8_t *buf = calloc(1, 6 * 65536 * 4);
	rig_open(r, "raid5", 4, 65536);
	disk_stats(r->d[0], &st);
	uint64_t before = st.reads;
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(bdev_write(raid_bdev(r->p), buf, 6 * 65536, i * 6 * 65536ull, 0),
				 0);
	for (unsigned d = 0; d < 4; d++) {
		disk_stats(r->d[d], &st);
		ck_assert_uint_eq(st.reads, before);
	}
	free(buf);
	rig_close(r);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("parity");
	TCase *tc = tcase_create("parity");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, every_loss_is_decoded);
	tcase_add_test(tc, an_update_equals_an_encode);
	tcase_add_test(tc, what_cannot_be_coded_is_refused);
	tcase_add_test(tc, bands_cover_a_write_once);
	tcase_add_test(tc, a_row_uses_every_disk_once);
	tcase_add_test(tc, bad_ranges);
	tcase_add_test(tc, silent_damage_is_healed_raid5);
	tcase_add_test(tc, silent_damage_is_healed_raid6);
	tcase_add_test(tc, resync_makes_parity_right);
	tcase_add_test(tc, full_rows_read_nothing);
	tcase_add_test(tc, scrubbed_raid10);
	tcase_add_test(tc, scrubbed_raid5);
	tcase_add_test(tc, scrubbed_raid6);
	tcase_add_test(tc, scrub_finds_the_wrong_data);
	tcase_add_test(tc, scrub_votes);
	tcase_add_loop_test(tc, disks_lost, 0, (int)ARRAY_LEN(losses));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
