#include "tests/unit/nfs4/deleg_world.h"
#include <check.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"

struct nas nas;
struct v4 a, b;
struct v4_fh demo, fh;
struct v4_stateid open_a, open_b;
_Atomic int kept, forgotten, refuse;
struct nfs4_deleg_stats stats;

static int on_keep(void *arg, const char *name, bool gone)
{
	if (refuse)
		return -EIO;
	*(gone ? &forgotten : &kept) += 1;
	return 0;
}

/* Over its connection the answer comes before a call that is made now; in version 4.0 there are
 * two. */
void settle(struct v4 *c)
{
	if (c->minor)
		status_of(c);
	else
		usleep(30000);
}

void back_client(struct v4 *c, const char *name)
{
	v4_open(c, nas.port);
	c->back = true;
	v4_client(c, name);
	ck_assert_uint_eq(c->flags, CREATE_SESSION4_CONN_BACK_CHAN);
	ck_assert(v4_serve_until(c, &c->nulls, 1));
	settle(c);
}

void up(void)
{
	nas_up(&nas);
	nas.keep = on_keep;
	nas.lend = true;
	nas.lease_ns = LEASE_S * NS_PER_S;
	nas.quiet_ns = QUIET_S * NS_PER_S;
	nas.call_ns = CALL_S * NS_PER_S;
	kept = forgotten = refuse = 0;
}

void clients(void)
{
	back_client(&a, "client a");
	back_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "f", "o", BOTH, 0, 1 + CREATE4_UNCHECKED, &open_b, &fh), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(v4_write(&b, &fh, &open_b, 0, "hello", 5, 2), 0);
	ck_assert_uint_eq(v4_return(&b, &fh, &b.deleg), 0);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &open_b), 0);
}

void setup(void)
{
	up();
	nas_serve4(&nas);
	clients();
}

void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas); /* nothing may be lent any more then: the table asserts it */
}

uint32_t open_as(struct v4 *c, uint32_t access, struct v4_stateid *ret)
{
	return v4_open_file(c, &demo, "f", "o", access, 0, OPEN4_NOCREATE, ret, &fh);
}

/* a has it now. */
void lend(uint32_t kind)
{
	uint32_t access = kind == OPEN_DELEGATE_WRITE ? BOTH : READ;
	ck_assert_uint_eq(open_as(&a, access, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, kind);
	ck_assert(!a.deleg_recall);
}

void expect_recall(struct v4 *c)
{
	ck_assert(v4_serve_until(c, &c->recalls, 1));
	ck_assert_mem_eq(c->recalled.b + 4, c->deleg.b + 4, 12);
	ck_assert_uint_eq(c->recalled_fh.len, fh.len);
	ck_assert_mem_eq(c->recalled_fh.b, fh.b, fh.len);
	settle(c);
}

void give_back(struct v4 *c)
{
	expect_recall(c);
	ck_assert_uint_eq(v4_return(c, &fh, &c->deleg), 0);
	c->recalls = 0;
}

uint32_t status_of(struct v4 *c)
{
	v4_seq(c);
	return v4_send(c);
}

void stats_step(struct nas *n)
{
	nfs4_deleg_stats(n->nfs4, &stats);
}

/* CLAIM_DELEGATE_CUR with a name, or CLAIM_DELEG_CUR_FH. */
uint32_t open_under(struct v4 *c, const char *name, uint32_t access, const struct v4_stateid *under,
		    struct v4_stateid *ret)
{
	v4_seq(c);
	v4_putfh(c, name ? &demo : &fh);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "under");
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, name ? CLAIM_DELEGATE_CUR : CLAIM_DELEG_CUR_FH);
	v4_stateid(c, under);
	if (name)
		xdr_put_string(&c->x, name);
	if (v4_send(c))
		return c->status;
	ck_assert_uint_eq(v4_res(c, OP_PUTFH), 0);
	ck_assert_uint_eq(v4_res(c, OP_OPEN), 0);
	v4_get_open(c, ret);
	return 0;
}

void skip(unsigned s)
{
	nas_skip(&nas, s * NS_PER_S);
}

void add(Suite *s, const char *name, void (*up_fn)(void), const TTest *const *tests,
	 const int *loops, unsigned n)
{
	TCase *t = tcase_create(name);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, up_fn, down);
	for (unsigned i = 0; i < n; i++)
		tcase_add_loop_test(t, tests[i], 0, loops[i]);
	suite_add_tcase(s, t);
}

int run(Suite *s)
{
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
