/* Opens, locks, leases and reclaiming of NFSv4.1, over the wire against the whole service. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nasfront/nfs/lock_table.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

static struct nas nas;
static struct v4 a, b;
static struct v4_fh demo, fh;

static void clients(void)
{
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&a, "client a");
	v4_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
}

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	clients();
}

static void down(void)
{
	v4_close(&a);
	v4_close(&b);
	nas_down(&nas);
}

static uint32_t open_f(struct v4 *c, const char *owner, uint32_t access, uint32_t deny,
		       struct v4_stateid *s)
{
	return v4_open_file(c, &demo, "f", owner, access, deny, 1, s, &fh);
}

static uint32_t downgrade(struct v4 *c, struct v4_stateid *s, uint32_t access, uint32_t deny)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_OPEN_DOWNGRADE);
	v4_stateid(c, s);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, deny);
	if (v4_send(c))
		return c->status;
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_OPEN_DOWNGRADE);
	v4_get_stateid(c, s);
	return 0;
}

/* ---- opens ---- */

START_TEST(reservations_keep_others_out)
{
	static const struct v4_stateid anonymous;
	struct v4_stateid s, t;
	uint8_t buf[8];
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(open_f(&a, "o", 3, 2, &s), 0);
	ck_assert_uint_eq(open_f(&b, "o", 2, 0, &t), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_f(&b, "o", 1, 1, &t), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_f(&a, "other owner", 2, 0, &t), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &t), 0);
	/* Without an open: reading is not denied, writing is. */
	ck_assert_uint_eq(v4_read(&b, &fh, &anonymous, 0, 8, buf, &n, &eof), 0);
	ck_assert_uint_eq(v4_write(&b, &fh, &anonymous, 0, "x", 1, 2), NFS4ERR_LOCKED);
	/* More of the same owner is added; what was never opened is not gone down to. */
	ck_assert_uint_eq(open_f(&a, "o", 1, 0, &s), 0);
	ck_assert_uint_eq(downgrade(&a, &s, 2, 0), NFS4ERR_INVAL);
	ck_assert_uint_eq(downgrade(&a, &s, 1, 2), NFS4ERR_INVAL);
	ck_assert_uint_eq(downgrade(&a, &s, 1, 0), 0);
	ck_assert_uint_eq(open_f(&b, "o", 2, 0, &t), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), NFS4ERR_OPENMODE);
	ck_assert_uint_eq(open_f(&a, "o", 1, 2, &s), NFS4ERR_SHARE_DENIED);
	ck_assert_uint_eq(v4_close_file(&b, &fh, &t), 0);
	ck_assert_uint_eq(open_f(&a, "o", 1, 2, &s), 0);
}
END_TEST

START_TEST(truncation_comes_after_the_reservation)
{
	struct v4_stateid s, t;
	uint8_t buf[8];
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(open_f(&a, "o", 3, 2, &s), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "data", 4, 2), 0);
	for (int i = 0; i < 2; i++) {
		struct v4 *c = i ? &a : &b;
		v4_seq(c);
		v4_putfh(c, &demo);
		v4_op(c, OP_OPEN);
		xdr_put_u32(&c->x, 0);
		xdr_put_u32(&c->x, 2);
		xdr_put_u32(&c->x, 0);
		xdr_put_u64(&c->x, c->client);
		xdr_put_string(&c->x, "o");
		xdr_put_u32(&c->x, OPEN4_CREATE);
		xdr_put_u32(&c->x, CREATE4_UNCHECKED);
		xdr_put_u32(&c->x, 1);
		xdr_put_u32(&c->x, 1u << FATTR4_SIZE);
		xdr_put_u32(&c->x, 8);
		xdr_put_u64(&c->x, 0);
		xdr_put_u32(&c->x, CLAIM_NULL);
		xdr_put_string(&c->x, "f");
		ck_assert_uint_eq(v4_send(c), i ? 0 : NFS4ERR_SHARE_DENIED);
		if (i) {
			v4_res(c, OP_PUTFH);
			v4_res(c, OP_OPEN);
			v4_get_stateid(c, &t);
			ck_assert_uint_eq(v4_read(&a, &fh, &t, 0, 8, buf, &n, &eof), 0);
			ck_assert_uint_eq(n, 0);
		} else {
			ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 8, buf, &n, &eof), 0);
			ck_assert_uint_eq(n, 4);
		}
	}
}
END_TEST

