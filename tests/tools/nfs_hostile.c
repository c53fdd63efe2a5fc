/*
 * nfs_hostile HOST PORT EXPORT [CASE...]: RPC and NFSv3 as no client speaks it, over plain sockets,
 * while a bystander with a connection of its own goes on working.
 *
 * Each case must end as the protocol says or with that connection closed, and the bystander's
 * calls (1 MiB written, committed and read back, a GETATTR) must be answered within
 * BYSTANDER_MS all the time. One line a case; exit 1 when one failed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYSTANDER_MS 3000
#define NFS	     100003
#define MOUNT	     100005
#define MIB	     (1024 * 1024)
#define CONNS	     400
#define SILENT	     (-1) /* no reply and the connection is open */
#define CLOSED	     (-2)

struct msg {
	uint8_t *b;
	size_t n;
};

static struct sockaddr_in server;
static const char *export_path;
static uint8_t root[64], file[64];
static uint32_t root_len, file_len, xid_next = 1;
static uint8_t *buffer; /* 2 MiB */
static unsigned failed;

static void fail(const char *what, long got)
{
	printf("    FAILED: %s (%ld)\n", what, got);
	failed++;
}

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- messages ---- */

static void put(struct msg *m, const void *p, size_t n)
{
	memcpy(m->b + m->n, p, n);
	m->n += n;
	while (m->n % 4)
		m->b[m->n++] = 0;
}

static void put32(struct msg *m, uint32_t v)
{
	v = htonl(v);
	put(m, &v, 4);
}

static void put64(struct msg *m, uint64_t v)
{
	put32(m, (uint32_t)(v >> 32));
	put32(m, (uint32_t)v);
}

static void put_opaque(struct msg *m, const void *p, size_t n)
{
	put32(m, (uint32_t)n);
	put(m, p, n);
}

/* A call up to its arguments; 4 bytes are left for the record mark. */
static struct msg call_of(uint32_t prog, uint32_t vers, uint32_t proc)
{
	struct msg m = {.b = buffer, .n = 4};
	put32(&m, xid_next++);
	put32(&m, 0);
	put32(&m, 2);
	put32(&m, prog);
	put32(&m, vers);
	put32(&m, proc);
	put32(&m, 1); /* AUTH_SYS: stamp, machine, uid 0, gid 0, no groups */
	put32(&m, 20);
	for (int i = 0; i < 5; i++)
		put32(&m, 0);
	put32(&m, 0);
	put32(&m, 0);
	return m;
}

static void seal(struct msg *m)
{
	uint32_t mark = htonl(0x80000000u | (uint32_t)(m->n - 4));
	memcpy(m->b, &mark, 4);
}

/* ---- sockets ---- */

