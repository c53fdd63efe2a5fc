/* PERSISTENT RESERVE commands as tests send them, and what they ask of the answers. */
#ifndef ISTHMUS_TESTS_SCSI_PR_SCRIPT_H
#define ISTHMUS_TESTS_SCSI_PR_SCRIPT_H

#include "server/scsi/persistent.h"
#include "tests/unit/scsi/suite.h"

#define KEY_A 0xaaaaaaaaaaaaaaaaull
#define KEY_B 0xbbbbbbbbbbbbbbbbull
#define KEY_C 0xccccccccccccccccull
enum { WE = 1, EA = 3, WE_RO = 5, EA_RO = 6, WE_AR = 7, EA_AR = 8 };

#define TUR(n)	    run(n, 0, CDB(0), NULL, 0)
#define CONFLICT    SCSI_RESERVATION_CONFLICT
#define APTPL	    0x01
#define ALL_TG_PT   0x04
#define SPEC_I_PT   0x08
#define BAD_RELEASE 0x052604
#define BAD_LENGTH  0x051a00
#define FULL	    0x055504

static inline uint8_t out_list(struct scsi_nexus *n, uint8_t action, uint8_t type,
			       const uint8_t *list, uint32_t len)
{
	return run(n, 0, CDB(0x5f, action, type, 0, 0, BE32(len)), list, len);
}

static inline uint8_t out(struct scsi_nexus *n, uint8_t action, uint8_t type, uint64_t key,
			  uint64_t sark, uint8_t flags)
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

static inline uint32_t read_in(uint8_t action)
{
	ck_assert_int_eq(
	    run(watcher, 0, CDB(0x5e, action, 0, 0, 0, 0, 0, BE16(65535)), NULL, 65535), 0);
	return action == 2 ? be16_get(fx->in) : be32_get(fx->in + 4);
}
static inline uint32_t generation(void)
{
	read_in(0);
	return be32_get(fx->in);
}
static inline unsigned keys(void)
{
	return read_in(0) / 8;
}
/* 0: no reservation */
static inline uint8_t reserved(uint64_t *ret_key)
{
	uint32_t len = read_in(1);
	*ret_key = be64_get(fx->in + 8);
	return len ? fx->in[8 + 13] & 0x0f : 0;
}
static inline void expect_reserved(uint8_t type, uint64_t key)
{
	uint64_t got;
	ck_assert_uint_eq(reserved(&got), type);
	if (type)
		ck_assert_uint_eq(got, key);
}
static inline void expect_ua(struct scsi_nexus *n, uint32_t code)
{
	ck_assert_int_eq(TUR(n), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x060000 | code);
}
static inline void expect_bad(uint8_t status, uint32_t sense, int field)
{
	ck_assert_int_eq(status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), sense);
	ck_assert_int_eq(sense_field(), field);
}

static inline struct scsi_nexus *login(const char *target, const char *initiator, uint8_t isid)
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

static inline void setup(void)
{
	fixture_setup();
	watcher = login(TARGET, WATCHER, 1);
}

static inline void teardown(void)
{
	run_done();
	scsi_nexus_free(watcher);
	fixture_teardown();
}

static inline uint16_t port_of(struct scsi_nexus *n)
{
	return n->port;
}

static inline unsigned put_id(uint8_t *b, const char *name, int isid)
{
	uint8_t id[6] = {0x40, 0, 0, 0, 0, (uint8_t)isid};
	return transport_id_put(b, name, isid < 0 ? NULL : id);
}

static inline uint8_t move(struct scsi_nexus *n, uint64_t key, uint64_t sark, uint8_t flags,
			   uint16_t port, const char *name, int isid)
{
	uint8_t list[24 + TRANSPORT_ID_MAX] = {BE64(key), BE64(sark), 0, flags, BE16(port)};
	unsigned len = put_id(list + 24, name, isid);
	be32_put(list + 20, len);
	return out_list(n, PR_REGISTER_MOVE, 0, list, 24 + len);
}

/* The main() of a check program of these; loop (may be NULL) runs n times. */
static inline int pr_suite(const char *name, const TTest *const *tests, const TTest *loop, int n)
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	if (loop)
		tcase_add_loop_test(tc, loop, 0, n);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
