/* A server dies and another takes its place: clients go on as if nothing had happened. Over the
 * wire; what the server has recorded is all that its successor knows. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/nfs_call.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs4/deleg_world.h"

static struct mem_store store;

static void up_lend(void)
{
	mem_store_init(&store);
	up();
	nas.store = &store;
	nas_serve4(&nas);
	clients();
}

static void plain_clients(void)
{
	struct v4_stateid s;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&a, "client a");
	v4_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(
	    v4_open_file(&b, &demo, "f", "o", BOTH, 0, 1 + CREATE4_UNCHECKED, &s, &fh), 0);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &s), 0);
}

static void up41(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	nas.store = &store;
	plain_clients();
}

static void up40(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	nas.store = &store;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client0(&a, "client a");
	v4_client0(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

static void end(void)
{
	down();
	mem_store_free(&store);
}

static void replace(void)
{
	nas_replace(&nas);
	v4_reconnect(&a, nas.port);
	v4_reconnect(&b, nas.port);
}

static uint32_t open_f(struct v4 *c, const char *owner, uint32_t access, uint32_t deny,
		       struct v4_stateid *s)
{
	return v4_open_file(c, &demo, "f", owner, access, deny, 1, s, &fh);
}

static void expect_granting(struct nas *n)
{
	struct nlm_status s;
	nlm_status(n->nlm, &s);
	ck_assert(s.ready && s.grace_left_ns == 0);
}

/* ---- version 4.1 ---- */

START_TEST(opens_and_locks_go_on)
{
	struct v4_stateid sa, sb, la, lb, new;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &sa), 0);
	ck_assert_uint_eq(open_f(&b, "ob", BOTH, 0, &sb), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &sa, "la", WRITE_LT, 10, 10, false, &la), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &sb, "lb", READ_LT, 100, 1, false, &lb), 0);
	for (int i = 0; i < 3; i++) {
		replace();
		nas_run(&nas, expect_granting);
		/* No client has to reclaim, and none is refused what is new. */
		ck_assert_uint_eq(v4_write(&a, &fh, &sa, 10, "xxxx", 4, 2), 0);
		ck_assert_uint_eq(v4_lock(&b, &fh, &lb, NULL, WRITE_LT, 12, 1, false, &new),
				  NFS4ERR_DENIED);
		ck_assert_uint_eq(v4_lock(&a, &fh, &la, NULL, READ_LT, 50, 1, false, &la), 0);
	}
	ck_assert_uint_eq(v4_unlock(&a, &fh, &la, 0, 20, &la), 0);
	replace();
	ck_assert_uint_eq(v4_lock(&b, &fh, &lb, NULL, WRITE_LT, 12, 1, false, &lb), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &sa), 0);
	replace();
	ck_assert_uint_eq(v4_write(&a, &fh, &sa, 0, "y", 1, 2), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_lock(&b, &fh, &lb, NULL, WRITE_LT, 0, UINT64_MAX, false, &lb), 0);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &sb), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_LOCK), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_OPEN), 0);
}
END_TEST

START_TEST(reservations_go_on)
{
	struct v4_stateid sa, sb;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, WRITE, &sa), 0);
	replace();
	ck_assert_uint_eq(open_f(&b, "ob", WRITE, 0, &sb), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_f(&b, "ob", READ, 0, &sb), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &sa), 0);
	replace();
	ck_assert_uint_eq(open_f(&b, "ob", WRITE, 0, &sb), 0);
}
END_TEST

/* The reply was lost with the server: the same request gets the same answer. */
START_TEST(what_was_done_is_not_done_again)
{
	struct v4_stateid s, first, again;
	a.cache = true;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 1, false, &first), 0);
	replace();
	ck_assert_uint_eq(v4_again(&a), 0);
	v4_res(&a, OP_SEQUENCE);
	uint8_t skip_bytes[36];
	v4_take(&a, skip_bytes, sizeof(skip_bytes));
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_LOCK);
	v4_get_stateid(&a, &again);
	ck_assert_mem_eq(&first, &again, sizeof(first));
	ck_assert_uint_eq(v4_unlock(&a, &fh, &first, 0, 1, &first), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	replace();
	ck_assert_uint_eq(v4_again(&a), 0); /* not BAD_STATEID */
	replace();
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
}
END_TEST

static uint32_t named(struct v4 *c, uint32_t op, const char *name)
{
	v4_seq(c);
	v4_putfh(c, &demo);
	v4_name(c, op, name);
	return v4_send(c);
}

