/* Registration of as many programs as there may be, with a portmapper played by the test. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "nasfront/rpc/rpcbind.h"
#include "nasfront/rpc/xdr.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "tests/unit/nfs/nas_world.h"

static struct nas nas;
static struct rpcbind *rb;
static int fd;
static uint16_t pmap_port;

static void start_step(struct nas *n)
{
	struct rpcbind_opts o = {
	    .reactor = n->reactor, .env = env_real(), .rpcbind_port = pmap_port};
	for (uint32_t i = 0; i < RPCBIND_ENTRIES_MAX; i++)
		o.entries[o.nentries++] =
		    (struct rpcbind_entry){100000 + i, 1 + i, (uint16_t)(2000 + i), i & 1};
	ASSERT(rpcbind_start(&rb, &o) == 0);
}

static bool all;

static void look_step(struct nas *n)
{
	all = rpcbind_registered(rb);
}

static void stop_step(struct nas *n)
{
	rpcbind_stop(rb);
}

static void listen_here(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	struct timeval tv = {.tv_sec = 10};
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	getsockname(fd, (struct sockaddr *)&sa, &len);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	pmap_port = ntohs(sa.sin_port);
}

/* Takes one call and says true; its procedure, and which entry it was about. */
static uint32_t serve(uint32_t *ret_entry)
{
	uint8_t msg[256], reply[28] = {0};
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, msg, sizeof(msg), 0, (struct sockaddr *)&from, &len);
	ck_assert_int_eq(n, 56);
	*ret_entry = be32_get(msg + 40) - 100000;
	ck_assert_uint_eq(be32_get(msg + 44), 1 + *ret_entry);
	ck_assert_uint_eq(be32_get(msg + 48), *ret_entry & 1 ? 17 : 6);
	ck_assert_uint_eq(be32_get(msg + 52), 2000 + *ret_entry);
	be32_put(reply, be32_get(msg));
	be32_put(reply + 4, 1);
	be32_put(reply + 24, 1);
	ck_assert_int_eq(sendto(fd, reply, 28, 0, (struct sockaddr *)&from, len), 28);
	return be32_get(msg + 20);
}

START_TEST(every_entry_is_registered)
{
	uint32_t e, seen = 0;
	listen_here();
	nas_up(&nas);
	nas_run(&nas, start_step);
	for (unsigned i = 0; i < RPCBIND_ENTRIES_MAX; i++)
		ck_assert_uint_eq(serve(&e), 2);
	for (unsigned i = 0; i < RPCBIND_ENTRIES_MAX; i++) {
		nas_run(&nas, look_step);
		ck_assert_msg(!all, "registered after %u answers", i);
		ck_assert_uint_eq(serve(&e), 1);
		seen |= 1u << e;
	}
	ck_assert_uint_eq(seen, (1ull << RPCBIND_ENTRIES_MAX) - 1);
	for (int i = 0; i < 2000 && !all; i++) {
		usleep(1000);
		nas_run(&nas, look_step);
	}
	ck_assert(all);
	nas_run(&nas, stop_step);
	nas_down(&nas);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rpcbind");
	TCase *t = tcase_create("rpcbind");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, every_entry_is_registered);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
