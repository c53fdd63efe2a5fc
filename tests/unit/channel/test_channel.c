/* Channels between a controller in threads and a head on this thread, and between processes. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/channel/channel_client.h"
#include "blockcore/channel/channel_layout.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/fake_core.h"

#ifdef __SANITIZE_THREAD__
#define RANDOM_OPS 200
#define CROWD	   300
#define FORKS	   false /* it does not go on after a fork of several threads or fibers */
#else
#define RANDOM_OPS 1500
#define CROWD	   1500 /* more than there are places in the rings */
#define FORKS	   true
#endif

#define KIB 1024u
#define MIB (1024 * 1024u)

static struct fake_world world;
static struct fake_server *server;
static struct reactor *client;

static void setup(void)
{
	log_set_level(getenv("VERBOSE") ? LOG_L_DEBUG : LOG_L_ERROR + 1);
	fake_world_make(&world);
	struct reactor_opts o = {.name = "head", .cpu = -1};
	ck_assert_int_eq(reactor_new(&client, &o), 0);
}

static void teardown(void)
{
	reactor_free(client);
	fake_world_remove(&world);
}

static void run_client(task_fn *fn)
{
	ck_assert_int_eq(task_start_on(reactor_sched(client), fn, NULL), 0);
	reactor_run(client);
}

/* With a controller in threads. */
static void run_both(task_fn *fn)
{
	server = fake_server_start(&world);
	run_client(fn);
	fake_server_stop(server);
}

static struct channel *open_as(const char *head, struct channel_opts o)
{
	struct channel *c;
	o.path = world.socket;
	o.head = head;
	o.group = "g1";
	ck_assert_int_eq(channel_open(&c, &o), 0);
	ck_assert(channel_up(c));
	return c;
}

static struct channel *open_h1(void)
{
	struct channel_opts o = {0};
	return open_as("h1", o);
}

static struct bdev *open_vol(struct channel *c, uint32_t id)
{
	struct bdev *b;
	ck_assert_int_eq(channel_volume_open(c, id, &b), 0);
	ck_assert_uint_eq(b->size, FAKE_VOL_SIZE);
	return b;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

static unsigned rnd_state;

static unsigned rnd(unsigned below)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % below;
}

/* ---- data ---- */

static void check_ref(struct bdev *b, const uint8_t *model, uint64_t off, uint32_t len)
{
	static struct bdev_ref ref;
	ck_assert_int_eq(bdev_read_ref(b, off, len, &ref), 0);
	ck_assert_uint_eq(iov_bytes(ref.iov, ref.iovcnt), len);
	for (int i = 0; i < ref.iovcnt; off += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, model + off, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b, &ref);
}

static void one_op(struct channel *c, struct bdev *b, uint8_t *model, uint8_t *buf)
{
	uint32_t len = (1 + rnd(rnd(20) ? 64 : 4096)) * 512;
	uint64_t off = (uint64_t)rnd(FAKE_VOL_SIZE / 512 - len / 512) * 512;
	struct iovec iov[3] = {
	    {buf + 1, 100}, {buf + 101, len / 2}, {buf + 101 + len / 2, len - len / 2 - 100}};
	unsigned flags = rnd(8) ? 0 : BDEV_FUA;
	uint8_t *staging;
	switch (rnd(8)) {
	case 0:
	case 1: /* pieces, copied */
		fill(buf + 1, len, rnd(1u << 20));
		ck_assert_int_eq(bdev_writev(b, iov, 3, off, flags), 0);
		memcpy(model + off, buf + 1, len);
		return;
	case 2: /* from staging memory, an odd place in it */
		staging = channel_staging_get(c, 64 * KIB);
		len = MIN(len, 63 * KIB);
		fill(staging + 7, len, rnd(1u << 20));
		ck_assert_int_eq(bdev_write(b, staging + 7, len, off, flags), 0);
		memcpy(model + off, staging + 7, len);
		channel_staging_put(c, staging);
		return;
	case 3:
		ck_assert_int_eq(bdev_readv(b, iov, 3, off), 0);
		ck_assert(memcmp(buf + 1, model + off, len) == 0);
		return;
	case 4:
		ck_assert_int_eq(bdev_discard(b, off, len), 0);
		memset(model + off, 0, len);
		return;
	case 5:
		bdev_prefetch(b, off, len);
		ck_assert_int_eq(rnd(8) ? 0 : bdev_flush(b), 0);
		return;
	case 6: /* into staging memory */
		staging = channel_staging_get(c, 64 * KIB);
		len = MIN(len, 64 * KIB);
		ck_assert_int_eq(bdev_read(b, staging, len, off), 0);
		ck_assert(memcmp(staging, model + off, len) == 0);
		channel_staging_put(c, staging);
		return;
	default:
		len = MIN(len, MIB - 3);
		check_ref(b, model, off + rnd(3), len - rnd(500));
	}
}

