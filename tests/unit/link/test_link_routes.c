/*
 * Routes of the interconnect, on unix sockets and on TCP: cut at random under load, with every
 * message once and in order; the handshake with peers that do not fit; TLS with good and bad keys;
 * strangers that send junk.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "blockcore/link/link_frame.h"
#include "runtime/bytes.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/unit/link/cut_ops.h"
#include "tests/unit/link/link_rig.h"

static const enum link_transport transports[] = {LINK_UNIX, LINK_TCP};
static char log_path[108];

static bool port_is_free(unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool ok = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	close(fd);
	return ok;
}

/* Eight in a row, below those that connections get by themselves. */
static unsigned free_ports(void)
{
	for (unsigned i = 0; i < 500; i++) {
		unsigned port = 20000 + (unsigned)((unsigned)getpid() + i) % 500 * 16, n = 0;
		while (n < 8 && port_is_free(port + n))
			n++;
		if (n == 8)
			return port;
	}
	ck_abort_msg("no free ports");
	return 0;
}

static void setup_for(enum link_transport t)
{
	rig_setup(t, t == LINK_TCP ? free_ports() : 0);
	snprintf(log_path, sizeof(log_path), "%s.events", rig.dir);
	ck_assert_int_eq(event_log_open(log_path), 0);
}

static void teardown(void)
{
	rig_teardown();
	event_log_close();
	unlink(log_path);
}

static bool event_said(const char *kind, const char *text)
{
	struct event e[64];
	int n = event_log_read(0, e, 64);
	for (int i = 0; i < n; i++)
		if (strcmp(e[i].kind, kind) == 0 && strstr(e[i].text, text))
			return true;
	return false;
}

/* ---- cut under load ---- */

static _Atomic bool stop_load;
static _Atomic unsigned load_left, load_calls;

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 9));
}

static void load_member(void *arg)
{
	struct link *l = arg;
	static _Atomic uint64_t ids;
	uint8_t *out = malloc(300000), *in = malloc(300000);
	while (!stop_load) {
		uint64_t id = ids++;
		size_t n = id % 13 ? id % 9000 : id * 37 % 300000;
		struct iovec to = {out, n}, from = {in, n};
		struct link_answer ans = {.iov = &from, .iovcnt = 1};
		fill(out, n, id);
		memset(in, 0, n);
		int rc = link_call(l, id % 4 ? LINK_DATA : LINK_CONTROL, LINK_SVC_ADMIN, RIG_ECHO,
				   NULL, 0, &to, 1, &ans, 0);
		ck_assert_int_eq(rc, 0);
		ck_assert_uint_eq(ans.data_len, n);
		ck_assert_int_eq(memcmp(in, out, n), 0);
		load_calls++;
	}
	free(in);
	free(out);
	load_left--;
}

static void load_counter(void *arg)
{
	struct link *l = arg;
	uint8_t head[8];
	static uint8_t data[5000];
	for (uint64_t i = 1; !stop_load; i++) {
		int rc;
		le64_put(head, i);
		while ((rc = link_send(l, LINK_DATA, LINK_SVC_ADMIN, RIG_COUNT, head, 8, data,
				       (uint32_t)(i * 17 % 5000))) == -ENOBUFS)
			rig_nap();
		ck_assert_int_eq(rc, 0);
		if (i % 8 == 0)
			rig_nap();
	}
	load_left--;
}

static void load_start(void *arg)
{
	for (int i = 0; i < 6; i++, load_left++)
		ck_assert_int_eq(task_start(load_member, arg), 0);
}

static void counter_start(void *arg)
{
	load_left++;
	ck_assert_int_eq(task_start(load_counter, arg), 0);
}

static bool route_up(unsigned i)
{
	struct link_route_stats a, b;
	link_stats(rig.a.link, i, &a);
	link_stats(rig.b.link, i, &b);
	return a.up && b.up;
}

