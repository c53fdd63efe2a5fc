/*
 * MODE SENSE and MODE SELECT (6) and (10) (SPC-4 6.11 to 6.14).
 *
 *   header(6)   0 data length  1 medium type  2 device specific  3 block descriptor length
 *   header(10)  0-1 data length  2 medium type  3 device specific  4 LONGLBA  6-7 descriptor length
 *   then one block descriptor (8 bytes, or 16 with LONGLBA), then pages
 *
 * MODE SELECT checks the whole list before it changes anything.
 */
#include "server/scsi/mode_pages.h"

#define DEV_WP	   0x80
#define DEV_DPOFUA 0x10

/* ---- MODE SENSE ---- */

static unsigned put_block_desc(uint8_t *b, struct scsi_lu *lu, bool longlba)
{
	uint64_t blocks = lu_blocks(lu);
	memset(b, 0, 16);
	if (longlba) {
		be64_put(b, blocks);
		be32_put(b + 12, lu->block_size);
		return 16;
	}
	be32_put(b, blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)blocks);
	be24_put(b + 5, lu->block_size);
	return 8;
}

/* 0: the page (field 2) or subpage (3) does not exist, *ret_field tells. */
static unsigned put_pages(uint8_t *b, struct scsi_lu *lu, const uint8_t *cdb, unsigned *ret_field)
{
	enum mode_control pc = cdb[2] >> 6;
	uint8_t code = cdb[2] & 0x3f, subpage = cdb[3];
	bool code_known = code == 0x3f;
	unsigned n = 0;
	for (unsigned i = 0; i < mode_npages; i++) {
		const struct mode_page *p = &mode_pages[i];
		if (code != 0x3f && p->code != code)
			continue;
		code_known = true;
		if (subpage != 0xff && p->subpage != subpage)
			continue;
		n += mode_page_get(p, lu, pc, b + n);
	}
	*ret_field = code_known ? 3 : 2;
	return n;
}

enum scsi_next op_mode_sense(struct scsi_cmd *c)
{
	bool ten = c->cdb[0] == 0x5a;
	bool dbd = c->cdb[1] & 0x08, longlba = ten && (c->cdb[1] & 0x10);
	uint32_t alloc = ten ? be16_get(c->cdb + 7) : c->cdb[4];
	uint8_t *b = c->data;
	unsigned header = ten ? 8 : 4, n = header, field;

	if (c->cdb[2] >> 6 == MODE_SAVED)
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x39, 0x00);
	if ((c->cdb[2] & 0x3f) == 0x3f && c->cdb[3] != 0x00 && c->cdb[3] != 0xff)
		return cmd_bad_cdb(c, 3, -1);
	memset(b, 0, header);
	unsigned desc = dbd ? 0 : put_block_desc(b + n, c->lu, longlba);
	n += desc;
	unsigned pages = put_pages(b + n, c->lu, c->cdb, &field);
	if (!pages)
		return cmd_bad_cdb(c, field, field == 2 ? 5 : -1);
	n += pages;

	uint8_t device = DEV_DPOFUA | (c->itl->read_only || c->lu->swp ? DEV_WP : 0);
	if (ten) {
		be16_put(b, (uint16_t)(n - 2));
		b[3] = device;
		b[4] = longlba && desc ? 0x01 : 0;
		be16_put(b + 6, (uint16_t)desc);
	} else {
		b[0] = (uint8_t)(n - 1);
		b[2] = device;
		b[3] = (uint8_t)desc;
	}
	return cmd_data_in(c, b, n, alloc);
}

/* ---- MODE SELECT ---- */

