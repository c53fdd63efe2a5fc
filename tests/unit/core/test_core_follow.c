/*
 * Two cores on the same disks: what one of them changes, the other has too, when the change is
 * done.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/meta_impl.h"
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_node.h"

#define DISKS	  6
#define DISK_SIZE (96 * 1024 * 1024ull)
#define SEGMENT	  (8 * 1024 * 1024)

struct world;

struct side {
	struct world *w;
	unsigned index;
	struct sim_node *node;
	struct gcm *gcm;
	struct core_duplex duplex;
	void *control, *segment;
	struct core *core;
	unsigned rounds;
	char why[CORE_WHY_LEN];
};

struct world {
	struct sim *sim;
	struct sim_disk *disk[DISKS];
	struct side side[2];
	unsigned busy;
};

static const char *const paths[DISKS] = {"d0", "d1", "d2", "d3", "d4", "d5"};

static struct side *other(struct side *s)
{
	return &s->w->side[!s->index];
}

/* ---- between the two: calls in the same process ---- */

static int op_lock(void *arg, uint64_t *ret_seq, bool *ret_broken, char *ret_holder)
{
	struct side *s = arg;
	int rc = s->gcm->ops->meta_lock(s->gcm, ret_seq);
	*ret_broken = false;
	snprintf(ret_holder, 64, "the other");
	return rc;
}

static void op_unlock(void *arg, uint64_t seq)
{
	struct side *s = arg;
	s->gcm->ops->meta_unlock(s->gcm, seq);
}

struct message {
	struct side *to;
	enum meta_message type;
	const void *head, *data;
	uint32_t head_len, data_len;
	bool done;
	int rc;
};

static void deliver(void *arg)
{
	struct message *x = arg;
	x->rc = meta_share_take(core_meta(x->to->core), x->type, x->head, x->head_len, x->data,
				x->data_len);
	x->done = true;
}

static int op_call(void *arg, enum meta_message type, const void *head, uint32_t head_len,
		   const void *data, uint32_t data_len)
{
	struct side *s = arg;
	struct message x = {other(s), type, head, data, head_len, data_len, false, 0};
	if (!other(s)->core)
		return -ERR_DISCONNECTED;
	sim_node_start(other(s)->node, deliver, &x);
	while (!x.done)
		env_sleep_ns(sim_node_env(s->node), 10 * NS_PER_US);
	ck_assert_int_eq(x.rc, 0);
	return x.rc;
}

static void op_send(void *arg, enum meta_message type)
{
	struct side *s = arg;
	if (other(s)->core) /* neither of them waits */
		meta_share_take(core_meta(other(s)->core), type, NULL, 0, NULL, 0);
}

static const struct meta_share_ops direct = {
    .lock = op_lock, .unlock = op_unlock, .call = op_call, .send = op_send};

/* ---- the world ---- */

static bool alive(void *arg, int32_t pid, uint64_t started)
{
	return true;
}

static void side_open(void *arg)
{
	struct side *s = arg;
	struct core *c;
	ck_assert_int_eq(gcm_shared_open_as(&s->gcm,
					    &(struct gcm_shared_opts){
						.env = sim_node_env(s->node),
						.segment = s->control,
						.size = gcm_shared_size(),
						.name = s->index ? "b" : "a",
						.incarnation = s->index + 1,
						.pid = (int32_t)s->index + 1,
						.started = 1,
						.alive = alive,
					    }),
			 0);
	s->duplex = (struct core_duplex){.gcm = s->gcm, .partner = s->index ? "a" : "b"};
	ck_assert_int_eq(core_open(&c, &(struct core_opts){.env = sim_node_env(s->node),
							   .controller = s->index ? "b" : "a",
							   .disks = paths,
							   .ndisks = DISKS,
							   .segment = s->segment,
							   .segment_size = SEGMENT,
							   .array_name = "test",
							   .duplex = &s->duplex}),
			 0);
	c->meta->opts.share = &direct;
	c->meta->opts.share_arg = s;
	ck_assert_int_eq(meta_refresh(core_meta(c), s->why), 0);
	s->core = c;
}

