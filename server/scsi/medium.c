/* What there is to say of the medium: GET LBA STATUS (SBC-4 5.6), READ DEFECT DATA (5.18, 5.19). */
#include "server/scsi/scsi_priv.h"

#define STATUS_MAPPED 0x0

/*
 * A volume has all its space from the start and does not record which blocks were unmapped (those
 * read as zeros): so all of them are mapped, in one descriptor.
 */
enum scsi_next op_get_lba_status(struct scsi_cmd *c)
{
	uint8_t *b = c->data;
	uint64_t lba = be64_get(c->cdb + 2), blocks = lu_blocks(c->lu);
	if (lba >= blocks)
		return cmd_out_of_range(c);
	memset(b, 0, 24);
	be32_put(b, 20);
	be64_put(b + 8, lba);
	be32_put(b + 16, (uint32_t)MIN(blocks - lba, UINT32_MAX));
	b[20] = STATUS_MAPPED;
	return cmd_data_in(c, b, 24, be32_get(c->cdb + 10));
}

/* Disks look after their defects themselves: the lists that are asked for are there and empty. */
enum scsi_next op_read_defects(struct scsi_cmd *c)
{
	bool twelve = c->cdb[0] == 0xb7;
	uint8_t want = c->cdb[twelve ? 1 : 2], format = want & 0x07;
	if (format > 5) /* vendor specific, reserved */
		return cmd_bad_cdb(c, twelve ? 1 : 2, 2);
	memset(c->data, 0, 8);
	c->data[1] = want & 0x1f;
	if (twelve) {
		if (be32_get(c->cdb + 2)) /* an index of an address descriptor: there are none */
			return cmd_bad_cdb(c, 2, -1);
		return cmd_data_in(c, c->data, 8, be32_get(c->cdb + 6));
	}
	return cmd_data_in(c, c->data, 4, be16_get(c->cdb + 7));
}
