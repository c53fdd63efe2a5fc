/* One array metadata for two controllers: both change it, miss news, fail, hold on, say anything.
 */
#include "tests/unit/meta/share_rig.h"

START_TEST(both_sides_at_once)
{
	struct world w;
	world_init(&w, (uint64_t)_i + 1);
	start_writers(&w);
	run_out(&w);
	ck_assert_uint_eq(w.nacked, 2 * WRITERS * ADDS);
	ck_acked(&w);
	ck_equal(&w);
	ck_slots(&w);
	ck_undamaged(&w);
	for (unsigned k = 0; k < 2; k++) {
		ck_assert_uint_ge(w.side[k].news, WRITERS * ADDS);
		ck_assert_uint_eq(w.side[k].failed_writes, 0);
	}
	/* every change once, in order, on both */
	ck_assert_uint_ge(w.side[0].watched, 2 * WRITERS * ADDS);
	world_fini(&w);
}
END_TEST

struct many {
	struct side *s;
	unsigned n, done;
};

static void add_many(void *arg)
{
	struct many *x = arg;
	for (; x->done < x->n; x->done++)
		ck_assert_int_eq(add(x->s, 1000 * (x->s->index + 1) + x->done), 0);
	x->s->w->writing--;
}

/* Who asks for the right while the other has it without a pause comes next, every time. */
START_TEST(turns)
{
	struct world w;
	world_init(&w, 3);
	struct many x[2] = {{&w.side[0], 60, 0}, {&w.side[1], 60, 0}};
	w.writing = 2;
	for (unsigned k = 0; k < 2; k++)
		sim_node_start(w.side[k].node, add_many, &x[k]);
	while (w.writing == 2) {
		sim_run_for(w.sim, NS_PER_MS);
		int apart = (int)x[0].done - (int)x[1].done;
		ck_assert_msg(apart > -4 && apart < 4, "%u and %u", x[0].done, x[1].done);
	}
	run_out(&w);
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

/* ---- a partner that is away, deaf, or holds on ---- */

static void adds_alone(void *arg)
{
	struct side *s = arg;
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(add(s, 500 + i), 0);
}

START_TEST(a_partner_that_was_away_reads_the_disks)
{
	struct world w;
	world_init(&w, 9);
	struct side *a = &w.side[0], *b = &w.side[1];
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(sim_node_run(a->node, adds_alone, a), 0);
	ck_assert_int_eq(sim_node_run(b->node, side_close, b), 0);
	sim_node_reborn(b->node);
	side_start(b);
	ck_assert(knows(b, 504));
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

static void adds_deaf(void *arg)
{
	struct side *a = arg, *b = other(a);
	b->deaf = true;
	ck_assert_int_eq(add(a, 1), 0);
	ck_assert(!knows(b, 1));
	b->deaf = false;
}

static void adds_one(void *arg)
{
	ck_assert_int_eq(add(arg, 2), 0);
}

/* It did not take the news: its own next change begins with what is on the disks. */
START_TEST(who_missed_news_builds_on_them_all_the_same)
{
	struct world w;
	world_init(&w, 10);
	struct side *a = &w.side[0], *b = &w.side[1];
	ck_assert_int_eq(sim_node_run(a->node, adds_deaf, a), 0);
	ck_assert_int_eq(sim_node_run(b->node, adds_one, b), 0);
	ck_assert(knows(b, 1));
	ck_assert(knows(a, 1) && knows(a, 2));
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

static void holds_on(void *arg)
{
	struct side *a = arg, *b = other(a);
	uint64_t seq;
	struct env *env = sim_node_env(a->node);
	ck_assert_int_eq(b->gcm->ops->meta_lock(b->gcm, &seq), 0);
	uint64_t from = env_now_ns(env);
	ck_assert_int_eq(add(a, 1), -EBUSY);
	ck_assert_ptr_nonnull(strstr(a->why, "controller 'b'"));
	ck_assert_uint_ge(env_now_ns(env) - from, 10 * NS_PER_S);
	ck_assert_uint_le(env_now_ns(env) - from, 11 * NS_PER_S);
	b->gcm->ops->meta_unlock(b->gcm, seq);
	ck_assert_int_eq(add(a, 1), 0);
}

START_TEST(who_holds_on_is_named)
{
	struct world w;
	world_init(&w, 11);
	ck_assert_int_eq(sim_node_run(w.side[0].node, holds_on, &w.side[0]), 0);
	world_fini(&w);
}
END_TEST

/* ---- a change that fails ---- */

static void set_dead(struct world *w, unsigned n, bool dead)
{
	for (unsigned i = 0; i < n; i++) {
		struct sim_disk_faults f;
		sim_disk_get_faults(w->sd[i], &f);
		f.write_error_ppm = dead ? 1000000 : 0;
		sim_disk_set_faults(w->sd[i], &f);
	}
}

static void fails(void *arg)
{
	struct side *a = arg;
	uint64_t seq = meta_get(a->m)->seq;
	set_dead(a->w, 2, true);
	ck_assert_int_eq(add(a, 1), -EIO);
	set_dead(a->w, 2, false);
	ck_assert_uint_eq(meta_get(a->m)->seq, seq);
}

/* One disk of three has it: not the state, and its number is not given again by either. */
START_TEST(a_failed_change_comes_not_through_by_the_partner)
{
	struct world w;
	world_init(&w, 12);
	struct side *a = &w.side[0], *b = &w.side[1];
	uint64_t seq = meta_get(a->m)->seq;
	ck_assert_int_eq(sim_node_run(a->node, fails, a), 0);
	ck_assert_int_eq(sim_node_run(b->node, adds_one, b), 0);
	ck_assert(!knows(b, 1) && !knows(a, 1) && knows(a, 2));
	ck_assert_uint_eq(meta_get(a->m)->seq, seq + 2);
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

/* The partner was not told: it finds the change on the one disk. Then it came through, on both. */
START_TEST(a_failed_change_that_was_not_told)
{
	struct world w;
	world_init(&w, 13);
	struct side *a = &w.side[0], *b = &w.side[1];
	b->deaf = true;
	ck_assert_int_eq(sim_node_run(a->node, fails, a), 0);
	b->deaf = false;
	ck_assert_int_eq(sim_node_run(b->node, adds_one, b), 0);
	ck_assert(knows(b, 1) && knows(a, 1) && knows(a, 2));
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

/* ---- messages ---- */

static int take(struct side *s, enum meta_message type, uint64_t seq, uint64_t tried,
		const void *data, size_t len)
{
	struct meta_head h = {.seq = seq, .tried = tried};
	memcpy(h.array_uuid, array_uuid, 16);
	return meta_share_take(s->m, type, &h, sizeof(h), data, (uint32_t)len);
}

static void hostile(void *arg)
{
	struct side *s = arg;
	uint64_t seq = meta_get(s->m)->seq;
	Isthmus__ArrayMeta *am = meta_copy(meta_get(s->m));
	am->seq = seq + 1;
	size_t len = isthmus__array_meta__get_packed_size(am);
	uint8_t *p = malloc(len);
	isthmus__array_meta__pack(am, p);
	struct meta_head h = {.seq = seq + 1, .tried = seq + 1};
	/* heads */
	ck_assert_int_eq(meta_share_take(s->m, META_NEWS, &h, sizeof(h), p, (uint32_t)len),
			 -ERR_FOREIGN);
	ck_assert_int_eq(meta_share_take(s->m, META_NEWS, &h, 31, p, (uint32_t)len), -ERR_PROTO);
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, seq, p, len), -ERR_PROTO);
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, UINT64_MAX, p, len), -ERR_PROTO);
	ck_assert_int_eq(take(s, 77, seq + 1, seq + 1, p, len), -ERR_PROTO);
	/* states */
	ck_assert_int_eq(take(s, META_NEWS, seq + 2, seq + 2, p, len), -ERR_CORRUPT);
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, seq + 1, p, len / 2), -ERR_CORRUPT);
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, seq + 1, "junk", 4), -ERR_CORRUPT);
	am->next_volume_id = 0;
	Isthmus__Volume *v = malloc(sizeof(*v));
	isthmus__volume__init(v);
	ck_assert_int_eq(pb_set_text(&v->name, "v"), 0);
	ck_assert_int_eq(pb_append(&am->volumes, &am->n_volumes, v), 0);
	len = isthmus__array_meta__get_packed_size(am);
	p = realloc(p, len);
	isthmus__array_meta__pack(am, p);
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, seq + 1, p, len), -ERR_CORRUPT);
	/* said to be on the disks, and is not */
	ck_assert_int_eq(take(s, META_NEWS, seq + 1, seq + 1, NULL, 0), -ERR_CORRUPT);
	ck_assert_uint_eq(meta_get(s->m)->seq, seq);
	/* the same and an older one do nothing */
	unsigned watched = s->watched;
	ck_assert_int_eq(take(s, META_NEWS, seq, seq, "junk", 4), 0);
	ck_assert_int_eq(take(s, META_NEWS, seq - 1, seq, "junk", 4), 0);
	ck_assert_uint_eq(s->watched, watched);
	ck_assert_int_eq(add(s, 7), 0);
	free(p);
	isthmus__array_meta__free_unpacked(am, NULL);
}