/* ---- locks ---- */

static uint32_t test_lock(struct v4 *c, const char *owner, uint32_t type, uint64_t off,
			  uint64_t len)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_LOCKT);
	xdr_put_u32(&c->x, type);
	xdr_put_u64(&c->x, off);
	xdr_put_u64(&c->x, len);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	return v4_send(c);
}

/* The rest of a reply that says DENIED. */
static void check_denied(struct v4 *c, uint32_t op, uint64_t off, uint64_t len, uint32_t type,
			 uint64_t client, const char *owner)
{
	const uint8_t *p;
	v4_res(c, OP_PUTFH);
	ck_assert_uint_eq(v4_res(c, op), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_u64(c), off);
	ck_assert_uint_eq(v4_u64(c), len);
	ck_assert_uint_eq(v4_u32(c), type);
	ck_assert_uint_eq(v4_u64(c), client);
	ck_assert_uint_eq(v4_opaque(c, &p), strlen(owner));
	ck_assert_mem_eq(p, owner, strlen(owner));
}

START_TEST(locks_keep_others_out)
{
	struct v4_stateid sa, sb, la, lb;
	ck_assert_uint_eq(open_f(&a, "o", 3, 0, &sa), 0);
	ck_assert_uint_eq(open_f(&b, "o", 3, 0, &sb), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &sa, "la", WRITE_LT, 10, 10, false, &la), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &sb, "lb", READ_LT, 0, UINT64_MAX, false, &lb),
			  NFS4ERR_DENIED);
	check_denied(&b, OP_LOCK, 10, 10, WRITE_LT, a.client, "la");
	ck_assert_uint_eq(test_lock(&b, "lb", WRITE_LT, 15, 1), NFS4ERR_DENIED);
	check_denied(&b, OP_LOCKT, 10, 10, WRITE_LT, a.client, "la");
	ck_assert_uint_eq(test_lock(&b, "lb", WRITE_LT, 20, 1), 0);
	ck_assert_uint_eq(test_lock(&a, "la", WRITE_LT, 15, 1), 0);
	ck_assert_uint_eq(test_lock(&a, "another", WRITE_LT, 15, 1), NFS4ERR_DENIED);
	/* Split by an unlock in the middle. */
	struct v4_stateid l2;
	ck_assert_uint_eq(v4_unlock(&a, &fh, &la, 14, 2, &l2), 0);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &la, 14, 2, &l2), NFS4ERR_OLD_STATEID);
	ck_assert_uint_eq(v4_lock(&b, &fh, &sb, "lb", WRITE_LT, 14, 2, false, &lb), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &lb, NULL, WRITE_LT, 16, 1, false, &lb), NFS4ERR_DENIED);
	check_denied(&b, OP_LOCK, 16, 4, WRITE_LT, a.client, "la");
	/* CLOSE gives up what is under the open. */
	ck_assert_uint_eq(v4_close_file(&a, &fh, &sa), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &lb, NULL, WRITE_LT, 0, UINT64_MAX, false, &lb), 0);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l2, 14, 2, &l2), NFS4ERR_BAD_STATEID);
}
END_TEST

START_TEST(locks_that_cannot_be)
{
	struct v4_stateid s, w, l;
	ck_assert_uint_eq(open_f(&a, "o", 1, 0, &s), 0);
	ck_assert_uint_eq(open_f(&a, "w", 2, 0, &w), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 1, false, &l), NFS4ERR_OPENMODE);
	ck_assert_uint_eq(v4_lock(&a, &fh, &w, "l", READ_LT, 0, 1, false, &l), NFS4ERR_OPENMODE);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", READ_LT, 0, 0, false, &l), NFS4ERR_INVAL);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", READ_LT, 3, UINT64_MAX - 1, false, &l),
			  NFS4ERR_INVAL);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", 5, 0, 1, false, &l), NFS4ERR_BADXDR);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, NULL, READ_LT, 0, 1, false, &l),
			  NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", READ_LT, 0, 1, true, &l), NFS4ERR_NO_GRACE);
	ck_assert_uint_eq(v4_lock(&a, &demo, &s, "l", READ_LT, 0, 1, false, &l),
			  NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_lock(&b, &fh, &s, "l", READ_LT, 0, 1, false, &l), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", READ_LT, UINT64_MAX, 1, false, &l), 0);
	/* What failed left nothing that a client would have to give up. */
	struct v4_stateid t = l;
	for (unsigned i = 4; i < 16; i++) {
		t.b[i] ^= 1;
		ck_assert_uint_eq(v4_unlock(&a, &fh, &t, 0, 1, &w), NFS4ERR_BAD_STATEID);
		t.b[i] ^= 1;
	}
}
END_TEST

