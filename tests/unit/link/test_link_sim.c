/*
 * The interconnect from seeds: two nodes that call each other while routes are cut and restored,
 * nodes stopped and killed. What must hold whatever happens: within a session every message
 * arrives once, in order; a call's reply is that call's; a call that ends with success was
 * carried out once, any other at most once; the link comes up again when it can.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bytes.h"
#include "runtime/err.h"
#include "tests/sim/sim_link.h"

#define CALLERS 8
#define RECORDS 65536

enum { MSG_CALL = 1, MSG_COUNT };

struct record {
	uint8_t seen;
};

struct end {
	struct sim_node *node;
	struct link *link;
	struct link_hello hello;
	unsigned ups, downs, died;
	uint64_t sent, sent_session; /* one-way messages of this session */
	uint64_t got, got_session, peer_incarnation;
	unsigned callers;
	uint64_t ok, failed, oneways;
	uint64_t order_sent;
	bool stop;
};

static struct world {
	struct sim *sim;
	struct sim_net *net;
	struct end a, b;
	struct record carried[RECORDS]; /* by id of a call */
	uint64_t next_id;
} w;
static struct {
	uint64_t resent, failovers, died, downs, ok, failed, oneways;
} total;

static struct end *peer_of(struct end *e)
{
	return e == &w.a ? &w.b : &w.a;
}

/* ---- serving ---- */

static void on_up(void *arg, struct link *l, const struct link_hello *hello)
{
	struct end *e = arg;
	ck_assert_uint_eq(e->ups, e->downs);
	e->ups++;
	e->peer_incarnation = hello->incarnation;
}

static void on_down(void *arg, struct link *l, bool died)
{
	struct end *e = arg;
	e->downs++;
	ck_assert_uint_eq(e->ups, e->downs);
	if (died)
		ck_assert(sim_node_dead(peer_of(e)->node) ||
			  e->peer_incarnation != peer_of(e)->hello.incarnation);
	e->died += died;
	if (sim_random_below(w.sim, 2)) /* a takeover that takes its time */
		env_sleep_ns(sim_node_env(e->node), sim_random_below(w.sim, NS_PER_S));
}

static void serve_count(struct end *e, struct link_msg *m)
{
	uint32_t n;
	const uint8_t *h = link_msg_head(m, &n);
	ck_assert_uint_eq(n, 16);
	uint64_t session = le64_get(h), count = le64_get(h + 8);
	/* A number of an older session would be a message of one. */
	ck_assert_uint_ge(session, e->got_session);
	if (session != e->got_session) {
		e->got_session = session;
		e->got = 0;
	}
	ck_assert_uint_eq(count, e->got + 1);
	e->got = count;
	link_done(m);
}

struct reply {
	uint8_t *data;
	uint32_t len;
	uint8_t head[8];
};

static void reply_sent(void *arg)
{
	struct reply *r = arg;
	memset(r->data, 0xee, r->len); /* nobody may look any more */
	free(r->data);
	free(r);
}

/* What a call carries: bytes of one random text, from a place that its number names. */
#define PLACES 65521
static uint8_t text[PLACES + LINK_DATA_MAX / 2];

static void make_text(void)
{
	uint64_t v = 1;
	for (size_t i = 0; i < sizeof(text); i++) {
		v = v * 6364136223846793005u + 1442695040888963407u;
		text[i] = (uint8_t)(v >> 56);
	}
}

static void fill(uint8_t *p, size_t n, uint64_t id)
{
	memcpy(p, text + id * 131 % PLACES, n);
}

static bool filled(const uint8_t *p, size_t n, uint64_t id)
{
	return n == 0 || memcmp(p, text + id * 131 % PLACES, n) == 0;
}