START_TEST(cut_under_load)
{
	setup_for(transports[_i]);
	rig.a.opts.ops = rig.b.opts.ops = &cut_ops;
	rig.a.opts.dead_ns = rig.b.opts.dead_ns = 4 * NS_PER_S; /* on a busy machine too */
	rig.a.opts.heartbeat_ns = rig.b.opts.heartbeat_ns = 50 * NS_PER_MS;
	rig_open(&rig.a);
	rig_open(&rig.b);
	rig_both_up();
	stop_load = false;
	load_calls = 0;
	rig_run(rig.a.reactor, load_start, rig.a.link);
	rig_run(rig.callers[0], load_start, rig.a.link);
	rig_run(rig.b.reactor, load_start, rig.b.link);
	rig_run(rig.callers[1], counter_start, rig.a.link);
	rig_run(rig.b.reactor, counter_start, rig.b.link);
	unsigned cuts = 0;
	uint64_t until = env_now_ns(env_real()) + 6 * NS_PER_S;
	for (unsigned k = 1; env_now_ns(env_real()) < until; k++) {
		unsigned path = k % 2, route = path + (route_up(path) ? 0 : 2);
		unsigned other = route ^ 2;
		usleep(1000 * (unsigned)(env_random_u64(env_real()) % 120));
		if (!route_up(route) || !route_up(other))
			continue;
		cut_route(rig.a.opts.routes[route].local, k % 8 == 1 ? CUT_SILENT : CUT_RESET);
		cuts++;
	}
	stop_load = true;
	RIG_WAIT(load_left == 0);
	ck_assert_uint_gt(cuts, 5);
	ck_assert_uint_gt(load_calls, 30);
	ck_assert_uint_eq(rig.a.downs + rig.b.downs, 0);
	ck_assert_uint_eq(rig.a.broken + rig.b.broken, 0);
	ck_assert_uint_gt(rig.a.count, 10);
	ck_assert_uint_gt(rig.b.count, 10);
	uint64_t failovers = 0, resent = 0;
	for (unsigned i = 0; i < 4; i++) {
		struct link_route_stats a, b;
		link_stats(rig.a.link, i, &a);
		link_stats(rig.b.link, i, &b);
		failovers += a.failovers + b.failovers;
		resent += a.resent + b.resent;
	}
	ck_assert_uint_gt(failovers, 5);
	ck_assert_uint_gt(resent, 5);
	ck_assert(event_said("link.route_down", "another carries on"));
	teardown();
}
END_TEST

/* ---- who is let in ---- */

static void open_both(void)
{
	rig_open(&rig.a);
	rig_open(&rig.b);
}

static const struct {
	const char *what, *said;
} misfits[] = {
    {"version", "install the same release on both"},
    {"name", "correct `partner` and `links`"},
    {"array", "belongs to another array"},
    {"control", "have control memories of their own"},
    {"path", "a route of the one path meets one of the other"},
    {"self", "is connected to its own end"},
};

START_TEST(misfits_are_refused)
{
	const char *what = misfits[_i].what;
	setup_for(LINK_UNIX);
	if (strcmp(what, "name") == 0)
		rig.b.opts.self = "c";
	if (strcmp(what, "array") == 0)
		rig.b.opts.hello.array_uuid[3] ^= 1;
	if (strcmp(what, "control") == 0)
		rig.a.opts.hello.control[3] = 1 + (rig.b.opts.hello.control[3] = 1);
	if (strcmp(what, "path") == 0)
		for (int i = 0; i < 4; i++)
			rig.b.opts.routes[i].path ^= 1;
	if (strcmp(what, "self") == 0)
		rig.b.opts.hello.incarnation = rig.a.opts.hello.incarnation;
	rig.a.opts.hello.versions[LINK_SVC_SCSI] = 2;
	rig.b.opts.hello.versions[LINK_SVC_SCSI] = strcmp(what, "version") == 0 ? 3 : 2;
	open_both();
	RIG_WAIT(event_said("link.refused", misfits[_i].said));
	usleep(300000);
	ck_assert(!link_is_up(rig.a.link) && !link_is_up(rig.b.link));
	ck_assert_uint_eq(rig.a.ups + rig.b.ups, 0);
	for (int i = 0; i < 2; i++) { /* both ends can tell */
		char why[256];
		ck_assert(link_refusal(i ? rig.b.link : rig.a.link, why, sizeof(why)));
		ck_assert_msg(strstr(why, misfits[_i].said), "%s", why);
		ck_assert(strcmp(what, "version") != 0 ||
			  (strstr(why, "version 2") && strstr(why, "version 3") &&
			   strstr(why, "of forwarded commands")));
	}
	teardown();
}
END_TEST

