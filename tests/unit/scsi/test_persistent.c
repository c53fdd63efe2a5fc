/* Persistent reservations: who may do what beside which type, and every service action. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include "server/scsi/persistent.h"
#include "tests/unit/scsi/suite.h"

#define KEY_A 0xaaaaaaaaaaaaaaaaull
#define KEY_B 0xbbbbbbbbbbbbbbbbull
#define KEY_C 0xccccccccccccccccull
enum { WE = 1, EA = 3, WE_RO = 5, EA_RO = 6, WE_AR = 7, EA_AR = 8 };
static const uint8_t types[] = {WE, EA, WE_RO, EA_RO, WE_AR, EA_AR};

#define TUR(n)	    run(n, 0, CDB(0), NULL, 0)
#define CONFLICT    SCSI_RESERVATION_CONFLICT
#define APTPL	    0x01
#define ALL_TG_PT   0x04
#define SPEC_I_PT   0x08
#define BAD_RELEASE 0x052604
#define BAD_LENGTH  0x051a00
#define FULL	    0x055504

static uint8_t out_list(struct scsi_nexus *n, uint8_t action, uint8_t type, const uint8_t *list,
			uint32_t len)
{
	return run(n, 0, CDB(0x5f, action, type, 0, 0, BE32(len)), list, len);
}

static uint8_t out(struct scsi_nexus *n, uint8_t action, uint8_t type, uint64_t key, uint64_t sark,
		   uint8_t flags)
{
	uint8_t list[24] = {BE64(key), BE64(sark), 0, 0, 0, 0, flags};
	return out_list(n, action, type, list, 24);
}
#define REGISTER(n, key, sark)	    out(n, PR_REGISTER, 0, key, sark, 0)
#define RESERVE(n, key, type)	    out(n, PR_RESERVE, type, key, 0, 0)
#define RELEASE(n, key, type)	    out(n, PR_RELEASE, type, key, 0, 0)
#define PREEMPT(n, key, sark, type) out(n, PR_PREEMPT, type, key, sark, 0)

#define WATCHER "iqn.2026-01.example:watcher"
static struct scsi_nexus *watcher; /* not registered, so it is told nothing */

static uint32_t read_in(uint8_t action)
{
	ck_assert_int_eq(
	    run(watcher, 0, CDB(0x5e, action, 0, 0, 0, 0, 0, BE16(65535)), NULL, 65535), 0);
	return action == 2 ? be16_get(fx->in) : be32_get(fx->in + 4);
}
static uint32_t generation(void)
{
	read_in(0);
	return be32_get(fx->in);
}
static unsigned keys(void)
{
	return read_in(0) / 8;
}
/* 0: no reservation */
static uint8_t reserved(uint64_t *ret_key)
{
	uint32_t len = read_in(1);
	*ret_key = be64_get(fx->in + 8);
	return len ? fx->in[8 + 13] & 0x0f : 0;
}
static void expect_reserved(uint8_t type, uint64_t key)
{
	uint64_t got;
	ck_assert_uint_eq(reserved(&got), type);
	if (type)
		ck_assert_uint_eq(got, key);
}
static void expect_ua(struct scsi_nexus *n, uint32_t code)
{
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x060000 | code);
}
static void expect_bad(uint8_t status, uint32_t sense, int field)
{
	ck_assert_int_eq(status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), sense);
	ck_assert_int_eq(sense_field(), field);
}

static struct scsi_nexus *login(const char *target, const char *initiator, uint8_t isid)
{
	struct scsi_nexus *n;
	struct scsi_target *t = scsi_target_get(fx->registry, target);
	ck_assert_ptr_nonnull(t);
	ck_assert_int_eq(
	    scsi_nexus_new(&n, t, initiator, (const uint8_t[6]){0x40, 0, 0, 0, 0, isid}, 1), 0);
	scsi_target_put(t);
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION); /* power on */
	return n;
}

static void setup(void)
{
	fixture_setup();
	watcher = login(TARGET, WATCHER, 1);
}

static void teardown(void)
{
	run_done();
	scsi_nexus_free(watcher);
	fixture_teardown();
}

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

/* ---- several ports ---- */

static uint16_t port_of(struct scsi_nexus *n)
{
	return n->port;
}

static unsigned put_id(uint8_t *b, const char *name, int isid)
{
	uint8_t id[6] = {0x40, 0, 0, 0, 0, (uint8_t)isid};
	return transport_id_put(b, name, isid < 0 ? NULL : id);
}

static uint8_t move(struct scsi_nexus *n, uint64_t key, uint64_t sark, uint8_t flags, uint16_t port,
		    const char *name, int isid)
{
	uint8_t list[24 + TRANSPORT_ID_MAX] = {BE64(key), BE64(sark), 0, flags, BE16(port)};
	unsigned len = put_id(list + 24, name, isid);
	be32_put(list + 20, len);
	return out_list(n, PR_REGISTER_MOVE, 0, list, 24 + len);
}

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

/* ---- resources, restarts ---- */

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

static void restart(void)
{
	run_done();
	scsi_nexus_free(fx->a);
	scsi_nexus_free(fx->b);
	scsi_nexus_free(watcher);
	scsi_registry_free(fx->registry);
	ck_assert_int_eq(scsi_registry_new(&fx->registry, fx->core), 0);
	watcher = login(TARGET, WATCHER, 1);
	fx->a = fixture_login(HOST_A);
	fx->b = fixture_login(HOST_B);
	TUR(fx->a);
	TUR(fx->b);
}

