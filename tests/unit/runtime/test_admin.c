/* The admin protocol: frames, arguments, replies, and a real server with well and ill behaved
 * clients, each bounded in time. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/admin_impl.h"
#include "runtime/bytes.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"

static char dir[64], path[96];
static struct reactor *reactor;
static struct admin_server *server;

/* ---- handlers ---- */

static int verb_echo(struct admin_call *c, void *arg)
{
	admin_table(c, "echo", true);
	admin_row(c);
	const char *s;
	for (unsigned i = 0; (s = admin_arg_list(c, "word", i)); i++)
		admin_put_text(c, "word", "%s", s);
	uint64_t v;
	int rc = admin_arg_size(c, "size", &v);
	if (rc == -EINVAL)
		return rc;
	if (rc == 0)
		admin_put_bytes(c, "size", v);
	rc = admin_arg_u64(c, "count", &v);
	if (rc == -EINVAL)
		return rc;
	if (rc == 0)
		admin_put_number(c, "count", v);
	admin_put_flag(c, "loud", admin_arg_flag(c, "loud"));
	return 0;
}

static int verb_fail(struct admin_call *c, void *arg)
{
	return admin_error(c, -ENOSPC, "add a disk", "pool `%s` is full", "p");
}

static int verb_plain_fail(struct admin_call *c, void *arg)
{
	return -ERR_DEGRADED;
}

static int verb_slow(struct admin_call *c, void *arg)
{
	for (unsigned i = 0; i <= 4; i++) {
		admin_progress(c, "working", i, 4);
		env_sleep_ns(env_real(), 110 * NS_PER_MS);
	}
	return 0;
}

static int verb_many(struct admin_call *c, void *arg)
{
	uint64_t n = 0;
	admin_arg_u64(c, "count", &n);
	admin_table(c, "rows", false);
	for (uint64_t i = 0; i < n; i++) {
		admin_row(c);
		admin_put_text(c, "text", "%0200d", (int)i);
	}
	return 0;
}

/* Both answer "both". */
static int verb_first(struct admin_call *c, void *arg)
{
	admin_table(c, "t", false);
	admin_row(c);
	admin_put_text(c, "who", "%s", (char *)arg);
	return 0;
}

static int verb_relay(struct admin_call *c, void *arg)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	req.verb = (char *)admin_arg_text(c, "to");
	Isthmus__AdminReply *reply;
	int rc = admin_task_call(path, &req, 5 * NS_PER_S, c, &reply);
	return rc ? rc : admin_reply_take(c, reply);
}

static int fallback(struct admin_call *c, void *arg)
{
	admin_note(c, "fell back from %s", admin_call_verb(c));
	return 0;
}

/* ---- the server in a thread ---- */

static void start_server(void *arg)
{
	ck_assert_int_eq(admin_server_new(&server, reactor, path), 0);
	admin_register(server, "echo", verb_echo, NULL);
	admin_register(server, "fail", verb_fail, NULL);
	admin_register(server, "plain", verb_plain_fail, NULL);
	admin_register(server, "slow", verb_slow, NULL);
	admin_register(server, "many", verb_many, NULL);
	admin_register(server, "relay", verb_relay, NULL);
	admin_register(server, "both", verb_first, "one");
	admin_register(server, "both", verb_first, "two");
}

static void stop_task(void *arg)
{
	admin_server_free(server);
	reactor_stop(reactor);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/isthmus-admin-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s.sock", dir);
	struct reactor_opts o = {.name = "admin", .cpu = -1};
	ck_assert_int_eq(reactor_new(&reactor, &o), 0);
	start_server(NULL);
	ck_assert_int_eq(reactor_start_thread(reactor), 0);
}

static void teardown(void)
{
	task_start_on(reactor_sched(reactor), stop_task, NULL);
	reactor_join(reactor);
	reactor_free(reactor);
	ck_assert_int_eq(access(path, F_OK), -1);
	rmdir(dir);
}

static struct {
	unsigned n;
	uint64_t last;
} progressed;

static void on_progress(void *arg, const Isthmus__AdminProgress *p)
{
	progressed.n++;
	progressed.last = p->done;
}

