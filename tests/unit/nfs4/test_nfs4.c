/* NFSv4.1 over the wire against the whole service: the pseudo file system, files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs4/pair_world.h"

static const struct v4_stateid anonymous;

/* ---- the pseudo file system ---- */

/* Names of a directory, in one string with blanks; *ret_calls: how many READDIRs it took. */
static uint32_t list(struct v4 *c, const struct v4_fh *dir, uint32_t max, char *ret, size_t size,
		     unsigned *ret_calls)
{
	uint64_t cookie = 0, verifier = 0;
	bool eof = false;
	*ret = 0;
	for (*ret_calls = 0; !eof; ++*ret_calls) {
		v4_seq(c);
		v4_putfh(c, dir);
		v4_op(c, OP_READDIR);
		xdr_put_u64(&c->x, cookie);
		xdr_put_u64(&c->x, verifier);
		xdr_put_u32(&c->x, max);
		xdr_put_u32(&c->x, max);
		xdr_put_u32(&c->x, 1);
		xdr_put_u32(&c->x, 1u << FATTR4_TYPE | 1u << FATTR4_RDATTR_ERROR);
		if (v4_send(c))
			return c->status;
		v4_res(c, OP_PUTFH);
		v4_res(c, OP_READDIR);
		verifier = v4_u64(c);
		while (v4_u32(c)) {
			const uint8_t *p;
			cookie = v4_u64(c);
			uint32_t n = v4_opaque(c, &p);
			size_t have = strlen(ret);
			ck_assert_uint_lt(have + n + 2, size);
			memcpy(ret + have, p, n);
			strcpy(ret + have + n, " ");
			ck_assert_uint_eq(v4_u32(c), 1);
			v4_u32(c);
			ck_assert_uint_eq(v4_opaque(c, &p), 8);
			ck_assert_uint_eq(be32_get(p + 4), 0);
		}
		eof = v4_u32(c);
	}
	return 0;
}

static uint64_t fsid(struct v4 *c, const struct v4_fh *fh)
{
	v4_seq(c);
	v4_putfh(c, fh);
	v4_op(c, OP_GETATTR);
	xdr_put_u32(&c->x, 1);
	xdr_put_u32(&c->x, 1u << FATTR4_FSID);
	ck_assert_uint_eq(v4_send(c), 0);
	v4_res(c, OP_PUTFH);
	v4_res(c, OP_GETATTR);
	v4_u32(c);
	v4_u32(c);
	ck_assert_uint_eq(v4_u32(c), 16);
	v4_u64(c);
	return v4_u64(c);
}

static void make_sub(struct nas *n)
{
	static const struct fs_cred root;
	struct fs_setattr set = {.which = FS_SET_MODE, .mode = 0777};
	struct fs_fid top = {.ino = FS_ROOT_INO};
	struct fs_attr at;
	for (; fs_getattr(n->fs, &top, &at); top.generation++)
		ASSERT(top.generation < 4);
	ASSERT(fs_mkdir(n->fs, &root, &top, "dir", 3, &set, &at, NULL) == 0);
	struct fs_fid dir = {.ino = at.ino, .generation = at.generation};
	ASSERT(fs_mkdir(n->fs, &root, &dir, "below", 5, &set, &at, NULL) == 0);
}

