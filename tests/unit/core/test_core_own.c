/* Two controllers on shared disks and memory: takeover, return, giving, and deaths at every step.
 */
#include "tests/unit/core/core_rig.h"
#include "blockcore/link/link.h"
#include "runtime/fault.h"
#include "tests/sim/sim_link.h"

#define SEGMENT (8 * 1024 * 1024)
#define NDISKS	4
#define BLOCK	4096u

struct end {
	struct world *w;
	const char *name;
	struct sim_node *node;
	struct sim_memory *segment;
	struct gcm *gcm;
	struct core_duplex duplex;
	struct core *core;
	struct link *link;
	bool busy; /* up or down is being acted on */
};

static struct world {
	struct sim *sim;
	struct sim_net *net;
	struct sim_memory *control;
	struct sim_disk *disk[NDISKS];
	struct end e[2];
	uint64_t incarnations;
} w;

static const char *const disks[NDISKS] = {"d0", "d1", "d2", "d3"};

static struct end *other(struct end *e)
{
	return &w.e[e == &w.e[0]];
}

/* A life of a node is a process. */
static bool alive(void *arg, int32_t pid, uint64_t started)
{
	struct end *e = &w.e[pid - 1];
	return !sim_node_dead(e->node) && sim_node_life(e->node) == started;
}

static int map(void *arg, const struct link_hello *h, void **ret, uint64_t *ret_size)
{
	struct end *e = arg;
	*ret = sim_memory_map(other(e)->segment, e->node);
	*ret_size = SEGMENT;
	return 0;
}

static void unmap(void *arg, void *segment, uint64_t size)
{
}

static void on_up(void *arg, struct link *l, const struct link_hello *h)
{
	struct end *e = arg;
	e->busy = true;
	if (e->core && !sim_node_dead(e->node))
		core_partner_up(e->core, l, h);
	e->busy = false;
}

static void on_down(void *arg, struct link *l, bool died)
{
	struct end *e = arg;
	e->busy = true;
	if (e->core && !sim_node_dead(e->node))
		core_partner_down(e->core, l, died);
	e->busy = false;
}

static void open_link(struct end *e)
{
	static const char *const names[2][4] = {{"a0", "a1", "a2", "a3"}, {"b0", "b1", "b2", "b3"}};
	unsigned me = e == &w.e[1];
	struct link_opts o = {.env = sim_node_env(e->node),
			      .ops = &sim_link_ops,
			      .ops_arg = sim_net_port(w.net, e->node),
			      .self = e->name,
			      .peer = other(e)->name,
			      .nroutes = 4,
			      .up = on_up,
			      .down = on_down,
			      .arg = e};
	o.hello = (struct link_hello){.version = LINK_VERSION,
				      .incarnation = w.incarnations,
				      .pages = cache_segment_pages(SEGMENT, 4096),
				      .page_size = 4096,
				      .segment = "segment"};
	memcpy(o.hello.array_uuid, core_array_uuid(e->core), 16);
	for (unsigned i = 0; i < 4; i++)
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, LINK_SIM,
						  names[me][i], names[!me][i]};
	ck_assert_int_eq(link_open(&e->link, &o), 0);
	core_set_link(e->core, e->link);
}

static void start(void *arg);

/* Its views of the shared memory; before any of its tasks runs. */
static void born(struct end *e)
{
	sim_memory_map(w.control, e->node);
	sim_memory_map(w.e[0].segment, e->node);
	sim_memory_map(w.e[1].segment, e->node);
	ck_assert_int_eq(sim_node_run(e->node, start, e), 0);
}

