/* Array metadata: crash at every write of a change, damaged slots, lost disks. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/meta_slot.h"
#include "blockcore/control/meta_store.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define NDISKS 3
#define SIZE   (64 * 1024 * 1024ull)

static const uint8_t array_uuid[16] = "array-uuid-here!";

struct rig {
	struct sim *sim;
	struct sim_disk *sd[NDISKS];
	struct disk *d[NDISKS];
	struct meta *m;
	unsigned failed_writes;
	char why[META_WHY_LEN];
	/* for crash runs */
	uint64_t before, after;
	int rc;
};

static void on_failed(void *arg, struct disk *d, int err)
{
	((struct rig *)arg)->failed_writes++;
}

static void rig_init(struct rig *r, uint64_t seed)
{
	static const char *const names[NDISKS] = {"d0", "d1", "d2"};
	memset(r, 0, sizeof(*r));
	r->sim = sim_new(seed);
	for (unsigned i = 0; i < NDISKS; i++)
		r->sd[i] = sim_disk_new(r->sim, names[i], SIZE);
}

static void open_disks(struct rig *r)
{
	for (unsigned i = 0; i < NDISKS; i++) {
		ck_assert_int_eq(
		    disk_open(&r->d[i], sim_env(r->sim), "d", sim_disk_open(r->sd[i]), NULL), 0);
		if (disk_state(r->d[i]) != DISK_BLANK)
			continue;
		struct disk_label l = {.position = i};
		memcpy(l.array_uuid, array_uuid, 16);
		l.disk_uuid[0] = (uint8_t)(i + 1);
		ck_assert_int_eq(disk_write_label(r->d[i], &l), 0);
	}
}

static int rig_open(struct rig *r)
{
	open_disks(r);
	return meta_open(&r->m,
			 &(struct meta_opts){.env = sim_env(r->sim),
					     .array_uuid = array_uuid,
					     .array_name = "test",
					     .disks = r->d,
					     .ndisks = NDISKS,
					     .write_failed = on_failed,
					     .arg = r},
			 r->why);
}

static void rig_close(struct rig *r)
{
	meta_close(r->m);
	r->m = NULL;
	for (unsigned i = 0; i < NDISKS; i++)
		disk_close(r->d[i]);
}

/* A target whose name says which change it was; `pad` initiators make the message long. */
static int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	uint64_t n = *(uint64_t *)arg;
	char iqn[64];
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	snprintf(iqn, sizeof(iqn), "iqn.2026-01.test:%llu", (unsigned long long)n);
	ck_assert_int_eq(pb_set_text(&t->iqn, iqn), 0);
	return pb_append(&am->targets, &am->n_targets, t);
}

static int change_refuse(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	am->next_id = 77;
	snprintf(why, META_WHY_LEN, "no, because");
	return -EPERM;
}

static int change_bad(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	Isthmus__Initiator *in = malloc(sizeof(*in));
	isthmus__initiator__init(in);
	ck_assert_int_eq(pb_set_text(&in->iqn, "iqn.x"), 0);
	ck_assert_int_eq(pb_set_text(&in->target, "iqn.nowhere"), 0);
	return pb_append(&am->initiators, &am->n_initiators, in);
}

static int add(struct rig *r, uint64_t n)
{
	return meta_update(r->m, change_add, &n, r->why);
}

static uint64_t ntargets(struct rig *r)
{
	return meta_get(r->m)->n_targets;
}

