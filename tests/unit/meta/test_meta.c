/* Array metadata: crash at every write of a change, damaged slots, lost disks, hostile messages. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/meta_scsi.h"
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

/* ---- hostile messages ---- */

static Isthmus__ArrayMeta *good_meta(void)
{
	Isthmus__ArrayMeta *am = malloc(sizeof(*am));
	isthmus__array_meta__init(am);
	am->version = META_VERSION;
	am->next_volume_id = 10;
	am->next_id = 10;
	pb_set_bytes(&am->array_uuid, array_uuid, 16);
	Isthmus__Pool *p = malloc(sizeof(*p));
	isthmus__pool__init(p);
	pb_set_text(&p->name, "p");
	pb_set_text(&p->level, "raid1");
	pb_set_bytes(&p->uuid, array_uuid, 16);
	p->chunk = 65536;
	p->extent_size = 4 << 20;
	p->extents = 100;
	for (uint8_t i = 0; i < 2; i++) {
		uint8_t uuid[16] = {i};
		Isthmus__PoolDisk *d = malloc(sizeof(*d));
		isthmus__pool_disk__init(d);
		pb_set_bytes(&d->uuid, uuid, 16);
		pb_append(&p->disks, &p->n_disks, d);
	}
	pb_append(&am->pools, &am->n_pools, p);
	for (uint32_t i = 1; i <= 3; i++) {
		char name[8];
		Isthmus__Volume *v = malloc(sizeof(*v));
		Isthmus__Extents *e = malloc(sizeof(*e));
		isthmus__volume__init(v);
		isthmus__extents__init(e);
		snprintf(name, sizeof(name), "v%u", i % 10);
		v->id = i;
		pb_set_text(&v->name, name);
		pb_set_text(&v->pool, "p");
		pb_set_text(&v->purpose, i == 1 ? "fs" : "piv");
		pb_set_bytes(&v->uuid, array_uuid, 16);
		v->size = 8 << 20;
		e->first = i * 10;
		e->count = 2;
		pb_append(&v->map, &v->n_map, e);
		pb_append(&am->volumes, &am->n_volumes, v);
	}
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	isthmus__head_group__init(g);
	pb_set_text(&g->name, "g");
	g->piv_volume = 2;
	g->backup_volume = 3;
	pb_append(&am->groups, &am->n_groups, g);
	Isthmus__FileSystem *f = malloc(sizeof(*f));
	isthmus__file_system__init(f);
	pb_set_text(&f->name, "f");
	pb_set_text(&f->group, "g");
	f->volume_id = 1;
	f->id = 1;
	pb_append(&am->filesystems, &am->n_filesystems, f);
	Isthmus__Export *x = malloc(sizeof(*x));
	isthmus__export__init(x);
	pb_set_text(&x->path, "/x");
	pb_set_text(&x->fs, "f");
	pb_append(&am->exports, &am->n_exports, x);
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	pb_set_text(&t->iqn, "iqn.t");
	Isthmus__Lun *l = malloc(sizeof(*l));
	isthmus__lun__init(l);
	l->volume_id = 1;
	pb_append(&t->luns, &t->n_luns, l);
	pb_append(&am->targets, &am->n_targets, t);
	ck_assert_int_eq(meta_set_groups(am, "a", true, (const uint16_t[]){1, 7}, 2, NULL), 0);
	ck_assert_int_eq(meta_number_ports(am), 0);
	Isthmus__Reservation *v = malloc(sizeof(*v));
	isthmus__reservation__init(v);
	v->volume_id = 1;
	v->type = 5;
	for (uint8_t i = 0; i < 2; i++) {
		Isthmus__Registration *key = malloc(sizeof(*key));
		isthmus__registration__init(key);
		key->key = 1;
		key->holder = i == 0;
		pb_set_text(&key->initiator, "iqn.i");
		pb_set_text(&key->target, "iqn.t");
		pb_set_bytes(&key->isid, (uint8_t[6]){i}, 6);
		pb_append(&v->registrations, &v->n_registrations, key);
	}
	pb_append(&am->reservations, &am->n_reservations, v);
	return am;
}

