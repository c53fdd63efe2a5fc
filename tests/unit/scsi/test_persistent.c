/* Persistent reservations: who may do what beside which type, and every service action. */
#include "tests/unit/scsi/pr_script.h"

static const uint8_t types[] = {WE, EA, WE_RO, EA_RO, WE_AR, EA_AR};

/* ---- what is allowed beside a reservation (SPC-4 table 66, SBC-3 table 15) ---- */

enum { READS = 1, CHANGES = 2, FREE = 3 };
static const struct {
	uint8_t cdb[16];
	int what;
	uint32_t out;
} commands[] = {
    {{0x00}, FREE, 0},				     /* TEST UNIT READY */
    {{0x03, 0, 0, 0, 18}, FREE, 0},		     /* REQUEST SENSE */
    {{0x12, 0, 0, 0, 36}, FREE, 0},		     /* INQUIRY */
    {{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16}, FREE, 0},   /* REPORT LUNS */
    {{0x25}, FREE, 0},				     /* READ CAPACITY(10) */
    {{0x9e, 0x10, [13] = 32}, FREE, 0},		     /* READ CAPACITY(16) */
    {{0x5e, 0, [8] = 8}, FREE, 0},		     /* PERSISTENT RESERVE IN */
    {{0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255}, FREE, 0},  /* LOG SENSE */
    {{0x1b, 0, 0, 0, 1}, FREE, 0},		     /* START STOP UNIT, start */
    {{0x08, 0, 0, 0, 1}, READS, 0},		     /* READ(6) */
    {{0x28, [8] = 1}, READS, 0},		     /* READ(10) */
    {{0xa8, [9] = 1}, READS, 0},		     /* READ(12) */
    {{0x88, [13] = 1}, READS, 0},		     /* READ(16) */
    {{0x2f, [8] = 1}, READS, 0},		     /* VERIFY(10) */
    {{0x8f, [13] = 1}, READS, 0},		     /* VERIFY(16) */
    {{0x34, [8] = 1}, READS, 0},		     /* PRE-FETCH(10) */
    {{0x90, [13] = 1}, READS, 0},		     /* PRE-FETCH(16) */
    {{0x1a, 0, 0x3f, 0, 255}, READS, 0},	     /* MODE SENSE(6) */
    {{0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255}, READS, 0}, /* MODE SENSE(10) */
    {{0xa3, 0x0c, [9] = 255}, READS, 0},	     /* REPORT SUPPORTED OPERATION CODES */
    {{0xa3, 0x0d, [9] = 4}, READS, 0},		     /* ... TASK MANAGEMENT FUNCTIONS */
    {{0x9e, 0x12, [13] = 32}, READS, 0},	     /* GET LBA STATUS */
    {{0x0a, 0, 0, 0, 1}, CHANGES, 512},		     /* WRITE(6) */
    {{0x2a, [8] = 1}, CHANGES, 512},		     /* WRITE(10) */
    {{0xaa, [9] = 1}, CHANGES, 512},		     /* WRITE(12) */
    {{0x8a, [13] = 1}, CHANGES, 512},		     /* WRITE(16) */
    {{0x2e, [8] = 1}, CHANGES, 512},		     /* WRITE AND VERIFY(10) */
    {{0x89, [13] = 1}, CHANGES, 1024},		     /* COMPARE AND WRITE */
    {{0x8b, [13] = 1}, CHANGES, 512},		     /* ORWRITE(16) */
    {{0x41, [8] = 1}, CHANGES, 512},		     /* WRITE SAME(10) */
    {{0x93, [13] = 1}, CHANGES, 512},		     /* WRITE SAME(16) */
    {{0x42, [8] = 8}, CHANGES, 8},		     /* UNMAP */
    {{0x35}, CHANGES, 0},			     /* SYNCHRONIZE CACHE(10) */
    {{0x91}, CHANGES, 0},			     /* SYNCHRONIZE CACHE(16) */
    {{0x15, 0x10, 0, 0, 4}, CHANGES, 4},	     /* MODE SELECT(6) */
    {{0x1b, 0, 0, 0, 4}, CHANGES, 0},		     /* START STOP UNIT, stop */
};

static void check_all(struct scsi_nexus *n, bool reads, bool changes)
{
	static uint8_t data[1024];
	for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
		int what = commands[i].what;
		bool want = what == FREE || (what == READS ? reads : changes);
		data[1] = commands[i].cdb[0] == 0x42 ? 6 : 0;
		uint8_t status = run(n, 0, commands[i].cdb, commands[i].out ? data : NULL,
				     commands[i].out ? commands[i].out : 65535);
		ck_assert_msg((status == CONFLICT) == !want, "opcode %02x: %02x",
			      commands[i].cdb[0], status);
		ck_assert_msg(!want || status == SCSI_GOOD ||
				  (commands[i].cdb[0] == 0x34 || commands[i].cdb[0] == 0x90) ||
				  commands[i].cdb[0] == 0x89,
			      "opcode %02x: %02x %06x", commands[i].cdb[0], status,
			      status == 2 ? sense_of() : 0);
	}
}

