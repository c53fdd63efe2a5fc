/* READ_PLUS: what it tells of a file is what READ gives, with the holes left out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

#define SIZE   ((1u << 20) + 700)
#define BLOCK  4096u
#define ROUNDS 300

static struct nas nas;
static struct v4 a;
static struct v4_fh demo, fh;
static struct v4_stateid s;
static uint8_t data[SIZE], in[SIZE];

/* What a reply said. */
static struct told {
	uint8_t bytes[SIZE];
	uint64_t len, holes; /* bytes in all, and in holes */
	unsigned segments;
	size_t wire; /* bytes of the reply */
	bool eof;
} told;

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_client(&a, "client a");
	a.minor = 2;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 7 + i / 4096 + 1) | 1;
}

static void down(void)
{
	v4_close(&a);
	nas_down(&nas);
}

static void take_segment(uint64_t off)
{
	const uint8_t *p;
	uint32_t kind = v4_u32(&a);
	ck_assert_uint_le(kind, NFS4_CONTENT_HOLE);
	ck_assert_uint_eq(v4_u64(&a), off + told.len); /* they follow each other */
	uint64_t n = kind == NFS4_CONTENT_HOLE ? v4_u64(&a) : v4_opaque(&a, &p);
	ck_assert_uint_le(told.len + n, SIZE);
	if (kind == NFS4_CONTENT_HOLE) {
		memset(told.bytes + told.len, 0, n);
		told.holes += n;
	} else {
		memcpy(told.bytes + told.len, p, n);
	}
	told.len += n;
}

/* In the middle of a compound, and at its end: copied or not. */
static uint32_t read_plus(const struct v4_stateid *id, uint64_t off, uint32_t count, bool middle)
{
	memset(&told, 0, sizeof(told));
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_READ_PLUS);
	v4_stateid(&a, id);
	xdr_put_u64(&a.x, off);
	xdr_put_u32(&a.x, count);
	if (middle)
		v4_op(&a, OP_GETFH);
	if (v4_send(&a))
		return a.status;
	told.wire = a.reply_len;
	ck_assert_uint_eq(v4_res(&a, OP_PUTFH), 0);
	ck_assert_uint_eq(v4_res(&a, OP_READ_PLUS), 0);
	told.eof = v4_u32(&a);
	told.segments = v4_u32(&a);
	for (unsigned i = 0; i < told.segments; i++)
		take_segment(off);
	if (middle) {
		ck_assert_uint_eq(v4_res(&a, OP_GETFH), 0);
		const uint8_t *p;
		ck_assert_uint_eq(v4_opaque(&a, &p), fh.len);
	}
	ck_assert_uint_eq(xdr_left(&a.r), 0);
	return 0;
}

static void punch(uint64_t off, uint64_t len)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_DEALLOCATE);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, off);
	xdr_put_u64(&a.x, len);
	ck_assert_uint_eq(v4_send(&a), 0);
}

static void fill(void)
{
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, data, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 1 << 20, data + (1 << 20), SIZE - (1 << 20), 2), 0);
}

/* The same as READ says, whatever the range; no longer than its reply and one head. */
static void compare(uint64_t off, uint32_t count, bool middle)
{
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(v4_read(&a, &fh, &s, off, count, in, &n, &eof), 0);
	size_t wire = a.reply_len;
	ck_assert_uint_eq(read_plus(&s, off, count, middle), 0);
	ck_assert_uint_le(told.wire, wire + 36 + (middle ? 12 + fh.len : 0));
	/* It may end early where there is much to tell. */
	ck_assert(told.len == n || told.segments >= 32);
	ck_assert_mem_eq(told.bytes, in, told.len);
	ck_assert(told.len < n || told.eof == eof);
}

START_TEST(as_read_says)
{
	srand(7);
	fill();
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 10 == 0) {
			if (i % 100 == 0)
				fill();
			uint64_t from = (uint64_t)rand() % SIZE;
			punch(from, 1 + (uint64_t)rand() % (200 << 10));
		}
		uint64_t off = i % 3 ? (uint64_t)rand() % (SIZE + 5000)
				     : (uint64_t)rand() % (SIZE / BLOCK) * BLOCK;
		uint32_t count = i % 4 ? (uint32_t)rand() % (300 << 10) : 1 << 20;
		compare(off, count, rand() & 1);
	}
}
END_TEST

