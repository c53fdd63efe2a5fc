/* Control memory: joining, ownership words, the right to the metadata, garbage, contention. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/control/gcm.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"

static const uint8_t pool_a[16] = "pool-a----------", pool_b[16] = "pool-b----------";

static void *segment(void)
{
	void *p = aligned_alloc(4096, gcm_shared_size());
	ck_assert_ptr_nonnull(p);
	memset(p, 0, gcm_shared_size());
	return p;
}

/* Processes as a test has them: pids below 100 live while their bit is set. */
static atomic_ullong living;

static bool lives(void *arg, int32_t pid, uint64_t started)
{
	return pid < 64 && (atomic_load(&living) >> pid & 1) && started == 7;
}

static int join(struct gcm **ret, void *seg, const char *name, int32_t pid, uint64_t incarnation)
{
	atomic_fetch_or(&living, 1ull << pid);
	return gcm_shared_open_as(ret, &(struct gcm_shared_opts){.env = env_real(),
								 .segment = seg,
								 .size = gcm_shared_size(),
								 .name = name,
								 .incarnation = incarnation,
								 .pid = pid,
								 .started = 7,
								 .alive = lives});
}

static void die(int32_t pid)
{
	atomic_fetch_and(&living, ~(1ull << pid));
}

/* A process that is stopped is ended; one that only has its number is left alone. */
START_TEST(ended_by_number_and_start)
{
	void *seg = segment();
	struct gcm *a, *b;
	pid_t child = fork();
	if (child == 0) {
		for (;;)
			pause();
	}
	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	uint64_t started = process_started(child);
	struct gcm_shared_opts o = {.env = env_real(),
				    .segment = seg,
				    .size = gcm_shared_size(),
				    .name = "a",
				    .incarnation = 1,
				    .pid = process_self(),
				    .started = process_started(process_self())};
	ck_assert_int_eq(gcm_shared_open_as(&a, &o), 0);
	o.name = "b";
	o.pid = child;
	o.started = started + 1; /* another had that number before */
	o.incarnation = 2;
	ck_assert_int_eq(gcm_shared_open_as(&b, &o), 0);
	ck_assert_int_eq(gcm_end(a, b->self, 2), 0);
	ck_assert_int_eq(process_kill(child, started + 1), 0);
	ck_assert_uint_eq(process_started(child), started);
	gcm_forget(a, b->self);
	b->ops->close(b);
	o.started = started;
	o.incarnation = 3;
	ck_assert_int_eq(gcm_shared_open_as(&b, &o), 0);
	ck_assert_int_eq(gcm_end(a, a->self, 1), -EINVAL);
	ck_assert_int_eq(gcm_end(a, b->self, 2), 0); /* that one is not it */
	ck_assert_uint_eq(process_started(child), started);
	int rc;
	while ((rc = gcm_end(a, b->self, 3)) == -EAGAIN)
		usleep(1000);
	ck_assert_int_eq(rc, 0);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	b->ops->close(b);
	a->ops->close(a);
	free(seg);
}
END_TEST

/* Of two one has it, until it gives it back, dies, or beats no more. */
START_TEST(one_ends_the_other)
{
	void *seg = segment();
	struct gcm *a, *b, *again;
	ck_assert_int_eq(join(&a, seg, "a", 1, 100), 0);
	ck_assert_int_eq(join(&b, seg, "b", 2, 200), 0);
	ck_assert_int_eq(gcm_end_lock(a, 60 * NS_PER_S), 0);
	ck_assert_int_eq(gcm_end_lock(a, 60 * NS_PER_S), 0);
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), -EBUSY);
	gcm_end_unlock(b); /* is not its own to give */
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), -EBUSY);
	gcm_end_unlock(a);
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), 0);
	ck_assert_int_eq(gcm_end_lock(a, 60 * NS_PER_S), -EBUSY);
	die(2);
	ck_assert_int_eq(gcm_end_lock(a, 60 * NS_PER_S), 0);
	/* a successor is not who had it */
	die(1);
	b->ops->close(b);
	ck_assert_int_eq(join(&b, seg, "b", 2, 201), 0);
	ck_assert_int_eq(join(&again, seg, "a", 3, 101), 0);
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), 0);
	/* one that hangs does not keep it, and is told so */
	usleep(20000);
	ck_assert_int_eq(gcm_end_lock(again, 10 * NS_PER_MS), 0);
	gcm_beat(again);
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), -EBUSY);
	gcm_end_unlock(b);
	ck_assert_int_eq(gcm_end_lock(b, 60 * NS_PER_S), -EBUSY);
	a->ops->close(a);
	b->ops->close(b);
	again->ops->close(again);
	free(seg);
}
END_TEST