static void expect_bad(Isthmus__ArrayMeta *am, const char *field)
{
	char why[META_WHY_LEN] = "";
	int rc = meta_check(am, why);
	ck_assert_msg(rc == -ERR_CORRUPT, "accepted, though %s is bad", field);
	ck_assert_msg(strstr(why, field) != NULL, "'%s' does not name '%s'", why, field);
	isthmus__array_meta__free_unpacked(am, NULL);
}
static void set_groups(Isthmus__Pool *p, const char *level, size_t n, uint64_t a, uint64_t b)
{
	pb_set_text(&p->level, level);
	p->n_group_extents = n;
	p->group_extents = calloc(n, sizeof(uint64_t));
	p->group_extents[0] = a;
	if (n > 1)
		p->group_extents[1] = b;
}

#define BAD(field, ...)                                                                            \
	do {                                                                                       \
		Isthmus__ArrayMeta *am = good_meta();                                              \
		__VA_ARGS__;                                                                       \
		expect_bad(am, field);                                                             \
	} while (0)

static Isthmus__Limits *limits(Isthmus__ArrayMeta *am)
{
	Isthmus__Limits *l = am->volumes[0]->limits = malloc(sizeof(*l));
	isthmus__limits__init(l);
	return l;
}

START_TEST(hostile)
{
	char why[META_WHY_LEN];
	char longer[300];
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	Isthmus__ArrayMeta *good = good_meta();
	ck_assert_int_eq(meta_check(good, why), 0);
	for (uint32_t v = META_VERSION_OLDEST; v <= META_VERSION; v++) {
		good->version = v;
		ck_assert_int_eq(meta_check(good, why), 0);
	}
	good->version = META_VERSION + 1;
	ck_assert_int_eq(meta_check(good, why), -ERR_VERSION);
	good->version = 0;
	ck_assert_int_eq(meta_check(good, why), -ERR_VERSION);
	isthmus__array_meta__free_unpacked(good, NULL);
	BAD("array_uuid", am->array_uuid.len = 3);
	BAD("pools.name", pb_set_text(&am->pools[0]->name, "../p"));
	BAD("pools.name", pb_set_text(&am->pools[0]->name, ""));
	BAD("uuid", am->pools[0]->uuid.len = 0);
	BAD("level", pb_set_text(&am->pools[0]->level, "raid10"));
	BAD("level", pb_set_text(&am->pools[0]->level, "raid9"));
	BAD("chunk", am->pools[0]->chunk = 0);
	BAD("chunk", am->pools[0]->chunk = 65537);
	BAD("extent_size", am->pools[0]->extent_size = 0);
	BAD("checksums", am->pools[0]->checksums = 2);
	BAD("extents", am->pools[0]->extents = UINT64_MAX);
	BAD("its groups lack 1", set_groups(am->pools[0], "raid1", 1, 99, 0));
	BAD("group_extents[0]", set_groups(am->pools[0], "raid1", 1, 101, 0));
	BAD("group_extents[0]", set_groups(am->pools[0], "single", 2, 0, 100));
	BAD("group_extents[1]", set_groups(am->pools[0], "single", 2, 100, 0));
	BAD("its groups lack 1", set_groups(am->pools[0], "single", 2, 40, 59));
	BAD("in 2 groups", set_groups(am->pools[0], "raid1", 2, 40, 60));
	BAD("in 3 groups", set_groups(am->pools[0], "single", 3, 40, 60));
	BAD("disks[1].uuid", am->pools[0]->disks[1]->uuid.len = 15);
	BAD("disk stands there twice", am->pools[0]->disks[1]->uuid.data[0] = 0);
	BAD("id 0", am->volumes[0]->id = 0);
	BAD("id 10", am->volumes[0]->id = 10);
	BAD("volumes.id", am->volumes[0]->id = 2);
	BAD("volumes.name", pb_set_text(&am->volumes[0]->name, longer));
	BAD("volumes.name", pb_set_text(&am->volumes[0]->name, "v2"));
	BAD("pool 'q'", pb_set_text(&am->volumes[0]->pool, "q"));
	BAD("purpose", pb_set_text(&am->volumes[0]->purpose, "x"));
	BAD("map[0]", am->volumes[0]->map[0]->first = 99);
	BAD("map[0]", am->volumes[0]->map[0]->count = UINT64_MAX);
	BAD("map[0]", am->volumes[0]->map[0]->count = 0);
	BAD("both have extent", am->volumes[0]->map[0]->first = 21);
	BAD("size", am->volumes[0]->size = (8 << 20) + 512);
	BAD("size", am->volumes[0]->size = 0);
	BAD("size", am->volumes[0]->size = 1000);
	BAD("backup_of", am->volumes[0]->backup_of = 9);
	BAD("limit of IOPS", limits(am)->iops = META_IOPS_MAX + 1);
	BAD("limit of bandwidth", limits(am)->bandwidth = 4096);
	BAD("limit of bandwidth", limits(am)->bandwidth = UINT64_MAX);
	BAD("burst without", limits(am)->iops_burst = 1);
	BAD("burst without", limits(am)->bandwidth_burst = 1);
	BAD("burst of bandwidth", {
		Isthmus__Limits *l = limits(am);
		l->bandwidth = 65536;
		l->bandwidth_burst = 1ull << 40;
	});
	BAD("piv_volume", am->groups[0]->piv_volume = 7);
	BAD("backup_volume", am->groups[0]->backup_volume = 2);
	BAD("file system f: volume", am->filesystems[0]->volume_id = 8);
	BAD("file system f: id", am->filesystems[0]->id = 10);
	BAD("group 'h'", pb_set_text(&am->filesystems[0]->group, "h"));
	BAD("exports.path", pb_set_text(&am->exports[0]->path, "x"));
	BAD("file system 'h'", pb_set_text(&am->exports[0]->fs, "h"));
	BAD("subdir", pb_set_text(&am->exports[0]->subdir, "rel"));
	BAD("targets.iqn", pb_set_text(&am->targets[0]->iqn, longer));
	BAD("targets.iqn", pb_set_text(&am->targets[0]->iqn, "a b"));
	BAD("volume 6", am->targets[0]->luns[0]->volume_id = 6);
	BAD("block_size", am->targets[0]->luns[0]->block_size = 1024);
	BAD("port 0", am->targets[0]->ports[0]->number = 0);
	BAD("port 65536", am->targets[0]->ports[1]->number = 65536);
	BAD("ports: 1 stands there twice", am->targets[0]->ports[1]->number = 1);
	BAD("two ports in portal group 1", am->targets[0]->ports[1]->tag = 1);
	BAD("portal group 9", am->targets[0]->ports[1]->tag = 9);
	BAD("tag: 0", am->portal_groups[1]->tag = 0);
	BAD("tag: 1 stands there twice", am->portal_groups[1]->tag = 1);
	BAD("controller", pb_set_text(&am->portal_groups[0]->controller, "a/b"));
	BAD("volume 9", am->reservations[0]->volume_id = 9);
	BAD("type 4", am->reservations[0]->type = 4);
	BAD("type 9", am->reservations[0]->type = 9);
	BAD("1 holders of type 7", am->reservations[0]->type = 7);
	BAD("1 holders of type 0", am->reservations[0]->type = 0);
	BAD("0 holders", am->reservations[0]->registrations[0]->holder = false);
	BAD("two keys", am->reservations[0]->registrations[1]->isid.data[0] = 0);
	BAD("isid", am->reservations[0]->registrations[1]->isid.len = 5);
	BAD("key", am->reservations[0]->registrations[1]->key = 0);
	BAD("iSCSI names", pb_set_text(&am->reservations[0]->registrations[1]->initiator, "a b"));
	BAD("above", am->targets[0]->luns[0]->lun = 70000);
}
END_TEST

