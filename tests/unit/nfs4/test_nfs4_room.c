/* What a server keeps for its successor: the room there is for it, and who has it again when. Over
 * the wire. */
#include <check.h>
#include <string.h>
#include "nasfront/nfs/nlm.h"
#include "tests/unit/nfs/mem_store.h"
#include "tests/unit/nfs4/deleg_world.h"

static struct mem_store store;

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

static void up_stored(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	nas.store = &store;
	plain_clients();
}

static void up_late(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	plain_clients();
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

/* ---- room ---- */

START_TEST(a_full_store_takes_nothing_new)
{
	struct v4_stateid s, l, t;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "la", WRITE_LT, 0, 10, false, &l), 0);
	store.full = true;
	ck_assert_uint_eq(open_f(&b, "ob", BOTH, 0, &t), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_lock(&a, &fh, &l, NULL, WRITE_LT, 20, 1, false, &l), NFS4ERR_DELAY);
	/* What is there goes on, and may be given up; but two of one lock are one more. */
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 3, 2, &l), NFS4ERR_DELAY);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 5, &l), 0);
	ck_assert_uint_eq(v4_unlock(&a, &fh, &l, 0, 10, &l), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_LOCK), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	store.full = false;
	ck_assert_uint_eq(open_f(&b, "ob", BOTH, 0, &t), 0);
}
END_TEST

static uint32_t destroy(struct v4 *c, uint32_t op)
{
	v4_begin(c);
	v4_op(c, op);
	if (op == OP_DESTROY_SESSION)
		xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	else
		xdr_put_u64(&c->x, c->client);
	return v4_send(c);
}

/* Without one it could neither go on nor give anything up. */
START_TEST(a_full_store_has_sessions_for_who_is_there)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	store.full = true;
	ck_assert_uint_eq(v4_session(&a), NFS4ERR_DELAY); /* it has one */
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_SESSION), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
}
END_TEST

/* A slot that was not used before is not recorded where nothing is spare. */
START_TEST(slots_take_what_is_spare)
{
	struct v4_stateid s;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	unsigned slots = mem_store_count(&store, STORE_SLOT);
	uint32_t seq = a.seq;
	a.slot = 1;
	a.seq = 0;
	store.all = 1;
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_SLOT), slots);
	store.all = 0;
	a.slot = 0;
	a.seq = seq;
	ck_assert_uint_eq(open_f(&a, "oa", BOTH, 0, &s), 0);
	a.slot = 1;
	a.seq = 1;
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s), 0);
	ck_assert_uint_eq(mem_store_count(&store, STORE_SLOT), slots + 1);
}
END_TEST

/* ---- a store that comes late ---- */

static void keep_in(struct nas *n)
{
	unsigned restored;
	n->store = &store;
	ck_assert_int_eq(nlm_keep_in(n->nlm, &store.store), 0);
	ck_assert_int_eq(nfs4_keep_in(n->nfs4, &store.store, &restored), 0);
}

/* Nobody is here: nothing is restored, and what was free is free once. */
START_TEST(states_are_given_to_one)
{
	struct v4_stateid s[3];
	static const char *const owners[] = {"o0", "o1", "o2"};
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_SESSION), 0);
	ck_assert_uint_eq(destroy(&a, OP_DESTROY_CLIENTID), 0);
	ck_assert_uint_eq(destroy(&b, OP_DESTROY_SESSION), 0);
	ck_assert_uint_eq(destroy(&b, OP_DESTROY_CLIENTID), 0);
	for (int i = 0; i < 2; i++)
		nas_run(&nas, keep_in);
	v4_client(&a, "client a");
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(open_f(&a, owners[i], BOTH, 0, &s[i]), 0);
		for (int k = 0; k < i; k++)
			ck_assert_mem_ne(s[i].b + 4, s[k].b + 4, 12);
	}
}
END_TEST

/* ---- reclaims ---- */

/* SHA-256 of "client a" */
static const char name_a[] = "47ea62826f7f2d7e7460c8b099fb4371"
			     "5faedefab9a8d630a5e3a6a813f964a5";

static void make_file(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0666};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(
	    fs_create(n->fs, &root, &top, "f", 1, FS_CREATE_UNCHECKED, &set, 0, &at, NULL), 0);
}

static void up_grace(void)
{
	mem_store_init(&store);
	nas_up(&nas);
	nas.store = &store;
	nas.kept_name = name_a;
	nas.lease_ns = nas.grace_ns = 600 * NS_PER_S;
	nas_run(&nas, make_file);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_open(&b, nas.port);
	ck_assert_uint_eq(v4_exchange(&a, "client a", 1, 0), 0);
	ck_assert_uint_eq(v4_session(&a), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/f", &fh), 0);
}

START_TEST(a_full_store_takes_what_is_reclaimed)
{
	struct v4_stateid s, l;
	store.full = true;
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", BOTH, &s), 0);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, true, &l), 0);
}
END_TEST

static bool reclaims_yet;

static void ask_reclaims(struct nas *n)
{
	reclaims_yet = nfs4_reclaims(n->nfs4, name_a);
}

/* A server that dies in its grace period: who had reclaimed a part goes on. */
START_TEST(reclaims_go_on)
{
	struct v4_stateid s, l;
	ck_assert_uint_eq(v4_reclaim_open(&a, &fh, "o", BOTH, &s), 0);
	replace();
	nas_run(&nas, ask_reclaims);
	ck_assert(reclaims_yet);
	ck_assert_uint_eq(v4_lock(&a, &fh, &s, "l", WRITE_LT, 0, 10, true, &l), 0);
	ck_assert_uint_eq(v4_reclaim_done(&a), 0);
	nas_run(&nas, ask_reclaims);
	ck_assert(!reclaims_yet);
	replace();
	nas_run(&nas, ask_reclaims);
	ck_assert(!reclaims_yet);
}
END_TEST

static TCase *cases(Suite *s, const char *name, void (*up_fn)(void))
{
	TCase *t = tcase_create(name);
	tcase_add_checked_fixture(t, up_fn, end);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("nfs4 room");
	TCase *t = cases(s, "room", up_stored), *l = cases(s, "late", up_late),
	      *g = cases(s, "grace", up_grace);
	tcase_add_test(t, a_full_store_takes_nothing_new);
	tcase_add_test(t, a_full_store_has_sessions_for_who_is_there);
	tcase_add_test(t, slots_take_what_is_spare);
	tcase_add_test(l, states_are_given_to_one);
	tcase_add_test(g, a_full_store_takes_what_is_reclaimed);
	tcase_add_test(g, reclaims_go_on);
	return run(s);
}
