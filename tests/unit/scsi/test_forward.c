/*
 * Commands through the controller that does not own the volume: the same status, sense, data and
 * residuals as through the one that does. The same initiators do the same in two worlds that
 * differ only in where the volumes are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <check.h>
#include "tests/unit/scsi/pair.h"

/* ---- one world, and the other ---- */

struct outcome {
	uint8_t status, sense[SCSI_SENSE_MAX];
	uint32_t in_len, out_len;
	uint8_t *in;
	uint8_t cdb[16];
	uint32_t lun;
};

struct record {
	struct outcome *all;
	unsigned n, max, at;
	bool comparing;
};
static struct record rec;
static unsigned outcomes[256]; /* by status */

static void differ(const char *what)
{
	const struct outcome *o = &rec.all[rec.at];
	char cdb[64] = "";
	for (int i = 0; i < 16; i++)
		sprintf(cdb + i * 3, "%02x ", o->cdb[i]);
	ck_abort_msg("%s differs: LUN %u, CDB %s(status %02x and %02x, sense %02x/%02x/%02x and "
		     "%02x/%02x/%02x, in %u and %u, out %u and %u)",
		     what, o->lun, cdb, o->status, last->status, o->sense[2], o->sense[12],
		     o->sense[13], last->sense[2], last->sense[12], last->sense[13], o->in_len,
		     last->in_len, o->out_len, last->out_len);
}

static void compare(void)
{
	const struct outcome *o = &rec.all[rec.at];
	if (o->status != last->status)
		differ("status");
	if (memcmp(o->sense, last->sense, SCSI_SENSE_MAX) != 0)
		differ("sense");
	if (o->out_len != last->out_len)
		differ("residual of data-out");
	if (o->in_len != last->in_len)
		differ("length of data-in");
	if (o->in && memcmp(o->in, last->in, o->in_len) != 0)
		differ("data-in");
	rec.at++;
}

static void one(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out,
		uint32_t edtl)
{
	pair_cmd(n, lun, cdb, out, edtl);
	outcomes[last->status]++;
	pair_run_for(NS_PER_MS); /* wipes and flushes it left behind */
	if (rec.comparing) {
		compare();
		return;
	}
	if (rec.n == rec.max) {
		rec.max = rec.max ? rec.max * 2 : 1024;
		rec.all = realloc(rec.all, rec.max * sizeof(rec.all[0]));
	}
	struct outcome *o = &rec.all[rec.n++];
	*o = (struct outcome){
	    .status = last->status, .in_len = last->in_len, .out_len = last->out_len, .lun = lun};
	memcpy(o->cdb, cdb, 16);
	memcpy(o->sense, last->sense, SCSI_SENSE_MAX);
	if (last->in_iovcnt) {
		o->in = malloc(o->in_len);
		memcpy(o->in, last->in, o->in_len);
	}
}

/* Sessions at A; the volumes at A, then at B. */
static void both_worlds(void (*script)(struct scsi_nexus *x, struct scsi_nexus *y))
{
	rec = (struct record){0};
	for (int owner = A; owner <= B; owner++) {
		rec.comparing = owner == B;
		pair_setup(owner);
		struct scsi_nexus *x = pair_login(A, HOST_A), *y = pair_login(A, HOST_B);
		script(x, y);
		struct lu_forward *f = &view_find(x->view, 0)->lu->forward;
		ck_assert_int_eq(f->sent > 0, owner == B);
		pair_logout(x);
		pair_logout(y);
		pair_teardown();
	}
	ck_assert_uint_eq(rec.at, rec.n);
	for (unsigned i = 0; i < rec.n; i++)
		free(rec.all[i].in);
	free(rec.all);
}

/* ---- CDBs of all operations ---- */

static uint64_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

/* What depends on where the volume is. */
static bool shows_access(const uint8_t *cdb)
{
	return (cdb[0] == 0xa3 || cdb[0] == 0xa4) && (cdb[1] & 0x1f) == 0x0a;
}

static const uint32_t luns[] = {0, 1, 4, 300};
static uint8_t payload[64 * 1024];

static void issue(struct scsi_nexus *n, uint32_t lun, const struct scsi_op *op, uint8_t *cdb)
{
	static const uint32_t lens[] = {0, 4, 8, 24, 512, 4096, 8192, 24 + 4096, 65536};
	if (shows_access(cdb))
		return;
	if (op->dir != DIR_OUT)
		one(n, lun, cdb, NULL, 65536);
	else
		one(n, lun, cdb, payload, lens[rnd(ARRAY_LEN(lens))]);
}

