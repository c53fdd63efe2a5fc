/* Two controllers on shared disks and memory: takeover, return, giving, a link that is lost. */
#include "tests/unit/core/own_rig.h"

START_TEST(takeover_and_return)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(1);
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

/* It runs again and cannot be reached yet: what its first process had is over all the same. */
START_TEST(one_that_starts_again_is_another)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(63);
	ck_assert(!core_partner_ended(b->core));
	sim_node_kill(a->node);
	sim_run_for(w.sim, 500 * NS_PER_MS);
	ck_assert(core_partner_ended(b->core));
	cut_link(SIM_CUT_RESET);
	restart(a);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert(core_partner_alive(b->core));
	ck_assert(core_partner_ended(b->core));
	sim_net_restore_all(w.net);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert(!core_partner_ended(b->core));
	world_fini();
}
END_TEST

/* Its pools are given back some time after its last return. */
START_TEST(given_back_when_hosts_have_their_paths)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(62);
	b->duplex.give_back_delay_ns = 5 * NS_PER_S;
	for (unsigned i = 0; i < 2; i++) {
		sim_node_kill(a->node);
		sim_run_for(w.sim, 500 * NS_PER_MS);
		ck_assert_int_eq(place(b), CORE_HERE);
		restart(a);
		sim_run_for(w.sim, 4 * NS_PER_S);
		ck_assert(word(b).mirrored);
		ck_assert_int_eq(place(b), CORE_HERE);
	}
	sim_run_for(w.sim, 3 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	world_fini();
}
END_TEST

/* Silent, and not dead: it is ended, and does not go on. */
START_TEST(stopped_one_is_fenced)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(2);
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

/* One of another release comes back: the two refuse each other, say why, and lose nothing. */
START_TEST(another_release_is_refused)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	char why[CORE_LINK_WHY];
	world_with_pool(2);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	stop(b);
	b->forwarding = 7;
	restart(b);
	sim_run_for(w.sim, 5 * NS_PER_S);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(!link_is_up(w.e[i].link));
		ck_assert(core_link_refused(w.e[i].core, why));
		ck_assert_msg(strstr(why, "version 7") && strstr(why, "version 0") &&
				  strstr(why, "install the same release on both controllers"),
			      "%s", why);
	}
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(io(a, true, 100, 100, 2), 0);
	stop(b);
	b->forwarding = 0;
	restart(b);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert(link_is_up(a->link) && !core_link_refused(a->core, why));
	ck_assert_int_eq(io(a, false, 0, 100, 1), 0);
	ck_assert_int_eq(io(a, false, 100, 100, 2), 0);
	world_fini();
}
END_TEST

/* Its last I/O keeps its disks claimed for a while, and then its successor is the first to have
 * them: no time is lost with a takeover that cannot be. */
START_TEST(back_before_takeover)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(60);
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
	world_with_pool(3);
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

/* One dies, the other writes on and is stopped in order, the first starts alone: the copies in its
 * memory are of long ago. The same when it is killed once more, and when the roles change. */
START_TEST(left_in_order)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(7);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 100, 2), 0);
	stop(a);
	restart(b);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, false, 0, 100, 2), 0);
	sim_node_kill(b->node);
	restart(b);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, false, 0, 100, 2), 0);
	ck_assert_int_eq(io(b, true, 50, 50, 3), 0);
	stop(b);
	restart(a);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(io(a, false, 0, 50, 2), 0);
	ck_assert_int_eq(io(a, false, 50, 50, 3), 0);
	world_fini();
}
END_TEST

START_TEST(forced)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(4);
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
	world_with_pool(5);
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

/* What is asked in vain is told with names and a way out, and nothing has changed. */
START_TEST(not_given)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(8);
	struct move by_other = {.e = b}, to_nobody = {.e = a};
	ck_assert_int_eq(sim_node_run(b->node, move_task, &by_other), 0);
	ck_assert_int_eq(by_other.rc, -ERR_NOT_OWNER);
	ck_assert_ptr_nonnull(strstr(by_other.why, "pool 'p' is not"));
	ck_assert_ptr_nonnull(strstr(by_other.why, "; see OWNER in"));
	sim_node_kill(b->node);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(sim_node_run(a->node, move_task, &to_nobody), 0);
	ck_assert_int_eq(to_nobody.rc, -ERR_DISCONNECTED);
	ck_assert_ptr_nonnull(strstr(to_nobody.why, "pool 'p' stays here"));
	ck_assert_ptr_nonnull(strstr(to_nobody.why, "controller 'b' is not connected; see"));
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(io(a, true, 0, 10, 1), 0);
	world_fini();
}
END_TEST

/* A host asked for it: it stays where it went, its preferred owner is what it was, until its owner
 * dies or an administrator says otherwise. */
