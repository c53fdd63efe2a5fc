/* What NFSv4.2 adds: blocks set aside and given back, SEEK, COPY, CLONE, hints, extended
 * attributes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

static struct nas nas;
static struct v4 a;
static struct v4_fh demo, fh;
static struct v4_stateid s;
static uint8_t out[1 << 20], in[1 << 20];

static void up(void)
{
	nas_up(&nas);
	nas_serve4(&nas);
	v4_open(&a, nas.port);
	v4_client(&a, "client a");
	a.minor = 2;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 4096 + 1);
}

static void down(void)
{
	v4_close(&a);
	nas_down(&nas);
}

static uint32_t space(uint32_t op, uint64_t off, uint64_t len)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, op);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, off);
	xdr_put_u64(&a.x, len);
	return v4_send(&a);
}

static uint32_t seek(uint64_t off, uint32_t what, uint64_t *ret, bool *ret_eof)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SEEK);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, off);
	xdr_put_u32(&a.x, what);
	if (v4_send(&a))
		return a.status;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_SEEK);
	*ret_eof = v4_u32(&a);
	*ret = v4_u64(&a);
	return 0;
}

START_TEST(holes_are_made_and_found)
{
	uint64_t at;
	uint32_t n;
	bool eof;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 2), 0);
	ck_assert_uint_eq(space(OP_DEALLOCATE, 65536, 65536), 0);
	ck_assert_uint_eq(seek(0, 1, &at, &eof), 0);
	ck_assert(at == 65536 && !eof);
	ck_assert_uint_eq(seek(65536, 0, &at, &eof), 0);
	ck_assert(at == 131072 && !eof);
	ck_assert_uint_eq(seek(131072, 1, &at, &eof), 0);
	ck_assert(at == 1 << 20 && eof);
	ck_assert_uint_eq(seek(1 << 20, 0, &at, &eof), 6); /* NXIO */
	ck_assert_uint_eq(seek(0, 2, &at, &eof), NFS4ERR_UNION_NOTSUPP);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 65536, 65536, in, &n, &eof), 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(in[i], 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 131072, 65536, in, &n, &eof), 0);
	ck_assert_mem_eq(in, out + 131072, n);
	/* A file grows by what is set aside, and that is a hole. */
	ck_assert_uint_eq(space(OP_ALLOCATE, 1 << 20, 1 << 20), 0);
	ck_assert_uint_eq(seek(1 << 20, 1, &at, &eof), 0);
	ck_assert(at == 1 << 20 && !eof);
	ck_assert_uint_eq(seek(1 << 20, 0, &at, &eof), 0);
	ck_assert(at == 2 << 20 && eof); /* no more data */
	ck_assert_uint_eq(space(OP_ALLOCATE, UINT64_MAX, 2), NFS4ERR_INVAL);
	ck_assert_uint_eq(space(OP_ALLOCATE, 0, 1ull << 40), 28); /* NOSPC */
	ck_assert_uint_eq(space(OP_DEALLOCATE, 0, 0), 0);
}
END_TEST

START_TEST(space_is_changed_by_who_may_write)
{
	struct v4_stateid w = s;
	struct v4_fh f = fh;
	uint64_t at;
	bool eof;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "reader", 1, 0, 0, &s, &fh), 0);
	ck_assert_uint_eq(space(OP_ALLOCATE, 0, 4096), NFS4ERR_OPENMODE);
	ck_assert_uint_eq(space(OP_DEALLOCATE, 0, 4096), NFS4ERR_OPENMODE);
	s = w;
	fh = demo;
	memset(&s, 0, sizeof(s));
	ck_assert_uint_eq(space(OP_ALLOCATE, 0, 4096), NFS4ERR_WRONG_TYPE);
	ck_assert_uint_eq(seek(0, 0, &at, &eof), NFS4ERR_WRONG_TYPE);
	fh = f;
}
END_TEST

