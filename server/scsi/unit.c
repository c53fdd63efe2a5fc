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
	else if (lu_condition_sense(c->lu, &s))
		; /* polled for how far a wipe has come */
	else if (!lu_volume(c->lu))
		s = (struct sense){.key = KEY_NOT_READY, .asc = 0x04, .ascq = 0x03};
	unsigned n = sense_build(c->data, c->cdb[1] & 0x01, &s);
	return cmd_data_in(c, c->data, n, c->cdb[4]);
}

/*
 * SBC-4 5.31. Nothing spins: every power condition is taken and the unit stays as fast as it is
 * (SPC-4 5.13: it is in the active one again with the next command). Only STANDBY, like STOP,
 * brings the cache to the disks, unless NO_FLUSH. A unit that was stopped stays ready, for other
 * initiators share it. LOEJ with START 0 ejects, with 1 loads, where the medium is removable.
 */
enum scsi_next op_start_stop(struct scsi_cmd *c)
{
	unsigned power = c->cdb[4] >> 4;
	bool no_flush = c->cdb[4] & 0x04, loej = c->cdb[4] & 0x02, start = c->cdb[4] & 0x01;
	if (power) { /* whichever; the other bits are ignored */
		bool standby = power == 0x3 || power == 0xb;
		return standby && !no_flush ? SCSI_WAIT : cmd_good(c);
	}
	if (loej && !c->lu->removable)
		return cmd_bad_cdb(c, 4, 1);
	if (loej && start)
		return removal_load(c);
	if (loej && no_flush)
		return removal_eject(c);
	if (!start)
		atomic_fetch_add(&c->lu->start_stops, 1);
	return start || no_flush ? cmd_good(c) : SCSI_WAIT;
}

enum scsi_next op_start_stop_wait(struct scsi_cmd *c)
{
	bool eject = !(c->cdb[4] >> 4) && (c->cdb[4] & 0x02);
	if (eject && removal_prevented(c->nexus->registry, c->lu))
		return removal_eject(c); /* says so, at once */
	struct volume *v = lu_volume(c->lu);
	int err = volume_flush(v, 0, volume_size(v));
	if (err)
		return cmd_error(c, err);
	return eject ? removal_eject(c) : cmd_good(c);
}