static void start(void *arg)
{
	struct end *e = arg;
	struct gcm_shared_opts g = {.env = sim_node_env(e->node),
				    .segment = sim_memory_map(w.control, e->node),
				    .size = gcm_shared_size(),
				    .name = e->name,
				    .incarnation = ++w.incarnations,
				    .pid = (int32_t)(e - w.e) + 1,
				    .started = sim_node_life(e->node),
				    .alive = alive};
	ck_assert_int_eq(gcm_shared_open_as(&e->gcm, &g), 0);
	e->duplex = (struct core_duplex){.gcm = e->gcm,
					 .partner = other(e)->name,
					 .mirror_share = 30,
					 .give_back = true,
					 .partner_pages = cache_segment_pages(SEGMENT, 4096),
					 .map = map,
					 .unmap = unmap,
					 .map_arg = e};
	int rc =
	    core_open(&e->core, &(struct core_opts){.env = sim_node_env(e->node),
						    .controller = e->name,
						    .disks = disks,
						    .ndisks = NDISKS,
						    .segment = sim_memory_map(e->segment, e->node),
						    .segment_size = SEGMENT,
						    .array_name = "test",
						    .duplex = &e->duplex});
	ck_assert_int_eq(rc, 0);
	open_link(e);
}

static void bury(void *arg)
{
	struct end *e = arg;
	struct link *l = e->link;
	e->core->closing = true; /* what it still believes it has to do */
	while (e->busy)
		env_sleep_ns(sim_node_env(e->node), NS_PER_MS);
	core_set_link(e->core, NULL);
	link_close(l);
	core_abandon(e->core);
	e->gcm->ops->close(e->gcm);
	e->core = NULL;
	e->link = NULL;
	e->gcm = NULL;
}

/* What a killed one had open is freed. */
static void clear_away(struct end *e)
{
	ck_assert(sim_node_dead(e->node));
	ck_assert_int_eq(sim_node_run(e->node, bury, e), 0);
	for (unsigned i = 0; i < 100 && sim_node_tasks(e->node); i++)
		sim_run_for(w.sim, 100 * NS_PER_MS);
	ck_assert_uint_eq(sim_node_tasks(e->node), 0);
}

static void restart(struct end *e)
{
	clear_away(e);
	sim_node_reborn(e->node);
	born(e);
}

static void world_init(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim_new(seed);
	w.net = sim_net_new(w.sim, true);
	w.control = sim_memory_new(w.sim, "control", gcm_shared_size());
	for (unsigned i = 0; i < NDISKS; i++)
		w.disk[i] = sim_disk_new(w.sim, disks[i], RIG_DISK_SIZE);
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &w.e[i];
		e->w = &w;
		e->name = i ? "b" : "a";
		e->node = sim_node_new(w.sim, e->name);
		e->segment = sim_memory_new(w.sim, e->name, SEGMENT);
	}
	for (unsigned i = 0; i < 2; i++)
		born(&w.e[i]);
	sim_run_for(w.sim, 3 * NS_PER_S);
}

static void world_fini(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (w.e[i].core) {
			sim_node_kill(w.e[i].node);
			clear_away(&w.e[i]);
		}
	sim_run_for(w.sim, 2 * NS_PER_S);
	sim_net_free(w.net);
	sim_free(w.sim);
}

/* ---- what a test asks of a node ---- */

static void make_task(void *arg)
{
	struct end *e = arg;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	int rc = core_pool_create(e->core, "p", "raid1", 65536, disks, 2, why);
	ck_assert_msg(rc == 0, "%s", why);
	ck_assert_int_eq(core_volume_create(e->core, "p", "v", 4 << 20, &id), 0);
}

struct io {
	struct end *e;
	uint64_t seed;
	unsigned first, n;
	bool write;
	int rc;
};

static void io_task(void *arg)
{
	struct io *io = arg;
	struct volume *v = core_volume_get_by_name(io->e->core, "v");
	ck_assert_ptr_nonnull(v);
	io->rc = 0;
	for (unsigned i = io->first; i < io->first + io->n && io->rc == 0; i++)
		io->rc = io->write ? rig_write(v, i * BLOCK, BLOCK, io->seed, false)
				   : rig_check(v, i * BLOCK, BLOCK, io->seed);
	core_volume_put(v);
}