START_TEST(held_where_a_host_wants_it)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct move m = {.e = a, .held = true};
	world_with_pool(61);
	ck_assert_int_eq(sim_node_run(a->node, move_task, &m), 0);
	ck_assert_int_eq(m.rc, 0);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert(word(b).held);
	ck_assert_str_eq(meta_pool_find(meta_get(b->core->meta), "p")->owner, "a");
	/* its preferred owner comes anew: it stays */
	sim_node_kill(a->node);
	restart(a);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	if (_i) {
		m = (struct move){.e = b};
		ck_assert_int_eq(sim_node_run(b->node, move_task, &m), 0);
		ck_assert_int_eq(m.rc, 0);
	} else {
		sim_node_kill(b->node);
		sim_run_for(w.sim, NS_PER_S);
		restart(b);
	}
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert(!word(a).held);
	world_fini();
}
END_TEST

/* Memory is lost: what was flushed is there, and the preferred owner has it. */
START_TEST(power_loss)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(6);
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

/* ---- a link that is lost between two that are at work ---- */

/* Both beat in control memory: nobody is ended, nobody's pool taken; then they are partners again.
 */
START_TEST(a_link_lost_awhile_ends_nobody)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(7 + (uint64_t)_i);
	cut_link(_i ? SIM_CUT_SILENT : SIM_CUT_RESET);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert(!sim_node_dead(a->node) && !sim_node_dead(b->node));
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert_int_eq(place(b), CORE_PARTNER);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	ck_assert(!word(a).mirrored); /* what was written has one copy */
	sim_net_restore_all(w.net);
	sim_run_for(w.sim, 10 * NS_PER_S);
	ck_assert(!sim_node_dead(a->node) && !sim_node_dead(b->node));
	ck_assert_int_eq(place(a), CORE_HERE);
	ck_assert(word(a).mirrored);
	ck_assert_int_eq(give(a), 0);
	ck_assert_int_eq(io(b, false, 0, 100, 1), 0);
	world_fini();
}
END_TEST

/* What was written without a copy is its owner's alone: that one comes back with it. */
static void all_is_back(struct end *dead)
{
	restart(dead);
	sim_run_for(w.sim, 10 * NS_PER_S);
	struct end *owner = one_owner();
	ck_assert(word(owner).mirrored);
	ck_assert_int_eq(io(owner, false, 0, 50, 2), 0);
	ck_assert_int_eq(io(owner, false, 50, 50, 1), 0);
}

/* It does not come up again: one is ended, and only one. */
START_TEST(a_link_that_stays_lost_ends_one)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(9);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	cut_link(SIM_CUT_RESET);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 50, 2), 0);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(sim_node_dead(a->node) + sim_node_dead(b->node), 1);
	sim_net_restore_all(w.net);
	all_is_back(sim_node_dead(a->node) ? a : b);
	world_fini();
}
END_TEST

/* Both have waited as long and want to end the other before either is gone: one is let. */
START_TEST(two_that_cannot_hear_each_other_do_not_both_end)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(20 + (uint64_t)_i);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_net_kill_delay(w.net, 200 * NS_PER_MS); /* longer than the two look apart */
	cut_link(_i % 2 ? SIM_CUT_SILENT : SIM_CUT_RESET);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert_int_eq(io(a, true, 0, 50, 2), 0);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(sim_node_dead(a->node) + sim_node_dead(b->node), 1);
	sim_net_restore_all(w.net);
	all_is_back(sim_node_dead(a->node) ? a : b);
	world_fini();
}
END_TEST

/* It is waited for only while it beats. */
START_TEST(who_is_not_heard_and_stops_is_ended_at_once)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	world_with_pool(10);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	cut_link(SIM_CUT_RESET);
	sim_run_for(w.sim, 1500 * NS_PER_MS);
	ck_assert_int_eq(io(a, true, 0, 50, 2), 0);
	ck_assert(!word(b).mirrored);
	sim_node_stop(a->node);
	sim_run_for(w.sim, NS_PER_S); /* a link that stays lost would be waited for longer */
	ck_assert(sim_node_dead(a->node));
	ck_assert_int_eq(place(b), CORE_NOWHERE);
	sim_net_restore_all(w.net);
	all_is_back(a);
	world_fini();
}
END_TEST

static void drop_task(void *arg)
{
	struct end *e = arg;
	struct pool *p = core_pool_find(e->core, "p")->pool;
	ck_assert_int_eq(pool_drop(p, pool_disk(p, 0), "it hangs"), 0);
}

static void watch_start_task(void *arg)
{
	struct end *e = arg;
	ck_assert_int_eq(core_watch_start(e->core), 0);
}

/* The lost disk has calls of its old owner: the pool goes to the partner without it, and nobody has
 * it before they have come back. */
