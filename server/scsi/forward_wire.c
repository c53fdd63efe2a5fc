/* Layouts of forward_wire.h, by offset. Bytes that are not named are zero, and not looked at. */
#include <string.h>
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "server/scsi/forward_wire.h"
#include "server/scsi/scsi_priv.h"

/* 0 version (2) */
static int head_check(const uint8_t *b, uint32_t len, uint32_t want)
{
	if (len < 2)
		return -ERR_PROTO;
	if (le16_get(b) != FWD_VERSION)
		return -ERR_VERSION;
	return len == want ? 0 : -ERR_PROTO;
}

static void head_put(uint8_t *b, uint32_t len)
{
	memset(b, 0, len);
	le16_put(b, FWD_VERSION);
}

/* A text of a fixed field: ends in it, and has an end's worth of zeros. */
static bool text_get(char *to, const uint8_t *b, size_t size, bool empty_ok)
{
	if (!memchr(b, 0, size) || (!empty_ok && !b[0]))
		return false;
	memset(to, 0, size);
	memcpy(to, b, strnlen((const char *)b, size));
	return true;
}

/* ---- 2 what, 4 nexus (8), 12 id (8), 20 lun (8) ---- */

void fwd_item_put(uint8_t b[FWD_ITEM_LEN], const struct fwd_item *x)
{
	head_put(b, FWD_ITEM_LEN);
	b[2] = x->what;
	le64_put(b + 4, x->nexus);
	le64_put(b + 12, x->id);
	memcpy(b + 20, x->lun, 8);
}

int fwd_item_get(const void *from, uint32_t len, struct fwd_item *ret)
{
	const uint8_t *b = from;
	int err = head_check(b, len, FWD_ITEM_LEN);
	if (err)
		return err;
	*ret = (struct fwd_item){.what = b[2], .nexus = le64_get(b + 4), .id = le64_get(b + 12)};
	memcpy(ret->lun, b + 20, 8);
	return 0;
}

/* ---- 2 tpgt (2), 4 nexus (8), 12 ISID (6), 20 target (224), 244 initiator (224) ---- */

void fwd_nexus_put(uint8_t b[FWD_NEXUS_LEN], const struct fwd_nexus *x)
{
	head_put(b, FWD_NEXUS_LEN);
	le16_put(b + 2, x->tpgt);
	le64_put(b + 4, x->nexus);
	memcpy(b + 12, x->isid, 6);
	text_copy((char *)b + 20, x->target, sizeof(x->target));
	text_copy((char *)b + 244, x->initiator, sizeof(x->initiator));
}

int fwd_nexus_get(const void *from, uint32_t len, struct fwd_nexus *ret)
{
	const uint8_t *b = from;
	int err = head_check(b, len, FWD_NEXUS_LEN);
	if (err)
		return err;
	ret->tpgt = le16_get(b + 2);
	ret->nexus = le64_get(b + 4);
	memcpy(ret->isid, b + 12, 6);
	if (!ret->nexus || !text_get(ret->target, b + 20, sizeof(ret->target), false) ||
	    !text_get(ret->initiator, b + 244, sizeof(ret->initiator), false))
		return -ERR_PROTO;
	return 0;
}

/*
 * ---- 2 CDB length (2), 4 flags (1: pulled), 5 task attribute, 8 nexus (8), 16 id (8), 24 lun (8),
 * 32 out_expected (4), 36 out_bytes (4), 40 room (4), 44 CDB ----
 */

uint32_t fwd_cmd_put(uint8_t b[FWD_CMD_LEN_MAX], const struct fwd_cmd *x)
{
	head_put(b, FWD_CMD_LEN);
	le16_put(b + 2, x->cdb_len);
	b[4] = x->pulled;
	b[5] = x->attr;
	le64_put(b + 8, x->nexus);
	le64_put(b + 16, x->id);
	memcpy(b + 24, x->lun, 8);
	le32_put(b + 32, x->out_expected);
	le32_put(b + 36, x->out_bytes);
	le32_put(b + 40, x->room);
	memcpy(b + FWD_CMD_LEN, x->cdb, x->cdb_len);
	return FWD_CMD_LEN + x->cdb_len;
}