static uint32_t copy(const struct v4_fh *from, const struct v4_stateid *from_id, uint64_t off,
		     const struct v4_fh *to, const struct v4_stateid *to_id, uint64_t to_off,
		     uint64_t count, uint64_t *ret)
{
	v4_seq(&a);
	v4_putfh(&a, from);
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, to);
	v4_op(&a, OP_COPY);
	v4_stateid(&a, from_id);
	v4_stateid(&a, to_id);
	xdr_put_u64(&a.x, off);
	xdr_put_u64(&a.x, to_off);
	xdr_put_u64(&a.x, count);
	xdr_put_bool(&a.x, true);
	xdr_put_bool(&a.x, false); /* it may go on later, but never does */
	xdr_put_u32(&a.x, 0);
	if (v4_send(&a))
		return a.status;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_SAVEFH);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_COPY);
	ck_assert_uint_eq(v4_u32(&a), 0);
	*ret = v4_u64(&a);
	v4_u32(&a);
	v4_u64(&a);
	ck_assert(v4_u32(&a) && v4_u32(&a));
	return 0;
}

static uint32_t clone(const struct v4_fh *from, const struct v4_stateid *from_id, uint64_t off,
		      const struct v4_fh *to, const struct v4_stateid *to_id, uint64_t to_off,
		      uint64_t count)
{
	v4_seq(&a);
	if (from) {
		v4_putfh(&a, from);
		v4_op(&a, OP_SAVEFH);
	}
	v4_putfh(&a, to);
	v4_op(&a, OP_CLONE);
	v4_stateid(&a, from_id);
	v4_stateid(&a, to_id);
	xdr_put_u64(&a.x, off);
	xdr_put_u64(&a.x, to_off);
	xdr_put_u64(&a.x, count);
	return v4_send(&a);
}

START_TEST(files_are_copied_by_the_server)
{
	struct v4_fh g;
	struct v4_stateid t;
	uint64_t n;
	uint32_t len;
	bool eof;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	ck_assert_uint_eq(copy(&fh, &s, 1000, &g, &t, 3, 900000, &n), 0);
	ck_assert_uint_eq(n, 900000);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 3, 900000, in, &len, &eof), 0);
	ck_assert(len == 900000 && eof);
	ck_assert_mem_eq(in, out + 1000, len);
	ck_assert_uint_eq(copy(&fh, &s, 1000, &g, &t, 0, 0, &n), 0); /* to the end */
	ck_assert_uint_eq(n, (1 << 20) - 1000);
	/* Not within a file, whatever the ranges; CLONE may. */
	ck_assert_uint_eq(copy(&fh, &s, 0, &fh, &s, 1 << 20, 1 << 20, &n), NFS4ERR_INVAL);
	ck_assert_uint_eq(copy(&fh, &s, 0, &fh, &s, 5000, 200, &n), NFS4ERR_INVAL);
	ck_assert_uint_eq(copy(&fh, &s, 0, &fh, &s, 100, 200, &n), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &fh, &s, 1 << 20, 1 << 20), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 1 << 20, 1 << 20, in, &len, &eof), 0);
	ck_assert(len == 1 << 20 && memcmp(in, out, len) == 0);
	/* Beyond the end; of and to what may not be. */
	ck_assert_uint_eq(copy(&fh, &s, 2 << 20, &g, &t, 0, 1, &n), NFS4ERR_INVAL);
	ck_assert_uint_eq(copy(&fh, &s, 5 << 20, &g, &t, 0, 0, &n), NFS4ERR_INVAL);
	ck_assert_uint_eq(copy(&fh, &t, 0, &g, &t, 0, 1, &n), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(copy(&fh, &s, 0, &g, &s, 0, 1, &n), NFS4ERR_BAD_STATEID);
	struct v4_stateid any = {{0}};
	ck_assert_uint_eq(copy(&demo, &any, 0, &g, &t, 0, 1, &n), NFS4ERR_WRONG_TYPE);
}
END_TEST

/* Whole blocks are shared: more than is ever copied for one answer, and the files part when
 * written. */
