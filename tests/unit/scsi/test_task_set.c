/* The task set of a unit: who runs beside whom, against the rules as SAM-5 8.6 words them; those
 * that give up; several reactors at once. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "server/scsi/task_set.h"
#include "tests/sim/sim_env.h"

static struct task_set set;

static void setup(void)
{
	task_set_init(&set);
}

static void teardown(void)
{
	ck_assert(!set.strict);
	ck_assert_uint_eq(set.running + set.heads + set.nwaiting, 0);
	task_set_fini(&set);
}

static uint8_t attr_of(char letter)
{
	return letter == 'O' ? SCSI_ORDERED : letter == 'H' ? SCSI_HEAD : SCSI_SIMPLE;
}

static bool runs(const struct scsi_cmd *c)
{
	return c->turn.in == TURN_COUNTED || (c->turn.in == TURN_LISTED && c->turn.runs);
}

/* ---- scenes: "+S" a SIMPLE command comes, the first is a; "-a" it ends; then who runs ---- */

static const struct scene {
	const char *name;
	struct {
		const char *what, *run;
	} steps[16];
} scenes[] = {
    {"simple ones",
     {{"+S", "a"}, {"+S", "ab"}, {"-a", "b"}, {"+S", "bc"}, {"-b", "c"}, {"-c", ""}}},
    {"ordered alone", {{"+O", "a"}, {"-a", ""}, {"+S", "b"}, {"-b", ""}}},
    {"ordered waits for older ones, younger ones for it",
     {{"+S", "a"},
      {"+S", "ab"},
      {"+O", "ab"},
      {"+S", "ab"},
      {"+S", "ab"},
      {"-a", "b"},
      {"-b", "c"},
      {"-c", "de"},
      {"-d", "e"},
      {"-e", ""}}},
    {"ordered ones go one by one",
     {{"+O", "a"}, {"+O", "a"}, {"+O", "a"}, {"-a", "b"}, {"-b", "c"}, {"-c", ""}}},
    {"simple ones between ordered ones",
     {{"+S", "a"},
      {"+O", "a"},
      {"+S", "a"},
      {"+S", "a"},
      {"+O", "a"},
      {"+S", "a"},
      {"-a", "b"},
      {"-b", "cd"},
      {"-c", "d"},
      {"-d", "e"},
      {"-e", "f"},
      {"-f", ""}}},
    {"head of queue passes all",
     {{"+S", "a"},
      {"+O", "a"},
      {"+S", "a"},
      {"+H", "ad"},
      {"-a", "d"},
      {"-d", "b"},
      {"+H", "be"},
      {"-b", "e"},
      {"-e", "c"},
      {"-c", ""}}},
    {"head of queue keeps back what comes",
     {{"+S", "a"},
      {"+H", "ab"},
      {"+S", "ab"},
      {"+O", "ab"},
      {"+H", "abe"},
      {"-b", "ae"},
      {"-e", "ac"},
      {"-a", "c"},
      {"-c", "d"},
      {"-d", ""}}},
    {"one that waits is given up",
     {{"+S", "a"}, {"+O", "a"}, {"+S", "a"}, {"-b", "ac"}, {"-a", "c"}, {"-c", ""}}},
    {"one in the middle is given up",
     {{"+S", "a"},
      {"+O", "a"},
      {"+S", "a"},
      {"+O", "a"},
      {"+S", "a"},
      {"-d", "a"},
      {"-c", "a"},
      {"-a", "b"},
      {"-b", "e"},
      {"-e", ""}}},
};

START_TEST(scene)
{
	const struct scene *s = &scenes[_i];
	static struct scsi_cmd all[26];
	unsigned n = 0;
	for (unsigned i = 0; i < ARRAY_LEN(s->steps) && s->steps[i].what; i++) {
		const char *what = s->steps[i].what;
		char run[27] = "", *to = run;
		if (what[0] == '+') {
			struct scsi_cmd *c = &all[n++];
			memset(&c->turn, 0, sizeof(c->turn));
			c->attr = attr_of(what[1]);
			ck_assert_int_eq(task_set_enter(&set, c), runs(c));
		} else {
			task_set_leave(&set, &all[what[1] - 'a']);
		}
		for (unsigned k = 0; k < n; k++)
			if (runs(&all[k]))
				*to++ = (char)('a' + k);
		*to = 0;
		ck_assert_msg(!strcmp(run, s->steps[i].run), "%s, step %u (%s): %s run, not %s",
			      s->name, i, what, run, s->steps[i].run);
	}
}
END_TEST