static uint32_t make_dir(struct v4 *c, const char *name)
{
	v4_seq(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_CREATE);
	xdr_put_u32(&c->x, 2); /* NF4DIR */
	xdr_put_string(&c->x, name);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, 0);
	return v4_send(c);
}

static uint32_t move(struct v4 *c, const char *from, const char *to)
{
	v4_seq(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_SAVEFH);
	v4_op(c, OP_RENAME);
	xdr_put_string(&c->x, from);
	xdr_put_string(&c->x, to);
	return v4_send(c);
}

/* What the file system was asked is not in the slot's record: it knows itself what was done. */
START_TEST(changes_of_files_are_made_once)
{
	struct v4_stateid s;
	struct v4_fh made, f;
	a.cache = true;
	ck_assert_uint_eq(make_dir(&a, "d"), 0);
	unsigned syncs = store.syncs;
	replace();
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(make_dir(&a, "d"), NFS4ERR_EXIST);
	ck_assert_uint_eq(store.syncs, syncs);
	ck_assert_uint_eq(move(&a, "d", "e"), 0);
	replace();
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(move(&a, "d", "e"), NFS4ERR_NOENT);
	ck_assert_uint_eq(named(&a, OP_REMOVE, "e"), 0);
	replace();
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(named(&a, OP_REMOVE, "e"), NFS4ERR_NOENT);
	ck_assert_uint_eq(named(&a, OP_REMOVE, "f"), 0);
	/* Somebody else makes another of that name before it comes again. */
	replace();
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "ob", BOTH, 0, 1 + CREATE4_GUARDED, &s, &f),
			  0);
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(v4_write(&b, &f, &s, 0, "y", 1, 2), 0);
	ck_assert_uint_eq(v4_close_file(&b, &f, &s), 0);
	/* Made, and the state lost with the server: it is this client's file all the same. */
	store.sloppy = true;
	ck_assert_uint_eq(
	    v4_open_file(&a, &demo, "g", "oa", BOTH, 0, 1 + CREATE4_GUARDED, &s, &made), 0);
	replace();
	store.sloppy = false;
	ck_assert_uint_eq(v4_again(&a), 0);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "g", "ob", BOTH, 0, 1 + CREATE4_GUARDED, &s, &f),
			  NFS4ERR_EXIST);
}
END_TEST

START_TEST(a_file_without_a_name_stays_while_it_is_open)
{
	static const struct v4_stateid anonymous;
	struct v4_stateid s;
	uint8_t buf[8];
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "kept", 4, 2), 0);
	ck_assert_uint_eq(named(&b, OP_REMOVE, "f"), 0);
	replace();
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 8, buf, &n, &eof), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert_mem_eq(buf, "kept", 4);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &anonymous, 0, 8, buf, &n, &eof), NFS4ERR_STALE);
}
END_TEST

/* What changes nothing is not recorded: the number that comes then is the next. */
START_TEST(slots_go_on_behind_what_was_not_recorded)
{
	struct v4_stateid s;
	struct v4_fh f;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	unsigned syncs = store.syncs;
	uint32_t recorded = a.seq;
	for (int i = 0; i < 5; i++)
		ck_assert_uint_eq(v4_lookup(&a, "/demo", &f), 0);
	ck_assert_uint_eq(store.syncs, syncs);
	replace();
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &f), 0);
	a.seq += 2; /* from now on they are counted */
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &f), NFS4ERR_SEQ_MISORDERED);
	a.seq -= 2;
	replace();
	a.seq = recorded - 2; /* before what was recorded */
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &f), NFS4ERR_SEQ_MISORDERED);
}
END_TEST

START_TEST(stateids_of_before_are_nobodys_now)
{
	struct v4_stateid s, t;
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
		ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
		replace();
		ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &t), 0);
		ck_assert_int_ne(memcmp(&s, &t, sizeof(s)), 0);
		ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "y", 1, 2), NFS4ERR_BAD_STATEID);
		ck_assert_uint_eq(v4_close_file(&a, &fh, &t), 0);
	}
}
END_TEST

START_TEST(who_said_good_bye_is_gone)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, WRITE, &s), 0);
	v4_exchange(&a, "client a", 99, 0); /* it was restarted */
	ck_assert_uint_eq(v4_session(&a), 0);
	replace();
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	ck_assert_uint_eq(open_f(&b, "ob", WRITE, 0, &s), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_CLIENT), 2);
	ck_assert_uint_eq(mem_store_count(&store, STORE_SESSION), 2);
}
END_TEST