START_TEST(stateids_are_tested_and_freed)
{
	struct v4_stateid s, l, bad = {{1, 2, 3}};
	ck_assert_uint_eq(open_f(&a, "o", 3, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 1, false, &l), 0);
	const struct v4_stateid *const ids[] = {&s, &l, &bad};
	v4_seq(&a);
	v4_op(&a, OP_TEST_STATEID);
	xdr_put_u32(&a.x, 3);
	for (unsigned i = 0; i < 3; i++)
		v4_stateid(&a, ids[i]);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_TEST_STATEID);
	ck_assert_uint_eq(v4_u32(&a), 3);
	ck_assert_uint_eq(v4_u32(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), 0);
	ck_assert_uint_eq(v4_u32(&a), NFS4ERR_BAD_STATEID);
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t want[] = {NFS4ERR_LOCKS_HELD, NFS4ERR_LOCKS_HELD,
						NFS4ERR_BAD_STATEID, 0};
		if (i == 3)
			ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 1, &l), 0);
		v4_seq(&a);
		v4_op(&a, OP_FREE_STATEID);
		v4_stateid(&a, i == 3 ? &l : ids[i]);
		ck_assert_uint_eq(v4_send(&a), want[i]);
	}
}
END_TEST

/* ---- with the lock manager of version 3 ---- */

static struct lock_client *other;
static int other_rc;

static struct lock_ask other_ask(void)
{
	const uint8_t *p = fh.b; /* the handle has generation, file system, inode */
	return (struct lock_ask){
	    .file = {.fs = le64_get(p + 8), .ino = le64_get(p + 24), .generation = le32_get(p + 4)},
	    .client = other,
	    .owner = "\0\0\0\7v3",
	    .owner_len = 6,
	    .kind = LOCK_EXCLUSIVE,
	    .range = {.first = 100, .last = 199}};
}

static void other_lock(struct nas *n)
{
	if (!other)
		ASSERT(lock_client_new(&other, nlm_locks(n->nlm), NULL) == 0);
	struct lock_ask ask = other_ask();
	other_rc = lock_set(nlm_locks(n->nlm), &ask);
}

static void other_share(struct nas *n)
{
	struct lock_ask ask = other_ask();
	other_rc = lock_share(nlm_locks(n->nlm), &ask, LOCK_SHARE_READ, LOCK_SHARE_WRITE);
}

static void other_end(struct nas *n)
{
	lock_client_free(other);
	other = NULL;
}

START_TEST(locks_of_other_protocols_count)
{
	struct v4_stateid s, l;
	ck_assert_uint_eq(open_f(&a, "o", 3, 0, &s), 0);
	nas_run(&nas, other_lock);
	ck_assert_int_eq(other_rc, 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 150, 1, false, &l), NFS4ERR_DENIED);
	const uint8_t *p;
	v4_res(&a, OP_PUTFH);
	ck_assert_uint_eq(v4_res(&a, OP_LOCK), NFS4ERR_DENIED);
	ck_assert_uint_eq(v4_u64(&a), 100);
	ck_assert_uint_eq(v4_u64(&a), 100);
	ck_assert_uint_eq(v4_u32(&a), WRITE_LT);
	ck_assert_uint_eq(v4_u64(&a), 0); /* no client of this protocol */
	ck_assert_uint_eq(v4_opaque(&a, &p), 6);
	nas_run(&nas, other_end);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 150, 1, false, &l), 0);
}
END_TEST

