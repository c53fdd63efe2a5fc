/* READ, WRITE, COMMIT: a group of nfs3_conform. A model in memory holds what the file must be. */
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_conform.h"

#define MODEL (3u << 20)

static uint8_t *model, *buf;
static uint64_t model_size, verifier;

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = (uint8_t)(seed >> 16);
	}
}

static void put(struct world *w, const struct nc_fh *f, uint64_t off, uint32_t n, stable_how how)
{
	fill(buf, n, (uint32_t)off * 31 + n);
	const struct nc_res *r = nc_write(w->c, f, off, buf, n, how);
	want_status(r, NFS3_OK, "WRITE of %u at %lu", n, (unsigned long)off);
	want(r->count == n, "WRITE takes all of %u", n);
	want(r->committed >= (uint32_t)how, "WRITE is as stable as was asked");
	want(!verifier || r->verf == verifier, "the write verifier stays");
	verifier = r->verf;
	memcpy(model + off, buf, n);
	if (n && off + n > model_size)
		model_size = off + n;
}

static void get(struct world *w, const struct nc_fh *f, uint64_t off, uint32_t n)
{
	const struct nc_res *r = nc_read(w->c, f, off, n);
	uint32_t have = off >= model_size ? 0 : (uint32_t)(model_size - off);
	uint32_t must = n < have ? n : have;
	want_status(r, NFS3_OK, "READ of %u at %lu", n, (unsigned long)off);
	want(r->count == must, "READ of %u at %lu gives %u", n, (unsigned long)off, r->count);
	want(r->eof == (off + n >= model_size), "eof of READ of %u at %lu", n, (unsigned long)off);
	want(r->count != must || memcmp(w->c->data, model + off, must) == 0,
	     "the data at %lu, %u bytes", (unsigned long)off, n);
	want(r->has_attr && r->attr.size == model_size, "READ's attributes");
}

static void whole(struct world *w, const struct nc_fh *f)
{
	for (uint64_t off = 0; off < model_size; off += 300000)
		get(w, f, off, 300000);
}

static void patterns(struct world *w, const struct nc_fh *f)
{
	static const uint32_t lengths[] = {1,	 511,  512,   513,   4095,
					   4096, 4097, 12288, 65536, 100001};
	static const uint64_t at[] = {0, 1, 4095, 4096, 8191, 500000, 1048575, 1048576, 1999999};
	unsigned n = 0;
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (unsigned k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++, n++) {
			put(w, f, at[i], lengths[k], (stable_how)(n % 3));
			get(w, f, at[i] ? at[i] - 1 : 0, lengths[k] + 2);
		}
	put(w, f, 700, 0, FILE_SYNC);
	put(w, f, model_size + 5000, 0, UNSTABLE); /* nothing, far away: the end stays */
	whole(w, f);
	const struct nc_res *r = nc_commit(w->c, f, 0, 0);
	want_status(r, NFS3_OK, "COMMIT");
	want(r->verf == verifier, "COMMIT's verifier is WRITE's");
	want_status(nc_commit(w->c, f, 4096, 4096), NFS3_OK, "COMMIT of a part");
	want_status(nc_commit(w->c, f, UINT64_MAX, UINT32_MAX), NFS3_OK,
		    "COMMIT of what is not there");
}

static void ends(struct world *w, const struct nc_fh *f)
{
	static const uint64_t far[] = {1ull << 32, 1ull << 62,	   INT64_MAX - 5ull, INT64_MAX,
				       1ull << 63, UINT64_MAX - 5, UINT64_MAX};
	get(w, f, model_size, 1);
	get(w, f, model_size, 0);
	get(w, f, model_size - 1, 1);
	get(w, f, model_size - 1, 2);
	get(w, f, 0, 0);
	get(w, f, model_size + 1, 100);
	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		const struct nc_res *r = nc_read(w->c, f, far[i], 4096);
		want_status(r, NFS3_OK, "READ at %#lx", (unsigned long)far[i]);
		want(r->count == 0 && r->eof, "READ far behind the end");
	}
}

/* A hole between two ends shows as zeros; a cut and grown file too. */
static void holes(struct world *w)
{
	struct nc_fh f = make_file(w, "holes", 0644);
	memset(model, 0, MODEL);
	model_size = 0;
	put(w, &f, 10000, 100, UNSTABLE);
	put(w, &f, 1500000, 77, FILE_SYNC);
	whole(w, &f);
	static const uint64_t cuts[] = {1500001, 10050, 10049, 8192, 4097, 1};
	for (unsigned i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		sattr3 down = sa_size(cuts[i]), up = sa_size(1 << 21);
		want_status(nc_setattr(w->c, &f, &down, NULL), NFS3_OK, "cut");
		memset(model + cuts[i], 0, MODEL - cuts[i]);
		model_size = cuts[i];
		whole(w, &f);
		want_status(nc_setattr(w->c, &f, &up, NULL), NFS3_OK, "grow");
		model_size = 1 << 21;
		whole(w, &f);
		want_status(nc_setattr(w->c, &f, &down, NULL), NFS3_OK, "cut again");
		model_size = cuts[i];
		put(w, &f, 2000000, 10, (stable_how)(i % 3));
		whole(w, &f);
	}
	want(attr_of(w->c, &f).used < 1 << 20, "holes take no space");
}

