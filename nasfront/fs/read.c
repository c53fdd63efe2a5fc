/*
 * Reading file data: pieces of the block core's own pages, and zeros for holes; no copy.
 *
 * Blocks found in a body may be freed and given to another file before the device lends their
 * pages; the io_hold keeps freed blocks from being used again until then. Access times are not
 * kept.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>

#define MAPS	  16
#define ZEROS	  65536
#define READ_IOVS ((int)ARRAY_LEN(((struct fs_read *)0)->iov))

struct fs_read_part {
	struct bdev_ref ref;
	struct fs_read_part *next;
};

static const uint8_t zeros[ZEROS];

struct read_args {
	const struct fs_cred *cred;
	const struct fs_fid *f;
	uint64_t off, end; /* end: as asked, then bounded by the size */
	uint64_t at;
	bool first, eof;
	bool try; /* nothing may wait */
	struct fs_attr *post;
	int nmaps;
	struct map maps[MAPS];
};

static int read_body(struct fs *fs, struct read_args *a)
{
	struct inode in;
	int rc = inode_get_fid(fs, a->f, &in);
	if (rc)
		return rc;
	if (a->first) {
		uint64_t size = IN64(&in, I_FILESIZE);
		if (a->post)
			inode_attr(&in, a->post);
		if (IN_TYPE(&in) != FS_REG)
			return IN_TYPE(&in) == FS_DIR ? -EISDIR : -EINVAL;
		rc = inode_may_data(a->cred, &in, 4);
		if (rc)
			return rc;
		a->eof = a->end >= size;
		if (a->eof)
			a->end = MAX(size, a->off);
	}
	uint64_t last = (a->end + BS - 1) / BS, blk = a->at / BS;
	for (a->nmaps = 0; a->nmaps < MAPS && blk < last; a->nmaps++) {
		rc = ext_map(&in, blk, last - blk, &a->maps[a->nmaps]);
		if (rc)
			return rc;
		blk += a->maps[a->nmaps].len;
	}
	a->first = false;
	return 0;
}

static struct fs_read_part *part_get(struct fs *fs)
{
	struct fs_read_part *p = fs->free_parts;
	if (!p)
		return malloc(sizeof(*p));
	fs->free_parts = p->next;
	return p;
}

static void part_put(struct fs *fs, struct fs_read_part *p)
{
	p->next = fs->free_parts;
	fs->free_parts = p;
}

static bool add_zeros(struct fs_read *r, uint64_t len)
{
	while (len) {
		if (r->iovcnt == READ_IOVS)
			return false;
		size_t n = MIN(len, (uint64_t)ZEROS);
		r->iov[r->iovcnt++] = (struct iovec){(void *)zeros, n};
		r->len += (uint32_t)n;
		len -= n;
	}
	return true;
}

static int add_data(struct fs *fs, struct fs_read *r, uint64_t off, uint64_t len, bool try)
{
	struct fs_read_part *p = part_get(fs);
	if (!p)
		return -ENOMEM;
	p->ref.iovcnt = 0;
	int rc = try ? bdev_read_ref_try(fs->dev, off, (uint32_t)len, &p->ref)
		     : bdev_read_ref(fs->dev, off, (uint32_t)len, &p->ref);
	if (rc) {
		part_put(fs, p);
		return rc;
	}
	p->next = r->parts;
	r->parts = p;
	if (r->iovcnt + p->ref.iovcnt > READ_IOVS)
		return -EMSGSIZE;
	memcpy(r->iov + r->iovcnt, p->ref.iov, (size_t)p->ref.iovcnt * sizeof(struct iovec));
	r->iovcnt += p->ref.iovcnt;
	r->len += (uint32_t)len;
	return 0;
}

/* What the maps say, from a->at on. */
static int gather(struct fs *fs, struct read_args *a, struct fs_read *r)
{
	for (int i = 0; i < a->nmaps; i++) {
		const struct map *m = &a->maps[i];
		uint64_t skip = a->at - m->fblk * BS;
		uint64_t n = MIN(m->len * BS - skip, a->end - a->at);
		int rc = 0;
		if (m->phys && !m->unwritten)
			rc = add_data(fs, r, m->phys * BS + skip, n, a->try);
		else if (!add_zeros(r, n))
			rc = -EMSGSIZE;
		if (rc)
			return rc;
		a->at += n;
	}
	return 0;
}

static void parts_put(struct fs *fs, struct fs_read *r)
{
	struct fs_read_part *p;
	while ((p = r->parts)) {
		r->parts = p->next;
		bdev_ref_put(fs->dev, &p->ref);
		part_put(fs, p);
	}
}

static void read_begin(struct read_args *a, struct fs_read *r, const struct fs_cred *cred,
		       const struct fs_fid *f, uint64_t off, uint32_t len, struct fs_attr *post)
{
	a->cred = cred;
	a->f = f;
	a->off = a->at = MIN(off, FS_SIZE_MAX); /* nothing lies behind: the end of the file */
	a->end = a->off + MIN(len, (uint32_t)FS_IO_MAX);
	a->first = true;
	a->eof = a->try = false;
	a->post = post;
	r->iovcnt = 0;
	r->len = 0;
	r->parts = NULL;
}

static int read_end(struct fs *fs, struct read_args *a, struct fs_read *r, int rc)
{
	r->eof = !rc && a->eof;
	if (rc == -EMSGSIZE) /* more pieces than fit: a short read */
		rc = 0;
	if (rc)
		parts_put(fs, r);
	else
		fs_ref(fs);
	return rc;
}

/* Nothing waits between the body and the loan, so nothing can free the blocks. */
int fs_read_try(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
		uint32_t len, struct fs_read *r, struct fs_attr *post)
{
	struct read_args a;
	int rc;
	CHECK(fs, FS_MAGIC);
	if (fs->dead)
		return -ERR_SHUTDOWN;
	read_begin(&a, r, cred, f, off, len, post);
	a.try = true;
	do {
		rc = read_body(fs, &a);
		if (!rc)
			rc = gather(fs, &a, r);
	} while (!rc && a.at < a.end);
	return read_end(fs, &a, r, rc);
}

int fs_read(struct fs *fs, const struct fs_cred *cred, const struct fs_fid *f, uint64_t off,
	    uint32_t len, struct fs_read *r, struct fs_attr *post)
{
	struct read_args a;
	struct io_hold hold;
	struct op op;
	int rc;
	read_begin(&a, r, cred, f, off, len, post);
	op_begin(&op, fs, false);
	io_hold_begin(fs, &hold);
	do {
		OP_LOOP(&op, rc, read_body(fs, &a));
		if (!rc)
			rc = gather(fs, &a, r);
	} while (!rc && a.at < a.end);
	io_hold_end(fs, &hold);
	rc = read_end(fs, &a, r, rc);
	op_end(&op);
	return rc;
}

void fs_read_done(struct fs *fs, struct fs_read *r)
{
	parts_put(fs, r);
	fs_unref(fs);
}

void read_free_pool(struct fs *fs)
{
	struct fs_read_part *p;
	while ((p = fs->free_parts)) {
		fs->free_parts = p->next;
		free(p);
	}
}