START_TEST(aligned_copies_share_their_blocks)
{
	const uint64_t size = (20 << 20) + 100; /* mostly a hole */
	struct v4_fh g;
	struct v4_stateid t;
	uint64_t n;
	uint32_t len;
	bool eof;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, size - 200, out, 200, 0), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	ck_assert_uint_eq(copy(&fh, &s, 0, &g, &t, 4096, 0, &n), 0);
	ck_assert_uint_eq(n, size); /* and the part of a block at its end */
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 8192, out, 5000, 0), 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 4096, 1 << 19, in, &len, &eof), 0);
	ck_assert(len == 1 << 19 && memcmp(in, out, len) == 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 8192, 5000, in, &len, &eof), 0);
	ck_assert(len == 5000 && memcmp(in, out, len) == 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, size - 200 + 4096, 1000, in, &len, &eof), 0);
	ck_assert(len == 200 && eof && memcmp(in, out, len) == 0);
}
END_TEST

static void for_a_group(struct nas *n)
{
	const struct fs_setattr set = {.which = FS_SET_MODE | FS_SET_GID, .mode = 0640, .gid = 50};
	struct fs_fid top = {.ino = FS_ROOT_INO}, f;
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ck_assert_uint_lt(top.generation, 4);
	ck_assert_int_eq(fs_lookup(n->fs, &(struct fs_cred){0}, &top, "f", 1, &at, NULL), 0);
	f = (struct fs_fid){.ino = at.ino, .generation = at.generation};
	ck_assert_int_eq(fs_setattr(n->fs, &(struct fs_cred){0}, &f, &set, NULL, NULL), 0);
}

/* Where it comes from the caller has other groups: what he may not read there is not shared either.
 */
START_TEST(sharing_looks_at_groups)
{
	const struct v4_stateid any = {{0}};
	struct v4_fh from, to;
	struct v4_stateid t;
	uint64_t n;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	nas_run(&nas, for_a_group);
	a.uid = 1234; /* as who all are in /all, but for the group */
	a.group = 50;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &to), 0);
	ck_assert_uint_eq(v4_lookup(&a, "/all/f", &from), 0);
	ck_assert_uint_eq(copy(&from, &any, 0, &to, &t, 0, 8192, &n), NFS4ERR_ACCESS);
	ck_assert_uint_eq(clone(&from, &any, 0, &to, &t, 0, 8192), NFS4ERR_XDEV);
	ck_assert_uint_eq(copy(&fh, &any, 0, &to, &t, 0, 8192, &n), 0);
	ck_assert_uint_eq(clone(&fh, &any, 0, &to, &t, 0, 8192), 0);
}
END_TEST

/* One attribute of the third word. */
static uint32_t attr_u32(const struct v4_fh *f, unsigned attr)
{
	v4_seq(&a);
	v4_putfh(&a, f);
	v4_op(&a, OP_GETATTR);
	xdr_put_u32(&a.x, 3);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, 1u << (attr - 64));
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_GETATTR);
	ck_assert_uint_eq(v4_u32(&a), 3);
	v4_u64(&a);
	ck_assert_uint_eq(v4_u32(&a), 1u << (attr - 64));
	ck_assert_uint_eq(v4_u32(&a), 4);
	return v4_u32(&a);
}

START_TEST(files_are_cloned)
{
	const uint64_t size = (1 << 20) + 100;
	struct v4_fh g;
	struct v4_stateid t;
	uint32_t len;
	bool eof;
	ck_assert_uint_eq(attr_u32(&fh, FATTR4_CLONE_BLKSIZE), 4096);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 1 << 20, out, 100, 0), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 0), 0); /* to the end */
	ck_assert_uint_eq(v4_read(&a, &g, &t, 0, 1 << 20, in, &len, &eof), 0);
	ck_assert(len == 1 << 20 && !eof && memcmp(in, out, len) == 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 1 << 20, 1000, in, &len, &eof), 0);
	ck_assert(len == 100 && eof && memcmp(in, out, len) == 0);
	/* Either may be written to: the other stays. */
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 4096, out, 4096, 2), 0);
	ck_assert_uint_eq(v4_write(&a, &g, &t, 8192, out, 100, 2), 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 4096, 4096, in, &len, &eof), 0);
	ck_assert(len == 4096 && memcmp(in, out + 4096, len) == 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 8192, 4096, in, &len, &eof), 0);
	ck_assert(len == 4096 && memcmp(in, out + 8192, len) == 0);
	/* A part into the middle; the end of one into another: zeros to the end of its block. */
	ck_assert_uint_eq(clone(&fh, &s, 65536, &g, &t, 131072, 65536), 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 131072, 65536, in, &len, &eof), 0);
	ck_assert(len == 65536 && memcmp(in, out + 65536, len) == 0);
	ck_assert_uint_eq(clone(&fh, &s, 1 << 20, &g, &t, 16384, 100), 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, 16384, 8192, in, &len, &eof), 0);
	ck_assert(len == 8192 && memcmp(in, out, 100) == 0 &&
		  memcmp(in + 4096, out + 20480, 4096) == 0);
	for (unsigned i = 100; i < 4096; i++)
		ck_assert_uint_eq(in[i], 0);
	/* Within a file; past its end. */
	ck_assert_uint_eq(clone(&fh, &s, 16384, &fh, &s, 2 << 20, 65536), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 2 << 20, 1 << 20, in, &len, &eof), 0);
	ck_assert(len == 65536 && eof && memcmp(in, out + 16384, len) == 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, size, 4096, in, &len, &eof), 0);
	for (unsigned i = 0; i < len; i++)
		ck_assert_uint_eq(in[i], 0);
}
END_TEST

