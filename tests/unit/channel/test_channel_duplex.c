/* A head and two controllers: volumes move, controllers die, at any moment. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/channel_rig.h"

#ifdef __SANITIZE_THREAD__
#define MOVES 20
#else
#define MOVES 60
#endif

static struct fake_server *both[FAKE_SIDES];

static void run_two(task_fn *fn)
{
	both[0] = fake_server_start(&world, 0);
	both[1] = fake_server_start(&world, 1);
	run_client(fn);
	fake_server_stop(both[0]);
	fake_server_stop(both[1]);
}

static void wait_ends(struct channel *c, unsigned want)
{
	struct channel_end_info e;
	unsigned up;
	do {
		up = 0;
		for (unsigned i = 0; channel_end_info(c, i, &e); i++)
			up += e.up;
		env_sleep_ns(env_real(), NS_PER_MS);
	} while (up < want);
}

static struct channel *open_two(void)
{
	struct channel *c = open_h1();
	wait_ends(c, 2);
	return c;
}

/* ---- moves under load ---- */

static bool over;
static uint64_t done_ops;

static void user(void *arg)
{
	struct bdev *b = arg;
	unsigned id = (unsigned)users_left++;
	uint64_t off = id * 256ull * KIB;
	uint8_t *buf = malloc(256 * KIB);
	struct bdev_ref *ref = malloc(sizeof(*ref));
	for (unsigned i = 0; !over || i < 3; i++) {
		size_t len = i % 4 == 3 ? 128 * KIB : 4 * KIB;
		fill(buf, len, id * 1000 + i);
		ck_assert_int_eq(bdev_write(b, buf, len, off, i % 16 ? 0 : BDEV_FUA), 0);
		memset(buf + 128 * KIB, 0, len);
		ck_assert_int_eq(bdev_read(b, buf + 128 * KIB, len, off), 0);
		ck_assert(memcmp(buf, buf + 128 * KIB, len) == 0);
		if (i % 16 == 5) {
			ck_assert_int_eq(bdev_discard(b, off, 4 * KIB), 0);
			memset(buf, 0, 4 * KIB);
			ck_assert_int_eq(bdev_read_ref(b, off, 4 * KIB, ref), 0);
			ck_assert_int_eq(ref->iovcnt, 1);
			ck_assert(memcmp(ref->iov[0].iov_base, buf, 4 * KIB) == 0);
			bdev_ref_put(b, ref);
		}
		if (i % 32 == 7)
			ck_assert_int_eq(bdev_flush(b), 0);
		done_ops++;
	}
	free(ref);
	free(buf);
	users_left--;
}

static void start_users(struct bdev *b, unsigned n)
{
	over = false;
	users_left = 0;
	done_ops = 0;
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(task_start(user, b), 0);
}

static void end_users(void)
{
	over = true;
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
}

