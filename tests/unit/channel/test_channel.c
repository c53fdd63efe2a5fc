/* Channels between a controller in threads and a head on this thread: data, configuration, orders.
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/channel/channel_layout.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/channel_rig.h"

#ifdef __SANITIZE_THREAD__
#define RANDOM_OPS 200
#define CROWD	   300
#else
#define RANDOM_OPS 1500
#define CROWD	   1500 /* more than there are places in the rings */
#endif

/* ---- data ---- */

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

/* A flush with a write: what was written before is on the disk, and the write, too. A long one goes
 * in several requests. */
static void flushed_before(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static uint8_t data[3 * MIB], record[2 * MIB];
	struct channel_stats before, after;
	fill(data, sizeof(data), 1);
	for (unsigned len = 4 * KIB; len <= sizeof(record); len *= 512) {
		fill(record, len, len);
		ck_assert_int_eq(bdev_write(b, data, sizeof(data), 0, 0), 0);
		channel_stats(c, &before);
		ck_assert_int_eq(bdev_write(b, record, len, 4 * MIB, BDEV_PREFLUSH | BDEV_FUA), 0);
		channel_stats(c, &after);
		ck_assert_uint_eq(after.flushes, before.flushes);
		ck_assert_uint_eq(after.writes - before.writes, (len + MIB - 1) / MIB);
		/* See random_ops(). */
		if (FORKS) {
			ck_assert(memcmp(fake_disk(&world, 1), data, sizeof(data)) == 0);
			ck_assert(memcmp(fake_disk(&world, 1) + 4 * MIB, record, len) == 0);
			memset(fake_disk(&world, 1), 0, sizeof(data));
		}
	}
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_flush_goes_with_a_write)
{
	run_both(flushed_before);
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
	/* Without waiting, too; what is not in the cache is not asked for then. */
	ck_assert_int_eq(bdev_read_ref_try(b, 8192, 8192, &ref), 0);
	ck_assert_uint_eq(ref.iov[0].iov_len, ref.iovcnt == 1 ? 8192 : 4096);
	ck_assert_mem_eq(ref.iov[0].iov_base, data + 8192, 4096);
	bdev_ref_put(b, &ref);
	channel_stats(c, &before);
	ck_assert_int_eq(bdev_read_ref_try(b, FAKE_VOL_SIZE - 8192, 8192, &ref), -EAGAIN);
	ck_assert_int_eq(bdev_read_ref_try(b, FAKE_VOL_SIZE - 4096, 8192, &ref), -EINVAL);
	channel_stats(c, &after);
	ck_assert_uint_eq(after.reads, before.reads);
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

/* A crowd's replies of 32 MiB lie in pages; what goes beyond is read by request. */
static void many_hits(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static uint8_t data[64 * KIB];
	unsigned pages = sizeof(data) / 4096, n = CHANNEL_HAZARDS / pages;
	struct bdev_ref *refs = calloc(n + 1, sizeof(*refs));
	struct channel_stats before, after;
	fill(data, sizeof(data), 4);
	ck_assert_int_eq(bdev_write(b, data, sizeof(data), 0, 0), 0);
	channel_stats(c, &before);
	for (unsigned i = 0; i <= n; i++) {
		ck_assert_int_eq(bdev_read_ref(b, 0, sizeof(data), &refs[i]), 0);
		channel_stats(c, &after);
		ck_assert_uint_eq(after.read_hits - before.read_hits, MIN(i + 1, n));
	}
	ck_assert_uint_ge((size_t)n * sizeof(data), 32 * MIB);
	for (unsigned i = 0; i <= n; i++) {
		size_t at = 0;
		for (int k = 0; k < refs[i].iovcnt; at += refs[i].iov[k++].iov_len)
			ck_assert(memcmp(refs[i].iov[k].iov_base, data + at,
					 refs[i].iov[k].iov_len) == 0);
		ck_assert_uint_eq(at, sizeof(data));
		bdev_ref_put(b, &refs[i]);
	}
	check_ref(b, data, 0, sizeof(data));
	channel_stats(c, &after);
	ck_assert_uint_eq(after.read_hits - before.read_hits, n + 1);
	free(refs);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(many_replies_lie_in_pages)
{
	run_both(many_hits);
}
END_TEST

/* A READ of no bytes refers to nothing, and gives nothing back. */
static void reads_of_nothing(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 1);
	static uint8_t page[4 * KIB];
	static struct bdev_ref ref;
	struct channel_stats before, after;
	fill(page, sizeof(page), 1);
	ck_assert_int_eq(bdev_write(b, page, sizeof(page), 0, 0), 0);
	channel_stats(c, &before);
	for (uint64_t off = 0; off <= b->size; off += b->size / 2) {
		memset(&ref, 0xa5, sizeof(ref));
		ck_assert_int_eq(bdev_read_ref(b, off, 0, &ref), 0);
		ck_assert_int_eq(ref.iovcnt, 0);
		bdev_ref_put(b, &ref);
		ck_assert_int_eq(bdev_read(b, page, 0, off), 0);
	}
	channel_stats(c, &after);
	ck_assert_uint_eq(after.read_hits, before.read_hits);
	check_ref(b, page, 0, sizeof(page));
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_read_of_nothing_refers_to_nothing)
{
	run_both(reads_of_nothing);
}
END_TEST

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
	struct channel_opts bad = {.paths = {world.socket[0]}, .head = "../x", .group = "g1"};
	ck_assert_int_eq(channel_open(&c, &bad), -EINVAL);
	reactor_stop(client);
}