static uint32_t set_size(const struct v4_fh *f, uint64_t size)
{
	v4_seq(&a);
	v4_putfh(&a, f);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &s);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 1u << FATTR4_SIZE);
	xdr_put_u32(&a.x, 8);
	xdr_put_u64(&a.x, size);
	return v4_send(&a);
}

static uint32_t write_at(uint64_t off, uint32_t len)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_WRITE);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, off);
	xdr_put_u32(&a.x, 2);
	xdr_put_opaque(&a.x, out, len);
	return v4_send(&a);
}

#define BIG	(16ull << 40)
#define SIZEMAX (1ull << 62)
#define FBIG	27
#define NXIO	6

/* 16 TiB with nothing in it but a block at its begin, its middle and its end. */
START_TEST(a_sparse_file_of_16_tib)
{
	struct v4_fh g;
	struct v4_stateid t;
	uint64_t at;
	uint32_t len;
	bool eof;
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(write_at(i == 2 ? BIG - 4096 : i * BIG / 2, 4096), 0);
	ck_assert_uint_eq(seek(4096, 0, &at, &eof), 0);
	ck_assert(at == BIG / 2 && !eof);
	ck_assert_uint_eq(seek(BIG / 2 + 4096, 0, &at, &eof), 0);
	ck_assert(at == BIG - 4096 && !eof);
	ck_assert_uint_eq(seek(BIG - 4096, 1, &at, &eof), 0);
	ck_assert(at == BIG && eof);
	ck_assert_uint_eq(seek(BIG, 0, &at, &eof), NXIO);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, BIG / 2 - 65536, 131072, in, &len, &eof), 0);
	ck_assert(len == 131072 && !eof && !memcmp(in + 65536, out, 4096));
	for (unsigned i = 0; i < len; i++)
		ck_assert(in[i] == 0 || (i >= 65536 && i < 65536 + 4096));
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 0), 0);
	/* Down and up: what was behind is zeros. */
	ck_assert_uint_eq(set_size(&fh, BIG / 2 + 10), 0);
	ck_assert_uint_eq(set_size(&fh, BIG), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, BIG / 2, 4096, in, &len, &eof), 0);
	ck_assert(len == 4096 && !memcmp(in, out, 10) && in[10] == 0 && in[4095] == 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, BIG - 4096, 8192, in, &len, &eof), 0);
	ck_assert(len == 4096 && eof && in[0] == 0);
	ck_assert_uint_eq(v4_read(&a, &g, &t, BIG - 4096, 8192, in, &len, &eof), 0);
	ck_assert(len == 4096 && eof && !memcmp(in, out, 4096));
	ck_assert_uint_eq(space(OP_ALLOCATE, 12ull << 40, 1 << 20), 0);
	ck_assert_uint_eq(space(OP_DEALLOCATE, 4096, BIG - 4096), 0);
	ck_assert_uint_eq(seek(4096, 0, &at, &eof), 0);
	ck_assert(at == BIG && eof);
	/* The end of all files. */
	ck_assert_uint_eq(set_size(&fh, SIZEMAX + 1), FBIG);
	ck_assert_uint_eq(write_at(SIZEMAX - 4095, 4096), FBIG);
	ck_assert_uint_eq(space(OP_ALLOCATE, SIZEMAX - 4096, 8192), FBIG);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, SIZEMAX, 4096), FBIG);
	ck_assert_uint_eq(write_at(SIZEMAX - 4096, 4096), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, SIZEMAX - 4096, 8192, in, &len, &eof), 0);
	ck_assert(len == 4096 && eof && !memcmp(in, out, 4096));
	ck_assert_uint_eq(set_size(&fh, 0), 0);
}
END_TEST

