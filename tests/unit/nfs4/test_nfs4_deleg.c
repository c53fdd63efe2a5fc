/* Files lent to clients: when they are, to whom and how many; after a restart. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/deleg_world.h"

/* ---- lending ---- */

START_TEST(lent_to_readers)
{
	struct v4_stateid s;
	uint32_t n;
	bool eof;
	char data[8];
	lend(OPEN_DELEGATE_READ);
	/* Another that reads gets it as well; none gets it twice. */
	ck_assert_uint_eq(open_as(&b, READ, &open_b), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_as(&a, READ, &s), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(v4_read(&a, &fh, &a.deleg, 0, 8, data, &n, &eof), 0);
	ck_assert(n == 5 && memcmp(data, "hello", 5) == 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &a.deleg, 0, "x", 1, 2), NFS4ERR_OPENMODE);
	/* A writer: all others give it back. */
	struct v4_stateid mine = a.deleg;
	ck_assert_uint_eq(v4_return(&b, &fh, &b.deleg), 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	a.deleg = mine;
	expect_recall(&a);
	/* Asked once; until it is back nobody writes, and the holder still reads. */
	ck_assert_uint_eq(open_as(&b, WRITE, &s), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_serve(&a, 200), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &mine, 0, 8, data, &n, &eof), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_as(&b, WRITE, &s), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_NONE); /* a has it open */
	ck_assert_uint_eq(v4_close_file(&b, &fh, &s), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.lent + stats.recalled + stats.revoked, 0);
	ck_assert_uint_eq(stats.reads, 2);
	ck_assert_uint_eq(stats.returns, 3);
	ck_assert_uint_eq(stats.recalls, 1);
}
END_TEST

static uint32_t getattr(struct v4 *c, uint32_t word0)
{
	v4_seq(c);
	v4_putfh(c, &fh);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, word0);
	return v4_send(c);
}

START_TEST(lent_to_a_writer)
{
	struct v4_stateid s, mine;
	lend(OPEN_DELEGATE_WRITE);
	mine = a.deleg;
	ck_assert_uint_eq(v4_write(&a, &fh, &mine, 0, "HELLO", 5, 2), 0);
	ck_assert_uint_eq(getattr(&a, 1u << FATTR4_SIZE), 0);
	/* What it cannot have changed is told to others, what it can is not. */
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_TYPE), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalls, 0);
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_SIZE), NFS4ERR_DELAY);
	expect_recall(&a);
	ck_assert_uint_eq(open_as(&b, READ, &s), NFS4ERR_DELAY);
	/* It opens what it had opened without asking, and gives it back. */
	ck_assert_uint_eq(open_under(&a, "f", BOTH, &mine, &s), 0);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &mine, &s), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(open_under(&b, NULL, READ, &mine, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &open_a, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_return(&a, &fh, &mine), 0);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &mine, &s), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(open_as(&b, READ, &s), 0);
	ck_assert_uint_eq(b.deleg_type, OPEN_DELEGATE_NONE); /* there is a writer */
	ck_assert_uint_eq(getattr(&b, 1u << FATTR4_SIZE), 0);
}
END_TEST

/* A reader's is not good for an open to write. */
START_TEST(under_a_reader_s)
{
	struct v4_stateid s;
	lend(OPEN_DELEGATE_READ);
	ck_assert_uint_eq(open_under(&a, NULL, WRITE, &a.deleg, &s), NFS4ERR_INVAL);
	ck_assert_uint_eq(open_under(&a, "g", READ, &a.deleg, &s), NFS4ERR_NOENT);
	/* What changes no data the holder may do: it is nobody else. */
	ck_assert_uint_eq(getattr(&a, 1u << FATTR4_SIZE), 0);
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalls, 0);
	/* That it opens the file anew, to write, shows another mount of it. */
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", BOTH, 0, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", BOTH, 0, 0, &s, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE); /* it is open to read */
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &open_a), 0);
	/* Its own asking does not keep it from being lent. */
	lend(OPEN_DELEGATE_WRITE);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", READ, 0, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
}
END_TEST

