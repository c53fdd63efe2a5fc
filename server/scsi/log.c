/*
 * LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8, 7.3; SBC-4 6.3).
 *
 *   00h       supported pages (FFh: and subpages)
 *   0Ch       logical block provisioning: resources of the volume
 *   0Dh       temperature: none is measured
 *   0Eh       start-stop cycle counter: nothing starts or stops
 *   19h       general statistics and performance, since the start or the last reset
 *   2Fh       informational exceptions: none
 *
 * Nothing is saved and no parameter can be set. LOG SELECT with PCR makes the statistics begin
 * anew, for all nexuses.
 */
#include "server/scsi/scsi_priv.h"

#define PC_CUMULATIVE 1
#define BINARY_LIST   0x03 /* FORMAT AND LINKING */

static uint8_t *put_param(uint8_t *b, unsigned *at, uint16_t code, uint8_t control, uint8_t len)
{
	uint8_t *p = b + *at;
	be16_put(p, code);
	p[2] = control;
	p[3] = len;
	memset(p + 4, 0, len);
	*at += 4u + len;
	return p + 4;
}

static void page_provisioning(struct scsi_cmd *c, uint8_t *b, unsigned *at)
{
	/* used: all of them, in units of the threshold set size (2^0 blocks; B2h says none) */
	uint64_t blocks = lu_blocks(c->lu);
	uint8_t *p = put_param(b, at, 0x0002, BINARY_LIST, 8);
	be32_put(p, (uint32_t)MIN(blocks, UINT32_MAX));
	p[4] = 0x01; /* SCOPE: this logical unit */
}

static void page_temperature(struct scsi_cmd *c, uint8_t *b, unsigned *at)
{
	put_param(b, at, 0x0000, BINARY_LIST, 2)[1] = 0xff; /* not known */
	put_param(b, at, 0x0001, BINARY_LIST, 2)[1] = 0xff;
}

static void page_start_stop(struct scsi_cmd *c, uint8_t *b, unsigned *at)
{
	put_param(b, at, 0x0003, BINARY_LIST, 4); /* specified cycles: not given */
	be32_put(put_param(b, at, 0x0004, BINARY_LIST, 4), c->lu->start_stops);
	put_param(b, at, 0x0005, BINARY_LIST, 4);
	put_param(b, at, 0x0006, BINARY_LIST, 4);
}

static void page_statistics(struct scsi_cmd *c, uint8_t *b, unsigned *at)
{
	struct volume *v = lu_volume(c->lu);
	struct volume_stats now = {0};
	const struct log_base *base = &c->lu->log_base;
	if (v)
		volume_stats(v, &now);
	uint8_t *p = put_param(b, at, 0x0001, BINARY_LIST, 64);
	be64_put(p, now.reads - base->reads);
	be64_put(p + 8, now.writes - base->writes);
	be64_put(p + 16, (now.write_bytes - base->write_bytes) >> c->lu->block_shift);
	be64_put(p + 24, (now.read_bytes - base->read_bytes) >> c->lu->block_shift);
}

static void page_exceptions(struct scsi_cmd *c, uint8_t *b, unsigned *at)
{
	put_param(b, at, 0x0000, BINARY_LIST, 4)[2] = 0xff; /* no exception; temperature unknown */
}

static const struct {
	uint8_t code;
	bool provisioned; /* only with logical block provisioning */
	void (*put)(struct scsi_cmd *c, uint8_t *b, unsigned *at);
} pages[] = {{0x00, false, NULL},
	     {0x0c, true, page_provisioning},
	     {0x0d, false, page_temperature},
	     {0x0e, false, page_start_stop},
	     {0x19, false, page_statistics},
	     {0x2f, false, page_exceptions}};

static bool page_there(struct scsi_cmd *c, unsigned i)
{
	return !pages[i].provisioned || (lu_features(c->lu) & LU_UNMAP);
}

static void page_supported(struct scsi_cmd *c, bool subpages, uint8_t *b, unsigned *at)
{
	for (unsigned i = 0; i < ARRAY_LEN(pages); i++) {
		if (!page_there(c, i))
			continue;
		b[(*at)++] = pages[i].code;
		if (subpages)
			b[(*at)++] = 0;
		if (subpages && !pages[i].code) {
			b[(*at)++] = 0;
			b[(*at)++] = 0xff;
		}
	}
}

/* Parameters before the pointed one are left out; false: there is none from there on. */
static bool cut_before(uint8_t *b, unsigned *at, uint16_t pointer)
{
	unsigned from = 4;
	while (from < *at && be16_get(b + from) < pointer)
		from += 4u + b[from + 3];
	if (from == *at)
		return false;
	memmove(b + 4, b + from, *at - from);
	*at -= from - 4;
	return true;
}

enum scsi_next op_log_sense(struct scsi_cmd *c)
{
	uint8_t code = c->cdb[2] & 0x3f, subpage = c->cdb[3], *b = c->data;
	uint16_t pointer = be16_get(c->cdb + 5);
	unsigned i = 0, n = 4;
	if (c->cdb[2] >> 6 != PC_CUMULATIVE && code)
		return cmd_bad_cdb(c, 2, 7); /* no thresholds, no defaults of them */
	while (i < ARRAY_LEN(pages) && (pages[i].code != code || !page_there(c, i)))
		i++;
	if (i == ARRAY_LEN(pages))
		return cmd_bad_cdb(c, 2, 5);
	if (subpage && !(code == 0 && subpage == 0xff))
		return cmd_bad_cdb(c, 3, -1);
	memset(b, 0, 4);
	b[0] = (uint8_t)(code | (subpage ? 0x40 : 0));
	b[1] = subpage;
	if (pages[i].put)
		pages[i].put(c, b, &n);
	else
		page_supported(c, subpage, b, &n);
	if (pointer && (!pages[i].put || !cut_before(b, &n, pointer)))
		return cmd_bad_cdb(c, 5, -1);
	be16_put(b + 2, (uint16_t)(n - 4));
	return cmd_data_in(c, b, n, be16_get(c->cdb + 7));
}

enum scsi_next op_log_select(struct scsi_cmd *c)
{
	bool pcr = c->cdb[1] & 0x02;
	struct volume *v = lu_volume(c->lu);
	struct volume_stats now = {0};
	if (!pcr) /* SPC-4 6.7.1: back to defaults, of parameters there are none */
		return cmd_good(c);
	if (v)
		volume_stats(v, &now);
	c->lu->log_base.reads = now.reads;
	c->lu->log_base.writes = now.writes;
	c->lu->log_base.read_bytes = now.read_bytes;
	c->lu->log_base.write_bytes = now.write_bytes;
	registry_ua_others(c->nexus->registry, c->nexus, c->lu, UA_LOG);
	return cmd_good(c);
}