START_TEST(every_type_and_command)
{
	uint8_t type = types[_i % ARRAY_LEN(types)];
	bool exclusive = type == EA || type == EA_RO || type == EA_AR;
	bool shared = type >= WE_RO;
	struct scsi_nexus *other = login(TARGET, "iqn.2026-01.example:other", 1);
	ck_assert_int_eq(REGISTER(fx->a, 0, KEY_A), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), SCSI_GOOD);
	check_all(fx->a, true, true); /* registrations alone refuse nothing */
	check_all(other, true, true);
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, type), SCSI_GOOD);
	check_all(fx->a, true, true);
	check_all(fx->b, shared || !exclusive, shared);
	check_all(other, !exclusive, false);
	/* who logs in later is no better off */
	struct scsi_nexus *late = login(TARGET, "iqn.2026-01.example:late", 1);
	check_all(late, !exclusive, false);
	fixture_logout(late);
	/* another logical unit is another matter */
	ck_assert_int_eq(run(other, 1, CDB(0x28, [8] = 1), NULL, 4096), SCSI_CHECK_CONDITION);
	ck_assert_int_eq(run(other, 1, CDB(0x28, [8] = 1), NULL, 4096), SCSI_GOOD);
	ck_assert_int_eq(RELEASE(fx->a, KEY_A, type), SCSI_GOOD);
	check_all(other, true, true);
	fixture_logout(other);
}
END_TEST

/* ---- registering ---- */

START_TEST(registering)
{
	ck_assert_uint_eq(keys(), 0);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, KEY_B), CONFLICT); /* it has none */
	ck_assert_int_eq(REGISTER(fx->a, 0, 0), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 0);
	ck_assert_int_eq(REGISTER(fx->a, 0, KEY_A), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 1);
	ck_assert_int_eq(REGISTER(fx->a, 0, KEY_B), CONFLICT);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, KEY_B), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(be64_get(fx->in + 8), KEY_B);
	ck_assert_int_eq(out(fx->a, PR_REGISTER_IGNORE, 0, 123, KEY_C, 0), SCSI_GOOD);
	ck_assert_int_eq(out(fx->b, PR_REGISTER_IGNORE, 0, 456, KEY_C, 0), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 2); /* the same key twice */
	ck_assert_uint_eq(generation(), 4);
	ck_assert_int_eq(REGISTER(fx->b, KEY_C, 0), SCSI_GOOD);
	ck_assert_int_eq(out(fx->b, PR_REGISTER_IGNORE, 0, 0, 0, 0), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 1);
	/* registrations outlive their session */
	fixture_logout(fx->a);
	fx->a = fixture_login(HOST_A);
	ck_assert_int_eq(TUR(fx->a), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_int_eq(REGISTER(fx->a, KEY_C, 0), SCSI_GOOD);
}
END_TEST

START_TEST(reserving_and_releasing)
{
	ck_assert_int_eq(RESERVE(fx->a, 0, WE), CONFLICT);
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	ck_assert_int_eq(RESERVE(fx->a, KEY_B, WE), CONFLICT);
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_GOOD);
	uint32_t gen = generation();
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_GOOD); /* again */
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, WE), CONFLICT);
	ck_assert_int_eq(RESERVE(fx->b, KEY_B, EA), CONFLICT);
	expect_reserved(EA, KEY_A);
	ck_assert_int_eq(RELEASE(fx->b, KEY_B, EA), SCSI_GOOD); /* not the holder: nothing */
	ck_assert_int_eq(RELEASE(fx->a, KEY_B, EA), CONFLICT);
	expect_reserved(EA, KEY_A);
	expect_bad(RELEASE(fx->a, KEY_A, WE), BAD_RELEASE, -1);
	ck_assert_int_eq(RELEASE(fx->a, KEY_A, EA), SCSI_GOOD);
	ck_assert_int_eq(RELEASE(fx->a, KEY_A, EA), SCSI_GOOD);
	expect_reserved(0, 0);
	ck_assert_uint_eq(generation(), gen);	 /* 5.12.6.1: neither counts */
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD); /* of WE and EA nobody is told */
	expect_bad(RESERVE(fx->a, KEY_A, 2), INVALID_FIELD, 2);
	expect_bad(RESERVE(fx->a, KEY_A, 0), INVALID_FIELD, 2);
	expect_bad(RESERVE(fx->a, KEY_A, 9), INVALID_FIELD, 2);
	expect_bad(RESERVE(fx->a, KEY_A, 0x10 | WE), INVALID_FIELD, 2);
}
END_TEST