int fwd_cmd_get(const void *from, uint32_t len, uint32_t data_len, struct fwd_cmd *ret)
{
	const uint8_t *b = from;
	if (len < FWD_CMD_LEN)
		return len < 2 || le16_get(b) == FWD_VERSION ? -ERR_PROTO : -ERR_VERSION;
	int err = head_check(b, len, FWD_CMD_LEN + (uint32_t)le16_get(b + 2));
	if (err)
		return err;
	*ret = (struct fwd_cmd){.cdb_len = le16_get(b + 2),
				.pulled = b[4] & 1,
				.attr = b[5],
				.nexus = le64_get(b + 8),
				.id = le64_get(b + 16),
				.out_expected = le32_get(b + 32),
				.out_bytes = le32_get(b + 36),
				.room = le32_get(b + 40),
				.cdb = b + FWD_CMD_LEN};
	memcpy(ret->lun, b + 24, 8);
	if (ret->cdb_len < 6 || ret->cdb_len > 260 || ret->attr >= SCSI_ATTR_OTHER ||
	    ret->room > FWD_PIECE_MAX ||
	    ret->out_bytes != MIN(ret->out_expected, SCSI_TRANSFER_MAX) ||
	    data_len != (ret->pulled ? 0 : ret->out_bytes) || data_len > FWD_PIECE_MAX)
		return -ERR_PROTO;
	return 0;
}

/*
 * ---- 2 status, 3 sense length, 4 flags (1: more), 8 in_len (4), 12 out_len (4), 16 told (8),
 * 24 sense ----
 */

void fwd_done_put(uint8_t b[FWD_DONE_LEN], const struct fwd_done *x)
{
	head_put(b, FWD_DONE_LEN);
	b[2] = x->status;
	b[3] = x->sense_len;
	b[4] = x->more;
	le32_put(b + 8, x->in_len);
	le32_put(b + 12, x->out_len);
	le64_put(b + 16, x->told);
	memcpy(b + 24, x->sense, x->sense_len);
}

/* All but what depends on the data that came with it. */
static int done_get(const uint8_t *b, uint32_t len, struct fwd_done *ret)
{
	int err = head_check(b, len, FWD_DONE_LEN);
	if (err)
		return err;
	*ret = (struct fwd_done){.status = b[2],
				 .sense_len = b[3],
				 .more = b[4] & 1,
				 .in_len = le32_get(b + 8),
				 .out_len = le32_get(b + 12),
				 .told = le64_get(b + 16)};
	if (ret->sense_len > SCSI_SENSE_MAX || ret->in_len > SCSI_TRANSFER_MAX ||
	    (ret->status == SCSI_CHECK_CONDITION) != (ret->sense_len >= 8) ||
	    (ret->status == SCSI_CHECK_CONDITION && ret->in_len))
		return -ERR_PROTO;
	memcpy(ret->sense, b + 24, ret->sense_len);
	return 0;
}

int fwd_done_get(const void *from, uint32_t len, uint32_t data_len, uint32_t room,
		 struct fwd_done *ret)
{
	int err = done_get(from, len, ret);
	if (err)
		return err;
	return data_len == MIN(ret->in_len, room) && ret->more == (data_len < ret->in_len)
		   ? 0
		   : -ERR_PROTO;
}

int fwd_more_get(const void *from, uint32_t from_len, uint32_t data_len, uint32_t off, uint32_t len,
		 uint32_t in_len, struct fwd_done *ret)
{
	int err = done_get(from, from_len, ret);
	if (err)
		return err;
	if (ret->status != SCSI_GOOD)
		return data_len || ret->more ? -ERR_PROTO : 0;
	return data_len == len && ret->in_len == in_len && ret->more == (off + len < in_len)
		   ? 0
		   : -ERR_PROTO;
}

/* ---- 4 nexus (8), 12 id (8), 20 offset (4), 24 length (4) ---- */

