/* Backups: only what changed, as of one instant, found out when damaged. */
#include "blockcore/volume/crc_join.h"
#include "runtime/crc32c.h"
#include "tests/unit/core/core_rig.h"

#define MIB   (1024 * 1024ull)
#define SIZE  (4 * MIB + 20480) /* the last chunk is short */
#define CHUNK VOLUME_BACKUP_CHUNK

struct pair {
	struct rig *r;
	struct volume *from, *to;
};

static void pair_open(struct pair *p, struct rig *r)
{
	p->r = r;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	p->from = rig_volume(r, "p", "from", SIZE);
	p->to = rig_volume(r, "p", "to", SIZE);
}

static void pair_close(struct pair *p)
{
	core_volume_put(p->from);
	core_volume_put(p->to);
	rig_close(p->r);
}

static struct backup_result backup(struct pair *p)
{
	struct backup_result b;
	ck_assert_int_eq(
	    core_backup_run(p->r->core, volume_id(p->from), volume_id(p->to), NULL, NULL, &b), 0);
	return b;
}

static uint8_t *content(struct volume *v)
{
	uint8_t *buf = malloc(SIZE);
	struct cache_read *c = malloc(sizeof(*c));
	for (uint64_t off = 0; off < SIZE; off += CHUNK) {
		uint32_t len = (uint32_t)MIN(CHUNK, SIZE - off);
		uint64_t at = off;
		ck_assert_int_eq(volume_read(v, off, len, c), 0);
		for (int i = 0; i < c->n; i++) {
			memcpy(buf + at, c->iov[i].iov_base, c->iov[i].iov_len);
			at += c->iov[i].iov_len;
		}
		volume_read_done(v, c);
	}
	free(c);
	return buf;
}

static void equal(struct pair *p, const struct backup_result *b)
{
	uint8_t *x = content(p->from), *y = content(p->to);
	ck_assert_mem_eq(x, y, SIZE);
	ck_assert_uint_eq(b->crc, crc32c(y, SIZE));
	free(x);
	free(y);
}

RIG_TEST(only_what_changed)
{
	struct pair p;
	pair_open(&p, arg);
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 1, false), 0);
	struct backup_result b = backup(&p);
	ck_assert_uint_eq(b.seq, 1);
	ck_assert_uint_eq(b.bytes_copied, MIB); /* the rest is zeros on both */
	ck_assert_uint_eq(b.bytes_total, SIZE);
	equal(&p, &b);
	b = backup(&p);
	ck_assert_uint_eq(b.bytes_copied, 0);
	equal(&p, &b);
	ck_assert_int_eq(rig_write(p.from, 5 * CHUNK - 512, 1024, 2, false), 0);
	ck_assert_int_eq(rig_write(p.from, SIZE - 512, 512, 2, false), 0);
	ck_assert_int_eq(volume_discard(p.from, 9 * CHUNK, 512), 0);
	b = backup(&p);
	ck_assert_uint_eq(b.bytes_copied, 3 * CHUNK + 20480);
	equal(&p, &b);
	const Isthmus__Volume *mv = meta_volume_find(meta_get(core_meta(p.r->core)), "to");
	ck_assert_uint_eq(mv->backup_seq, 3);
	ck_assert_uint_eq(mv->backup_crc, b.crc);
	ck_assert_uint_eq(mv->backup_bytes, b.bytes_copied);
	/* After a restart nothing is known: compared, and only the difference is written. */
	core_volume_put(p.from);
	core_volume_put(p.to);
	rig_close(p.r);
	rig_open_ok(p.r);
	p.from = core_volume_get_by_name(p.r->core, "from");
	p.to = core_volume_get_by_name(p.r->core, "to");
	ck_assert_int_eq(rig_write(p.from, 7 * CHUNK, 512, 3, false), 0);
	b = backup(&p);
	ck_assert_uint_eq(b.seq, 4);
	ck_assert_uint_eq(b.bytes_copied, CHUNK);
	equal(&p, &b);
	pair_close(&p);
}

struct writer {
	struct pair *p;
	uint64_t round; /* that is being written */
	bool stop, ended;
};

