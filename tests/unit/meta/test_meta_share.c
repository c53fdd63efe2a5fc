/*
 * One array metadata for two controllers: two nodes of a simulated world on the same disks, with
 * control memory and messages between them. What either has acknowledged is known to both at that
 * moment, whoever dies when.
 */
#include "config.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/gcm.h"
#include "blockcore/control/meta_impl.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include "tests/sim/sim_node.h"

#define NDISKS	3
#define SIZE	(64 * 1024 * 1024ull)
#define ADDS	40 /* of a writer */
#define WRITERS 4

static const uint8_t array_uuid[16] = "array-uuid-here!";

struct world;

struct side {
	struct world *w;
	unsigned index;
	struct sim_node *node;
	struct gcm *gcm;
	void *control; /* its view */
	struct disk *d[NDISKS];
	struct meta *m; /* NULL: not in service */
	struct meta_watch *watch;
	unsigned watched, failed_writes;
	bool deaf;     /* messages get no answer but an error */
	unsigned news; /* that it took */
	uint64_t seen; /* sequence when its watch ran last */
	char why[META_WHY_LEN];
	int rc;
};

struct world {
	struct sim *sim;
	struct sim_disk *sd[NDISKS];
	struct sim_memory *control;
	struct side side[2];
	unsigned writing; /* writers that have not ended */
	unsigned next, acked[4 * WRITERS * ADDS], nacked;
};

static struct side *other(struct side *s)
{
	return &s->w->side[!s->index];
}

/* ---- between the two ---- */

static bool alive(void *arg, int32_t pid, uint64_t started)
{
	struct world *w = arg;
	struct sim_node *n = w->side[pid - 1].node;
	return !sim_node_dead(n) && sim_node_life(n) == started;
}

static int op_lock(void *arg, uint64_t *ret_seq, bool *ret_broken, char *ret_holder)
{
	struct side *s = arg;
	if (sim_node_dead(s->node))
		return -EIO;
	int rc = s->gcm->ops->meta_lock(s->gcm, ret_seq);
	*ret_broken = rc == 0 && *ret_seq == GCM_SEQ_UNKNOWN;
	if (*ret_broken)
		*ret_seq = 0;
	snprintf(ret_holder, 64, "%s", other(s)->index ? "b" : "a");
	return rc;
}

static void op_unlock(void *arg, uint64_t seq)
{
	struct side *s = arg;
	s->gcm->ops->meta_unlock(s->gcm, seq); /* of a dead one: in a private copy */
}

struct message {
	struct side *to;
	enum meta_message type;
	uint8_t head[64], *data;
	uint32_t head_len, data_len;
	bool done;
	unsigned refs;
	int rc;
};

static void message_put(struct message *x)
{
	if (--x->refs)
		return;
	free(x->data);
	free(x);
}

static void deliver(void *arg)
{
	struct message *x = arg;
	x->rc = x->to->m
		    ? meta_share_take(x->to->m, x->type, x->head, x->head_len, x->data, x->data_len)
		    : -ERR_SHUTDOWN;
	if (x->type == META_NEWS && x->rc == 0)
		x->to->news++;
	x->done = true;
	message_put(x);
}

static struct message *post(struct side *from, enum meta_message type, const void *head,
			    uint32_t head_len, const void *data, uint32_t data_len)
{
	struct message *x = calloc(1, sizeof(*x));
	x->to = other(from);
	x->type = type;
	x->refs = 2;
	x->head_len = head_len;
	x->data_len = data_len;
	if (head_len)
		memcpy(x->head, head, head_len);
	x->data = malloc(data_len + 1);
	if (data_len)
		memcpy(x->data, data, data_len);
	sim_node_start(x->to->node, deliver, x);
	return x;
}

static bool reachable(struct side *s)
{
	return !sim_node_dead(s->node) && !sim_node_dead(other(s)->node) && other(s)->m;
}

static int op_call(void *arg, enum meta_message type, const void *head, uint32_t head_len,
		   const void *data, uint32_t data_len)
{
	struct side *s = arg;
	struct env *env = sim_node_env(s->node);
	uint64_t life = sim_node_life(other(s)->node);
	if (!reachable(s))
		return -ERR_DISCONNECTED;
	env_sleep_ns(env, 20 * NS_PER_US);
	if (!reachable(s))
		return -ERR_DISCONNECTED;
	if (other(s)->deaf)
		return -ETIMEDOUT;
	struct message *x = post(s, type, head, head_len, data, data_len);
	while (!x->done && reachable(s) && sim_node_life(other(s)->node) == life)
		env_sleep_ns(env, 10 * NS_PER_US);
	int rc = x->done && reachable(s) ? x->rc : -ERR_DISCONNECTED;
	message_put(x);
	return rc;
}