START_TEST(joining)
{
	void *seg = segment();
	struct gcm *a, *b, *again;
	struct gcm_controller c;
	ck_assert_int_eq(join(&a, seg, "a", 1, 100), 0);
	ck_assert_int_eq(join(&b, seg, "bb", 2, 200), 0);
	ck_assert_uint_ne(a->self, b->self);
	static const uint8_t none[16];
	ck_assert_mem_eq(a->id, b->id, 16);
	ck_assert_mem_ne(a->id, none, 16);
	ck_assert_int_eq(gcm_index(a, "bb"), b->self);
	ck_assert_int_eq(gcm_index(b, "a"), a->self);
	ck_assert_int_eq(gcm_index(b, "c"), -ENOENT);
	gcm_set_state(a, GCM_UP);
	gcm_beat(a);
	ck_assert(gcm_controller(b, a->self, &c));
	ck_assert_str_eq(c.name, "a");
	ck_assert_int_eq(c.state, GCM_UP);
	ck_assert_int_eq(c.pid, 1);
	ck_assert_uint_eq(c.incarnation, 100);
	ck_assert(c.alive);
	ck_assert(!gcm_controller(b, 40, &c));
	/* nobody joins under the name of one that lives */
	ck_assert_int_eq(join(&again, seg, "a", 3, 300), -EBUSY);
	die(1);
	ck_assert(gcm_controller(b, a->self, &c));
	ck_assert(!c.alive);
	uint8_t index = a->self;
	ck_assert_int_eq(join(&again, seg, "a", 3, 300), 0);
	ck_assert_uint_eq(again->self, index);
	/* what the dead one's memory still does changes nothing of its successor's */
	a->ops->close(a);
	ck_assert(gcm_controller(b, index, &c));
	ck_assert_int_eq(c.pid, 3);
	ck_assert_int_eq(c.state, GCM_STARTING);
	again->ops->close(again);
	ck_assert(gcm_controller(b, index, &c));
	ck_assert_int_eq(c.state, GCM_DOWN);
	ck_assert_int_eq(join(&again, seg, "a", 4, 301), 0);
	again->ops->close(again);
	b->ops->close(b);
	ck_assert_int_eq(join(&a, seg, "", 1, 1), -EINVAL);
	ck_assert_int_eq(join(&a, seg, "a name of more than thirty-one bytes", 1, 1), -EINVAL);
	ck_assert_int_eq(join(&a, seg, "a", 1, 0), -EINVAL);
	free(seg);
}
END_TEST

START_TEST(owners)
{
	void *seg = segment();
	struct gcm *a, *b;
	struct gcm_owner o, was = {0};
	ck_assert_int_eq(join(&a, seg, "a", 1, 100), 0);
	ck_assert_int_eq(join(&b, seg, "b", 2, 200), 0);
	ck_assert(!a->ops->owner(a, pool_a, &o));
	ck_assert(!gcm_owns(a, pool_a));
	struct gcm_owner first = {.epoch = 5, .controller = a->self};
	ck_assert_int_eq(a->ops->set_owner(a, pool_a, &was, &first), 0);
	ck_assert(gcm_owns(a, pool_a));
	ck_assert(!gcm_owns(b, pool_a));
	/* only one enters it */
	struct gcm_owner other = {.epoch = 6, .controller = b->self};
	was = (struct gcm_owner){0};
	ck_assert_int_eq(b->ops->set_owner(b, pool_a, &was, &other), -ERR_EPOCH_STALE);
	ck_assert_uint_eq(was.epoch, 5);
	ck_assert_uint_eq(was.controller, a->self);
	/* the owner says that it has copies; who read the word before does not take it */
	struct gcm_owner stale = was, mirrored = first;
	mirrored.mirrored = true;
	ck_assert_int_eq(a->ops->set_owner(a, pool_a, &first, &mirrored), 0);
	ck_assert_int_eq(b->ops->set_owner(b, pool_a, &stale, &other), -ERR_EPOCH_STALE);
	ck_assert(stale.mirrored);
	ck_assert_int_eq(b->ops->set_owner(b, pool_a, &stale, &other), 0);
	ck_assert(gcm_owns(b, pool_a));
	ck_assert(!gcm_owns(a, pool_a));
	/* epochs only grow, and have bounds */
	struct gcm_owner back = {.epoch = 4, .controller = a->self};
	ck_assert_int_eq(a->ops->set_owner(a, pool_a, &other, &back), -EINVAL);
	back.epoch = 1ull << 48;
	ck_assert_int_eq(a->ops->set_owner(a, pool_a, &other, &back), -EINVAL);
	back = (struct gcm_owner){.epoch = 9, .controller = 70};
	ck_assert_int_eq(a->ops->set_owner(a, pool_a, &other, &back), -EINVAL);
	/* moving: still its owner's, and not in use by it any more */
	struct gcm_owner moving = other;
	moving.moving = true;
	ck_assert_int_eq(b->ops->set_owner(b, pool_a, &other, &moving), 0);
	ck_assert(!gcm_owns(b, pool_a));
	ck_assert(a->ops->owner(a, pool_a, &o));
	ck_assert(o.moving);
	ck_assert_uint_eq(o.epoch, 6);
	/* a word that is not there cannot be changed from something */
	was = (struct gcm_owner){.epoch = 3, .controller = a->self};
	ck_assert_int_eq(a->ops->set_owner(a, pool_b, &was, &other), -ERR_EPOCH_STALE);
	ck_assert_uint_eq(was.epoch, 0);
	/* pools outlive the controllers */
	a->ops->close(a);
	b->ops->close(b);
	ck_assert_int_eq(join(&a, seg, "a", 1, 101), 0);
	ck_assert(a->ops->owner(a, pool_a, &o));
	ck_assert_uint_eq(o.epoch, 6);
	a->ops->close(a);
	free(seg);
}
END_TEST

