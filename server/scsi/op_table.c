/*
 * The operations, one row an opcode or service action. From this table commands
 * are found and checked, and REPORT SUPPORTED OPERATION CODES is answered.
 */
#include "server/scsi/persistent.h"

#define FF4			  0xff, 0xff, 0xff, 0xff
#define FF8			  FF4, FF4
#define ROW(text, len, d, fl)	  .name = text, .cdb_len = len, .dir = d, .flags = fl
#define ACT(text, len, d, fl, sa) ROW(text, len, d, fl), .action_field = true, .action = sa

static const struct scsi_op service_in_16[] = {
    {ACT("READ CAPACITY(16)", 16, DIR_IN, OP_MEDIUM | OP_RES_FREE | OP_LEGACY_OK, 0x10),
     .usage = {0x9e, 0x10, FF8, FF4, 0, 0}, .start = op_read_capacity_16},
    {ACT("GET LBA STATUS(16)", 16, DIR_IN, OP_MEDIUM | OP_RES_READ, 0x12),
     .usage = {0x9e, 0x12, FF8, FF4, 0, 0}, .start = op_get_lba_status,
     .start_wait = op_get_lba_status_wait},
};

static const struct scsi_op maintenance_in[] = {
    {ACT("REPORT IDENTIFYING INFORMATION", 12, DIR_IN, OP_RES_FREE | OP_STANDBY, 0x05),
     .usage = {0xa3, 0x05, 0, 0, 0, 0, FF4, 0xfe, 0}, .start = op_report_info,
     .start_wait = op_report_info_wait},
    {ACT("REPORT TIMESTAMP", 12, DIR_IN, OP_WIPE_OK | OP_RES_FREE | OP_STANDBY, 0x0f),
     .usage = {0xa3, 0x0f, 0, 0, 0, 0, FF4, 0, 0}, .start = op_report_timestamp},
    {ACT("REPORT TARGET PORT GROUPS", 12, DIR_IN,
	 OP_FRONT | OP_NO_ORDER | OP_WIPE_OK | OP_RES_FREE | OP_LEGACY_OK | OP_TRANSITION, 0x0a),
     .usage = {0xa3, 0x2a, 0, 0, 0, 0, FF4, 0, 0}, .start = op_report_groups},
    {ACT("REPORT SUPPORTED OPERATION CODES", 12, DIR_IN, OP_WIPE_OK | OP_RES_READ, 0x0c),
     .usage = {0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, FF4, 0, 0}, .start = op_report_opcodes},
    {ACT("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 12, DIR_IN, OP_WIPE_OK | OP_RES_READ, 0x0d),
     .usage = {0xa3, 0x0d, 0x80, 0, 0, 0, FF4, 0, 0}, .start = op_report_tmfs},
};

static const struct scsi_op maintenance_out[] = {
    {ACT("SET IDENTIFYING INFORMATION", 12, DIR_OUT, OP_STANDBY, 0x06),
     .usage = {0xa4, 0x06, 0, 0, 0, 0, FF4, 0xfe, 0}, .start = op_set_info,
     .start_wait = op_set_info_wait, .finish = op_set_info_finish, .finish_wait = op_set_info_wait},
    {ACT("SET TARGET PORT GROUPS", 12, DIR_OUT, OP_UNAVAILABLE, 0x0a),
     .usage = {0xa4, 0x0a, 0, 0, 0, 0, FF4, 0, 0}, .start = op_set_groups,
     .finish = op_set_groups_finish, .finish_wait = op_set_groups_finish_wait},
};

/* What they conflict with is in the commands themselves (SPC-4 table 67). */
#define PR_IN(text, sa, fn)                                                                        \
	{                                                                                          \
		ACT("PERSISTENT RESERVE IN, " text, 10, DIR_IN, OP_RES_FREE | OP_STANDBY, sa),     \
		    .usage = {0x5e, sa, 0, 0, 0, 0, 0, 0xff, 0xff, 0}, .start = fn                 \
	}
#define PR_OUT(text, sa)                                                                           \
	{                                                                                          \
		ACT("PERSISTENT RESERVE OUT, " text, 10, DIR_OUT, OP_RES_FREE | OP_STANDBY, sa),   \
		    .usage = {0x5f, sa, 0xff, 0, 0, FF4, 0}, .start = op_pr_out,                   \
		    .finish = op_pr_out_finish, .finish_wait = op_pr_out_finish_wait               \
	}

static const struct scsi_op persistent_reserve_in[] = {
    PR_IN("READ KEYS", 0, op_pr_read_keys),
    PR_IN("READ RESERVATION", 1, op_pr_read_reservation),
    PR_IN("REPORT CAPABILITIES", 2, op_pr_report_capabilities),
    PR_IN("READ FULL STATUS", 3, op_pr_read_full_status),
};

static const struct scsi_op persistent_reserve_out[] = {
    PR_OUT("REGISTER", PR_REGISTER),
    PR_OUT("RESERVE", PR_RESERVE),
    PR_OUT("RELEASE", PR_RELEASE),
    PR_OUT("CLEAR", PR_CLEAR),
    PR_OUT("PREEMPT", PR_PREEMPT),
    PR_OUT("PREEMPT AND ABORT", PR_PREEMPT_ABORT),
    PR_OUT("REGISTER AND IGNORE EXISTING KEY", PR_REGISTER_IGNORE),
    PR_OUT("REGISTER AND MOVE", PR_REGISTER_MOVE),
};

#define WRITES (OP_WRITES | OP_MEDIUM)

static const struct scsi_op copy_out[] = {
    {ACT("EXTENDED COPY(LID1)", 16, DIR_OUT, 0, 0x00),
     .usage = {0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0}, .start = op_xcopy,
     .finish = op_xcopy_finish, .finish_wait = op_xcopy_finish_wait},
    {ACT("EXTENDED COPY(LID4)", 16, DIR_OUT, 0, 0x01),
     .usage = {0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0}, .start = op_xcopy,
     .finish = op_xcopy_finish, .finish_wait = op_xcopy_finish_wait},
    {ACT("COPY OPERATION ABORT", 16, DIR_NONE, 0, 0x1c),
     .usage = {0x83, 0x1c, FF4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, .start = op_copy_abort},
};

static const struct scsi_op copy_in[] = {
    {ACT("RECEIVE COPY STATUS(LID1)", 16, DIR_IN, OP_RES_READ, 0x00),
     .usage = {0x84, 0x00, 0xff, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0}, .start = op_copy_status},
    {ACT("RECEIVE COPY OPERATING PARAMETERS", 16, DIR_IN, OP_RES_READ, 0x03),
     .usage = {0x84, 0x03, 0xff, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0}, .start = op_copy_parameters},
    {ACT("RECEIVE COPY FAILURE DETAILS(LID1)", 16, DIR_IN, OP_RES_READ, 0x04),
     .usage = {0x84, 0x04, 0xff, 0, 0, 0, 0, 0, 0, 0, FF4, 0, 0}, .start = op_copy_failure},
    {ACT("RECEIVE COPY STATUS(LID4)", 16, DIR_IN, OP_RES_READ, 0x05),
     .usage = {0x84, 0x05, FF4, 0, 0, 0, 0, FF4, 0, 0}, .start = op_copy_status},
};

static const struct scsi_op sanitize[] = {
    {ACT("SANITIZE, OVERWRITE", 10, DIR_OUT, WRITES | OP_WIPES, 0x01),
     .usage = {0x48, 0xa1, 0, 0, 0, 0, 0, 0xff, 0xff, 0}, .start = op_sanitize,
     .finish = op_sanitize_finish, .finish_wait = op_sanitize_finish_wait},
    {ACT("SANITIZE, BLOCK ERASE", 10, DIR_OUT, WRITES | OP_WIPES, 0x02), .usage = {0x48, 0xa2, 0},
     .start = op_sanitize, .start_wait = op_sanitize_wait},
    {ACT("SANITIZE, EXIT FAILURE MODE", 10, DIR_OUT, WRITES | OP_WIPES, 0x1f),
     .usage = {0x48, 0xbf, 0}, .start = op_sanitize_exit, .start_wait = op_sanitize_exit_wait},
};

/* The group number (byte 6 of 10-byte, 10 of 12-byte, 14 of 16-byte CDBs) is only for grouping
 * statistics: taken and ignored. */
static const struct scsi_op ops[256] = {
    [0x00] = {ROW("TEST UNIT READY", 6, DIR_NONE, OP_MEDIUM | OP_RES_FREE), .usage = {0x00},
	      .start = op_test_unit_ready},
    [0x03] = {ROW("REQUEST SENSE", 6, DIR_IN,
		  OP_NO_ORDER | OP_WIPE_OK | OP_UA_OK | OP_NO_LU | OP_RES_FREE | OP_LEGACY_OK |
		      OP_TRANSITION),
	      .usage = {0x03, 0x01, 0, 0, 0xff, 0}, .start = op_request_sense},
    [0x04] = {ROW("FORMAT UNIT", 6, DIR_OUT, WRITES | OP_WIPES), .usage = {0x04, 0x3f, 0, 0, 0, 0},
	      .start = op_format, .start_wait = op_format_wait, .finish = op_format_finish,
	      .finish_wait = op_format_wait},
    [0x08] = {ROW("READ(6)", 6, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x08, 0x1f, 0xff, 0xff, 0xff, 0}, .start = op_read,
	      .start_wait = op_read_wait, .finish = op_read_next, .finish_wait = op_read_wait},
    [0x0a] = {ROW("WRITE(6)", 6, DIR_OUT, WRITES), .usage = {0x0a, 0x1f, 0xff, 0xff, 0xff, 0},
	      .start = op_write, .start_wait = op_write_wait, .finish = op_write_finish,
	      .finish_wait = op_write_finish_wait},
    [0x12] = {ROW("INQUIRY", 6, DIR_IN,
		  OP_FRONT | OP_NO_ORDER | OP_WIPE_OK | OP_UA_OK | OP_NO_LU | OP_RES_FREE |
		      OP_LEGACY_OK | OP_TRANSITION),
	      .usage = {0x12, 0x01, 0xff, 0xff, 0xff, 0}, .start = op_inquiry},
    [0x15] = {ROW("MODE SELECT(6)", 6, DIR_OUT, OP_STANDBY), .usage = {0x15, 0x11, 0, 0, 0xff, 0},
	      .start = op_mode_select, .finish = op_mode_select_finish},
    [0x16] = {ROW("RESERVE(6)", 6, DIR_NONE, OP_RES_FREE), .usage = {0x16}, .start = op_reserve},
    [0x17] = {ROW("RELEASE(6)", 6, DIR_NONE, OP_RES_FREE | OP_LEGACY_OK), .usage = {0x17},
	      .start = op_release},
    [0x1a] = {ROW("MODE SENSE(6)", 6, DIR_IN, OP_RES_READ | OP_STANDBY),
	      .usage = {0x1a, 0x08, 0xff, 0xff, 0xff, 0}, .start = op_mode_sense},
    [0x1b] = {ROW("START STOP UNIT", 6, DIR_NONE, OP_EJECTED_OK | OP_MEDIUM | OP_RES_CDB),
	      .usage = {0x1b, 0x01, 0, 0x0f, 0xf7, 0}, .start = op_start_stop,
	      .start_wait = op_start_stop_wait},
    [0x1e] = {ROW("PREVENT ALLOW MEDIUM REMOVAL", 6, DIR_NONE, OP_RES_CDB), .needs = LU_REMOVABLE,
	      .usage = {0x1e, 0, 0, 0, 0x03, 0}, .start = op_prevent_allow},
    [0x1c] = {ROW("RECEIVE DIAGNOSTIC RESULTS", 6, DIR_IN, OP_RES_READ | OP_STANDBY),
	      .usage = {0x1c, 0x01, 0xff, 0xff, 0xff, 0}, .start = op_receive_diagnostic},
    [0x1d] = {ROW("SEND DIAGNOSTIC", 6, DIR_OUT, OP_STANDBY),
	      .usage = {0x1d, 0x17, 0, 0xff, 0xff, 0}, .start = op_send_diagnostic,
	      .finish = op_send_diagnostic_finish},
    [0x25] = {ROW("READ CAPACITY(10)", 10, DIR_IN, OP_MEDIUM | OP_RES_FREE | OP_LEGACY_OK),
	      .usage = {0x25, 0, FF4, 0, 0, 0x01, 0}, .start = op_read_capacity_10},
    [0x28] = {ROW("READ(10)", 10, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x28, 0x18, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_read,
	      .start_wait = op_read_wait, .finish = op_read_next, .finish_wait = op_read_wait},
    [0x2a] = {ROW("WRITE(10)", 10, DIR_OUT, WRITES),
	      .usage = {0x2a, 0x18, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_write,
	      .start_wait = op_write_wait, .finish = op_write_finish,
	      .finish_wait = op_write_finish_wait},
    [0x2e] = {ROW("WRITE AND VERIFY(10)", 10, DIR_OUT, WRITES),
	      .usage = {0x2e, 0x12, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_write_verify,
	      .start_wait = op_write_wait, .finish = op_write_verify_finish,
	      .finish_wait = op_write_verify_finish_wait},
    [0x2f] = {ROW("VERIFY(10)", 10, DIR_OUT, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x2f, 0x16, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_verify,
	      .start_wait = op_verify_wait, .finish = op_verify_finish,
	      .finish_wait = op_verify_finish_wait},
    [0x34] = {ROW("PRE-FETCH(10)", 10, DIR_NONE, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x34, 0x02, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_prefetch},
    [0x35] = {ROW("SYNCHRONIZE CACHE(10)", 10, DIR_NONE, OP_MEDIUM),
	      .usage = {0x35, 0x06, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_sync,
	      .start_wait = op_sync_wait},
    [0x37] = {ROW("READ DEFECT DATA(10)", 10, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0}, .start = op_read_defects},
    [0x3b] = {ROW("WRITE BUFFER", 10, DIR_OUT, OP_STANDBY),
	      .usage = {0x3b, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0}, .start = op_write_buffer,
	      .finish = op_write_buffer_finish},
    [0x3c] = {ROW("READ BUFFER(10)", 10, DIR_IN, OP_RES_READ | OP_STANDBY),
	      .usage = {0x3c, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0}, .start = op_read_buffer},
    [0x41] = {ROW("WRITE SAME(10)", 10, DIR_OUT, WRITES), .unmap_bits = 0x18,
	      .usage = {0x41, 0x18, FF4, 0x3f, 0xff, 0xff, 0}, .start = op_write_same,
	      .start_wait = op_write_same_wait, .finish = op_write_same_finish,
	      .finish_wait = op_write_same_wait},
    [0x42] = {ROW("UNMAP", 10, DIR_OUT, WRITES), .needs = LU_UNMAP,
	      .usage = {0x42, 0x01, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0}, .start = op_unmap,
	      .finish = op_unmap_finish, .finish_wait = op_unmap_finish_wait},
    [0x48] = {.name = "SANITIZE", .actions = sanitize, .nactions = ARRAY_LEN(sanitize)},
    [0x4c] = {ROW("LOG SELECT", 10, DIR_OUT, OP_STANDBY),
	      .usage = {0x4c, 0x02, 0xff, 0xff, 0, 0, 0, 0, 0, 0}, .start = op_log_select},
    [0x4d] = {ROW("LOG SENSE", 10, DIR_IN, OP_WIPE_OK | OP_RES_FREE | OP_LEGACY_OK | OP_STANDBY),
	      .usage = {0x4d, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0}, .start = op_log_sense},
    [0x55] = {ROW("MODE SELECT(10)", 10, DIR_OUT, OP_STANDBY),
	      .usage = {0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0}, .start = op_mode_select,
	      .finish = op_mode_select_finish},
    [0x56] = {ROW("RESERVE(10)", 10, DIR_NONE, OP_RES_FREE), .usage = {0x56}, .start = op_reserve},
    [0x57] = {ROW("RELEASE(10)", 10, DIR_NONE, OP_RES_FREE | OP_LEGACY_OK), .usage = {0x57},
	      .start = op_release},
    [0x5a] = {ROW("MODE SENSE(10)", 10, DIR_IN, OP_RES_READ | OP_STANDBY),
	      .usage = {0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0}, .start = op_mode_sense},
    [0x5e] = {.name = "PERSISTENT RESERVE IN",
	      .actions = persistent_reserve_in,
	      .nactions = ARRAY_LEN(persistent_reserve_in)},
    [0x5f] = {.name = "PERSISTENT RESERVE OUT",
	      .actions = persistent_reserve_out,
	      .nactions = ARRAY_LEN(persistent_reserve_out)},
    [0x83] = {.name = "EXTENDED COPY", .actions = copy_out, .nactions = ARRAY_LEN(copy_out)},
    [0x84] = {.name = "RECEIVE COPY", .actions = copy_in, .nactions = ARRAY_LEN(copy_in)},
    [0x88] = {ROW("READ(16)", 16, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x88, 0x18, FF8, FF4, 0x3f, 0}, .start = op_read,
	      .start_wait = op_read_wait, .finish = op_read_next, .finish_wait = op_read_wait},
    [0x8a] = {ROW("WRITE(16)", 16, DIR_OUT, WRITES), .usage = {0x8a, 0x18, FF8, FF4, 0x3f, 0},
	      .start = op_write, .start_wait = op_write_wait, .finish = op_write_finish,
	      .finish_wait = op_write_finish_wait},
    [0x89] = {ROW("COMPARE AND WRITE", 16, DIR_OUT, WRITES),
	      .usage = {0x89, 0x18, FF8, 0, 0, 0, 0xff, 0x3f, 0}, .start = op_compare_write,
	      .finish = op_compare_write_finish, .finish_wait = op_compare_write_finish_wait},
    [0x8b] = {ROW("ORWRITE(16)", 16, DIR_OUT, WRITES), .usage = {0x8b, 0x18, FF8, FF4, 0x3f, 0},
	      .start = op_orwrite, .finish = op_orwrite_finish,
	      .finish_wait = op_orwrite_finish_wait},
    [0x8e] = {ROW("WRITE AND VERIFY(16)", 16, DIR_OUT, WRITES),
	      .usage = {0x8e, 0x12, FF8, FF4, 0x3f, 0}, .start = op_write_verify,
	      .start_wait = op_write_wait, .finish = op_write_verify_finish,
	      .finish_wait = op_write_verify_finish_wait},
    [0x8f] = {ROW("VERIFY(16)", 16, DIR_OUT, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x8f, 0x16, FF8, FF4, 0x3f, 0}, .start = op_verify,
	      .start_wait = op_verify_wait, .finish = op_verify_finish,
	      .finish_wait = op_verify_finish_wait},
    [0x90] = {ROW("PRE-FETCH(16)", 16, DIR_NONE, OP_MEDIUM | OP_RES_READ),
	      .usage = {0x90, 0x02, FF8, FF4, 0x3f, 0}, .start = op_prefetch},
    [0x91] = {ROW("SYNCHRONIZE CACHE(16)", 16, DIR_NONE, OP_MEDIUM),
	      .usage = {0x91, 0x06, FF8, FF4, 0x3f, 0}, .start = op_sync,
	      .start_wait = op_sync_wait},
    [0x93] = {ROW("WRITE SAME(16)", 16, DIR_OUT, WRITES), .unmap_bits = 0x18,
	      .usage = {0x93, 0x19, FF8, FF4, 0x3f, 0}, .start = op_write_same,
	      .start_wait = op_write_same_wait, .finish = op_write_same_finish,
	      .finish_wait = op_write_same_wait},
    [0x9c] = {ROW("WRITE ATOMIC(16)", 16, DIR_OUT, WRITES), .needs = LU_ATOMIC,
	      .usage = {0x9c, 0x18, FF8, 0, 0, 0xff, 0xff, 0x3f, 0}, .start = op_write_atomic,
	      .start_wait = op_write_wait, .finish = op_write_atomic_finish,
	      .finish_wait = op_write_atomic_finish_wait},
    [0x9e] = {.name = "SERVICE ACTION IN(16)",
	      .actions = service_in_16,
	      .nactions = ARRAY_LEN(service_in_16)},
    [0xa0] = {ROW("REPORT LUNS", 12, DIR_IN,
		  OP_FRONT | OP_NO_ORDER | OP_WIPE_OK | OP_UA_OK | OP_NO_LU | OP_LUN_ZERO |
		      OP_RES_FREE | OP_LEGACY_OK | OP_TRANSITION),
	      .usage = {0xa0, 0, 0xff, 0, 0, 0, FF4, 0, 0}, .start = op_report_luns},
    [0xa3] = {.name = "MAINTENANCE IN",
	      .actions = maintenance_in,
	      .nactions = ARRAY_LEN(maintenance_in)},
    [0xa4] = {.name = "MAINTENANCE OUT",
	      .actions = maintenance_out,
	      .nactions = ARRAY_LEN(maintenance_out)},
    [0xa8] = {ROW("READ(12)", 12, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0xa8, 0x18, FF8, 0x3f, 0}, .start = op_read, .start_wait = op_read_wait,
	      .finish = op_read_next, .finish_wait = op_read_wait},
    [0xaa] = {ROW("WRITE(12)", 12, DIR_OUT, WRITES), .usage = {0xaa, 0x18, FF8, 0x3f, 0},
	      .start = op_write, .start_wait = op_write_wait, .finish = op_write_finish,
	      .finish_wait = op_write_finish_wait},
    [0xae] = {ROW("WRITE AND VERIFY(12)", 12, DIR_OUT, WRITES), .usage = {0xae, 0x12, FF8, 0x3f, 0},
	      .start = op_write_verify, .start_wait = op_write_wait,
	      .finish = op_write_verify_finish, .finish_wait = op_write_verify_finish_wait},
    [0xaf] = {ROW("VERIFY(12)", 12, DIR_OUT, OP_MEDIUM | OP_RES_READ),
	      .usage = {0xaf, 0x16, FF8, 0x3f, 0}, .start = op_verify, .start_wait = op_verify_wait,
	      .finish = op_verify_finish, .finish_wait = op_verify_finish_wait},
    [0xb7] = {ROW("READ DEFECT DATA(12)", 12, DIR_IN, OP_MEDIUM | OP_RES_READ),
	      .usage = {0xb7, 0x1f, FF8, 0, 0}, .start = op_read_defects},
};

bool op_has(const struct scsi_op *op, struct scsi_lu *lu)
{
	return !op->needs || (lu && !(op->needs & ~lu_features(lu)));
}

void op_usage(const struct scsi_op *op, struct scsi_lu *lu, uint8_t usage[16])
{
	memcpy(usage, op->usage, 16);
	if (op->unmap_bits && !(lu_features(lu) & LU_UNMAP))
		usage[1] &= (uint8_t)~op->unmap_bits;
}

const struct scsi_op *op_find(uint8_t opcode)
{
	return op_supported(&ops[opcode]) ? &ops[opcode] : NULL;
}

const struct scsi_op *op_find_action(const struct scsi_op *op, uint16_t action)
{
	for (unsigned i = 0; i < op->nactions; i++)
		if (op->actions[i].action == action)
			return &op->actions[i];
	return NULL;
}
