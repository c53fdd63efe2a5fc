/*
 * READ_PLUS (RFC 7862 15.10): what READ gives, but holes are told instead of sent.
 *
 *   result:  eof, number of segments, { 0 data: offset, opaque<> | 1 hole: offset, length }*
 *
 * The segments follow each other from the offset that was asked for to the end of the range, or of
 * the file; none lies beyond. Blocks that were set aside and not written are holes (as for SEEK).
 * A hole is told when it has HOLE_MIN bytes, or all of the range: so a reply is never longer than
 * READ's by more than the head of one segment, which is what clients make room for. (Linux moves
 * what it received behind each hole to its place.) Where there is much to tell the reply ends with
 * the last of SEGMENTS_MAX: it is short then, as a READ may be.
 *
 * The map is looked at before the data are read: a hole was one then. A file that is cut between
 * the two gives a segment that is shorter, the last.
 */
#include <errno.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define HOLE_MIN     FS_BLOCK_SIZE
#define SEGMENTS_MAX 64
#define SEGMENT_HEAD 20 /* bytes, of a hole; of data 16 */

struct segment {
	bool hole;
	uint64_t off, len;
};

struct layout {
	uint64_t size; /* of the file */
	uint64_t data; /* bytes of data that are told */
	unsigned n, ndata;
	struct segment s[SEGMENTS_MAX];
};

static void add(struct layout *l, bool hole, uint64_t off, uint64_t end)
{
	l->s[l->n++] = (struct segment){hole, off, end - off};
	l->ndata += !hole;
	l->data += hole ? 0 : end - off;
}

/* The first byte of data, or of a hole, in a range; `end` when there is none. */
static int find(struct nfs4_call *k, uint64_t off, uint64_t end, enum fs_seek_what what,
		uint64_t *ret)
{
	int rc = fs_seek_below(k->c.mount->fs, &k->c.cred, &k->c.fid, off, end, what, ret);
	if (rc == -ENXIO || (!rc && *ret > end))
		*ret = end;
	return rc == -ENXIO ? 0 : rc;
}

/* The range is not empty and lies in the file. */
static int look(struct nfs4_call *k, uint64_t off, uint64_t end, struct layout *l)
{
	uint64_t pos = off, data, next;
	while (pos < end && l->n + 2 <= SEGMENTS_MAX) {
		int rc = find(k, pos, end, FS_SEEK_DATA, &data);
		if (rc)
			return rc;
		if (data - pos >= HOLE_MIN || (pos == off && data == end)) {
			add(l, true, pos, data);
			pos = data;
		}
		if (pos == end)
			break;
		rc = find(k, data, end, FS_SEEK_HOLE, &next);
		if (rc)
			return rc;
		next = end - next < HOLE_MIN ? end : next;
		add(l, false, pos, next);
		pos = next;
	}
	return 0;
}

static void put_head(struct nfs4_call *k, const struct segment *s)
{
	xdr_put_u32(k->out, s->hole ? NFS4_CONTENT_HOLE : NFS4_CONTENT_DATA);
	xdr_put_u64(k->out, s->off);
	if (s->hole)
		xdr_put_u64(k->out, s->len);
}

static int read_segment(struct nfs4_call *k, const struct segment *s)
{
	struct fs_attr post;
	int rc = fs_read(k->c.mount->fs, &k->c.cred, &k->c.fid, s->off, (uint32_t)s->len,
			 &k->c.read, &post);
	if (rc >= 0)
		k->c.read_bytes += k->c.read.len;
	return rc;
}

/* As the reply's end: its one segment of data is the last. */
static enum nfs4_status put_in_place(struct nfs4_call *k, const struct layout *l)
{
	const struct segment *last = &l->s[l->n - 1];
	int rc = read_segment(k, last);
	if (rc < 0)
		return nfs4_io_status(k, rc);
	xdr_put_bool(k->out, k->c.read.eof);
	xdr_put_u32(k->out, l->n);
	for (unsigned i = 0; i < l->n; i++)
		put_head(k, &l->s[i]);
	xdr_put_u32(k->out, k->c.read.len);
	nfs4_read_body(k);
	return NFS4_OK;
}

static enum nfs4_status put_copied(struct nfs4_call *k, const struct layout *l)
{
	bool eof = true, more = true;
	unsigned n = 0;
	/* Each may need three bytes to be whole words. */
	if (!nfs4_room(k, 8 + l->n * (SEGMENT_HEAD + 4) + l->data))
		return NFS4ERR_REP_TOO_BIG;
	size_t at = xdr_out_len(k->out);
	xdr_put_bool(k->out, eof);
	xdr_put_u32(k->out, 0);
	while (n < l->n && more) {
		const struct segment *s = &l->s[n++];
		put_head(k, s);
		if (s->hole) {
			eof = s->off + s->len >= l->size;
			continue;
		}
		int rc = read_segment(k, s);
		if (rc < 0)
			return nfs4_io_status(k, rc);
		nfs4_put_read(k, &k->c.read);
		eof = k->c.read.eof;
		more = k->c.read.len == s->len && !eof;
		fs_read_done(k->c.mount->fs, &k->c.read);
	}
	be32_put(k->out->base + at, eof);
	be32_put(k->out->base + at + 4, n);
	return NFS4_OK;
}

/* Nothing, of a range that is empty or lies behind the end: who may not read is told so. */
static enum nfs4_status put_nothing(struct nfs4_call *k, uint64_t off)
{
	int rc = read_segment(k, &(struct segment){.off = off});
	if (rc < 0)
		return nfs4_io_status(k, rc);
	xdr_put_bool(k->out, k->c.read.eof);
	xdr_put_u32(k->out, 0);
	fs_read_done(k->c.mount->fs, &k->c.read);
	return NFS4_OK;
}

enum nfs4_status nfs4_op_read_plus(struct nfs4_call *k)
{
	struct layout l;
	struct fs_attr a;
	uint64_t off;
	uint32_t count;
	enum nfs4_status st = nfs4_read_begin(k, &off, &count);
	if (st)
		return st;
	int rc = fs_getattr(k->c.mount->fs, &k->c.fid, &a);
	if (!rc && a.type != FS_REG)
		rc = -EINVAL;
	if (rc < 0)
		return nfs4_io_status(k, rc);
	if (!count || off >= a.size)
		return put_nothing(k, off);
	l.size = a.size;
	l.data = l.n = l.ndata = 0;
	rc = look(k, off, off + MIN(count, a.size - off), &l);
	if (rc < 0)
		return nfs4_io_status(k, rc);
	bool in_place = l.ndata == 1 && !l.s[l.n - 1].hole && nfs4_read_may_body(k);
	return in_place ? put_in_place(k, &l) : put_copied(k, &l);
}