START_TEST(clones_that_cannot_be_are_refused)
{
	const struct v4_stateid any = {{0}};
	struct v4_fh g, root, all, ro;
	struct v4_stateid t, reader;
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	/* ranges */
	ck_assert_uint_eq(clone(&fh, &s, 1, &g, &t, 0, 4096), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 512, 4096), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 4097), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 2 << 20), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 2 << 20, &g, &t, 0, 0), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, UINT64_MAX - 4095, &g, &t, 0, 4096), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, UINT64_MAX - 4095, 4096), 27); /* FBIG */
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, UINT64_MAX), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &fh, &s, 4096, 8192), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 4096, &fh, &s, 0, 0), NFS4ERR_INVAL);
	ck_assert_uint_eq(clone(&fh, &s, 0, &fh, &s, 0, 4096), NFS4ERR_INVAL);
	/* objects */
	ck_assert_uint_eq(clone(NULL, &s, 0, &g, &t, 0, 4096), NFS4ERR_NOFILEHANDLE);
	ck_assert_uint_eq(clone(&demo, &any, 0, &g, &t, 0, 4096), NFS4ERR_WRONG_TYPE);
	ck_assert_uint_eq(clone(&fh, &s, 0, &demo, &any, 0, 4096), NFS4ERR_WRONG_TYPE);
	ck_assert_uint_eq(v4_lookup(&a, "/", &root), 0);
	ck_assert_uint_eq(clone(&root, &any, 0, &g, &t, 0, 4096), NFS4ERR_WRONG_TYPE);
	ck_assert_uint_eq(clone(&fh, &s, 0, &root, &any, 0, 4096), NFS4ERR_WRONG_TYPE);
	ck_assert_uint_eq(v4_lookup(&a, "/ro/g", &ro), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &ro, &any, 0, 4096), NFS4ERR_ROFS);
	ck_assert_uint_eq(v4_lookup(&a, "/all/g", &all), 0); /* somebody else there */
	ck_assert_uint_eq(clone(&fh, &s, 0, &all, &any, 0, 4096), NFS4ERR_XDEV);
	/* states */
	ck_assert_uint_eq(clone(&fh, &t, 0, &g, &t, 0, 4096), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &s, 0, 4096), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "reader", 1, 0, 0, &reader, &g), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &reader, 0, 4096), NFS4ERR_OPENMODE);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 4096), 0);
	/* The version before does not know it. */
	a.minor = 1;
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 4096), NFS4ERR_OP_ILLEGAL);
}
END_TEST

static void limit_user(struct nas *n)
{
	const struct fs_quota_limits l = {.hard = {300 << 10}, .set_hard = {true}};
	ck_assert_int_eq(fs_quota_set(n->fs, FS_QUOTA_USER, 1000, &l), 0);
}

START_TEST(clones_count_for_their_owner)
{
	struct v4_fh g;
	struct v4_stateid t;
	nas_run(&nas, limit_user);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, 1 << 20, 0), 0);
	a.uid = 1000;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 3, 0, 1, &t, &g), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 0), 69); /* DQUOT */
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 0, 256 << 10), 0);
	ck_assert_uint_eq(clone(&fh, &s, 0, &g, &t, 256 << 10, 256 << 10), 69);
}
END_TEST

START_TEST(hints_are_heard)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_IO_ADVISE);
	v4_stateid(&a, &s);
	xdr_put_u64(&a.x, 0);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 2);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_IO_ADVISE);
	ck_assert_uint_eq(v4_u32(&a), 0); /* none is taken */
}
END_TEST

/* ---- extended attributes ---- */