START_TEST(as_wanted)
{
	static const struct {
		uint32_t access, want, type, why;
	} rows[] = {
	    {READ, OPEN4_SHARE_WANT_NONE, OPEN_DELEGATE_NONE_EXT, WND4_NOT_WANTED},
	    {READ, OPEN4_SHARE_WANT_CANCEL, OPEN_DELEGATE_NONE_EXT, WND4_CANCELLED},
	    {BOTH, OPEN4_SHARE_WANT_READ, OPEN_DELEGATE_NONE_EXT, WND4_CONTENTION},
	    {READ, OPEN4_SHARE_WANT_READ, OPEN_DELEGATE_READ, 0},
	    {READ, OPEN4_SHARE_WANT_ANY, OPEN_DELEGATE_READ, 0},
	    {BOTH, OPEN4_SHARE_WANT_WRITE, OPEN_DELEGATE_WRITE, 0},
	    {BOTH, OPEN4_SHARE_WANT_ANY, OPEN_DELEGATE_WRITE, 0},
	    {WRITE, 0, OPEN_DELEGATE_WRITE, 0},
	};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct v4_stateid s;
		a.deleg_why = 0;
		ck_assert_uint_eq(open_as(&a, rows[i].access | rows[i].want, &s), 0);
		ck_assert_uint_eq(a.deleg_type, rows[i].type);
		ck_assert_uint_eq(a.deleg_why, rows[i].why);
		if (a.deleg_type != OPEN_DELEGATE_NONE_EXT)
			ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
		ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	}
	ck_assert_uint_eq(open_as(&a, READ | 0x600, &open_a), NFS4ERR_INVAL);
	/* Somebody else has it open to write. */
	ck_assert_uint_eq(open_as(&b, WRITE | OPEN4_SHARE_WANT_NONE, &open_b), 0);
	ck_assert_uint_eq(open_as(&a, READ | OPEN4_SHARE_WANT_ANY, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(a.deleg_why, WND4_CONTENTION);
}
END_TEST

START_TEST(not_while_locked_nor_soon_again)
{
	struct v4_stateid l, s;
	ck_assert_uint_eq(open_as(&b, READ | OPEN4_SHARE_WANT_NONE, &open_b), 0);
	ck_assert_uint_eq(v4_lock(&b, &fh, &open_b, "l", READ_LT, 0, 1, false, &l), 0);
	ck_assert_uint_eq(open_as(&a, READ, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	ck_assert_uint_eq(v4_unlock(&b, &fh, &l, 0, 1, &l), 0);
	lend(OPEN_DELEGATE_READ);
	/* b denies reading: that is no reader. */
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "p", READ, READ, 0, &s, &fh), NFS4ERR_DELAY);
	give_back(&a);
	ck_assert_uint_eq(open_as(&a, READ, &open_a), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE);
	skip(QUIET_S);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

/* ---- what is told of it ---- */

static unsigned nlisted, nrecalled, nup;

static bool list_deleg(void *arg, const struct nfs4_deleg_info *d)
{
	nlisted +=
	    d->write && d->fs == NAS_FS_ID && !d->revoked && strcmp(d->address, "127.0.0.1") == 0;
	nrecalled += d->recall_ns != 0;
	return true;
}

static bool list_client(void *arg, const struct nfs4_client_info *c)
{
	nup += strcmp(c->path, "up") == 0 && c->delegations == (c->opens ? 1 : 0);
	return true;
}

static void list_step(struct nas *n)
{
	nlisted = nrecalled = nup = 0;
	nfs4_each_deleg(n->nfs4, list_deleg, NULL);
	nfs4_each(n->nfs4, list_client, NULL);
}

START_TEST(listed)
{
	lend(OPEN_DELEGATE_WRITE);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 1 && nrecalled == 0 && nup == 2);
	ck_assert_uint_eq(open_as(&b, READ, &open_b), NFS4ERR_DELAY);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 1 && nrecalled == 1 && nup == 2);
	give_back(&a);
	nas_run(&nas, list_step);
	ck_assert(nlisted == 0 && nrecalled == 0 && nup == 1);
}
END_TEST

/* ---- a restart ---- */

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

static void setup_restarted(void)
{
	up();
	/* SHA-256 of "client a" */
	nas.kept_name = "47ea62826f7f2d7e7460c8b099fb43715faedefab9a8d630a5e3a6a813f964a5";
	nas.lease_ns = nas.grace_ns = 600 * NS_PER_S;
	nas_run(&nas, make_f);
	nas_serve4(&nas);
}

/* What it had it has again; without a way back to it, it is asked for it in the same answer. */
START_TEST(reclaimed)
{
	bool back = _i < 2;
	uint32_t type = _i % 2 ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ;
	struct v4_stateid s;
	v4_open(&a, nas.port);
	a.back = back;
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	if (back)
		ck_assert(v4_serve_until(&a, &a.nulls, 1));
	back_client(&b, "client b");
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
	a.deleg_type = type;
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", _i % 2 ? BOTH : READ, &s), 0);
	ck_assert_uint_eq(a.deleg_type, type);
	ck_assert(a.deleg_recall == !back);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), NFS4ERR_GRACE);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	/* It was not kept for b: that the grace period ends takes a's word alone. */
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), NFS4ERR_DELAY);
	if (back)
		expect_recall(&a);
	ck_assert_uint_eq(open_under(&a, NULL, READ, &a.deleg, &s), 0);
	ck_assert_uint_eq(v4_return(&a, &fh, &a.deleg), 0);
	ck_assert_uint_eq(open_as(&b, WRITE, &open_b), 0);
}
END_TEST

