/* One array metadata for two controllers: whoever dies when, nothing that was acknowledged is lost.
 */
#include "config.h"
#include "runtime/fault.h"
#include "tests/unit/meta/share_rig.h"

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

static void add_tests(TCase *t)
{
	tcase_add_loop_test(t, death_at_any_time, 0, 40);
#ifdef WITH_FAULTS
	tcase_add_loop_test(t, death_at_a_point, 0, 2 * (int)ARRAY_LEN(points)); /* either dies */
#endif
}

int main(void)
{
	return share_suite("meta_share_death", add_tests);
}
