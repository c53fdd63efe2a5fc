/* Arguments of operations on files, and whole compounds. */
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/v4_client.h"

/* ---- arguments ---- */

void v4_root(struct v4 *c)
{
	v4_op(c, OP_PUTROOTFH);
}

void v4_putfh(struct v4 *c, const struct v4_fh *fh)
{
	v4_op(c, OP_PUTFH);
	xdr_put_opaque(&c->x, fh->b, fh->len);
}

void v4_name(struct v4 *c, uint32_t op, const char *name)
{
	v4_op(c, op);
	xdr_put_string(&c->x, name);
}

void v4_path(struct v4 *c, const char *path)
{
	v4_root(c);
	while (*(path += strspn(path, "/"))) {
		uint32_t n = (uint32_t)strcspn(path, "/");
		v4_op(c, OP_LOOKUP);
		xdr_put_opaque(&c->x, path, n);
		path += n;
	}
}

void v4_path_res(struct v4 *c, const char *path)
{
	ASSERT(v4_res(c, OP_PUTROOTFH) == 0);
	while (*(path += strspn(path, "/"))) {
		ASSERT(v4_res(c, OP_LOOKUP) == 0);
		path += strcspn(path, "/");
	}
}

void v4_stateid(struct v4 *c, const struct v4_stateid *s)
{
	xdr_put_fixed(&c->x, s->b, 16);
}

void v4_get_stateid(struct v4 *c, struct v4_stateid *s)
{
	v4_take(c, s->b, 16);
}

/* ---- whole compounds ---- */

static void get_fh(struct v4 *c, struct v4_fh *ret)
{
	const uint8_t *p;
	ASSERT(v4_res(c, OP_GETFH) == 0);
	ret->len = v4_opaque(c, &p);
	memcpy(ret->b, p, ret->len);
}

uint32_t v4_lookup(struct v4 *c, const char *path, struct v4_fh *ret)
{
	v4_seq(c);
	v4_path(c, path);
	v4_op(c, OP_GETFH);
	if (v4_send(c))
		return c->status;
	v4_path_res(c, path);
	get_fh(c, ret);
	return 0;
}

void v4_get_open(struct v4 *c, struct v4_stateid *ret)
{
	v4_get_stateid(c, ret);
	ASSERT(v4_u32(c) == 1); /* atomic */
	v4_u64(c);
	v4_u64(c);
	c->open_flags = v4_u32(c);
	for (uint32_t n = v4_u32(c); n; n--)
		v4_u32(c);
	c->deleg_type = v4_u32(c);
	c->deleg_recall = false;
	switch (c->deleg_type) {
	case OPEN_DELEGATE_NONE:
		return;
	case OPEN_DELEGATE_NONE_EXT:
		c->deleg_why = v4_u32(c);
		if (c->deleg_why == WND4_CONTENTION || c->deleg_why == WND4_RESOURCE)
			ASSERT(v4_u32(c) == 0);
		return;
	}
	v4_get_stateid(c, &c->deleg);
	c->deleg_recall = v4_u32(c);
	if (c->deleg_type == OPEN_DELEGATE_WRITE)
		ASSERT(v4_u32(c) == 1 && v4_u64(c) == 0); /* flushed at CLOSE */
	for (unsigned i = 0; i < 4; i++)
		ASSERT(v4_u32(c) == 0);
}

uint32_t v4_open_file(struct v4 *c, const struct v4_fh *dir, const char *name, const char *owner,
		      uint32_t access, uint32_t deny, uint32_t how, struct v4_stateid *ret,
		      struct v4_fh *ret_fh)
{
	v4_seq(c);
	v4_putfh(c, dir);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, deny);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, how != OPEN4_NOCREATE);
	if (how) {
		xdr_put_u32(&c->x, how - 1);
		if (how - 1 >= CREATE4_EXCLUSIVE)
			xdr_put_u64(&c->x, 77);
		if (how - 1 != CREATE4_EXCLUSIVE) {
			xdr_put_u32(&c->x, 2); /* mode 0644 */
			xdr_put_u32(&c->x, 0);
			xdr_put_u32(&c->x, 2);
			xdr_put_u32(&c->x, 4);
			xdr_put_u32(&c->x, 0644);
		}
	}
	xdr_put_u32(&c->x, name ? CLAIM_NULL : CLAIM_FH);
	if (name)
		xdr_put_string(&c->x, name);
	v4_op(c, OP_GETFH);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN) == 0);
	v4_get_open(c, ret);
	get_fh(c, ret_fh);
	return 0;
}

uint32_t v4_reclaim_open(struct v4 *c, const struct v4_fh *fh, const char *owner, uint32_t access,
			 struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_PREVIOUS);
	xdr_put_u32(&c->x, c->deleg_type);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN) == 0);
	v4_get_open(c, ret);
	return 0;
}

uint32_t v4_reclaim_done(struct v4 *c)
{
	v4_seq(c);
	v4_op(c, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&c->x, false);
	return v4_send(c);
}

uint32_t v4_return(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_DELEGRETURN);
	v4_stateid(c, s);
	return v4_send(c);
}

uint32_t v4_close_file(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_CLOSE);
	xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	return v4_send(c);
}

uint32_t v4_read(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		 uint32_t count, void *to, uint32_t *ret_len, bool *ret_eof)
{
	const uint8_t *p;
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_READ);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u32(&c->x, count);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_READ) == 0);
	*ret_eof = v4_u32(c);
	*ret_len = v4_opaque(c, &p);
	ASSERT(*ret_len <= count);
	memcpy(to, p, *ret_len);
	ASSERT(xdr_left(&c->r) == 0);
	return 0;
}

uint32_t v4_write(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		  const void *from, uint32_t len, uint32_t stable)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_WRITE);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u32(&c->x, stable);
	xdr_put_opaque(&c->x, from, len);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_WRITE) == 0);
	ASSERT(v4_u32(c) == len && v4_u32(c) >= stable);
	return 0;
}

uint32_t v4_lock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s,
		 const char *owner, uint32_t type, uint64_t off, uint64_t len, bool reclaim,
		 struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_LOCK);
	xdr_put_u32(&c->x, type);
	xdr_put_bool(&c->x, reclaim);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	xdr_put_bool(&c->x, owner);
	if (owner)
		xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	xdr_put_u32(&c->x, 0);
	if (owner) {
		xdr_put_u64(&c->x, c->client);
		xdr_put_string(&c->x, owner);
	}
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_LOCK) == 0);
	v4_get_stateid(c, ret);
	return 0;
}

uint32_t v4_unlock(struct v4 *c, const struct v4_fh *fh, const struct v4_stateid *s, uint64_t off,
		   uint64_t len, struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_LOCKU);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_u32(&c->x, 0);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	if (v4_send(c))
		return c->status;
	ASSERT(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_LOCKU) == 0);
	v4_get_stateid(c, ret);
	return 0;
}