static Isthmus__Target *add_target(Isthmus__ArrayMeta *am, const char *iqn)
{
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	pb_set_text(&t->iqn, iqn);
	pb_append(&am->targets, &am->n_targets, t);
	return t;
}

/* A number for each target in each portal group: kept while it is there, never two the same. */
START_TEST(target_ports_have_numbers)
{
	char why[META_WHY_LEN], iqn[64];
	static bool seen[65536];
	const uint16_t own[] = {1, 7}, partner[] = {2};
	Isthmus__ArrayMeta *am = good_meta();
	/* version 7: the number a target had stays that of its first port */
	Isthmus__Target *t = add_target(am, "iqn.old");
	t->port = 2;
	for (unsigned i = 0; i < 5000; i++) { /* more than 4,095 */
		snprintf(iqn, sizeof(iqn), "iqn.many.%u", i);
		add_target(am, iqn);
	}
	am->version = 7;
	am->targets[0]->ports[1]->number = 3;
	ck_assert_int_eq(meta_number_ports(am), 0);
	am->version = META_VERSION;
	ck_assert_int_eq(meta_check(am, why), 0);
	ck_assert_uint_eq(t->port, 0);
	ck_assert_uint_eq(meta_target_port(t, 1), 2);
	ck_assert_uint_gt(meta_target_port(t, 7), 3);
	uint16_t was = meta_target_port(t, 7);
	/* the other controller's portals; it may not have ours */
	ck_assert_int_eq(meta_set_groups(am, "b", false, partner, 1, why), 0);
	ck_assert_int_eq(meta_number_ports(am), 0);
	ck_assert_int_eq(meta_check(am, why), 0);
	ck_assert_uint_eq(am->n_portal_groups, 3);
	ck_assert(meta_has_groups(am, "a", own, 2) && meta_has_groups(am, "b", partner, 1));
	ck_assert_int_eq(meta_set_groups(am, "b", false, own, 2, why), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why, "belongs to controller a"));
	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < am->n_targets; i++) {
		ck_assert_uint_eq(am->targets[i]->n_ports, 3);
		for (size_t k = 0; k < 3; k++) {
			uint32_t number = am->targets[i]->ports[k]->number;
			ck_assert(number && !seen[number]);
			seen[number] = true;
		}
	}
	/* a target kept to some groups has no other ports; what stays keeps its number */
	t->portal_groups = malloc(sizeof(uint32_t));
	t->portal_groups[0] = 7;
	t->n_portal_groups = 1;
	ck_assert_int_eq(meta_set_groups(am, "b", false, NULL, 0, why), 0);
	ck_assert_int_eq(meta_number_ports(am), 0);
	ck_assert_int_eq(meta_check(am, why), 0);
	ck_assert_uint_eq(t->n_ports, 1);
	ck_assert_uint_eq(meta_target_port(t, 7), was);
	ck_assert_uint_eq(am->targets[0]->n_ports, 2);
	/* alone, a controller of another name takes all over */
	ck_assert_int_eq(meta_set_groups(am, "c", true, own, 1, why), 0);
	ck_assert(meta_has_groups(am, "c", own, 1) && am->n_portal_groups == 1);
	/* more targets times groups than there are numbers */
	for (unsigned i = 0; i < 20; i++) {
		uint16_t tags[20];
		for (unsigned k = 0; k <= i; k++)
			tags[k] = (uint16_t)(k + 1);
		ck_assert_int_eq(meta_set_groups(am, "c", true, tags, i + 1, why), 0);
	}
	ck_assert_int_eq(meta_number_ports(am), 0);
	ck_assert_int_eq(meta_check(am, why), -ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(why, "at most 65535"));
	isthmus__array_meta__free_unpacked(am, NULL);
}
END_TEST

