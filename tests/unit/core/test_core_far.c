/* Volumes of the partner's: backups from a pool of one controller to a pool of the other. */
#include "blockcore/far.h"
#include "proto/channel.pb-c.h"
#include "tests/unit/core/own_rig.h"

#define BLOCK  4096u
#define BLOCKS 1024u /* of v and its backup u */
#define SIZE   (BLOCKS * BLOCK)

struct run {
	unsigned side;
	struct end *e;
	uint32_t to;
	uint64_t seed;
	unsigned first, n;
	int rc;
	struct backup_result b;
};

static void make_task(void *arg)
{
	struct run *r = arg;
	static const char *const disks[] = {"d2", "d3"};
	char why[CORE_WHY_LEN] = "";
	r->rc = core_pool_create(r->e->core, "q", "raid1", 65536, false, disks, 2, why);
	ck_assert_msg(r->rc == 0, "%s", why);
	r->rc = core_volume_create(r->e->core, "q", "u", SIZE, &r->to);
}

static void write_task(void *arg)
{
	struct run *r = arg;
	struct volume *u = core_volume_get(r->e->core, r->to);
	for (unsigned i = r->first; i < r->first + r->n; i++)
		ck_assert_int_eq(rig_write(u, i * BLOCK, BLOCK, r->seed, false), 0);
	core_volume_put(u);
}

static void check_task(void *arg)
{
	struct run *r = arg;
	struct volume *u = core_volume_get(r->e->core, r->to);
	for (unsigned i = r->first; i < r->first + r->n; i++)
		ck_assert_int_eq(rig_check(u, i * BLOCK, BLOCK, r->seed), 0);
	core_volume_put(u);
}

static void backup_task(void *arg)
{
	struct run *r = arg;
	struct volume *v = core_volume_get_by_name(r->e->core, "v");
	r->rc = core_backup_run(r->e->core, volume_id(v), r->to, NULL, NULL, &r->b);
	core_volume_put(v);
}

static void verify_task(void *arg)
{
	struct run *r = arg;
	r->rc = core_backup_verify(r->e->core, r->to, r->b.crc);
}

static int change_group(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct run *r = arg;
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	isthmus__head_group__init(g);
	g->piv_volume = meta_volume_find(am, "v")->id;
	g->backup_volume = r->to;
	g->id = am->next_id++;
	pb_set_text(&g->name, "g1");
	return pb_append(&am->groups, &am->n_groups, g);
}

static void group_task(void *arg)
{
	struct run *r = arg;
	char why[CORE_WHY_LEN];
	r->rc = meta_update(r->e->core->meta, change_group, r, why);
}

static void say_task(void *arg)
{
	struct run *r = arg;
	char why[CORE_WHY_LEN];
	struct volume *v = core_volume_get_by_name(r->e->core, "v");
	struct core_side word = {.group = "g1", .head = "h1", .piv = volume_id(v), .side = r->side};
	r->rc = core_side_set(r->e->core, &word, why);
	core_volume_put(v);
}

static int run(struct run *r, struct end *e, task_fn *fn)
{
	r->e = e;
	r->rc = 0;
	ck_assert_int_eq(sim_node_run(e->node, fn, r), 0);
	return r->rc;
}

static bool holds(struct run *r, struct end *e, unsigned first, unsigned n, uint64_t seed)
{
	r->first = first;
	r->n = n;
	r->seed = seed;
	return run(r, e, check_task) == 0;
}