static void op_send(void *arg, enum meta_message type)
{
	struct side *s = arg;
	if (reachable(s))
		message_put(post(s, type, NULL, 0, NULL, 0));
}

static const struct meta_share_ops direct = {
    .lock = op_lock, .unlock = op_unlock, .call = op_call, .send = op_send};

/* ---- a side ---- */

static void on_failed(void *arg, struct disk *d, int err)
{
	((struct side *)arg)->failed_writes++;
}

static void on_change(void *arg, const Isthmus__ArrayMeta *am)
{
	struct side *s = arg;
	s->watched++;
	ck_assert_ptr_eq(am, meta_get(s->m));
	ck_assert_uint_gt(am->seq, s->seen);
	s->seen = am->seq;
}

static void open_disks(struct side *s)
{
	for (unsigned i = 0; i < NDISKS; i++) {
		struct bdev *b;
		char path[8];
		snprintf(path, sizeof(path), "d%u", i);
		ck_assert_int_eq(env_disk_open(sim_node_env(s->node), path, 0, &b), 0);
		ck_assert_int_eq(disk_open(&s->d[i], sim_node_env(s->node), path, b, NULL), 0);
		if (disk_state(s->d[i]) != DISK_BLANK)
			continue;
		struct disk_label l = {.position = i};
		memcpy(l.array_uuid, array_uuid, 16);
		l.disk_uuid[0] = (uint8_t)(i + 1);
		ck_assert_int_eq(disk_write_label(s->d[i], &l), 0);
	}
}

static void side_open(void *arg)
{
	struct side *s = arg;
	struct meta *m;
	open_disks(s);
	ck_assert_int_eq(
	    gcm_shared_open_as(
		&s->gcm,
		&(struct gcm_shared_opts){.env = sim_node_env(s->node),
					  .segment = s->control,
					  .size = gcm_shared_size(),
					  .name = s->index ? "b" : "a",
					  .incarnation = sim_node_life(s->node) * 2 + s->index,
					  .pid = (int32_t)s->index + 1,
					  .started = sim_node_life(s->node),
					  .alive = alive,
					  .arg = s->w}),
	    0);
	int rc = meta_open(&m,
			   &(struct meta_opts){.env = sim_node_env(s->node),
					       .array_uuid = array_uuid,
					       .array_name = "test",
					       .disks = s->d,
					       .ndisks = NDISKS,
					       .write_failed = on_failed,
					       .arg = s,
					       .share = &direct,
					       .share_arg = s},
			   s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
	s->m = m;
	s->seen = meta_get(m)->seq;
	ck_assert_int_eq(meta_watch(m, on_change, s, &s->watch), 0);
	/* as when the link comes up */
	rc = meta_refresh(m, s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
}

static void side_start(struct side *s)
{
	s->seen = 0;
	s->control = sim_memory_map(s->w->control, s->node);
	ck_assert_int_eq(sim_node_run(s->node, side_open, s), 0);
}

static void side_close(void *arg)
{
	struct side *s = arg;
	meta_close(s->m);
	s->m = NULL;
	s->gcm->ops->close(s->gcm);
	for (unsigned i = 0; i < NDISKS; i++)
		disk_close(s->d[i]);
}

static void partner_down(void *arg)
{
	struct side *s = arg;
	if (!s->m)
		return;
	gcm_forget(s->gcm, other(s)->gcm->self);
	meta_partner_gone(s->m);
	s->rc = meta_refresh(s->m, s->why);
	ck_assert_msg(s->rc == 0 || sim_node_dead(s->node), "%s", s->why);
}

static void on_kill(void *arg, struct sim_node *n)
{
	struct side *s = other(arg);
	if (!sim_node_dead(s->node) && s->m)
		sim_node_start(s->node, partner_down, s);
}

static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(seed);
	for (unsigned i = 0; i < NDISKS; i++) {
		char path[8];
		snprintf(path, sizeof(path), "d%u", i);
		w->sd[i] = sim_disk_new(w->sim, path, SIZE);
	}
	w->control = sim_memory_new(w->sim, "control", gcm_shared_size());
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->side[i];
		*s = (struct side){.w = w, .index = i};
		s->node = sim_node_new(w->sim, i ? "b" : "a");
		sim_node_on_kill(s->node, on_kill, s);
	}
	for (unsigned i = 0; i < 2; i++)
		side_start(&w->side[i]);
}