static uint32_t bind_back(struct v4 *c)
{
	v4_begin(c);
	v4_op(c, OP_BIND_CONN_TO_SESSION);
	memcpy(xdr_take(&c->x, NFS4_SESSIONID), c->session, NFS4_SESSIONID);
	xdr_put_u32(&c->x, CDFC4_BACK_OR_BOTH);
	xdr_put_bool(&c->x, false);
	c->back = true;
	return v4_send(c);
}

START_TEST(what_was_lent_is_lent)
{
	struct v4_stateid s;
	lend(_i ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ);
	struct v4_stateid lent = a.deleg;
	replace();
	/* Its way back is down: it hears so, and binds. */
	status_of(&a);
	ck_assert(a.seq_flags & SEQ4_STATUS_CB_PATH_DOWN);
	unsigned nulls = a.nulls;
	ck_assert_uint_eq(bind_back(&a), 0);
	ck_assert(v4_serve_until(&a, &a.nulls, nulls + 1));
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	expect_recall(&a);
	ck_assert_mem_eq(a.recalled.b, lent.b, sizeof(lent.b));
	ck_assert_uint_eq(v4_return(&a, &fh, &lent), 0);
	replace();
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
}
END_TEST

/* One that comes late: what is there is recorded then. */
static void late_store(struct nas *n)
{
	unsigned restored;
	n->store = &store;
	ck_assert_int_eq(nlm_keep_in(n->nlm, &store.store), 0);
	ck_assert_int_eq(nfs4_keep_in(n->nfs4, &store.store, &restored), 0);
	store_sync(&store.store);
}

START_TEST(a_store_that_comes_late_has_all)
{
	struct v4_stateid s, l;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, WRITE, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 1, false, &l), 0);
	nas_run(&nas, late_store);
	replace();
	ck_assert_uint_eq(open_f(&b, "ob", WRITE, 0, &s), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_f(&b, "ob", READ, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &s, "lb", READ_LT, 0, 1, false, &s), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 1, &l), 0);
}
END_TEST

static void up_late(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	plain_clients();
}

/* ---- version 3 ---- */

static uint32_t remove3(struct raw *r, const uint8_t dir[FH_SIZE], const char *name)
{
	raw_begin(r, 100003, 3, 12);
	xdr_put_opaque(&r->out, dir, FH_SIZE);
	xdr_put_string(&r->out, name);
	ck_assert_uint_eq(raw_end(r), 0);
	return raw_u32(r);
}

START_TEST(changes_by_version_3_are_made_once)
{
	static struct raw r;
	uint8_t root[FH_SIZE], made[FH_SIZE], again[FH_SIZE];
	raw_open_from(&r, nas.port, "127.0.0.1", true);
	ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "three", true, 0755, made), 0);
	replace();
	raw_again(&r);
	ck_assert_uint_eq(raw_make(&r, root, "three", true, 0755, again), 0);
	ck_assert_mem_eq(made, again, FH_SIZE);
	ck_assert_uint_eq(raw_make(&r, root, "three", true, 0755, again), NFS3ERR_EXIST);
	ck_assert_uint_eq(raw_make(&r, root, "file", false, 0644, made), 0);
	ck_assert_uint_eq(remove3(&r, root, "file"), 0);
	replace();
	raw_again(&r);
	ck_assert_uint_eq(remove3(&r, root, "file"), 0);
	ck_assert_uint_eq(remove3(&r, root, "file"), NFS3ERR_NOENT);
	raw_close(&r);
}
END_TEST

static uint32_t wait_lock(struct raw *r, const uint8_t *file, bool block)
{
	const uint8_t *p;
	uint32_t len;
	raw_begin(r, 100021, 4, 2);
	xdr_put_opaque(&r->out, (const uint8_t *)"cook", 4);
	xdr_put_bool(&r->out, block);
	xdr_put_bool(&r->out, true);
	xdr_put_string(&r->out, "host");
	xdr_put_opaque(&r->out, file, FH_SIZE);
	xdr_put_opaque(&r->out, (const uint8_t *)"oh", 2);
	xdr_put_u32(&r->out, 7);
	xdr_put_u64(&r->out, 0);
	xdr_put_u64(&r->out, 10);
	xdr_put_bool(&r->out, false);
	xdr_put_u32(&r->out, 3);
	ck_assert_uint_eq(raw_end(r), 0);
	ck_assert(xdr_opaque(&r->in, 1024, &p, &len));
	return raw_u32(r);
}

