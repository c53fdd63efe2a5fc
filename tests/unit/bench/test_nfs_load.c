/*
 * The NFS bench's generator beside a server of the test's own, on a socket pair: right answers are
 * counted however they are cut, and each wrong one ends the run.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/bench/nfs_client.h"
#include "tests/bench/nfs_xdr.h"
#include "tests/bench/wire.h"

#define CALLS	   50
#define SIZE	   4096u
#define LONG	   (1u << 20)
#define LAST	   0x80000000u
#define FILE_BYTES (8ull << 20)

enum answer {
	RIGHT,
	FRAGMENTS, /* three of a record */
	DRIBBLE,   /* in pieces of few bytes */
	LATER,	   /* every third: come again */
	TWICE,
	OTHER_XID,
	DENIED,
	BAD_STATUS,
	SHORT_READ,
	WRONG_PLACE, /* data of another place */
	WRONG_TAIL,  /* a word in the middle of all data is wrong */
	TOO_LONG,    /* four bytes follow */
	ALWAYS_LATER,
	TRUNCATED,
	HUGE_RECORD,
	HANG_UP,
};

struct server {
	int fd;
	enum answer answer;
	enum nfs_op op;
	uint32_t size;
	unsigned calls;
	unsigned files[CALLS]; /* REMOVE: the numbers in the names of its calls */
};

static bool read_all(int fd, uint8_t *p, size_t len)
{
	return recv(fd, p, len, MSG_WAITALL) == (ssize_t)len;
}

static bool send_pieces(int fd, const uint8_t *p, size_t len, size_t piece)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = len - at < piece ? len - at : piece;
		if (send(fd, p + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			return false;
	}
	return true;
}

static bool send_fragment(int fd, const uint8_t *p, uint32_t len, uint32_t last)
{
	uint8_t mark[4];
	be32_put(mark, last | len);
	return send_pieces(fd, mark, 4, 4) && send_pieces(fd, p, len, len);
}

static void add_attributes(struct enc *e)
{
	uint32_t at = e->len;
	memset(e->p + at, 0, 84);
	be32_put(e->p + at, 1);
	be64_put(e->p + at + 20, FILE_BYTES);
	e->len += 84;
}

static void add_data(const struct server *s, struct enc *e, uint64_t off)
{
	uint32_t n = s->answer == SHORT_READ ? s->size - 8 : s->size;
	enc_u32(e, 0); /* no attributes */
	enc_u32(e, n);
	enc_u32(e, 0);
	enc_u32(e, n);
	uint8_t *p = e->p + e->len;
	wire_pattern_fill(p, 0, n);
	uint64_t word = wire_pattern_word(s->answer == WRONG_PLACE ? off + s->size : off);
	memcpy(p, &word, 8);
	for (uint32_t i = 8; s->answer == WRONG_TAIL && i < n; i += 40)
		p[i] ^= 1;
	e->len += n;
}

#define ENTRIES 5 /* of a reply; a directory has two such */

static void add_entries(const struct server *s, struct enc *e)
{
	enc_u32(e, 0);
	enc_u64(e, 0); /* verifier */
	for (unsigned i = 0; i < ENTRIES; i++) {
		enc_u32(e, 1);
		enc_u64(e, i);
		enc_opaque(e, "name", 4);
		enc_u64(e, i);
		enc_u32(e, 1);
		add_attributes(e);
		enc_u32(e, 1);
		enc_opaque(e, "a handle", 8);
	}
	enc_u32(e, 0);
	enc_u32(e, s->calls % 2 == 0); /* the end */
}

static void add_result(const struct server *s, struct enc *e, uint64_t off)
{
	if (s->op == NFS_GETATTR)
		add_attributes(e);
	else if (s->op == NFS_LOOKUP)
		enc_opaque(e, "a handle", 8);
	else if (s->op == NFS_READDIRPLUS)
		add_entries(s, e);
	else if (s->op == NFS_REMOVE)
		enc_u64(e, 0);
	else
		add_data(s, e, off);
}

/* The record after its mark. */
static void make_reply(const struct server *s, struct enc *e, uint32_t xid, uint64_t off)
{
	enc_u32(e, s->answer == OTHER_XID ? xid + 256 : xid);
	enc_u32(e, 1);
	enc_u32(e, s->answer == DENIED);
	enc_u64(e, 0); /* verifier */
	enc_u32(e, 0);
	bool later = s->answer == ALWAYS_LATER || (s->answer == LATER && s->calls % 3 == 0);
	enc_u32(e, s->answer == BAD_STATUS ? 70 : later ? 10008 : 0);
	if (later)
		return;
	add_result(s, e, off);
	if (s->answer == TOO_LONG)
		enc_u32(e, 0);
	if (s->answer == TRUNCATED)
		e->len -= 4;
}

