/* Backups: only what changed, as of one instant, found out when damaged. */
#include "blockcore/volume/crc_join.h"
#include "proto/channel.pb-c.h"
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

static int change_group(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct pair *p = arg;
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	isthmus__head_group__init(g);
	g->piv_volume = volume_id(p->from);
	g->backup_volume = volume_id(p->to);
	g->id = am->next_id++;
	pb_set_text(&g->name, "g1");
	return pb_append(&am->groups, &am->n_groups, g);
}

static int says(struct pair *p, const char *head, Isthmus__Side side)
{
	char why[CORE_WHY_LEN];
	struct core_side w = {.group = "g1", .head = head, .piv = volume_id(p->from), .side = side};
	return core_side_set(p->r->core, &w, why);
}

static void controller_dies(struct pair *p)
{
	core_volume_put(p->from);
	core_volume_put(p->to);
	core_abandon(p->r->core);
	rig_open_ok(p->r);
	p->from = core_volume_get_by_name(p->r->core, "piv");
	p->to = core_volume_get_by_name(p->r->core, "backup");
}

static void group_pair(struct pair *p, struct rig *r)
{
	char why[CORE_WHY_LEN];
	state_pair(p, r);
	ck_assert_int_eq(meta_update(core_meta(r->core), change_group, p, why), 0);
}

/* What is only on the backup is not overwritten, whoever dies meanwhile. */
RIG_TEST(where_heads_live)
{
	struct pair p;
	group_pair(&p, arg);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_BOTH), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__MOVING), 0);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_BACKUP), 0);
	ck_assert_int_eq(says(&p, "h2", ISTHMUS__SIDE__ON_BACKUP), 0);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	controller_dies(&p);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	ck_assert_int_eq(says(&p, "h2", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	/* Of a volume that is not the group's nobody's word counts. */
	char why[CORE_WHY_LEN];
	struct core_side w = {.group = "g1", .head = "h1", .piv = 999, .side = 1};
	ck_assert_int_eq(core_side_set(p.r->core, &w, why), -ESTALE);
	w.group = "g9";
	ck_assert_int_eq(core_side_set(p.r->core, &w, why), -ENOENT);
	pair_close(&p);
}

static uint32_t crc_of(struct pair *p)
{
	return meta_volume_by_id(meta_get(core_meta(p->r->core)), volume_id(p->to))->backup_crc;
}

/* What a backup's checksum was is not what heads make of it, nor when they have left it again. */
RIG_TEST(a_checksum_ends_with_the_word)
{
	struct pair p;
	group_pair(&p, arg);
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 1, false), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_uint_ne(crc_of(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_uint_ne(crc_of(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_BOTH), 0);
	ck_assert_uint_eq(crc_of(&p), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_uint_ne(crc_of(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_uint_eq(crc_of(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__MOVING), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_uint_eq(crc_of(&p), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_uint_ne(crc_of(&p), 0);
	pair_close(&p);
}

/* What heads wrote to the backup is no part of the next one, though the volume did not change. */
RIG_TEST(a_backup_after_heads_lived_there)
{
	struct pair p;
	struct backup_result b;
	group_pair(&p, arg);
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 1, false), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__MOVING), 0);
	ck_assert_int_eq(rig_write(p.to, 3 * CHUNK, CHUNK, 2, false), 0);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	b = backup(&p);
	ck_assert_uint_eq(b.bytes_copied, CHUNK);
	equal(&p, &b);
	pair_close(&p);
}

struct ordered {
	struct pair *p;
	int rc;
	bool ended;
};

static void order_task(void *arg)
{
	struct ordered *o = arg;
	o->rc = backup_rc(o->p);
	o->ended = true;
}

/* A word that comes while a backup is made: that one ends first, before the word is answered. */
RIG_TEST(a_word_ends_a_backup)
{
	struct pair p;
	group_pair(&p, arg);
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 1, false), 0);
	for (unsigned i = 0; i < 20; i++) {
		struct ordered o = {.p = &p};
		ck_assert_int_eq(rig_write(p.from, 0, MIB, 2 + i, false), 0);
		ck_assert_int_eq(task_start(order_task, &o), 0);
		env_sleep_ns(sim_env(p.r->sim), i * 50000);
		bool was = o.ended;
		ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__MOVING), 0);
		if (!o.ended) /* it had not begun to copy */
			env_sleep_ns(sim_env(p.r->sim), NS_PER_S);
		ck_assert(o.ended);
		ck_assert(o.rc == 0 || (!was && (o.rc == -ECANCELED || o.rc == -ERR_DEGRADED)));
		ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_MAIN), 0);
	}
	struct backup_result b = backup(&p);
	equal(&p, &b);
	pair_close(&p);
}