START_TEST(given_without_a_disk_that_hangs)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	static const uint8_t pool[16] = {1};
	struct sim_disk_faults usual, stuck;
	world_with_pool(61);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_disk_get_faults(w.disk[0], &usual);
	stuck = usual;
	stuck.stuck = true;
	sim_disk_set_faults(w.disk[0], &stuck);
	sim_node_start(a->node, flush_task, a);
	sim_run_for(w.sim, 10 * NS_PER_MS);
	ck_assert_int_eq(sim_node_run(a->node, drop_task, a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_uint_gt(disk_left(a->core->disks[0]), 0);
	/* The partner looked at it, and hangs no longer than it has to. */
	ck_assert_int_eq(sim_node_run(b->node, watch_start_task, b), 0);
	sim_run_for(w.sim, 20 * NS_PER_S);
	ck_assert_int_eq(give(a), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_int_eq(place(a), CORE_PARTNER);
	ck_assert_int_eq(place(b), CORE_HERE);
	ck_assert_int_eq(io(b, false, 0, 100, 1), 0);
	ck_assert_int_eq(io(b, true, 0, 50, 2), 0);
	struct disk *d = b->core->disks[0];
	ck_assert(!disk_claimed(d));
	ck_assert_int_eq(disk_claim(d, pool), -EBUSY);
	sim_disk_set_faults(w.disk[0], &usual);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_uint_eq(disk_left(a->core->disks[0]), 0);
	ck_assert_int_eq(disk_claim(d, pool), 0);
	disk_unclaim(d);
	ck_assert_int_eq(io(b, false, 0, 50, 2), 0);
	ck_assert_int_eq(io(b, false, 50, 50, 1), 0);
	world_fini();
}
END_TEST

static void read_task(void *arg)
{
	struct end *e = arg;
	struct volume *v = core_volume_get_by_name(e->core, "v");
	struct cache_read *r = malloc(sizeof(*r));
	ck_assert(v && r);
	for (unsigned i = 512; i < 1024; i += 8) /* it dies with its process */
		if (volume_read(v, i * 4096, 4096, r) == 0)
			volume_read_done(v, r);
	free(r);
	core_volume_put(v);
}

static uint32_t quarantined(struct end *e)
{
	return cache_quarantined(e->core->cache);
}

/* Killed while a disk that hangs has reads into its cache: the next start leaves those pages alone
 * for as long as the disk has them, and no longer. */
START_TEST(pages_that_a_dead_one_was_reading_rest)
{
	struct end *a = &w.e[0], *b = &w.e[1];
	struct sim_disk_faults usual, slow;
	world_with_pool(62);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_disk_get_faults(w.disk[0], &usual);
	slow = usual;
	slow.latency_min_ns = slow.latency_max_ns = 60 * NS_PER_S;
	sim_disk_set_faults(w.disk[0], &slow);
	sim_node_start(a->node, read_task, a);
	sim_run_for(w.sim, 10 * NS_PER_MS);
	sim_disk_set_faults(w.disk[0], &usual); /* what it has by now it keeps */
	ck_assert_int_eq(sim_node_run(a->node, drop_task, a), 0);
	ck_assert_int_eq(io(a, true, 0, 100, 1), 0);
	sim_run_for(w.sim, NS_PER_S);
	ck_assert_uint_gt(disk_left(a->core->disks[0]), 0);
	sim_node_kill(a->node);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert_int_eq(place(b), CORE_HERE);
	restart(a);
	/* What a call of the dead one does to the disk, which would end with its handle here. */
	struct bdev *call = sim_disk_open(w.disk[0]);
	ck_assert_int_eq(bdev_claim(call, true), 0);
	ck_assert_uint_gt(quarantined(a), 0);
	ck_assert_int_eq(sim_node_run(a->node, watch_start_task, a), 0);
	sim_run_for(w.sim, 30 * NS_PER_S);
	ck_assert_uint_gt(quarantined(a), 0);
	bdev_close(call);
	sim_run_for(w.sim, 2 * NS_PER_S);
	ck_assert_uint_eq(quarantined(a), 0);
	ck_assert_int_eq(io(one_owner(), false, 0, 100, 1), 0);
	world_fini();
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, takeover_and_return);
	tcase_add_test(tc, one_that_starts_again_is_another);
	tcase_add_test(tc, given_back_when_hosts_have_their_paths);
	tcase_add_test(tc, stopped_one_is_fenced);
	tcase_add_test(tc, another_release_is_refused);
	tcase_add_test(tc, back_before_takeover);
	tcase_add_test(tc, not_mirrored_waits);
	tcase_add_test(tc, left_in_order);
	tcase_add_test(tc, forced);
	tcase_add_test(tc, given_and_given_back);
	tcase_add_test(tc, given_without_a_disk_that_hangs);
	tcase_add_test(tc, pages_that_a_dead_one_was_reading_rest);
	tcase_add_test(tc, not_given);
	tcase_add_loop_test(tc, held_where_a_host_wants_it, 0, 2);
	tcase_add_test(tc, power_loss);
	tcase_add_loop_test(tc, a_link_lost_awhile_ends_nobody, 0, 2);
	tcase_add_test(tc, a_link_that_stays_lost_ends_one);
	tcase_add_loop_test(tc, two_that_cannot_hear_each_other_do_not_both_end, 0, 6);
	tcase_add_test(tc, who_is_not_heard_and_stops_is_ended_at_once);
}

int main(void)
{
	return own_suite("core_own", add_tests);
}