START_TEST(volumes_of_others_are_refused)
{
	run_both(refusals);
}
END_TEST

static void programs(void *arg)
{
	struct channel *c = open_h1();
	struct bdev *b = open_vol(c, 7);
	static uint8_t buf[8192];
	ck_assert_int_eq(bdev_read(b, buf, 4096, 4096), 0);
	ck_assert_uint_eq(buf[0], 9);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, 0), -ERR_WRITE_PROTECT);
	ck_assert_int_eq(bdev_write(b, buf, 4096, 0, BDEV_FUA), -ERR_WRITE_PROTECT);
	ck_assert_int_eq(bdev_discard(b, 4096, 4096), -ERR_WRITE_PROTECT);
	ck_assert_int_eq(bdev_read(b, buf, 8192, 0), 0);
	ck_assert_uint_eq(buf[0], 0);
	ck_assert_uint_eq(buf[4096], 9);
	bdev_close(b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(programs_are_read_only)
{
	fake_disk(&world, 7)[4096] = 9;
	run_both(programs);
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
	ck_assert_uint_eq(cfg->exports[0]->n_clients, 3);
	ck_assert_str_eq(cfg->exports[0]->clients[0]->match, "10.0.0.0/8");
	ck_assert(cfg->exports[0]->clients[0]->read_write);
	ck_assert_str_eq(cfg->exports[0]->clients[0]->sec, "");
	/* Who knows no flavours must not find a rule that it could follow. */
	ck_assert_str_eq(cfg->exports[0]->clients[1]->match, "");
	ck_assert_str_eq(cfg->exports[0]->clients[1]->sec_match, "*");
	ck_assert_str_eq(cfg->exports[0]->clients[1]->sec, "krb5p:krb5");
	ck_assert_str_eq(cfg->exports[0]->clients[1]->xprtsec, "");
	ck_assert_str_eq(cfg->exports[0]->clients[2]->match, "");
	ck_assert_str_eq(cfg->exports[0]->clients[2]->sec_match, "");
	ck_assert_str_eq(cfg->exports[0]->clients[2]->xprtsec_match, "fd00::/8");
	ck_assert_str_eq(cfg->exports[0]->clients[2]->xprtsec, "tls:mtls");
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

/* What h2 was told last of what h1 serves. */
static char told_address[64];

static void on_others(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret)
{
	ck_assert_uint_eq(cfg->n_exports, 0);
	ck_assert_uint_eq(cfg->n_elsewhere, 1);
	ck_assert_str_eq(cfg->elsewhere[0]->path, "/one");
	ck_assert_str_eq(cfg->elsewhere[0]->head, "h1");
	ck_assert_uint_eq(cfg->elsewhere[0]->fs_id, 10);
	ck_assert_uint_eq(cfg->elsewhere[0]->n_clients, 3);
	ck_assert_uint_eq(cfg->n_heads, 1);
	ck_assert_str_eq(cfg->heads[0]->name, "h1");
	ck_assert_uint_le(cfg->heads[0]->n_addresses, 1);
	strcpy(told_address, cfg->heads[0]->n_addresses ? cfg->heads[0]->addresses[0] : "none");
}

static void wait_told(const char *address)
{
	for (int i = 0; strcmp(told_address, address) != 0; i++) {
		ck_assert_int_lt(i, 5000);
		env_sleep_ns(env_real(), NS_PER_MS);
	}
}

static void others(void *arg)
{
	static const char *const first[] = {"10.0.0.1.8.1"};
	static const char too_long[CHANNEL_ADDRESS_MAX + 1] = {[0 ... CHANNEL_ADDRESS_MAX - 1] =
								   '1'};
	static const char *const second[] = {"", too_long, "10.0.0.2.8.2"};
	struct channel_opts o2 = {.config = on_others};
	struct channel_opts o1 = {.addresses = first, .naddresses = 1};
	struct channel *c2 = open_as("h2", o2);
	wait_told("none");
	struct channel *c1 = open_as("h1", o1);
	wait_told("10.0.0.1.8.1");
	channel_close(c1);
	o1 = (struct channel_opts){.addresses = second, .naddresses = 3};
	c1 = open_as("h1", o1);
	wait_told("10.0.0.2.8.2");
	channel_close(c1);
	channel_close(c2);
	reactor_stop(client);
}

START_TEST(exports_of_other_heads_are_told_with_their_addresses)
{
	run_both(others);
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
	ck_assert_int_eq(channel_backup(c, NULL, false, false, &b), 0);
	ck_assert_int_eq(b.code, 0);
	ck_assert_uint_eq(b.bytes, 300);
	ck_assert_uint_eq(b.seq, 1);
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, "g1", false, false, &b), 0);
	ck_assert_int_eq(b.code, 0);
	ck_assert_uint_eq(b.seq, 2);
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, "g7", false, false, &b), 0);
	ck_assert_int_eq(b.code, -ENOENT);
	free_text(&b);
	/* g2 has no backup volume: told, and g1 was saved all the same. */
	ck_assert_int_eq(channel_backup(c, NULL, true, false, &b), 0);
	ck_assert_int_eq(b.code, -ENOENT);
	ck_assert_uint_eq(b.bytes, 300);
	ck_assert_str_eq(b.text, "group g2 has no backup volume");
	free_text(&b);
	ck_assert_int_eq(channel_backup(c, NULL, false, true, &b), 0);
	ck_assert_int_eq(b.code, -EAGAIN); /* the load is not low */
	free_text(&b);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(backups_at_a_heads_word)
{
	run_both(backups);
}
END_TEST