static unsigned word_of(struct pair *p, const char *head)
{
	return core_side_of(meta_group_find(meta_get(core_meta(p->r->core)), "g1"), head);
}

/* A new volume: blank, no backup is made of it before a head has filled it. */
RIG_TEST(a_new_volume)
{
	struct pair p;
	char why[CORE_WHY_LEN];
	group_pair(&p, arg);
	struct core *c = p.r->core;
	ck_assert_int_eq(rig_write(p.from, 0, MIB, 1, false), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(core_piv_renew(c, "nosuch", NULL, NULL, NULL, why), -ENOENT);
	ck_assert_int_eq(core_piv_renew(c, "g1", "nosuch", NULL, NULL, why), -ENOSPC);
	ck_assert_int_eq(says(&p, "h1", ISTHMUS__SIDE__ON_BACKUP), 0);
	ck_assert_int_eq(says(&p, "h3", ISTHMUS__SIDE__MOVING), 0);
	ck_assert_int_eq(says(&p, "h4", ISTHMUS__SIDE__ON_BOTH), 0);
	core_volume_put(p.from);
	ck_assert_int_eq(core_piv_renew(c, "g1", NULL, NULL, NULL, why), 0);
	/* What a head had not moved yet is lost: its word does not become that it has all there. */
	ck_assert_uint_eq(word_of(&p, "h1"), ISTHMUS__SIDE__ON_BACKUP);
	ck_assert_uint_eq(word_of(&p, "h3"), ISTHMUS__SIDE__MOVING);
	ck_assert_uint_eq(word_of(&p, "h4"), ISTHMUS__SIDE__ON_BACKUP);
	ck_assert_ptr_null(core_volume_get_by_name(c, "piv"));
	p.from = core_volume_get_by_name(c, "g1.piv");
	ck_assert_int_eq(says(&p, "h3", ISTHMUS__SIDE__ON_BACKUP), 0);
	ck_assert_ptr_nonnull(p.from);
	ck_assert_uint_eq(volume_size(p.from), SIZE);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	/* Nor when the one that lived on the backup is no member any more. */
	ck_assert_int_eq(says(&p, "h2", ISTHMUS__SIDE__ON_BACKUP), 0);
	ck_assert_int_eq(says(&p, "h2", ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_int_eq(backup_rc(&p), -ERR_DEGRADED);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(says(&p, "h1\0h3\0h4" + 3 * i, ISTHMUS__SIDE__ON_MAIN), 0);
	ck_assert_int_eq(backup_rc(&p), 0);
	ck_assert_int_eq(core_backup_compare(c, volume_id(p.from), volume_id(p.to)), 0);
	ck_assert_int_eq(rig_write(p.to, 0, 512, 7, false), 0);
	ck_assert_int_eq(core_backup_compare(c, volume_id(p.from), volume_id(p.to)), -ERR_CORRUPT);
	pair_close(&p);
}

RIG_TEST(load_is_told)
{
	struct pair p;
	pair_open(&p, arg);
	ck_assert(core_load_is_low(p.r->core));
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
	tcase_add_test(tc, where_heads_live);
	tcase_add_test(tc, a_checksum_ends_with_the_word);
	tcase_add_test(tc, a_backup_after_heads_lived_there);
	tcase_add_test(tc, a_word_ends_a_backup);
	tcase_add_test(tc, a_new_volume);
	tcase_add_test(tc, load_is_told);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