enum scsi_next op_mode_select(struct scsi_cmd *c)
{
	bool ten = c->cdb[0] == 0x55;
	uint32_t len = ten ? be16_get(c->cdb + 7) : c->cdb[4];
	if (!(c->cdb[1] & 0x10) && len) /* PF: pages as the standard has them */
		return cmd_bad_cdb(c, 1, 4);
	if (c->cdb[1] & 0x01) /* SP: there is nowhere to save */
		return cmd_bad_cdb(c, 1, 0);
	if (!len)
		return cmd_good(c);
	c->out_len = len;
	if (len < (ten ? 8u : 4u) || c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

/* Only the capacity and block length there are may be asked for. False: the command has ended. */
static bool block_desc_ok(struct scsi_cmd *c, const uint8_t *b, unsigned at, unsigned len)
{
	uint64_t have = lu_blocks(c->lu), blocks = len == 16 ? be64_get(b + at) : be32_get(b + at);
	uint64_t most = len == 16 ? UINT64_MAX : UINT32_MAX;
	uint32_t block = len == 16 ? be32_get(b + at + 12) : be24_get(b + at + 5);
	if (blocks && blocks != most && blocks != have) {
		cmd_bad_param(c, at, -1);
		return false;
	}
	if (block && block != c->lu->block_size) {
		cmd_bad_param(c, at + (len == 16 ? 12 : 5), -1);
		return false;
	}
	return true;
}

/* Where the pages begin; 0: the command has ended. */
static unsigned select_header(struct scsi_cmd *c, const uint8_t *b, unsigned len)
{
	bool ten = c->cdb[0] == 0x55;
	unsigned header = ten ? 8 : 4;
	unsigned desc = ten ? be16_get(b + 6) : b[3];
	bool longlba = ten && (b[4] & 0x01);
	if (b[ten ? 2 : 1]) { /* medium type */
		cmd_bad_param(c, ten ? 2 : 1, -1);
		return 0;
	}
	if (desc && desc != (longlba ? 16u : 8u)) {
		cmd_bad_param(c, ten ? 6 : 3, -1);
		return 0;
	}
	if (header + desc > len) {
		cmd_bad_length(c);
		return 0;
	}
	if (desc && !block_desc_ok(c, b, header, desc))
		return 0;
	return header + desc;
}

/* The page at b[at]; NULL: the command has ended. */
static const struct mode_page *select_page(struct scsi_cmd *c, const uint8_t *b, unsigned at,
					   unsigned len)
{
	bool sub = b[at] & 0x40;
	unsigned header = sub ? 4 : 2;
	if (len - at < header) {
		cmd_bad_length(c);
		return NULL;
	}
	const struct mode_page *p = mode_page_find(b[at] & 0x3f, sub ? b[at + 1] : 0);
	if (!p || (sub && !p->subpage)) {
		cmd_bad_param(c, at, 5);
		return NULL;
	}
	unsigned said = header + (sub ? be16_get(b + at + 2) : b[at + 1]);
	if (said != p->len) {
		cmd_bad_param(c, at + (sub ? 2 : 1), -1);
		return NULL;
	}
	if (len - at < p->len) {
		cmd_bad_length(c);
		return NULL;
	}
	uint8_t now[MODE_PAGE_MAX];
	mode_page_get(p, c->lu, MODE_CURRENT, now);
	for (unsigned i = header; i < p->len; i++) {
		unsigned wrong = (now[i] ^ b[at + i]) & ~p->changeable[i] & 0xff;
		if (wrong) {
			cmd_bad_param(c, at + i, 31 - __builtin_clz(wrong));
			return NULL;
		}
	}
	int wrong = mode_page_wrong(p, b + at);
	if (wrong >= 0) {
		cmd_bad_param(c, at + (unsigned)wrong, -1);
		return NULL;
	}
	return p;
}

enum scsi_next op_mode_select_finish(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	unsigned len = c->out_len, at = select_header(c, b, len), first = at;
	bool changed = false;
	if (!at)
		return SCSI_DONE;
	while (at < len) {
		const struct mode_page *p = select_page(c, b, at, len);
		if (!p)
			return SCSI_DONE;
		at += p->len;
	}
	for (at = first; at < len;) {
		const struct mode_page *p =
		    mode_page_find(b[at] & 0x3f, b[at] & 0x40 ? b[at + 1] : 0);
		changed |= mode_page_set(p, c->lu, b + at);
		at += p->len;
	}
	if (changed) {
		registry_ua_others(c->nexus->registry, c->nexus, c->lu, UA_MODE);
		lu_changed(c->nexus->registry, c->lu);
	}
	return cmd_good(c);
}