START_TEST(the_death_of_the_process_loses_nothing)
{
	REGISTER(fx->a, 0, KEY_A);
	REGISTER(fx->b, 0, KEY_B);
	RESERVE(fx->a, KEY_A, EA);
	restart();
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), CONFLICT);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 2);
	ck_assert_int_eq(RELEASE(fx->a, KEY_A, EA), SCSI_GOOD);
}
END_TEST

START_TEST(power_loss_keeps_what_asked_for_it)
{
	ck_assert_int_eq(out(fx->a, PR_REGISTER, 0, 0, KEY_A, APTPL), SCSI_GOOD);
	read_in(2);
	ck_assert_uint_eq(fx->in[3] & 0x01, 1);
	ck_assert_uint_eq(fx->in[4], 0xea);
	ck_assert_uint_eq(fx->in[5], 0x01);
	RESERVE(fx->a, KEY_A, WE);
	fx->core->memory_id = 2;
	restart();
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, [8] = 1), fx->in, 512), CONFLICT);
	ck_assert_uint_eq(keys(), 1);
	ck_assert_uint_eq(generation(), 0);
	/* the last REGISTER decides */
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), SCSI_GOOD);
	ck_assert_uint_eq(generation(), 1);
	read_in(2);
	ck_assert_uint_eq(fx->in[3] & 0x01, 0);
	fx->core->memory_id = 3;
	restart();
	ck_assert_uint_eq(keys(), 0);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x2a, [8] = 1), fx->in, 512), SCSI_GOOD);
	ck_assert_int_eq(REGISTER(fx->b, KEY_B, KEY_A), CONFLICT);
	ck_assert_int_eq(REGISTER(fx->b, 0, KEY_B), SCSI_GOOD);
	ck_assert_uint_eq(keys(), 1);
}
END_TEST

START_TEST(what_is_not_recorded_is_not_answered)
{
	REGISTER(fx->a, 0, KEY_A);
	fx->core->meta->update_err = -EIO;
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x044400);
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), SCSI_GOOD);
	fx->core->meta->update_err = -ENOSPC;
	expect_bad(REGISTER(fx->b, 0, KEY_B), FULL, -1);
	fx->core->meta->update_err = -ENOMEM;
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_BUSY);
	fx->core->meta->update_err = 0;
	fx->registry->pr_waiting = 64; /* a crowd of them */
	ck_assert_int_eq(RESERVE(fx->a, KEY_A, EA), SCSI_BUSY);
	fx->registry->pr_waiting = 0;
	ck_assert_uint_eq(keys(), 1);
	expect_reserved(0, 0);
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

/* Commands on two threads while reservations come and go on a third. */
static _Atomic bool stop;

static _Atomic unsigned seen_both; /* threads that met a conflict, and none */

static void *hammer(void *arg)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	unsigned conflicts = 0, others = 0;
	bool both = false;
	while (!stop) {
		c->nexus = arg;
		c->cdb[0] = 0x28;
		c->cdb[8] = 8;
		c->cdb_len = 16;
		if (scsi_start(c) == SCSI_DONE && c->status == CONFLICT)
			conflicts++;
		else
			others++;
		scsi_release(c);
		if (!both && conflicts && others) {
			both = true;
			seen_both++;
		}
	}
	free(c);
	return NULL;
}

START_TEST(commands_run_while_reservations_change)
{
	pthread_t ta, tb;
	stop = false;
	seen_both = 0;
	pthread_create(&ta, NULL, hammer, fx->a);
	pthread_create(&tb, NULL, hammer, fx->b);
	/* On a busy machine the threads may not run for a while: until both have seen both. */
	for (int i = 0; i < 200 || (seen_both < 2 && i < 200000); i++) {
		ck_assert_int_eq(REGISTER(watcher, 0, KEY_C), SCSI_GOOD);
		ck_assert_int_eq(RESERVE(watcher, KEY_C, EA), SCSI_GOOD);
		usleep(50);
		if (i % 2)
			ck_assert_int_eq(out(watcher, PR_CLEAR, 0, KEY_C, 0, 0), SCSI_GOOD);
		else
			ck_assert_int_eq(REGISTER(watcher, KEY_C, 0), SCSI_GOOD);
	}
	stop = true;
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	ck_assert_uint_eq(seen_both, 2);
	ck_assert_int_eq(fx->v1->pins, 0);
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
				      register_and_move,
				      registering_others,
				      lists_that_are_wrong,
				      all_target_ports,
				      a_target_that_goes_takes_its_keys,
				      the_table_fills_up,
				      the_death_of_the_process_loses_nothing,
				      power_loss_keeps_what_asked_for_it,
				      what_is_not_recorded_is_not_answered,
				      beside_the_commands_of_spc2,
				      resets_leave_them,
				      answers_are_cut,
				      targets_stay,
				      commands_run_while_reservations_change};
	Suite *suite = suite_create("persistent");
	TCase *tc = tcase_create("persistent");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, every_type_and_command, 0, ARRAY_LEN(types));
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