START_TEST(all_exports_are_under_one_root)
{
	char names[200];
	unsigned calls;
	struct v4_fh root = at(&a, "/"), demo = at(&a, "/demo"), fh;
	nas_run(&nas, make_sub);
	ck_assert_uint_eq(list(&a, &root, 4096, names, sizeof(names), &calls), 0);
	ck_assert_str_eq(names, "demo ro squash all sub "); /* not "secret" */
	ck_assert_uint_eq(list(&a, &root, 80, names, sizeof(names), &calls), 0);
	ck_assert_str_eq(names, "demo ro squash all sub ");
	ck_assert_uint_gt(calls, 1);
	ck_assert_uint_eq(v4_lookup(&a, "/secret", &fh), NFS4ERR_NOENT);
	ck_assert_uint_eq(v4_lookup(&a, "/nothing", &fh), NFS4ERR_NOENT);
	struct v4_fh sub = at(&a, "/sub"), ro = at(&a, "/ro");
	ck_assert_uint_ne(fsid(&a, &root), fsid(&a, &demo));
	ck_assert_uint_ne(fsid(&a, &ro), fsid(&a, &demo));
	ck_assert_uint_ne(fsid(&a, &sub), fsid(&a, &demo));
	/* Up from where an export begins is the root, also of a subdirectory. */
	const char *const tops[] = {"/demo", "/sub"};
	for (unsigned i = 0; i < 2; i++) {
		v4_seq(&a);
		v4_path(&a, tops[i]);
		v4_op(&a, OP_LOOKUPP);
		v4_op(&a, OP_GETFH);
		ck_assert_uint_eq(v4_send(&a), 0);
		v4_path_res(&a, tops[i]);
		ck_assert_uint_eq(v4_res(&a, OP_LOOKUPP), 0);
		ck_assert_uint_eq(v4_res(&a, OP_GETFH), 0);
		const uint8_t *p;
		ck_assert_uint_eq(v4_opaque(&a, &p), root.len);
		ck_assert_mem_eq(p, root.b, root.len);
	}
	v4_seq(&a);
	v4_root(&a);
	v4_op(&a, OP_LOOKUPP);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOENT);
	/* Nothing can be changed up there. */
	ck_assert_uint_eq(make_dir(&a, &root, "x"), NFS4ERR_ROFS);
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &root, "x", "o", 3, 0, 1, &s, &fh), NFS4ERR_ROFS);
	ck_assert_uint_eq(v4_open_file(&a, &root, "demo", "o", 1, 0, 0, &s, &fh), NFS4ERR_ISDIR);
	ck_assert_uint_eq(v4_open_file(&a, &root, "x", "o", 1, 0, 0, &s, &fh), NFS4ERR_NOENT);
	/* A handle of nothing, and one that was changed. */
	fh = root;
	fh.b[30] ^= 1;
	ck_assert_uint_ne(fsid(&a, &root), 1);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADHANDLE);
	fh = demo;
	fh.b[30] ^= 1;
	v4_seq(&a);
	v4_putfh(&a, &fh);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADHANDLE);
}
END_TEST

START_TEST(read_only_exports_and_other_directories)
{
	struct v4_fh ro = at(&a, "/ro"), demo = at(&a, "/demo"), fh;
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(make_dir(&a, &ro, "x"), NFS4ERR_ROFS);
	ck_assert_uint_eq(v4_open_file(&a, &ro, "g", "o", 3, 0, 1, &s, &fh), NFS4ERR_ROFS);
	ck_assert_uint_eq(v4_open_file(&a, &ro, "f", "o", 2, 0, 0, &s, &fh), NFS4ERR_ROFS);
	ck_assert_uint_eq(v4_open_file(&a, &ro, "f", "o", 1, 0, 0, &s, &fh), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, "x", 1, 2), NFS4ERR_ROFS);
	/* RENAME from one export to another. */
	v4_seq(&a);
	v4_putfh(&a, &ro);
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, &demo);
	v4_name(&a, OP_RENAME, "f");
	xdr_put_string(&a.x, "g");
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_XDEV);
}
END_TEST

/* ---- files ---- */