START_TEST(full_map)
{
	void *seg = segment();
	struct gcm *a;
	ck_assert_int_eq(join(&a, seg, "a", 1, 100), 0);
	for (unsigned i = 0; i <= GCM_POOLS; i++) {
		uint8_t uuid[16] = {(uint8_t)i, (uint8_t)(i >> 8), 1, [8] = 1};
		struct gcm_owner was = {0}, now = {.epoch = i + 1, .controller = a->self};
		ck_assert_int_eq(a->ops->set_owner(a, uuid, &was, &now),
				 i < GCM_POOLS ? 0 : -ENOSPC);
	}
	for (unsigned i = 0; i < GCM_POOLS; i++) {
		uint8_t uuid[16] = {(uint8_t)i, (uint8_t)(i >> 8), 1, [8] = 1};
		struct gcm_owner o;
		ck_assert(a->ops->owner(a, uuid, &o));
		ck_assert_uint_eq(o.epoch, i + 1);
	}
	a->ops->close(a);
	free(seg);
}
END_TEST

START_TEST(metadata_right)
{
	void *seg = segment();
	struct gcm *a, *b;
	uint64_t seq;
	ck_assert_int_eq(join(&a, seg, "a", 1, 100), 0);
	ck_assert_int_eq(join(&b, seg, "b", 2, 200), 0);
	ck_assert_int_eq(a->ops->meta_lock(a, &seq), 0);
	ck_assert_uint_eq(seq, 0);
	ck_assert_int_eq(b->ops->meta_lock(b, &seq), -EBUSY);
	ck_assert_int_eq(a->ops->meta_lock(a, &seq), -EBUSY);
	a->ops->meta_unlock(a, 17);
	ck_assert_int_eq(b->ops->meta_lock(b, &seq), 0);
	ck_assert_uint_eq(seq, 17);
	/* its holder dies: free, and the sequence is not to be trusted */
	die(2);
	ck_assert_int_eq(a->ops->meta_lock(a, &seq), 0);
	ck_assert(seq == GCM_SEQ_UNKNOWN);
	a->ops->meta_unlock(a, 18);
	b->ops->close(b);
	/* started anew under the same name, it does not have what the dead one had */
	ck_assert_int_eq(join(&b, seg, "b", 3, 201), 0);
	ck_assert_int_eq(b->ops->meta_lock(b, &seq), 0);
	ck_assert_uint_eq(seq, 18);
	die(3);
	struct gcm *b2;
	ck_assert_int_eq(join(&b2, seg, "b", 4, 202), 0);
	ck_assert_int_eq(b2->ops->meta_lock(b2, &seq), 0);
	ck_assert(seq == GCM_SEQ_UNKNOWN);
	/* what a successor has is not its predecessor's: it keeps it */
	gcm_forget(a, b2->self);
	ck_assert_int_eq(a->ops->meta_lock(a, &seq), -EBUSY);
	ck_assert_int_eq(gcm_index(a, "b"), b2->self);
	die(4);
	gcm_forget(a, b2->self);
	ck_assert_int_eq(a->ops->meta_lock(a, &seq), 0);
	ck_assert(seq == GCM_SEQ_UNKNOWN);
	gcm_forget(a, b2->self); /* not its: stays */
	ck_assert_int_eq(b2->ops->meta_lock(b2, &seq), -EBUSY);
	a->ops->meta_unlock(a, 19);
	ck_assert_int_eq(b2->ops->meta_lock(b2, &seq), 0);
	ck_assert_uint_eq(seq, 19);
	b2->ops->meta_unlock(b2, 20);
	a->ops->close(a);
	b->ops->close(b);
	b2->ops->close(b2);
	free(seg);
}
END_TEST