START_TEST(backup_in_a_pool_of_the_partners)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct run r = {0};
	world_with_pool(70);
	ck_assert_int_eq(run(&r, b, make_task), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 300, 1), 0);
	ck_assert_int_eq(run(&r, a, backup_task), 0);
	ck_assert_uint_eq(r.b.bytes_total, SIZE);
	ck_assert(holds(&r, b, 0, 300, 1));
	ck_assert_int_eq(run(&r, a, verify_task), 0);
	/* only what changed */
	ck_assert_int_eq(io(a, true, 16, 32, 2), 0);
	ck_assert_int_eq(run(&r, a, backup_task), 0);
	ck_assert_uint_eq(r.b.bytes_copied, 32 * BLOCK);
	ck_assert(holds(&r, b, 16, 32, 2) && holds(&r, b, 48, 100, 1));
	ck_assert_int_eq(run(&r, a, verify_task), 0);
	/* who keeps state on the backup keeps it, whichever controller was told first */
	ck_assert_int_eq(run(&r, a, group_task), 0);
	r.side = ISTHMUS__SIDE__ON_BACKUP;
	ck_assert_int_eq(run(&r, b, say_task), 0);
	ck_assert_int_eq(run(&r, a, backup_task), -ERR_DEGRADED);
	ck_assert_int_eq(run(&r, a, say_task), 0);
	r.first = 3;
	r.n = 1;
	r.seed = 9;
	run(&r, b, write_task);
	ck_assert_int_eq(run(&r, a, backup_task), -ERR_DEGRADED);
	ck_assert(holds(&r, b, 3, 1, 9));
	ck_assert_int_eq(run(&r, a, verify_task), -ERR_CORRUPT);
	r.side = ISTHMUS__SIDE__ON_MAIN;
	ck_assert_int_eq(run(&r, b, say_task), 0);
	ck_assert_int_eq(run(&r, a, say_task), 0);
	ck_assert_int_eq(io(a, true, 3, 1, 3), 0);
	ck_assert_int_eq(run(&r, a, backup_task), 0);
	ck_assert(holds(&r, b, 3, 1, 3));
	/* it goes on when one of the two pools has moved */
	ck_assert_int_eq(give(a), 0);
	ck_assert_int_eq(io(b, true, 100, 10, 4), 0);
	ck_assert_int_eq(run(&r, b, backup_task), 0);
	ck_assert(holds(&r, b, 100, 10, 4));
	world_fini();
}
END_TEST

START_TEST(a_partner_that_goes_away_ends_it)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct run r = {0};
	world_with_pool(71);
	ck_assert_int_eq(run(&r, b, make_task), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 300, 1), 0);
	cut_link(SIM_CUT_RESET);
	sim_run_for(w.sim, 100 * NS_PER_MS);
	ck_assert_int_eq(run(&r, a, backup_task), -ENOTCONN);
	ck_assert_int_eq(run(&r, a, verify_task), -ENOTCONN);
	sim_net_restore_all(w.net);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(run(&r, a, backup_task), 0);
	ck_assert(holds(&r, b, 0, 300, 1));
	ck_assert_int_eq(run(&r, a, verify_task), 0);
	world_fini();
}
END_TEST

/* ---- a write that outlives the session in which it came ---- */

static void far_write_task(void *arg)
{
	struct run *r = arg;
	static uint8_t data[BLOCK];
	r->rc = far_write(r->e->link, r->to, 0, data, sizeof(data));
}

static void far_over_task(void *arg)
{
	struct run *r = arg;
	r->rc = far_over(r->e->link);
}

START_TEST(a_write_left_of_an_earlier_session_is_told)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct run r = {0};
	world_with_pool(73);
	ck_assert_int_eq(run(&r, b, make_task), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(run(&r, a, far_over_task), 0);
	ck_assert_int_eq(run(&r, a, far_write_task), 0);
	ck_assert_uint_eq(b->core->far_writes + b->core->far_left, 0);
	b->core->far_writes = 1; /* one that waits */
	ck_assert_int_eq(run(&r, a, far_over_task), 0);
	cut_link(SIM_CUT_RESET);
	sim_run_for(w.sim, 1500 * NS_PER_MS);
	sim_net_restore_all(w.net);
	sim_run_for(w.sim, NS_PER_S);
	run(&r, a, far_over_task);
	ck_assert_int_eq(r.rc, -EBUSY);
	run(&r, a, backup_task); /* which the other could undo */
	ck_assert_int_eq(r.rc, -EBUSY);
	ck_assert_int_eq(run(&r, a, far_write_task), 0);
	ck_assert_uint_eq(b->core->far_left, 1);
	b->core->far_left = 0;
	ck_assert_int_eq(run(&r, a, far_over_task), 0);
	ck_assert_int_eq(run(&r, a, backup_task), 0);
	world_fini();
}
END_TEST