static void serve(void *arg, struct link_msg *m)
{
	struct end *e = arg;
	uint32_t n, len;
	if (link_msg_type(m) == MSG_COUNT) {
		serve_count(e, m);
		return;
	}
	const uint8_t *h = link_msg_head(m, &n);
	const uint8_t *data = link_msg_data(m, &len);
	ck_assert_uint_eq(n, 12);
	uint64_t id = le64_get(h);
	uint32_t want = le32_get(h + 8);
	ck_assert(filled(data, len, id));
	if (!sim_node_dead(e->node)) {
		ck_assert_uint_eq(w.carried[id % RECORDS].seen, 0);
		w.carried[id % RECORDS].seen = 1;
	}
	if (sim_random_below(w.sim, 4) == 0)
		env_sleep_ns(sim_node_env(e->node), sim_random_below(w.sim, 20 * NS_PER_MS));
	struct reply *r = calloc(1, sizeof(*r));
	r->data = malloc(want + 1);
	fill(r->data, want, id + 1);
	r->len = want;
	le64_put(r->head, id);
	/* A list of any length, which is gone when link_reply() returns. */
	int cnt = 1 + (int)sim_random_below(w.sim, sim_random_below(w.sim, 2) ? LINK_IOV_MAX : 3);
	struct iovec *iov = calloc((size_t)cnt, sizeof(*iov));
	for (uint32_t i = 0, at = 0; i < (uint32_t)cnt; i++) {
		uint32_t part = i + 1 < (uint32_t)cnt ? want / (uint32_t)cnt : want - at;
		iov[i] = (struct iovec){r->data + at, part};
		at += part;
	}
	if (sim_random_below(w.sim, 2)) {
		link_reply(m, 0, r->head, 8, iov, cnt, reply_sent, r);
	} else {
		link_reply(m, 0, r->head, 8, iov, cnt, NULL, NULL);
		reply_sent(r);
	}
	free(iov);
}

/* ---- calling ---- */

static uint32_t some_size(void)
{
	switch (sim_random_below(w.sim, 32)) {
	case 0:
		return 0;
	case 1:
		return (uint32_t)sim_random_below(w.sim, LINK_DATA_MAX / 2);
	case 2:
		return (uint32_t)sim_random_below(w.sim, 100000);
	default:
		return (uint32_t)sim_random_below(w.sim, 8192);
	}
}

static void one_call(struct end *e)
{
	uint64_t id = ++w.next_id;
	uint32_t out = some_size(), back = some_size();
	uint8_t *to = malloc(out + 1), *from = malloc(back + 1), head[12], rhead[8];
	ck_assert_uint_lt(id, RECORDS);
	fill(to, out, id);
	memset(from, 0, back + 1);
	le64_put(head, id);
	le32_put(head + 8, back);
	size_t cut = sim_random_below(w.sim, back + 1);
	struct iovec iov = {to, out}, fiov[2] = {{from, cut}, {from + cut, back - cut}};
	struct link_answer ans = {.head = rhead, .head_max = 8, .iov = fiov, .iovcnt = 2};
	uint64_t timeout =
	    sim_random_below(w.sim, 4) ? 0 : 1 + sim_random_below(w.sim, 50 * NS_PER_MS);
	int rc = link_call(e->link, sim_random_below(w.sim, 3) ? LINK_DATA : LINK_CONTROL,
			   LINK_SVC_SCSI, MSG_CALL, head, 12, &iov, 1, &ans, timeout);
	bool dead = sim_node_dead(e->node);
	if (rc == 0 && !dead) {
		ck_assert_uint_eq(ans.head_len, 8);
		ck_assert_uint_eq(le64_get(rhead), id);
		ck_assert_uint_eq(ans.data_len, back);
		ck_assert(filled(from, back, id + 1));
		ck_assert_uint_eq(w.carried[id % RECORDS].seen, 1);
		e->ok++;
	} else if (!dead) {
		ck_assert_msg(rc == -ERR_DISCONNECTED || (rc == -ETIMEDOUT && timeout), "%d", rc);
		e->failed++;
	}
	memset(from, 0xdd, back + 1);
	free(from);
	memset(to, 0xdd, out + 1);
	free(to);
}

static void one_way(struct end *e)
{
	uint8_t head[16];
	static uint8_t data[10000];
	uint64_t session = link_session(e->link);
	if (session == 0)
		return;
	if (session != e->sent_session) {
		e->sent_session = session;
		e->sent = 0;
		e->order_sent++;
	}
	le64_put(head, (e->hello.incarnation << 32) + session);
	le64_put(head + 8, e->sent + 1);
	int rc = link_send(e->link, LINK_DATA, LINK_SVC_OWNER, MSG_COUNT, head, 16, data,
			   (uint32_t)sim_random_below(w.sim, sizeof(data)));
	if (rc == 0) {
		e->sent++;
		e->oneways++;
	} else {
		ck_assert(rc == -ENOBUFS);
	}
}

static void caller(void *arg)
{
	struct end *e = arg;
	while (!e->stop) {
		if (!link_is_up(e->link) || sim_random_below(w.sim, 3) == 0)
			env_sleep_ns(sim_node_env(e->node),
				     1 + sim_random_below(w.sim, 20 * NS_PER_MS));
		if (sim_random_below(w.sim, 4) == 0)
			one_way(e);
		else
			one_call(e);
	}
	e->callers--;
}