static void random_ops(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	uint8_t *model = calloc(1, FAKE_VOL_SIZE), *buf = malloc(3 * MIB);
	struct channel_stats st;
	for (int i = 0; i < RANDOM_OPS; i++)
		one_op(c, b, model, buf);
	channel_stats(c, &st);
	ck_assert_uint_gt(st.read_hits, 0);
	ck_assert_uint_gt(st.reads, 0);
	ck_assert_uint_gt(st.writes, 0);
	ck_assert_uint_eq(st.retries + st.reconnects, 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	/* The thread sanitizer does not see that the flush's answer came by shared memory. */
	if (FORKS)
		ck_assert(memcmp(fake_disk(&world, 1), model, FAKE_VOL_SIZE) == 0);
	ck_assert_int_eq(bdev_read_copy(b, buf, 3 * MIB, 512, 1), 0);
	ck_assert(memcmp(buf, model + 512, 3 * MIB) == 0);
	ck_assert_int_eq(bdev_read_copy(b, buf, 512, 0, 2), -ENOENT);
	ck_assert_int_eq(bdev_read(b, buf, 512, FAKE_VOL_SIZE), -EINVAL);
	bdev_close(b);
	channel_close(c);
	free(model);
	free(buf);
	reactor_stop(client);
}

START_TEST(random_operations_match_a_model)
{
	rnd_state = (unsigned)_i;
	run_both(random_ops);
}
END_TEST

static void hits(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static struct bdev_ref ref;
	static uint8_t data[128 * KIB], newer[128 * KIB];
	struct channel_stats before, after;
	fill(data, sizeof(data), 1);
	fill(newer, sizeof(newer), 2);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), 0, 0), 0);
	channel_stats(c, &before);
	for (int i = 0; i < 100; i++)
		check_ref(b, data, 100, 100 * KIB);
	channel_stats(c, &after);
	ck_assert_uint_eq(after.read_hits - before.read_hits, 100);
	ck_assert_uint_eq(after.reads, before.reads);
	ck_assert_uint_eq(after.doorbells, before.doorbells);
	/* What is held does not change under a later write, nor when its pages are wanted. */
	ck_assert_int_eq(bdev_read_ref(b, 4096, 64 * KIB, &ref), 0);
	ck_assert_int_eq(bdev_write(b, newer, sizeof(newer), 0, 0), 0);
	for (unsigned i = 1; i < FAKE_VOL_SIZE / sizeof(newer); i++)
		ck_assert_int_eq(bdev_write(b, newer, sizeof(newer), i * sizeof(newer), 0), 0);
	size_t at = 4096;
	for (int i = 0; i < ref.iovcnt; at += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, data + at, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b, &ref);
	check_ref(b, newer, 0, sizeof(newer));
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(hits_cost_no_message_and_stay)
{
	run_both(hits);
}
END_TEST

static int users_left;

/* Each has its own range, and finds in it what it last wrote. */
static void range_user(void *arg)
{
	struct bdev *b = arg;
	unsigned id = (unsigned)users_left++;
	uint8_t *buf = malloc(8 * KIB);
	for (unsigned i = 0; i < 40; i++) {
		fill(buf, 4 * KIB, id * 1000 + i);
		ck_assert_int_eq(bdev_write(b, buf, 4 * KIB, id * 4096ull, i % 8 ? 0 : BDEV_FUA),
				 0);
		ck_assert_int_eq(bdev_read(b, buf + 4 * KIB, 4 * KIB, id * 4096ull), 0);
		ck_assert(memcmp(buf, buf + 4 * KIB, 4 * KIB) == 0);
	}
	free(buf);
	users_left--;
}