/* Writes one round number to a place in every chunk, last chunk first, over and over. */
static void writer_task(void *arg)
{
	struct writer *w = arg;
	for (w->round = 1; !w->stop; w->round++)
		for (int64_t off = SIZE / CHUNK * CHUNK; off >= 0; off -= CHUNK) {
			struct cache_write *cw = malloc(sizeof(*cw));
			int rc = w->round % 2
				     ? volume_write_try_begin(w->p->from, (uint64_t)off, 512, cw)
				     : -EAGAIN;
			if (rc == -EAGAIN)
				rc = volume_write_begin(w->p->from, (uint64_t)off, 512, cw);
			ck_assert_int_eq(rc, 0);
			if (w->round % 3 == 0)
				env_sleep_ns(sim_env(w->p->r->sim), 100000);
			memcpy(cw->iov[0].iov_base, &w->round, 8);
			memset((char *)cw->iov[0].iov_base + 8, 0, 504);
			ck_assert_int_eq(volume_write_commit(w->p->from, cw, false), 0);
			free(cw);
			env_sleep_ns(sim_env(w->p->r->sim), 20000);
		}
	w->ended = true;
}

/*
 * The backup is the volume as of one instant: since the writer goes from the last chunk to the
 * first, the rounds in it never fall by more than one from the end to the start, and never rise.
 */
RIG_TEST(as_of_one_instant)
{
	struct pair p;
	pair_open(&p, arg);
	struct writer w = {.p = &p};
	ck_assert_int_eq(task_start(writer_task, &w), 0);
	uint64_t last = 0;
	for (unsigned i = 0; i < 12; i++) {
		env_sleep_ns(sim_env(p.r->sim), 3 * NS_PER_MS + i * 170000);
		struct backup_result b = backup(&p);
		uint8_t *got = content(p.to);
		ck_assert_uint_eq(crc32c(got, SIZE), b.crc);
		uint64_t end, low;
		memcpy(&end, got + SIZE / CHUNK * CHUNK, 8);
		memcpy(&low, got, 8);
		uint64_t before = end;
		for (int64_t off = SIZE / CHUNK * CHUNK; off >= 0; off -= CHUNK) {
			uint64_t v;
			memcpy(&v, got + off, 8);
			ck_assert_uint_le(v, before);
			before = v;
		}
		ck_assert_uint_le(end - low, 1);
		ck_assert_uint_ge(end, last);
		last = end;
		free(got);
	}
	ck_assert_uint_gt(last, 1);
	w.stop = true;
	while (!w.ended)
		env_sleep_ns(sim_env(p.r->sim), NS_PER_MS);
	struct backup_result b = backup(&p);
	equal(&p, &b);
	pair_close(&p);
}

RIG_TEST(verify)
{
	struct pair p;
	pair_open(&p, arg);
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 4, false), 0);
	struct backup_result b = backup(&p);
	uint32_t to = volume_id(p.to);
	ck_assert_int_eq(core_backup_verify(p.r->core, to, b.crc), 0);
	ck_assert_int_eq(core_backup_verify(p.r->core, to, b.crc ^ 1), -ERR_CORRUPT);
	/* One bit on each disk in turn: each holds one copy of some of it. */
	uint8_t sample[512];
	for (unsigned i = 0; i < 512; i++)
		sample[i] = pattern(4, i);
	unsigned found = 0;
	for (unsigned d = 0; d < 4; d++) {
		uint8_t *bytes = sim_disk_bytes(p.r->disk[d]);
		for (uint64_t at = RIG_DISK_SIZE - 4096; at >= DISK_DATA_OFF; at -= 4096)
			if (memcmp(bytes + at, sample, 512) == 0) { /* the backup lies behind */
				found++;
				bytes[at + 17] ^= 0x20;
				sim_disk_bytes_changed(p.r->disk[d], at, 512);
				ck_assert_int_eq(core_backup_verify(p.r->core, to, b.crc),
						 -ERR_CORRUPT);
				bytes[at + 17] ^= 0x20;
				sim_disk_bytes_changed(p.r->disk[d], at, 512);
				break;
			}
	}
	ck_assert_uint_eq(found, 2);
	ck_assert_int_eq(core_backup_verify(p.r->core, to, b.crc), 0);
	pair_close(&p);
}

RIG_TEST(refused)
{
	struct pair p;
	struct backup_result b;
	pair_open(&p, arg);
	uint32_t from = volume_id(p.from), id;
	ck_assert_int_eq(core_volume_create(p.r->core, "p", "small", MIB, &id), 0);
	ck_assert_int_eq(core_backup_run(p.r->core, from, id, NULL, NULL, &b), -EINVAL);
	ck_assert_int_eq(core_backup_run(p.r->core, from, from, NULL, NULL, &b), -EINVAL);
	ck_assert_int_eq(core_backup_run(p.r->core, from, 999, NULL, NULL, &b), -ENOENT);
	ck_assert_int_eq(core_backup_verify(p.r->core, 999, 0), -ENOENT);
	/* A write that never ends: the backup gives up, and other writers go on. */
	struct cache_write *w = malloc(sizeof(*w));
	ck_assert_int_eq(volume_write_begin(p.from, 0, 512, w), 0);
	ck_assert_int_eq(core_backup_run(p.r->core, from, volume_id(p.to), NULL, NULL, &b),
			 -ETIMEDOUT);
	ck_assert_int_eq(rig_write(p.from, MIB, 4096, 1, false), 0);
	volume_write_abort(p.from, w);
	free(w);
	backup(&p);
	pair_close(&p);
}