void fwd_piece_put(uint8_t b[FWD_PIECE_LEN], const struct fwd_piece *x)
{
	head_put(b, FWD_PIECE_LEN);
	le64_put(b + 4, x->nexus);
	le64_put(b + 12, x->id);
	le32_put(b + 20, x->off);
	le32_put(b + 24, x->len);
}

int fwd_piece_get(const void *from, uint32_t len, struct fwd_piece *ret)
{
	const uint8_t *b = from;
	int err = head_check(b, len, FWD_PIECE_LEN);
	if (err)
		return err;
	*ret = (struct fwd_piece){.nexus = le64_get(b + 4),
				  .id = le64_get(b + 12),
				  .off = le32_get(b + 20),
				  .len = le32_get(b + 24)};
	return ret->len && ret->len <= FWD_PIECE_MAX && ret->off <= SCSI_TRANSFER_MAX - ret->len
		   ? 0
		   : -ERR_PROTO;
}

/* ---- 4 nexus (8), 12 told (8), 20 lun (4), 24 attentions (4) ---- */

void fwd_attention_put(uint8_t b[FWD_ATTENTION_LEN], const struct fwd_attention *x)
{
	head_put(b, FWD_ATTENTION_LEN);
	le64_put(b + 4, x->nexus);
	le64_put(b + 12, x->told);
	le32_put(b + 20, x->lun);
	le32_put(b + 24, x->uas);
}

int fwd_attention_get(const void *from, uint32_t len, struct fwd_attention *ret)
{
	const uint8_t *b = from;
	int err = head_check(b, len, FWD_ATTENTION_LEN);
	if (err)
		return err;
	*ret = (struct fwd_attention){.nexus = le64_get(b + 4),
				      .told = le64_get(b + 12),
				      .lun = le32_get(b + 20),
				      .uas = le32_get(b + 24)};
	return ret->uas >> UA_KINDS ? -ERR_PROTO : 0;
}

/*
 * ---- 2 configuration flags (1 removable, 2 no UNMAP), 3 state flags (1 write through,
 * 2 descriptor sense, 4 write protect, 8 TAS, 16 ejected), 4 volume (4), 8 block size (4),
 * 12 physical (4), 16 UA_INTLCK_CTRL, 17 reserved, 24 by (8), 32 told (8), 40 serial (64) ----
 */

void fwd_unit_put(uint8_t b[FWD_UNIT_LEN], const struct fwd_unit *x)
{
	head_put(b, FWD_UNIT_LEN);
	b[2] = (uint8_t)(x->removable | x->no_unmap << 1);
	b[3] = (uint8_t)(x->write_through | x->d_sense << 1 | x->swp << 2 | x->tas << 3 |
			 x->ejected << 4);
	le32_put(b + 4, x->volume_id);
	le32_put(b + 8, x->block_size);
	le32_put(b + 12, x->physical_size);
	b[16] = x->ua_intlck;
	b[17] = x->reserved;
	le64_put(b + 24, x->by);
	le64_put(b + 32, x->told);
	text_copy((char *)b + 40, x->serial, sizeof(x->serial));
}

int fwd_unit_get(const void *from, uint32_t len, struct fwd_unit *ret)
{
	const uint8_t *b = from;
	int err = head_check(b, len, FWD_UNIT_LEN);
	if (err)
		return err;
	*ret = (struct fwd_unit){.volume_id = le32_get(b + 4),
				 .block_size = le32_get(b + 8),
				 .physical_size = le32_get(b + 12),
				 .removable = b[2] & 1,
				 .no_unmap = b[2] & 2,
				 .write_through = b[3] & 1,
				 .d_sense = b[3] & 2,
				 .swp = b[3] & 4,
				 .tas = b[3] & 8,
				 .ejected = b[3] & 16,
				 .ua_intlck = b[16],
				 .reserved = b[17],
				 .by = le64_get(b + 24),
				 .told = le64_get(b + 32)};
	if (!text_get(ret->serial, b + 40, sizeof(ret->serial), true) ||
	    ret->reserved > FWD_BY_SENDER || ret->ua_intlck > INTLCK_ESTABLISH ||
	    ret->ua_intlck == 1 || (ret->ejected && !ret->removable))
		return -ERR_PROTO;
	return 0;
}