START_TEST(real_processes)
{
	void *seg = segment();
	struct gcm *a, *b;
	struct gcm_controller c;
	int pipefd[2];
	ck_assert_int_eq(pipe(pipefd), 0);
	ck_assert_int_eq(gcm_shared_open(&a, env_real(), seg, gcm_shared_size(), "a", 1), 0);
	ck_assert(gcm_controller(a, a->self, &c));
	ck_assert(c.alive);
	ck_assert_int_eq(c.pid, getpid());
	pid_t child = fork();
	if (child == 0) {
		char x;
		close(pipefd[1]);
		_exit(read(pipefd[0], &x, 1) != 0);
	}
	close(pipefd[0]);
	uint64_t started = process_started(child);
	ck_assert(started != 0);
	struct gcm_shared_opts o = {.env = env_real(),
				    .segment = seg,
				    .size = gcm_shared_size(),
				    .name = "b",
				    .incarnation = 2,
				    .pid = child,
				    .started = started};
	ck_assert_int_eq(gcm_shared_open_as(&b, &o), 0);
	ck_assert(gcm_controller(a, b->self, &c));
	ck_assert(c.alive);
	close(pipefd[1]);
	/* ended, and not asked for by its parent yet: dead all the same */
	while (process_started(child))
		usleep(1000);
	ck_assert(gcm_controller(a, b->self, &c));
	ck_assert(!c.alive);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	a->ops->close(a);
	b->ops->close(b);
	free(seg);
}
END_TEST

START_TEST(garbage)
{
	uint8_t *seg = segment();
	struct gcm *a;
	ck_assert_int_eq(gcm_shared_open(&a, env_real(), seg, 4096, "a", 1), -ERR_CORRUPT);
	srand(5);
	/* all of it garbage: never taken */
	for (unsigned i = 0; i < 200; i++) {
		for (size_t k = 0; k < gcm_shared_size(); k++)
			seg[k] = (uint8_t)rand();
		ck_assert_int_lt(join(&a, seg, "a", 1, 1), 0);
	}
	/* no magic, and something behind it: not taken for new */
	memset(seg, 0, gcm_shared_size());
	seg[500] = 1;
	ck_assert_int_eq(join(&a, seg, "a", 1, 1), -ERR_CORRUPT);
	/* of another version */
	memset(seg, 0, gcm_shared_size());
	ck_assert_int_eq(join(&a, seg, "a", 1, 1), 0);
	a->ops->close(a);
	seg[8]++;
	ck_assert_int_eq(join(&a, seg, "a", 1, 1), -ERR_VERSION);
	free(seg);
}
END_TEST

/* Damage of a good segment, before and after it was opened: refused, or no harm. */
START_TEST(damaged)
{
	uint8_t *good = segment(), *seg = segment();
	struct gcm *a, *b;
	struct gcm_owner o, was;
	unsigned refused = 0;
	ck_assert_int_eq(join(&a, good, "alpha", 1, 100), 0);
	ck_assert_int_eq(join(&b, good, "beta", 2, 200), 0);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t uuid[16] = {(uint8_t)i, 2, 1, [8] = 1};
		was = (struct gcm_owner){0};
		o = (struct gcm_owner){.epoch = i + 1, .controller = i & 1};
		ck_assert_int_eq(a->ops->set_owner(a, uuid, &was, &o), 0);
	}
	a->ops->close(a);
	b->ops->close(b);
	srand(9);
	for (unsigned i = 0; i < 20000; i++) {
		bool late = i & 1;
		memcpy(seg, good, gcm_shared_size());
		if (late)
			ck_assert_int_eq(join(&a, seg, "alpha", 1, 101), 0);
		/* mostly where there is something */
		for (int k = rand() % 3; k >= 0; k--)
			seg[rand() % 2 ? 8320 + rand() % 128 : rand() % 400] = (uint8_t)rand();
		if (!late && join(&a, seg, "alpha", 1, 101)) {
			refused++;
			continue;
		}
		struct gcm_controller c;
		uint64_t seq;
		gcm_index(a, "beta");
		for (unsigned k = 0; k < GCM_CONTROLLERS; k++)
			gcm_controller(a, (uint8_t)k, &c);
		if (a->ops->meta_lock(a, &seq) == 0)
			a->ops->meta_unlock(a, seq);
		for (unsigned k = 0; k < 6; k++) {
			uint8_t uuid[16] = {(uint8_t)k, 2, 1, [8] = 1};
			was = (struct gcm_owner){0};
			if (a->ops->owner(a, uuid, &was)) {
				ck_assert(was.controller < GCM_CONTROLLERS ||
					  was.controller == GCM_NOBODY);
			}
			o = was;
			o.epoch = was.epoch + 1;
			a->ops->set_owner(a, uuid, &was, &o);
		}
		gcm_forget(a, 1);
		a->ops->close(a);
	}
	ck_assert_uint_gt(refused, 1000);
	free(seg);
	free(good);
}
END_TEST