static int dial(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof(server))) {
		perror("nfs_hostile: connect");
		exit(1);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static bool send_all(int fd, const void *p, size_t n)
{
	const uint8_t *b = p;
	while (n) {
		struct pollfd w = {.fd = fd, .events = POLLOUT};
		if (poll(&w, 1, 10000) <= 0)
			return false;
		ssize_t k = send(fd, b, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (k < 0 && errno == EAGAIN)
			continue;
		if (k <= 0)
			return false;
		b += k;
		n -= (size_t)k;
	}
	return true;
}

static bool recv_all(int fd, void *p, size_t n, int timeout_ms, int *ret_why)
{
	uint8_t *b = p;
	while (n) {
		struct pollfd w = {.fd = fd, .events = POLLIN};
		*ret_why = SILENT;
		if (poll(&w, 1, timeout_ms) <= 0)
			return false;
		ssize_t k = recv(fd, b, n, 0);
		*ret_why = CLOSED;
		if (k <= 0)
			return false;
		b += k;
		n -= (size_t)k;
	}
	return true;
}

/* A reply record in buffer: its length, SILENT or CLOSED. */
static long reply(int fd, int timeout_ms)
{
	uint32_t mark;
	int why;
	if (!recv_all(fd, &mark, 4, timeout_ms, &why))
		return why;
	uint32_t len = ntohl(mark) & 0x7fffffff;
	if (len > 2 * MIB - 4 || !recv_all(fd, buffer, len, timeout_ms, &why))
		return why;
	return len;
}

static uint32_t word(size_t i)
{
	uint32_t v;
	memcpy(&v, buffer + 4 * i, 4);
	return ntohl(v);
}

/* accept_stat of the reply, 100 + reject_stat of a refusal; SILENT, CLOSED. */
static long verdict(int fd, int timeout_ms)
{
	long n = reply(fd, timeout_ms);
	if (n < 0)
		return n;
	if (n < 16 || word(1) != 1)
		return 999;
	return word(2) ? 100 + (long)word(3) : (long)word(5);
}

static bool is_open(int fd)
{
	struct msg m = call_of(NFS, 3, 0);
	seal(&m);
	return send_all(fd, m.b, m.n) && verdict(fd, 5000) == 0;
}

/* ---- good calls ---- */

static bool mount_root(void)
{
	int fd = dial();
	struct msg m = call_of(MOUNT, 3, 1);
	put_opaque(&m, export_path, strlen(export_path));
	seal(&m);
	bool ok = send_all(fd, m.b, m.n) && verdict(fd, 10000) == 0 && word(6) == 0;
	root_len = ok ? word(7) : 0;
	ok = ok && root_len <= 64;
	if (ok)
		memcpy(root, buffer + 32, root_len);
	close(fd);
	return ok;
}

static void put_sattr_none(struct msg *m)
{
	for (int i = 0; i < 6; i++)
		put32(m, 0);
}

static bool make_file(const char *name)
{
	int fd = dial();
	struct msg m = call_of(NFS, 3, 8);
	put_opaque(&m, root, root_len);
	put_opaque(&m, name, strlen(name));
	put32(&m, 0);
	put_sattr_none(&m);
	seal(&m);
	bool ok = send_all(fd, m.b, m.n) && verdict(fd, 10000) == 0 && word(6) == 0 && word(7);
	file_len = ok ? word(8) : 0;
	ok = ok && file_len <= 64;
	if (ok)
		memcpy(file, buffer + 36, file_len);
	close(fd);
	return ok;
}

static struct msg write_call(uint64_t off, uint32_t n, uint8_t byte)
{
	struct msg m = call_of(NFS, 3, 7);
	put_opaque(&m, file, file_len);
	put64(&m, off);
	put32(&m, n);
	put32(&m, 0);
	put32(&m, n);
	memset(m.b + m.n, byte, n);
	m.n += n;
	seal(&m);
	return m;
}

static struct msg read_call(uint64_t off, uint32_t n)
{
	struct msg m = call_of(NFS, 3, 6);
	put_opaque(&m, file, file_len);
	put64(&m, off);
	put32(&m, n);
	seal(&m);
	return m;
}

static struct msg handle_call(uint32_t proc, const uint8_t *fh, uint32_t len)
{
	struct msg m = call_of(NFS, 3, proc);
	put_opaque(&m, fh, len);
	return m;
}

/* ---- the bystander ---- */

static double worst_ms;

static bool good_call(int fd, struct msg m, const char *what)
{
	double t0 = now_ms();
	bool ok = send_all(fd, m.b, m.n) && verdict(fd, 30000) == 0 && word(6) == 0;
	double ms = now_ms() - t0;
	if (ms > worst_ms)
		worst_ms = ms;
	if (!ok)
		fail(what, (long)word(6));
	else if (ms > BYSTANDER_MS)
		fail("the bystander waited too long (ms)", (long)ms);
	return ok;
}

static void bystander(void)
{
	int fd = dial();
	struct msg m = write_call(64ull * MIB, MIB, 0x5a);
	if (good_call(fd, m, "bystander's WRITE")) {
		m = handle_call(21, file, file_len);
		put64(&m, 0);
		put32(&m, 0);
		seal(&m);
		good_call(fd, m, "bystander's COMMIT");
		if (good_call(fd, read_call(64ull * MIB, MIB), "bystander's READ") &&
		    buffer[4 * (6 + 1 + 1 + 21 + 3) + 4096] != 0x5a)
			fail("the bystander read what it did not write", 0);
		m = handle_call(1, root, root_len);
		seal(&m);
		good_call(fd, m, "bystander's GETATTR");
	}
	close(fd);
}

/* ---- cases ---- */

static void expect(const char *what, long want, long got)
{
	if (want == got)
		return;
	fail(what, got);
}

static void one(const char *what, struct msg m, long want)
{
	int fd = dial();
	seal(&m);
	if (!send_all(fd, m.b, m.n))
		fail("send", errno);
	expect(what, want, verdict(fd, 5000));
	if (want >= 0 && !is_open(fd))
		fail("the connection is gone", 0);
	close(fd);
}

static void case_headers(void)
{
	struct msg m;
	one("another program", call_of(100000, 2, 0), 1);
	one("another version of NFS", call_of(NFS, 2, 0), 2);
	one("version 5 of NFS", call_of(NFS, 5, 0), 2);
	one("another version of MOUNT", call_of(MOUNT, 9, 0), 2);
	one("procedure 22", call_of(NFS, 3, 22), 3);
	one("procedure 2^32-1", call_of(NFS, 3, UINT32_MAX), 3);
	m = call_of(NFS, 3, 0);
	m.b[15] = 3; /* RPC version */
	one("RPC version 3", m, 100);
	m = call_of(NFS, 3, 0);
	m.b[31] = 6; /* RPCSEC_GSS */
	one("another flavour", m, 101);
	m = call_of(NFS, 3, 0);
	m.b[34] = 0xff; /* credential of 65 kB */
	one("a credential too long", m, 101);
	m = call_of(NFS, 3, 0);
	m.b[11] = 1; /* a reply */
	one("a reply", m, CLOSED);
	m = (struct msg){.b = buffer, .n = 8};
	memset(m.b, 0xff, 8);
	one("a record of four bytes", m, CLOSED);
}

/* Arguments that end everywhere, and arguments of noise. */
static void case_arguments(void)
{
	uint64_t seed = 1;
	for (uint32_t proc = 1; proc < 22; proc++) {
		int fd = dial();
		for (uint32_t cut = 0; cut < 48; cut += 4) {
			struct msg m = call_of(NFS, 3, proc);
			put_opaque(&m, root, root_len);
			size_t args = m.n - root_len - 4;
			m.n = args + cut;
			if (cut < 4 + root_len) {
				seal(&m);
				if (!send_all(fd, m.b, m.n))
					fail("send", errno);
				expect("arguments cut off", 4, verdict(fd, 5000));
			}
		}
		for (int i = 0; i < 64; i++) {
			struct msg m = call_of(NFS, 3, proc);
			if (i & 1)
				put_opaque(&m, i & 2 ? root : file, root_len);
			for (int k = 0; k < 2 * i; k++) {
				seed = seed * 6364136223846793005ull + 1442695040888963407ull;
				put32(&m, seed >> 62 ? (uint32_t)(seed >> 40) % 5
						     : (uint32_t)(seed >> 32));
			}
			seal(&m);
			if (!send_all(fd, m.b, m.n))
				fail("send", errno);
			long v = verdict(fd, 5000);
			if (v != 0 && v != 4)
				fail("noise for arguments", v);
		}
		close(fd);
	}
	for (uint32_t proc = 1; proc < 6; proc++)
		for (int i = 0; i < 4; i++) {
			struct msg m = call_of(MOUNT, 3, proc);
			put32(&m, i ? UINT32_MAX >> i : 3);
			int fd = dial();
			seal(&m);
			send_all(fd, m.b, m.n);
			long v = verdict(fd, 5000);
			if (v != 4 && proc != 2 && proc != 4 && proc != 5)
				fail("MOUNT with a wrong path", v);
			close(fd);
		}
}

/* No byte of a handle may be changed; all of them are tried in GETATTR. */
static void case_handles(void)
{
	int fd = dial();
	for (uint32_t i = 0; i < file_len; i++)
		for (int bit = 0; bit < 8; bit++) {
			uint8_t fh[64];
			memcpy(fh, file, file_len);
			fh[i] ^= (uint8_t)(1 << bit);
			struct msg m = handle_call(1, fh, file_len);
			seal(&m);
			send_all(fd, m.b, m.n);
			long v = verdict(fd, 5000);
			if (v != 0 || (word(6) != 10001 && word(6) != 70))
				fail("a forged handle was not refused", (long)i);
		}
	for (uint32_t n = 0; n <= 64; n++) {
		uint8_t fh[64] = {0};
		struct msg m = handle_call(1, fh, n);
		seal(&m);
		send_all(fd, m.b, m.n);
		if (verdict(fd, 5000) != 0 || word(6) != 10001)
			fail("a handle of zeros was not refused", n);
	}
	close(fd);
	uint8_t fh[68] = {0};
	struct msg m = handle_call(1, fh, 68);
	one("a handle of 68 bytes", m, 4);
}

static void case_fragments(void)
{
	int fd = dial();
	/* One byte a fragment, each in a segment of its own. */
	struct msg m = call_of(NFS, 3, 0);
	for (size_t i = 4; i < m.n; i++) {
		uint32_t mark = htonl(1 | (i + 1 == m.n ? 0x80000000u : 0));
		send_all(fd, &mark, 4);
		send_all(fd, m.b + i, 1);
	}
	expect("a fragment a byte", 0, verdict(fd, 5000));
	/* Two fragments and the first half of the next record in one segment. */
	struct msg a = write_call(0, 100000, 1);
	uint32_t part = htonl(50000), rest = htonl(0x80000000u | (uint32_t)(a.n - 4 - 50000));
	memcpy(a.b, &part, 4);
	send_all(fd, a.b, 4 + 50000);
	send_all(fd, &rest, 4);
	send_all(fd, a.b + 4 + 50000, a.n - 4 - 50000);
	expect("a WRITE in two fragments", 0, verdict(fd, 5000));
	close(fd);
	const uint32_t marks[] = {0x7fffffff, 0xffffffff, 0x00000000, 0x80200000, 0x80140001};
	for (unsigned i = 0; i < sizeof(marks) / 4; i++) {
		uint32_t mark = htonl(marks[i]);
		fd = dial();
		send_all(fd, &mark, 4);
		expect("a record mark that is not possible", CLOSED, verdict(fd, 5000));
		close(fd);
	}
	fd = dial();
	uint32_t mark = htonl(4);
	for (int i = 0; i < 600; i++) {
		send_all(fd, &mark, 4);
		send_all(fd, &mark, 4);
	}
	expect("600 fragments", CLOSED, verdict(fd, 5000));
	close(fd);
}

/* Records that never become whole: large ones, and small ones, one byte now and then. */
static void slow_senders(uint32_t record, size_t first, const char *what)
{
	static int fds[CONNS];
	uint32_t mark = htonl(0x80000000u | record);
	for (int i = 0; i < CONNS; i++) {
		fds[i] = dial();
		memset(buffer, 0, first);
		memcpy(buffer, &mark, 4);
		send_all(fds[i], buffer, first);
	}
	double until = now_ms() + 6000;
	for (int round = 0; now_ms() < until; round++) {
		for (int i = 0; i < CONNS; i++)
			send(fds[i], "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		bystander();
		usleep(100000);
	}
	for (int i = 0; i < CONNS; i++)
		close(fds[i]);
	(void)what;
}

static void case_slow_large(void)
{
	slow_senders(MIB, 70000, "large");
}

static void case_slow_small(void)
{
	slow_senders(60000, 2000, "small");
}

/* Many READs, no reply read. */
static void case_deaf(void)
{
	static int fds[48];
	int n = (int)(sizeof(fds) / sizeof(fds[0]));
	int fd = dial();
	for (uint64_t i = 0; i < 16; i++)
		good_call(fd, write_call(i * MIB, MIB, (uint8_t)i), "WRITE");
	close(fd);
	for (int i = 0; i < n; i++) {
		fds[i] = dial();
		for (int k = 0; k < 320; k++) {
			uint32_t size = i % 2 ? 32768 : 1048576;
			struct msg m = read_call((uint64_t)k * 32768, size);
			if (send(fds[i], m.b, m.n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
		}
	}
	double until = now_ms() + 6000;
	while (now_ms() < until) {
		bystander();
		usleep(200000);
	}
	for (int i = 0; i < n; i++)
		close(fds[i]);
	bystander();
}

/* Closed with a reset in the middle of WRITEs. */
static void case_reset(void)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};
	for (int i = 0; i < 300; i++) {
		int fd = dial();
		struct msg m = write_call((uint64_t)i * 4096, 300000, 7);
		size_t cut = (size_t)i * 1009 % m.n;
		send_all(fd, m.b, i % 3 ? cut : m.n);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		close(fd);
		if (i % 100 == 0)
			bystander();
	}
	bystander();
}

static void case_connections(void)
{
	static int fds[1000];
	for (int i = 0; i < 1000; i++) {
		fds[i] = dial();
		struct msg m = handle_call(1, root, root_len);
		seal(&m);
		if (i % 2)
			send_all(fds[i], m.b, m.n);
	}
	for (int i = 0; i < 1000; i++)
		if (i % 2 && verdict(fds[i], 10000) != 0)
			fail("a connection of 1000 got no answer", i);
	bystander();
	for (int i = 0; i < 1000; i++)
		close(fds[i]);
}

/* The same CREATE and REMOVE twice: the second answer is the first one again. */
static void case_duplicates(void)
{
	int fd = dial();
	for (int i = 0; i < 20; i++) {
		char name[32];
		snprintf(name, sizeof(name), "duplicate-%d", i);
		for (int remove = 0; remove < 2; remove++) {
			uint32_t xid = 0x10000000u + 2 * (uint32_t)i + (uint32_t)remove;
			for (int twice = 0; twice < 3; twice++) {
				xid_next = xid;
				struct msg m = handle_call(remove ? 12 : 8, root, root_len);
				put_opaque(&m, name, strlen(name));
				if (!remove) {
					put32(&m, 1); /* GUARDED */
					put_sattr_none(&m);
				}
				seal(&m);
				send_all(fd, m.b, m.n);
				if (verdict(fd, 5000) != 0 || word(6) != 0)
					fail("a repeated call was done anew", (long)word(6));
			}
		}
	}
	/* The same number for another call is another call. */
	xid_next = 0x20000000;
	for (uint32_t i = 0; i < 2; i++) {
		xid_next = 0x20000000;
		struct msg m = handle_call(12, root, root_len);
		put_opaque(&m, i ? "nothing-1" : "nothing-2", 9);
		seal(&m);
		send_all(fd, m.b, m.n);
		if (verdict(fd, 5000) != 0 || word(6) != 2)
			fail("REMOVE of nothing", (long)word(6));
	}
	xid_next = 0x30000000;
	close(fd);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
    {"headers", case_headers},
    {"arguments", case_arguments},
    {"handles", case_handles},
    {"fragments", case_fragments},
    {"slow-large", case_slow_large},
    {"slow-small", case_slow_small},
    {"deaf", case_deaf},
    {"reset", case_reset},
    {"connections", case_connections},
    {"duplicates", case_duplicates},
};

static bool wanted(int argc, char **argv, const char *name)
{
	for (int i = 4; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return argc == 4;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	buffer = malloc(2 * MIB);
	if (argc < 4 || !buffer || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fprintf(stderr, "usage: nfs_hostile ADDRESS PORT EXPORT [CASE...]\n");
		return 2;
	}
	server.sin_family = AF_INET;
	server.sin_port = htons((uint16_t)atoi(argv[2]));
	export_path = argv[3];
	if (!mount_root() || !make_file("hostile-file")) {
		fprintf(stderr, "nfs_hostile: cannot mount %s\n", export_path);
		return 1;
	}
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!wanted(argc, argv, cases[i].name))
			continue;
		unsigned before = failed;
		double t0 = now_ms();
		worst_ms = 0;
		cases[i].run();
		bystander();
		printf("%-4s %s: %.1f s, the bystander waited at most %.0f ms\n",
		       failed == before ? "ok" : "FAIL", cases[i].name, (now_ms() - t0) / 1e3,
		       worst_ms);
	}
	printf("%u failed\n", failed);
	return failed ? 1 : 0;
}