static void moves(void *arg)
{
	struct channel *c = open_two();
	struct bdev *b = open_vol(c, 1), *other = open_vol(c, 2);
	struct channel_stats st;
	uint64_t memory = b->memory_id;
	uint8_t buf[4 * KIB];
	ck_assert_uint_eq(memory, 1000);
	start_users(b, 20);
	for (unsigned i = 0; i < MOVES; i++) {
		env_sleep_ns(env_real(), rnd(8) * NS_PER_MS);
		if (rnd(4) == 0)
			fake_move(&world, 1, !fake_owner(&world, 1), true);
		else
			fake_move(&world, 1, !fake_owner(&world, 1), false);
		/* The rest stays where it is. */
		ck_assert_int_eq(bdev_read(other, buf, sizeof(buf), 0), 0);
	}
	end_users();
	channel_stats(c, &st);
	ck_assert_uint_gt(st.moves, 0);
	ck_assert_uint_gt(st.retries, 0);
	ck_assert_uint_gt(done_ops, 50);
	ck_assert_uint_eq(st.reconnects, 0);
	ck_assert_uint_eq(b->memory_id, memory);
	bdev_close(other);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(volumes_move_under_load)
{
	rnd_state = (unsigned)_i;
	run_two(moves);
}
END_TEST

/* ---- hits ---- */

/*
 * Another head writes versions, volumes move meanwhile, and this one finds them in whichever cache
 * it looks: never one older than what had been acknowledged before it looked.
 */
static _Atomic uint64_t acknowledged;
static _Atomic bool writing;

static void version_write(struct bdev *b, uint64_t version)
{
	static uint64_t page[1024];
	for (unsigned i = 0; i < ARRAY_LEN(page); i++)
		page[i] = version;
	ck_assert_int_eq(bdev_write(b, page, sizeof(page), 0, 0), 0);
	atomic_store(&acknowledged, version);
}

static uint64_t version_read(struct bdev *b)
{
	static struct bdev_ref ref;
	uint64_t version;
	ck_assert_int_eq(bdev_read_ref(b, 0, 4096, &ref), 0);
	ck_assert_uint_eq(ref.iov[0].iov_len, 4096);
	memcpy(&version, ref.iov[0].iov_base, sizeof(version));
	bdev_ref_put(b, &ref);
	return version;
}

struct writer {
	pthread_t thread;
	struct reactor *r;
	unsigned versions; /* 0: until writing is false */
};

static void writer_task(void *arg)
{
	struct writer *w = arg;
	struct channel_opts o = {0};
	struct channel *c = open_as("h2", o);
	struct bdev *b = open_vol(c, 1);
	for (unsigned i = 0; w->versions ? i < w->versions : atomic_load(&writing); i++)
		version_write(b, atomic_load(&acknowledged) + 1);
	bdev_close(b);
	channel_close(c);
	reactor_stop(w->r);
}

/* On this thread, which may be one that has no reactor. */
static void writer_run(struct writer *w)
{
	struct reactor_opts o = {.name = "h2", .cpu = -1};
	ck_assert_int_eq(reactor_new(&w->r, &o), 0);
	ck_assert_int_eq(task_start_on(reactor_sched(w->r), writer_task, w), 0);
	ck_assert_int_eq(reactor_start_thread(w->r), 0);
	reactor_join(w->r);
	reactor_free(w->r);
}

static void *writer_thread(void *arg)
{
	writer_run(arg);
	return NULL;
}

static void *mover_thread(void *arg)
{
	unsigned seed = 7;
	/* On a busy machine until the writer has had its turns, too. */
	for (int i = 0; i < MOVES || (acknowledged <= MOVES && i < 100 * MOVES); i++) {
		usleep(rand_r(&seed) % 4000);
		fake_move(&world, 1, !fake_owner(&world, 1), false);
	}
	atomic_store(&writing, false);
	return NULL;
}

static void versions(void *arg)
{
	struct channel *c = open_two();
	struct bdev *b = open_vol(c, 1);
	struct channel_stats st;
	struct writer w = {0};
	pthread_t mover;
	uint64_t looked = 0;
	acknowledged = 0;
	version_write(b, 1);
	writing = true;
	ck_assert_int_eq(pthread_create(&w.thread, NULL, writer_thread, &w), 0);
	ck_assert_int_eq(pthread_create(&mover, NULL, mover_thread, NULL), 0);
	while (atomic_load(&writing)) {
		uint64_t least = atomic_load(&acknowledged);
		ck_assert_uint_ge(version_read(b), least);
		if (++looked % 512 == 0)
			task_yield();
		if (looked % 65536 == 0)
			env_sleep_ns(env_real(), NS_PER_MS);
	}
	pthread_join(mover, NULL);
	pthread_join(w.thread, NULL);
	channel_stats(c, &st);
	ck_assert_uint_gt(st.read_hits, 0);
	ck_assert_uint_gt(acknowledged, MOVES);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(no_hit_is_older_than_what_was_acknowledged)
{
	run_two(versions);
}
END_TEST

/*
 * The owner changes and the volume is written while this head's thread is in one long turn, so it
 * can not have heard. The dead one's cache still names the old page.
 */
static pid_t pids[FAKE_SIDES];

static void *change_unheard(void *arg)
{
	struct writer w = {.versions = 1};
	if (pids[0]) {
		fake_server_kill(pids[0]);
		pids[0] = 0;
		fake_takeover(&world, 0, false);
	} else {
		fake_move(&world, 1, 1, false);
	}
	writer_run(&w);
	return NULL;
}

static void unheard(void *arg)
{
	struct channel *c = open_two();
	struct bdev *b = open_vol(c, 1);
	struct channel_stats before, after;
	pthread_t t;
	acknowledged = 0;
	version_write(b, 1);
	channel_stats(c, &before);
	ck_assert_uint_eq(version_read(b), 1);
	channel_stats(c, &after);
	ck_assert_uint_eq(after.read_hits, before.read_hits + 1);
	ck_assert_int_eq(pthread_create(&t, NULL, change_unheard, NULL), 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_uint_eq(version_read(b), 2);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_volume_that_was_given_away_unheard_is_not_looked_up)
{
	run_two(unheard);
}
END_TEST

START_TEST(a_dead_owners_cache_is_not_believed)
{
	pids[0] = fake_server_fork(&world, 0);
	pids[1] = fake_server_fork(&world, 1);
	run_client(unheard);
	ck_assert_int_eq(pids[0], 0);
	fake_server_kill(pids[1]);
}
END_TEST

/* ---- deaths ---- */

static int rounds;

static void deaths(void *arg)
{
	struct channel *c = open_two();
	struct bdev *b = open_vol(c, 1);
	struct channel_stats st;
	uint64_t memory = b->memory_id;
	start_users(b, 16);
	for (int i = 0; i < rounds; i++) {
		unsigned dead = rnd(2);
		env_sleep_ns(env_real(), (10 + rnd(40)) * NS_PER_MS);
		fake_server_kill(pids[dead]);
		env_sleep_ns(env_real(), rnd(20) * NS_PER_MS);
		fake_takeover(&world, dead, false);
		ck_assert_uint_eq(fake_owner(&world, 1), !dead);
		env_sleep_ns(env_real(), rnd(40) * NS_PER_MS);
		pids[dead] = fake_server_fork(&world, dead);
		env_sleep_ns(env_real(), rnd(80) * NS_PER_MS);
		if (rnd(2))
			fake_move(&world, 1, dead, false);
	}
	end_users();
	channel_stats(c, &st);
	ck_assert_uint_gt(st.retries, 0);
	ck_assert_uint_gt(st.moves, 0);
	ck_assert_uint_gt(done_ops, 50);
	ck_assert_uint_eq(b->memory_id, memory);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(either_controller_dies_under_load)
{
	rnd_state = (unsigned)_i + 20;
	rounds = 8;
	pids[0] = fake_server_fork(&world, 0);
	pids[1] = fake_server_fork(&world, 1);
	run_client(deaths);
	fake_server_kill(pids[0]);
	fake_server_kill(pids[1]);
}
END_TEST

/* Memory that was lost has another name, before a call that reaches what is left comes back. */
static uint64_t memory_seen;

static void flusher(void *arg)
{
	struct bdev *b = arg;
	ck_assert_int_eq(bdev_flush(b), 0);
	memory_seen = b->memory_id;
	users_left--;
}

/* What was to be flushed before it is lost, so it is not written either. */
static void after_a_flush(void *arg)
{
	static uint8_t data[4 * KIB], there[4 * KIB];
	struct bdev *b = arg;
	fill(data, sizeof(data), 5);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), MIB, BDEV_PREFLUSH | BDEV_FUA),
			 -ERR_MEDIUM);
	ck_assert_int_eq(bdev_read(b, there, sizeof(there), MIB), 0);
	ck_assert(memcmp(data, there, sizeof(data)) != 0);
	/* Called for the new memory it is carried out. */
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), MIB, BDEV_PREFLUSH | BDEV_FUA), 0);
	users_left--;
}