static bool send_reply(const struct server *s, struct enc *e)
{
	if (s->answer == FRAGMENTS)
		return send_fragment(s->fd, e->p, 10, 0) && send_fragment(s->fd, e->p + 10, 0, 0) &&
		       send_fragment(s->fd, e->p + 10, e->len - 10, LAST);
	uint8_t mark[4];
	be32_put(mark, LAST | (s->answer == HUGE_RECORD ? 3u << 20 : e->len));
	size_t piece = s->answer == DRIBBLE ? 7 : e->len;
	for (int i = 0; i < (s->answer == TWICE ? 2 : 1); i++)
		if (!send_pieces(s->fd, mark, 4, s->answer == DRIBBLE ? 3 : 4) ||
		    !send_pieces(s->fd, e->p, e->len, piece))
			return false;
	return true;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	uint8_t head[4], call[1024], *buf = malloc(LONG + 1024);
	while (buf && read_all(s->fd, head, 4)) {
		uint32_t len = be32_get(head) & ~LAST;
		if (len > sizeof(call) || !read_all(s->fd, call, len) || s->answer == HANG_UP)
			break;
		struct enc e = {buf, 0};
		if (s->op == NFS_REMOVE && s->calls < CALLS) /* it ends with a name, padded */
			s->files[s->calls] = (unsigned)strtoul((char *)call + len - 11, NULL, 10);
		s->calls++;
		/* a READ ends with offset and count */
		make_reply(s, &e, be32_get(call),
			   s->op == NFS_READ ? be64_get(call + len - 12) : 0);
		if (!send_reply(s, &e))
			break;
	}
	free(buf);
	shutdown(s->fd, SHUT_RDWR);
	return NULL;
}

static int64_t run_load(struct server *s, const struct nfs_load *l)
{
	int fd[2];
	pthread_t t;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	s->fd = fd[1];
	struct nfs_conn *c = nfs_adopt(fd[0], "test");
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(pthread_create(&t, NULL, serve, s), 0);
	int64_t n = nfs_load_run(&c, 1, l);
	nfs_close(c); /* ends the server */
	pthread_join(t, NULL);
	close(fd[1]);
	return n;
}

static int64_t run(enum nfs_op op, enum answer answer, uint32_t size, bool spin)
{
	struct server s = {.answer = answer, .op = op, .size = size};
	struct nfs_load l = {.op = op,
			     .fh = {.len = 32},
			     .size = size,
			     .depth = 4,
			     .random = true,
			     .spin = spin,
			     .check = true,
			     .region = FILE_BYTES,
			     .ops = CALLS};
	return run_load(&s, &l);
}

START_TEST(right_answers_count)
{
	for (enum answer a = RIGHT; a <= LATER; a++) {
		ck_assert_int_eq(run(NFS_GETATTR, a, 0, a == RIGHT), CALLS);
		ck_assert_int_eq(run(NFS_READ, a, SIZE, false), CALLS);
	}
	ck_assert_int_eq(run(NFS_READ, RIGHT, LONG, false), CALLS);
	ck_assert_int_eq(run(NFS_READ, FRAGMENTS, LONG, false), CALLS);
	ck_assert_int_eq(run(NFS_READ, LATER, LONG, false), CALLS);
}
END_TEST

START_TEST(wrong_answers_end_it)
{
	for (enum answer a = TWICE; a <= HANG_UP; a++) {
		bool data = a == SHORT_READ || a == WRONG_PLACE || a == WRONG_TAIL;
		if (!data)
			ck_assert_int_eq(run(NFS_GETATTR, a, 0, false), -1);
		if (a == ALWAYS_LATER) /* it pauses */
			continue;
		ck_assert_int_eq(run(NFS_READ, a, SIZE, false), -1);
		ck_assert_int_eq(run(NFS_READ, a, LONG, false), -1);
	}
}
END_TEST

