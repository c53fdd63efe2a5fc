#include "tests/unit/nfs4/pair_world.h"

struct nas nas;
struct v4 a, b;

void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
}

void up_clients(void)
{
	up();
	v4_client(&a, "client a");
	v4_client(&b, "client b");
}

void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

struct v4_fh at(struct v4 *c, const char *path)
{
	struct v4_fh fh;
	ck_assert_uint_eq(v4_lookup(c, path, &fh), 0);
	return fh;
}

uint32_t make_dir(struct v4 *c, const struct v4_fh *dir, const char *name)
{
	v4_seq(c);
	v4_putfh(c, dir);
	v4_op(c, OP_CREATE);
	xdr_put_u32(&c->x, 2);
	xdr_put_string(&c->x, name);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, 0);
	return v4_send(c);
}

uint32_t bare(struct v4 *c, uint32_t op)
{
	v4_seq(c);
	v4_op(c, op);
	return v4_send(c);
}