static Isthmus__AdminReply *ask(const char *verb, const char *const *args)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminArg arg[8], *argp[8];
	req.verb = (char *)verb;
	req.args = argp;
	for (; args && args[0]; args += 2) {
		isthmus__admin_arg__init(&arg[req.n_args]);
		arg[req.n_args].name = (char *)args[0];
		arg[req.n_args].value = (char *)args[1];
		argp[req.n_args] = &arg[req.n_args];
		req.n_args++;
	}
	Isthmus__AdminReply *reply = NULL;
	memset(&progressed, 0, sizeof(progressed));
	int rc = admin_client_call(path, &req, 30 * NS_PER_S, on_progress, NULL, &reply);
	ck_assert_msg(rc == 0, "%s: %s", verb, err_name(rc));
	return reply;
}

static void done(Isthmus__AdminReply *r)
{
	isthmus__admin_reply__free_unpacked(r, NULL);
}

START_TEST(arguments_and_values)
{
	const char *args[] = {"word", "a,b",  "word",  "c",  "size", "1.5K",
			      "loud", "true", "count", "42", NULL};
	Isthmus__AdminReply *r = ask("echo", args);
	ck_assert_int_eq(r->code, 0);
	ck_assert_uint_eq(r->n_tables, 1);
	ck_assert(r->tables[0]->single);
	Isthmus__AdminRow *row = r->tables[0]->rows[0];
	ck_assert_uint_eq(row->n_fields, 5);
	ck_assert_str_eq(row->fields[0]->value->text, "a,b");
	ck_assert_str_eq(row->fields[1]->value->text, "c");
	ck_assert_uint_eq(row->fields[2]->value->bytes, 1536);
	ck_assert_uint_eq(row->fields[3]->value->number, 42);
	ck_assert(row->fields[4]->value->flag);
	done(r);
	const char *bad[] = {"size", "huge", NULL};
	r = ask("echo", bad);
	ck_assert_int_eq(r->code, -EINVAL);
	ck_assert_ptr_nonnull(strstr(r->error, "size"));
	ck_assert_ptr_nonnull(strstr(r->error, "huge"));
	ck_assert_str_ne(r->remedy, "");
	done(r);
}
END_TEST

START_TEST(errors_come_back)
{
	Isthmus__AdminReply *r = ask("fail", NULL);
	ck_assert_int_eq(r->code, -ENOSPC);
	ck_assert_str_eq(r->error, "pool `p` is full");
	ck_assert_str_eq(r->remedy, "add a disk");
	done(r);
	r = ask("plain", NULL);
	ck_assert_int_eq(r->code, -ERR_DEGRADED);
	ck_assert_str_eq(r->error, err_text(-ERR_DEGRADED));
	done(r);
	r = ask("no.such", NULL);
	ck_assert_int_eq(r->code, -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(r->error, "no.such"));
	done(r);
	admin_register_fallback(server, fallback, NULL);
	r = ask("no.such", NULL);
	ck_assert_int_eq(r->code, 0);
	ck_assert_str_eq(r->notes[0], "fell back from no.such");
	done(r);
}
END_TEST

START_TEST(ping_and_several_handlers)
{
	Isthmus__AdminReply *r = ask("ping", NULL);
	ck_assert_int_eq(r->code, 0);
	ck_assert_uint_eq(r->tables[0]->rows[0]->fields[0]->value->number, (uint64_t)getpid());
	done(r);
	r = ask("both", NULL);
	ck_assert_uint_eq(r->n_tables, 1);
	ck_assert_uint_eq(r->tables[0]->n_rows, 2);
	ck_assert_str_eq(r->tables[0]->rows[1]->fields[0]->value->text, "two");
	done(r);
}
END_TEST

START_TEST(progress_is_passed_through)
{
	Isthmus__AdminReply *r = ask("slow", NULL);
	ck_assert_int_eq(r->code, 0);
	ck_assert_uint_ge(progressed.n, 3);
	ck_assert_uint_eq(progressed.last, 4);
	done(r);
	const char *args[] = {"to", "slow", NULL};
	r = ask("relay", args);
	ck_assert_int_eq(r->code, 0);
	ck_assert_uint_ge(progressed.n, 3);
	done(r);
	const char *fail[] = {"to", "fail", NULL};
	r = ask("relay", fail);
	ck_assert_int_eq(r->code, -ENOSPC);
	ck_assert_str_eq(r->remedy, "add a disk");
	done(r);
}
END_TEST

START_TEST(big_replies)
{
	const char *args[] = {"count", "20000", NULL};
	Isthmus__AdminReply *r = ask("many", args);
	ck_assert_int_eq(r->code, 0);
	ck_assert_uint_eq(r->tables[0]->n_rows, 20000);
	done(r);
	const char *too_many[] = {"count", "90000", NULL};
	r = ask("many", too_many);
	ck_assert_int_eq(r->code, -E2BIG);
	done(r);
}
END_TEST