START_TEST(data_goes_in_and_comes_out)
{
	static uint8_t out[1 << 20], in[1 << 20];
	struct v4_fh demo = at(&a, "/demo"), fh, fh2;
	struct v4_stateid s, s2;
	uint32_t n;
	bool eof;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 4096);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, 0, out, sizeof(out), 0), 0);
	ck_assert_uint_eq(v4_write(&a, &fh, &s, sizeof(out), "abc", 3, 2), 0);
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_COMMIT);
	xdr_put_u64(&a.x, 0);
	xdr_put_u32(&a.x, 0);
	ck_assert_uint_eq(v4_send(&a), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, sizeof(in), in, &n, &eof), 0);
	ck_assert_uint_eq(n, sizeof(in));
	ck_assert(!eof);
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_uint_eq(v4_read(&b, &fh, &anonymous, sizeof(out), 100, in, &n, &eof), 0);
	ck_assert(n == 3 && eof && memcmp(in, "abc", 3) == 0);
	/* Kept, and in the middle of a compound: copied. */
	a.cache = true;
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 5, 1000, in, &n, &eof), 0);
	ck_assert(n == 1000 && memcmp(in, out + 5, n) == 0);
	a.cache = false;
	v4_seq(&a);
	v4_putfh(&a, &fh);
	for (int i = 0; i < 2; i++) {
		v4_op(&a, OP_READ);
		v4_stateid(&a, &s);
		xdr_put_u64(&a.x, 0);
		xdr_put_u32(&a.x, 10001);
	}
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	for (int i = 0; i < 2; i++) {
		const uint8_t *p;
		v4_res(&a, OP_READ);
		v4_u32(&a);
		ck_assert_uint_eq(v4_opaque(&a, &p), 10001);
		ck_assert_mem_eq(p, out, 10001);
	}
	/* Opened again it is the same state, one further; the old stateid is old. */
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 1, 0, 0, &s2, &fh2), 0);
	ck_assert_mem_eq(s.b + 4, s2.b + 4, 12);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 1, in, &n, &eof), NFS4ERR_OLD_STATEID);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s2), 0);
	ck_assert_uint_eq(v4_close_file(&a, &fh, &s2), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_read(&a, &fh, &s2, 0, 1, in, &n, &eof), NFS4ERR_BAD_STATEID);
	/* Data of what is no file; a stateid of another file, another client. */
	ck_assert_uint_eq(v4_read(&a, &demo, &anonymous, 0, 1, in, &n, &eof), NFS4ERR_ISDIR);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "g", "o", 1, 0, 1, &s, &fh2), 0);
	ck_assert_uint_eq(v4_read(&a, &fh, &s, 0, 1, in, &n, &eof), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_read(&b, &fh2, &s, 0, 1, in, &n, &eof), NFS4ERR_BAD_STATEID);
	ck_assert_uint_eq(v4_write(&a, &fh2, &s, 0, "x", 1, 2), NFS4ERR_OPENMODE);
}
END_TEST

START_TEST(ways_to_create)
{
	struct v4_fh demo = at(&a, "/demo"), fh, fh2;
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 0, &s, &fh), NFS4ERR_NOENT);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1 + CREATE4_GUARDED, &s, &fh), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1 + CREATE4_GUARDED, &s, &fh),
			  NFS4ERR_EXIST);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1 + CREATE4_UNCHECKED, &s, &fh2),
			  0);
	ck_assert_mem_eq(fh.b, fh2.b, fh.len);
	for (int i = 0; i < 2; i++) /* by the same verifier: the same file */
		ck_assert_uint_eq(
		    v4_open_file(&a, &demo, "x", "o", 3, 0, 1 + CREATE4_EXCLUSIVE4_1, &s, &fh), 0);
	ck_assert_uint_eq(
	    v4_open_file(&a, &demo, "f", "o", 3, 0, 1 + CREATE4_EXCLUSIVE4_1, &s, &fh),
	    NFS4ERR_EXIST);
	ck_assert_uint_eq(v4_open_file(&a, &fh2, NULL, "p", 1, 0, 0, &s, &fh), 0); /* CLAIM_FH */
	ck_assert_uint_eq(v4_open_file(&a, &demo, NULL, "p", 1, 0, 0, &s, &fh), NFS4ERR_ISDIR);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 0, 0, 0, &s, &fh), NFS4ERR_INVAL);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 1, 4, 0, &s, &fh), NFS4ERR_INVAL);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "..", "o", 1, 0, 0, &s, &fh), NFS4ERR_BADNAME);
	/* Rights: mode 0644 of root. */
	b.uid = 7;
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 2, 0, 0, &s, &fh), NFS4ERR_ACCESS);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 1, 0, 0, &s, &fh), 0);
}
END_TEST

