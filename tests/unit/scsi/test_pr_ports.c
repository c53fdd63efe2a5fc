/* Persistent reservations through several target ports and for other initiator ports. */
#include <stdio.h>
#include "blockcore/control/meta_check.h"
#include "tests/unit/scsi/pr_script.h"

START_TEST(register_and_move)
{
	REGISTER(fx->a, 0, KEY_A);
	ck_assert_int_eq(move(fx->b, KEY_B, KEY_B, 0, port_of(fx->a), HOST_B, 0), CONFLICT);
	ck_assert_int_eq(move(fx->a, KEY_A, KEY_B, 0, port_of(fx->a), HOST_B, 0), CONFLICT);
	RESERVE(fx->a, KEY_A, WE_RO);
	expect_bad(move(fx->a, KEY_A, 0, 0, port_of(fx->a), HOST_B, 0), INVALID_PARAM, 8);
	expect_bad(move(fx->a, KEY_A, KEY_B, 0, 99, HOST_B, 0), INVALID_PARAM, 18);
	expect_bad(move(fx->a, KEY_A, KEY_B, 0, port_of(fx->a), HOST_A, 0), INVALID_PARAM, 18);
	uint8_t isid[6] = {0x40};
	uint8_t list[24 + TRANSPORT_ID_MAX] = {BE64(KEY_A), BE64(KEY_B), 0, 0,
					       BE16(port_of(fx->a))};
	unsigned len = transport_id_put(list + 24, HOST_B, isid);
	be32_put(list + 20, len);
	ck_assert_int_eq(out_list(fx->a, PR_REGISTER_MOVE, 0, list, 24 + len), SCSI_GOOD);
	expect_reserved(WE_RO, KEY_B);
	ck_assert_uint_eq(keys(), 2);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
	/* back, and out */
	len = transport_id_put(list + 24, HOST_A, isid);
	be64_put(list, KEY_B);
	be64_put(list + 8, KEY_C);
	list[17] = 0x02;
	ck_assert_int_eq(out_list(fx->b, PR_REGISTER_MOVE, 0, list, 24 + len), SCSI_GOOD);
	expect_reserved(WE_RO, KEY_C);
	ck_assert_uint_eq(keys(), 1);
	/* all registrants cannot be moved */
	RELEASE(fx->a, KEY_C, WE_RO);
	RESERVE(fx->a, KEY_C, WE_AR);
	ck_assert_int_eq(move(fx->a, KEY_C, KEY_B, 0, port_of(fx->a), HOST_B, 0), CONFLICT);
	/* lists that are wrong */
	be32_put(list + 20, len + 4);
	expect_bad(out_list(fx->a, PR_REGISTER_MOVE, 0, list, 24 + len), BAD_LENGTH, -1);
	be32_put(list + 20, 0);
	expect_bad(out_list(fx->a, PR_REGISTER_MOVE, 0, list, 24), INVALID_PARAM, 24);
}
END_TEST

static unsigned spec_list(uint8_t *list, const char *const *names, const int *isids, unsigned n)
{
	unsigned at = 28;
	memset(list, 0, 24);
	be64_put(list + 8, KEY_A);
	list[20] = SPEC_I_PT;
	for (unsigned i = 0; i < n; i++)
		at += put_id(list + at, names[i], isids[i]);
	be32_put(list + 24, at - 28);
	return at;
}

START_TEST(registering_others)
{
	static uint8_t list[65536];
	const char *names[] = {HOST_B, "iqn.2026-01.example:any"};
	int isids[] = {0, -1};
	unsigned len = spec_list(list, names, isids, 2);
	ck_assert_int_eq(out_list(fx->a, PR_REGISTER, 0, list, len), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 3);
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA_RO), SCSI_GOOD);
	/* HOST_B of the list has ISID 40..00, which is the fixture's */
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	/* a name without ISID is every port of that initiator */
	struct scsi_nexus *p1 = login(TARGET, names[1], 1), *p2 = login(TARGET, names[1], 2);
	ck_assert_int_eq(run(p1, 0, CDB(0x2a, [8] = 1), fx->in, 512), SCSI_GOOD);
	ck_assert_int_eq(run(p2, 0, CDB(0x2a, [8] = 1), fx->in, 512), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(p2, KEY_A, 0), SCSI_GOOD);
	ck_assert_int_eq(run(p1, 0, CDB(0x2a, [8] = 1), fx->in, 512), CONFLICT);
	/* the holder is registered: SPEC_I_PT is wrong then, and with other actions */
	be64_put(list, KEY_A);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 20);
	expect_bad(out_list(p1, PR_REGISTER_IGNORE, 0, list, len), INVALID_PARAM, 20);
	expect_bad(out_list(fx->a, PR_RESERVE, WE, list, len), INVALID_PARAM, 20);
	fixture_logout(p1);
	fixture_logout(p2);
}
END_TEST