static void crowd(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	users_left = 0;
	for (int i = 0; i < CROWD; i++)
		ck_assert_int_eq(task_start(range_user, b), 0);
	do
		env_sleep_ns(env_real(), 5 * NS_PER_MS);
	while (users_left);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(more_users_than_ring_entries)
{
	run_both(crowd);
}
END_TEST

static void staging(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	void *held[200];
	unsigned n = 0;
	uint8_t *buf = calloc(2, MIB);
	while ((held[n] = channel_staging_try_get(c, 1)))
		n++;
	unsigned small = n;
	while ((held[n] = channel_staging_try_get(c, 65 * KIB)))
		n++;
	ck_assert_uint_eq(small, 96);
	ck_assert_uint_eq(n - small, 15);
	ck_assert_ptr_null(channel_staging_try_get(c, 1281 * KIB));
	for (unsigned i = 0; i < n; i++)
		memset(held[i], (int)i, i < small ? 64 * KIB : 1280 * KIB);
	/* Users hold all they can: the channel's own transfers go on. */
	ck_assert_int_eq(bdev_write(b, buf, 2 * MIB, 512, 0), 0);
	ck_assert_int_eq(bdev_read(b, buf, 2 * MIB, 5 * MIB), 0);
	check_ref(b, buf, 513, 1000); /* zeros all over */
	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_eq(((uint8_t *)held[i])[1000], i);
		channel_staging_put(c, held[i]);
	}
	ck_assert_ptr_nonnull(held[0] = channel_staging_try_get(c, 64 * KIB));
	channel_staging_put(c, held[0]);
	free(buf);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(staging_held_by_users_blocks_no_transfer)
{
	run_both(staging);
}
END_TEST

static void refusals(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b;
	ck_assert_int_eq(channel_volume_open(c, 6, &b), -EACCES);
	ck_assert_int_eq(channel_volume_open(c, 5, &b), -EACCES); /* another group's */
	ck_assert_int_eq(channel_volume_open(c, 0, &b), -EACCES);
	ck_assert_int_eq(channel_volume_open(c, 1000, &b), -EACCES);
	b = open_vol(c, 2); /* another head's, of the group */
	struct bdev *twice = open_vol(c, 2), *piv = open_vol(c, 3);
	uint8_t buf[512] = {1};
	bdev_close(twice);
	ck_assert_int_eq(bdev_write(b, buf, 512, 0, 0), 0);
	bdev_close(b);
	b = open_vol(c, 2);
	ck_assert_int_eq(bdev_read(b, buf, 512, 0), 0);
	ck_assert_int_eq(buf[0], 1);
	bdev_close(piv);
	bdev_close(b);
	channel_close(c);
	struct channel_opts bad = {.path = world.socket, .head = "../x", .group = "g1"};
	ck_assert_int_eq(channel_open(&c, &bad), -EINVAL);
	reactor_stop(client);
}

START_TEST(volumes_of_others_are_refused)
{
	run_both(refusals);
}
END_TEST

static void stuck_reader(void *arg)
{
	uint8_t buf[512];
	ck_assert_int_eq(bdev_read(arg, buf, 512, 4096), -ERR_SHUTDOWN);
	users_left--;
}

static void close_in_flight(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	atomic_store(world.stuck, 1);
	users_left = 5;
	for (int i = 0; i < 5; i++)
		task_start(stuck_reader, b);
	env_sleep_ns(env_real(), 20 * NS_PER_MS);
	channel_close(c);
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	bdev_close(b);
	atomic_store(world.stuck, 0);
	reactor_stop(client);
}

START_TEST(close_ends_what_is_in_flight)
{
	run_both(close_in_flight);
}
END_TEST

/* ---- configuration and backups ---- */

static int configs_seen;
static int config_answer;

static void on_config(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret)
{
	configs_seen++;
	ck_assert_uint_eq(cfg->n_filesystems, 1);
	ck_assert_str_eq(cfg->filesystems[0]->name, "fs1");
	ck_assert_uint_eq(cfg->filesystems[0]->volume_id, 1);
	ck_assert_uint_eq(cfg->n_exports, 1);
	ck_assert_str_eq(cfg->exports[0]->path, "/one");
	ck_assert_uint_eq(cfg->exports[0]->n_clients, 1);
	ck_assert_str_eq(cfg->exports[0]->clients[0]->match, "10.0.0.0/8");
	ck_assert(cfg->exports[0]->clients[0]->read_write);
	ck_assert_uint_eq(cfg->piv_volume, 3);
	ck_assert_uint_eq(cfg->backup_volume, 4);
	ck_assert_uint_eq(cfg->group_id, 1003);
	env_sleep_ns(env_real(), 2 * NS_PER_MS); /* it may wait */
	Isthmus__NasFsState *st = malloc(sizeof(*st));
	isthmus__nas_fs_state__init(st);
	st->name = strdup("fs1");
	st->code = config_answer;
	st->text = strdup(config_answer ? "cannot mount" : "");
	ret->filesystems = malloc(sizeof(*ret->filesystems));
	ret->filesystems[ret->n_filesystems++] = st;
}

struct applied {
	const char *head, *fs;
	int rc;
	uint64_t timeout_ns;
	char text[256];
};

static void touch_and_wait(struct channel_server *cs, void *arg)
{
	struct applied *a = arg;
	uint64_t seq = fake_meta_touch();
	a->rc = channel_server_wait_applied(cs, a->head, seq, a->fs, a->timeout_ns, a->text);
}

static void configuration(void *arg)
{
	struct channel_opts o = {.config = on_config};
	struct channel *c = open_as("h1", o);
	struct applied a = {.head = "h1", .fs = "fs1", .timeout_ns = 5 * NS_PER_S};
	config_answer = configs_seen = 0;
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, 0);
	ck_assert_int_ge(configs_seen, 1);
	config_answer = -EIO;
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, -EIO);
	ck_assert_str_eq(a.text, "cannot mount");
	a.fs = "fs9";
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, -ENOENT);
	a.fs = NULL;
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, 0);
	a.head = "h2";
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, -ERR_DISCONNECTED);
	struct channel_opts deaf = {0};
	struct channel *c2 = open_as("h2", deaf);
	a.timeout_ns = 20 * NS_PER_MS;
	fake_server_call(server, touch_and_wait, &a);
	ck_assert_int_eq(a.rc, -ETIMEDOUT);
	channel_close(c2);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(configuration_is_sent_and_answered)
{
	run_both(configuration);
}
END_TEST