static void loss(void *arg)
{
	struct channel *c = open_two();
	struct bdev *b = open_vol(c, 1);
	uint64_t memory = b->memory_id;
	users_left = 2;
	fake_server_kill(pids[0]);
	env_sleep_ns(env_real(), 20 * NS_PER_MS);
	ck_assert_int_eq(task_start(flusher, b), 0);
	ck_assert_int_eq(task_start(after_a_flush, b), 0);
	env_sleep_ns(env_real(), 20 * NS_PER_MS);
	ck_assert_int_eq(users_left, 2); /* nobody owns it: it waits */
	ck_assert_uint_eq(b->memory_id, memory);
	fake_takeover(&world, 0, true);
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	ck_assert_uint_ne(memory_seen, memory);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(lost_memory_has_another_name)
{
	pids[0] = fake_server_fork(&world, 0);
	pids[1] = fake_server_fork(&world, 1);
	run_client(loss);
	fake_server_kill(pids[1]);
}
END_TEST

/* ---- instances ---- */

/* An instance that never spoke to b is fenced there all the same, before anything else. */
static void replaced(void *arg)
{
	struct channel *old = open_two(), *new;
	struct bdev *b1 = open_vol(old, 1), *b2 = open_vol(old, 2);
	uint8_t buf[4 * KIB] = {0};
	fake_move(&world, 2, 1, false);
	ck_assert_int_eq(bdev_write(b2, buf, sizeof(buf), 0, 0), 0);
	struct channel_opts only_a = {.paths = {world.socket[0]}, .head = "h1", .group = "g1"};
	ck_assert_int_eq(channel_open(&new, &only_a), 0);
	ck_assert_uint_gt(channel_epoch(new), channel_epoch(old));
	ck_assert(channel_fenced(old));
	ck_assert_int_eq(bdev_write(b2, buf, sizeof(buf), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_write(b1, buf, sizeof(buf), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(channel_failed(old), -ERR_EPOCH_STALE);
	bdev_close(b1);
	bdev_close(b2);
	channel_close(old);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(a_replaced_instance_is_refused_at_both)
{
	run_two(replaced);
}
END_TEST

static void fence_h1(struct channel_server *s, void *arg)
{
	*(int *)arg = channel_server_fence(s, "h1", 0);
}

/* One that hangs is fenced at one of them, before there is another: and so at both. */
static void fenced(void *arg)
{
	struct channel *old = open_two();
	struct bdev *b1 = open_vol(old, 1), *b2 = open_vol(old, 2);
	uint8_t buf[4 * KIB] = {0};
	int rc = 1;
	fake_move(&world, 2, 1, false);
	ck_assert_int_eq(bdev_write(b2, buf, sizeof(buf), 0, 0), 0);
	fake_server_call(both[0], fence_h1, &rc);
	ck_assert_int_eq(rc, 0);
	ck_assert(channel_fenced(old));
	ck_assert_int_eq(bdev_write(b2, buf, sizeof(buf), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_write(b1, buf, sizeof(buf), 0, 0), -ERR_EPOCH_STALE);
	struct channel *new = open_two();
	ck_assert_uint_gt(channel_epoch(new), channel_epoch(old));
	bdev_close(b1);
	bdev_close(b2);
	channel_close(old);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(who_is_fenced_at_one_is_refused_at_both)
{
	run_two(fenced);
}
END_TEST

/* Before there is a pool nothing is recorded; then it is, and nobody notices. */
static void unrecorded(void *arg)
{
	struct channel *c = open_two(), *new;
	struct channel_stats st;
	uint64_t epoch = channel_epoch(c);
	fake_world_make_pool(&world);
	env_sleep_ns(env_real(), 200 * NS_PER_MS);
	channel_stats(c, &st);
	ck_assert_uint_eq(st.reconnects, 0);
	ck_assert(!channel_fenced(c));
	ck_assert_uint_eq(fake_head_epoch(&world, "h1"), epoch);
	struct channel_opts only_b = {.paths = {world.socket[1]}, .head = "h1", .group = "g1"};
	ck_assert_int_eq(channel_open(&new, &only_b), 0);
	ck_assert_uint_gt(channel_epoch(new), epoch);
	ck_assert(channel_fenced(c));
	channel_close(c);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(instances_are_recorded_with_the_first_pool)
{
	fake_world_without_pools(&world);
	run_two(unrecorded);
}
END_TEST

/* ---- one of them away ---- */

static int applied;
static uint64_t applied_seq;

static void on_config(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret)
{
	applied++;
	applied_seq = cfg->seq;
}

struct wait_for {
	uint64_t seq;
	int rc;
};

static void touch_and_wait(struct channel_server *cs, void *arg)
{
	struct wait_for *w = arg;
	char text[256];
	w->seq = w->seq ? w->seq : fake_meta_touch();
	w->rc = channel_server_wait_applied(cs, "h1", w->seq, NULL, 5 * NS_PER_S, text);
}

static void away(void *arg)
{
	struct channel_opts o = {.config = on_config,
				 .paths = {world.socket[0], world.socket[1]},
				 .head = "h1",
				 .group = "g1"};
	struct channel *c;
	struct wait_for w = {0};
	applied = 0;
	/* Only b is there. */
	ck_assert_int_eq(channel_open(&c, &o), 0);
	fake_server_call(both[1], touch_and_wait, &w);
	ck_assert_int_eq(w.rc, 0);
	ck_assert_uint_eq(applied_seq, w.seq);
	both[0] = fake_server_start(&world, 0);
	wait_ends(c, 2);
	fake_server_call(both[0], touch_and_wait, &w);
	ck_assert_int_eq(w.rc, 0);
	/* One change, told by both: applied once, answered to both. */
	int before = applied;
	w.seq = 0;
	fake_server_call(both[1], touch_and_wait, &w);
	fake_server_call(both[0], touch_and_wait, &w);
	ck_assert_int_eq(applied, before + 1);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_head_starts_with_one_controller_away)
{
	both[1] = fake_server_start(&world, 1);
	run_client(away);
	fake_server_stop(both[0]);
	fake_server_stop(both[1]);
}
END_TEST

/* ---- backups ---- */

static void free_text(Isthmus__ChannelBackedUp *b)
{
	if (b->text != protobuf_c_empty_string)
		free(b->text);
}

static void backups(void *arg)
{
	struct channel *c = open_two();
	Isthmus__ChannelBackedUp b;
	/* g1's volumes are b's, g2's (without a backup) are a's. */
	fake_move(&world, 3, 1, false);
	fake_move(&world, 4, 1, false);
	ck_assert_int_eq(channel_backup(c, NULL, false, false, &b), 0);
	ck_assert_int_eq(b.code, 0);
	ck_assert_uint_eq(b.bytes, 300);
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, NULL, true, false, &b), 0);
	ck_assert_int_eq(b.code, -ENOENT);
	ck_assert_uint_eq(b.bytes, 300);
	ck_assert_str_eq(b.text, "group g2 has no backup volume");
	free_text(&b);
	channel_close(c);
	/* With a channel to a alone, whose they are not. */
	struct channel_opts only_a = {.paths = {world.socket[0]}, .head = "h1", .group = "g1"};
	ck_assert_int_eq(channel_open(&c, &only_a), 0);
	ck_assert_int_eq(channel_backup(c, NULL, false, false, &b), 0);
	ck_assert_int_eq(b.code, -ERR_NOT_OWNER);
	ck_assert_str_eq(b.text, "the state of 1 head group belongs to a controller that is away");
	free_text(&b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(backups_are_made_by_the_owners)
{
	run_two(backups);
}
END_TEST

/* ---- growing ---- */

/* While a controller does not know of a volume's growth, it has not grown: it may be the owner. */
static void grown(void *arg)
{
	static const uint64_t half = FAKE_VOL_SIZE / 2;
	struct channel *c = open_two();
	for (unsigned late = 0; late < 2; late++) {
		struct bdev *b, *again;
		fake_size(both[late], 1, half);
		ck_assert_int_eq(channel_volume_open(c, 1, &b), 0);
		ck_assert_uint_eq(b->size, half);
		fake_size(both[late], 1, FAKE_VOL_SIZE);
		ck_assert_int_eq(channel_volume_open(c, 1, &again), 0);
		ck_assert_uint_eq(again->size, FAKE_VOL_SIZE);
		bdev_close(again);
		bdev_close(b);
	}
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_volume_has_grown_when_both_know)
{
	run_two(grown);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, volumes_move_under_load, 0, 3);
	tcase_add_test(tc, no_hit_is_older_than_what_was_acknowledged);
	tcase_add_test(tc, a_volume_that_was_given_away_unheard_is_not_looked_up);
	if (FORKS) {
		tcase_add_test(tc, a_dead_owners_cache_is_not_believed);
		tcase_add_loop_test(tc, either_controller_dies_under_load, 0, 4);
		tcase_add_test(tc, lost_memory_has_another_name);
	}
	tcase_add_test(tc, a_replaced_instance_is_refused_at_both);
	tcase_add_test(tc, who_is_fenced_at_one_is_refused_at_both);
	tcase_add_test(tc, instances_are_recorded_with_the_first_pool);
	tcase_add_test(tc, a_head_starts_with_one_controller_away);
	tcase_add_test(tc, backups_are_made_by_the_owners);
	tcase_add_test(tc, a_volume_has_grown_when_both_know);
}

int main(void)
{
	return run_suite("channel_duplex", add);
}
