/*
 * EXTENDED COPY (LID1) and (LID4) (SPC-4 6.4, 6.5): block to block, among the logical units this
 * I_T nexus sees. Everything in the list is checked that can be before the first block is copied;
 * what the nexus may do is looked at again with every piece, for LUNs, reservations and protection
 * change under a long copy.
 *
 *   header      LID1 16 bytes, LID4 48: identifier, lengths of what follows
 *   CSCD        32 bytes each: E4h, who takes part, by an NAA or EUI-64 designator
 *   segments    28 bytes each: 02h, blocks of one unit to blocks of another
 *
 * Data goes by a buffer of its own: a task that waits for cache pages may hold none.
 */
#include <errno.h>
#include <stdlib.h>
#include "blockcore/far.h"
#include "runtime/err.h"
#include "server/scsi/forward.h"
#include "server/scsi/xcopy.h"

#define PIECE (256u * 1024)

struct xcopy {
	struct scsi_cmd *c;
	const uint8_t *b; /* the parameter list */
	uint32_t len;
	bool lid4, nameless;
	uint32_t list_id;
	unsigned targets_at, ntargets, segments_at, segments_end, nsegments;
	struct scsi_lu *lu[XCOPY_TARGETS]; /* of c->view; NULL: none that is known here */
	struct copy_result *result;
	struct cache_read read;
	struct cache_write write;
	uint8_t data[PIECE];
};

struct segment {
	unsigned number, at;
	struct scsi_lu *from, *to;
	uint64_t from_off, to_off, len;
};

/* ---- ends ---- */

static bool param_error(struct xcopy *x, uint8_t ascq, unsigned field)
{
	cmd_check(x->c, &(struct sense){.key = KEY_ILLEGAL_REQUEST,
					.asc = 0x26,
					.ascq = ascq,
					.has_field = true,
					.field = (uint16_t)field,
					.bit = -1});
	return false;
}

/* A segment ends the copy: its number in COMMAND-SPECIFIC INFORMATION, where in the list in the
 * field pointer. */
static bool copy_aborted(struct xcopy *x, const struct segment *s, uint8_t asc, uint8_t ascq)
{
	cmd_check(x->c, &(struct sense){.key = KEY_COPY_ABORTED,
					.asc = asc,
					.ascq = ascq,
					.has_field = true,
					.field = (uint16_t)s->at,
					.bit = -1,
					.has_specific = true,
					.specific = s->number});
	return false;
}

#define NOT_REACHABLE	    0x08, 0x04 /* unreachable copy target */
#define THIRD_PARTY_FAILURE 0x0d, 0x01
#define NO_MORE_TO_SAY	    0x00, 0x00
#define INEXACT_SEGMENT	    0x26, 0x0a

/* ---- the list ---- */

static bool parse_header(struct xcopy *x)
{
	const uint8_t *b = x->b;
	uint32_t targets, segments, inline_len, header = x->lid4 ? 48 : 16;
	unsigned usage = b[1] >> 3 & 3;
	if (x->lid4) {
		if (b[0] != 0x01) /* PARAMETER LIST FORMAT */
			return param_error(x, 0x00, 0);
		if (be16_get(b + 2) != 0x20)
			return param_error(x, 0x00, 2);
		if (b[15] & 0x02) /* IMMED: not offered */
			return param_error(x, 0x00, 15);
		if (b[16] != 0xff)
			return param_error(x, 0x00, 16);
		x->list_id = be32_get(b + 20);
		targets = be16_get(b + 42);
		segments = be16_get(b + 44);
		inline_len = be16_get(b + 46);
	} else {
		x->list_id = b[0];
		targets = be16_get(b + 2);
		segments = be32_get(b + 8);
		inline_len = be32_get(b + 12);
	}
	x->nameless = usage == 3;
	if (usage == 1 || (x->nameless && x->list_id))
		return param_error(x, 0x00, usage == 1 ? 1 : x->lid4 ? 20 : 0);
	if (inline_len)
		return param_error(x, 0x0b, x->lid4 ? 46 : 12); /* inline data length exceeded */
	if ((uint64_t)targets + segments > XCOPY_LIST_MAX ||
	    header + (uint64_t)targets + segments > x->len) {
		cmd_bad_length(x->c);
		return false;
	}
	x->targets_at = header;
	x->ntargets = targets / XCOPY_TARGET_LEN;
	x->segments_at = header + targets;
	x->segments_end = x->segments_at + segments;
	if (targets % XCOPY_TARGET_LEN)
		return param_error(x, 0x00, x->lid4 ? 42 : 2);
	if (x->ntargets > XCOPY_TARGETS)
		return param_error(x, 0x06, x->lid4 ? 42 : 2); /* too many target descriptors */
	return true;
}