static void free_text(Isthmus__ChannelBackedUp *b)
{
	if (b->text != protobuf_c_empty_string)
		free(b->text);
}

static void backups(void *arg)
{
	struct channel *c = open_h1();
	Isthmus__ChannelBackedUp b;
	ck_assert_int_eq(channel_backup(c, NULL, false, &b), 0);
	ck_assert_int_eq(b.code, 0);
	ck_assert_uint_eq(b.bytes, 300);
	ck_assert_uint_eq(b.seq, 1);
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, "g1", false, &b), 0);
	ck_assert_int_eq(b.code, 0);
	ck_assert_uint_eq(b.seq, 2);
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, "g7", false, &b), 0);
	ck_assert_int_eq(b.code, -ENOENT);
	free_text(&b);
	/* g2 has no backup volume: told, and g1 was saved all the same. */
	ck_assert_int_eq(channel_backup(c, NULL, true, &b), 0);
	ck_assert_int_eq(b.code, -ENOENT);
	ck_assert_uint_eq(b.bytes, 300);
	ck_assert_str_eq(b.text, "group g2 has no backup volume");
	free_text(&b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(backups_at_a_heads_word)
{
	run_both(backups);
}
END_TEST

/* ---- deaths ---- */

static void takeover(void *arg)
{
	struct channel *old = open_h1();
	struct bdev *b_old = open_vol(old, 1);
	static uint8_t data[64 * KIB], newer[64 * KIB];
	static struct bdev_ref ref;
	fill(data, sizeof(data), 5);
	fill(newer, sizeof(newer), 6);
	ck_assert_int_eq(bdev_write(b_old, data, sizeof(data), 0, 0), 0);
	ck_assert_int_eq(bdev_read_ref(b_old, 0, sizeof(data), &ref), 0);
	uint64_t old_epoch = channel_epoch(old);
	struct channel *new = open_h1();
	ck_assert_uint_gt(channel_epoch(new), old_epoch);
	struct bdev *b_new = open_vol(new, 1);
	ck_assert_int_eq(bdev_write(b_new, newer, sizeof(newer), 0, 0), 0);
	/* The old one is fenced, whatever it asks for; what it holds does not change. */
	static struct bdev_ref none;
	ck_assert_int_eq(bdev_read_ref(b_old, 0, 4096, &none), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_write(b_old, data, sizeof(data), 0, 0), -ERR_EPOCH_STALE);
	ck_assert_int_eq(bdev_flush(b_old), -ERR_EPOCH_STALE);
	size_t at = 0;
	for (int i = 0; i < ref.iovcnt; at += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, data + at, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b_old, &ref);
	env_sleep_ns(env_real(), 200 * NS_PER_MS);
	ck_assert(!channel_up(old)); /* and does not come back */
	ck_assert(channel_up(new));
	check_ref(b_new, newer, 0, sizeof(newer));
	bdev_close(b_old);
	bdev_close(b_new);
	channel_close(old);
	channel_close(new);
	reactor_stop(client);
}

START_TEST(another_instance_fences_the_first)
{
	run_both(takeover);
}
END_TEST

static void busy_writer(void *arg)
{
	struct bdev *b = arg;
	static struct bdev_ref ref;
	uint8_t *buf = calloc(1, 64 * KIB);
	bdev_read_ref(b, 0, 64 * KIB, &ref); /* held for ever */
	for (unsigned i = 0;; i++)
		bdev_write(b, buf, 64 * KIB, (i * 64 * KIB) % (4 * MIB), i % 8 ? 0 : BDEV_FUA);
}

static void doomed_head(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	for (int i = 0; i < 8; i++)
		task_start(busy_writer, b);
}

static bool exists(const char *name)
{
	char path[160];
	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	return access(path, F_OK) == 0;
}

static void survivor(void *arg)
{
	struct channel_opts o = {0};
	struct channel *c = open_as("h2", o);
	struct bdev *b = open_vol(c, 1);
	uint8_t *buf = calloc(2, MIB);
	/* Every page of the cache can be had again. */
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(bdev_write(b, buf, MIB, i * (uint64_t)MIB, 0), 0);
	ck_assert_int_eq(bdev_flush(b), 0);
	free(buf);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_killed_head_leaves_nothing_behind)
{
	pid_t controller = fake_server_fork(&world);
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			run_client(doomed_head);
			_exit(0);
		}
		for (int i = 0; i < 500 && !exists("channel-h1.seg"); i++)
			usleep(10000);
		usleep(50000 + (unsigned)round * 30000);
		ck_assert(exists("channel-h1.seg"));
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		for (int i = 0; i < 500 && exists("channel-h1.seg"); i++)
			usleep(10000);
		ck_assert(!exists("channel-h1.seg"));
		run_client(survivor);
	}
	fake_server_kill(controller);
}
END_TEST