/* Sizes that are small, so that they lie in the medium and in the data now and then. */
static void sane_fields(uint8_t *cdb, const struct scsi_op *op)
{
	struct lba_range r;
	for (unsigned i = 1 + op->action_field; i < op->cdb_len; i++)
		cdb[i] = (uint8_t)(rnd(3) ? 0 : rnd(256) & op->usage[i]);
	if (op->action_field)
		cdb[1] |= op->action;
	if (!rnd(4))
		return;
	if ((op->flags & OP_MEDIUM) && op->cdb_len >= 10) { /* most have a range */
		r.lba = rnd(64);
		r.blocks = rnd(16);
		if (op->cdb_len == 10) {
			be32_put(cdb + 2, (uint32_t)r.lba);
			be16_put(cdb + 7, (uint16_t)r.blocks);
		} else if (op->cdb_len == 12) {
			be32_put(cdb + 2, (uint32_t)r.lba);
			be32_put(cdb + 6, r.blocks);
		} else {
			be64_put(cdb + 2, r.lba);
			be32_put(cdb + 10, r.blocks);
			if (cdb[0] == 0x89) {
				be32_put(cdb + 10, 0);
				cdb[13] = (uint8_t)(r.blocks & 7);
			}
		}
	}
	for (unsigned i = 0; i < op->cdb_len; i++)
		if (i > 1 || !op->action_field)
			cdb[i] &= i ? op->usage[i] : 0xff;
}

static void op_good_and_bad(struct scsi_nexus *n, uint8_t opcode, const struct scsi_op *op)
{
	uint8_t cdb[16] = {opcode};
	if (op->action_field)
		cdb[1] = op->action;
	for (unsigned l = 0; l < ARRAY_LEN(luns); l++) {
		issue(n, luns[l], op, cdb);
		for (unsigned i = 1; i < op->cdb_len; i++) { /* a bit that is not there */
			uint8_t bad[16];
			uint8_t unused = (uint8_t) ~(
			    i == 1 && op->action_field ? op->usage[1] | 0x1f : op->usage[i]);
			if (!unused)
				continue;
			memcpy(bad, cdb, 16);
			bad[i] |= (uint8_t)(1u << __builtin_ctz(unused));
			issue(n, luns[l], op, bad);
		}
	}
	for (int k = 0; k < 24; k++) {
		sane_fields(cdb, op);
		cdb[0] = opcode;
		issue(n, luns[rnd(ARRAY_LEN(luns))], op, cdb);
	}
}

static void each_op(void (*fn)(struct scsi_nexus *n, uint8_t opcode, const struct scsi_op *op),
		    struct scsi_nexus *x, struct scsi_nexus *y)
{
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		const struct scsi_op *op = op_find((uint8_t)opcode);
		struct scsi_nexus *n = opcode & 1 ? y : x;
		if (!op) {
			one(n, 0, CDB((uint8_t)opcode), NULL, 0);
			continue;
		}
		if (!op->actions) {
			fn(n, (uint8_t)opcode, op);
			continue;
		}
		one(n, 0, CDB((uint8_t)opcode, 0x1e), NULL, 0); /* no such service action */
		for (unsigned i = 0; i < op->nactions; i++)
			fn(n, (uint8_t)opcode, &op->actions[i]);
	}
}

static void all_operations(struct scsi_nexus *x, struct scsi_nexus *y)
{
	seed = 1;
	for (unsigned i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i < 64 ? 0 : rnd(256));
	each_op(op_good_and_bad, x, y);
	one(x, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8), NULL, 4096); /* and nobody was hurt */
}

START_TEST(every_operation_answers_alike)
{
	both_worlds(all_operations);
	ck_assert_uint_gt(outcomes[SCSI_GOOD], 1000); /* it was about something */
	ck_assert_uint_gt(outcomes[SCSI_CHECK_CONDITION], 1000);
	printf("good %u, check condition %u, conflicts %u\n", outcomes[SCSI_GOOD],
	       outcomes[SCSI_CHECK_CONDITION], outcomes[SCSI_RESERVATION_CONFLICT]);
}
END_TEST

/* ---- data ---- */