START_TEST(releases_are_told_to_registrants)
{
	static const uint8_t told[] = {WE_RO, EA_RO, WE_AR, EA_AR};
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	struct scsi_nexus *other = login(TARGET, "iqn.2026-01.example:other", 1);
	for (unsigned i = 0; i < ARRAY_LEN(told); i++) {
		ck_assert_int_eq(RESERVE(fx->a, KEY_A, told[i]), SCSI_GOOD);
		ck_assert_int_eq(RELEASE(fx->a, KEY_A, told[i]), SCSI_GOOD);
		expect_ua(fx->b, 0x2a04);
		ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
		ck_assert_int_eq(TUR(fx->a), SCSI_GOOD);
		ck_assert_int_eq(TUR(other), SCSI_GOOD);
	}
	fixture_logout(other);
}
END_TEST

START_TEST(all_registrants_hold)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, WE_AR), SCSI_GOOD);
	expect_reserved(WE_AR, 0);
	ck_assert_int_eq(RESERVE(fx->b, KEY_B, WE_AR), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, 0), SCSI_GOOD);
	expect_reserved(WE_AR, 0);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->b, KEY_B, 0), SCSI_GOOD); /* the last */
	expect_reserved(0, 0);
}
END_TEST

START_TEST(unregistering_the_holder)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, EA_RO);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, 0), SCSI_GOOD);
	expect_reserved(0, 0);
	expect_ua(fx->b, 0x2a04);
	REGISTER(fx->a, 0, KEY_A);
	RESERVE(fx->a, KEY_A, WE);
	ck_assert_int_eq(REGISTER(fx->a, KEY_A, 0), SCSI_GOOD);
	expect_reserved(0, 0);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
}
END_TEST

START_TEST(clearing)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, EA);
	ck_assert_int_eq(out(fx->b, PR_CLEAR, 0, KEY_A, 0, 0), CONFLICT);
	ck_assert_int_eq(out(fx->b, PR_CLEAR, 0, KEY_B, 0, 0), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 0);
	ck_assert_int_eq(be32_get(fx->in), 3);
	expect_reserved(0, 0);
	expect_ua(fx->a, 0x2a03);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
}
END_TEST

/* ---- preempting ---- */

START_TEST(preempting_the_holder)
{
	struct scsi_nexus *c = login(TARGET, "iqn.2026-01.example:c", 1);
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	REGISTER(c, 0, KEY_C);
	RESERVE(fx->a, KEY_A, WE);
	expect_bad(PREEMPT(fx->b, KEY_B, KEY_A, 4), INVALID_FIELD, 2);
	expect_bad(PREEMPT(fx->b, KEY_B, 0, EA), INVALID_PARAM, 8);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_A, KEY_A, EA), CONFLICT);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, KEY_A, EA_RO), SCSI_GOOD);
	expect_reserved(EA_RO, KEY_B);
	ck_assert_uint_eq(keys(), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x28, [8] = 1), NULL, 512), CONFLICT);
	expect_ua(fx->a, 0x2a05);
	expect_ua(c, 0x2a04); /* the type changed */
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
	/* of the same type: nothing is told to those that stay */
	REGISTER(fx->a, 0, KEY_A);
	ck_assert_int_eq(PREEMPT(c, KEY_C, KEY_B, EA_RO), SCSI_GOOD);
	expect_reserved(EA_RO, KEY_C);
	ck_assert_int_eq(TUR(fx->a), SCSI_GOOD);
	expect_ua(fx->b, 0x2a05);
	/* itself: it goes on with another type */
	ck_assert_int_eq(PREEMPT(c, KEY_C, KEY_C, WE), SCSI_GOOD);
	expect_reserved(WE, KEY_C);
	expect_ua(fx->a, 0x2a04);
	fixture_logout(c);
}
END_TEST

START_TEST(preempting_registrations)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	ck_assert_int_eq(PREEMPT(fx->a, KEY_A, KEY_C, WE), CONFLICT); /* nobody has it */
	expect_bad(PREEMPT(fx->a, KEY_A, 0, WE), INVALID_PARAM, 8);
	ck_assert_int_eq(PREEMPT(fx->a, KEY_A, KEY_B, WE), SCSI_GOOD);
	expect_reserved(0, 0);
	ck_assert_uint_eq(keys(), 1);
	expect_ua(fx->b, 0x2a05);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, WE_RO);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, KEY_B, WE), SCSI_GOOD); /* its own */
	ck_assert_uint_eq(keys(), 1);
	expect_reserved(WE_RO, KEY_A);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
}
END_TEST

