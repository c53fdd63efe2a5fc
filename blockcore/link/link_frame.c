/* Frames (link_frame.h). Nothing is believed before it is bounded. */
#include "blockcore/link/link_frame.h"
#include "blockcore/link/link.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"

void link_frame_encode(uint8_t b[LINK_FRAME_SIZE], const struct link_frame *f)
{
	le32_put(b, LINK_FRAME_MAGIC);
	b[4] = f->kind;
	b[5] = f->service;
	le16_put(b + 6, f->type);
	le64_put(b + 8, f->seq);
	le64_put(b + 16, f->ack);
	le64_put(b + 24, f->credit);
	le64_put(b + 32, f->call);
	le32_put(b + 40, f->head_len);
	le32_put(b + 44, f->data_len);
	le32_put(b + 48, (uint32_t)f->rc);
	le32_put(b + 52, crc32c(b, 52));
}

static bool fields_ok(const struct link_frame *f)
{
	if (f->kind == 0 || f->kind >= LINK_K_END || f->head_len > LINK_HEAD_MAX)
		return false;
	if (!link_kind_is_message(f->kind))
		return f->seq == 0 && f->service == 0 && f->type == 0 && f->call == 0 &&
		       f->rc == 0 && f->data_len == 0 &&
		       (f->kind < LINK_K_BEAT || f->head_len == 0);
	return f->seq > 0 && f->service < LINK_SVC_MAX && f->data_len <= LINK_DATA_MAX &&
	       (f->kind == LINK_K_SEND ? f->call == 0 : f->call > 0) &&
	       (f->kind == LINK_K_REPLY ? f->rc <= 0 : f->rc == 0);
}

int link_frame_decode(const uint8_t b[LINK_FRAME_SIZE], struct link_frame *ret)
{
	if (le32_get(b) != LINK_FRAME_MAGIC || le32_get(b + 52) != crc32c(b, 52))
		return -ERR_PROTO;
	struct link_frame f = {
	    .kind = b[4],
	    .service = b[5],
	    .type = le16_get(b + 6),
	    .seq = le64_get(b + 8),
	    .ack = le64_get(b + 16),
	    .credit = le64_get(b + 24),
	    .call = le64_get(b + 32),
	    .head_len = le32_get(b + 40),
	    .data_len = le32_get(b + 44),
	    .rc = (int32_t)le32_get(b + 48),
	};
	if (!fields_ok(&f))
		return -ERR_PROTO;
	*ret = f;
	return 0;
}
