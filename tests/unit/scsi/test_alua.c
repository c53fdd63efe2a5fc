/* Target port groups: what is reported, what may be set, and what commands meet in each state. */
#include <errno.h>
#include "blockcore/control/meta_check.h"
#include "blockcore/control/meta_scsi.h"
#include "server/scsi/alua.h"
#include "tests/unit/scsi/suite.h"

#define TUR(n)	run(n, 0, CDB(0), NULL, 0)
#define RTPG(n) run(n, 0, CDB(0xa3, 0x0a, 0, 0, 0, 0, BE32(255)), NULL, 255)

static struct scsi_lu *lu0(void)
{
	return view_find(fx->a->view, 0)->lu;
}

static uint8_t set_groups(struct scsi_nexus *n, const uint8_t *list, uint32_t len)
{
	return run(n, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, BE32(len)), list, len);
}

static void expect_ua(struct scsi_nexus *n)
{
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x062a06);
	ck_assert_int_eq(TUR(n), SCSI_GOOD);
}

static void expect_bad(uint8_t status, uint32_t sense, int field)
{
	ck_assert_int_eq(status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), sense);
	ck_assert_int_eq(sense_field(), field);
}

START_TEST(one_controller_is_one_group)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 0, 0, 0, 36), NULL, 36), 0);
	ck_assert_uint_eq(fx->in[5] & 0x30, 0x30);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(be32_get(fx->in), 12);
	ck_assert_uint_eq(fx->in[4], 0x80 | ALUA_OPTIMIZED);
	ck_assert_uint_eq(be16_get(fx->in + 6), ALUA_FIRST_GROUP);
	ck_assert_uint_eq(fx->in[11], 1);
	ck_assert_uint_eq(be16_get(fx->in + 14), 101);
	/* the extended format has a longer header */
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x2a, 0, 0, 0, 0, BE32(255)), NULL, 255), 0);
	ck_assert_uint_eq(be32_get(fx->in), 16);
	ck_assert_uint_eq(fx->in[4], 0x10);
	ck_assert_uint_eq(be16_get(fx->in + 10), ALUA_FIRST_GROUP);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x4a, 0, 0, 0, 0, BE32(255)), NULL, 255),
			 SCSI_CHECK_CONDITION);
	/* as the nexus is told it is in */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0x83, 4, 0), NULL, 1024), 0);
	bool group = false, port = false;
	for (unsigned at = 4; at < 4u + be16_get(fx->in + 2); at += 4 + fx->in[at + 3]) {
		group |= (fx->in[at + 1] & 0x3f) == 0x15 && be16_get(fx->in + at + 6) == 1;
		port |= (fx->in[at + 1] & 0x3f) == 0x14 && be16_get(fx->in + at + 6) == 101;
	}
	ck_assert(group && port);
}
END_TEST

START_TEST(all_ports_of_a_unit_are_told)
{
	Isthmus__Target *two = fake_target_add(fx->core, "iqn.2026-01.example:two", true);
	fake_lun_add(two, 7, 1, "serial-1");
	fake_target_add(fx->core, "iqn.2026-01.example:three", true);
	fake_meta_changed(fx->core);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[11], 2);
	ck_assert_uint_eq(be16_get(fx->in + 18), 102);
	/* a second controller brings its portal group, and its target port group */
	ck_assert_int_eq(scsi_registry_set_groups(fx->registry, (uint16_t[]){1, 2, 1}, 3), 0);
	ck_assert_int_eq(alua_add_ports(&fx->registry->alua, 2, 9), 0);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(be32_get(fx->in), 32);
	ck_assert_uint_eq(fx->in[11], 2);
	ck_assert_uint_eq(fx->in[20], ALUA_NON_OPTIMIZED);
	ck_assert_uint_eq(be16_get(fx->in + 22), 9);
	ck_assert_uint_eq(be16_get(fx->in + 30), 1);
	ck_assert_uint_eq(be16_get(fx->in + 34), 2);
	ck_assert_uint_eq(alua_group(fx->a), 1);
	/* ownership moves: all but the one that asked are told */
	uint8_t list[12] = {0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 1};
	ck_assert_int_eq(set_groups(fx->a, list, 12), SCSI_GOOD);
	ck_assert_int_eq(TUR(fx->a), SCSI_GOOD);
	expect_ua(fx->b);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[4], ALUA_NON_OPTIMIZED);
	ck_assert_uint_eq(fx->in[9], 1); /* explicit */
	ck_assert_uint_eq(fx->in[20], 0x80 | ALUA_OPTIMIZED);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	ck_assert(alua_set_owner(fx->registry, lu0(), 1, NULL));
	expect_ua(fx->a);
	expect_ua(fx->b);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[9], 2); /* implicit */
}
END_TEST