/* ---- clients that do not behave ---- */

static int dial(void)
{
	int fd = admin_connect(path);
	ck_assert_int_ge(fd, 0);
	struct timeval tv = {.tv_sec = 5};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return fd;
}

/* Reads one reply; its code, or 1 when the connection ended. */
static int read_code(int fd)
{
	struct admin_inbuf in = {0};
	Isthmus__AdminFrame *f;
	size_t used;
	int code = 1;
	for (;;) {
		int rc = admin_frame_decode(in.p, in.n, ADMIN_FRAME_MAX, &f, &used);
		if (rc == 0) {
			ck_assert_int_eq(f->body_case, ISTHMUS__ADMIN_FRAME__BODY_REPLY);
			code = f->reply->code;
			isthmus__admin_frame__free_unpacked(f, NULL);
			break;
		}
		ck_assert_int_eq(rc, -EAGAIN);
		char buf[4096];
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		ck_assert_msg(n >= 0 || errno == ECONNRESET, "nothing came: %s", strerror(errno));
		if (n <= 0)
			break;
		in.p = realloc(in.p, in.n + (size_t)n);
		memcpy(in.p + in.n, buf, (size_t)n);
		in.n += (size_t)n;
	}
	admin_inbuf_free(&in);
	return code;
}

static void still_alive(void)
{
	done(ask("ping", NULL));
}

START_TEST(junk_is_refused)
{
	static const struct {
		const char *bytes;
		size_t n;
	} junk[] = {
	    {"\0\0\0\0", 4},	     {"\xff\xff\xff\xff", 4},	 {"\0\x10\0\0", 4},
	    {"\0\0\0\4abcd", 8},     {"GET / HTTP/1.0\r\n", 16}, {"\0\0\0\2\x08\x07", 6},
	    {"\0\0\0\2\x08\x01", 6},
	};
	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		int fd = dial();
		ck_assert_int_eq(send(fd, junk[i].bytes, junk[i].n, MSG_NOSIGNAL),
				 (ssize_t)junk[i].n);
		int code = read_code(fd);
		if (i == 2) /* 1 MiB announced: more than a request may have */
			ck_assert_int_eq(code, -ERR_PROTO);
		ck_assert_msg(code == -ERR_PROTO || code == -ERR_VERSION, "junk %zu: %d", i, code);
		char c;
		ck_assert_int_le(recv(fd, &c, 1, 0), 0);
		close(fd);
	}
	still_alive();
}
END_TEST

static void encode_request(const char *verb, uint8_t **buf, size_t *n)
{
	Isthmus__AdminFrame f = ISTHMUS__ADMIN_FRAME__INIT;
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	f.version = ADMIN_VERSION;
	f.body_case = ISTHMUS__ADMIN_FRAME__BODY_REQUEST;
	f.request = &req;
	req.verb = (char *)verb;
	ck_assert_int_eq(admin_frame_encode(&f, buf, n), 0);
}

START_TEST(truncated_and_flipped_requests)
{
	uint8_t *buf;
	size_t n;
	encode_request("echo", &buf, &n);
	for (size_t cut = 0; cut < n; cut++) {
		int fd = dial();
		ck_assert_int_eq(send(fd, buf, cut, 0), (ssize_t)cut);
		close(fd);
	}
	for (size_t bit = 32; bit < n * 8; bit++) { /* not the length: that would be a half frame */
		int fd = dial();
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		send(fd, buf, n, MSG_NOSIGNAL);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_le(read_code(fd), 0);
		close(fd);
	}
	free(buf);
	still_alive();
}
END_TEST

START_TEST(pipelined_and_split_requests)
{
	uint8_t *buf;
	size_t n;
	encode_request("ping", &buf, &n);
	int fd = dial();
	uint8_t three[256];
	for (int i = 0; i < 3; i++)
		memcpy(three + n * (size_t)i, buf, n);
	for (size_t i = 0; i < n + 3; i++)
		ck_assert_int_eq(send(fd, three + i, 1, 0), 1);
	ck_assert_int_eq(read_code(fd), 0);
	ck_assert_int_eq(send(fd, three + n + 3, 2 * n - 3, 0), (ssize_t)(2 * n - 3));
	/* Two replies, in one buffer or two: count their bytes. */
	Isthmus__AdminFrame *f;
	size_t used, got = 0, replies = 0;
	uint8_t in[1024];
	while (replies < 2) {
		ssize_t r = recv(fd, in + got, sizeof(in) - got, 0);
		ck_assert_int_gt(r, 0);
		got += (size_t)r;
		while (admin_frame_decode(in, got, 4096, &f, &used) == 0) {
			isthmus__admin_frame__free_unpacked(f, NULL);
			memmove(in, in + used, got - used);
			got -= used;
			replies++;
		}
	}
	close(fd);
	free(buf);
}
END_TEST

