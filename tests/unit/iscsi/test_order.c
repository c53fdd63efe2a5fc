/* Task attributes on the wire: commands of one session and of several, on reactors of their own. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/peer.h"

#define SIMPLE	1
#define ORDERED 2
#define HEAD	3
#define READ	(0xc0)
#define WRITE	(0xa0)

static struct client *second;

static void setup(void)
{
	peer_setup(&(struct iscsi_opts){.max_connections = 8});
}

/* Another session, which may be on the other reactor. */
static struct client *another(uint8_t isid)
{
	struct client *first = c;
	c = client_connect(target.port);
	c->isid[5] = isid;
	login((const char *[]){"InitialR2T=No", NULL});
	struct client *it = c;
	c = first;
	return it;
}

static uint32_t command(struct client *by, unsigned flags, bool write, uint32_t lba,
			unsigned blocks, const void *data, uint32_t len)
{
	uint8_t cdb[16];
	cdb_rw(cdb, write, lba, blocks);
	return client_command(by, flags, cdb, blocks * 512, data, len);
}

/* A write of eight blocks that runs until its data is sent by let_go(); its task tag. */
static uint32_t hold(struct client *by)
{
	uint32_t itt = command(by, WRITE | SIMPLE, true, 0, 8, NULL, 0);
	client_expect(by, OP_R2T);
	return itt;
}

static void let_go(struct client *by, uint32_t itt)
{
	client_data_out(by, itt, be32_get(by->bhs.ttt), 0, 0, pattern + 4096, 4096, true);
}

static void expect_good(struct client *by, uint32_t itt)
{
	client_expect(by, OP_SCSI_RSP);
	ck_assert_uint_eq(be32_get(by->bhs.itt), itt);
	ck_assert_uint_eq(by->bhs.status, 0);
}

static void expect_read(struct client *by, uint32_t itt, const uint8_t *want)
{
	client_expect(by, OP_DATA_IN);
	ck_assert_uint_eq(be32_get(by->bhs.itt), itt);
	ck_assert_uint_ne(by->bhs.flags & DATA_IN_STATUS, 0);
	ck_assert(!memcmp(by->data, want, by->len));
}

/* ---- the bits ---- */

START_TEST(every_attribute)
{
	uint8_t cdb[16] = {0};
	login(NULL);
	for (unsigned attr = 0; attr < 8; attr++) {
		bool known = attr <= HEAD;
		uint32_t itt = client_command(c, 0x80 | attr, cdb, 0, NULL, 0);
		client_expect(c, OP_SCSI_RSP);
		ck_assert_uint_eq(c->bhs.status, known ? 0 : SCSI_CHECK_CONDITION);
		/* with data, that is not stored */
		itt = command(c, WRITE | attr, true, attr * 8, 8, pattern, 4096);
		client_expect(c, OP_SCSI_RSP);
		ck_assert_uint_eq(be32_get(c->bhs.itt), itt);
		ck_assert_uint_eq(c->bhs.status, known ? 0 : SCSI_CHECK_CONDITION);
		if (known)
			continue;
		ck_assert_uint_eq(c->data[2 + 2],
				  0x05); /* ILLEGAL REQUEST, INVALID MESSAGE ERROR */
		ck_assert_uint_eq(c->data[2 + 12], 0x49);
	}
	ck_assert_uint_eq(target.volume->commits, 4);
	client_ready(c);
}
END_TEST

/* ---- several sessions ---- */

START_TEST(ordered_waits_for_all_sessions_and_all_for_it)
{
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	second = another(2);
	struct client *third = another(3);
	uint32_t held = hold(c);
	uint32_t o = command(second, WRITE | ORDERED, true, 0, 8, pattern, 4096);
	ck_assert(client_quiet(second, 100));
	uint32_t s = command(third, READ | SIMPLE, false, 0, 8, NULL, 0);
	ck_assert(client_quiet(third, 100));
	uint32_t t = command(second, READ, false, 0, 8, NULL, 0); /* untagged */
	ck_assert(client_quiet(second, 100));
	/* HEAD OF QUEUE sees what was there */
	uint32_t h = command(third, READ | HEAD, false, 0, 8, NULL, 0);
	expect_read(third, h, target.volume->data);
	uint8_t cdb[16] = {0x12, 0, 0, 0, 36};
	h = client_command(second, READ | SIMPLE, cdb, 36, NULL, 0);
	client_expect(second, OP_DATA_IN);
	ck_assert_uint_eq(be32_get(second->bhs.itt), h);
	let_go(c, held);
	expect_good(c, held);
	expect_good(second, o);
	expect_read(third, s, pattern);
	expect_read(second, t, pattern);
	client_free(second);
	client_free(third);
}
END_TEST

/* All of it in one session, sent at once: the same blocks are written again and again, in order,
 * and compared with what was written last (VERIFY). */
START_TEST(a_burst_keeps_order)
{
	static uint8_t block[4096];
	uint8_t cdb[16];
	login(NULL);
	for (unsigned round = 0; round < 20; round++) {
		uint32_t itt[64];
		for (unsigned i = 0; i < 64; i++) {
			bool compare = i % 4 == 3;
			unsigned attr = compare && i % 8 == 3 ? SIMPLE : ORDERED;
			memset(block, (int)(round * 64 + i - compare), sizeof(block));
			cdb_rw(cdb, true, 0, 8);
			if (compare) {
				cdb[0] = 0x2f;
				cdb[1] = 0x02; /* BYTCHK */
			}
			itt[i] = client_command(c, WRITE | attr, cdb, 4096, block, 4096);
		}
		for (unsigned i = 0; i < 64; i++)
			expect_good(c, itt[i]);
	}
}
END_TEST