/* ---- bounds ---- */

static uint32_t named(const char *from, const char *to)
{
	v4_seq(&b);
	v4_putfh(&b, &demo);
	if (!to) {
		v4_name(&b, OP_REMOVE, from);
		return v4_send(&b);
	}
	v4_op(&b, OP_SAVEFH);
	v4_name(&b, OP_RENAME, from);
	xdr_put_string(&b.x, to);
	return v4_send(&b);
}

static void setup_few(void)
{
	up();
	nas.max_delegs = 16;
	nas_serve4(&nas);
	clients();
}

START_TEST(no_more_than)
{
	struct v4_stateid s, d[4];
	struct v4_fh f[4];
	unsigned lent = 0;
	for (unsigned i = 0; i < 4; i++) {
		char name[8];
		snprintf(name, sizeof(name), "n%u", i);
		ck_assert_uint_eq(v4_open_file(&a, &demo, name, "o", BOTH | OPEN4_SHARE_WANT_ANY, 0,
					       1, &s, &f[i]),
				  0);
		d[i] = a.deleg;
		if (a.deleg_type == OPEN_DELEGATE_WRITE)
			lent++;
		else
			ck_assert_uint_eq(a.deleg_why, WND4_RESOURCE);
	}
	ck_assert_uint_eq(lent, 2); /* an eighth */
	ck_assert_uint_eq(v4_return(&a, &f[0], &d[0]), 0);
	lend(OPEN_DELEGATE_READ);
}
END_TEST

static void setup_many(void)
{
	up();
	nas.lease_ns = 60 * NS_PER_S;
	nas_serve4(&nas);
	clients();
}

/* Thousands, many asked for, of a client that hears nothing, and then the end. */
START_TEST(thousands)
{
	enum { N = 1500, ASKED = 40 };
	struct v4_stateid s;
	struct v4_fh f;
	char name[16];
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert_uint_eq(v4_open_file(&a, &demo, name, "o", BOTH, 0, 1, &s, &f), 0);
		ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_WRITE);
	}
	a.manner = V4_DEAF;
	for (unsigned i = 0; i < ASKED; i++) {
		snprintf(name, sizeof(name), "t%u", i);
		ck_assert_uint_eq(named(name, NULL), NFS4ERR_DELAY);
	}
	nas_run(&nas, stats_step);
	ck_assert_uint_eq(stats.recalled, ASKED);
	ck_assert_uint_eq(stats.lent, N - ASKED);
	ck_assert_uint_le(stats.calls, 10);
}
END_TEST

static void setup_off(void)
{
	up();
	nas.lend = false;
	nas_serve4(&nas);
}

START_TEST(turned_off)
{
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	a.back = true;
	v4_client(&a, "client a");
	ck_assert_uint_eq(v4_serve(&a, 200), 0); /* nobody needs to know whether calls arrive */
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(a.seq_flags, 0);
	ck_assert_uint_eq(
	    v4_open_file(&a, &demo, "f", "o", BOTH | OPEN4_SHARE_WANT_ANY, 0, 1, &open_a, &fh), 0);
	ck_assert_uint_eq(a.deleg_type, OPEN_DELEGATE_NONE_EXT);
	ck_assert_uint_eq(a.deleg_why, WND4_RESOURCE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4_deleg");
	const TTest *t_lent[] = {lent_to_readers,
				 lent_to_a_writer,
				 under_a_reader_s,
				 as_wanted,
				 not_while_locked_nor_soon_again,
				 listed};
	const TTest *t_restarted[] = {reclaimed};
	const TTest *t_few[] = {no_more_than};
	const TTest *t_many[] = {thousands};
	const TTest *t_off[] = {turned_off};
	add(s, "lent", setup, t_lent, (const int[]){1, 1, 1, 1, 1, 1}, 6);
	add(s, "restarted", setup_restarted, t_restarted, (const int[]){4}, 1);
	add(s, "few", setup_few, t_few, (const int[]){1}, 1);
	add(s, "many", setup_many, t_many, (const int[]){1}, 1);
	add(s, "off", setup_off, t_off, (const int[]){1}, 1);
	return run(s);
}