static int io(struct end *e, bool write, unsigned first, unsigned n, uint64_t seed)
{
	struct io io = {.e = e, .seed = seed, .first = first, .n = n, .write = write};
	ck_assert_int_eq(sim_node_run(e->node, io_task, &io), 0);
	return io.rc;
}

static enum core_place place(struct end *e)
{
	struct volume *v = core_volume_get_by_name(e->core, "v");
	ck_assert_ptr_nonnull(v);
	enum core_place p = core_volume_place(v);
	core_volume_put(v);
	return p;
}

static struct gcm_owner word(struct end *e)
{
	struct gcm_owner o;
	ck_assert(core_word(core_pool_find(e->core, "p"), &o));
	return o;
}

struct move {
	struct end *e;
	bool force;
	int rc;
};

static void move_task(void *arg)
{
	struct move *m = arg;
	char why[CORE_WHY_LEN] = "";
	m->rc =
	    m->force ? core_pool_force(m->e->core, "p", why) : core_pool_give(m->e->core, "p", why);
}

static int give(struct end *e)
{
	struct move m = {.e = e};
	ck_assert_int_eq(sim_node_run(e->node, move_task, &m), 0);
	return m.rc;
}

/* ---- tests ---- */

START_TEST(takeover_and_return)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(1);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert_int_eq(io(b, true, 0, 1, 9), -ERR_NOT_OWNER);
	ck_assert_int_eq(io(b, false, 0, 1, 9), -ERR_NOT_OWNER);
	ck_assert(word(a).mirrored);
	uint64_t epoch = word(a).epoch;
	ck_assert_int_eq(io(a, true, 0, 200, 1), 0);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 500 * NS_PER_MS);
	/* all of it is there, and not mirrored any more before anything is acknowledged */
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_uint_gt(word(b).epoch, epoch);
	ck_assert(!word(b).mirrored);
	ck_assert_int_eq(io(b, false, 0, 200, 1), 0);
	ck_assert_int_eq(io(b, true, 100, 200, 2), 0);
	restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	/* handed back, mirrored, and nothing old comes up */
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert(word(a).mirrored);
	ck_assert_int_eq(io(a, false, 0, 100, 1), 0);
	ck_assert_int_eq(io(a, false, 100, 200, 2), 0);
	world_fini();
}
END_TEST

/* Silent, and not dead: it is ended, and does not go on. */
START_TEST(stopped_one_is_fenced)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(2);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_node_stop(a->node);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert(sim_node_dead(a->node));
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, false, 0, 100, 1), 0);
	world_fini();
}
END_TEST

static void flush_task(void *arg)
{
	struct end *e = arg;
	struct volume *v = core_volume_get_by_name(e->core, "v");
	ck_assert_ptr_nonnull(v);
	volume_flush(v, 0, 4 << 20); /* it dies with its process */
	core_volume_put(v);
}

/* Its last I/O keeps its disks claimed for a while, and then its successor is the first to have
 * them: no time is lost with a takeover that cannot be. */
START_TEST(back_before_takeover)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(60);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	uint64_t epoch = word(a).epoch;
	struct sim_disk_faults usual, slow;
	sim_disk_get_faults(w.disk[0], &usual);
	slow = usual;
	slow.latency_min_ns = slow.latency_max_ns = 300 * NS_PER_MS;
	sim_disk_set_faults(w.disk[0], &slow);
	sim_node_start(a->node, flush_task, a);
	sim_run_for(w.sim, 10 * NS_PER_MS);
	sim_disk_set_faults(w.disk[0], &usual);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 20 * NS_PER_MS);
	ck_assert_int_eq(place(b), CORE_MOVING);
	sim_node_stop(b->node);
	restart(a);
	for (unsigned i = 0; i < 500 && place(a) != CORE_HERE; i++)
		sim_run_for(w.sim, NS_PER_MS);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_uint_gt(word(a).epoch, epoch);
	sim_node_continue(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert(b->core->partner_up && word(a).mirrored);
	ck_assert_int_eq(io(a, false, 0, 100, 1), 0);
	world_fini();
}
END_TEST