static void world_fini(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (w->side[i].gcm)
			ck_assert_int_eq(sim_node_run(w->side[i].node, side_close, &w->side[i]), 0);
	sim_run_for(w->sim, 10 * NS_PER_S);
	sim_free(w->sim);
}

/* ---- changes ---- */

static void target_name(char *ret, unsigned n)
{
	snprintf(ret, 64, "iqn.2026-01.test:%u", n);
}

static int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	char iqn[64];
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	target_name(iqn, *(unsigned *)arg);
	ck_assert_int_eq(pb_set_text(&t->iqn, iqn), 0);
	return pb_append(&am->targets, &am->n_targets, t);
}

static bool knows(const struct side *s, unsigned n)
{
	char iqn[64];
	const Isthmus__ArrayMeta *am = meta_get(s->m);
	target_name(iqn, n);
	for (size_t i = 0; i < am->n_targets; i++)
		if (strcmp(am->targets[i]->iqn, iqn) == 0)
			return true;
	return false;
}

static int add(struct side *s, unsigned n)
{
	return meta_update(s->m, change_add, &n, s->why);
}

/* What was acknowledged is known on both sides at that moment. */
static void writer(void *arg)
{
	struct side *s = arg;
	struct world *w = s->w;
	for (unsigned i = 0; i < ADDS && !sim_node_dead(s->node); i++) {
		char why[META_WHY_LEN];
		unsigned n = w->next++;
		bool there = other(s)->m && !sim_node_dead(other(s)->node);
		int rc = meta_update(s->m, change_add, &n, why);
		if (sim_node_dead(s->node))
			break;
		ck_assert_msg(rc == 0, "%s", why);
		w->acked[w->nacked++] = n;
		ck_assert(knows(s, n));
		if (there && reachable(s))
			ck_assert(knows(other(s), n));
		if (sim_random_below(w->sim, 4) == 0)
			env_sleep_ns(sim_node_env(s->node), sim_random_below(w->sim, NS_PER_MS));
	}
	w->writing--;
}

/* As core_watch.c does: looks at slots that the other may be writing. */
static void checker(void *arg)
{
	struct side *s = arg;
	for (unsigned i = 0; i < 10 && !sim_node_dead(s->node); i++) {
		meta_check_slots(s->m);
		env_sleep_ns(sim_node_env(s->node), 3 * NS_PER_MS);
	}
	s->w->writing--;
}

static void start_writers(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < WRITERS; k++, w->writing++)
			sim_node_start(w->side[i].node, writer, &w->side[i]);
		sim_node_start(w->side[i].node, checker, &w->side[i]);
		w->writing++;
	}
}

static void run_out(struct world *w)
{
	for (unsigned i = 0; w->writing && i < 10000; i++)
		sim_run_for(w->sim, 10 * NS_PER_MS);
	ck_assert_uint_eq(w->writing, 0);
	sim_run_for(w->sim, NS_PER_S);
}

static void ck_equal(struct world *w)
{
	const Isthmus__ArrayMeta *a = meta_get(w->side[0].m), *b = meta_get(w->side[1].m);
	size_t na = isthmus__array_meta__get_packed_size(a);
	size_t nb = isthmus__array_meta__get_packed_size(b);
	uint8_t *pa = malloc(na), *pb = malloc(nb);
	isthmus__array_meta__pack(a, pa);
	isthmus__array_meta__pack(b, pb);
	ck_assert_uint_eq(a->seq, b->seq);
	ck_assert_uint_eq(na, nb);
	ck_assert_mem_eq(pa, pb, na);
	free(pa);
	free(pb);
}

static void ck_acked(struct world *w)
{
	for (unsigned i = 0; i < w->nacked; i++)
		for (unsigned k = 0; k < 2; k++)
			ck_assert_msg(knows(&w->side[k], w->acked[i]), "%u is not known to %u",
				      w->acked[i], k);
}