#define RIG_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct rig r;                                                                      \
		rig_init(&r, 5);                                                                   \
		ck_assert_int_eq(sim_run(r.sim, name##_task, &r), 0);                              \
		sim_free(r.sim);                                                                   \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

static unsigned watched;

static void on_change(void *arg, const Isthmus__ArrayMeta *am)
{
	watched++;
	ck_assert_ptr_eq(am, meta_get(arg));
}

RIG_TEST(changes)
{
	struct rig *r = arg;
	struct meta_watch *w;
	watched = 0;
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_str_eq(meta_get(r->m)->array_name, "test");
	ck_assert_int_eq(meta_watch(r->m, on_change, r->m, &w), 0);
	for (uint64_t i = 0; i < 10; i++)
		ck_assert_int_eq(add(r, i), 0);
	ck_assert_uint_eq(watched, 10);
	uint64_t seq = meta_get(r->m)->seq;
	ck_assert_int_eq(meta_update(r->m, change_refuse, NULL, r->why), -EPERM);
	ck_assert_str_eq(r->why, "no, because");
	ck_assert_uint_ne(meta_get(r->m)->next_id, 77);
	ck_assert_int_eq(add(r, 3), -EINVAL); /* twice the same name */
	ck_assert_ptr_nonnull(strstr(r->why, "iqn.2026-01.test:3"));
	ck_assert_int_eq(meta_update(r->m, change_bad, NULL, r->why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(r->why, "iqn.nowhere"));
	ck_assert_uint_eq(meta_get(r->m)->seq, seq);
	ck_assert_uint_eq(watched, 10);
	meta_unwatch(r->m, w);
	rig_close(r);
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(ntargets(r), 10);
	ck_assert_uint_eq(meta_get(r->m)->seq, seq);
	ck_assert_int_eq(meta_sync(r->m), 0);
	ck_assert_uint_eq(meta_get(r->m)->seq, seq); /* nobody lagged */
	rig_close(r);
}

static void flip(struct rig *r, unsigned disk, uint64_t off)
{
	sim_disk_bytes(r->sd[disk])[off] ^= 0x10;
	sim_disk_bytes_changed(r->sd[disk], off & ~4095ull, 4096);
}

/* Any damage that leaves one slot of one disk leaves the newest state that some slot holds. */
RIG_TEST(damaged_slots)
{
	struct rig *r = arg;
	for (unsigned round = 0; round < 60; round++) {
		ck_assert_int_eq(rig_open(r), 0);
		if (round == 0)
			ck_assert_int_eq(add(r, 1000), 0);
		uint64_t n = ntargets(r);
		ck_assert_int_eq(add(r, round), 0);
		rig_close(r);
		unsigned keep = round % NDISKS;
		for (unsigned d = 0; d < NDISKS; d++)
			for (unsigned s = 0; s < 2; s++)
				if (d != keep) /* header or payload */
					flip(r, d,
					     meta_slot_offset(s) +
						 (round % 2 ? round : 4096 + round));
		ck_assert_int_eq(rig_open(r), 0);
		ck_assert_uint_eq(ntargets(r), n + 1);
		ck_assert_int_eq(meta_sync(r->m), 0);
		rig_close(r);
		/* Healed: every disk alone has it in both slots. */
		for (unsigned d = 0; d < NDISKS; d++)
			for (unsigned s = 0; s < 2; s++) {
				struct meta_slot slot;
				meta_slot_decode(sim_disk_bytes(r->sd[d]) + meta_slot_offset(s),
						 array_uuid, &slot);
				ck_assert_int_eq(slot.verdict, SLOT_OK);
			}
	}
}

RIG_TEST(all_lost)
{
	struct rig *r = arg;
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_int_eq(add(r, 1), 0);
	rig_close(r);
	for (unsigned d = 0; d < NDISKS; d++)
		for (unsigned s = 0; s < 2; s++)
			flip(r, d, meta_slot_offset(s) + 4097);
	r->m = NULL;
	ck_assert_int_eq(rig_open(r), -ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(r->why, "no copy"));
	rig_close(r);
}

RIG_TEST(lagging_disk)
{
	struct rig *r = arg;
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_int_eq(add(r, 1), 0);
	sim_disk_set_faults(r->sd[1], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(add(r, 2), 0);
	ck_assert_int_eq(add(r, 3), 0);
	ck_assert_uint_eq(r->failed_writes, 2);
	/* Two of three: no majority, no change. */
	sim_disk_set_faults(r->sd[2], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(add(r, 4), -EIO);
	ck_assert_uint_eq(ntargets(r), 3);
	sim_disk_set_faults(r->sd[2], &(struct sim_disk_faults){0});
	ck_assert_int_eq(add(r, 5), 0);
	ck_assert_uint_eq(ntargets(r), 4);
	rig_close(r);
	sim_disk_set_faults(r->sd[1], &(struct sim_disk_faults){0});
	ck_assert_int_eq(rig_open(r), 0);
	ck_assert_uint_eq(ntargets(r), 4);
	ck_assert_int_eq(meta_sync(r->m), 0);
	rig_close(r);
	sim_disk_set_faults(r->sd[0], &(struct sim_disk_faults){.dead = true});
	sim_disk_set_faults(r->sd[2], &(struct sim_disk_faults){.dead = true});
	ck_assert_int_eq(rig_open(r), 0); /* the laggard alone knows it all */
	ck_assert_uint_eq(ntargets(r), 4);
	rig_close(r);
}

/* ---- power loss at every write ---- */

static void prepare_task(void *arg)
{
	struct rig *r = arg;
	ck_assert_int_eq(rig_open(r), 0);
	for (uint64_t i = 0; i < r->before; i++)
		ck_assert_int_eq(add(r, i), 0);
	rig_close(r);
}

static void change_task(void *arg)
{
	struct rig *r = arg;
	ck_assert_int_eq(rig_open(r), 0);
	r->rc = add(r, 500);
	rig_close(r);
}

static void look_task(void *arg)
{
	struct rig *r = arg;
	ck_assert_int_eq(rig_open(r), 0);
	uint64_t n = ntargets(r);
	ck_assert_msg(n == r->before + 1 || (n == r->before && r->rc != 0), "%llu targets, rc %d",
		      (unsigned long long)n, r->rc);
	ck_assert_int_eq(meta_sync(r->m), 0);
	ck_assert_int_eq(add(r, 600), 0);
	rig_close(r);
}

START_TEST(power_loss)
{
	static const uint64_t befores[] = {0, 3};
	/* Each run copies whole disks: more than these in soaks, ISTHMUS_META_SEEDS=n. */
	const char *more = getenv("ISTHMUS_META_SEEDS");
	unsigned seeds = more ? (unsigned)atoi(more) : 3;
	for (unsigned b = 0; b < ARRAY_LEN(befores); b++)
		for (uint64_t nth = 1; nth <= 6; nth++)
			for (unsigned seed = 0; seed < seeds; seed++) {
				struct rig r;
				rig_init(&r, seed * 100 + nth);
				r.before = befores[b];
				ck_assert_int_eq(sim_run(r.sim, prepare_task, &r), 0);
				sim_power_off_at_write(r.sim, nth);
				ck_assert_int_eq(sim_run(r.sim, change_task, &r), 0);
				sim_run_for(r.sim, NS_PER_S);
				sim_power_off_at_write(r.sim, 0);
				if (!sim_power_is_off(r.sim))
					sim_power_off(r.sim);
				unsigned k = seed + (unsigned)nth;
				enum sim_loss how = k % 7 == 0	 ? SIM_LOSE_ALL
						    : k % 7 == 1 ? SIM_LOSE_NONE
						    : k % 7 < 4	 ? SIM_LOSE_PREFIX
								 : SIM_LOSE_RANDOM;
				sim_power_on(r.sim, how, k % 7 - 1);
				ck_assert_int_eq(sim_run(r.sim, look_task, &r), 0);
				sim_free(r.sim);
			}
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("meta");
	TCase *tc = tcase_create("meta");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, changes);
	tcase_add_test(tc, damaged_slots);
	tcase_add_test(tc, all_lost);
	tcase_add_test(tc, lagging_disk);
	tcase_add_test(tc, power_loss);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