START_TEST(attributes_of_another_file_end_it)
{
	struct server s = {.answer = RIGHT, .op = NFS_GETATTR};
	struct nfs_load l = {
	    .op = NFS_GETATTR, .fh = {.len = 32}, .depth = 1, .region = FILE_BYTES + 1, .ops = 1};
	ck_assert_int_eq(run_load(&s, &l), -1);
}
END_TEST

START_TEST(directory_is_listed_once)
{
	struct server s = {.answer = RIGHT, .op = NFS_READDIRPLUS};
	struct nfs_load l = {.op = NFS_READDIRPLUS,
			     .fh = {.len = 32},
			     .depth = 1,
			     .files = 2 * ENTRIES,
			     .list = 2 * ENTRIES};
	ck_assert_int_eq(run_load(&s, &l), 2 * ENTRIES);
	ck_assert_uint_eq(s.calls, 2);
	s.calls = 0;
	l.files = 3 * ENTRIES; /* it has fewer */
	ck_assert_int_eq(run_load(&s, &l), -1);
}
END_TEST

START_TEST(files_are_taken_from_the_first_on)
{
	struct server s = {.answer = RIGHT, .op = NFS_REMOVE};
	struct nfs_load l = {
	    .op = NFS_REMOVE, .fh = {.len = 32}, .depth = 1, .first = 1234567, .ops = 3};
	ck_assert_int_eq(run_load(&s, &l), 3);
	ck_assert_uint_eq(s.calls, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(s.files[i], 1234567 + i);
}
END_TEST

/* A call that is waited for. */
static int look_up(enum answer answer, struct nfs_fh *ret)
{
	int fd[2];
	pthread_t t;
	struct nfs_fh dir = {.len = 32};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	struct server s = {.fd = fd[1], .answer = answer, .op = NFS_LOOKUP, .calls = 2};
	struct nfs_conn *c = nfs_adopt(fd[0], "test");
	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(pthread_create(&t, NULL, serve, &s), 0);
	int rc = nfs_lookup(c, &dir, "name", ret);
	nfs_close(c);
	pthread_join(t, NULL);
	close(fd[1]);
	return rc;
}

START_TEST(calls_that_are_waited_for)
{
	for (enum answer a = RIGHT; a <= LATER; a++) {
		struct nfs_fh fh = {0};
		ck_assert_int_eq(look_up(a, &fh), 0);
		ck_assert_uint_eq(fh.len, 8);
		ck_assert_mem_eq(fh.data, "a handle", 8);
	}
	struct nfs_fh fh;
	ck_assert_int_eq(look_up(BAD_STATUS, &fh), 70);
	ck_assert_int_eq(look_up(ALWAYS_LATER, &fh), 10008);
	ck_assert_int_eq(look_up(OTHER_XID, &fh), -1);
	ck_assert_int_eq(look_up(DENIED, &fh), -1);
	ck_assert_int_eq(look_up(TRUNCATED, &fh), -1);
	ck_assert_int_eq(look_up(HUGE_RECORD, &fh), -1);
	ck_assert_int_eq(look_up(HANG_UP, &fh), -1);
}
END_TEST

START_TEST(urls)
{
	struct nfs_url u;
	ck_assert_int_eq(nfs_url_parse("nfs://127.0.0.1/a/b?version=3&nfsport=12&mountport=13", &u),
			 0);
	ck_assert_str_eq(u.host, "127.0.0.1");
	ck_assert_str_eq(u.path, "/a/b");
	ck_assert_str_eq(u.nfs_port, "12");
	ck_assert_str_eq(u.mount_port, "13");
	ck_assert(u.keeps_data);
	ck_assert_int_eq(nfs_url_parse("nfs://h/a?nfsport=12&check=no", &u), 0);
	ck_assert_str_eq(u.mount_port, "12");
	ck_assert(!u.keeps_data);
	ck_assert_int_eq(nfs_url_parse("nfs://h", &u), -1);
	ck_assert_int_eq(nfs_url_parse("http://h/a", &u), -1);
	ck_assert_int_eq(nfs_url_parse("nfs://h/a?nfsport=123456", &u), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs_load");
	TCase *t = tcase_create("nfs_load");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, right_answers_count);
	tcase_add_test(t, wrong_answers_end_it);
	tcase_add_test(t, attributes_of_another_file_end_it);
	tcase_add_test(t, directory_is_listed_once);
	tcase_add_test(t, files_are_taken_from_the_first_on);
	tcase_add_test(t, calls_that_are_waited_for);
	tcase_add_test(t, urls);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