static int connect_unix(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = 10};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sa.sun_path, path);
	for (int i = 0; connect(fd, (struct sockaddr *)&sa, sizeof(sa)); i++) {
		ck_assert_int_lt(i, 5000);
		usleep(1000);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* Until it is closed. The last frame's kind, 0: none. */
static int read_to_end(int fd)
{
	uint8_t buf[65536];
	size_t have = 0;
	ssize_t n;
	int kind = 0;
	while ((n = recv(fd, buf + have, sizeof(buf) - have, 0)) > 0)
		have += (size_t)n;
	ck_assert_msg(n == 0 || errno == ECONNRESET, "not closed: %s", strerror(errno));
	for (size_t at = 0; at + LINK_FRAME_SIZE <= have;) {
		struct link_frame f;
		ck_assert_int_eq(link_frame_decode(buf + at, &f), 0);
		kind = f.kind;
		at += LINK_FRAME_SIZE + f.head_len + f.data_len;
	}
	return kind;
}

START_TEST(another_version_is_told)
{
	setup_for(LINK_UNIX);
	rig_open(&rig.a);
	uint8_t buf[LINK_FRAME_SIZE + 2];
	link_frame_encode(buf, &(struct link_frame){.kind = LINK_K_HELLO, .head_len = 2});
	buf[LINK_FRAME_SIZE] = 0x08; /* field 1, version */
	buf[LINK_FRAME_SIZE + 1] = 99;
	int fd = connect_unix(rig.a.opts.routes[0].local);
	ck_assert_int_eq(send(fd, buf, sizeof(buf), MSG_NOSIGNAL), (int)sizeof(buf));
	ck_assert_int_eq(read_to_end(fd), LINK_K_REJECT);
	close(fd);
	ck_assert(event_said("link.refused",
			     "controller a speaks version 2 of the interconnect, controller b "
			     "version 99: install the same release"));
	teardown();
}
END_TEST

static void good_hello(uint8_t *buf, size_t *ret, unsigned kind, uint32_t extra)
{
	/* As b would say it: too little for a route, enough to pass the first look. */
	static const uint8_t head[] = {0x08, LINK_VERSION, 0x12, 1, 'b', 0x1a, 1, 'a'};
	link_frame_encode(
	    buf, &(struct link_frame){.kind = (uint8_t)kind, .head_len = sizeof(head) + extra});
	memcpy(buf + LINK_FRAME_SIZE, head, sizeof(head));
	*ret = LINK_FRAME_SIZE + sizeof(head);
}

static size_t junk(unsigned kind, uint8_t *buf, size_t size)
{
	size_t n = 0;
	struct link_frame f = {.kind = LINK_K_CALL, .seq = 1, .call = 1, .head_len = 8};
	switch (kind) {
	case 0: /* noise */
		env_random(env_real(), buf, size);
		return size;
	case 1: /* a message before the handshake */
		link_frame_encode(buf, &f);
		return LINK_FRAME_SIZE;
	case 2: /* the largest sizes a header can hold, with a right checksum */
		f.kind = LINK_K_HELLO;
		f.seq = f.call = 0;
		f.head_len = 0xffffffff;
		link_frame_encode(buf, &f);
		return LINK_FRAME_SIZE;
	case 3: /* a hello that lacks everything */
		good_hello(buf, &n, LINK_K_HELLO, 0);
		return n;
	case 4: /* out of turn */
		good_hello(buf, &n, LINK_K_WELCOME, 0);
		return n;
	case 5: /* a hello that is no protobuf */
		link_frame_encode(buf, &(struct link_frame){.kind = LINK_K_HELLO, .head_len = 64});
		memset(buf + LINK_FRAME_SIZE, 0xff, 64);
		return LINK_FRAME_SIZE + 64;
	case 6: /* a half frame, and silence: closed when its time is up */
		good_hello(buf, &n, LINK_K_HELLO, 100);
		return n;
	default: /* a hundred goodbyes */
		for (int i = 0; i < 100; i++, n += LINK_FRAME_SIZE)
			link_frame_encode(buf + n, &(struct link_frame){.kind = LINK_K_BYE});
		return n;
	}
}
#define JUNKS 8

START_TEST(junk_is_thrown_out)
{
	static uint8_t buf[8192];
	setup_for(LINK_UNIX);
	rig.a.opts.dead_ns = rig.b.opts.dead_ns = 2 * NS_PER_S;
	open_both();
	rig_both_up();
	for (int i = 0; i < 3; i++) {
		int fd = connect_unix(rig.a.opts.routes[i].local);
		size_t n = junk((unsigned)_i, buf, sizeof(buf));
		send(fd, buf, n, MSG_NOSIGNAL);
		read_to_end(fd);
		close(fd);
	}
	/* Nobody else noticed. */
	ck_assert(link_is_up(rig.a.link) && link_is_up(rig.b.link));
	ck_assert_uint_eq(rig.a.downs + rig.b.downs, 0);
	for (unsigned i = 0; i < 4; i++)
		RIG_WAIT(route_up(i));
	teardown();
}
END_TEST

START_TEST(a_crowd_of_strangers)
{
	int fds[40];
	setup_for(LINK_UNIX);
	rig_open(&rig.a);
	for (int i = 0; i < 40; i++)
		fds[i] = connect_unix(rig.a.opts.routes[i % 4].local);
	rig_open(&rig.b);
	rig_both_up();
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	teardown();
}
END_TEST

/* ---- TLS ---- */

static char made[8][128];
static unsigned nmade;

static char *make_file(const char *name, const char *text, unsigned mode)
{
	char *path = made[nmade++];
	snprintf(path, sizeof(made[0]), "%s-%s", rig.dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	fchmod(fd, (mode_t)mode);
	close(fd);
	return path;
}

static void remove_files(void)
{
	while (nmade > 0)
		unlink(made[--nmade]);
}

#define KEY "isthmus:00112233445566778899aabbccddeeff"
static const struct {
	const char *a, *b;
	unsigned mode;
	bool works;
	const char *said;
} keys[] = {
    {KEY "\n", KEY "\n", 0600, true, NULL},
    {KEY "00112233445566778899aabbccddeeff", KEY "00112233445566778899aabbccddeeff", 0600, true,
     NULL},
    {KEY, "isthmus:00112233445566778899aabbccddeefe", 0600, false, "has not proved who it is"},
    {KEY, "another:00112233445566778899aabbccddeeff", 0600, false, "has not proved who it is"},
    {KEY, NULL, 0600, false, "has not proved who it is"},
    {KEY, KEY, 0644, false, "may be read or written by others"},
    {"isthmus:0011", KEY, 0600, false, "must hold one line"},
    {"00112233445566778899aabbccddeeff", KEY, 0600, false, "must hold one line"},
};

static void big_echo(void *arg)
{
	struct link *l = arg;
	size_t n = LINK_DATA_MAX;
	uint8_t *out = malloc(n), *in = malloc(n);
	for (uint64_t i = 0; i < 4; i++) {
		struct iovec to = {out, n}, from = {in, n};
		struct link_answer ans = {.iov = &from, .iovcnt = 1};
		fill(out, n, i);
		ck_assert_int_eq(
		    link_call(l, LINK_DATA, LINK_SVC_ADMIN, RIG_ECHO, NULL, 0, &to, 1, &ans, 0), 0);
		ck_assert_int_eq(memcmp(out, in, n), 0);
	}
	free(in);
	free(out);
}

START_TEST(tls_by_key)
{
	setup_for(LINK_TCP);
	if (keys[_i].a)
		rig.a.opts.auth.psk_file = make_file("a.psk", keys[_i].a, keys[_i].mode);
	if (keys[_i].b)
		rig.b.opts.auth.psk_file = make_file("b.psk", keys[_i].b, keys[_i].mode);
	/* Who connects before anybody listens is no stranger. */
	rig_open(&rig.b);
	usleep(150000);
	ck_assert(!event_said("link.refused", "proved"));
	rig_open(&rig.a);
	if (keys[_i].works) {
		rig_both_up();
		ck_assert(!event_said("link.refused", ""));
		rig_run(rig.a.reactor, big_echo, rig.a.link);
		rig_run(rig.b.reactor, big_echo, rig.b.link);
		stop_load = false;
		rig_run(rig.a.reactor, load_start, rig.a.link);
		rig_run(rig.b.reactor, load_start, rig.b.link);
		usleep(500000);
		stop_load = true;
		RIG_WAIT(load_left == 0);
		ck_assert_uint_eq(rig.a.downs + rig.b.downs, 0);
	} else {
		RIG_WAIT(event_said("link.refused", keys[_i].said));
		usleep(200000);
		ck_assert(!link_is_up(rig.a.link) && !link_is_up(rig.b.link));
	}
	teardown();
	remove_files();
}
END_TEST

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(cmd) == 0, "%s", cmd);
}

