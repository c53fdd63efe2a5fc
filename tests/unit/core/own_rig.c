/* See own_rig.h. */
#include "tests/unit/core/own_rig.h"

#define SEGMENT (8 * 1024 * 1024)
#define BLOCK	4096u

struct world w;

static const char *const disks[NDISKS] = {"d0", "d1", "d2", "d3"};
static const char *const routes[2][ROUTES] = {{"a0", "a1", "a2", "a3"}, {"b0", "b1", "b2", "b3"}};

struct end *other(struct end *e)
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
	unsigned me = e == &w.e[1];
	struct link_opts o = {.env = sim_node_env(e->node),
			      .ops = &sim_link_ops,
			      .ops_arg = sim_net_port(w.net, e->node),
			      .self = e->name,
			      .peer = other(e)->name,
			      .nroutes = ROUTES,
			      .up = on_up,
			      .down = on_down,
			      .arg = e};
	o.hello = (struct link_hello){.version = LINK_VERSION,
				      .incarnation = w.incarnations,
				      .pages = cache_segment_pages(SEGMENT, 4096),
				      .page_size = 4096,
				      .segment = "segment"};
	core_link_versions(o.hello.versions);
	memcpy(o.hello.control, e->gcm->id, sizeof(o.hello.control));
	o.hello.versions[LINK_SVC_SCSI] = e->forwarding;
	memcpy(o.hello.array_uuid, core_array_uuid(e->core), 16);
	for (unsigned i = 0; i < ROUTES; i++)
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, LINK_SIM,
						  routes[me][i], routes[!me][i]};
	ck_assert_int_eq(link_open(&e->link, &o), 0);
	core_set_link(e->core, e->link);
}

static void start(void *arg);

/* Its views of the shared memory; before any of its tasks runs. */
void born(struct end *e)
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
void clear_away(struct end *e)
{
	ck_assert(sim_node_dead(e->node));
	ck_assert_int_eq(sim_node_run(e->node, bury, e), 0);
	for (unsigned i = 0; i < 100 && sim_node_tasks(e->node); i++)
		sim_run_for(w.sim, 100 * NS_PER_MS);
	ck_assert_uint_eq(sim_node_tasks(e->node), 0);
}

static void stop_task(void *arg)
{
	struct end *e = arg;
	struct link *l = e->link;
	gcm_set_state(e->gcm, GCM_LEAVING);
	core_leave(e->core);
	while (e->busy)
		env_sleep_ns(sim_node_env(e->node), NS_PER_MS);
	core_set_link(e->core, NULL);
	link_close(l);
	ck_assert_int_eq(core_close(e->core), 0);
	e->gcm->ops->close(e->gcm);
	e->core = NULL;
	e->link = NULL;
	e->gcm = NULL;
}

void stop(struct end *e)
{
	ck_assert_int_eq(sim_node_run(e->node, stop_task, e), 0);
	sim_node_kill(e->node);
	sim_run_for(w.sim, 10 * NS_PER_MS);
}

void restart(struct end *e)
{
	if (e->core)
		clear_away(e);
	sim_node_reborn(e->node);
	born(e);
}

void world_init(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim_new(seed);
	w.net = sim_net_new(w.sim, true);
	w.control = sim_memory_new(w.sim, "control", gcm_shared_size());
	for (unsigned i = 0; i < NDISKS; i++)
		w.disk[i] = sim_disk_new(w.sim, disks[i], RIG_DISK_SIZE);
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &w.e[i];
		e->name = i ? "b" : "a";
		e->node = sim_node_new(w.sim, e->name);
		e->segment = sim_memory_new(w.sim, e->name, SEGMENT);
	}
	for (unsigned i = 0; i < 2; i++)
		born(&w.e[i]);
	sim_run_for(w.sim, 3 * NS_PER_S);
}

void world_fini(void)
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
	int rc = core_pool_create(e->core, "p", "raid1", 65536, false, disks, 2, why);
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

int io(struct end *e, bool write, unsigned first, unsigned n, uint64_t seed)
{
	struct io io = {.e = e, .seed = seed, .first = first, .n = n, .write = write};
	ck_assert_int_eq(sim_node_run(e->node, io_task, &io), 0);
	return io.rc;
}

enum core_place place(struct end *e)
{
	struct volume *v = core_volume_get_by_name(e->core, "v");
	ck_assert_ptr_nonnull(v);
	enum core_place p = core_volume_place(v);
	core_volume_put(v);
	return p;
}

uint64_t memory(struct end *e)
{
	struct volume *v = core_volume_get_by_name(e->core, "v");
	ck_assert_ptr_nonnull(v);
	uint64_t id = core_volume_memory_id(e->core, v);
	core_volume_put(v);
	return id;
}

struct gcm_owner word(struct end *e)
{
	struct gcm_owner o;
	ck_assert(core_word(core_pool_find(e->core, "p"), &o));
	return o;
}

void move_task(void *arg)
{
	struct move *m = arg;
	m->rc = m->force  ? core_pool_force(m->e->core, "p", m->why)
		: m->held ? core_pool_give_held(m->e->core, "p", m->why)
			  : core_pool_give(m->e->core, "p", m->why);
}

int give(struct end *e)
{
	struct move m = {.e = e};
	ck_assert_int_eq(sim_node_run(e->node, move_task, &m), 0);
	return m.rc;
}

void world_with_pool(uint64_t seed)
{
	world_init(seed);
	ck_assert_int_eq(sim_node_run(w.e[0].node, make_task, &w.e[0]), 0);
	sim_run_for(w.sim, NS_PER_S);
}

void cut_link(enum sim_cut how)
{
	for (unsigned i = 0; i < ROUTES; i++)
		sim_net_cut(w.net, routes[0][i], how);
}

struct end *one_owner(void)
{
	struct end *e = place(&w.e[0]) == CORE_HERE ? &w.e[0] : &w.e[1];
	ck_assert_int_eq(place(e), CORE_HERE);
	ck_assert_int_ne(place(other(e)), CORE_HERE);
	return e;
}

int own_suite(const char *name, void (*add)(TCase *tc))
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 300);
	add(tc);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