/* ---- life ---- */

static const char *names[2][4] = {{"a0", "a1", "a2", "a3"}, {"b0", "b1", "b2", "b3"}};
static uint64_t incarnations;

static void open_end(void *arg)
{
	struct end *e = arg;
	bool is_b = e == &w.b;
	struct link_opts o = {
	    .env = sim_node_env(e->node),
	    .ops = &sim_link_ops,
	    .ops_arg = sim_net_port(w.net, e->node),
	    .self = is_b ? "b" : "a",
	    .peer = is_b ? "a" : "b",
	    .nroutes = 4,
	    .hello = {.array_uuid = "0123456789abcde", .incarnation = ++incarnations},
	    .up = on_up,
	    .down = on_down,
	    .arg = e,
	};
	for (unsigned i = 0; i < 4; i++)
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, LINK_SIM,
						  names[is_b][i], names[!is_b][i]};
	e->hello = o.hello;
	e->stop = false;
	e->ups = e->downs = 0;
	ck_assert_int_eq(link_open(&e->link, &o), 0);
	link_serve(e->link, LINK_SVC_SCSI, serve, e);
	link_serve(e->link, LINK_SVC_OWNER, serve, e);
	for (e->callers = 0; e->callers < CALLERS; e->callers++)
		ck_assert_int_eq(task_start(caller, e), 0);
}

static void close_end(void *arg)
{
	struct end *e = arg;
	struct link_route_stats st;
	e->stop = true;
	for (unsigned i = 0; i < 4; i++) {
		link_stats(e->link, i, &st);
		total.resent += st.resent;
		total.failovers += st.failovers;
	}
	link_close(e->link);
	e->link = NULL;
	total.died += e->died;
	total.downs += e->downs;
	total.ok += e->ok;
	total.failed += e->failed;
	total.oneways += e->oneways;
	e->died = 0;
	e->ok = e->failed = e->oneways = 0;
}

static void stop_callers(void *arg)
{
	struct end *e = arg;
	e->stop = true;
	while (e->callers > 0)
		env_sleep_ns(sim_node_env(e->node), NS_PER_MS);
}

static void kill_end(struct end *e)
{
	sim_node_kill(e->node);
	/* Its callers end when it is cut off; then its parts are closed. */
	ck_assert_int_eq(sim_node_run(e->node, stop_callers, e), 0);
	ck_assert_int_eq(sim_node_run(e->node, close_end, e), 0);
	sim_run_for(w.sim, sim_random_below(w.sim, 2 * NS_PER_S));
	ck_assert_uint_eq(sim_node_tasks(e->node), 0);
	sim_node_reborn(e->node);
	e->got_session = e->got = e->sent_session = 0;
	ck_assert_int_eq(sim_node_run(e->node, open_end, e), 0);
}

static void fence_task(void *arg)
{
	struct end *e = arg;
	int rc = link_fence(e->link);
	ck_assert_msg(rc == 0 || rc == -EHOSTUNREACH, "%d", rc);
	if (rc == 0)
		ck_assert(sim_node_dead(peer_of(e)->node));
}

static void something_happens(void)
{
	uint64_t what = sim_random_below(w.sim, 14);
	struct end *e = sim_random_below(w.sim, 2) ? &w.a : &w.b;
	const char *name = names[0][sim_random_below(w.sim, 4)];
	if (what < 4)
		sim_net_cut(w.net, name, SIM_CUT_RESET);
	else if (what < 7)
		sim_net_cut(w.net, name, SIM_CUT_SILENT);
	else if (what < 10)
		sim_net_restore(w.net, name);
	else if (what < 11)
		sim_net_restore_all(w.net);
	else if (what < 12) {
		sim_node_stop(e->node);
		sim_run_for(w.sim, sim_random_below(w.sim, 2 * NS_PER_S));
		sim_node_continue(e->node);
	} else if (what < 13) {
		kill_end(e);
	} else {
		ck_assert_int_eq(sim_node_run(e->node, fence_task, e), 0);
		if (sim_node_dead(peer_of(e)->node)) {
			sim_node_continue(peer_of(e)->node);
			kill_end(peer_of(e));
		}
	}
}

