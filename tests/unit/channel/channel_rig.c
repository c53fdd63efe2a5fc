/* The world of channel tests (channel_rig.h). */
#include "tests/unit/channel/channel_rig.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/channel/channel_client.h"
#include "runtime/bdev.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

struct fake_world world;
struct fake_server *server;
struct reactor *client;
int users_left;
unsigned rnd_state;

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

void run_client(task_fn *fn)
{
	ck_assert_int_eq(task_start_on(reactor_sched(client), fn, NULL), 0);
	reactor_run(client);
}

/* With a controller in threads. */
void run_both(task_fn *fn)
{
	server = fake_server_start(&world, 0);
	run_client(fn);
	fake_server_stop(server);
}

struct channel *open_as(const char *head, struct channel_opts o)
{
	struct channel *c;
	memcpy(o.paths, world.sockets, sizeof(o.paths));
	o.head = head;
	o.group = "g1";
	ck_assert_int_eq(channel_open(&c, &o), 0);
	ck_assert(channel_up(c));
	return c;
}

struct channel *open_h1(void)
{
	struct channel_opts o = {0};
	return open_as("h1", o);
}

struct bdev *open_vol(struct channel *c, uint32_t id)
{
	struct bdev *b;
	ck_assert_int_eq(channel_volume_open(c, id, &b), 0);
	ck_assert_uint_eq(b->size, FAKE_VOL_SIZE);
	return b;
}

void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
}

unsigned rnd(unsigned below)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % below;
}

void check_ref(struct bdev *b, const uint8_t *model, uint64_t off, uint32_t len)
{
	static struct bdev_ref ref;
	ck_assert_int_eq(bdev_read_ref(b, off, len, &ref), 0);
	ck_assert_uint_eq(iov_bytes(ref.iov, ref.iovcnt), len);
	for (int i = 0; i < ref.iovcnt; off += ref.iov[i++].iov_len)
		ck_assert(memcmp(ref.iov[i].iov_base, model + off, ref.iov[i].iov_len) == 0);
	bdev_ref_put(b, &ref);
}

void survivor(void *arg)
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

int run_suite(const char *name, void (*add)(TCase *tc))
{
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	add(tc);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