static struct scsi_lu *find_by_designator(struct scsi_cmd *c, const uint8_t *d)
{
	for (unsigned i = 0; i < c->view->n; i++)
		if (vpd_designates(c->view->luns[i].lu, d[0] & 0x0f, d[1] & 0x3f, d + 4, d[3]))
			return c->view->luns[i].lu;
	return NULL;
}

static bool parse_target(struct xcopy *x, unsigned i)
{
	unsigned at = x->targets_at + i * XCOPY_TARGET_LEN;
	const uint8_t *d = x->b + at;
	if (d[0] != XCOPY_TYPE_ID)
		return param_error(x, 0x07, at); /* unsupported target descriptor type code */
	if (d[7] > 20)
		return param_error(x, 0x00, at + 7);
	bool nul = d[1] & 0x20; /* takes no part; LU ID TYPE does not matter beside a designator */
	x->lu[i] = nul || (d[1] & 0x1f) ? NULL : find_by_designator(x->c, d + 4);
	return true;
}

/* Descriptors of other types may have other lengths; the first of them ends the command. */
static bool parse_segments(struct xcopy *x)
{
	for (unsigned at = x->segments_at; at < x->segments_end; at += XCOPY_SEGMENT_LEN) {
		if (x->b[at] != XCOPY_TYPE_BLOCK)
			return param_error(x, 0x09, at); /* unsupported segment descriptor type */
		if (++x->nsegments > XCOPY_SEGMENTS)
			return param_error(x, 0x08, at); /* too many segment descriptors */
		if (x->segments_end - at < XCOPY_SEGMENT_LEN ||
		    be16_get(x->b + at + 2) != XCOPY_SEGMENT_LEN - 4)
			return param_error(x, 0x00, at);
	}
	return true;
}

static bool parse(struct xcopy *x)
{
	if (!parse_header(x))
		return false;
	for (unsigned i = 0; i < x->ntargets; i++)
		if (!parse_target(x, i))
			return false;
	return parse_segments(x);
}

/* ---- a segment ---- */

/* FFFFh: the unit that has the command (SPC-4 6.4.5.1). */
static struct scsi_lu *unit(const struct xcopy *x, uint16_t index)
{
	if (index == 0xffff)
		return x->c->lu;
	return index < x->ntargets ? x->lu[index] : NULL;
}

static bool in_range(struct scsi_lu *lu, uint64_t lba, uint64_t len)
{
	uint64_t blocks = lu_blocks(lu), n = len >> lu->block_shift;
	return lba <= blocks && n <= blocks - lba;
}

static bool parse_segment(struct xcopy *x, struct segment *s, unsigned i)
{
	const uint8_t *d = x->b + x->segments_at + i * XCOPY_SEGMENT_LEN;
	*s = (struct segment){.number = i, .at = x->segments_at + i * XCOPY_SEGMENT_LEN};
	s->from = unit(x, be16_get(d + 4));
	s->to = unit(x, be16_get(d + 6));
	if (!s->from || !s->to)
		return copy_aborted(x, s, NOT_REACHABLE);
	bool dc = d[1] & 0x02; /* the number counts blocks of the destination */
	s->len = (uint64_t)be16_get(d + 10) << (dc ? s->to : s->from)->block_shift;
	if (s->len % s->to->block_size || s->len % s->from->block_size)
		return copy_aborted(x, s, INEXACT_SEGMENT);
	if (!in_range(s->from, be64_get(d + 12), s->len) ||
	    !in_range(s->to, be64_get(d + 20), s->len))
		return copy_aborted(x, s, NO_MORE_TO_SAY);
	s->from_off = be64_get(d + 12) << s->from->block_shift;
	s->to_off = be64_get(d + 20) << s->to->block_shift;
	return true;
}

/* May the nexus do this, as it now sees the units? */
static bool allowed(struct scsi_nexus *n, const struct segment *s)
{
	struct scsi_view *v = nexus_view(n);
	const struct scsi_itl *from = view_find_lu(v, s->from), *to = view_find_lu(v, s->to);
	bool ok = from && to && !to->read_only && !s->to->swp && !s->from->conditions &&
		  !s->to->conditions && !(from->res & (RES_NO_READ | RES_LEGACY)) &&
		  !(to->res & (RES_NO_READ | RES_NO_WRITE | RES_LEGACY));
	view_put(v);
	return ok;
}

static int copy_in(struct xcopy *x, struct volume *v, uint64_t off, uint32_t len)
{
	int err = volume_read(v, off, len, &x->read);
	if (err)
		return err;
	for (int i = 0, at = 0; i < x->read.n; at += (int)x->read.iov[i].iov_len, i++)
		memcpy(x->data + at, x->read.iov[i].iov_base, x->read.iov[i].iov_len);
	volume_read_done(v, &x->read);
	return 0;
}