static struct volume *beaten; /* where the heads' heartbeats go; NULL: no head is up */
static bool beating;

static void heartbeats(void *arg)
{
	struct env *env = sim_env(((struct rig *)arg)->sim);
	while (beating) {
		if (beaten)
			ck_assert_int_eq(rig_write(beaten, 0, 4096, 9, false), 0);
		env_sleep_ns(env, 500 * NS_PER_MS);
	}
}

static void state_pair(struct pair *p, struct rig *r)
{
	char why[CORE_WHY_LEN];
	uint32_t from, to;
	p->r = r;
	rig_open_ok(r);
	rig_pool(r, "p", "raid10", 0, 4);
	struct volume_want w = {.name = "piv", .pool = "p", .purpose = "piv", .size = SIZE};
	ck_assert_int_eq(core_volume_make(r->core, &w, &from, why), 0);
	w = (struct volume_want){.name = "backup",
				 .pool = "p",
				 .purpose = "piv-backup",
				 .size = SIZE,
				 .backup_of = from};
	ck_assert_int_eq(core_volume_make(r->core, &w, &to, why), 0);
	p->from = core_volume_get(r->core, from);
	p->to = core_volume_get(r->core, to);
}

static int backup_rc(struct pair *p)
{
	struct backup_result b;
	return core_backup_run(p->r->core, volume_id(p->from), volume_id(p->to), NULL, NULL, &b);
}

static void controller_dies(struct pair *p)
{
	beaten = NULL;
	env_sleep_ns(sim_env(p->r->sim), NS_PER_S);
	core_volume_put(p->from);
	core_volume_put(p->to);
	core_abandon(p->r->core);
	rig_open_ok(p->r);
	p->from = core_volume_get_by_name(p->r->core, "piv");
	p->to = core_volume_get_by_name(p->r->core, "backup");
}

/* The backup is overwritten only when heads are known to live on the volume it is made of. */
RIG_TEST(where_heads_write)
{
	struct pair p;
	state_pair(&p, arg);
	beating = true;
	beaten = p.from;
	ck_assert_int_eq(task_start(heartbeats, arg), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	/* The controller is another, the heads are back: made, at the first word. */
	controller_dies(&p);
	beaten = p.from;
	ck_assert_int_eq(backup_rc(&p), 0);
	/* They live on the backup; then again on the volume. */
	beaten = p.to;
	env_sleep_ns(sim_env(p.r->sim), NS_PER_S);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	beaten = p.from;
	env_sleep_ns(sim_env(p.r->sim), NS_PER_S);
	ck_assert_int_eq(backup_rc(&p), 0);
	/* They lived on the backup when the controller died, and none has come back yet. */
	beaten = p.to;
	env_sleep_ns(sim_env(p.r->sim), NS_PER_S);
	controller_dies(&p);
	ck_assert_int_eq(backup_rc(&p), -ERR_DISCONNECTED);
	ck_assert_int_eq(backup_rc(&p), -ERR_DISCONNECTED);
	beaten = p.to;
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	beating = false;
	env_sleep_ns(sim_env(p.r->sim), NS_PER_S);
	pair_close(&p);
}

START_TEST(joined_checksums)
{
	uint8_t buf[5000];
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + (i >> 3));
	for (unsigned cut = 0; cut <= sizeof(buf); cut += 31) {
		struct crc_shift s;
		crc_shift_init(&s, sizeof(buf) - cut);
		ck_assert_uint_eq(
		    crc_join(&s, crc32c(buf, cut), crc32c(buf + cut, sizeof(buf) - cut)),
		    crc32c(buf, sizeof(buf)));
	}
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("backup");
	TCase *tc = tcase_create("backup");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, joined_checksums);
	tcase_add_test(tc, only_what_changed);
	tcase_add_test(tc, as_of_one_instant);
	tcase_add_test(tc, verify);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, where_heads_write);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