static pid_t controller_pid;
static bool killing_over;
static int deaths;
static uint64_t acknowledged;

/* Writes and reads back its own range while controllers die. */
static void persistent_user(void *arg)
{
	struct bdev *b = arg;
	unsigned id = (unsigned)users_left++;
	uint64_t off = id * 256ull * KIB;
	uint8_t *buf = malloc(256 * KIB);
	for (unsigned i = 0; !killing_over || i < 3; i++) {
		size_t len = i % 4 == 3 ? 128 * KIB : 4 * KIB;
		fill(buf, len, id * 1000 + i);
		ck_assert_int_eq(bdev_write(b, buf, len, off, i % 16 ? 0 : BDEV_FUA), 0);
		acknowledged++;
		memset(buf + 128 * KIB, 0, len);
		ck_assert_int_eq(bdev_read(b, buf + 128 * KIB, len, off), 0);
		ck_assert(memcmp(buf, buf + 128 * KIB, len) == 0);
	}
	free(buf);
	users_left--;
}

static void restarts(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static struct bdev_ref ref;
	static uint8_t data[32 * KIB];
	struct channel_stats st;
	fill(data, sizeof(data), 9);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), 7 * MIB, 0), 0);
	ck_assert_int_eq(bdev_read_ref(b, 7 * MIB, sizeof(data), &ref), 0);
	users_left = 0;
	for (int i = 0; i < 20; i++)
		task_start(persistent_user, b);
	for (int i = 0; i < deaths; i++) {
		env_sleep_ns(env_real(), (30 + (uint64_t)i * 17) * NS_PER_MS);
		fake_server_kill(controller_pid);
		controller_pid = fake_server_fork(&world);
		do {
			env_sleep_ns(env_real(), NS_PER_MS);
			channel_stats(c, &st);
		} while (st.reconnects == (unsigned)i);
	}
	env_sleep_ns(env_real(), 100 * NS_PER_MS);
	killing_over = true;
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	/* What was held over all the deaths is as it was. */
	size_t at = 0;
	for (int i = 0; i < ref.iovcnt; at += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, data + at, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b, &ref);
	channel_stats(c, &st);
	ck_assert_uint_eq(st.reconnects, (unsigned)deaths);
	ck_assert_uint_gt(st.retries, 0);
	ck_assert_uint_gt(acknowledged, 100);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_killed_controller_is_waited_for)
{
	deaths = 5;
	killing_over = false;
	acknowledged = 0;
	controller_pid = fake_server_fork(&world);
	run_client(restarts);
	fake_server_kill(controller_pid);
}
END_TEST