/* A certificate for `name`, signed by the authority `ca` of the folder. */
static void make_cert(const char *dir, const char *name, const char *ca)
{
	shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s "
	      "-keyout %s/%s-%s.key -out %s/csr 2>/dev/null",
	      name, dir, name, ca, dir);
	shell("openssl x509 -req -in %s/csr -CA %s/%s.pem -CAkey %s/%s.key -CAcreateserial -days 2 "
	      "-out %s/%s-%s.pem 2>/dev/null",
	      dir, dir, ca, dir, ca, dir, name, ca);
}

static void use_cert(struct rig_end *e, const char *dir, const char *name, const char *ca,
		     char paths[3][160])
{
	snprintf(paths[0], 160, "%s/%s-%s.pem", dir, name, ca);
	snprintf(paths[1], 160, "%s/%s-%s.key", dir, name, ca);
	snprintf(paths[2], 160, "%s/ca.pem", dir);
	e->opts.auth =
	    (struct link_auth){.cert_file = paths[0], .key_file = paths[1], .ca_file = paths[2]};
}

static const struct {
	const char *b_name, *b_ca;
	bool works;
} certs[] = {
    {"b", "ca", true},
    {"c", "ca", false},	   /* another's certificate */
    {"b", "other", false}, /* of another authority */
};