static void side_close(void *arg)
{
	struct side *s = arg;
	struct core *c = s->core;
	ck_assert_int_eq(core_close(c), 0);
	s->core = NULL;
	s->gcm->ops->close(s->gcm);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(1);
	for (unsigned i = 0; i < DISKS; i++)
		w->disk[i] = sim_disk_new(w->sim, paths[i], DISK_SIZE);
	struct sim_memory *control = sim_memory_new(w->sim, "control", gcm_shared_size());
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->side[i];
		*s = (struct side){.w = w, .index = i};
		s->node = sim_node_new(w->sim, i ? "b" : "a");
		s->control = sim_memory_map(control, s->node);
		s->segment = sim_memory_map(
		    sim_memory_new(w->sim, i ? "cache-b" : "cache-a", SEGMENT), s->node);
		ck_assert_int_eq(sim_node_run(s->node, side_open, s), 0);
	}
}

static void world_fini(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(sim_node_run(w->side[i].node, side_close, &w->side[i]), 0);
	sim_run_for(w->sim, 10 * NS_PER_S);
	sim_free(w->sim);
}

#define TWO_TEST(name)                                                                             \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		struct world w;                                                                    \
		world_init(&w);                                                                    \
		ck_assert_int_eq(sim_node_run(w.side[0].node, name##_task, &w.side[0]), 0);        \
		world_fini(&w);                                                                    \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

/* ---- what a core has ---- */

static void ck_disks(struct side *s, unsigned first, unsigned n, enum disk_state state)
{
	for (unsigned i = first; i < first + n; i++) {
		struct disk *d = core_disk_find(s->core, paths[i]);
		ck_assert_int_eq(disk_state(d), state);
		ck_assert_int_eq(meta_disk_has(core_meta(s->core), d), state == DISK_ONLINE);
	}
}

/* Objects and metadata say the same, and both sides' metadata is the same. */
static void ck_same(struct world *w)
{
	ck_assert_uint_eq(meta_get(core_meta(w->side[0].core))->seq,
			  meta_get(core_meta(w->side[1].core))->seq);
	for (unsigned i = 0; i < 2; i++) {
		struct core *c = w->side[i].core;
		const Isthmus__ArrayMeta *am = meta_get(core_meta(c));
		struct core_pool *cp;
		struct volume *v;
		unsigned n = 0;
		RB_FOREACH (v, volume_tree, &c->volumes) {
			const Isthmus__Volume *mv = meta_volume_by_id(am, volume_id(v));
			ck_assert_ptr_nonnull(mv);
			ck_assert_str_eq(mv->name, volume_name(v));
			ck_assert_uint_eq(mv->size, volume_size(v));
			ck_assert_uint_eq(mv->epoch, volume_epoch(v));
			n++;
		}
		ck_assert_uint_eq(n, am->n_volumes);
		n = 0;
		TAILQ_FOREACH (cp, &c->pools, link) {
			ck_assert_ptr_nonnull(meta_pool_find(am, cp->name));
			n++;
		}
		ck_assert_uint_eq(n, am->n_pools);
		for (unsigned k = 0; k < DISKS; k++) {
			const struct disk_label *a = disk_label(w->side[0].core->disks[k]);
			const struct disk_label *b = disk_label(w->side[1].core->disks[k]);
			ck_assert_mem_eq(a->disk_uuid, b->disk_uuid, 16);
			ck_assert_mem_eq(a->pool_uuid, b->pool_uuid, 16);
			ck_assert_uint_eq(a->position, b->position);
		}
	}
}

static void pool(struct side *s, const char *name, const char *level, unsigned first, unsigned n)
{
	int rc = core_pool_create(s->core, name, level, 65536, false,
				  (const char *const *)paths + first, n, s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
}

struct made {
	struct side *s;
	const char *name, *level;
	unsigned first, n;
	bool done;
};

static void pool_task(void *arg)
{
	struct made *m = arg;
	pool(m->s, m->name, m->level, m->first, m->n);
	m->done = true;
}

/* By the other side. */
static void pool_there(struct side *s, const char *name, const char *level, unsigned first,
		       unsigned n)
{
	struct made m = {other(s), name, level, first, n, false};
	sim_node_start(other(s)->node, pool_task, &m);
	while (!m.done)
		env_sleep_ns(sim_node_env(s->node), NS_PER_MS);
}

TWO_TEST(pools_and_disks)
{
	struct side *a = arg, *b = other(a);
	ck_assert_mem_eq(a->core->array_uuid, b->core->array_uuid, 16);
	ck_assert_uint_eq(core_memory_id(a->core), core_memory_id(b->core));
	pool(a, "p1", "raid1", 0, 2);
	struct core_pool *cp = core_pool_find(b->core, "p1");
	ck_assert_ptr_nonnull(cp);
	ck_assert_ptr_null(cp->pool);
	ck_assert_int_eq(cp->place, CORE_PARTNER);
	ck_disks(b, 0, 2, DISK_ONLINE);
	ck_disks(b, 2, 4, DISK_BLANK);
	ck_same(a->w);
	/* from both sides to all disks of the array */
	pool_there(a, "p2", "raid1", 2, 2);
	ck_disks(a, 0, 4, DISK_ONLINE);
	ck_same(a->w);
	uint64_t seq = meta_get(core_meta(a->core))->seq;
	for (unsigned i = 0; i < 4; i++) {
		struct meta_slot slot[2];
		for (unsigned k = 0; k < 2; k++)
			meta_slot_decode(sim_disk_bytes(a->w->disk[i]) + meta_slot_offset(k),
					 a->core->array_uuid, &slot[k]);
		ck_assert(slot[0].seq == seq || slot[1].seq == seq);
	}
	/* what the other has is refused by name */
	const char *const taken[] = {"d2"};
	ck_assert_int_eq(core_pool_create(a->core, "p3", "single", 65536, false, taken, 1, a->why),
			 -EBUSY);
	/* a spare, and one no more */
	ck_assert_int_eq(core_spare_add(a->core, core_disk_find(a->core, "d4"), a->why), 0);
	ck_assert(core_disk_spare(b->core, core_disk_find(b->core, "d4")));
	ck_assert_int_eq(core_spare_remove(a->core, "d4", a->why), 0);
	ck_assert(!core_disk_spare(b->core, core_disk_find(b->core, "d4")));
	/* wiped */
	struct disk *d = core_disk_find(a->core, "d4");
	meta_disk_remove(core_meta(a->core), d);
	ck_assert_int_eq(disk_wipe(d), 0);
	meta_tell_labels(core_meta(a->core));
	ck_disks(b, 4, 2, DISK_BLANK);
	/* gone */
	ck_assert_int_eq(core_pool_remove(a->core, "p1", a->why), 0);
	env_sleep_ns(sim_node_env(a->node), NS_PER_S);
	ck_assert_ptr_null(core_pool_find(b->core, "p1"));
	ck_disks(b, 0, 4, DISK_ONLINE);
	ck_same(a->w);
}

TWO_TEST(volumes)
{
	struct side *a = arg, *b = other(a);
	uint32_t id;
	uint8_t *buf = malloc(sizeof(struct cache_read));
	pool(a, "p1", "raid1", 0, 2);
	ck_assert_int_eq(core_volume_create(a->core, "p1", "v1", 1 << 20, &id), 0);
	struct volume *v = core_volume_get_by_name(b->core, "v1");
	ck_assert_ptr_nonnull(v);
	ck_assert_uint_eq(volume_id(v), id);
	ck_assert_int_ne(volume_read(v, 0, 4096, (struct cache_read *)buf), 0);
	ck_same(a->w);
	ck_assert_int_eq(core_volume_resize(a->core, "v1", 8 << 20), 0);
	ck_assert_uint_eq(volume_size(v), 8 << 20);
	ck_same(a->w);
	ck_assert_int_eq(core_volume_remove(a->core, "v1"), 0);
	ck_assert_ptr_null(core_volume_get_by_name(b->core, "v1"));
	env_sleep_ns(sim_node_env(a->node), NS_PER_S);
	ck_assert_int_eq(volume_read(v, 0, 4096, (struct cache_read *)buf), -ERR_SHUTDOWN);
	core_volume_put(v);
	ck_same(a->w);
	free(buf);
}

/* Its label is another one since the last look, and so is who has it: neither is an error. */
TWO_TEST(watches_of_disks_keep_still)
{
	struct side *a = arg, *b = other(a);
	ck_assert_int_eq(core_watch_start(a->core), 0);
	pool(a, "p1", "raid1", 0, 2);
	pool_there(a, "p2", "raid5", 2, 3);
	env_sleep_ns(sim_node_env(a->node), 3 * NS_PER_S);
	ck_disks(a, 0, 5, DISK_ONLINE);
	ck_assert_int_eq(pool_state(core_pool_find(a->core, "p1")->pool), POOL_ONLINE);
	ck_same(a->w);
	/* a wipe that nobody told is seen at the next look */
	struct disk *d = core_disk_find(b->core, "d5");
	struct disk_label l = {0};
	memcpy(l.array_uuid, b->core->array_uuid, 16);
	env_random(sim_node_env(a->node), l.disk_uuid, 16);
	ck_assert_int_eq(disk_write_label(d, &l), 0);
	env_sleep_ns(sim_node_env(a->node), 3 * NS_PER_S);
	ck_disks(a, 5, 1, DISK_ONLINE);
	ck_assert_int_eq(disk_wipe(d), 0);
	env_sleep_ns(sim_node_env(a->node), 3 * NS_PER_S);
	ck_disks(a, 5, 1, DISK_BLANK);
}

/* ---- both at once ---- */

#define ROUNDS 30

static void maker(void *arg)
{
	struct side *s = arg;
	struct env *env = sim_node_env(s->node);
	for (unsigned i = 0; i < ROUNDS; i++) {
		char name[32];
		uint32_t id;
		snprintf(name, sizeof(name), "%c%u", 'a' + (int)s->index, i);
		ck_assert_int_eq(
		    core_volume_create(s->core, s->index ? "p2" : "p1", name, 1 << 20, &id), 0);
		struct volume *v = core_volume_get(other(s)->core, id);
		ck_assert_ptr_nonnull(v);
		core_volume_put(v);
		if (i % 3 == 0)
			ck_assert_int_eq(core_volume_resize(s->core, name, 5 << 20), 0);
		if (i % 2 == 0) {
			ck_assert_int_eq(core_volume_remove(s->core, name), 0);
			ck_assert_ptr_null(core_volume_get_by_name(other(s)->core, name));
		}
		if (i % 7 == 0)
			env_sleep_ns(env, sim_random_below(s->w->sim, NS_PER_MS));
	}
	s->w->busy--;
}

TWO_TEST(both_make_and_remove_volumes)
{
	struct side *a = arg, *b = other(a);
	pool(a, "p1", "raid0", 0, 2);
	pool_there(a, "p2", "raid0", 2, 2);
	a->w->busy = 2;
	sim_node_start(a->node, maker, a);
	sim_node_start(b->node, maker, b);
	while (a->w->busy)
		env_sleep_ns(sim_node_env(a->node), NS_PER_MS);
	env_sleep_ns(sim_node_env(a->node), NS_PER_S);
	ck_assert_uint_eq(meta_get(core_meta(a->core))->n_volumes, ROUNDS);
	ck_same(a->w);
}

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_follow");
	TCase *t = tcase_create("two");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, pools_and_disks);
	tcase_add_test(t, volumes);
	tcase_add_test(t, watches_of_disks_keep_still);
	tcase_add_test(t, both_make_and_remove_volumes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