/* Who waits for a lock of another protocol's client is not given it by the takeover. */
START_TEST(who_waited_waits)
{
	static struct raw r;
	uint8_t root[FH_SIZE], made[FH_SIZE];
	struct v4_stateid s, l, sb, lb;
	enum { NLM_DENIED = 1, NLM_BLOCKED = 3 };
	raw_open_from(&r, nas.port, "127.0.0.1", true);
	ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "g", false, 0666, made), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "oa", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 10, false, &l), 0);
	ck_assert_uint_eq(wait_lock(&r, made, true), NLM_BLOCKED);
	replace();
	raw_again(&r);
	r.xid++;
	ck_assert_uint_eq(wait_lock(&r, made, false), NLM_DENIED);
	ck_assert_uint_eq(v4_lock(&a, &fh, &l, NULL, WRITE_LT, 2, 2, false, &l), 0);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "g", "ob", BOTH, 0, 1, &sb, &fh), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &sb, "lb", WRITE_LT, 5, 1, false, &lb), NFS4ERR_DENIED);
	raw_close(&r);
}
END_TEST

/* The lock manager says so: neither a host, nor what it would wait for, could be kept. */
START_TEST(a_full_store_takes_no_locks_of_version_3)
{
	static struct raw r;
	uint8_t root[FH_SIZE], made[FH_SIZE];
	struct v4_stateid s, l;
	enum { NLM_GRANTED = 0, NLM_DENIED_NOLOCKS = 2, NLM_BLOCKED = 3 };
	raw_open_from(&r, nas.port, "127.0.0.1", true);
	ck_assert_uint_eq(raw_mount(&r, "/demo", root), 0);
	ck_assert_uint_eq(raw_make(&r, root, "g", false, 0666, made), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "oa", BOTH, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 10, false, &l), 0);
	store.full = true;
	ck_assert_uint_eq(wait_lock(&r, made, true), NLM_DENIED_NOLOCKS);
	ck_assert_uint_eq(mem_store_count(&store, STORE_HOST), 0);
	store.full = false;
	ck_assert_uint_eq(wait_lock(&r, made, true), NLM_BLOCKED);
	store.full = true;
	ck_assert_uint_eq(mem_store_count(&store, STORE_WAIT), 1);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 10, &l), 0);
	ck_assert_uint_eq(wait_lock(&r, made, false), NLM_DENIED_NOLOCKS);
	store.full = false;
	ck_assert_uint_eq(wait_lock(&r, made, false), NLM_GRANTED);
	raw_close(&r);
}
END_TEST

/* ---- version 4.0 ---- */

/* Of a name that is not there. */
static uint32_t open_absent(struct v4 *c, const char *owner, uint32_t seqid)
{
	v4_begin(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, seqid);
	xdr_put_u32(&c->x, READ);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_NULL);
	xdr_put_string(&c->x, "absent");
	return v4_send(c);
}

static uint32_t open40(struct v4 *c, uint32_t seqid, uint32_t access, struct v4_stateid *ret)
{
	v4_begin(c);
	v4_putfh(c, &demo);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, seqid);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "owner");
	xdr_put_u32(&c->x, OPEN4_CREATE);
	xdr_put_u32(&c->x, CREATE4_UNCHECKED);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, CLAIM_NULL);
	xdr_put_string(&c->x, "g");
	v4_op(c, OP_GETFH);
	uint32_t st = v4_send(c);
	if (st)
		return st;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_OPEN);
	v4_get_open(c, ret);
	v4_res(c, OP_GETFH);
	const uint8_t *p;
	fh.len = v4_opaque(c, &p);
	memcpy(fh.b, p, fh.len);
	return 0;
}

static uint32_t numbered(struct v4 *c, uint32_t op, uint32_t seqid, struct v4_stateid *s)
{
	v4_begin(c);
	v4_putfh(c, &fh);
	v4_op(c, op);
	if (op == OP_CLOSE)
		xdr_put_u32(&c->x, seqid);
	v4_stateid(c, s);
	if (op == OP_OPEN_CONFIRM)
		xdr_put_u32(&c->x, seqid);
	uint32_t st = v4_send(c);
	if (st)
		return st;
	v4_res(c, OP_PUTFH);
	v4_res(c, op);
	v4_get_stateid(c, s);
	return 0;
}