/* ---- hostility ---- */

struct raw {
	struct channel_sock *sock;
	int fds[CHANNEL_FDS_MAX];
	uint8_t *base;
	struct channel_geometry geo;
	uint64_t epoch;
};

static int raw_connect(struct raw *r)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	strcpy(sa.sun_path, world.socket);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(channel_sock_new(&r->sock, client, fd), 0);
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_HELLO;
	m.hello = &hello;
	hello.head = "h1";
	hello.group = "g1";
	hello.instance = 1 + rnd(2);
	ck_assert_int_eq(channel_sock_send(r->sock, &m, NULL, 0), 0);
	int rc = channel_sock_recv(r->sock, 0, &answer, r->fds);
	if (rc || answer->body_case != ISTHMUS__CHANNEL_MSG__BODY_WELCOME) {
		if (rc == 0)
			isthmus__channel_msg__free_unpacked(answer, NULL);
		channel_sock_free(r->sock);
		return -1;
	}
	r->epoch = answer->welcome->epoch;
	size_t size = answer->welcome->channel_size;
	r->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fds[0], 0);
	ck_assert_ptr_ne(r->base, MAP_FAILED);
	r->geo.size = size;
	r->geo.sq_off = 4096;
	isthmus__channel_msg__free_unpacked(answer, NULL);
	return 0;
}

static void raw_close(struct raw *r)
{
	munmap(r->base, r->geo.size);
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		close(r->fds[i]);
	channel_sock_shutdown(r->sock);
	channel_sock_free(r->sock);
}

static void raw_open(struct raw *r)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelOpen o = ISTHMUS__CHANNEL_OPEN__INIT;
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_OPEN;
	m.open = &o;
	o.volume_id = 1;
	channel_sock_send(r->sock, &m, NULL, 0);
	env_sleep_ns(env_real(), 2 * NS_PER_MS);
}

/* Entries between noise and nearly right. */
static void hostile_entries(struct raw *r)
{
	struct channel_sqe *sq = (struct channel_sqe *)(r->base + r->geo.sq_off);
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		uint8_t noise[sizeof(*sq)];
		fill(noise, sizeof(noise), rnd(1u << 20));
		memcpy(&sq[i], noise, sizeof(noise));
		if (rnd(8))
			sq[i].epoch = r->epoch;
		if (rnd(8))
			sq[i].volume = 1;
		if (rnd(4))
			sq[i].op = (uint8_t)rnd(8);
		if (rnd(4))
			sq[i].off = rnd(FAKE_VOL_SIZE / 512 + 10) * 512ull;
		if (rnd(4))
			sq[i].len = rnd(2100) * 512ull;
		if (rnd(4))
			sq[i].staging = rnd(CHANNEL_STAGING + 1000);
		if (!rnd(16))
			sq[i].staging = UINT32_MAX - rnd(2000);
	}
}