static int copy_out(struct xcopy *x, struct volume *v, uint64_t off, uint32_t len)
{
	int err = volume_write_begin(v, off, len, &x->write);
	if (err)
		return err;
	for (int i = 0, at = 0; i < x->write.n; at += (int)x->write.iov[i].iov_len, i++)
		memcpy(x->write.iov[i].iov_base, x->data + at, x->write.iov[i].iov_len);
	return volume_write_commit(v, &x->write, false);
}

/*
 * A unit that the partner owns is read and written there (blockcore/far.h), within what copies
 * may take of the link; one that moves is waited for as with commands. What a call of a controller
 * that owns it no more said -ERR_NOT_OWNER to has not been done, or is done again with the same
 * data.
 */
static int copy_far(struct xcopy *x, struct scsi_lu *lu, bool in, uint64_t off, uint32_t len)
{
	struct forward *f = x->c->nexus->registry->forward;
	if (!forward_window_enter(&f->copies, FORWARD_COST + len, &x->c->aborted))
		return -ECANCELED;
	int err = in ? far_read(f->link, lu->volume_id, off, x->data, len)
		     : far_write(f->link, lu->volume_id, off, x->data, len);
	forward_window_leave(&f->copies, FORWARD_COST + len);
	if (err == -ERR_DISCONNECTED && !in) /* it must not be written after the command's end */
		forward_settle(f, NULL);
	return err;
}

static int copy_piece(struct xcopy *x, struct scsi_lu *lu, bool in, uint64_t off, uint32_t len)
{
	struct forward *f = x->c->nexus->registry->forward;
	uint64_t by_ns = 0;
	for (;;) {
		struct volume *v = lu_volume(lu);
		int at = f ? forward_where(f, lu, &by_ns, &x->c->aborted) : CORE_HERE;
		if (at < 0)
			return at;
		int err = at != CORE_HERE ? copy_far(x, lu, in, off, len)
			  : in		  ? copy_in(x, v, off, len)
					  : copy_out(x, v, off, len);
		if (err != -ERR_NOT_OWNER || !f)
			return err;
		if (!by_ns)
			by_ns = env_now_ns(f->env) + FORWARD_HOLD_NS;
		env_sleep_ns(f->env, NS_PER_MS); /* the two do not see it alike yet */
	}
}

/* Onto a later place of its own medium it goes from the end, as overlapping data must. */
static bool copy_segment(struct xcopy *x, const struct segment *s)
{
	bool back = s->from == s->to && s->to_off > s->from_off;
	if (!lu_volume(s->from) || !lu_volume(s->to))
		return copy_aborted(x, s, NOT_REACHABLE);
	for (uint64_t done = 0; done < s->len;) {
		uint32_t n = (uint32_t)MIN(s->len - done, PIECE);
		uint64_t at = back ? s->len - done - n : done;
		if (!allowed(x->c->nexus, s))
			return copy_aborted(x, s, THIRD_PARTY_FAILURE);
		int err = copy_piece(x, s->from, true, s->from_off + at, n);
		if (!err)
			err = copy_piece(x, s->to, false, s->to_off + at, n);
		if (err)
			return copy_aborted(x, s, THIRD_PARTY_FAILURE);
		done += n;
		if (!copy_progress(x->c->nexus, x->result, 0, n) || atomic_load(&x->c->aborted))
			return copy_aborted(x, s, 0x00, 0x06); /* I/O process terminated */
		if (task_self())
			task_yield();
	}
	copy_progress(x->c->nexus, x->result, 1, 0);
	return true;
}

static void copy_all(struct xcopy *x)
{
	struct segment s;
	for (unsigned i = 0; i < x->nsegments; i++)
		if (!parse_segment(x, &s, i) || !copy_segment(x, &s))
			return;
	cmd_good(x->c);
}

/* ---- the commands ---- */

enum scsi_next op_xcopy(struct scsi_cmd *c)
{
	uint32_t len = be32_get(c->cdb + 10);
	bool lid4 = (c->cdb[1] & 0x1f) == 0x01;
	if (!len)
		return cmd_good(c);
	if (len < (lid4 ? 48u : 16u) ||
	    len > 48u + XCOPY_LIST_MAX + XCOPY_TARGET_LEN + XCOPY_SEGMENT_LEN)
		return cmd_bad_length(c);
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_xcopy_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

enum scsi_next op_xcopy_finish_wait(struct scsi_cmd *c)
{
	struct xcopy *x = malloc(sizeof(*x));
	if (!x)
		return cmd_status(c, SCSI_BUSY);
	memset(x, 0, offsetof(struct xcopy, read));
	x->c = c;
	x->b = c->inline_iov.iov_base;
	x->len = c->out_len;
	x->lid4 = (c->cdb[1] & 0x1f) == 0x01;
	if (parse(x) && (x->result = copy_begin(c, x->lid4, x->list_id, x->nameless))) {
		copy_all(x);
		copy_end(c, x->result);
	}
	free(x);
	return SCSI_DONE;
}