START_TEST(owners_count_on)
{
	struct v4_stateid s, t, u;
	ck_assert_uint_eq(open40(&a, 1, BOTH, &s), 0);
	replace();
	t = s;
	ck_assert_uint_eq(numbered(&a, OP_OPEN_CONFIRM, 2, &t), 0);
	replace();
	ck_assert_uint_eq(numbered(&a, OP_OPEN_CONFIRM, 2, &s), 0); /* again */
	ck_assert_mem_eq(&s, &t, sizeof(s));
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	ck_assert_uint_eq(open40(&b, 1, WRITE, &u), 0);
	t = s;
	ck_assert_uint_eq(numbered(&a, OP_CLOSE, 3, &t), 0);
	replace();
	u = s;
	ck_assert_uint_eq(numbered(&a, OP_CLOSE, 3, &u), 0); /* again */
	ck_assert_mem_eq(&u, &t, sizeof(u));
	ck_assert_uint_eq(numbered(&a, OP_CLOSE, 5, &s), NFS4ERR_BAD_SEQID);
	ck_assert_uint_eq(open40(&a, 4, BOTH, &s), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	replace();
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
}
END_TEST

/* Nobody has to be allowed anything to name an owner: that alone takes no room. */
START_TEST(owners_that_opened_nothing_are_not_recorded)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open_absent(&a, "owner", 1), NFS4ERR_NOENT);
	ck_assert_uint_eq(open_absent(&a, "another", 1), NFS4ERR_NOENT);
	ck_assert_uint_eq(mem_store_count(&store, STORE_OWNER), 0);
	ck_assert_uint_eq(open40(&a, 2, BOTH, &s), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_OWNER), 1);
	ck_assert_uint_eq(numbered(&a, OP_OPEN_CONFIRM, 3, &s), 0);
	ck_assert_uint_eq(numbered(&a, OP_CLOSE, 4, &s), 0);
	ck_assert_uint_eq(open_absent(&a, "owner", 5), NFS4ERR_NOENT);
	replace();
	ck_assert_uint_eq(open_absent(&a, "owner", 5), NFS4ERR_NOENT); /* again */
	ck_assert_uint_eq(open_absent(&a, "owner", 7), NFS4ERR_BAD_SEQID);
	ck_assert_uint_eq(open40(&a, 6, BOTH, &s), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
}
END_TEST

/* An owner that has files open is not taken for an idle one. */
START_TEST(opens_live_longer_than_a_lease)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open40(&a, 1, BOTH, &s), 0);
	ck_assert_uint_eq(numbered(&a, OP_OPEN_CONFIRM, 2, &s), 0);
	replace();
	for (int i = 0; i < 3; i++) {
		nas_skip(&nas, 30ull * NS_PER_S);
		usleep(1300000); /* the service's own clockwork */
		ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4 successor");
	TCase *t = tcase_create("41"), *l = tcase_create("late"), *v = tcase_create("40"),
	      *d = tcase_create("lent");
	tcase_add_checked_fixture(t, up41, end);
	tcase_add_checked_fixture(d, up_lend, end);
	tcase_add_checked_fixture(l, up_late, end);
	tcase_add_checked_fixture(v, up40, end);
	tcase_set_timeout(t, 60);
	tcase_set_timeout(d, 60);
	tcase_set_timeout(l, 60);
	tcase_set_timeout(v, 60);
	tcase_add_test(t, opens_and_locks_go_on);
	tcase_add_test(t, reservations_go_on);
	tcase_add_test(t, what_was_done_is_not_done_again);
	tcase_add_test(t, changes_of_files_are_made_once);
	tcase_add_test(t, changes_by_version_3_are_made_once);
	tcase_add_test(t, a_file_without_a_name_stays_while_it_is_open);
	tcase_add_test(t, who_waited_waits);
	tcase_add_test(t, a_full_store_takes_no_locks_of_version_3);
	tcase_add_test(t, slots_go_on_behind_what_was_not_recorded);
	tcase_add_test(t, stateids_of_before_are_nobodys_now);
	tcase_add_test(t, who_said_good_bye_is_gone);
	tcase_add_loop_test(d, what_was_lent_is_lent, 0, 2);
	tcase_add_test(l, a_store_that_comes_late_has_all);
	tcase_add_test(v, owners_count_on);
	tcase_add_test(v, owners_that_opened_nothing_are_not_recorded);
	tcase_add_test(v, opens_live_longer_than_a_lease);
	suite_add_tcase(s, t);
	suite_add_tcase(s, d);
	suite_add_tcase(s, l);
	suite_add_tcase(s, v);
	return run(s);
}