static uint32_t set_xattr(const char *name, const void *v, uint32_t len, uint32_t how)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SETXATTR);
	xdr_put_u32(&a.x, how);
	xdr_put_string(&a.x, name);
	xdr_put_opaque(&a.x, v, len);
	return v4_send(&a);
}

static uint32_t get_xattr(const char *name, const uint8_t **p, uint32_t *len)
{
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_name(&a, OP_GETXATTR, name);
	if (v4_send(&a))
		return a.status;
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_GETXATTR);
	*len = v4_opaque(&a, p);
	ck_assert_uint_eq(xdr_left(&a.r), 0);
	return 0;
}

START_TEST(extended_attributes)
{
	const uint8_t *p;
	uint32_t len;
	char name[32];
	ck_assert_uint_eq(get_xattr("color", &p, &len), NFS4ERR_NOXATTR);
	ck_assert_uint_eq(set_xattr("color", "red", 3, 2), NFS4ERR_NOXATTR);
	ck_assert_uint_eq(set_xattr("color", "red", 3, 1), 0);
	ck_assert_uint_eq(set_xattr("color", "blue", 4, 1), NFS4ERR_EXIST);
	ck_assert_uint_eq(set_xattr("color", "blue", 4, 0), 0);
	ck_assert_uint_eq(get_xattr("color", &p, &len), 0);
	ck_assert(len == 4 && memcmp(p, "blue", 4) == 0);
	ck_assert_uint_eq(set_xattr("empty", "", 0, 0), 0);
	ck_assert_uint_eq(get_xattr("empty", &p, &len), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_uint_eq(set_xattr("large", out, 65535, 0), 0);
	ck_assert_uint_eq(get_xattr("large", &p, &len), 0);
	ck_assert(len == 65535 && memcmp(p, out, len) == 0);
	ck_assert_uint_eq(set_xattr("larger", out, 65537, 0), NFS4ERR_XATTR2BIG);
	ck_assert_uint_eq(set_xattr("", "x", 1, 0), NFS4ERR_INVAL);
	ck_assert_uint_eq(set_xattr("x", "x", 1, 3), NFS4ERR_BADXDR);
	for (unsigned i = 0; i < 100; i++) {
		sprintf(name, "attribute-%u", i);
		ck_assert_uint_eq(set_xattr(name, name, 5, 0), 0);
	}
	uint64_t cookie = 0;
	unsigned found = 0, calls = 0;
	for (bool eof = false; !eof; calls++) {
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, OP_LISTXATTRS);
		xdr_put_u64(&a.x, cookie);
		xdr_put_u32(&a.x, 300);
		ck_assert_uint_eq(v4_send(&a), 0);
		v4_res(&a, OP_PUTFH);
		v4_res(&a, OP_LISTXATTRS);
		cookie = v4_u64(&a);
		for (uint32_t n = v4_u32(&a); n; n--, found++)
			v4_opaque(&a, &p);
		eof = v4_u32(&a);
	}
	ck_assert_uint_eq(found, 103);
	ck_assert_uint_gt(calls, 5);
	for (unsigned i = 0; i < 2; i++) {
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_name(&a, OP_REMOVEXATTR, "color");
		ck_assert_uint_eq(v4_send(&a), i ? NFS4ERR_NOXATTR : 0);
	}
	/* The version before knows none of this. */
	a.minor = 1;
	ck_assert_uint_eq(get_xattr("empty", &p, &len), NFS4ERR_OP_ILLEGAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("nfs4.2");
	TCase *t = tcase_create("nfs4.2");
	tcase_add_checked_fixture(t, up, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, holes_are_made_and_found);
	tcase_add_test(t, space_is_changed_by_who_may_write);
	tcase_add_test(t, files_are_copied_by_the_server);
	tcase_add_test(t, aligned_copies_share_their_blocks);
	tcase_add_test(t, sharing_looks_at_groups);
	tcase_add_test(t, files_are_cloned);
	tcase_add_test(t, a_sparse_file_of_16_tib);
	tcase_add_test(t, clones_that_cannot_be_are_refused);
	tcase_add_test(t, clones_count_for_their_owner);
	tcase_add_test(t, hints_are_heard);
	tcase_add_test(t, extended_attributes);
	suite_add_tcase(suite, t);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