START_TEST(other_protocols_see_ours)
{
	struct v4_stateid s, l;
	ck_assert_uint_eq(open_f(&a, "o", 3, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 150, 1, false, &l), 0);
	nas_run(&nas, other_lock);
	ck_assert_int_eq(other_rc, -EAGAIN);
	nas_run(&nas, other_share); /* denies writing: it is open for that */
	ck_assert_int_eq(other_rc, -EAGAIN);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	nas_run(&nas, other_share);
	ck_assert_int_eq(other_rc, 0);
	ck_assert_uint_eq(open_f(&a, "o", 3, 0, &s), NFS4ERR_SHARE_DENIED);
	nas_run(&nas, other_lock);
	ck_assert_int_eq(other_rc, 0);
	nas_run(&nas, other_end);
}
END_TEST

/* ---- leases, and what outlives the head ---- */

static char kept[NFS4_KEEP_MAX + 1];
static _Atomic unsigned nkept, nforgotten; /* counted after kept is written, read before it */

static int on_keep(void *arg, const char *name, bool gone)
{
	strcpy(kept, name);
	if (gone)
		nforgotten++;
	else
		nkept++;
	return 0;
}

static void up_lease(void)
{
	nas_up(&nas);
	nas.lease_ns = NS_PER_S;
	nas.keep = on_keep;
	nkept = nforgotten = 0;
	nas_serve4(&nas);
	clients();
}

START_TEST(a_lease_runs_out)
{
	struct v4_stateid s, t;
	ck_assert_uint_eq(nkept, 2);
	ck_assert_uint_eq(open_f(&a, "o", 3, 3, &s), 0);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &t), NFS4ERR_SHARE_DENIED);
	for (int i = 0; i < 30; i++) {
		usleep(100000);
		v4_seq(&b);
		ck_assert_uint_eq(v4_send(&b), 0); /* b renews its own */
	}
	/* It is still there, but in nobody's way any more. */
	ck_assert_uint_eq(nforgotten, 0);
	uint32_t st = NFS4ERR_DELAY;
	for (int i = 0; i < 40 && st == NFS4ERR_DELAY; i++) {
		st = open_f(&b, "o", 1, 0, &t);
		usleep(100000);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(nforgotten, 1);
	v4_seq(&a);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADSESSION);
	v4_client(&a, "client a");
	ck_assert_uint_eq(nkept, 3);
}
END_TEST

static void make_f(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0644};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ASSERT(top.generation < 4);
	ASSERT(fs_create(n->fs, &root, &top, "f", 1, FS_CREATE_UNCHECKED, &set, 0, &at, NULL) == 0);
}

static uint32_t reclaim_with_deny(struct v4 *c, const struct v4_fh *f, const char *owner,
				  uint32_t access, uint32_t deny)
{
	v4_seq(c);
	v4_putfh(c, f);
	v4_op(c, OP_OPEN);
	xdr_put_u32(&c->x, 0);
	xdr_put_u32(&c->x, access);
	xdr_put_u32(&c->x, deny);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, owner);
	xdr_put_u32(&c->x, OPEN4_NOCREATE);
	xdr_put_u32(&c->x, CLAIM_PREVIOUS);
	xdr_put_u32(&c->x, OPEN_DELEGATE_NONE);
	return v4_send(c);
}

START_TEST(who_was_kept_reclaims)
{
	struct v4_stateid s, l, m;
	/* SHA-256 of "client a" */
	static const char name[] = "47ea62826f7f2d7e7460c8b099fb4371"
				   "5faedefab9a8d630a5e3a6a813f964a5";
	nas_up(&nas);
	nas.lease_ns = nas.grace_ns = 3 * NS_PER_S;
	nas.keep = on_keep;
	nas.kept_name = name;
	nkept = nforgotten = 0;
	nas_run(&nas, make_f);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	v4_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	/* New opens wait; who was not kept has nothing to reclaim. */
	ck_assert_uint_eq(open_f(&b, "o", 3, 3, &s), NFS4ERR_GRACE);
	ck_assert_uint_eq(v4_reclaim_open(&b, &fh, "o", 3, &s), NFS4ERR_NO_GRACE);
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", 3, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, true, &l), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &l, NULL, WRITE_LT, 20, 10, false, &l), NFS4ERR_GRACE);
	/* What two reclaim one of them cannot have had. */
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "m", WRITE_LT, 5, 1, true, &m),
			  NFS4ERR_RECLAIM_CONFLICT);
	ck_assert_uint_eq(reclaim_with_deny(&a, &fh, "p", 1, 3), NFS4ERR_RECLAIM_CONFLICT);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", 3, &s), NFS4ERR_NO_GRACE);
	uint32_t st = NFS4ERR_GRACE;
	for (int i = 0; i < 60 && st == NFS4ERR_GRACE; i++) {
		usleep(100000);
		v4_seq(&a);
		ck_assert_uint_eq(v4_send(&a), 0);
		st = open_f(&b, "o", 3, 0, &l);
	}
	ck_assert_uint_eq(st, 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &l, "l", WRITE_LT, 0, 1, false, &l), NFS4ERR_DENIED);
	/* It is kept anew: the end of the grace period does not forget it. */
	for (int i = 0; i < 15; i++) {
		usleep(100000);
		v4_seq(&a);
		ck_assert_uint_eq(v4_send(&a), 0);
	}
	ck_assert_uint_eq(nkept, 2);
	ck_assert_uint_eq(nforgotten, 0);
}
END_TEST