/* ---- many random ones, against the sentences of SAM-5 8.6 ---- */

#define MANY 24
struct model {
	struct scsi_cmd c[MANY];
	bool in[MANY], on[MANY];
	uint64_t came[MANY];
};

static bool may(const struct model *m, unsigned i)
{
	uint8_t a = m->c[i].attr;
	for (unsigned k = 0; k < MANY; k++) {
		uint8_t b = m->c[k].attr;
		bool older = m->in[k] && k != i && m->came[k] < m->came[i];
		bool head = m->in[k] && b == SCSI_HEAD;
		if (a == SCSI_SIMPLE && (head || (older && b == SCSI_ORDERED)))
			return false;
		if (a == SCSI_ORDERED && (head || older))
			return false;
	}
	return true;
}

static void model_compare(struct model *m, unsigned step)
{
	for (unsigned i = 0; i < MANY; i++) {
		m->on[i] = m->in[i] && (m->on[i] || may(m, i)); /* who runs goes on */
		ck_assert_msg(runs(&m->c[i]) == m->on[i], "step %u, command %u", step, i);
	}
}

START_TEST(random_ones)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t came = 0;
	srand((unsigned)_i);
	for (unsigned step = 0; step < 10000; step++) {
		unsigned i = (unsigned)rand() % MANY;
		if (m->in[i]) {
			task_set_leave(&set, &m->c[i]);
			m->in[i] = m->on[i] = false;
		} else {
			unsigned r = (unsigned)rand() % 100;
			m->c[i].attr = r < 8 ? SCSI_ORDERED : r < 12 ? SCSI_HEAD : SCSI_SIMPLE;
			m->in[i] = true;
			m->came[i] = ++came;
			task_set_enter(&set, &m->c[i]);
		}
		model_compare(m, step);
	}
	for (unsigned i = 0; i < MANY; i++)
		task_set_leave(&set, &m->c[i]); /* of none: nothing */
	struct task_set_stats s;
	task_set_stats(&set, &s);
	ck_assert_uint_gt(s.ordered, 100);
	ck_assert_uint_gt(s.heads, 100);
	ck_assert_uint_gt(s.waited, 100);
	ck_assert_uint_eq(s.waiting, 0);
	free(m);
}
END_TEST

/* ---- tasks that wait ---- */

struct one {
	struct scsi_cmd c;
	bool went, ended;
	unsigned number;
};
static unsigned ended;

static void one_waits(void *arg)
{
	struct one *o = arg;
	o->went = task_set_wait(&set, &o->c);
	o->number = ended++;
	o->ended = true;
	if (!o->went)
		task_set_leave(&set, &o->c);
}

static void issue(struct one *o, char letter)
{
	memset(o, 0, sizeof(*o));
	o->c.attr = attr_of(letter);
	if (!task_set_enter(&set, &o->c))
		ck_assert_int_eq(task_start(one_waits, o), 0);
}

static bool odd(const struct scsi_cmd *c)
{
	return c->lun[1] & 1;
}

START_TEST(waits_end)
{
	struct sim *sim = sim_new(1);
	struct one o[8] = {0};
	ended = 0;
	issue(&o[0], 'S');
	for (unsigned i = 1; i < 8; i++) {
		issue(&o[i], 'O');
		o[i].c.lun[1] = (uint8_t)i;
	}
	task_set_cancel(&set, &o[0].c); /* it runs: nothing */
	task_set_cancel(&set, &o[2].c); /* before its task ran */
	sim_run_for(sim, 1000);
	ck_assert(o[2].ended && !o[2].went);
	ck_assert_uint_eq(ended, 1);
	task_set_cancel(&set, &o[1].c); /* the first */
	task_set_cancel(&set, &o[1].c); /* again */
	sim_run_for(sim, 1000);
	ck_assert(o[1].ended && !o[1].went);
	task_set_drop(&set, odd);
	sim_run_for(sim, 1000);
	ck_assert(o[3].ended && o[5].ended && o[7].ended && !o[7].went);
	ck_assert(!o[4].ended && !o[6].ended);
	task_set_leave(&set, &o[0].c);
	sim_run_for(sim, 1000);
	ck_assert(o[4].ended && o[4].went && !o[6].ended);
	task_set_cancel(&set, &o[4].c); /* too late */
	task_set_leave(&set, &o[4].c);
	sim_run_for(sim, 1000);
	ck_assert(o[6].ended && o[6].went);
	task_set_leave(&set, &o[6].c);
	task_set_drop(&set, odd); /* nobody */
	sim_free(sim);
}
END_TEST

/* ---- threads ---- */