/* Unsolicited data comes while the command waits, of all sizes. */
START_TEST(data_of_those_that_wait)
{
	static const uint32_t sizes[] = {512, 4096, 4608, 65536, 131072};
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	struct client *first = c;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t len = sizes[i], all = MIN(len, 65536u), at = MIN(len, 2048u);
		second = another((uint8_t)(2 + i));
		memset(target.volume->data, 0, 1 << 20);
		uint32_t held = hold(c);
		uint8_t ttt[4];
		memcpy(ttt, c->bhs.ttt, 4);
		uint32_t o = command(second, 0x20 | ORDERED, true, 64, len / 512, pattern, at);
		client_data_out(second, o, PDU_NO_TAG, 0, at, pattern + at, all - at, true);
		ck_assert(client_quiet(second, 50));
		ck_assert_uint_eq(target.volume->data[64 * 512 + 1], 0);
		memcpy(c->bhs.ttt, ttt, 4);
		let_go(c, held);
		expect_good(c, held);
		c = second;
		serve_r2ts(o, pattern, 8192);
		ck_assert_uint_eq(c->bhs.status, 0);
		check_volume(64, len);
		client_free(c);
		c = first;
	}
}
END_TEST

/* ---- those that wait end ---- */

START_TEST(one_that_waits_is_aborted)
{
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	second = another(2);
	uint32_t held = hold(c);
	uint8_t ttt[4];
	memcpy(ttt, c->bhs.ttt, 4);
	uint32_t o = command(second, WRITE | ORDERED, true, 64, 8, pattern, 4096);
	uint32_t s = command(second, READ | SIMPLE, false, 0, 1, NULL, 0);
	ck_assert(client_quiet(second, 100));
	struct client *first = c;
	c = second;
	ck_assert_uint_eq(tmf(TMF_ABORT_TASK, o, 0), TMF_COMPLETE);
	expect_read(c, s, target.volume->data);
	c = first;
	memcpy(c->bhs.ttt, ttt, 4);
	let_go(c, held);
	expect_good(c, held);
	ck_assert_uint_eq(target.volume->commits, 1);
	client_free(second);
}
END_TEST

START_TEST(a_reset_ends_those_that_wait)
{
	static const unsigned functions[] = {TMF_LU_RESET, TMF_CLEAR_TASK_SET, TMF_WARM_RESET};
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	second = another(2);
	struct client *third = another(3), *first = c;
	hold(c);
	for (unsigned i = 0; i < 20; i++)
		command(second, (i % 3 ? WRITE | SIMPLE : WRITE | ORDERED), true, 64, 8, pattern,
			4096);
	ck_assert(client_quiet(second, 100));
	c = third;
	ck_assert_uint_eq(tmf(functions[_i], PDU_NO_TAG, 0), TMF_COMPLETE);
	ck_assert_uint_eq(target.volume->commits, 0);
	client_ready(c);
	client_free(c);
	c = first;
	client_free(second);
}
END_TEST

/* The connection that holds all up is lost, and one of those that wait. */
START_TEST(lost_connections_hold_nobody)
{
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	second = another(2);
	struct client *third = another(3);
	hold(c);
	command(second, WRITE | ORDERED, true, 64, 8, pattern, 4096);
	ck_assert(client_quiet(second, 100));
	uint32_t o = command(third, WRITE | ORDERED, true, 128, 8, pattern, 4096);
	uint32_t s = command(third, READ | SIMPLE, false, 128, 8, NULL, 0);
	ck_assert(client_quiet(third, 100));
	client_free(second);
	ck_assert(client_quiet(third, 100));
	client_free(c);
	c = third;
	expect_good(c, o);
	expect_read(c, s, pattern);
	ck_assert_uint_eq(target.volume->commits, 1);
}
END_TEST

/* A host that keeps others waiting sends no data: it is dropped, and they go on. */
START_TEST(who_holds_all_up_is_dropped)
{
	peer_teardown();
	peer_setup(&(struct iscsi_opts){.max_connections = 8, .data_timeout_s = 1});
	login((const char *[]){"InitialR2T=Yes", "ImmediateData=No", NULL});
	second = another(2);
	hold(c);
	uint32_t o = command(second, WRITE | ORDERED, true, 64, 8, pattern, 4096);
	expect_good(second, o);
	client_free(second);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("order on the wire");
	TCase *tc = tcase_create("order on the wire");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, peer_teardown);
	tcase_add_test(tc, every_attribute);
	tcase_add_test(tc, ordered_waits_for_all_sessions_and_all_for_it);
	tcase_add_test(tc, a_burst_keeps_order);
	tcase_add_test(tc, data_of_those_that_wait);
	tcase_add_test(tc, one_that_waits_is_aborted);
	tcase_add_loop_test(tc, a_reset_ends_those_that_wait, 0, 3);
	tcase_add_test(tc, lost_connections_hold_nobody);
	tcase_add_test(tc, who_holds_all_up_is_dropped);
	suite_add_tcase(suite, tc);
	return peer_run(suite);
}
