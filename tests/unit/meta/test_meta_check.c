/* Messages of array metadata: hostile ones, those of earlier versions, what is numbered and pruned.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/meta_scsi.h"
#include "blockcore/control/meta_store.h"
#include "runtime/err.h"
#include "runtime/log.h"

static const uint8_t array_uuid[16] = "array-uuid-here!";

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
	Suite *s = suite_create("meta_check");
	TCase *tc = tcase_create("messages");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, hostile);
	tcase_add_test(tc, target_ports_have_numbers);
	tcase_add_test(tc, version_1_is_upgraded);
	tcase_add_test(tc, checksums_by_version);
	tcase_add_test(tc, reservations_are_pruned);
	tcase_add_test(tc, mutated);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