START_TEST(tls_by_certificate)
{
	char dir[128], a[3][160], b[3][160];
	setup_for(LINK_TCP);
	snprintf(dir, sizeof(dir), "%s-ca", rig.dir);
	mkdir(dir, 0700);
	for (int i = 0; i < 2; i++)
		shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		      "-subj /CN=%s -days 2 -keyout %s/%s.key -out %s/%s.pem 2>/dev/null",
		      i ? "other" : "ca", dir, i ? "other" : "ca", dir, i ? "other" : "ca");
	make_cert(dir, "a", "ca");
	make_cert(dir, certs[_i].b_name, certs[_i].b_ca);
	use_cert(&rig.a, dir, "a", "ca", a);
	use_cert(&rig.b, dir, certs[_i].b_name, certs[_i].b_ca, b);
	open_both();
	if (certs[_i].works) {
		rig_both_up();
		rig_run(rig.a.reactor, big_echo, rig.a.link);
	} else {
		RIG_WAIT(event_said("link.refused", "has not proved who it is"));
		usleep(200000);
		ck_assert(!link_is_up(rig.a.link) && !link_is_up(rig.b.link));
	}
	teardown();
	shell("rm -r %s", dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link_routes");
	TCase *t = tcase_create("routes");
	tcase_set_timeout(t, 90);
	tcase_add_loop_test(t, cut_under_load, 0, 2);
	tcase_add_loop_test(t, misfits_are_refused, 0, sizeof(misfits) / sizeof(misfits[0]));
	tcase_add_test(t, another_version_is_told);
	tcase_add_loop_test(t, junk_is_thrown_out, 0, JUNKS);
	tcase_add_test(t, a_crowd_of_strangers);
	tcase_add_loop_test(t, tls_by_key, 0, sizeof(keys) / sizeof(keys[0]));
	tcase_add_loop_test(t, tls_by_certificate, 0, sizeof(certs) / sizeof(certs[0]));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
