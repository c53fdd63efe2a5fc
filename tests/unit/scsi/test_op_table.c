/* The table of operations: rows are whole, and REPORT SUPPORTED OPERATION CODES tells it all. */
#include "tests/unit/scsi/suite.h"

static const uint8_t group_len[8] = {6, 10, 10, 0, 16, 12, 0, 0};

static void check_row(const struct scsi_op *op, uint8_t opcode)
{
	ck_assert_uint_eq(op->usage[0], opcode);
	ck_assert_uint_eq(op->cdb_len, group_len[opcode >> 5]);
	ck_assert_msg(op->start != NULL, "%s", op->name);
	/* reads go on in parts */
	ck_assert_msg(op->dir == DIR_OUT || !op->finish || op->start == op_read, "%s", op->name);
	ck_assert_msg(op->finish || !op->finish_wait, "%s", op->name);
	ck_assert_msg(!(op->flags & OP_WRITES) || op->dir == DIR_OUT, "%s", op->name);
	ck_assert_msg(op->usage[op->cdb_len - 1] == 0, "control byte of %s", op->name);
	for (unsigned i = op->cdb_len; i < 16; i++)
		ck_assert_uint_eq(op->usage[i], 0);
	if (op->action_field)
		ck_assert_uint_eq(op->usage[1] & 0x1f, op->action);
}

START_TEST(rows_are_whole)
{
	unsigned n = 0;
	for (unsigned code = 0; code < 256; code++) {
		const struct scsi_op *op = op_find((uint8_t)code);
		if (!op)
			continue;
		for (unsigned i = 0; i < (op->actions ? op->nactions : 1); i++, n++)
			check_row(op->actions ? &op->actions[i] : op, (uint8_t)code);
	}
	ck_assert_uint_ge(n, 34);
}
END_TEST

START_TEST(report_all_and_one_agree)
{
	uint8_t all[4096];
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 0x80, 0, 0, 0, BE32(65535)), NULL, 65535),
			 0);
	uint32_t len = be32_get(fx->in);
	ck_assert_uint_eq(len + 4, fx->cmd->in_len);
	ck_assert_uint_eq(len % 20, 0);
	memcpy(all, fx->in, len + 4);
	for (uint32_t at = 4; at < len + 4; at += 20) {
		const uint8_t *d = all + at;
		bool action = d[5] & 1;
		uint8_t cdb[16] = {0xa3, 0x0c,	    (uint8_t)(0x80 | (action ? 2 : 1)), d[0], d[2],
				   d[3], BE32(4096)};
		ck_assert_int_eq(run(fx->a, 0, cdb, NULL, 4096), 0);
		ck_assert_uint_eq(fx->in[1], 0x83);
		ck_assert_uint_eq(be16_get(fx->in + 2), be16_get(d + 6));
		ck_assert_uint_eq(fx->in[4], d[0]);
		ck_assert_uint_eq(fx->cmd->in_len, 4u + be16_get(d + 6) + 12);
		cdb[2] = 3;
		ck_assert_int_eq(run(fx->a, 0, cdb, NULL, 4096), 0);
		ck_assert_uint_eq(fx->in[1], 0x03);
		cdb[2] = action ? 1 : 2; /* the other kind is refused */
		ck_assert_int_eq(run(fx->a, 0, cdb, NULL, 4096), SCSI_CHECK_CONDITION);
		ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	}
}
END_TEST

START_TEST(unknown_codes_are_told)
{
	/* COMPARE is not supported; nor is a service action of READ CAPACITY's code
	 */
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 2, 0x39, 0, 0, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->in[1], 0x01);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 2, 0x9e, 0, 0x1f, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->in[1], 0x01);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 3, 0x28, 0, 5, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->in[1], 0x01);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0c, 4, 0x28, 0, 0, BE32(64)), NULL, 64), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 2);

	ck_assert_int_eq(run(fx->a, 0, CDB(0x39), NULL, 64), 2);
	ck_assert_uint_eq(sense_of(), INVALID_OPCODE);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x9e, 0x1f), NULL, 64), 2);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	ck_assert_int_eq(sense_field(), 1);
}
END_TEST

/* Every bit the usage map does not have is refused, and pointed at; NACA is one of them. */
START_TEST(reserved_bits_are_refused)
{
	for (unsigned code = 0; code < 256; code++) {
		const struct scsi_op *op = op_find((uint8_t)code);
		if (!op || op->actions || !op_has(op, fx->a->view->luns[0].lu))
			continue;
		for (unsigned bit = 8; bit < op->cdb_len * 8u; bit++) {
			uint8_t cdb[16] = {(uint8_t)code};
			if (op->usage[bit / 8] & 1 << bit % 8)
				continue;
			cdb[bit / 8] = (uint8_t)(1 << bit % 8);
			ck_assert_int_eq(run(fx->a, 0, cdb, NULL, 0), SCSI_CHECK_CONDITION);
			ck_assert_uint_eq(sense_of(), INVALID_FIELD);
			ck_assert_int_eq(sense_field(), (int)(bit / 8));
			ck_assert_uint_eq(fx->cmd->sense[15], 0xc8 | bit % 8);
		}
	}
}
END_TEST

START_TEST(short_cdbs_are_refused)
{
	struct scsi_cmd *c = fx->cmd;
	c->nexus = fx->a;
	memset(c->lun, 0, 8);
	memset(c->cdb, 0, sizeof(c->cdb));
	c->cdb[0] = 0x28;
	c->cdb_len = 6;
	c->out_expected = 0;
	ck_assert_int_eq(scsi_start(c), SCSI_DONE);
	ck_assert_uint_eq(sense_of(), INVALID_FIELD);
	scsi_release(c);
}
END_TEST

START_TEST(task_management_functions_are_told)
{
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0d, 0, 0, 0, 0, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 4);
	ck_assert_uint_eq(fx->in[0], 0xda);
	ck_assert_int_eq(run(fx->a, 0, CDB(0xa3, 0x0d, 0x80, 0, 0, 0, BE32(64)), NULL, 64), 0);
	ck_assert_uint_eq(fx->cmd->in_len, 16);
}
END_TEST

SUITE("op_table", rows_are_whole, report_all_and_one_agree, unknown_codes_are_told,
      reserved_bits_are_refused, short_cdbs_are_refused, task_management_functions_are_told)