START_TEST(hostile_messages)
{
	struct world w;
	world_init(&w, 14);
	ck_assert_int_eq(sim_node_run(w.side[0].node, adds_alone, &w.side[0]), 0);
	ck_assert_int_eq(sim_node_run(w.side[1].node, hostile, &w.side[1]), 0);
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

static int change_large(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	for (unsigned n = 0; n < 40000; n++)
		change_add(am, &n, why);
	return 0;
}

static void adds_large(void *arg)
{
	struct side *s = arg;
	int rc = meta_update(s->m, change_large, NULL, s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
	ck_assert(knows(other(s), 39999));
}

START_TEST(a_large_state_is_read_from_the_disks)
{
	struct world w;
	world_init(&w, 15);
	ck_assert_int_eq(sim_node_run(w.side[0].node, adds_large, &w.side[0]), 0);
	ck_assert_uint_gt(isthmus__array_meta__get_packed_size(meta_get(w.side[0].m)),
			  META_NEWS_MAX);
	ck_equal(&w);
	world_fini(&w);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_add_loop_test(t, both_sides_at_once, 0, 5);
	tcase_add_test(t, turns);
	tcase_add_test(t, a_partner_that_was_away_reads_the_disks);
	tcase_add_test(t, who_missed_news_builds_on_them_all_the_same);
	tcase_add_test(t, who_holds_on_is_named);
	tcase_add_test(t, a_failed_change_comes_not_through_by_the_partner);
	tcase_add_test(t, a_failed_change_that_was_not_told);
	tcase_add_test(t, hostile_messages);
	tcase_add_test(t, a_large_state_is_read_from_the_disks);
}

int main(void)
{
	return share_suite("meta_share", add_tests);
}