/* Version 1 had neither numbers of target ports nor reservations. */
START_TEST(version_1_is_upgraded)
{
	char why[META_WHY_LEN];
	Isthmus__ArrayMeta *am = good_meta(), *got;
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	pb_set_text(&t->iqn, "iqn.u");
	pb_append(&am->targets, &am->n_targets, t);
	am->version = 1;
	isthmus__target_port__free_unpacked(am->targets[0]->ports[1], NULL);
	isthmus__target_port__free_unpacked(am->targets[0]->ports[0], NULL);
	am->targets[0]->n_ports = 0;
	while (am->n_portal_groups)
		isthmus__portal_group__free_unpacked(am->portal_groups[--am->n_portal_groups],
						     NULL);
	size_t len = isthmus__array_meta__get_packed_size(am);
	uint8_t *p = malloc(len);
	isthmus__array_meta__pack(am, p);
	ck_assert_int_eq(meta_decode(p, len, &got, why), 0);
	ck_assert_uint_eq(got->version, META_VERSION);
	ck_assert_uint_eq(meta_target_port(got->targets[0], 1), 1);
	ck_assert_uint_eq(meta_target_port(got->targets[1], 1), 2);
	isthmus__array_meta__free_unpacked(got, NULL);
	isthmus__array_meta__free_unpacked(am, NULL);
	free(p);
}
END_TEST