START_TEST(slow_reader_holds_up_nobody)
{
	uint8_t *buf;
	size_t n;
	Isthmus__AdminFrame f = ISTHMUS__ADMIN_FRAME__INIT;
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminArg arg = ISTHMUS__ADMIN_ARG__INIT, *argp = &arg;
	f.version = ADMIN_VERSION;
	f.body_case = ISTHMUS__ADMIN_FRAME__BODY_REQUEST;
	f.request = &req;
	req.verb = "many";
	req.args = &argp;
	req.n_args = 1;
	arg.name = "count";
	arg.value = "20000";
	ck_assert_int_eq(admin_frame_encode(&f, &buf, &n), 0);
	int fds[8];
	for (int i = 0; i < 8; i++) {
		fds[i] = dial();
		ck_assert_int_eq(send(fds[i], buf, n, 0), (ssize_t)n);
	}
	for (int i = 0; i < 20; i++)
		still_alive();
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	free(buf);
	still_alive();
}
END_TEST

START_TEST(clients_that_leave_during_a_call)
{
	uint8_t *buf;
	size_t n;
	encode_request("slow", &buf, &n);
	for (int i = 0; i < 8; i++) {
		int fd = dial();
		ck_assert_int_eq(send(fd, buf, n, 0), (ssize_t)n);
		close(fd);
	}
	free(buf);
	still_alive();
}
END_TEST

START_TEST(too_many_connections)
{
	int fds[100];
	for (int i = 0; i < 100; i++)
		fds[i] = dial();
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	usleep(50000);
	still_alive();
}
END_TEST

START_TEST(one_server_a_socket)
{
	struct admin_server *other = NULL;
	struct reactor *r;
	struct reactor_opts o = {.name = "other", .cpu = -1};
	ck_assert_int_eq(reactor_new(&r, &o), 0);
	ck_assert_int_eq(admin_server_new(&other, r, path), -EADDRINUSE);
	reactor_free(r);
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	still_alive();
}
END_TEST

START_TEST(nobody_listens)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminReply *reply;
	req.verb = "ping";
	ck_assert_int_eq(
	    admin_client_call("/tmp/isthmus-no-such.sock", &req, NS_PER_S, NULL, NULL, &reply),
	    -ENOENT);
}
END_TEST

/* ---- the codec alone ---- */

START_TEST(decode_any_bytes)
{
	unsigned seed = 7;
	uint8_t buf[256];
	for (int i = 0; i < 100000; i++) {
		size_t n = (size_t)rand_r(&seed) % sizeof(buf);
		for (size_t k = 0; k < n; k++)
			buf[k] = (uint8_t)rand_r(&seed);
		if (n >= 4)
			be32_put(buf, (uint32_t)n - 4);
		Isthmus__AdminFrame *f;
		size_t used;
		if (admin_frame_decode(buf, n, 4096, &f, &used) == 0)
			isthmus__admin_frame__free_unpacked(f, NULL);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("admin");
	TCase *t = tcase_create("server");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, arguments_and_values);
	tcase_add_test(t, errors_come_back);
	tcase_add_test(t, ping_and_several_handlers);
	tcase_add_test(t, progress_is_passed_through);
	tcase_add_test(t, big_replies);
	tcase_add_test(t, junk_is_refused);
	tcase_add_test(t, truncated_and_flipped_requests);
	tcase_add_test(t, pipelined_and_split_requests);
	tcase_add_test(t, slow_reader_holds_up_nobody);
	tcase_add_test(t, clients_that_leave_during_a_call);
	tcase_add_test(t, too_many_connections);
	tcase_add_test(t, one_server_a_socket);
	suite_add_tcase(s, t);
	TCase *codec = tcase_create("codec");
	tcase_add_test(codec, nobody_listens);
	tcase_add_test(codec, decode_any_bytes);
	suite_add_tcase(s, codec);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
