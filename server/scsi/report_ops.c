/*
 * REPORT SUPPORTED OPERATION CODES (SPC-4 6.34), answered from the table of
 * operations, and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (6.35).
 */
#include "server/scsi/scsi_priv.h"

#define TIMEOUTS_LEN 12

/* Command timeouts descriptor: lengths only, no time is promised. */
static unsigned put_timeouts(uint8_t *b)
{
	memset(b, 0, TIMEOUTS_LEN);
	be16_put(b, TIMEOUTS_LEN - 2);
	return TIMEOUTS_LEN;
}

static unsigned put_command(uint8_t *b, const struct scsi_op *op, bool timeouts)
{
	memset(b, 0, 8);
	b[0] = op->usage[0];
	be16_put(b + 2, op->action);
	b[5] = (uint8_t)((timeouts ? 0x02 : 0) | (op->action_field ? 0x01 : 0));
	be16_put(b + 6, op->cdb_len);
	return 8 + (timeouts ? put_timeouts(b + 8) : 0);
}

static enum scsi_next report_all(struct scsi_cmd *c, bool timeouts, uint32_t alloc)
{
	unsigned n = 4;
	for (unsigned code = 0; code < 256; code++) {
		const struct scsi_op *op = op_find((uint8_t)code);
		if (!op)
			continue;
		unsigned rows = op->actions ? op->nactions : 1;
		for (unsigned i = 0; i < rows; i++) {
			const struct scsi_op *row = op->actions ? &op->actions[i] : op;
			ASSERT(n + 8 + TIMEOUTS_LEN <= sizeof(c->data));
			if (op_has(row, c->lu))
				n += put_command(c->data + n, row, timeouts);
		}
	}
	be32_put(c->data, n - 4);
	return cmd_data_in(c, c->data, n, alloc);
}

/* op: NULL when not supported. */
static enum scsi_next report_one(struct scsi_cmd *c, const struct scsi_op *op, bool timeouts,
				 uint32_t alloc)
{
	unsigned n = 4;
	memset(c->data, 0, 4);
	if (!op || !op_has(op, c->lu)) {
		c->data[1] = 0x01;
		return cmd_data_in(c, c->data, n, alloc);
	}
	c->data[1] = (uint8_t)(0x03 | (timeouts ? 0x80 : 0)); /* as the standard says */
	be16_put(c->data + 2, op->cdb_len);
	uint8_t usage[16];
	op_usage(op, c->lu, usage);
	memcpy(c->data + n, usage, op->cdb_len);
	n += op->cdb_len;
	if (timeouts)
		n += put_timeouts(c->data + n);
	return cmd_data_in(c, c->data, n, alloc);
}

enum scsi_next op_report_opcodes(struct scsi_cmd *c)
{
	bool timeouts = c->cdb[2] & 0x80;
	uint32_t alloc = be32_get(c->cdb + 6);
	uint16_t action = be16_get(c->cdb + 4);
	const struct scsi_op *op = op_find(c->cdb[3]);
	switch (c->cdb[2] & 0x07) {
	case 0:
		return report_all(c, timeouts, alloc);
	case 1: /* an opcode without service actions */
		if (op && op->actions)
			return cmd_bad_cdb(c, 2, 2);
		return report_one(c, op, timeouts, alloc);
	case 2: /* one with */
		if (op && !op->actions)
			return cmd_bad_cdb(c, 2, 2);
		return report_one(c, op ? op_find_action(op, action) : NULL, timeouts, alloc);
	case 3: /* either; without, the service action is zero */
		if (op && op->actions)
			op = op_find_action(op, action);
		else if (action)
			op = NULL;
		return report_one(c, op, timeouts, alloc);
	}
	return cmd_bad_cdb(c, 2, 2);
}

enum scsi_next op_report_tmfs(struct scsi_cmd *c)
{
	bool repd = c->cdb[2] & 0x80;
	memset(c->data, 0, 16);
	/* ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET */
	c->data[0] = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;
	if (repd)
		c->data[3] = 12;
	return cmd_data_in(c, c->data, repd ? 16 : 4, be32_get(c->cdb + 6));
}