START_TEST(attributes_are_compared_and_set)
{
	struct v4_fh demo = at(&a, "/demo"), fh;
	struct v4_stateid s;
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &fh), 0);
	/* SETATTR: size and mode, and what cannot be set. */
	for (unsigned attr = 0; attr < 90; attr++) {
		static const unsigned settable[] = {4, 12, 33, 36, 37, 48, 54};
		bool ok = false;
		for (unsigned i = 0; i < ARRAY_LEN(settable); i++)
			ok |= settable[i] == attr;
		if (ok)
			continue;
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, OP_SETATTR);
		v4_stateid(&a, &s);
		xdr_put_u32(&a.x, 3);
		for (unsigned w = 0; w < 3; w++)
			xdr_put_u32(&a.x, attr / 32 == w ? 1u << attr % 32 : 0);
		xdr_put_u32(&a.x, 0);
		uint32_t st = v4_send(&a);
		ck_assert_msg(st == NFS4ERR_INVAL || st == NFS4ERR_ATTRNOTSUPP, "%u", attr);
		v4_res(&a, OP_PUTFH);
		v4_res(&a, OP_SETATTR);
		ck_assert_uint_eq(v4_u32(&a), 0); /* the bitmap follows errors too */
	}
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_SETATTR);
	v4_stateid(&a, &s);
	xdr_put_u32(&a.x, 2);
	xdr_put_u32(&a.x, 1u << FATTR4_SIZE);
	xdr_put_u32(&a.x, 1u << (FATTR4_MODE - 32) | 1u << (FATTR4_OWNER - 32));
	xdr_put_u32(&a.x, 8 + 4 + 8);
	xdr_put_u64(&a.x, 12345);
	xdr_put_u32(&a.x, 0640);
	xdr_put_string(&a.x, "1001");
	ck_assert_uint_eq(v4_send(&a), 0);
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, wrong ? OP_NVERIFY : OP_VERIFY);
		xdr_put_u32(&a.x, 2);
		xdr_put_u32(&a.x, 1u << FATTR4_SIZE);
		xdr_put_u32(&a.x, 1u << (FATTR4_OWNER - 32));
		xdr_put_u32(&a.x, 16);
		xdr_put_u64(&a.x, 12345);
		xdr_put_string(&a.x, "1001");
		ck_assert_uint_eq(v4_send(&a), wrong ? NFS4ERR_SAME : 0);
	}
	v4_seq(&a);
	v4_putfh(&a, &fh);
	v4_op(&a, OP_VERIFY);
	xdr_put_u32(&a.x, 1);
	xdr_put_u32(&a.x, 1u << FATTR4_SIZE);
	xdr_put_u32(&a.x, 8);
	xdr_put_u64(&a.x, 12346);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOT_SAME);
	/* All of them at once, of a file and of a pseudo directory. */
	const struct v4_fh root = at(&a, "/"), *objects[] = {&fh, &root};
	for (unsigned i = 0; i < 2; i++) {
		v4_seq(&a);
		v4_putfh(&a, objects[i]);
		v4_op(&a, OP_GETATTR);
		xdr_put_u32(&a.x, 3);
		xdr_put_u32(&a.x, UINT32_MAX);
		xdr_put_u32(&a.x, ~(1u << (FATTR4_TIME_ACCESS_SET - 32) |
				    1u << (FATTR4_TIME_MODIFY_SET - 32)));
		xdr_put_u32(&a.x, UINT32_MAX);
		ck_assert_uint_eq(v4_send(&a), 0);
	}
	/* Names of owners are numbers. */
	static const char *const owners[] = {"root", "", "01", "4294967296", "1x", "-1"};
	for (unsigned i = 0; i < 6; i++) {
		v4_seq(&a);
		v4_putfh(&a, &fh);
		v4_op(&a, OP_SETATTR);
		v4_stateid(&a, &s);
		xdr_put_u32(&a.x, 2);
		xdr_put_u32(&a.x, 0);
		xdr_put_u32(&a.x, 1u << (FATTR4_OWNER - 32));
		xdr_put_u32(&a.x, (uint32_t)(4 + (strlen(owners[i]) + 3) / 4 * 4));
		xdr_put_string(&a.x, owners[i]);
		ck_assert_uint_eq(v4_send(&a), NFS4ERR_BADOWNER);
	}
}
END_TEST