/* The other controller's ports are in the metadata: told, with numbers of their own. */
START_TEST(ports_of_both_controllers)
{
	char why[META_WHY_LEN];
	fx->core->duplex = true;
	ck_assert_int_eq(scsi_registry_set_groups(fx->registry, (uint16_t[]){1, 3}, 2), 0);
	ck_assert_int_eq(meta_set_groups(fake_meta(fx->core), "b", false, (uint16_t[]){2}, 1, why),
			 0);
	fake_meta_changed(fx->core);
	TUR(fx->a);
	ck_assert_int_eq(alua_add_ports(&fx->registry->alua, 2, 9), 0);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[11], 2);
	uint16_t first = be16_get(fx->in + 14), second = be16_get(fx->in + 18);
	ck_assert_uint_eq(first, fx->a->port);
	ck_assert_uint_eq(be16_get(fx->in + 22), 9);
	ck_assert_uint_eq(fx->in[27], 1);
	uint16_t third = be16_get(fx->in + 30);
	ck_assert(first && second && third && first != second && second != third && third != first);
	/* SCSI ports page: all of the target */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x12, 1, 0x88, BE16(4096)), NULL, 4096), 0);
	unsigned at = 4, n = 0;
	for (; at < 4u + be16_get(fx->in + 2); at += 12 + be16_get(fx->in + at + 10), n++)
		ck_assert_uint_eq(be16_get(fx->in + at + 2), n == 0   ? first
							     : n == 1 ? second
								      : third);
	ck_assert_uint_eq(n, 3);
	/* what the other has, this one may not take */
	ck_assert_int_eq(scsi_registry_set_groups(fx->registry, (uint16_t[]){2}, 1), -EEXIST);
}
END_TEST

