/* READ CAPACITY (10) and (16) (SBC-4 5.20, 5.21). */
#include "server/scsi/scsi_priv.h"

enum scsi_next op_read_capacity_10(struct scsi_cmd *c)
{
	uint64_t last = lu_blocks(c->lu) - 1;
	bool pmi = c->cdb[8] & 0x01;
	uint32_t lba = be32_get(c->cdb + 2);
	/* SBC-2 5.10: without PMI the address is zero. Nothing slows down along the medium, so
	 * with PMI the answer is the last block too. */
	if (lba && !pmi)
		return cmd_bad_cdb(c, 2, -1);
	if (lba > last)
		return cmd_out_of_range(c);
	be32_put(c->data, last > UINT32_MAX - 1 ? UINT32_MAX : (uint32_t)last);
	be32_put(c->data + 4, c->lu->block_size);
	return cmd_data_in(c, c->data, 8, 8);
}

enum scsi_next op_read_capacity_16(struct scsi_cmd *c)
{
	uint8_t *b = c->data;
	if (be64_get(c->cdb + 2)) /* obsolete with PMI */
		return cmd_bad_cdb(c, 2, -1);
	memset(b, 0, 32);
	be64_put(b, lu_blocks(c->lu) - 1);
	be32_put(b + 8, c->lu->block_size);
	/* LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT */
	b[13] = (uint8_t)__builtin_ctz(c->lu->physical_size >> c->lu->block_shift);
	if (lu_features(c->lu) & LU_UNMAP)
		b[14] = 0xc0; /* LBPME, LBPRZ: unmapped blocks read as zeros */
	return cmd_data_in(c, b, 32, be32_get(c->cdb + 10));
}
