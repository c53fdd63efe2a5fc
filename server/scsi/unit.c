/* Small operations of a logical unit: TEST UNIT READY, REQUEST SENSE, START STOP UNIT. */
#include "server/scsi/scsi_priv.h"

enum scsi_next op_test_unit_ready(struct scsi_cmd *c)
{
	return cmd_good(c);
}

/*
 * SPC-4 6.39: a pending unit attention is the parameter data, and is cleared; a LUN without
 * logical unit is told in the parameter data too, with GOOD status.
 */
enum scsi_next op_request_sense(struct scsi_cmd *c)
{
	struct sense s = {.key = KEY_NO_SENSE};
	if (!c->lu)
		s = (struct sense){.key = KEY_ILLEGAL_REQUEST, .asc = 0x25};
	else if (nexus_ua_take(c->nexus, c->itl->number, &s.asc, &s.ascq))
		s.key = KEY_UNIT_ATTENTION;
	else if (!lu_volume(c->lu))
		s = (struct sense){.key = KEY_NOT_READY, .asc = 0x04, .ascq = 0x03};
	unsigned n = sense_build(c->data, c->cdb[1] & 0x01, &s);
	return cmd_data_in(c, c->data, n, c->cdb[4]);
}

/*
 * The medium neither spins nor can be taken out: loading and ejecting are refused, START needs
 * nothing, STOP brings the cache to the disks (unless NO_FLUSH) and the unit stays ready, for
 * other initiators share it.
 */
enum scsi_next op_start_stop(struct scsi_cmd *c)
{
	unsigned power = c->cdb[4] >> 4;
	if (power == 0x1 || power == 0x7) /* ACTIVE, LU_CONTROL: as it is */
		return cmd_good(c);
	if (power)
		return cmd_bad_cdb(c, 4, 7);
	if (c->cdb[4] & 0x02) /* LOEJ */
		return cmd_bad_cdb(c, 4, 1);
	bool start = c->cdb[4] & 0x01, no_flush = c->cdb[4] & 0x04;
	return start || no_flush ? cmd_good(c) : SCSI_WAIT;
}

enum scsi_next op_start_stop_wait(struct scsi_cmd *c)
{
	struct volume *v = lu_volume(c->lu);
	int err = volume_flush(v, 0, volume_size(v));
	return err ? cmd_error(c, err) : cmd_good(c);
}
