/* REPORT LUNS (SPC-4 6.33): what this nexus may see. There are no well-known logical units. */
#include "server/scsi/scsi_priv.h"

enum scsi_next op_report_luns(struct scsi_cmd *c)
{
	uint32_t alloc = be32_get(c->cdb + 6);
	unsigned n = c->view->n;
	switch (c->cdb[2]) {
	case 0x00: /* all but well-known ones */
	case 0x02: /* all */
		break;
	case 0x01: /* well-known ones */
		n = 0;
		break;
	default:
		return cmd_bad_cdb(c, 2, -1);
	}
	if (alloc < 16)
		return cmd_bad_cdb(c, 6, -1);
	uint32_t len = 8 + n * 8;
	uint8_t *b = len <= sizeof(c->data) ? c->data : cmd_heap(c, len);
	if (!b)
		return cmd_status(c, SCSI_BUSY);
	memset(b, 0, 8);
	be32_put(b, n * 8);
	for (unsigned i = 0; i < n; i++)
		lun_format(b + 8 + i * 8, c->view->luns[i].number);
	nexus_ua_luns_told(c->nexus);
	return cmd_data_in(c, b, len, alloc);
}
