/* INQUIRY (SPC-4 6.4): standard data; vital product data is in vpd.c. */
#include "server/scsi/scsi_priv.h"

#define INQUIRY_LEN 74

/* SPC-4 6.4.2: SAM-5, SPC-4, SBC-3, iSCSI, all without a revision */
static const uint16_t version_descriptors[] = {0x00a0, 0x0460, 0x04c0, 0x0960};

static enum scsi_next inquiry_standard(struct scsi_cmd *c, uint32_t alloc)
{
	uint8_t *b = c->data;
	memset(b, 0, INQUIRY_LEN);
	b[0] = c->lu ? 0x00 : 0x7f; /* direct access; or: no device here, nor can there be */
	b[1] = c->lu && c->lu->removable ? 0x80 : 0; /* RMB */
	b[2] = 0x06;				     /* SPC-4 */
	b[3] = 0x10 | 0x02;			     /* HISUP; response data format */
	b[4] = INQUIRY_LEN - 5;
	b[5] = 0x30 | 0x08; /* TPGS: implicit and explicit; 3PC: EXTENDED COPY */
	b[6] = 0x10;	    /* MULTIP */
	b[7] = 0x02;	    /* CMDQUE */
	memcpy(b + 8, SCSI_VENDOR, 8);
	memcpy(b + 16, SCSI_PRODUCT, 16);
	memcpy(b + 32, SCSI_REV, 4);
	for (unsigned i = 0; i < ARRAY_LEN(version_descriptors); i++)
		be16_put(b + 58 + i * 2, version_descriptors[i]);
	return cmd_data_in(c, b, INQUIRY_LEN, alloc);
}

enum scsi_next op_inquiry(struct scsi_cmd *c)
{
	bool evpd = c->cdb[1] & 0x01;
	uint32_t alloc = be16_get(c->cdb + 3);
	if (!evpd) {
		if (c->cdb[2]) /* SPC-4 6.4.1: a page code without EVPD */
			return cmd_bad_cdb(c, 2, -1);
		return inquiry_standard(c, alloc);
	}
	unsigned n = vpd_page(c, c->cdb[2], c->data);
	if (!n)
		return cmd_bad_cdb(c, 2, -1);
	return cmd_data_in(c, c->data, n, alloc);
}