START_TEST(names_come_and_go)
{
	char *names = malloc(40000), name[300];
	unsigned calls;
	struct v4_fh demo = at(&a, "/demo"), d;
	struct v4_stateid s;
	struct v4_fh fh;
	ck_assert_uint_eq(make_dir(&a, &demo, "d"), 0);
	ck_assert_uint_eq(make_dir(&a, &demo, "d"), NFS4ERR_EXIST);
	d = at(&a, "/demo/d");
	for (int i = 0; i < 300; i++) {
		sprintf(name, "entry-%d", i);
		ck_assert_uint_eq(v4_open_file(&a, &d, name, "o", 3, 0, 1, &s, &fh), 0);
	}
	ck_assert_uint_eq(list(&a, &d, 1024, names, 40000, &calls), 0);
	ck_assert_uint_gt(calls, 10);
	for (int i = 0; i < 300; i++) {
		sprintf(name, "entry-%d ", i);
		ck_assert(strstr(names, name));
	}
	ck_assert(!strstr(names, ". "));
	ck_assert_uint_eq(list(&a, &d, 20, names, 40000, &calls), NFS4ERR_TOOSMALL);
	ck_assert_uint_eq(list(&a, &fh, 1024, names, 40000, &calls), NFS4ERR_NOTDIR);
	/* RENAME, LINK, REMOVE. */
	v4_seq(&a);
	v4_putfh(&a, &d);
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, &demo);
	v4_name(&a, OP_RENAME, "entry-0");
	xdr_put_string(&a.x, "moved");
	v4_op(&a, OP_RESTOREFH);
	v4_name(&a, OP_LOOKUP, "entry-1");
	v4_op(&a, OP_SAVEFH);
	v4_putfh(&a, &demo);
	v4_name(&a, OP_LINK, "linked");
	v4_name(&a, OP_REMOVE, "moved");
	ck_assert_uint_eq(v4_send(&a), 0);
	at(&a, "/demo/linked");
	ck_assert_uint_eq(v4_lookup(&a, "/demo/moved", &fh), NFS4ERR_NOENT);
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_name(&a, OP_REMOVE, "d");
	ck_assert_uint_eq(v4_send(&a), 66); /* NOTEMPTY */
	/* A symbolic link, and what is behind it. */
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_CREATE);
	xdr_put_u32(&a.x, 5);
	xdr_put_string(&a.x, "some/where");
	xdr_put_string(&a.x, "l");
	xdr_put_u32(&a.x, 0);
	xdr_put_u32(&a.x, 0);
	v4_op(&a, OP_READLINK);
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_res(&a, OP_PUTFH);
	v4_res(&a, OP_CREATE);
	uint8_t skip[24];
	v4_take(&a, skip, 24);
	const uint8_t *p;
	v4_res(&a, OP_READLINK);
	ck_assert_uint_eq(v4_opaque(&a, &p), 10);
	ck_assert_mem_eq(p, "some/where", 10);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/l/x", &fh), NFS4ERR_SYMLINK);
	ck_assert_uint_eq(v4_lookup(&a, "/demo/linked/x", &fh), NFS4ERR_NOTDIR);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "l", "o", 1, 0, 0, &s, &fh), NFS4ERR_SYMLINK);
	memset(name, 'n', sizeof(name));
	name[299] = 0;
	ck_assert_uint_eq(make_dir(&a, &demo, name), NFS4ERR_NAMETOOLONG);
	ck_assert_uint_eq(make_dir(&a, &demo, ".."), NFS4ERR_BADNAME);
	ck_assert_uint_eq(make_dir(&a, &demo, ""), NFS4ERR_INVAL);
	ck_assert_uint_eq(make_dir(&a, &demo, "a/b"), NFS4ERR_BADCHAR);
	free(names);
}
END_TEST

