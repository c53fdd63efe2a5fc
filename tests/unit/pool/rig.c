/* See rig.h. */
#include "tests/unit/pool/rig.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

bool rig_junk, rig_sums;

static void record_task(void *arg)
{
	struct rig *r = arg;
	env_sleep_ns(sim_env(r->sim), 5 * NS_PER_MS);
	if (!r->hold)
		raid_recorded(r->p, raid_out_mask(r->p), r->record_err);
}

static void rig_lost(void *arg, struct raid *p)
{
	struct rig *r = arg;
	r->lost_calls++;
	ck_assert_int_eq(task_start(record_task, r), 0);
}

void rig_open(struct rig *r, const char *level, unsigned n, uint32_t chunk)
{
	r->n = n;
	for (unsigned i = 0; i < n; i++) {
		char name[16];
		snprintf(name, sizeof(name), "d%u", i);
		r->sd[i] = sim_disk_new(r->sim, name, DISK_SIZE);
		if (rig_junk) {
			memset(sim_disk_bytes(r->sd[i]) + DISK_DATA_OFF, 0x5b + (int)i, 24 * MIB);
			sim_disk_bytes_changed(r->sd[i], DISK_DATA_OFF, 24 * MIB);
		}
		ck_assert_int_eq(
		    disk_open(&r->d[i], sim_env(r->sim), name, sim_disk_open(r->sd[i]), NULL), 0);
		struct disk_label l = {.position = i};
		l.disk_uuid[0] = (uint8_t)(i + 1);
		ck_assert_int_eq(disk_write_label(r->d[i], &l), 0);
	}
	struct raid_opts o = {.env = sim_env(r->sim),
			      .name = "p",
			      .level = level,
			      .chunk = chunk,
			      .extent_size = EXTENT,
			      .extents = pool_capacity(r->d, n, level, chunk, EXTENT, rig_sums),
			      .checksums = rig_sums,
			      .sum_blocks = rig_sums ? 32 : 0,
			      .disks = r->d,
			      .ndisks = n,
			      .lost = rig_lost,
			      .arg = r};
	ck_assert_uint_gt(o.extents, 40);
	ck_assert_int_eq(raid_new(&r->p, &o), 0);
}

void rig_close(struct rig *r)
{
	env_sleep_ns(sim_env(r->sim), NS_PER_S); /* a lost disk may be about to be recorded */
	raid_free(r->p);
	for (unsigned i = 0; i < r->n; i++)
		disk_close(r->d[i]);
}

/* Cuts [buf, buf + len) into random pieces. */
static int cut(struct sim *s, uint8_t *buf, size_t len, struct iovec *iov, int max)
{
	int n = 0;
	size_t at = 0;
	while (at < len) {
		size_t take =
		    n + 1 == max ? len - at : 1 + sim_random_below(s, 3 * len / max + 600);
		take = MIN(take, len - at);
		iov[n++] = (struct iovec){buf + at, take};
		at += take;
	}
	return n;
}

void history(struct rig *r, unsigned steps)
{
	struct bdev *b = raid_bdev(r->p);
	size_t span = HISTORY_SPAN;
	uint8_t *model = calloc(1, span), *buf = malloc(4 * MIB);
	struct iovec iov[700];
	for (unsigned i = 0; i < steps; i++) {
		uint64_t off = sim_random_below(r->sim, span / b->block_size) * b->block_size;
		size_t max = sim_random_below(r->sim, 4) ? 128 * 1024 : 3 * MIB;
		size_t len = (1 + sim_random_below(r->sim, max / b->block_size)) * b->block_size;
		len = MIN(len, span - off);
		int n = cut(r->sim, buf, len, iov, 700);
		switch (sim_random_below(r->sim, 8)) {
		case 0:
			ck_assert_int_eq(bdev_discard(b, off, len), 0);
			memset(model + off, 0, len);
			break;
		case 1:
			ck_assert_int_eq(bdev_flush(b), 0);
			break;
		case 2:
		case 3:
		case 4:
			for (size_t k = 0; k < len; k++)
				buf[k] = (uint8_t)(i * 31 + k * 7 + (k >> 9));
			memcpy(model + off, buf, len);
			ck_assert_int_eq(bdev_writev(b, iov, n, off, i % 2 ? BDEV_FUA : 0), 0);
			break;
		default:
			memset(buf, 0xee, len);
			ck_assert_int_eq(bdev_readv(b, iov, n, off), 0);
			ck_assert_mem_eq(buf, model + off, len);
		}
	}
	for (unsigned copy = 0; copy < POOL_COPIES_MAX; copy++)
		for (uint64_t off = 0; off < span; off += MIB) {
			int rc = bdev_read_copy(b, buf, MIB, off, copy);
			if (copy >= raid_copies(r->p)) {
				ck_assert_int_eq(rc, -ENOENT);
			} else if (rc != -ENODEV) {
				ck_assert_int_eq(rc, 0);
				ck_assert_mem_eq(buf, model + off, MIB);
			}
		}
	free(model);
	free(buf);
}