/* A head serves before it has read whom it had: who reclaims then comes again, and has lost
 * nothing. */
START_TEST(reclaims_wait_until_it_is_known_who_was_kept)
{
	struct v4_stateid s;
	static const char name[] = "47ea62826f7f2d7e7460c8b099fb4371"
				   "5faedefab9a8d630a5e3a6a813f964a5";
	nas_up(&nas);
	nas.lease_ns = nas.grace_ns = 600 * NS_PER_S;
	nas.kept_name = name;
	nas.late = true;
	nas_run(&nas, make_f);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&b, "client b");
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", 3, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &s), NFS4ERR_GRACE);
	nas_run(&nas, nas_begin);
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", 3, &s), 0);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &s), 0);
}
END_TEST

/* The one that was kept has reclaimed: nothing more is waited for, if none but it can have been. */
START_TEST(the_grace_period_ends_when_all_have_reclaimed)
{
	struct v4_stateid s;
	static const char name[] = "47ea62826f7f2d7e7460c8b099fb4371"
				   "5faedefab9a8d630a5e3a6a813f964a5";
	nas_up(&nas);
	nas.lease_ns = nas.grace_ns = 600 * NS_PER_S;
	nas.kept_name = name;
	nas.unsure = _i;
	nas_run(&nas, make_f);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	v4_client(&b, "client b");
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	/* Another's RECLAIM_COMPLETE does not end it. */
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &s), NFS4ERR_GRACE);
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", 3, &s), 0);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &s), NFS4ERR_GRACE);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	ck_assert_uint_eq(open_f(&b, "o", 1, 0, &s), _i ? NFS4ERR_GRACE : 0);
}
END_TEST

START_TEST(who_does_not_come_back_is_forgotten)
{
	static const char name[] = "0123";
	nas_up(&nas);
	nas.grace_ns = nas.lease_ns = NS_PER_S;
	nas.keep = on_keep;
	nas.kept_name = name;
	nkept = nforgotten = 0;
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	for (int i = 0; i < 40 && !nforgotten; i++)
		usleep(100000);
	ck_assert_uint_eq(nforgotten, 1);
	ck_assert_str_eq(kept, name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4 state");
	TCase *t = tcase_create("state"), *l = tcase_create("lease"), *g = tcase_create("grace");
	tcase_add_checked_fixture(t, up, down);
	tcase_add_checked_fixture(l, up_lease, down);
	tcase_add_checked_fixture(g, NULL, down);
	tcase_set_timeout(t, 30);
	tcase_set_timeout(l, 30);
	tcase_set_timeout(g, 30);
	tcase_add_test(t, reservations_keep_others_out);
	tcase_add_test(t, truncation_comes_after_the_reservation);
	tcase_add_test(t, locks_keep_others_out);
	tcase_add_test(t, locks_that_cannot_be);
	tcase_add_test(t, stateids_are_tested_and_freed);
	tcase_add_test(t, locks_of_other_protocols_count);
	tcase_add_test(t, other_protocols_see_ours);
	tcase_add_test(l, a_lease_runs_out);
	tcase_add_test(g, who_was_kept_reclaims);
	tcase_add_test(g, reclaims_wait_until_it_is_known_who_was_kept);
	tcase_add_loop_test(g, the_grace_period_ends_when_all_have_reclaimed, 0, 2);
	tcase_add_test(g, who_does_not_come_back_is_forgotten);
	suite_add_tcase(s, t);
	suite_add_tcase(s, l);
	suite_add_tcase(s, g);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
