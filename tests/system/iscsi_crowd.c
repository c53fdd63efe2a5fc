/*
 * iscsi_crowd PORT IQN PID SESSIONS CONNECTIONS: many sessions at once, then connections that come
 * and go, against the running target PID; what that holds in between is looked at in /proc.
 *
 *   1. SESSIONS log in and stay; every one writes blocks of its own and reads them, all at once,
 *      several rounds; half of them log out, half vanish
 *   2. CONNECTIONS one after the other: some only connect, some send half a login, some log in, do
 *      I/O and log out, some vanish with commands under way. A first tenth warms up; from then on
 *      memory must be flat, and in the end no descriptor be left
 */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/iscsi/client.h"

#define ROUNDS	   5
#define BLOCKS	   8 /* of 512 bytes, each session's own */
#define GROWTH_KIB 2048

static unsigned port, sessions, connections;
static const char *iqn;
static int pid;

/* ---- what the target holds ---- */

static unsigned long target_rss(void)
{
	char path[64], line[256];
	unsigned long kib = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "r");
	ck_assert_msg(f != NULL, "the target is gone");
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %lu", &kib);
	fclose(f);
	return kib;
}

static unsigned target_fds(void)
{
	char path[64];
	unsigned n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	ck_assert_msg(d != NULL, "the target is gone");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- connections ---- */

/* From many addresses, so that the ports of one do not run out. */
static struct client *come(unsigned i)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % 200)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	ck_assert_msg(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connection %u: %s", i,
		      strerror(errno));
	struct client *c = client_new(fd);
	c->isid[1] = (uint8_t)(i >> 16);
	c->isid[2] = (uint8_t)(i >> 8);
	c->isid[3] = (uint8_t)i;
	return c;
}

/* Without a word, and without a port that waits. */
static void vanish(struct client *c)
{
	struct linger now = {1, 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	client_free(c);
}

static void log_out(struct client *c)
{
	struct bhs b = {.opcode = OP_LOGOUT_REQ | PDU_IMMEDIATE, .flags = PDU_FINAL};
	be32_put(b.itt, ++c->itt);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, NULL, 0);
	client_expect(c, OP_LOGOUT_RSP);
	ck_assert_uint_eq(c->bhs.response, LOGOUT_OK);
	vanish(c);
}

static void fill(uint8_t block[BLOCKS * 512], unsigned who, unsigned round)
{
	for (unsigned i = 0; i < BLOCKS * 512; i++)
		block[i] = (uint8_t)(who * 7 + round * 31 + i);
}

static void send_io(struct client *c, unsigned who, unsigned round, bool write)
{
	uint8_t cdb[16], block[BLOCKS * 512];
	fill(block, who, round);
	cdb_rw(cdb, write, who % sessions * BLOCKS, BLOCKS);
	client_command(c, write ? 0xa0 : 0xc0, cdb, sizeof(block), write ? block : NULL,
		       write ? sizeof(block) : 0);
}

static void take_io(struct client *c, unsigned who, unsigned round, bool write)
{
	uint8_t block[BLOCKS * 512];
	ck_assert(client_recv(c));
	ck_assert_uint_eq(c->bhs.status, 0);
	if (write)
		return;
	ck_assert_uint_eq(pdu_opcode(&c->bhs), OP_DATA_IN);
	ck_assert_uint_eq(c->len, sizeof(block));
	fill(block, who, round);
	ck_assert_mem_eq(c->data, block, sizeof(block));
}

/* ---- 1 ---- */

START_TEST(many_sessions_at_once)
{
	struct client **all = calloc(sessions, sizeof(*all));
	unsigned before = target_fds();
	for (unsigned i = 0; i < sessions; i++) {
		all[i] = come(i);
		ck_assert_uint_eq(client_login(all[i], iqn, NULL), 0);
	}
	ck_assert_uint_ge(target_fds(), before + sessions);
	for (unsigned i = 0; i < sessions; i++)
		client_ready(all[i]);
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned write = 2; write-- > 0;) {
			for (unsigned i = 0; i < sessions; i++)
				send_io(all[i], i, round, write);
			for (unsigned i = 0; i < sessions; i++)
				take_io(all[i], i, round, write);
		}
	printf("%u sessions at once: %lu KiB, %u descriptors\n", sessions, target_rss(),
	       target_fds());
	for (unsigned i = 0; i < sessions; i++)
		i & 1 ? log_out(all[i]) : vanish(all[i]);
	for (int i = 0; i < 500 && target_fds() > before; i++)
		usleep(20000);
	ck_assert_uint_le(target_fds(), before);
	free(all);
}
END_TEST

/* ---- 2 ---- */

static void come_and_go(unsigned i)
{
	struct client *c = come(i);
	switch (i % 4) {
	case 0:
		break;
	case 1:
		client_send_raw(c, "\x43\x87half a login", 14);
		break;
	case 2:
		ck_assert_uint_eq(client_login(c, iqn, NULL), 0);
		client_ready(c);
		send_io(c, i, 0, true);
		take_io(c, i, 0, true);
		log_out(c);
		return;
	case 3:
		ck_assert_uint_eq(client_login(c, iqn, NULL), 0);
		client_ready(c);
		for (unsigned k = 0; k < 3; k++)
			send_io(c, i, k, k & 1);
		break;
	}
	vanish(c);
}

START_TEST(connections_come_and_go)
{
	unsigned before = target_fds(), warm = connections / 10;
	unsigned long rss = 0;
	for (unsigned i = 0; i < connections; i++) {
		if (i == warm)
			rss = target_rss();
		come_and_go(i);
	}
	for (int i = 0; i < 500 && target_fds() > before; i++)
		usleep(20000);
	unsigned long after = target_rss();
	printf("%u connections: %lu KiB after %u, %lu KiB in the end; %u descriptors, %u before\n",
	       connections, rss, warm, after, target_fds(), before);
	ck_assert_uint_le(target_fds(), before);
	ck_assert_msg(after < rss + GROWTH_KIB, "memory grew by %lu KiB", after - rss);
}
END_TEST

int main(int argc, char **argv)
{
	struct rlimit files;
	if (argc != 6) {
		fprintf(stderr, "usage: iscsi_crowd PORT IQN PID SESSIONS CONNECTIONS\n");
		return 2;
	}
	port = (unsigned)atoi(argv[1]);
	iqn = argv[2];
	pid = atoi(argv[3]);
	sessions = (unsigned)atoi(argv[4]);
	connections = (unsigned)atoi(argv[5]);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	Suite *suite = suite_create("iscsi crowd");
	TCase *tc = tcase_create("crowd");
	tcase_set_timeout(tc, 3600);
	tcase_add_test(tc, many_sessions_at_once);
	tcase_add_test(tc, connections_come_and_go);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