START_TEST(lists_to_set)
{
	uint8_t list[44] = {0, 0, 0, 0, 0, 0, 0, 1};
	ck_assert_int_eq(set_groups(fx->a, list, 8), SCSI_GOOD); /* as it is */
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
	ck_assert_int_eq(set_groups(fx->a, NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(set_groups(fx->a, list, 4), SCSI_GOOD);
	expect_bad(set_groups(fx->a, list, 3), 0x051a00, -1);
	expect_bad(set_groups(fx->a, list, 6), 0x051a00, -1);
	expect_bad(set_groups(fx->a, list, 44), 0x051a00, -1);
	expect_bad(run(fx->a, 0, CDB(0xa4, 0x0a, 0, 0, 0, 0, BE32(0xfffffffc)), list, 8), 0x051a00,
		   -1);
	list[7] = 5; /* no such group */
	expect_bad(set_groups(fx->a, list, 8), INVALID_PARAM, 6);
	list[7] = 1;
	for (unsigned s = 1; s < 16; s++) { /* somebody must be optimized */
		list[4] = (uint8_t)s;
		expect_bad(set_groups(fx->a, list, 8), INVALID_PARAM, 4);
	}
}
END_TEST

/* SPC-4 5.16.2.4 to 5.16.2.8 */
static const struct {
	uint8_t cdb[16];
	enum { ALWAYS, NOT_MOVING, STANDBY_TOO, ACTIVE } when;
	uint32_t out;
} commands[] = {
    {{0x12, 0, 0, 0, 36}, ALWAYS, 0},
    {{0x03, 0, 0, 0, 18}, ALWAYS, 0},
    {{0xa0, [9] = 16}, ALWAYS, 0},
    {{0xa3, 0x0a, [9] = 64}, ALWAYS, 0},
    {{0xa4, 0x0a}, NOT_MOVING, 0},
    {{0x1a, 0, 0x3f, 0, 255}, STANDBY_TOO, 0},
    {{0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255}, STANDBY_TOO, 0},
    {{0x5e, [8] = 8}, STANDBY_TOO, 0},
    {{0x5f, 0, [8] = 24}, STANDBY_TOO, 24},
    {{0x00}, ACTIVE, 0},
    {{0x25}, ACTIVE, 0},
    {{0x28, [8] = 1}, ACTIVE, 0},
    {{0x2a, [8] = 1}, ACTIVE, 512},
    {{0x35}, ACTIVE, 0},
};

static void check_state(enum alua_state s, int allowed, uint32_t sense)
{
	static uint8_t zeros[512];
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
		uint8_t status = run(fx->a, 0, commands[i].cdb, commands[i].out ? zeros : NULL,
				     commands[i].out ? commands[i].out : 65535);
		bool refused = status == SCSI_CHECK_CONDITION && sense_of() == sense;
		ck_assert_msg(refused == ((int)commands[i].when > allowed),
			      "%02x in state %d: %02x", commands[i].cdb[0], s, status);
		ck_assert_msg(refused || status == SCSI_GOOD, "%02x: %02x", commands[i].cdb[0],
			      status);
	}
}

static void take_ua(void)
{
	uint8_t asc, ascq;
	while (nexus_ua_take(fx->a, 0, &asc, &ascq))
		ck_assert_uint_eq(asc << 8 | ascq, 0x2a06);
}

START_TEST(commands_in_each_state)
{
	check_state(ALUA_OPTIMIZED, ACTIVE, 0);
	alua_set_reach(fx->registry, 1, ALUA_STANDBY);
	take_ua();
	check_state(ALUA_STANDBY, STANDBY_TOO, 0x02040b);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[4] & 0x0f, ALUA_STANDBY);
	alua_set_reach(fx->registry, 1, ALUA_UNAVAILABLE);
	take_ua();
	check_state(ALUA_UNAVAILABLE, NOT_MOVING, 0x02040c);
	alua_set_moving(fx->registry, lu0(), true);
	check_state(ALUA_TRANSITIONING, ALWAYS, 0x02040a);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(fx->in[4] & 0x0f, ALUA_TRANSITIONING);
	alua_set_reach(fx->registry, 1, ALUA_OPTIMIZED);
	alua_set_moving(fx->registry, lu0(), false);
	take_ua();
	check_state(ALUA_OPTIMIZED, ACTIVE, 0);
	ck_assert_int_eq(run(fx->a, 1, CDB(0), NULL, 0),
			 SCSI_CHECK_CONDITION); /* a group's is of all */
	ck_assert_uint_eq(sense_of(), 0x062a06);
}
END_TEST

START_TEST(the_table_is_bounded)
{
	for (uint16_t i = 1; i < ALUA_ROWS; i++)
		ck_assert_int_eq(alua_add_ports(&fx->registry->alua, (uint16_t)(i + 100), i), 0);
	ck_assert_int_eq(alua_add_ports(&fx->registry->alua, 99, 99), -1);
	ck_assert_int_eq(RTPG(fx->a), SCSI_GOOD);
	ck_assert_uint_eq(be32_get(fx->in), 8 * (ALUA_ROWS - 1) + 4); /* group 1 has two tags */
}
END_TEST

SUITE("alua", one_controller_is_one_group, all_ports_of_a_unit_are_told, ports_of_both_controllers,
      lists_to_set, commands_in_each_state, the_table_is_bounded)
