/*
 * Conditions of a logical unit in which it refuses commands: its medium is out, it is being wiped
 * (SBC-4 4.11 sanitize, 4.33 format), or that failed. A command that meets none looks at one byte.
 */
#include "server/scsi/scsi_priv.h"

/* The sense of a unit that is being wiped, or was not wiped whole; false: it is neither. */
static bool wipe_sense(struct scsi_lu *lu, unsigned conditions, struct sense *s)
{
	bool format = lu->wipe_kind == WIPE_FORMAT;
	if (conditions & COND_WIPING)
		*s = (struct sense){.key = KEY_NOT_READY,
				    .asc = 0x04, /* sanitize, format in progress */
				    .ascq = format ? 0x04 : 0x1b,
				    .has_progress = true,
				    .field = lu->wipe_progress};
	else if (conditions & COND_WIPE_FAILED)
		*s = (struct sense){.key = KEY_MEDIUM_ERROR,
				    .asc = 0x31, /* sanitize, format command failed */
				    .ascq = format ? 0x01 : 0x03};
	else
		return false;
	return true;
}

bool lu_condition_sense(struct scsi_lu *lu, struct sense *s)
{
	unsigned conditions = atomic_load(&lu->conditions);
	if (wipe_sense(lu, conditions, s))
		return true;
	if (!(conditions & COND_EJECTED))
		return false;
	*s = (struct sense){.key = KEY_NOT_READY, .asc = 0x3a}; /* medium not present */
	return true;
}

bool cmd_condition_ok(struct scsi_cmd *c)
{
	struct sense s;
	unsigned conditions = atomic_load(&c->lu->conditions);
	unsigned flags = c->op->flags;
	if ((flags & OP_WIPE_OK) ||
	    ((flags & OP_WIPES) && !(conditions & COND_WIPING) && (conditions & COND_WIPE_FAILED)))
		return true;
	if (wipe_sense(c->lu, conditions, &s)) {
		cmd_check(c, &s);
		return false;
	}
	if (!(conditions & COND_EJECTED) || !(flags & OP_MEDIUM) || (flags & OP_EJECTED_OK))
		return true;
	cmd_sense(c, KEY_NOT_READY, 0x3a, 0x00);
	return false;
}