START_TEST(holes_are_told_not_sent)
{
	fill();
	ck_assert_uint_eq(read_plus(&s, 0, 1 << 20, false), 0);
	ck_assert(told.segments == 1 && told.holes == 0 && !told.eof);
	punch(65536, 131072);
	ck_assert_uint_eq(read_plus(&s, 0, 1 << 20, false), 0);
	ck_assert(told.segments == 3 && told.holes == 131072 && told.len == 1 << 20);
	/* A hole and what is behind it, then as the file system has it. */
	ck_assert_uint_eq(read_plus(&s, 65536, 262144, false), 0);
	ck_assert(told.segments == 2 && told.holes == 131072 && told.len == 262144);
	/* All of the range, however small; at its edges only what is worth a segment. */
	ck_assert_uint_eq(read_plus(&s, 70000, 10, false), 0);
	ck_assert(told.segments == 1 && told.holes == 10 && !told.eof);
	ck_assert_uint_eq(read_plus(&s, 65536 + 131072 - 100, 5000, false), 0);
	ck_assert(told.segments == 1 && told.holes == 0 && told.len == 5000);
	ck_assert_uint_eq(read_plus(&s, 60000, 65536 - 60000 + 100, true), 0);
	ck_assert(told.segments == 1 && told.holes == 0);
	/* The end. */
	punch(1 << 20, 700);
	ck_assert_uint_eq(read_plus(&s, (1 << 20) - 65536, 1 << 20, false), 0);
	ck_assert(told.eof && told.len == 65536 + 700);
	ck_assert_uint_eq(read_plus(&s, 1 << 20, 1 << 20, false), 0);
	ck_assert(told.eof && told.segments == 1 && told.holes == 700);
	ck_assert_uint_eq(read_plus(&s, SIZE, 10, false), 0);
	ck_assert(told.eof && told.segments == 0);
	ck_assert_uint_eq(read_plus(&s, UINT64_MAX - 5, 10, false), 0);
	ck_assert(told.eof && told.segments == 0);
	ck_assert_uint_eq(read_plus(&s, 0, 0, false), 0);
	ck_assert(!told.eof && told.segments == 0);
}
END_TEST

/* Every other block: more than one reply tells. */
START_TEST(many_holes)
{
	uint64_t off = 0, holes = 0;
	unsigned calls = 0;
	fill();
	for (uint64_t b = 0; b < 256; b += 2)
		punch(b * BLOCK, BLOCK);
	for (told.eof = false; !told.eof; calls++) {
		ck_assert_uint_eq(read_plus(&s, off, 1 << 20, calls & 1), 0);
		ck_assert_uint_gt(told.len, 0);
		for (uint64_t i = 0; i < told.len; i++)
			ck_assert_uint_eq(
			    told.bytes[i],
			    off + i < 1 << 20 && (off + i) / BLOCK % 2 == 0 ? 0 : data[off + i]);
		off += told.len;
		holes += told.holes;
	}
	ck_assert_uint_eq(off, SIZE);
	ck_assert_uint_eq(holes, 128 * BLOCK);
	ck_assert_uint_le(calls, 10);
}
END_TEST

/* What is set aside reads as zeros without being sent. */
START_TEST(set_aside)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_ALLOCATE);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 1 << 20);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(read_plus(&s, 0, 1 << 20, false), 0);
	ck_assert(told.eof && told.segments == 1 && told.holes == 1 << 20);
}
END_TEST

START_TEST(refused)
{
	const struct v4_stateid any = {{0}};
	struct v4_stateid bad = s;
	struct v4_fh f = fh;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, data, 5000, 2), 0);
	bad.b[15] ^= 1;
	ck_assert_uint_eq(read_plus(&bad, 0, 10, false), NFS4ERR_BAD_STATEID);
	fh = demo;
	ck_assert_uint_eq(read_plus(&any, 0, 10, false), NFS4ERR_ISDIR);
	ck_assert_uint_eq(v4_lookup(&a, "/", &fh), 0);
	ck_assert_uint_eq(read_plus(&any, 0, 10, false), NFS4ERR_ISDIR);
	/* Who may not read: behind the end, and of nothing, as well. */
	fh = f;
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &s);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, 2); /* mode */
	xdr_put_u32(&a.x, 4);
	xdr_put_u32(&a.x, 0600);
	ck_assert_uint_eq(v4_send(&a), 0);
	a.uid = 1000;
	ck_assert_uint_eq(read_plus(&any, 0, 10, false), NFS4ERR_ACCESS);
	ck_assert_uint_eq(read_plus(&any, 9000, 10, false), NFS4ERR_ACCESS);
	ck_assert_uint_eq(read_plus(&any, 0, 0, false), NFS4ERR_ACCESS);
	a.uid = 0;
	/* A reply that is kept holds what its slot may keep. */
	a.cache = true;
	ck_assert_uint_eq(read_plus(&s, 0, 5000, false), 0);
	ck_assert(told.len >= 1000 && told.len < 2048 && !told.eof);
	a.cache = false;
	a.minor = 1;
	ck_assert_uint_eq(read_plus(&s, 0, 10, false), NFS4ERR_OP_ILLEGAL);
	a.minor = 2;
	v4_seq(&a);
	v4_op(&a, OP_READ_PLUS);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 10);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOFILEHANDLE);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_READ_PLUS);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, 0); /* and no more */
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADXDR);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs4 READ_PLUS");
	TCase *t = tcase_create("READ_PLUS");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, as_read_says);
	tcase_add_test(t, holes_are_told_not_sent);
	tcase_add_test(t, many_holes);
	tcase_add_test(t, set_aside);
	tcase_add_test(t, refused);
	suite_add_tcase(suite, t);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