static void transfers(struct scsi_nexus *x, struct scsi_nexus *y)
{
	static const uint32_t sizes[] = {
	    512,     4096,    8192, 65536, 69632, (1 << 20) - 512, 1 << 20, (1 << 20) + 512,
	    5 << 20, 16 << 20};
	uint8_t *data = malloc((16 << 20) + 64);
	seed = 2;
	for (uint32_t i = 0; i < (16 << 20) + 64; i++)
		data[i] = (uint8_t)rnd(256);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t blocks = sizes[i] / 512, lba = 64 * i;
		const uint8_t *write = CDB(0x8a, 0, BE64(lba), BE32(blocks));
		const uint8_t *read = CDB(0x88, 0, BE64(lba), BE32(blocks));
		one(x, 0, write, data + i, sizes[i]);
		ck_assert_uint_eq(last->status, SCSI_GOOD);
		one(y, 0, read, NULL, sizes[i]);
		ck_assert_uint_eq(last->in_len, sizes[i]);
		ck_assert_int_eq(memcmp(last->in, data + i, sizes[i]), 0);
		/* less than the CDB says: whole blocks, and a part of one */
		one(x, 0, write, data, sizes[i] - 512);
		one(x, 0, write, data, sizes[i] - 256);
		/* more than it says */
		one(x, 0, write, data, MIN(sizes[i] * 2, 16u << 20));
		one(x, 0, CDB(0x8a, 8, BE64(lba), BE32(blocks)), data, sizes[i]); /* FUA */
		one(x, 0, CDB(0x8e, 2, BE64(lba), BE32(blocks)), data, sizes[i]);
		one(x, 0, CDB(0x8f, 2, BE64(lba), BE32(blocks)), data, sizes[i]);
		one(x, 0, CDB(0x8f, 2, BE64(lba), BE32(blocks)), data + 1, sizes[i]);
	}
	/* more than a command may move, and past the end */
	one(x, 0, CDB(0x8a, 0, BE64(0), BE32(32769)), data, 16 << 20);
	one(x, 0, CDB(0x88, 0, BE64(0), BE32(32769)), NULL, 16 << 20);
	one(x, 0, CDB(0x88, 0, BE64(65535), BE32(2)), NULL, 1024);
	free(data);
}

START_TEST(transfers_of_every_size)
{
	both_worlds(transfers);
}
END_TEST

static void many_registrations(struct scsi_nexus *x, struct scsi_nexus *y)
{
	struct scsi_nexus *n[60];
	for (unsigned i = 0; i < ARRAY_LEN(n); i++) {
		char name[64];
		uint8_t list[24] = {0};
		snprintf(name, sizeof(name), "iqn.2026-01.example:crowd-%u-%s", i, "long-name");
		n[i] = pair_login(A, name);
		be64_put(list + 8, i + 1);
		one(n[i], 0, CDB(0x5f, 0, 0, 0, 0, 0, 0, 0, 24), list, 24);
		ck_assert_uint_eq(last->status, SCSI_GOOD);
	}
	/* READ FULL STATUS: more than a command's own memory */
	one(x, 0, CDB(0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff), NULL, 65535);
	ck_assert_uint_gt(last->in_len, SCSI_INLINE_DATA);
	for (unsigned i = 0; i < ARRAY_LEN(n); i++)
		pair_logout(n[i]);
}

START_TEST(parameters_of_any_length)
{
	both_worlds(many_registrations);
}
END_TEST

static void many_at_once(struct scsi_nexus *x, struct scsi_nexus *y)
{
	struct job *j[300];
	uint8_t *data = malloc(1 << 20);
	memset(data, 0x5a, 1 << 20);
	for (unsigned i = 0; i < ARRAY_LEN(j); i++)
		j[i] = i % 3 ? job_start(i & 1 ? x : y, 0, CDB(0x2a, 0, BE32(i * 8), 0, BE16(2048)),
					 data, 1 << 20)
			     : job_start(x, 0, CDB(0x28, 0, BE32(i * 8), 0, BE16(2048)), NULL,
					 1 << 20);
	for (unsigned i = 0; i < ARRAY_LEN(j); i++) {
		job_wait(j[i]);
		ck_assert_uint_eq(j[i]->status, SCSI_GOOD);
		job_free(j[i]);
	}
	free(data);
	one(x, 0, CDB(0x28, 0, BE32(64), 0, BE16(8)), NULL, 4096);
	ck_assert_uint_eq(last->in[0], 0x5a);
	struct forward *f = x->registry->forward;
	ck_assert_uint_le(f->pool.made, FORWARD_BLOCKS);
	ck_assert_uint_eq(f->pool.nfree, f->pool.made);
	ck_assert_uint_eq(f->window.used, 0);
}

START_TEST(more_at_once_than_there_is_memory_for)
{
	both_worlds(many_at_once);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forward");
	TCase *tc = tcase_create("forward");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, every_operation_answers_alike);
	tcase_add_test(tc, transfers_of_every_size);
	tcase_add_test(tc, parameters_of_any_length);
	tcase_add_test(tc, more_at_once_than_there_is_memory_for);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