START_TEST(lists_that_are_wrong)
{
	uint8_t list[600] = {0};
	const char *names[] = {"iqn.2026-01.example:x"};
	int isids[] = {7};
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, 23), BAD_LENGTH, -1);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, 25), BAD_LENGTH, -1);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, 0), BAD_LENGTH, -1);
	expect_bad(run(fx->a, 0, CDB(0x5f, 0, 0, 0, 0, BE32(0xffffffff)), list, 24), BAD_LENGTH,
		   -1);
	expect_bad(run(fx->a, 0, CDB(0x5f, 0, 0, 0, 0, BE32(24)), list, 20), BAD_LENGTH, -1);
	unsigned len = spec_list(list, names, isids, 1);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len - 4), BAD_LENGTH, -1);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, 24), BAD_LENGTH, -1);
	list[28] = 0x85; /* format 2 */
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 28);
	list[28] = 0x46; /* SAS */
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 28);
	list[28] = 0x05; /* no port, but ",i,0x" in the name */
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 28);
	list[28] = 0x45;
	be16_put(list + 30, be16_get(list + 30) + 4); /* beyond the end */
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 28);
	ck_assert_uint_eq(keys(), 0);
	/* a closed target: only who may log in can be registered */
	fake_initiator_add(fx->core, TARGET, HOST_A);
	fake_initiator_add(fx->core, TARGET, WATCHER);
	fx->target->open = false;
	fake_meta_changed(fx->core);
	len = spec_list(list, names, isids, 1);
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, len), INVALID_PARAM, 24);
	ck_assert_uint_eq(keys(), 0);
}
END_TEST

#define TWO   "iqn.2026-01.example:two"
#define THREE "iqn.2026-01.example:three"

START_TEST(all_target_ports)
{
	fake_lun_add(fake_target_add(fx->core, TWO, true), 5, 1, "serial-1");
	fake_lun_add(fake_target_add(fx->core, THREE, true), 0, 2, "serial-2");
	fake_meta_changed(fx->core);
	TUR(fx->a);
	TUR(fx->b);
	ck_assert_int_eq(out(fx->a, PR_REGISTER, 0, 0, KEY_A, ALL_TG_PT), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 2); /* the third target does not show the volume */
	uint32_t len = read_in(3);
	ck_assert_uint_eq(len % 4, 0);
	ck_assert_uint_eq(be16_get(fx->in + 8 + 18), 101);
	unsigned second = 8 + 24 + be32_get(fx->in + 8 + 20);
	ck_assert_uint_eq(be16_get(fx->in + second + 18), 102);
	ck_assert_str_eq((char *)fx->in + second + 24 + 4, HOST_A ",i,0x400000000000");
	/* a volume is one unit through all targets: its reservation too */
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_GOOD);
	struct scsi_nexus *n;
	struct scsi_target *t = scsi_target_get(fx->registry, TWO);
	ck_assert_int_eq(scsi_nexus_new(&n, t, HOST_A, (const uint8_t[6]){0x40}, 1), 0);
	scsi_target_put(t);
	run(n, 5, CDB(0), NULL, 0);
	/* registered, but another nexus than the holder */
	ck_assert_int_eq(run(n, 5, CDB(0x28, [8] = 1), NULL, 512), CONFLICT);
	uint8_t list[24] = {BE64(KEY_A)};
	ck_assert_int_eq(run(n, 5, CDB(0x5f, PR_RELEASE, EA, 0, 0, BE32(24)), list, 24), SCSI_GOOD);
	expect_reserved(EA, KEY_A);
	/* unregistering through all */
	ck_assert_int_eq(out(fx->a, PR_REGISTER, 0, KEY_A, 0, ALL_TG_PT), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 0);
	fixture_logout(n);
}
END_TEST