static uint32_t removed(struct v4 *c, const struct v4_fh *dir, const char *name)
{
	v4_seq(c);
	v4_putfh(c, dir);
	v4_name(c, OP_REMOVE, name);
	return v4_send(c);
}

/* Another client takes its name away: who has it open does not lose it, and nobody opens it. */
START_TEST(open_files_outlive_their_names)
{
	struct v4_stateid s, twice, late, none = {0};
	struct v4_fh demo, f, again, top;
	char got[8];
	uint32_t len;
	bool eof;
	ck_assert_uint_eq(v4_lookup(&a, "/demo", &demo), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &f), 0);
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "p", 1, 0, 0, &twice, &again), 0);
	ck_assert_uint_eq(v4_write(&a, &f, &s, 0, "kept", 4, 2), 0);
	ck_assert_uint_eq(removed(&b, &demo, "f"), 0);
	ck_assert_uint_eq(v4_lookup(&b, "/demo/f", &top), NFS4ERR_NOENT);
	ck_assert_uint_eq(v4_open_file(&b, &demo, "f", "o", 1, 0, 0, &late, &again), NFS4ERR_NOENT);
	ck_assert_uint_eq(v4_write(&a, &f, &s, 4, "more", 4, 2), 0);
	ck_assert_uint_eq(v4_close_file(&a, &f, &s), 0);
	ck_assert_uint_eq(v4_read(&a, &f, &twice, 0, 8, got, &len, &eof), 0);
	ck_assert_uint_eq(len, 8);
	ck_assert_int_eq(memcmp(got, "keptmore", 8), 0);
	ck_assert_uint_eq(v4_close_file(&a, &f, &twice), 0);
	uint32_t st = 0;
	for (int i = 0; i < 100 && st != NFS4ERR_STALE; i++) { /* freed by and by */
		st = v4_read(&a, &f, &none, 0, 8, got, &len, &eof);
		usleep(20000);
	}
	ck_assert_uint_eq(st, NFS4ERR_STALE);
	/* Nobody has it open: gone at once. */
	ck_assert_uint_eq(v4_open_file(&a, &demo, "f", "o", 3, 0, 1, &s, &f), 0);
	ck_assert_uint_eq(v4_close_file(&a, &f, &s), 0);
	ck_assert_uint_eq(removed(&b, &demo, "f"), 0);
	ck_assert_uint_eq(v4_read(&a, &f, &none, 0, 8, got, &len, &eof), NFS4ERR_STALE);
}
END_TEST

START_TEST(flavours_are_told)
{
	struct v4_fh demo = at(&a, "/demo");
	v4_seq(&a);
	v4_putfh(&a, &demo);
	v4_op(&a, OP_SECINFO_NO_NAME);
	xdr_put_u32(&a.x, 0);
	v4_op(&a, OP_GETFH);
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOFILEHANDLE); /* used up */
	v4_res(&a, OP_PUTFH);
	ck_assert_uint_eq(v4_res(&a, OP_SECINFO_NO_NAME), 0);
	ck_assert_uint_eq(v4_u32(&a), 1);
	ck_assert_uint_eq(v4_u32(&a), 1);
	v4_seq(&a);
	v4_root(&a);
	v4_name(&a, OP_SECINFO, "demo");
	ck_assert_uint_eq(v4_send(&a), 0);
	v4_seq(&a);
	v4_root(&a);
	v4_name(&a, OP_SECINFO, "secret");
	ck_assert_uint_eq(v4_send(&a), NFS4ERR_NOENT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nfs4");
	TCase *t = tcase_create("files");
	tcase_add_checked_fixture(t, up_clients, down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, all_exports_are_under_one_root);
	tcase_add_test(t, read_only_exports_and_other_directories);
	tcase_add_test(t, data_goes_in_and_comes_out);
	tcase_add_test(t, ways_to_create);
	tcase_add_test(t, attributes_are_compared_and_set);
	tcase_add_test(t, names_come_and_go);
	tcase_add_test(t, open_files_outlive_their_names);
	tcase_add_test(t, flavours_are_told);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
