/* SET TARGET PORT GROUPS by an initiator: one group is to be active/optimized. */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void)
{
	fprintf(stderr, "usage: iscsi_groups URL GROUP\n");
	return 2;
}

/* Unit attentions that were pending go first. */
static struct scsi_task *set_group(struct iscsi_context *c, int lun, unsigned group)
{
	struct scsi_task *t = NULL;
	for (int i = 0; i < 8; i++) {
		unsigned char list[8] = {0, 0, 0, 0, 0, 0, (uint8_t)(group >> 8), (uint8_t)group};
		struct iscsi_data data = {.size = sizeof(list), .data = list};
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
		t->cdb_size = 12;
		t->cdb[0] = 0xa4;
		t->cdb[1] = 0x0a;
		t->cdb[9] = sizeof(list);
		t->xfer_dir = SCSI_XFER_WRITE;
		t->expxferlen = sizeof(list);
		if (!iscsi_scsi_command_sync(c, lun, t, &data) ||
		    t->status != SCSI_STATUS_CHECK_CONDITION ||
		    t->sense.key != SCSI_SENSE_UNIT_ATTENTION)
			return t;
		scsi_free_scsi_task(t);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return usage();
	struct iscsi_context *c = iscsi_create_context("iqn.2026-01.org.isthmus:groups");
	struct iscsi_url *u = c ? iscsi_parse_full_url(c, argv[1]) : NULL;
	if (!u)
		return usage();
	iscsi_set_session_type(c, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(c, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	if (iscsi_full_connect_sync(c, u->portal, u->lun)) {
		fprintf(stderr, "iscsi_groups: %s\n", iscsi_get_error(c));
		return 1;
	}
	struct scsi_task *t = set_group(c, u->lun, (unsigned)atoi(argv[2]));
	int bad = !t || t->status != SCSI_STATUS_GOOD;
	if (bad)
		fprintf(stderr, "iscsi_groups: status %d, sense %x/%04x\n", t ? t->status : -1,
			t ? t->sense.key : 0, t ? t->sense.ascq : 0);
	if (t)
		scsi_free_scsi_task(t);
	iscsi_logout_sync(c);
	iscsi_destroy_url(u);
	iscsi_destroy_context(c);
	return bad;
}