/* Data that only the dead owner has: nobody takes over but by an administrator's word. */
START_TEST(not_mirrored_waits)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(3);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert(!word(a).mirrored);
	ck_assert_int_eq(io(a, true, 0, 50, 2), 0);
	sim_node_kill(a->node);
	restart(b);
	sim_run_for(w.sim, 20 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_NOWHERE);
	ck_assert_int_eq(io(b, true, 0, 1, 3), -ERR_NOT_OWNER);
	const struct core_pool *cp = core_pool_find(b->core, "p");
	ck_assert_ptr_nonnull(strstr(cp->why, "start it"));
	ck_assert_ptr_nonnull(strstr(cp->why, "--force"));
	restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert_int_eq(io(a, false, 0, 50, 2), 0);
	ck_assert_int_eq(io(a, false, 50, 50, 1), 0);
	world_fini();
}
END_TEST

START_TEST(forced)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(4);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	restart(b);
	struct move m = {.e = b, .force = true};
	ck_assert_int_eq(sim_node_run(b->node, move_task, &m), 0);
	ck_assert_int_eq(m.rc, -EBUSY); /* its owner lives */
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 50, 2), 0);
	sim_node_kill(a->node);
	restart(b);
	ck_assert_int_eq(sim_node_run(b->node, move_task, &m), 0);
	ck_assert_int_eq(m.rc, 0);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, true, 0, 100, 5), 0);
	/* What the old owner still has in its memory never comes up. */
	restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(give(b), 0);
	ck_assert_int_eq(io(a, false, 0, 100, 5), 0);
	world_fini();
}
END_TEST

START_TEST(given_and_given_back)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(5);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	for (unsigned i = 0; i < 6; i++) {
		struct end *from = i % 2 ? b : a, *to = other(from);
		ck_assert_int_eq(io(from, true, i * 10, 100, i), 0);
		ck_assert_int_eq(give(from), 0);
		ck_assert_int_eq(place(from), CORE_PARTNER);
		ck_assert_int_eq(place(to), CORE_HERE);
		ck_assert(word(to).mirrored && !word(to).moving);
		ck_assert_int_eq(io(to, false, i * 10, 100, i), 0);
		sim_run_for(w.sim, 3 * NS_PER_S); /* it stays where it was moved to */
		ck_assert_int_eq(place(to), CORE_HERE);
	}
	world_fini();
}
END_TEST

/* Memory is lost: what was flushed is there, and the preferred owner has it. */
START_TEST(power_loss)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_init(6);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	uint64_t epoch = word(a).epoch;
	for (unsigned i = 0; i < 2; i++)
		sim_node_kill(w.e[i].node);
	for (unsigned i = 0; i < 2; i++) {
		clear_away(&w.e[i]);
		sim_node_reborn(w.e[i].node);
	}
	sim_memory_clear(w.control);
	sim_memory_clear(a->segment);
	sim_memory_clear(b->segment);
	born(b);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_NOWHERE); /* a is to have it */
	born(a);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_uint_gt(word(a).epoch, epoch);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	/* alone it does not wait for ever */
	for (unsigned i = 0; i < 2; i++)
		sim_node_kill(w.e[i].node);
	for (unsigned i = 0; i < 2; i++) {
		clear_away(&w.e[i]);
		sim_node_reborn(w.e[i].node);
	}
	sim_memory_clear(w.control);
	sim_memory_clear(a->segment);
	sim_memory_clear(b->segment);
	born(b);
	sim_run_for(w.sim, 15 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	sim_node_kill(b->node);
	world_fini();
}
END_TEST

#ifdef WITH_FAULTS
struct crash {
	const char *point;
	struct end *who;
	bool hit;
};