#define REACTORS 4
#define SESSIONS 4 /* of each */
#define ROUNDS	 1000
static _Atomic int simple, ordered;
static _Atomic unsigned left, strict_ones;

struct session {
	struct scsi_cmd c;
	unsigned seed;
};

static void begins(const struct scsi_cmd *c)
{
	if (c->attr == SCSI_HEAD)
		return;
	int others = c->attr == SCSI_SIMPLE ? 0 : atomic_load(&simple);
	atomic_fetch_add(c->attr == SCSI_SIMPLE ? &simple : &ordered, 1);
	others += atomic_load(&ordered) - (c->attr == SCSI_ORDERED);
	ck_assert_msg(others == 0, "attribute %u beside %d others", c->attr, others);
}

static void ends(const struct scsi_cmd *c)
{
	if (c->attr != SCSI_HEAD)
		atomic_fetch_sub(c->attr == SCSI_SIMPLE ? &simple : &ordered, 1);
}

static void session_run(void *arg)
{
	struct session *s = arg;
	struct scsi_cmd *c = &s->c;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned r = (unsigned)rand_r(&s->seed) >> 8, part = i / 200 % 2 ? 256 : 48;
		c->attr = r % part == 0 ? SCSI_ORDERED : r % part == 1 ? SCSI_HEAD : SCSI_SIMPLE;
		bool go = task_set_enter(&set, c);
		if (!go && r % 7 == 0)
			task_set_cancel(&set, c);
		if (!go)
			go = task_set_wait(&set, c);
		if (go) {
			begins(c);
			if (r % 5 == 0)
				task_yield();
			ends(c);
		}
		task_set_leave(&set, c);
		atomic_fetch_add(&strict_ones, c->attr != SCSI_SIMPLE);
	}
	atomic_fetch_sub(&left, 1);
}

START_TEST(reactors)
{
	static struct session all[REACTORS][SESSIONS];
	struct reactor *r[REACTORS];
	left = REACTORS * SESSIONS;
	for (unsigned i = 0; i < REACTORS; i++) {
		/* two of them share a cell */
		unsigned slot = i == REACTORS - 1 ? TASK_SET_CELLS : i;
		struct reactor_opts o = {.name = "r", .cpu = -1, .slot = slot};
		ck_assert_int_eq(reactor_new(&r[i], &o), 0);
		ck_assert_int_eq(reactor_start_thread(r[i]), 0);
	}
	for (unsigned i = 0; i < REACTORS; i++)
		for (unsigned k = 0; k < SESSIONS; k++) {
			all[i][k].seed = i * SESSIONS + k + 1;
			ck_assert_int_eq(
			    task_start_on(reactor_sched(r[i]), session_run, &all[i][k]), 0);
		}
	while (atomic_load(&left))
		usleep(1000);
	for (unsigned i = 0; i < REACTORS; i++) {
		reactor_stop(r[i]);
		reactor_join(r[i]);
		reactor_free(r[i]);
	}
	ck_assert_uint_gt(strict_ones, ROUNDS / 100);
}
END_TEST

/* Two threads as close as can be: one that looks and counts, one that sets the flag and reads the
 * counts. Who would have to wait gives up. */
#define CLOSE 300000
static _Atomic bool in_simple, in_ordered, over;

static void *close_simple(void *arg)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	while (!atomic_load(&over)) {
		if (task_set_enter(&set, c)) {
			atomic_store(&in_simple, true);
			ck_assert(!atomic_load(&in_ordered));
			atomic_store(&in_simple, false);
		}
		task_set_leave(&set, c);
	}
	free(c);
	return NULL;
}

START_TEST(close_together)
{
	struct scsi_cmd *c = calloc(1, sizeof(*c));
	pthread_t thread;
	c->attr = SCSI_ORDERED;
	over = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, close_simple, NULL), 0);
	for (unsigned i = 0; i < CLOSE; i++) {
		if (task_set_enter(&set, c)) {
			atomic_store(&in_ordered, true);
			ck_assert(!atomic_load(&in_simple));
			atomic_store(&in_ordered, false);
		}
		task_set_leave(&set, c);
		for (unsigned k = i % 64; k > 0; k--)
			atomic_load(&over); /* so that the other finds the flag down, too */
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	free(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("task set");
	TCase *tc = tcase_create("task set");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, scene, 0, ARRAY_LEN(scenes));
	tcase_add_loop_test(tc, random_ones, 1, 4);
	tcase_add_test(tc, waits_end);
	tcase_add_test(tc, reactors);
	tcase_add_test(tc, close_together);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