/* Every slot of every disk holds, and one of each the newest. */
static void ck_slots(struct world *w)
{
	uint64_t seq = meta_get(w->side[0].m)->seq;
	for (unsigned i = 0; i < NDISKS; i++) {
		struct meta_slot x[2];
		for (unsigned s = 0; s < 2; s++) {
			meta_slot_decode(sim_disk_bytes(w->sd[i]) + meta_slot_offset(s), array_uuid,
					 &x[s]);
			ck_assert_int_eq(x[s].verdict, SLOT_OK);
		}
		ck_assert(x[0].seq == seq || x[1].seq == seq);
		ck_assert_uint_ne(x[0].seq, x[1].seq);
	}
}

static void ck_undamaged(struct world *w)
{
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; i < w->side[k].m->ndisks; i++)
			for (unsigned s = 0; s < 2; s++)
				ck_assert(!w->side[k].m->disks[i].damaged[s]);
}

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

/* ---- deaths ---- */

static void after_death(struct world *w, struct side *dead)
{
	run_out(w);
	ck_assert(sim_node_dead(dead->node));
	ck_assert_uint_eq(sim_node_tasks(dead->node), 0);
	struct side *s = other(dead);
	for (unsigned i = 0; i < w->nacked; i++)
		ck_assert(knows(s, w->acked[i]));
	ck_assert_int_eq(sim_node_run(dead->node, side_close, dead), 0);
	sim_node_reborn(dead->node);
	side_start(dead);
	ck_equal(w);
	ck_acked(w);
	start_writers(w);
	run_out(w);
	ck_acked(w);
	ck_equal(w);
	ck_slots(w);
}

START_TEST(death_at_any_time)
{
	struct world w;
	world_init(&w, (uint64_t)_i + 1);
	struct side *victim = &w.side[_i % 2];
	start_writers(&w);
	sim_run_for(w.sim, sim_random_below(w.sim, 60 * NS_PER_MS));
	if (_i % 3 == 0) { /* stopped first: its partner waits, then ends it */
		sim_node_stop(victim->node);
		sim_run_for(w.sim, 50 * NS_PER_MS);
	}
	sim_node_kill(victim->node);
	after_death(&w, victim);
	world_fini(&w);
}
END_TEST

#ifdef WITH_FAULTS
static const char *const points[] = {
    "meta.right_taken", "meta.before_write",   "meta.before_flush", "meta.slot_written",
    "meta.written",	"meta.before_publish", "meta.published",    "meta.before_giving_up"};
static struct {
	const char *name;
	unsigned nth;
	struct sim *sim;
	struct sim_node *victim;
	bool hit;
} at;

static void passed(const char *name, void *arg)
{
	if (strcmp(name, at.name) != 0 || sim_node_current(at.sim) != at.victim ||
	    sim_node_dead(at.victim) || --at.nth)
		return;
	at.hit = true;
	sim_node_kill(at.victim);
}

START_TEST(death_at_a_point)
{
	unsigned npoints = ARRAY_LEN(points), point = (unsigned)_i % npoints;
	struct world w;
	world_init(&w, (uint64_t)_i + 1);
	struct side *victim = &w.side[_i / (int)npoints % 2];
	at.name = points[point];
	at.nth = 1 + (unsigned)sim_random_below(w.sim, 20);
	at.sim = w.sim;
	at.victim = victim->node;
	at.hit = false;
	fault_set_hook(passed, NULL);
	start_writers(&w);
	for (unsigned i = 0; i < 10000 && !at.hit; i++)
		sim_run_for(w.sim, NS_PER_MS);
	fault_set_hook(NULL, NULL);
	ck_assert_msg(at.hit, "%s was not passed", at.name);
	after_death(&w, victim);
	world_fini(&w);
}
END_TEST
#endif

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

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("meta_share");
	TCase *t = tcase_create("two");
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, both_sides_at_once, 0, 5);
	tcase_add_test(t, turns);
	tcase_add_loop_test(t, death_at_any_time, 0, 40);
#ifdef WITH_FAULTS
	tcase_add_loop_test(t, death_at_a_point, 0, 2 * (int)ARRAY_LEN(points)); /* either dies */
#endif
	tcase_add_test(t, a_partner_that_was_away_reads_the_disks);
	tcase_add_test(t, who_missed_news_builds_on_them_all_the_same);
	tcase_add_test(t, who_holds_on_is_named);
	tcase_add_test(t, a_failed_change_comes_not_through_by_the_partner);
	tcase_add_test(t, a_failed_change_that_was_not_told);
	tcase_add_test(t, hostile_messages);
	tcase_add_test(t, a_large_state_is_read_from_the_disks);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