static int decoded(const Isthmus__ArrayMeta *am, Isthmus__ArrayMeta **ret, char *why)
{
	size_t len = isthmus__array_meta__get_packed_size(am);
	uint8_t *p = malloc(len);
	isthmus__array_meta__pack(am, p);
	int rc = meta_decode(p, len, ret, why);
	free(p);
	return rc;
}

/* Version 11 knew no checksums of pages: its pools have none. What a later one says is refused, by
 * its number. */
START_TEST(checksums_by_version)
{
	char why[META_WHY_LEN] = "", number[16];
	Isthmus__ArrayMeta *am = good_meta(), *got;
	am->version = 11;
	ck_assert_int_eq(decoded(am, &got, why), 0);
	ck_assert_uint_eq(got->version, META_VERSION);
	ck_assert_uint_eq(got->pools[0]->checksums, 0);
	isthmus__array_meta__free_unpacked(got, NULL);
	am->version = META_VERSION;
	am->pools[0]->checksums = META_CHECKSUMS_CRC32C;
	ck_assert_int_eq(decoded(am, &got, why), 0);
	ck_assert_uint_eq(got->pools[0]->checksums, META_CHECKSUMS_CRC32C);
	isthmus__array_meta__free_unpacked(got, NULL);
	am->version = META_VERSION + 1;
	ck_assert_int_eq(decoded(am, &got, why), -ERR_VERSION);
	snprintf(number, sizeof(number), "%d", META_VERSION + 1);
	ck_assert_ptr_nonnull(strstr(why, number));
	isthmus__array_meta__free_unpacked(am, NULL);
}
END_TEST

/* Keys through ports that are gone, and what they hold, go too. */
START_TEST(reservations_are_pruned)
{
	Isthmus__ArrayMeta *am = good_meta();
	Isthmus__Reservation *v = am->reservations[0];
	ck_assert_int_eq(meta_reservations_prune(am), 0);
	ck_assert_uint_eq(v->n_registrations, 2);
	ck_assert_uint_eq(v->number, 0);
	pb_set_text(&v->registrations[1]->target, "iqn.gone");
	ck_assert_int_eq(meta_reservations_prune(am), 0);
	ck_assert_uint_eq(v->n_registrations, 1);
	ck_assert_uint_eq(v->type, 5);
	ck_assert_uint_eq(v->number, 1);
	am->targets[0]->luns[0]->volume_id = 2; /* the target shows another volume now */
	ck_assert_int_eq(meta_reservations_prune(am), 0);
	ck_assert_uint_eq(v->n_registrations, 0);
	ck_assert_uint_eq(v->type, 0);
	ck_assert(v->last->released);
	v->volume_id = 9;
	ck_assert_int_eq(meta_reservations_prune(am), 0);
	ck_assert_uint_eq(am->n_reservations, 0);
	isthmus__array_meta__free_unpacked(am, NULL);
}
END_TEST

/* Random damage of a good message: refused or understood, never worse. */
START_TEST(mutated)
{
	char why[META_WHY_LEN];
	Isthmus__ArrayMeta *am = good_meta(), *got;
	size_t len = isthmus__array_meta__get_packed_size(am);
	uint8_t *p = malloc(len), *q = malloc(len);
	isthmus__array_meta__pack(am, p);
	srand(3);
	unsigned refused = 0;
	for (unsigned i = 0; i < 20000; i++) {
		size_t n = rand() % 4 ? len : (size_t)rand() % len;
		memcpy(q, p, len);
		for (int k = rand() % 4; k >= 0; k--)
			q[(size_t)rand() % len] = (uint8_t)rand();
		int rc = meta_decode(q, n, &got, why);
		if (rc == 0)
			isthmus__array_meta__free_unpacked(got, NULL);
		else
			refused++;
	}
	ck_assert_uint_gt(refused, 1000);
	isthmus__array_meta__free_unpacked(am, NULL);
	free(p);
	free(q);
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
	tcase_add_test(tc, hostile);
	tcase_add_test(tc, version_1_is_upgraded);
	tcase_add_test(tc, checksums_by_version);
	tcase_add_test(tc, target_ports_have_numbers);
	tcase_add_test(tc, reservations_are_pruned);
	tcase_add_test(tc, mutated);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