static void hostile_step(struct raw *r)
{
	struct channel_head *h = (struct channel_head *)r->base;
	static const uint64_t one = 1;
	uint8_t noise[64];
	switch (rnd(12)) {
	case 0: /* the whole page, header and indices */
		for (unsigned i = 0; i < 64; i++)
			r->base[rnd(4096)] = (uint8_t)rnd(256);
		break;
	case 1:
		atomic_store(&h->sq_tail, rnd(1u << 24) * 97);
		break;
	case 2:
		atomic_store(&h->cq_head, rnd(1u << 24) * 97);
		break;
	case 3:
		fill(noise, sizeof(noise), rnd(1u << 20));
		(void)!send(channel_sock_fd(r->sock), noise, 1 + rnd(63), MSG_NOSIGNAL);
		break;
	case 4:
		hostile_entries(r);
		break;
	case 5: /* hazards name pages that are none */
		for (unsigned i = 0; i < CHANNEL_HAZARDS; i++)
			memset(r->base + channel_geometry(0).hazard_off + i * 4, (int)rnd(256), 4);
		break;
	default: /* looks honest: completions are taken */
		atomic_store(&h->cq_head, atomic_load(&h->cq_tail));
		atomic_store(&h->sq_tail, atomic_load(&h->sq_tail) + rnd(100));
	}
	ck_assert_int_eq(write(r->fds[2], &one, sizeof(one)), sizeof(one));
}

static void hostile(void *arg)
{
	for (int round = 0; round < 25; round++) {
		struct raw r = {0};
		if (raw_connect(&r))
			continue; /* an instance that was fenced */
		raw_open(&r);
		hostile_entries(&r);
		for (int i = 0; i < 40; i++) {
			hostile_step(&r);
			if (rnd(2))
				env_sleep_ns(env_real(), rnd(2) * NS_PER_MS);
		}
		/* It never held what it claims: let the pages go. */
		memset(r.base + channel_geometry(0).hazard_off, 0, CHANNEL_HAZARDS * 4);
		raw_close(&r);
	}
	survivor(arg);
}

START_TEST(a_hostile_head_harms_only_itself)
{
	rnd_state = (unsigned)_i + 100;
	run_both(hostile);
}
END_TEST

static void wait_for_nobody(void *arg)
{
	struct channel *c = NULL;
	struct channel_opts o = {.path = "/tmp/nobody/listens", .head = "h1", .group = "g1"};
	ck_assert_int_eq(channel_open((struct channel **)arg, &o), -ERR_SHUTDOWN);
	(void)c;
	users_left--;
}

static void open_and_close(void *arg)
{
	struct channel *c = NULL;
	users_left = 1;
	task_start(wait_for_nobody, &c);
	env_sleep_ns(env_real(), 120 * NS_PER_MS);
	ck_assert_ptr_nonnull(c);
	channel_close(c);
	while (users_left)
		env_sleep_ns(env_real(), NS_PER_MS);
	reactor_stop(client);
}

START_TEST(open_waits_until_closed)
{
	run_client(open_and_close);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("channel");
	TCase *tc = tcase_create("channel");
	/* Requests of a hostile head may wait 5 s for pages, one connection after the other. */
	tcase_set_timeout(tc, 240);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, random_operations_match_a_model, 0, 3);
	tcase_add_test(tc, hits_cost_no_message_and_stay);
	tcase_add_test(tc, more_users_than_ring_entries);
	tcase_add_test(tc, staging_held_by_users_blocks_no_transfer);
	tcase_add_test(tc, volumes_of_others_are_refused);
	tcase_add_test(tc, close_ends_what_is_in_flight);
	tcase_add_test(tc, configuration_is_sent_and_answered);
	tcase_add_test(tc, backups_at_a_heads_word);
	tcase_add_test(tc, another_instance_fences_the_first);
	if (FORKS) {
		tcase_add_test(tc, a_killed_head_leaves_nothing_behind);
		tcase_add_test(tc, a_killed_controller_is_waited_for);
	}
	tcase_add_loop_test(tc, a_hostile_head_harms_only_itself, 0, 4);
	tcase_add_test(tc, open_waits_until_closed);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