/* Every portal group of every target is a port of its own, also those of the other controller. */
START_TEST(all_portal_groups)
{
	char why[META_WHY_LEN];
	fx->core->duplex = true;
	ck_assert_int_eq(scsi_registry_set_groups(fx->registry, (uint16_t[]){1, 3}, 2), 0);
	ck_assert_int_eq(meta_set_groups(fake_meta(fx->core), "b", false, (uint16_t[]){2}, 1, why),
			 0);
	fake_lun_add(fake_target_add(fx->core, TWO, true), 5, 1, "serial-1");
	Isthmus__Target *three = fake_target_add(fx->core, THREE, true);
	fake_lun_add(three, 0, 1, "serial-1");
	three->portal_groups = malloc(sizeof(uint32_t));
	three->portal_groups[three->n_portal_groups++] = 2;
	fake_meta_changed(fx->core);
	TUR(fx->a);
	TUR(fx->b);
	ck_assert_int_eq(out(fx->a, PR_REGISTER, 0, 0, KEY_A, ALL_TG_PT), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 3 + 3 + 1);
	uint32_t len = read_in(3);
	uint16_t seen[7];
	unsigned n = 0, moved = 0;
	for (unsigned at = 8; at < 8 + len; at += 24 + be32_get(fx->in + at + 20)) {
		seen[n] = be16_get(fx->in + at + 18);
		ck_assert_uint_ne(seen[n], 0);
		for (unsigned k = 0; k < n; k++)
			ck_assert_uint_ne(seen[k], seen[n]);
		n++;
	}
	ck_assert_uint_eq(n, 7);
	/* a registration moves to a port by its number */
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, WE), SCSI_GOOD);
	for (unsigned k = 0; k < n; k++)
		moved = MAX(moved, seen[k]);
	ck_assert_int_eq(move(fx->a, KEY_A, KEY_B, 0, (uint16_t)moved, HOST_B, 7), SCSI_GOOD);
	expect_reserved(WE, KEY_B);
	ck_assert_uint_eq(keys(), 8);
}
END_TEST

/* As lun.remove does it. */
static int change_remove(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	isthmus__lun__free_unpacked(am->targets[1]->luns[0], NULL);
	pb_remove(&am->targets[1]->luns, &am->targets[1]->n_luns, 0);
	return 0;
}

START_TEST(a_target_that_goes_takes_its_keys)
{
	Isthmus__Target *two = fake_target_add(fx->core, TWO, true);
	fake_lun_add(two, 0, 1, "serial-1");
	fake_meta_changed(fx->core);
	TUR(fx->b);
	TUR(fx->a);
	struct scsi_nexus *n = login(TWO, HOST_B, 1);
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(n, 0, KEY_B);
	RESERVE(n, KEY_B, WE_RO);
	ck_assert_uint_eq(keys(), 2);
	char why[256];
	ck_assert_int_eq(meta_update(core_meta(fx->core), change_remove, NULL, why), 0);
	ck_assert_uint_eq(keys(), 1);
	expect_reserved(0, 0);
	expect_ua(fx->a, 0x2a04);
	fixture_logout(n);
}
END_TEST

START_TEST(the_table_fills_up)
{
	static uint8_t list[65536];
	char name[64];
	unsigned at = 28, n = 0;
	be64_put(list + 8, KEY_C);
	list[20] = SPEC_I_PT;
	while (n < META_KEYS_VOLUME) {
		snprintf(name, sizeof(name), "iqn.2026-01.example:n%u", n++);
		at += put_id(list + at, name, 1);
	}
	be32_put(list + 24, at - 28);
	/* with the sender's own it is one too many: nothing of it is done */
	expect_bad(out_list(fx->a, PR_REGISTER, 0, list, at), FULL, -1);
	ck_assert_uint_eq(keys(), 0);
	at -= put_id(list + 65000, name, 1);
	be32_put(list + 24, at - 28);
	ck_assert_int_eq(out_list(fx->a, PR_REGISTER, 0, list, at), SCSI_GOOD);
	ck_assert_uint_eq(keys(), META_KEYS_VOLUME);
	expect_bad(REGISTER(fx->b, 0, KEY_B), FULL, -1);
	uint32_t len = read_in(3);
	ck_assert_uint_eq(fx->cmd->in_len, MIN(len + 8, 65535));
	ck_assert_int_eq(REGISTER(fx->a, KEY_C, KEY_A), SCSI_GOOD); /* a change needs no room */
	RESERVE(fx->a, KEY_A, WE);
	expect_bad(move(fx->a, KEY_A, KEY_B, 0, port_of(fx->a), HOST_B, 9), FULL, -1);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {register_and_move,    registering_others,
				      lists_that_are_wrong, all_target_ports,
				      all_portal_groups,    a_target_that_goes_takes_its_keys,
				      the_table_fills_up,   NULL};
	return pr_suite("pr_ports", tests, NULL, 0);
}