static void sides(void *arg)
{
	struct channel *c = open_h1();
	char why[CHANNEL_WHY_LEN];
	ck_assert_int_eq(channel_side(c, ISTHMUS__SIDE__MOVING, 3, false, why), 0);
	ck_assert_int_eq(channel_side(c, ISTHMUS__SIDE__ON_BACKUP, 9, false, why), -ESTALE);
	ck_assert_str_eq(why, "h1 of g1 on 9: 1");
	ck_assert_int_eq(channel_side(c, ISTHMUS__SIDE__ON_BACKUP, 3, true, why), -ENOSPC);
	channel_close(c);
	reactor_stop(client);
}

START_TEST(a_head_says_where_its_state_is)
{
	run_both(sides);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, random_operations_match_a_model, 0, 3);
	tcase_add_test(tc, a_flush_goes_with_a_write);
	tcase_add_test(tc, hits_cost_no_message_and_stay);
	tcase_add_test(tc, many_replies_lie_in_pages);
	tcase_add_test(tc, a_read_of_nothing_refers_to_nothing);
	tcase_add_test(tc, more_users_than_ring_entries);
	tcase_add_test(tc, staging_held_by_users_blocks_no_transfer);
	tcase_add_test(tc, volumes_of_others_are_refused);
	tcase_add_test(tc, programs_are_read_only);
	tcase_add_test(tc, close_ends_what_is_in_flight);
	tcase_add_test(tc, configuration_is_sent_and_answered);
	tcase_add_test(tc, exports_of_other_heads_are_told_with_their_addresses);
	tcase_add_test(tc, backups_at_a_heads_word);
	tcase_add_test(tc, a_head_says_where_its_state_is);
}

int main(void)
{
	return run_suite("channel", add);
}