static void run_seed(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim_new(seed);
	w.net = sim_net_new(w.sim, sim_random_below(w.sim, 2));
	w.a.node = sim_node_new(w.sim, "a");
	w.b.node = sim_node_new(w.sim, "b");
	if (sim_random_below(w.sim, 2))
		sim_net_delay(w.net, NS_PER_US, 5 * NS_PER_MS);
	ck_assert_int_eq(sim_node_run(w.a.node, open_end, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, open_end, &w.b), 0);
	for (int i = 0; i < 10; i++) {
		sim_run_for(w.sim, sim_random_below(w.sim, 600 * NS_PER_MS));
		something_happens();
	}
	/* All is well again: the link comes up, and calls go through. */
	sim_net_restore_all(w.net);
	sim_run_for(w.sim, 5 * NS_PER_S);
	ck_assert(link_is_up(w.a.link) && link_is_up(w.b.link));
	uint64_t ok = w.a.ok, ok_b = w.b.ok;
	sim_run_for(w.sim, NS_PER_S);
	ck_assert(w.a.ok > ok && w.b.ok > ok_b);
	ck_assert_int_eq(sim_node_run(w.a.node, stop_callers, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, stop_callers, &w.b), 0);
	/* Nothing of the sessions that lived to the end is missing. */
	sim_run_for(w.sim, NS_PER_S);
	ck_assert(w.a.sent == 0 || w.b.got == w.a.sent);
	ck_assert(w.b.sent == 0 || w.a.got == w.b.sent);
	ck_assert_int_eq(sim_node_run(w.a.node, close_end, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, close_end, &w.b), 0);
	sim_run_for(w.sim, NS_PER_S);
	sim_free(w.sim);
	sim_net_free(w.net);
}

static void begin(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	w.sim = sim_new(seed);
	w.net = sim_net_new(w.sim, false);
	w.a.node = sim_node_new(w.sim, "a");
	w.b.node = sim_node_new(w.sim, "b");
	ck_assert_int_eq(sim_node_run(w.a.node, open_end, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, open_end, &w.b), 0);
	sim_run_for(w.sim, NS_PER_S);
}

static void end(void)
{
	ck_assert_int_eq(sim_node_run(w.a.node, stop_callers, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, stop_callers, &w.b), 0);
	ck_assert_int_eq(sim_node_run(w.a.node, close_end, &w.a), 0);
	ck_assert_int_eq(sim_node_run(w.b.node, close_end, &w.b), 0);
	sim_run_for(w.sim, NS_PER_S);
	sim_free(w.sim);
	sim_net_free(w.net);
}

/* Shorter than what counts as death: routes may be given up, sessions not; not by who was stopped
 * either, who looks at the clock before or after the sockets. */
START_TEST(a_short_stop_costs_no_session)
{
	begin(1000 + (uint64_t)_i);
	for (int k = 0; k < 8; k++) {
		struct end *e = k % 2 ? &w.a : &w.b;
		sim_node_stop(e->node);
		sim_run_for(w.sim, (150 + sim_random_below(w.sim, 600)) * NS_PER_MS);
		sim_node_continue(e->node);
		sim_run_for(w.sim, 1500 * NS_PER_MS);
		ck_assert(link_is_up(w.a.link) && link_is_up(w.b.link));
		ck_assert_uint_eq(w.a.downs + w.b.downs, 0);
	}
	end();
}
END_TEST

#define REACHING 6

/* What the seeds are for does happen. */
START_TEST(seeds_reach_it_all)
{
	for (uint64_t seed = 1; seed <= REACHING; seed++)
		run_seed(seed);
	ck_assert_uint_gt(total.failovers, 5);
	ck_assert_uint_gt(total.resent, 50);
	ck_assert_uint_gt(total.downs, 3);
	ck_assert_uint_gt(total.died, 1);
	ck_assert_uint_gt(total.failed, 10);
	ck_assert_uint_gt(total.ok, 1000);
	ck_assert_uint_gt(total.oneways, 300);
}
END_TEST

static uint64_t first_seed = REACHING + 1;
#define SEEDS 4 /* more: test_link_sim FIRST COUNT */

START_TEST(seeds)
{
	run_seed(first_seed + (uint64_t)_i);
}
END_TEST

int main(int argc, char **argv)
{
	uint64_t n = SEEDS;
	make_text();
	if (argc > 1)
		first_seed = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		n = strtoull(argv[2], NULL, 10);
	Suite *s = suite_create("link_sim");
	TCase *t = tcase_create("seeds");
	tcase_set_timeout(t, 120);
	if (argc == 1) {
		tcase_add_test(t, seeds_reach_it_all);
		tcase_add_loop_test(t, a_short_stop_costs_no_session, 0, 4);
	}
	tcase_add_loop_test(t, seeds, 0, (int)n);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