START_TEST(preempting_all_registrants)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, EA_AR);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, KEY_C, WE), CONFLICT);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, KEY_A, WE), SCSI_GOOD);
	expect_reserved(EA_AR, 0);
	expect_ua(fx->a, 0x2a05);
	REGISTER(fx->a, 0, KEY_A);
	ck_assert_int_eq(PREEMPT(fx->b, KEY_B, 0, WE), SCSI_GOOD);
	expect_reserved(WE, KEY_B);
	ck_assert_uint_eq(keys(), 1);
	expect_ua(fx->a, 0x2a05);
}
END_TEST

static struct {
	unsigned n;
	bool tas;
	uint8_t lun[8];
	void *transport;
} aborts;

static bool note_abort(void *transport, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		       void *arg)
{
	aborts.n++;
	aborts.tas = tas;
	aborts.transport = transport;
	memcpy(aborts.lun, lun, 8);
	return false; /* nothing to wait for */
}

START_TEST(preempt_and_abort)
{
	int who;
	memset(&aborts, 0, sizeof(aborts));
	scsi_registry_set_abort(fx->registry, note_abort);
	scsi_nexus_set_transport(fx->a, &who);
	scsi_nexus_set_transport(fx->b, fx);
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, WE);
	view_find(fx->a->view, 0)->lu->tas = true;
	ck_assert_int_eq(out(fx->b, PR_PREEMPT_ABORT, WE, KEY_B, KEY_A, 0), SCSI_GOOD);
	ck_assert_uint_eq(aborts.n, 1);
	ck_assert(aborts.tas);
	ck_assert_ptr_eq(aborts.transport, &who);
	ck_assert_mem_eq(aborts.lun, ((uint8_t[8]){0}), 8);
	expect_reserved(WE, KEY_B);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, [8] = 1), fx->in, 512), CONFLICT);
	expect_ua(fx->a, 0x2a05);
	/* a plain PREEMPT aborts nothing */
	REGISTER(fx->a, 0, KEY_A);
	ck_assert_int_eq(PREEMPT(fx->a, KEY_A, KEY_B, WE), SCSI_GOOD);
	ck_assert_uint_eq(aborts.n, 1);
}
END_TEST

START_TEST(beside_the_commands_of_spc2)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->a, 0, KEY_A), CONFLICT);
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), CONFLICT);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x5e, [8] = 8), NULL, 8), CONFLICT);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x17), NULL, 0), SCSI_GOOD);
	REGISTER(fx->a, 0, KEY_A);
	/* CRH: they do nothing for registrants, and conflict for others */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x16), NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x17), NULL, 0), SCSI_GOOD);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x16), NULL, 0), CONFLICT);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x57), NULL, 0), CONFLICT);
	ck_assert_int_eq(TUR(fx->b), SCSI_GOOD);
}
END_TEST

START_TEST(resets_leave_them)
{
	REGISTER(fx->a, 0, KEY_A);
	RESERVE(fx->a, KEY_A, EA);
	ck_assert_int_eq(
	    scsi_task_management(fx->b, (uint8_t[8]){0}, SCSI_TMF_LU_RESET, NULL, NULL), 0);
	expect_ua(fx->b, 0x2903);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), CONFLICT);
}
END_TEST

START_TEST(answers_are_cut)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x5e, 0, [8] = 12), NULL, 12), SCSI_GOOD);
	ck_assert_uint_eq(fx->cmd->in_len, 12);
	ck_assert_uint_eq(be32_get(fx->in + 4), 16);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x5e, 3), NULL, 0), SCSI_GOOD);
	ck_assert_uint_eq(fx->cmd->in_len, 0);
	expect_bad(run(fx->a, 0, CDB(0x5e, 4, [8] = 12), NULL, 12), INVALID_FIELD, 1);
	expect_bad(run(fx->a, 0, CDB(0x5f, 8, 0, 0, 0, BE32(24)), fx->in, 24), INVALID_FIELD, 1);
}
END_TEST

/* A change of reservations makes no new targets and views. */
START_TEST(targets_stay)
{
	struct scsi_view *v = fx->a->view;
	REGISTER(fx->a, 0, KEY_A);
	ck_assert_ptr_eq(fx->a->view, v);
	fake_lun_add(fake_meta(fx->core)->targets[0], 9, 1, "serial-1");
	fake_meta_changed(fx->core);
	ck_assert_ptr_ne(fx->a->view, v);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {registering,
				      reserving_and_releasing,
				      releases_are_told_to_registrants,
				      all_registrants_hold,
				      unregistering_the_holder,
				      clearing,
				      preempting_the_holder,
				      preempting_registrations,
				      preempting_all_registrants,
				      preempt_and_abort,
				      beside_the_commands_of_spc2,
				      resets_leave_them,
				      answers_are_cut,
				      targets_stay,
				      NULL};
	return pr_suite("persistent", tests, every_type_and_command, ARRAY_LEN(types));
}