/* ---- what a partner may say ---- */

static void hostile_task(void *arg)
{
	struct run *r = arg;
	static uint8_t data[FAR_MAX + 512];
	struct {
		uint32_t version, volume;
		uint64_t off;
		uint32_t len, reserved;
	} h, good = {FAR_VERSION, r->to, 0, 4096, 0};
	struct iovec in = {.iov_base = data, .iov_len = sizeof(data)};
	static const struct {
		uint16_t type;
		uint32_t head_len, version, volume_add, len, reserved, data_len;
		uint64_t off;
		int rc;
	} bad[] = {
	    {1, 23, FAR_VERSION, 0, 4096, 0, 0, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION + 1, 0, 4096, 0, 0, 0, -ERR_VERSION},
	    {1, 24, FAR_VERSION, 0, 4096, 1, 0, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 0, 0, 0, 0, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 0, 100, 0, 0, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 0, 4096, 0, 0, 100, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 0, FAR_MAX + 512, 0, 0, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 0, 4096, 0, 4096, 0, -ERR_PROTO},
	    {1, 24, FAR_VERSION, 77, 4096, 0, 0, 0, -ENOENT},
	    {1, 24, FAR_VERSION, 0, 4096, 0, 0, SIZE, -EINVAL},
	    {1, 24, FAR_VERSION, 0, 4096, 0, 0, UINT64_MAX - 511, -EINVAL},
	    {2, 24, FAR_VERSION, 0, 4096, 0, 512, 0, -ERR_PROTO},
	    {2, 24, FAR_VERSION, 0, 4096, 0, 4096, SIZE - 512, -EINVAL},
	    {3, 24, FAR_VERSION, 0, 4096, 0, 0, 0, -ERR_PROTO},
	    {99, 24, FAR_VERSION, 0, 0, 0, 0, 0, -ERR_PROTO},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct iovec out = {.iov_base = data, .iov_len = bad[i].data_len};
		struct link_answer ans = {.iov = &in, .iovcnt = 1};
		h = good;
		h.version = bad[i].version;
		h.volume += bad[i].volume_add;
		h.off = bad[i].off;
		h.len = bad[i].len;
		h.reserved = bad[i].reserved;
		int rc = link_call(r->e->link, LINK_DATA, LINK_SVC_VOLUME, bad[i].type, &h,
				   bad[i].head_len, &out, bad[i].data_len ? 1 : 0, &ans, 0);
		ck_assert_msg(rc == bad[i].rc, "message %zu: %s", i, err_name(rc));
	}
	ck_assert_int_eq(
	    link_send(r->e->link, LINK_DATA, LINK_SVC_VOLUME, 2, &good, sizeof(good), data, 4096),
	    0);
	ck_assert_int_eq(far_read(r->e->link, r->to, 0, data, BLOCK), 0);
	/* what is not its own it does not touch */
	struct volume *v = core_volume_get_by_name(r->e->core, "v");
	ck_assert_int_eq(far_write(r->e->link, volume_id(v), 0, data, BLOCK), -ERR_NOT_OWNER);
	ck_assert_int_eq(far_flush(r->e->link, volume_id(v)), -ERR_NOT_OWNER);
	core_volume_put(v);
}

START_TEST(bad_messages_are_refused)
{
	struct run r = {0};
	world_with_pool(72);
	ck_assert_int_eq(run(&r, &w.e[1], make_task), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(&w.e[0], true, 0, 8, 1), 0);
	run(&r, &w.e[0], hostile_task);
	ck_assert_int_eq(io(&w.e[0], false, 0, 8, 1), 0);
	world_fini();
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, backup_in_a_pool_of_the_partners);
	tcase_add_test(tc, a_partner_that_goes_away_ends_it);
	tcase_add_test(tc, a_write_left_of_an_earlier_session_is_told);
	tcase_add_test(tc, bad_messages_are_refused);
}

int main(void)
{
	return own_suite("core_far", add_tests);
}