static void limits(struct world *w)
{
	struct nc *c = w->c;
	struct nc_fh f = make_file(w, "limits", 0644);
	want_status(nc_fsinfo(c, &f), NFS3_OK, "FSINFO");
	uint32_t rtmax = c->res.fsinfo.rtmax, wtmax = c->res.fsinfo.wtmax;
	uint64_t max = c->res.fsinfo.maxfilesize;
	fill(buf, wtmax + 65536, 9);
	const struct nc_res *r = nc_write(c, &f, 0, buf, wtmax, FILE_SYNC);
	want_status(r, NFS3_OK, "WRITE of wtmax");
	want(r->count == wtmax, "WRITE of wtmax takes all");
	r = nc_write(c, &f, wtmax, buf, wtmax + 65536, UNSTABLE);
	want_status(r, NFS3_OK, "WRITE of more than wtmax");
	want(r->count && r->count <= wtmax + 65536, "WRITE of more than wtmax takes a part");
	r = nc_read(c, &f, 0, rtmax);
	want_status(r, NFS3_OK, "READ of rtmax");
	want(r->count == rtmax && !r->eof && memcmp(c->data, buf, rtmax) == 0, "READ of rtmax");
	r = nc_read(c, &f, 0, UINT32_MAX);
	want_status(r, NFS3_OK, "READ of 2^32-1");
	want(r->count && r->count <= rtmax && !r->eof && memcmp(c->data, buf, r->count) == 0,
	     "READ of more than rtmax gives a part");
	struct nc_fh far = make_file(w, "far", 0644);
	want_status(nc_write(c, &far, max - 1, "x", 1, FILE_SYNC), NFS3_OK,
		    "WRITE of the last byte");
	want(attr_of(c, &far).size == max, "a file of maxfilesize");
	r = nc_read(c, &far, max - 1, 10);
	want_status(r, NFS3_OK, "READ of the last byte");
	want(r->count == 1 && r->eof && c->data[0] == 'x', "the last byte");
	r = nc_read(c, &far, max - 5000, 4096);
	want_status(r, NFS3_OK, "READ before the last byte");
	want(r->count == 4096 && !r->eof && c->data[0] == 0, "zeros before the last byte");
	static const uint64_t over[] = {0, 1, 4096};
	for (unsigned i = 0; i < 3; i++)
		want_status(nc_write(c, &far, max + over[i], "x", 1, FILE_SYNC), NFS3ERR_FBIG,
			    "WRITE at maxfilesize+%u", (unsigned)over[i]);
	want_status(nc_write(c, &far, max - 1, "xy", 2, FILE_SYNC), NFS3ERR_FBIG,
		    "WRITE over maxfilesize");
	want_status(nc_write(c, &far, 1ull << 63, "x", 1, UNSTABLE), NFS3ERR_FBIG, "WRITE at 2^63");
	want_status(nc_write(c, &far, UINT64_MAX, "x", 1, UNSTABLE), NFS3ERR_FBIG,
		    "WRITE at 2^64-1");
	want_status(nc_write(c, &far, UINT64_MAX - 2, "xyzxyz", 6, UNSTABLE), NFS3ERR_FBIG,
		    "WRITE around the end of numbers");
	want_status(nc_remove(c, &w->dir, "far"), NFS3_OK, "REMOVE");
}

static void wrong_kinds(struct world *w)
{
	struct nc *c = w->c;
	sattr3 s = sa_none();
	struct nc_fh d = make_dir(w, "d", 0755), l = make_link(w, "l", "x");
	want_status(nc_mknod(c, &w->dir, "p", NF3FIFO, &s, 0, 0), NFS3_OK, "MKNOD");
	struct nc_fh p = c->res.fh;
	want_status(nc_read(c, &d, 0, 10), NFS3ERR_ISDIR, "READ of a directory");
	want_status(nc_write(c, &d, 0, "x", 1, FILE_SYNC), NFS3ERR_ISDIR, "WRITE of a directory");
	want_status(nc_read(c, &l, 0, 10), NFS3ERR_INVAL, "READ of a symbolic link");
	want_status(nc_write(c, &l, 0, "x", 1, UNSTABLE), NFS3ERR_INVAL, "WRITE of a link");
	want_status(nc_read(c, &p, 0, 10), NFS3ERR_INVAL, "READ of a pipe");
	want_status(nc_write(c, &p, 0, "x", 1, UNSTABLE), NFS3ERR_INVAL, "WRITE of a pipe");
}

void conform_data(struct world *w)
{
	model = calloc(1, MODEL);
	buf = malloc(MODEL);
	if (!model || !buf)
		abort();
	struct nc_fh f = make_file(w, "f", 0644);
	model_size = verifier = 0;
	patterns(w, &f);
	ends(w, &f);
	holes(w);
	limits(w);
	wrong_kinds(w);
	free(model);
	free(buf);
}