static void crash_hook(const char *name, void *arg)
{
	struct crash *c = arg;
	if (c->hit || strcmp(name, c->point) != 0 || sim_node_current(w.sim) != c->who->node)
		return;
	c->hit = true;
	sim_node_kill(c->who->node);
}

static const struct {
	const char *point;
	bool giver;
} crashes[] = {
    {"own.moving", true},    {"own.closed", true},	{"own.passed", true},
    {"own.claimed", false},  {"own.word_taken", false}, {"own.assembled", false},
    {"own.recorded", false},
};

/* Who gives, or who takes, dies at any step: one owner is left, and all data with it. */
START_TEST(deaths_while_giving)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = crashes[_i].point};
	struct move m = {.e = a};
	world_init(20 + (uint64_t)_i);
	c.who = crashes[_i].giver ? a : b;
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	fault_set_hook(crash_hook, &c);
	sim_node_start(a->node, move_task, &m);
	sim_run_for(w.sim, 5 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	ck_assert_msg(c.hit, "%s was not reached", c.point);
	struct end *left = other(c.who);
	ck_assert_int_eq(place(left), CORE_HERE);
	ck_assert_int_eq(io(left, false, 0, 150, 1), 0);
	ck_assert_int_eq(io(left, true, 50, 150, 2), 0);
	restart(c.who);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq((place(a) == CORE_HERE) + (place(b) == CORE_HERE), 1);
	struct end *owner = place(a) == CORE_HERE ? a : b;
	ck_assert_int_eq(place(other(owner)), CORE_PARTNER);
	ck_assert_int_eq(io(owner, false, 0, 50, 1), 0);
	ck_assert_int_eq(io(owner, false, 50, 150, 2), 0);
	world_fini();
}
END_TEST

static const char *const takeover_points[] = {"own.fenced",	"own.unmirrored", "own.claimed",
					      "own.word_taken", "own.assembled",  "own.recorded"};

/* Who takes over dies in the middle of it; both come back: nothing is lost. */
START_TEST(death_of_the_taker)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct crash c = {.point = takeover_points[_i], .who = b};
	world_init(40 + (uint64_t)_i);
	ck_assert_int_eq(sim_node_run(a->node, make_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 150, 1), 0);
	fault_set_hook(crash_hook, &c);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 5 * NS_PER_S);
	fault_set_hook(NULL, NULL);
	if (strcmp(c.point, "own.unmirrored") != 0) /* b had none to change */
		ck_assert_msg(c.hit, "%s was not reached", c.point);
	if (!c.hit)
		sim_node_kill(b->node);
	/* whichever comes first */
	restart(_i % 2 ? a : b);
	sim_run_for(w.sim, 3 * NS_PER_S);
	restart(_i % 2 ? b : a);
	sim_run_for(w.sim, 15 * NS_PER_S);
	ck_assert_int_eq((place(a) == CORE_HERE) + (place(b) == CORE_HERE), 1);
	struct end *owner = place(a) == CORE_HERE ? a : b;
	ck_assert_int_eq(io(owner, false, 0, 150, 1), 0);
	world_fini();
}
END_TEST
#endif

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_own");
	TCase *tc = tcase_create("core_own");
	tcase_set_timeout(tc, 300);
	tcase_add_test(tc, takeover_and_return);
	tcase_add_test(tc, stopped_one_is_fenced);
	tcase_add_test(tc, back_before_takeover);
	tcase_add_test(tc, not_mirrored_waits);
	tcase_add_test(tc, forced);
	tcase_add_test(tc, given_and_given_back);
	tcase_add_test(tc, power_loss);
#ifdef WITH_FAULTS
	tcase_add_loop_test(tc, deaths_while_giving, 0, (int)ARRAY_LEN(crashes));
	tcase_add_loop_test(tc, death_of_the_taker, 0, (int)ARRAY_LEN(takeover_points));
#endif
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