#define CHANGES 3000

struct contender {
	struct gcm *g;
	unsigned won;
	unsigned *under_right;
};

static void *contend(void *arg)
{
	struct contender *t = arg;
	while (t->won < CHANGES) {
		struct gcm_owner was = {0}, now;
		if (!t->g->ops->owner(t->g, pool_a, &was))
			was = (struct gcm_owner){0};
		now = (struct gcm_owner){.epoch = was.epoch + 1, .controller = t->g->self};
		if (t->g->ops->set_owner(t->g, pool_a, &was, &now) == 0)
			t->won++;
		uint64_t seq;
		if (t->g->ops->meta_lock(t->g, &seq) == 0) {
			ck_assert_uint_eq(seq, *t->under_right);
			(*t->under_right)++;
			t->g->ops->meta_unlock(t->g, seq + 1);
		}
		gcm_beat(t->g);
	}
	return NULL;
}

/* Four that want the same word and the same right: each change is one's, none is lost. */
START_TEST(contention)
{
	void *seg = segment();
	struct contender t[4] = {0};
	pthread_t th[4];
	unsigned under_right = 0;
	for (unsigned i = 0; i < 4; i++) {
		char name[8] = {'c', (char)('0' + i)};
		ck_assert_int_eq(join(&t[i].g, seg, name, (int32_t)i + 1, i + 1), 0);
		t[i].under_right = &under_right;
	}
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&th[i], NULL, contend, &t[i]), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	struct gcm_owner o;
	ck_assert(t[0].g->ops->owner(t[0].g, pool_a, &o));
	ck_assert_uint_eq(o.epoch, 4 * CHANGES);
	ck_assert_uint_gt(under_right, 0);
	for (unsigned i = 0; i < 4; i++)
		t[i].g->ops->close(t[i].g);
	free(seg);
}
END_TEST

static void *open_at_once(void *arg)
{
	struct gcm *g;
	static atomic_int n;
	int i = atomic_fetch_add(&n, 1) % 6;
	char name[8] = {'n', (char)('0' + i % 3)};
	int rc = join(&g, arg, name, i + 1, (uint64_t)i + 1);
	if (rc)
		return (void *)(intptr_t)rc;
	return g;
}

/* Six open a segment of zeros at once, two under each name: three join. */
START_TEST(opened_at_once)
{
	for (unsigned round = 0; round < 50; round++) {
		void *seg = segment(), *got[6];
		pthread_t th[6];
		unsigned joined = 0;
		uint64_t seen = 0;
		atomic_store(&living, ~0ull);
		for (unsigned i = 0; i < 6; i++)
			ck_assert_int_eq(pthread_create(&th[i], NULL, open_at_once, seg), 0);
		for (unsigned i = 0; i < 6; i++)
			pthread_join(th[i], &got[i]);
		for (unsigned i = 0; i < 6; i++) {
			if ((intptr_t)got[i] == -EBUSY)
				continue;
			ck_assert((intptr_t)got[i] > 0);
			struct gcm *g = got[i];
			joined++;
			ck_assert(!(seen >> g->self & 1));
			seen |= 1ull << g->self;
			g->ops->close(g);
		}
		ck_assert_uint_eq(joined, 3);
		free(seg);
	}
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR + 1);
	Suite *s = suite_create("gcm");
	TCase *tc = tcase_create("gcm");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, joining);
	tcase_add_test(tc, one_ends_the_other);
	tcase_add_test(tc, ended_by_number_and_start);
	tcase_add_test(tc, owners);
	tcase_add_test(tc, full_map);
	tcase_add_test(tc, metadata_right);
	tcase_add_test(tc, real_processes);
	tcase_add_test(tc, garbage);
	tcase_add_test(tc, damaged);
	tcase_add_test(tc, contention);
	tcase_add_test(tc, opened_at_once);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
