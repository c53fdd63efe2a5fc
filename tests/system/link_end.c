/*
 * One end of an interconnect over TCP, for test_link_routes.sh:
 *
 *   link_end SELF PEER PSK_FILE SECONDS CONTROL DATA CONTROL DATA
 *
 * each of the last four is LOCAL,REMOTE as ADDRESS:PORT. SELF serves calls; when SECONDS is above
 * 0 it also makes them from twelve tasks, with one-way messages in order beside them, and tells at
 * the end what became of all. Exits with 0 when every call was answered rightly.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "blockcore/link/link.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"

#define CALLERS 12
#define MOST	100000

enum { END_ECHO = 1, END_COUNT, END_COUNTED };

static struct link *the_link;
static struct reactor *reactor;
static unsigned seconds, running;
static bool stop, ever_up;
static uint64_t calls, failed, wrong, sent, counted, broken, downs, worst_ns;

static void on_up(void *arg, struct link *l, const struct link_hello *peer)
{
	ever_up = true;
	counted = 0;
}

static void on_down(void *arg, struct link *l, bool died)
{
	downs++;
}

static void serve(void *arg, struct link_msg *m)
{
	uint32_t head_len, data_len;
	const void *head = link_msg_head(m, &head_len), *data = link_msg_data(m, &data_len);
	uint8_t n[16];
	if (link_msg_type(m) == END_COUNT) {
		if (head_len == 8 && le64_get(head) == counted + 1)
			counted++;
		else
			broken++;
		link_done(m);
		return;
	}
	if (link_msg_type(m) == END_COUNTED) {
		le64_put(n, counted);
		le64_put(n + 8, broken);
		link_reply(m, 0, n, sizeof(n), NULL, 0, NULL, NULL);
		return;
	}
	struct iovec iov = {(void *)data, data_len};
	link_reply(m, 0, head, head_len, &iov, 1, NULL, NULL);
}

static void call_once(uint8_t *out, uint8_t *in, uint64_t id)
{
	size_t n = id % 11 ? 4096 : id * 7919 % MOST;
	struct iovec to = {out, n}, from = {in, n};
	struct link_answer a = {.iov = &from, .iovcnt = 1};
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(id + i * 13);
	memset(in, 0, n);
	uint64_t t = env_now_ns(env_real());
	int rc = link_call(the_link, id % 3 ? LINK_DATA : LINK_CONTROL, LINK_SVC_SCSI, END_ECHO,
			   NULL, 0, &to, 1, &a, 0);
	t = env_now_ns(env_real()) - t;
	worst_ns = MAX(worst_ns, t);
	calls++;
	if (rc)
		failed++;
	else if (a.data_len != n || memcmp(in, out, n) != 0)
		wrong++;
}

static void caller(void *arg)
{
	static uint64_t ids;
	uint8_t *out = malloc(MOST), *in = malloc(MOST), head[8];
	ASSERT(out && in);
	while (!stop) {
		call_once(out, in, ids++);
		le64_put(head, sent + 1);
		int rc =
		    link_send(the_link, LINK_DATA, LINK_SVC_SCSI, END_COUNT, head, 8, out, 100);
		if (rc == 0)
			sent++;
	}
	free(in);
	free(out);
	running--;
}

static void tell(void)
{
	uint8_t n[16] = {0};
	struct link_answer a = {.head = n, .head_max = sizeof(n)};
	int rc = link_call(the_link, LINK_DATA, LINK_SVC_SCSI, END_COUNTED, NULL, 0, NULL, 0, &a,
			   NS_PER_S);
	printf("calls=%llu failed=%llu wrong=%llu downs=%llu sent=%llu counted=%llu broken=%llu "
	       "worst_ms=%llu\n",
	       (unsigned long long)calls, (unsigned long long)failed, (unsigned long long)wrong,
	       (unsigned long long)downs, (unsigned long long)sent, (unsigned long long)le64_get(n),
	       (unsigned long long)le64_get(n + 8), (unsigned long long)(worst_ns / NS_PER_MS));
	for (unsigned i = 0; i < 4; i++) {
		struct link_route_stats st;
		link_stats(the_link, i, &st);
		printf("route=%u up=%d messages=%llu bytes=%llu failovers=%llu resent=%llu\n", i,
		       st.up, (unsigned long long)st.messages, (unsigned long long)st.bytes,
		       (unsigned long long)st.failovers, (unsigned long long)st.resent);
	}
	bool good = rc == 0 && calls > 0 && !failed && !wrong && !downs && le64_get(n) == sent &&
		    le64_get(n + 8) == 0;
	fflush(stdout);
	link_close(the_link);
	_exit(good ? 0 : 1);
}

static void load(void *arg)
{
	while (!ever_up)
		env_sleep_ns(env_real(), 10 * NS_PER_MS);
	for (; running < CALLERS; running++)
		ASSERT(task_start(caller, NULL) == 0);
	env_sleep_ns(env_real(), seconds * NS_PER_S);
	stop = true;
	while (running > 0)
		env_sleep_ns(env_real(), NS_PER_MS);
	tell();
}

static void start(void *arg)
{
	char **argv = arg;
	struct link_opts o = {.env = env_real(),
			      .self = argv[1],
			      .peer = argv[2],
			      .nroutes = 4,
			      .auth = {.psk_file = argv[3]},
			      .hello = {.incarnation = env_random_u64(env_real()) | 1},
			      .up = on_up,
			      .down = on_down};
	for (unsigned i = 0; i < 4; i++) {
		char *comma = strchr(argv[5 + i], ',');
		if (!comma)
			_exit(2);
		*comma = '\0';
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, LINK_TCP,
						  argv[5 + i], comma + 1};
	}
	int rc = link_open(&the_link, &o);
	if (rc) {
		fprintf(stderr, "link_end: %s\n", err_text(rc));
		_exit(2);
	}
	link_serve(the_link, LINK_SVC_SCSI, serve, NULL);
	if (seconds > 0 && task_start(load, NULL))
		_exit(2);
}

int main(int argc, char **argv)
{
	if (argc != 9) {
		fprintf(stderr, "usage: link_end SELF PEER PSK_FILE SECONDS LOCAL,REMOTE x4\n");
		return 2;
	}
	seconds = (unsigned)atoi(argv[4]);
	alarm(seconds + 60);
	struct reactor_opts ro = {.name = argv[1], .cpu = -1, .no_uring = true};
	if (reactor_new(&reactor, &ro) || task_start_on(reactor_sched(reactor), start, argv))
		return 2;
	reactor_run(reactor);
	return 0;
}
