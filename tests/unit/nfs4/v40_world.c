#include "tests/unit/nfs4/v40_world.h"
#include <string.h>

struct nas nas;
struct v4 a, b;
struct v4_fh demo, fh;

_Atomic unsigned nkept, nforgotten;
_Atomic bool hold;

static int on_keep(void *arg, const char *name, bool gone)
{
	if (hold)
		env_sleep_ns(env_real(), 300 * NS_PER_MS);
	if (gone)
		nforgotten++;
	else
		nkept++;
	return 0;
}

void clients(void)
{
	nas.keep = on_keep;
	nkept = nforgotten = 0;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client0(&a, "client a");
	v4_client0(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

void up(void)
{
	nas_up(&nas);
	clients();
}

void up_short(void)
{
	nas_up(&nas);
	nas.lease_ns = NS_PER_S;
	clients();
}

static void make_kept(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0644};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(
	    fs_create(n->fs, &root, &top, "kept", 4, FS_CREATE_UNCHECKED, &set, 0, &at, NULL), 0);
}

void up_again(void)
{
	nas_up(&nas);
	nas.lease_ns = nas.grace_ns = 2 * NS_PER_S;
	/* SHA-256 of a zero and "client a" */
	nas.kept_name = "f89a9dadada1ee2a5cec6b935075c6d3"
			"4a047d7ba1b07acad53a34aab321cb93";
	nas_run(&nas, make_kept);
	clients();
}

void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

/* ---- operations with numbers ---- */

void put_open(struct v4 *c, const char *owner, uint32_t seq, const char *name, uint32_t access,
	      uint32_t deny, uint32_t how)
{
	v4_begin(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, seq);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, deny);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, how != 0);
	if (how) {
		xdr_put_u32(&c->x, how - 1);
		if (how - 1 >= CREATE4_EXCLUSIVE)
			xdr_put_u64(&c->x, 77);
		else
			xdr_put_u64(&c->x, 0); /* no attributes */
	}
	xdr_put_u32(&c->x, CLAIM_NULL);
	xdr_put_string(&c->x, name);
	v4_op(c, OP_GETFH);
}

void take_open(struct v4 *c, struct v4_stateid *s, uint32_t *flags)
{
	const uint8_t *p;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_OPEN);
	v4_get_stateid(c, s);
	v4_u32(c);
	v4_u64(c);
	v4_u64(c);
	*flags = v4_u32(c);
	for (uint32_t n = v4_u32(c); n; n--)
		v4_u32(c);
	ck_assert_uint_eq(v4_u32(c), OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(v4_res(c, OP_GETFH), 0);
	fh.len = v4_opaque(c, &p);
	memcpy(fh.b, p, fh.len);
}

uint32_t open_at(struct v4 *c, const char *owner, uint32_t seq, const char *name, uint32_t access,
		 uint32_t deny, uint32_t how, struct v4_stateid *s, uint32_t *flags)
{
	put_open(c, owner, seq, name, access, deny, how);
	if (v4_send(c))
		return c->status;
	take_open(c, s, flags);
	return 0;
}

uint32_t with_number(struct v4 *c, uint32_t op, uint32_t seq, struct v4_stateid *s)
{
	v4_begin(c);
	v4_putfh(c, &fh);
	v4_op(c, op);
	if (op == OP_CLOSE)
		xdr_put_u32(&c->x, seq);
	v4_stateid(c, s);
	if (op != OP_CLOSE)
		xdr_put_u32(&c->x, seq);
	if (op == OP_OPEN_DOWNGRADE) {
		xdr_put_u32(&c->x, 1);
		xdr_put_u32(&c->x, 0);
	}
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_PUTFH);
	v4_res(c, op);
	v4_get_stateid(c, s);
	return 0;
}

void open_f(struct v4 *c, const char *owner, uint32_t access, struct v4_stateid *s)
{
	uint32_t flags;
	ck_assert_uint_eq(open_at(c, owner, 1, "f", access, 0, 1, s, &flags), 0);
	ck_assert_uint_eq(flags, OPEN4_RESULT_CONFIRM | OPEN4_RESULT_LOCKTYPE_POSIX);
	ck_assert_uint_eq(with_number(c, OP_OPEN_CONFIRM, 2, s), 0);
}

uint32_t lock(struct v4 *c, const struct v4_stateid *s, const struct lock *l,
	      struct v4_stateid *ret)
{
	v4_begin(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_LOCK);
	xdr_put_u32(&c->x, l->type);
	xdr_put_bool(&c->x, false);
	xdr_put_u64(&c->x, l->off);
	xdr_put_u64(&c->x, l->len);
	xdr_put_bool(&c->x, l->owner);
	if (l->owner)
		xdr_put_u32(&c->x, l->open_seq);
	v4_stateid(c, s);
	xdr_put_u32(&c->x, l->lock_seq);
	if (l->owner) {
		xdr_put_u64(&c->x, c->client);
		xdr_put_string(&c->x, l->owner);
	}
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_LOCK);
	v4_get_stateid(c, ret);
	return 0;
}

uint32_t unlock(struct v4 *c, uint32_t seq, struct v4_stateid *s, uint64_t off, uint64_t len)
{
	v4_begin(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_LOCKU);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_u32(&c->x, seq);
	v4_stateid(c, s);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_LOCKU);
	v4_get_stateid(c, s);
	return 0;
}

uint32_t lockt(struct v4 *c, const char *owner, uint64_t off, uint64_t len)
{
	v4_begin(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_LOCKT);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	return v4_send(c);
}

uint32_t release(struct v4 *c, const char *owner)
{
	v4_begin(c);
	v4_op(c, OP_RELEASE_LOCKOWNER);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	return v4_send(c);
}

uint32_t renew(struct v4 *c, uint64_t id)
{
	v4_begin(c);
	v4_op(c, OP_RENEW);
	xdr_put_u64(&c->x, id);
	return v4_send(c);
}

uint32_t named(struct v4 *c, uint32_t op, const char *name)
{
	v4_begin(c);
	v4_putfh(c, &demo);
	v4_name(c, op, name);
	return v4_send(c);
}

void comes_again(struct v4 *c)
{
	uint8_t first[2048];
	size_t len = c->reply_len;
	uint32_t st = c->status;
	ck_assert_uint_le(len, sizeof(first));
	memcpy(first, c->reply, len);
	ck_assert_uint_eq(v4_again(c), st);
	ck_assert_uint_eq(c->reply_len, len);
	ck_assert_mem_eq(c->reply, first, len);
}

void asked_again(struct v4 *c)
{
	uint8_t first[2048];
	size_t len = c->reply_len;
	uint32_t st = c->status;
	ck_assert_uint_le(len, sizeof(first));
	memcpy(first, c->reply, len);
	be32_put(c->x.base, c->xid++);
	ck_assert_uint_eq(v4_again(c), st);
	ck_assert_uint_eq(c->reply_len, len);
	ck_assert_mem_eq(c->reply + 4, first + 4, len - 4);
}
